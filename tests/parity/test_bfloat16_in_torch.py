"""The rounding to bfloat16, and products of bfloat16, against PyTorch's."""

import numpy as np
import torch

from handgrad.ops.precision import product, rounded_to_bfloat16


def test_normal_numbers_infinities_and_nan_are_rounded_as_in_torch() -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1_000_000, np.uint32)
    special = [
        0x7F7F8000,
        0x7F7F7FFF,
        0xFF7F8000,
        0x7F800000,
        0xFF800000,
        0x7F800001,
        0xFFFFFFFF,
        0x00800000,
        0x80000000,
    ]
    x = np.concatenate([bits, np.array(special, np.uint32)]).view(np.float32)
    x = x[~((np.abs(x) < 2.0**-126) & (x != 0))]  # PyTorch keeps denormal numbers
    theirs = torch.from_numpy(x).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(rounded_to_bfloat16(x), theirs)  # NaN counts as equal to NaN
    assert (np.signbit(rounded_to_bfloat16(x)) == np.signbit(theirs))[~np.isnan(x)].all()


def test_a_product_is_torchs_before_its_result_is_rounded() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((5, 301)).astype(np.float32), rng.standard_normal((301, 7)).astype(np.float32)
    theirs = (torch.from_numpy(a).bfloat16() @ torch.from_numpy(b).bfloat16()).float().numpy()
    ours = product(a, b, "bfloat16")
    # PyTorch rounds results too; ours stay float32.
    np.testing.assert_allclose(ours, theirs, rtol=2.0**-8, atol=1e-3)

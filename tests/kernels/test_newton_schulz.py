"""The compiled orthogonalisation beside the text in float64."""

import numpy as np
import pytest

from handgrad import ops
from handgrad.checking.kernels import kernel_error

kernels = pytest.importorskip("handgrad.kernels")


def compiled(matrix: np.ndarray, **options: object) -> np.ndarray:
    result: np.ndarray = kernels.UPDATES["newton_schulz"](matrix, **options)
    assert result.dtype == np.float32
    return result


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (16, 16), (17, 33), (33, 17), (64, 200), (0, 3)])
def test_it_agrees_with_the_text(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(shape).standard_normal(shape).astype(np.float32)
    before = matrix.copy()
    assert kernel_error(compiled(matrix), ops.newton_schulz(matrix.astype(np.float64))) <= 1e-5
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.parametrize("factor", [1e-30, 1e8, 1e30])
def test_the_size_of_the_matrix_does_not_matter(factor: float) -> None:
    matrix = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)
    found = compiled((matrix * np.float32(factor)).astype(np.float32), eps=1e-37)
    assert kernel_error(found, ops.newton_schulz(matrix.astype(np.float64))) <= 1e-5


def test_zeros_stay_and_nan_spreads() -> None:
    assert not compiled(np.zeros((3, 5), np.float32)).any()
    broken = np.ones((3, 5), np.float32)
    broken[1, 2] = np.nan
    assert np.isnan(compiled(broken)).all()


def test_steps_and_coefficients_are_options() -> None:
    matrix = np.random.default_rng(1).standard_normal((6, 9)).astype(np.float32)
    for options in ({"steps": 0}, {"steps": 2}, {"steps": 12, "coefficients": (1.5, -0.5, 0.0)}):
        assert kernel_error(compiled(matrix, **options), ops.newton_schulz(matrix.astype(float), **options)) <= 1e-5
    values = np.linalg.svd(compiled(matrix, steps=12, coefficients=(1.5, -0.5, 0.0)), compute_uv=False)
    np.testing.assert_allclose(values, 1, atol=1e-4)

"""The compiled twins against the text in ``ops``, which is their definition, and the seam that chooses between them."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from handgrad import backend, ops
from handgrad.backend import current_backend, function_for, pair_for, use_backend
from handgrad.checking.kernels import UPDATES
from handgrad.errors import InputError
from handgrad.models import GPT, GPTConfig
from handgrad.nn import GELU
from handgrad.optim import AdamW

kernels = pytest.importorskip("handgrad.kernels", reason="Numba is not installed")

SHAPES = [(7,), (3, 5), (2, 3, 37), (64, 128), (1, 1), (0, 5), (4, 1)]
SPECIAL = np.array([1e4, -1e4, 0, -0.0, np.nan, np.inf, -np.inf, 88.8, -88.8, 1e-38, 6, -6, -15], np.float32)
Arrays = list[np.ndarray]


@pytest.fixture(autouse=True)
def _leave_the_backend_as_it_was() -> Iterator[None]:
    yield
    use_backend(None)


def both_ways(module: object, name: str, inputs: Arrays, **options: object) -> Arrays:
    """Output and gradients of a pair, the gradient coming in being fixed."""
    with np.errstate(all="ignore"):
        output, saved = getattr(module, name)(*inputs, **options)
        dy = np.random.default_rng(1).standard_normal(output.shape).astype(output.dtype)
        gradients = getattr(module, name + "_backward")(dy, saved)
    return [output, *(gradients if isinstance(gradients, tuple) else (gradients,))]


def assert_as_good_as_the_text(name: str, inputs: Arrays) -> None:
    """Equal in NaN and infinities; no farther from the float64 text than four times the float32 text is."""
    compiled, text = both_ways(kernels, name, inputs), both_ways(ops, name, inputs)
    truth = both_ways(ops, name, [x.astype(np.float64) for x in inputs])
    for a, b, t in zip(compiled, text, truth, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.where(np.isinf(a), a, 0), np.where(np.isinf(b), b, 0))
        finite = np.isfinite(a) & np.isfinite(t)
        error, own = (np.abs(x[finite] - t[finite]).max(initial=0) for x in (a, b))
        assert error <= max(4 * own, 1e-6 * max(1, np.abs(t[finite]).max(initial=0)))


def assert_close(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert np.abs(a - b).max(initial=0) <= 1e-5 * max(1, np.abs(b).max(initial=0))


@pytest.mark.parametrize("shape", [(), *SHAPES])
@pytest.mark.parametrize("scale", [1e-3, 1, 10])
def test_gelu(shape: tuple[int, ...], scale: float) -> None:
    x = (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)
    for a, b in zip(both_ways(kernels, "gelu", [x]), both_ways(ops, "gelu", [x]), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0, 5])
def test_layer_norm(shape: tuple[int, ...], offset: float) -> None:
    rng = np.random.default_rng(0)
    x, gain, bias = (rng.standard_normal(s).astype(np.float32) for s in (shape, shape[-1:], shape[-1:]))
    inputs = [x + np.float32(offset), gain, bias]
    pairs = zip(both_ways(kernels, "layer_norm", inputs), both_ways(ops, "layer_norm", inputs), strict=True)
    for a, b in pairs:
        if shape[-1] == 1:  # the variance is 0: 1 / √eps magnifies the last bits of both
            np.testing.assert_allclose(a, b, atol=1e-2)
        else:
            assert_close(a, b)


def test_extreme_inputs_of_gelu() -> None:
    assert_as_good_as_the_text("gelu", [SPECIAL])
    assert_as_good_as_the_text("gelu", [np.linspace(-20, 20, 4001, dtype=np.float32)])


@pytest.mark.parametrize("size", [3, 5, 7, 128])
def test_extreme_inputs_of_layer_norm(size: int) -> None:
    rng = np.random.default_rng(0)
    gain, bias = (rng.standard_normal(size).astype(np.float32) for _ in range(2))
    noise = rng.standard_normal((6, size)).astype(np.float32)
    for rows in (
        np.full((4, size), 1e4),  # constant: nothing but bias comes out
        np.array([[1234.567], [-1e4], [3e-5], [0.1]]) * np.ones(size),
        noise * 1e4,
        noise * 1e-6,
        noise + 1e4,
    ):
        assert_as_good_as_the_text("layer_norm", [rows.astype(np.float32), gain, bias])
    for special in (np.nan, np.inf, -np.inf):
        rows = noise.copy()
        rows[2, 1] = special
        assert_as_good_as_the_text("layer_norm", [rows, gain, bias])


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adam_update(decoupled: bool, weight_decay: float) -> None:
    rng = np.random.default_rng(0)
    compiled = [rng.standard_normal(20_001).astype(np.float32) for _ in range(3)]
    compiled.append(rng.random(20_001).astype(np.float32))
    text = [array.copy() for array in compiled]
    options = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    for step in range(1, 6):
        for update, arrays in ((kernels.adam_update, compiled), (ops.adam_update, text)):
            update(*arrays, step=step, weight_decay=weight_decay, decoupled=decoupled, **options)
    for a, b in zip(compiled, text, strict=True):
        assert_close(a, b)


def test_a_nan_gradient_is_seen_in_the_weights() -> None:
    arrays = [np.ones(5, np.float32) for _ in range(4)]
    arrays[1][2] = np.nan
    options = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
    kernels.adam_update(*arrays, step=1, **options)
    assert np.isnan(arrays[0]).tolist() == [False, False, True, False, False]


def test_exponential() -> None:
    import numba

    from handgrad.kernels.exponential import exp32

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def each(x, y):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            y[i] = exp32(x[i])

    x = np.linspace(-87.3, 88.3, 300_001, dtype=np.float32)
    y, truth = np.empty_like(x), np.exp(x.astype(np.float64))
    each(x, y)
    assert np.max(np.abs(y - truth) / truth) < 4e-7
    special, y = np.array([np.nan, np.inf, -np.inf, 89, -104], np.float32), np.empty(5, np.float32)
    each(special, y)
    np.testing.assert_array_equal(y, np.array([np.nan, np.inf, 0, np.inf, 0], np.float32))


@pytest.mark.parametrize("name", kernels.__all__)
def test_a_kernel_has_the_name_and_signature_of_its_definition(name: str) -> None:
    ours, definition = (list(inspect.signature(getattr(module, name)).parameters.values()) for module in (kernels, ops))
    if ours[-1].name == "into":  # only here, see kernels/__init__.py
        assert name.endswith("_backward")
        ours = ours[:-1]
    assert ours == definition
    assert name.endswith("_backward") or name in UPDATES or f"{name}_backward" in kernels.__all__


def test_the_seam_chooses_by_backend_and_dtype() -> None:
    single, double = np.ones(3, np.float32), np.ones(3)
    use_backend("numba")
    assert pair_for(ops.gelu, single) == (kernels.gelu, kernels.gelu_backward)
    assert pair_for(ops.gelu, double) == (ops.gelu, ops.gelu_backward)
    assert pair_for(ops.tanh, single) == (ops.tanh, ops.tanh_backward)
    assert function_for(ops.adam_update, single) is kernels.adam_update
    use_backend("numpy")
    assert pair_for(ops.gelu, single) == (ops.gelu, ops.gelu_backward)


def test_the_environment_chooses_and_a_call_overrules_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDGRAD_BACKEND", "numpy")
    use_backend(None)
    assert current_backend() == "numpy"
    use_backend("numba")
    assert current_backend() == "numba"
    monkeypatch.setenv("HANDGRAD_BACKEND", "cuda")
    use_backend(None)
    with pytest.raises(InputError, match="HANDGRAD_BACKEND must be numpy or numba, not 'cuda'"):
        current_backend()
    monkeypatch.delenv("HANDGRAD_BACKEND")
    use_backend(None)
    assert current_backend() == "numba"
    monkeypatch.setattr(backend, "_has_numba", lambda: False)
    use_backend(None)
    assert current_backend() == "numpy"
    with pytest.raises(InputError, match="Numba cannot be imported"):
        use_backend("numba")


@pytest.mark.parametrize("names", [("numba", "numpy"), ("numpy", "numba")])
def test_a_forward_is_undone_by_its_own_backend(names: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = GELU(), np.ones((2, 3), np.float32)
    use_backend(names[0])
    layer(x)
    use_backend(names[1])
    other: Callable[..., object] = pytest.fail
    monkeypatch.setattr(kernels if names[1] == "numba" else ops, "gelu_backward", other)
    assert layer.backward(x).shape == x.shape


def test_a_gpt_trains_alike_on_both() -> None:
    losses = {}
    for name in ("numpy", "numba"):
        use_backend(name)
        rng = np.random.default_rng(0)
        model = GPT(GPTConfig(vocab_size=11, block_size=16, n_layer=2, n_head=2, n_embd=24))
        optimizer = AdamW(model.decay_groups(0.1), lr=1e-2)
        losses[name] = []
        for _ in range(30):
            ids = rng.integers(0, 11, (4, 9))
            model.zero_grad()
            losses[name].append(model.loss(ids[:, :-1], ids[:, 1:]))
            model.backward()
            optimizer.step()
    np.testing.assert_allclose(losses["numpy"], losses["numba"], atol=2e-5)


def test_kernels_work_where_nothing_can_be_cached() -> None:
    """Numba looks for a folder to write to, and finds none."""
    script = (
        "import numpy, numba.core.caching\n"
        "numba.core.caching.CacheImpl._locator_classes = []\n"
        "import handgrad.kernels\n"
        "print(handgrad.kernels.gelu(numpy.ones(3, numpy.float32))[0].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[0.841")

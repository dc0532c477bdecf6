"""The compiled twins against the NumPy code in ``ops``, their definition, and the choice between the two."""

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing import SHAPES, SPECIAL, Arrays, assert_as_good_as_the_text, assert_close, both_ways, kernels, table

import handgrad
from handgrad import nn, ops
from handgrad.backend import Pair, function_for, gradients_of, pair_for, text_pair
from handgrad.checking.kernels import kernel_cases
from handgrad.models import GPT, GPTConfig
from handgrad.nn import GELU, Layer, LayerNorm, Linear
from handgrad.optim import AdamW
from handgrad.system import backend_setting
from handgrad.system.backend_setting import current_backend, use_backend
from handgrad.system.errors import InputError

everything = table.kernel.everything


@pytest.fixture(autouse=True)
def _leave_the_backend_as_it_was() -> Iterator[None]:
    yield
    use_backend(None)


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
    x, weight, bias = (rng.standard_normal(s).astype(np.float32) for s in (shape, shape[-1:], shape[-1:]))
    inputs = [x + np.float32(offset), weight, bias]
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
    weight, bias = (rng.standard_normal(size).astype(np.float32) for _ in range(2))
    noise = rng.standard_normal((6, size)).astype(np.float32)
    for rows in (
        np.full((4, size), 1e4),  # constant: the result is the bias
        np.array([[1234.567], [-1e4], [3e-5], [0.1]]) * np.ones(size),
        noise * 1e4,
        noise * 1e-6,
        noise + 1e4,
    ):
        assert_as_good_as_the_text("layer_norm", [rows.astype(np.float32), weight, bias])
    for special in (np.nan, np.inf, -np.inf):
        rows = noise.copy()
        rows[2, 1] = special
        assert_as_good_as_the_text("layer_norm", [rows, weight, bias])


def linear_inputs(rows: tuple[int, ...], inputs: int, outputs: int, bias: bool = True, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = [(*rows, inputs), (inputs, outputs), *([(outputs,)] if bias else [])]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("name", ["linear", "linear_gelu", "linear_relu", "linear_relu_squared", "unembedding"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape", [((5,), 3, 7), ((2, 3), 1, 1), ((4, 33), 67, 41), ((0,), 3, 4), ((6,), 0, 5), ((2,), 5, 0)]
)
def test_affine_maps(name: str, bias: bool, shape: tuple[tuple[int, ...], int, int]) -> None:
    inputs = linear_inputs(*shape, bias=bias)
    if name == "unembedding":
        inputs[1] = np.ascontiguousarray(inputs[1].T)
    for a, b in zip(both_ways(kernels, name, inputs), both_ways(ops, name, inputs), strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert_close(a, b)


@pytest.mark.parametrize("name", ["linear", "linear_gelu", "linear_relu", "linear_relu_squared", "unembedding"])
def test_affine_maps_of_views(name: str) -> None:
    """A transposed, sliced or broadcast array gives what a copy of it gives."""
    x, weight, bias = linear_inputs((6, 9), 12, 12)
    views = [x[::2, 1:].swapaxes(0, 1), weight.T, np.broadcast_to(bias[:1], bias.shape)]
    copies = [np.array(view) for view in views]
    for a, b in zip(both_ways(kernels, name, views), both_ways(kernels, name, copies), strict=True):
        np.testing.assert_array_equal(a, b)


def odd_row(values: np.ndarray, kind: str) -> np.ndarray:
    """(1, C) with a meaningless stride between rows: NumPy calls all of these contiguous."""
    if kind == "new axis":
        return values[None]
    if kind == "broadcast":
        return np.broadcast_to(values, (1, len(values)))
    return np.stack([values, values, values])[::-1][1:2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["new axis", "broadcast", "backwards"])
@pytest.mark.parametrize("name", ["linear", "linear_gelu", "linear_relu", "linear_relu_squared", "unembedding"])
def test_the_stride_of_a_single_row_means_nothing(name: str, kind: str) -> None:
    x, weight, bias = linear_inputs((1,), 8, 8)
    row = odd_row(x[0], kind)
    for inputs, copies in (([row, weight, bias], [x, weight, bias]), ([x[:, :1], row, bias], [x[:, :1], x, bias])):
        if name == "unembedding" and inputs[1] is row:
            inputs, copies = [x, row, bias[:1]], [x, x, bias[:1]]
        output, saved = getattr(kernels, name)(*inputs)
        expected, kept = getattr(ops, name)(*copies)
        np.testing.assert_allclose(output, expected, atol=1e-5)
        dy = odd_row(np.arange(expected.shape[-1], dtype=np.float32), kind)
        found = [getattr(module, name + "_backward")(dy, s) for module, s in ((kernels, saved), (ops, kept))]
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_attention_of_one_window_head_and_query() -> None:
    rng = np.random.default_rng(0)
    q = rng.standard_normal(5).astype(np.float32)[None, None]
    for a, b in zip(both_ways(kernels, "attention", [q] * 3), both_ways(ops, "attention", [q.copy()] * 3), strict=True):
        assert_close(a, b)
    qkv = rng.standard_normal((2, 12)).astype(np.float32)[:, None]
    both = [both_ways(module, "multi_head_attention", [qkv], n_head=2) for module in (kernels, ops)]
    for a, b in zip(*both, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("layer", [Linear(3, 4), Linear(3, 4, activation="relu"), LayerNorm(3), GELU()])
def test_a_layer_takes_a_gradient_of_any_float_and_of_no_other_shape(layer: Layer) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3)).astype(np.float32)
    dy = rng.standard_normal(layer(x).shape)
    layer.forget()
    found = []
    for given in (dy.astype(np.float32), dy.astype(np.float32).astype(np.float64), dy.astype(np.float32).tolist()):
        layer(x)
        found.append(layer.backward(given))
        assert found[-1].dtype == np.float32
        np.testing.assert_array_equal(found[-1], found[0])
    for wrong in (dy[:2], dy[:, :1], dy[None]):
        layer(x)
        with pytest.raises(ValueError, match="backward takes ∂L/∂output of shape"):
            layer.backward(wrong)
        layer.forget()


def test_what_would_reach_outside_an_array_is_refused() -> None:
    x = np.ones((2, 8), np.float32)
    for module in (kernels, ops):
        with pytest.raises(ValueError, match=r"weight must have shape \(8,\)"):
            module.layer_norm(x, x[0, :4], x[0])
        with pytest.raises(ValueError, match=r"bias must have shape \(8,\)"):
            module.layer_norm(x, x[0], x[0, :1])
        with pytest.raises(IndexError, match="no classes"):
            module.cross_entropy(np.ones((2, 0), np.float32), np.array([-100, -100]))
        with pytest.raises(ValueError, match="table must have shape"):
            module.embedding(x[0], ids=np.array([0]))


@pytest.mark.parametrize(
    "name", ["linear", "linear_gelu", "linear_relu", "linear_relu_squared", "unembedding", "layer_norm"]
)
def test_gradients_are_added_where_they_belong(name: str) -> None:
    x, weight, bias = linear_inputs((4,), 8, 8)
    inputs = [x, bias, bias + 1] if name == "layer_norm" else [x, weight, bias]
    output, saved = getattr(kernels, name)(*inputs)
    backward = getattr(kernels, name + "_backward")
    dy = np.random.default_rng(1).standard_normal(output.shape).astype(np.float32)
    new = backward(dy, saved)
    there = [np.ones_like(array) for array in inputs[1:]]
    added = backward(dy, saved, (None, *there))
    for array, gradient, returned in zip(there, new[1:], added[1:], strict=True):
        assert returned is array
        np.testing.assert_allclose(array, 1 + gradient, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(added[0], new[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1, 30])
def test_softmax(shape: tuple[int, ...], scale: float) -> None:
    x = (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)
    for a, b in zip(both_ways(kernels, "softmax", [x]), both_ways(ops, "softmax", [x]), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("T", [1, 2, 31, 32, 33, 48, 64, 100, 300])
def test_attention(T: int) -> None:
    rng = np.random.default_rng(T)
    q, k, v = (rng.standard_normal((2, 3, T, D)).astype(np.float32) for D in (5, 5, 7))
    for a, b in zip(both_ways(kernels, "attention", [q, k, v]), both_ways(ops, "attention", [q, k, v]), strict=True):
        assert_close(a, b)
    qkv = rng.standard_normal((2, T, 3 * 4 * 5)).astype(np.float32)
    both = [both_ways(module, "multi_head_attention", [qkv], n_head=4) for module in (kernels, ops)]
    for a, b in zip(*both, strict=True):
        assert_close(a, b)


def single(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def cases_not_taken() -> Iterator[tuple[str, list[Any], Callable[[], dict[str, Any]]]]:
    """For each kernel, inputs and a function that makes options, which only the NumPy code takes."""
    x, weight, bias = single(4, 6), single(6, 5), single(5)
    for name in ("linear", "linear_gelu", "linear_relu", "linear_relu_squared"):
        for wanted in ((False, True, True), (True, False, True), (True, True, False)):
            yield name, [x, weight, bias], lambda wanted=wanted: {"wanted": wanted}
        yield name, [x, weight, None], lambda: {"wanted": (True, True, False)}
    yield "linear_gelu", [x, weight, bias], lambda: {"approximate": "none"}
    yield "gelu", [x], lambda: {"approximate": "none"}
    yield "tanh_cap", [x], lambda: {"cap": 1e31}
    for given in ([x, single(4, 6, seed=1)], [x]):
        yield "rms_norm", given, lambda: {"axes": 2}
    yield "token_shift", [x, single(6)], lambda: {"before": np.ones(6)}
    yield "token_shift", [x, single(6)], lambda: {"before": [0.5] * 6}
    yield "softmax", [x], lambda: {"axis": 0}
    yield "softmax", [x], lambda: {"axis": -2}
    q, k, v = single(2, 3, 6, 5), single(2, 3, 6, 5, seed=1), single(2, 3, 6, 4)
    qkv = single(2, 6, 3 * 4 * 5)
    mask = np.random.default_rng(0).random((6, 6)) < 0.7
    for name, inputs, given in (("attention", [q, k, v], {}), ("multi_head_attention", [qkv], {"n_head": 4})):
        for more in ({"causal": False}, {"mask": mask}, {"mask": mask, "causal": False}, {"mask": single(6, 6)}):
            yield name, inputs, lambda given=given, more=more: {**given, **more}
        yield name, inputs, lambda given=given: {**given, "dropout_p": 0.5, "rng": np.random.default_rng(3)}
    yield "attention", [q[:, :, :2], k, v], dict
    yield "attention", [q, k[:1], v[:1]], dict
    yield "attention", [q[:0], k[:0], v[:0]], dict
    yield "attention", [q, k, v[..., :0]], dict
    yield "multi_head_attention", [qkv[:0]], lambda: {"n_head": 4}
    for name in table.KERNELS:
        inputs, options = kernel_cases()[name]
        yield name, [array.astype(np.float64) for array in inputs], lambda options=options: options
        yield name, [inputs[0].astype(np.float64), *inputs[1:]], lambda options=options: options
        yield name, [inputs[0].view(Subclass), *inputs[1:]], lambda options=options: options


class Subclass(np.ndarray):
    """An array of a subclass of NumPy's."""


def run_pair(pair: Pair, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
    output, saved = pair.forward(*inputs, **options)
    dy = np.random.default_rng(1).standard_normal(output.shape).astype(output.dtype)
    return [output, *gradients_of(pair, dy, saved)]


@pytest.mark.parametrize(("name", "inputs", "options"), list(cases_not_taken()))
def test_what_a_kernel_does_not_take_runs_as_its_definition_does(
    name: str, inputs: list[Any], options: Callable[[], dict[str, Any]]
) -> None:
    use_backend("numba")
    operation = getattr(ops, name)
    pair = pair_for(operation, inputs, options())
    assert pair == text_pair(operation) == (name, operation, getattr(ops, f"{name}_backward"), False)
    found = run_pair(pair, inputs, options())
    output, saved = operation(*inputs, **options())
    dy = np.random.default_rng(1).standard_normal(output.shape).astype(output.dtype)
    gradients = getattr(ops, f"{name}_backward")(dy, saved)
    expected = [output, *(gradients if isinstance(gradients, tuple) else (gradients,))]
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_array_equal(a, b)


def test_every_kernel_has_a_case_that_it_takes_and_one_that_it_does_not() -> None:
    use_backend("numba")
    for name, kernel in table.KERNELS.items():
        inputs, options = kernel_cases()[name]
        assert pair_for(getattr(ops, name), inputs, options) == (name, *kernel[:2], kernel.adds_into)
    of_its_own = {name for name, inputs, _ in cases_not_taken() if type(inputs[0]) is np.ndarray}
    assert of_its_own == set(table.KERNELS)


def test_options_may_be_lists_and_views_of_files_but_no_arrays_of_another_library(tmp_path: Path) -> None:
    class Foreign:
        def __array_function__(self, *_: Any) -> Any:
            return NotImplemented

    use_backend("numba")
    weight, ids = single(9, 5), np.array([3, 0, 3])
    np.save(tmp_path / "ids.npy", ids)
    (kernel, text) = (pair_for(ops.embedding, [weight], {"ids": value}) for value in (ids, Foreign()))
    assert kernel.forward is table.KERNELS["embedding"].forward
    assert text == text_pair(ops.embedding)
    for value in ([3, 0, 3], np.load(tmp_path / "ids.npy", mmap_mode="r")):
        assert pair_for(ops.embedding, [weight], {"ids": value}) == kernel


def test_a_backward_is_only_given_what_its_own_forward_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand and on the tape, with calls that kernels take and calls of the same operations that they do not."""
    ran: set[tuple[str, str]] = set()

    def checked(name: str, backward: Callable[..., Any], room: str) -> Callable[..., Any]:
        def call(dy: Any, saved: Any, *into: Any) -> Any:
            assert type(saved).__module__.startswith("handgrad.kernels") is (room == "kernels")
            ran.add((room, name))
            return backward(dy, saved, *into)

        return call

    for name, kernel in table.KERNELS.items():
        guarded = kernel._replace(backward=checked(name, kernel.backward, "kernels"))
        monkeypatch.setitem(table.KERNELS, name, guarded)
        text = checked(name, getattr(ops, f"{name}_backward"), "ops")
        monkeypatch.setattr(ops, f"{name}_backward", text)
    use_backend("numba")
    x, ids = single(2, 6, 12), np.array([[1, 0, 2], [2, 2, 1]])
    mask = np.tril(np.ones((6, 6), bool))
    layers: list[tuple[Layer, tuple[Any, ...]]] = [
        (Linear(12, 5), (x,)), (Linear(12, 5, activation="gelu"), (x,)), (Linear(12, 5, activation="relu"), (x,)),
        (Linear(12, 5, activation="gelu_exact"), (x,)), (GELU(), (x,)), (GELU("none"), (x,)), (LayerNorm(12), (x,)),
        (Linear(12, 5, activation="relu_squared"), (x,)), (nn.RMSNorm(12), (x,)), (nn.ReLUSquared(), (x,)),
        (nn.SiLU(), (x,)), (nn.SwiGLU(), (x,)), (nn.TanhCap(2.0), (x,)), (nn.TokenShift(12), (x,)),
        (nn.Softmax(), (x,)), (nn.Softmax(1), (x,)), (nn.Embedding(4, 3), (ids,)),
        (nn.Unembedding(nn.Parameter(single(7, 12))), (x,)), (nn.Attend(2), (x,)), (nn.Attend(2, causal=False), (x,)),
        (nn.Attend(2), (x, mask)), (nn.CrossEntropyLoss(), (single(2, 3, 4), ids)),
    ]  # fmt: skip
    for layer, inputs in layers:
        output = layer(*inputs)
        layer.backward(np.ones_like(output))
        layer(*(handgrad.tensor(value, requires_grad=value.dtype == np.float32) for value in inputs)).sum().backward()
    q = handgrad.tensor(single(2, 4, 6), requires_grad=True)
    handgrad.rotary(q).sum().backward()
    for options in ({}, {"causal": False}):
        handgrad.autograd.apply(ops.attention, q, q, q, **options).sum().backward()
    # A constant wants no gradient: the NumPy code runs, which can leave it out.
    Linear(12, 5)(handgrad.tensor(x)).sum().backward()
    assert {name for room, name in ran if room == "kernels"} == set(table.KERNELS)
    assert {name for room, name in ran if room == "ops"} >= {
        "linear", "linear_gelu", "gelu", "softmax", "attention", "multi_head_attention"
    }  # fmt: skip


def test_a_projection_that_is_no_multiple_of_the_heads_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not a multiple of 7 \+ 2 x 7 heads"):
        kernels.multi_head_attention(single(2, 6, 60), n_head=7)


@pytest.mark.parametrize("T", [5, 70])
def test_a_query_sees_no_later_key(T: int) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 1, T, 4)).astype(np.float32) for _ in range(3))
    before, _ = kernels.attention(q, k, v)
    k[0, 0, T // 2 :], v[0, 0, T // 2 :] = 100, -7
    after, _ = kernels.attention(q, k, v)
    np.testing.assert_array_equal(before[0, 0, : T // 2], after[0, 0, : T // 2])
    assert (before[0, 0, T // 2 :] != after[0, 0, T // 2 :]).any(axis=-1).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 37), (64, 128), (0, 5), (4, 1)])
def test_cross_entropy(reduction: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    logits = (4 * rng.standard_normal(shape)).astype(np.float32)
    targets = rng.integers(0, shape[-1], shape[:-1])
    if targets.size > 2:
        targets.reshape(-1)[1] = -100
    options = {"targets": targets, "reduction": reduction}
    both = [both_ways(module, "cross_entropy", [logits], **options) for module in (kernels, ops)]
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        assert_close(np.nan_to_num(a), np.nan_to_num(b))


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "i8", ">i8", ">u2"])
def test_embedding(kind: str) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((9, 5)).astype(np.float32)
    for ids in (rng.integers(0, 9, (3, 7)).astype(kind), np.zeros((0, 4), kind), np.array(8, kind)):
        both = [both_ways(module, "embedding", [weight], ids=ids) for module in (kernels, ops)]
        for a, b in zip(*both, strict=True):
            assert_close(a, b)
    for wrong, error in ((np.array([9]), IndexError), (np.array([-1]), IndexError), (np.array([0.5]), TypeError)):
        with pytest.raises(error):
            kernels.embedding(weight, ids=wrong)


@pytest.mark.parametrize("large", [0, 1e4, -1e4, 1e6, -1e6, 1e8, -1e8])
def test_the_loss_of_large_logits(large: float) -> None:
    """Two equal logits: log 2, whatever they are. A logit one step of float32 below the other: log(1 + e^step)."""
    logits = np.full((3, 2), large, np.float32)
    logits[1, 1] = np.nextafter(logits[1, 0], np.float32(-np.inf))
    step = float(logits[1, 0] - logits[1, 1])
    for module in (kernels, ops):
        losses, _ = module.cross_entropy(logits, np.array([0, 1, 1]), reduction="none")
        np.testing.assert_allclose(losses, [np.log(2), np.logaddexp(0, step), np.log(2)], rtol=3e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e4, -1e4])
@pytest.mark.parametrize(
    "name", ["linear", "linear_gelu", "linear_relu", "linear_relu_squared", "unembedding", "softmax", "cross_entropy"]
)
def test_extreme_inputs(name: str, value: float) -> None:
    x, weight, bias = linear_inputs((5,), 8, 8)
    x[2, 3] = value
    if name == "cross_entropy":
        assert_as_good_as_the_text(name, [x], targets=np.array([3, 0, 3, 1, 2]))
    else:
        assert_as_good_as_the_text(name, [x] if name == "softmax" else [x, weight, bias])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e4, -1e4])
@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_extreme_inputs_of_attention(part: str, value: float) -> None:
    """From the first query that sees them on, NaN and infinity show as in NumPy. Earlier queries, whose block never
    reads them, stay right, although NumPy's products of 0 and NaN make them NaN.
    """
    rng = np.random.default_rng(0)
    inputs = {name: rng.standard_normal((1, 2, 40, 4)).astype(np.float32) for name in "qkv"}
    inputs[part][0, 1, 35, 2] = value
    compiled, text, truth = (
        both_ways(module, "attention", [x.astype(dtype) for x in inputs.values()])
        for module, dtype in ((kernels, np.float32), (ops, np.float32), (ops, np.float64))
    )
    (y, *_), (expected, *_) = compiled, text
    np.testing.assert_array_equal(np.isnan(y[:, :, 35:]), np.isnan(expected[:, :, 35:]))
    assert np.isfinite(y[:, 0]).all()
    assert not (np.isnan(y) & ~np.isnan(expected)).any()
    if np.isfinite(value):
        for a, b, t in zip(compiled, text, truth, strict=True):
            own = np.abs(b - t).max()
            assert np.abs(a - t).max() <= max(4 * own, 1e-6 * max(1, np.abs(t).max()))
    else:
        assert any(np.isnan(gradient).any() for gradient in compiled[1:])


@pytest.mark.parametrize(("decoupled", "cautious"), [(True, False), (False, False), (True, True), (False, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adam_update(decoupled: bool, cautious: bool, weight_decay: float) -> None:
    rng = np.random.default_rng(0)
    compiled = [rng.standard_normal(20_001).astype(np.float32) for _ in range(3)]
    compiled.append(rng.random(20_001).astype(np.float32))
    text = [array.copy() for array in compiled]
    options = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": decoupled, "cautious": cautious}
    for step in range(1, 6):
        for update, arrays in ((kernels.adam_update, compiled), (ops.adam_update, text)):
            update(*arrays, step=step, weight_decay=weight_decay, **options)
    for a, b in zip(compiled, text, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("size", [0, 1, 15, 1000, 40_000])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_add_gradients(size: int, count: int) -> None:
    rng = np.random.default_rng(0)
    total, *others = (rng.standard_normal(size).astype(np.float32) for _ in range(1 + count))
    sums = []
    for module in (kernels, ops):
        array = total.copy()
        squares = module.add_gradients(array, others)
        assert squares == pytest.approx(float((array.astype(np.float64) ** 2).sum()), rel=1e-12)
        sums.append(array)
    np.testing.assert_array_equal(*sums)  # both add in the same order and round each sum once
    assert count == 0 or size == 0 or (sums[0] != total).any()
    large = np.full(3, 1e30, np.float32)  # their squares overflow float32
    for module in (kernels, ops):
        assert module.add_gradients(large.copy(), []) == pytest.approx(3e60, rel=1e-6)


def test_a_gradient_counts_scaled() -> None:
    for module in (kernels, ops):
        found = []
        for grad, scale in ((np.full(50, 3, np.float32), 0.25), (np.full(50, 0.75, np.float32), 1.0)):
            arrays = [np.ones(50, np.float32), grad, np.zeros(50, np.float32), np.zeros(50, np.float32)]
            options = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": False}
            module.adam_update(*arrays, step=1, grad_scale=scale, **options)
            assert (arrays[1] == grad).all()
            found.append([arrays[0], *arrays[2:]])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


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


def described(function: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """The function's parameters; the class of ``saved`` differs from file to file."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default, None if p.name == "saved" else p.annotation) for p in found]


@pytest.mark.parametrize("name", table.KERNELS)
def test_a_kernel_has_the_names_and_signatures_of_its_definition(name: str) -> None:
    kernel, text = table.KERNELS[name], text_pair(getattr(ops, name))
    assert (kernel.forward.__name__, kernel.backward.__name__) == (name, f"{name}_backward")
    assert described(kernel.forward) == described(text.forward)
    *backward, last = described(kernel.backward)
    assert (last[0] == "into") is kernel.adds_into
    assert (backward if kernel.adds_into else [*backward, last]) == described(text.backward)
    if kernel.takes is not everything:
        assert described(kernel.takes) == described(text.forward)


@pytest.mark.parametrize("name", table.UPDATES)
def test_an_update_has_the_name_and_signature_of_its_definition(name: str) -> None:
    assert table.UPDATES[name].__name__ == name
    text = described(getattr(ops, name))
    if name == "cached_attention":  # compiled for float32 alone, in which texts are written
        text = [parameter for parameter in text if parameter[0] != "precision"]
    assert described(table.UPDATES[name]) == text


def test_the_seam_chooses_by_backend_and_dtype() -> None:
    single, double = np.ones(3, np.float32), np.ones(3)
    kernel = table.KERNELS["gelu"]
    use_backend("numba")
    assert pair_for(ops.gelu, [single], {}) == ("gelu", kernel.forward, kernel.backward, False)
    assert pair_for(ops.gelu, [double], {}) == text_pair(ops.gelu)
    assert pair_for(ops.tanh, [single], {}) == ("tanh", ops.tanh, ops.tanh_backward, False)
    assert function_for(ops.adam_update, single) is table.UPDATES["adam_update"]
    assert function_for(ops.adam_update, double) is ops.adam_update
    use_backend("numpy")
    assert pair_for(ops.gelu, [single], {}) == text_pair(ops.gelu)
    assert function_for(ops.adam_update, single) is ops.adam_update


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
    monkeypatch.setattr(backend_setting, "_has_numba", lambda: False)
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
    if names[1] == "numba":
        monkeypatch.setitem(table.KERNELS, "gelu", table.KERNELS["gelu"]._replace(backward=other))
    else:
        monkeypatch.setattr(ops, "gelu_backward", other)
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
    """Numba finds no folder to write its cache to."""
    script = (
        "import numpy, numba.core.caching\n"
        "numba.core.caching.CacheImpl._locator_classes = []\n"
        "import handgrad.kernels\n"
        "print(handgrad.kernels.KERNELS['gelu'].forward(numpy.ones(3, numpy.float32))[0].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[0.841")


def run_script(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_products_are_right_where_the_library_of_numpy_is_not_found() -> None:
    """Compiled code then calls back into NumPy, here from several threads."""
    script = (
        "import pathlib, numpy as np\n"
        "pathlib.Path.glob = lambda *_: iter(())  # no library is found\n"
        "from handgrad import ops\n"
        "from handgrad.backend import pair_for, text_pair\n"
        "from handgrad.system.backend_setting import use_backend\n"
        "from handgrad.system.threads import Team\n"
        "use_backend('numba')\n"
        "import importlib\n"
        "assert importlib.import_module('handgrad.kernels.products.blas')._of_numpy() is None\n"
        "x = np.random.default_rng(0).standard_normal((2, 70, 36)).astype(np.float32)\n"
        "dy = x[..., :12].copy()\n"
        "def error(_):\n"
        "    found = []\n"
        "    compiled = pair_for(ops.multi_head_attention, [x], {'n_head': 3}), pair_for(ops.linear, [x, x[0]], {})\n"
        "    text = text_pair(ops.multi_head_attention), text_pair(ops.linear)\n"
        "    assert compiled[0] != text[0] and compiled[1] != text[1]\n"
        "    for attention, linear in (compiled, text):\n"
        "        y, saved = attention.forward(x, n_head=3)\n"
        "        z, more = linear.forward(y, x[0, :12], None)\n"
        "        found.append((z, attention.backward(dy, saved), linear.backward(z, more)[1]))\n"
        "    return max(float(abs(a - b).max()) for a, b in zip(*found))\n"
        "with Team(3) as team:\n"
        "    print(max(team.map(error, range(6))))\n"
    )
    assert float(run_script(script)) < 1e-4


@pytest.mark.slow
def test_the_bits_do_not_depend_on_what_was_compiled_before(tmp_path: Path) -> None:
    """A process that compiles its kernels and one that finds them in the cache get the same gradients."""
    script = (
        "import hashlib, numpy as np\n"
        "from handgrad.models import GPT, GPTConfig\n"
        "model = GPT(GPTConfig(vocab_size=31, block_size=40, n_layer=2, n_head=3, n_embd=36))\n"
        "ids = np.random.default_rng(0).integers(0, 31, (4, 41))\n"
        "model.loss(ids[:, :-1], ids[:, 1:])\n"
        "model.backward()\n"
        "print(hashlib.sha256(model.arena.grad.tobytes()).hexdigest())\n"
    )
    compiled, kept = (run_script(script, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert compiled == kept
    assert any(tmp_path.rglob("*.nbc"))


@pytest.mark.slow
def test_kept_machine_code_is_not_used_where_any_file_of_the_kernels_has_changed(tmp_path: Path) -> None:
    """exp32 is in another file than the kernels that call it."""
    shutil.copytree(Path(ops.__file__).parent.parent, tmp_path / "handgrad")
    script = (
        "import numpy; from handgrad.kernels import KERNELS\n"
        "print(KERNELS['gelu'].forward(numpy.ones(1, numpy.float32))[0][0])"
    )
    places = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    before, again = (run_script(script, **places) for _ in range(2))
    path = tmp_path / "handgrad" / "kernels" / "exponential.py"
    text = path.read_text(encoding="utf-8")
    assert text.count("    return y\n") == 1
    path.write_text(text.replace("    return y\n", "    return y + y\n"), encoding="utf-8")
    assert before == again != run_script(script, **places)

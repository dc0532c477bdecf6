"""Every operation takes arrays of another library and gives the same numbers as for NumPy's, bit for bit."""

from typing import Any

import numpy as np
import pytest
from other_array import OtherArray, plain, wrapped

from handgrad import ops
from handgrad.backend import gradients_of, text_pair
from handgrad.checking.cases import OperationCase
from handgrad.checking.operations import operation_cases
from handgrad.ops.shapes import as_array

CASES = operation_cases()
DTYPES = [np.float64, np.float32]
WITHOUT_BACKWARD = {"adam_update", "add_gradients", "cached_attention", "newton_schulz"}
"""Each has a test of its own."""


def assert_same(other: Any, numpys: Any, what: str) -> None:
    """``other`` is an array of the other library, with the bits, shape and dtype of NumPy's."""
    assert type(other) is OtherArray, f"{what} is {type(other)}"
    ours, theirs = other.host(), np.asarray(numpys)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), what
    assert ours.tobytes() == theirs.tobytes(), what


def in_dtype(value: Any, dtype: Any) -> Any:
    """Floating arrays in another dtype, and a dtype that is an option."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(dtype)
    return np.dtype(dtype) if isinstance(value, np.dtype) else value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_forward_and_backward(case: OperationCase, dtype: Any) -> None:
    pair = text_pair(case.operation)
    inputs = [array.astype(dtype) for array in case.inputs.values()]
    options = {name: in_dtype(value, dtype) for name, value in case.options().items()}
    output, saved = case.operation(*inputs, **options)
    several = isinstance(output, tuple)
    outputs = output if several else (output,)
    rng = np.random.default_rng(3)
    d_outputs = tuple(np.asarray(rng.standard_normal(np.shape(part)), dtype) for part in outputs)
    gradients = gradients_of(pair, d_outputs if several else d_outputs[0], saved)

    options = {name: wrapped(in_dtype(value, dtype)) for name, value in case.options().items()}
    other_output, other_saved = case.operation(*map(OtherArray, inputs), **options)
    other_outputs = other_output if several else (other_output,)
    others = tuple(map(OtherArray, d_outputs))
    other_gradients = gradients_of(pair, others if several else others[0], other_saved)

    for i, (other, numpys) in enumerate(zip(other_outputs, outputs, strict=True)):
        assert_same(other, numpys, f"output {i}")
    for name, other, numpys in zip(case.inputs, other_gradients, gradients, strict=False):
        assert_same(other, numpys, f"the gradient of {name}")
    assert [other is None for other in other_gradients] == [numpys is None for numpys in gradients]


def test_every_operation_has_a_case() -> None:
    functions = {name for name in ops.__all__ if callable(getattr(ops, name)) and not name.endswith("_backward")}
    assert {case.operation.__name__ for case in CASES} | WITHOUT_BACKWARD == functions


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_saved_is_a_named_tuple(case: OperationCase) -> None:
    _, saved = case.operation(*case.inputs.values(), **case.options())
    assert saved == () if type(saved) is tuple else saved._fields


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("decoupled", "cautious"), [(True, False), (False, False), (True, True)])
def test_adam_update(decoupled: bool, cautious: bool, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    data, grad, mean, square = (rng.standard_normal(20000).astype(dtype) for _ in range(4))
    arrays = [data, grad, mean, np.abs(square)]
    others = [OtherArray(array.copy()) for array in arrays]
    options = {"step": 3, "lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "grad_scale": 0.5}
    before = data.copy()
    for four in (arrays, others):
        ops.adam_update(*four, decoupled=decoupled, cautious=cautious, **options)
    assert not np.array_equal(data, before)
    for other, numpys in zip(others, arrays, strict=True):
        assert_same(other, numpys, "an array")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4)])
def test_newton_schulz(shape: tuple[int, int], dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    assert_same(ops.newton_schulz(OtherArray(x)), ops.newton_schulz(x), "the matrix")


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_gradients(dtype: Any) -> None:
    total, *more = np.random.default_rng(0).standard_normal((3, 20000)).astype(dtype)
    other, *others = (OtherArray(array.copy()) for array in (total, *more))
    assert ops.add_gradients(other, others) == ops.add_gradients(total, more)
    assert_same(other, total, "the sum")


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "remainder"])
def test_numbers_beside_arrays(name: str) -> None:
    """On either side, a Python number has no gradient and leaves float32 as it is."""
    x = np.random.default_rng(0).random((2, 3)).astype(np.float32) + np.float32(0.1)
    dy = np.ones_like(x)
    for place in (0, 1):

        def pair(x: Any, dy: Any, place: int = place) -> tuple[Any, Any]:
            y, saved = getattr(ops, name)(*((x, 3.0) if place == 0 else (3.0, x)))
            return y, getattr(ops, f"{name}_backward")(dy, saved)

        y, gradients = pair(x, dy)
        other_y, other_gradients = pair(OtherArray(x), OtherArray(dy))
        assert_same(other_y, y, "the output")
        assert_same(other_gradients[place], gradients[place], "the gradient")
        assert gradients[1 - place] is other_gradients[1 - place] is None


@pytest.mark.parametrize(
    "case", [(ops.clip, {"low": -0.5}), (ops.clip, {"high": 0.5}), (ops.masked_fill, {"value": 7.0})]
)
def test_numbers_as_options(case: tuple[Any, dict[str, float]]) -> None:
    operation, options = case
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    masks = {"mask": x > 0} if operation is ops.masked_fill else {}
    backward = getattr(ops, operation.__name__ + "_backward")
    y, saved = operation(x, **options, **masks)
    other_masks = {name: wrapped(mask) for name, mask in masks.items()}
    other_y, other_saved = operation(OtherArray(x), **options, **other_masks)
    assert_same(other_y, y, "the output")
    assert_same(backward(OtherArray(x), other_saved)[0], backward(x, saved)[0], "the gradient")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_whose_gradient_is_a_number(reduction: Any) -> None:
    logits, targets = np.random.default_rng(0).standard_normal((3, 5)), np.array([1, -100, 4])
    _, saved = ops.cross_entropy(logits, targets, reduction=reduction)
    _, other_saved = ops.cross_entropy(OtherArray(logits), OtherArray(targets), reduction=reduction)
    assert_same(ops.cross_entropy_backward(0.3, other_saved), ops.cross_entropy_backward(0.3, saved), "logits")
    _, saved = ops.mse(logits, 2 * logits, reduction)
    _, other_saved = ops.mse(OtherArray(logits), OtherArray(2 * logits), reduction)
    for other, numpys in zip(ops.mse_backward(0.3, other_saved), ops.mse_backward(0.3, saved), strict=True):
        assert_same(other, numpys, "mse")


def test_wrong_ids_and_targets_are_named_in_the_error() -> None:
    with pytest.raises(IndexError, match="id 7 is outside the table of 7 rows"):
        ops.embedding(OtherArray(np.ones((7, 2))), ids=OtherArray([3, 7]))
    with pytest.raises(IndexError, match=r"target 5 is neither a class in \[0, 5\)"):
        ops.cross_entropy(OtherArray(np.ones((2, 5))), OtherArray([1, 5]))


def test_nothing_to_take_the_largest_of() -> None:
    """NumPy's max takes ``initial`` for this; that of another library may not."""
    empty = np.ones((2, 0), np.float32)
    for operation in (ops.softmax, ops.log_softmax, ops.logsumexp):
        with np.errstate(divide="ignore"):
            assert_same(operation(OtherArray(empty), -1)[0], operation(empty, -1)[0], operation.__name__)


def test_a_piece_without_a_gradient_counts_as_zeros() -> None:
    x, d_piece = np.arange(10.0).reshape(2, 5), np.ones((2, 4))
    _, saved = ops.split(OtherArray(x), [1, 4], axis=1)
    assert_same(ops.split_backward((None, OtherArray(d_piece)), saved), [[0, 1, 1, 1, 1.0]] * 2, "split")
    _, saved = ops.split_heads(OtherArray(np.ones((3, 8))), 2, 1)
    d_query = np.ones((2, 3, 2))
    expected = np.hstack([np.ones((3, 4)), np.zeros((3, 4))])
    assert_same(ops.split_heads_backward((OtherArray(d_query), None, None), saved), expected, "split_heads")


def test_rows_that_many_ids_name() -> None:
    """Long runs of one id, and an element that an index names many times."""
    rng = np.random.default_rng(0)
    ids, dy = rng.integers(0, 3, 200), rng.standard_normal((200, 5))
    expected = ops.embedding_backward(dy, ops.embedding(np.ones((4, 5)), ids=ids)[1])
    saved = ops.embedding(OtherArray(np.ones((4, 5))), ids=OtherArray(ids))[1]
    np.testing.assert_allclose(ops.embedding_backward(OtherArray(dy), saved).host(), expected, rtol=1e-13)
    expected = ops.getitem_backward(dy, ops.getitem(np.ones((4, 5)), ids)[1])
    saved = ops.getitem(OtherArray(np.ones((4, 5))), OtherArray(ids))[1]
    assert_same(ops.getitem_backward(OtherArray(dy), saved), expected, "getitem")


def test_the_stand_in_is_strict() -> None:
    """It refuses all that NumPy's interface lacks, so operations that pass with it need no more than the interface."""
    x, host = OtherArray(np.ones((2, 3))), np.ones((2, 3))
    for refused in (
        lambda: np.asarray(x),
        lambda: x + host,
        lambda: host * x,
        lambda: np.where(x > 0, host, 0),
        lambda: np.concatenate([x, host]),
        lambda: x @ host.T,
        lambda: x[np.array([0, 1])],
        lambda: np.matmul(x, x.T),
        lambda: np.add.at(x, 0, 1),
        lambda: np.add.reduceat(x, [0]),
        lambda: np.max(x, initial=0),
    ):
        with pytest.raises(TypeError):
            refused()
    x += 1
    assert_same(x, 2 * host, "in place")
    assert_same(x[0, 0] * np.float64(2), 4.0, "a single number")
    assert_same(np.asarray(host, like=x), host, "moved to the other side")
    assert plain([x, 1])[0] is x.host()


def test_as_array() -> None:
    x, other = np.ones(3), OtherArray(np.ones(3))
    assert as_array(x) is x
    assert as_array(other) is other
    for value in (2.5, [1, 2], np.float32(3)):
        assert type(as_array(value)) is np.ndarray
        np.testing.assert_array_equal(as_array(value), value)

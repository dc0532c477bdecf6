"""Tensors: data, dtype, shape, how they are made and shown, and whether they behave as in NumPy and PyTorch."""

import math
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad import Tensor
from handgrad.autograd import functions


def test_data_keep_their_dtype_and_python_numbers_become_float32_and_int64() -> None:
    for data, dtype in (
        (np.ones(2), "float64"),
        (np.ones(2, np.float32), "float32"),
        (np.ones(2, np.float16), "float32"),
        (np.ones(2, np.uint16), "int64"),
        (np.ones(2, np.int32), "int32"),
        (np.ones(2, bool), "bool"),
        ([1.0, 2], "float32"),
        ([np.float64(1), 2.0], "float32"),
        ([np.ones(2), np.ones(2)], "float64"),
        ([1, 2], "int64"),
        ([True], "bool"),
        (2.5, "float32"),
        (range(3), "int64"),
        ([[np.ones(2)]], "float64"),
        ([np.ones(2, np.float32), [0.5, 0.5]], "float32"),
        ([handgrad.tensor(1.0), 2.0], "float32"),
        (np.ones(2, ">f4"), "float32"),
        (np.ones(2, ">i8"), "int64"),
        ([handgrad.ones(2), handgrad.zeros(2)], "float32"),
    ):
        assert handgrad.tensor(data).dtype == dtype, data
    assert handgrad.array([1, 2], dtype="float64").dtype == handgrad.float64
    assert handgrad.array is handgrad.tensor


@pytest.mark.parametrize("data", ["abc", [1, "a"], 1j, None, [None], object()])
def test_what_holds_no_numbers_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match="holds no numbers that a tensor can hold"):
        handgrad.tensor(data)


def test_other_dtypes_are_refused() -> None:
    for dtype in ("float16", "complex64", "int8", "U1"):
        with pytest.raises(TypeError, match="dtype must be float32, float64, int32, int64 or bool, not"):
            handgrad.zeros(2, dtype=dtype)


def test_data_are_copied_and_seen_without_a_copy() -> None:
    array = np.ones(3, np.float32)
    x = handgrad.tensor(array)
    array[0] = 5
    assert x.tolist() == [1, 1, 1]
    x.data[1] = 7
    assert x.numpy() is x.data
    assert x.tolist() == [1, 7, 1]
    x.data = np.array([1.0, 2.0, 3.0])
    assert (x.dtype, x.tolist()) == ("float32", [1, 2, 3])
    with pytest.raises(ValueError, match=r"Tensor: data of shape \(2,\) cannot be assigned to one of shape \(3,\)"):
        x.data = np.ones(2)
    assert np.asarray(x).base is x.data or np.asarray(x) is x.data


def test_what_a_tensor_says_of_itself() -> None:
    x = handgrad.arange(6).reshape(2, 3)
    assert (x.shape, x.ndim, x.size, x.numel(), len(x)) == ((2, 3), 2, 6, 6, 2)
    assert x.T.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert [row.tolist() for row in x] == x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x[1, 2].item() == 5
    assert [10, 20, 30][handgrad.tensor(1)] == 20
    assert float(handgrad.tensor(2.5)) == 2.5
    assert int(handgrad.tensor([7])) == 7
    assert f"{handgrad.tensor(2.468):.1f}" == "2.5"
    assert bool(handgrad.tensor(0.0)) is False
    assert repr(handgrad.tensor([1.5, 2], requires_grad=True)) == "tensor([1.5, 2. ], requires_grad=True)"
    assert repr(handgrad.tensor(np.ones(1))) == "tensor([1.], dtype=float64)"
    assert repr(handgrad.tensor(3)) == "tensor(3)"
    for wrong, message in ((bool, "ambiguous"), (float, "size 1"), (handgrad.Tensor.item, "size 1")):
        with pytest.raises(ValueError, match=message):
            wrong(x)
    with pytest.raises(TypeError, match="0-d"):
        len(handgrad.tensor(1))


def test_tensors_compare_by_element_and_hash_by_identity() -> None:
    x = handgrad.tensor([1, 2])
    assert (x == handgrad.tensor([1, 3])).tolist() == [True, False]
    assert (x != 2).tolist() == [True, False]
    assert len({x, x, handgrad.tensor([1, 2])}) == 2
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (+x).tolist() == [1, 2]
    assert (~(x > 1)).tolist() == [True, False]
    assert ((x > 1) & (x < 3) | (x == 1)).tolist() == [True, True]
    assert ((x & 3).tolist(), (4 | x).tolist(), (x ^ 1).tolist(), (~x).tolist()) == ([1, 2], [5, 6], [0, 3], [-2, -3])
    with pytest.raises(TypeError):
        handgrad.ones(2) & handgrad.ones(2)


def test_creation() -> None:
    assert handgrad.zeros(2, 3).shape == handgrad.zeros((2, 3)).shape == handgrad.zeros([2, 3]).shape == (2, 3)
    assert handgrad.ones(2, requires_grad=True).requires_grad
    assert handgrad.zeros(()).shape == handgrad.zeros().shape == ()
    assert handgrad.full((2,), 3).dtype == "int64"
    assert handgrad.full(2, 3.5).tolist() == [3.5, 3.5]
    assert handgrad.arange(3).tolist() == [0, 1, 2]
    assert handgrad.arange(1, 2, 0.25).tolist() == [1, 1.25, 1.5, 1.75]
    assert handgrad.arange(1, 2, 0.25).dtype == "float32"
    assert handgrad.arange(5, 1, -2).tolist() == [5, 3]
    assert handgrad.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert handgrad.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    like = handgrad.zeros(2, 3, dtype="int32")
    for made, value in (
        (handgrad.zeros_like(like), 0),
        (handgrad.ones_like(like), 1),
        (handgrad.full_like(like, 7), 7),
    ):
        assert (made.shape, made.dtype, made.data.min(), made.data.max()) == ((2, 3), "int32", value, value)
    assert handgrad.ones_like(like, dtype="float64").dtype == "float64"
    assert handgrad.rand_like(handgrad.ones(2)).dtype == handgrad.randn_like(handgrad.ones(2)).dtype == "float32"
    with pytest.raises(TypeError, match=r"sizes must be integers, not 2\.5"):
        handgrad.zeros(2.5)


def test_random_tensors_repeat_with_their_seed_and_have_their_laws() -> None:
    def drawn() -> list[Any]:
        handgrad.manual_seed(7)
        return [handgrad.randn(2, 3), handgrad.rand(4, dtype="float64"), handgrad.randint(-2, 3, (50,))]

    first, second = drawn(), drawn()
    assert [x.tolist() for x in first] == [x.tolist() for x in second]
    assert [str(x.dtype) for x in first] == ["float32", "float64", "int64"]
    assert set(first[2].tolist()) == {-2, -1, 0, 1, 2}
    assert set(handgrad.randint(3, size=100).tolist()) == {0, 1, 2}
    many = handgrad.randn(100_000)
    assert abs(many.mean().item()) < 0.02
    assert abs(many.std().item() - 1) < 0.02
    even = handgrad.rand(100_000)
    assert 0 <= even.min().item() <= even.max().item() < 1
    assert abs(even.mean().item() - 0.5) < 0.01
    with pytest.raises(ValueError, match=r"no number in \[3, 3\)"):
        handgrad.randint(3, 3)


def test_numbers_and_0d_tensors_never_widen_an_array() -> None:
    x = handgrad.ones(2, 3)
    wide = np.float64(0.5)
    for result in (
        x / math.sqrt(48),
        x / np.sqrt(48),
        wide * x,
        x * handgrad.tensor(wide),
        handgrad.tensor(wide) - x,
        x * np.arange(3),
        x * np.array([True, False, True]),
        handgrad.where(x > 0, x, wide),
        handgrad.maximum(x, wide),
        x.clip(np.float64(0), handgrad.tensor(wide)),
        x.masked_fill(x > 0, wide),
        x**2,
        x.mean(),
        x.var(),
        handgrad.stack([x, x]).sum(),
        handgrad.arange(3) * 0.5,
        handgrad.arange(3) / 2,
        handgrad.arange(3).mean(),
        handgrad.arange(3).exp(),
        handgrad.where(x > 0, wide, 0.0),
        handgrad.full((2,), wide),
        handgrad.arange(3) % 1.5,
    ):
        assert result.dtype == "float32"
    assert (x * np.ones(3)).dtype == "float64"
    assert (handgrad.arange(3) * 2).dtype == "int64"
    assert (handgrad.arange(3) + True).dtype == "int64"
    assert (handgrad.arange(3, dtype="int32") // 2).dtype == "int32"


def test_numpy_arrays_on_the_left_leave_the_operation_to_the_tensor() -> None:
    x = handgrad.ones(3, requires_grad=True)
    for result in (np.ones(3) + x, np.float32(2) * x, np.eye(3) @ x, np.ones(3) - x, np.ones(3) / x):
        assert isinstance(result, Tensor)
        assert result.requires_grad
    with pytest.raises(TypeError):
        np.exp(x)  # would lose the gradient


def test_names_that_differ_between_numpy_and_pytorch_follow_the_rule() -> None:
    x = handgrad.arange(6, dtype="float32").reshape(2, 3)
    # NumPy's
    assert x.size == 6
    assert x.repeat(2).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert x.std().item() == pytest.approx(np.arange(6).std())
    assert x.max(axis=0).tolist() == [3, 4, 5]
    assert isinstance(handgrad.nonzero(x), tuple)
    assert x.sum(axis=1, keepdims=True).shape == (2, 1)
    assert x.cumsum().shape == (6,)
    assert not np.shares_memory(x.flatten().data, x.data)
    assert not np.shares_memory(x.astype("float32").data, x.data)
    # PyTorch's
    assert x.transpose(0, 1).shape == (3, 2)
    assert [piece.shape for piece in x.split(2, dim=1)] == [(2, 2), (2, 1)]
    assert x.view(3, 2).shape == (3, 2)
    assert np.shares_memory(x.view(-1).data, x.data)
    assert x.masked_fill(x > 3, 0).tolist() == [[0, 1, 2], [3, 0, 0]]
    # both
    assert x.transpose(1, 0).tolist() == x.T.tolist() == x.transpose().tolist()
    assert handgrad.transpose(handgrad.ones(2, 3, 4), (1, 2, 0)).shape == (3, 4, 2)
    # PyTorch's alone take axis and dim
    assert x.softmax(axis=0).tolist() == handgrad.softmax(x, dim=0).tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x @ x, ValueError, r"matmul: a \(2, 3\) and b \(2, 3\) do not fit"),
        (lambda x: x + handgrad.ones(4), ValueError, "could not be broadcast"),
        (lambda x: x.reshape(4), ValueError, "cannot reshape"),
        (lambda x: x[5], IndexError, "out of bounds"),
        (lambda x: x[handgrad.tensor([0.5])], TypeError, "index: a tensor of float32 cannot be an index"),
        (lambda x: x.sum(axis=2), ValueError, "axis 2 is out of bounds for array of dimension 2"),
        (lambda x: x.sum(axis=(0, -2)), ValueError, "names an axis twice"),
        (lambda x: x.split(0), ValueError, "split: pieces must have a size of at least 1, not 0"),
        (lambda x: x.split([1, 2]), ValueError, r"split: sizes \[1, 2\] do not add up to 2, the size of axis 0"),
        (lambda x: x.chunk(0), ValueError, "chunk: there must be at least 1 chunk, not 0"),
        (lambda x: x.masked_fill(x > 0, x), ValueError, "masked_fill: value must be a number or a 0-d tensor"),
        (lambda x: x.norm(3), ValueError, r"norm: ord 3 needs one axis, in a tensor of shape \(2, 3\)"),
        (lambda x: x.repeat(1.5), TypeError, "repeat: repeats must be integers"),
        (lambda x: x.flatten(1, 0), ValueError, "flatten: start_dim 1 comes after end_dim 0"),
        (lambda x: x.clip(), ValueError, "clip: at least one of min and max must be given"),
        (lambda x: handgrad.where(x > 0, x), TypeError, "where: give both a and b, or neither"),
        (lambda x: handgrad.mse(x, x[0]), ValueError, "mse: prediction .* and target .* must have the same shape"),
        (lambda x: handgrad.layer_norm(x, 2), ValueError, r"the last axes of x, .* are not normalized_shape \(2,\)"),
        (lambda x: handgrad.conv2d(x, x), ValueError, "conv2d: x .* and weight .* must share C"),
        (lambda x: handgrad.max(x, x), TypeError, "only integer|integer scalar|integers"),
        (
            lambda x: handgrad.linear(x, np.ones((3, 4)), np.ones(1)),
            ValueError,
            r"bias must have shape \(4,\), not \(1,\)",
        ),
        (lambda x: handgrad.triu(x[0]), ValueError, "triu: x must have at least two axes"),
        (lambda x: handgrad.randn(2, dtype="int64"), TypeError, "rand and randn draw float32 and float64"),
        (lambda x: handgrad.randn_like(handgrad.arange(3)), TypeError, "rand and randn draw float32 and float64"),
        (lambda x: x.norm(2, axis=(0, 1)), ValueError, "norm: ord 2 needs one axis"),
        (lambda x: handgrad.arange(3).masked_fill([True, False, True], 0.5), TypeError, "masked_fill: the float 0.5"),
        (lambda x: x[[0.5]], IndexError, "integer"),
        (lambda x: handgrad.nonsense, AttributeError, "has no attribute 'nonsense'"),
    ],
)
def test_what_cannot_be_says_so(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(handgrad.ones(2, 3))


def test_numpys_integers_are_integers() -> None:
    x, one = handgrad.ones(2, 3), np.int64(1)
    assert x.sum(axis=one).shape == (2,)
    assert [piece.shape for piece in x.split(one)] == [(1, 3), (1, 3)]
    assert x[[]].shape == (0, 3)
    assert handgrad.conv2d(handgrad.ones(1, 1, 4, 4), handgrad.ones(1, 1, 2, 2), stride=np.int64(2)).shape == (
        1,
        1,
        2,
        2,
    )
    with pytest.raises(TypeError, match="conv2d: padding must be an integer or two, not 'same'"):
        handgrad.conv2d(handgrad.ones(1, 1, 4, 4), handgrad.ones(1, 1, 2, 2), padding="same")  # type: ignore[arg-type]


def test_star_gives_tensors_and_hides_nothing_of_pythons() -> None:
    names: dict[str, Any] = {}
    exec("from handgrad import *", names)
    assert {"Tensor", "tensor", "no_grad", "nn", "optim", "softmax"} <= set(names)
    assert not {"sum", "max", "abs", "round"} & set(names)


def test_every_function_that_is_promised_is_there() -> None:
    functions = """exp log sqrt abs sign sin cos tan tanh sigmoid relu gelu softplus clip maximum minimum where floor
    ceil round sum mean var std prod max min argmax argmin cumsum cumprod norm logsumexp matmul mm dot trace diagonal
    einsum reshape view flatten transpose permute swapaxes squeeze unsqueeze expand_dims broadcast_to repeat stack cat
    concatenate split chunk triu tril masked_fill softmax log_softmax conv2d embedding layer_norm dropout cross_entropy
    mse attention isnan isinf isfinite all any nonzero tensor array zeros ones full arange linspace eye zeros_like
    ones_like full_like randn_like rand_like randn rand randint manual_seed no_grad enable_grad is_grad_enabled save
    load"""
    for name in functions.split():
        assert callable(getattr(handgrad, name)), name
        assert name in dir(handgrad)


def test_no_gradient_passes_through_integers_and_booleans() -> None:
    x = handgrad.tensor([3.0, 0.0, -2.0], requires_grad=True)
    (x.astype(bool) * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 0, 1]
    for dtype in ("bool", "int32", "int64"):
        cast = x.astype(dtype)
        assert not cast.requires_grad
        assert cast.is_leaf
        for result in (
            cast.sum(),
            cast[1:],
            cast * 2,
            cast.reshape(3, 1),
            handgrad.cat([cast, cast]),
            -cast.astype(int),
        ):
            assert not result.requires_grad
        with pytest.raises(RuntimeError, match="requires no gradient"):
            cast.astype("float32").sum().backward()
    x.zero_grad()
    (x.astype("float64") * handgrad.tensor([1, 2, 3])).sum().backward()
    assert x.grad.tolist() == [1, 2, 3]


def test_no_function_gives_integers_or_booleans_that_require_a_gradient() -> None:
    x = handgrad.tensor([[1.5, 2.0], [0.25, 3.0]], requires_grad=True)
    found = 0
    for name in functions.__all__:
        for arguments in ((x,), (x, x)):
            try:
                results = getattr(functions, name)(*arguments)
            except (TypeError, ValueError, RuntimeError, IndexError):
                continue
            for result in results if isinstance(results, tuple) else (results,):
                found += 1
                assert result.dtype.kind == "f" or not result.requires_grad, name
    assert found > 60

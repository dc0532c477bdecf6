"""Tensors: data, dtype, shape, how they are made and shown, and whether they behave as in NumPy and PyTorch."""

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad import Tensor, nn
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
    for function in (np.exp, np.mean, np.sort, np.asarray, lambda x: np.stack([x, x]), lambda x: np.add.reduce(x)):
        with pytest.raises(RuntimeError, match="NumPy asked for the array of a tensor that requires a gradient"):
            function(x)
    assert np.add(x, 1).requires_grad
    assert (np.shape(x), np.zeros_like(x).tolist()) == ((3,), [0, 0, 0])


def test_numpy_computes_with_tensors_that_require_no_gradient() -> None:
    x = handgrad.tensor([[1.0, 4.0], [9.0, 16.0]])
    array = x.data
    for function in (
        np.exp, np.sqrt, np.mean, np.sum, np.std, np.max, np.argmax, np.sort, np.median, np.transpose, np.asarray,
        lambda x: np.concatenate([x, x]), lambda x: np.where(x > 2, x, 0), lambda x: np.mean(x, axis=1, keepdims=True),
        lambda x: np.linalg.norm(x), lambda x: np.percentile(x, 30), lambda x: np.maximum.accumulate(x),
        lambda x: np.clip(x, 2, 5), lambda x: np.reshape(x, (4, 1)), lambda x: np.allclose(x, x), np.unique,
    ):  # fmt: skip
        np.testing.assert_array_equal(function(x), function(array))
        assert not isinstance(function(x), Tensor)
    total = np.zeros((2, 2))
    total += x
    assert isinstance(total, np.ndarray)
    assert total.tolist() == x.tolist()
    assert isinstance(np.multiply(array, x), Tensor)


def test_size_is_a_number_and_answers_as_a_method() -> None:
    x = handgrad.zeros(2, 3)
    assert x.size == 6
    assert (x.size(), x.size(0), x.size(-1), x.size(dim=1)) == ((2, 3), 2, 3, 3)
    assert isinstance(x.size, int)
    assert (json.dumps(x.size), type(pickle.loads(pickle.dumps(x.size)))) == ("6", int)


def test_a_call_that_only_pytorch_takes_works_or_says_what_to_type() -> None:
    x = handgrad.arange(6, dtype="float32").reshape(2, 3)
    assert x.mean(dim=1).tolist() == [1, 4]
    assert x.split(np.array([1, 2]), 1)[1].tolist() == [[1, 2], [4, 5]]
    assert handgrad.softmax(handgrad.tensor(3.0)).item() == 1
    assert handgrad.log_softmax(handgrad.tensor(3.0), dim=0).shape == ()
    assert handgrad.norm(x, "fro").item() == pytest.approx(55**0.5)
    for call, error, said in (
        (lambda: x.repeat(2, 2), TypeError, r"PyTorch's repeat is called tile"),
        (lambda: x.repeat(1, 2, 3), TypeError, r"PyTorch's repeat is called tile"),
        (lambda: handgrad.norm(x[0], "nuc"), ValueError, r'ord must be a number, None or "fro", not \'nuc\''),
        (lambda: x.sum(0, dim=1), TypeError, r"give axis 0 or dim 1, not both"),
        (lambda: x.to("cuda:0"), ValueError, r"there is no device 'cuda:0'"),
        (lambda: handgrad.div(x, x, rounding_mode="trunc"), ValueError, r"rounding_mode must be None or"),
        (lambda: x.gather(0), TypeError, r"give the axis and the index"),
        (lambda: x.gather(1, handgrad.zeros(2, 1)), TypeError, r"indices must be integers, not float32"),
        (lambda: x.gather(1, handgrad.zeros(3, 1, dtype="int64")), ValueError, r"do not fit x of shape \(2, 3\)"),
        (lambda: x.topk(4), ValueError, r"k must lie in \[0, 3\], the size of axis 1, not 4"),
        (lambda: handgrad.one_hot([0, 3], 3), ValueError, r"ids must lie in \[0, 3\), not 0 to 3"),
        (lambda: x.reshape(2, 3, 1).t(), ValueError, r"takes at most two axes"),
        (lambda: x.expand(-1, 2, 3), ValueError, r"must name every axis"),
        (lambda: x.bmm(x), ValueError, r"must be stacks"),
        (lambda: x.tile(-1), ValueError, r"must be at least 0"),
    ):
        with pytest.raises(error, match=said):
            call()


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


class Index:
    """An integer of a type of one's own."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


X = handgrad.arange(24, dtype="float32").reshape(2, 3, 4)
INTEGERS: dict[str, Callable[[Callable[[int], Any]], Any]] = {
    "transpose": lambda i: X.transpose(i(0), i(1)),
    "transpose, all": lambda i: X.transpose(i(2), i(0), i(1)),
    "permute": lambda i: X.permute((i(2), i(0), i(1))),
    "swapaxes": lambda i: X.swapaxes(i(0), i(-1)),
    "reshape": lambda i: X.reshape(i(6), i(-1)),
    "view": lambda i: X.view((i(4), i(6))),
    "flatten": lambda i: X.flatten(i(1), i(2)),
    "unsqueeze": lambda i: X.unsqueeze(i(1)),
    "expand_dims": lambda i: X.expand_dims(i(1)),
    "expand_dims, two": lambda i: X.expand_dims((i(0), i(2))),
    "squeeze": lambda i: X[:, :1].squeeze(i(1)),
    "broadcast_to": lambda i: X[0, 0].broadcast_to((i(2), i(4))),
    "repeat": lambda i: X.repeat(i(2), axis=i(1)),
    "concatenate": lambda i: handgrad.concatenate([X, X], i(1)),
    "cat": lambda i: handgrad.cat([X, X], dim=i(2)),
    "stack": lambda i: handgrad.stack([X, X], i(1)),
    "split": lambda i: X.split(i(2), dim=i(2)),
    "split, sizes": lambda i: X.split([i(1), i(2)], i(1)),
    "chunk": lambda i: X.chunk(i(2), i(2)),
    "diagonal": lambda i: X.diagonal(i(1), i(1), i(2)),
    "trace": lambda i: X.trace(i(1), i(2), i(0)),
    "triu": lambda i: X.triu(i(1)),
    "tril": lambda i: X.tril(diagonal=i(-1)),
    "getitem": lambda i: X[i(1), i(0) : i(2)],
    "round": lambda i: (X / 7).round(i(1)),
    **{
        name: lambda i, name=name: getattr(X, name)(i(1))  # type: ignore[misc]
        for name in (
            "sum",
            "mean",
            "var",
            "std",
            "prod",
            "max",
            "min",
            "cumsum",
            "cumprod",
            "argmax",
            "argmin",
            "all",
            "any",
            "logsumexp",
            "softmax",
            "log_softmax",
        )
    },
    "norm": lambda i: X.norm(axis=(i(0), i(2))),
    "all, two": lambda i: X.all((i(0), i(2))),
    "var, ddof": lambda i: X.var(i(1), ddof=1),
    "layer_norm": lambda i: handgrad.layer_norm(X, i(4)),
    "layer_norm, two": lambda i: handgrad.layer_norm(X, (i(3), i(4))),
    "embedding": lambda i: nn.Embedding(i(5), i(3), rng=np.random.default_rng(0)).weight,
    "Linear": lambda i: nn.Linear(i(4), i(3), rng=np.random.default_rng(0))(X),
    "LayerNorm": lambda i: nn.LayerNorm(i(4))(X),
    "Conv2d": lambda i: nn.Conv2d(
        i(2), i(3), kernel_size=i(2), stride=i(2), padding=i(1), dilation=i(1), rng=np.random.default_rng(0)
    )(X.expand_dims(0)),
    "MultiHeadAttention": lambda i: nn.MultiHeadAttention(i(4), i(2), rng=np.random.default_rng(0))(X),
    "FeedForward": lambda i: nn.FeedForward(i(4), i(5), rng=np.random.default_rng(0))(X),
    "MLP": lambda i: nn.MLP([i(4), i(5), i(3)], rng=np.random.default_rng(0))(X),
    "Softmax": lambda i: nn.Softmax(i(1))(X),
    "cross_entropy": lambda i: nn.CrossEntropyLoss(ignore_index=i(1))(X, handgrad.ones(2, 3, dtype="int64") + 1),
    "zeros": lambda i: handgrad.zeros(i(2), i(3)),
    "full": lambda i: handgrad.full((i(2), i(3)), 1.0),
    "arange": lambda i: handgrad.arange(i(2), i(9), i(3)),
    "linspace": lambda i: handgrad.linspace(0, 1, i(5)),
    "eye": lambda i: handgrad.eye(i(2), i(3)),
    "randn": lambda i: handgrad.randn(i(3), rng=np.random.default_rng(0)),
    "randint": lambda i: handgrad.randint(i(3), i(9), (i(4),), rng=np.random.default_rng(0)),
    "DataLoader": lambda i: list(nn.DataLoader(np.arange(7), i(3), shuffle=True, seed=i(4))),
    "TokenDataset": lambda i: nn.TokenDataset(range(9), i(4))[i(1)],
}


@pytest.mark.parametrize("name", INTEGERS)
def test_whatever_takes_an_integer_takes_one_in_any_form(name: str) -> None:
    def values(found: Any) -> Any:
        return [values(each) for each in found] if isinstance(found, list | tuple) else np.asarray(found.data).tolist()

    handgrad.set_grad_enabled(False)
    try:
        expected = values(INTEGERS[name](int))
        for kind in (np.int64, np.uint8 if "tril" not in name else np.int8, np.array, handgrad.tensor, Index):
            if kind is np.uint8 and name in ("reshape", "swapaxes"):  # these need a negative number
                continue
            assert values(INTEGERS[name](kind)) == expected, kind
    finally:
        handgrad.set_grad_enabled(True)


def test_integers_that_do_not_fit_are_refused() -> None:
    large = 2**64 - 1
    for data, dtype, number in (
        (np.array([1, large], np.uint64), None, large),
        (np.uint64(large), None, large),
        ([large, 0], None, large),
        ([2**31], "int32", 2**31),
        (np.array([-(2**40), 0]), "int32", -(2**40)),
    ):
        with pytest.raises(OverflowError, match=f"tensor: {number} does not fit into {dtype or 'int64'}"):
            handgrad.tensor(data, dtype)
    with pytest.raises(OverflowError, match="does not fit into int64"):
        handgrad.ones(2) * np.array([1, large], np.uint64)
    assert handgrad.tensor(np.array([7], np.uint64)).tolist() == [7]
    assert handgrad.tensor([2**31 - 1, -(2**31)], "int32").tolist() == [2**31 - 1, -(2**31)]
    assert handgrad.tensor(np.array([2**63], np.uint64), "float64").tolist() == [2.0**63]


def test_the_text_of_a_tensor_shows_a_shape_that_its_numbers_do_not() -> None:
    assert repr(handgrad.zeros(0, 3)) == "tensor([], shape=(0, 3))"
    assert repr(handgrad.zeros(2, 0, dtype="float64")) == "tensor([], shape=(2, 0), dtype=float64)"
    assert repr(handgrad.zeros(0)) == "tensor([])"


def test_a_leaf_is_copied_and_pickled_with_memory_of_its_own() -> None:
    x = handgrad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (2 * x).sum().backward()
    view = x.detach()[1:]
    for copied in (copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        twin = copied(x)
        assert isinstance(twin, Tensor)
        assert twin.requires_grad
        (twin * 5).sum().backward()
        twin.data = np.zeros(3)
        assert (twin.grad.tolist(), twin.tolist()) == ([7, 7, 7], [0, 0, 0])
        assert (x.grad.tolist(), x.tolist()) == ([2, 2, 2], [1, 2, 3])
        other = copied(view)
        other += 1
        assert (other.tolist(), view.tolist(), x.tolist()) == ([3, 4], [2, 3], [1, 2, 3])
    assert len(pickle.dumps(handgrad.zeros(100_000)[:3])) < 2000  # without the array it was a view of


def test_a_computed_tensor_is_neither_copied_nor_pickled() -> None:
    x = handgrad.tensor([1.0], requires_grad=True)
    y = x * 1
    for _ in range(3000):  # deeper than Python's recursion
        y = y + 1
    for copied, said in (
        (copy.copy, r"copy: a computed tensor cannot be copied with its history; copy detach\(\) instead, or use copy"),
        (copy.deepcopy, r"copy: a computed tensor cannot be copied with its history; copy detach\(\) instead"),
        (pickle.dumps, r"pickle: a computed tensor cannot be pickled with its history; pickle detach\(\) instead"),
    ):
        with pytest.raises(RuntimeError, match=said):
            copied(y)
    assert pickle.loads(pickle.dumps(y.detach())).tolist() == [3001]

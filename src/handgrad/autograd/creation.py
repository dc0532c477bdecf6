"""Tensors from data, constants and random numbers. Sizes are integers or one tuple; the dtype is float32 by default."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad.autograd.dtypes import DTYPES, checked_dtype, float32
from handgrad.autograd.operands import as_tensor_array
from handgrad.autograd.random import default_generator
from handgrad.autograd.tensor import Tensor, TensorLike
from handgrad.ops.shapes import integer, sizes_of
from handgrad.system.arrays import Array

Sizes = int | Sequence[int]
Dtype = npt.DTypeLike | None


def tensor(data: Any, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """A copy of data as a tensor: arrays keep their dtype, Python's floats become float32, its ints int64."""
    return Tensor(data, dtype, requires_grad)


array = tensor


def zeros(*size: Sizes, dtype: Dtype = float32, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros."""
    return _leaf(np.zeros(sizes_of(size), _float32_by_default(dtype)), requires_grad)


def ones(*size: Sizes, dtype: Dtype = float32, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return _leaf(np.ones(sizes_of(size), _float32_by_default(dtype)), requires_grad)


def full(size: Sizes, fill_value: Any, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """A tensor full of ``fill_value``; in its dtype by default."""
    value = as_tensor_array(fill_value.item() if isinstance(fill_value, np.generic) else fill_value, dtype)
    return _leaf(np.full(sizes_of((size,)), value, value.dtype), requires_grad)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Dtype = None) -> Tensor:
    """start, start + step, … below stop; int64 if all three are integers. ``arange(stop)`` starts at 0."""
    if stop is None:
        start, stop = 0, start
    whole = all(integer(value) is not None for value in (start, stop, step))
    number: type[float] | Callable[[Any], int] = operator.index if whole else float
    start, stop, step = number(start), number(stop), number(step)
    return _leaf(np.arange(start, stop, step).astype(checked_dtype(dtype or (np.int64 if whole else float32))))


def linspace(start: float, stop: float, num: int = 50, dtype: Dtype = float32, requires_grad: bool = False) -> Tensor:
    """``num`` evenly spaced numbers from start to stop, both included."""
    return _leaf(np.linspace(start, stop, operator.index(num)).astype(_float32_by_default(dtype)), requires_grad)


def eye(n: int, m: int | None = None, dtype: Dtype = float32, requires_grad: bool = False) -> Tensor:
    """A tensor (n, m), m = n by default: 1 on the diagonal, 0 elsewhere."""
    n, m = operator.index(n), operator.index(n if m is None else m)
    return _leaf(np.eye(n, m, dtype=_float32_by_default(dtype)), requires_grad)


def rand(
    *size: Sizes, dtype: Dtype = float32, requires_grad: bool = False, rng: np.random.Generator | None = None
) -> Tensor:
    """Uniform random numbers in [0, 1), drawn by ``rng`` or by the generator that ``manual_seed`` starts."""
    drawn = (rng or default_generator()).random(sizes_of(size), dtype=_drawn_dtype(dtype).type)
    return _leaf(np.asarray(drawn), requires_grad)


def randn(
    *size: Sizes, dtype: Dtype = float32, requires_grad: bool = False, rng: np.random.Generator | None = None
) -> Tensor:
    """Normal random numbers, N(0, 1), drawn by ``rng`` or by the generator that ``manual_seed`` starts."""
    drawn = (rng or default_generator()).standard_normal(sizes_of(size))
    return _leaf(np.asarray(drawn, _drawn_dtype(dtype)), requires_grad)


def randint(
    low: int,
    high: int | None = None,
    size: Sizes = (),
    *,
    dtype: Dtype = np.int64,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Uniform random integers in [low, high); ``randint(high)`` starts at 0.

    Raises ValueError if there is no integer in that range.
    """
    low, high = map(operator.index, (0, low) if high is None else (low, high))
    if low >= high:
        raise ValueError(f"randint: there is no number in [{low}, {high})")
    drawn = (rng or default_generator()).integers(low, high, sizes_of((size,)))
    return _leaf(np.asarray(drawn, np.int64 if dtype is None else checked_dtype(dtype)))


def empty(*size: Sizes, dtype: Dtype = float32, requires_grad: bool = False) -> Tensor:
    """A tensor of this shape that holds whatever was in the memory."""
    return _leaf(np.empty(sizes_of(size), _float32_by_default(dtype)), requires_grad)


def from_numpy(array: Array) -> Tensor:
    """A tensor over the memory of a NumPy array: a change of one changes the other.

    Raises TypeError for anything else, and for an array of a dtype that tensors do not have.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: takes a NumPy array, not {type(array).__name__}; tensor() takes anything")
    if array.dtype not in DTYPES:
        raise TypeError(f"from_numpy: a tensor of {array.dtype} would need a copy, which tensor() makes")
    return _leaf(array.view(np.ndarray))


def normal(
    mean: TensorLike = 0.0,
    std: TensorLike = 1.0,
    size: Sizes | None = None,
    *,
    dtype: Dtype = float32,
    requires_grad: bool = False,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Normal random numbers, N(mean, std²), in ``size``, or in the shape of mean and std; they get no gradient.

    Raises ValueError if std is negative.
    """
    mean, std = (as_tensor_array(value, np.float64) for value in (mean, std))
    if (std < 0).any():
        raise ValueError(f"normal: std must be at least 0, not {std.min()}")
    shape = np.broadcast_shapes(mean.shape, std.shape) if size is None else sizes_of((size,))
    drawn = (rng or default_generator()).standard_normal(shape) * std + mean
    return _leaf(np.asarray(drawn, _drawn_dtype(dtype)), requires_grad)


def uniform(
    low: float = 0.0,
    high: float = 1.0,
    size: Sizes = (),
    *,
    dtype: Dtype = float32,
    requires_grad: bool = False,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Uniform random numbers in [low, high).

    Raises ValueError if low is above high.
    """
    if not low <= high:
        raise ValueError(f"uniform: low {low} must not be above high {high}")
    drawn = (rng or default_generator()).uniform(low, high, sizes_of((size,)))
    return _leaf(np.asarray(drawn, _drawn_dtype(dtype)), requires_grad)


def randperm(n: int, *, dtype: Dtype = np.int64, rng: np.random.Generator | None = None) -> Tensor:
    """The integers from 0 to n - 1 in random order."""
    drawn = (rng or default_generator()).permutation(operator.index(n))
    return _leaf(drawn.astype(np.int64 if dtype is None else checked_dtype(dtype)))


def multinomial(
    probs: TensorLike, num_samples: int, replacement: bool = False, *, rng: np.random.Generator | None = None
) -> Tensor:
    """``num_samples`` indices drawn from each row of weights (V,) or (N, V), which need not add up to 1; int64.

    Without replacement no index is drawn twice, as if each were removed once it was drawn.

    Raises ValueError for other shapes, for weights that are negative, not finite or all 0, and for more samples
    without replacement than weights above 0.
    """
    weights, n = as_tensor_array(probs, np.float64), operator.index(num_samples)
    if weights.ndim not in (1, 2):
        raise ValueError(f"multinomial: weights must have shape (V,) or (N, V), not {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(axis=-1) > 0).all()):
        raise ValueError("multinomial: weights must be finite, at least 0, and not all 0 in a row")
    generator = rng or default_generator()
    if replacement:
        edges = np.cumsum(weights, axis=-1)
        drawn = generator.random((*weights.shape[:-1], n)) * edges[..., -1:]
        return _leaf(np.asarray((drawn[..., None] >= edges[..., None, :]).sum(axis=-1), np.int64))
    possible = (weights > 0).sum(axis=-1)
    if n < 1 or n > possible.min():
        raise ValueError(
            f"multinomial: {n} samples without replacement need as many weights above 0, there are {possible.min()}"
        )
    # The index whose exponential clock rings first has probability w / Σ w; the next is drawn among the others.
    with np.errstate(divide="ignore"):
        times = generator.standard_exponential(weights.shape) / weights
    return _leaf(np.argsort(times, axis=-1)[..., :n].astype(np.int64))


def empty_like(x: TensorLike, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """``empty`` in x's shape and dtype."""
    like = as_tensor_array(x, dtype)
    return empty(like.shape, dtype=like.dtype, requires_grad=requires_grad)


def numel(x: TensorLike) -> int:
    """How many elements x has."""
    return int(as_tensor_array(x).size)


def zeros_like(x: TensorLike, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """Zeros in x's shape and dtype."""
    return full_like(x, 0, dtype, requires_grad)


def ones_like(x: TensorLike, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """Ones in x's shape and dtype."""
    return full_like(x, 1, dtype, requires_grad)


def full_like(x: TensorLike, fill_value: Any, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """``fill_value`` in x's shape and dtype."""
    like = as_tensor_array(x, dtype)
    return _leaf(np.full(like.shape, fill_value, like.dtype), requires_grad)


def rand_like(x: TensorLike, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """``rand`` in x's shape and dtype."""
    like = as_tensor_array(x, dtype)
    return rand(like.shape, dtype=like.dtype, requires_grad=requires_grad)


def randn_like(x: TensorLike, dtype: Dtype = None, requires_grad: bool = False) -> Tensor:
    """``randn`` in x's shape and dtype."""
    like = as_tensor_array(x, dtype)
    return randn(like.shape, dtype=like.dtype, requires_grad=requires_grad)


def _leaf(data: Array, requires_grad: bool = False) -> Tensor:
    made = Tensor.holding(data)
    if requires_grad:
        made.requires_grad = True
    return made


def _float32_by_default(dtype: Dtype) -> np.dtype[Any]:
    return float32 if dtype is None else checked_dtype(dtype)


def _drawn_dtype(dtype: Dtype) -> np.dtype[Any]:
    found = _float32_by_default(dtype)
    if found.kind != "f":
        raise TypeError(f"random: numbers of {found} are drawn by randint; rand and randn draw float32 and float64")
    return found

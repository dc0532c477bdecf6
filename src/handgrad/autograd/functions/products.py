"""Products of matrices and sums of products."""

from handgrad import ops
from handgrad.autograd.functions.elementwise import multiply
from handgrad.autograd.operands import as_tensor, promoted_tensors
from handgrad.autograd.recording import apply
from handgrad.autograd.tensor import Tensor, TensorLike


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """a @ b: the last two axes are matrices, the others broadcast; a vector is a row on the left, else a column."""
    a, b = promoted_tensors(a, b)
    return apply(ops.matmul, a, b)


def mm(a: TensorLike, b: TensorLike) -> Tensor:
    """The product of two matrices; other shapes are refused.

    Raises ValueError if one does not have two axes.
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"mm: both must be matrices, but have shapes {a.shape} and {b.shape}; matmul takes others")
    return matmul(a, b)


def bmm(a: TensorLike, b: TensorLike) -> Tensor:
    """The products of two stacks of matrices of the same length; other shapes are refused.

    Raises ValueError if one does not have three axes, or if the lengths differ.
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0]:
        raise ValueError(
            f"bmm: both must be stacks of equally many matrices, not of shapes {a.shape} and {b.shape}; matmul takes "
            "other shapes"
        )
    return matmul(a, b)


def outer(a: TensorLike, b: TensorLike) -> Tensor:
    """Every a_i times every b_j: (I, J); both are flattened first."""
    a, b = as_tensor(a), as_tensor(b)
    return multiply(a.reshape(-1, 1), b.reshape(1, -1))


def dot(a: TensorLike, b: TensorLike) -> Tensor:
    """NumPy's dot: the inner product of vectors, the product of matrices, the multiple by a number; in general the sum
    over the last axis of a and the last but one of b.
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    if b.ndim <= 2:
        return matmul(a, b)
    return einsum("...j,...jk->...k" if a.ndim == 1 else _dot_subscripts(a.ndim, b.ndim), a, b)


def einsum(subscripts: str, *operands: TensorLike) -> Tensor:
    """Products of the operands, summed over the indices that the output does not name: "bhtd,bhsd->bhts"."""
    return apply(ops.einsum, *promoted_tensors(*operands), subscripts=subscripts)


def _dot_subscripts(a: int, b: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    left, right, summed, last = letters[: a - 1], letters[a - 1 : a + b - 3], "Z", "Y"
    return f"{left}{summed},{right}{summed}{last}->{left}{right}{last}"

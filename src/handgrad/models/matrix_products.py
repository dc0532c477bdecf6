"""The matrix products of a training step, from which its floating-point operations are counted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """``count`` products (rows, inner) @ (inner, columns) that one part of a model computes in a training step."""

    part: str
    rows: int
    inner: int
    columns: int
    count: int
    is_backward: bool
    rows_first: bool = True
    """Whether the first matrix is stored by rows; if not, it is stored transposed."""
    columns_first: bool = True
    """The same for the second matrix."""

    @property
    def operation(self) -> str:
        """The part's name, with " backward" in the backward pass."""
        return f"{self.part} backward" if self.is_backward else self.part

    @property
    def flops(self) -> int:
        """Number of multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns * self.count


def products_of_map(
    part: str, rows: int, inputs: int, outputs: int, copies: int, weight_is_transposed: bool
) -> list[Product]:
    """The products of y = x W with x (rows, inputs): y itself, dx = dy Wᵀ and dW = xᵀ dy.

    A transposed weight is stored as (outputs, inputs), as in an output head.
    """
    plain = not weight_is_transposed
    return [
        Product(part, rows, inputs, outputs, copies, False, True, plain),
        Product(part, rows, outputs, inputs, copies, True, True, weight_is_transposed),
        Product(part, inputs, rows, outputs, copies, True, False, True),
    ]


def products_of_attention(part: str, length: int, head_dim: int, heads: int, window: int = 0) -> list[Product]:
    """The products of causal attention in ``heads`` heads altogether. Only scores that a query sees are counted: those
    below the diagonal and, if ``window`` is above 0, within so many keys.

    Forward q kᵀ and P v; backward dy vᵀ, Pᵀ dy, dS k and dSᵀ q.
    """
    T, D, seen = length, head_dim, -(-length // 2)
    if 0 < window < length:
        seen = -(-(window * length - window * (window - 1) // 2) // length)
    return [
        Product(part, T, D, seen, heads, False, True, False),
        Product(part, T, seen, D, heads, False),
        Product(part, T, D, seen, heads, True, True, False),
        Product(part, T, seen, D, 2 * heads, True, False, True),
        Product(part, T, seen, D, heads, True),
    ]

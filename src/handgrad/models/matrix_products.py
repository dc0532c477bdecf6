"""The matrix products of a training step: what its floating-point operations are counted from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """``count`` products (rows, inner) @ (inner, columns) that one part of a model makes in a training step."""

    part: str
    rows: int
    inner: int
    columns: int
    count: int
    is_backward: bool
    rows_first: bool = True
    """Whether the first matrix lies in memory by rows, or transposed."""
    columns_first: bool = True
    """The same for the second."""

    @property
    def operation(self) -> str:
        """The part, and whether this is its backward."""
        return f"{self.part} backward" if self.is_backward else self.part

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns * self.count


def products_of_map(
    part: str, rows: int, inputs: int, outputs: int, copies: int, weight_is_transposed: bool
) -> list[Product]:
    """Of y = x W with x (rows, inputs): y itself, dx = dy Wᵀ and dW = xᵀ dy.

    A weight that is transposed lies as (outputs, inputs), as the table of an output head does.
    """
    plain = not weight_is_transposed
    return [
        Product(part, rows, inputs, outputs, copies, False, True, plain),
        Product(part, rows, outputs, inputs, copies, True, True, weight_is_transposed),
        Product(part, inputs, rows, outputs, copies, True, False, True),
    ]


def products_of_attention(part: str, length: int, head_dim: int, heads: int) -> list[Product]:
    """Of causal attention, in ``heads`` heads altogether, the half that is needed.

    Forward q kᵀ and P v; backward dy vᵀ, Pᵀ dy, dS k and dSᵀ q.
    """
    T, D, half = length, head_dim, -(-length // 2)
    return [
        Product(part, T, D, half, heads, False, True, False),
        Product(part, T, half, D, heads, False),
        Product(part, T, D, half, heads, True, True, False),
        Product(part, T, half, D, 2 * heads, True, False, True),
        Product(part, T, half, D, heads, True),
    ]

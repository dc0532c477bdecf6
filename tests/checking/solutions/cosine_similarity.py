"""The gradients of cosine similarity."""

from typing import Any

from handgrad.checking.exercises.cosine_similarity import cosine_similarity as cosine_similarity
from handgrad.system.arrays import Array


def cosine_similarity_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array]:
    """Gradients of cosine_similarity for a and b.

    y = a·b / (|a| |b|), with ∂(a·b)/∂a_j = b_j and ∂|a|/∂a_j = a_j / |a|. By the quotient rule
        ∂y/∂a_j = b_j / (|a| |b|) - a·b / (|a|² |b|) · a_j / |a| = b_j / (|a| |b|) - y a_j / |a|²,
    and the same for b with the names exchanged. A row of a makes one y, so its one dy multiplies the whole row.
    """
    a, b, length_a, length_b, y = (part[..., None] if part.ndim < saved[0].ndim else part for part in saved)
    dy = dy[..., None]
    product = length_a * length_b
    return dy * (b / product - y * a / length_a**2), dy * (a / product - y * b / length_b**2)

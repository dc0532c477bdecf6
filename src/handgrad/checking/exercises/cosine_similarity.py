"""The cosine of the angle between two vectors: the quotient rule, and one dy for a whole row.

By it CLIP compares pictures with captions (Radford et al. 2021, https://arxiv.org/abs/2103.00020).
"""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def cosine_similarity(a: Array, b: Array) -> tuple[Array, tuple[Any, ...]]:
    """a·b / (|a| |b|) for each row of a and the row of b in its place; a and b (..., D), y (...). No row is zero."""
    length_a = np.sqrt(np.square(a).sum(axis=-1))
    length_b = np.sqrt(np.square(b).sum(axis=-1))
    y = (a * b).sum(axis=-1) / (length_a * length_b)
    return y, (a, b, length_a, length_b, y)


def cosine_similarity_backward(dy: Array, saved: tuple[Any, ...]) -> tuple[Array, Array]:
    """Gradients of cosine_similarity for a and b, in this order: da, db, each (..., D); dy is (...)."""
    raise NotImplementedError("cosine_similarity_backward is not yet written")

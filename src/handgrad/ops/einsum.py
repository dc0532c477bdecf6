"""Einstein's summation: any sum of products over named indices."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.shapes import as_array, kind_of, unbroadcast
from handgrad.system.arrays import Array

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class EinsumSaved(NamedTuple):
    """The operands, the indices of each, and those of the output."""

    operands: tuple[Array, ...]
    inputs: list[str]
    output: str


def einsum(*operands: Array, subscripts: str) -> tuple[Array, EinsumSaved]:
    """Products of the operands' elements, summed over every index that the output does not name.

    ``subscripts`` is NumPy's: "bhtd,bhsd->bhts"; without an arrow the output has the indices that occur once, in
    alphabetical order; "..." stands for axes that broadcast.

    Raises ValueError for subscripts that do not fit the operands.
    """
    inputs, output = _explicit(subscripts, operands)
    y = np.einsum(f"{','.join(inputs)}->{output}", *operands, optimize=len(operands) > 1)
    return as_array(y), EinsumSaved(operands, inputs, output)


def einsum_backward(dy: Array, saved: EinsumSaved) -> tuple[Array | None, ...]:
    """Gradients of einsum for each operand.

    y_o = Σ a_i b_j over all indices that are not in o. So a_i gets dy_o b_j from every term that it is in,
        da_i = Σ dy_o b_j over all indices that are not in i,
    which is the einsum with a and y exchanged. If only a has an index, it was summed over: every a_i along it gets the
    same gradient. If a has an index twice, einsum read only the diagonal: off it the gradient is zero.
    """
    operands, inputs, output = saved
    gradients: list[Array | None] = []
    for k, operand in enumerate(operands):
        if kind_of(operand) is None:
            gradients.append(None)
            continue
        others = [*inputs[:k], *inputs[k + 1 :]]
        labels = "".join(dict.fromkeys(inputs[k]))
        reached = "".join(label for label in labels if any(label in part for part in (output, *others)))
        arrays = (dy, *operands[:k], *operands[k + 1 :])
        gradient = np.einsum(f"{','.join((output, *others))}->{reached}", *arrays, optimize=len(arrays) > 1)
        gradient = gradient.reshape(
            [gradient.shape[reached.index(label)] if label in reached else 1 for label in labels]
        )
        sizes = {label: operand.shape[inputs[k].index(label)] for label in labels}
        wanted = tuple(sizes[label] for label in labels)
        # An index of which only this operand has size 1 was broadcast; an index of this operand alone was summed over.
        gradient = unbroadcast(
            gradient,
            (tuple(min(g, w) if w == 1 else g for g, w in zip(gradient.shape, wanted, strict=True)), operand.dtype),
        )
        if len(labels) == operand.ndim:
            gradients.append(np.broadcast_to(as_array(gradient), operand.shape).copy())
            continue
        d_operand = np.zeros_like(operand)
        np.einsum(f"{inputs[k]}->{labels}", d_operand)[...] = gradient  # a view of the diagonal
        gradients.append(d_operand)
    return tuple(gradients)


def _explicit(subscripts: str, operands: tuple[Array, ...]) -> tuple[list[str], str]:
    """The indices of each operand and of the output, with letters in place of the dots."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(inputs)} operands, but {len(operands)} are given")
    free = [letter for letter in _LETTERS if letter not in subscripts]
    widths = [x.ndim - len(part.replace("...", "")) for part, x in zip(inputs, operands, strict=True)]
    for part, x, width in zip(inputs, operands, widths, strict=True):
        if width < 0 or (width > 0 and "..." not in part):
            raise ValueError(f"einsum: {part!r} does not fit an operand of {x.ndim} axes")
    widest = max((w for part, w in zip(inputs, widths, strict=True) if "..." in part), default=0)
    dots = "".join(free[:widest])
    explicit = [part.replace("...", dots[widest - w :] if w else "") for part, w in zip(inputs, widths, strict=True)]
    if arrow:
        return explicit, output.replace("...", dots)
    joined = "".join(inputs).replace("...", "")
    return explicit, dots + "".join(sorted(label for label in set(joined) if joined.count(label) == 1))

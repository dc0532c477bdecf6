"""The public door to the tape: applies an operation of ``ops`` or a user's own pair, by hand or on the tape."""

from collections.abc import Mapping, Sequence
from typing import Any

from handgrad.autograd.operands import as_tensor, promoted, promoted_arrays
from handgrad.autograd.recording import record
from handgrad.autograd.tensor import Tensor
from handgrad.backend import Operation, check_operation, outputs_of, pair_for


def apply(operation: Operation, /, *inputs: Any, **options: Any) -> Any:
    """Runs a pair of functions ``(f, f_backward)``, yours, and puts it on the tape if it is given a Tensor.

    ``f(*inputs, **options)`` gets arrays and returns (output, saved): an array of float32 or float64, or a tuple of
    these, and whatever the backward needs, arrays in a tuple, a list or a dictionary. ``f_backward(dy, saved)`` gets
    ∂L/∂output, of the output's shape and dtype (a tuple if there are several outputs), and returns the gradient of each
    input, in order, with the input's shape and dtype: a single one by itself, several as a tuple. None stands for an
    input that has no gradient. Neither may change an array that it was given.

    ``inputs`` are the differentiable ones: Tensors, arrays and numbers, which become floats of one dtype; None for one
    that is missing. Everything else, such as ids, masks and numbers that are not learned, is an option.

    Returns a Tensor if one of them is a Tensor, otherwise an array; a tuple of these if f returns several. A function
    of ``handgrad.ops`` may stand for its pair. ``nn.Layer.apply`` does the same in a layer, and
    ``handgrad.checking.check_pair`` proves that a pair is right.

    Raises TypeError or ValueError, in one sentence, if a function returns what it must not or changes an array.
    """
    check_operation(operation)
    if all(value is None for value in inputs):
        raise TypeError("apply: an operation needs at least one differentiable input; the others are keywords")
    if any(isinstance(value, Tensor) for value in (*inputs, *options.values())):
        return apply_on_tape(operation, inputs, options)
    arrays = promoted_arrays(inputs)
    return outputs_of(pair_for(operation, arrays, options), arrays, options)[0]


def apply_on_tape(
    operation: Operation, inputs: Sequence[Any], options: Mapping[str, Any], layer: object | None = None
) -> Any:
    """The operation on the tape: a Tensor, or a tuple of Tensors.

    The differentiable inputs are computed in floats of one dtype, as in the functions of tensors.
    """
    given = iter(promoted(*(as_tensor(value) for value in inputs if value is not None), fractions=True))
    made = record(operation, [None if value is None else next(given) for value in inputs], options, layer)
    return made[0] if len(made) == 1 else tuple(made)

"""A leaf of a model: one operation with the parameters it owns, whose backward follows from the operation's pair."""

from typing import Any, NamedTuple

import numpy as np

from handgrad.autograd import Tensor, is_grad_enabled
from handgrad.autograd.applying import apply_on_tape
from handgrad.autograd.operands import promoted_arrays
from handgrad.backend import Operation, Pair, check_operation, gradients_of, outputs_of, pair_for
from handgrad.nn.forward_pass import Pass, current_pass, drop
from handgrad.nn.module import Module, is_on_tape
from handgrad.nn.parameter import Parameter
from handgrad.system.arrays import Array


class Kept(NamedTuple):
    """What a layer keeps between its forward and its backward."""

    pair: Pair
    saved: tuple[Any, ...]
    inputs: tuple[Any, ...]
    """As the caller gave them: Parameters, arrays, None."""
    outputs: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
    """Shape and dtype of each output."""
    several: bool
    """Whether the operation returns a tuple of outputs, and its backward takes a tuple of gradients."""
    of_pass: Pass


class Layer(Module):
    """A leaf: one operation and the parameters it owns, nothing else.

    ``forward`` hands its operation, of ``ops`` or your own, to ``apply``; ``backward`` then follows by itself from the
    operation's pair.
    """

    _kept: Kept | None = None
    _follows_from_forward = True
    """Its backward follows from what a forward applied, so it is right for the forward of every direct subclass."""

    def apply(self, operation: Operation, /, *inputs: Any, **options: Any) -> Any:  # type: ignore[override]
        """Runs an operation, and keeps what its backward needs: here, or on the tape for Tensors.

        It is a function of ``handgrad.ops``, or your own pair of functions ``(f, f_backward)``, as in
        ``handgrad.apply``. ``inputs`` are the differentiable ones, in the operation's order: arrays or Tensors, and
        this layer's own Parameters; None for one that is missing. By hand and on the tape, the same rule gives them
        one dtype, that of ``autograd.operands``.

        With a function alone it is ``Module.apply``, which calls the function with this layer.

        Raises RuntimeError if this layer already ran by hand in the same pass.
        """
        if not inputs and not options and callable(operation):
            return super().apply(operation)
        check_operation(operation)
        if self._is_given_tensors(inputs) or is_on_tape(*options.values()):
            return apply_on_tape(operation, inputs, options, layer=self)
        of_pass = self._pass_that_may_keep() if is_grad_enabled() else None
        arrays = promoted_arrays([value.data if isinstance(value, Parameter) else value for value in inputs])
        pair = pair_for(operation, arrays, options)
        output, saved = outputs_of(pair, arrays, options, self)
        if of_pass is not None:
            several = isinstance(output, tuple)
            outputs = tuple((y.shape, y.dtype) for y in (output if several else (output,)))
            self._keep(Kept(pair, saved, inputs, outputs, several, of_pass))
        return output

    def _pass_that_may_keep(self) -> Pass:
        """The pass that runs, or a new one of this layer alone if ``forward`` was called directly."""
        current = current_pass()
        if self._kept is not None:
            if self._kept.of_pass is current:
                raise RuntimeError(
                    f"{type(self).__name__}: forward ran a second time in one pass, and by hand a layer keeps only one "
                    "for its backward; call the model with a Tensor: on the tape a layer may be used again and again"
                )
            drop((self,))
        return current or Pass()

    def _is_given_tensors(self, inputs: tuple[Any, ...]) -> bool:
        """Whether a Tensor is among them that is not one of this layer's own Parameters."""
        for value in inputs:  # a loop, as this runs for every operation
            if isinstance(value, Tensor) and not (isinstance(value, Parameter) and self._owns(value)):
                return True
        return False

    def _owns(self, parameter: Parameter) -> bool:
        return any(mine is parameter for mine in vars(self).values())

    def _keep(self, kept: Kept | None) -> None:
        vars(self)["_kept"] = kept  # not by __setattr__, which checks the type of all it sets

    @property
    def awaits_backward(self) -> bool:
        """True between a forward that kept something and its backward."""
        return self._kept is not None

    def backward(self, dy: Any) -> Any:
        """∂L/∂input from ∂L/∂output; adds to the gradients of the parameters and uses up what forward kept.

        Returns the gradient of the array input, in its dtype if that is a float; a tuple if there are several; None if
        no input has a gradient (Embedding). A number as ``dy`` counts as an array full of it. A layer with several
        outputs takes a tuple, in which None counts as zeros.

        Raises RuntimeError if no forward has kept anything, or if a part of its pass was dropped since; ValueError if
        dy does not have the output's shape.
        """
        kept = self._what_forward_kept()
        dy = self._fitting(dy, kept)
        self._keep(None)
        for_arrays = []
        into = tuple(p.grad if isinstance(p, Parameter) and p.requires_grad else None for p in kept.inputs)
        # Optional inputs come last; one that was left out gets no gradient.
        gradients = gradients_of(kept.pair, dy, kept.saved, into, self)[: len(kept.inputs)]
        for value, gradient in zip(kept.inputs, gradients, strict=True):
            if isinstance(value, Parameter):
                if gradient is not None and gradient is not value.grad:
                    value.accumulate(gradient)
            elif value is not None:
                for_arrays.append(_in_dtype_of(value, gradient))
        # Nearly all layers take one array. None is for an Embedding, whose ids have no gradient.
        return for_arrays[0] if len(for_arrays) == 1 else tuple(for_arrays) or None

    def _what_forward_kept(self) -> Kept:
        if self._kept is None:
            raise RuntimeError(
                f"{type(self).__name__}: backward without a forward that kept what it needs: there was none, it ran "
                "under no_grad() or on the tape, its backward already ran, or a later call dropped it"
            )
        if self._kept.of_pass.is_broken:
            raise RuntimeError(
                f"{type(self).__name__}: a part of this model was called again from outside before the backward, which "
                "dropped what it had kept; run the forward again, and inspect parts under no_grad()"
            )
        return self._kept

    def _fitting(self, dy: Any, kept: Kept) -> Any:
        """∂L/∂output as an array of the output's shape and dtype, or a tuple of these for several outputs."""
        if not kept.several:
            return self._array_for(dy, *kept.outputs[0])
        pairs = zip(dy, kept.outputs, strict=True)
        return tuple(None if each is None else self._array_for(each, *output) for each, output in pairs)

    def _array_for(self, dy: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        dy = dy.astype(dtype, copy=False) if hasattr(dy, "astype") else np.asarray(dy, dtype)
        if dy.shape != shape:
            if dy.ndim:
                raise ValueError(f"{type(self).__name__}: backward takes ∂L/∂output of shape {shape}, not {dy.shape}")
            dy = np.full(shape, dy, dtype)
        return dy


def _in_dtype_of(value: Any, gradient: Any) -> Any:
    """The gradient in the dtype of the input; unchanged for integers, which have no gradient."""
    if gradient is None or not hasattr(value, "dtype") or value.dtype not in (np.float32, np.float64):
        return gradient
    return gradient.astype(value.dtype, copy=False)

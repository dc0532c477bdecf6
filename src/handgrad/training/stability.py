"""Spikes of the loss, and the first layer and parameter in which NaN or infinity appears."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from handgrad.backend import Call, watching
from handgrad.models import LanguageModel
from handgrad.nn import Parameter
from handgrad.nn.base_layer import Layer
from handgrad.runs.checkpoint import Progress

_DECAY = 0.98
"""Weight of a step relative to the next one: the mean covers about fifty steps."""
_DEVIATIONS = 5.0
"""How far above the mean a spike is. In a healthy run no loss was more than 3.4 deviations above it."""
_FEWEST = 30
"""Steps before a loss can count as a spike."""


def record_loss(loss: float, progress: Progress) -> bool:
    """Adds a step's loss to the mean; returns whether it is more than 5 standard deviations above the steps before.

    Mean and variance are exponentially weighted (Finch 2009) and stored in ``progress``. A spike enters them only up to
    5 deviations, so that one does not hide the next.
    """
    count = progress.step - progress.skipped
    most = progress.loss_mean + _DEVIATIONS * math.sqrt(progress.loss_variance)
    spike = count >= _FEWEST and loss > most
    difference = (most if spike else loss) - progress.loss_mean
    weight = max(1 - _DECAY, 1 / (count + 1))
    progress.loss_mean += weight * difference
    progress.loss_variance = (1 - weight) * (progress.loss_variance + weight * difference**2)
    return spike


def first_weight(model: LanguageModel) -> str | None:
    """The first parameter, in the order of the forward, with a value that is not finite; None if there is none."""
    return next(
        (model.stored_name(name) for name, p in model.named_parameters() if not np.isfinite(p.data).all()), None
    )


def first_gradient(model: LanguageModel, among: Callable[[Parameter], bool] = lambda parameter: True) -> str | None:
    """The first parameter, in the order of the backward, whose gradient is not finite; None if there is none."""
    gradients = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None and among(p)]
    return next((model.stored_name(name) for name, grad in reversed(gradients) if not np.isfinite(grad).all()), None)


@contextmanager
def watched(model: LanguageModel) -> Iterator[list[str]]:
    """A context that yields a list and adds to it, in words, each layer whose input or output is not finite."""
    found: list[str] = []
    layers = {id(layer): name for name, layer in model.named_modules() if isinstance(layer, Layer)}

    def watch(call: Call, run: Callable[[], Any]) -> Any:
        name = layers.get(id(call.layer))
        if name is None or call.is_backward:
            return run()
        # Parameters are not inputs here: first_weight checks them.
        own = {id(value.data) for value in vars(call.layer).values() if isinstance(value, Parameter)}
        if not all(_is_finite(value) for value in call.inputs if id(value) not in own):
            found.append(f"the input of {name}")
        output, saved = run()
        if not _is_finite(output):
            found.append(f"the output of {name}")
        return output, saved

    with watching(watch):
        yield found


def _is_finite(value: Any) -> bool:
    return not isinstance(value, np.ndarray | np.generic) or bool(np.isfinite(value).all())

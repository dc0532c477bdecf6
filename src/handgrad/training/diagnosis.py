"""Where numbers stopped being finite: the first layer, and the first parameter."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from handgrad.models import LanguageModel
from handgrad.nn import Module
from handgrad.nn.module import Layer


def first_weight(model: LanguageModel) -> str | None:
    """The first parameter, in the order of the forward, with a value that is not finite; None where there is none."""
    return next(
        (model.stored_name(name) for name, p in model.named_parameters() if not np.isfinite(p.data).all()), None
    )


def first_gradient(model: LanguageModel) -> str | None:
    """The first parameter, in the order of the backward, whose gradient is not finite; None where there is none."""
    gradients = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    return next((model.stored_name(name) for name, grad in reversed(gradients) if not np.isfinite(grad).all()), None)


@contextmanager
def watched(model: LanguageModel) -> Iterator[list[str]]:
    """While entered, the layers through which numbers go that are not finite are added to the list, in words."""
    found: list[str] = []
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, Layer)]
    try:
        for name, layer in layers:
            vars(layer)["forward"] = _watching(name, layer, found)
        yield found
    finally:
        for _, layer in layers:
            vars(layer).pop("forward", None)


def _watching(name: str, layer: Module, found: list[str]) -> Any:
    forward = layer.forward

    def watching(*inputs: Any, **options: Any) -> Any:
        if not all(map(_is_finite, inputs)):
            found.append(f"what goes into {name}")
        output = forward(*inputs, **options)
        if not _is_finite(output):
            found.append(f"the output of {name}")
        return output

    return watching


def _is_finite(value: Any) -> bool:
    return not isinstance(value, np.ndarray | np.generic) or bool(np.isfinite(value).all())

"""Every compiled kernel, in float32, against the text in ``ops`` in float64, which central differences have proven."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.arrays import Array
from handgrad.backend import gradients_of
from handgrad.checking.results import Result

TOLERANCE = 1e-5
"""The largest max|a - b| / max(1, max|b|) that float32 may show for inputs of ordinary size."""


def kernel_inputs() -> dict[str, tuple[Array, ...]]:
    """Float32 inputs for every kernel, by its name."""
    rng = np.random.default_rng(2029)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    return {
        "gelu": (3 * normal(3, 5, 67),),
        "layer_norm": (normal(3, 5, 67), normal(67), normal(67)),
        "adam_update": (normal(1001), normal(1001), normal(1001), np.square(normal(1001))),
    }


def check_kernel(kernels: ModuleType, name: str, inputs: tuple[Array, ...]) -> Iterator[Result]:
    """A result for the output and each gradient of a pair, or for each array that an update moves."""
    run = _updated if name == "adam_update" else _both_ways
    compiled = run(kernels, name, inputs)
    text = run(ops, name, tuple(x.astype(np.float64) for x in inputs))
    for (part, a), (_, b) in zip(compiled, text, strict=True):
        error = float(np.abs(a - b).max() / max(1.0, float(np.abs(b).max())))
        yield Result(f"kernel {name}, float32", part, error, TOLERANCE)


def _both_ways(source: ModuleType, name: str, inputs: tuple[Array, ...]) -> list[tuple[str, Array]]:
    forward: Callable[..., Any] = getattr(source, name)
    output, saved = forward(*inputs)
    dy = np.random.default_rng(13).standard_normal(output.shape).astype(output.dtype)
    gradients = gradients_of(getattr(source, name + "_backward"), dy, saved)
    return [("output", output), *((f"gradient {i}", gradient) for i, gradient in enumerate(gradients, start=1))]


def _updated(source: ModuleType, name: str, inputs: tuple[Array, ...]) -> list[tuple[str, Array]]:
    arrays = [array.copy() for array in inputs]
    numbers = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
    getattr(source, name)(*arrays, step=3, **numbers)
    return [("data", arrays[0]), ("exp_avg", arrays[2]), ("exp_avg_sq", arrays[3])]

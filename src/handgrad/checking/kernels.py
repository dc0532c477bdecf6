"""Every compiled kernel, in float32, against ``ops`` in float64, which central differences have proven."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.backend import Pair, function_for, gradients_of, pair_for, text_pair
from handgrad.checking.results import Result
from handgrad.system.arrays import Array

Inputs = tuple[Array, ...]


def kernel_cases() -> dict[str, tuple[Inputs, dict[str, Any]]]:
    """Float32 inputs and options for each kernel, by name; sizes fill whole vector registers and leave a rest."""
    rng = np.random.default_rng(2029)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    x, weight, bias = normal(3, 5, 67), normal(67, 41) / 8, normal(41)
    ids = rng.integers(0, 37, (3, 29))
    # Several blocks of queries, the last one shorter.
    q, k, v = normal(2, 3, 77, 9), normal(2, 3, 77, 9), normal(2, 3, 77, 11)
    adam = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": True, "step": 3}
    return {
        "linear": ((x, weight, bias), {}),
        "linear_gelu": ((x, weight, bias), {}),
        "linear_relu": ((x, weight, bias), {}),
        "unembedding": ((x, np.ascontiguousarray(weight.T), bias), {}),
        "embedding": ((normal(37, 67),), {"ids": ids}),
        "gelu": ((3 * x,), {}),
        "layer_norm": ((x, normal(67), normal(67)), {}),
        "softmax": ((3 * x,), {}),
        "attention": ((q, k, v), {}),
        "multi_head_attention": ((normal(2, 77, 3 * 3 * 9),), {"n_head": 3}),
        "cross_entropy": ((3 * normal(3, 29, 67),), {"targets": ids}),
        "adam_update": ((normal(1001), normal(1001), normal(1001), np.square(normal(1001))), adam),
        "add_gradients": ((normal(1001), normal(1001), normal(1001)), {}),
    }


def check_kernel(name: str, inputs: Inputs, options: dict[str, Any]) -> Iterator[Result]:
    """A result for the output and each gradient of a pair, or for each array that an update changes.

    Raises ValueError if the backend does not run this case with a kernel.
    """
    operation = getattr(ops, name)
    double = tuple(x.astype(np.float64) for x in inputs)
    if not hasattr(ops, f"{name}_backward"):  # an update, which changes arrays in place
        kernel, text = function_for(operation, *inputs), operation
        found = _updated(kernel, name, inputs, options), _updated(text, name, double, options)
    else:
        kernel, text = pair_for(operation, inputs, options), text_pair(operation)
        found = both_ways(kernel, inputs, options), both_ways(text, double, options)
    if kernel == text:
        raise ValueError(f"{name}: this case does not run with a kernel")
    for (part, a), (_, b) in zip(*found, strict=True):
        yield Result(f"kernel {name}, float32", part, None, compiled=kernel_error(a, b))


def kernel_error(compiled: Array, text: Array) -> float:
    """max|a - b| / max(1, max|b|); infinity if the shapes differ."""
    if compiled.shape != text.shape:
        return float("inf")
    return float(np.abs(compiled - text).max() / max(1.0, float(np.abs(text).max())))


def both_ways(pair: Pair, inputs: Inputs, options: dict[str, Any]) -> list[tuple[str, Array]]:
    """The output of a pair, and its gradients for a fixed dy, each with its name."""
    output, saved = pair.forward(*inputs, **options)
    dy = np.random.default_rng(13).standard_normal(output.shape).astype(output.dtype)
    gradients = gradients_of(pair, dy, saved)
    found = [(f"gradient {i}", gradient) for i, gradient in enumerate(gradients, start=1) if gradient is not None]
    return [("output", output), *found]


def _updated(update: Callable[..., Any], name: str, inputs: Inputs, options: dict[str, Any]) -> list[tuple[str, Array]]:
    arrays = [array.copy() for array in inputs]
    if name == "add_gradients":
        squares = update(arrays[0], arrays[1:])
        return [("sum", arrays[0]), ("norm", np.sqrt(squares))]
    update(*arrays, **options)
    return [("data", arrays[0]), ("exp_avg", arrays[2]), ("exp_avg_sq", arrays[3])]

"""Every compiled kernel, in float32, against ``ops`` in float64, which central differences have proven."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.backend import Pair, function_for, gradients_of, pair_for, text_pair
from handgrad.checking.results import Result
from handgrad.system.arrays import Array

Inputs = tuple[Array, ...]
Code = Callable[..., list[tuple[str, Array]]]


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
        "rotary": ((normal(2, 3, 77, 10),), {"offset": 5}),
        "cross_entropy": ((3 * normal(3, 29, 67),), {"targets": ids}),
        "adam_update": ((normal(1001), normal(1001), normal(1001), np.square(normal(1001))), adam),
        "newton_schulz": ((normal(37, 67),), {}),
        "add_gradients": ((normal(1001), normal(1001), normal(1001)), {}),
        "linear_relu_squared": ((x, weight, bias), {}),
        "rms_norm": ((x, normal(67)), {}),
        "token_shift": ((x, normal(67)), {}),
        "relu_squared": ((3 * x,), {}),
        "silu": ((3 * x,), {}),
        "swiglu": ((3 * normal(3, 5, 134),), {}),
        "tanh_cap": ((3 * x,), {"cap": 1.7}),
    }


OTHER_CODE: dict[str, dict[str, Any]] = {"adam_update": {"cautious": True}}
"""Options with which a kernel runs other code than in its case above."""


def check_kernel(name: str, inputs: Inputs, options: dict[str, Any]) -> Iterator[Result]:
    """A result for the output and each gradient of a pair, or for each array that an update changes.

    Raises ValueError if the backend does not run this case with a kernel.
    """
    compiled, text = _both_codes(name, inputs, options)
    if compiled is None:
        raise ValueError(f"{name}: this case does not run with a kernel")
    found = compiled(inputs, options), text(_in_double(inputs), options)
    for (part, a), (_, b) in zip(*found, strict=True):
        subject = ", ".join([f"kernel {name}", *(key for key in OTHER_CODE.get(name, {}) if options.get(key))])
        yield Result(f"{subject}, float32", part, None, compiled=kernel_error(a, b))


def check_kernel_at_the_edges(name: str, inputs: Inputs, options: dict[str, Any]) -> Iterator[Result]:
    """The same with large numbers, without elements, and with arrays that do not lie in order in memory.

    Large numbers magnify the rounding of every float32 code. There, only the part of the error that is above
    ``_ROUNDING`` times that of the NumPy code in float32 counts. A kernel that does not take a case is not checked
    with it.
    """
    for kind, cases in (
        ("large numbers", _large(inputs, options)),
        ("no elements", cases_without_elements(inputs, options)),
        ("views", cases_with_views(name, inputs, options)),
    ):
        errors: dict[str, float] = {}
        for case, given, arrange in cases:
            compiled, text = _both_codes(name, case, given)
            if compiled is None:
                continue
            truth = text(_in_double(case), given, arrange)
            rough = text(case, given) if kind == "large numbers" else truth
            for (part, a), (_, own), (_, b) in zip(compiled(case, given, arrange), rough, truth, strict=True):
                error = kernel_error(a, b) - _ROUNDING * kernel_error(own, b)
                errors[part] = max(errors.get(part, 0.0), error, key=_nan_is_worst)
        for part, error in errors.items():
            yield Result(f"kernel {name}, float32, {kind}", part, None, compiled=error)


_ROUNDING = 10
"""How many times farther from the truth than the NumPy code in float32 a kernel may be with large numbers: it sums in
another order."""

Arrange = Callable[[Array], Array]
Case = tuple[Inputs, dict[str, Any], Arrange]
"""Inputs and options, and how an array that is made later (dy, or what an update changes) lies in memory."""


def _in_order(x: Array) -> Array:
    return x


def _large(inputs: Inputs, options: dict[str, Any]) -> Iterator[Case]:
    """Each input in turn is large: shifted far from zero, full of one number, or scaled."""
    for i, x in enumerate(inputs):
        for large in map(np.float32, (1e4, -1e4, 1e8, -1e8)):
            if large < 0 <= x.min():
                continue  # squares
            for changed in (x + large, np.full_like(x, large), x * large):
                yield (*inputs[:i], changed, *inputs[i + 1 :]), options, _in_order


def cases_without_elements(inputs: Inputs, options: dict[str, Any]) -> Iterator[Case]:
    """No row: the first axis of the first input, of arrays that are as long, and of ids, has size 0."""
    length = len(inputs[0])
    arrays = {name: value[:0] for name, value in options.items() if isinstance(value, np.ndarray)}
    reduction = {"reduction": "sum"} if "targets" in options else {}  # the mean of nothing is NaN
    if "ids" in options:
        yield inputs, {**options, **arrays}, _in_order
    else:
        shorter = tuple(x[:0] if x.shape[0] == length else x for x in inputs)
        yield shorter, {**options, **arrays, **reduction}, _in_order


def cases_with_views(name: str, inputs: Inputs, options: dict[str, Any]) -> Iterator[Case]:
    """Arrays with gaps and in reverse, with the axes in another order, and views whose elements share memory."""
    for arrange in (_reversed_with_gaps, np.asfortranarray, _overlapping):
        given = {key: arrange(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
        if arrange is not _overlapping:
            yield tuple(map(arrange, inputs)), given, arrange
        elif name in ("adam_update", "add_gradients"):  # what they write to cannot overlap; the second input is read
            yield (inputs[0], _overlapping(inputs[1]), *inputs[2:]), given, _in_order
        else:
            yield tuple(map(arrange, inputs)), given, arrange


def _reversed_with_gaps(x: Array) -> Array:
    memory = np.zeros([2 * size for size in x.shape], x.dtype)
    view = memory[tuple(slice(None, None, -2) for _ in x.shape)]
    view[...] = x
    return view


def _overlapping(x: Array) -> Array:
    """A view of x's shape in which each row begins one element after the row before; a vector repeats one element."""
    if x.ndim < 2:
        return np.broadcast_to(x[:1], x.shape)
    line = np.concatenate([x[..., :, 0], x[..., -1, 1:]], axis=-1)
    return np.lib.stride_tricks.sliding_window_view(line, x.shape[-1], axis=-1)


def _nan_is_worst(error: float) -> float:
    return float("inf") if np.isnan(error) else error


def kernel_error(compiled: Array, text: Array) -> float:
    """max|a - b| / max(1, max|b|); infinity if the shapes differ."""
    if compiled.shape != text.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        return float(np.abs(compiled - text).max(initial=0) / max(1.0, float(np.abs(text).max(initial=0))))


def both_ways(
    pair: Pair, inputs: Inputs, options: dict[str, Any], arrange: Arrange = _in_order
) -> list[tuple[str, Array]]:
    """The output of a pair, and its gradients for a fixed dy, each with its name."""
    output, saved = pair.forward(*inputs, **options)
    dy = np.random.default_rng(13).standard_normal(output.shape).astype(output.dtype)
    gradients = gradients_of(pair, arrange(dy) if dy.ndim else dy, saved)
    found = [(f"gradient {i}", gradient) for i, gradient in enumerate(gradients, start=1) if gradient is not None]
    return [("output", output), *found]


def _in_double(inputs: Inputs) -> Inputs:
    return tuple(x.astype(np.float64) for x in inputs)


def _both_codes(name: str, inputs: Inputs, options: dict[str, Any]) -> tuple[Code | None, Code]:
    """The kernel, or None if it does not take this case, and the NumPy code."""
    operation = getattr(ops, name)
    if hasattr(ops, f"{name}_backward"):
        kernel, text = pair_for(operation, inputs, options), text_pair(operation)
        return None if kernel == text else partial(both_ways, kernel), partial(both_ways, text)
    update = function_for(operation, *inputs)  # of arrays in place
    return None if update is operation else partial(_updated, name, update), partial(_updated, name, operation)


_WRITTEN = {"adam_update": {0: "data", 2: "exp_avg", 3: "exp_avg_sq"}, "add_gradients": {0: "sum"}}
"""The inputs that an update writes to, by their place."""


def _updated(
    name: str, update: Callable[..., Any], inputs: Inputs, options: dict[str, Any], arrange: Arrange = _in_order
) -> list[tuple[str, Array]]:
    """The arrays that an update writes to, and the norm that ``add_gradients`` returns."""
    written = _WRITTEN.get(name, {})
    arrays = [arrange(array.copy()) if i in written else array for i, array in enumerate(inputs)]
    if name == "newton_schulz":
        return [("output", update(*inputs, **options))]
    if name == "add_gradients":
        squares = update(arrays[0], arrays[1:])
        return [("sum", arrays[0]), ("norm", np.sqrt(squares))]
    update(*arrays, **options)
    return [(part, arrays[i]) for i, part in written.items()]

"""Every pair of ``ops`` against central differences, on shapes whose sizes all differ."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from handgrad import ops
from handgrad.autograd import Tensor
from handgrad.autograd.recording import apply_several
from handgrad.backend import gradients_of, pair_for, text_pair
from handgrad.checking.cases import OperationCase, Options
from handgrad.checking.elementary_operations import elementary_cases
from handgrad.checking.kernels import kernel_error
from handgrad.checking.numerical import central_differences, relative_error
from handgrad.checking.results import Result
from handgrad.system.arrays import Array


def operation_cases() -> list[OperationCase]:
    """All cases; B, T, C, H, D, V and the other sizes are different numbers."""
    rng = np.random.default_rng(2026)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape)

    x, ids = normal(2, 3, 5), np.array([[1, 0, 1], [3, 1, 6]])
    away_from_kink = np.where(np.abs(x) < 0.05, 0.5, x)
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 5, 4), normal(2, 3, 5, 6)
    additive = normal(3, 5, 5)
    allowed = rng.random((2, 1, 5, 5)) < 0.7
    qkv = normal(2, 5, 3 * 12)
    logits, targets = normal(2, 5, 7), np.array([[3, 0, 6, -100, 1], [1, 1, 5, 2, -100]])

    def drawn(**options: Any) -> Options:
        return lambda: {"rng": np.random.default_rng(7), **options}

    def masked_targets(**options: Any) -> Options:
        return lambda: {"targets": targets, **options}

    heads = {"query": q, "key": k, "value": v}
    weight, bias = normal(5, 7), normal(7)
    kept_away = {"x": away_from_the_kink(rng, (2, 3, 5), weight, bias), "weight": weight, "bias": bias}
    return [
        OperationCase("linear", ops.linear, {"x": x, "weight": normal(5, 7), "bias": normal(7)}),
        OperationCase("linear, no bias", ops.linear, {"x": x, "weight": normal(5, 7)}),
        OperationCase("unembedding", ops.unembedding, {"x": x, "weight": normal(7, 5), "bias": normal(7)}),
        OperationCase("embedding", ops.embedding, {"weight": normal(7, 4)}, lambda: {"ids": ids}),
        OperationCase("layer_norm", ops.layer_norm, {"x": x, "weight": normal(5), "bias": normal(5)}),
        OperationCase("layer_norm, no weight", ops.layer_norm, {"x": x}),
        OperationCase(
            "layer_norm, two axes",
            ops.layer_norm,
            {"x": x, "weight": normal(3, 5), "bias": normal(3, 5)},
            lambda: {"axes": 2},
        ),
        OperationCase("leaky_relu", ops.leaky_relu, {"x": away_from_kink}, lambda: {"negative_slope": 0.2}),
        OperationCase("gelu, tanh", ops.gelu, {"x": 2 * x}),
        OperationCase("gelu, exact", ops.gelu, {"x": 2 * x}, lambda: {"approximate": "none"}),
        OperationCase("linear_gelu", ops.linear_gelu, {"x": x, "weight": normal(5, 7), "bias": normal(7)}),
        OperationCase(
            "linear_gelu, exact, no bias",
            ops.linear_gelu,
            {"x": x, "weight": normal(5, 7)},
            lambda: {"approximate": "none"},
        ),
        OperationCase("linear_relu", ops.linear_relu, kept_away),
        OperationCase("relu", ops.relu, {"x": away_from_kink}),
        OperationCase("softmax", ops.softmax, {"x": x}),
        OperationCase("softmax, axis 1", ops.softmax, {"x": x}, lambda: {"axis": 1}),
        OperationCase("dropout", ops.dropout, {"x": x}, drawn(p=0.4)),
        OperationCase("dropout, eval", ops.dropout, {"x": x}, lambda: {"training": False}),
        OperationCase("cross_entropy", ops.cross_entropy, {"logits": logits}, masked_targets()),
        OperationCase("cross_entropy, sum", ops.cross_entropy, {"logits": logits}, masked_targets(reduction="sum")),
        OperationCase("cross_entropy, none", ops.cross_entropy, {"logits": logits}, masked_targets(reduction="none")),
        *(
            OperationCase(
                f"weighted_cross_entropy, {reduction}", ops.weighted_cross_entropy, {"logits": logits}, options
            )
            for reduction, options in (
                ("mean", masked_targets(weight=rng.random(7), label_smoothing=0.3)),
                ("sum", masked_targets(weight=rng.random(7), reduction="sum")),
                ("none", masked_targets(label_smoothing=0.1, reduction="none")),
            )
        ),
        *(
            OperationCase(
                f"{name}, {reduction}",
                getattr(ops, name),
                {
                    "input": rng.uniform(0.3, 0.7, (2, 3, 5)) if name == "binary_cross_entropy" else 3 * x,
                    "target": rng.random((2, 3, 5)),
                },
                partial(dict, reduction=reduction),
            )
            for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits")
            for reduction in ("mean", "sum", "none")
        ),
        OperationCase("attention", ops.attention, heads),
        OperationCase("attention, fewer queries", ops.attention, {**heads, "query": q[:, :, :2]}),
        OperationCase(
            "attention, not causal", ops.attention, {**heads, "query": normal(2, 3, 7, 4)}, lambda: {"causal": False}
        ),
        OperationCase("attention, boolean mask", ops.attention, heads, lambda: {"mask": allowed}),
        OperationCase("attention, additive mask", ops.attention, heads, lambda: {"mask": additive}),
        OperationCase("attention, learned mask", ops.attention, {**heads, "mask": normal(3, 1, 5)}),
        OperationCase("attention, window", ops.attention, heads, lambda: {"window": 2, "scale": 0.7}),
        OperationCase("attention, dropout", ops.attention, heads, drawn(dropout_p=0.3)),
        OperationCase("split_heads", ops.split_heads, {"qkv": qkv}, lambda: {"n_head": 3}, split_qkv),
        OperationCase(
            "split_heads, shared keys",
            ops.split_heads,
            {"qkv": normal(2, 5, 60)},
            lambda: {"n_head": 4, "n_kv_head": 3},
        ),
        OperationCase("split_one", ops.split_one, {"x": normal(2, 5, 12)}, lambda: {"n_head": 3}),
        OperationCase("share_heads", ops.share_heads, {"x": normal(2, 3, 5, 7)}, lambda: {"n_query": 4}),
        OperationCase("merge_heads", ops.merge_heads, {"y": normal(2, 3, 5, 4)}),
        OperationCase("rotary", ops.rotary, {"x": normal(2, 3, 5, 8)}, lambda: {"offset": 4, "base": 50.0}),
        *multi_head_cases(rng),
        *_norms_and_nonlinearities(),
        *elementary_cases(),
    ]


def multi_head_cases(rng: np.random.Generator) -> Iterator[OperationCase]:
    """Multi-head attention: plain, and with queries and keys that are normalised, turned and shared."""
    shared: dict[str, Any] = {"n_head": 6, "n_kv_head": 2}
    rotated: dict[str, Any] = {"n_head": 3, "rope_base": 50.0}
    kinds: list[tuple[str, dict[str, Any], int]] = [
        ("multi_head_attention", {"n_head": 3}, 36),
        ("multi_head_attention, shared keys", shared, 40),
        ("multi_head_attention, rotated", rotated, 36),
        ("multi_head_attention, qk norm", {"n_head": 3, "qk_norm_eps": 0.1}, 36),
        ("multi_head_attention, all", {**shared, **rotated, "n_head": 6, "qk_norm_eps": 0.1, "window": 3}, 40),
    ]
    for name, options, size in kinds:
        H = options["n_head"]
        parts = partial(split_heads_of, n_head=H, n_kv_head=options.get("n_kv_head", H))
        inputs = {"qkv": rng.standard_normal((2, 5, size))}
        yield OperationCase(name, ops.multi_head_attention, inputs, partial(dict, options), parts)
    mask = rng.standard_normal((3, 1, 5))
    inputs = {"qkv": rng.standard_normal((2, 5, 36)), "mask": mask}
    yield OperationCase("multi_head_attention, learned mask", ops.multi_head_attention, inputs, lambda: {"n_head": 3})


def _norms_and_nonlinearities() -> list[OperationCase]:
    """Those of newer transformers: Llama, Gemma, Primer."""
    rng = np.random.default_rng(2032)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape)

    x, weight, bias = normal(2, 3, 5), normal(5, 7), normal(7)
    kept_away = {"x": away_from_the_kink(rng, (2, 3, 5), weight, bias), "weight": weight, "bias": bias}
    without_bias = {"x": away_from_the_kink(rng, (2, 3, 5), weight, 0 * bias), "weight": weight}
    gated, eps = 2 * normal(2, 5, 8), 0.1  # so large an eps shows in every gradient
    before = normal(2, 5)
    return [
        OperationCase("rms_norm", ops.rms_norm, {"x": x, "weight": normal(5)}),
        OperationCase("rms_norm, no weight", ops.rms_norm, {"x": x}, lambda: {"eps": eps}),
        OperationCase("rms_norm, two axes", ops.rms_norm, {"x": x, "weight": normal(3, 5)}, lambda: {"axes": 2}),
        OperationCase("token_shift", ops.token_shift, {"x": x, "weight": normal(5)}),
        OperationCase(
            "token_shift, a vector before",
            ops.token_shift,
            {"x": x, "weight": normal(5)},
            lambda: {"before": before},
        ),
        OperationCase("relu_squared", ops.relu_squared, {"x": np.where(np.abs(x) < 0.05, 0.5, x)}),
        OperationCase("linear_relu_squared", ops.linear_relu_squared, kept_away),
        OperationCase("linear_relu_squared, no bias", ops.linear_relu_squared, without_bias),
        OperationCase("silu", ops.silu, {"x": 2 * x}),
        OperationCase("swiglu", ops.swiglu, {"x": gated}, parts=split_gate_and_up),
        OperationCase("tanh_cap", ops.tanh_cap, {"x": 2 * x}, lambda: {"cap": 1.7}),
    ]


def check_operation(case: OperationCase) -> Iterator[Result]:
    """A result for each differentiable input, or for each of its parts.

    The gradient is that of the scalar Σ output · r, with a fixed random r: every direction of the output counts.
    """
    inputs = {name: array.copy() for name, array in case.inputs.items()}
    pair = pair_for(case.operation, tuple(inputs.values()), case.options())
    output, saved = pair.forward(*inputs.values(), **case.options())
    draw = np.random.default_rng(11)
    several = isinstance(output, tuple)
    r = tuple(draw.standard_normal(np.shape(part)) for part in (output if several else (output,)))
    gradients = gradients_of(pair, r if several else r[0], saved)
    taped = _on_the_tape(case, r)
    compiled = _compiled_errors(case, r)

    def loss() -> float:
        output = pair.forward(*inputs.values(), **case.options())[0]
        return sum(
            float((part * weight).sum()) for part, weight in zip(output if several else (output,), r, strict=True)
        )

    found = zip(inputs.items(), gradients[: len(inputs)], taped, compiled, strict=True)
    for (name, array), analytic, tape, error in found:
        numeric = central_differences(loss, array)
        parts = case.parts or _whole
        for (part, a), (_, n), (_, t) in zip(
            parts(name, analytic), parts(name, numeric), parts(name, tape), strict=True
        ):
            yield Result(case.name, part, relative_error(a, n), tape=relative_error(t, a), compiled=error)


def _compiled_errors(case: OperationCase, r: tuple[Array, ...]) -> list[float | None]:
    """For each input the error of its gradient by the kernel in float32; None if no kernel runs this case."""
    single = [array.astype(np.float32) for array in case.inputs.values()]
    kernel, text = pair_for(case.operation, single, case.options()), text_pair(case.operation)
    if kernel == text or len(r) > 1:
        return [None] * len(single)
    found = []
    for pair, dtype in ((kernel, np.float32), (text, np.float64)):
        _, saved = pair.forward(*(array.astype(dtype) for array in single), **case.options())
        found.append(gradients_of(pair, r[0].astype(np.float32).astype(dtype), saved)[: len(single)])
    return [kernel_error(a, b) for a, b in zip(*found, strict=True)]


def _on_the_tape(case: OperationCase, r: tuple[Array, ...]) -> list[Array]:
    """The gradients that the tape finds for the case's inputs."""
    tensors = [Tensor(array, requires_grad=True) for array in case.inputs.values()]
    outputs = apply_several(case.operation, *tensors, **case.options())
    loss, *others = [(output * weight).sum() for output, weight in zip(outputs, r, strict=True)]
    for other in others:
        loss = loss + other
    loss.backward()
    return [np.zeros(tensor.shape) if tensor.grad is None else tensor.grad for tensor in tensors]


def away_from_the_kink(rng: np.random.Generator, shape: tuple[int, ...], weight: Array, bias: Array) -> Array:
    """An x for which no element of x W + b is near 0, where differences of relu have no meaning."""
    x = rng.standard_normal(shape)
    while np.abs(x @ weight + bias).min() < 0.02:
        x = rng.standard_normal(shape)
    return x


def split_qkv(name: str, gradient: Array) -> Iterator[tuple[str, Array]]:
    """Queries, keys and values, which are side by side in the last axis, separately; as many heads of each."""
    yield from split_heads_of(name, gradient, 1, 1)


def split_heads_of(name: str, gradient: Array, n_head: int, n_kv_head: int) -> Iterator[tuple[str, Array]]:
    """The same for n_head heads of queries and n_kv_head heads of keys and of values."""
    D = gradient.shape[-1] // (n_head + 2 * n_kv_head)
    ends = (n_head * D, (n_head + n_kv_head) * D)
    for part, third in zip(("query", "key", "value"), np.split(gradient, ends, axis=-1), strict=True):
        yield f"{name}, {part}", third


def split_gate_and_up(name: str, gradient: Array) -> Iterator[tuple[str, Array]]:
    """The two halves of the last axis separately."""
    for part, half in zip(("gate", "up"), np.split(gradient, 2, axis=-1), strict=True):
        yield f"{name}, {part}", half


def _whole(name: str, gradient: Array) -> Iterator[tuple[str, Array]]:
    yield name, gradient

"""Every pair of ``ops`` against its counterpart in PyTorch: the output, and all gradients of a random d_output."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pair_oracle import LEADING, POSITIVE, SEED, SIZE, Shape, assert_agrees, compare, repeatedly
from torch import Tensor

from handgrad import ops
from handgrad.system.arrays import Array


@repeatedly
@given(LEADING, SIZE, SIZE, st.booleans(), SEED)
def test_linear(leading: Shape, n_in: int, n_out: int, has_bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((*leading, n_in)), rng.standard_normal((n_in, n_out))
    bias = rng.standard_normal(n_out) if has_bias else None
    compare(ops.linear, [x, weight, bias], lambda x, weight, bias: F.linear(x, weight.T, bias))


@repeatedly
@given(LEADING, SIZE, SIZE, st.booleans(), SEED)
def test_unembedding(leading: Shape, n_embd: int, vocab: int, has_bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((*leading, n_embd)), rng.standard_normal((vocab, n_embd))
    compare(ops.unembedding, [x, weight, rng.standard_normal(vocab) if has_bias else None], F.linear)


@repeatedly
@given(LEADING, SIZE, POSITIVE, SEED)
def test_embedding(ids_shape: Shape, n_embd: int, vocab: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, vocab, ids_shape)
    compare(ops.embedding, [rng.standard_normal((vocab, n_embd))], lambda w: F.embedding(torch.tensor(ids), w), ids=ids)


@repeatedly
@given(LEADING, POSITIVE, st.sampled_from([1e-5, 1e-2]), SEED)
def test_layer_norm(leading: Shape, size: int, eps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((*leading, size)) * 3 + 2
    weight, bias = rng.standard_normal(size), rng.standard_normal(size)
    tolerance = 1e-10 if size > 1 else 1e-9  # the gradient of a single number is zero, which torch rounds to 1e-13
    compare(ops.layer_norm, [x, weight, bias], lambda x, g, b: F.layer_norm(x, (size,), g, b, eps), tolerance, eps=eps)


@repeatedly
@given(LEADING, st.integers(0, 40), st.sampled_from([0.1, 1.0, 5.0]), st.sampled_from(["tanh", "none"]), SEED)
def test_gelu(leading: Shape, size: int, scale: float, approximate: str, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, size)) * scale
    compare(ops.gelu, [x], lambda x: F.gelu(x, approximate=approximate), approximate=approximate)


@repeatedly
@given(LEADING, SIZE, SEED)
def test_relu(leading: Shape, size: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, size)).round()  # puts many values on the kink
    compare(ops.relu, [x], F.relu)


@repeatedly
@given(LEADING, SIZE, SEED)
def test_relu_squared(leading: Shape, size: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, size)).round()
    compare(ops.relu_squared, [x], lambda x: F.relu(x).square())


@repeatedly
@given(LEADING, SIZE, SIZE, st.booleans(), SEED)
def test_linear_relu_squared(leading: Shape, n_in: int, n_out: int, has_bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((*leading, n_in)), rng.standard_normal((n_in, n_out))
    bias = rng.standard_normal(n_out) if has_bias else None
    compare(ops.linear_relu_squared, [x, weight, bias], lambda x, w, b: F.relu(F.linear(x, w.T, b)).square())


@repeatedly
@given(LEADING, POSITIVE, st.booleans(), st.sampled_from([1e-5, 1e-2]), SEED)
def test_rms_norm(leading: Shape, size: int, has_weight: bool, eps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((*leading, size)) * 3 + 2
    weight = rng.standard_normal(size) if has_weight else None
    tolerance = 1e-10 if size > 1 else 1e-9  # as for layer_norm
    compare(ops.rms_norm, [x, weight], lambda x, g: F.rms_norm(x, (size,), g, eps), tolerance, eps=eps)


@repeatedly
@given(LEADING, POSITIVE, POSITIVE, SEED)
def test_rms_norm_of_two_axes(leading: Shape, rows: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((*leading, rows, size)), rng.standard_normal((rows, size))
    compare(ops.rms_norm, [x, weight], lambda x, g: F.rms_norm(x, (rows, size), g, 1e-5), 1e-9, axes=2)


@repeatedly
@given(LEADING, SIZE, SIZE, st.booleans(), SEED)
def test_token_shift(leading: Shape, T: int, size: int, has_before: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((*leading, T, size)), rng.standard_normal(size)
    before = rng.standard_normal((*leading, size)) if has_before else None
    first = torch.zeros((*leading, 1, size)) if before is None else torch.tensor(before).unsqueeze(-2)

    def oracle(x: Tensor, weight: Tensor) -> Tensor:
        return x + weight * torch.cat([first, x], dim=-2)[..., :T, :]

    compare(ops.token_shift, [x, weight], oracle, before=before)


@repeatedly
@given(LEADING, st.integers(0, 40), st.sampled_from([0.1, 1.0, 5.0, 1e3]), SEED)
def test_silu(leading: Shape, size: int, scale: float, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, size)) * scale
    compare(ops.silu, [x], F.silu)


@repeatedly
@given(LEADING, SIZE, st.sampled_from([0.1, 1.0, 5.0, 1e3]), SEED)
def test_swiglu(leading: Shape, size: int, scale: float, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, 2 * size)) * scale

    def oracle(x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up

    compare(ops.swiglu, [x], oracle)


@repeatedly
@given(LEADING, SIZE, st.sampled_from([0.3, 1.0, 30.0]), st.sampled_from([0.1, 1.0, 50.0]), SEED)
def test_tanh_cap(leading: Shape, size: int, cap: float, scale: float, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, size)) * scale
    compare(ops.tanh_cap, [x], lambda x: cap * torch.tanh(x / cap), cap=cap)


@repeatedly
@given(LEADING, SIZE, st.data(), SEED)
def test_softmax(leading: Shape, size: int, data: st.DataObject, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((*leading, size)) * 3
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    compare(ops.softmax, [x], lambda x: F.softmax(x, dim=axis), axis=axis)


@repeatedly
@given(LEADING, SIZE, st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.booleans(), SEED)
def test_dropout(leading: Shape, size: int, p: float, training: bool, seed: int) -> None:
    """The draws are ours; torch gives the scale, the gradient, and the results for p 0, p 1 and eval."""
    x = np.random.default_rng(seed).standard_normal((*leading, size))
    factor = torch.tensor(_drawn_factor(x.shape, p, seed))

    def oracle(x: Tensor) -> Tensor:
        return x * factor if training and 0 < p < 1 else F.dropout(x, p, training)

    compare(ops.dropout, [x], oracle, p=p, training=training, rng=np.random.default_rng(seed))


def test_dropout_drops_the_share_it_is_told_to() -> None:
    factor = _drawn_factor((400, 500), 0.3, seed=0)
    assert set(np.unique(factor)) == {0.0, 1 / 0.7}
    assert abs((factor == 0).mean() - 0.3) < 0.005  # five standard deviations


@repeatedly
@given(
    LEADING, POSITIVE, st.sampled_from([-100, -1, 0, 2]), st.sampled_from(["mean", "sum", "none"]), st.booleans(), SEED
)
def test_cross_entropy(
    leading: Shape, vocab: int, ignore_index: int, reduction: str, all_ignored: bool, seed: int
) -> None:
    """Also if every target is ignored, and if there is none: the mean is then NaN in both."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((*leading, vocab)) * 3
    labels = rng.integers(0, vocab, leading)
    targets = np.where((rng.random(leading) < 0.3) | all_ignored, ignore_index, labels)
    n = math.prod(leading)

    def oracle(logits: Tensor) -> Tensor:
        rows, flat = logits.reshape(n, vocab), torch.tensor(targets).reshape(n)
        losses = F.cross_entropy(rows, flat, ignore_index=ignore_index, reduction=reduction)
        return losses.reshape(leading) if reduction == "none" else losses

    compare(ops.cross_entropy, [logits], oracle, targets=targets, ignore_index=ignore_index, reduction=reduction)


def _masks(rng: np.random.Generator, kind: str, shape: Shape) -> Array | None:
    """A mask of either kind; each query may attend at least to its own key."""
    if kind == "none":
        return None
    allowed: Array = rng.random(shape) < 0.6
    T, S = shape[-2:]
    if S:
        allowed[..., np.arange(T), (np.arange(T) + S - T).clip(0)] = True
    return allowed if kind == "boolean" else np.where(allowed, rng.standard_normal(shape), -np.inf)


def _in_torch(mask: Array | None, causal: bool, T: int, S: int) -> dict[str, Any]:
    """SDPA's options. Its is_causal counts the queries from the first key, ours to the last: equal if T = S."""
    if mask is None and (T == S or not causal):
        return {"is_causal": causal}
    lower = torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else torch.ones(T, S, dtype=torch.bool)
    if mask is None:
        return {"attn_mask": lower}
    theirs = torch.tensor(mask)
    return {"attn_mask": theirs & lower if mask.dtype == bool else theirs.masked_fill(~lower, -math.inf)}


@settings(repeatedly, max_examples=300)
@given(
    LEADING,
    st.tuples(SIZE, SIZE, POSITIVE, SIZE),
    st.sampled_from(["none", "boolean", "additive"]),
    st.booleans(),
    st.booleans(),
    SEED,
)
def test_attention(
    leading: Shape, sizes: tuple[int, int, int, int], kind: str, causal: bool, broadcast: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    T, S, D, E = sizes
    S = max(S, T) if causal else S
    q, k, v = (rng.standard_normal((*leading, *size)) for size in ((T, D), (S, D), (S, E)))
    mask = _masks(rng, kind, (T, S) if broadcast else (*leading, T, S))
    if kind == "additive":  # it has a gradient, as the last input
        assume(q.size and k.size and v.size)  # PyTorch gives a mask of nothing none
        future = ~torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else torch.zeros(T, S, dtype=torch.bool)
        compare(
            ops.attention,
            [q, k, v, mask],
            lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m.masked_fill(future, -math.inf)),
            causal=causal,
        )
        return
    options = _in_torch(mask, causal, T, S)
    compare(
        ops.attention,
        [q, k, v],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options),
        mask=mask,
        causal=causal,
    )


@repeatedly
@given(LEADING, SIZE, POSITIVE, POSITIVE, st.sampled_from(["none", "boolean", "additive"]), st.booleans(), SEED)
def test_multi_head_attention(leading: Shape, T: int, n_head: int, D: int, kind: str, causal: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    qkv = rng.standard_normal((*leading, T, 3 * n_head * D))
    mask = _masks(rng, kind, (n_head, T, T))
    options = _in_torch(mask, causal, T, T)

    def oracle(qkv: Tensor) -> Tensor:
        q, k, v = qkv.reshape(*leading, T, 3, n_head, D).movedim(-3, 0).transpose(-2, -3)
        y = F.scaled_dot_product_attention(q, k, v, **options)
        return y.transpose(-2, -3).reshape(*leading, T, n_head * D)

    compare(ops.multi_head_attention, [qkv], oracle, n_head=n_head, mask=mask, causal=causal)


@repeatedly
@given(LEADING, SIZE, POSITIVE, st.none() | POSITIVE, SIZE, st.sets(st.integers(0, 2), max_size=2), SEED)
def test_split_heads(
    leading: Shape, T: int, n_head: int, n_kv_head: int | None, D: int, unused: set[int], seed: int
) -> None:
    """Parts that do not reach the loss have no gradient, None, which counts as zeros."""
    rng = np.random.default_rng(seed)
    counts = [n_head, n_kv_head or n_head, n_kv_head or n_head]
    qkv = rng.standard_normal((*leading, T, sum(counts) * D))
    tensor = torch.tensor(qkv, requires_grad=True)
    parts = tensor.split([n * D for n in counts], dim=-1)
    expected = [part.unflatten(-1, (n, D)).transpose(-2, -3) for part, n in zip(parts, counts, strict=True)]
    d_parts = [None if i in unused else rng.standard_normal(part.shape) for i, part in enumerate(expected)]
    sum((part * torch.tensor(d)).sum() for part, d in zip(expected, d_parts, strict=True) if d is not None).backward()

    qkv.flags.writeable = False
    outputs, saved = ops.split_heads(qkv, n_head, n_kv_head)
    for ours, theirs in zip(outputs, expected, strict=True):
        assert_agrees(ours, theirs, 0)
    assert_agrees(ops.split_heads_backward(tuple(d_parts), saved), tensor.grad, 0)


@repeatedly
@given(LEADING, POSITIVE, SIZE, SIZE, SEED)
def test_merge_heads(leading: Shape, n_head: int, T: int, D: int, seed: int) -> None:
    y = np.random.default_rng(seed).standard_normal((*leading, n_head, T, D))
    compare(ops.merge_heads, [y], lambda y: y.transpose(-2, -3).flatten(-2))


@repeatedly
@given(LEADING, POSITIVE, POSITIVE, st.sampled_from([0.2, 0.7, 1.0]), SEED)
def test_attention_dropout(leading: Shape, T: int, D: int, p: float, seed: int) -> None:
    """Dropout acts on the weights after softmax, as in SDPA; the draws are ours, so the oracle is the formula."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((*leading, T, D)) for _ in range(3))
    factor = torch.tensor(_drawn_factor((*leading, T, T), p, seed))
    later = torch.ones(T, T, dtype=torch.bool).triu(1)

    def oracle(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.transpose(-1, -2) / math.sqrt(D)).masked_fill(later, -math.inf)
        return (scores.softmax(-1) * factor) @ v

    compare(ops.attention, [q, k, v], oracle, dropout_p=p, rng=np.random.default_rng(seed))


def _drawn_factor(shape: Shape, p: float, seed: int) -> Array:
    """What dropout with this seed multiplies by: 0 or 1 / (1 - p)."""
    return ops.dropout(np.ones(shape), p, rng=np.random.default_rng(seed))[0]


@pytest.mark.parametrize("kind", ["boolean", "additive"])
def test_a_query_that_may_attend_to_nothing_gets_zeros(kind: str) -> None:
    """We promise this; torch's result is not compared (zeros, or NaN in older versions). Other rows match torch's."""
    rng = np.random.default_rng(3)
    q, k, v = (rng.standard_normal((2, 5, 4)) for _ in range(3))
    allowed = np.ones((5, 5), dtype=bool)
    allowed[2] = False
    mask = allowed if kind == "boolean" else np.where(allowed, 0.0, -np.inf)
    y, saved = ops.attention(q, k, v, mask=mask, causal=False)
    assert not y[:, 2].any()
    gradients = ops.attention_backward(rng.standard_normal(y.shape), saved)
    assert len(gradients) == (3 if kind == "boolean" else 4)  # an added mask has a gradient, too
    assert not gradients[0][:, 2].any()
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    expected = F.scaled_dot_product_attention(*map(torch.tensor, (q, k, v)))
    others = [0, 1, 3, 4]
    assert_agrees(y[:, others], expected[:, others], 1e-10)


def _float32_cases() -> dict[str, tuple[Callable[..., Any], list[Array | None], Callable[..., Tensor], dict[str, Any]]]:
    """One for every pair, and one for each option that adds arrays or constants to the arithmetic."""
    rng = np.random.default_rng(4)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    x, ids, targets = normal(2, 3, 5), rng.integers(0, 7, (2, 3)), np.array([[1, -100, 4], [0, 2, 2]])
    heads = [normal(2, 3, 4), normal(2, 3, 4), normal(2, 3, 6)]
    lower = np.tril(np.ones((3, 3), dtype=bool))
    additive = np.where(lower, normal(3, 3), np.float32(-np.inf))
    kept = torch.tensor(_drawn_factor(x.shape, 0.4, 5), dtype=torch.float32)

    def cross_entropy(reduction: str) -> Callable[[Tensor], Tensor]:
        return lambda z: F.cross_entropy(z.flatten(0, 1), torch.tensor(targets).flatten(), reduction=reduction)

    def sdpa(**options: Any) -> Callable[..., Tensor]:
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)

    def in_heads(qkv: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)

    def shifted(x: Tensor, weight: Tensor) -> Tensor:
        return x + weight * F.pad(x, (0, 0, 1, 0))[..., :-1, :]

    return {
        "linear": (ops.linear, [x, normal(5, 7), normal(7)], lambda x, w, b: F.linear(x, w.T, b), {}),
        "unembedding": (ops.unembedding, [x, normal(7, 5), normal(7)], F.linear, {}),
        "embedding": (ops.embedding, [normal(7, 4)], lambda w: F.embedding(torch.tensor(ids), w), {"ids": ids}),
        "layer_norm": (
            ops.layer_norm,
            [x, normal(5), normal(5)],
            lambda x, weight, bias: F.layer_norm(x, (5,), weight, bias),
            {},
        ),
        "gelu, tanh": (ops.gelu, [2 * x], lambda x: F.gelu(x, approximate="tanh"), {}),
        "gelu, exact": (ops.gelu, [2 * x], F.gelu, {"approximate": "none"}),
        "relu": (ops.relu, [x], F.relu, {}),
        "relu_squared": (ops.relu_squared, [x], lambda x: F.relu(x).square(), {}),
        "linear_relu_squared": (
            ops.linear_relu_squared,
            [x, normal(5, 7), normal(7)],
            lambda x, w, b: F.relu(F.linear(x, w.T, b)).square(),
            {},
        ),
        "rms_norm": (ops.rms_norm, [x, normal(5)], lambda x, weight: F.rms_norm(x, (5,), weight, 1e-5), {}),
        "rms_norm, no weight": (ops.rms_norm, [x], lambda x: F.rms_norm(x, (5,), None, 1e-5), {}),
        "token_shift": (ops.token_shift, [x, normal(5)], shifted, {}),
        "token_shift, before in float64": (ops.token_shift, [x, normal(5)], shifted, {"before": np.zeros((2, 5))}),
        "silu": (ops.silu, [2 * x], F.silu, {}),
        "swiglu": (ops.swiglu, [normal(2, 3, 8)], lambda x: F.silu(x[..., :4]) * x[..., 4:], {}),
        "tanh_cap": (ops.tanh_cap, [2 * x], lambda x: torch.tanh(x / 1.7) * 1.7, {"cap": np.float64(1.7)}),
        "softmax": (ops.softmax, [x], lambda x: F.softmax(x, dim=1), {"axis": 1}),
        "dropout": (ops.dropout, [x], lambda x: x * kept, {"p": 0.4, "rng": np.random.default_rng(5)}),
        "dropout, all": (ops.dropout, [x], lambda x: F.dropout(x, 1.0), {"p": 1.0, "rng": np.random.default_rng(5)}),
        "cross_entropy, mean": (ops.cross_entropy, [x], cross_entropy("mean"), {"targets": targets}),
        "cross_entropy, sum": (
            ops.cross_entropy,
            [x],
            cross_entropy("sum"),
            {"targets": targets, "reduction": "sum"},
        ),
        "cross_entropy, none": (
            ops.cross_entropy,
            [x],
            lambda z: cross_entropy("none")(z).unflatten(0, (2, 3)),
            {"targets": targets, "reduction": "none"},
        ),
        "attention": (ops.attention, list(heads), sdpa(is_causal=True), {}),
        "attention, boolean mask": (
            ops.attention,
            list(heads),
            sdpa(attn_mask=torch.tensor(lower)),
            {"mask": lower, "causal": False},
        ),
        "attention, additive mask": (
            ops.attention,
            list(heads),
            sdpa(attn_mask=torch.tensor(additive)),
            {"mask": additive},
        ),
        "multi_head_attention": (ops.multi_head_attention, [normal(2, 3, 24)], in_heads, {"n_head": 2}),
    }


FLOAT32_CASES = _float32_cases()


@pytest.mark.parametrize("name", FLOAT32_CASES)
def test_float32_stays_float32(name: str) -> None:
    """An accidental float64 would double the memory and the time of everything after it."""
    operation, inputs, oracle, options = FLOAT32_CASES[name]
    assert all(x is None or x.dtype == np.float32 for x in inputs)
    compare(operation, inputs, oracle, tolerance=1e-5, **options)


SPECIAL_CASES: dict[str, tuple[Callable[..., Any], list[Array], Callable[..., Tensor], dict[str, Any]]] = {
    "relu": (ops.relu, [], F.relu, {}),
    "gelu, tanh": (ops.gelu, [], lambda x: F.gelu(x, approximate="tanh"), {}),
    "gelu, exact": (ops.gelu, [], F.gelu, {"approximate": "none"}),
    "relu_squared": (ops.relu_squared, [], lambda x: F.relu(x).square(), {}),
    "silu": (ops.silu, [], F.silu, {}),
    "tanh_cap": (ops.tanh_cap, [], lambda x: torch.tanh(x / 2) * 2, {"cap": 2.0}),
    "rms_norm": (ops.rms_norm, [np.full(5, 1.5)], lambda x, g: F.rms_norm(x, (5,), g, 1e-5), {}),
    "token_shift": (
        ops.token_shift,
        [np.full(5, 1.5)],
        lambda x, w: x + w * F.pad(x, (0, 0, 1, 0))[:-1],
        {},
    ),
    "softmax": (ops.softmax, [], lambda x: F.softmax(x, dim=-1), {}),
    "layer_norm": (ops.layer_norm, [np.full(5, 1.5), np.ones(5)], lambda x, g, b: F.layer_norm(x, (5,), g, b), {}),
    "cross_entropy": (
        ops.cross_entropy,
        [],
        lambda z: F.cross_entropy(z, torch.tensor([1, 1, 0, 4]), reduction="none"),
        {"targets": np.array([1, 1, 0, 4]), "reduction": "none"},
    ),
    "cross_entropy, mean": (
        ops.cross_entropy,
        [],
        lambda z: F.cross_entropy(z, torch.tensor([1, 1, 0, 4])),
        {"targets": np.array([1, 1, 0, 4])},
    ),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e4, -1e4])
@pytest.mark.parametrize("name", SPECIAL_CASES)
def test_special_values(name: str, value: float) -> None:
    """A NaN must appear wherever it does in torch, and large numbers must not cause one.

    Rows: the value once, twice, everywhere, and not at all. In float64: torch's exact gelu of infinity in float32 is
    inf or NaN, depending on the length of the array.
    """
    operation, others, oracle, options = SPECIAL_CASES[name]
    x = np.random.default_rng(6).standard_normal((4, 5))
    x[0, 1] = x[1, 1] = x[1, 3] = x[2] = value
    with np.errstate(invalid="ignore"):  # inf - inf
        compare(operation, [x, *(array.copy() for array in others)], oracle, **options)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e4, -1e4])
def test_special_values_as_gate_and_as_what_passes_it(value: float) -> None:
    gate, up = np.random.default_rng(6).standard_normal((2, 4, 3))
    gate[0, 1] = gate[1] = up[2, 0] = up[1, 2] = value
    with np.errstate(invalid="ignore"):  # inf · 0
        compare(ops.swiglu, [np.concatenate([gate, up], axis=-1)], lambda x: F.silu(x[:, :3]) * x[:, 3:])

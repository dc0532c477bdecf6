"""Products, convolution and the parts of networks, on the tape, against PyTorch."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tape_oracle import FLOATS, SEED, SHAPES, SIZES, Shape, agree, broadcastable, draw_array, repeatedly

import handgrad


@repeatedly
@given(broadcastable(), SIZES, SIZES, SIZES, st.sampled_from(["mm", "vm", "mv", "vv"]), FLOATS, SEED)
def test_matmul(shapes: list[Shape], n: int, k: int, m: int, kinds: str, dtype: str, seed: int) -> None:
    a = draw_array(seed, (k,) if kinds[0] == "v" else (*shapes[0], n, k), dtype)
    b = draw_array(seed + 1, (k,) if kinds[1] == "v" else (*shapes[1], k, m), dtype)
    agree(lambda a, b: a @ b, torch.matmul, [a, b])
    agree(handgrad.matmul, torch.matmul, [a, b])
    agree(lambda a: a @ b, lambda a: a @ torch.tensor(b), [a])
    agree(lambda b: a @ b, lambda b: torch.tensor(a) @ b, [b])


@repeatedly
@given(SIZES, SIZES, SIZES, FLOATS, FLOATS, SEED)
def test_mm_and_dot(n: int, k: int, m: int, first: str, second: str, seed: int) -> None:
    a, b = draw_array(seed, (n, k), first), draw_array(seed + 1, (k, m), second)

    def oracle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        common = torch.promote_types(a.dtype, b.dtype)  # PyTorch requires equal dtypes
        return torch.mm(a.to(common), b.to(common))

    agree(handgrad.mm, oracle, [a, b])
    agree(handgrad.dot, oracle, [a, b])
    agree(lambda a, b: a.dot(b), torch.dot, [a.reshape(-1), (a + 1).reshape(-1)])


def test_dot_follows_numpy_in_more_dimensions_and_mm_takes_matrices_alone() -> None:
    rng = np.random.default_rng(0)
    for shapes in (((2, 3, 5), (4, 5, 7)), ((5,), (4, 5, 7)), ((2, 3, 5), (5,)), ((2, 3, 5), (5, 7)), ((), (2, 3))):
        a, b = (rng.standard_normal(shape) for shape in shapes)
        np.testing.assert_allclose(handgrad.dot(a, b).data, np.dot(a, b), rtol=1e-12)
    with pytest.raises(ValueError, match=r"mm: both must be matrices, but have shapes \(2, 3, 5\) and \(5, 7\)"):
        handgrad.mm(rng.standard_normal((2, 3, 5)), rng.standard_normal((5, 7)))


EINSUMS = [
    ("ij,jk->ik", "ij", "jk"),
    ("ij,jk", "ij", "jk"),
    ("bhtd,bhsd->bhts", "bhtd", "bhsd"),
    ("ii->i", "ii"),
    ("ii", "ii"),
    ("iij,jk->k", "iij", "jk"),
    ("ij->", "ij"),
    ("ij->ji", "ij"),
    ("ij,kl->jl", "ij", "kl"),
    ("ij,jk,kl->il", "ij", "jk", "kl"),
    ("i,i,i->i", "i", "i", "i"),
    ("i,j->ij", "i", "j"),
    ("...ij,...jk->...ik", "bij", "jk"),
    ("...i,...i->...", "bci", "ci"),
    ("ab...,b...->a...", "abcd", "bcd"),
    (",i->i", "", "i"),
]


@pytest.mark.parametrize("case", EINSUMS, ids=lambda case: case[0])
@repeatedly
@given(st.lists(SIZES, min_size=26, max_size=26), FLOATS, SEED)
def test_einsum(case: tuple[str, ...], sizes: list[int], dtype: str, seed: int) -> None:
    subscripts, *labels = case
    arrays = [
        draw_array(seed + i, tuple(sizes[ord(label) - 97] for label in part), dtype) for i, part in enumerate(labels)
    ]
    agree(
        lambda *xs: handgrad.einsum(subscripts, *xs),
        lambda *xs: torch.einsum(subscripts, *xs),
        arrays,
        tolerance={"float32": 1e-4, "float64": 1e-10}[dtype],
    )


def test_einsum_broadcasts_sizes_of_1_and_says_what_does_not_fit() -> None:
    a, b = draw_array(0, (1, 3), "float64"), draw_array(1, (5, 3), "float64")
    agree(lambda a, b: handgrad.einsum("ij,ij->i", a, b), lambda a, b: (a * b).sum(1), [a, b])
    agree(lambda a, b: handgrad.einsum("...j,...j->...", a, b), lambda a, b: (a * b).sum(1), [a, b])
    with pytest.raises(ValueError, match="names 1 operands, but 2 are given"):
        handgrad.einsum("ij->i", a, b)
    with pytest.raises(ValueError, match="'ijk' does not fit an operand of 2 axes"):
        handgrad.einsum("ijk->i", a)


@repeatedly
@given(st.data(), st.booleans(), FLOATS, SEED)
def test_conv2d(data: st.DataObject, has_bias: bool, dtype: str, seed: int) -> None:
    draw = data.draw
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride, padding, dilation = (draw(st.tuples(st.integers(low, 3), st.integers(low, 2))) for low in (1, 0, 1))
    size = tuple(d * (k - 1) + 1 + draw(st.integers(0, 4)) for d, k in zip(dilation, kernel, strict=True))
    N, C, O = draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))  # noqa: E741
    arrays = [draw_array(seed, (N, C, *size), dtype), draw_array(seed + 1, (O, C, *kernel), dtype)]
    if has_bias:
        arrays.append(draw_array(seed + 2, (O,), dtype))
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    agree(
        lambda *xs: handgrad.conv2d(*xs, **options),
        lambda *xs: F.conv2d(*xs, **options),
        arrays,
        tolerance={"float32": 1e-4, "float64": 1e-10}[dtype],
    )


@repeatedly
@given(SHAPES, FLOATS, st.data(), SEED)
def test_softmax_and_log_softmax(shape: Shape, dtype: str, data: st.DataObject, seed: int) -> None:
    x = draw_array(seed, (*shape, 3), dtype) * 3
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    agree(lambda x: x.softmax(axis=axis), lambda x: x.softmax(axis), [x])
    agree(lambda x: handgrad.softmax(x, dim=axis), lambda x: x.softmax(axis), [x])
    agree(lambda x: x.log_softmax(axis), lambda x: x.log_softmax(axis), [x])
    agree(lambda x: handgrad.log_softmax(x, dim=axis), lambda x: x.log_softmax(axis), [x])


@repeatedly
@given(SHAPES, SIZES, FLOATS, SEED)
def test_embedding(shape: Shape, width: int, dtype: str, seed: int) -> None:
    ids = np.random.default_rng(seed).integers(0, 5, shape)
    agree(
        lambda w: handgrad.embedding(ids, w),
        lambda w: F.embedding(torch.tensor(ids), w),
        [draw_array(seed, (5, width), dtype)],
    )


@repeatedly
@given(SHAPES, st.lists(st.integers(3, 5), min_size=1, max_size=2).map(tuple), st.booleans(), FLOATS, SEED)
def test_layer_norm(leading: Shape, normalized: Shape, affine: bool, dtype: str, seed: int) -> None:
    x = draw_array(seed, (*leading, *normalized), dtype)
    weight, bias = draw_array(seed + 1, normalized, dtype), draw_array(seed + 2, normalized, dtype)
    arrays = [x, weight, bias] if affine else [x]
    agree(
        lambda x, *rest: handgrad.layer_norm(x, normalized, *rest),
        lambda x, *rest: F.layer_norm(x, normalized, *rest),
        arrays,
        tolerance={"float32": 1e-3, "float64": 1e-9}[dtype],  # two nearly equal numbers leave little but rounding
    )


@repeatedly
@given(SHAPES, st.lists(st.integers(3, 5), min_size=1, max_size=2).map(tuple), st.booleans(), FLOATS, SEED)
def test_rms_norm(leading: Shape, normalized: Shape, weighted: bool, dtype: str, seed: int) -> None:
    x, weight = draw_array(seed, (*leading, *normalized), dtype), draw_array(seed + 1, normalized, dtype)
    agree(
        lambda x, *rest: handgrad.rms_norm(x, normalized, *rest),
        lambda x, *rest: F.rms_norm(x, normalized, *rest, eps=1e-5),
        [x, weight] if weighted else [x],
    )


def test_rms_norm_of_other_axes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rms_norm: the last axes of x, of shape \(2, 3\), are not .* \(2,\)"):
        handgrad.rms_norm(draw_array(0, (2, 3), "float64"), 2)


@repeatedly
@given(SHAPES, st.integers(1, 4), st.integers(1, 5), st.booleans(), FLOATS, SEED)
def test_token_shift(leading: Shape, T: int, size: int, has_before: bool, dtype: str, seed: int) -> None:
    x, weight = draw_array(seed, (*leading, T, size), dtype), draw_array(seed + 1, (size,), dtype)
    first = draw_array(seed + 2, (*leading, size), dtype) if has_before else np.zeros((*leading, size), dtype)
    previous = torch.tensor(first).unsqueeze(-2)
    agree(
        lambda x, w: handgrad.token_shift(x, w, first if has_before else None),
        lambda x, w: x + w * torch.cat([previous, x], dim=-2)[..., :-1, :],
        [x, weight],
    )


@repeatedly
@given(SHAPES, st.sampled_from(["mean", "sum", "none"]), FLOATS, SEED)
def test_losses(shape: Shape, reduction: Any, dtype: str, seed: int) -> None:
    logits = draw_array(seed, (*shape, 5), dtype)
    targets = np.random.default_rng(seed).integers(0, 5, shape)
    targets[np.random.default_rng(seed + 1).random(shape) < 0.2] = -100

    def oracle(z: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(z.reshape(-1, 5), torch.tensor(targets).reshape(-1), reduction=reduction)
        return loss.reshape(shape) if reduction == "none" else loss

    if targets.ndim or targets != -100:
        agree(lambda z: handgrad.cross_entropy(z, handgrad.tensor(targets), reduction=reduction), oracle, [logits])
    a, b = draw_array(seed, shape, dtype), draw_array(seed + 1, shape, dtype)
    agree(lambda a, b: handgrad.mse(a, b, reduction), lambda a, b: F.mse_loss(a, b, reduction=reduction), [a, b])


@repeatedly
@given(SHAPES, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans(), FLOATS, SEED)
def test_attention(leading: Shape, T: int, D: int, E: int, causal: bool, dtype: str, seed: int) -> None:
    q, k = (draw_array(seed + i, (*leading, T, D), dtype) for i in range(2))
    v = draw_array(seed + 2, (*leading, T, E), dtype)
    agree(
        lambda q, k, v: handgrad.attention(q, k, v, causal=causal),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        [q, k, v],
        tolerance={"float32": 1e-4, "float64": 1e-10}[dtype],
    )


@repeatedly
@given(broadcastable(3), st.integers(1, 4), st.booleans(), st.sampled_from(["none", "bool", "float"]), SEED)
def test_attention_broadcasts_and_takes_masks(shapes: list[Shape], T: int, causal: bool, kind: str, seed: int) -> None:
    q, k, v = (draw_array(seed + i, (*shape, T, 3), "float64") for i, shape in enumerate(shapes))
    rng = np.random.default_rng(seed)
    mask = {"none": None, "bool": rng.random((T, T)) < 0.6, "float": rng.standard_normal((T, T))}[kind]
    if mask is not None and mask.dtype == bool:
        mask |= np.eye(T, dtype=bool)  # PyTorch gives NaN for a query with nothing to attend to
    allowed = np.tril(np.ones((T, T), bool)) if causal else np.ones((T, T), bool)

    def oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = q @ k.transpose(-1, -2) / 3**0.5
        if mask is not None:
            scores = scores + torch.tensor(np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask)
        return scores.masked_fill(torch.tensor(~allowed), float("-inf")).softmax(-1) @ v

    agree(lambda q, k, v: handgrad.attention(q, k, v, mask=mask, causal=causal), oracle, [q, k, v])


@repeatedly
@given(SHAPES, st.sampled_from([0.0, 1.0]), st.booleans(), SEED)
def test_dropout_where_nothing_is_drawn(shape: Shape, p: float, training: bool, seed: int) -> None:
    x = draw_array(seed, shape, "float64")
    agree(lambda x: handgrad.dropout(x, p, training), lambda x: F.dropout(x, p, training), [x])


@repeatedly
@given(SHAPES, SIZES, SIZES, st.booleans(), FLOATS, SEED)
def test_linear(leading: Shape, n: int, m: int, has_bias: bool, dtype: str, seed: int) -> None:
    arrays = [draw_array(seed, (*leading, n), dtype), draw_array(seed + 1, (n, m), dtype)]
    if has_bias:
        arrays.append(draw_array(seed + 2, (m,), dtype))
    agree(handgrad.linear, lambda x, w, *b: F.linear(x, w.T, *b), arrays)

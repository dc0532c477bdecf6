"""Layers, losses and functions of networks against PyTorch's, forward and backward, by hand and on the tape."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tape_oracle import agree

import handgrad
from handgrad import nn
from handgrad.system.arrays import Array

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 3))
IMAGES = RNG.standard_normal((2, 3, 6, 7))
TIED = np.round(IMAGES)
LOGITS, TARGETS = RNG.standard_normal((4, 5, 7)), RNG.integers(0, 7, (4, 5))
TARGETS[1, 2] = -100
WEIGHT = RNG.random(7)
SHARES = RNG.random((2, 5, 3))

LAYERS: dict[str, tuple[Any, Any, Array]] = {
    "LeakyReLU": (nn.LeakyReLU(0.2), torch.nn.LeakyReLU(0.2), X),
    "LeakyReLU, default": (nn.LeakyReLU(), torch.nn.LeakyReLU(), np.round(X)),
    "SiLU": (nn.SiLU(), torch.nn.SiLU(), X),
    "RMSNorm": (nn.RMSNorm(3, dtype=np.float64), torch.nn.RMSNorm(3, eps=1e-5).double(), X),
    "RMSNorm, two axes": (nn.RMSNorm((5, 3), 0.1, dtype=np.float64), torch.nn.RMSNorm((5, 3), 0.1).double(), X),
    "RMSNorm, no gain": (
        nn.RMSNorm(3, elementwise_affine=False),
        torch.nn.RMSNorm(3, eps=1e-5, elementwise_affine=False),
        X,
    ),
    "Identity": (nn.Identity(3, a=4), torch.nn.Identity(3, a=4), X),
    "Flatten": (nn.Flatten(), torch.nn.Flatten(), IMAGES),
    "Flatten, part": (nn.Flatten(0, 2), torch.nn.Flatten(0, 2), IMAGES),
    "MaxPool2d": (nn.MaxPool2d(2), torch.nn.MaxPool2d(2), IMAGES),
    "MaxPool2d, overlapping": (
        nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
        torch.nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
        IMAGES,
    ),
    "MaxPool2d, ties": (nn.MaxPool2d(3, 1, 1), torch.nn.MaxPool2d(3, 1, 1), TIED),
    "LayerNorm, two axes": (nn.LayerNorm((5, 3), dtype=np.float64), torch.nn.LayerNorm((5, 3)).double(), X),
    "LayerNorm, no gain": (
        nn.LayerNorm(3, elementwise_affine=False),
        torch.nn.LayerNorm(3, elementwise_affine=False),
        X,
    ),
    "LayerNorm, no bias": (
        nn.LayerNorm(3, bias=False, dtype=np.float64),
        torch.nn.LayerNorm(3, bias=False).double(),
        X,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    ours, theirs, x = LAYERS[name]
    values = np.random.default_rng(3)
    for parameter, their_parameter in zip(ours.parameters(), theirs.parameters(), strict=True):
        parameter.data = values.standard_normal(parameter.shape)
        their_parameter.data = torch.tensor(parameter.data)
    agree(ours, theirs, [x])
    gradients = [p.grad.copy() for p in ours.parameters()]
    for a, b in zip(gradients, theirs.parameters(), strict=True):
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=1e-9, atol=1e-12)
    # By hand, from the same dy.
    y = ours(x)
    dy = np.random.default_rng(7).standard_normal(y.shape)
    tensor = handgrad.tensor(x, requires_grad=True)
    (ours(tensor) * dy).sum().backward()
    ours(x)
    np.testing.assert_allclose(ours.backward(dy), tensor.grad, rtol=1e-12)


REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy(reduction: str, label_smoothing: float, weighted: bool, dtype: str) -> None:
    weight = WEIGHT.astype(dtype) if weighted else None

    def theirs(z: torch.Tensor) -> torch.Tensor:
        w = None if weight is None else torch.tensor(weight)
        flat = F.cross_entropy(
            z.reshape(-1, 7),
            torch.tensor(TARGETS).reshape(-1),
            weight=w,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
        return flat.reshape(TARGETS.shape) if reduction == "none" else flat

    options: dict[str, Any] = {"weight": weight, "label_smoothing": label_smoothing, "reduction": reduction}
    agree(lambda z: handgrad.cross_entropy(z, TARGETS, **options), theirs, [LOGITS.astype(dtype)])
    layer = nn.CrossEntropyLoss(**options)
    agree(lambda z: layer(z, TARGETS), theirs, [LOGITS.astype(dtype)])


def test_cross_entropy_of_nothing_and_of_what_does_not_fit() -> None:
    ignored = np.full((4, 5), -100)
    assert np.isnan(handgrad.cross_entropy(LOGITS, ignored, weight=WEIGHT).item())
    assert handgrad.cross_entropy(LOGITS, ignored, weight=WEIGHT, reduction="sum").item() == 0
    for options, said in (
        ({"weight": WEIGHT[:3]}, r"weight must have shape \(7,\), a number for each class, not \(3,\)"),
        ({"label_smoothing": 1.5}, r"label_smoothing must lie in \[0, 1\], not 1\.5"),
    ):
        with pytest.raises(ValueError, match=said):
            handgrad.cross_entropy(LOGITS, TARGETS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("scale", [1, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy(reduction: Any, scale: float, dtype: str) -> None:
    z, t = (scale * X).astype(dtype), SHARES.astype(dtype)
    agree(
        lambda z, t: handgrad.binary_cross_entropy_with_logits(z, t, reduction),
        lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction=reduction),
        [z, t],
    )
    p = np.where(SHARES < 0.1, 0, np.where(SHARES > 0.9, 1, SHARES)).astype(dtype)
    agree(
        lambda p: handgrad.binary_cross_entropy(p, t, reduction),
        lambda p: F.binary_cross_entropy(p, torch.tensor(t), reduction=reduction),
        [p],
        tolerance=2e-5,  # PyTorch's smallest denominator, 1e-12, is a float32
    )
    agree(
        lambda z: nn.BCEWithLogitsLoss(reduction)(z, t),
        lambda z: torch.nn.BCEWithLogitsLoss(reduction=reduction)(z, torch.tensor(t)),
        [z],
    )
    agree(
        lambda p: nn.BCELoss(reduction)(p, t),
        lambda p: torch.nn.BCELoss(reduction=reduction)(p, torch.tensor(t)),
        [p],
        tolerance=2e-5,
    )
    with pytest.raises(ValueError, match="probabilities must lie in"):
        handgrad.binary_cross_entropy(p + 1, t)
    with pytest.raises(ValueError, match="must have the same shape"):
        handgrad.binary_cross_entropy_with_logits(z, t[0])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(5, 5), (3, 1, 5), (2, 3, 5, 5), (1,)])
def test_a_mask_that_is_added_learns(causal: bool, shape: tuple[int, ...]) -> None:
    q, k, v = (RNG.standard_normal((2, 3, 5, 4)) for _ in range(3))
    mask = RNG.standard_normal(shape)
    future = torch.ones(5, 5).triu(1).bool()

    def theirs(q: Any, k: Any, v: Any, mask: Any) -> Any:
        bias = mask.expand(2, 3, 5, 5)
        return F.scaled_dot_product_attention(q, k, v, bias.masked_fill(future, -np.inf) if causal else bias)

    agree(lambda q, k, v, mask: handgrad.attention(q, k, v, mask, causal), theirs, [q, k, v, mask])
    if not causal:
        agree(nn.functional.scaled_dot_product_attention, theirs, [q, k, v, mask])


def test_a_bias_for_each_distance_learns_in_multi_head_attention() -> None:
    attention = nn.MultiHeadAttention(12, 3, dtype=np.float64, rng=np.random.default_rng(0))
    mask = nn.Parameter(RNG.standard_normal((3, 5, 5)))
    x = handgrad.tensor(RNG.standard_normal((2, 5, 12)))
    attention(x, mask).square().sum().backward()
    assert mask.grad is not None
    numeric = np.zeros((3, 5, 5))
    with handgrad.no_grad():
        for place in np.ndindex(3, 5, 5):
            losses = []
            for step in (1e-5, -1e-5):
                moved = mask.data.copy()
                moved[place] += step
                losses.append(attention(x, handgrad.tensor(moved)).square().sum().item())
            numeric[place] = (losses[0] - losses[1]) / 2e-5
    np.testing.assert_allclose(mask.grad, numeric, atol=1e-6)
    assert (mask.grad[:, np.triu_indices(5, 1)[0], np.triu_indices(5, 1)[1]] == 0).all()  # the future is not seen


@pytest.mark.parametrize("sizes", [(12, 12, 12), (12, 8, 9)])
@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention(sizes: tuple[int, int, int], masked: bool) -> None:
    _, kdim, vdim = sizes
    ours = nn.CrossAttention(12, 3, kdim=kdim, vdim=vdim, dtype=np.float64, rng=np.random.default_rng(0))
    theirs = torch.nn.MultiheadAttention(12, 3, kdim=kdim, vdim=vdim, batch_first=True, dtype=torch.float64)
    parts = [ours.project_q, ours.project_k, ours.project_v]
    for part in (*parts, ours.project_out):
        part.bias.data = RNG.standard_normal(part.bias.shape)
    weights = [torch.tensor(part.weight.data.T.copy()) for part in parts]
    with torch.no_grad():
        if kdim == vdim == 12:
            theirs.in_proj_weight.copy_(torch.cat(weights))
        else:
            for name, weight in zip("qkv", weights, strict=True):
                getattr(theirs, f"{name}_proj_weight").copy_(weight)
        theirs.in_proj_bias.copy_(torch.cat([torch.tensor(part.bias.data) for part in parts]))
        theirs.out_proj.weight.copy_(torch.tensor(ours.project_out.weight.data.T.copy()))
        theirs.out_proj.bias.copy_(torch.tensor(ours.project_out.bias.data))
    allowed = (RNG.random((5, 7)) < 0.7) | (np.arange(7) == 0) if masked else None
    q, k, v = (RNG.standard_normal((2, n, size)) for n, size in zip((5, 7, 7), sizes, strict=True))
    their_mask = None if allowed is None else torch.tensor(~allowed)
    agree(
        lambda q, k, v: ours(q, k, v, allowed),
        lambda q, k, v: theirs(q, k, v, attn_mask=their_mask, need_weights=False)[0],
        [q, k, v],
    )
    # By hand it gives the same, for one, two and three arrays.
    given: tuple[Array, ...]
    for given in ((q, k, v), (q, k), (q,)) if sizes == (12, 12, 12) else ((q, k, v),):
        mask = None if len(given) == 1 else allowed
        tensors = [handgrad.tensor(each, requires_grad=True) for each in given]
        y = ours(*tensors, mask=mask)
        dy = RNG.standard_normal(y.shape)
        (y * dy).sum().backward()
        ours(*given, mask=mask)
        found = ours.backward(dy)
        for gradient, tensor in zip(found if isinstance(found, tuple) else (found,), tensors, strict=True):
            np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-9, atol=1e-12)


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "relu": lambda F, x: F.relu(x),
    "leaky_relu": lambda F, x: F.leaky_relu(x, 0.3),
    "softmax": lambda F, x: F.softmax(x, dim=1),
    "log_softmax": lambda F, x: F.log_softmax(x, dim=-1),
    "layer_norm": lambda F, x: F.layer_norm(x, (5, 3)),
    "rms_norm": lambda F, x: F.rms_norm(x, (5, 3), eps=1e-5),
    "silu": lambda F, x: F.silu(x),
    "softplus": lambda F, x: F.softplus(x),
    "tanh": lambda F, x: F.tanh(x),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "mse_loss": lambda F, x: F.mse_loss(x, x * 2),
    "gelu": lambda F, x: F.gelu(x, approximate="none"),
    "scaled_dot_product_attention": lambda F, x: F.scaled_dot_product_attention(x, x, x),
    "scaled_dot_product_attention, causal": lambda F, x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "max_pool2d": lambda F, x: F.max_pool2d(x.reshape(1, 2, 5, 3), 2, 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functional(name: str) -> None:
    agree(lambda x: FUNCTIONS[name](nn.functional, x), lambda x: FUNCTIONS[name](F, x), [X])


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("nonlinearity", ["leaky_relu", "relu", "tanh", "linear"])
def test_init_has_pytorchs_spread(name: str, mode: Any, nonlinearity: Any) -> None:
    options = {"a": 0.3, "mode": mode, "nonlinearity": nonlinearity}
    ours, theirs = nn.Parameter(np.zeros((200, 300))), torch.zeros(300, 200)  # (in, out) and (out, in)
    getattr(nn.init, name)(ours, **options, rng=np.random.default_rng(0))
    getattr(torch.nn.init, name)(theirs, **options)
    assert float(ours.data.std()) == pytest.approx(float(theirs.std()), rel=0.02)
    assert nn.init.calculate_gain(nonlinearity, 0.3) == torch.nn.init.calculate_gain(nonlinearity, 0.3)
    for wrong in ({"mode": "fan"}, {"nonlinearity": "step"}):
        with pytest.raises(ValueError, match=r"init: (mode|nonlinearity) must be"):
            getattr(nn.init, name)(ours, **wrong)


def test_modules_have_pytorchs_methods() -> None:
    def made(library: Any) -> Any:
        net = library.Sequential(library.Linear(3, 4), library.ReLU(), library.Sequential(library.Linear(4, 2)))
        net.add_module("last", library.Identity())
        return net

    ours, theirs = made(nn), made(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_children()] == [name for name, _ in theirs.named_children()]
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert [type(m).__name__ for m in ours.children()] == [type(m).__name__ for m in theirs.children()]
    seen: list[list[str]] = []
    for net in (ours, theirs):
        seen.append([])
        assert net.apply(lambda module: seen[-1].append(type(module).__name__)) is net
    assert seen[0] == seen[1]
    for net in (ours, theirs):
        assert net.requires_grad_(False) is net
        assert not any(parameter.requires_grad for parameter in net.parameters())
    for name in ("in_features", "out_features"):
        assert getattr(ours[0], name) == getattr(theirs[0], name)
    for net in (ours, theirs):
        state = dict(net.state_dict())
        del state["0.bias"]
        state["more"] = state["0.weight"]
        before = net[0].bias.tolist()
        missing, unexpected = net.load_state_dict(state, strict=False)
        assert (missing, unexpected, net[0].bias.tolist()) == (["0.bias"], ["more"], before)
        with pytest.raises((ValueError, RuntimeError)):
            net.load_state_dict(state)
    with pytest.raises(TypeError, match="add_module: last must be a Module, not int"):
        ours.add_module("last", 3)


@pytest.mark.parametrize("library", [nn, torch.nn])
def test_containers(library: Any) -> None:
    class Net(library.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.rows = library.ModuleList(library.Linear(2, 2) for _ in range(3))
            self.heads = library.ModuleDict({"one": library.Linear(2, 1), "two": library.Linear(2, 3)})

        def forward(self, x: Any) -> Any:
            for row in self.rows:
                x = row(x)
            return self.heads["two"](x)

    net = Net()
    net.rows.append(library.Linear(2, 2))
    net.rows.insert(0, library.Identity())
    net.rows[1] = library.Linear(2, 2)
    del net.rows[2]
    net.heads["three"] = library.Linear(2, 2)
    del net.heads["one"]
    assert (len(net.rows), len(net.heads), list(net.heads), "one" in net.heads) == (4, 2, ["two", "three"], False)
    assert [name for name, _ in net.named_parameters()] == [
        f"{place}.{part}"
        for place in ("rows.1", "rows.2", "rows.3", "heads.two", "heads.three")
        for part in ("weight", "bias")
    ]
    assert len(list(net.rows.parameters())) == 6
    assert len(net.rows[1:]) == 3
    x = handgrad.ones(5, 2) if library is nn else torch.ones(5, 2)
    assert tuple(net(x).shape) == (5, 3)

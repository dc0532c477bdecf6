"""Muon and cautious weight decay against a text of their own in PyTorch, and against torch.optim.Muon."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from handgrad import optim
from handgrad.benchmarking.torch_gpt import TorchGPT, paired, torch_twin
from handgrad.checking import relative_error
from handgrad.models import GPT, GPTConfig
from handgrad.nn import Parameter
from handgrad.runs import TrainConfig
from handgrad.system.arrays import Array

STEPS = 20
# Wide, tall, square; queries, keys and values in one, of equal and of different widths.
MATRICES: list[tuple[tuple[int, int], tuple[int, ...]]] = [
    ((16, 40), ()), ((40, 16), ()), ((24, 24), ()), ((16, 48), (16, 16, 16)), ((24, 40), (24, 8, 8)),
]  # fmt: skip


def orthogonalised(G: Tensor, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """The text of Jordan's post without its bfloat16, and with the largest of norm and eps, as torch.optim has it."""
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G / G.norm().clamp(min=eps)
    if G.size(0) > G.size(1):
        X = X.T
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if G.size(0) > G.size(1) else X


class TextOfMuon:
    """Muon for weights (out, in). ``rows``: where each weight is cut, so that each part is a map of its own."""

    def __init__(
        self, weights: list[Tensor], rows: list[tuple[int, ...]], cautious: bool = False, **options: Any
    ) -> None:
        self.weights, self.rows, self.cautious = weights, rows, cautious
        self.lr, self.decay = options.get("lr", 1e-3), options.get("weight_decay", 0.1)
        self.momentum, self.nesterov = options.get("momentum", 0.95), options.get("nesterov", True)
        self.adjust = options.get("adjust_lr_fn")
        self.means = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()
    def step(self) -> None:
        for weight, rows, mean in zip(self.weights, self.rows, self.means, strict=True):
            assert weight.grad is not None
            mean.lerp_(weight.grad, 1 - self.momentum)
            update = weight.grad.lerp(mean, self.momentum) if self.nesterov else mean
            for w, u in zip(weight.split(rows or weight.shape[0]), update.split(rows or weight.shape[0]), strict=True):
                rows_, columns = w.shape
                scale = math.sqrt(max(1, rows_ / columns))
                if self.adjust == "match_rms_adamw":
                    scale = 0.2 * math.sqrt(max(rows_, columns))
                step = orthogonalised(u)
                keep = (step * w >= 0).to(w) if self.cautious else torch.ones_like(w)
                w.sub_(self.lr * self.decay * keep * w + self.lr * scale * step)


def matrices(dtype: Any) -> tuple[list[Parameter], list[Tensor]]:
    """Ours (in, out), and torch's (out, in) with the same values."""
    rng = np.random.default_rng(3)
    ours, theirs = [], []
    for shape, widths in MATRICES:
        parameter = Parameter(rng.standard_normal(shape).astype(dtype), role="matrix")
        parameter.widths = widths
        ours.append(parameter)
        theirs.append(torch.tensor(parameter.data.T.copy(), requires_grad=True))
    return ours, theirs


def steps_of_both(ours: list[Parameter], theirs: list[Tensor], one: Any, other: Any) -> tuple[Array, Array]:
    """All values after STEPS steps with the same random gradients, whose mean is not zero, and changing rates."""
    rng = np.random.default_rng(4)
    means = [rng.standard_normal(p.shape) for p in ours]
    for _ in range(STEPS):
        for p, tensor, mean in zip(ours, theirs, means, strict=True):
            p.grad = (mean + 2 * rng.standard_normal(p.shape)).astype(p.dtype)
            tensor.grad = torch.tensor(p.grad.T.copy())
        one.step()
        other.step()
    return (
        np.concatenate([p.data.ravel() for p in ours]),
        np.concatenate([tensor.detach().numpy().T.ravel() for tensor in theirs]),
    )


OPTIONS: list[dict[str, Any]] = [
    {},
    {"nesterov": False},
    {"momentum": 0.5, "weight_decay": 0.0},
    {"adjust_lr_fn": "match_rms_adamw"},
    {"cautious": True, "weight_decay": 2.0},
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_muon_is_its_text(options: dict[str, Any], dtype: Any, tolerance: float) -> None:
    ours, theirs = matrices(dtype)
    start = np.concatenate([p.data.ravel() for p in ours])
    rows = [widths for _, widths in MATRICES]
    found, expected = steps_of_both(
        ours, theirs, optim.Muon(ours, lr=0.02, **options), TextOfMuon(theirs, rows, lr=0.02, **options)
    )
    assert found.dtype == dtype
    assert np.abs(expected - start).max() > 0.05  # they moved
    assert relative_error(found, expected) <= tolerance


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_muon_is_torchs_within_the_rounding_of_bfloat16(options: dict[str, Any]) -> None:
    """bfloat16 keeps 8 bits, and five steps of the iteration enlarge its rounding: some hundredths of a step."""
    ours, theirs = matrices(np.float32)
    for p in ours:
        p.widths = ()  # torch's knows no fused matrices
    start = np.concatenate([p.data.ravel() for p in ours])
    found, expected = steps_of_both(
        ours, theirs, optim.Muon(ours, lr=0.02, **options), torch.optim.Muon(theirs, lr=0.02, **options)
    )
    moved = np.linalg.norm(expected - start)
    assert np.linalg.norm(found - expected) < 0.03 * moved


def test_muon_has_torchs_defaults() -> None:
    ours, theirs = matrices(np.float32)
    expected = torch.optim.Muon(theirs).param_groups[0]
    own = optim.Muon(ours).param_groups[0]
    assert own.pop("cautious") is False
    assert own.pop("precision") == "float32"  # torch's computes in bfloat16, and has no such setting
    assert own.keys() == {name for name in expected if name in own}
    assert {name: own[name] for name in own if name != "params"} == {
        name: expected[name] for name in own if name != "params"
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cautious_decay_of_adamw(dtype: Any) -> None:
    """x ← x - lr (u + decay · [u x ≥ 0] x), with u of torch's Adam."""
    rng = np.random.default_rng(5)
    values = rng.standard_normal(4000).astype(dtype)
    ours, theirs = Parameter(values), torch.tensor(values, requires_grad=True)
    own, adam = optim.AdamW([ours], lr=0.01, weight_decay=2.0, cautious=True), torch.optim.Adam([theirs], lr=0.01)
    for _ in range(STEPS):
        ours.grad = (rng.standard_normal(4000) + values / 2).astype(dtype)
        theirs.grad = torch.tensor(ours.grad)
        own.step()
        before = theirs.detach().clone()
        adam.step()
        with torch.no_grad():
            mean = adam.state[theirs]["exp_avg"]  # has the sign of u
            theirs -= torch.where(mean * before >= 0, 0.01 * 2.0 * before, 0)
    assert relative_error(ours.data, theirs.detach().numpy()) <= (1e-5 if dtype == np.float32 else 1e-12)


class TextOfTheRun:
    """The optimizer of a run with ``--optimizer muon``, for torch's GPT."""

    def __init__(self, model: TorchGPT, config: TrainConfig, cautious: bool) -> None:
        C = model.token_embedding.weight.shape[1]
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        matrices = {name: p for name, p in named.items() if name.startswith("blocks.") and p.dim() == 2}
        decayed = [p for name, p in named.items() if p.dim() == 2 and name not in matrices]
        rows = [(C, C, C) if "project_in" in name else () for name in matrices]
        options = {"lr": config.muon_lr, "momentum": config.muon_momentum, "weight_decay": config.weight_decay}
        self.muon = TextOfMuon(list(matrices.values()), rows, cautious, **options)
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": [p for p in named.values() if p.dim() == 1], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))

    def step(self) -> None:
        self.muon.step()
        self.adamw.step()


@pytest.mark.parametrize("options", [{}, {"tie_weights": False, "bias": False}], ids=["tied", "untied, no biases"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-9)])
def test_a_gpt_trained_with_muon(dtype: Any, tolerance: float, options: dict[str, Any]) -> None:
    """Losses and weights over 20 steps: 2 layers, 3 heads, 24 wide, block 16, batch 6."""
    config = TrainConfig(optimizer="muon", lr=3e-3, muon_lr=0.02)
    ours = GPT(GPTConfig(17, block_size=16, n_layer=2, n_head=3, n_embd=24, **options), seed=2, dtype=dtype)
    theirs = torch_twin(ours)
    one, other = config.make_optimizer(ours.decay_groups(config.weight_decay)), TextOfTheRun(theirs, config, False)
    rng = np.random.default_rng(6)
    losses = []
    for _ in range(STEPS):
        start = rng.integers(0, 17, (6, 1))
        ids = (start + 3 * np.arange(17)) % 17  # a text with a rule, so that there is something to learn
        ours.zero_grad()
        losses.append(ours.loss(ids[:, :-1], ids[:, 1:]))
        ours.backward()
        optim.clip_grad_norm(ours.parameters(), 1.0)
        one.step()
        theirs.zero_grad()
        loss = theirs.loss(torch.tensor(ids[:, :-1]), torch.tensor(ids[:, 1:]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        other.step()
        assert losses[-1] == pytest.approx(loss.item(), abs=tolerance)
    assert losses[-1] < losses[0] - 0.5
    for name, parameter, tensor in paired(ours, theirs):
        assert relative_error(parameter.data, tensor.numpy()) <= 10 * tolerance, name

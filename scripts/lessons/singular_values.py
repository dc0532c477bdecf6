"""Singular values: of the momentum of one matrix of a GPT, of Adam's step, and of Muon's, step by step."""

from typing import Any

import gpt_runs
import numpy as np
import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad import ops
from handgrad.data import load_dataset
from handgrad.models import GPT
from handgrad.optim import Optimizer

RUN, STEPS = "AdamW, lr 0.001", 100
MATRIX = "blocks.1.feed_forward.expand.weight"
MOMENTUM, BETAS = 0.95, (0.9, 0.99)
ITERATIONS = 5


def _spectra() -> tuple[np.ndarray, np.ndarray]:
    """Singular values after STEPS steps, each set as shares of its norm: of Muon's momentum, and of Adam's step."""
    mean = np.zeros(())
    found: dict[str, np.ndarray] = {}

    def watch(model: GPT, optimizer: Optimizer) -> None:
        nonlocal mean
        index = next(
            i for i, p in enumerate(p for g in optimizer.param_groups for p in g["params"]) if p is weight(model)
        )
        gradient = weight(model).grad
        mean = MOMENTUM * mean + (1 - MOMENTUM) * gradient
        state = optimizer.state_dict()["state"][index]
        step = state["step"]
        found["momentum"] = (1 - MOMENTUM) * gradient + MOMENTUM * mean
        second = state["exp_avg_sq"] / (1 - BETAS[1] ** step)
        found["adam"] = state["exp_avg"] / (1 - BETAS[0] ** step) / (np.sqrt(second) + 1e-8)

    def weight(model: GPT) -> Any:
        return dict(model.named_parameters())[MATRIX]

    gpt_runs.run(RUN, STEPS, watch)
    momentum, adam = (np.linalg.svd(found[name].astype(np.float64), compute_uv=False) for name in ("momentum", "adam"))
    return momentum / np.linalg.norm(momentum), adam / np.linalg.norm(adam)


def _after(values: np.ndarray) -> list[list[float]]:
    """The values after 1, 2, ... iterations, the largest first at each."""
    return [
        [_short(value) for value in sorted(np.diag(ops.newton_schulz(np.diag(values), steps)), reverse=True)]
        for steps in range(1, ITERATIONS + 1)
    ]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def measure() -> dict[str, Any]:
    momentum, adam = ([_short(value) for value in values] for values in _spectra())
    return {
        "text_sha256": load_dataset("pydoc").sha256,
        "momentum": momentum,
        "adam": adam,
        "after": _after(np.array(momentum)),
    }


def check(data: dict[str, Any]) -> str | None:
    for found, kept in zip(_after(np.array(data["momentum"])), data["after"], strict=True):
        np.testing.assert_allclose(found, kept, rtol=2e-3, atol=1e-6)
    if data["text_sha256"] != load_dataset("pydoc").sha256:
        return "the text of this Python is not that of the runs"
    for values, kept in zip(_spectra(), (data["momentum"], data["adam"]), strict=True):
        np.testing.assert_allclose(values[:20], kept[:20], rtol=0.1)
    return None


def draw(data: dict[str, Any]) -> dict[str, Figure]:
    return dict(style.two_ways("", _draw, data))


def _draw(steps: Axes, iterations: Axes, data: dict[str, Any]) -> None:
    numbers = np.arange(1, len(data["momentum"]) + 1)
    muon = np.array(data["after"][-1])
    for label, values, color in (
        ("momentum of the gradient", data["momentum"], style.COLORS[0]),
        ("step of Adam", data["adam"], style.COLORS[2]),
        ("step of Muon", muon / np.linalg.norm(muon), style.COLORS[1]),
    ):
        steps.semilogy(numbers, values, color=color, label=label)
    style.plain(steps, "shares of the norm, the largest first", "singular value", "")
    for number, values in enumerate([data["momentum"], *data["after"]]):
        color, alpha = (style.COLORS[0], 1.0) if number == 0 else (style.COLORS[1], number / ITERATIONS)
        label = (
            "momentum, divided by its norm" if number == 0 else f"after {number}" if number in (1, ITERATIONS) else None
        )
        iterations.semilogy(numbers, values, color=color, alpha=alpha, label=label)
    iterations.axhline(1, color=style.INK, linewidth=0.8, linestyle=":")
    style.plain(iterations, "the steps of Newton-Schulz", "singular value", "")


def ratio(values: list[float], share: float = 0.5) -> float:
    """The largest value divided by the middle one."""
    return values[0] / values[int(len(values) * share)]

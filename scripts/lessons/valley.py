"""Optimizers in a narrow valley: two weights, in one of which the loss is a hundred times as steep."""

from typing import Any

import numpy as np
import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handgrad.nn import Parameter
from handgrad.optim import SGD, Adam

STEEPNESS = np.array([1.0, 100.0])
START = (-4.0, 1.0)
STEPS = 60
OPTIMIZERS = {
    "SGD, lr 0.01": lambda weights: SGD([weights], lr=0.01),
    "SGD, lr 0.0198": lambda weights: SGD([weights], lr=0.0198),
    "momentum 0.9, lr 0.01": lambda weights: SGD([weights], lr=0.01, momentum=0.9),
    "Adam, lr 0.4": lambda weights: Adam([weights], lr=0.4, betas=(0.9, 0.99)),
}


def path_of(name: str, steps: int = STEPS) -> list[list[float]]:
    """Where the weights were after each step down L(w) = ½ Σ steepness · w²."""
    weights = Parameter(np.array(START))
    optimizer, places = OPTIMIZERS[name](weights), [weights.data.copy()]
    for _ in range(steps):
        weights.grad = STEEPNESS * weights.data
        optimizer.step()
        places.append(weights.data.copy())
    return [[round(float(x), 6) for x in place] for place in places]


def measure() -> dict[str, Any]:
    return {name: path_of(name) for name in OPTIMIZERS}


def check(data: dict[str, Any]) -> str | None:
    assert data.keys() == OPTIMIZERS.keys()
    for name, places in data.items():
        np.testing.assert_allclose(places, path_of(name), atol=1e-5)
    return None


def loss(places: Any) -> Any:
    return 0.5 * (STEEPNESS * np.square(places)).sum(axis=-1)


def draw(data: dict[str, Any]) -> dict[str, Figure]:
    return dict(style.two_ways("", _draw, data, width_ratios=(3, 2)))


def _draw(plane: Axes, falling: Axes, data: dict[str, Any]) -> None:
    x, y = np.meshgrid(np.linspace(-4.6, 2.2, 200), np.linspace(-1.3, 1.3, 200))
    plane.contour(x, y, loss(np.stack([x, y], axis=-1)), np.geomspace(0.05, 80, 12), colors=style.INK, linewidths=0.4)
    for (name, places), color in zip(data.items(), style.COLORS, strict=False):
        track = np.array(places)
        plane.plot(*track.T, color=color, label=name, marker=".", markersize=3.5, linewidth=1)
        falling.semilogy(loss(track), color=color, label=name)
    plane.set_xlim(-4.6, 2.2)
    plane.set_ylim(-1.3, 1.3)
    plane.plot(0, 0, marker="+", color=style.INK, markersize=10)
    style.plain(plane, "the way of the weights to the bottom (+)", "the flat weight", "the steep weight")
    style.plain(falling, "loss", "step", "")
    plane.get_legend().remove()

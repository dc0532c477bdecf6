"""The graph of one neuron, as ``handgrad.graph`` draws it: the one that micrograd's lecture works out by hand."""

from typing import Any

import handgrad

NEURON = {"x1": 2.0, "w1": -3.0, "x2": 0.0, "w2": 1.0, "b": 6.8813735870195432}


def picture_of(values: dict[str, float]) -> Any:
    """tanh(x1 w1 + x2 w2 + b), with its gradients."""
    x1, w1, x2, w2, b = leaves = [handgrad.tensor(value, requires_grad=True) for value in values.values()]
    n = x1 * w1 + x2 * w2 + b
    o = n.tanh()
    picture = handgrad.graph(o, names={**dict(zip(values, leaves, strict=True)), "n": n, "o": o})
    o.backward()
    return picture


def measure() -> dict[str, float]:
    return NEURON


def check(data: dict[str, float]) -> str | None:
    """Those of the lecture."""
    gradients = {item.name: float(item.gradient) for item in picture_of(data).items if item.is_leaf}
    lecture = {"x1": -1.5, "w1": 1.0, "x2": 0.5, "w2": 0.0, "b": 0.5}
    assert gradients.keys() == lecture.keys()
    assert all(abs(gradients[name] - lecture[name]) < 1e-6 for name in lecture)
    return None


def draw(data: dict[str, float]) -> dict[str, str]:
    return {"": picture_of(data).svg()}

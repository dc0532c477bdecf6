"""An operation of one's own: Snake, x + sin²(a x) / a, with a learned a for each feature.

You write two functions, a forward and its backward. This file checks them, uses them as a function of tensors and as a
layer, and trains with them by hand and on the tape.

python examples/own_operation.py
handgrad check --pair examples/own_operation.py:snake

Snake is from Ziyin, Hartwig and Ueda, 2020, "Neural Networks Fail to Learn Periodic Functions and How to Fix It".
"""

from typing import Any

import numpy as np

import handgrad
from handgrad import nn, optim
from handgrad.checking import check_pair

Saved = tuple[np.ndarray, np.ndarray, np.ndarray]


def snake(x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, Saved]:
    """x (..., C) + sin²(a x) / a, with a (C,)."""
    sine = np.sin(a * x)
    return x + sine * sine / a, (x, a, sine)


def snake_backward(dy: np.ndarray, saved: Saved) -> tuple[np.ndarray, np.ndarray]:
    """dx and da from dy.

    The derivative of sin²(u) is sin(2u). With u = a x,

        ∂y/∂x = 1 + sin(2 a x),    ∂y/∂a = x sin(2 a x) / a - sin²(a x) / a².

    Every row of x uses the same a, so da is a sum over all rows.
    """
    x, a, sine = saved
    double = np.sin(2 * a * x)
    da = dy * (x * double - sine * sine / a) / a
    return dy * (1 + double), da.reshape(-1, len(a)).sum(axis=0)


# What `handgrad check --pair` checks them on: sizes that differ, and an a that is not near 0.
rng = np.random.default_rng(0)
snake_inputs = (rng.standard_normal((2, 3, 5)), rng.uniform(0.5, 2, 5))


class Snake(nn.Layer):
    """The pair as a layer. Its backward, and its way onto the tape, follow from the pair."""

    def __init__(self, width: int) -> None:
        self.a = nn.Parameter(np.linspace(0.5, 5, width, dtype=np.float32))

    def forward(self, x: Any) -> Any:
        return self.apply((snake, snake_backward), x, self.a)


def wave(x: np.ndarray) -> np.ndarray:
    """What the networks learn: a slope, and a wave on it."""
    return 0.5 * x + np.sin(3 * x)


def trained(activation: nn.Module, steps: int = 600) -> nn.Module:
    """A small network that has learned the wave between -4 and 4, trained by hand: there is no tape."""
    net = nn.Sequential(nn.Linear(1, 32), activation, nn.Linear(32, 1))
    optimizer = optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.0)
    x = np.linspace(-4, 4, 200, dtype=np.float32)[:, None]
    y = wave(x)
    for _ in range(steps):
        error = net(x) - y
        net.zero_grad()
        net.backward(2 * error / error.size)
        optimizer.step()
    print(
        f"  {type(activation).__name__}: mean squared error {np.square(net(x) - y).mean():.4f} between -4 and 4", end=""
    )
    beyond = np.linspace(4, 6, 50, dtype=np.float32)[:, None]
    print(f", {np.square(net(beyond) - wave(beyond)).mean():.4f} from there to 6")
    return net


def main() -> None:
    print("1. the gradients are checked")
    verdict = check_pair(snake, *snake_inputs)
    print(verdict)
    assert verdict.passed

    print("\n2. as a function of tensors")
    x = handgrad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    a = handgrad.tensor([0.5, 1.5], requires_grad=True)
    loss = handgrad.apply((snake, snake_backward), x, a).sum()
    loss.backward()
    print("  da =", a.grad)

    print("\n3. as a layer, by hand and on the tape")
    handgrad.manual_seed(0)
    net = trained(Snake(32))
    trained(nn.Tanh())

    values = np.random.default_rng(1).standard_normal((5, 1)).astype(np.float32)
    net.zero_grad()
    net.backward(np.ones_like(net(values)))
    by_hand = {name: parameter.grad.copy() for name, parameter in net.named_parameters() if parameter.grad is not None}
    net.zero_grad()
    net(handgrad.tensor(values)).sum().backward()
    same = [np.array_equal(parameter.grad, by_hand[name]) for name, parameter in net.named_parameters()]
    print(f"  {sum(same)} of {len(same)} gradients on the tape are equal to the last bit")


if __name__ == "__main__":
    main()

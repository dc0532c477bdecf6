"""A user's own pair beside PyTorch's way to the same, ``torch.autograd.Function``, within one expression."""

from typing import Any

import numpy as np
import torch

import handgrad


def snake(x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    sine = np.sin(a * x)
    return x + sine * sine / a, (x, a, sine)


def snake_backward(dy: np.ndarray, saved: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    x, a, sine = saved
    double = np.sin(2 * a * x)
    da = dy * (x * double - sine * sine / a) / a
    return dy * (1 + double), da.reshape(-1, len(a)).sum(axis=0)


class TorchSnake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, a)
        return x + torch.sin(a * x) ** 2 / a

    @staticmethod
    def backward(ctx: Any, *dys: Any) -> Any:
        (dy,), (x, a) = dys, ctx.saved_tensors
        double = torch.sin(2 * a * x)
        da = dy * (x * double - torch.sin(a * x) ** 2 / a) / a
        return dy * (1 + double), da.reshape(-1, len(a)).sum(dim=0)


def test_values_and_gradients_are_those_of_an_autograd_function_and_of_plain_pytorch() -> None:
    rng = np.random.default_rng(3)
    x, w, a = rng.standard_normal((2, 3, 5)), rng.standard_normal((5, 7)), rng.uniform(0.5, 2, 7)
    ours = [handgrad.tensor(array, requires_grad=True) for array in (x, w, a)]
    loss = (handgrad.apply((snake, snake_backward), ours[0] @ ours[1], ours[2]) ** 2).mean()
    loss.backward()
    for activation in (TorchSnake.apply, lambda x, a: x + torch.sin(a * x) ** 2 / a):
        theirs = [torch.tensor(array, requires_grad=True) for array in (x, w, a)]
        their_loss = (activation(theirs[0] @ theirs[1], theirs[2]) ** 2).mean()
        their_loss.backward()
        np.testing.assert_allclose(loss.item(), their_loss.item(), rtol=1e-12)
        for mine, other in zip(ours, theirs, strict=True):
            assert other.grad is not None
            np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=1e-9, atol=1e-12)

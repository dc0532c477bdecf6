"""Losses: what a model got wrong, as one number."""

from typing import Any, Literal

from handgrad import ops
from handgrad.autograd import functions
from handgrad.nn.module import ArrayOrTensor, Layer
from handgrad.ops.cross_entropy import Reduction

cross_entropy_loss = functions.cross_entropy
mse_loss = functions.mse


class CrossEntropyLoss(Layer):
    """-log softmax(logits)[target] in nats, from logits (..., V) and integer targets (...).

    ``backward()`` starts the backward pass: it takes ∂L/∂loss, 1 by default.
    """

    def __init__(self, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, logits: ArrayOrTensor, targets: ArrayOrTensor) -> ArrayOrTensor:
        options = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return self.apply(ops.cross_entropy, logits, targets=targets, **options)

    def backward(self, dy: Any = 1.0) -> Any:
        return super().backward(dy)


class MSELoss(Layer):
    """(prediction - target)², averaged; both have the same shape.

    ``backward()`` starts the backward pass, by hand for the prediction alone: it takes ∂L/∂loss, 1 by default.
    """

    def __init__(self, reduction: Literal["mean", "sum", "none"] = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: ArrayOrTensor, target: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.mse, prediction, target, reduction=self.reduction)

    def backward(self, dy: Any = 1.0) -> Any:
        d_prediction, _ = super().backward(dy)
        return d_prediction

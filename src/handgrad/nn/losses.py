"""Losses: what a model got wrong, as one number."""

from typing import Any

from handgrad import ops
from handgrad.autograd import functions
from handgrad.nn.base_layer import Layer
from handgrad.nn.module import ArrayOrTensor
from handgrad.nn.parameter import Buffer
from handgrad.ops.cross_entropy import Reduction

cross_entropy_loss = functions.cross_entropy
mse_loss = functions.mse


class CrossEntropyLoss(Layer):
    """-log softmax(logits)[target] in nats, from logits (..., V) and integer targets (...).

    ``weight`` (V,) multiplies the loss of each class; ``label_smoothing`` is the share of a target that spreads evenly
    over all classes.

    ``backward()`` starts the backward pass: it takes ∂L/∂loss, 1 by default.
    """

    def __init__(
        self,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        *,
        weight: Any = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.weight = None if weight is None else Buffer(weight)
        self.label_smoothing = label_smoothing

    def forward(self, logits: ArrayOrTensor, targets: ArrayOrTensor) -> ArrayOrTensor:
        options: dict[str, Any] = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        if self.weight is None and self.label_smoothing == 0:
            return self.apply(ops.cross_entropy, logits, targets=targets, **options)
        options |= {"label_smoothing": self.label_smoothing}
        weight = None if self.weight is None else self.weight.data
        return self.apply(ops.weighted_cross_entropy, logits, targets=targets, weight=weight, **options)

    def backward(self, dy: Any = 1.0) -> Any:
        return super().backward(dy)


def _to_prediction(self: Layer, dy: Any = 1.0) -> Any:
    """The backward of a loss of a prediction and a target: ∂L/∂prediction, from ∂L/∂loss, 1 by default."""
    d_prediction, _ = Layer.backward(self, dy)
    return d_prediction


class MSELoss(Layer):
    """(prediction - target)², averaged; both have the same shape.

    ``backward()`` starts the backward pass, by hand for the prediction alone: it takes ∂L/∂loss, 1 by default.
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: ArrayOrTensor, target: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.mse, prediction, target, reduction=self.reduction)

    backward = _to_prediction


class BCELoss(Layer):
    """-t log p - (1 - t) log(1 - p), averaged, from probabilities p and targets t in [0, 1] of the same shape."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: ArrayOrTensor, target: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.binary_cross_entropy, prediction, target, reduction=self.reduction)

    backward = _to_prediction


class BCEWithLogitsLoss(Layer):
    """The same from logits, whose sigmoid is the probability."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: ArrayOrTensor, target: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.binary_cross_entropy_with_logits, prediction, target, reduction=self.reduction)

    backward = _to_prediction

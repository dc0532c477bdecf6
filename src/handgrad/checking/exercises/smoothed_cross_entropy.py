"""Cross entropy whose targets are not quite certain: loss, logarithm and softmax in one step.

Label smoothing is from Szegedy et al. 2015 (https://arxiv.org/abs/1512.00567, section 7).
"""

from typing import Any

import numpy as np

from handgrad.system.arrays import Array


def smoothed_cross_entropy(logits: Array, targets: Array, smoothing: float = 0.1) -> tuple[Array, tuple[Any, ...]]:
    """-Σ_v q_v log softmax(logits)_v, the mean over all N tokens; logits (N, V), targets (N,) integers; a scalar.

    q gives the target 1 - smoothing and shares the rest among all V classes, the target too:
        q_v = (1 - smoothing) [v = target] + smoothing / V.

    Targets and smoothing are constants: they have no gradient.
    """
    N, V = logits.shape
    log_p = logits - logits.max(axis=-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    at_target = log_p[np.arange(N), targets]
    losses = -(1 - smoothing) * at_target - smoothing / V * log_p.sum(axis=-1)
    return np.asarray(losses.mean()), (log_p, targets, smoothing)


def smoothed_cross_entropy_backward(d_loss: Array, saved: tuple[Any, ...]) -> Array:
    """Gradient of smoothed_cross_entropy for the logits: d_logits, (N, V); d_loss is a scalar."""
    raise NotImplementedError("smoothed_cross_entropy_backward is not yet written")

"""Cross entropy with a weight for each class, and with targets that are not quite certain."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.cross_entropy import Reduction, check_targets
from handgrad.ops.shapes import as_array, as_rows, largest
from handgrad.system.arrays import Array


class WeightedCrossEntropySaved(NamedTuple):
    """Probabilities and weighted aims (N, V), what the sum is divided by, and shapes."""

    probabilities: Array
    aims: Array
    divisor: Array
    shape: tuple[int, ...]
    reduction: Reduction


def weighted_cross_entropy(
    logits: Array,
    targets: Array,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> tuple[Array, WeightedCrossEntropySaved]:
    """-Σ_v a_v log softmax(logits)_v for each target t, with the aims

        a_v = w_v ((1 - ε) [v = t] + ε / V),

    w = ``weight`` (V,), 1 by default, and ε = ``label_smoothing`` (Szegedy et al. 2016, section 7). logits (..., V);
    targets (...) are integers in [0, V) or ``ignore_index``. The mean divides by the sum of all w_t, as in PyTorch.

    Raises ValueError if shapes do not match or ε lies outside [0, 1], TypeError for targets that are not integers,
    IndexError for a target outside [0, V).
    """
    targets = as_array(targets)
    check_targets(logits, targets, ignore_index, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in [0, 1], not {label_smoothing}")
    rows, labels = as_rows(logits), targets.reshape(-1)
    V = rows.shape[1]
    w = np.ones_like(rows, shape=(V,)) if weight is None else np.asarray(weight, dtype=rows.dtype, like=rows)
    if w.shape != (V,):
        raise ValueError(f"cross_entropy: weight must have shape ({V},), a number for each class, not {w.shape}")
    counted = labels != ignore_index
    labels = np.where(counted, labels, 0)
    of_targets = w[labels] * counted
    aims = (counted[:, None] * w * (label_smoothing / max(V, 1))).astype(rows.dtype, copy=False)
    aims[np.arange(labels.size, like=labels), labels] += of_targets * (1 - label_smoothing)
    log_p = rows - largest(rows, -1)
    log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    with np.errstate(invalid="ignore"):
        losses = -np.where(aims == 0, 0, aims * log_p).sum(axis=-1)  # 0 · -∞ is 0 here
        divisor = as_array(of_targets.sum() if reduction == "mean" else np.ones_like(of_targets, shape=()))
        y = losses.reshape(targets.shape) if reduction == "none" else as_array(losses.sum() / divisor)
    return y, WeightedCrossEntropySaved(np.exp(log_p), aims, divisor, logits.shape, reduction)


def weighted_cross_entropy_backward(d_loss: Array | float, saved: WeightedCrossEntropySaved) -> Array:
    """Gradient of weighted_cross_entropy for the logits z.

    ∂ log p_v / ∂z_j = δ_vj - p_j, so that L = -Σ_v a_v log p_v gives
        dz_j = p_j Σ_v a_v - a_j.
    With one certain target and no weights this is p - onehot(t), the gradient of cross_entropy.
    """
    probabilities, aims, divisor, shape, reduction = saved
    with np.errstate(invalid="ignore", divide="ignore"):
        each = as_array(d_loss).astype(aims.dtype, copy=False) / divisor
    d_logits = probabilities * aims.sum(axis=-1, keepdims=True) - aims
    d_logits *= each.reshape(-1, 1) if reduction == "none" else each
    return d_logits.reshape(shape)

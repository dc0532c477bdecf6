"""Losses that stand out."""

import math

from handgrad.training.checkpoint import Progress

_DECAY = 0.98
"""What a step before counts beside the one after it: the mean is of some fifty steps."""
_DEVIATIONS = 5.0
"""In a run that goes well no loss was found more than 3.4 above the mean."""
_FEWEST = 30
"""Steps before anything can stand out."""


def take_in(loss: float, progress: Progress) -> bool:
    """Counts a step's loss in; returns whether it lies more than 5 standard deviations above the mean of those before.

    Mean and variance, exponentially weighted (Finch 2009), are kept in ``progress``. A spike counts only as far as the
    5 deviations, so that one does not hide the next.
    """
    count = progress.step - progress.skipped
    most = progress.loss_mean + _DEVIATIONS * math.sqrt(progress.loss_variance)
    spike = count >= _FEWEST and loss > most
    difference = (most if spike else loss) - progress.loss_mean
    weight = max(1 - _DECAY, 1 / (count + 1))
    progress.loss_mean += weight * difference
    progress.loss_variance = (1 - weight) * (progress.loss_variance + weight * difference**2)
    return spike

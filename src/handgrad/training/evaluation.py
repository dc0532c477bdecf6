"""The loss over a whole text, and the same in bits per character."""

import math
from itertools import islice

import numpy as np

from handgrad.autograd import no_grad
from handgrad.data import DocumentWindows, n_targets, sequential_batches
from handgrad.data.batches import Batch
from handgrad.models import LanguageModel
from handgrad.system.arrays import Array
from handgrad.system.threads import ALONE, Team

TOKENS_PER_BATCH = 2048
_BATCHES_AT_A_TIME = 64


def evaluate(
    model: LanguageModel, tokens: Array, team: Team = ALONE, batches: int = 0, end: int | None = None
) -> float:
    """Mean cross entropy in nats per token over all of ``tokens`` but the first, without dropout.

    The tokens are cut into windows of block_size tokens that do not overlap; the last one may be shorter. If
    ``batches`` is above 0, only that many batches from the beginning are used. The threads of ``team`` share the work;
    losses are summed in the order of the text.

    ``end``: the token between documents. Each document is then predicted by itself, from its first token to its end.
    """
    block_size = model.config.block_size

    def total_loss(batch: Batch) -> tuple[float, int]:
        x, y = batch
        # No warnings: the caller checks whether the loss is finite.
        with no_grad(), np.errstate(over="ignore", invalid="ignore"):
            count = n_targets(y)
            return model.loss(x, y) * count, count

    was_training = model.training
    model.eval()
    try:
        batch_size = _windows_per_batch(block_size)
        if end is None:
            windows = sequential_batches(tokens, batch_size, block_size)
        else:
            windows = DocumentWindows(tokens, end, block_size).sequential_batches(batch_size)
        chosen = islice(windows, batches or None)
        losses: list[tuple[float, int]] = []
        # In portions, as the text may be larger than memory.
        while some := list(islice(chosen, _BATCHES_AT_A_TIME)):
            losses += team.map(total_loss, some)
    finally:
        model.train(was_training)
    return math.fsum(loss for loss, _ in losses) / sum(count for _, count in losses)


def tokens_used(model: LanguageModel, tokens: Array, batches: int) -> int:
    """How many tokens from the beginning ``evaluate`` reads, the last predicted one included."""
    block_size = model.config.block_size
    return min(len(tokens), batches * _windows_per_batch(block_size) * block_size + 1) if batches else len(tokens)


def n_batches(tokens: Array, block_size: int, batches: int = 0, end: int | None = None) -> int:
    """How many batches ``evaluate`` computes for these arguments."""
    each = _windows_per_batch(block_size)
    if end is not None:
        every = -(-DocumentWindows(tokens, end, block_size).n_windows // each)
    else:
        full, rest = divmod(len(tokens) - 1, block_size)
        every = -(-full // each) + (rest > 0)
    return min(every, batches) if batches else every


def _windows_per_batch(block_size: int) -> int:
    return max(1, TOKENS_PER_BATCH // block_size)


def bits_per_character(loss: float, tokens_per_character: float | None) -> float | None:
    """Nats per token converted to bits per character; None if there is no ``tokens_per_character``."""
    return None if tokens_per_character is None else loss / math.log(2) * tokens_per_character

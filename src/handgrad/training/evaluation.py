"""The loss over a whole text, and the same in bits per character."""

import math
from itertools import islice

import numpy as np

from handgrad.autograd import no_grad
from handgrad.data import DocumentWindows, n_targets, sequential_batches
from handgrad.data.batches import Batch
from handgrad.models import LanguageModel
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.system.processes import SINGLE, Processes
from handgrad.system.threads import ALONE, Team

TOKENS_PER_BATCH = 2048
_BATCHES_AT_A_TIME = 64


def evaluate(
    model: LanguageModel,
    tokens: Array,
    team: Team = ALONE,
    batches: int = 0,
    end: int | None = None,
    stride: int | None = None,
    processes: Processes = SINGLE,
) -> float:
    """Mean cross entropy in nats per token over all of ``tokens`` but the first, without dropout.

    The model reads windows of block_size tokens that begin every ``stride`` tokens; the last one may be shorter. By
    default the stride is block_size, and windows do not overlap. With a smaller one a token is predicted in the
    earliest window that reaches it, from at least block_size - stride + 1 tokens, or from all if there are fewer. The
    work grows by block_size / stride. (In published results this is a sliding window.)

    If ``batches`` is above 0, only that many batches from the beginning are used. The threads of ``team`` share the
    work, and so do ``processes``. The sum of the losses is exact, so that the bits do not depend on their numbers.

    ``end``: the token between documents. Each document is then predicted by itself, from its first token to its end.

    Raises InputError for a stride outside 1 … block_size.
    """
    block_size = model.config.block_size
    if stride is not None:
        check_stride(stride, block_size)

    def total_loss(batch: Batch) -> tuple[float, int]:
        x, y = batch
        # No warnings: the caller checks whether the loss is finite.
        with no_grad(), np.errstate(over="ignore", invalid="ignore"):
            count = n_targets(y)
            return model.loss(x, y) * count, count

    was_training = model.training
    model.eval()
    try:
        batch_size = windows_per_batch(block_size)
        if end is None:
            windows = sequential_batches(tokens, batch_size, block_size, stride)
        else:
            windows = DocumentWindows(tokens, end, block_size).sequential_batches(batch_size, stride)
        chosen = islice(islice(windows, batches or None), processes.rank, None, processes.size)
        losses: list[tuple[float, int]] = []
        # In portions, as the text may be larger than memory.
        while some := list(islice(chosen, _BATCHES_AT_A_TIME)):
            losses += team.map(total_loss, some)
    finally:
        model.train(was_training)
    all_losses = [each for some in processes.gathered(losses) for each in some]
    return math.fsum(loss for loss, _ in all_losses) / sum(count for _, count in all_losses)


def check_stride(stride: int, block_size: int) -> None:
    """Raises InputError for a stride with which ``evaluate`` would leave tokens out, or make no progress."""
    if not 1 <= stride <= block_size:
        raise InputError(f"stride must be at least 1 and at most the model's block_size, {block_size}, not {stride}")


def tokens_used(model: LanguageModel, tokens: Array, batches: int) -> int:
    """How many tokens from the beginning ``evaluate`` reads without a stride, the last predicted one included."""
    block_size = model.config.block_size
    return min(len(tokens), batches * windows_per_batch(block_size) * block_size + 1) if batches else len(tokens)


def n_batches(tokens: Array, block_size: int, batches: int = 0, end: int | None = None) -> int:
    """How many batches ``evaluate`` computes for these arguments, without a stride."""
    each = windows_per_batch(block_size)
    if end is not None:
        every = -(-DocumentWindows(tokens, end, block_size).n_windows // each)
    else:
        full, rest = divmod(len(tokens) - 1, block_size)
        every = -(-full // each) + (rest > 0)
    return min(every, batches) if batches else every


def windows_per_batch(block_size: int) -> int:
    """How many windows ``evaluate`` computes at a time."""
    return max(1, TOKENS_PER_BATCH // block_size)


def bits_per_character(loss: float, tokens_per_character: float | None) -> float | None:
    """Nats per token converted to bits per character; None if there is no ``tokens_per_character``."""
    return None if tokens_per_character is None else loss / math.log(2) * tokens_per_character

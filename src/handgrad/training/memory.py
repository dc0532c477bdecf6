"""Whether a run can fit into this machine at all, asked before anything of it is made."""

import os

from handgrad.errors import InputError
from handgrad.models import GPTConfig
from handgrad.training.config import TrainConfig

_MOMENTS = {"adamw": 2, "adam": 2, "sgd": 1}


def check_fits_memory(config: TrainConfig, model: GPTConfig, replicas: int) -> None:
    """Raises InputError where training takes more memory than the machine has.

    Counted are the least that it takes, in float32: the weights, a gradient for each replica, the optimizer's moments,
    and of a batch the logits and, in each block, ten arrays of the residual stream's width.
    """
    available = _physical_memory()
    tokens = config.batch_size * config.block_size
    arrays = 1 + replicas + _MOMENTS[config.optimizer]
    needed = 4 * (arrays * model.n_parameters + tokens * (model.vocab_size + 10 * model.n_embd * model.n_layer))
    if available is not None and needed > available:
        raise InputError(
            f"training {model.n_parameters:,} parameters with {tokens:,} tokens in a batch takes at least "
            f"{needed / 2**30:,.1f} GiB of memory, and this machine has {available / 2**30:,.1f}; make n_layer, "
            "n_embd, block_size or batch_size smaller"
        )


def _physical_memory() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None

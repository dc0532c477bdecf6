"""Checks before a run is made that it can fit into this machine's memory."""

from handgrad.models import GPTConfig
from handgrad.runs.config import OPTIMIZERS, TrainConfig
from handgrad.system.errors import InputError
from handgrad.system.memory import physical_memory


def check_fits_memory(config: TrainConfig, model: GPTConfig, replicas: int) -> None:
    """Raises InputError if training takes more memory than the machine has.

    The estimate is a lower bound, in float32: the weights, a gradient for each replica, the optimizer's moments, and
    the outputs of the forward's matrix products for one batch, since the backward needs at least as many numbers.
    """
    available = physical_memory()
    arrays = 1 + replicas + len(OPTIMIZERS[config.optimizer][0].state_names)
    products = model.products(config.batch_size, config.block_size)
    kept = sum(each.rows * each.columns * each.count for each in products if not each.is_backward)
    needed = 4 * (arrays * model.n_parameters + kept)
    if available is not None and needed > available:
        raise InputError(
            f"training {model.n_parameters:,} parameters with {config.batch_size * config.block_size:,} tokens in a "
            f"batch takes at least {needed / 2**30:,.1f} GiB of memory, and this machine has "
            f"{available / 2**30:,.1f}; make n_layer, n_embd, block_size or batch_size smaller"
        )

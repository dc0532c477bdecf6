"""Compiles the kernels before the first step, so that compiling does not count as training time."""

import numpy as np

from handgrad.autograd import no_grad
from handgrad.models import GPTConfig, KVCache, new_model
from handgrad.models.next_token import NextToken
from handgrad.runs.config import TrainConfig
from handgrad.runs.directory import Run
from handgrad.system.backend_setting import current_backend
from handgrad.system.processes import SINGLE, Processes
from handgrad.training.replicas import Replicas


def compile_kernels(run: Run, processes: Processes = SINGLE) -> None:
    """Makes steps with the smallest model of the run's kind: this compiles or loads all kernels that training needs.
    Those that write texts are only needed if the run shows samples.

    Of several processes the first one compiles; the others load what it has kept, or compile if they find nothing.
    """
    processes.from_first(lambda: compile_kernels_of(run.config, run.model_config))
    if not processes.is_first:
        compile_kernels_of(run.config, run.model_config)


def compile_kernels_of(config: TrainConfig, model_config: GPTConfig) -> None:
    """The same for a run that is not made yet."""
    if current_backend() != "numba":
        return
    model = new_model(model_config.smallest())
    optimizer = config.make_optimizer(model.decay_groups(config.weight_decay))
    ids = np.zeros((2, 2), np.int64)
    for shards in (1, 2):  # the products of a single shard are shared, which is code of its own
        replicas = Replicas(model, shards)
        try:
            _, grad_norm = replicas.loss_and_gradients([(ids, ids)], (0,))
            replicas.update(optimizer, grad_norm, grad_clip=1.0)
        finally:
            replicas.close()
    if config.sample_interval:
        _compile_generation(model_config)


def compile_generation(run: Run) -> None:
    """Writes a token with the smallest model of the run's kind: this compiles or loads the kernels that write texts."""
    if current_backend() == "numba":
        _compile_generation(run.model_config)


def _compile_generation(model_config: GPTConfig) -> None:
    ids = np.zeros((1, 1), np.int64)
    writer = new_model(model_config.smallest()).in_precision("float32").eval()
    cache = KVCache(writer.config)
    with no_grad():
        writer(ids, kv_cache=cache)
        NextToken(writer, threads=1)(ids[0], cache)

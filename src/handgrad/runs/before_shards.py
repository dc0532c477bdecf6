"""Runs that began before batches were cut into shards: each replica was a thread with a share of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from handgrad.runs.config import TrainConfig
from handgrad.runs.environment import Environment

_LAST_ROW = 3
"""So many gradients are added in a row as they are along the tree of shards."""


def environment_in(resolved: Mapping[str, Any], config: TrainConfig) -> tuple[Environment, str | None]:
    """The environment that a config.json names, and why this version computes other bits in it; None if it does not.

    Raises ValueError if the fields or their types differ.
    """
    if "shards" in resolved:
        return Environment.of(resolved), None
    fields = {name: value for name, value in resolved.items() if name != "replicas"}
    environment = Environment.of({**fields, "shards": resolved["replicas"]})
    if environment.shards > _LAST_ROW:
        return environment, (
            f"the gradients of its {environment.shards} replicas were added in a row, and those of "
            f"{environment.shards} shards are added along a tree"
        )
    if environment.shards > 1 or environment.backend != "numba":
        return environment, None
    own_threads, environment = environment.blas_threads, replace(environment, blas_threads=1)
    if config.precision == "float32":
        return environment, "the matrix products of its one replica were computed whole, and are now cut into tiles"
    if config.dropout and own_threads > 1:  # attention with dropout is NumPy's
        return environment, f"attention in its one replica used {own_threads} threads of BLAS, and now uses one"
    return environment, None

"""The default generator: it draws initial weights and dropout masks if no other is passed."""

import operator

import numpy as np

_default = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Restarts the default generator from ``seed``, so that what it draws next can be repeated."""
    global _default
    _default = np.random.default_rng(operator.index(seed))


def default_generator() -> np.random.Generator:
    """The generator used if none is passed. Seeded by the operating system until ``manual_seed`` is called."""
    return _default

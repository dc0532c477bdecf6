"""The generator that draws where none is passed: initial weights, dropout masks."""

import numpy as np

_default = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Starts the default generator anew from ``seed``, so that what follows can be repeated."""
    global _default
    _default = np.random.default_rng(seed)


def default_generator() -> np.random.Generator:
    """The generator used where none is passed. Seeded by the operating system until ``manual_seed`` is called."""
    return _default

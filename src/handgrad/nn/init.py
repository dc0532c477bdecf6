"""Initial values. Each fills a parameter, or any tensor, in place, drawing from ``rng`` where it draws."""

import math

import numpy as np

from handgrad.arrays import Array
from handgrad.autograd import Tensor, default_generator


def zeros(parameter: Tensor) -> None:
    """All 0."""
    parameter.data = np.zeros(parameter.shape)


def ones(parameter: Tensor) -> None:
    """All 1."""
    parameter.data = np.ones(parameter.shape)


def normal(parameter: Tensor, mean: float = 0.0, std: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Draws from the normal law."""
    _copy_in(parameter, _generator(rng).standard_normal(parameter.shape, dtype=np.float64) * std + mean)


def uniform(parameter: Tensor, low: float = 0.0, high: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Draws evenly from [low, high)."""
    _copy_in(parameter, _generator(rng).uniform(low, high, parameter.shape))


def trunc_normal(
    parameter: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    rng: np.random.Generator | None = None,
) -> None:
    """Draws from the normal law until all values lie in [a, b].

    Raises ValueError where no value can be expected there: an empty interval, or one beyond 8 standard deviations.
    """
    if not (a < b and a < mean + 8 * std and b > mean - 8 * std):
        raise ValueError(f"trunc_normal: N({mean}, {std}²) gives nothing in [{a}, {b}]")
    generator = _generator(rng)
    values = generator.standard_normal(parameter.shape) * std + mean
    while (outside := (values < a) | (values > b)).any():
        values[outside] = generator.standard_normal(int(outside.sum())) * std + mean
    _copy_in(parameter, values)


def xavier_uniform(parameter: Tensor, gain: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Evenly from ±gain √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, equation 16)."""
    fan_in, fan_out = fans(parameter)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    uniform(parameter, -bound, bound, rng)


def xavier_normal(parameter: Tensor, gain: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Normal with standard deviation gain √(2 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    fan_in, fan_out = fans(parameter)
    normal(parameter, 0, gain * math.sqrt(2 / (fan_in + fan_out)), rng)


def kaiming_uniform(parameter: Tensor, rng: np.random.Generator | None = None) -> None:
    """Evenly from ±√(6 / fan_in), which keeps the variance through ReLU (He et al. 2015, equation 10)."""
    bound = math.sqrt(6 / fans(parameter)[0])
    uniform(parameter, -bound, bound, rng)


def kaiming_normal(parameter: Tensor, rng: np.random.Generator | None = None) -> None:
    """Normal with standard deviation √(2 / fan_in) (He et al. 2015, equation 10)."""
    normal(parameter, 0, math.sqrt(2 / fans(parameter)[0]), rng)


def fans(parameter: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight that stands as (in, out), or of a convolution's (out, in, I, J).

    Raises ValueError for any other.
    """
    if parameter.ndim == 4:
        n_out, n_in, height, width = parameter.shape
        return n_in * height * width, n_out * height * width
    if parameter.ndim != 2:
        raise ValueError(f"init: a parameter of shape {parameter.shape} has no fan-in and fan-out; a matrix has")
    return parameter.shape[0], parameter.shape[1]


def _generator(rng: np.random.Generator | None) -> np.random.Generator:
    return default_generator() if rng is None else rng


def _copy_in(parameter: Tensor, values: Array) -> None:
    # Drawn in float64 and rounded, so that a float32 and a float64 model of one seed start from the same weights.
    parameter.data = values

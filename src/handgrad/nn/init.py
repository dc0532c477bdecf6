"""Initial values. Each function fills a parameter, or any tensor, in place; random values are drawn by ``rng``."""

import math

import numpy as np

from handgrad.autograd import Tensor, default_generator
from handgrad.system.arrays import Array


def zeros(parameter: Tensor) -> None:
    """Fills with zeros."""
    parameter.data = np.zeros(parameter.shape)


def ones(parameter: Tensor) -> None:
    """Fills with ones."""
    parameter.data = np.ones(parameter.shape)


def normal(parameter: Tensor, mean: float = 0.0, std: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Draws from the normal distribution."""
    _copy_in(parameter, _generator(rng).standard_normal(parameter.shape, dtype=np.float64) * std + mean)


def uniform(parameter: Tensor, low: float = 0.0, high: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Draws uniformly from [low, high)."""
    _copy_in(parameter, _generator(rng).uniform(low, high, parameter.shape))


def trunc_normal(
    parameter: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    rng: np.random.Generator | None = None,
) -> None:
    """Draws from the normal distribution cut to [a, b].

    Raises ValueError if a is not below b.
    """
    if not (a < b and std > 0):
        raise ValueError(f"trunc_normal: N({mean}, {std}²) cannot be cut to [{a}, {b}]")
    values = _standard_between((a - mean) / std, (b - mean) / std, parameter.size, _generator(rng))
    _copy_in(parameter, values.reshape(parameter.shape) * std + mean)


def _standard_between(low: float, high: float, count: int, rng: np.random.Generator) -> Array:
    """N(0, 1) cut to [low, high], by rejection sampling (Robert 1995): the proposals are normal if most of them fall
    inside, else uniform, or, far out, exponential, exp(-low · x).
    """
    if high < 0:
        return -_standard_between(-high, -low, count, rng)
    inside = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    nearest = max(low, 0.0)
    values = np.empty(0)
    while len(values) < count:
        n = 2 * (count - len(values)) + 16
        if inside > 0.1:
            drawn = rng.standard_normal(n)
            taken = (drawn >= low) & (drawn <= high)
        elif nearest == 0 or nearest * (high - low) < 2:
            drawn = rng.uniform(low, high, n)
            taken = rng.random(n) < np.exp((nearest**2 - drawn**2) / 2)
        else:
            drawn = low + rng.exponential(1 / low, n)
            taken = (rng.random(n) < np.exp(-((drawn - low) ** 2) / 2)) & (drawn <= high)
        values = np.concatenate([values, drawn[taken]])
    return values[:count]


def xavier_uniform(parameter: Tensor, gain: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Uniform in ±gain √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, equation 16)."""
    fan_in, fan_out = fans(parameter)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    uniform(parameter, -bound, bound, rng)


def xavier_normal(parameter: Tensor, gain: float = 1.0, rng: np.random.Generator | None = None) -> None:
    """Normal with standard deviation gain √(2 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    fan_in, fan_out = fans(parameter)
    normal(parameter, 0, gain * math.sqrt(2 / (fan_in + fan_out)), rng)


def kaiming_uniform(parameter: Tensor, rng: np.random.Generator | None = None) -> None:
    """Uniform in ±√(6 / fan_in), which keeps the variance through ReLU (He et al. 2015, equation 10)."""
    bound = math.sqrt(6 / fans(parameter)[0])
    uniform(parameter, -bound, bound, rng)


def kaiming_normal(parameter: Tensor, rng: np.random.Generator | None = None) -> None:
    """Normal with standard deviation √(2 / fan_in) (He et al. 2015, equation 10)."""
    normal(parameter, 0, math.sqrt(2 / fans(parameter)[0]), rng)


def fans(parameter: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (in, out), or of a convolution's weight (out, in, I, J).

    Raises ValueError for any other shape.
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

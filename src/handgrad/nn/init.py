"""Initial values. Each function fills a parameter, or any tensor, in place; random values are drawn by ``rng``."""

import math
from typing import Literal

import numpy as np

from handgrad.autograd import Tensor, default_generator
from handgrad.system.arrays import Array

Mode = Literal["fan_in", "fan_out"]


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


def kaiming_uniform(
    parameter: Tensor,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: np.random.Generator | None = None,
) -> None:
    """Uniform in ±gain √(3 / fan), which keeps the variance through the nonlinearity (He et al. 2015, equation 10).

    The fan is that of the inputs (``mode="fan_in"``, for the forward) or of the outputs ("fan_out", for the backward);
    the gain is ``calculate_gain(nonlinearity, a)``, √2 by default.
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(parameter, mode))
    uniform(parameter, -bound, bound, rng)


def kaiming_normal(
    parameter: Tensor,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: np.random.Generator | None = None,
) -> None:
    """Normal with standard deviation gain / √fan (He et al. 2015, equation 10); as kaiming_uniform."""
    normal(parameter, 0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(parameter, mode)), rng)


def constant(parameter: Tensor, value: float) -> None:
    """Fills with one number."""
    parameter.data = np.full(parameter.shape, value)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that makes up for what a nonlinearity takes from the variance, as in PyTorch.

    ``param`` is the negative slope of leaky_relu, 0.01 by default. Raises ValueError for an unknown name.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"init: nonlinearity must be one of leaky_relu, {', '.join(_GAINS)}, not {nonlinearity!r}")
    return _GAINS[nonlinearity]


_GAINS = {"linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def _fan(parameter: Tensor, mode: Mode) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'init: mode must be "fan_in" or "fan_out", not {mode!r}')
    return fans(parameter)[mode == "fan_out"]


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


# PyTorch's names: what changes in place ends with an underscore there.
zeros_, ones_, constant_, normal_, uniform_, trunc_normal_ = zeros, ones, constant, normal, uniform, trunc_normal
xavier_uniform_, xavier_normal_ = xavier_uniform, xavier_normal
kaiming_uniform_, kaiming_normal_ = kaiming_uniform, kaiming_normal

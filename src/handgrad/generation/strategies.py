"""How the next token is chosen from its logits."""

import math
from dataclasses import dataclass

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

DEFAULT_TEMPERATURE = 0.6
"""What small models need: at 1 they misspell many words."""


@dataclass(frozen=True)
class Strategy:
    """Applies temperature, then top-k, then top-p, then draws a token.

    ``temperature`` divides the logits; 0 always takes the likeliest token (greedy). ``top_k`` keeps the k likeliest
    tokens. ``top_p`` keeps the smallest set of likeliest tokens whose probabilities sum to at least p (Holtzman et al.
    2020).

    Raises InputError for invalid values.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be a finite number of at least 0, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p must lie in (0, 1], not {self.top_p}")

    def choose(self, logits: Array, rng: np.random.Generator) -> int:
        """A token drawn from logits (V,). A token whose logit is -inf is never drawn.

        Raises InputError for logits that are NaN or +inf, or all -inf.
        """
        if not np.isfinite(highest := logits.max()):  # NaN if one is NaN
            what = "NaN" if np.isnan(highest) else "infinite"
            raise InputError(f"the model's logits are {what}: its training diverged")
        if self.temperature == 0:
            return int(np.argmax(logits))
        cumulative = np.cumsum(self.probabilities(logits))
        return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))

    def probabilities(self, logits: Array) -> Array:
        """The probabilities of the draw, float64 (V,), for a temperature above 0."""
        # Subtracting the maximum before dividing keeps a tiny temperature from overflowing.
        with np.errstate(over="ignore"):
            scaled = (logits.astype(np.float64) - logits.max()) / self.temperature
        likeliest = np.argsort(-scaled, kind="stable")
        if self.top_k is not None:
            scaled[likeliest[self.top_k :]] = -np.inf
        weights = np.exp(scaled)
        probabilities: Array = weights / weights.sum()
        if self.top_p is not None:
            before = np.cumsum(probabilities[likeliest]) - probabilities[likeliest]
            probabilities[likeliest[before >= self.top_p]] = 0
            probabilities /= probabilities.sum()
        return probabilities

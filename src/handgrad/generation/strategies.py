"""How the next token is chosen from its logits."""

import math
from dataclasses import dataclass

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError


@dataclass(frozen=True)
class Strategy:
    """Temperature, then top-k, then top-p, then a draw.

    ``temperature`` divides the logits; 0 always takes the likeliest token (greedy). ``top_k`` keeps the k likeliest.
    ``top_p`` keeps the fewest likeliest whose probabilities reach p (Holtzman et al. 2020).

    Raises InputError for values that leave nothing to choose from.
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
        """A token for logits (V,); -inf stands for one that must not come. Raises InputError where one is NaN."""
        if np.isnan(logits).any():
            raise InputError("the model's logits are not numbers: its training diverged")
        if self.temperature == 0:
            return int(np.argmax(logits))
        cumulative = np.cumsum(self.probabilities(logits))
        return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))

    def probabilities(self, logits: Array) -> Array:
        """What is drawn from, float64 (V,), for a temperature above 0."""
        # Shifted before it is divided: a tiny temperature must not overflow.
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

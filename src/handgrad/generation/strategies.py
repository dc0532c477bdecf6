"""How the next token is chosen from its logits, for one text or for several at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handgrad.ops.shapes import integer
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

DEFAULT_TEMPERATURE = 0.6
"""What small models need: at 1 they misspell many words."""
_LARGEST = np.finfo(np.float64).max


@dataclass(frozen=True)
class Strategy:
    """Applies the repetition penalty, temperature, top-k, top-p and min-p, in this order, then draws a token.

    ``repetition_penalty`` changes the logits of the tokens that are already in the text: a positive logit is divided by
    it, a negative one multiplied, so that above 1 they become less likely (Keskar et al. 2019, CTRL). 1 changes
    nothing. ``temperature`` divides the logits; 0 always takes the likeliest token (greedy). ``top_k`` keeps the k
    likeliest tokens (Fan et al. 2018). ``top_p`` keeps the smallest set of likeliest tokens whose probabilities sum to
    at least p (Holtzman et al. 2020). ``min_p`` keeps the tokens that are at least min_p times as likely as the
    likeliest (Nguyen et al. 2024); 0 keeps all. Of equally likely tokens at a limit, top-k and top-p keep the first.
    The likeliest token always stays.

    The order is that of Hugging Face's transformers. Each filter looks at the probabilities that those before it leave,
    at the temperature of the draw. Only top-p depends on its place: after top-k it counts the share of the k tokens.
    Ratios of probabilities stay as they are, so top-k and min-p would keep the same tokens anywhere after the
    temperature. vLLM differs in that its min-p comes before top-p; llama.cpp applies the temperature last.

    Raises InputError for invalid values.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature must be a finite number of at least 0, not {self.temperature}")
        if self.top_k is not None and integer(self.top_k) is None:
            raise InputError(f"top_k must be an integer, not {self.top_k!r}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p must lie in (0, 1], not {self.top_p}")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise InputError(f"min_p must lie in [0, 1], not {self.min_p}")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(f"repetition_penalty must be a finite number above 0, not {self.repetition_penalty}")

    @property
    def looks_back(self) -> bool:
        """Whether the choice depends on the tokens that are already in the text."""
        return self.repetition_penalty != 1

    def choose(self, logits: Array, rng: np.random.Generator, seen: Sequence[int] | Array = ()) -> int:
        """A token drawn from logits (V,). A token whose logit is -inf is never drawn.

        ``seen``: the ids that are already in the text, in any order; the repetition penalty is for them.

        Raises InputError for logits that are NaN or +inf, or all -inf.
        """
        in_text = None
        if self.looks_back:
            in_text = np.zeros((1, len(logits)), bool)
            in_text[0, np.asarray(seen, np.intp)] = True
        return self.choose_each(logits[None], [rng], in_text)[0]

    def choose_each(self, logits: Array, rngs: Sequence[np.random.Generator], seen: Array | None = None) -> list[int]:
        """A token for each of B texts, drawn from its row of logits (B, V) with its own generator.

        Each is the token that ``choose`` draws from this row alone. ``seen``: bool (B, V), whether a token is already
        in the text.

        Raises InputError if a row has a logit that is NaN or +inf, or only -inf; no number is drawn then.
        """
        highest = logits.max(axis=-1)  # NaN if one is NaN
        if not np.isfinite(highest).all():
            what = "NaN" if np.isnan(highest).any() else "infinite"
            raise InputError(f"the model's logits are {what}: its training diverged")
        if self.temperature == 0:
            likeliest: list[int] = np.argmax(self._penalised(logits, seen), axis=-1).tolist()
            return likeliest
        probabilities, ids = self._candidates(logits, seen)
        cumulative = np.cumsum(probabilities, axis=-1, out=probabilities)
        draws = np.array([rng.random() for rng in rngs])
        # The first place that exceeds the draw. There is one, as random() < 1, and its probability is above 0.
        places = np.argmax(cumulative > (draws * cumulative[:, -1])[:, None], axis=-1)
        chosen: list[int] = (places if ids is None else ids[np.arange(len(places)), places]).tolist()
        return chosen

    def probabilities(self, logits: Array, seen: Array | None = None) -> Array:
        """The probabilities of the draw, float64, from logits (V,) or (B, V), for a temperature above 0.

        ``seen``: bool, of the shape of the logits: whether a token is already in the text.
        """
        rows = np.atleast_2d(logits)
        probabilities, ids = self._candidates(rows, None if seen is None else np.atleast_2d(seen))
        if ids is not None:
            few, probabilities = probabilities, np.zeros(rows.shape)
            np.put_along_axis(probabilities, ids, few, axis=-1)
        return probabilities.reshape(logits.shape)

    def _candidates(self, logits: Array, seen: Array | None) -> tuple[Array, Array | None]:
        """Probabilities, float64, and the ids, rising in each row, that they are for: both (B, k) with top-k.

        Without top-k, there is a probability for each token (B, V), and None.
        """
        logits = self._penalised(logits, seen)
        ids = None
        n_texts, vocab_size = logits.shape
        if self.top_k is not None and self.top_k < vocab_size:
            # A temperature does not change which tokens are the likeliest, so only k logits are divided by it.
            kth = np.partition(logits, vocab_size - self.top_k, axis=-1)[:, vocab_size - self.top_k]
            kept = _likeliest(logits, kth, np.full(n_texts, self.top_k))
            places = np.flatnonzero(kept).reshape(n_texts, self.top_k)
            logits, ids = logits.ravel()[places], places % vocab_size
        scaled = logits.astype(np.float64)
        # Subtracting the maximum before dividing keeps a tiny temperature from overflowing.
        with np.errstate(over="ignore"):
            scaled -= scaled.max(axis=-1, keepdims=True)
            scaled /= self.temperature
        probabilities: Array = np.exp(scaled, out=scaled)
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        if self.top_p is not None and self.top_p < 1:
            probabilities[~_nucleus(probabilities, self.top_p)] = 0
            probabilities /= probabilities.sum(axis=-1, keepdims=True)
        if self.min_p:
            probabilities[probabilities < self.min_p * probabilities.max(axis=-1, keepdims=True)] = 0
            probabilities /= probabilities.sum(axis=-1, keepdims=True)
        return probabilities, ids

    def _penalised(self, logits: Array, seen: Array | None) -> Array:
        """The logits after the repetition penalty: float64 if there is one, else the same array."""
        if seen is None or not self.looks_back:
            return logits
        penalised = logits.astype(np.float64)
        values = penalised[seen]
        with np.errstate(over="ignore"):
            changed = np.where(values > 0, values / self.repetition_penalty, values * self.repetition_penalty)
        # A finite logit stays finite under any penalty, and -inf stays what it is.
        penalised[seen] = np.where(np.isneginf(values), values, np.clip(changed, -_LARGEST, _LARGEST))
        return penalised


def _nucleus(probabilities: Array, top_p: float) -> Array:
    """Whether each token is in the smallest set of likeliest tokens that reaches top_p < 1, bool (B, V)."""
    n_texts, vocab_size = probabilities.shape
    # All tokens below this sum to less than (1 - top_p) / 2. The others therefore reach top_p, so only they are sorted.
    least = (1 - top_p) / (2 * vocab_size)
    candidates = int((probabilities >= least).sum(axis=-1).max())
    falling = np.partition(-probabilities, candidates - 1, axis=-1)[:, :candidates]
    falling.sort(axis=-1)
    np.negative(falling, out=falling)
    # A token is in the set if those before it do not reach top_p.
    counts = 1 + (np.cumsum(falling, axis=-1)[:, :-1] < top_p).sum(axis=-1)
    return _likeliest(probabilities, falling[np.arange(n_texts), counts - 1], counts)


def _likeliest(values: Array, limits: Array, counts: Array) -> Array:
    """Whether each of values (B, V) is among the largest of its row, bool (B, V): as many as ``counts`` (B,) says.

    ``limits`` (B,) are the smallest of them. Of values that equal the limit, the first are among them.
    """
    limits, counts = limits[:, None], counts[:, None]
    kept: Array = values >= limits
    if np.count_nonzero(kept) > counts.sum():
        tied = values == limits
        room = counts - (values > limits).sum(axis=-1, keepdims=True)
        kept &= ~tied | (np.cumsum(tied, axis=-1) <= room)
    return kept

"""What a model has read of the texts that it continues together, and the logits that follow."""

from collections.abc import Sequence

import numpy as np

from handgrad.autograd import no_grad
from handgrad.models import LanguageModel
from handgrad.system.arrays import Array


class Contexts:
    """B texts, each of at least one token, that one model continues at the same time.

    Call ``next_logits``, then ``add`` with one token for each text, and so on.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]], cached: bool = True) -> None:
        self.model, self.cached = model, cached
        self.ids = [list(prompt) for prompt in prompts]

    def next_logits(self) -> Array:
        """Logits (B, V) of the token after each text, without dropout. The caller may change them."""
        was_training = self.model.training
        self.model.eval()
        try:
            with no_grad():
                rows = [self.model.logits(np.array([ids[-self.model.config.block_size :]]))[0, -1] for ids in self.ids]
                return np.stack(rows)
        finally:
            self.model.train(was_training)

    def add(self, ids: Sequence[int]) -> None:
        """Writes one token behind each text."""
        for text, number in zip(self.ids, ids, strict=True):
            text.append(number)

    def drop(self, place: int) -> None:
        """Ends the text at this place; the last text takes its place."""
        last = self.ids.pop()
        if place < len(self.ids):
            self.ids[place] = last

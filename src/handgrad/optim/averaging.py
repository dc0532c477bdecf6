"""An exponential average of the weights, which often predicts better than the weights of any one step."""

from collections.abc import Iterator
from contextlib import contextmanager

from handgrad.system.arrays import Array
from handgrad.system.threads import ALONE, Team

# Elements averaged at a time: weights, average and scratch of a block stay in a core's cache.
_BLOCK = 16384


class WeightAverage:
    """average ← d · average + (1 - d) · weights after each step, with d = min(decay, (1 + t) / (10 + t)).

    t counts the steps from 0. The first steps have a smaller d, so that the average does not linger at the random
    weights that it starts from. Averages of this kind go back to Polyak & Juditsky (1992); the growing d is that of
    TensorFlow's ExponentialMovingAverage.

    ``weights``: a flat array, such as ``model.arena.data``. ``values`` is the average, of its size and dtype.

    Raises ValueError unless 0 < decay < 1.
    """

    def __init__(self, weights: Array, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"WeightAverage: decay must lie between 0 and 1, not {decay}")
        self.weights, self.decay = weights, decay
        self.values = weights.copy()

    def start(self) -> None:
        """Sets the average to the weights as they are now."""
        self.values[...] = self.weights

    def update(self, steps: int, team: Team = ALONE) -> None:
        """Takes the weights into the average, after a step that ``steps`` others came before."""
        rest = 1 - min(self.decay, (1 + steps) / (10 + steps))

        def update_span(span: slice) -> None:
            for start in range(span.start, span.stop, _BLOCK):
                block = slice(start, min(start + _BLOCK, span.stop))
                difference = self.weights[block] - self.values[block]
                difference *= rest
                self.values[block] += difference

        team.map(update_span, team.pieces(self.values.size))

    def exchange(self) -> None:
        """Swaps the contents of the two arrays."""
        before = self.weights.copy()
        self.weights[...] = self.values
        self.values[...] = before

    @contextmanager
    def exchanged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights; ``values`` holds those of training until the end."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

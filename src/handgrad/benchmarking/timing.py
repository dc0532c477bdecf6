"""Times that can be compared, on a machine that others also use: all contenders in turn, round by round."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handgrad.benchmarking.contenders import Contender

_WARM_UP_CALLS = 3
_TURN_SECONDS = 0.25


@dataclass(frozen=True)
class Times:
    """The times and results of each contender, by its name."""

    seconds: dict[str, list[float]]
    """Per call, one number for each round."""
    results: dict[str, list[float]]
    """Of all calls, including those that were not timed."""

    def median(self, name: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[name])

    def medians(self) -> dict[str, float]:
        """Seconds, by contender."""
        return {name: self.median(name) for name in self.seconds}

    def ratio(self, name: str, other: str) -> float:
        """The median over the rounds of one's time ÷ the other's in the same round."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def apart(self, name: str, other: str) -> float:
        """The largest difference between the results of the two in the same call."""
        return max(abs(a - b) for a, b in zip(self.results[name], self.results[other], strict=False))


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    calls: int | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Times:
    """Times the contenders in turn, A B C A B C …. A turn is one call that is not timed, then ``calls`` that are, one
    after another as in training; their mean is kept.

    During the first call of a turn, the caches still hold another contender's data, whose threads may still spin on the
    cores. By default ``calls`` is as many as fit into a quarter of a second, and at least one. ``say`` is called with
    the expected total time.
    """
    results: dict[str, list[float]] = {contender.name: [] for contender in contenders}

    def turn(contender: Contender, count: int) -> float:
        """Seconds per call."""
        with contender.around():
            results[contender.name].append(contender.run())
            begun = time.perf_counter()
            for _ in range(count):
                results[contender.name].append(contender.run())
            return (time.perf_counter() - begun) / count

    warm = {contender.name: turn(contender, _WARM_UP_CALLS) for contender in contenders}
    counts = {name: calls or max(1, round(_TURN_SECONDS / taken)) for name, taken in warm.items()}
    expected = rounds * sum((1 + counts[name]) * taken for name, taken in warm.items())
    say(f"{rounds} rounds in turn, about {expected:.0f} s")
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            seconds[contender.name].append(turn(contender, counts[contender.name]))
    return Times(seconds, results)

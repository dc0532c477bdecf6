"""Times that can be compared: all contenders in turn, round by round, on a machine that others use too."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handgrad.benchmarking.contenders import Contender

_WARM_UP_CALLS = 3
_TURN_SECONDS = 0.25


@dataclass(frozen=True)
class Times:
    """What the rounds gave for each contender, by its name."""

    seconds: dict[str, list[float]]
    """Of a call, one figure for each round."""
    results: dict[str, list[float]]
    """Of all calls, also those that did not count."""

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
        """The largest difference between what the two returned in the same call, over those that both made."""
        return max(abs(a - b) for a, b in zip(self.results[name], self.results[other], strict=False))


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    calls: int | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Times:
    """Each in turn, A B C A B C …. A turn is one call that does not count and ``calls`` that do, one after another as
    in a training; of these the mean is kept.

    The first call of a turn finds the processor's caches full of what another did, and that one's threads still
    spinning on the cores. ``calls`` is chosen, where it is not given, so that each has a quarter of a second or one
    call. ``say`` is told how long all will take.
    """
    results: dict[str, list[float]] = {contender.name: [] for contender in contenders}

    def turn(contender: Contender, count: int) -> float:
        """Seconds a call."""
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

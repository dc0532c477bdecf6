"""Times that can be compared: all contenders in turn, round by round, on a machine that others use too."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handgrad.benchmarking.contenders import Contender

WARM_UP_ROUNDS = 3
# The threads of the one before spin for a while after their work, and would take the next one's cores.
_PAUSE = 0.03


@dataclass(frozen=True)
class Times:
    """What the rounds gave for each contender, by its name; all lists are of one length."""

    seconds: dict[str, list[float]]
    results: dict[str, list[float]]
    """Of all calls, those of the warm-up too."""

    def median(self, name: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """The median over the rounds of one's time ÷ the other's in the same round."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def apart(self, name: str, other: str) -> float:
        """The largest difference between what the two returned in the same call."""
        return max(abs(a - b) for a, b in zip(self.results[name], self.results[other], strict=True))


def alternate(
    contenders: Sequence[Contender], rounds: int, warm_up: int = WARM_UP_ROUNDS, seen: Callable[[], None] = lambda: None
) -> Times:
    """Calls each in turn, A B C A B C …; the first rounds do not count. ``seen`` is called after each round."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    results: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(warm_up + rounds):
        for contender in contenders:
            with contender.around():
                time.sleep(_PAUSE)
                begun = time.perf_counter()
                result = contender.run()
                taken = time.perf_counter() - begun
            results[contender.name].append(result)
            if number >= warm_up:
                seconds[contender.name].append(taken)
        seen()
    return Times(seconds, results)

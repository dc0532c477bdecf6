"""Where the time of a training step goes, by operation, beside what its matrix products alone take."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handgrad.backend import observed
from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.floor import multiplier
from handgrad.threads import Team
from handgrad.training import choose_replicas
from handgrad.training.replicas import Replicas, cores_for

_WARM_UP_STEPS = 3
_BACKWARD = " backward"


@dataclass(frozen=True)
class Row:
    """One operation's part of a step."""

    operation: str
    seconds: float
    """A step, the mean of the replicas."""
    floor: float
    """Seconds that its matrix products alone take; 0 where it has none."""


def profile(case: Case, steps: int, replicas: int = 0) -> list[Row]:
    """A row for each operation, the longest first, then what is left of the step, and the whole step."""
    count = choose_replicas(replicas, case.batch_size)
    model = case.make_model()
    shared = Replicas(model, count)
    optimizer = case.train.make_optimizer(model.decay_groups(case.train.weight_decay))
    clock = _Clock(case)
    with cores_for(count), observed(clock.observe):
        for step in range(_WARM_UP_STEPS + steps):
            if step == _WARM_UP_STEPS:
                clock.seconds.clear()
            begun = time.perf_counter()
            _, grad_norm = shared.loss_and_gradients([case.batch(step)], (case.train.seed, step))
            between = time.perf_counter()
            shared.update(optimizer, grad_norm, case.train.grad_clip)
            ended = time.perf_counter()
            clock.seconds["step"].append(ended - begun)
            clock.seconds["optimizer"].append(ended - between)
    shared.close()
    seconds = {name: sum(times) / steps for name, times in clock.seconds.items()}
    whole, optimizer_seconds = seconds.pop("step"), seconds.pop("optimizer")
    floors = _floors(case, count)
    rows = [Row(name, total / count, floors.get(name, 0.0)) for name, total in seconds.items()]
    rows.append(Row("optimizer", optimizer_seconds, 0.0))
    rows.sort(key=lambda row: row.seconds, reverse=True)
    left = whole - sum(row.seconds for row in rows)
    rows.append(Row("everything else", left, 0.0))
    return [*rows, Row("step", whole, sum(floors.values()))]


class _Clock:
    """Collects how long each call of each operation takes; threads append, which is safe."""

    def __init__(self, case: Case) -> None:
        C = case.model_config.n_embd
        self.maps = {(C, 3 * C): "project_in", (C, C): "project_out", (C, 4 * C): "expand", (4 * C, C): "contract"}
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.timed: dict[Any, tuple[Callable[..., Any], Callable[..., Any]]] = {}

    def observe(
        self, forward: Callable[..., Any], backward: Callable[..., Any], inputs: tuple[Any, ...]
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        name = self._name(forward.__name__, inputs)
        if (name, forward) not in self.timed:
            self.timed[name, forward] = self._timed(name, forward), self._timed(name + _BACKWARD, backward)
        return self.timed[name, forward]

    def _name(self, operation: str, inputs: tuple[Any, ...]) -> str:
        """By the part of the model that it is, where it is one with matrix products."""
        if operation.startswith("linear"):
            return self.maps[inputs[1].shape]
        return {"unembedding": "head", "multi_head_attention": "attention"}.get(operation, operation)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds[name].append(time.perf_counter() - begun)
            return result

        return timed


def _floors(case: Case, count: int) -> dict[str, float]:
    """Seconds of the products of each operation, all replicas side by side; the median of a few rounds."""
    floors: dict[str, float] = defaultdict(float)
    with cores_for(count), Team(count) as team:
        for product in case.products(count):
            work, times = multiplier([product], count), []
            for _ in range(5):
                begun = time.perf_counter()
                team.map(work, range(count))
                times.append(time.perf_counter() - begun)
            floors[product.operation] += sorted(times)[2]
    return floors

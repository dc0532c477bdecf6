"""Where the time of a training step goes, by operation, beside what its matrix products alone take."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from handgrad.backend import Call, watching
from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.floor import multiplier, products_of
from handgrad.nn import Linear, Module, Unembedding
from handgrad.nn.transformer import Attend
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
    clock = Clock(shared.models)
    with cores_for(count), watching(clock.watch):
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


class Clock:
    """Collects how long each call of each operation takes; threads append, which is safe."""

    def __init__(self, models: Iterable[Module]) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._parts = {id(layer): name for model in models for name, layer in _parts_of(model)}

    def watch(self, call: Call, run: Callable[[], Any]) -> Any:
        """For ``backend.watching``."""
        begun = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - begun
        name = self._parts.get(id(call.layer), call.operation)
        self.seconds[name + _BACKWARD if call.is_backward else name].append(seconds)
        return result


def _parts_of(model: Module) -> Iterator[tuple[str, Module]]:
    """The layers that have a row of their own, with its name: those with matrix products, by what the model calls them.

    All others share a row with the layers of the same operation.
    """
    for path, module in model.named_modules():
        if isinstance(module, Attend):
            yield "attention", module
        elif isinstance(module, Linear | Unembedding):
            yield path.rpartition(".")[2], module


def _floors(case: Case, count: int) -> dict[str, float]:
    """Seconds of the products of each operation, all replicas side by side; the median of a few rounds."""
    floors: dict[str, float] = defaultdict(float)
    with cores_for(count), Team(count) as team:
        for product in products_of(case, count):
            work, times = multiplier([product], count), []
            for _ in range(5):
                begun = time.perf_counter()
                team.map(work, range(count))
                times.append(time.perf_counter() - begun)
            floors[product.operation] += sorted(times)[2]
    return floors

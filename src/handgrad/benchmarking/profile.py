"""How the time of a training step is spent, by operation, beside the time of its matrix products alone."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handgrad.backend import Call, watching
from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.floor import cores_for_products, multiplier
from handgrad.models import LanguageModel
from handgrad.nn import Layer
from handgrad.runs import choose_shards
from handgrad.system.threads import Team
from handgrad.training.replicas import Replicas, cores_for

_WARM_UP_STEPS = 3
_BACKWARD = " backward"


@dataclass(frozen=True)
class Row:
    """One operation's part of a step."""

    operation: str
    seconds: float
    """Per step, the mean of the threads that compute shards."""
    floor: float
    """Seconds that its matrix products alone take; 0 if it has none."""


def profile(case: Case, steps: int, shards: int = 0, threads: int = 0) -> list[Row]:
    """A row for each operation, the slowest first, then one for the rest of the step, and one for the whole step."""
    count = choose_shards(shards, case.batch_size)
    model = case.make_model()
    shared = Replicas(model, count, threads)
    optimizer = case.train.make_optimizer(model.decay_groups(case.train.weight_decay))
    clock = Clock({layer: part for each in shared.models for layer, part in layers_with_products(each).items()})
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
    size = shared.team.size
    floors, workers = _floors(case, count, size), min(size, count)
    rows = [Row(name, total / workers, floors.get(name, 0.0)) for name, total in seconds.items()]
    rows.append(Row("optimizer", optimizer_seconds, 0.0))
    rows.sort(key=lambda row: row.seconds, reverse=True)
    left = whole - sum(row.seconds for row in rows)
    rows.append(Row("everything else", left, 0.0))
    return [*rows, Row("step", whole, sum(floors.values()))]


class Clock:
    """Collects how long each call of each operation takes. Threads append to lists, which is safe."""

    def __init__(self, parts: Mapping[object, str]) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._parts = parts
        """The layers that have their own row, and the name of that row."""

    def watch(self, call: Call, run: Callable[[], Any]) -> Any:
        """For ``backend.watching``."""
        begun = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - begun
        name = self._parts.get(call.layer, call.operation)
        self.seconds[name + _BACKWARD if call.is_backward else name].append(seconds)
        return result


def layers_with_products(model: LanguageModel) -> dict[Layer, str]:
    """The layers that compute matrix products, with their names in the model; each has its own row.

    Every other layer shares a row with the layers of the same operation.
    """
    parts = {product.part for product in model.products(windows=1, length=1)}
    named = ((path.rpartition(".")[2], layer) for path, layer in model.named_modules())
    return {layer: part for part, layer in named if part in parts and isinstance(layer, Layer)}


def _floors(case: Case, count: int, threads: int) -> dict[str, float]:
    """Seconds of the products of each operation, with all shards at once; the median of a few rounds."""
    floors: dict[str, float] = defaultdict(float)
    with cores_for_products(count, threads), Team(threads) as team:
        for product in case.products(count):
            work, times = multiplier([product], count, case.precision), []
            for _ in range(5):
                begun = time.perf_counter()
                team.map(work, range(count))
                times.append(time.perf_counter() - begun)
            floors[product.operation] += sorted(times)[2]
    return floors

"""The results of a comparison: times, ratios, shares of the floor, peaks of memory."""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.contenders import (
    EAGER,
    OURS,
    Contender,
    Work,
    closing,
    handgrad_contender,
    has_torch,
    has_transformers,
    new_tokens,
    pytorch_contender,
    transformers_contender,
)
from handgrad.benchmarking.floor import flops_of, products_contender
from handgrad.benchmarking.peak_memory import Memory, measure_memory
from handgrad.benchmarking.timing import Times, alternate
from handgrad.runs import choose_replicas
from handgrad.runs.environment import installed_versions, name_of_blas
from handgrad.system.backend_setting import current_backend
from handgrad.system.errors import InputError
from handgrad.system.processor import available_cores
from handgrad.system.version import __version__


@dataclass(frozen=True)
class BenchmarkResult:
    """The results for one case and one kind of work."""

    case: str
    work: Work
    replicas: int
    rounds: int
    seconds: dict[str, float]
    """Medians, by contender."""
    ratios: dict[str, float]
    """handgrad's time ÷ the other's, medians over the rounds."""
    apart: dict[str, float]
    """The largest difference between handgrad's results and the other's, losses in nats."""
    flops: int | None
    """Floating-point operations in the matrix products of a training step."""
    gflops_per_second: float | None
    """The rate of these products alone."""
    share_of_floor: dict[str, float]
    """The time of the products alone ÷ each contender's."""
    memory: dict[str, Memory]
    tokens: int | None = None
    """Tokens that one call of a generation writes."""
    tokens_per_second: dict[str, float] = field(default_factory=dict)
    """Of a generation, by contender."""

    @property
    def ratio_to_best(self) -> float | None:
        """The ratio to the fastest of the others in float32, which all run on PyTorch; None without PyTorch."""
        float32 = [name for name in self.ratios if "bf16" not in name]
        return max((self.ratios[name] for name in float32), default=None)


def compare(
    case: Case, work: Work, *, rounds: int, compiled: bool, bfloat16: bool, replicas: int, say: Callable[[str], None]
) -> BenchmarkResult:
    """Times handgrad and, if it is installed, PyTorch. ``say`` reports who cannot take part, and why.

    In a generation PyTorch runs eager in float32 alone, because all contenders must write the same tokens, and
    transformers takes part if it is installed and if the model is a GPT-2.
    """
    contenders = [handgrad_contender(case, work, replicas)]
    if work == "training":
        contenders.append(products_contender(case, replicas))
    generates = work == "generation"
    if has_torch():
        contenders += _pytorch_contenders(case, work, compiled and not generates, bfloat16 and not generates, say)
        if generates and has_transformers():
            try:
                contenders.append(transformers_contender(case))
            except InputError as error:
                say(str(error))
    with closing(contenders):
        times = alternate(contenders, rounds, say=say)
    floor_name = contenders[1].name if work == "training" else None
    others = [contender.name for contender in contenders[1:] if contender.name != floor_name]
    seconds = times.medians()
    tokens = new_tokens(case) if generates else None
    return BenchmarkResult(
        case=case.name,
        work=work,
        replicas=choose_replicas(replicas, case.batch_size),
        rounds=rounds,
        seconds=seconds,
        ratios={name: times.ratio(OURS, name) for name in others},
        apart={name: times.apart(OURS, name) for name in others},
        flops=flops_of(case) if work == "training" else None,
        gflops_per_second=None if floor_name is None else flops_of(case) / seconds[floor_name] / 1e9,
        share_of_floor={} if floor_name is None else _shares(times, floor_name, [OURS, *others]),
        memory=_memory(case, replicas) if work == "training" else {},
        tokens=tokens,
        tokens_per_second={} if tokens is None else {name: tokens / taken for name, taken in seconds.items()},
    )


def _pytorch_contenders(
    case: Case, work: Work, compiled: bool, bfloat16: bool, say: Callable[[str], None]
) -> list[Contender]:
    found = []
    for is_compiled in (False, True)[: 1 + compiled]:
        for is_bfloat16 in (False, True)[: 1 + bfloat16]:
            contender = pytorch_contender(case, work, compiled=is_compiled, bfloat16=is_bfloat16)
            if is_compiled:
                say(f"{contender.name} compiles")
            try:
                contender.prepare()
            except Exception as error:  # no C++ compiler, or a type that this processor cannot multiply
                say(f"{contender.name} does not run here: {f'{error} '.strip().splitlines()[0][:200]}")
            else:
                found.append(contender)
    return found


def _shares(times: Times, floor_name: str, names: list[str]) -> dict[str, float]:
    return {name: times.ratio(floor_name, name) for name in names}


def _memory(case: Case, replicas: int) -> dict[str, Memory]:
    sides = [OURS, EAGER] if has_torch() else [OURS]
    measured = {side: measure_memory(case.name, side, replicas) for side in sides}
    return {side: memory for side, memory in measured.items() if memory is not None}


def machine() -> dict[str, Any]:
    """The machine on which the figures were measured."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": current_backend(),
        "handgrad": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": name_of_blas(),
        **installed_versions("numba", "torch", "transformers"),
    }


def as_json(comparisons: list[BenchmarkResult], tokenizing: Times | None = None) -> dict[str, Any]:
    """All results as JSON values; ``tokenizing``: the times of the encoders."""
    cases = [{**asdict(one), "ratio_to_best_float32": one.ratio_to_best} for one in comparisons]
    encoding = {} if tokenizing is None else {"tokenizing": {"seconds": tokenizing.medians()}}
    return {"format": "handgrad-bench", "version": 1, "machine": machine(), "comparisons": cases, **encoding}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"

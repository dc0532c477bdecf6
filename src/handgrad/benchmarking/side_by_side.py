"""The results of a comparison: times, ratios, shares of the floor, peaks of memory."""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.contenders import (
    BF16,
    JAX,
    OURS,
    Contender,
    Work,
    closing,
    handgrad_contender,
    has_jax,
    has_torch,
    has_transformers,
    jax_contender,
    new_tokens,
    pytorch_contender,
    transformers_contender,
)
from handgrad.benchmarking.floor import PRODUCTS, flops_of, products_contender
from handgrad.benchmarking.peak_memory import SIDES, Memory, measure_memory
from handgrad.benchmarking.timing import Times, alternate
from handgrad.runs import choose_shards, choose_threads
from handgrad.runs.environment import installed_versions, name_of_blas
from handgrad.system.backend_setting import current_backend
from handgrad.system.errors import InputError
from handgrad.system.processor import available_cores, processor_name
from handgrad.system.version import __version__


@dataclass(frozen=True)
class BenchmarkResult:
    """The results for one case and one kind of work."""

    case: str
    work: Work
    shards: int
    replicas: int
    """Threads that compute the shards."""
    rounds: int
    seconds: dict[str, float]
    """Medians, by contender."""
    ratios: dict[str, float]
    """handgrad's time in float32 ÷ the other's, medians over the rounds."""
    apart: dict[str, float]
    """The largest difference between handgrad's results in float32 and the other's, losses in nats."""
    flops: int | None
    """Floating-point operations in the matrix products of a training step."""
    gflops_per_second: float | None
    """The rate of these products alone, in float32."""
    share_of_floor: dict[str, float]
    """The time of the products alone ÷ each contender's, both in the contender's precision."""
    memory: dict[str, Memory]
    tokens: int | None = None
    """Tokens that one call of a generation writes."""
    tokens_per_second: dict[str, float] = field(default_factory=dict)
    """Of a generation, by contender."""
    ratios_bfloat16: dict[str, float] = field(default_factory=dict)
    """handgrad's time in bfloat16 ÷ the other's, medians over the rounds; empty if it did not take part."""
    gflops_per_second_bfloat16: float | None = None
    """The rate of the products alone in bfloat16."""

    @property
    def ratio_to_best(self) -> float | None:
        """The ratio to the fastest that runs on PyTorch in float32; None without PyTorch."""
        return _to_best({name: ratio for name, ratio in self.ratios.items() if not name.endswith(BF16)})

    @property
    def ratio_to_best_bfloat16(self) -> float | None:
        """Both in bfloat16: handgrad's time ÷ that of the fastest on PyTorch; None if one of them did not take part."""
        return _to_best({name: ratio for name, ratio in self.ratios_bfloat16.items() if name.endswith(BF16)})


def _to_best(ratios: dict[str, float]) -> float | None:
    on_pytorch = [ratio for name, ratio in ratios.items() if not name.startswith((OURS, JAX))]
    return max(on_pytorch, default=None)


def compare(
    case: Case,
    work: Work,
    *,
    rounds: int,
    compiled: bool,
    bfloat16: bool,
    replicas: int,
    say: Callable[[str], None],
    shards: int = 0,
    jax: bool = True,
) -> BenchmarkResult:
    """Times handgrad and, if they are installed, PyTorch and JAX. ``say`` reports who cannot take part, and why.

    In a generation handgrad and PyTorch, eager, run in float32 alone, because all contenders must write the same
    tokens, and transformers takes part if it is installed and if the model is a GPT-2.
    """
    generates = work == "generation"
    bfloat16 = bfloat16 and not generates
    ours = [handgrad_contender(case, work, shards, replicas)]
    if bfloat16:
        ours += _if_possible(lambda: handgrad_contender(case, work, shards, replicas, bfloat16=True), say)
    precisions = [contender.name.endswith(BF16) for contender in ours]
    floors = [products_contender(case, shards, replicas, bfloat16=each) for each in precisions if work == "training"]
    others: list[Contender] = []
    if has_torch():
        others += pytorch_contenders(case, work, compiled and not generates, bfloat16, say)
        if generates and has_transformers():
            others += _if_possible(lambda: transformers_contender(case), say)
    if jax and has_jax() and not generates:
        others += _if_possible(lambda: jax_contender(case, work), say)
    with closing([*ours, *floors, *others]) as contenders:
        times = alternate(contenders, rounds, say=say)
    names = [contender.name for contender in (*ours, *others)]
    tokens = new_tokens(case) if generates else None
    seconds, flops = times.medians(), flops_of(case)
    rates = {each.name.endswith(BF16): flops / seconds[each.name] / 1e9 for each in floors}
    in_bfloat16 = f"{OURS}{BF16}"
    return BenchmarkResult(
        case=case.name,
        work=work,
        shards=(count := choose_shards(shards, case.batch_size)),
        replicas=choose_threads(replicas, count),
        rounds=rounds,
        seconds=seconds,
        ratios={name: times.ratio(OURS, name) for name in names if name != OURS},
        apart={name: times.apart(OURS, name) for name in names if name != OURS},
        flops=flops if floors else None,
        gflops_per_second=rates.get(False),
        share_of_floor=_shares_of_floor(times, [each.name for each in floors], names),
        memory=_memory(case, shards, replicas, names) if work == "training" else {},
        tokens=tokens,
        tokens_per_second={} if tokens is None else {name: tokens / taken for name, taken in seconds.items()},
        ratios_bfloat16={
            name: times.ratio(in_bfloat16, name) for name in names if in_bfloat16 in names and name != in_bfloat16
        },
        gflops_per_second_bfloat16=rates.get(True),
    )


def _if_possible(make: Callable[[], Contender], say: Callable[[str], None]) -> list[Contender]:
    """A contender that is ready; none, with a sentence, if it cannot take part."""
    try:
        contender = make()
    except InputError as error:
        say(str(error))
        return []
    contender.prepare()
    return [contender]


def pytorch_contenders(
    case: Case, work: Work, compiled: bool, bfloat16: bool, say: Callable[[str], None]
) -> list[Contender]:
    """PyTorch, eager and perhaps compiled, in float32 and perhaps bfloat16, ready to run. ``say`` reports who cannot.

    Raises InputError if PyTorch is not installed.
    """
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


def _shares_of_floor(times: Times, floors: list[str], names: list[str]) -> dict[str, float]:
    """Each contender's share of the floor in its own precision, if that was timed."""
    floor_of = {name: f"{PRODUCTS}{BF16}" if name.endswith(BF16) else PRODUCTS for name in names}
    return {name: times.ratio(floor, name) for name, floor in floor_of.items() if floor in floors}


def _memory(case: Case, shards: int, replicas: int, names: list[str]) -> dict[str, Memory]:
    measured = {side: measure_memory(case.name, side, shards, replicas) for side in SIDES if side in names}
    return {side: memory for side, memory in measured.items() if memory is not None}


def machine() -> dict[str, Any]:
    """The machine on which the figures were measured."""
    return {
        "processor": processor_name(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": current_backend(),
        "handgrad": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": name_of_blas(),
        **installed_versions("numba", "torch", "transformers", "jax"),
    }


def as_json(comparisons: list[BenchmarkResult], tokenizing: Times | None = None) -> dict[str, Any]:
    """All results as JSON values; ``tokenizing``: the times of the encoders."""
    cases = [
        {
            **asdict(one),
            "ratio_to_best_float32": one.ratio_to_best,
            "ratio_to_best_bfloat16": one.ratio_to_best_bfloat16,
        }
        for one in comparisons
    ]
    encoding = {} if tokenizing is None else {"tokenizing": {"seconds": tokenizing.medians()}}
    return {"format": "handgrad-bench", "version": 1, "machine": machine(), "comparisons": cases, **encoding}

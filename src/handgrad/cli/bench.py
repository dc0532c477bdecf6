"""handgrad bench: the time and memory of handgrad beside PyTorch's and JAX's, and where a step's time goes."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from handgrad.benchmarking import (
    BenchmarkResult,
    Times,
    alternate,
    as_json,
    case_of,
    compare,
    has_torch,
    machine,
    profile,
)
from handgrad.benchmarking.peak_memory import Memory
from handgrad.benchmarking.plan import Network, measure_step, plan
from handgrad.benchmarking.tokenizing import encoders
from handgrad.cli.arguments import parse
from handgrad.cli.console import counted, make_console, warn, warn_of_slow_products
from handgrad.cli.main import OK
from handgrad.system.errors import InputError
from handgrad.system.files import write_json

_SIZES = ("explicit-char", "autograd-char", "shakespeare-cpu")
_MIB = 1 << 20
_PROFILE_CAPTION = (
    "ms: time per step, the mean of the threads; products: ms for its matrix products alone; floor: their share\n"
    "everything else: residual sums, adding the gradients of the shards, Python, threads that wait for each other"
)
_PLAN_CAPTION = (
    "computed, not measured: one process on each machine, and nothing is sent while something is computed\n"
    "weak: {windows} in each process; efficiency: a step on one machine alone ÷ this one, above 100 % where processes\n"
    "divide a long update\n"
    "strong: {windows} in all processes together, so at most as many processes; speedup: over one machine alone"
)


@dataclass
class Arguments:
    """Time handgrad, PyTorch and JAX on this machine, in turn, and measure the memory that each needs.

    A ratio below 1 means that handgrad is faster. Libraries that are not installed are left out.
    """

    sizes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PRESET ...")] = _SIZES
    """Presets whose sizes are timed; gpt2 with one window of 256 tokens."""
    work: tuple[Literal["training", "evaluation", "generation", "tokenizing"], ...] = ("training",)
    """What to time."""
    rounds: int = 20
    """Times that each is timed; the medians are shown."""
    compiled: bool = True
    """Also time PyTorch compiled, which takes a minute or two to compile; not in a generation."""
    bfloat16: bool = True
    """Also time handgrad and PyTorch in bfloat16; not in a generation, as they write other tokens. handgrad needs a
    processor that multiplies bfloat16."""
    jax: bool = True
    """Also time JAX, if it is installed; not in a generation."""
    shards: int = 0
    """Parts into which each batch is cut; 0 chooses as train does."""
    replicas: int = 0
    """Threads that compute the shards; 0 uses one per core."""
    profile: bool = False
    """Show how the time of a training step is spent, by operation, and compare with nothing."""
    plan: bool = False
    """Time a training step, and compute what it would take in 2 to 1,024 processes on machines like this one."""
    latency: Annotated[float, tyro.conf.arg(metavar="US")] = 2.0
    """With --plan: microseconds in which a small message reaches another machine."""
    bandwidth: Annotated[float, tyro.conf.arg(metavar="GB/S")] = 10.0
    """With --plan: gigabytes that a machine sends, and receives, in a second."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write all results to this JSON file; - is standard output."""


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "bench")
    if arguments.rounds < 1:
        raise InputError(f"rounds must be at least 1, not {arguments.rounds}")
    for name in ("shards", "replicas"):
        if getattr(arguments, name) < 0:
            raise InputError(f"{name} must be at least 0, not {getattr(arguments, name)}")
    for name in ("latency", "bandwidth"):
        if not 0 < getattr(arguments, name) < math.inf:
            raise InputError(f"{name} must be a finite number above 0, not {getattr(arguments, name):g}")
    to_output = str(arguments.json) == "-"
    if arguments.plan and (arguments.profile or arguments.json is not None):
        raise InputError("--plan is a table for people; give --profile and --json without it")
    if arguments.plan and arguments.work != ("training",):
        raise InputError("--plan is of a training step; give --work without it")
    for name in ("latency", "bandwidth"):
        if not arguments.plan and getattr(arguments, name) != getattr(Arguments, name):
            raise InputError(f"--{name} is for --plan")
    if arguments.profile and arguments.json is not None:
        raise InputError("--profile is a table for people; give --json without it")
    if arguments.json is not None and not to_output and not arguments.json.absolute().parent.is_dir():
        raise InputError(f"{arguments.json}: there is no directory {arguments.json.absolute().parent}")
    cases = [case_of(name) for name in arguments.sizes]
    console = make_console(stderr=to_output)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    warn_of_slow_products()
    if arguments.profile:
        return _profile(arguments, console)
    if arguments.plan:
        return _plan(arguments, console)
    if not has_torch():
        warn("PyTorch is not installed and is left out; `make parity` installs it")
    comparisons: list[BenchmarkResult] = []
    tokenizing: Times | None = None
    for work in arguments.work:
        if work == "tokenizing":
            tokenizing = _tokenize(arguments.rounds, console)
            continue
        for case in cases:
            console.print(f"\n{case.name}, {work}")
            comparison = compare(
                case,
                work,
                rounds=arguments.rounds,
                compiled=arguments.compiled,
                bfloat16=arguments.bfloat16,
                jax=arguments.jax,
                shards=arguments.shards,
                replicas=arguments.replicas,
                say=console.print,
            )
            console.print(_table(comparison))
            comparisons.append(comparison)
    if to_output:
        json.dump(as_json(comparisons, tokenizing), sys.stdout, indent=2)
        print()
    elif arguments.json is not None:
        write_json(arguments.json, as_json(comparisons, tokenizing))
    return OK


def _table(one: BenchmarkResult) -> Table:
    table = Table(caption=_caption(one), caption_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    rate = ("tokens/s",) if one.tokens_per_second else ()
    for heading in ("ms", *rate, *_ratios(one), "floor", "apart", "MiB", "own", "pages"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, seconds in one.seconds.items():
        memory = one.memory.get(name)
        table.add_row(
            name,
            _milliseconds(seconds),
            *([_rate(one.tokens_per_second[name])] if rate else []),
            *(f"{ratios[name]:.2f}" if name in ratios else "" for ratios in _ratios(one).values()),
            f"{one.share_of_floor[name]:.0%}" if name in one.share_of_floor else "",
            f"{one.apart[name]:.0e}" if name in one.apart else "",
            *([] if memory is None else _counted(memory)),
        )
    return table


def _ratios(one: BenchmarkResult) -> dict[str, dict[str, float]]:
    """The columns of ratios, by their headings."""
    return {"ratio": one.ratios} | ({"bf16": one.ratios_bfloat16} if one.ratios_bfloat16 else {})


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.{1 if seconds < 1 else 0}f}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.{1 if per_second < 100 else 0}f}"


def _counted(memory: Memory) -> list[str]:
    megabytes = [f"{size / _MIB:.0f}" for size in (memory.peak, memory.peak - memory.imported)]
    pages = memory.faults_per_step
    return [*megabytes, f"{pages:.0f}" if pages < 10_000 else f"{pages / 1000:.0f}k"]


def _caption(one: BenchmarkResult) -> str:
    """What the columns mean."""
    rounds, work = counted(one.rounds, "round"), f"{counted(one.shards, 'shard')} on {counted(one.replicas, 'thread')}"
    lines = [f"medians of {rounds} in turn; {work}; ratio: handgrad's time ÷ this one's"]
    if one.ratios_bfloat16:
        lines.append("bf16: the same for handgrad in bfloat16")
    best = {"float32": one.ratio_to_best, "bfloat16": one.ratio_to_best_bfloat16}
    told = [f"{ratio:.2f} in {precision}" for precision, ratio in best.items() if ratio is not None]
    if told:
        lines.append(f"to the best of PyTorch in the same precision: {', '.join(told)}")
    if one.flops is not None:
        rates = {"": one.gflops_per_second, " in bfloat16": one.gflops_per_second_bfloat16}
        lines.append(
            f"floor: share of the matrix products alone, {one.flops / 1e9:.1f} GFLOP at "
            + " and ".join(f"{rate:.0f} GFLOP/s{precision}" for precision, rate in rates.items() if rate is not None)
        )
    if one.tokens is not None:
        lines.append(f"each writes the likeliest {counted(one.tokens, 'token')} after the first, one by one")
    of_what = "losses in nats" if one.tokens is None else "sums of the tokens"
    lines.append(f"apart: largest difference between results; {of_what}")
    if one.memory:
        lines.append("MiB: peak of the process; own: without the libraries; pages: page faults per step")
    return "\n".join(lines)


def _tokenize(rounds: int, console: Console) -> Times:
    contenders = encoders()
    times = alternate(contenders, rounds)
    console.print("\nbyte-pair encoding of Python's reference text, line by line, on one thread")
    table = Table("", "ms", "ratio", box=SIMPLE_HEAD)
    for contender in contenders:
        ratio = "" if contender.name == "handgrad" else f"{times.ratio('handgrad', contender.name):.2f}"
        table.add_row(contender.name, _milliseconds(times.median(contender.name)), ratio)
    console.print(table)
    return times


def _plan(arguments: Arguments, console: Console) -> int:
    network = Network(arguments.latency * 1e-6, arguments.bandwidth * 1e9)
    for name in arguments.sizes:
        measured = measure_step(case_of(name), arguments.rounds, arguments.shards, arguments.replicas)
        windows = counted(measured.batch_size, "window")
        console.print(
            f"\n{name}: the gradient of {windows} takes {_milliseconds(measured.gradient)} ms here and the update "
            f"{_milliseconds(measured.update)} ms; the gradient has {4 * measured.n_parameters / 1e6:,.1f} MB; a "
            f"message takes {arguments.latency:g} µs and {arguments.bandwidth:g} GB/s"
        )
        table = Table(caption=_PLAN_CAPTION.format(windows=windows), caption_justify="left", box=SIMPLE_HEAD)
        for heading in ("processes", "network ms", "weak ms", "efficiency", "strong ms", "speedup"):
            table.add_column(heading, justify="right", no_wrap=True)
        for count in (1 << power for power in range(1, 11)):
            one = plan(measured, network, count)
            table.add_row(
                f"{count:,}",
                *(_milliseconds(seconds) for seconds in (one.network, one.weak)),
                f"{one.weak_efficiency:.0%}",
                "" if one.strong is None else _milliseconds(one.strong),
                "" if one.speedup is None else f"{one.speedup:.1f}",
            )
        console.print(table)
    return OK


def _profile(arguments: Arguments, console: Console) -> int:
    for name in arguments.sizes:
        rows = profile(case_of(name), arguments.rounds, arguments.shards, arguments.replicas)
        whole = rows[-1].seconds
        table = Table(title=name, box=SIMPLE_HEAD, caption=_PROFILE_CAPTION, caption_justify="left")
        table.add_column("operation", no_wrap=True)
        for heading in ("ms", "of the step", "products", "floor"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(
                row.operation,
                f"{row.seconds * 1000:.2f}",
                f"{row.seconds / whole:.1%}",
                f"{row.floor * 1000:.2f}" if row.floor else "",
                f"{row.floor / row.seconds:.0%}" if row.floor else "",
            )
        console.print(table)
    return OK

"""handgrad speedrun: trains to a loss in the least time, by the settings of a record."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from handgrad.cli.arguments import parse
from handgrad.cli.console import (
    compiling_is_said,
    counted,
    make_console,
    outlive_the_output,
    warn,
    warn_of_slow_products,
)
from handgrad.cli.help import Help
from handgrad.cli.interrupts import Interrupts
from handgrad.cli.main import FAILED, INTERRUPTED, OK
from handgrad.cli.precision_flag import slow_precision, with_chosen_precision
from handgrad.cli.progress import TrainingDisplay
from handgrad.data import Corpus, TokenData, load_dataset, load_text
from handgrad.experiments.speedrun import (
    Record,
    Replayed,
    Rung,
    Stopwatch,
    Track,
    check_is_the_text,
    in_minutes,
    matching_record,
    read_rungs,
    replay,
    rung_called,
    spread_of,
    track_called,
    trained_member,
)
from handgrad.ops.precision import Precision
from handgrad.runs import Run, TrainConfig, check_is_free, check_minutes, taking_next_free
from handgrad.system.errors import InputError
from handgrad.training import DivergedError, compile_kernels

_MOST_SEEDS = 100


@dataclass
class Arguments:
    """Train to a loss on tiny Shakespeare in the least time, by the recipe of a record or of any step on the way."""

    track: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRACK")]
    """nanogpt-cpu: to 1.886 nats per character. nanogpt-gpu: to 1.4697. five-minutes: the lowest loss in that time.
    lowest: the lowest loss in an hour."""
    rung: Annotated[str | None, tyro.conf.arg(metavar="N")] = None
    """A rung of the ladder from nanoGPT's recipe to the record, by number or name; the record by default."""
    rungs: bool = False
    """Show the ladder with its records, and train nothing."""
    seed: int | None = None
    """Seed of the weights and the batches; that of the first record by default."""
    seeds: int = 1
    """Train with this many seeds, one after another, and give the mean."""
    precision: Precision | None = None
    """Precision of the matrix products. By default that of the rung, but float32 if bfloat16 is slow here. auto takes
    bfloat16 if this processor has instructions for it."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """Train for as many steps as fit into N minutes on this machine; only in a track without a loss to reach."""
    text: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The file of tiny Shakespeare; downloaded by default."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="OUT")] = None
    """The directory of the runs; runs/TRACK-N by default."""


_HELP = Help(
    examples=(
        ("handgrad speedrun nanogpt-cpu", "Train by the record for nanoGPT's loss on a CPU."),
        ("handgrad speedrun nanogpt-cpu --rungs", "Show how the record came about, one change at a time."),
        ("handgrad speedrun nanogpt-cpu --rung 3 --seeds 3", "Replay a rung with three seeds."),
        ("handgrad speedrun five-minutes --minutes 5", "The recipe, in as many steps as five minutes give here."),
    ),
)


def run(argv: list[str]) -> int:
    outlive_the_output()
    console = make_console()
    arguments = parse(Arguments, with_chosen_precision(argv), "speedrun", extra=_HELP)
    track = track_called(arguments.track)
    rungs = read_rungs(track)
    if arguments.rungs:
        console.print(_ladder(track, rungs))
        return OK
    rung = rung_called(rungs, arguments.rung)
    _check(arguments, track)
    config, sentences = _settings(arguments, rung)
    corpus = load_dataset("shakespeare") if arguments.text is None else load_text(arguments.text)
    check_is_the_text(corpus)
    console.print(f"{track.name}, {rung}: {rung.says}")
    for sentence in sentences:
        warn(sentence)
    warn_of_slow_products()
    if arguments.minutes is not None:
        with compiling_is_said():
            config = in_minutes(config, arguments.minutes, corpus)
        console.print(f"{arguments.minutes:g} minutes: {counted(config.max_steps, 'step')} on this machine")
    return _run_seeds(arguments, track, rung, config, corpus, console)


def _check(arguments: Arguments, track: Track) -> None:
    if not 1 <= arguments.seeds <= _MOST_SEEDS:
        raise InputError(f"--seeds must be 1 to {_MOST_SEEDS}, not {arguments.seeds}")
    if arguments.minutes is not None:
        check_minutes(arguments.minutes)
        if track.target is not None:
            raise InputError(f"--minutes is for a track without a loss to reach; {track.name} trains to {track.target}")
    if arguments.out is not None:
        check_is_free(arguments.out)


def _settings(arguments: Arguments, rung: Rung) -> tuple[TrainConfig, list[str]]:
    """The settings of the first run, and what to say about them."""
    precision, sentences = arguments.precision or rung.config.precision, []
    if slow := slow_precision(precision):
        if arguments.precision is None:
            precision = "float32"
            sentences.append(f"float32 in place of bfloat16: {slow}")
        else:
            sentences.append(slow)
    seed = arguments.seed
    if seed is None:
        seed = rung.records[0].seed if rung.records else rung.config.seed
    return rung.config.updated({"precision": precision, "seed": seed}, "--seed"), sentences


def _run_seeds(
    arguments: Arguments, track: Track, rung: Rung, config: TrainConfig, corpus: Corpus, console: Console
) -> int:
    records: list[Record] = []
    taken = nullcontext(arguments.out) if arguments.out else taking_next_free(Path("runs"), track.name)
    with taken as directory, Interrupts() as interrupts:

        def trained(the_run: Run, data: TokenData) -> Stopwatch | None:
            return _trained(the_run, data, console, lambda: interrupts.asked)

        for seed in range(config.seed, config.seed + arguments.seeds):
            place = directory if arguments.seeds == 1 else directory / f"seed-{seed}"
            try:
                result = replay(track, rung, replace(config, seed=seed), corpus, place, trained)
            except DivergedError as error:
                console.print(str(error))
                return FAILED
            if result is None:
                console.print("stopped; a speedrun counts in one sitting, so begin it again")
                return interrupts.exit_code if interrupts.asked else INTERRUPTED
            records.append(record := result.record)
            _print_result(track, rung, result, record, arguments.minutes is None, console)
    _print_means(track, rung, records, console)
    return OK


def _trained(the_run: Run, data: TokenData, console: Console, should_stop: Callable[[], bool]) -> Stopwatch | None:
    with compiling_is_said():
        compile_kernels(the_run)
    display = TrainingDisplay(the_run, console)
    try:
        return trained_member(the_run, data, display, should_stop)
    finally:
        display.close()


def _print_result(
    track: Track, rung: Rung, result: Replayed, record: Record, is_replayed: bool, console: Console
) -> None:
    """``is_replayed``: whether the run has the length of the record."""
    last = result.evaluations[-1]
    console.print(f"\nseed {record.seed}, {record.precision}: {result.loss:.4f} nats per character at the end")
    if track.target is not None and result.reached is None:
        console.print(f"{track.target} was not reached in {last.seconds:,.1f} s of training")
    else:
        at = result.reached or last
        what = "trained" if track.target is None else f"{track.target} reached"
        evaluations = f"evaluations took another {at.evaluating:,.1f} s"
        console.print(f"{what} in {at.seconds:,.1f} s, at step {at.step:,}; {evaluations}")
    console.print(f"on {record.processor}, {counted(record.cores, 'core')}: {record.libraries}")
    if is_replayed:
        console.print(_compared(record, matching_record(rung.records, record.seed, record.precision, record.processor)))


def _compared(mine: Record, recorded: Record | None) -> str:
    """Whether the weights are those of the record, in words."""
    if recorded is None:
        return f"no record has seed {mine.seed} in {mine.precision}; the final weights have SHA-256 {mine.sha256}"
    if mine.sha256 == recorded.sha256:
        return "the final weights are those of the record, bit for bit"
    different = [
        f"{getattr(recorded, name)}, here {getattr(mine, name)}"
        for name in ("processor", "libraries")
        if getattr(recorded, name) != getattr(mine, name)
    ]
    why = f"it was made on {'; with '.join(different)}" if different else "though processor and libraries are the same"
    return f"the final weights differ from the record's: {why}"


def _print_means(track: Track, rung: Rung, records: Sequence[Record], console: Console) -> None:
    console.print()
    if len(records) > 1:
        console.print(f"mean of {counted(len(records), 'seed')}: {_in_words(track, records)}")
    same = [record for record in rung.records if record.precision == records[0].precision]
    for processor in dict.fromkeys(record.processor for record in same):
        recorded = [record for record in same if record.processor == processor]
        console.print(f"record, {counted(len(recorded), 'seed')} on {processor}: {_in_words(track, recorded)}")


def _in_words(track: Track, records: Sequence[Record]) -> str:
    loss = spread_of([record.loss for record in records])
    words = [f"{loss.mean:.4f} ± {loss.half:.4f} nats per character"]
    seconds = [record.seconds for record in records if record.seconds is not None]
    if len(seconds) == len(records):
        time = spread_of(seconds)
        words.append(f"{time.mean:,.1f} ± {time.half:.1f} s")
    elif track.target is not None:
        words.append(f"{track.target} reached by {len(seconds)} of {len(records)}")
    return ", ".join(words)


def _ladder(track: Track, rungs: Sequence[Rung]) -> Table:
    shown = Table("", "rung", "what changes", "loss, time", box=None, header_style="bold", pad_edge=False)
    for rung in rungs:
        kinds: dict[str, list[Record]] = {}
        for record in rung.records:
            kinds.setdefault(f"{record.precision} on {record.processor}", []).append(record)
        cells = [f"{kind}: {_in_words(track, records)}" for kind, records in kinds.items()]
        shown.add_row(str(rung.number), rung.name, rung.says, "\n".join(cells) or "not measured")
    return shown

"""handgrad compare: one text and one model under several tokenizers."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from handgrad.cli.arguments import parse, parse_known
from handgrad.cli.console import compiling_is_said, make_console, outlive_the_output, warn
from handgrad.cli.interrupts import Interrupts
from handgrad.cli.main import FAILED, OK
from handgrad.cli.progress import TrainingDisplay
from handgrad.data import load_dataset, load_text
from handgrad.errors import InputError
from handgrad.experiments import (
    CANDIDATES,
    Budget,
    Comparison,
    Entry,
    Measures,
    budgets_for,
    create_comparison,
    measure,
    open_comparison,
)
from handgrad.lock import the_only_one
from handgrad.training import (
    DivergedError,
    TrainConfig,
    compile_kernels,
    next_free,
    preset,
    read_config_file,
    resumed,
    train,
)


@dataclass
class Source:
    """What is compared, and where it is kept."""

    text: Path | None = None
    """A UTF-8 file to learn from."""
    dataset: str | None = None
    """A text by name: pydoc (the default; in every Python) or shakespeare (downloaded once)."""
    preset: str = "quick"
    """Settings by name: quick, shakespeare-cpu, explicit-char, autograd-char or gpt2."""
    config: Path | None = None
    """A TOML file of settings; they go before the preset's."""
    tokenizers: tuple[str, ...] = tuple(CANDIDATES)
    """Which are compared."""
    budget: tuple[str, ...] = ()
    """How long each model is trained, as 8000steps, 2e7characters or 600seconds; of one alone as word=4000steps."""
    out: Path | None = None
    """Where it is kept; runs/compare-N where nothing is said."""
    resume: Path | None = None
    """Go on with this comparison."""


@dataclass
class Arguments:
    """Train one model on one text under several tokenizers, and put what comes of it into one table. Flags go before
    the TOML file, and that before the preset."""

    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def run(argv: list[str]) -> int:
    outlive_the_output()
    console = make_console()
    source, _ = parse_known(Source, [word for word in argv if word not in ("-h", "--help")], "compare")
    comparison = _new(source, argv, console) if source.resume is None else _asked_to_resume(source.resume, argv)
    with the_only_one(comparison.path, "compared"):
        return _compare(comparison, console)


def _new(source: Source, argv: list[str], console: Console) -> Comparison:
    config = preset(source.preset)
    if source.config is not None:
        config = config.updated(read_config_file(source.config), str(source.config))
    tokenizer = config.tokenizer
    config = parse(Arguments, argv, "compare", Arguments(settings=config)).settings
    if config.tokenizer != tokenizer:
        raise InputError("compare: --tokenizers names which are compared; --tokenizer is for train")
    if source.text is not None and source.dataset is not None:
        raise InputError("give only one of --text and --dataset")
    names = source.tokenizers
    if not names or len(set(names)) < len(names):
        raise InputError(f"compare: --tokenizers must name each once, of {', '.join(CANDIDATES)}")
    budgets = budgets_for(names, source.budget, Budget(config.max_steps))
    corpus = load_text(source.text) if source.text is not None else load_dataset(source.dataset or "pydoc")
    out = source.out or next_free(Path("runs"), "compare")
    with compiling_is_said():
        return create_comparison(out, corpus, config, names, budgets, console.print)


def _asked_to_resume(path: Path, argv: list[str]) -> Comparison:
    arguments = parse(Arguments, argv, "compare")
    if arguments != Arguments(source=Source(resume=path)):
        raise InputError("--resume goes on with a comparison as it is; nothing else can be given with it")
    return open_comparison(path)


def _compare(comparison: Comparison, console: Console) -> int:
    from handgrad.experiments.report import table, write_report  # matplotlib takes its time

    measured: list[Measures] = []
    with Interrupts() as interrupts:
        for entry in comparison.entries:
            console.print(f"\n{entry.name}: {entry.budget}", style="bold")
            if interrupts.asked or not _train(comparison, entry, console, interrupts):
                again = f"handgrad compare --resume {shlex.quote(str(comparison.path))}"
                console.print(f"stopped and saved; go on with: {again}")
                return interrupts.exit_code if interrupts.asked else FAILED
            measured.append(measure(comparison.run(entry), entry))
            write_report(comparison, measured)  # after each: nothing that is done waits for the next
    console.print(_as_rich(table(measured)))
    console.print(f"\ntable, samples and pictures: {comparison.path / 'results.md'}")
    return OK


def _train(comparison: Comparison, entry: Entry, console: Console, interrupts: Interrupts) -> bool:
    """Whether the run of an entry is done now; it goes on from where it stood."""
    the_run = comparison.run(entry)
    with the_only_one(the_run.path, "trained"):
        the_run = resumed(the_run, notice=console.print)
        with compiling_is_said():
            compile_kernels(the_run)
        display = TrainingDisplay(the_run, console)
        try:
            outcome = train(the_run, the_run.data(), reporter=display, should_stop=lambda: interrupts.asked)
        except DivergedError as error:
            warn(str(error))
            return False
        finally:
            display.close()
    return outcome.finished


def _as_rich(rows: list[list[str]]) -> Table:
    head, *others = rows
    shown = Table(*head, box=None, header_style="bold", pad_edge=False)
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in others:
        shown.add_row(row[0].replace("**", ""), *row[1:])
    return shown

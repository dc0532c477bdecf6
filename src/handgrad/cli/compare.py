"""handgrad compare: one text under several tokenizers, or under several recipes."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from handgrad.cli.arguments import given_fields, parse, parse_known
from handgrad.cli.console import compiling_is_said, make_console, outlive_the_output, say, warn
from handgrad.cli.help import Help
from handgrad.cli.interrupts import Interrupts, sigterm_raises
from handgrad.cli.invocation import command
from handgrad.cli.main import FAILED, INTERRUPTED, OK
from handgrad.cli.precision_flag import slow_precision, with_chosen_precision
from handgrad.cli.progress import TrainingDisplay
from handgrad.cli.setting_groups import GROUPS
from handgrad.data import DEFAULT_DATASET, load_dataset, load_text
from handgrad.experiments import (
    CANDIDATES,
    LADDER,
    Budget,
    Comparison,
    Recipe,
    budgets_for,
    candidate,
    configs_of,
    create_comparison,
    create_recipe_comparison,
    draw_panel,
    known_results,
    measure,
    open_comparison,
    read_recipes,
    results_table,
    write_report,
)
from handgrad.runs import (
    Run,
    TrainConfig,
    agreed,
    check_is_free,
    clear_leftovers,
    preset,
    read_config_file,
    resumed,
    taking_next_free,
    was_cut_off,
    without_effect,
)
from handgrad.system.errors import InputError
from handgrad.system.locks import locked
from handgrad.training import DivergedError, compile_kernels, train

_MANY_COLUMNS = 6
"""A table with more stands closer together, so that 80 characters hold it."""


@dataclass
class Source:
    """What is compared, and where the comparison is kept."""

    text: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A UTF-8 file to train on."""
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A text by name: functions (the default: of Python's standard library), pydoc or shakespeare."""
    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "quick"
    """Settings by name: quick, shakespeare-cpu, modern-cpu, modern, explicit-char, autograd-char or gpt2."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A TOML file of settings, which override the preset's."""
    tokenizers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = tuple(CANDIDATES)
    """The tokenizers to compare. word-lowercase drops capitals and turns every unknown word into one token."""
    recipes: Annotated[tuple[Path, ...] | None, tyro.conf.arg(metavar="[FILE ...]")] = None
    """Compare recipes in place of tokenizers: each TOML FILE is a recipe, settings that it changes. Without a FILE, a
    ladder from GPT-2 to a modern model, one change at a time. All have the tokenizer of --tokenizer, unless a
    recipe sets another."""
    seeds: int | None = None
    """Train each recipe with this many seeds, --seed and those after it. The default is 1."""
    budget: Annotated[tuple[str, ...], tyro.conf.arg(metavar="BUDGET ...")] = ()
    """How long to train each model: 8000steps, 2e7characters, 600seconds or 10minutes; word=4000steps for one of
    them, by the name of its tokenizer or recipe. The default is --max-steps."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="OUT")] = None
    """The directory of the comparison, with an ordinary run for each model in runs/; runs/compare-N by default."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="OUT")] = None
    """Continue the comparison in this directory. If it is finished, print its table again."""
    allow_inexact: bool = False
    """Resume even if libraries or processor have changed; a run then takes another course."""


@dataclass
class Arguments:
    """Train on one text under several tokenizers, or with --recipes under several recipes, and show the results in one
    table. Flags override the TOML file, which overrides the preset."""

    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


_HELP = Help(
    examples=(
        (
            "handgrad compare --text book.txt --tokenizers char bpe --vocab-size 1000",
            "Compare characters with 1,000 byte-pair tokens, for as many steps each.",
        ),
        (
            "handgrad compare --budget 600seconds word=4000steps --out runs/tokenizers",
            "Train for ten minutes each, but the model of words for 4,000 steps.",
        ),
        (
            "handgrad compare --recipes --preset quick --out runs/ladder",
            "Change a GPT-2 into a modern model, one change at a time.",
        ),
        (
            "handgrad compare --recipes plain.toml mine.toml --seeds 3",
            "Compare two recipes of your own, each with three seeds.",
        ),
        ("handgrad compare --resume runs/tokenizers", "Continue a comparison that was interrupted."),
    ),
    groups=GROUPS,
)


def run(argv: list[str]) -> int:
    outlive_the_output()
    console = make_console()
    argv = with_chosen_precision(argv)
    source, _ = parse_known(Source, argv, "compare")
    comparison = _new(source, argv, console) if source.resume is None else _asked_to_resume(source, argv)
    again = f"continue with: {command('compare', '--resume', comparison.path)}"
    try:
        with locked(comparison.path, "compared"):
            clear_leftovers(comparison.path)
            return _compare(comparison, source.allow_inexact, again, console)
    except KeyboardInterrupt:
        say(f"handgrad: interrupted; {again}")
        return INTERRUPTED
    except OSError as error:
        where = error.filename or comparison.path
        what = error.strerror or error
        raise InputError(f"cannot continue in {where}: {what}; what is done is kept; {again}") from None


def _new(source: Source, argv: list[str], console: Console) -> Comparison[Any]:
    defaults = preset(source.preset)
    in_file, typed = read_config_file(source.config), given_fields(argv)
    config = defaults.updated(in_file, str(source.config))
    config = parse(Arguments, argv, "compare", Arguments(settings=config), _HELP).settings
    if source.allow_inexact:
        raise InputError("--allow-inexact is for --resume OUT")
    if source.text is not None and source.dataset is not None:
        raise InputError("give only one of --text and --dataset")
    recipes = _recipes(source, typed)
    names = _tokenizers(source, config, defaults) if recipes is None else [recipe.name for recipe in recipes]
    moved: list[str] = []
    given = typed | set(in_file)
    budgets = budgets_for(names, source.budget, Budget(config.max_steps))
    if "max_steps" in typed and budgets == budgets_for(names, source.budget, Budget(1)):
        moved.append("--max-steps has no effect, because --budget says how long to train each model")
    fewest = min((round(each.amount) for each in budgets.values() if each.unit == "steps"), default=config.max_steps)
    shortest = replace(config, max_steps=max(fewest, 1))
    settled = agreed(shortest, defaults, {*given, "max_steps"}, moved.append)
    configs = []
    if recipes is not None:
        of_all = given - set(Source.__dataclass_fields__)
        configs = configs_of(recipes, not source.recipes, settled, defaults, of_all, moved.append)
    _check_has_effect(configs or [config], typed)
    config = replace(settled, max_steps=config.max_steps)
    if source.out is not None:
        check_is_free(source.out)
    corpus = load_text(source.text) if source.text is not None else load_dataset(source.dataset or DEFAULT_DATASET)
    taken = nullcontext(source.out) if source.out is not None else taking_next_free(Path("runs"), "compare")
    made: Comparison[Any]
    with taken as out, compiling_is_said():
        if recipes is None:
            made = create_comparison(out, corpus, config, names, budgets, console.print)
        else:
            configs = [replace(each, max_steps=config.max_steps) for each in configs]
            many, ladder = 1 if source.seeds is None else source.seeds, not source.recipes
            made = create_recipe_comparison(
                out, corpus, config, recipes, configs, budgets, is_ladder=ladder, seeds=many, say=console.print
            )
    if slow := slow_precision(config.precision):
        moved.append(slow)
    for sentence in moved:
        warn(sentence)
    return made


def _check_has_effect(configs: Sequence[TrainConfig], typed: Collection[str]) -> None:
    """Raises InputError for a flag that has no effect in any of the runs."""
    for name in sorted(typed):
        useless = [without_effect(config, [name]) for config in configs]
        if useless[0] is not None and all(useless):
            raise InputError(useless[0])


def _tokenizers(source: Source, config: TrainConfig, defaults: TrainConfig) -> Sequence[str]:
    """The names of the tokenizers to compare."""
    if config.tokenizer != defaults.tokenizer:
        raise InputError("compare: --tokenizers names what is compared; the setting tokenizer is for --recipes")
    names = source.tokenizers
    if not names or len(set(names)) < len(names):
        raise InputError(f"compare: --tokenizers must name each once, of {', '.join(CANDIDATES)}")
    for name in names:
        candidate(name)
    return names


def _recipes(source: Source, typed: Collection[str]) -> Sequence[Recipe] | None:
    """The recipes to compare; None if tokenizers are compared."""
    if source.recipes is None:
        if source.seeds is not None:
            raise InputError("--seeds is for --recipes; tokenizers are compared with one seed, --seed")
        return None
    if "tokenizers" in typed:
        raise InputError("compare either --recipes or --tokenizers; all recipes have the tokenizer of --tokenizer")
    return read_recipes(source.recipes) if source.recipes else LADDER


def _asked_to_resume(source: Source, argv: list[str]) -> Comparison[Any]:
    assert source.resume is not None
    alone = Source(resume=source.resume, allow_inexact=source.allow_inexact)
    if parse(Arguments, argv, "compare", extra=_HELP) != Arguments(source=alone):
        raise InputError("--resume continues a comparison as it is; only --allow-inexact can be given with it")
    return open_comparison(source.resume)


def _compare(comparison: Comparison[Any], allow_inexact: bool, again: str, console: Console) -> int:
    known = known_results(comparison, warn)
    measured = dict(known)
    diverged: dict[str, str] = {}
    for entry in comparison.entries:
        if entry.name in known:
            continue
        console.print(f"\n{entry.name}: {entry.budget}", style="bold")
        the_run = comparison.run(entry)
        try:
            stopped = None if comparison.is_done(entry) else _train(the_run, allow_inexact, console)
        except DivergedError as error:
            warn(str(error))
            diverged[entry.name] = str(error)
            continue
        if stopped is not None:
            console.print(f"stopped and saved; {again}")
            return stopped
        # Measuring is short and saves nothing on the way, so Ctrl-C and SIGTERM end it at once.
        with sigterm_raises(), compiling_is_said():
            measured[entry.name] = measure(the_run, entry, warn)
            draw_panel(comparison, the_run, entry.name)
            write_report(comparison, measured, diverged)  # after each run, so that no result waits for the next
    if measured:
        if diverged or measured.keys() == known.keys():
            write_report(comparison, measured, diverged)
        console.print(_as_rich(results_table(comparison, measured)))
        console.print(f"\ntable, samples and pictures: {comparison.path / 'results.md'}")
    if diverged:
        warn(
            f"not in the table, because training diverged: {', '.join(diverged)}; the settings of a comparison cannot "
            "change, so start another with a smaller --lr or --grad-clip"
        )
    return FAILED if diverged else OK


def _train(the_run: Run, allow_inexact: bool, console: Console) -> int | None:
    """Trains a run to its end, from its last checkpoint; returns the exit code if it was asked to stop."""
    with locked(the_run.path, "trained") as stale:
        if stale is not None:
            console.print(was_cut_off(the_run, stale))
        data = the_run.data()
        the_run = resumed(the_run, allow_inexact=allow_inexact, notice=console.print)
        with compiling_is_said():
            compile_kernels(the_run)
        display = TrainingDisplay(the_run, console)
        try:
            with Interrupts() as interrupts:
                train(the_run, data, reporter=display, should_stop=lambda: interrupts.asked)
        finally:
            display.close()
    return interrupts.exit_code if interrupts.asked else None


def _as_rich(rows: list[list[str]]) -> Table:
    head, *others = rows
    names = [name.replace("**", "") for name in head]
    shown = Table(*names, box=None, header_style="bold", pad_edge=False, collapse_padding=len(head) > _MANY_COLUMNS)
    shown.columns[0].no_wrap = True
    for column, name in list(zip(shown.columns, names, strict=True))[1:]:
        column.justify = "right"
        column.min_width = max(map(len, name.split()))
    for row in others:
        shown.add_row(row[0].replace("**", ""), *row[1:])
    return shown

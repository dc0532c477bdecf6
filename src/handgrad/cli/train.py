"""handgrad train: trains a model on a text and leaves checkpoints, metrics and curves."""

import dataclasses
from collections.abc import Callable, Collection
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from handgrad.cli.arguments import given_fields, parse, parse_known
from handgrad.cli.console import compiling_is_said, make_console, outlive_the_output, warn
from handgrad.cli.help import Help
from handgrad.cli.main import FAILED, report
from handgrad.cli.outcome import train_and_show
from handgrad.cli.precision_flag import with_chosen_precision
from handgrad.cli.progress import SAMPLE_TOKENS
from handgrad.cli.setting_groups import GROUPS
from handgrad.cli.texts import TextFlags, is_path, skipped_files, texts_of
from handgrad.data import DEFAULT_DATASET, TokenData, open_token_files, prepare_in_memory
from handgrad.generation import write
from handgrad.models import LanguageModel
from handgrad.runs import (
    Run,
    TrainConfig,
    agreed,
    check_is_free,
    check_minutes,
    choose_shards,
    create_run,
    fitted,
    load_intact,
    open_run,
    preset,
    read_config_file,
    resumed,
    taking_next_free,
    without_effect,
)
from handgrad.runs.checkpoint import read_progress
from handgrad.runs.config import GIVEN_BY_WEIGHTS
from handgrad.runs.resuming import was_cut_off
from handgrad.system.errors import InputError
from handgrad.system.locks import locked
from handgrad.system.processes import Processes, processes_of_run
from handgrad.tokenizers import Tokenizer, load_tokenizer, make_tokenizer
from handgrad.training import check_fits_memory, expected_seconds, measure_pace, slow_first_step

_PATIENCE = 1800.0
"""Seconds in which other processes must answer while they train. Process 0 may write to a slow disk meanwhile."""
_STEPS_OF_PATIENCE = 20
"""So many steps more: a process with few shards waits for the others, and the estimate of a step is rough."""


@dataclass
class Source(TextFlags):
    """What to train on and where to keep the run."""

    text: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...")] = ()
    """Files, and directories of files, to train on. - is standard input."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """A directory of token files that `handgrad prepare` made. With --resume: the place that they moved to."""
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A text by name: functions (the default: of Python's standard library), pydoc or shakespeare."""
    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "quick"
    """Settings by name: quick, shakespeare-cpu, modern-cpu, modern, explicit-char, autograd-char or gpt2."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A TOML file of settings, which override the preset's."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """The directory of the new run; runs/PRESET-N by default."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Continue this run, bit for bit. --max-steps, --lr and a few other settings may change."""
    allow_inexact: bool = False
    """Resume even if libraries or processor have changed; the run then takes another course."""
    init_from: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Start from the best weights of this run, with its tokenizer and the shape of its model."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """Train for about N minutes (0.5 is possible too), in place of --max-steps. handgrad times some steps first, and
    writes the number of steps that fits into config.json."""


@dataclass
class Arguments:
    """Train a GPT on a text. Flags override the TOML file, which overrides the preset."""

    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


_HELP = Help(
    examples=(
        ("handgrad train", "Train the preset quick on the functions of Python's standard library."),
        (
            "handgrad train --text book.txt --preset shakespeare-cpu --lr 5e-4 --out runs/book",
            "Train another preset on your own text, with one setting changed.",
        ),
        ("handgrad train --text book.txt --minutes 10", "Train for as many steps as fit into ten minutes."),
        ("handgrad train --resume runs/book --max-steps 4000", "Continue a run, to more steps than before."),
    ),
    groups=GROUPS,
)


def run(argv: list[str]) -> int:
    processes = processes_of_run()
    outlive_the_output()
    console = make_console()
    with ExitStack() as stack:  # of the lock that a resume holds until training ends
        found: list[TokenData] = []

        def begin() -> Run:
            the_run, data = _begun(argv, console, processes, stack)
            found.append(data)
            return the_run

        the_run = processes.from_first(begin)
        data = found[0] if found else the_run.data()
        step = expected_seconds(the_run.config, the_run.model_config, the_run.shards)
        processes.watch(_PATIENCE + _STEPS_OF_PATIENCE * step, lambda sentence: report(sentence, FAILED))
        code = train_and_show(the_run, data, console, processes)
        processes.part()
        return code


def _begun(argv: list[str], console: Console, processes: Processes, stack: ExitStack) -> tuple[Run, TokenData]:
    """The run to train, made or ready to continue, and its tokens."""
    argv = with_chosen_precision(argv)
    source, _ = parse_known(Source, argv, "train")
    if source.resume is None:
        return _new(source, argv, console, processes)
    the_run, settings = _asked_to_resume(source, argv)
    stale = stack.enter_context(locked(the_run.path, "trained"))  # of resuming and training in one
    if stale is not None:
        console.print(was_cut_off(the_run, stale))
    if source.data is not None:
        the_run = the_run.with_data_at(source.data)
    data = the_run.data()  # raises before anything is changed
    check_fits_memory(settings, the_run.model_config, the_run.shards, processes, resumes=True)
    return resumed(the_run, settings, allow_inexact=source.allow_inexact, notice=console.print), data


def _new(source: Source, argv: list[str], console: Console, processes: Processes) -> tuple[Run, TokenData]:
    argv, tokenizer = _tokenizer_in(argv)
    moved: list[str] = []
    chosen = _settings(source, argv, tokenizer, moved.append)
    config = chosen.config
    if source.out is not None:
        check_is_free(source.out)
    if source.init_from is not None:
        tokenizer = _same(tokenizer, open_run(source.init_from).tokenizer(), source.init_from)
    data = _data(source, config, tokenizer)
    data.check_length(config.block_size, config.boundaries)
    init_from = None if source.init_from is None else _weights_to_begin_with(source.init_from)
    shards = choose_shards(config.shards, config.batch_size, processes.cores_of_all)
    model = config.model_config(data.tokenizer.vocab_size)
    check_fits_memory(config, model, shards, processes)
    if slow := slow_first_step(config, model, shards):
        moved.append(slow)

    def length_in_minutes(directory: Path) -> TrainConfig:
        shared = data if source.data is None else source.data.resolve()
        with processes.invited(_measure_too, config, shared, shards, 60 * (source.minutes or 0.0)):
            return _fitted_into(
                source.minutes or 0.0, chosen, data, shards, directory, console, moved.append, processes
            )

    # Another training may look for a free number at the same time.
    taken = nullcontext(source.out) if source.out is not None else taking_next_free(Path("runs"), source.preset)
    with taken as out:
        in_minutes = None if source.minutes is None else length_in_minutes
        the_run = create_run(out, config, data, source.data, shards, init_from, in_minutes)
    for sentence in moved:  # after everything that may refuse
        warn(sentence)
    return the_run, the_run.data()  # memory-mapped from now on


def _measure_too(
    config: TrainConfig, data: TokenData | Path, shards: int, seconds: float, processes: Processes
) -> None:
    """What the other processes do while process 0 measures the pace. ``data``: the tokens, or the files of --data."""
    tokens = open_token_files(data) if isinstance(data, Path) else data
    measure_pace(config, tokens, shards, Path(), seconds, processes=processes)


def _weights_to_begin_with(path: Path) -> Path:
    """The best intact checkpoint of a run."""
    return load_intact(path, "best", read_progress, warn)[1]


def _tokenizer_in(argv: list[str]) -> tuple[list[str], Tokenizer | None]:
    """The arguments without a ``--tokenizer FILE``, and the tokenizer in the file."""
    for place, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if flag == "--tokenizer":
            named = value if equals else "".join(argv[place + 1 : place + 2])
            if is_path(named):
                return argv[:place] + argv[place + 1 + (not equals) :], load_tokenizer(named)
    return argv, None


def _same(given: Tokenizer | None, of_weights: Tokenizer, path: Path) -> Tokenizer:
    if given is not None and given != of_weights:
        raise InputError(f"the model in {path} comes with its tokenizer; --tokenizer cannot name another one")
    return of_weights


@dataclass(frozen=True)
class _Chosen:
    """The settings of a new run, and where they come from."""

    config: TrainConfig
    defaults: TrainConfig
    """Before anything was given."""
    given: Collection[str]
    """The names of the settings that were given."""


def _settings(source: Source, argv: list[str], tokenizer: Tokenizer | None, notice: Callable[[str], None]) -> _Chosen:
    """The preset, overridden by the shape of the weights, by the TOML file and by the flags, in this order.

    Defaults that contradict what was given move along; ``notice`` receives a sentence about each.
    """
    config = preset(source.preset)
    if tokenizer is not None:
        config = config.updated({"tokenizer": tokenizer.kind, "vocab_size": None}, "--tokenizer")
    if source.allow_inexact:
        raise InputError("--allow-inexact is for --resume RUN")
    fixed: dict[str, Any] = {}
    if source.init_from is not None:
        trained = open_run(source.init_from).config
        fixed = {name: getattr(trained, name) for name in GIVEN_BY_WEIGHTS}
        config = dataclasses.replace(config, **fixed)
    defaults, in_file = config, read_config_file(source.config)
    config = config.updated(in_file, str(source.config))
    settings = _parse_all(argv, config)
    for name, value in fixed.items():
        if getattr(settings, name) != value:
            raise InputError(
                f"{name} is {value} in {source.init_from} and comes with its weights; "
                f"it cannot be {getattr(settings, name)}"
            )
    if tokenizer is not None and source.init_from is None:
        for name in ("vocab_size", "byte_fallback"):
            if getattr(settings, name):
                flag = "--" + name.replace("_", "-")
                raise InputError(f"the vocabulary comes with the file of --tokenizer; {flag} cannot be given with it")
    _check_has_effect(settings, argv, in_file)
    given = given_fields(argv) | set(in_file)
    if source.data is not None:
        settings = _with_tokenizer_of(source.data, settings, given)
    if source.minutes is not None:
        check_minutes(source.minutes)
        if "max_steps" in given_fields(argv):
            raise InputError("--minutes and --max-steps both say how long to train; give one of them")
        if "max_steps" in in_file:
            notice(f"max_steps of {source.config} has no effect, because --minutes says how long to train")
    settled = agreed(settings, defaults, given, notice, length_is_known=source.minutes is None)
    return _Chosen(settled, defaults, given)


def _fitted_into(
    minutes: float,
    chosen: _Chosen,
    data: TokenData,
    shards: int,
    directory: Path,
    console: Console,
    notice: Callable[[str], None],
    processes: Processes,
) -> TrainConfig:
    """The settings with as many steps as fit into the minutes, by the pace of real steps; prints both."""

    def write_sample(model: LanguageModel) -> object:
        return write(model, data.tokenizer, SAMPLE_TOKENS, seed=chosen.config.seed)

    with compiling_is_said():
        pace = measure_pace(chosen.config, data, shards, directory, 60 * minutes, write_sample, processes=processes)
    config = fitted(chosen.config, chosen.defaults, chosen.given, pace, minutes, notice)
    length = f"{minutes:g} {'minute' if minutes == 1 else 'minutes'}"
    console.print(f"{length}: {config.max_steps:,} steps, because on this machine {pace}")
    return config


def _with_tokenizer_of(directory: Path, settings: TrainConfig, given: Collection[str]) -> TrainConfig:
    """The settings with the kind of tokenizer that token files come with. Raises InputError if another was given."""
    tokenizer = open_token_files(directory).tokenizer
    comes = f"comes with --data {directory}"
    if "tokenizer" in given and settings.tokenizer != tokenizer.kind:
        raise InputError(f"the tokenizer, {tokenizer.kind}, {comes}; it cannot be {settings.tokenizer}")
    limit = settings.vocab_size
    if "vocab_size" in given and limit is not None and limit < tokenizer.vocab_size:
        raise InputError(f"the vocabulary of {tokenizer.vocab_size:,} tokens {comes}; vocab_size cannot be {limit:,}")
    return settings.updated({"tokenizer": tokenizer.kind}, str(directory))


def _check_has_effect(settings: TrainConfig, argv: list[str], in_file: dict[str, Any]) -> None:
    """Refuses a flag without effect. A file may list every setting, so there it is only a warning."""
    if useless := without_effect(settings, given_fields(argv)):
        raise InputError(useless)
    if useless := without_effect(settings, in_file):
        warn(useless)


def _parse_all(argv: list[str], config: TrainConfig) -> TrainConfig:
    return parse(Arguments, argv, "train", Arguments(settings=config), _HELP).settings


def _data(source: Source, config: TrainConfig, tokenizer: Tokenizer | None) -> TokenData:
    """``tokenizer``: one that has learned already."""
    given = [name for name in ("text", "data", "dataset") if getattr(source, name) not in (None, ())]
    if len(given) > 1:
        raise InputError(f"give only one of --text, --data and --dataset, not --{' and --'.join(given)}")
    if source.data is not None:
        if flags := source.given():
            raise InputError(f"{flags[0]} is for raw text; prepare has made the token files in {source.data} already")
        data = open_token_files(source.data)
        if tokenizer is not None and tokenizer != data.tokenizer:
            other = "--tokenizer" if source.init_from is None else f"the model in {source.init_from}"
            raise InputError(f"{source.data} was made with another tokenizer than {other}")
        return data
    choices = source.choices(config.seed)
    texts = texts_of(source.text, None if source.text else source.dataset or DEFAULT_DATASET)
    learn = tokenizer is None
    tokenizer = tokenizer or make_tokenizer(config.tokenizer, config.vocab_size, config.byte_fallback)
    data, prepared = prepare_in_memory(texts, tokenizer, choices=choices, learn=learn)
    if skipped := skipped_files(prepared):
        warn(f"skipped files: {skipped}")
    for note in prepared.notes:
        warn(note)
    return data


def _asked_to_resume(source: Source, argv: list[str]) -> tuple[Run, TrainConfig]:
    """The run as it is on the disk, and the settings that it continues with."""
    assert source.resume is not None
    given = [field.name for field in dataclasses.fields(Source) if getattr(source, field.name) != field.default]
    clash = [name for name in given if name not in ("resume", "config", "allow_inexact", "data")]
    if "minutes" in clash:
        steps = open_run(source.resume).config.max_steps
        raise InputError(
            f"--minutes chooses the length of a new run; {source.resume} has {steps:,} steps, and --max-steps gives it "
            "another number"
        )
    if clash:
        raise InputError(
            f"--resume continues a run as it is; --{clash[0].replace('_', '-')} cannot be given with it. A new run "
            f"starts from its weights with --init-from {source.resume}"
        )
    the_run = open_run(source.resume)
    in_file = read_config_file(source.config)
    settings = _parse_all(argv, the_run.config.updated(in_file, str(source.config)))
    _check_has_effect(settings, argv, in_file)
    return the_run, settings

"""handgrad train: from a text to a model, with checkpoints, metrics and curves."""

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from handgrad.backend import current_backend
from handgrad.cli.arguments import parse, parse_known
from handgrad.cli.console import compiling_is_said, make_console, warn
from handgrad.cli.interrupts import Interrupts
from handgrad.cli.main import FAILED, OK
from handgrad.cli.progress import TrainingDisplay, sample_text
from handgrad.data import Corpus, TokenData, count_unknown, encode_corpus, load_dataset, load_text, open_token_files
from handgrad.errors import InputError
from handgrad.tokenizers import make_tokenizer
from handgrad.training import (
    DivergedError,
    Run,
    TrainConfig,
    check_is_free,
    choose_replicas,
    compile_kernels,
    create_run,
    find_checkpoint,
    load_model,
    next_free,
    open_run,
    preset,
    read_config_file,
    read_metrics,
    save_config,
    train,
)
from handgrad.training.checkpoint import read_pointer, read_progress
from handgrad.training.config import MODEL_FIELDS

_RESUMABLE = ("max_steps", "lr", "min_lr", "eval_interval", "checkpoint_interval", "log_interval", "sample_interval")
_GIVEN_BY_WEIGHTS = (*(name for name in MODEL_FIELDS if name != "dropout"), "tokenizer", "vocab_size")
_SAMPLE_TOKENS = 300


@dataclass
class Source:
    """What to train on and where to keep the run."""

    text: Path | None = None
    """A UTF-8 file to learn from."""
    data: Path | None = None
    """A directory of token files that `handgrad prepare` made."""
    dataset: str | None = None
    """A text by name: pydoc (the default; in every Python) or shakespeare (downloaded once)."""
    preset: str = "quick"
    """Settings by name: quick, shakespeare-cpu, explicit-char, autograd-char or gpt2."""
    config: Path | None = None
    """A TOML file of settings; they go before the preset's."""
    out: Path | None = None
    """Where the run is kept; runs/PRESET-N where nothing is said."""
    resume: Path | None = None
    """Go on with this run."""
    init_from: Path | None = None
    """Start from this run's best weights, with its tokenizer and its model's shape."""


@dataclass
class Arguments:
    """Train a GPT on a text. Flags go before the TOML file, and that before the preset."""

    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def run(argv: list[str]) -> int:
    console = make_console()
    source, _ = parse_known(Source, [word for word in argv if word not in ("-h", "--help")], "train")
    the_run, data = _new(source, argv) if source.resume is None else _resumed(source, argv)
    return _train(the_run, data, console)


def _new(source: Source, argv: list[str]) -> tuple[Run, TokenData]:
    config = _settings(source, argv)
    if source.out is not None:
        check_is_free(source.out)
    data = _data(source, config)
    data.check_length(config.block_size)
    init_from = None if source.init_from is None else find_checkpoint(source.init_from)
    out = next_free(Path("runs"), source.preset) if source.out is None else source.out
    replicas = choose_replicas(config.replicas, config.batch_size)
    the_run = create_run(out, config, data, source.data, replicas, init_from)
    return the_run, the_run.data()  # from the files now, which need no memory


def _settings(source: Source, argv: list[str]) -> TrainConfig:
    """Preset, then the weights' own shape, then the TOML file, then the flags."""
    config = preset(source.preset)
    fixed: dict[str, Any] = {}
    if source.init_from is not None:
        trained = open_run(source.init_from).config
        fixed = {name: getattr(trained, name) for name in _GIVEN_BY_WEIGHTS}
        config = dataclasses.replace(config, **fixed)
    if source.config is not None:
        config = config.updated(read_config_file(source.config), str(source.config))
    settings = _parse_all(argv, config)
    for name, value in fixed.items():
        if getattr(settings, name) != value:
            raise InputError(
                f"{name} is {value} in {source.init_from} and comes with its weights; "
                f"it cannot be {getattr(settings, name)}"
            )
    return settings


def _parse_all(argv: list[str], config: TrainConfig) -> TrainConfig:
    return parse(Arguments, argv, "train", Arguments(settings=config)).settings


def _data(source: Source, config: TrainConfig) -> TokenData:
    given = [name for name in ("text", "data", "dataset") if getattr(source, name) is not None]
    if len(given) > 1:
        raise InputError(f"give only one of --text, --data and --dataset, not --{' and --'.join(given)}")
    tokenizer = None if source.init_from is None else open_run(source.init_from).tokenizer()
    if source.data is not None:
        data = open_token_files(source.data)
        if tokenizer is not None and tokenizer != data.tokenizer:
            raise InputError(f"{source.data} was made with another tokenizer than the model in {source.init_from}")
        return data
    corpus: Corpus = load_text(source.text) if source.text is not None else load_dataset(source.dataset or "pydoc")
    if tokenizer is None:
        tokenizer = make_tokenizer(config.tokenizer, config.vocab_size).train(corpus.split()[0])
    data = encode_corpus(corpus, tokenizer)
    unknown = count_unknown(tokenizer, data.train)
    if unknown:
        warn(f"{unknown / len(data.train):.1%} of the training text is unknown to its tokenizer: <unk> stands for it")
    return data


def _resumed(source: Source, argv: list[str]) -> tuple[Run, TokenData]:
    assert source.resume is not None
    clash = [field.name for field in dataclasses.fields(Source) if getattr(source, field.name) != field.default]
    clash.remove("resume")
    if clash:
        raise InputError(
            f"--resume goes on with a run as it is; --{clash[0].replace('_', '-')} cannot be given with it"
        )
    the_run = open_run(source.resume)
    settings = _parse_all(argv, the_run.config)
    before, after = dataclasses.asdict(the_run.config), dataclasses.asdict(settings)
    changed = [name for name in after if after[name] != before[name]]
    refused = [name for name in changed if name not in _RESUMABLE]
    if refused:
        raise InputError(
            f"{refused[0]} is {before[refused[0]]} in {source.resume} and cannot change on resume; "
            f"these can: {', '.join(_RESUMABLE)}"
        )
    step = read_progress(find_checkpoint(source.resume, "last")).step
    if "max_steps" in changed and settings.max_steps < step:
        raise InputError(f"{source.resume} stands at step {step} already; max_steps cannot be {settings.max_steps}")
    data = the_run.data()  # refused where they do not fit, before anything is changed
    if changed:
        save_config(the_run, settings)
    if the_run.backend != current_backend():
        warn(f"this run began with {the_run.backend} and goes on with {current_backend()}: not bit for bit the same")
    return dataclasses.replace(the_run, config=settings), data


def _train(the_run: Run, data: TokenData, console: Console) -> int:
    with compiling_is_said():
        compile_kernels(the_run)
    display = TrainingDisplay(the_run, console)
    again = f"handgrad train --resume {shlex.quote(str(the_run.path))}"
    try:
        with Interrupts() as interrupts:
            outcome = train(the_run, data, reporter=display, should_stop=lambda: interrupts.asked)
    except DivergedError as error:
        console.print(str(error))
        return FAILED
    except OSError as error:
        kept = _last_checkpoint(the_run)
        raise InputError(
            f"cannot go on in {error.filename or the_run.path}: {error.strerror or error}; {kept}"
        ) from None
    finally:
        display.close()
    if not outcome.finished:
        console.print(f"stopped at step {outcome.progress.step:,} and saved; go on with: {again}")
        return interrupts.exit_code
    from handgrad.plotting import plot_curves  # matplotlib takes its time, and serves only now

    plot_curves({the_run.path.name: read_metrics(the_run.metrics_path)}, the_run.curves_path)
    _say_what_came_of_it(the_run, data, console)
    return OK


def _say_what_came_of_it(the_run: Run, data: TokenData, console: Console) -> None:
    best = find_checkpoint(the_run.path, "best")
    loss = read_progress(best).best_val_loss
    described = "" if loss is None else f", validation loss {loss:.4f}"
    console.print(f"\nbest checkpoint {best.name}{described}; it writes:\n")
    text = sample_text(load_model(best, the_run.model_config), data, _SAMPLE_TOKENS, the_run.config.seed)
    console.print(text)
    console.print(f"\ncurves: {the_run.curves_path}\nmore:   handgrad sample {shlex.quote(str(the_run.path))}")


def _last_checkpoint(the_run: Run) -> str:
    last = read_pointer(the_run.path, "last")
    return f"checkpoint {last} stays" if last else "no checkpoint had been written"

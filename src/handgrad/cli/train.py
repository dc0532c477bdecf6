"""handgrad train: from a text to a model, with checkpoints, metrics and curves."""

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from handgrad.cli.arguments import parse, parse_known
from handgrad.cli.console import compiling_is_said, make_console, outlive_the_output, warn
from handgrad.cli.interrupts import Interrupts
from handgrad.cli.main import FAILED, OK
from handgrad.cli.progress import TrainingDisplay
from handgrad.data import Corpus, TokenData, count_unknown, encode_corpus, load_dataset, load_text, open_token_files
from handgrad.generation import write
from handgrad.models.formats.model_in_checkpoint import read_pointer
from handgrad.runs import (
    Run,
    TrainConfig,
    check_is_free,
    choose_replicas,
    create_run,
    load_intact,
    next_free,
    open_run,
    preset,
    read_config_file,
    read_metrics,
    resumed,
)
from handgrad.runs.checkpoint import read_progress
from handgrad.runs.config import MODEL_FIELDS
from handgrad.runs.resuming import was_cut_off
from handgrad.system.errors import InputError
from handgrad.system.locks import locked
from handgrad.tokenizers import make_tokenizer
from handgrad.training import DivergedError, check_fits_memory, compile_kernels, train

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
    """Go on with this run, bit for bit; more steps, another learning rate and the like can be given."""
    allow_inexact: bool = False
    """Go on also where libraries, replicas or processor are others, so that the run will be another than it was."""
    init_from: Path | None = None
    """Start from this run's best weights, with its tokenizer and its model's shape."""


@dataclass
class Arguments:
    """Train a GPT on a text. Flags go before the TOML file, and that before the preset."""

    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


def run(argv: list[str]) -> int:
    outlive_the_output()
    console = make_console()
    source, _ = parse_known(Source, [word for word in argv if word not in ("-h", "--help")], "train")
    if source.resume is None:
        return _train(*_new(source, argv), console)
    the_run, settings = _asked_to_resume(source, argv)
    with locked(the_run.path, "trained") as stale:  # of resuming and training in one
        if stale is not None:
            console.print(was_cut_off(the_run, stale))
        data = the_run.data()  # refused where they do not fit, before anything is changed
        the_run = resumed(the_run, settings, allow_inexact=source.allow_inexact, notice=console.print)
        return _train(the_run, data, console)


def _new(source: Source, argv: list[str]) -> tuple[Run, TokenData]:
    config = _settings(source, argv)
    if source.out is not None:
        check_is_free(source.out)
    data = _data(source, config)
    data.check_length(config.block_size)
    init_from = None if source.init_from is None else _weights_to_begin_with(source.init_from)
    out = next_free(Path("runs"), source.preset) if source.out is None else source.out
    replicas = choose_replicas(config.replicas, config.batch_size)
    check_fits_memory(config, config.model_config(data.tokenizer.vocab_size), replicas)
    the_run = create_run(out, config, data, source.data, replicas, init_from)
    return the_run, the_run.data()  # from the files now, which need no memory


def _weights_to_begin_with(path: Path) -> Path:
    """The best of a run's checkpoints that is intact."""
    return load_intact(path, "best", read_progress, warn)[1]


def _settings(source: Source, argv: list[str]) -> TrainConfig:
    """Preset, then the weights' own shape, then the TOML file, then the flags."""
    config = preset(source.preset)
    if source.allow_inexact:
        raise InputError("--allow-inexact is for --resume RUN")
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


def _asked_to_resume(source: Source, argv: list[str]) -> tuple[Run, TrainConfig]:
    """The run as it lies there, and the settings that it shall go on with."""
    assert source.resume is not None
    given = [field.name for field in dataclasses.fields(Source) if getattr(source, field.name) != field.default]
    clash = [name for name in given if name not in ("resume", "config", "allow_inexact")]
    if clash:
        raise InputError(
            f"--resume goes on with a run as it is; --{clash[0].replace('_', '-')} cannot be given with it"
        )
    the_run = open_run(source.resume)
    settings = the_run.config
    if source.config is not None:
        settings = settings.updated(read_config_file(source.config), str(source.config))
    return the_run, _parse_all(argv, settings)


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
    model, best = the_run.model("best", warn)
    progress = read_progress(best)
    described = f"checkpoint {best.name}"
    if progress.best_step == progress.step:  # else it is one that serves in the place of the best
        described = f"best checkpoint {best.name}, validation loss {progress.best_val_loss:.4f}"
    console.print(f"\n{described}; it writes:\n")
    console.print(write(model, data.tokenizer, _SAMPLE_TOKENS, seed=the_run.config.seed))
    console.print(f"\ncurves: {the_run.curves_path}\nmore:   handgrad sample {shlex.quote(str(the_run.path))}")


def _last_checkpoint(the_run: Run) -> str:
    last = read_pointer(the_run.path, "last")
    return f"checkpoint {last} stays" if last else "it has no checkpoint"

"""handgrad sample: writes text with a trained model."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.cli.arguments import parse
from handgrad.cli.console import compiling_is_said, warn
from handgrad.cli.help import Help
from handgrad.cli.main import OK
from handgrad.cli.terminal import show
from handgrad.generation import DEFAULT_TEMPERATURE, Strategy, generate, opening
from handgrad.runs import open_run
from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer


@dataclass
class Arguments:
    """Write text with a trained model. Each token is printed as soon as it is sampled."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's directory."""
    prompt: str = ""
    """The beginning of the text; a new line by default."""
    tokens: int = 500
    """Tokens to write."""
    temperature: float = DEFAULT_TEMPERATURE
    """Below 1 is safer, above 1 is bolder; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Sample from the k likeliest tokens."""
    top_p: float | None = None
    """Sample from the likeliest tokens that together have this probability."""
    seed: int = 0
    """Seed of the sampling: the same seed gives the same text."""
    samples: int = 1
    """Texts to write."""
    checkpoint: Annotated[str, tyro.conf.arg(metavar="NAME")] = "best"
    """best, last, or the name of a checkpoint."""


_HELP = Help(
    examples=(
        ("handgrad sample runs/quick-1", "Write 500 tokens with the best checkpoint."),
        (
            'handgrad sample runs/quick-1 --prompt "def read(self" --temperature 0.5 --samples 3',
            "Write three texts that begin alike, each token a safer choice.",
        ),
    )
)


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "sample", extra=_HELP)
    for name in ("tokens", "samples"):
        if getattr(arguments, name) < 1:
            raise InputError(f"{name} must be at least 1, not {getattr(arguments, name)}")
    if arguments.seed < 0:
        raise InputError(f"seed must be at least 0, not {arguments.seed}")
    Strategy(arguments.temperature, arguments.top_k, arguments.top_p)  # raises before the model is read
    the_run = open_run(arguments.run)
    tokenizer = the_run.tokenizer()
    model, _ = the_run.model(arguments.checkpoint, warn)
    ids = tokenizer.encode(arguments.prompt).tolist() or opening(tokenizer)
    _warn_of_unknown(arguments.prompt, tokenizer)
    with compiling_is_said():
        for number in range(arguments.samples):
            if arguments.samples > 1:
                print(f"--- sample {number + 1} ---")
            show(arguments.prompt, end="", flush=True)
            written = generate(
                model,
                ids,
                arguments.tokens,
                temperature=arguments.temperature,
                top_k=arguments.top_k,
                top_p=arguments.top_p,
                seed=[arguments.seed, number],
                exclude=tokenizer.special_ids,
            )
            for text in decoded_as_it_comes(tokenizer, written):
                show(text, end="", flush=True)
            print()
    return OK


def decoded_as_it_comes(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """The text of ids, piece by piece; a character waits until all its bytes are there.

    The pieces joined are ``tokenizer.decode(ids)``.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for number in ids:
        yield decoder.decode(tokenizer.decode_bytes([number]))
    yield decoder.decode(b"", final=True)


def _warn_of_unknown(prompt: str, tokenizer: Tokenizer) -> None:
    if tokenizer.unk_id is None:
        return
    unknown = sorted({character for character in prompt if tokenizer.unk_id in tokenizer.encode(character)})
    if unknown:
        names = ", ".join(repr(character) for character in unknown)
        warn(f"the vocabulary lacks {names}; the model sees <unk> instead")

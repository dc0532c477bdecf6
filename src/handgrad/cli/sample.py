"""handgrad sample: a trained model writes."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.cli.arguments import parse
from handgrad.cli.console import compiling_is_said, warn
from handgrad.cli.main import OK
from handgrad.generation import Strategy, generate, opening
from handgrad.runs import open_run
from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer


@dataclass
class Arguments:
    """Let a trained model write, printed as it comes."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's directory."""
    prompt: str = ""
    """What the text begins with; a new line where nothing is said."""
    tokens: int = 500
    """How many tokens to write."""
    temperature: float = 0.8
    """Below 1 safer, above 1 bolder; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Choose among the k likeliest tokens."""
    top_p: float | None = None
    """Choose among the likeliest tokens that together have this probability."""
    seed: int = 0
    """One seed gives one text."""
    samples: int = 1
    """How many texts."""
    checkpoint: str = "best"
    """best, last, or a checkpoint's name."""


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "sample")
    for name in ("tokens", "samples"):
        if getattr(arguments, name) < 1:
            raise InputError(f"{name} must be at least 1, not {getattr(arguments, name)}")
    if arguments.seed < 0:
        raise InputError(f"seed must be at least 0, not {arguments.seed}")
    Strategy(arguments.temperature, arguments.top_k, arguments.top_p)  # refused before the model is read
    the_run = open_run(arguments.run)
    tokenizer = the_run.tokenizer()
    model, _ = the_run.model(arguments.checkpoint, warn)
    ids = tokenizer.encode(arguments.prompt).tolist() or opening(tokenizer)
    _warn_of_unknown(arguments.prompt, tokenizer)
    with compiling_is_said():
        for number in range(arguments.samples):
            if arguments.samples > 1:
                print(f"--- sample {number + 1} ---")
            print(arguments.prompt, end="", flush=True)
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
                print(text, end="", flush=True)
            print()
    return OK


def decoded_as_it_comes(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """The text of ids piece by piece; a character of which some bytes are still to come waits for them.

    Joined it is ``tokenizer.decode(ids)``.
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
        warn(f"the tokenizer has never seen {names}; <unk> stands for it")

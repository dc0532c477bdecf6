"""handgrad sample: writes text with a trained model."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.cli.arguments import parse
from handgrad.cli.console import compiling_is_said, counted, say, warn
from handgrad.cli.help import Help
from handgrad.cli.main import OK
from handgrad.cli.terminal import is_terminal, show
from handgrad.generation import DEFAULT_TEMPERATURE, Piece, Start, Strategy, pieces_of_texts, start_of
from handgrad.models import KVCache, LanguageModel
from handgrad.runs import open_run
from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer

_TOGETHER = 32
"""The most texts that the model writes at the same time."""
_CACHE_BYTES = 1 << 30
"""It writes fewer if whole blocks of their keys and values would take more memory than this."""
_LONG = 2.0
"""From this many seconds on, a user who watches is told how fast the model wrote."""


@dataclass
class Arguments:
    """Write text with a trained model. Each token is printed as soon as it is sampled."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's directory."""
    prompt: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="TEXT")] = ()
    """The beginning of the text. By default it begins as the training text does; with documents, as a document does.
    Can be given several times: each prompt gets a text of its own."""
    allow_special: bool = False
    """Read special tokens in the prompt, such as <eos>, as themselves and not as characters."""
    tokens: int = 500
    """Tokens to write at most."""
    until_end: bool = True
    """Stop at the end of a document, if the model was trained on several. Otherwise write <eos> and continue."""
    stop: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="TEXT")] = ()
    """End the text before this one, which is not printed. Can be given several times."""
    temperature: float = DEFAULT_TEMPERATURE
    """Below 1 is safer, above 1 is bolder; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Sample from the k likeliest tokens."""
    top_p: float | None = None
    """Sample from the likeliest tokens that together have this probability."""
    min_p: float | None = None
    """Sample from the tokens that are at least this many times as likely as the likeliest, such as 0.05."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that are already in the text become less likely; 1.2 is common."""
    seed: int = 0
    """Seed of the sampling: the same seed gives the same text."""
    samples: int = 1
    """Texts to write, for each prompt; with documents, each is a document."""
    logprobs: bool = False
    """Print each token on a line of its own, after the logarithm of its probability and the probability; then the mean
    of the logarithms and the perplexity."""
    checkpoint: Annotated[str, tyro.conf.arg(metavar="NAME")] = "best"
    """best, last, or the name of a checkpoint."""


_HELP = Help(
    examples=(
        ("handgrad sample runs/quick-1", "Write 500 tokens with the best checkpoint."),
        (
            'handgrad sample runs/quick-1 --prompt "def read(self" --temperature 0.5 --samples 3',
            "Write three texts that begin alike, each token a safer choice.",
        ),
        (
            "handgrad sample runs/quick-1 --samples 4 --min-p 0.05 --temperature 1 --logprobs",
            "Write four texts without unlikely tokens, and say how likely each token was.",
        ),
        ('handgrad sample runs/quick-1 --prompt "Question: " --stop "Question:"', "End the text at the next question."),
    )
)


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "sample", extra=_HELP)
    for name in ("tokens", "samples"):
        if getattr(arguments, name) < 1:
            raise InputError(f"{name} must be at least 1, not {getattr(arguments, name)}")
    if "" in arguments.stop:
        raise InputError("stop must be a text of at least one character, not ''")
    if arguments.seed < 0:
        raise InputError(f"seed must be at least 0, not {arguments.seed}")
    # Raises before the model is read.
    Strategy(arguments.temperature, arguments.top_k, arguments.top_p, arguments.min_p, arguments.repetition_penalty)
    the_run = open_run(arguments.run)
    tokenizer = the_run.tokenizer()
    model, _ = the_run.model(arguments.checkpoint, warn)
    prompts = arguments.prompt or ("",)
    starts = [
        start_of(
            tokenizer,
            prompt,
            documents=the_run.has_documents,
            begins=the_run.begins,
            until_end=arguments.until_end,
            allow_special=arguments.allow_special,
        )
        for prompt in prompts
    ]
    _warn_of_unknown(prompts, arguments.allow_special, tokenizer)
    # A prompt's samples have the same seeds, and so the same texts, whatever other prompts are given.
    texts = [(start, [arguments.seed, number]) for start in starts for number in range(arguments.samples)]
    titled = len(texts) > 1 and (the_run.documents != "lines" or arguments.logprobs)  # lines are told apart as they are
    tokens, began = 0, time.monotonic()
    with compiling_is_said():
        for number, pieces in _texts(model, tokenizer, texts, arguments):
            if titled:
                print(f"--- sample {number} ---")
            tokens += _show_logprobs(pieces, tokenizer) if arguments.logprobs else _show_text(pieces)
    seconds = time.monotonic() - began
    if seconds >= _LONG and is_terminal(sys.stderr):
        say(f"handgrad: {counted(tokens, 'token')} in {seconds:.1f} s, {tokens / seconds:,.0f} tokens per second")
    return OK


def _texts(
    model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[tuple[Start, Sequence[int]]], arguments: Arguments
) -> Iterator[tuple[int, Iterator[Piece]]]:
    """The texts, each from a start and with a seed, in their order: the number of each, from 1 on, and its pieces."""
    together = min(_TOGETHER, max(1, _CACHE_BYTES // KVCache.bytes_of_text(model.config)))
    for first in range(0, len(texts), together):
        starts, seeds = zip(*texts[first : first + together], strict=True)
        pieces = pieces_of_texts(
            model,
            tokenizer,
            starts,
            arguments.tokens,
            stops=arguments.stop,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            min_p=arguments.min_p,
            repetition_penalty=arguments.repetition_penalty,
            seeds=seeds,
            logprobs=arguments.logprobs,
        )
        for text, of_one in groupby(one_after_another(pieces), key=lambda piece: piece.text):
            yield first + text + 1, of_one


def one_after_another(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces of texts that are written together, text by text; those of the text whose turn it is at once."""
    waiting: defaultdict[int, list[Piece]] = defaultdict(list)
    turn = 0
    for piece in pieces:
        waiting[piece.text].append(piece)
        while turn in waiting:
            ready = waiting.pop(turn)
            yield from ready
            turn += ready[-1].is_last


def _show_text(pieces: Iterable[Piece]) -> int:
    """Prints a text as it comes. Returns the number of its tokens that were chosen."""
    tokens = 0
    for piece in pieces:
        show(piece.characters, end="", flush=True)
        tokens += piece.token is not None
    print()
    return tokens


def _show_logprobs(pieces: Iterable[Piece], tokenizer: Tokenizer) -> int:
    """Prints the tokens of a text as they are chosen, and how likely they were. Returns their number."""
    logprobs = []
    for piece in pieces:
        if piece.token is not None:
            logprob = piece.token.logprob
            logprobs.append(logprob)
            show(f"{logprob:9.4f} {math.exp(logprob):9.3%}  {tokenizer.token(piece.token.id)!r}", flush=True)
    if logprobs:
        mean = math.fsum(logprobs) / len(logprobs)
        perplexity = math.exp(min(-mean, 700.0))  # beyond that, the largest floats end
        print(f"mean log-probability {mean:.4f}, perplexity {perplexity:.4g}, {counted(len(logprobs), 'token')}")
    return len(logprobs)


def _warn_of_unknown(prompts: Iterable[str], allow_special: bool, tokenizer: Tokenizer) -> None:
    if tokenizer.unk_id is None:
        return
    characters: set[str] = set()
    for prompt in prompts:
        for token in tokenizer.special_tokens if allow_special else ():
            prompt = prompt.replace(token, "")
        characters.update(prompt)
    unknown = sorted(character for character in characters if tokenizer.unk_id in tokenizer.encode(character))
    if unknown:
        names = ", ".join(repr(character) for character in unknown)
        warn(f"the vocabulary lacks {names}; the model sees <unk> instead")

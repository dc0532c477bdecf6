"""handgrad sample: writes text with a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from handgrad.cli.arguments import parse
from handgrad.cli.console import compiling_is_said, warn
from handgrad.cli.help import Help
from handgrad.cli.main import OK
from handgrad.cli.terminal import show
from handgrad.generation import DEFAULT_TEMPERATURE, Strategy, pieces_of, start_of
from handgrad.runs import open_run
from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer


@dataclass
class Arguments:
    """Write text with a trained model. Each token is printed as soon as it is sampled."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's directory."""
    prompt: str = ""
    """The beginning of the text. By default it begins as the training text does; with documents, as a document does."""
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
    seed: int = 0
    """Seed of the sampling: the same seed gives the same text."""
    samples: int = 1
    """Texts to write; with documents, each is a document."""
    checkpoint: Annotated[str, tyro.conf.arg(metavar="NAME")] = "best"
    """best, last, or the name of a checkpoint."""


_HELP = Help(
    examples=(
        ("handgrad sample runs/quick-1", "Write 500 tokens with the best checkpoint."),
        (
            'handgrad sample runs/quick-1 --prompt "def read(self" --temperature 0.5 --samples 3',
            "Write three texts that begin alike, each token a safer choice.",
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
    Strategy(arguments.temperature, arguments.top_k, arguments.top_p)  # raises before the model is read
    the_run = open_run(arguments.run)
    tokenizer = the_run.tokenizer()
    model, _ = the_run.model(arguments.checkpoint, warn)
    start = start_of(
        tokenizer,
        arguments.prompt,
        documents=the_run.has_documents,
        begins=the_run.begins,
        until_end=arguments.until_end,
        allow_special=arguments.allow_special,
    )
    _warn_of_unknown(arguments.prompt, arguments.allow_special, tokenizer)
    with compiling_is_said():
        for number in range(arguments.samples):
            if arguments.samples > 1 and the_run.documents != "lines":  # these are told apart as they are
                print(f"--- sample {number + 1} ---")
            written = pieces_of(
                model,
                tokenizer,
                start,
                arguments.tokens,
                stops=arguments.stop,
                temperature=arguments.temperature,
                top_k=arguments.top_k,
                top_p=arguments.top_p,
                seed=[arguments.seed, number],
            )
            for text in written:
                show(text, end="", flush=True)
            print()
    return OK


def _warn_of_unknown(prompt: str, allow_special: bool, tokenizer: Tokenizer) -> None:
    if tokenizer.unk_id is None:
        return
    for token in tokenizer.special_tokens if allow_special else ():
        prompt = prompt.replace(token, "")
    unknown = sorted({character for character in prompt if tokenizer.unk_id in tokenizer.encode(character)})
    if unknown:
        names = ", ".join(repr(character) for character in unknown)
        warn(f"the vocabulary lacks {names}; the model sees <unk> instead")

"""handgrad prepare: a text becomes token files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from handgrad.cli.arguments import parse
from handgrad.cli.main import OK
from handgrad.data import encode_corpus, load_dataset, load_text, write_token_files
from handgrad.errors import InputError
from handgrad.tokenizers import make_tokenizer


@dataclass
class Arguments:
    """Turn a text into token files, which `handgrad train --data DIR` trains on."""

    out: Path
    """The directory to write, which must be new or empty."""
    text: Path | None = None
    """A UTF-8 file."""
    dataset: str | None = None
    """A text by name: pydoc or shakespeare."""
    tokenizer: Literal["char", "word", "bpe"] = "char"
    """How text becomes tokens."""
    vocab_size: int | None = None
    """The most tokens that the tokenizer may learn, special tokens included."""


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "prepare")
    if (arguments.text is None) == (arguments.dataset is None):
        raise InputError("prepare: give either --text FILE or --dataset NAME")
    out = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is no empty directory; choose another --out")
    corpus = load_text(arguments.text) if arguments.text is not None else load_dataset(arguments.dataset or "")
    tokenizer = make_tokenizer(arguments.tokenizer, arguments.vocab_size).train(corpus.split()[0])
    data = encode_corpus(corpus, tokenizer)
    write_token_files(out, data)
    meta = data.meta
    print(
        f"{out}: {meta.train_tokens:,} training and {meta.validation_tokens:,} validation tokens ({meta.dtype}) "
        f"of {meta.train_characters + meta.validation_characters:,} characters, {meta.vocab_size} tokens known"
    )
    return OK

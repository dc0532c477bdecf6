"""Where a text begins and where it ends: at the boundaries of documents, at a given text, or at neither."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer


@dataclass(frozen=True)
class Start:
    """What the model continues, and the tokens that end its text."""

    ids: tuple[int, ...]
    """The tokens that the model continues; at least one."""
    shown: str = ""
    """The text of these tokens, as far as it is part of the result."""
    ends: tuple[int, ...] = ()
    """Tokens that end the text. They are not part of it."""
    excluded: tuple[int, ...] = ()
    """Tokens that the model never chooses."""


def opening(tokenizer: Tokenizer) -> list[int]:
    """The tokens that a text starts from if nothing else is known: a line break, or the first token that is text."""
    start: list[int] = tokenizer.encode("\n").tolist()
    if start and tokenizer.unk_id not in start:
        return start
    return [next(i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids)]


def start_of(
    tokenizer: Tokenizer,
    prompt: str = "",
    *,
    documents: bool = False,
    begins: Sequence[int] = (),
    until_end: bool = True,
    allow_special: bool = False,
) -> Start:
    """How to begin a text, and when to end it.

    ``documents``: the model has learned a token between documents. The text then begins after this token, so at the
    beginning of a document, and with ``until_end`` it ends when the model chooses the token; otherwise the token is
    part of the text and the next document follows.
    ``begins``: what the training text begins with. Without documents and without a prompt, the text begins so too.
    ``allow_special``: read special tokens in the prompt, such as <eos>, as themselves and not as characters.

    Raises InputError if documents are asked for and the tokenizer has no token that ends one.
    """
    excluded = tuple(tokenizer.special_ids)
    ids: list[int] = tokenizer.encode(prompt, allow_special=allow_special).tolist()
    if not documents:
        if ids:
            return Start(tuple(ids), prompt, excluded=excluded)
        if begins:
            return Start(tuple(begins), tokenizer.decode(list(begins)), excluded=excluded)
        return Start(tuple(opening(tokenizer)), excluded=excluded)
    end = tokenizer.eos_id
    if end is None:
        raise InputError(f"this {tokenizer.kind} tokenizer has no token that ends a document, such as <eos>")
    return Start(
        ids=tuple(ids) if ids[:1] == [end] else (end, *ids),
        shown=prompt,
        ends=(end,) if until_end else (),
        excluded=tuple(number for number in excluded if number != end),
    )


def until(pieces: Iterable[str], stops: Collection[str]) -> Iterator[str]:
    """The pieces of a text up to the first place where one of ``stops`` begins; that one is not part of it.

    A piece that may be the beginning of a stop waits for the next. Stops after a text has ended do not matter.
    """
    stops = [stop for stop in stops if stop]
    held = ""
    for piece in pieces:
        held += piece
        places = [place for stop in stops if (place := held.find(stop)) >= 0]
        if places:
            yield held[: min(places)]
            return
        waiting = _beginning_of_a_stop(held, stops)
        yield held[: len(held) - waiting]
        held = held[len(held) - waiting :]
    yield held


def _beginning_of_a_stop(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of the text may be the beginning of a stop."""
    return max(
        (
            length
            for stop in stops
            for length in range(1, min(len(stop), len(text) + 1))
            if text.endswith(stop[:length])
        ),
        default=0,
    )

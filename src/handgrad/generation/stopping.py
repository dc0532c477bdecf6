"""Where a text begins and where it ends: at the boundaries of documents, at a given text, or at neither."""

from collections.abc import Collection, Sequence
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


class StopSearch:
    """Looks for the first place in a text where one of ``stops`` begins, while the text comes in pieces.

    That stop is not part of the text. A piece that may be the beginning of a stop waits for the next.
    """

    def __init__(self, stops: Collection[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found = False
        """Whether the text has ended before a stop."""

    def add(self, piece: str) -> str:
        """What has become certain with this piece; the last of the text if a stop is found."""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        certain = len(text) - _beginning_of_a_stop(text, self._stops)
        self._held = text[certain:]
        return text[:certain]

    def rest(self) -> str:
        """What still waits when the text ends by itself."""
        return self._held


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

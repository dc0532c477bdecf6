"""What a user should know about a text before a model is trained on it, a sentence each."""

from collections.abc import Mapping

import numpy as np

from handgrad.data.token_files import Tally
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.tokenizers import Tokenizer

_SHOWN = 5
_LONGEST_WORD = 1000
_LONG_WORDS = 20
"""Letters of a word on average. Clauses of Chinese, which is written without spaces, have fewer than ten."""
_WORTH_SAYING = {"bpe": 0.02}
"""The share of validation tokens that the training text may lack in silence. Any new word lacks some byte pairs."""


def note_on_words(tokenizer: Tokenizer, counts: Mapping[str, int]) -> tuple[str, ...]:
    """A sentence if the words of a text are so long that a tokenizer of words learns little from it.

    Raises InputError if most of the text is a single word, as with DNA or base 64 in one line.
    """
    if tokenizer.kind != "word":
        return ()
    words = {text: count for text, count in counts.items() if text[0].isalnum()}
    letters = sum(len(word) * count for word, count in words.items())
    longest = max(words, key=len, default="")
    if len(longest) > _LONGEST_WORD and 2 * len(longest) > letters:
        raise InputError(
            f"most of the training text is one word of {len(longest):,} letters, {longest[:20]!r}…, because words end "
            "at white space and signs; a tokenizer of words cannot learn from it; choose --tokenizer char or bpe"
        )
    mean = letters / max(sum(words.values()), 1)
    if mean <= _LONG_WORDS:
        return ()
    return (
        f"the words of the training text have {mean:.0f} letters on average, because words end at white space and "
        "signs; a tokenizer of words learns little from it; --tokenizer char or bpe learn more",
    )


def notes_on(
    tokenizer: Tokenizer,
    learned: bool,
    tallies: tuple[Tally, Tally],
    seen: tuple[Array, Array],
    windows: int,
    documents: int,
) -> tuple[str, ...]:
    """The sentences. ``tallies`` and ``seen``, how often each token occurs, are those of training and validation.

    ``learned``: the tokenizer has learned from the training text. ``windows``: how many of the ``documents`` have the
    line ends of Windows.
    """
    notes: list[str] = []
    for part, tally in zip(("training", "validation"), tallies, strict=True):
        if tally.unknown:
            notes.append(_unknown(part, tally, tokenizer, learned))
    if (lacking := _lacking(tokenizer, *seen)) is not None:
        notes.append(lacking)
    if windows:
        which = "the text has" if documents == 1 else f"{windows:,} of {documents:,} documents have"
        notes.append(
            f"{which} the line ends of Windows, two characters each; --line-ends unix replaces them with one line feed"
        )
    return tuple(notes)


def _unknown(part: str, tally: Tally, tokenizer: Tokenizer, learned: bool) -> str:
    count = sum(tally.unknown_text.values())
    names = some_of(tally.unknown_text)
    why = "the training text lacks them" if learned and part == "validation" else "its vocabulary lacks them"
    without = ", so bits per character cannot be compared" if part == "validation" else ""
    helps = "--byte-fallback lets the tokenizer encode every character"
    if tokenizer.kind == "bpe" or not learned:
        helps = "a tokenizer that learns from this text with --byte-fallback, or --tokenizer bpe, encodes every one"
    if part == "validation" and learned:
        helps += "; --shuffle-documents or --val-text choose another split"
    return (
        f"{count:,} of {tally.characters:,} characters of the {part} text are unknown to the tokenizer ({names}), "
        f"because {why}{without}; {helps}"
    )


def _lacking(tokenizer: Tokenizer, train: Array, validation: Array) -> str | None:
    """Tokens that the model cannot learn, as only the validation text has them."""
    only = (validation > 0) & (train == 0)
    if tokenizer.unk_id is not None:
        only[tokenizer.unk_id] = False  # another sentence is about unknown characters
    if tokenizer.eos_id is not None:
        only[tokenizer.eos_id] = False
    share = validation[only].sum() / max(validation.sum(), 1)
    if share <= _WORTH_SAYING.get(tokenizer.kind, 0):
        return None
    tokens = {tokenizer.token(number): int(validation[number]) for number in np.flatnonzero(only).tolist()}
    helps = "--shuffle-documents or --val-text choose another split"
    if tokenizer.kind == "word":
        helps = (
            "with a smaller --vocab-size the model learns bytes, because rare words of the training text become bytes"
        )
    return (
        f"{len(tokens):,} tokens of the validation text ({some_of(tokens)}; {share:.1%} of it) occur nowhere in the "
        f"training text, so the model cannot learn them; {helps}"
    )


def some_of(counts: Mapping[str, int]) -> str:
    """The most frequent, and how many others there are."""
    most = sorted(counts, key=lambda text: (-counts[text], text))
    others = f" and {len(most) - _SHOWN:,} more" if len(most) > _SHOWN else ""
    return ", ".join(map(repr, most[:_SHOWN])) + others

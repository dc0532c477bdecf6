"""Text from a model and its tokenizer."""

import codecs
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from handgrad.generation.generate import Token, generate_texts
from handgrad.generation.stopping import Start, StopSearch, opening
from handgrad.generation.strategies import DEFAULT_TEMPERATURE
from handgrad.models import LanguageModel
from handgrad.tokenizers import Tokenizer


class Piece(NamedTuple):
    """A piece of one of several texts."""

    text: int
    """The number of the text: that of its start."""
    characters: str
    """What has become certain; often empty, when a character or a stop is not complete."""
    token: Token | None = None
    """The token that was chosen; None for the text of the start, and for characters that waited until the end."""
    is_last: bool = False
    """Whether the text ends here."""


def write(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tokens: int,
    *,
    temperature: float = DEFAULT_TEMPERATURE,
    seed: int | Sequence[int] = 0,
    start: Start | None = None,
) -> str:
    """A text of at most ``tokens`` tokens that begins with ``start``, which also says what ends it.

    If there is no ``start``, the text continues a line break, if the tokenizer has a token for that.
    """
    start = start or Start(tuple(opening(tokenizer)), excluded=tuple(tokenizer.special_ids))
    return "".join(pieces_of(model, tokenizer, start, tokens, temperature=temperature, seed=seed))


def pieces_of(
    model: LanguageModel,
    tokenizer: Tokenizer,
    start: Start,
    tokens: int,
    *,
    stops: Collection[str] = (),
    temperature: float = DEFAULT_TEMPERATURE,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int | Sequence[int] = 0,
    cached: bool = True,
) -> Iterator[str]:
    """A text piece by piece, each as soon as it is certain: the text of ``start``, then at most ``tokens`` tokens.

    It ends before a token in ``start.ends`` and before each text in ``stops``. The other options are those of
    ``generate``.
    """
    pieces = pieces_of_texts(
        model,
        tokenizer,
        [start],
        tokens,
        stops=stops,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seeds=[seed],
        cached=cached,
    )
    return (piece.characters for piece in pieces)


def pieces_of_texts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    starts: Sequence[Start],
    tokens: int,
    *,
    stops: Collection[str] = (),
    temperature: float = DEFAULT_TEMPERATURE,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seeds: Sequence[int | Sequence[int]] | None = None,
    logprobs: bool = False,
    cached: bool = True,
) -> Iterator[Piece]:
    """Several texts that the model writes together, piece by piece, as ``pieces_of`` gives one of them.

    A text that has ended, by a token in the ``ends`` of its start or before one of ``stops``, costs nothing from then
    on. The starts must agree on what ends a text and on what is excluded. The other options are those of
    ``generate_texts``.

    Raises ValueError if the starts do not agree.
    """
    if len({(start.ends, start.excluded) for start in starts}) > 1:
        raise ValueError("pieces_of_texts: the starts differ in what ends a text or in what is excluded")
    steps = generate_texts(
        model,
        [start.ids for start in starts],
        tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seeds=seeds,
        exclude=starts[0].excluded if starts else (),
        ends=starts[0].ends if starts else (),
        logprobs=logprobs,
        cached=cached,
    )
    for text, start in enumerate(starts):
        yield Piece(text, start.shown)
    going = {text: _Incoming(tokenizer, stops) for text in range(len(starts))}
    for step in steps:
        for text in sorted(going.keys() - {token.text for token in step}):
            yield Piece(text, going.pop(text).rest(), is_last=True)
        for token in step:
            incoming = going[token.text]
            characters = incoming.add(token.id)
            if incoming.search.found:
                steps.end(token.text)
                del going[token.text]
            yield Piece(token.text, characters, token, is_last=incoming.search.found)
    for text, incoming in going.items():
        yield Piece(text, incoming.rest(), is_last=True)


class _Incoming:
    """Turns the tokens of one text into characters, up to a stop."""

    def __init__(self, tokenizer: Tokenizer, stops: Collection[str]) -> None:
        self.decoding = _Decoding(tokenizer)
        self.search = StopSearch(stops)

    def add(self, number: int) -> str:
        """What has become certain with this token."""
        return self.search.add(self.decoding.add(number))

    def rest(self) -> str:
        """What still waits when the text ends by itself."""
        last = self.search.add(self.decoding.rest())
        return last if self.search.found else last + self.search.rest()


class _Decoding:
    """Turns tokens into characters; a character waits until all its bytes are there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, number: int) -> str:
        return self.decoder.decode(self.tokenizer.decode_bytes([number]))

    def rest(self) -> str:
        return self.decoder.decode(b"", final=True)


def decoded_as_it_comes(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """The text of ids, piece by piece; a character waits until all its bytes are there.

    The pieces joined are ``tokenizer.decode(ids)``.
    """
    decoding = _Decoding(tokenizer)
    for number in ids:
        yield decoding.add(number)
    yield decoding.rest()

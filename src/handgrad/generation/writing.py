"""Text from a model and its tokenizer."""

import codecs
from collections.abc import Collection, Iterable, Iterator, Sequence

from handgrad.generation.generate import generate
from handgrad.generation.stopping import Start, opening, until
from handgrad.generation.strategies import DEFAULT_TEMPERATURE
from handgrad.models import LanguageModel
from handgrad.tokenizers import Tokenizer


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
    seed: int | Sequence[int] = 0,
) -> Iterator[str]:
    """A text piece by piece, each as soon as it is certain: the text of ``start``, then at most ``tokens`` tokens.

    It ends before a token in ``start.ends`` and before each text in ``stops``.
    """
    ids = generate(
        model,
        start.ids,
        tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        exclude=start.excluded,
        ends=start.ends,
    )
    yield start.shown
    yield from until(decoded_as_it_comes(tokenizer, ids), stops)


def decoded_as_it_comes(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """The text of ids, piece by piece; a character waits until all its bytes are there.

    The pieces joined are ``tokenizer.decode(ids)``.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for number in ids:
        yield decoder.decode(tokenizer.decode_bytes([number]))
    yield decoder.decode(b"", final=True)

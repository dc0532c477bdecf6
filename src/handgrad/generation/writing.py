"""Text from a model and its tokenizer."""

from collections.abc import Sequence

from handgrad.generation.generate import generate
from handgrad.generation.strategies import DEFAULT_TEMPERATURE
from handgrad.models import LanguageModel
from handgrad.tokenizers import Tokenizer


def opening(tokenizer: Tokenizer) -> list[int]:
    """The tokens that a text starts from if there is no prompt: a line break, or the first token that is text."""
    start: list[int] = tokenizer.encode("\n").tolist()
    if start and tokenizer.unk_id not in start:
        return start
    return [next(i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids)]


def write(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tokens: int,
    *,
    temperature: float = DEFAULT_TEMPERATURE,
    seed: int | Sequence[int] = 0,
) -> str:
    """A text of ``tokens`` tokens. It starts like a new line if the tokenizer has a token for a line break."""
    ids = generate(model, opening(tokenizer), tokens, temperature=temperature, seed=seed, exclude=tokenizer.special_ids)
    return tokenizer.decode(list(ids))

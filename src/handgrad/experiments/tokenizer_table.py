"""The table of a comparison of tokenizers: a column for each."""

from collections.abc import Callable, Sequence

from handgrad.experiments.measures import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLES, Measures

NOT_COMPARABLE = "not comparable"

ROWS: tuple[tuple[str, Callable[[Measures], str]], ...] = (
    ("budget", lambda m: m.budget),
    ("steps", lambda m: f"{m.steps:,}"),
    ("characters seen", lambda m: f"{m.characters_seen:,.0f}"),
    ("parameters", lambda m: f"{m.parameters:,}"),
    (
        "of these in tables of the vocabulary",
        lambda m: f"{m.vocabulary_parameters:,} ({m.vocabulary_parameters / m.parameters:.0%})",
    ),
    ("vocabulary", lambda m: f"{m.vocab_size:,}"),
    ("characters per token of the training text", lambda m: f"{m.characters_per_token:.2f}"),
    ("final training loss, nats per token", lambda m: f"{m.training_loss:.3f}"),
    ("final validation loss, nats per token", lambda m: f"{m.validation_loss:.3f}"),
    ("best validation loss (at step)", lambda m: f"{m.best_validation_loss:.3f} ({m.best_step:,})"),
    ("**bits per character**, final", lambda m: _bits(m.bits_per_character)),
    ("**bits per character**, best", lambda m: _bits(m.best_bits_per_character)),
    (
        "unknown tokens in the validation text",
        lambda m: f"{m.unknown_tokens:,} ({m.unknown_tokens / m.validation_tokens:.1%})",
    ),
    (f"characters in {SAMPLE_TOKENS} sampled tokens", lambda m: f"{m.sampled_characters:,.0f}"),
    ("sampled words that occur in the training text", lambda m: _share(m.writing.known_words, m.writing.words)),
    ("sampled lines copied from it", lambda m: _share(m.writing.copied_lines, m.writing.lines)),
    ("tokens per second", lambda m: f"{m.tokens_per_second:,.0f}"),
    ("time at this rate", lambda m: f"{m.tokens_seen / m.tokens_per_second / 60:,.1f} minutes"),
)
"""The rows of the table: the name of each, and its entry for a run."""

NOTES = (
    "Losses are mean nats per token, and tokens are not alike: only bits per character of the same validation text "
    "compare tokenizers, and only those that lose none of it. The final training loss is the mean of the last 20 "
    f"logged steps. Samples are {SAMPLES} of {SAMPLE_TOKENS} tokens at temperature {SAMPLE_TEMPERATURE} from the best "
    "checkpoint; only lines of at least four words count. Tokens per second are the median over the logged steps; the "
    "time is that of all steps at this rate, without evaluations."
)


def table(measured: Sequence[Measures]) -> list[list[str]]:
    """The rows of the table; the first is its head."""
    return [["", *(one.name for one in measured)], *([name, *map(tell, measured)] for name, tell in ROWS)]


def _bits(bits: float | None) -> str:
    return NOT_COMPARABLE if bits is None else f"{bits:.3f}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} of {whole:,}" if whole else "none sampled"

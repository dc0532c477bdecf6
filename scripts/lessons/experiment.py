"""The tables of the experiment with three tokenizers: its command's results, and the published ones beside them."""

import pages

from handgrad.experiments import Measures, read_results, table
from handgrad.experiments.report import markdown_table, samples_side_by_side

_PLOTTED = "near 3.0 and 4.3"
"""What the published plots show for words and for byte pairs."""
RESULTS = pages.DOCS / "experiments" / "tokenizers" / "results.json"


def tables() -> dict[str, str]:
    measured = read_results(RESULTS)
    return {
        "results": markdown_table(table(measured)),
        "published": markdown_table(_published({one.name: one for one in measured})),
        "samples": samples_side_by_side(measured),
    }


def _published(ours: dict[str, Measures]) -> list[list[str]]:
    char, word, bpe, lowercase = (ours[name] for name in ("char", "word", "bpe", "word-lowercase"))
    return [
        ["", "published", "here"],
        ["parameters, characters", "3.23 million", f"{char.parameters / 1e6:.2f} million"],
        ["parameters, words", "6.55 million", f"{word.parameters / 1e6:.2f} million"],
        ["words in lower case: training and validation loss", _PLOTTED, _losses(lowercase)],
        ["words that lose nothing: training and validation loss", "", _losses(word)],
        ["byte pairs: training and validation loss", _PLOTTED, _losses(bpe)],
        ["validation loss turns, words in lower case", "before step 3,000", f"step {lowercase.best_step:,}"],
        ["validation loss turns, byte pairs", "before step 3,000", f"step {bpe.best_step:,}"],
        ["compared by", "training loss per token", "bits per character of the validation text"],
    ]


def _losses(one: Measures) -> str:
    return f"{one.training_loss:.2f} and {one.validation_loss:.2f}"

"""What a comparison found, as a table, samples side by side, JSON and pictures, in the comparison's directory."""

import html
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from handgrad.errors import InputError
from handgrad.experiments.comparison import Comparison
from handgrad.experiments.measures import SAMPLE_TOKENS, SAMPLES, Measures, Writing, bits_curve
from handgrad.files import read_json, write_atomically, write_json
from handgrad.plotting import plot_bits, plot_curves
from handgrad.records import record
from handgrad.training import open_run, read_metrics

NOT_COMPARABLE = "not comparable"
_SHOWN_SAMPLE = 600
"""Characters of a sample that the report shows."""

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
    ("characters per token", lambda m: f"{m.characters_per_token:.2f}"),
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
    ("sampled words that stand in the training text", lambda m: _share(m.writing.known_words, m.writing.words)),
    ("sampled lines copied from it", lambda m: _share(m.writing.copied_lines, m.writing.lines)),
    ("tokens per second", lambda m: f"{m.tokens_per_second:,.0f}"),
    ("time at this rate", lambda m: f"{m.tokens_seen / m.tokens_per_second / 60:,.1f} minutes"),
)
"""The lines of the table: what each is called, and what it says of a run."""

NOTES = (
    "Losses are mean nats per token, and tokens are not alike: only bits per character of the same validation text "
    "compare tokenizers, and only such as lose nothing of it. The final training loss is the mean of the last 20 "
    f"logged steps. Samples are {SAMPLES} of {SAMPLE_TOKENS} tokens at temperature 0.8 from the best checkpoint; lines "
    "that count have at least four words. Tokens per second are the median over the logged steps; the time is that of "
    "all steps at this rate, evaluations left out."
)


def write_report(comparison: Comparison, measured: Sequence[Measures]) -> None:
    """Writes results.json, results.md and the pictures that it shows."""
    entries = [entry for entry in comparison.entries if entry.name in {one.tokenizer for one in measured}]
    runs = {entry.name: open_run(comparison.run_path(entry)) for entry in entries}
    curves = {name: curve for name, run in runs.items() if (curve := bits_curve(run)) is not None}
    for name, run in runs.items():
        plot_curves({name: read_metrics(run.metrics_path)}, comparison.path / _panel(name))
    if curves:
        plot_bits(curves, comparison.path / "bits.png")
    text = {"source": comparison.source, "sha256": comparison.corpus_sha256}
    content = {
        "format": "handgrad-results",
        "version": 1,
        "text": text,
        "config": asdict(comparison.config),
        "measures": [asdict(one) for one in measured],
        "curves": {name: asdict(curve) for name, curve in curves.items()},
    }
    write_json(comparison.path / "results.json", content)
    write_atomically(comparison.path / "results.md", _markdown(comparison, measured, bool(curves)).encode())


def read_results(path: Path) -> list[Measures]:
    """The measures in a results.json. Raises InputError where it is none."""
    content = read_json(path)
    try:
        if (content.get("format"), content.get("version")) != ("handgrad-results", 1):
            raise ValueError("it is not of version 1")
        return [
            record(
                Measures,
                {name: value for name, value in values.items() if name not in ("writing", "samples")},
                writing=record(Writing, values["writing"]),
                samples=tuple(str(sample) for sample in values["samples"]),
            )
            for values in content["measures"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is not what a comparison wrote: {error}") from None


def table(measured: Sequence[Measures]) -> list[list[str]]:
    """The table's rows, the first of them its head."""
    return [["", *(one.tokenizer for one in measured)], *([name, *map(tell, measured)] for name, tell in ROWS)]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, of which the first is the head, as Markdown; figures stand to the right."""
    head, *others = rows
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ruler, *others)) + "\n"


def _markdown(comparison: Comparison, measured: Sequence[Measures], has_bits: bool) -> str:
    parts = [
        f"# {len(measured)} tokenizers, one text, one model\n",
        f"The text is {comparison.source} (SHA-256 `{comparison.corpus_sha256[:12]}…`).\n",
        markdown_table(table(measured)),
        f"{NOTES}\n",
    ]
    if has_bits:
        parts.append("![Bits per character against characters seen and against time](bits.png)\n")
    parts.append("## Samples\n")
    parts.append(side_by_side(measured))
    parts.append("## Each run\n")
    parts += [f"![{one.tokenizer}: the curves of its run]({_panel(one.tokenizer)})\n" for one in measured]
    return "\n".join(parts)


def side_by_side(measured: Sequence[Measures]) -> str:
    """The beginning of each one's first sample, as a table of HTML, which Markdown lets pass."""
    heads = "".join(f"<th>{one.tokenizer}</th>" for one in measured)
    samples = [html.escape(one.samples[0].strip("\n")[:_SHOWN_SAMPLE]).replace("\n", "<br>") for one in measured]
    cells = "".join(f"<td>{sample}</td>" for sample in samples)
    return f'<table>\n<tr>{heads}</tr>\n<tr valign="top">{cells}</tr>\n</table>\n'


def _panel(name: str) -> str:
    return f"curves-{name}.png"


def _bits(bits: float | None) -> str:
    return NOT_COMPARABLE if bits is None else f"{bits:.3f}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} of {whole:,}" if whole else "none sampled"

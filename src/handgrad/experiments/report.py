"""The results of a comparison in its directory: a table, samples side by side, JSON and pictures."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handgrad.experiments.candidates import candidate
from handgrad.experiments.measures import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, SAMPLES, Curve, Measures, Writing
from handgrad.experiments.tokenizer_comparison import TokenizerComparison
from handgrad.runs import Run
from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.errors import InputError
from handgrad.system.files import read_json, write_atomically, write_json

NOT_COMPARABLE = "not comparable"
_SHOWN_SAMPLE = 600
"""Characters of a sample that the report shows."""
_LARGEST = 1 << 53
"""Larger than any count, and than any point of a curve."""

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


def draw_panel(comparison: TokenizerComparison, run: Run, name: str) -> None:
    """Draws the curves of a run for the report."""
    from handgrad.plotting import plot_runs  # matplotlib is slow to import

    plot_runs({name: run}, comparison.path / _panel(name))


def write_report(comparison: TokenizerComparison, measured: Mapping[str, Measures], missing: Mapping[str, str]) -> None:
    """Writes results.json, bits.png and results.md, in the order of the comparison.

    ``missing``: for each run that is not in the table, a sentence that says why.
    """
    from handgrad.plotting import plot_bits

    ordered = [measured[entry.name] for entry in comparison.entries if entry.name in measured]
    curves = {one.tokenizer: one.curve for one in ordered if one.curve is not None}
    if curves:
        plot_bits(curves, comparison.path / "bits.png")
    measures = [{name: value for name, value in asdict(one).items() if name != "curve"} for one in ordered]
    content = {**_head(comparison), "measures": measures, "curves": {name: asdict(one) for name, one in curves.items()}}
    write_json(comparison.path / "results.json", content)
    text = _markdown(comparison, ordered, missing, bool(curves))
    write_atomically(comparison.path / "results.md", text.encode(errors="replace"))  # names may not be UTF-8


def known_results(comparison: TokenizerComparison, notice: Callable[[str], None]) -> dict[str, Measures]:
    """The measures of this comparison's runs that results.json holds, by their names.

    If results.json is damaged, ``notice`` is called and every run must be measured again.
    """
    path = comparison.path / "results.json"
    if not path.exists():
        return {}
    try:
        content = read_json(path)
        measured = {one.tokenizer: one for one in _measures(content, path)}
    except InputError as error:
        notice(f"{error}; the runs are measured again")
        return {}
    head = _head(comparison)
    if head != {name: content.get(name) for name in head}:
        return {}
    return {
        entry.name: one
        for entry in comparison.entries
        if (one := measured.get(entry.name)) is not None
        and (one.budget, one.steps) == (str(entry.budget), entry.steps)
        and (comparison.path / _panel(entry.name)).exists()
    }


def read_results(path: Path) -> list[Measures]:
    """The measures in a results.json. Raises InputError if it is damaged."""
    return _measures(read_json(path), path)


def _head(comparison: TokenizerComparison) -> dict[str, Any]:
    """The part of results.json that names the comparison."""
    return {
        "format": "handgrad-results",
        "version": 1,
        "text": {"source": comparison.source, "sha256": comparison.corpus_sha256},
        "config": asdict(comparison.config),
    }


def _measures(content: Mapping[str, Any], path: Path) -> list[Measures]:
    try:
        if (content.get("format"), content.get("version")) != ("handgrad-results", 1):
            raise ValueError("it is not of version 1")
        return [_measures_of(values, content["curves"]) for values in content["measures"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is not what a comparison wrote: {error}") from None


def _measures_of(values: Mapping[str, Any], curves: Mapping[str, Any]) -> Measures:
    curve, samples = curves.get(candidate(values["tokenizer"]).name), values["samples"]
    if not (isinstance(samples, list) and samples and all(isinstance(sample, str) for sample in samples)):
        raise ValueError("samples must be texts")
    one = dataclass_from_json(
        Measures,
        {name: value for name, value in values.items() if name not in ("writing", "samples")},
        writing=dataclass_from_json(Writing, values["writing"]),
        samples=tuple(samples),
        curve=None if curve is None else Curve(**{name: _points(name, points) for name, points in curve.items()}),
    )
    for name, value in {**vars(one), **vars(one.writing)}.items():
        least = 1 if name in ("parameters", "validation_tokens") else 0
        if isinstance(value, int) and not least <= value < _LARGEST:
            raise ValueError(f"{name} cannot be {value}")
    if one.tokens_per_second <= 0:
        raise ValueError(f"tokens_per_second must be above 0, not {one.tokens_per_second}")
    if one.curve is not None and len({len(points) for points in vars(one.curve).values()}) > 1:
        raise ValueError("the parts of a curve must have as many points")
    return one


def _points(name: str, values: Any) -> tuple[float, ...]:
    if not (isinstance(values, list) and values):
        raise ValueError(f"{name} must be a list of points")
    if not all(type(value) in (int, float) and 0 <= value < _LARGEST for value in values):
        raise ValueError(f"the points of {name} must be numbers of at least 0")
    return tuple(map(float, values))


def table(measured: Sequence[Measures]) -> list[list[str]]:
    """The rows of the table; the first is its head."""
    return [["", *(one.tokenizer for one in measured)], *([name, *map(tell, measured)] for name, tell in ROWS)]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown; the first is the head, and numbers are aligned to the right."""
    head, *others = rows
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ruler, *others)) + "\n"


def _markdown(
    comparison: TokenizerComparison, measured: Sequence[Measures], missing: Mapping[str, str], has_bits: bool
) -> str:
    parts = [
        f"# {len(measured)} {'tokenizer' if len(measured) == 1 else 'tokenizers'}, one text, one model\n",
        f"The text is {_plain(comparison.source)} (SHA-256 `{comparison.corpus_sha256[:12]}…`).\n",
        markdown_table(table(measured)),
        *(f"Not in the table: {name}. {_plain(sentence)}\n" for name, sentence in missing.items()),
        f"{NOTES}\n",
    ]
    if has_bits:
        parts.append("![Bits per character against characters seen and against time](bits.png)\n")
    parts.append("## Samples\n")
    parts.append(samples_side_by_side(measured))
    parts.append("## Each run\n")
    parts += [f"![{one.tokenizer}: the curves of its run]({_panel(one.tokenizer)})\n" for one in measured]
    return "\n".join(parts)


def samples_side_by_side(measured: Sequence[Measures]) -> str:
    """The beginning of the first sample of each, as an HTML table, which Markdown passes through."""
    heads = "".join(f"<th>{one.tokenizer}</th>" for one in measured)
    # Every end of a line becomes <br>, because Markdown would read on after an empty line.
    samples = ["<br>".join(html.escape(one.samples[0].strip("\r\n")[:_SHOWN_SAMPLE]).splitlines()) for one in measured]
    cells = "".join(f"<td>{sample}</td>" for sample in samples)
    return f'<table>\n<tr>{heads}</tr>\n<tr valign="top">{cells}</tr>\n</table>\n'


def _plain(text: str) -> str:
    """On one line, with every character escaped that Markdown would interpret."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _panel(name: str) -> str:
    return f"curves-{name}.png"


def _bits(bits: float | None) -> str:
    return NOT_COMPARABLE if bits is None else f"{bits:.3f}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} of {whole:,}" if whole else "none sampled"

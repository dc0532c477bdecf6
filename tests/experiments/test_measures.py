"""The measures of a run, compared with its text, its metrics and its weights."""

import math
import re
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_comparison import CORPUS, SMALL
from support import read_lines

from handgrad.experiments import Measures, TokenizerComparison, Writing, compare_with, measure, measures
from handgrad.experiments.measures import bits_curve, vocabulary_parameters
from handgrad.generation import generate
from handgrad.models import GPT
from handgrad.runs import find_checkpoint, load_model, open_run
from handgrad.runs.retention import checkpoints_of, set_pointer
from handgrad.system.errors import InputError

Compared = tuple[TokenizerComparison, dict[str, Measures]]
TRAINING, VALIDATION = CORPUS.split()


def facts(compared: Compared, name: str) -> tuple[Any, Measures, list[dict[str, Any]], Any]:
    comparison, measured = compared
    entry = next(entry for entry in comparison.entries if entry.name == name)
    run = comparison.run(entry)
    return entry, measured[name], read_lines(run.metrics_path), run


@pytest.mark.parametrize("name", ["char", "word"])
def test_losses_and_bits_are_those_of_the_text(compared: Compared, name: str) -> None:
    entry, one, rows, run = facts(compared, name)
    assert one.steps == entry.steps == rows[-1]["step"]
    tokens = len(run.tokenizer().encode(VALIDATION))
    assert one.validation_tokens == tokens
    evaluated = [row for row in rows if row["val_loss"] is not None and row["step"]]
    best = min(evaluated, key=lambda row: row["val_loss"])
    assert (one.validation_loss, one.best_validation_loss, one.best_step) == (
        evaluated[-1]["val_loss"],
        best["val_loss"],
        best["step"],
    )
    per_character = tokens / len(VALIDATION) / math.log(2)
    assert one.bits_per_character == pytest.approx(one.validation_loss * per_character)
    assert one.best_bits_per_character == pytest.approx(one.best_validation_loss * per_character)
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    assert one.training_loss == pytest.approx(sum(losses[-20:]) / len(losses[-20:]))
    assert one.tokens_per_second == statistics.median(row["tokens_per_second"] for row in rows[1:])


def test_what_is_seen_is_counted_in_characters_of_the_training_text(compared: Compared) -> None:
    entry, one, _, run = facts(compared, "word")
    tokens = len(run.tokenizer().encode(TRAINING))
    assert one.characters_per_token == pytest.approx(len(TRAINING) / tokens)
    assert one.tokens_seen == entry.steps * SMALL.batch_size * SMALL.block_size
    assert one.characters_seen == pytest.approx(one.tokens_seen * len(TRAINING) / tokens)
    assert 900 <= one.characters_seen < 900 * (1 + 1 / (entry.steps - 1))


def test_a_tokenizer_that_loses_text_has_no_bits(compared: Compared) -> None:
    _, one, rows, run = facts(compared, "word-lowercase")
    assert (one.bits_per_character, one.best_bits_per_character, one.curve) == (None, None, None)
    assert bits_curve(run.data(), rows) is None
    known = set(re.findall("[a-z]+", TRAINING.lower()))
    unknown = [word for word in re.findall("[a-z]+", VALIDATION.lower()) if word not in known]
    assert one.unknown_tokens == len(unknown)
    assert set(unknown) == {"unaided", "whereas"}
    assert facts(compared, "char")[1].unknown_tokens == 0


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_of_the_vocabulary_are_those_with_a_row_for_each_token(tied: bool, bias: bool) -> None:
    config = replace(SMALL, tie_weights=tied, bias=bias)
    run: Any = SimpleNamespace(config=config, model_config=config.model_config(97))
    named = dict(GPT(run.model_config).named_parameters())
    assert vocabulary_parameters(run) == sum(p.data.size for p in named.values() if 97 in p.data.shape)


def test_parameters_are_those_of_the_model(compared: Compared) -> None:
    _, one, _, run = facts(compared, "char")
    model = load_model(find_checkpoint(run.path), run.model_config)
    assert one.parameters == sum(p.data.size for p in model.parameters())
    assert one.vocab_size == len(set(TRAINING)) + len(run.tokenizer().special_ids)


def test_samples_are_what_the_best_weights_write(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, one, _, run = facts(compared, "char")
    assert (measures.SAMPLES, measures.SAMPLE_TOKENS, one.sampled_characters) == (4, 500, 60)
    shutil.copytree(run.path, tmp_path / "run")
    earlier = checkpoints_of(tmp_path / "run")[1]
    set_pointer(tmp_path / "run", "best", earlier)
    monkeypatch.setattr(measures, "SAMPLE_TOKENS", 60)
    other = measure(open_run(tmp_path / "run"), entry)
    tokenizer = run.tokenizer()
    for samples, name in ((one.samples, find_checkpoint(run.path, "best").name), (other.samples, earlier)):
        model = load_model(run.path / "checkpoints" / name, run.model_config)
        for number, sample in enumerate(samples):
            seed, exclude = [1337, number], tokenizer.special_ids
            ids = generate(model, tokenizer.encode("\n"), 60, temperature=0.8, seed=seed, exclude=exclude)
            assert sample == tokenizer.decode(list(ids))
    assert len({*one.samples, *other.samples}) > 4


def test_a_point_of_a_curve_is_an_evaluation(compared: Compared) -> None:
    _, one, rows, _ = facts(compared, "char")
    curve = one.curve
    assert curve is not None
    evaluated = [row for row in rows if row["val_loss"] is not None]
    assert [row["step"] for row in evaluated] == [0, 8, 16, 24]
    seen = SMALL.batch_size * SMALL.block_size
    assert curve.characters == (0, 8 * seen, 16 * seen, 24 * seen)  # a token is a character
    assert curve.seconds == pytest.approx([count / one.tokens_per_second for count in curve.characters])
    assert curve.validation == pytest.approx([row["bits_per_char"] for row in evaluated])
    losses = [row["loss"] for row in rows]
    means = [evaluated[0]["val_loss"], *(statistics.fmean(losses[step - 7 : step + 1]) for step in (8, 16, 24))]
    assert curve.training == pytest.approx([mean / math.log(2) for mean in means])


def test_a_run_that_is_not_done_is_not_measured(compared: Compared) -> None:
    entry, _, _, run = facts(compared, "char")
    with pytest.raises(InputError, match=r"does not cover all 25 steps; move .* away to train it again"):
        measure(run, replace(entry, steps=25))


TEXT = "the slings and arrows of it\r\nor to take arms\nwho would not don't\x0bfardels\n"


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        ([""], Writing(0, 0, 0, 0)),
        (["12 34 _ –\n\n"], Writing(0, 0, 0, 0)),
        (["arrows take slinks, arm"], Writing(3, 2, 0, 0)),  # the last may be cut off
        (["take arms.", "take arms\n"], Writing(4, 4, 0, 0)),  # now it is not cut off; two words do not count as a line
        (["don't not don'"], Writing(2, 2, 0, 0)),
        (["naïve Or"], Writing(1, 0, 0, 0)),
        (["  or to take arms \nor to take arm\nor to take arms"], Writing(11, 10, 2, 1)),
        (["the slings and arrows of it\r\nwho would not don't\x0b"], Writing(10, 10, 2, 2)),
    ],
)
def test_known_words_and_copied_lines_are_counted(samples: list[str], found: Writing) -> None:
    assert compare_with(TEXT, samples) == found

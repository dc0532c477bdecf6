"""The experiment's page: its figures are those of the runs, and what needs no training is found again."""

import math
import re
from functools import cache
from pathlib import Path

import experiment
import numpy as np
import pages
import pytest

from handgrad.data import count_unknown, load_text
from handgrad.experiments import CANDIDATES, Measures, read_results
from handgrad.experiments.budget import characters_per_token
from handgrad.experiments.tokenizer_comparison import encoded
from handgrad.models import GPT
from handgrad.runs import TrainConfig, preset
from handgrad.system.files import read_json
from handgrad.training import bits_per_character, evaluate

PAGE = pages.page_path("experiments/tokenizers")
TRAINING_CHARACTERS = 1_003_854
CONFIG = preset("explicit-char").updated({"vocab_size": 6551, "eval_interval": 250}, "test")


@cache
def measured() -> dict[str, Measures]:
    return {one.name: one for one in read_results(experiment.RESULTS)}


def prose() -> str:
    return " ".join(PAGE.read_text(encoding="utf-8").split())


def test_the_runs_are_those_of_the_command_on_the_page() -> None:
    assert "--preset explicit-char --vocab-size 6551 --eval-interval 250" in prose()
    assert TrainConfig(**read_json(experiment.RESULTS)["config"]) == CONFIG
    assert list(measured()) == list(CANDIDATES)
    assert {one.steps for one in measured().values()} == {CONFIG.max_steps}


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / link).resolve()
        for page in (PAGE, pages.ROOT / "README.md")
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    pictures = {path.resolve() for path in (PAGE.parent / "tokenizers").glob("*.png")}
    assert {f"curves-{name}.png" for name in CANDIDATES} <= {path.name for path in pictures}
    assert pictures | {pages.DOCS / "figures" / "bits.svg"} <= shown


def test_byte_pairs_end_little_better_than_counts_of_pairs_of_characters(shakespeare: Path) -> None:
    data = encoded(load_text(shakespeare), CANDIDATES["char"], CONFIG)
    counts = np.full((data.tokenizer.vocab_size,) * 2, 0.01)
    np.add.at(counts, (data.train[:-1], data.train[1:]), 1)
    bits = -np.log2(counts / counts.sum(axis=1, keepdims=True))
    counted = float(bits[data.validation[:-1], data.validation[1:]].mean())
    assert f"which character follows which, with {counted:.2f}." in prose()
    assert 0.95 * counted < (measured()["bpe"].bits_per_character or 0) < counted


def test_shares_of_the_vocabulary_of_words(shakespeare: Path) -> None:
    data = encoded(load_text(shakespeare), CANDIDATES["word"], CONFIG)
    pieces = [data.tokenizer.decode_bytes([number]) for number in range(data.tokenizer.vocab_size)]
    is_byte = np.arange(len(pieces)) < len(data.tokenizer.special_ids) + 256
    assert sorted(pieces[number] for number in np.flatnonzero(is_byte)[-256:]) == [
        bytes([value]) for value in range(256)
    ]
    is_word = np.array([piece[:1].isalpha() for piece in pieces]) & ~is_byte
    rare = (np.bincount(data.train, minlength=len(pieces)) <= 5)[is_word].mean()
    assert f"{100 * rare:.0f} % of the words in it" in prose()
    assert is_byte[data.validation].mean() == pytest.approx(1 / 5, abs=0.02)
    lower = encoded(load_text(shakespeare), CANDIDATES["word-lowercase"], CONFIG)
    is_space = np.array(
        [lower.tokenizer.decode_bytes([number]).isspace() for number in range(lower.tokenizer.vocab_size)]
    )
    assert is_space[lower.train].mean() == pytest.approx(4 / 10, abs=0.04)
    assert is_space[lower.validation].mean() == pytest.approx(4 / 10, abs=0.04)


def test_figures_in_the_text_are_those_of_the_table() -> None:
    char, word, bpe = three = [measured()[name] for name in ("char", "word", "bpe")]
    text, best = prose(), [one.best_bits_per_character or 0 for one in three]
    assert 0.03 < max(best) / min(best) - 1 < 0.04
    assert char.training_loss < word.training_loss
    assert char.curve is not None
    assert bpe.curve is not None
    overtakes = [sum(bits > other for bits in char.curve.validation) for other in best[1:]]  # evaluations before
    spelled = {8: "eight", 9: "nine", 11: "eleven", 12: "twelve"}
    passes = [_passes(one, one.best_step) for one in (bpe, word)]
    passes_of_char = [_passes(char, evaluation * CONFIG.eval_interval) for evaluation in overtakes]
    for said in (
        f"{bpe.training_loss:.2f} nats per token at the end",
        f"characters are at {char.training_loss:.2f}.",
        f"{bpe.bits_per_character:.3f} bits per character, beside {char.bits_per_character:.3f} of characters and "
        f"{word.bits_per_character:.3f} of words",
        "{:.2f}, {:.2f} and {:.2f} nats per token".format(*(one.best_validation_loss for one in three)),
        "{:.2f}, {:.2f} and {:.2f}, they are".format(
            *(one.best_validation_loss / math.log(2) / bits for one, bits in zip(three, best, strict=True))
        ),
        "{:.3f}, {:.3f} and {:.3f} bits".format(*best),
        f"{2048 * word.characters_per_token:,.0f} characters in words",
        f"{2048 * bpe.characters_per_token:,.0f} in byte pairs",
        f"Words are at their best at step {word.best_step:,} and byte pairs at step {bpe.best_step:,}",
        "at steps {:,} and {:,}".format(*(evaluation * CONFIG.eval_interval for evaluation in overtakes)),
        f"byte pairs have then read the training text {spelled[passes[0]]} times and characters "
        f"{spelled[passes_of_char[1]]}, words {spelled[passes[1]]} times and characters {spelled[passes_of_char[0]]}.",
        "{} passes over the training text in characters, {} in words and {} in byte pairs".format(
            *(_passes(one, one.steps) for one in three)
        ),
        f"{bpe.curve.training[-1]:.2f} bits per character of the training text",
    ):
        assert said in text


def _passes(one: Measures, step: int) -> int:
    """How often the training text has been read by then."""
    return round(one.characters_seen / one.steps * step / TRAINING_CHARACTERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CANDIDATES)
def test_what_needs_no_training_is_found_again(name: str, shakespeare: Path) -> None:
    """The tokens, the size of the model, and the loss that it begins with."""
    one = measured()[name]
    data = encoded(load_text(shakespeare), CANDIDATES[name], CONFIG)
    model_config = CONFIG.model_config(data.tokenizer.vocab_size)
    assert (one.vocab_size, one.parameters) == (data.tokenizer.vocab_size, model_config.n_parameters)
    assert one.characters_per_token == pytest.approx(characters_per_token(data))
    assert one.characters_seen == pytest.approx(one.tokens_seen * one.characters_per_token)
    assert (one.validation_tokens, one.unknown_tokens) == (
        len(data.validation),
        count_unknown(data.tokenizer, data.validation),
    )
    assert one.bits_per_character == bits_per_character(one.validation_loss, data.tokens_per_character)
    assert one.best_bits_per_character == bits_per_character(one.best_validation_loss, data.tokens_per_character)
    assert data.meta.train_characters == TRAINING_CHARACTERS
    assert (one.curve is None) == (data.tokens_per_character is None)
    if one.curve is not None:
        loss = evaluate(GPT(model_config, seed=CONFIG.seed), data.validation)
        assert one.curve.validation[0] == pytest.approx(bits_per_character(loss, data.tokens_per_character), rel=1e-4)
        assert min(one.curve.validation) == pytest.approx(one.best_bits_per_character)

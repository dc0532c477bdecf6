"""The pipeline on tiny Shakespeare, if there is a copy beside the repository."""

from pathlib import Path

import pytest
from support import read_lines

from handgrad.data import encode_corpus, load_text, open_token_files, write_token_files
from handgrad.data.corpora import SHAKESPEARE_SHA256
from handgrad.runs import create_run, preset
from handgrad.tokenizers import CharTokenizer
from handgrad.training import train


def test_it_is_the_published_text_and_nothing_is_lost(shakespeare: Path, tmp_path: Path) -> None:
    corpus = load_text(shakespeare)
    assert corpus.sha256 == SHAKESPEARE_SHA256
    train_text, validation_text = corpus.split()
    assert (len(train_text), len(validation_text)) == (1_003_854, 111_540)
    tokenizer = CharTokenizer().train(train_text)
    assert tokenizer.vocab_size == 65 + 4
    write_token_files(tmp_path / "data", encode_corpus(corpus, tokenizer))
    data = open_token_files(tmp_path / "data")
    assert data.tokenizer.decode(data.train) + data.tokenizer.decode(data.validation) == corpus.text
    assert data.tokens_per_character == 1


@pytest.mark.slow
def test_the_first_steps_of_the_preset_learn_the_letters(shakespeare: Path, tmp_path: Path) -> None:
    """A model that has learned only the frequencies of the characters has a loss of 3.3 nats."""
    corpus = load_text(shakespeare)
    tokenizer = CharTokenizer().train(corpus.split()[0])
    config = preset("shakespeare-cpu").updated({"max_steps": 150, "eval_interval": 150}, "test")
    run = create_run(tmp_path / "run", config, encode_corpus(corpus, tokenizer), None, 2, None)
    outcome = train(run, run.data())
    first, *_, last = read_lines(run.metrics_path)
    assert 4.2 < first["val_loss"] < 4.3
    assert outcome.val_loss == last["val_loss"]
    assert last["val_loss"] < 2.7

"""Token files that another program changes in place while a run trains on them, with ids that are still valid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_table import Tally
from scenes import result
from support import TEXT, Output
from test_damaged import Listener

from handgrad.data import BlockChecksums, Corpus, encode_corpus, open_token_files, random_batch, write_token_files
from handgrad.models import new_model
from handgrad.runs import find_checkpoint, open_run, read_progress
from handgrad.system.errors import InputError
from handgrad.tokenizers import CharTokenizer
from handgrad.training import evaluation, train
from handgrad.training.evaluation import evaluate, tokens_used

NewRun = Callable[..., Any]


def change(path: Path, place: int, value: int | None = None) -> int:
    """Changes an id in a file that others have mapped; returns what it was."""
    ids = np.load(path, mmap_mode="r+")
    was = int(ids[place])
    ids[place] = (was + 1 if was < 20 else was - 1) if value is None else value
    ids.flush()
    return was


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("step", [3, 9])
def test_a_changed_token_is_noticed_before_it_is_used(part: str, step: int, new_run: NewRun, tally: Tally) -> None:
    """The text is one block, so that each later batch, or evaluation, is over what was changed."""
    whole, run = new_run("whole"), new_run("run")
    train(whole, whole.data())
    path = run.data_directory / f"{part}.npy"
    asked, was = iter(range(100)), []

    def change_then() -> bool:
        if next(asked) == step:
            was.append(change(path, 5))
        return False

    with pytest.raises(InputError, match=rf"the {part} token file of test text was changed while it was trained on, b"):
        train(run, run.data(), should_stop=change_then)
    last = read_progress(find_checkpoint(run.path, "last"))
    assert last.step <= (step if part == "train" else -(-step // 5) * 5)
    with pytest.raises(InputError, match=f"the {part} token file of test text is damaged"):
        train(open_run(run.path), run.data())
    change(path, 5, was[0])
    listener = Listener()
    assert train(open_run(run.path), run.data(), reporter=listener).finished
    assert result(run.path) == result(whole.path)
    tally(
        "an id in a token file changed in place while it is trained on",
        1,
        "noticed before a step used it; put back, the run continued, bit for bit",
    )


def test_the_command_line_says_it_in_one_sentence(
    new_run: NewRun, handgrad: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    done = BlockChecksums.check_windows

    def change_first(self: BlockChecksums, starts: Any, length: int) -> None:
        change(run.data_directory / "train.npy", int(starts[0]))
        done(self, starts, length)

    monkeypatch.setattr(BlockChecksums, "check_windows", change_first)
    said = handgrad("train", "--resume", run.path)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "was changed while it was trained on, between the tokens 0 and 1,024; no step has used" in said.err


@pytest.fixture
def mapped(tmp_path: Path) -> Any:
    data = encode_corpus(Corpus(TEXT * 9, "test text"), CharTokenizer().train(TEXT))
    write_token_files(tmp_path / "tokens", data)
    return open_token_files(tmp_path / "tokens")


def test_each_window_is_compared_with_its_own_blocks(mapped: Any, tmp_path: Path) -> None:
    """A change counts for the windows over its block of 1,024 ids, the target after the last token included."""
    train_sums, _ = mapped.check_content()
    change(tmp_path / "tokens" / "train.npy", 1024 * 4 + 7)
    for start, length in ((0, 4096), (5120, 100), (4095, 1)):
        train_sums.check_windows(np.array([0, start]), length)
    for start, length in ((4096, 1), (4095, 2), (5119, 9), (0, 5000)):
        with pytest.raises(InputError, match="between the tokens 4,096 and 5,120"):
            train_sums.check_windows(np.array([0, start]), length)
    train_sums.check_beginning(4096)
    with pytest.raises(InputError, match="between the tokens 4,096 and 5,120"):
        train_sums.check_beginning(4097)


def test_checksums_and_hash_are_of_the_same_ids(mapped: Any) -> None:
    import hashlib

    for part, written in ((mapped.train, mapped.meta.train_sha256), (mapped.validation, mapped.meta.validation_sha256)):
        sums, found = BlockChecksums.of(part, "part")
        assert found == written == hashlib.sha256(part.tobytes()).hexdigest()
        sums.check_beginning(len(part))
        assert len(sums._sums) == -(-len(part) // 1024)


def test_a_checked_batch_is_the_same_batch(mapped: Any) -> None:
    train_sums, _ = mapped.check_content()
    plain = random_batch(mapped.train, 4, 8, np.random.default_rng(3))
    checked = random_batch(mapped.train, 4, 8, np.random.default_rng(3), train_sums.check_windows)
    for one, other in zip(plain, checked, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_what_an_evaluation_reads_is_known(batches: int, new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "TOKENS_PER_BATCH", 40)
    run = new_run()
    model, tokens = new_model(run.model_config), np.array(run.data().train[:999])
    used = tokens_used(model, tokens, batches)
    assert used == {0: 999, 1: 41, 2: 81}[batches]
    before = evaluate(model, tokens, batches=batches)
    if used < len(tokens):
        tokens[used:] = 4
        assert evaluate(model, tokens, batches=batches) == before
        tokens[used - 1] = 5 if tokens[used - 1] != 5 else 6
        assert evaluate(model, tokens, batches=batches) != before

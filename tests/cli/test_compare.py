"""handgrad compare as a user calls it: its output, its files, resuming, and bad input."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import TEXT, Output, read_lines, start

from handgrad.experiments import measures, open_comparison
from handgrad.runs import open_run
from handgrad.system.backend_setting import use_backend
from handgrad.system.locks import locked
from handgrad.training import DivergedError
from handgrad.training.loop import Reporter

Handgrad = Callable[..., Output]
SHAPE = {"block-size": 8, "n-layer": 1, "n-head": 2, "n-embd": 8, "batch-size": 4, "shards": 2, "vocab-size": 290}
OFTEN = {"max-steps": 6, "warmup-steps": 1, "eval-interval": 3, "checkpoint-interval": 2, "log-interval": 1}
SMALL = [f"--{name}={value}" for name, value in {**SHAPE, **OFTEN}.items()]
TWO = ("--tokenizers", "char", "word-lowercase")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is compiled, samples are short and pictures empty, unless a test wants them."""
    monkeypatch.setenv("HANDGRAD_BACKEND", "numpy")  # of other processes too
    use_backend("numpy")
    monkeypatch.setattr(measures, "SAMPLE_TOKENS", 30)
    monkeypatch.setattr("handgrad.plotting.bits.draw_bits", lambda *_: b"a picture")
    monkeypatch.setattr("handgrad.plotting.curves.draw_curves", lambda *_: b"a picture")
    yield
    use_backend(None)


@pytest.fixture(scope="module")
def text_with_capitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT.replace("the", "The"), encoding="utf-8")
    return path


@pytest.fixture
def begin(handgrad: Handgrad, text_with_capitals: Path, tmp_path: Path) -> Callable[..., Output]:
    """Compares two tokenizers in ``tmp_path / "out"``."""
    return lambda *flags: handgrad("compare", "--text", text_with_capitals, "--out", tmp_path / "out", *SMALL, *flags)


def results(out: Path) -> dict[str, Any]:
    """The content of results.json without times."""
    content = json.loads((out / "results.json").read_text())
    for one in content["measures"]:
        assert one.pop("seconds") > 0
        assert one.pop("tokens_per_second") > 0
    for curve in content["curves"].values():
        curve.pop("seconds")
    return content


@pytest.fixture(scope="module")
def undisturbed(text_with_capitals: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of a comparison that is not interrupted."""
    from handgrad.cli.main import main

    out = tmp_path_factory.mktemp("undisturbed") / "out"
    use_backend("numpy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "SAMPLE_TOKENS", 30)
        patch.setattr("handgrad.plotting.bits.draw_bits", lambda *_: b"a picture")
        patch.setattr("handgrad.plotting.curves.draw_curves", lambda *_: b"a picture")
        assert main(["compare", "--text", str(text_with_capitals), "--out", str(out), *SMALL, *TWO]) == 0
    return results(out)


@pytest.mark.slow
def test_compare_prints_a_table_and_leaves_a_report(
    begin: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with real pictures, and samples not quite as long as they are
    monkeypatch.setattr(measures, "SAMPLE_TOKENS", measures.SAMPLE_TOKENS // 5)
    out = tmp_path / "out"
    done = begin("--tokenizers", "char", "bpe", "--budget", "bpe=150characters")
    assert done.code == 0, done.err
    assert re.search(
        r"^char: 6 steps, 192 tokens, 192 characters; 1,\d\d\d parameters, vocabulary of 34 tokens$", done.out, re.M
    )
    assert re.search(r"^bpe: 150 characters: 2 steps, 64 tokens, 1\d\d characters; ", done.out, re.M)
    assert re.search(r"^vocabulary +34 +290$", done.out, re.M)
    assert re.search(r"^bits per character, best +\d\.\d{3} +\d\.\d{3}$", done.out, re.M)
    assert f"table, samples and pictures: {out / 'results.md'}" in done.out
    names = ["bits.png", "comparison.json", "curves-bpe.png", "curves-char.png", "lock", "results.json", "results.md"]
    assert sorted(path.name for path in out.iterdir()) == [*names, "runs", "text.txt"]
    for name in ("bits.png", "curves-bpe.png", "curves-char.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in (out / "results.md").read_text()
    assert len(results(out)["measures"][0]["samples"][0]) == 100
    assert read_lines(out / "runs" / "bpe" / "metrics.jsonl")[-1]["step"] == 2
    assert open_run(out / "runs" / "char").config.max_steps == 6


def test_runs_are_ordinary_runs(begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path) -> None:
    assert begin("--tokenizers", "char").code == 0
    run = tmp_path / "out" / "runs" / "char"
    assert (
        len(handgrad("sample", run, "--tokens", 9).out) == 1 + 9 + 1
    )  # what the text begins with, the tokens, a line end
    bits = results(tmp_path / "out")["measures"][0]["best_bits_per_character"]
    assert f"{bits:.4f}" in handgrad("eval", run).out


def test_the_same_again_is_the_same(begin: Callable[..., Output], tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    assert begin(*TWO).code == 0
    assert results(tmp_path / "out") == undisturbed
    assert [one["bits_per_character"] is None for one in undisturbed["measures"]] == [False, True]


def test_what_is_done_is_shown_again_and_not_done_again(
    begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = begin(*TWO)
    shutil.rmtree(out / "runs" / "char")  # no longer needed
    (out / "results.md").unlink()
    for name in ("train", "measure", "draw_panel"):
        monkeypatch.setattr(f"handgrad.cli.compare.{name}", pytest.fail)
    again = handgrad("compare", "--resume", out)
    assert (again.code, again.err) == (0, "")
    assert again.out == first.out[first.out.rindex(again.out[:60]) :]
    assert (out / "results.md").exists()


def test_what_was_measured_is_measured_anew_where_it_is_lost(
    begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path, undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    begin(*TWO)
    (out / "results.json").write_text('{"format": "handgrad-results", "version": 1}')
    monkeypatch.setattr("handgrad.cli.compare.train", pytest.fail)
    # A finished run stays finished, even on a machine that could not resume it.
    monkeypatch.setattr("handgrad.runs.environment.platform.machine", lambda: "abacus")
    again = handgrad("compare", "--resume", out)
    assert (again.code, again.err.count("\n")) == (0, 1)
    assert "results.json is not what a comparison wrote: 'measures'; the runs are measured again" in again.err
    assert results(out) == undisturbed


STAGES = {
    "laying out a run": "handgrad.runs.directory.write_token_files",
    "measuring": "handgrad.cli.compare.measure",
    "drawing": "handgrad.cli.compare.draw_panel",
    "reporting": "handgrad.experiments.results.write_json",
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", ["Ctrl-C", "disk"])
def test_what_ends_it_at_any_stage_is_said_and_it_goes_on(
    stage: str, fault: str, begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any],
) -> None:  # fmt: skip
    out = tmp_path / "out"

    def fails(*_: object) -> None:
        if fault == "Ctrl-C":
            raise KeyboardInterrupt
        raise OSError(28, "No space left on device", "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(STAGES[stage], fails)
        done = begin(*TWO)
    again = f"continue with: handgrad compare --resume {out}\n"
    said = {
        "Ctrl-C": "interrupted; ",
        "disk": "cannot continue in somewhere: No space left on device; what is done is kept; ",
    }
    assert (done.code, done.err) == (130 if fault == "Ctrl-C" else 2, f"handgrad: {said[fault]}{again}")
    assert not (out / "results.json").exists()
    assert handgrad("compare", "--resume", out).code == 0
    assert results(out) == undisturbed
    assert [path for path in out.rglob("*") if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["char", "word-lowercase"])
def test_asked_to_stop_it_saves_and_goes_on_as_if_nothing_had_been(
    name: str, begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path, undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def stepped(self: Reporter, metrics: Any) -> None:
        if metrics.step == 5 and self.run.path.name == name:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.progress.TrainingDisplay.stepped", stepped)
        stopped = begin(*TWO)
    assert stopped.code == 143
    assert stopped.out.endswith(f"stopped and saved; continue with: handgrad compare --resume {out}\n")
    assert (out / "results.json").exists() == (name != "char")
    done = handgrad("compare", "--resume", out)
    assert done.code == 0
    assert "resuming at step 5:" in done.out
    assert results(out) == undisturbed


def test_where_training_diverges_the_rest_is_told(
    begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, Any],
) -> None:  # fmt: skip
    from handgrad.training import train

    def diverges(run: Any, *arguments: Any, **options: Any) -> Any:
        if run.path.name == "char":
            raise DivergedError("training diverged at step 3: the loss is nan; checkpoint step-2 is kept")
        return train(run, *arguments, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.compare.train", diverges)
        for done in (begin(*TWO), handgrad("compare", "--resume", out)):
            assert done.code == 1
            assert "warning: training diverged at step 3: the loss is nan" in done.err
            assert "not in the table, because training diverged: char; the settings of a comparison cannot" in done.err
            assert re.search(r"^ +word-lowercase$", done.out, re.M)
            assert "Not in the table: char. training diverged at step 3" in (out / "results.md").read_text()
            assert [one["tokenizer"] for one in results(out)["measures"]] == ["word-lowercase"]
    assert handgrad("compare", "--resume", out).code == 0
    assert results(out) == undisturbed
    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.compare.train", diverges)
        shutil.rmtree(out)
        alone = begin("--tokenizers", "char")
    assert (alone.code, (out / "results.json").exists()) == (1, False)


def test_another_machine_is_said_and_allowed_where_asked(
    begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stepped(self: Reporter, metrics: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.progress.TrainingDisplay.stepped", stepped)
        assert begin("--tokenizers", "char").code == 130
    monkeypatch.setattr("handgrad.runs.environment.platform.machine", lambda: "abacus")
    refused = handgrad("compare", "--resume", out)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "is not bit-exact, because processor was" in refused.err
    assert refused.err.endswith("To continue anyway, add --allow-inexact\n")
    assert handgrad("compare", "--resume", out, "--allow-inexact").code == 0


def test_one_process_at_a_time(begin: Callable[..., Output], handgrad: Handgrad, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin("--tokenizers", "char")
    with locked(out, "compared"):
        other = start("compare", "--resume", out)
        printed, errors = other.communicate(timeout=60)
    assert (other.returncode, printed) == (2, "")
    assert re.fullmatch(
        rf"handgrad: {out} is compared by process {os.getpid()} on .*: wait for it, or stop it\n", errors
    )


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_killed_and_interrupted_it_goes_on(handgrad: Handgrad, text_with_capitals: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("compare", "--text", text_with_capitals, "--out", out, *SMALL, *TWO, "--budget", "char=100000")
    wait_for_a_step(process, out / "runs" / "char", 20)
    process.kill()
    process.communicate()
    stood = read_lines(out / "runs" / "char" / "metrics.jsonl")[-2]["step"]
    process = start("compare", "--resume", out)
    wait_for_a_step(process, out / "runs" / "char", stood + 20)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "stopping after this step (again to stop at once)\n")
    assert "was cut off; continuing from its last checkpoint" in printed
    assert re.search(rf"continue with: \S*python\S* -m handgrad compare --resume {out}\n$", printed)
    assert open_comparison(out).entries[0].steps == 100_000


def wait_for_a_step(process: Any, run: Path, step: int) -> None:
    deadline, metrics = time.monotonic() + 60, run / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_out_is_chosen_where_nothing_is_said(
    handgrad: Handgrad, text_with_capitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("compare-1", "compare-2"):
        assert (
            handgrad("compare", "--text", text_with_capitals, *SMALL, "--tokenizers", "char", "--budget", 1).code == 0
        )
        assert (tmp_path / "runs" / name / "results.md").exists()


def test_help_shows_every_flag(handgrad: Handgrad) -> None:
    out = handgrad("compare", "--preset", "explicit-char", "--help").out
    for flag in ("--text", "--dataset", "--tokenizers", "--budget", "--out", "--resume", "--allow-inexact", "--n-embd"):
        assert flag in out
    assert "(default: 8000)" in out
    assert "--tokenizer char|word|bpe" in out  # for --recipes


BAD: dict[str, tuple[list[str], str]] = {
    "missing file": (["--text", "missing.txt"], "missing.txt: no such file"),
    "two texts": (["--text", "long.txt", "--dataset", "pydoc"], "give only one of --text and --dataset"),
    "short": (["--text", "short.txt"], "the text (short.txt) is too short"),
    "no tokenizer": (["--tokenizers"], "--tokenizers must name each once, of char, word, bpe, word-lowercase"),
    "twice": (["--tokenizers", "char", "char"], "--tokenizers must name each once"),
    "unknown": (
        ["--tokenizers", "char,word"],
        "unknown tokenizer 'char,word'; choose from char, word, bpe, word-lowercase",
    ),
    "for train": (
        ["--tokenizer", "word"],
        "--tokenizers names what is compared; the setting tokenizer is for --recipes",
    ),
    "for train, in a file": (["--config", "word.toml"], "the setting tokenizer is for --recipes"),
    "budget": (["--budget", "-5steps"], "a budget is written like 8000steps"),
    "no budget": (["--budget", "0"], "a budget must be above 0"),
    "budget of none": (["--budget", "words=5"], "is for 'words', which is not compared"),
    "huge": (["--budget", "1e30steps"], "a budget must be above 0 and below 1e+15, not 1e+30 steps"),
    "estimate": (["--text", "long.txt", "--eval-batches", "3"], "eval_batches must be 0 to compare tokenizers"),
    "vocabulary": (["--text", "long.txt", "--vocab-size", "99", "--budget", "1"], "the 256 bytes, not be 99"),
    "memory": (["--text", "long.txt", "--n-embd", "65536", "--n-layer", "99"], "and this machine has"),
    "taken": (["--text", "long.txt", "--out", "."], ". exists and is not an empty directory"),
    "in a file": (["--text", "long.txt", "--out", "long.txt/x", "--tokenizers", "char"], "Not a directory"),
    "leave": (["--allow-inexact"], "--allow-inexact is for --resume OUT"),
    "nothing to resume": (["--resume", "nowhere"], "nowhere is no comparison: it has no comparison.json"),
    "resume another": (["--resume", ".", "--n-layer", "3"], "only --allow-inexact can be given with it"),
    "resume another text": (["--resume", ".", "--text", "long.txt"], "only --allow-inexact can be given with it"),
    "flag": (["--tokeniser", "char"], "unknown flag --tokeniser; did you mean --tokenizer"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    case: str, handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.txt").write_text(TEXT)
    (tmp_path / "short.txt").write_text("x" * 99)
    (tmp_path / "word.toml").write_text('tokenizer = "word"\n')
    before = sorted(tmp_path.rglob("*"))
    arguments, said = BAD[case]
    done = handgrad("compare", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("handgrad: ")
    assert done.err.count("\n") == 1, done.err
    assert said in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_odd_texts_are_compared(handgrad: Handgrad, tmp_path: Path) -> None:
    """Byte order marks, line ends of other systems, no words, characters only in the validation text, odd names."""
    texts = {
        "windows.txt": "\ufeff\ufeffone line\r\nand another\r\n" * 30,
        "numbers |*.txt": "1234 5678\n" * 100,
        "strange.txt": "abcd efgh\n" * 80 + "日本語\n" * 15,
    }
    for number, (name, text) in enumerate(texts.items()):
        path, out = tmp_path / name, tmp_path / f"out-{number}"
        path.write_bytes(text.encode())
        flags = ("--tokenizers", "char", "word", "--budget", 1)
        done = handgrad("compare", "--text", path, "--out", out, *SMALL, *flags)
        assert done.code == 0, done.err
        assert handgrad("compare", "--resume", out).code == 0
        char, word = results(out)["measures"]
        assert (char["bits_per_character"] is None) == (name == "strange.txt")
        assert word["bits_per_character"] > 0
        cut = len(text) * 9 // 10
        assert char["unknown_tokens"] == sum(character not in text[:cut] for character in text[cut:])

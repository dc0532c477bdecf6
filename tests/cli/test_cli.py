"""The commands as a user calls them: their output, the files they leave, and their messages for bad input."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from support import SMALLEST, TEXT, Output, as_flags, read_lines, start

from handgrad.checking import Result
from handgrad.cli.main import COMMANDS
from handgrad.cli.setting_groups import GROUPS
from handgrad.cli.train import Source
from handgrad.data import open_token_files
from handgrad.generation import decoded_as_it_comes, opening
from handgrad.runs import TrainConfig, open_run
from handgrad.runs.config import MODEL_FIELDS
from handgrad.runs.retention import read_pointer
from handgrad.tokenizers import BPETokenizer, CharTokenizer
from handgrad.training import evaluate

Handgrad = Callable[..., Output]
SMALL = [
    *SMALLEST,
    *as_flags(batch_size=4, max_steps=12, eval_interval=6, checkpoint_interval=4, log_interval=3),
    *as_flags(shards=2, tokenizer="char"),
]


@pytest.fixture
def run(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> Path:
    """A trained run."""
    trained = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *SMALL)
    assert trained.code == 0, trained.err
    return tmp_path / "run"


def test_help_names_every_command_and_every_command_has_help(handgrad: Handgrad) -> None:
    out = handgrad("--help").out
    for command, purpose in COMMANDS.items():
        assert f"{command} " in out
        assert purpose in out
        shown = handgrad(command, "--help")
        assert shown.code == 0
        assert f"handgrad {command}" in shown.out


def test_help_of_train_shows_every_field_and_preset_defaults(handgrad: Handgrad) -> None:
    out = handgrad("train", "--preset", "explicit-char", "--help").out
    flags = ["--" + field.name.replace("_", "-") for kind in (Source, TrainConfig) for field in fields(kind)]
    assert sorted(re.findall(r"^  (--[\w-]+)", out, re.M)) == sorted(flags)
    assert "(default: 8000)" in out


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_wrapped_at_words_and_shows_no_none(
    handgrad: Handgrad, monkeypatch: pytest.MonkeyPatch, command: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    unwrapped = handgrad(command, "--help").out
    monkeypatch.setenv("COLUMNS", str(width))
    out = handgrad(command, "--help").out
    assert "None" not in out
    assert out.split() == unwrapped.split()
    for line in out.splitlines():
        assert len(line) <= width or line.lstrip().startswith(("handgrad ", "-"))  # flags and commands are not broken


def test_help_of_train_is_in_groups_with_examples(handgrad: Handgrad) -> None:
    out = handgrad("train", "--help").out
    headings = re.findall(r"^(\w[\w ]+):$", out, re.M)
    assert headings == ["examples", "text", "model", "training", "saving and resuming", "more"]
    assert out.count("\n  handgrad train") == 4
    training = out.split("\ntraining:")[1].split("\nsaving and resuming:")[0]
    for flag in ("--max-steps INT", "--optimizer adamw|muon|adam|sgd", "--lr FLOAT"):
        assert f"\n  {flag}" in training


def test_every_flag_of_a_run_is_in_one_group() -> None:
    members = [name for names in GROUPS.values() for name in dict.fromkeys(names)]
    assert len(members) == len(set(members))
    assert set(MODEL_FIELDS) <= set(GROUPS["model"])


def test_switches_say_on_and_off_and_aliases_come_first(handgrad: Handgrad) -> None:
    assert re.search(r"--bias, --no-bias .*\(default: off\)", handgrad("train", "--help").out)
    assert re.search(r"^  -v, --verbose +Show ", handgrad("check", "--help").out, re.M)


def test_version(handgrad: Handgrad) -> None:
    assert handgrad("--version").out.startswith("handgrad 0.")


def test_train_says_what_it_does_and_what_came_of_it(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *SMALL)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("training 1,")
    assert "2,988 characters" in lines[0]
    assert "vocabulary of 34 tokens, 2 shards, in" in lines[0]
    assert re.fullmatch(r"validation loss to beat: 3\.5264 by a uniform guess, 0\.8\d{3} by a bigram model", lines[1])
    assert lines[2].startswith("step 0: validation loss 3.")
    assert "bits per character" in lines[2]
    assert lines[3].startswith("step 6: training loss ")
    assert lines[4].startswith("step 12: training loss ")
    assert f"curves: {tmp_path / 'run' / 'curves.png'}" in lines
    assert f"more:   handgrad sample {tmp_path / 'run'}" in lines
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_samples_are_shown_at_evaluations_where_asked(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    silent = handgrad("train", "--text", text_file, "--out", tmp_path / "a", *SMALL).out
    asked = handgrad("train", "--text", text_file, "--out", tmp_path / "b", *SMALL, "--sample-interval", "6").out
    assert len(silent) + 3 * 150 > len(asked) > len(silent) + 2 * 150  # at steps 0 and 6, not at 12
    for step in (0, 6):
        assert len(asked.split(f"\nstep {step}: ")[1].split("\nstep ")[0]) > 200
    after = asked.split("\nstep 12: ")[1]
    assert "\n\nbest checkpoint step-00000012" in after
    assert after.index("\n") == after.index("\n\nbest checkpoint")


def test_samples_are_shown_between_evaluations_too(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    shown = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *SMALL, "--sample-interval", "4").out
    said = [line for line in shown.splitlines() if line.startswith("step ") and line.endswith("writes:")]
    assert said == ["step 4 writes:", "step 8 writes:"]


def test_a_default_that_contradicts_a_flag_moves_along(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    done = handgrad(
        "train", "--text", text_file, "--out", tmp_path / "run", *SMALL, "--preset", "shakespeare-cpu", "--lr", "1e-5"
    )
    said = [line for line in done.err.splitlines() if "warning" in line]  # kernels may be compiled too
    assert said == [
        "handgrad: warning: min_lr becomes 1e-06 instead of 0.0001: the default is above lr 1e-05",
        "handgrad: warning: warmup_steps becomes 0 instead of 100: with 12 steps the learning rate would never "
        "reach lr",
    ]
    config = open_run(tmp_path / "run").config
    assert (config.lr, config.min_lr, config.warmup_steps) == (1e-5, 1e-6, 0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--lr", "0.01", "--min-lr", "0.1"],
            "min_lr must be at most lr, 0.01, not 0.1: the trapezoid schedule would rise",
        ),
        (["--preset", "gpt2", "--warmup-steps", "10000"], "warmup_steps must be less than max_steps, 10000, not 10000"),
        (["--step-gamma", "0.1"], "step_gamma has no effect with schedule trapezoid, only with schedule step"),
        (["--preset", "autograd-char", "--min-lr", "1e-5"], "min_lr has no effect with schedule constant"),
    ],
)
def test_flags_that_contradict_are_refused(handgrad: Handgrad, flags: list[str], said: str, tmp_path: Path) -> None:
    done = handgrad("train", "--out", tmp_path / "run", *flags)
    assert (done.code, done.err.count("\n"), said in done.err) == (2, 1, True), done.err
    assert not (tmp_path / "run").exists()


def test_the_tokenizer_comes_with_token_files(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    assert handgrad("prepare", "--text", text_file, "--tokenizer", "word", "--out", tokens).code == 0
    small = [word for word in SMALL if word not in ("--tokenizer", "char")]
    for flags, said in (
        (["--tokenizer", "bpe"], f"the tokenizer, word, comes with --data {tokens}; it cannot be bpe"),
        (["--vocab-size", "99"], f"tokens comes with --data {tokens}; vocab_size cannot be 99"),
    ):
        done = handgrad("train", "--data", tokens, "--out", tmp_path / "run", *small, *flags)
        assert (done.code, done.err.count("\n"), said in done.err) == (2, 1, True), done.err
    done = handgrad("train", "--data", tokens, "--out", tmp_path / "run", *small)
    assert done.code == 0, done.err
    assert open_run(tmp_path / "run").config.tokenizer == "word"  # the preset's default has moved along


def test_a_file_may_list_settings_without_effect(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("step_size = 7\nwarmup_steps = 2\n")
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *SMALL, "--config", settings)
    assert done.code == 0
    assert "handgrad: warning: step_size has no effect with schedule trapezoid, only with schedule step\n" in done.err


def test_two_trainings_are_the_same(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    for name in "ab":
        handgrad("train", "--text", text_file, "--out", tmp_path / name, *SMALL)
    parts = [(tmp_path / name / "checkpoints" / "step-00000012" / "model.safetensors").read_bytes() for name in "ab"]
    assert parts[0] == parts[1]


def test_flags_go_before_the_file_and_the_file_before_the_preset(
    handgrad: Handgrad, text_file: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('n_embd = 24\nlr = 0.005\nactivation = "relu"\n')
    arguments = ("--preset", "shakespeare-cpu", "--config", settings, *SMALL, "--lr", "0.007")
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *arguments)
    assert done.code == 0, done.err
    config = open_run(tmp_path / "run").config
    assert config.n_embd == 8  # flag over file over preset
    assert config.lr == 0.007
    assert config.activation == "relu"  # file
    assert config.bias is False  # preset
    assert config.beta2 == 0.99


def test_out_is_chosen_where_nothing_is_said(
    handgrad: Handgrad, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("quick-1", "quick-2"):
        assert handgrad("train", "--text", text_file, *SMALL, "--max-steps", 1).code == 0
        assert (tmp_path / "runs" / name / "curves.png").exists()


@pytest.mark.slow
def test_resume_goes_on_with_more_steps_and_refuses_another_model(handgrad: Handgrad, run: Path) -> None:
    more = handgrad("train", "--resume", run, "--max-steps", 18)
    assert more.code == 0, more.err
    assert "\nresuming at step 12:" in more.out
    assert [row["step"] for row in read_lines(run / "metrics.jsonl")] == [0, 3, 6, 9, 12, 15, 18]
    assert open_run(run).config.max_steps == 18
    refused = handgrad("train", "--resume", run, "--n-embd", 16)
    assert refused.code == 2
    assert "is resumed: n_embd 8 → 16;" in refused.err
    clash = handgrad("train", "--resume", run, "--text", "other.txt")
    assert (clash.code, "--text cannot be given with it" in clash.err) == (2, True)


def test_init_from_takes_weights_tokenizer_and_shape(
    handgrad: Handgrad, run: Path, text_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(TEXT.upper() + TEXT, encoding="utf-8")
    tuned = handgrad("train", "--init-from", run, "--text", other, "--out", tmp_path / "tuned", "--max-steps", 2)
    assert tuned.code == 0, tuned.err
    assert open_run(tmp_path / "tuned").tokenizer() == open_run(run).tokenizer()
    assert open_run(tmp_path / "tuned").model_config == open_run(run).model_config
    refused = handgrad("train", "--init-from", run, "--text", other, "--out", tmp_path / "x", "--n-layer", 3)
    assert (refused.code, "n_layer is 1 in" in refused.err) == (2, True)
    assert not (tmp_path / "x").exists()


def test_prepare_then_train_on_the_token_files(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    prepared = handgrad("prepare", "--text", text_file, "--tokenizer", "char", "--out", tmp_path / "data")
    assert prepared.code == 0, prepared.err
    data = open_token_files(tmp_path / "data")
    assert data.tokenizer.decode(data.train) + data.tokenizer.decode(data.validation) == TEXT
    done = handgrad("train", "--data", tmp_path / "data", "--out", tmp_path / "run", *SMALL)
    assert done.code == 0, done.err
    assert not (tmp_path / "run" / "data").exists()
    assert handgrad("train", "--resume", tmp_path / "run", "--max-steps", 13).code == 0


def test_sample_writes_and_repeats_itself_for_one_seed(handgrad: Handgrad, run: Path) -> None:
    arguments = ("sample", run, "--prompt", "the ", "--tokens", 40)
    first, again, other = handgrad(*arguments), handgrad(*arguments), handgrad(*arguments, "--seed", 1)
    assert first.out.startswith("the ")
    assert len(first.out) == len("the ") + 40 + 1
    assert first.out == again.out
    assert first.out != other.out
    several = handgrad(*arguments, "--samples", 2).out
    assert first.out in several
    assert "--- sample 2 ---" in several


def test_sample_shows_characters_whose_bytes_are_several_tokens() -> None:
    text = "é🦓 ok"
    for tokenizer in (BPETokenizer(), CharTokenizer(byte_fallback=True), CharTokenizer(text)):
        ids = tokenizer.encode(text).tolist()
        assert "".join(decoded_as_it_comes(tokenizer, ids)) == text
        cut = [*ids[:1], *tokenizer.encode("é").tolist()[:1]]
        assert "".join(decoded_as_it_comes(tokenizer, cut)) == tokenizer.decode(cut)
    pieces = list(decoded_as_it_comes(BPETokenizer(), BPETokenizer().encode("aé").tolist()))
    assert pieces == ["a", "", "é", ""]  # each as soon as it is whole


def test_without_a_prompt_a_text_begins_with_a_line_or_with_any_token_that_is_text() -> None:
    class Elsewhere(CharTokenizer):
        special_ids = (4, 0)

    assert opening(CharTokenizer("a\n")) == [4]
    assert opening(CharTokenizer("a")) == [4]
    assert opening(Elsewhere("a")) == [1]


def test_sample_strategies_reach_the_model(handgrad: Handgrad, run: Path) -> None:
    greedy = handgrad("sample", run, "--temperature", 0, "--tokens", 30).out
    assert handgrad("sample", run, "--top-k", 1, "--tokens", 30, "--seed", 9).out == greedy
    assert handgrad("sample", run, "--top-p", 0.000001, "--tokens", 30, "--seed", 9).out == greedy
    assert handgrad("sample", run, "--temperature", 5, "--tokens", 30).out != greedy


def test_unknown_characters_in_a_prompt_are_warned_of(handgrad: Handgrad, run: Path) -> None:
    done = handgrad("sample", run, "--prompt", "the Ω", "--tokens", 5)
    assert done.code == 0
    assert "the vocabulary lacks 'Ω'" in done.err
    assert done.out.startswith("the Ω")


def test_eval_of_the_validation_split_is_what_training_measured(handgrad: Handgrad, run: Path) -> None:
    best = json.loads((run / "checkpoints" / str(read_pointer(run, "best")) / "state.json").read_text())
    out = handgrad("eval", run).out
    assert f"{best['progress']['best_val_loss']:.4f} nats per token" in out
    assert "332, of which 0 unknown" in out


def test_eval_of_a_text(handgrad: Handgrad, run: Path, tmp_path: Path) -> None:
    known, strange = tmp_path / "known.txt", tmp_path / "strange.txt"
    known.write_text("the lazy dog jumps over the quick fox.\n")
    strange.write_text("THE LAZY DOG\n")
    done = handgrad("eval", run, "--text", known)
    assert done.code == 0
    assert "perplexity" in done.out
    assert "not comparable" not in done.out
    lossy = handgrad("eval", run, "--text", strange).out
    assert "not comparable" in lossy


def test_eval_with_a_stride(handgrad: Handgrad, run: Path) -> None:
    trained = open_run(run)
    tokens, (model, _) = trained.data().validation, trained.model("best")
    for stride in (1, 3, 8):
        out = handgrad("eval", run, "--stride", stride).out
        assert f"{evaluate(model, tokens, stride=stride):.4f} nats per token" in out
        assert f"window      8 tokens, a new one every {stride} token{'s' * (stride > 1)}\n" in out
    assert out == handgrad("eval", run).out


@pytest.mark.parametrize("stride", [0, 9])
def test_eval_refuses_a_stride_before_it_reads_the_model(handgrad: Handgrad, run: Path, stride: int) -> None:
    shutil.rmtree(run / "checkpoints")
    done = handgrad("eval", run, "--stride", stride)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"handgrad: stride must be at least 1 and at most the model's block_size, 8, not {stride}\n"


@pytest.mark.slow
def test_plot_of_several_runs(handgrad: Handgrad, run: Path, tmp_path: Path) -> None:
    assert handgrad("plot", run).out.strip() == str(run / "curves.png")
    shutil.copytree(run, tmp_path / "other")
    both = handgrad("plot", run, tmp_path / "other", "--out", tmp_path / "both.svg")
    assert both.code == 0
    picture = (tmp_path / "both.svg").read_text()
    assert "run: validation" in picture
    assert "other: validation" in picture
    missing = handgrad("plot", run, "--out", tmp_path / "nowhere" / "x.png")
    assert (missing.code, missing.err) == (2, f"handgrad: {tmp_path}/nowhere/x.png: No such file or directory\n")


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_other_tokenizers_from_training_to_sampling(tokenizer: str, handgrad: Handgrad, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(("the quick brown fox – jumps over the lazy dog; ok?\n" * 60), encoding="utf-8")
    shape = ("--block-size", 8, "--n-layer", 1, "--n-head", 2, "--n-embd", 12, "--batch-size", 4, "--max-steps", 4)
    flags = ("--tokenizer", tokenizer, "--vocab-size", 300, *shape, "--eval-interval", 4)
    done = handgrad("train", "--text", text, "--out", tmp_path / "run", *flags)
    assert done.code == 0, done.err
    assert re.search(r"vocabulary of 2[6-9]\d tokens", done.out)  # fewer than allowed: no pair occurs twice any more
    bits = re.search(r"step 4: .*validation loss (\S+) nats per token, (\S+) bits per character", done.out)
    assert bits is not None
    assert float(bits[2]) < float(bits[1]) / math.log(2)  # a token is more than a character
    sampled = handgrad("sample", tmp_path / "run", "--prompt", "日本", "--tokens", 5)  # nothing is unknown
    assert (sampled.code, sampled.out.startswith("日本"), sampled.err) == (0, True, "")
    assert handgrad("eval", tmp_path / "run", "--text", text).code == 0
    assert handgrad("train", "--resume", tmp_path / "run", "--max-steps", 6).code == 0
    small = handgrad("train", "--text", text, "--out", tmp_path / "no", "--tokenizer", tokenizer, "--vocab-size", 100)
    assert (small.code, "the 256 bytes, not" in small.err) == (2, True)
    assert not (tmp_path / "no").exists()


def test_check_prints_the_table_and_its_exit_code(handgrad: Handgrad, monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.cli import check

    results = [
        Result("attention", "query", 1e-12, tape=0.0),
        Result("attention", "key", 1.4, tape=0.0),
        Result("attention", "value", 1e-12, tape=1e-11),
    ]
    monkeypatch.setattr(check, "check_gradients", lambda: iter(results[:1]))
    right = handgrad("check")
    assert (right.code, "all 1 gradients are right" in right.out) == (0, True)
    assert "all 1 gradients on the tape agree with those by hand" in right.out
    monkeypatch.setattr(check, "check_gradients", lambda: iter(results))
    for flags in ([], ["-v"], ["--verbose"]):
        wrong = handgrad("check", *flags)
        assert wrong.code == 1
        assert "2 of 3 results are wrong: attention: key; attention: value" in wrong.out
        assert ("  query" in wrong.out) == bool(flags)


def test_check_prints_a_line_for_each_operation(handgrad: Handgrad, monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.cli import check

    results = [
        Result("gelu, tanh", "x", 1e-12, tape=0.0, compiled=2e-7),
        Result("gelu, exact", "x", 3e-12, tape=1e-15),
        Result("attention", "query", 1e-12, tape=0.0),
        Result("attention, masked", "key", math.nan, tape=0.0),
        Result("kernel gelu, float32", "output", None, compiled=1e-7),
        Result("kernel linear, bfloat16", "output", None, bfloat16=0.25),
        Result("kernel linear, bfloat16", "gradient 1", None, bfloat16=1.5),
    ]
    monkeypatch.setattr(check, "check_gradients", lambda: iter(results))
    wrong = handgrad("check")
    assert wrong.code == 1
    assert [re.sub(" {2,}", "  ", line) for line in wrong.out.splitlines()] == [
        "largest error  by hand  on the tape  compiled  bfloat16",
        "gelu  3.0e-12  1.0e-15  2.0e-07",
        "attention  nan  0.0e+00  1 WRONG",
        "  masked: key  nan  0.0e+00",
        "kernel gelu  1.0e-07",
        "kernel linear  1.5e+00  1 WRONG",
        "  bfloat16: gradient 1  1.5e+00",
        "",
        "2 of 7 results are wrong: attention, masked: key; kernel linear, bfloat16: gradient 1",
    ]
    shown = handgrad("check", "-v").out
    for subject in ("gelu, tanh", "gelu, exact", "attention, masked", "kernel gelu, float32"):
        assert f"\n{subject}\n  " in shown


def test_one_is_singular(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    flags = (*SMALL, "--max-steps", 1, "--shards", 1)
    assert ", 1 shard, in " in handgrad("train", "--text", text_file, "--out", tmp_path / "run", *flags).out


BAD = {
    "no command": ([], "usage: handgrad COMMAND"),
    "unknown command": (["trian"], "unknown command 'trian'; did you mean handgrad train?"),
    "another word for a command": (["generate"], "unknown command 'generate'; did you mean handgrad sample?"),
    "help as a command": (["help"], "unknown command 'help'; did you mean handgrad --help?"),
    "no such command": (["xyzzy"], "unknown command 'xyzzy'; choose from train, sample, "),
    "missing file": (["train", "--text", "missing.txt"], "missing.txt: no such file"),
    "empty file": (["train", "--text", "empty.txt"], "empty.txt is empty"),
    "directory": (["compare", "--text", "."], ". is a directory"),
    "no text in it": (["train", "--text", ".", "--include", "*.png"], "no file in . passes --include and --exclude ("),
    "not UTF-8 in it": (["train", "--text", "."], "or name its encoding: --encoding windows-1252"),
    "a text alone": (["prepare", "book.txt", "--out", "x"], "give a text with --text book.txt; only - stands alone"),
    "both texts": (["train", "--text", "-", "-"], "standard input can be read only once; name - once"),
    "kind of documents": (
        ["train", "--documents", "rows"],
        "documents must be files, lines or jsonl:FIELD, not 'rows'",
    ),
    "no field": (["train", "--documents", "jsonl"], "documents must be files, lines or jsonl:FIELD, not 'jsonl'"),
    "fraction": (["train", "--val-fraction", "1"], "val_fraction must lie between 0 and 1, not be 1.0"),
    "encoding": (["train", "--encoding", "latin-99"], "unknown encoding 'latin-99'; common ones: utf-8, latin-1"),
    "tokenizer file": (["train", "--tokenizer", "none.json"], "none.json: no such file"),
    "tokenizer kind": (
        ["train", "--tokenizer", "bytes"],
        "--tokenizer must be one of 'char', 'word', 'bpe', not 'bytes'",
    ),
    "not UTF-8": (["train", "--text", "latin.txt"], "latin.txt is not UTF-8: byte 0xe9 at offset 3"),
    "too short": (["train", "--text", "short.txt"], "give a longer text, a smaller vocab_size or a smaller block_size"),
    "heads": (["train", "--n-embd", "30", "--n-head", "4"], "n_embd 30 must be a multiple of n_head 4"),
    "preset": (["train", "--preset", "huge"], "unknown preset 'huge'; choose from quick, "),
    "dataset": (["train", "--dataset", "wiki"], "unknown data set 'wiki'; choose from functions, pydoc, shakespeare"),
    "flag": (["train", "--n-layers", "3"], "unknown flag --n-layers; did you mean --n-layer?"),
    "misspelt flag": (["train", "--weigth-decay=0"], "unknown flag --weigth-decay; did you mean --weight-decay?"),
    "flag of others": (["train", "--learning_rate", "0.1"], "unknown flag --learning_rate; did you mean --lr?"),
    "flag with one dash": (["train", "-lr", "0.1"], "unknown flag -lr; did you mean --lr?"),
    "epochs": (["train", "--epochs", "3"], "did you mean --max-steps (training is counted in steps, not epochs)?"),
    "flag of sample": (["train", "--temperature", "1"], "--temperature is a flag of handgrad sample"),
    "flag of sample by another name": (["eval", ".", "--max_new_tokens=9"], "--tokens is a flag of handgrad sample"),
    "flag of a GPU": (["train", "--device", "cuda"], "unknown flag --device; handgrad computes on the CPU"),
    "flag like no other": (["train", "--xyzzy"], "unknown flag --xyzzy; see handgrad train --help"),
    "a text without its flag": (["train", "long.txt"], "argument 'long.txt'; did you mean --text long.txt?"),
    "a word too many": (["train", "no.txt"], "unexpected argument 'no.txt'; see handgrad train --help"),
    "no number": (["train", "--lr", "fast"], "--lr must be a number, not 'fast'"),
    "choice": (
        ["train", "--optimizer", "lion"],
        "--optimizer must be one of 'adamw', 'muon', 'adam', 'sgd', not 'lion'",
    ),
    "two texts": (
        ["train", "--text", "a", "--dataset", "pydoc"],
        "give only one of --text, --data and --dataset, not --text and --dataset",
    ),
    "no TOML": (["train", "--config", "empty.txt", "--n-head", "0"], "n_head must be at least 1, not 0"),
    "field in a file": (["train", "--config", "field.toml"], "field.toml: unknown field 'layers'; choose from "),
    "broken file": (["train", "--config", "broken.toml"], "broken.toml is not valid TOML"),
    "no run": (["sample", "."], ". is not a run: it has no config.json"),
    "missing run": (["eval", "nowhere"], "nowhere is not a run: there is no such directory"),
    "resume no run": (["train", "--resume", "nowhere"], "nowhere is not a run"),
    "init from no run": (["train", "--init-from", "nowhere"], "nowhere is not a run"),
    "run is missing": (["sample"], "sample: RUN is missing"),
    "no token files": (["train", "--data", "."], ". is not a directory of token files"),
    "plot nothing": (["plot"], "name at least one run"),
    "prepare without text": (["prepare", "--out", "x"], "give either --text PATH ..., - for standard input, or"),
    "prepare two things": (["prepare", "--out", "x", "-", "--dataset", "pydoc"], "give either --text PATH ..., - for"),
    "prepare standard input twice": (["prepare", "--out", "x", "-", "--text", "-"], "can be read only once"),
    "prepare a missing file": (["prepare", "--out", "x", "--text", "no.txt"], "no.txt: no such file"),
    "prepare nothing": (["prepare", "--out", "x", "--text", "empty.txt"], "empty.txt is empty; a text is needed"),
    "prepare empty files": (
        ["prepare", "--out", "x", "--text", "empty.txt", "empty.txt"],
        "each of the 2 files is empty",
    ),
    "prepare no UTF-8": (
        ["prepare", "--out", "x", "--text", "long.txt", "latin.txt"],
        "latin.txt is not UTF-8: byte 0xe9 at offset 3 (unexpected end of data); convert it first",
    ),
    "prepare for no tokenizer": (
        ["prepare", "--out", "x", "--text", "long.txt", "--tokenizer", "wrod"],
        "unknown tokenizer 'wrod'; choose from char, word, bpe, or the path of a tokenizer.json",
    ),
    "prepare with a missing tokenizer": (
        ["prepare", "--out", "x", "--text", "long.txt", "--tokenizer", "no.json"],
        "no.json: no such file",
    ),
    "prepare with a size that is given": (
        ["prepare", "--out", "x", "--text", "long.txt", "--tokenizer", "no.json", "--vocab-size", "9"],
        "the vocabulary comes with no.json; --vocab-size cannot be given with it",
    ),
    "prepare where something is": (
        ["prepare", "--out", ".", "--text", "long.txt"],
        ". exists and is not an empty directory",
    ),
    "prepare in a file": (["prepare", "--out", "long.txt/x", "--text", "long.txt"], "long.txt is not a directory"),
    "tokenize with nothing": (["tokenize", "nowhere", "text"], "nowhere: no such file"),
    "tokenize with a directory": (["tokenize", ".", "text"], ". has no tokenizer.json; give a tokenizer"),
    "out is taken": (["train", "--text", "long.txt", "--out", "."], ". exists and is not an empty directory"),
    "out in a file": (
        ["train", "--text", "long.txt", "--block-size", "8", "--out", "long.txt/run"],
        "long.txt/run: Not a directory",
    ),
    "temperature": (
        ["sample", ".", "--temperature", "-1"],
        "temperature must be a finite number of at least 0, not -1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "short.txt").write_text("x" * 640)
    (tmp_path / "long.txt").write_text(TEXT)
    (tmp_path / "field.toml").write_text("layers = 3")
    (tmp_path / "broken.toml").write_text("n_layer = = 3")
    before = sorted(tmp_path.rglob("*"))
    arguments, said = BAD[case]
    done = handgrad(*arguments)
    assert done.code == 2
    if arguments:
        assert done.err.startswith("handgrad: ")
        assert done.err.count("\n") == 1, done.err
        assert done.out == ""
    assert said in done.err + done.out
    assert sorted(tmp_path.rglob("*")) == before


def test_the_least_length_that_is_named_is_enough(handgrad: Handgrad, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    small = ("--tokenizer", "char", "--max-steps", 1, "--n-embd", 8, "--out", tmp_path / "run")
    path.write_text("ab")
    assert "give at least 1281 characters or a smaller block_size" in handgrad("train", "--text", path, *small).err
    path.write_text("ab" * 640 + "a")
    done = handgrad("train", "--text", path, *small)
    assert done.code == 0, done.err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_saves_and_says_how_to_go_on(
    handgrad: Handgrad, text_file: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "run"
    slow = ("--max-steps", 100000, "--checkpoint-interval", 100000, "--eval-interval", 100000)
    process = start("train", "--text", text_file, "--out", out, *SMALL, *slow)
    deadline = time.monotonic() + 60
    while len((out / "metrics.jsonl").read_text() if (out / "metrics.jsonl").exists() else "") < 500:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert f"handgrad train --resume {out}" in printed
    assert "Traceback" not in errors
    stopped = json.loads((out / "checkpoints" / str(read_pointer(out, "last")) / "state.json").read_text())
    step = stopped["progress"]["step"]
    assert step > 0
    done = handgrad("train", "--resume", out, "--max-steps", step + 2)
    assert done.code == 0, done.err
    assert f"resuming at step {step:,}:" in done.out


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="file size limits of POSIX systems")
def test_a_disk_that_fills_up_is_one_sentence_and_the_last_checkpoint_stays(
    handgrad: Handgrad, text_file: Path, tmp_path: Path
) -> None:
    """A limit on the size of files simulates a full disk: the metrics grow beyond it, long after the checkpoints."""
    out = tmp_path / "run"
    endless = ("--max-steps", 100000, "--log-interval", 1, "--checkpoint-interval", 2, "--eval-interval", 100000)
    process = start("train", "--text", text_file, "--out", out, *SMALL, *endless, limit=20_000)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 2, (printed, errors)
    assert errors.startswith("handgrad: cannot continue in ")
    assert f"its last checkpoint is {read_pointer(out, 'last')}" in errors
    assert errors.count("\n") == 1
    assert handgrad("sample", out, "--tokens", 3, "--checkpoint", "last").code == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes where others may not")
def test_a_read_only_directory_is_one_sentence(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "locked" / "run", *SMALL)
    assert (done.code, "Permission denied" in done.err) == (2, True)


@pytest.mark.slow
def test_whoever_stops_reading_gets_no_traceback(run: Path) -> None:
    process = start("sample", run, "--tokens", 100000)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["last is lost", "last is empty", "last is not text"])
def test_a_run_without_its_pointer_goes_on_from_its_newest_checkpoint(
    handgrad: Handgrad, run: Path, damage: str
) -> None:
    (run / "last").unlink()
    if damage != "last is lost":
        (run / "last").write_bytes(b"" if damage == "last is empty" else b"\xff\xfe")
    done = handgrad("train", "--resume", run, "--max-steps", 14)
    assert "\nresuming at step 12:" in done.out
    assert (run / "last").read_text() == "step-00000014\n"
    assert (run / "metrics.jsonl").read_text().count("\n") >= 5


def test_a_run_whose_data_were_replaced_is_refused(handgrad: Handgrad, text_file: Path, tmp_path: Path) -> None:
    handgrad("prepare", "--text", text_file, "--out", tmp_path / "data")
    handgrad("train", "--data", tmp_path / "data", "--out", tmp_path / "run", *SMALL)
    shutil.rmtree(tmp_path / "data")
    text_file.write_text("something else altogether. " * 100)
    handgrad("prepare", "--text", text_file, "--out", tmp_path / "data")
    before = (tmp_path / "run" / "config.json").read_bytes()
    done = handgrad("train", "--resume", tmp_path / "run", "--max-steps", 20)
    assert (done.code, "no longer holds the text" in done.err) == (2, True)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_resume_refuses_fewer_steps_than_were_made(handgrad: Handgrad, run: Path) -> None:
    done = handgrad("train", "--resume", run, "--max-steps", 5)
    assert (done.code, "is already at step 12" in done.err) == (2, True)
    assert open_run(run).config.max_steps == 12


@pytest.mark.slow
def test_a_run_that_would_not_be_bit_exact_goes_on_by_leave_alone(handgrad: Handgrad, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    was, config["resolved"]["backend"] = config["resolved"]["backend"], "another"
    (run / "config.json").write_text(json.dumps(config))
    before = snapshot(run)
    refused = handgrad("train", "--resume", run, "--max-steps", 13)
    because = f"not bit-exact, because backend was another and is now {was}"
    assert refused.code == 2
    assert because in refused.err
    assert "--allow-inexact" in refused.err
    assert snapshot(run) == before
    allowed = handgrad("train", "--resume", run, "--max-steps", 13, "--allow-inexact")
    assert (allowed.code, because in allowed.out) == (0, True)
    content = json.loads((run / "config.json").read_text())
    assert content["inexact"] == [{"step": 12, "because": [f"backend was another and is now {was}"]}]
    again = handgrad("train", "--resume", run, "--max-steps", 14)  # the run now has the new environment
    assert (again.code, "bit-exact" in again.out) == (0, False)


@pytest.mark.slow
def test_on_resume_replicas_may_be_others_and_shards_may_not(handgrad: Handgrad, run: Path) -> None:
    same = handgrad("train", "--resume", run, "--max-steps", 13, "--shards", 2, "--replicas", 3)
    assert (same.code, "bit-exact" in same.out) == (0, False)
    assert "continuing with max_steps 12 → 13, replicas 0 → 3" in same.out
    refused = handgrad("train", "--resume", run, "--max-steps", 14, "--shards", 3, "--allow-inexact")
    assert (refused.code, "cannot change when" in refused.err, "shards 2 → 3;" in refused.err) == (2, True, True)
    assert (open_run(run).shards, open_run(run).config.replicas) == (2, 3)


def test_resume_names_every_setting_that_is_another(handgrad: Handgrad, run: Path, tmp_path: Path) -> None:
    refused = handgrad("train", "--resume", run, "--n-embd", 16, "--seed", 4, "--lr", 0.1)
    assert refused.code == 2
    assert f"cannot change when {run} is resumed: n_embd 8 → 16, seed 1337 → 4;" in refused.err
    assert "these can: max_steps, lr," in refused.err
    (tmp_path / "more.toml").write_text("max_steps = 15\ngrad_clip = 0.5\n")
    done = handgrad("train", "--resume", run, "--config", tmp_path / "more.toml", "--lr", 0.001)
    assert done.code == 0, done.err
    assert "continuing with max_steps 12 → 15, lr 0.02 → 0.001, grad_clip 0.0 → 0.5" in done.out
    config = open_run(run).config
    assert (config.max_steps, config.lr, config.grad_clip) == (15, 0.001, 0.5)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_divergence_is_one_sentence_and_no_broken_model_is_kept(
    handgrad: Handgrad, text_file: Path, tmp_path: Path
) -> None:
    wild = (
        "--lr 1e38 --optimizer sgd --beta1 0 --grad-clip 0 --warmup-steps 0 --eval-interval 1 --checkpoint-interval 1"
    )
    done = handgrad("train", "--text", text_file, "--out", tmp_path / "run", *SMALL, *wild.split())
    assert done.code == 1
    assert "training diverged at step" in done.out
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert read_pointer(tmp_path / "run", "last") == "step-00000000"
    assert handgrad("sample", tmp_path / "run", "--tokens", 5).code == 0


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("config.json", ("resolved", "shards"), 0),
        ("config.json", ("resolved", "shards"), "two"),
        ("config.json", ("model", "bias"), "no"),
        ("config.json", ("config", "n_embd"), 16),
        ("config.json", ("resolved", "versions"), "x"),
    ],
)
def test_a_damaged_run_is_one_sentence(
    handgrad: Handgrad, run: Path, file: str, keys: tuple[str, str], value: object
) -> None:
    path = run / file
    content = json.loads(path.read_text())
    content[keys[0]][keys[1]] = value
    path.write_text(json.dumps(content))
    done = handgrad("train", "--resume", run, "--max-steps", 20)
    assert done.code == 2
    assert f"{file} is damaged: " in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_check_piped_to_a_reader_that_leaves_keeps_its_exit_code() -> None:
    process = start("check")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=120) == 0


@pytest.mark.slow
def test_a_terminal_that_cannot_show_a_character_shows_another(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    printed, errors = start("sample", run, "--prompt", "caf\u00e9", "--tokens", 3).communicate(timeout=60)
    assert printed.startswith("caf?")
    assert "Traceback" not in errors


def test_a_numba_that_cannot_be_imported_is_done_without(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example after an upgrade to a NumPy that Numba does not support yet."""
    (tmp_path / "broken" / "numba").mkdir(parents=True)
    (tmp_path / "broken" / "numba" / "__init__.py").write_text("raise ImportError('Numba needs another NumPy')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "broken"), *sys.path]))
    done = subprocess.run(
        [sys.executable, "-m", "handgrad", "sample", str(run), "--tokens", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Numba needs another NumPy" in done.stderr


def test_the_command_line_is_there_before_numpy() -> None:
    """It chooses the kernels of NumPy's OpenBLAS, which reads the choice when it is loaded."""
    script = "import sys, handgrad.cli.main; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_training_starts_without_matplotlib() -> None:
    """It is slow to import, and writes a cache of fonts on a new machine; a run needs it only at its end."""
    script = "import sys, handgrad.cli.train; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

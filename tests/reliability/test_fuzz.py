"""Every file that the program reads, damaged at random: it loads, or is refused in one sentence."""

import contextlib
import gzip
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import mutated, strange_text
from report_table import Tally
from scenes import result
from support import TEXT, Output

import handgrad
from handgrad.data import Choices, Corpus, load_text, open_token_files, prepare_in_memory, random_batch
from handgrad.experiments import (
    Budget,
    Comparison,
    Recipe,
    configs_of,
    create_comparison,
    create_recipe_comparison,
    known_results,
    measure,
    measures,
    open_comparison,
    read_recipe_results,
    read_results,
    recipe_table,
    table,
    write_report,
)
from handgrad.experiments.report import markdown_table, samples_side_by_side
from handgrad.models.formats.model_in_checkpoint import MODEL, OPTIMIZER, STATE, read_state, sha256_of_json
from handgrad.optim import AdamW
from handgrad.plotting.bits import draw_bits
from handgrad.plotting.curves import draw_curves
from handgrad.runs import (
    TrainConfig,
    find_checkpoint,
    load_intact,
    load_model,
    open_run,
    read_config_file,
    read_metrics,
    resumed,
)
from handgrad.runs.checkpoint import load_checkpoint
from handgrad.runs.metrics import MetricsLog
from handgrad.system.errors import InputError
from handgrad.system.files import read_text
from handgrad.system.locks import locked
from handgrad.tokenizers import BPETokenizer, CharTokenizer, WordTokenizer, load_tokenizer
from handgrad.tokenizers.counting import utf8
from handgrad.training import DivergedError, check_fits_memory, train
from handgrad.training.stability import record_loss

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits of POSIX systems")
SECONDS = 10
REFUSALS = (InputError, OSError)
"""Errors that the command line shows as one sentence. OSError occurs for a path in config.json that cannot exist."""
MEMORY = 1 << 30
PROMPT = "The quick brown fox – jumps! 漢字 over 12 lazy dogs.\n"


class HangError(Exception):
    """A read took too long."""


@contextmanager
def limited() -> Iterator[None]:
    """Limits the time to SECONDS, and the memory to MEMORY more than is already in use."""

    def late(*_: object) -> None:
        raise HangError

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, late)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


@dataclass(frozen=True)
class Target:
    """A file and what reads it."""

    file: str
    read: Callable[[Path], Any]
    root: str = "run"
    mends: bool = False
    """Whether reading may write."""
    always: bool = False
    """Whether any content is accepted, so that nothing is refused."""


def use_tokenizer(path: Path) -> None:
    tokenizer = load_tokenizer(path)
    ids = tokenizer.encode(PROMPT)
    tokenizer.decode(ids)
    with contextlib.suppress(IndexError):  # decode raises it for an unused id between others
        tokenizer.decode(range(min(tokenizer.vocab_size, 1000)))
    tokenizer.to_bytes()


def use_run(path: Path) -> None:
    """Reads what sample and eval read, and train before its first step."""
    run = open_run(path)
    run.tokenizer().encode(PROMPT)
    data = run.data()
    data.check_ids(data.validation)
    load_intact(path, "best", lambda checkpoint: load_model(checkpoint, run.model_config))


def use_token_files(path: Path) -> None:
    data = open_token_files(path)
    data.check_length(8)
    x, y = random_batch(data.train, 4, 8, np.random.default_rng(0))
    for ids in (x, y, data.validation):
        data.check_ids(ids)


def use_checkpoint(path: Path) -> None:
    run = open_run(path)

    def load(checkpoint: Path) -> Any:
        state = read_state(checkpoint)
        model = load_model(checkpoint, run.model_config).train()
        optimizer = AdamW(model.decay_groups(0.1))
        progress = load_checkpoint(checkpoint, state, model, optimizer)
        record_loss(1.0, progress)
        ids = np.zeros((2, 4), np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            model.loss(ids, ids)
            model.backward()
            optimizer.step()

    load_intact(path, "step-00000012", load)


def rehashed(path: Path) -> None:
    """Makes the hashes match first, so that the checks behind them are reached."""
    checkpoint = find_checkpoint(path, "last")
    try:
        state = json.loads((checkpoint / STATE).read_bytes())
        for name in (MODEL, OPTIMIZER):
            content = (checkpoint / name).read_bytes()
            state["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        state["sha256"] = sha256_of_json({name: value for name, value in state.items() if name != "sha256"})
        (checkpoint / STATE).write_text(json.dumps(state))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    use_checkpoint(path)


def use_settings(path: Path) -> None:
    config = TrainConfig().updated(read_config_file(path / "settings.toml"), "settings.toml")
    check_fits_memory(config, config.model_config(65), max(config.shards, 1))


def use_metrics(path: Path) -> None:
    rows = read_metrics(path / "metrics.jsonl")
    if any(row["loss"] for row in rows) and zlib.crc32(str(rows).encode("utf-8", "replace")) % 20 == 0:
        draw_curves({"run": rows})


def mend_metrics(path: Path) -> None:
    MetricsLog(path / "metrics.jsonl", 10, 7).close()
    read_metrics(path / "metrics.jsonl")


def use_lock(path: Path) -> None:
    with locked(path):
        pass


def use_pointer(path: Path) -> None:
    find_checkpoint(path, "best")
    find_checkpoint(path, "last")


def use_text(path: Path) -> None:
    corpus = load_text(path / "text.txt")
    CharTokenizer().train(corpus.text).encode(read_text(path / "text.txt"))


def use_documents(path: Path) -> None:
    """As train reads a text with documents of its own."""
    documents = "jsonl:text" if path.suffix == ".jsonl" else "lines"
    data, _ = prepare_in_memory([path], CharTokenizer(byte_fallback=True), choices=Choices(documents=documents))
    data.tokenizer.decode(data.train)
    if data.meta.documents and len(data.validation):
        list(data.windows(data.train, 8).sequential_batches(4))


def use_vocab_and_merges(path: Path) -> None:
    BPETokenizer.from_vocab_and_merges(path / "vocab.json", path / "merges.txt").encode(PROMPT)


def use_ranks(path: Path) -> None:
    BPETokenizer.from_tiktoken(path / "ranks.tiktoken").encode(PROMPT)


def use_comparison(path: Path) -> None:
    """As compare --resume does if nothing is left to train."""
    comparison = open_comparison(path)
    comparison.corpus()
    known_results(comparison, lambda sentence: None)
    for entry in comparison.entries:
        comparison.config_of(entry)
        if comparison.is_done(entry):
            comparison.run(entry)


def use_results(path: Path) -> None:
    measured = read_results(path / "results.json")
    markdown_table(table(measured))
    samples_side_by_side(measured)
    curves = {one.name: one.curve for one in measured if one.curve is not None}
    if curves and zlib.crc32(str(curves).encode()) % 20 == 0:
        draw_bits(curves)


def use_recipe_results(path: Path) -> None:
    markdown_table(recipe_table(read_recipe_results(path / "results.json")))


CHECKPOINT = "checkpoints/step-00000012"
TARGETS = {
    "config.json of a run": Target("config.json", use_run),
    "tokenizer.json of a run": Target("tokenizer.json", use_run),
    "metrics.jsonl": Target("metrics.jsonl", use_metrics),
    "metrics.jsonl, on resume": Target("metrics.jsonl", mend_metrics, mends=True, always=True),
    "model.safetensors": Target(f"{CHECKPOINT}/{MODEL}", use_checkpoint),
    "model.safetensors, with the right hash": Target(f"{CHECKPOINT}/{MODEL}", rehashed, mends=True),
    "optimizer.safetensors": Target(f"{CHECKPOINT}/{OPTIMIZER}", use_checkpoint),
    "optimizer.safetensors, with the right hash": Target(f"{CHECKPOINT}/{OPTIMIZER}", rehashed, mends=True),
    "state.json": Target(f"{CHECKPOINT}/{STATE}", use_checkpoint),
    "state.json, with the right hash": Target(f"{CHECKPOINT}/{STATE}", rehashed, mends=True),
    "last and best": Target("best", use_pointer, always=True),
    "lock": Target("lock", use_lock, mends=True, always=True),
    "train.npy": Target("data/train.npy", lambda path: use_token_files(path / "data")),
    "validation.npy": Target("data/validation.npy", lambda path: use_token_files(path / "data")),
    "meta.json": Target("data/meta.json", lambda path: use_token_files(path / "data")),
    "comparison.json": Target("comparison.json", use_comparison, "compared"),
    "results.json": Target("results.json", use_results, "compared"),
    "comparison.json, of recipes": Target("comparison.json", use_comparison, "recipes"),
    "results.json, of recipes": Target("results.json", use_recipe_results, "recipes"),
    "settings.toml": Target("settings.toml", use_settings, "files"),
    "tokenizer.json, characters": Target("char.json", lambda path: use_tokenizer(path / "char.json"), "files"),
    "tokenizer.json, words": Target("word.json", lambda path: use_tokenizer(path / "word.json"), "files"),
    "tokenizer.json, byte pairs": Target("bpe.json", lambda path: use_tokenizer(path / "bpe.json"), "files"),
    "tokenizer.json of Hugging Face": Target("hf.json", lambda path: use_tokenizer(path / "hf.json"), "files"),
    "vocab.json": Target("vocab.json", use_vocab_and_merges, "files"),
    "merges.txt": Target("merges.txt", use_vocab_and_merges, "files"),
    "tiktoken's ranks": Target("ranks.tiktoken", use_ranks, "files"),
    "a saved state": Target("state.safetensors", lambda path: handgrad.load(path / "state.safetensors"), "files"),
    "a text": Target("text.txt", use_text, "files"),
    "a text in UTF-16": Target("utf16.txt", lambda path: use_documents(path / "utf16.txt"), "files"),
    "a compressed text": Target("text.gz", lambda path: use_documents(path / "text.gz"), "files"),
    "lines of JSON": Target("text.jsonl", lambda path: use_documents(path / "text.jsonl"), "files"),
    "ranks, by their content": Target("ranks.tiktoken", lambda path: use_tokenizer(path / "ranks.tiktoken"), "files"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """All files, intact: a stopped run, and every other kind of file that can be read."""
    from support import TINY

    from handgrad.data import encode_corpus
    from handgrad.runs import create_run

    root = tmp_path_factory.mktemp("whole")
    corpus = Corpus(TEXT, "test text")
    data = encode_corpus(corpus, CharTokenizer().train(TEXT))
    config = TINY.updated({"max_steps": 14, "n_layer": 1}, "test")
    left = iter(range(12))
    train(create_run(root / "run", config, data, None, 2, None), data, should_stop=lambda: next(left, None) is None)
    files = root / "files"
    files.mkdir()
    (files / "settings.toml").write_text(
        'n_layer = 2\nn_embd = 12\nn_head = 2\nlr = 1e-3\nbatch_size = 4\noptimizer = "sgd"\nbias = false\n'
        'schedule = "constant"\nseed = 3\nshards = 2\nreplicas = 3\nkeep = 4\n'
    )
    CharTokenizer(byte_fallback=True).train(TEXT).save(files / "char.json")
    WordTokenizer(byte_fallback=True, max_vocab_size=300, special_tokens=["<user>"]).train(TEXT).save(
        files / "word.json"
    )
    pairs = BPETokenizer(max_vocab_size=300, special_tokens=["<user>"]).train(TEXT)
    pairs.save(files / "bpe.json")
    pairs.to_huggingface(files / "hf.json")
    pairs.to_vocab_and_merges(files)
    pairs.to_tiktoken(files / "ranks.tiktoken")
    handgrad.save(
        {"a": np.arange(6.0), "b": [{"c": np.ones((2, 3), np.float32)}, 1, "x", None]}, files / "state.safetensors"
    )
    (files / "text.txt").write_text(TEXT[:3000] + PROMPT)
    (files / "utf16.txt").write_bytes((TEXT[:1500] + PROMPT).encode("utf-16"))
    (files / "text.gz").write_bytes(gzip.compress((TEXT[:3000] + PROMPT).encode(), mtime=0))
    rows = [{"text": f"{line} {PROMPT}", "user": i} for i, line in enumerate(TEXT.splitlines()[:20])]
    (files / "text.jsonl").write_text("\n".join(map(json.dumps, rows)))
    budgets = {"char": Budget(2), "word": Budget(90, "characters")}
    compare(create_comparison(root / "compared", corpus, config, tuple(budgets), budgets))
    recipes = (Recipe("plain", "GPT-2.", {}), Recipe("relu", "ReLU.", {"activation": "relu"}))
    configs = configs_of(recipes, True, config, config, set())
    two = {"plain": Budget(2), "relu": Budget(3)}
    compare(create_recipe_comparison(root / "recipes", corpus, config, recipes, configs, two, is_ladder=True, seeds=2))
    return root


def compare(comparison: Comparison[Any]) -> None:
    """Finishes one of the runs of a comparison."""
    out, entry = comparison.path, comparison.entries[0]
    run = comparison.run(entry)
    train(run, run.data())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "SAMPLE_TOKENS", 20)
        write_report(comparison, {entry.name: measure(run, entry)}, {})
    (out / f"curves-{entry.name}.png").touch()


def check_is_a_sentence(error: Exception, number: int) -> None:
    assert 0 < len(str(error)) <= 1100, (number, str(error))
    assert "\n" not in str(error), (number, str(error))


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_made_wrong_loads_or_is_refused(
    name: str, whole: Path, tmp_path: Path, torture: bool, tally: Tally
) -> None:
    target = TARGETS[name]
    others = [path.read_bytes() for path in sorted(whole.rglob("*")) if path.is_file()]
    root = tmp_path / "root"
    shutil.copytree(whole / target.root, root)
    right = (root / target.file).read_bytes()
    target.read(root)
    (root / target.file).write_bytes(right)
    before = snapshot(root)
    inputs, refused = 3650 if torture else 40, 0
    failures: list[str] = []
    for number in range(inputs):
        content = mutated(right, others, random.Random(f"{name} {number}"))
        (root / target.file).write_bytes(content)
        try:
            with limited():
                target.read(root)
        except REFUSALS as error:
            refused += 1
            check_is_a_sentence(error, number)
        except (Exception, HangError) as error:
            failures.append(f"input {number} raised {error!r}")
        after = snapshot(root)
        if target.mends:
            assert not [path for path in after if ".tmp" in path], number
            for path in set(after) - set(before):
                (root / path).unlink()
            for path, was in before.items():
                (root / path).write_bytes(was)
        else:
            assert after == before | {target.file: content}, number
    assert failures == []
    assert (refused == 0) == target.always
    tally(f"fuzz: {name}", inputs, "loaded, or refused in one sentence; nothing half-written")


def test_strange_prompts(
    whole: Path, handgrad: Callable[..., Output], torture: bool, tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizers = [load_tokenizer(whole / "files" / name) for name in ("char.json", "word.json", "bpe.json", "hf.json")]
    inputs = 2000 if torture else 100
    for number in range(inputs):
        text = strange_text(random.Random(f"prompt {number}"))
        for tokenizer in tokenizers:
            with limited():
                decoded = tokenizer.decode(tokenizer.encode(text))
            # Some tokenizers join two adjacent halves of a character, others replace each half.
            assert decoded in (utf8(text).decode(), re.sub("[\ud800-\udfff]", "\ufffd", text)), number
        if number % 50 == 0 and text and "\x00" not in text:
            done = handgrad("sample", whole / "run", f"--prompt={text}", "--tokens", 3)
            assert done.code in (0, 2), (number, done.err)
            assert "Traceback" not in done.err
    tally("fuzz: prompts", inputs, "encoded and decoded without loss by each tokenizer, some continued by a model")


def go_on(path: Path) -> dict[str, Any]:
    """Resumes the run for its last two steps."""
    run = resumed(open_run(path), allow_inexact=True)
    train(run, run.data())
    return result(path)


def test_a_run_made_wrong_as_a_whole_never_trains_on_wrongly(
    whole: Path, tmp_path: Path, torture: bool, tally: Tally
) -> None:
    """One file of a run is damaged and the run resumed: it continues from intact files, or says why it cannot."""
    files = [path.relative_to(whole / "run") for path in sorted((whole / "run").rglob("*")) if path.is_file()]
    others = [(whole / "run" / path).read_bytes() for path in files]
    inputs, finished = 600 if torture else 30, 0
    shutil.copytree(whole / "run", tmp_path / "right")
    expected = go_on(tmp_path / "right")
    for number in range(inputs):
        rng = random.Random(f"run {number}")
        root = tmp_path / "run"
        shutil.copytree(whole / "run", root)
        victim = root / rng.choice(files)
        victim.write_bytes(mutated(victim.read_bytes(), others, rng))
        try:
            with limited():
                found = go_on(root)
            if victim.name != "config.json":  # a changed config.json may describe another run
                assert {**found, "metrics": expected["metrics"]} == expected or victim.name != "metrics.jsonl"
                assert found["weights"] == expected["weights"], (number, victim)
            finished += 1
        except (*REFUSALS, DivergedError) as error:
            check_is_a_sentence(error, number)
        except BaseException as error:
            raise AssertionError(f"input {number}, {victim}: {error!r}") from error
        assert not list((root / "checkpoints").glob(".*.tmp"))
        shutil.rmtree(root)
    assert finished
    tally(
        "any file of a run damaged, and the run resumed",
        inputs,
        "continued from what is sound, or said why not",
    )

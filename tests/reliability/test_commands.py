"""Whole runs of the command line with odd flags, files and streams: an answer, one sentence, or an orderly end."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mutations import mutated, strange_text
from report_table import Tally
from scenes import two_at_a_time
from support import SMALLEST, TEXT, TINY, as_flags

from handgrad.data import Corpus, encode_corpus, write_token_files
from handgrad.runs import create_run
from handgrad.tokenizers import BPETokenizer, CharTokenizer
from handgrad.training import train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="streams of POSIX systems")
SECONDS = 10.0
"""Of the command's own, on an idle machine. Each start also imports NumPy, and the machine may be busy."""
MEMORY = 1 << 30
CODES = {0, 1, 2, 129, 130, 143}
SRC = Path(__file__).parents[2] / "src"

NUMBERS = (
    "0", "1", "2", "3", "-1", "7", "1.5", "-0.0", "1e-5", "1e38", "1e400", "nan", "inf", "-inf", "1_0", "٣", "", " ",
    "99999999999999999999", "9223372036854775807", "1000000", "x", "None", "True", "0x10", "--", "-",
)  # fmt: skip
INTEGERS = (
    "block-size", "n-layer", "n-head", "n-embd", "vocab-size", "batch-size", "grad-accum-steps", "max-steps",
    "warmup-steps", "step-size", "eval-interval", "eval-batches", "checkpoint-interval", "keep", "log-interval",
    "sample-interval", "seed", "shards", "replicas",
)  # fmt: skip
FLOATS = ("dropout", "lr", "min-lr", "step-gamma", "beta1", "beta2", "weight-decay", "grad-clip")
CHOICES = {
    "optimizer": ("adamw", "adam", "sgd", "lion", ""),
    "schedule": ("cosine", "constant", "step", "linear"),
    "tokenizer": ("char", "word", "bpe", "byte"),
    "norm": ("layer", "rms", "none"),
    "activation": ("gelu", "gelu_exact", "relu", "silu"),
    "on-nan": ("stop", "skip", "ignore"),
    "preset": ("quick", "shakespeare-cpu", "autograd-char", "../quick", "\x1b[31m"),
}
SWITCHES = ("bias", "no-bias", "tie-weights", "no-tie-weights", "nesterov", "tensorboard", "allow-inexact", "unknown")
SMALL = [*SMALLEST, *as_flags(batch_size=4, max_steps=4, shards=1)]
STREAMS = (
    "", "", "", "", "", "", ">&-", "2>&-", "<&-", ">&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1",
    "< /dev/zero", "< /dev/null", "| head -c 20", "2>&1 | head -n 1", "> out.txt 2>&1", "< bytes",
)  # fmt: skip
SIGNALS = (None, None, None, None, None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Call:
    """A command line, its streams, and the signal that it gets after a while."""

    arguments: list[str]
    streams: str
    asked: signal.Signals | None
    after: float


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands are given: texts, a run, token files, tokenizers, settings."""
    root = tmp_path_factory.mktemp("files")
    corpus = Corpus(TEXT, "test text")
    data = encode_corpus(corpus, CharTokenizer().train(TEXT))
    left = iter(range(12))
    config = TINY.updated({"max_steps": 14, "n_layer": 1, "shards": 1}, "test")
    train(create_run(root / "run", config, data, None, 1, None), data, should_stop=lambda: next(left, None) is None)
    write_token_files(root / "tokens", data)
    BPETokenizer(max_vocab_size=280).train(TEXT).save(root / "bpe.json")
    (root / "text.txt").write_text(TEXT)
    (root / "short.txt").write_text("ab")
    (root / "empty.txt").touch()
    (root / "bytes").write_bytes(bytes(range(256)))
    (root / "evil.txt").write_text("\x1b[2J\x07\u202e" * 300)
    (root / "settings.toml").write_text("n_layer = 1\nmax_steps = 3\n")
    (root / "directory").mkdir()
    return root


def call(number: int, root: Path) -> Call:
    rng = random.Random(f"command {number}")
    command = rng.choice(
        ("train", "train", "train", "train", "resume", "resume", "sample", "sample", "sample", "eval", "eval", "plot",
         "prepare", "prepare", "tokenize", "tokenize", "compare", "check", "bench",
         rng.choice(("", "trian", "--help", "--version")))
    )  # fmt: skip
    texts = ("text.txt", "text.txt", "text.txt", "short.txt", "empty.txt", "bytes", "evil.txt", "directory", "missing",
             "/dev/zero", "/dev/null", "run", "\udcff", "a\nb")  # fmt: skip
    runs = ("run", "run", "run", "run", "tokens", "missing", "text.txt", "", ".", "directory")
    out = rng.choice(
        ("out", "out", "out", "run", "text.txt/x", "/dev/null", "directory", "/proc/nothing", "deep/er/out")
    )
    if command in ("train", "compare"):
        arguments = [command, f"--text={rng.choice(texts)}", f"--out={out}", *SMALL]
        if command == "compare":
            arguments += ["--tokenizers", *rng.choice((["char"], ["char", "bpe"], ["x"], []))]
    elif command == "resume":
        arguments = ["train", f"--resume={rng.choice(runs)}"]
        arguments += rng.choice(
            ([], [], ["--data=tokens"], ["--allow-inexact"], ["--text=text.txt"], ["--max-steps=20"])
        )
    elif command == "prepare":
        arguments = ["prepare", rng.choice(("-", f"--text={rng.choice(texts)}")), f"--out={out}"]
        arguments += [f"--tokenizer={rng.choice(('char', 'word', 'bpe', 'bpe.json', 'run', 'x'))}"]
    elif command == "tokenize":
        arguments = ["tokenize", rng.choice((*runs, "bpe.json")), *rng.choice(([], ["-"], [unencoded(rng)]))]
    elif command in ("sample", "eval", "plot"):
        arguments = [command, rng.choice(runs)]
        if command == "sample":
            arguments += [f"--prompt={unencoded(rng)}", f"--tokens={rng.choice(('20', *NUMBERS[:6]))}"]
            flags = ("temperature", "top-k", "top-p", "min-p", "repetition-penalty", "seed", "samples")
            arguments += [f"--{rng.choice(flags)}={rng.choice(NUMBERS[:13])}"]
        if command == "eval" and rng.random() < 0.5:
            arguments += [f"--text={rng.choice(texts)}"]
        if command == "plot" and rng.random() < 0.5:
            arguments += [f"--out={rng.choice(('x.png', 'x.xyz', 'x.svg', 'directory', 'missing/x.png', '/dev/full'))}"]
    elif command in ("check", "bench"):
        arguments = [command, rng.choice(("--unknown", "--help", "--rounds=0", "nothing"))]
    else:
        arguments = [command]
    if arguments[0] in ("train", "compare"):
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            kind = rng.random()
            if kind < 0.5:
                arguments.append(f"--{rng.choice(INTEGERS)}={rng.choice(NUMBERS)}")
            elif kind < 0.75:
                arguments.append(f"--{rng.choice(FLOATS)}={rng.choice(NUMBERS)}")
            elif kind < 0.9:
                name = rng.choice(list(CHOICES))
                arguments.append(f"--{name}={rng.choice(CHOICES[name])}")
            else:
                arguments.append(f"--{rng.choice(SWITCHES)}")
    asked = rng.choice(SIGNALS)
    return Call(arguments, rng.choice(STREAMS), asked, rng.uniform(0.5, 3.0))


def unencoded(rng: random.Random) -> str:
    """A strange text that can be an argument."""
    text = strange_text(rng).replace("\x00", "")[:2000]
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


def damage(directory: Path, rng: random.Random) -> None:
    """Sometimes one of the files is not as it was."""
    if rng.random() < 0.3:
        found = sorted(path for path in directory.rglob("*") if path.is_file())
        victim = rng.choice(found)
        content = mutated(victim.read_bytes(), [path.read_bytes() for path in found], rng)
        victim.write_bytes(content[: 8 << 20])


@pytest.mark.slow
def test_whole_commands(files: Path, tmp_path: Path, torture: bool, tally: Tally) -> None:
    """No traceback, no hang, no memory beyond a gibibyte, and no exit code but those that are documented."""
    failures: list[str] = []

    def run(number: int) -> bool:
        directory = tmp_path / f"run-{number}"
        shutil.copytree(files, directory, symlinks=True)
        damage(directory, random.Random(f"damage {number}"))
        failures.extend(f"input {number}: {what}" for what in faults_of(call(number, files), directory))
        shutil.rmtree(directory)
        return True

    count = sum(two_at_a_time(run, range(500 if torture else 12)))
    assert failures == []
    tally("whole commands with odd flags, files and streams, some with a signal", count, "an answer or one sentence")


def faults_of(one: Call, directory: Path) -> list[str]:
    """What is wrong with a command's end, in words."""
    words = " ".join(quoted(word) for word in one.arguments)
    # The shell's own code would hide that of the program before a pipe.
    line = f"{sys.executable} -m handgrad {words} {one.streams}"
    line += "; exit ${PIPESTATUS[0]}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(SRC),
        "HANDGRAD_BACKEND": "numpy",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "2",
        "MPLCONFIGDIR": str(directory.parent / "matplotlib"),
    }
    process = subprocess.Popen(
        [b"bash", b"-c", os.fsencode(line)],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=default_signals,
    )
    timer = None
    if one.asked is not None:
        timer = _after(one.after, lambda: _send(process.pid, one.asked))
    faults = []
    try:
        printed, errors = process.communicate(timeout=SECONDS * _slowness())
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, errors = process.communicate()
        faults.append("it hangs")
    if timer is not None:
        timer()
    said = errors.decode(errors="replace")
    code = process.returncode
    # bash itself may be ended by the signal before the program, whose code is then unknown.
    if code not in CODES and not (one.asked is not None and code == -one.asked):
        faults.append(f"exit code {code}")
    for stream in (said, printed.decode(errors="replace")):
        if "Traceback (most recent call last)" in stream or "Exception ignored" in stream:
            faults.append("a traceback")
    if code == 2 and one.asked is None and "handgrad: " not in said + printed.decode(errors="replace"):
        silent = any(part in one.streams for part in ("2>", "|", ">&-", "/dev/full", "out.txt"))
        if not silent and one.arguments != [""]:
            faults.append("refused without a sentence")
    return [f"{fault}: {one} {said[-800:]}" for fault in faults]


def default_signals() -> None:
    """As a shell starts a program; with a limit on memory, beyond which allocations fail."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _send(group: int, number: "signal.Signals | None") -> None:
    if number is not None:
        os.killpg(group, number)


def _after(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """Calls ``act`` after a while in another thread; returns what prevents it."""

    def guarded() -> None:
        with contextlib.suppress(ProcessLookupError):
            act()

    timer = threading.Timer(seconds, guarded)
    timer.start()
    return timer.cancel


_measured: list[float] = []


def _slowness() -> float:
    """How much slower than half a second a start is here and now, at least 1."""
    if not _measured:
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(SRC)}
        subprocess.run(
            [sys.executable, "-m", "handgrad", "train", "--help"], env=environment, capture_output=True, check=True
        )
        _measured.append(max(1.0, (time.monotonic() - began) / 0.5))
    return _measured[0]


def test_calls_are_as_varied_as_they_should_be(files: Path) -> None:
    calls = [call(number, files) for number in range(500)]
    assert {one.arguments[0] for one in calls} >= {"train", "sample", "eval", "plot", "prepare", "tokenize", "compare"}
    assert len({json.dumps(one.arguments) for one in calls}) > 350
    assert {one.streams for one in calls} == set(STREAMS)
    assert sum(one.asked is not None for one in calls) > 100

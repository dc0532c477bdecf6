"""What goes wrong around a command: closed streams, full disks, missing libraries, strange models and files."""

import errno
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import SMALLEST, Output, as_flags

from handgrad import models
from handgrad.cli import main as main_module
from handgrad.generation import Strategy, generate
from handgrad.models import GPTConfig, new_model
from handgrad.models.formats.model_in_checkpoint import read_state, sha256_of_json
from handgrad.runs import Run, find_checkpoint
from handgrad.system.errors import DamagedError, InputError
from handgrad.system.state_files import load, read_safetensors, safetensors_bytes
from handgrad.tokenizers import BPETokenizer, CharTokenizer, WordTokenizer
from handgrad.training import train

Handgrad = Callable[..., Output]
NewRun = Callable[..., Run]


@pytest.fixture
def trained(new_run: NewRun) -> Path:
    run = new_run(max_steps=2, n_layer=1)
    train(run, run.data())
    return run.path


def shell(command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """A line for the shell, in which HANDGRAD stands for the program."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "HANDGRAD_BACKEND": "numpy"}
    line = command.replace("HANDGRAD", f"{sys.executable} -m handgrad")
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=environment, check=False, timeout=120, **options
    )


posix = pytest.mark.skipif(os.name == "nt", reason="streams of POSIX systems")


@posix
@pytest.mark.parametrize(
    ("streams", "code", "out", "err"),
    [
        (">&-", 0, False, ""),
        ("2>&-", 0, True, ""),
        ("<&-", 0, True, ""),
        (">&- 2>&- <&-", 0, False, ""),
        ("2>/dev/full", 0, True, ""),
        (">/dev/full", 2, False, "handgrad: the output: No space left on device\n"),
        (">/dev/full 2>/dev/full", 2, False, ""),
    ],
)
def test_streams_that_cannot_be_written(trained: Path, streams: str, code: int, out: bool, err: str) -> None:
    done = shell(f"HANDGRAD sample '{trained}' --tokens 5 {streams}")
    assert (done.returncode, done.stdout != "", done.stderr) == (code, out, err)


@posix
def test_a_warning_that_cannot_be_written_leaves_the_exit_code(trained: Path) -> None:
    done = shell(f"HANDGRAD sample '{trained}' --tokens 5 --prompt 'Ω' 2>/dev/full")
    assert (done.returncode, done.stdout[:1]) == (0, "Ω")


@posix
def test_a_refusal_goes_to_no_other_stream(tmp_path: Path) -> None:
    done = shell(f"HANDGRAD sample '{tmp_path}' 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


@posix
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Otherwise what a library prints to descriptor 2 would go into a file of the run."""
    script = (
        "import os, sys; from handgrad.cli.main import replace_closed_streams; replace_closed_streams(); "
        "number = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); os.write(2, b'noise'); sys.exit(number)"
    )
    done = shell(f"{sys.executable} -c \"{script}\" '{tmp_path / 'file'}' <&- >&- 2>&-")
    assert done.returncode > 2
    assert (tmp_path / "file").read_bytes() == b""


def dispatching(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(main_module, "_dispatch", fail)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("can't start new thread"), "the system starts no more threads (ulimit -u, or the limit of a "),
        (MemoryError(), "out of memory\n"),
        (MemoryError("Unable to allocate 3 GiB"), "out of memory: Unable to allocate 3 GiB\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "the output: No space left on device\n"),
        (OSError(errno.EIO, "Input/output error", "a/file"), "a/file: Input/output error\n"),
        (
            ModuleNotFoundError("No module named 'rich'", name="rich"),
            "the command line needs rich, which is not installed: pip install rich\n",
        ),
        (
            ModuleNotFoundError("", name="PIL"),
            "the command line needs PIL, which is not installed: pip install pillow\n",
        ),
        (
            ModuleNotFoundError("", name="rich.live"),
            "rich is incomplete, it has no rich.live: pip install --force-reinstall rich\n",
        ),
        (
            ImportError("lib.so: failed to map\n\nit", name="_image"),
            "_image cannot be loaded: lib.so: failed to map it\n",
        ),
        (
            ImportError("Advice.\nOriginal error was: lib.so: no memory"),
            "a library cannot be loaded: lib.so: no memory",
        ),
    ],
)
def test_errors_of_the_system_are_sentences(
    error: BaseException, said: str, handgrad: Handgrad, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatching(error, monkeypatch)
    done = handgrad("train")
    assert (done.code, done.err.startswith(f"handgrad: {said}"), done.err.count("\n")) == (2, True, 1), done.err


def test_other_runtime_errors_are_not_hidden(handgrad: Handgrad, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatching(RuntimeError("a fault of ours"), monkeypatch)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        handgrad("train")


def test_no_thread_can_be_started(
    handgrad: Handgrad, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    assert handgrad("prepare", "--text", text_file, "--out", tmp_path / "tokens").code == 0  # with threads
    monkeypatch.setattr(threading.Thread, "start", fail)
    small = [*SMALLEST, *as_flags(max_steps=4, warmup_steps=0, shards=2)]
    done = handgrad("train", "--data", tmp_path / "tokens", "--out", tmp_path / "run", *small)
    assert (done.code, "starts no more threads" in done.err) == (2, True)
    monkeypatch.undo()
    assert handgrad("train", "--resume", tmp_path / "run").code == 0


def test_a_librarys_warning_is_a_sentence_without_its_source(
    handgrad: Handgrad, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warns(argv: list[str]) -> int:
        warnings.warn("the font lacks\n a character", UserWarning, stacklevel=1)
        with np.errstate(all="warn"):
            np.array([1e38], np.float32) * np.float32(1e38)
        return 0

    monkeypatch.setattr(main_module, "_dispatch", warns)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = handgrad("train")
    assert (done.code, done.err) == (0, "handgrad: warning: the font lacks a character\n")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_with_such_weights(handgrad: Handgrad, trained: Path, value: float) -> None:
    """The hashes are those of a model that has diverged, as another program may have written it."""
    spoil(trained, value)
    done = handgrad("sample", trained, "--tokens", 3)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "the model's logits are " in done.err


def spoil(run: Path, value: float) -> None:
    """Puts a value into the gain of the last norm, in every checkpoint."""
    for checkpoint in (run / "checkpoints").iterdir():
        arrays, metadata = read_safetensors(checkpoint / "model.safetensors")
        arrays["ln_f.weight"][:] = value
        content = safetensors_bytes(arrays, next(iter(metadata.items())))
        (checkpoint / "model.safetensors").write_bytes(content)
        rehash(checkpoint, "model.safetensors", content)


def rehash(checkpoint: Path, name: str, content: bytes) -> None:
    import hashlib

    state = json.loads((checkpoint / "state.json").read_text())
    state["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    state.pop("sha256")
    state["sha256"] = sha256_of_json(state)
    (checkpoint / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("logits", [[0.0, np.inf], [np.nan, 0.0], [-np.inf, -np.inf], [np.inf, np.inf]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_from_which_nothing_can_be_drawn(logits: list[float], temperature: float) -> None:
    with pytest.raises(InputError, match=r"the model's logits are (NaN|infinite): its training diverged"):
        Strategy(temperature).choose(np.array(logits, np.float32), np.random.default_rng(0))
    assert Strategy(temperature).choose(np.array([-np.inf, 1.0]), np.random.default_rng(0)) == 1


@pytest.mark.parametrize("described", ["[]", "[[1, 2]]", '"text"', "5", "null", "{}", "true"])
def test_metadata_that_is_json_but_no_object(described: str, tmp_path: Path) -> None:
    for key, read in (("handgrad.model", models.load), ("handgrad", load)):
        path = tmp_path / f"{key}.safetensors"
        path.write_bytes(safetensors_bytes({"a": np.ones(2, np.float32)}, (key, described)))
        with pytest.raises(InputError, match=f"{path} is damaged"):
            read(path)


@pytest.mark.parametrize("header", [b'{"__metadata__":[]}', b'{"__metadata__":{"handgrad":1}}', b"[]", b'{"a":5}'])
def test_headers_that_are_json_but_no_object(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    for read in (models.load, load):
        with pytest.raises(DamagedError, match="is damaged"):
            read(path)


@pytest.mark.parametrize("size", ["12", None, 1.5, [], {}, True, -1, 10**400])
def test_sizes_in_state_json_that_are_no_numbers(trained: Path, size: object) -> None:
    checkpoint = find_checkpoint(trained)
    state = json.loads((checkpoint / "state.json").read_text())
    state["files"]["model.safetensors"]["bytes"] = size
    state.pop("sha256")
    state["sha256"] = sha256_of_json(state)
    (checkpoint / "state.json").write_text(json.dumps(state))
    with pytest.raises(DamagedError, match=r"step-0000000\d is damaged: "):
        read_state(checkpoint)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([1.5], "decode: ids must be integers, not 1.5"),
        ([5, 6.0], "decode: ids must be integers, not 6.0"),
        ([float("nan")], "decode: ids must be integers, not nan"),
        ([True], "decode: ids must be integers, not True"),
        ([None], "decode: ids must be integers, not None"),
        (["5"], "decode: ids must be integers, not 5"),
        (np.array([5.0]), "decode: ids must be integers, not 5.0"),
        ([[5]], r"decode: ids must be one row of integers, not of shape \(1, 1\)"),
        ([[5], [5, 6]], "decode: ids must be one row of integers, not several rows"),
        (np.array(5), r"decode: ids must be one row of integers, not of shape \(\)"),
    ],
)
def test_decode_of_numbers_that_are_no_ids(ids: Any, said: str) -> None:
    for tokenizer in (CharTokenizer(), WordTokenizer(), BPETokenizer(max_vocab_size=270)):
        tokenizer.train("some text, some words")
        for decode in (tokenizer.decode, tokenizer.decode_bytes):
            with pytest.raises(InputError, match=said):
                decode(ids)
        with pytest.raises(IndexError, match="decode: id 1267650600228229401496703205376 is outside"):
            tokenizer.decode([5, 2**100])
        assert tokenizer.decode([]) == ""
        assert tokenizer.decode(np.array([4], np.uint16)) == tokenizer.decode([np.int64(4)])


def test_generate_takes_ids_only() -> None:
    model = new_model(GPTConfig(vocab_size=7, block_size=4, n_layer=1, n_head=1, n_embd=4))
    for ids in ([1.5], ["1"], [None]):
        with pytest.raises(InputError, match="generate: ids must be integers"):
            list(generate(model, ids, 2))  # type: ignore[arg-type]
    assert len(list(generate(model, np.array([1, 2], np.uint16), 2))) == 2


@posix
def test_short_of_memory(trained: Path) -> None:
    """No traceback for any limit, though a library in C may crash by itself if it has no room to be loaded."""
    codes = []
    for kibibytes in (100_000, 400_000):
        line = f"ulimit -v {kibibytes}; OPENBLAS_NUM_THREADS=1 HANDGRAD plot '{trained}' --out '{trained}/x.png'"
        done = shell(line)
        assert "Traceback" not in done.stderr, (kibibytes, done.stderr)
        codes.append(done.returncode)
    assert codes[-1] == 0
    assert codes[0] < 3

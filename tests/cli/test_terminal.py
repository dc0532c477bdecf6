"""Escape codes in texts from files: shown on a terminal, left alone in files and pipes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text
from support import TINY

from handgrad.cli import console, terminal
from handgrad.cli.console import make_console
from handgrad.cli.prepare import PreparingDisplay
from handgrad.cli.terminal import printable, shown_as_text
from handgrad.data import Corpus, encode_corpus
from handgrad.runs import Run, create_run
from handgrad.tokenizers import CharTokenizer
from handgrad.training import train

EVIL = "\x1b]0;title\x07\x1b[2J\x9b1m\u202eabc\rdef"
HARMLESS = "\\x1b]0;title\\x07\\x1b[2J\\x9b1m\\u202eabc\\x0ddef"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_steers_a_terminal_is_written_out() -> None:
    assert shown_as_text(EVIL) == HARMLESS
    plain = "a\tb\nc é 漢字 👩‍👩‍👧 \\x1b ½"
    assert shown_as_text(plain) == plain
    assert printable(EVIL, Terminal()) == HARMLESS
    for other in (io.StringIO(), io.BytesIO(), None):
        assert printable(EVIL, other) == EVIL


def test_sentences_and_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, expected in ((Terminal(), HARMLESS), (io.StringIO(), EVIL)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        console.warn(EVIL)
        terminal.show(EVIL, end="|")
        assert stream.getvalue() == f"handgrad: warning: {expected}\n{expected}|"


def test_the_console_obeys_its_own_codes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    shown = make_console()
    shown.print(EVIL)
    shown.print(Text(EVIL))  # Rich drops \x07 and \r by itself
    shown.print(Text("fine", "green"))
    assert stream.getvalue().startswith(HARMLESS + "\n" + HARMLESS.replace("\\x07", "").replace("\\x0d", "") + "\n")
    assert "\x1b[32mfine\x1b[0m" in stream.getvalue()
    display = PreparingDisplay(shown)
    display.report(f"receiving [red]{EVIL}", 0, None)
    assert display.live.tasks[0].description == f"receiving [red]{HARMLESS}"


@pytest.fixture
def evil_run(tmp_path: Path) -> Run:
    """A run on a text of escape codes, whose source's name is one too."""
    corpus = Corpus("\x1b[31m\x07" * 500, f"the {EVIL} text")
    data = encode_corpus(corpus, CharTokenizer().train(corpus.text))
    run = create_run(tmp_path / "run", TINY.updated({"max_steps": 2, "n_layer": 1}, "test"), data, None, 2, None)
    train(run, data)
    return run


def on_a_terminal(*arguments: object) -> bytes:
    """What a command shows on a terminal of its own."""
    import pty

    terminal, inside = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "HANDGRAD_BACKEND": "numpy"}
    process = subprocess.Popen(
        [sys.executable, "-m", "handgrad", *map(str, arguments)], stdout=inside, stderr=inside, env=environment
    )
    os.close(inside)
    shown = b""
    try:
        while part := os.read(terminal, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert process.wait(timeout=60) in (0, 2)
    return shown


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX systems")
def test_samples_figures_and_refusals_on_a_terminal(evil_run: Run) -> None:
    sampled = on_a_terminal("sample", evil_run.path, "--tokens", 50)
    assert b"\x1b" not in sampled
    assert b"\\x1b" in sampled
    measured = on_a_terminal("eval", evil_run.path)
    assert b"\x1b" not in measured
    assert HARMLESS.encode() in measured
    config = evil_run.path / "config.json"
    config.write_text(config.read_text().replace('"adamw"', '"\\u001b[31mred"'))
    refused = on_a_terminal("sample", evil_run.path)
    assert b"\x1b" not in refused
    assert b"\\x1b[31mred" in refused


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX systems")
def test_bytes_are_left_alone_in_a_pipe(evil_run: Run) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "HANDGRAD_BACKEND": "numpy"}
    command = [sys.executable, "-m", "handgrad", "sample", str(evil_run.path), "--tokens", "50"]
    piped = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"\x1b" in piped.stdout
    assert b"\\x1b" not in piped.stdout

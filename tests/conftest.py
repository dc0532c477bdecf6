"""What many tests start from: a small text, a tiny run, the command line called in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from handgrad.cli.main import main
from handgrad.data import Corpus, encode_corpus
from handgrad.tokenizers import make_tokenizer
from handgrad.training import Run, TrainConfig, create_run

SHAKESPEARE = Path(__file__).parent.parent.parent / "shared" / "data" / "tinyshakespeare.txt"
TEXT = "the quick brown fox jumps over the lazy dog; the five boxing wizards jump quickly.\n" * 40

TINY = TrainConfig(
    block_size=8,
    n_layer=2,
    n_head=2,
    n_embd=12,
    batch_size=5,
    max_steps=20,
    lr=1e-2,
    min_lr=1e-3,
    warmup_steps=3,
    eval_interval=5,
    checkpoint_interval=4,
    log_interval=2,
    replicas=2,
)


@pytest.fixture
def shakespeare() -> Path:
    """Tiny Shakespeare, where a copy lies beside the repository."""
    if not SHAKESPEARE.is_file():
        pytest.skip(f"tiny Shakespeare is not at {SHAKESPEARE}")
    return SHAKESPEARE


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes a run directory for TINY, some fields changed."""

    def make(name: str = "run", init_from: Path | None = None, **changes: Any) -> Run:
        config = TINY.updated(changes, "test")
        corpus = Corpus(TEXT, "test text")
        data = encode_corpus(corpus, make_tokenizer(config.tokenizer, config.vocab_size).train(corpus.split()[0]))
        return create_run(tmp_path / name, config, data, None, min(config.replicas, config.batch_size), init_from)

    return make


@dataclass(frozen=True)
class Output:
    code: int
    out: str
    err: str


@pytest.fixture
def handgrad(capsys: pytest.CaptureFixture[str]) -> Callable[..., Output]:
    """Runs a command in this process."""

    def run(*arguments: object) -> Output:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # --help
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Output(code, captured.out, captured.err)

    return run


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

"""Byte-pair encoding beside the ``tokenizers`` library, if it is installed."""

from typing import Any

from handgrad.benchmarking.cases import text
from handgrad.benchmarking.contenders import Contender
from handgrad.runs.environment import installed_versions
from handgrad.tokenizers import BPETokenizer

VOCAB_SIZE = 2048


def encoders() -> list[Contender]:
    """The contenders that encode the text line by line, with the same merges; a call returns the number of tokens."""
    lines = text().splitlines(keepends=True)
    tokenizer = BPETokenizer(max_vocab_size=VOCAB_SIZE).train(lines)
    contenders = [Contender("handgrad", lambda: float(sum(len(tokenizer.encode(line)) for line in lines)))]
    if installed_versions("tokenizers"):
        theirs = _same(tokenizer)
        contenders.append(Contender("tokenizers", lambda: float(sum(len(theirs.encode(line).ids) for line in lines))))
    return contenders


def _same(tokenizer: BPETokenizer) -> Any:
    import tempfile
    from pathlib import Path

    import tokenizers

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.to_huggingface(path)
        return tokenizers.Tokenizer.from_file(str(path))

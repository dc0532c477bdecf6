"""The cost of tokenizing: byte-pair encoding beside the ``tokenizers`` library, in turn, as the median of the ratios.

    python benchmarks/tokenizing.py --text tinyshakespeare.txt
    HANDGRAD_BACKEND=numpy python benchmarks/tokenizing.py --text tinyshakespeare.txt       Python alone

Uses the text once and ten times, in lines; vocabulary 8,192, GPT-2's pattern. Both learn from the lines, that library
on two threads. Both encode one line after another on one thread, with new tokenizers for each round, so that no piece
is cached. Ours is compiled before the first round, which does not count.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "2"  # both libraries read these once, when they are loaded
os.environ.setdefault("HANDGRAD_BACKEND", "numba")

import tokenizers as theirs
from tokenizers import models, pre_tokenizers, trainers

from handgrad.tokenizers import BPETokenizer

VOCAB_SIZE = 8192
SPECIAL = 4  # tokens that only ours has


def train_ours(lines: list[str]) -> BPETokenizer:
    return BPETokenizer(max_vocab_size=VOCAB_SIZE + SPECIAL).train(lines)


def train_theirs(lines: list[str]) -> Any:
    tokenizer = theirs.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turn(rounds: int, works: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """The seconds of each work in each round, after a round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            times[name].append(work())
    return {name: found[1:] for name, found in times.items()}


def report(name: str, size: float, times: dict[str, list[float]]) -> None:
    """Prints the medians, and the ratios to the last contender."""
    *_, against = times.values()
    for one, found in times.items():
        ratios = [a / b for a, b in zip(found, against, strict=True)]
        median = statistics.median(found)
        print(
            f"{name}, {one:33} {median * 1000:6.0f} ms {size / median:6.1f} MB/s  {statistics.median(ratios):5.2f} "
            f"of the library's time ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def compare(lines: list[str], rounds: int) -> None:
    text = "".join(lines)
    size = len(text.encode()) / 1e6
    ours, library = train_ours(lines), train_theirs(lines)
    content, written = json.loads(ours.to_bytes()), library.to_str()
    merges = zip(content["merges"], json.loads(written)["model"]["merges"], strict=False)
    same_merges = sum(one.split(" ") == other for one, other in merges)
    some = lines[:50_000]
    same_ids = sum(ours.encode(line).tolist() == [i + SPECIAL for i in library.encode(line).ids] for line in some)
    print(
        f"\n{size:.1f} MB in {len(lines):,} lines; {len(ours.merges):,} merges, of which {same_merges:,} are the "
        f"library's, in its order; {same_ids:,} of {len(some):,} lines have its ids"
    )

    def cold() -> float:
        tokenizer = BPETokenizer.from_content(content)
        return seconds(lambda: [tokenizer.encode(line) for line in lines])

    def at_once() -> float:
        tokenizer = BPETokenizer.from_content(content)
        return seconds(lambda: tokenizer.encode(text))

    def cold_library() -> float:
        tokenizer = theirs.Tokenizer.from_str(written)
        return seconds(lambda: [tokenizer.encode(line).ids for line in lines])

    training = {
        "ours": lambda: seconds(lambda: train_ours(lines)),
        "theirs": lambda: seconds(lambda: train_theirs(lines)),
    }
    encoding = {
        "ours, line by line": cold,
        "ours, line by line, pieces cached": lambda: seconds(lambda: [ours.encode(line) for line in lines]),
        "ours, all at once": at_once,
        "theirs, line by line": cold_library,
    }
    report("training", size, in_turn(rounds, training))
    report("encoding", size, in_turn(rounds, encoding))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="a UTF-8 file")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    lines = arguments.text.read_text(encoding="utf-8").splitlines(keepends=True)
    for times in (1, 10):
        compare(lines * times, arguments.rounds)


if __name__ == "__main__":
    main()

"""What training keeps of a text: exact counts while there is room, and counts with a bound on the error after that."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.tokenizers import BPETokenizer, WordTokenizer, counting
from handgrad.tokenizers.counting import PieceCounts, texts_in_groups

BATCHES = st.lists(st.dictionaries(st.sampled_from("abcdefgh") | st.text(max_size=6), st.integers(1, 9), max_size=12))


def truth_and_counts(parts: list[dict[str, int]]) -> tuple[Counter[str], PieceCounts]:
    truth: Counter[str] = Counter()
    counts = PieceCounts()
    for part in parts:
        truth.update(part)
        counts.add(part)
    return truth, counts


@given(BATCHES)
def test_counts_are_true_while_there_is_room(parts: list[dict[str, int]]) -> None:
    truth, counts = truth_and_counts(parts)
    assert dict(counts) == dict(counts.items()) == truth
    assert counts.at_most_missed == 0


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(BATCHES, st.integers(9, 120))
def test_what_is_forgotten_is_rare_and_its_bound_is_known(parts: list[dict[str, int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(counting, "MOST_KEPT", most)
        truth, counts = truth_and_counts(parts)
        assert sum(8 + len(piece.encode()) for piece in counts) <= most or len(counts) == 1
    for piece, count in truth.items():
        assert counts.get(piece, 0) <= count <= counts.get(piece, 0) + counts.at_most_missed


def test_what_comes_late_or_seldom_at_a_time_is_kept_where_it_is_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_KEPT", 20_000)  # some 1,300 words
    rng = random.Random(0)

    def rare() -> dict[str, int]:
        return {f"{rng.randrange(10**8):08}": 1 for _ in range(300)}

    parts = [{**rare(), "steady": 1, **({"late": 3} if number > 150 else {}), **({"early": 2} if number < 2 else {})}
             for number in range(200)]  # fmt: skip
    truth, counts = truth_and_counts(parts)
    assert len(truth) > 50_000
    assert (counts["steady"], counts["late"]) == (200, 147)
    assert "early" not in counts


def test_where_all_are_equally_rare_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_KEPT", 1000)
    _, counts = truth_and_counts([{f"{number:02}{i:02}": 1 for i in range(20)} for number in range(50)])
    assert len(counts) >= 62  # three quarters of 1,000 at 12 bytes each
    assert min(counts) > "45"
    _, counts = truth_and_counts([{"a" * 5000: 1}])
    assert len(counts) == 1  # the only one stays


def test_a_vocabulary_is_learned_though_all_lines_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_KEPT", 4000)
    monkeypatch.setattr(counting, "_CHARACTERS_AT_A_TIME", 1000)
    rng = random.Random(1)
    lines = ["".join(rng.choices("ACGT", k=70)) for _ in range(1000)]
    assert BPETokenizer(max_vocab_size=300).train(lines).vocab_size == 300
    words = [f"common {rng.randrange(10**9)}\n" for _ in range(5000)]
    assert "common" in WordTokenizer(max_vocab_size=40).train(words).known


def test_texts_come_in_batches_and_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_CHARACTERS_AT_A_TIME", 5)
    assert list(texts_in_groups(iter(["ab", "cde", "", "f", "ghijklm", "n"]))) == [
        ["ab", "cde"],
        ["", "f", "ghijklm"],
        ["n"],
    ]
    assert list(texts_in_groups([])) == []

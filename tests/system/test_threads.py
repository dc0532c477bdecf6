"""Threads that share work, and keeping freed memory."""

import threading
import time

import numpy as np
import pytest

from handgrad.system.memory import keep_freed_memory
from handgrad.system.threads import ALONE, Team


@pytest.mark.parametrize("size", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(size: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.002 * (5 - item % 5))
        return item * item

    with Team(size) as team:
        for _ in range(3):
            assert team.map(slow, range(17)) == [item * item for item in range(17)]
        assert team.map(slow, []) == []


def test_the_calling_thread_works_too_and_others_beside_it() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def work(_: int) -> str:
        meeting.wait()  # returns only when three threads wait at once
        return threading.current_thread().name

    with Team(3) as team:
        names = team.map(work, range(3))
    assert len(set(names)) == 3
    assert threading.current_thread().name in names
    assert ALONE.map(lambda _: threading.current_thread().name, [1]) == [threading.current_thread().name]


@pytest.mark.parametrize("failing", [0, 1, 9])
def test_a_failure_is_raised_once_all_have_stopped(failing: int) -> None:
    running = []

    def work(item: int) -> None:
        running.append(item)
        time.sleep(0.01)
        if item == failing:
            raise ValueError(f"item {item}")
        running.remove(item)

    for size in (2, 3, 4):
        running.clear()
        with Team(size) as team:
            with pytest.raises(ValueError, match=f"item {failing}"):
                team.map(work, range(10))
            assert running == [failing]
            assert team.map(abs, [-1, -2]) == [1, 2]  # and the team still works


def test_nobody_begins_another_item_after_a_failure() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("a helper's")

    with Team(3) as team, pytest.raises(ValueError, match="a helper's"):
        team.map(work, range(50))
    assert len(begun) < 10


def test_a_team_may_be_asked_from_inside_its_own_work() -> None:
    with Team(2) as team:
        assert team.map(lambda i: sum(team.map(abs, [-i, i])), range(4)) == [0, 2, 4, 6]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, 4096])
def test_pieces_cover_a_range_once(size: int) -> None:
    for threads in (1, 2, 3, 7):
        pieces = Team(threads).pieces(size)
        assert len(pieces) <= threads
        np.testing.assert_array_equal(
            np.concatenate([np.arange(size)[p] for p in [*pieces, slice(0)]]), np.arange(size)
        )
        assert all(piece.start % 16 == 0 for piece in pieces)


def test_keeping_freed_memory_can_be_asked_again() -> None:
    assert keep_freed_memory() == keep_freed_memory()

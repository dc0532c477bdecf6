"""Threads that help with products of bfloat16. Each scene runs in another process, which a limit ends if it hangs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from handgrad.kernels.products import bfloat16, crew, helped_by, helping, multiply_arrays
from handgrad.system.threads import Team

rng = np.random.default_rng(0)

def operands(M, N, K, a_turned=False, b_turned=False):
    a, b = rng.standard_normal((M, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)
    return np.asarray(a, order="F" if a_turned else "C"), np.asarray(b, order="F" if b_turned else "C")

def product(a, b):
    c = np.full((len(a), b.shape[1]), np.nan, np.float32)
    multiply_arrays(a, b, c, "bfloat16")
    return c

def wait_for_helpers(count):
    while helping._crew[crew._PRESENT] < count:
        pass

LARGE = [(96, 512, 130), (97, 1000, 260), (300, 33, 1300), (5, 4096, 300), (1, 70000, 61)]
# All are large enough to be shared, and some second matrices large enough to be packed together.
assert all(M * N * K >= bfloat16._MULTIPLIED_ALONE for M, N, K in LARGE)
assert any(N * K >= bfloat16._PACKED_ALONE for M, N, K in LARGE)
"""


def run(scene: str, limit: float = 60) -> str:
    """What a scene prints; it must end by itself."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", BEGIN + scene],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=limit,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.slow
def test_help_changes_no_bit() -> None:
    """Of one product after another, in all layouts, and of small ones, which a thread computes alone, between them."""
    scene = """
tasks = [operands(*sizes, a, b) for sizes in LARGE for a, b in ((0, 0), (0, 1), (1, 0))] + [operands(3, 5, 7)]
alone = [product(a, b).tobytes() for a, b in tasks]
for size in (2, 3, 5):
    with Team(size) as team, helped_by(team):
        wait_for_helpers(size - 1)
        jobs = int(helping._crew[crew._JOB])
        for _ in range(6):
            assert [product(a, b).tobytes() for a, b in tasks] == alone, size
        print(helping._crew[crew._JOB] - jobs > 6 * 15)
"""
    assert run(scene).split() == ["True"] * 3


def test_help_adds_once_to_what_was_there() -> None:
    scene = """
from product_cases import code_of, compiled_ways, products
way, code = compiled_ways()["plain"], code_of("bfloat16")
a, b = operands(200, 400, 128)
packed, before = products.new_packed(code, b.shape), rng.standard_normal((200, 400)).astype(np.float32)
def added(times):
    c = before.copy()
    for _ in range(times):
        way(a, b, packed, c, np.float32(1), code)
    return c.tobytes()
alone = added(20)
for size in (2, 3, 5):
    with Team(size) as team, helped_by(team):
        wait_for_helpers(size - 1)
        print(added(20) == alone)
"""
    assert run(scene).split() == ["True"] * 3


def test_two_threads_multiply_while_one_crew_helps() -> None:
    scene = """
tasks = [operands(*sizes) for sizes in LARGE]
alone = [product(a, b).tobytes() for a, b in tasks]
def all_tasks(_):
    return all(product(a, b).tobytes() == c for _ in range(15) for (a, b), c in zip(tasks, alone))
with Team(3) as team, helped_by(team):
    wait_for_helpers(2)
    with ThreadPoolExecutor(2) as others:
        print(all(others.map(all_tasks, range(2))))
"""
    assert run(scene) == "True"


def test_two_teams_help_at_the_same_time() -> None:
    """In two threads, each with a team of its own; and one inside the other, in one thread."""
    scene = """
tasks = [operands(*sizes) for sizes in LARGE]
alone = [product(a, b).tobytes() for a, b in tasks]
def with_a_team(_):
    with Team(3) as team:
        for _ in range(40):
            with helped_by(team):
                if not all(product(a, b).tobytes() == c for (a, b), c in zip(tasks, alone)):
                    return False
    return True
with ThreadPoolExecutor(2) as others:
    print(all(others.map(with_a_team, range(2))))
with Team(2) as outer, Team(3) as inner, helped_by(outer):
    wait_for_helpers(1)
    with helped_by(inner):
        print([product(a, b).tobytes() for a, b in tasks] == alone)
    print([product(a, b).tobytes() for a, b in tasks] == alone, helping._crew[crew._PRESENT])
print(helping._crew[crew._PRESENT])
"""
    assert run(scene).split() == ["True", "True", "True", "1", "0"]


def test_a_crew_opens_and_closes_many_times() -> None:
    """With jobs and without, in less time than helpers need to join, and with more of them than cores."""
    scene = """
a, b = operands(96, 512, 130)
alone = product(a, b).tobytes()
for size in (2, 5):
    with Team(size) as team:
        for number in range(200):
            with helped_by(team):
                if number % 3 == 1:
                    assert product(a, b).tobytes() == alone
        print(helping._crew[crew._PRESENT], helping._crew[crew._LOCK])
        with helped_by(team):
            wait_for_helpers(size - 1)
            assert product(a, b).tobytes() == alone
"""
    assert run(scene).split() == ["0"] * 4


def test_a_team_may_be_larger_than_a_crew() -> None:
    scene = """
a, b = operands(300, 512, 130)
alone = product(a, b).tobytes()
with Team(crew.MOST + 6) as team, helped_by(team):
    print(product(a, b).tobytes() == alone)
"""
    assert run(scene) == "True"


def test_helpers_leave_after_an_exception() -> None:
    scene = """
a, b = operands(96, 512, 130)
alone = product(a, b).tobytes()
with Team(3) as team:
    for _ in range(20):
        try:
            with helped_by(team):
                product(a, b)
                raise KeyError("planted")
        except KeyError:
            pass
        print(helping._crew[crew._PRESENT])
    with helped_by(team):
        wait_for_helpers(2)
        print(product(a, b).tobytes() == alone)
"""
    assert run(scene).split() == ["0"] * 20 + ["True"]


def test_helpers_leave_if_not_all_of_them_can_start() -> None:
    scene = """
class Tired(Team):
    started = 0
    def start(self, function):
        self.started += 1
        if self.started == 3:
            raise RuntimeError("planted: can't start new thread")
        return super().start(function)
with Tired(5) as team:
    try:
        with helped_by(team):
            print("inside")
    except RuntimeError as error:
        print(error)
    print(helping._crew[crew._PRESENT])
"""
    assert run(scene).split("\n") == ["planted: can't start new thread", "0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_multiplies_alone() -> None:
    """The helpers stay in the first process, and so may a thread that uses the crew at that moment."""
    scene = """
import time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
tasks = [operands(*sizes) for sizes in LARGE]
alone = [product(a, b).tobytes() for a, b in tasks]
def is_right():
    return [product(a, b).tobytes() for a, b in tasks] == alone
def in_child(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(1)
    for _ in range(200):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(child, 9)
    sys.exit("a forked process hangs")
def leaves():
    sys.exit(0 if is_right() else 3)  # through the ``with`` in which the process was forked
def helped_by_its_own():
    with Team(2) as own, helped_by(own):
        wait_for_helpers(1)
        os._exit(0 if is_right() else 3)
with Team(3) as team:
    with helped_by(team):
        wait_for_helpers(2)
        print(in_child(lambda: os._exit(0 if is_right() else 3)))
        with ThreadPoolExecutor(1) as other:
            busy = other.submit(lambda: [is_right() for _ in range(40)])
            for _ in range(5):
                print(in_child(lambda: os._exit(0 if is_right() else 3)))
            print(all(busy.result()))
    print(in_child(helped_by_its_own))
    print(is_right())
first = os.getpid()
team = Team(3)
try:
    with helped_by(team):
        wait_for_helpers(2)
        print(in_child(leaves))
except SystemExit as end:
    assert os.getpid() != first
    os._exit(end.code)
"""
    assert run(scene).split() == ["0"] * 6 + ["True", "0", "True", "0"]

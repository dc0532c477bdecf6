"""Machine code that several processes keep at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handgrad.system.locks import waiting_for

KERNEL = """
import sys, time
import numpy as np
from handgrad.system.compiling import compiled

@compiled
def total(x):
    sum = x[0] * 0
    for value in x:
        sum += value
    return sum

for dtype in sys.argv[1:]:
    found = total(np.arange(9, dtype=dtype))
    assert (found, isinstance(found, float)) == (36, dtype.startswith("f")), (dtype, found)
"""


@pytest.mark.slow
def test_processes_that_compile_one_kernel_at_the_same_time_do_not_mix_their_code(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    path, environment = tmp_path / "kernel.py", {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    path.write_text(KERNEL)
    dtypes = ("f4", "f8", "i4", "i8", "u4", "u8")

    def start(*given: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, str(path), *given], env=environment)

    together = [start(*dtypes[i:], *dtypes[:i]) for i in (0, 2, 4)]
    assert [process.wait(timeout=120) for process in together] == [0, 0, 0]
    assert start(*dtypes).wait(timeout=120) == 0
    assert list((tmp_path / "kept").rglob("handgrad.lock"))


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    held = (
        "import sys, time; from pathlib import Path; from handgrad.system.locks import waiting_for\n"
        "with waiting_for(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(0.5)"
        "\n    Path(sys.argv[2]).touch()"
    )
    lock, done = tmp_path / "lock", tmp_path / "done"
    with subprocess.Popen([sys.executable, "-c", held, lock, done], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with waiting_for(lock):
            assert done.exists()


def test_where_no_lock_can_be_made_nobody_waits(tmp_path: Path) -> None:
    with waiting_for(tmp_path / "no such folder" / "lock"):
        pass

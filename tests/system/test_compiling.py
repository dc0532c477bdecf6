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


KEPT = """
import sys
from pathlib import Path
import numpy as np
from handgrad.system import compiling

compiling._SHARED_FOLDERS = ()
told = []

@compiling.compiled
def double(x):
    return x + x

with compiling.told_when_compiling(lambda: told.append(compiling.where_kernels_are_kept())):
    assert double(4) == 8
print(told)
"""


def start_without_a_home(tmp_path: Path, shared: str) -> str:
    """Neither the folder of the source nor the home can be written, even by root."""
    (tmp_path / "kept.py").write_text(KEPT)
    (tmp_path / "__pycache__").touch()
    environment = {**os.environ, "HOME": "/dev/null", "TMPDIR": shared}
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    command = [sys.executable, "-B", str(tmp_path / "kept.py")]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners of POSIX systems")
def test_machine_code_is_kept_elsewhere_if_its_usual_places_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    shared = tmp_path / "shared"
    shared.mkdir()
    place = shared / f"handgrad-kernels-{os.getuid()}"
    said = f"['they are kept in {place}, as neither the home nor the folder of the program can be written']"
    assert start_without_a_home(tmp_path, str(shared)) == said
    assert place.stat().st_mode & 0o777 == 0o700
    assert start_without_a_home(tmp_path, str(shared)) == "[]"  # the second start compiles nothing
    place.chmod(0o777)  # others could have put code there
    assert "cannot be kept, so that every start compiles them" in start_without_a_home(tmp_path, str(shared))
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    assert "cannot be kept" in start_without_a_home(tmp_path, str(shared))
    assert "cannot be kept" in start_without_a_home(tmp_path, "/dev/null")

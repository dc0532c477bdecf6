"""Products of float32 in tiles: each tile is one call of BLAS, whoever computes it. In another process with a limit."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import numpy as np
from product_cases import Guarded, compiled_ways, numbers
from threadpoolctl import threadpool_limits
from handgrad.kernels.products import FLOAT32, code_of, crew, helping, shared_by, tiles
from handgrad.system.threads import ALONE, Team

R, C, ways, rng = tiles.ROWS, tiles.COLUMNS, compiled_ways(), np.random.default_rng(0)
assert [tiles.columns_of_tile(*size) for size in ((9, 100), (9, 130), (256, 768), (257, 768), (700, 769))] == [
    112, 80, 192, 256, 208
]
nothing = np.empty(0, np.uint32)
SIZES = [
    (1, 1, 1), (5, 0, 3), (5, 3, 0), (R, C, 40), (R + 1, C, 33), (R, C + 1, 33), (2 * R, 2 * C, 64),
    (2 * R + 7, 3 * C + 5, 2 * R + C + 3), (1, 5 * C + 1, 700), (5 * R + 1, 1, 700), (3 * R - 1, 9, 130),
]

def by_tiles(way, a, b, c, keep):
    "The definition: one whole product for each tile. b is stored transposed for bt, a for at."
    M, N = c.shape
    width = tiles.columns_of_tile(M, N) if N else 1
    for i in range(0, M, R):
        for j in range(0, N, width):
            of_a = a[:, i : i + R] if way == "at" else a[i : i + R]
            of_b = b[j : j + width] if way == "bt" else b[:, j : j + width]
            ways[way](of_a, of_b, nothing, c[i : i + R, j : j + width], keep, FLOAT32)

def check(code):
    for M, N, K in SIZES:
        operands = {
            "plain": (numbers(rng, M, K), numbers(rng, K, N)), "bt": (numbers(rng, M, K), numbers(rng, N, K)),
            "at": (numbers(rng, K, M), numbers(rng, K, N)),
        }
        for way, (a, b) in operands.items():
            for keep in (np.float32(0), np.float32(1)):
                old = rng.standard_normal((M, N)).astype(np.float32)
                found, expected = Guarded(M, N, old), old.copy()
                ways[way](a, b, nothing, found.matrix, keep, code)
                by_tiles(way, a, b, expected, keep)
                assert found.matrix.tobytes() == expected.tobytes(), (way, M, N, K, keep)
                found.check()
                exact = (a.T if way == "at" else a).astype(float) @ (b.T if way == "bt" else b) + keep * old
                assert np.allclose(found.matrix, exact, rtol=0, atol=1e-6 * (K + 2))

with threadpool_limits(1, user_api="blas"):
    assert (code_of("float32"), code_of("bfloat16")) == (0, helping.CREW)
    with shared_by(ALONE):
        assert (code_of("float32"), code_of("bfloat16")) == (-helping.CREW, helping.CREW)
        check(code_of("float32"))
    for size in (2, 3, 5):
        with Team(size) as team, shared_by(team):
            while helping._crew[crew._PRESENT] < size - 1:
                pass
            jobs = int(helping._crew[crew._JOB])
            check(code_of("float32"))
            print(helping._crew[crew._JOB] > jobs)
    print(code_of("float32"))
"""


def test_each_tile_is_one_product_and_no_number_of_threads_changes_a_bit() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PROGRAM],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["True", "True", "True", "0"]

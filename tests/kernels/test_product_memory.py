"""Products in bfloat16 read nothing beyond their operands: these end, or begin, where memory may not be touched.

A program that touches such memory is ended by the system, so that this runs in another process.
"""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, faulthandler, mmap, sys
import numpy as np
from product_cases import assert_is_product, by_multiplier, callable_code, code_of, compiled_ways, products, sizes

faulthandler.enable()
system = ctypes.CDLL(None, use_errno=True)
kept = []

def between_guards(rows, columns, at_end, kind=np.float32):
    "A matrix whose first or last number lies beside a page that may not be touched."
    size, page = 4 * rows * columns, mmap.PAGESIZE
    pages = (size + page - 1) // page + 2
    memory = mmap.mmap(-1, pages * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    kept.append(memory)
    for guard in (start, start + (pages - 1) * page):
        assert system.mprotect(ctypes.c_void_p(guard), page, 0) == 0
    first = (pages - 1) * page - size if at_end else page
    return np.frombuffer(memory, kind, rows * columns, first).reshape(rows, columns)

def filled(rng, rows, columns, at_end):
    x = between_guards(rows, columns, at_end)
    x[:] = rng.standard_normal((rows, columns))
    return x

rng, code, ways = np.random.default_rng(0), code_of("bfloat16"), compiled_ways()
lanes = int(sys.argv[1])
functions = callable_code(lanes, False) if lanes else None
for M, N, K in sizes():
    if 0 in (M, N, K) or M * N * K > 1 << 18:
        continue
    for at_end in (False, True):
        a, b = filled(rng, M, K, at_end), filled(rng, K, N, at_end)
        a_turned, b_turned = filled(rng, K, M, at_end), filled(rng, N, K, at_end)
        c = between_guards(M, N, at_end)
        if functions:
            for x, y, turned in ((a, b, (0, 0)), (a, b_turned.T, (0, 1)), (a_turned.T, b, (1, 0))):
                by_multiplier(functions, *turned)(x, y, c, 0)
                assert_is_product(c, x, y)
        else:
            packed = between_guards(1, len(products.new_packed(code, (K, N))), at_end, np.uint32)[0]
            zero = np.float32(0)
            ways["plain"](a, b, packed, c, zero, code)
            assert_is_product(c, a, b)
            ways["bt"](a, b_turned, packed, c, zero, code)
            assert_is_product(c, a, b_turned.T)
            ways["at"](a_turned, b, packed, c, zero, code)
            assert_is_product(c, a_turned.T, b)
    kept.clear()
print("done")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for memory that may not be touched")
@pytest.mark.parametrize("lanes", [0, 16, 8, 4], ids=["as kernels call it", "16 lanes", "8 lanes", "4 lanes"])
def test_nothing_beyond_the_matrices_is_read_or_written(lanes: int) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(lanes)], cwd=here, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "done"

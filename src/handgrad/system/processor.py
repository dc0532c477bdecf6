"""Facts about this machine's processor that NumPy and OpenBLAS do not take into account."""

import importlib.util
import os
import re
import sys
from functools import cache
from pathlib import Path

_ZEN_3_AND_4 = "25"
"""AMD's family number of both; only Zen 4 has AVX-512."""
_FIRST_UNSAFE_NUMPY = (2, 5)
"""Its wheels contain OpenBLAS 0.3.34. If that version is made to use its AVX2 kernels on Zen 4, float64 products of
more than 300 terms write past the end of the stack, and the process crashes."""


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_blas_kernels() -> None:
    """Makes the OpenBLAS of NumPy before 2.5 multiply with AVX2 on AMD's Zen 4, unless OPENBLAS_CORETYPE is set.

    Zen 4 executes AVX-512 in two halves. OpenBLAS's AVX-512 kernels, made for Intel's processors, are 3 to 8 % slower
    there than its AVX2 kernels. Call this before NumPy is imported: OpenBLAS chooses its kernels when it is loaded.
    """
    if "numpy" in sys.modules or not is_zen_4(_first_processor()):
        return
    version = _numpy_version()
    if version is not None and version < _FIRST_UNSAFE_NUMPY:
        os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")


@cache
def has_bfloat16_products() -> bool:
    """Whether the processor has instructions for products of bfloat16 that the kernels use: those of AVX512-BF16."""
    flags = _first_processor().get("flags", "").split()
    return {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"} <= set(flags)


def is_zen_4(fields: dict[str, str]) -> bool:
    """Whether a processor's fields in /proc/cpuinfo are those of a Zen 4."""
    family = (fields.get("vendor_id"), fields.get("cpu family"))
    return family == ("AuthenticAMD", _ZEN_3_AND_4) and "avx512f" in fields.get("flags", "").split()


def _numpy_version() -> tuple[int, int] | None:
    """The version of the installed NumPy, read without importing it; None if it cannot be read."""
    spec = importlib.util.find_spec("numpy")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^version = [\"'](\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def _first_processor() -> dict[str, str]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            lines = file.read(8192).split("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

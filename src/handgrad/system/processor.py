"""What is known of this machine's processor that its libraries do not know."""

import importlib.util
import os
import re
import sys
from pathlib import Path

_ZEN_3_AND_4 = "25"
"""AMD's family number; of the two, Zen 4 has AVX-512."""
_FIRST_UNSAFE_NUMPY = (2, 5)
"""Its wheels bring OpenBLAS 0.3.34. Told to take its kernels for AVX2 on such a processor, that one writes past the end
of its stack in products of float64 of more than 300 terms, and the process is gone."""


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_blas_kernels() -> None:
    """Has the OpenBLAS of NumPy before 2.5 multiply with AVX2 on AMD's Zen 4, unless OPENBLAS_CORETYPE says otherwise.

    Zen 4 does AVX-512 in two halves, so that OpenBLAS's kernels for it, made for Intel's processors, are 3 to 8 %
    slower there than those for AVX2. NumPy must not be imported yet: its library chooses when it is loaded.
    """
    if "numpy" in sys.modules or not is_zen_4(_first_processor()):
        return
    version = _numpy_version()
    if version is not None and version < _FIRST_UNSAFE_NUMPY:
        os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")


def is_zen_4(fields: dict[str, str]) -> bool:
    """Whether a processor's fields in /proc/cpuinfo are those of one."""
    family = (fields.get("vendor_id"), fields.get("cpu family"))
    return family == ("AuthenticAMD", _ZEN_3_AND_4) and "avx512f" in fields.get("flags", "").split()


def _numpy_version() -> tuple[int, int] | None:
    """Of the NumPy that would be imported, which it is not here; None where that cannot be read."""
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

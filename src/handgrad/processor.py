"""What is known of this machine's processor that its libraries do not know."""

import os
import sys
from pathlib import Path

_ZEN_3_AND_4 = "25"
"""AMD's family number; of the two, Zen 4 has AVX-512."""


def choose_blas_kernels() -> None:
    """Has NumPy's OpenBLAS multiply with AVX2 on AMD's Zen 4, unless OPENBLAS_CORETYPE says otherwise.

    Zen 4 does AVX-512 in two halves, so that OpenBLAS's kernels for it, made for Intel's processors, are 3 to 8 %
    slower there than those for AVX2. NumPy must not be imported yet: its library chooses when it is loaded.
    """
    if "numpy" not in sys.modules and is_zen_4(_first_processor()):
        os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")


def is_zen_4(fields: dict[str, str]) -> bool:
    """Whether a processor's fields in /proc/cpuinfo are those of one."""
    family = (fields.get("vendor_id"), fields.get("cpu family"))
    return family == ("AuthenticAMD", _ZEN_3_AND_4) and "avx512f" in fields.get("flags", "").split()


def _first_processor() -> dict[str, str]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            lines = file.read(8192).split("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

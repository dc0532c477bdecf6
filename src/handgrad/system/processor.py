"""Facts about this machine's processor that NumPy and OpenBLAS do not take into account."""

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

_FIRST_UNSAFE_NUMPY = (2, 5)
"""Its wheels contain OpenBLAS 0.3.34. If that version is made to use its AVX2 kernels on Zen 4, float64 products of
more than 300 terms write past the end of the stack, and the process crashes."""


class Processors(NamedTuple):
    """A kind of processors, and what is known about OpenBLAS's kernels and about bfloat16 on them."""

    name: str
    vendor: str
    family: str | None
    """AMD's number of the family; None for any."""
    has_avx512: bool
    kernels: str | None
    """The value of OPENBLAS_CORETYPE that makes NumPy fastest; None if OpenBLAS chooses well by itself."""
    needs_avx512: bool
    """Whether kernels without AVX-512 multiply at about half the speed."""
    fast_bfloat16: bool
    """Whether it has instructions for bfloat16 (AVX512-BF16) that are faster than those for float32."""


PROCESSORS = (
    Processors(
        "Zen 3", "AuthenticAMD", "25", has_avx512=False, kernels=None, needs_avx512=False, fast_bfloat16=False
    ),
    # Executes AVX-512 in two halves. The AVX-512 kernels, made for Intel's processors, are 3 to 8 % slower.
    Processors(
        "Zen 4", "AuthenticAMD", "25", has_avx512=True, kernels="Haswell", needs_avx512=False, fast_bfloat16=True
    ),
    Processors("Zen 5", "AuthenticAMD", "26", has_avx512=True, kernels=None, needs_avx512=True, fast_bfloat16=True),
    # Measured on a Xeon with AVX512-BF16 and AMX: large products take 1.6 times as long as those of float32.
    Processors(
        "Intel with AVX-512", "GenuineIntel", None, has_avx512=True, kernels=None, needs_avx512=True,
        fast_bfloat16=False,
    ),
)  # fmt: skip

_WITHOUT_AVX512 = (
    *("katmai", "coppermine", "northwood", "prescott", "banias", "atom", "core2", "penryn", "dunnington", "nehalem"),
    *("athlon", "opteron", "opteron_sse3", "barcelona", "nano", "sandybridge", "bobcat", "bulldozer", "piledriver"),
    *("haswell", "steamroller", "excavator", "zen"),
)
"""OpenBLAS's kernels without AVX-512, by their names in OPENBLAS_CORETYPE, whose case does not matter. OpenBLAS ignores
a name that it does not have, and chooses itself."""

_BFLOAT16_PRODUCTS = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16")


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """What the processor calls itself, and its kind if the table has it: AMD EPYC 9R14 (Zen 4)."""
    fields = _first_processor()
    name = fields.get("model name") or platform.processor() or platform.machine()
    kind = kind_of(fields)
    return name if kind is None else f"{name} ({kind.name})"


@cache
def has_bfloat16_products() -> bool:
    """Whether the processor has instructions that multiply bfloat16 and sum in float32 (AVX512-BF16), and the others
    that our kernels use with them. Only Linux on x86 is asked; elsewhere the answer is False.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return set(_BFLOAT16_PRODUCTS) <= _flags(_first_processor())


def why_bfloat16_is_slow() -> str | None:
    """Why products of bfloat16 take longer than those of float32 on this processor; None if they do not."""
    if not has_bfloat16_products():
        return "this processor has no instructions for it (AVX512-BF16)"
    kind = kind_of(_first_processor())
    if kind is not None and not kind.fast_bfloat16:
        return "the instructions for it (AVX512-BF16) of this processor are slower than those for float32"
    return None


def choose_blas_kernels() -> None:
    """Makes the OpenBLAS of NumPy use the kernels that are fastest on this processor, if it would choose others
    (``PROCESSORS``), unless OPENBLAS_CORETYPE is set, or NumPy is 2.5 or later (see ``_FIRST_UNSAFE_NUMPY``).

    Call this before NumPy is imported: OpenBLAS chooses its kernels when it is loaded.
    """
    if "numpy" in sys.modules:
        return
    kind = kind_of(_first_processor())
    if kind is None or kind.kernels is None:
        return
    version = _numpy_version()
    if version is not None and version < _FIRST_UNSAFE_NUMPY:
        os.environ.setdefault("OPENBLAS_CORETYPE", kind.kernels)


def kind_of(fields: Mapping[str, str]) -> Processors | None:
    """The kind of a processor by its fields in /proc/cpuinfo; None if it is in no line of the table."""
    vendor, family, has_avx512 = fields.get("vendor_id"), fields.get("cpu family"), "avx512f" in _flags(fields)
    return next(
        (
            kind
            for kind in PROCESSORS
            if kind.vendor == vendor and kind.family in (None, family) and kind.has_avx512 == has_avx512
        ),
        None,
    )


def slow_blas_kernels(running: Collection[str], environment: Mapping[str, str] = os.environ) -> str | None:
    """A sentence if OPENBLAS_CORETYPE makes NumPy slow on this processor; None if it does not.

    ``running``: the processors for which the kernels that OpenBLAS runs were made, as threadpoolctl tells them; the
    variable has no effect on another library.
    """
    forced = environment.get("OPENBLAS_CORETYPE", "")
    kind = kind_of(_first_processor())
    runs_slow = any(name.lower() in _WITHOUT_AVX512 for name in running)
    if kind is None or not kind.needs_avx512 or forced.lower() not in _WITHOUT_AVX512 or not runs_slow:
        return None
    return (
        f"OPENBLAS_CORETYPE={forced} makes NumPy multiply matrices without AVX-512, at about half the speed of this "
        "processor: unset OPENBLAS_CORETYPE"
    )


def _flags(fields: Mapping[str, str]) -> set[str]:
    return set(fields.get("flags", "").split())


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

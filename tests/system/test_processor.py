"""Which kernels OpenBLAS is made to use, that it multiplies correctly with them, and what the processor multiplies."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import SMALLEST, Output

from handgrad.runs import environment
from handgrad.system import processor

AMD = {"vendor_id": "AuthenticAMD", "flags": "fpu avx2 fma avx512f avx512bw"}
ZEN_3 = {**AMD, "cpu family": "25", "flags": "fpu avx2 fma"}
ZEN_4 = {**AMD, "cpu family": "25"}
ZEN_5 = {**AMD, "cpu family": "26"}
XEON = {**AMD, "vendor_id": "GenuineIntel", "cpu family": "6"}
WITH_BFLOAT16 = {**ZEN_4, "flags": "fpu avx512f avx512dq avx512bw avx512vl avx512_bf16"}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (ZEN_3, "Zen 3"),
        (ZEN_4, "Zen 4"),
        (ZEN_5, "Zen 5"),
        (XEON, "Intel with AVX-512"),
        ({**XEON, "flags": "fpu avx2 fma"}, None),
        ({**ZEN_5, "flags": "fpu avx2 fma"}, None),  # a virtual machine may hide AVX-512
        ({**ZEN_5, "cpu family": "27"}, None),
        ({**ZEN_4, "vendor_id": "HygonGenuine"}, None),
        ({}, None),
    ],
)
def test_processors_are_known_by_vendor_family_and_avx_512(fields: dict[str, str], name: str | None) -> None:
    kind = processor.kind_of(fields)
    assert (kind.name if kind else None) == name


@pytest.mark.parametrize(
    ("version", "fields", "given", "chosen"),
    [
        ('version = "2.4.6"', ZEN_4, None, "Haswell"),
        ("version = '2.0.0'", ZEN_4, None, "Haswell"),
        ('version = "2.4.6"', ZEN_4, "Zen", "Zen"),
        ('version = "2.4.6"', ZEN_3, None, None),
        ('version = "2.4.6"', ZEN_5, None, None),
        ('version = "2.4.6"', ZEN_5, "Haswell", "Haswell"),
        ('version = "2.4.6"', XEON, None, None),
        ('version = "2.4.6"', {}, None, None),
        ('version = "2.5.0.dev0+git1"', ZEN_4, None, None),
        ('version = "2.10.1"', ZEN_4, None, None),
        ('version = "3.0.0"', ZEN_4, None, None),
        ("", ZEN_4, None, None),
        (None, ZEN_4, None, None),
    ],
)
def test_kernels_are_chosen_where_that_is_safe(
    version: str | None,
    fields: dict[str, str],
    given: str | None,
    chosen: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise RuntimeError", encoding="utf-8")
    if version is not None:
        (tmp_path / "numpy" / "version.py").write_text(f"{version}\n", encoding="utf-8")
    monkeypatch.setattr(processor, "_first_processor", lambda: fields)
    monkeypatch.setitem(os.environ, "OPENBLAS_CORETYPE", given or "")  # so that monkeypatch restores it
    if given is None:
        monkeypatch.delitem(os.environ, "OPENBLAS_CORETYPE")
    monkeypatch.syspath_prepend(tmp_path)
    processor.choose_blas_kernels()  # NumPy is loaded: too late
    assert os.environ.get("OPENBLAS_CORETYPE") == given
    monkeypatch.delitem(sys.modules, "numpy")
    processor.choose_blas_kernels()
    assert os.environ.get("OPENBLAS_CORETYPE") == chosen
    assert "numpy" not in sys.modules


@pytest.mark.parametrize(
    ("fields", "given", "running", "is_slow"),
    [
        (ZEN_5, "Haswell", ["Haswell"], True),
        (ZEN_5, "zen", ["Zen"], True),
        (XEON, "Sandybridge", ["Sandybridge"], True),
        (ZEN_5, None, ["SkylakeX"], False),
        (ZEN_5, None, ["Haswell"], False),  # an OpenBLAS that has no others: nobody can unset it
        (ZEN_5, "SkylakeX", ["SkylakeX"], False),
        (ZEN_5, "Haswel", ["SkylakeX"], False),  # no name that OpenBLAS has: it chooses itself
        (ZEN_5, "Haswell", [], False),  # NumPy multiplies with another library
        (ZEN_4, "Haswell", ["Haswell"], False),
        (ZEN_3, "Haswell", ["Haswell"], False),
        ({}, "Haswell", ["Haswell"], False),
    ],
)
def test_slow_kernels_are_named_if_the_environment_forces_them(
    fields: dict[str, str], given: str | None, running: list[str], is_slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_first_processor", lambda: fields)
    said = processor.slow_blas_kernels(running, {} if given is None else {"OPENBLAS_CORETYPE": given})
    expected = (
        f"OPENBLAS_CORETYPE={given} makes NumPy multiply matrices without AVX-512, at about half the speed of this "
        "processor: unset OPENBLAS_CORETYPE"
    )
    assert said == (expected if is_slow else None)


@pytest.mark.parametrize("command", ["train", "bench"])
def test_commands_that_multiply_say_once_that_kernels_are_slow(
    command: str, handgrad: Callable[..., Output], text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_first_processor", lambda: ZEN_5)
    monkeypatch.setattr(environment, "kernels_of_openblas", lambda: ["Haswell"])
    monkeypatch.setitem(os.environ, "OPENBLAS_CORETYPE", "Haswell")
    run = ("--text", text_file, "--out", tmp_path / "run", "--max-steps", 1, *SMALLEST)
    done = handgrad(command, *(run if command == "train" else ("quick", "--profile", "--rounds", 1)))
    assert done.code == 0, done.err
    assert done.err.count("handgrad: warning: OPENBLAS_CORETYPE=Haswell makes NumPy") == 1


def test_the_kernels_that_openblas_runs_are_read() -> None:
    names = [name for name in environment.kernels_of_openblas() if name]
    assert all(name in environment.name_of_blas() for name in names)


@pytest.mark.parametrize(
    ("fields", "system", "machine", "has"),
    [
        (WITH_BFLOAT16, "linux", "x86_64", True),
        (ZEN_4, "linux", "x86_64", False),
        ({**WITH_BFLOAT16, "flags": "fpu avx512f avx512dq avx512vl avx512_bf16"}, "linux", "x86_64", False),
        (WITH_BFLOAT16, "darwin", "x86_64", False),
        (WITH_BFLOAT16, "linux", "aarch64", False),
        ({}, "linux", "x86_64", False),
    ],
)
def test_products_of_bfloat16_need_all_their_instructions(
    fields: dict[str, str], system: str, machine: str, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_first_processor", lambda: fields)
    monkeypatch.setattr(processor.sys, "platform", system)
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    processor.has_bfloat16_products.cache_clear()
    try:
        assert processor.has_bfloat16_products() is has
    finally:
        processor.has_bfloat16_products.cache_clear()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (WITH_BFLOAT16, None),
        ({**WITH_BFLOAT16, "cpu family": "27"}, None),  # not in the table: instructions are there to be used
        ({**WITH_BFLOAT16, "vendor_id": "GenuineIntel"}, "are slower than those for float32"),
        (ZEN_4, "no instructions for it (AVX512-BF16)"),
    ],
)
def test_where_bfloat16_is_slow(fields: dict[str, str], why: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_first_processor", lambda: fields)
    monkeypatch.setattr(processor.sys, "platform", "linux")
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    processor.has_bfloat16_products.cache_clear()
    try:
        found = processor.why_bfloat16_is_slow()
    finally:
        processor.has_bfloat16_products.cache_clear()
    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


def test_long_products_are_right_with_the_kernels_that_are_chosen() -> None:
    """On a Zen 4, the OpenBLAS of NumPy 2.5 crashes the process if it is made to use its AVX2 kernels."""
    program = """
from handgrad.system.processor import choose_blas_kernels
choose_blas_kernels()
import numpy as np
for dtype in (np.float32, np.float64):
    a, b = (np.ones((1024, n), dtype) for n in (107, 64))
    assert (a.T @ b == 1024).all()
print("right")
"""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr

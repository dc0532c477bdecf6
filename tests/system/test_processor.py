"""Which kernels OpenBLAS is made to use, and that it multiplies correctly with them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handgrad.system import processor

ZEN_4 = {"vendor_id": "AuthenticAMD", "cpu family": "25", "flags": "fpu avx2 avx512f fma"}


def test_zen_4_is_known_by_family_and_avx_512() -> None:
    assert processor.is_zen_4(ZEN_4)
    assert not processor.is_zen_4({**ZEN_4, "flags": "fpu avx2 fma"})  # Zen 3
    assert not processor.is_zen_4({**ZEN_4, "cpu family": "26"})
    assert not processor.is_zen_4({**ZEN_4, "vendor_id": "GenuineIntel"})
    assert not processor.is_zen_4({})


@pytest.mark.parametrize(
    ("version", "fields", "given", "chosen"),
    [
        ('version = "2.4.6"', ZEN_4, None, "Haswell"),
        ("version = '2.0.0'", ZEN_4, None, "Haswell"),
        ('version = "2.4.6"', ZEN_4, "Zen", "Zen"),
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

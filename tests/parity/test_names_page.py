"""docs/names.md says of every name what calls of ours, NumPy's and PyTorch's functions show."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "names.py"


@pytest.mark.slow
def test_the_page_of_names_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

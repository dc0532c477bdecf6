"""The tests of the lessons use what makes them; those of the site share one build."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts" / "lessons"))


def build(source: Path, config: str, out: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", source / config, "--site-dir", out],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="session")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make docs`` builds; any warning fails the build."""
    if any(find_spec(name) is None for name in ("latex2mathml", "material", "mkdocs", "mkdocstrings")):
        pytest.skip("the site is built with what `make docs` installs")
    out = tmp_path_factory.mktemp("whole-site")
    done = build(ROOT, "mkdocs.yml", out)
    assert done.returncode == 0, done.stderr
    return out

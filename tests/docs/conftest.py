"""The tests of the lessons use what makes them; those of the site share one build."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from site_build import ROOT, build

sys.path.append(str(ROOT / "scripts" / "lessons"))


@pytest.fixture(scope="session")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make docs`` builds; any warning fails the build."""
    if any(find_spec(name) is None for name in ("latex2mathml", "material", "mkdocs", "mkdocstrings")):
        pytest.skip("the site is built with what `make docs` installs")
    out = tmp_path_factory.mktemp("whole-site")
    done = build(ROOT, "mkdocs.yml", out)
    assert done.returncode == 0, done.stderr
    return out

"""The tests of the lessons use what makes them; those of the site share one build."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from site_build import ROOT, build

from handgrad.system.locks import waiting_for

sys.path.append(str(ROOT / "scripts" / "lessons"))


@pytest.fixture(scope="session")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make docs`` builds; any warning fails the build. Workers of pytest-xdist share it."""
    if any(find_spec(name) is None for name in ("latex2mathml", "material", "mkdocs", "mkdocstrings")):
        pytest.skip("the site is built with what `make docs` installs")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out, ready = shared / "whole-site", shared / "whole-site-is-built"
    with waiting_for(shared / "whole-site.lock"):
        if not ready.exists():
            done = build(ROOT, "mkdocs.yml", out)
            assert done.returncode == 0, done.stderr
            ready.touch()
    return out

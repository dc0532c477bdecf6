"""The core needs only NumPy: it runs in an environment that contains nothing else."""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import numpy as np

import handgrad

SESSION = Path(__file__).with_name("core_session.py")


def make_environment(root: Path) -> Path:
    """Makes a virtual environment with only NumPy and this package; returns its Python."""
    venv.create(root, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths("venv", {"base": str(root), "platbase": str(root), "installed_base": str(root)})
    packages = Path(paths["purelib"])
    numpy = Path(np.__file__).parent
    for source in (numpy, numpy.with_name("numpy.libs")):  # wheels keep shared libraries beside the package
        if source.is_dir():
            _link_or_copy(source, packages / source.name)
    here = Path(handgrad.__file__).parent
    shutil.copytree(here, packages / "handgrad", ignore=shutil.ignore_patterns("__pycache__"))
    return Path(paths["scripts"]) / ("python.exe" if os.name == "nt" else "python")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source, target_is_directory=True)
    except OSError:  # no permission to make links, as on Windows
        shutil.copytree(source, target)


def test_train_and_sample_with_numpy_alone(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "alone")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # -I keeps the working directory and the user's packages off the path; -W error turns warnings into errors.
    command = [str(python), "-I", "-W", "error", str(SESSION)]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("losses"), done.stdout

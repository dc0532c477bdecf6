"""The core needs NumPy and nothing else: shown in an environment that holds nothing else."""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import numpy as np

import handgrad

SCRIPT = """
import importlib.util
import sys
from pathlib import Path

for library in ("matplotlib", "pooch", "rich", "safetensors", "threadpoolctl", "tyro"):
    assert importlib.util.find_spec(library) is None, library + " can be imported here"

import numpy as np

import handgrad
from handgrad.generation import generate
from handgrad.models import GPT, GPTConfig
from handgrad.optim import AdamW, clip_grad_norm
from handgrad.tokenizers import CharTokenizer, load_tokenizer

assert Path(sys.prefix) in Path(handgrad.__file__).parents, "not the copy in this environment: " + handgrad.__file__

tokenizer = CharTokenizer().train("to be or not to be")
tokenizer.save("tokenizer.json")
assert load_tokenizer("tokenizer.json") == tokenizer
ids = tokenizer.encode("to be or not to be")
assert tokenizer.decode(ids) == "to be or not to be"

model = GPT(GPTConfig(tokenizer.vocab_size, block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.1), seed=1)
handgrad.manual_seed(0)
optimizer = AdamW(model.decay_groups(0.1), lr=1e-2)
x, y = ids[None, :8], ids[None, 1:9]
losses = []
for _ in range(10):
    optimizer.zero_grad()
    losses.append(model.loss(x, y))
    model.backward()
    clip_grad_norm(model.parameters(), 1.0)
    optimizer.step()
assert losses[-1] < 0.8 * losses[0], losses

written = list(generate(model, ids[:3], 12, top_p=0.9, exclude=tokenizer.special_ids))
assert len(written) == 12
assert set(tokenizer.decode(written)) <= set("to be or not to be")
print("losses", losses[0], losses[-1])
"""


def make_environment(root: Path) -> Path:
    """A virtual environment with NumPy and this package alone; returns its Python."""
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
    except OSError:  # no right to make links, as on Windows
        shutil.copytree(source, target)


def test_train_and_sample_with_numpy_alone(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "alone")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # -I keeps the directory it runs in and the user's packages off the path; every warning is an error.
    command = [str(python), "-I", "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("losses"), done.stdout

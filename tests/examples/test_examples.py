"""The examples run as a user runs them, and say what is wrong in one sentence."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support import TEXT, Output, watch_dtypes

import handgrad
from handgrad import optim
from handgrad.system.threads import Team

ROOT = Path(__file__).parent.parent.parent
TINY = {
    "context-size": 16,
    "num-blocks": 2,
    "num-heads": 2,
    "embedding-dim": 24,
    "batch-size": 4,
    "sample-tokens": 30,
    "eval-interval": 20,
    "dropout": 0.1,
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs an example in a directory of its own."""

    def run(name: str, *arguments: object, **flags: object) -> "subprocess.CompletedProcess[str]":
        words = [str(word) for word in arguments]
        for flag, value in flags.items():
            words += [f"--{flag.replace('_', '-')}", str(value)]
        command = [sys.executable, str(ROOT / "examples" / name), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)

    return run


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gpt2_flags(**changes: object) -> dict[str, object]:
    return {**{name.replace("-", "_"): value for name, value in TINY.items()}, **changes}


@pytest.mark.slow
def test_gpt2_learns_shows_samples_and_goes_on_bit_for_bit(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    whole = run("gpt2.py", **gpt2_flags(text="text.txt", num_steps=60, out="whole", lr=1e-2))
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("--- sample") == 2
    losses = [float(line.split()[4]) for line in whole.stdout.splitlines() if "validation loss" in line]
    assert len(losses) == 3
    assert losses[-1] < 0.7 * np.log(33)  # of a uniform guess
    for flags in ({"num_steps": 40, "out": "parts"},):
        assert run("gpt2.py", **gpt2_flags(text="text.txt", lr=1e-2, **flags)).returncode == 0
    refused = run("gpt2.py", resume="parts", lr=0.5)
    assert (refused.returncode, refused.stderr) == (2, "gpt2: --lr cannot change on resume: it was 0.01\n")
    done = run("gpt2.py", resume="parts")  # its own --num-steps, which it has made
    assert (done.returncode, "step" in done.stdout) == (0, False)
    resumed = run("gpt2.py", resume="parts", num_steps=60)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[-6:] == whole.stdout.splitlines()[-6:]
    first, second = (handgrad.load(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    for name, weight in first["model"].items():
        np.testing.assert_array_equal(second["model"][name], weight)
    for index, kept in first["optimizer"]["state"].items():
        for name, value in kept.items():
            np.testing.assert_array_equal(second["optimizer"]["state"][index][name], value)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"text": "nowhere.txt"}, "gpt2: nowhere.txt: no such file"),
        ({"context_size": 0}, "gpt2: --context-size must be at least 1, not 0"),
        ({"embedding_dim": 25}, "gpt2: --embedding-dim 25 must be a multiple of --num-heads 2"),
        ({"dropout": 1.0}, "gpt2: --dropout must lie in [0, 1), not 1.0"),
        ({"lr": -1.0}, "gpt2: --lr must be at least 0, not -1.0"),
        ({"resume": "nowhere"}, "gpt2: nowhere/checkpoint.safetensors: no such file"),
        ({"context_size": 10_000_000}, "gpt2: dataset pydoc is too short for a context of 10000000 tokens"),
    ],
)
def test_gpt2_says_what_is_wrong(run: Run, flags: dict[str, Any], sentence: str) -> None:
    done = run("gpt2.py", **gpt2_flags(**{"num_blocks": 1, "num_steps": 1, **flags}))
    assert (done.returncode, done.stderr) == (2, sentence + "\n")


def test_gpt2_overwrites_no_checkpoint_and_takes_no_other_file_for_one(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    handgrad.save({"x": np.ones(2)}, out / "checkpoint.safetensors")
    done = run("gpt2.py", out="out", num_steps=1)
    assert (done.returncode, "out contains a checkpoint; continue it with --resume out" in done.stderr) == (2, True)
    done = run("gpt2.py", resume="out")
    assert (done.returncode, "is no checkpoint of this example" in done.stderr) == (2, True)


@pytest.mark.slow
def test_what_cannot_be_written_shows_before_training(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("gpt2.py", **gpt2_flags(out="file", num_steps=1))
    assert (done.returncode, done.stderr) == (2, "gpt2: file: File exists\n")
    for name in ("spiral", "fit_function"):
        done = run(f"{name}.py", out="nowhere/x.png")
        assert (done.returncode, done.stderr) == (1, f"{name}: nowhere: no such directory\n")


def test_a_whole_step_of_gpt2_stays_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    gpt2 = load_module(ROOT / "examples" / "gpt2.py")
    model = gpt2.GPT2(gpt2.GPT2Config(7, 8, 2, 2, 12, dropout=0.1))
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    ids = handgrad.tensor(np.random.default_rng(0).integers(0, 7, (2, 8)))
    seen = watch_dtypes(monkeypatch)
    handgrad.cross_entropy(model(ids), ids).backward()
    optimizer.step()
    assert len(seen) > 90
    assert set(seen) == {"float32", "int64"}
    assert all(value.dtype == np.float32 for value in model.state_dict().values())


@pytest.mark.slow
def test_a_small_network_fits_a_noisy_function(run: Run, tmp_path: Path) -> None:
    done = run("fit_function.py", epochs=100, out="fit.png")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("off the true function"))
    assert float(line.split()[5]) < 0.15  # less than the points' own noise
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_convolutional_network_reads_digits(run: Run) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which has the images, is not installed")
    done = run("digits.py")
    assert done.returncode == 0, done.stderr
    *seeds, last = done.stdout.splitlines()
    assert len(seeds) == 3
    assert float(last.split()[1].rstrip("%,")) >= 98


def test_what_the_digits_need_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_module(ROOT / "examples" / "digits.py")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SystemExit, match="scikit-learn, which is not installed: pip install scikit-learn"):
        digits.main(digits.Arguments())
    with pytest.raises(SystemExit, match="--epochs, --batch-size and --seeds must be at least 1"):
        digits.main(digits.Arguments(epochs=0))


@pytest.mark.slow
def test_a_small_network_tells_spirals_apart(run: Run, tmp_path: Path) -> None:
    done = run("spiral.py", epochs=60, out="spiral.png")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "not seen" in line)
    assert float(line.split("%")[0]) > 95
    assert (tmp_path / "spiral.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_operation_of_ones_own_is_proven_and_learns_what_tanh_does_not(run: Run) -> None:
    done = run("own_operation.py")
    assert done.returncode == 0, done.stderr
    assert "\nsnake_backward is right (" in done.stdout
    # On some processors NumPy's sums of float32 depend on where an array lies in memory.
    assert re.search(r"  [45] of 5 gradients on the tape are equal to the last bit\n", done.stdout)
    errors = {
        name: (float(inside), float(beyond))
        for name, inside, beyond in re.findall(r"  (\w+): mean squared error ([\d.]+) .*, ([\d.]+) from", done.stdout)
    }
    assert errors["Snake"][0] < 0.01
    assert errors["Snake"][1] < 1 < errors["Tanh"][1]


def test_the_pair_of_the_example_passes_the_command(handgrad: Callable[..., Output]) -> None:
    done = handgrad("check", "--pair", f"{ROOT / 'examples' / 'own_operation.py'}:snake")
    assert (done.code, done.err) == (0, "")


def test_the_benchmark_of_the_tape_compares_like_with_like(capsys: pytest.CaptureFixture[str]) -> None:
    tape = load_module(ROOT / "benchmarks" / "tape.py")
    from handgrad.models import GPTConfig

    tape.compare("tiny", *tape.gpt_steps(GPTConfig(7, 8, 1, 2, 6), 2), rounds=2)
    said = capsys.readouterr().out
    assert said.startswith("tiny: ")
    assert "losses at most 0.0e+00 apart" in said


def test_the_benchmark_of_generation_prints_all_its_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = load_module(ROOT / "benchmarks" / "generation.py")
    monkeypatch.setattr(generation, "has_transformers", lambda: False)
    small = replace(generation.SMALL.train, n_layer=1, n_head=2, n_embd=8, block_size=12)
    tiny = replace(generation.SMALL, name="tiny", train=small, tokens=12)
    generation.beside_transformers(tiny, rounds=1)
    generation.beside_bandwidth(tiny, rounds=1, size=4000)
    generation.batch_beside_one(tiny, 3, rounds=1, texts=4)
    generation.first_token_beside_loss(tiny, rounds=1, length=12)
    said = capsys.readouterr().out
    assert said.count("tiny: ") == 4
    assert said.count("handgrad: ") == 2
    assert "first token ÷ loss: " in said


def test_reading_reads_every_number_once() -> None:
    generation = load_module(ROOT / "benchmarks" / "generation.py")
    for threads in (1, 3):
        with Team(threads) as team:
            assert generation.reading(4000, team).run() == 1000  # the sum of the squares of ones


def test_a_token_reads_the_weights_that_multiply_and_the_vectors() -> None:
    generation = load_module(ROOT / "benchmarks" / "generation.py")
    from handgrad.models import GPT, GPTConfig

    modern = {"tie_weights": False, "positions": "rotary", "bias": False}
    for config in (GPTConfig(7, 5, 2, 2, 8), GPTConfig(7, 5, 2, 2, 8, **modern)):
        tables = {"token_embedding.weight": not config.tie_weights, "position_embedding.weight": True}
        read = sum(p.data.nbytes for name, p in GPT(config).named_parameters() if not tables.get(name))
        assert generation.bytes_read(config) == read

"""Models are saved to files and loaded back: a file of weights, a checkpoint, a run. Damaged files are refused."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad.data import encode_corpus, load_text
from handgrad.models import GPT, GPTConfig, load, new_model
from handgrad.models.formats.model_in_checkpoint import MODEL, STATE, sha256_of_json
from handgrad.runs import TrainConfig, create_run, open_run
from handgrad.runs.checkpoint import load_model
from handgrad.system.errors import InputError
from handgrad.system.state_files import read_safetensors, safetensors_bytes
from handgrad.tokenizers import CharTokenizer
from handgrad.training import train

SMALL = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12)
VARIANTS = [
    SMALL,
    replace(SMALL, tie_weights=False, activation="relu", dropout=0.1),
    replace(SMALL, bias=False, n_layer=1),
]


@pytest.mark.parametrize("config", VARIANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_comes_back_as_it_was_saved(config: GPTConfig, dtype: Any, tmp_path: Path) -> None:
    model = new_model(config, seed=3, dtype=dtype)
    model.save(tmp_path / "weights.safetensors")
    for path in (tmp_path / "weights.safetensors", str(tmp_path / "weights.safetensors")):
        loaded = load(path)
        assert isinstance(loaded, GPT)
        assert loaded.config == config
        assert not loaded.training
        assert loaded.arena.data.dtype == dtype
        np.testing.assert_array_equal(loaded.arena.data, model.arena.data)
    x = np.random.default_rng(0).integers(0, 11, (2, 8))
    np.testing.assert_array_equal(loaded(x), model.eval()(x))


def test_a_saved_file_has_gpt2s_names_and_is_read_by_both_doors(tmp_path: Path) -> None:
    model = new_model(SMALL, seed=3)
    model.save(tmp_path / "w.safetensors")
    arrays = handgrad.load(tmp_path / "w.safetensors")
    assert "h.0.attn.c_attn.weight" in arrays
    other = new_model(SMALL, seed=4)
    other.load_state_dict(arrays)  # by the names in files
    np.testing.assert_array_equal(other.arena.data, model.arena.data)
    other = new_model(SMALL, seed=4)
    other.load_state_dict(model.state_dict())  # by the names here
    np.testing.assert_array_equal(other.arena.data, model.arena.data)
    handgrad.save(model.state_dict(), tmp_path / "state.safetensors")
    with pytest.raises(InputError, match=r"state\.safetensors does not say which model its arrays belong to"):
        load(tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match="unexpected: stranger"):
        other.load_state_dict({**arrays, "stranger": np.zeros(3)})


def test_one_model_gives_one_file(tmp_path: Path) -> None:
    """The bytes must not depend on the order of entries in a hash map: tests compare what runs write by its bytes."""
    program = (
        "import sys; from handgrad.models import GPTConfig, new_model\n"
        "new_model(GPTConfig(11, 8, 1, 2, 12)).save(sys.argv[1])\n"
    )
    for name in ("a", "b", "c"):
        subprocess.run([sys.executable, "-c", program, name], cwd=tmp_path, timeout=60, check=True)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    state = {"list": [np.ones(3), 5], "deep": {"a": np.zeros((2, 2))}}
    for i in range(8):
        handgrad.save(state, tmp_path / f"state-{i}")
    assert len({path.read_bytes() for path in tmp_path.glob("state-*")}) == 1


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints; ``last`` names that of the last step."""
    folder = tmp_path_factory.mktemp("loading")
    (folder / "text.txt").write_text("to be or not to be, that is the question. " * 40)
    corpus = load_text(folder / "text.txt")
    data = encode_corpus(corpus, CharTokenizer().train(corpus.split()[0]))
    config = TrainConfig(
        block_size=8, n_layer=1, n_head=2, n_embd=12, batch_size=4, max_steps=4, eval_interval=2, checkpoint_interval=2,
        shards=1, warmup_steps=0,
    )  # fmt: skip
    run = create_run(folder / "run", config, data, None, 1, None)
    train(run, run.data())
    return run.path


def test_a_run_gives_its_last_checkpoint_and_a_checkpoint_itself(run_directory: Path) -> None:
    run = open_run(run_directory)
    last, checkpoint = run.model("last")
    loaded = load(run_directory)
    assert loaded.config == run.model_config
    np.testing.assert_array_equal(loaded.arena.data, last.arena.data)
    np.testing.assert_array_equal(load(checkpoint).arena.data, last.arena.data)
    np.testing.assert_array_equal(load(checkpoint / "model.safetensors").arena.data, last.arena.data)
    earlier = next(path for path in sorted((run_directory / "checkpoints").iterdir()) if path != checkpoint)
    assert (load(earlier).arena.data != last.arena.data).any()


def test_a_checkpoint_goes_anywhere_by_itself(run_directory: Path, tmp_path: Path) -> None:
    _, checkpoint = open_run(run_directory).model("last")
    shutil.copytree(checkpoint, tmp_path / "kept")
    shutil.copy(checkpoint / "model.safetensors", tmp_path / "alone.safetensors")
    expected = load(run_directory).arena.data
    np.testing.assert_array_equal(load(tmp_path / "kept").arena.data, expected)
    np.testing.assert_array_equal(load(tmp_path / "alone.safetensors").arena.data, expected)


def test_a_run_from_before_files_named_their_model_loads_by_its_config(run_directory: Path, tmp_path: Path) -> None:
    shutil.copytree(run_directory, tmp_path / "run")
    run = open_run(tmp_path / "run")
    _, checkpoint = run.model("last")
    expected = load(checkpoint).arena.data
    strip_description(checkpoint)
    for path in (run.path, checkpoint, checkpoint / "model.safetensors"):
        np.testing.assert_array_equal(load(path).arena.data, expected)
    shutil.copytree(checkpoint, tmp_path / "alone")
    with pytest.raises(InputError, match=r"config\.json"):
        load(tmp_path / "alone")


def strip_description(checkpoint: Path) -> None:
    """Rewrites the file of weights as an older version wrote it, with matching hashes."""
    arrays, _ = read_safetensors(checkpoint / MODEL)
    content = safetensors_bytes(arrays)
    (checkpoint / MODEL).write_bytes(content)
    state = json.loads((checkpoint / STATE).read_text())
    state["files"][MODEL] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    del state["sha256"]
    state["sha256"] = sha256_of_json(state)
    (checkpoint / STATE).write_text(json.dumps(state))


def test_what_is_damaged_is_refused_by_name(run_directory: Path, tmp_path: Path) -> None:
    shutil.copytree(run_directory, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / (tmp_path / "run" / "last").read_text().strip()
    file = checkpoint / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1  # one bit of one weight
    file.write_bytes(content)
    for path in (tmp_path / "run", checkpoint, file):
        with pytest.raises(InputError, match=r"model\.safetensors does not match its SHA-256"):
            load(path)
    file.write_bytes(content[:-10])
    with pytest.raises(InputError, match=r"model\.safetensors has .* bytes"):
        load(tmp_path / "run")
    (tmp_path / "run" / "last").write_text("../../elsewhere\n")
    with pytest.raises(InputError, match="last names no checkpoint"):
        load(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "run" / "last").write_text(checkpoint.name)
    with pytest.raises(InputError):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ("[1]", "it must hold an object"),
        ("[" * 100_000, "damaged"),
        ('{"vocab_size": 11}', "it has no block_size"),
        (
            '{"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 5, "n_embd": 12}',
            "must be a multiple",
        ),
        (
            '{"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 12, "spin": 1}',
            "it has an unknown field 'spin'",
        ),
        ('{"vocab_size": 2000000000, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 1200}', "numbers"),
        ("{", "damaged"),
    ],
)
def test_a_description_that_fits_no_model_is_refused(described: str, says: str, tmp_path: Path) -> None:
    model = new_model(SMALL)
    content = safetensors_bytes(model.stored_state(), ("handgrad.model", described))
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=says):
        load(tmp_path / "w.safetensors")


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="holds no model: it is neither a run"):
        load(tmp_path)
    (tmp_path / "text.txt").write_text("to be or not to be")
    with pytest.raises(InputError, match=r"text\.txt is damaged"):
        load(tmp_path / "text.txt")


def test_a_directory_of_another_program_is_told_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InputError, match=r"config\.json does not belong to a handgrad run"):
        load(tmp_path)


def test_a_run_without_a_checkpoint_says_so(run_directory: Path, tmp_path: Path) -> None:
    shutil.copytree(run_directory, tmp_path / "run")
    (tmp_path / "run" / "last").unlink()
    with pytest.raises(InputError, match="run has no checkpoint yet"):
        load(tmp_path / "run")


def test_a_file_is_found_in_its_folder_and_through_a_link(run_directory: Path, tmp_path: Path) -> None:
    model = new_model(SMALL, seed=3)
    (tmp_path / "folder").mkdir()
    model.save(tmp_path / "folder" / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "folder").arena.data, model.arena.data)
    (tmp_path / "link").symlink_to(open_run(run_directory).model("last")[1])
    np.testing.assert_array_equal(load(tmp_path / "link").arena.data, load(run_directory).arena.data)
    with pytest.raises(InputError, match=r"cannot be read|no such file"):
        load(tmp_path / ("long" * 2000))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("bias", "x", "bias must be true or false, not 'x'"),
        ("bias", 0.5, "bias must be true or false, not '0.5'"),
        ("tie_weights", "no", "tie_weights must be true or false"),
        ("dropout", "x", r"dropout must lie in \[0, 1\), not x"),
        ("dropout", None, r"dropout must lie in \[0, 1\), not None"),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused(field: str, value: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        replace(SMALL, **{field: value})
    described = json.dumps({**asdict(SMALL), field: value})
    content = safetensors_bytes(new_model(SMALL).stored_state(), ("handgrad.model", described))
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=says):
        load(tmp_path / "w.safetensors")


def test_a_checkpoint_of_another_model_does_not_continue_a_run(run_directory: Path, tmp_path: Path) -> None:
    """The shapes of the weights do not show the number of heads."""
    run = open_run(run_directory)
    _, checkpoint = run.model("last")
    with pytest.raises(InputError, match="does not fit its model"):
        load_model(checkpoint, replace(run.model_config, n_head=3))
    load_model(checkpoint, replace(run.model_config, dropout=0.3))  # may change when training starts again


def test_without_safetensors_one_sentence_names_it(tmp_path: Path) -> None:
    """The core needs safetensors only to save or load a model."""
    program = (
        "import sys; sys.modules['safetensors'] = None; sys.modules['safetensors.numpy'] = None\n"
        "from handgrad.models import GPTConfig, load, new_model\n"
        "model = new_model(GPTConfig(11, 8, 1, 2, 12))\n"
        "for act in (lambda: model.save('w.safetensors'), lambda: load('w.safetensors')):\n"
        "    try:\n        act()\n    except ValueError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert (
        done.stdout.splitlines()
        == ["weight files need safetensors, which is not installed: pip install safetensors"] * 2
    )
    assert not list(tmp_path.iterdir())

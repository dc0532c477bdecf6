"""What a run's bits depend on, and what may change when it is resumed."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import TINY

from handgrad.data import write_token_files
from handgrad.models import GPT, GPTConfig
from handgrad.runs import Run, create_run, environment, find_checkpoint, open_run, preset, resumed
from handgrad.runs import resuming as resuming_module
from handgrad.runs.environment import Environment
from handgrad.system.errors import InputError
from handgrad.training import check_fits_memory, train

NewRun = Callable[..., Run]


@pytest.fixture
def stopped(new_run: NewRun) -> Run:
    run = new_run()
    left = iter(range(7))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    return run


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("backend", "other", "backend was numba and is now other"),
        ("compiler", "numba 1", "compiler was none and is now numba 1"),
        ("blas", "mkl 2026 SkylakeX", "is now mkl 2026 SkylakeX"),
        ("blas_threads", 7, "blas threads was 1 and is now 7"),
        ("processor", "x86_64 cascadelake", "is now x86_64 cascadelake"),
        ("system", "Linux arm64", "is now Linux arm64"),
        ("versions", {"numpy": "9.0"}, "numpy was 2.0 and is now 9.0; handgrad was 0.1 and is now not installed"),
    ],
)
def test_what_is_another_is_named(field: str, value: object, said: str) -> None:
    before = Environment(2, "numba", "none", "openblas", 1, "x86_64", "Linux", {"numpy": "2.0", "handgrad": "0.1"})
    assert before.differences(before) == []
    (*differences,) = before.differences(dataclasses.replace(before, **{field: value}))
    assert said in "; ".join(differences)


def test_what_follows_from_something_else_is_not_named_too() -> None:
    before = Environment(1, "numba", "numba 1", "openblas", 1, "x86_64", "Linux", {})
    after = dataclasses.replace(before, blas_threads=2, backend="numpy", compiler="none")
    assert before.differences(after) == ["backend was numba and is now numpy"]


def test_other_libraries_blas_is_not_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Environment.here(2)
    foreign = {
        "user_api": "blas",
        "internal_api": "mkl",
        "version": "1",
        "num_threads": 9,
        "filepath": "/opt/libmkl.so",
    }
    loaded = [*environment.threadpool_info(), foreign]
    monkeypatch.setattr(environment, "threadpool_info", lambda: loaded)
    assert Environment.here(2) == alone
    monkeypatch.setattr(environment, "threadpool_info", lambda: [foreign])
    assert Environment.here(2).blas == "mkl 1 None"
    monkeypatch.setattr(environment, "current_backend", lambda: "numpy")
    assert (Environment.here(1).blas_threads, Environment.here(2).blas_threads) == (9, 1)


def test_what_numba_compiles_for_is_named_also_where_it_is_told_what(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pytest.importorskip("numba.core.config")
    before = Environment.here(2)
    if before.backend != "numba":
        pytest.skip("NumPy runs alone")
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    (different,) = before.differences(Environment.here(2))
    assert different.startswith("compiler was numba ")
    assert ", generic, O" in different


def test_versions_through_which_no_number_passes_may_be_others() -> None:
    before = Environment.here(2)
    versions = {**before.versions, "python": "3.99", "safetensors": "9", "threadpoolctl": "9"}
    assert before.differences(dataclasses.replace(before, versions=versions)) == []
    assert Environment.of(json.loads(json.dumps(dataclasses.asdict(before)))) == before


def test_a_run_does_not_go_on_elsewhere_unless_it_may(stopped: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    there = dataclasses.replace(Environment.here(2), blas="another blas")
    monkeypatch.setattr(resuming_module.Environment, "here", classmethod(lambda cls, shards: there))
    with pytest.raises(InputError, match=r"not bit-exact, because blas was .* and is now another blas.*allow_inexact"):
        train(stopped, stopped.data())
    with pytest.raises(InputError, match="not bit-exact"):
        resumed(stopped)
    heard: list[str] = []
    run = resumed(stopped, allow_inexact=True, notice=heard.append)
    assert "not bit-exact, because blas was" in heard[0]
    assert train(run, run.data()).finished
    content = json.loads((run.path / "config.json").read_text())
    assert content["inexact"][0]["step"] == 7
    assert content["resolved"]["blas"] == "another blas"
    assert open_run(run.path).environment == there


def test_before_its_first_step_a_run_may_move(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run()
    there = dataclasses.replace(Environment.here(2), blas="another blas")
    monkeypatch.setattr(resuming_module.Environment, "here", classmethod(lambda cls, shards: there))
    moved = resumed(run)
    assert moved.environment == open_run(run.path).environment == there
    assert "inexact" not in json.loads((run.path / "config.json").read_text())


def test_changed_settings(stopped: Run) -> None:
    with pytest.raises(
        InputError, match=r"^these settings cannot change when .* is resumed: n_layer 2 → 3, optimizer adamw → sgd;"
    ) as caught:
        resumed(stopped, TINY.updated({"n_layer": 3, "optimizer": "sgd", "lr": 1.0}, "test"))
    assert "these can: max_steps, lr, min_lr" in str(caught.value)
    with pytest.raises(InputError, match="is already at step 7; max_steps cannot be 6"):
        resumed(stopped, TINY.updated({"max_steps": 6}, "test"))
    assert open_run(stopped.path).config == TINY
    heard: list[str] = []
    run = resumed(stopped, TINY.updated({"max_steps": 9, "lr": 0.5}, "test"), notice=heard.append)
    assert heard == [
        "continuing with max_steps 20 → 9, lr 0.01 → 0.5",
        "the learning rate of step 8 is now 1.26e-01; without the change it would be 8.83e-03",
    ]
    assert open_run(run.path).config == run.config
    assert train(run, run.data()).progress.step == 9


@pytest.mark.parametrize("name", ["quick", "shakespeare-cpu", "modern-cpu", "modern", "explicit-char", "autograd-char"])
def test_the_number_of_parameters_is_known_before_a_model_is_made(name: str) -> None:
    config = preset(name).model_config(71)
    assert config.n_parameters == GPT(config).n_parameters
    untied = GPTConfig(71, 8, 2, 2, 12, bias=True, tie_weights=False)
    assert untied.n_parameters == GPT(untied).n_parameters


def test_what_cannot_fit_this_machine_is_refused_by_its_size() -> None:
    huge = TINY.updated({"n_layer": 10**9}, "test")
    with pytest.raises(InputError, match=r"takes at least [\d,.]+ GiB of memory, and this machine has"):
        check_fits_memory(huge, huge.model_config(65), 2)
    wide = TINY.updated({"batch_size": 10**12}, "test")
    with pytest.raises(InputError, match="GiB"):
        check_fits_memory(wide, wide.model_config(65), 2)
    check_fits_memory(preset("quick"), preset("quick").model_config(100), 2)


def files_of(run: Run) -> dict[str, bytes]:
    """Everything on the disk, apart from the lock."""
    found = [path for path in run.path.rglob("*") if path.name != "lock"]
    return {str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else b"" for path in found}


def test_more_steps_say_how_the_rate_moves(stopped: Run) -> None:
    assert train(stopped, stopped.data()).finished
    heard: list[str] = []
    resumed(open_run(stopped.path), TINY.updated({"max_steps": 40}, "test"), notice=heard.append)
    # At step 20 the cosine over 17 steps after the warm-up has reached min_lr; over 37 steps it is at 17/37.
    rate = 1e-3 + 0.5 * (1e-2 - 1e-3) * (1 + math.cos(math.pi * 17 / 37))
    assert heard[1] == (f"the learning rate of step 21 is now {rate:.2e}; without the change it would be 1.00e-03")


@pytest.mark.parametrize("change", [{"keep": 5}, {"eval_interval": 7}, {"max_steps": 7}])
def test_nothing_is_said_of_a_rate_that_stays(stopped: Run, change: dict[str, int]) -> None:
    heard: list[str] = []
    resumed(stopped, TINY.updated(change, "test"), notice=heard.append)
    assert len(heard) == 1


def test_a_smaller_lr_needs_a_smaller_min_lr(stopped: Run) -> None:
    before = files_of(stopped)
    with pytest.raises(InputError, match=r"min_lr must be at most lr, 1e-05, not 0.001: the cosine schedule"):
        resumed(stopped, TINY.updated({"lr": 1e-5}, "test"))
    assert files_of(stopped) == before
    assert resumed(stopped, TINY.updated({"lr": 1e-5, "min_lr": 1e-6}, "test")).config.min_lr == 1e-6


def test_an_old_run_with_such_settings_continues(new_run: NewRun) -> None:
    run = new_run()
    content = json.loads((run.path / "config.json").read_text())
    content["config"]["min_lr"] = 0.5
    content["data"].pop("ids_sha256")  # as in older runs
    (run.path / "config.json").write_text(json.dumps(content))
    old = open_run(run.path)
    assert old.ids_sha256 is None
    assert resumed(old, old.config.updated({"max_steps": 5}, "test")).config.min_lr == 0.5
    assert train(open_run(run.path), old.data()).finished


def test_a_refused_setting_names_the_way_that_works(stopped: Run) -> None:
    with pytest.raises(InputError, match=rf"a new run from its weights, .*: --init-from {stopped.path}$"):
        resumed(stopped, TINY.updated({"batch_size": 7, "seed": 3}, "test"))
    with pytest.raises(InputError, match="n_layer cannot change without new weights: start a new run"):
        resumed(stopped, TINY.updated({"batch_size": 7, "n_layer": 3}, "test"))


def test_data_that_moved(new_run: NewRun, tmp_path: Path) -> None:
    """Token files outside the run, then elsewhere, then with other ids, another text, or not there at all."""
    first = new_run("first")
    here, there = tmp_path / "here", tmp_path / "there"
    write_token_files(here, first.data())
    run = create_run(tmp_path / "run", TINY, first.data(), here, 2, None)
    left = iter(range(7))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    train(first, first.data())
    here.rename(there)
    with pytest.raises(InputError, match=rf"{here}, the token files of .* is not there; if they have moved, say where"):
        run.data()
    heard: list[str] = []
    moved = resumed(run.with_data_at(there), notice=heard.append)
    assert heard == [f"the token files are now in {there}"]
    assert open_run(run.path).data_directory == there
    assert train(open_run(run.path), moved.data()).finished
    assert (find_checkpoint(run.path, "last") / "model.safetensors").read_bytes() == (
        find_checkpoint(first.path, "last") / "model.safetensors"
    ).read_bytes()

    before = files_of(run)
    other = new_run("other", tokenizer="word").data_directory
    recut = tmp_path / "recut"
    write_token_files(recut, first.data())
    meta = json.loads((recut / "meta.json").read_text())
    (recut / "meta.json").write_text(json.dumps({**meta, "train_sha256": "0" * 64}))
    for place in (other, recut):
        with pytest.raises(InputError, match="no longer holds the text and tokenizer"):
            resumed(open_run(run.path).with_data_at(place))
    ids = bytearray((there / "train.npy").read_bytes())
    ids[-1] ^= 1
    (there / "train.npy").write_bytes(ids)
    with pytest.raises(InputError, match=r"it does not have the SHA-256 that meta.json names"):
        resumed(open_run(run.path), TINY.updated({"max_steps": 30}, "test"))
    assert files_of(run) == before


def test_data_in_the_run_is_found_when_the_run_moves(stopped: Run, tmp_path: Path) -> None:
    resumed(stopped.with_data_at(stopped.path / "data"), TINY.updated({"keep": 4}, "test"))
    stopped.path.rename(tmp_path / "moved")
    moved = open_run(tmp_path / "moved")
    assert moved.data_directory == tmp_path / "moved" / "data"
    assert train(moved, moved.data()).finished


def damage_data(run: Run) -> None:
    (run.data_directory / "train.npy").write_bytes((run.data_directory / "train.npy").read_bytes()[:-1] + b"\x09")


def damage_checkpoints(run: Run) -> None:
    for checkpoint in (run.path / "checkpoints").iterdir():
        (checkpoint / "model.safetensors").write_bytes(b"")


def lose_checkpoints(run: Run) -> None:
    shutil.rmtree(run.path / "checkpoints")


def replace_metrics(run: Run) -> None:
    run.metrics_path.unlink()
    run.metrics_path.mkdir()


@pytest.mark.parametrize("damage", [damage_data, damage_checkpoints, lose_checkpoints, replace_metrics])
def test_a_refused_resume_has_changed_nothing(stopped: Run, damage: Callable[[Run], None]) -> None:
    damage(stopped)
    before = files_of(stopped)
    with pytest.raises(InputError):
        resumed(stopped, TINY.updated({"max_steps": 30, "lr": 0.02}, "test"), allow_inexact=True)
    assert files_of(stopped) == before

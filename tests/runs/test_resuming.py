"""What a run's bits depend on, and what may change when it is resumed."""

import dataclasses
import json
from collections.abc import Callable

import pytest
from support import TINY

from handgrad.models import GPT, GPTConfig
from handgrad.runs import Run, environment, open_run, preset, resumed
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
    before = Environment(1, "numba", "numba 1", "openblas", 2, "x86_64", "Linux", {})
    after = dataclasses.replace(before, replicas=2, blas_threads=1, backend="numpy", compiler="none")
    assert before.differences(after) == ["replicas was 1 and is now 2", "backend was numba and is now numpy"]


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
    assert Environment.here(1).blas_threads == 9


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
    monkeypatch.setattr(resuming_module.Environment, "here", classmethod(lambda cls, replicas: there))
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
    monkeypatch.setattr(resuming_module.Environment, "here", classmethod(lambda cls, replicas: there))
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
    assert heard == ["continuing with max_steps 20 → 9, lr 0.01 → 0.5"]
    assert open_run(run.path).config == run.config
    assert train(run, run.data()).progress.step == 9


@pytest.mark.parametrize("name", ["quick", "shakespeare-cpu", "explicit-char", "autograd-char"])
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

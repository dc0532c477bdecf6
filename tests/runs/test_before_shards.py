"""Runs that began before there were shards: they resume if their bits stay the same, and else one sentence says why."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from support import TINY

from handgrad.runs import Run, TrainConfig, find_checkpoint, open_run, resumed
from handgrad.runs.before_shards import environment_in
from handgrad.runs.environment import Environment
from handgrad.system.errors import InputError
from handgrad.training import train

NewRun = Callable[..., Run]


def as_before(run: Run, replicas: int) -> Run:
    """Writes the run's config.json as it was before: ``replicas`` are threads, and their number is resolved."""
    path = run.path / "config.json"
    content = json.loads(path.read_text())
    del content["config"]["shards"], content["resolved"]["shards"]
    content["config"]["replicas"] = content["resolved"]["replicas"] = replicas
    path.write_text(json.dumps(content))
    return open_run(run.path)


def stopped(run: Run) -> Run:
    left = iter(range(7))
    train(run, run.data(), should_stop=lambda: next(left, None) is None)
    return run


def weights(run: Run) -> bytes:
    return (find_checkpoint(run.path, "last") / "model.safetensors").read_bytes()


@pytest.mark.parametrize("replicas", [2, 3])
def test_two_or_three_replicas_go_on_bit_for_bit_as_so_many_shards(new_run: NewRun, replicas: int) -> None:
    whole, half = new_run("whole", shards=replicas), stopped(new_run("half", shards=replicas))
    train(whole, whole.data())
    old = as_before(half, replicas)
    assert (old.shards, old.config.shards, old.config.replicas, old.outdated) == (replicas, replicas, 0, None)
    again = resumed(old, replace(old.config, replicas=1))
    assert train(again, again.data()).finished
    assert weights(again) == weights(whole)
    content = json.loads((half.path / "config.json").read_text())
    assert (content["resolved"]["shards"], content["config"]["shards"]) == (replicas, replicas)
    assert "replicas" not in content["resolved"]


def test_four_replicas_are_refused_in_one_sentence_unless_that_is_allowed(new_run: NewRun) -> None:
    old = as_before(stopped(new_run(shards=4)), 4)
    assert old.model("last")[1].name == "step-00000007"
    before = (old.path / "config.json").read_bytes()
    said = (
        "not bit-exact, because the gradients of its 4 replicas were added in a row, and those of 4 shards are added "
        "along a tree"
    )
    with pytest.raises(InputError, match=said) as caught:
        resumed(old)
    assert str(caught.value).endswith(". To continue anyway, add --allow-inexact")
    with pytest.raises(InputError, match=said):
        train(old, old.data())
    assert (old.path / "config.json").read_bytes() == before
    again = resumed(old, allow_inexact=True)
    assert again.shards == 4
    again = resumed(open_run(old.path))  # from now on it is exact
    assert train(again, again.data()).finished
    (note,) = json.loads((old.path / "config.json").read_text())["inexact"]
    assert (note["step"], said.partition("because ")[2] in note["because"]) == (7, True)


@pytest.mark.parametrize(
    ("replicas", "backend", "changes", "said"),
    [
        (1, "numpy", {}, None),
        (1, "numba", {}, "the matrix products of its one replica were computed whole, and are now cut into tiles"),
        (1, "numba", {"precision": "bfloat16"}, None),
        (
            1,
            "numba",
            {"precision": "bfloat16", "dropout": 0.1},
            "attention in its one replica used 2 threads of BLAS, and now uses one",
        ),
        (3, "numpy", {}, None),
        (3, "numba", {"dropout": 0.1}, None),
        (
            5,
            "numpy",
            {},
            "the gradients of its 5 replicas were added in a row, and those of 5 shards are added along a",
        ),
    ],
)
def test_which_runs_are_computed_otherwise_now(
    replicas: int, backend: str, changes: dict[str, Any], said: str | None
) -> None:
    now = asdict(Environment(1, backend, "", "openblas", 2 if replicas == 1 else 1, "x86_64", "Linux", {}))
    resolved = {name: value for name, value in now.items() if name != "shards"} | {"replicas": replicas}
    environment, why = environment_in(resolved, replace(TINY, **changes))
    assert environment.shards == replicas
    assert (why or "").startswith(said or "")
    assert (why is None) == (said is None)
    if replicas == 1:  # BLAS has threads of its own only if NumPy runs alone
        assert environment.blas_threads == (2 if backend == "numpy" else 1)


def test_settings_of_before_name_the_shards_replicas() -> None:
    assert TrainConfig.stored({"replicas": 2}, "file") == TrainConfig(shards=2)
    assert TrainConfig.stored({"replicas": 0}, "file") == TrainConfig()
    assert TrainConfig.stored({"replicas": 2, "shards": 4}, "file") == TrainConfig(shards=4, replicas=2)

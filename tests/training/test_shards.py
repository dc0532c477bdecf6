"""Shards: their gradients are summed along one tree, and neither bits nor the tree depend on who computes them."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support import TINY, Output

from handgrad.backend import products_shared_by
from handgrad.models import GPT, LanguageModel
from handgrad.runs import Run, TrainConfig, find_checkpoint, open_run, resumed
from handgrad.system.arrays import Array
from handgrad.system.backend_setting import current_backend, use_backend
from handgrad.system.threads import Team
from handgrad.training import train
from handgrad.training.compile_first import compile_kernels_of
from handgrad.training.memory_estimate import check_fits_memory
from handgrad.training.replicas import Replicas, cores_for, gradients_at_once
from handgrad.training.shard_tree import Span, additions, ends_of, parts_of, roots_of, sums_at_once

NewRun = Callable[..., Run]
MODERN: dict[str, Any] = {
    "norm": "rms", "positions": "rotary", "qk_norm": True, "activation": "swiglu", "tie_weights": False,
    "optimizer": "muon",
}  # fmt: skip


# -- the tree, with numbers whose sum depends on the order


def along_the_tree(numbers: Any) -> Any:
    """The definition, recursively."""
    if len(numbers) == 1:
        return numbers[0]
    middle = (len(numbers) + 1) // 2
    return along_the_tree(numbers[:middle]) + along_the_tree(numbers[middle:])


def added_by_worker(shards: int, part: Span, numbers: Any, most: int) -> dict[int, Any]:
    """The sums that one worker leaves, by their first shards; never more than ``most`` at once."""
    kept: list[Any] = []
    for shard, ended in zip(range(*part), ends_of(shards, part), strict=True):
        kept.append(numbers[shard])
        assert len(kept) <= most
        for _ in range(ended):
            newest = kept.pop()
            kept[-1] = kept[-1] + newest
    return dict(zip((root.first for root in roots_of(shards, part)), kept, strict=True))


def combined(shards: int, part: Span, sums: dict[int, Any], given: list[Span]) -> dict[int, Any]:
    """The sums of a part from those of the parts inside it."""
    for target, added in additions(shards, part, given):
        sums[target] = sums[target] + sums[added]
    return {root.first: sums[root.first] for root in roots_of(shards, part)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_divisions_among_workers_give_the_sum_of_the_tree(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for shards in (1, 2, 3, 5, 8, 13, 33):
        numbers = (rng.standard_normal(shards) * 10.0 ** rng.integers(-6, 6, shards)).astype(dtype)
        whole = Span(0, shards)
        for workers in range(1, shards + 1):
            parts = parts_of(whole, workers)
            assert {part.size for part in parts} <= {shards // workers, -(-shards // workers)}
            sums: dict[int, Any] = {}
            for part in parts:
                sums |= added_by_worker(shards, part, numbers, sums_at_once(shards, part))
            roots = [root for part in parts for root in roots_of(shards, part)]
            (found,) = combined(shards, whole, sums, roots).values()
            assert found.tobytes() == along_the_tree(numbers).tobytes()


def test_workers_inside_any_parts_give_the_same_sum() -> None:
    """Parts need not be equal, may be empty, and are divided again, as threads inside processes are."""
    rng = np.random.default_rng(1)
    for shards in (5, 8, 11):
        numbers = rng.standard_normal(shards).astype(np.float32)
        whole, outer_sums, outer_roots = Span(0, shards), dict[int, Any](), list[Span]()
        for _ in range(40):
            cuts = [0, *sorted(rng.integers(0, shards + 1, 3).tolist()), shards]
            outer_sums, outer_roots = {}, []
            for first, stop in itertools.pairwise(cuts):
                part, inner_sums, inner_roots = Span(first, stop), dict[int, Any](), list[Span]()
                for inner in parts_of(part, 3):
                    inner_sums |= added_by_worker(shards, inner, numbers, sums_at_once(shards, inner))
                    inner_roots += roots_of(shards, inner)
                outer_sums |= combined(shards, part, inner_sums, inner_roots)
                outer_roots += roots_of(shards, part)
            (found,) = combined(shards, whole, outer_sums, outer_roots).values()
            assert found.tobytes() == along_the_tree(numbers).tobytes()


def test_the_tree_as_it_is_described() -> None:
    whole = Span(0, 5)
    assert whole.halves == (Span(0, 3), Span(3, 5))
    assert additions(5, whole, [Span(shard, shard + 1) for shard in range(5)]) == [(0, 1), (0, 2), (3, 4), (0, 3)]
    assert roots_of(5, Span(1, 4)) == [Span(1, 2), Span(2, 3), Span(3, 4)]
    assert additions(5, whole, [Span(0, 3), Span(3, 5)]) == [(0, 3)]
    assert [sums_at_once(size, Span(0, size)) for size in (1, 2, 3, 4, 5, 8, 16)] == [1, 2, 2, 3, 3, 4, 5]
    assert sums_at_once(1 << 40, Span(0, 1 << 40)) == 41  # without counting shards
    assert (gradients_at_once(2, 2), gradients_at_once(8, 2), gradients_at_once(8, 1)) == (2, 6, 4)


# -- gradients


def ids_of(model: LanguageModel, windows: int, length: int, seed: int = 0) -> tuple[Array, Array]:
    tokens = np.random.default_rng(seed).integers(0, model.config.vocab_size, (windows, length + 1))
    return tokens[:, :-1], tokens[:, 1:]


@contextmanager
def replicas_of(model: LanguageModel, shards: int, threads: int) -> Iterator[Replicas]:
    replicas = Replicas(model, shards, threads)
    try:
        with cores_for(shards):
            yield replicas
    finally:
        replicas.close()


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one shard may have four threads."""
    monkeypatch.setattr("handgrad.runs.environment.available_cores", lambda: 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shards", [2, 3, 5, 8])
def test_a_gradient_is_the_sum_of_the_tree_over_those_of_the_shards(shards: int, dtype: Any) -> None:
    config = TINY.model_config(17)
    model = GPT(config, dtype=dtype)
    batches = [ids_of(model, 9, 8), ids_of(model, 9, 8, seed=1)]
    gradients, losses = [], []
    with cores_for(shards):
        for shard in range(shards):
            alone, loss = GPT(config, dtype=dtype), 0.0
            for x, y in batches:
                x, y = (np.array_split(each, shards)[shard] for each in (x, y))
                weight = y.size / (18 * 8)
                loss += alone.loss(x, y) * weight
                alone.backward(weight)
            gradients.append(alone.arena.grad)
            losses.append(loss)
    for threads in (1, 2, 3):
        with replicas_of(model, shards, threads) as replicas:
            loss, _ = replicas.loss_and_gradients(batches)
        assert loss == along_the_tree(losses)
        assert model.arena.grad.tobytes() == along_the_tree(gradients).tobytes()


def after_steps(config: TrainConfig, shards: int, threads: int, length: int = 8, steps: int = 3) -> list[bytes]:
    """The losses, the norms and the weights after each step."""
    model = GPT(config.model_config(17), seed=3)
    optimizer, found = config.make_optimizer(model.decay_groups(0.1)), []
    with replicas_of(model, shards, threads) as replicas:
        for step in range(steps):
            batches = [
                ids_of(model, config.batch_size, length, seed=100 * step + number)
                for number in range(config.grad_accum_steps)
            ]
            loss, norm = replicas.loss_and_gradients(batches, (7, step))
            replicas.update(optimizer, norm, 1.0)
            found.append(np.array([loss, norm]).tobytes() + model.arena.data.tobytes())
    return found


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [{}, MODERN], ids=["gpt-2", "modern"])
def test_weights_do_not_depend_on_the_number_of_threads(kind: dict[str, Any], precision: Any, shards: int) -> None:
    if shards == 1 and current_backend() != "numba":
        pytest.skip("NumPy alone leaves the products of one shard to BLAS")
    config = replace(TINY, batch_size=9, dropout=0.1, grad_accum_steps=2, precision=precision, **kind)
    one, *others = (after_steps(config, shards, threads) for threads in (1, 2, 3))
    assert others == [one, one]
    assert after_steps(config, shards % 8 + 1, 2) != one


def test_dropout_depends_on_the_shard_and_not_on_its_thread() -> None:
    """Every shard has the same windows, so that its loss tells what was dropped."""
    model = GPT(replace(TINY, dropout=0.5).model_config(17), seed=3)
    x, y = (np.repeat(each, 4, axis=0) for each in ids_of(model, 1, 8))
    losses = []
    for shard in range(4):
        model.set_generator(np.random.default_rng([5, shard]))
        losses.append(model.loss(x[:1], y[:1]) * 0.25)
        model.backward(0.25)
    assert len(set(losses)) == 4
    for threads in (1, 2, 3, 4):
        with replicas_of(model, 4, threads) as replicas:
            assert replicas.loss_and_gradients([(x, y)], (5,))[0] == along_the_tree(losses)


# -- one shard, whose products are cut into tiles


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("dropout", "kind"), [(0.0, {}), (0.1, {}), (0.0, MODERN)])
def test_one_shard_of_large_products_gives_the_same_bits_on_all_threads(
    precision: Any, dropout: float, kind: dict[str, Any]
) -> None:
    """Windows and widths exceed a tile, and are no multiples of it."""
    pytest.importorskip("numba")
    if current_backend() != "numba":
        pytest.skip("NumPy alone cuts nothing")
    sizes: dict[str, Any] = {"block_size": 530, "n_embd": 530, "n_layer": 1, "n_head": 5, "batch_size": 1}
    config = replace(TINY, **sizes, dropout=dropout, precision=precision, **kind)
    one, *others = (after_steps(config, 1, threads, length=530, steps=1) for threads in (1, 2, 3))
    assert others == [one, one]


# -- runs


def weights(run: Run) -> bytes:
    return (find_checkpoint(run.path, "last") / "model.safetensors").read_bytes()


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_a_run_goes_on_bit_for_bit_with_other_replicas(new_run: NewRun, shards: int) -> None:
    if shards == 1 and current_backend() != "numba":
        pytest.skip("NumPy alone leaves the products of one shard to BLAS")
    whole, changed = new_run("whole", shards=shards), new_run("changed", shards=shards, replicas=3)
    train(whole, whole.data())
    left = iter(range(7))
    train(changed, changed.data(), should_stop=lambda: next(left, None) is None)
    heard: list[str] = []
    again = resumed(open_run(changed.path), replace(changed.config, replicas=1), notice=heard.append)
    assert heard == ["continuing with replicas 3 → 1"]
    assert (again.config.replicas, again.shards) == (1, shards)
    assert train(again, again.data()).finished
    assert weights(again) == weights(whole)


def test_more_shards_need_more_memory_only_for_the_sums_that_a_thread_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, n_embd=512, n_head=1, batch_size=64, replicas=2)
    model = config.model_config(17)
    needed = (1 + 4 + 2) * 4 * model.n_parameters  # weights, gradients of 4 shards on 2 threads, moments
    monkeypatch.setattr("handgrad.training.memory_estimate.physical_memory", lambda: int(needed * 1.1))
    check_fits_memory(config, model, 4)
    with pytest.raises(Exception, match="GiB of memory"):
        check_fits_memory(config, model, 64)


def test_a_resume_that_needs_too_much_memory_changes_nothing(
    new_run: Callable[..., Run], handgrad: Callable[..., Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(n_embd=96, shards=4, replicas=1)
    before = (run.path / "config.json").read_bytes()
    sizes = {replicas: replace(run.config, replicas=replicas) for replicas in (1, 4)}
    needed = 4 * run.model_config.n_parameters
    monkeypatch.setattr("handgrad.training.memory_estimate.physical_memory", lambda: 7 * needed)
    check_fits_memory(sizes[1], run.model_config, 4, resumes=True)
    refused = handgrad("train", "--resume", run.path, "--replicas", 4)
    assert refused.code == 2
    assert "; continue with fewer --replicas than 4 or on a machine that has more" in refused.err
    assert (run.path / "config.json").read_bytes() == before
    monkeypatch.setattr("handgrad.training.memory_estimate.physical_memory", lambda: needed)
    for replicas in (1, 4):  # no number of threads would do
        refused = handgrad("train", "--resume", run.path, "--replicas", replicas)
        assert "; continue on a machine that has more" in refused.err


def test_what_threads_do_for_a_single_shard_is_compiled_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first step of such a run would wait for the compiler."""
    pytest.importorskip("numba")
    shared: list[int] = []

    def noted(team: Team) -> AbstractContextManager[None]:
        shared.append(team.size)
        return products_shared_by(team)

    monkeypatch.setattr("handgrad.training.replicas.products_shared_by", noted)
    use_backend("numba")
    try:
        compile_kernels_of(TINY, TINY.model_config(5))
    finally:
        use_backend(None)
    assert len(shared) == 1

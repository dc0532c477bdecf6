"""The training loop: what it writes, exact repetition, exact resuming after an interruption, and what it refuses."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import safetensors.numpy
from support import TINY, read_lines
from threadpoolctl import threadpool_info

from handgrad.autograd import no_grad
from handgrad.models import GPT
from handgrad.runs import (
    Metrics,
    Run,
    TrainConfig,
    choose_shards,
    environment,
    find_checkpoint,
    load_model,
    open_run,
    preset,
)
from handgrad.runs.config import OPTIMIZERS
from handgrad.runs.retention import read_pointer
from handgrad.system.backend_setting import current_backend
from handgrad.system.errors import InputError
from handgrad.training import DivergedError, Reporter, bits_per_character, evaluate, train
from handgrad.training import replicas as replicas_module
from handgrad.training.replicas import Replicas, cores_for

TIMED = ("seconds", "tokens_per_second")
NewRun = Callable[..., Run]


def weights(run: Run, checkpoint: str = "last") -> bytes:
    return (find_checkpoint(run.path, checkpoint) / "model.safetensors").read_bytes()


def untimed(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMED} for row in read_lines(run.metrics_path)]


def stop_before_step(step: int) -> Callable[[], bool]:
    """A ``should_stop`` that stops training before the given step: the loop calls it once per step."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= step


def test_run_directory_holds_what_the_design_names(new_run: NewRun) -> None:
    run = new_run()
    outcome = train(run, run.data())
    assert outcome.finished
    assert outcome.progress.step == TINY.max_steps
    names = {path.name for path in run.path.iterdir()}
    assert names == {"config.json", "tokenizer.json", "metrics.jsonl", "checkpoints", "last", "best", "data", "lock"}
    last = run.path / "checkpoints" / (run.path / "last").read_text().strip()
    assert {path.name for path in last.iterdir()} == {"model.safetensors", "optimizer.safetensors", "state.json"}
    kept = {path.name for path in (run.path / "checkpoints").iterdir()}
    assert kept == {read_pointer(run.path, "last"), "step-00000016", read_pointer(run.path, "best")}
    config = json.loads((run.path / "config.json").read_text())
    assert config["config"] == dataclasses.asdict(TINY)
    assert config["resolved"]["shards"] == 2
    assert {"python", "numpy"} <= set(config["resolved"]["versions"])
    assert (run.path / "lock").read_bytes() == b""  # no process holds it any more


def test_weights_carry_the_names_of_gpt2(new_run: NewRun) -> None:
    run = new_run()
    train(run, run.data())
    arrays = safetensors.numpy.load_file(find_checkpoint(run.path) / "model.safetensors")
    assert {"wte.weight", "wpe.weight", "h.1.attn.c_attn.weight", "h.0.mlp.c_proj.bias", "ln_f.bias"} <= set(arrays)
    assert arrays["h.0.attn.c_attn.weight"].shape == (12, 36)


def test_metrics_have_a_line_for_each_logged_or_evaluated_step(new_run: NewRun) -> None:
    run = new_run()
    train(run, run.data())
    rows = read_lines(run.metrics_path)
    assert [row["step"] for row in rows] == [0, 2, 4, 5, 6, 8, 10, 12, 14, 15, 16, 18, 20]
    assert [row["step"] for row in rows if row["val_loss"] is not None] == [0, 5, 10, 15, 20]
    assert set(rows[0]) == {field.name for field in dataclasses.fields(Metrics)}
    for row in rows[1:]:
        assert row["tokens"] == row["step"] * TINY.batch_size * TINY.block_size
        assert row["lr"] == pytest.approx(TINY.make_schedule()(row["step"] - 1))
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_it_learns(new_run: NewRun) -> None:
    run = new_run(max_steps=150, eval_interval=50)
    train(run, run.data())
    losses = [row["val_loss"] for row in read_lines(run.metrics_path) if row["val_loss"] is not None]
    assert losses[0] == pytest.approx(math.log(run.model_config.vocab_size), abs=0.1)
    assert losses[-1] < losses[0] - 1.5


def test_one_seed_gives_one_run(new_run: NewRun) -> None:
    runs = [new_run("a", dropout=0.1), new_run("b", dropout=0.1), new_run("c", dropout=0.1, seed=5)]
    for run in runs:
        train(run, run.data())
    assert weights(runs[0]) == weights(runs[1])
    assert untimed(runs[0]) == untimed(runs[1])
    assert weights(runs[0]) != weights(runs[2])


@pytest.mark.parametrize("step", [1, 10, 13])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": 0.2, "grad_accum_steps": 2, "shards": 3},
        {"optimizer": "sgd", "nesterov": True, "lr": 0.1},
        {"optimizer": "muon", "ema": 0.9, "cautious": True, "schedule": "trapezoid", "sample_interval": 4},
        {"ema": 0.99, "shards": 1},
    ],
    ids=["plain", "dropout and accumulation", "sgd", "muon, averaged", "averaged"],
)
def test_a_stopped_and_resumed_run_is_bit_for_bit_the_one_that_was_not(
    new_run: NewRun, changes: dict[str, Any], step: int
) -> None:
    whole, halved = new_run("whole", **changes), new_run("halved", **changes)
    train(whole, whole.data())
    first = train(halved, halved.data(), should_stop=stop_before_step(step))
    assert (first.finished, first.progress.step) == (False, step)
    second = train(open_run(halved.path), halved.data())
    assert second.finished
    for name in ("model.safetensors", "optimizer.safetensors"):
        parts = [find_checkpoint(run.path, "last") / name for run in (whole, halved)]
        assert parts[0].read_bytes() == parts[1].read_bytes()
    assert untimed(whole) == untimed(halved)
    assert read_pointer(whole.path, "best") == read_pointer(halved.path, "best")


def test_resuming_from_an_older_checkpoint_writes_no_step_twice(new_run: NewRun) -> None:
    """As after a crash: the metrics reach beyond the last checkpoint, and the last line is cut."""
    whole, crashed = new_run("whole"), new_run("crashed")
    train(whole, whole.data())

    class CrashError(Exception):
        pass

    class Crash(Reporter):
        def stepped(self, metrics: Metrics) -> None:
            if metrics.step == 11:
                raise CrashError

    with pytest.raises(CrashError):
        train(crashed, crashed.data(), reporter=Crash())
    assert read_pointer(crashed.path, "last") == "step-00000010"
    with crashed.metrics_path.open("a") as file:
        file.write('{"step": 11, "loss": 3.1}\n{"step": 12, "lo')
    train(open_run(crashed.path), crashed.data())
    assert untimed(whole) == untimed(crashed)
    assert weights(whole) == weights(crashed)


def test_accumulated_batches_are_one_large_batch(new_run: NewRun) -> None:
    """Two batches of 3 give the gradient of one batch of 6, with any number of shards."""
    run = new_run()
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, run.model_config.vocab_size, (6, 9))
    x, y = tokens[:, :-1], tokens[:, 1:]
    expected = GPT(run.model_config, dtype=np.float64)
    loss = expected.loss(x, y)
    expected.backward()
    for count in (1, 2, 3):
        replicas = Replicas(GPT(run.model_config, dtype=np.float64), count)
        replicas.models[0].arena.grad[...] = 7  # earlier gradients must not count
        accumulated, grad_norm = replicas.loss_and_gradients([(x[:3], y[:3]), (x[3:], y[3:])], (0,))
        replicas.close()
        assert accumulated == pytest.approx(loss, rel=1e-12)
        assert grad_norm == pytest.approx(np.linalg.norm(expected.arena.grad), rel=1e-12)
        np.testing.assert_allclose(replicas.models[0].arena.grad, expected.arena.grad, rtol=0, atol=1e-14)


def test_evaluation_covers_the_whole_text(new_run: NewRun) -> None:
    """Compared with the plainest evaluator, which sums the loss of one window after another."""
    run = new_run()
    model = GPT(run.model_config, seed=3).eval()
    tokens = run.data().validation[:101].astype(np.int64)
    total = 0.0
    with no_grad():
        for start in range(0, 100, 8):
            x, y = tokens[start : min(start + 8, 100)], tokens[start + 1 : min(start + 9, 101)]
            total += model.loss(x[None], y[None]) * len(y)
    assert evaluate(model, tokens) == pytest.approx(total / 100, rel=1e-6)


def test_evaluation_ignores_dropout_and_leaves_the_mode(new_run: NewRun) -> None:
    run = new_run(dropout=0.5)
    model = GPT(run.model_config, seed=3)
    first = evaluate(model, run.data().validation)
    assert evaluate(model, run.data().validation) == first
    assert model.training


def test_bits_per_character() -> None:
    assert bits_per_character(math.log(2), 1.0) == pytest.approx(1)
    assert bits_per_character(2 * math.log(2), 0.25) == pytest.approx(0.5)
    assert bits_per_character(1.0, None) is None


def test_lossy_validation_text_has_no_bits_per_character(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run(vocab_size=10)
    assert run.data().tokens_per_character is None
    train(run, run.data())
    assert all(row["bits_per_char"] is None for row in read_lines(run.metrics_path))


def test_divergence_stops_before_the_weights_are_touched(new_run: NewRun) -> None:
    run = new_run(optimizer="sgd", lr=1e30, warmup_steps=0, grad_clip=0.0, checkpoint_interval=1)
    with pytest.raises(DivergedError, match=r"diverged at step \d+.*checkpoint step-\d+ is kept"):
        train(run, run.data())
    model = load_model(find_checkpoint(run.path, "last"), run.model_config)
    assert np.isfinite(model.arena.data).all()


def test_init_from_starts_with_the_other_weights(new_run: NewRun) -> None:
    first = new_run("first")
    train(first, first.data())
    best = find_checkpoint(first.path)
    second = new_run("second", init_from=best, max_steps=1, lr=1e-9, min_lr=1e-9)
    train(second, second.data())
    rows = read_lines(second.metrics_path)
    assert rows[0]["val_loss"] == pytest.approx(
        json.loads((best / "state.json").read_text())["progress"]["best_val_loss"]
    )


def test_quick_estimate_looks_at_less(new_run: NewRun) -> None:
    run = new_run()
    model, tokens = GPT(run.model_config, seed=3), np.tile(run.data().validation, 40)
    assert evaluate(model, tokens, batches=1) != evaluate(model, tokens)


def test_no_checkpoint_is_left_half_written(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full from the third file of the second checkpoint on: the first checkpoint remains, and ``last``
    names it."""
    from handgrad.runs import checkpoint

    run, written, write = new_run(), [], checkpoint.write_flushed

    def failing(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) > 5:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_flushed", failing)
    with pytest.raises(OSError, match="No space left"):
        train(run, run.data())
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-00000000"]
    assert read_pointer(run.path, "last") == "step-00000000"
    monkeypatch.undo()
    assert train(open_run(run.path), run.data()).finished


def test_presets_are_the_published_ones() -> None:
    explicit, autograd, cpu = preset("explicit-char"), preset("autograd-char"), preset("shakespeare-cpu")
    assert GPT(explicit.model_config(69)).n_parameters == pytest.approx(3.23e6, rel=2e-3)
    assert GPT(autograd.model_config(69)).n_parameters == pytest.approx(6.05e6, rel=3e-3)
    assert (explicit.optimizer, explicit.activation, explicit.max_steps, explicit.lr) == ("adam", "relu", 8000, 3e-4)
    assert (autograd.schedule, autograd.beta2, autograd.weight_decay, autograd.grad_clip) == (
        "constant",
        0.999,
        0.01,
        0,
    )
    assert (cpu.batch_size, cpu.block_size, cpu.max_steps, cpu.bias, cpu.beta2) == (12, 64, 2000, False, 0.99)
    assert preset("gpt2").model_config(50257).n_layer == 12
    sizes = ("n_layer", "n_head", "n_embd", "block_size")
    assert [getattr(preset("modern-cpu"), name) for name in sizes] == [getattr(cpu, name) for name in sizes]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("n_embd", 13, "n_embd 13 must be a multiple of n_head 2"),
        ("max_steps", 0, "max_steps must be at least 1, not 0"),
        ("lr", float("nan"), "lr must be a finite number above 0, not nan"),
        ("lr", "fast", "lr must be of type float"),
        ("bias", 1, "bias must be of type bool"),
        ("beta2", 1.0, r"beta2 must lie in \[0, 1\), not 1.0"),
        ("schedule", "linear", "schedule must be cosine or constant or step or trapezoid, not linear"),
        ("dropout", 1.0, r"dropout must lie in \[0, 1\), not 1.0"),
        ("ema", 1.0, r"ema must lie in \[0, 1\), not 1.0"),
        ("muon_momentum", -0.1, r"muon_momentum must lie in \[0, 1\), not -0.1"),
        ("muon_lr", 0.0, "muon_lr must be a finite number above 0, not 0.0"),
        ("decay_fraction", 0.0, r"decay_fraction must lie in \(0, 1\], not 0.0"),
        ("decay_shape", "cosine", "decay_shape must be linear or sqrt, not cosine"),
        ("n_layers", 3, "unknown field 'n_layers'; choose from "),
    ],
)
def test_a_configuration_that_cannot_be_is_one_sentence(field: str, value: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        TINY.updated({field: value}, "settings.toml")
    assert "settings.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_cautious_decay_needs_a_decay_beside_the_step(optimizer: str) -> None:
    with pytest.raises(InputError, match="cautious must be False unless optimizer is adamw or muon, not True"):
        TINY.updated({"optimizer": optimizer, "cautious": True}, "test")


def test_integers_serve_as_floats() -> None:
    assert TrainConfig(lr=1).lr == 1.0
    assert type(TrainConfig(lr=1).lr) is float


@pytest.mark.parametrize(
    ("cores", "wanted", "batch_size", "chosen"),
    [
        (2, 0, 16, 2),
        (16, 0, 12, 12),
        (8, 0, 12, 6),  # two windows each: eight shards would not be faster
        (3, 0, 16, 3),
        (16, 0, 1, 1),
        (2, 5, 16, 5),
        (2, 5, 3, 3),
    ],
)
def test_how_many_shards_are_chosen(
    cores: int, wanted: int, batch_size: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "available_cores", lambda: cores)
    assert choose_shards(wanted, batch_size) == chosen


@pytest.mark.parametrize(
    ("wanted", "shards", "cores", "chosen"),
    [
        (0, 2, 4, 4),  # more than shards: the optimizer and the norm are shared too
        (3, 8, 2, 3),
        (9, 4, 2, 4),
        (9, 4, 6, 6),
        (100_000, 100_000, 2, 4096),
        (2, 1, 8, 2),
    ],
)
def test_how_many_threads_are_chosen(wanted: int, shards: int, cores: int, chosen: int) -> None:
    assert environment.choose_threads(wanted, shards, cores) == chosen


def test_blas_gets_its_threads_back() -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = threads()
    with cores_for(2):
        assert set(threads()) <= {1}
    assert threads() == before
    with pytest.raises(KeyError), cores_for(3):
        raise KeyError
    assert threads() == before
    with cores_for(1):
        assert set(threads()) <= {1} or (current_backend() != "numba" and threads() == before)
    assert threads() == before


def test_the_norm_depends_on_no_number_of_cores_and_empty_shares_on_nothing(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(n_embd=96)
    tokens = np.random.default_rng(0).integers(0, run.model_config.vocab_size, (2, 9))
    found = []
    monkeypatch.setattr(replicas_module, "_PIECE", 1000)
    for cores, count in ((1, 2), (2, 2), (5, 2), (2, 4)):
        monkeypatch.setattr(environment, "available_cores", lambda cores=cores: cores)
        replicas = Replicas(GPT(run.model_config), count)
        found.append(replicas.loss_and_gradients([(tokens[:, :-1], tokens[:, 1:])], (0,)))
        replicas.close()
    assert found[0] == found[1] == found[2]
    assert found[3] == pytest.approx(found[0], rel=1e-6)


def test_shards_give_the_same_bits_each_time(new_run: NewRun) -> None:
    run = new_run()
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, run.model_config.vocab_size, (7, 9))
    found = set()
    for _ in range(6):
        replicas = Replicas(GPT(run.model_config), 3)
        loss, norm = replicas.loss_and_gradients([(tokens[:, :-1], tokens[:, 1:])], (0,))
        replicas.close()
        found.add((loss, norm, replicas.models[0].arena.grad.tobytes()))
    assert len(found) == 1


def test_a_run_makes_the_optimizer_that_its_settings_name() -> None:
    assert set(OPTIMIZERS) == set(get_args(get_type_hints(TrainConfig)["optimizer"]))
    for name, (kind, _) in OPTIMIZERS.items():
        config = TINY.updated({"optimizer": name, "beta1": 0.7, "nesterov": name == "sgd"}, "test")
        optimizer = config.make_optimizer(GPT(config.model_config(5)).decay_groups(0.3))
        group = optimizer.param_groups[0]
        if name == "muon":
            continue  # below
        assert type(optimizer) is kind
        assert (group["lr"], group["weight_decay"]) == (config.lr, 0.3)
        assert (group["momentum"], group["nesterov"]) == (0.7, True) if name == "sgd" else group["betas"] == (0.7, 0.99)
        assert group.get("cautious", False) is False


def test_token_files_that_are_damaged_while_a_run_trains_are_one_sentence(new_run: NewRun) -> None:
    run = new_run()
    data = run.data()
    train_file = np.load(run.data_directory / "train.npy", mmap_mode="r+")

    def damage_after_three_steps(steps: list[int] = []) -> bool:  # noqa: B006
        steps.append(0)
        if len(steps) == 4:
            train_file[:] = np.iinfo(train_file.dtype).max
        return False

    with pytest.raises(InputError, match="the train token file of test text was changed while it was trained on"):
        train(run, data, should_stop=damage_after_three_steps)

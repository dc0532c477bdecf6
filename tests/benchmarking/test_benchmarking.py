"""The benchmark: what it counts, how it takes turns, and that it runs with and without PyTorch."""

import io
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from support import Output

from handgrad import Tensor, backend, nn
from handgrad.backend import Call, watching
from handgrad.benchmarking import (
    Contender,
    Times,
    alternate,
    as_json,
    case_of,
    compare,
    contenders,
    flops_of,
    handgrad_contender,
    profile,
    side_by_side,
)
from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.contenders import new_tokens
from handgrad.benchmarking.peak_memory import Memory, measure_memory
from handgrad.benchmarking.profile import Clock
from handgrad.cli import bench
from handgrad.runs import PRESETS
from handgrad.system.errors import InputError

TINY = Case(
    "tiny",
    replace(
        PRESETS["shakespeare-cpu"],
        n_layer=2,
        n_head=2,
        n_embd=12,
        block_size=8,
        batch_size=4,
        bias=True,
        tie_weights=False,
    ),
    vocab_size=23,
    tokens=8,
)


def test_the_products_of_a_step_are_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the shapes that the layers are called with; attention's by its formula, half of each square."""
    seen = 0

    def count(call: Call, run: Callable[[], Any]) -> Any:
        nonlocal seen
        x = call.inputs[0]
        if call.operation in ("linear", "linear_gelu", "unembedding") and not call.is_backward:
            seen += 3 * 2 * x.shape[0] * x.shape[1] * call.inputs[1].size
        if call.operation == "multi_head_attention" and not call.is_backward:
            B, T, C = x.shape
            seen += 6 * 2 * B * T * T * (C // 3) // 2
        return run()

    contender = handgrad_contender(TINY, shards=1)
    with watching(count):
        contender.run()
    contender.close()
    assert flops_of(TINY) == seen
    shares = TINY.products(2)
    assert 2 * sum(product.flops for product in shares) == seen


def test_explicit_chars_floor_is_six_operations_for_each_weight_and_token() -> None:
    case = case_of("explicit-char")
    weights = 4 * 12 * 256**2 + 69 * 256
    attention = 4 * 6 * 16 * 128 * 128 * 256  # 12 · ½ for each pair of positions and channel
    assert flops_of(case) == 6 * weights * 16 * 128 + attention


def test_contenders_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []

    @contextmanager
    def around(name: str):  # type: ignore[no-untyped-def]
        calls.append(f"({name}")
        yield
        calls.append(f"{name})")

    def contender(name: str, result: float) -> Contender:
        return Contender(name, lambda: calls.append(name) or result, lambda: around(name))

    times = alternate([contender("a", 1.0), contender("b", 1.5)], rounds=3, calls=2)
    turn = {name: [f"({name}", *[name] * 3, f"{name})"] for name in "ab"}
    assert calls[12:] == [*turn["a"], *turn["b"]] * 3
    assert calls[:12] == ["(a", *["a"] * 4, "a)", "(b", *["b"] * 4, "b)"]  # the warm-up
    assert [len(times.seconds[name]) for name in "ab"] == [3, 3]
    assert [len(times.results[name]) for name in "ab"] == [4 + 3 * 3] * 2
    assert times.apart("a", "b") == 0.5
    times.seconds.update(a=[1.0, 4.0, 1.0], b=[2.0, 2.0, 1.0])
    assert times.ratio("a", "b") == 1.0  # the median of ½, 2 and 1
    assert times.median("a") == 1.0


def test_every_contender_gets_the_same_batches_in_every_process() -> None:
    (x, y), (again, _) = TINY.batch(3), TINY.batch(3)
    assert x.shape == y.shape == (4, 8)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    assert (TINY.batch(4)[0] != x).any()
    assert x.max() < TINY.vocab_size


def test_our_steps_learn() -> None:
    contender = handgrad_contender(replace(TINY, train=replace(TINY.train, lr=1e-2, warmup_steps=0)))
    with contender.around():
        losses = [contender.run() for _ in range(120)]
    contender.close()
    assert losses[-1] < losses[0] - 0.2


@pytest.mark.parametrize("work", ["training", "evaluation", "generation"])
def test_a_comparison_without_pytorch(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "has_torch", lambda: False)
    monkeypatch.setattr(side_by_side, "has_jax", lambda: False)
    monkeypatch.setattr(side_by_side, "measure_memory", lambda *_: None)
    options = {"rounds": 2, "compiled": True, "bfloat16": False, "replicas": 0, "say": lambda _: None}
    one = compare(TINY, work, **options)
    assert one.ratios == one.apart == one.memory == {}
    assert one.ratio_to_best is None
    assert one.seconds["handgrad"] > 0
    assert (one.flops is not None) == ("handgrad" in one.share_of_floor) == (work == "training")
    (shown,) = json.loads(json.dumps(as_json([one])))["comparisons"]
    assert shown["case"] == "tiny"
    if work == "generation":
        assert shown["tokens"] == 7
        assert shown["tokens_per_second"]["handgrad"] == pytest.approx(7 / one.seconds["handgrad"])
    else:
        assert (shown["tokens"], shown["tokens_per_second"]) == (None, {})


@pytest.fixture
def everyone(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Contenders of all kinds, which do nothing; their times in milliseconds."""
    times = {
        "handgrad": 10.0, "handgrad, bf16": 6.0, "matrix products alone": 8.0, "matrix products alone, bf16": 3.0,
        "PyTorch eager": 20.0, "PyTorch eager, bf16": 9.0, "PyTorch compiled": 16.0, "PyTorch compiled, bf16": 12.0,
        "JAX": 12.5,
    }  # fmt: skip

    def maker(name: str) -> Callable[..., Contender]:
        return lambda *_, bfloat16=False: Contender(f"{name}, bf16" if bfloat16 else name, lambda: 0.0)

    def pytorch(case: Case, work: str, *, compiled: bool, bfloat16: bool) -> Contender:
        return maker("PyTorch compiled" if compiled else "PyTorch eager")(bfloat16=bfloat16)

    def alternate(contenders: list[Contender], rounds: int, **_: Any) -> Times:
        found = {contender.name: [times[contender.name] / 1000] * rounds for contender in contenders}
        return Times(found, {name: [0.0] for name in found})

    for name in ("has_torch", "has_jax"):
        monkeypatch.setattr(side_by_side, name, lambda: True)
    for name, contender in (("handgrad", "handgrad"), ("products", "matrix products alone"), ("jax", "JAX")):
        monkeypatch.setattr(side_by_side, f"{name}_contender", maker(contender))
    monkeypatch.setattr(side_by_side, "pytorch_contender", pytorch)
    monkeypatch.setattr(side_by_side, "alternate", alternate)
    memory = Memory(1 << 20, 3 << 20, 5 << 20, 7.0)
    monkeypatch.setattr(side_by_side, "measure_memory", lambda *_: memory)
    return times


OF_EVERYONE: dict[str, Any] = {
    "rounds": 3,
    "compiled": True,
    "bfloat16": True,
    "shards": 0,
    "replicas": 0,
    "say": lambda _: None,
}


def test_each_precision_has_its_own_floor_and_its_own_best_of_pytorch(everyone: dict[str, float]) -> None:
    one = compare(TINY, "training", **OF_EVERYONE)
    assert list(one.seconds) == list(everyone)
    assert one.ratio_to_best == pytest.approx(10 / 16)
    assert one.ratio_to_best_bfloat16 == pytest.approx(6 / 9)
    assert one.ratios["handgrad, bf16"] == pytest.approx(10 / 6)
    assert one.ratios["JAX"] == pytest.approx(10 / 12.5)
    assert one.ratios_bfloat16["PyTorch compiled"] == pytest.approx(6 / 16)
    floors = {"handgrad": 8 / 10, "handgrad, bf16": 3 / 6, "PyTorch eager, bf16": 3 / 9, "JAX": 8 / 12.5}
    assert {name: one.share_of_floor[name] for name in floors} == pytest.approx(floors)
    assert not any(name.startswith("matrix products") for name in (*one.share_of_floor, *one.ratios, *one.memory))
    flops = flops_of(TINY) / 1e9
    assert one.gflops_per_second == pytest.approx(flops / 8e-3)
    assert one.gflops_per_second_bfloat16 == pytest.approx(flops / 3e-3)
    assert list(one.memory) == ["handgrad", "handgrad, bf16", "PyTorch eager", "PyTorch eager, bf16", "JAX"]
    (shown,) = as_json([one])["comparisons"]
    assert shown["ratio_to_best_float32"] == one.ratio_to_best
    assert shown["ratio_to_best_bfloat16"] == one.ratio_to_best_bfloat16


def test_the_table_shows_both_precisions(everyone: dict[str, float]) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(bench._table(compare(TINY, "training", **OF_EVERYONE)))
    text = console.export_text()
    assert "to the best of PyTorch in the same precision: 0.62 in float32, 0.67 in bfloat16" in text
    row = next(line.split() for line in text.splitlines() if line.lstrip().startswith("PyTorch compiled, bf16"))
    assert row[3:6] == ["12.0", "0.83", "0.50"]
    console.print(bench._table(compare(TINY, "training", **{**OF_EVERYONE, "bfloat16": False})))
    assert "bf16" not in console.export_text()


def test_bfloat16_and_jax_can_be_left_out(everyone: dict[str, float]) -> None:
    one = compare(TINY, "training", **{**OF_EVERYONE, "bfloat16": False}, jax=False)
    assert list(one.seconds) == ["handgrad", "matrix products alone", "PyTorch eager", "PyTorch compiled"]
    assert one.ratios_bfloat16 == {}
    assert one.ratio_to_best_bfloat16 is one.gflops_per_second_bfloat16 is None
    written = compare(TINY, "generation", **OF_EVERYONE)
    assert list(written.seconds)[:2] == ["handgrad", "PyTorch eager"]
    assert written.ratios_bfloat16 == {}


def test_who_cannot_multiply_bfloat16_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "has_bfloat16_products", lambda: False)
    monkeypatch.setattr(contenders, "current_backend", lambda: "numba")
    with pytest.raises(InputError, match=r"^handgrad, bf16 is left out, because the processor has no instructions"):
        handgrad_contender(TINY, bfloat16=True)
    monkeypatch.setattr(contenders, "current_backend", lambda: "numpy")
    assert contenders.why_no_bfloat16() == "NumPy alone only imitates it, slowly"
    monkeypatch.setattr(contenders, "has_bfloat16_products", lambda: True)
    monkeypatch.setattr(contenders, "current_backend", lambda: "numba")
    assert contenders.why_no_bfloat16() is None
    for name in ("has_torch", "has_jax"):
        monkeypatch.setattr(side_by_side, name, lambda: False)
    monkeypatch.setattr(contenders, "has_bfloat16_products", lambda: False)
    said: list[str] = []
    one = compare(TINY, "evaluation", **{**OF_EVERYONE, "say": said.append})
    assert list(one.seconds) == ["handgrad"]
    assert said[0].startswith("handgrad, bf16 is left out")


def test_a_generation_fills_block_size_if_that_is_not_too_long() -> None:
    long = replace(TINY, train=replace(TINY.train, block_size=800))
    found = [new_tokens(case) for case in (TINY, case_of("shakespeare-cpu"), case_of("modern"), long, case_of("gpt2"))]
    assert found == [7, 63, 255, 500, 64]


def test_the_table_of_a_generation_names_tokens_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "has_torch", lambda: False)
    monkeypatch.setattr(side_by_side, "has_jax", lambda: False)
    monkeypatch.setattr(side_by_side, "measure_memory", lambda *_: None)
    options = {"rounds": 1, "compiled": False, "bfloat16": False, "replicas": 0, "say": lambda _: None}
    console = Console(width=100, record=True, file=io.StringIO())
    one = replace(compare(TINY, "generation", **options), tokens_per_second={"handgrad": 1234.5})
    console.print(bench._table(one), bench._table(compare(TINY, "evaluation", **options)))
    text = console.export_text()
    assert text.count("tokens/s") == 1
    assert "1,234" in text
    assert "each writes the likeliest 7 tokens after the first" in text


def test_a_profile_accounts_for_the_whole_step() -> None:
    *rows, whole = profile(TINY, steps=3)
    assert whole.operation == "step"
    assert sum(row.seconds for row in rows) == pytest.approx(whole.seconds)
    names = {row.operation for row in rows}
    maps = {"project_in", "project_out", "expand", "contract", "head", "attend"}
    assert maps | {f"{name} backward" for name in maps} | {"layer_norm", "optimizer", "embedding"} <= names
    assert all((row.floor > 0) == (row.operation.removesuffix(" backward") in maps) for row in rows)
    assert backend._watchers == ()  # nobody watches any more


@pytest.mark.parametrize("shards", [1, 2])
def test_each_replicas_layers_are_named(shards: int) -> None:
    """Layers of the same operation that are not in these models would appear under its name."""
    names = {row.operation for row in profile(TINY, steps=2, shards=shards)}
    assert not {name.removesuffix(" backward") for name in names} & {"linear", "linear_gelu", "multi_head_attention"}


@pytest.mark.parametrize("is_taped", [False, True], ids=["by hand", "on the tape"])
def test_linear_layers_of_one_shape_are_told_apart(is_taped: bool) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.first, self.second, self.norm = nn.Linear(5, 5), nn.Linear(5, 5), nn.LayerNorm(5)

        def forward(self, x: Any) -> Any:
            return self.second(self.norm(self.first(x)))

        def backward(self, dy: Any) -> Any:
            return self.first.backward(self.norm.backward(self.second.backward(dy)))

    models = [Two(), Two()]
    parts = {layer: name for model in models for name, layer in model.named_children() if name != "norm"}
    clock, x = Clock(parts), np.ones((3, 5), np.float32)
    for model in (models[0], models[1], Two()):
        with watching(clock.watch):
            if is_taped:
                model(Tensor(x, requires_grad=True)).sum().backward()
            else:
                model(x)
                model.backward(1.0)
    times = {name: len(seconds) for name, seconds in clock.seconds.items()}
    names = ("first", "second", "first backward", "second backward")
    # The clock has no names for the layers of the third model, so it uses their operation.
    expected = {**dict.fromkeys(names, 2), "linear": 2, "linear backward": 2, "layer_norm": 3, "layer_norm backward": 3}
    assert {name: count for name, count in times.items() if not name.startswith("sum")} == expected


@pytest.mark.slow
@pytest.mark.parametrize("side", ["handgrad", "handgrad, bf16"])
def test_memory_does_not_grow_and_its_pages_are_kept(side: str) -> None:
    # Small arrays: whether the peaks of two threads meet must not matter.
    memory = measure_memory("shakespeare-cpu", side)
    if memory is None:
        pytest.skip("this system tells no peak of memory")
    assert 0 < memory.imported < memory.peak
    assert memory.peak <= 1.02 * memory.early
    assert memory.faults_per_step < 300  # a step's arrays are 20,000 pages


@pytest.mark.slow
def test_bench_writes_json(handgrad: Callable[..., Output], tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    done = handgrad("bench", "quick", "--rounds", 1, "--no-compiled", "--no-bfloat16", "--json", path)
    assert done.code == 0, done.err
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["format"] == "handgrad-bench"
    assert found["machine"]["cores"] >= 1
    (one,) = found["comparisons"]
    assert one["case"] == "quick"
    assert 0 < one["share_of_floor"]["handgrad"] < 2
    assert "handgrad" in done.out
    alone = handgrad("bench", "quick", "--rounds", 1, "--no-compiled", "--work", "generation", "--json", "-")
    assert json.loads(alone.out)["comparisons"][0]["work"] == "generation"


@pytest.mark.slow
def test_bench_shows_a_profile_and_tokenizing(handgrad: Callable[..., Output]) -> None:
    shown = handgrad("bench", "quick", "--rounds", 1, "--profile")
    assert shown.code == 0
    assert "attend backward" in shown.out
    tokenizing = handgrad("bench", "--work", "tokenizing", "--rounds", 1, "--json", "-")
    assert tokenizing.code == 0
    assert "byte-pair encoding" in tokenizing.err
    assert json.loads(tokenizing.out)["tokenizing"]["seconds"]["handgrad"] > 0


def test_bench_refuses_what_cannot_be(handgrad: Callable[..., Output]) -> None:
    assert handgrad("bench", "gpt5").err == f"handgrad: unknown sizes 'gpt5'; choose from {', '.join(PRESETS)}\n"
    assert handgrad("bench", "--rounds", 0).code == 2
    assert handgrad("bench", "--replicas", -1).code == 2
    assert handgrad("bench", "--shards", -1).code == 2
    assert handgrad("bench", "--profile", "--json", "x.json").err.startswith("handgrad: --profile is a table")
    assert "there is no directory" in handgrad("bench", "--json", "/nowhere/at/all.json").err
    with pytest.raises(InputError, match="unknown sizes"):
        case_of("nothing")

"""Layers and models that multiply in bfloat16: every product does, by hand as on the tape; texts stay in float32."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.autograd import Tensor, no_grad
from handgrad.backend import Call, watching
from handgrad.checking.modules import gpt_cases
from handgrad.generation import generate, generate_texts
from handgrad.models import GPT, GPTConfig, KVCache, load, new_model
from handgrad.models.formats.weights import config_from
from handgrad.models.next_token import NextToken
from handgrad.optim import AdamW, Combined, Muon
from handgrad.runs import TrainConfig
from handgrad.system.arrays import Array
from handgrad.system.backend_setting import use_backend
from handgrad.system.errors import InputError
from handgrad.training import evaluate

MULTIPLY = {
    *("linear", "linear_gelu", "linear_relu", "linear_relu_squared", "unembedding", "attention"),
    *("multi_head_attention",),
}
MODERN: dict[str, Any] = {
    "positions": "rotary",
    "norm": "rms",
    "qk_norm": True,
    "activation": "relu_squared",
    "n_kv_head": 2,
    "window": 7,
    "bias": False,
    "tie_weights": False,
    "logit_cap": 5.0,
}
KINDS = {"GPT-2": {}, "modern": MODERN, "SwiGLU": {"activation": "swiglu"}, "silu": {"activation": "silu"}}


@pytest.fixture(params=["numpy", "numba"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "numba":
        pytest.importorskip("numba")
    use_backend(request.param)
    yield request.param
    use_backend(None)


@pytest.fixture
def numpy_alone() -> Iterator[None]:
    use_backend("numpy")
    yield
    use_backend(None)


def gpt(precision: str = "bfloat16", **options: Any) -> GPT:
    shape: dict[str, Any] = {"vocab_size": 37, "block_size": 29, "n_layer": 2, "n_head": 4, "n_embd": 40}
    config = GPTConfig(**shape, embedding_std=0.5, matrix_std=0.1, precision=precision, **options)
    model = GPT(config, seed=3)
    assert model.config.precision == precision
    return model


def some_ids(length: int = 11) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 37, (3, length)), rng.integers(0, 37, (3, length))


def calls_of(run: Callable[[], Any]) -> list[Call]:
    calls: list[Call] = []

    def note(call: Call, run: Callable[[], Any]) -> Any:
        calls.append(call)
        return run()

    with watching(note):
        run()
    return calls


# Every product


@pytest.mark.parametrize("case", gpt_cases(), ids=lambda case: case.name)
def test_every_operation_that_multiplies_is_told(case: Any) -> None:
    model = new_model(replace(case.module.config, precision="bfloat16"))
    calls = calls_of(lambda: model.loss(case.x, **case.options))
    told = [call.options["precision"] for call in calls if call.operation in MULTIPLY]
    assert told == ["bfloat16"] * (5 * model.config.n_layer + 1)  # four maps and attention; the head
    assert not {call.operation for call in calls if "precision" in call.options} - MULTIPLY
    assert "matmul" not in {call.operation for call in calls}


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "MultiHeadAttention": lambda **made: nn.MultiHeadAttention(12, 3, **made),
    "own norms": lambda **made: nn.MultiHeadAttention(
        12, 3, on_queries=nn.LayerNorm(4), on_keys=nn.LayerNorm(4), **made
    ),
    "CrossAttention": lambda **made: nn.CrossAttention(12, 3, **made),
    "FeedForward": lambda **made: nn.FeedForward(12, 7, **made),
    "FeedForward, swiglu": lambda **made: nn.FeedForward(12, 7, activation="swiglu", **made),
    "TransformerBlock": lambda **made: nn.TransformerBlock(12, 3, **made),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_passes_it_to_its_parts(name: str) -> None:
    layer = LAYERS[name](precision="bfloat16")
    x = np.random.default_rng(0).standard_normal((2, 5, 12)).astype(np.float32)
    told = [call.options["precision"] for call in calls_of(lambda: layer(x)) if call.operation in MULTIPLY]
    assert len(told) >= 2
    assert set(told) == {"bfloat16"}
    plain = LAYERS[name]()
    assert {c.options["precision"] for c in calls_of(lambda: plain(x)) if c.operation in MULTIPLY} == {"float32"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(3, 4, precision="half"),
        lambda: nn.Unembedding(nn.Parameter(np.ones((3, 4))), precision="half"),
        lambda: nn.Attend(3, precision="half"),
        lambda: nn.TransformerBlock(12, 3, precision="half"),
        lambda: Muon([nn.Parameter(np.ones((3, 4)))], precision="half"),
    ],
)
def test_an_unknown_precision_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="precision must be float32 or bfloat16, not 'half'"):
        make()


# By hand, on the tape, with a cache


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand_and_on_the_tape_give_the_same_gradients(kind: str, numpy_alone: None) -> None:
    model, (x, y) = gpt(**KINDS[kind]), some_ids()
    loss = model.loss(x, y)
    model.backward()
    by_hand = model.arena.grad.copy()
    model.zero_grad()
    taped = model.loss(Tensor(x), Tensor(y))
    taped.backward()
    assert float(taped) == loss
    for parameter, span in model.arena.parts:
        scale = np.abs(by_hand[span]).max()
        np.testing.assert_allclose(parameter.grad, by_hand[span].reshape(parameter.shape), rtol=0, atol=1e-6 * scale)
    exact = model.in_precision("float32")
    other = exact.loss(x, y)
    exact.backward()
    assert other != loss
    assert 1e-4 < np.abs(exact.arena.grad - by_hand).max() / np.abs(by_hand).max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_changes_nothing_but_rounding(kind: str, backend: str) -> None:
    model, (x, _) = gpt(**KINDS[kind]).eval(), some_ids()
    cache = KVCache(model.config, 3)
    next_token = NextToken(model)
    assert not next_token.is_compiled  # the compiled whole model multiplies in float32
    with no_grad():
        whole = model(x)
        first = model(x[:, :7], kv_cache=cache)[:, 0]
        further = np.stack([next_token(x[:, t], cache) for t in range(7, 11)], axis=1)
        exact = model.in_precision("float32")(x)
    size = np.abs(whole).max()
    np.testing.assert_allclose(first, whole[:, 6], atol=0.02 * size)
    np.testing.assert_allclose(further, whole[:, 7:], atol=0.02 * size)
    if backend == "numpy":
        assert np.abs(exact[:, 7:] - further).max() > 1e-3 * size


# Twins


def test_a_twin_shares_the_weights_and_multiplies_otherwise() -> None:
    model = gpt()
    twin = model.in_precision("float32")
    assert model.in_precision("bfloat16") is model
    assert (type(twin), twin.config) == (GPT, replace(model.config, precision="float32"))
    assert twin.arena.data is model.arena.data
    assert not np.shares_memory(twin.arena.grad, model.arena.grad)
    parts = {part.precision for part in twin.modules() if hasattr(part, "precision")}
    assert parts == {"float32"}
    assert {part.precision for part in model.modules() if hasattr(part, "precision")} == {"bfloat16"}
    assert model.config.precision == "bfloat16"
    assert twin.training == model.training
    with pytest.raises(InputError, match="precision must be float32 or bfloat16, not 'half'"):
        model.in_precision("half")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cached", [True, False])
def test_a_model_of_bfloat16_writes_what_its_float32_twin_writes(kind: str, cached: bool, backend: str) -> None:
    model = gpt(**KINDS[kind])
    exact = gpt("float32", **KINDS[kind])
    np.testing.assert_array_equal(model.arena.data, exact.arena.data)
    written, expected = (list(generate(each, [1, 2, 3], 60, seed=5, cached=cached)) for each in (model, exact))
    assert written == expected
    some, others = (
        [[(t.id, t.logprob) for t in step] for step in generate_texts(each, [[1, 2], [3]], 9, logprobs=True)]
        for each in (model, exact)
    )
    assert some == others  # the probabilities too, to the last bit
    assert model.training


def test_a_model_of_bfloat16_has_another_loss_within_a_few_hundredths(numpy_alone: None) -> None:
    model = gpt()
    tokens = np.random.default_rng(2).integers(0, 37, 800)
    losses = [evaluate(model.in_precision(precision), tokens) for precision in ("bfloat16", "float32")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert losses[1] == evaluate(gpt("float32"), tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_and_numpy_agree_on_a_whole_model(kind: str) -> None:
    """Numbers that lie near the middle of two of bfloat16 may be rounded to either, so the bound is a few units."""
    pytest.importorskip("numba")
    x, y = some_ids(29)
    found = []
    try:
        for backend in ("numpy", "numba"):
            use_backend(backend)
            model = gpt(**KINDS[kind])
            found.append((model.loss(x, y), model.arena.grad))
            model.backward()
    finally:
        use_backend(None)
    (loss, gradient), (other_loss, other_gradient) = found
    assert loss == pytest.approx(other_loss, abs=2e-3)
    assert np.abs(gradient - other_gradient).max() < 0.02 * np.abs(gradient).max()
    exact = gpt("float32", **KINDS[kind])
    exact.loss(x, y)
    exact.backward()
    away, apart = (np.linalg.norm(each - gradient) for each in (exact.arena.grad, other_gradient))
    assert apart < away / 2  # by far nearer to each other than to float32


# Configurations


def test_a_configuration_names_one_of_two_precisions() -> None:
    assert GPTConfig(7, 8, 1, 2, 4).precision == "float32"
    with pytest.raises(InputError, match="precision must be float32 or bfloat16, not 'half'"):
        GPTConfig(7, 8, 1, 2, 4, precision="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="precision must be float32 or bfloat16, not auto"):
        TrainConfig(precision="auto")  # type: ignore[arg-type]


def test_an_older_file_means_float32() -> None:
    described = asdict(GPTConfig(7, 8, 1, 2, 4))
    del described["precision"]
    assert config_from(described).precision == "float32"


def test_a_saved_model_keeps_its_precision(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    gpt().save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.config.precision == "bfloat16"
    assert {part.precision for part in loaded.modules() if hasattr(part, "precision")} == {"bfloat16"}


def test_the_smallest_model_of_its_kind_has_its_precision() -> None:
    assert gpt().config.smallest().precision == "bfloat16"


# Muon


def test_muon_passes_it_to_newton_schulz(numpy_alone: None) -> None:
    weights = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    gradient = np.random.default_rng(1).standard_normal((5, 7)).astype(np.float32)

    def moved(**options: Any) -> Array:
        parameter = nn.Parameter(weights.copy())
        optimizer = Muon([parameter], lr=1.0, weight_decay=0.0, **options)
        parameter.grad = gradient.copy()
        optimizer.step()
        return parameter.data - weights

    difference = np.abs(moved(precision="bfloat16") - moved()).max()
    assert 1e-4 < difference < 0.1
    np.testing.assert_array_equal(moved(precision="float32"), moved())


def test_a_run_gives_its_precision_to_muon() -> None:
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(optimizer="muon", precision=precision)  # type: ignore[arg-type]
        model = new_model(config.model_config(11).smallest())
        optimizer = config.make_optimizer(model.decay_groups(0.1))
        assert isinstance(optimizer, Combined)
        muon, rest = optimizer.optimizers
        assert isinstance(rest, AdamW)
        assert [group["precision"] for group in muon.param_groups] == [precision]

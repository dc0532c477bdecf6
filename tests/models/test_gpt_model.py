"""The GPT: its size, memory, initial weights, what each position sees, and the sum of its replicas' gradients."""

import copy
import math
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from handgrad import nn
from handgrad.autograd import no_grad
from handgrad.models import GPT, GPTConfig
from handgrad.models.formats.gpt2_names import gpt2_name
from handgrad.nn import base_layer
from handgrad.runs import preset
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

SMALL = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12)
UNTIED = replace(SMALL, tie_weights=False)
VARIANTS = [
    SMALL,
    UNTIED,
    replace(SMALL, bias=False),
    replace(UNTIED, bias=False, activation="relu"),
    replace(SMALL, n_layer=3, n_head=3, n_embd=9, vocab_size=5, activation="gelu_exact"),
]


def batch(config: GPTConfig, B: int = 4, T: int = 6, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, config.vocab_size, (B, T)), rng.integers(0, config.vocab_size, (B, T))


def gradients(model: GPT) -> dict[str, Array]:
    return {name: parameter.grad.copy() for name, parameter in model.named_parameters()}


# Size


def count(config: GPTConfig) -> int:
    """Number of parameters of a GPT of this shape, counted from the paper's description."""
    C, V, bias = config.n_embd, config.vocab_size, int(config.bias)
    norm = 2 * C
    attention = C * 3 * C + C * C + bias * (3 * C + C)
    feed_forward = C * 4 * C + 4 * C * C + bias * (4 * C + C)
    head = 0 if config.tie_weights else V * C + bias * V
    return V * C + config.block_size * C + config.n_layer * (2 * norm + attention + feed_forward) + norm + head


@pytest.mark.parametrize("config", VARIANTS)
def test_a_model_has_as_many_parameters_as_its_shape_says(config: GPTConfig) -> None:
    model = GPT(config)
    assert model.n_parameters == count(config)
    assert sum(parameter.size for parameter in model.parameters()) == count(config)


@pytest.mark.parametrize(
    ("name", "vocab_size", "millions"),
    [("explicit-char", 69, 3.23), ("explicit-char", 6551, 6.55), ("autograd-char", 69, 6.04)],
)
def test_presets_have_the_published_sizes(name: str, vocab_size: int, millions: float) -> None:
    config = preset(name).model_config(vocab_size)
    assert round(count(config) / 1e6, 2) == millions
    assert GPT(config).n_parameters == count(config)


def test_gpt2_has_124_million_parameters() -> None:
    # By formula: building the model would take half a gigabyte.
    assert count(preset("gpt2").model_config(50_257)) == 124_439_808


# Memory


@pytest.mark.parametrize("config", VARIANTS)
def test_every_parameter_is_a_view_of_the_arena_and_those_that_decay_stand_first(config: GPTConfig) -> None:
    model = GPT(config)
    assert {id(p) for p in model.arena.parameters} == {id(p) for p in model.parameters()}
    numbers = np.arange(model.n_parameters)
    model.arena.data[...] = numbers
    model.arena.grad[...] = -numbers
    start = 0
    for parameter in model.arena.parameters:
        part = numbers[start : start + parameter.size].reshape(parameter.shape)
        np.testing.assert_array_equal(parameter.data, part)
        np.testing.assert_array_equal(parameter.grad, -part)
        start += parameter.size
    assert start == model.arena.data.size == model.arena.grad.size
    dimensions = [parameter.ndim for parameter in model.arena.parameters]
    assert dimensions == sorted(dimensions, reverse=True)
    assert set(dimensions) == {1, 2}
    decayed, others = model.decay_groups(0.3)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in others["params"]} == {1}
    assert len(decayed["params"]) + len(others["params"]) == len(dimensions)


def test_parameters_stay_in_the_arena_and_zero_grad_fills_it() -> None:
    model = GPT(SMALL)
    x, y = batch(SMALL)
    model.loss(x, y)
    model.backward()
    assert all(np.abs(parameter.grad).max() > 0 for parameter in model.parameters())
    model.load_state_dict(GPT(SMALL, seed=9).state_dict())
    model.zero_grad()
    assert not model.arena.grad.any()
    for parameter in model.parameters():
        assert np.shares_memory(parameter.data, model.arena.data)
        assert np.shares_memory(parameter.grad, model.arena.grad)
    nn.Module.zero_grad(model)  # parameter by parameter gives the same
    assert all(np.shares_memory(parameter.grad, model.arena.grad) for parameter in model.parameters())


def test_gradients_add_up_until_they_are_zeroed() -> None:
    model = GPT(SMALL, dtype=np.float64)
    x, y = batch(SMALL)
    model.loss(x, y)
    model.backward()
    once = model.arena.grad.copy()
    model.loss(x, y)
    model.backward(2.0)
    np.testing.assert_allclose(model.arena.grad, 3 * once, rtol=1e-12, atol=1e-18)


# Start


def test_a_model_starts_as_gpt2_does() -> None:
    model = GPT(GPTConfig(vocab_size=400, block_size=256, n_layer=3, n_head=4, n_embd=128, tie_weights=False), seed=3)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            np.testing.assert_array_equal(parameter.data, 0, err_msg=name)
        elif "norm" in name:
            np.testing.assert_array_equal(parameter.data, 1, err_msg=name)
        else:
            residual = name.endswith(("project_out.weight", "contract.weight"))
            std = 0.02 / math.sqrt(6) if residual else 0.02
            assert abs(parameter.data.std() / std - 1) < 0.03, name
            assert abs(parameter.data.mean()) < 0.05 * std, name
            assert abs((parameter.data.astype(float) ** 4).mean() / std**4 - 3) < 0.4, name  # normal, not uniform


def test_the_first_loss_is_that_of_a_guess() -> None:
    x, y = batch(SMALL, B=64, T=8)
    assert abs(GPT(SMALL).loss(x, y) - math.log(11)) < 0.02


def test_one_seed_gives_one_model() -> None:
    np.testing.assert_array_equal(GPT(SMALL, seed=5).arena.data, GPT(SMALL, seed=5).arena.data)
    one, other = GPT(SMALL, seed=5).state_dict(), GPT(SMALL, seed=6).state_dict()
    assert not any(np.array_equal(one[name], other[name]) for name in one if one[name].ndim == 2)


def test_float32_weights_are_the_rounded_float64_ones() -> None:
    single, double = GPT(UNTIED, seed=5), GPT(UNTIED, seed=5, dtype=np.float64)
    assert (single.arena.data.dtype, double.arena.data.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single.arena.data, double.arena.data.astype(np.float32))
    assert (double.arena.data != single.arena.data).any()


def test_a_tied_head_is_the_token_embedding() -> None:
    tied, untied = GPT(SMALL), GPT(UNTIED)
    assert tied.head.weight is tied.token_embedding.weight
    assert untied.head.weight is not untied.token_embedding.weight
    assert "head.weight" not in tied.state_dict()
    assert {"head.weight", "head.bias"} <= set(untied.state_dict())


# What it sees


@pytest.mark.parametrize("config", VARIANTS)
def test_a_later_token_changes_no_earlier_logits(config: GPTConfig) -> None:
    model = GPT(config, dtype=np.float64).eval()
    model.arena.data[...] = np.random.default_rng(1).standard_normal(model.n_parameters) / 2
    ids, _ = batch(config, B=2, T=8)
    with no_grad():
        before = model(ids)
        for t in range(8):
            changed = ids.copy()
            changed[0, t] = (changed[0, t] + 1) % config.vocab_size
            after = model(changed)
            np.testing.assert_array_equal(after[0, :t], before[0, :t])
            assert (np.abs(after[0, t:] - before[0, t:]).max(axis=-1) > 1e-6).all()  # it and all later ones see it
            np.testing.assert_array_equal(after[1], before[1])  # another window does not


def test_positions_matter_and_a_prefix_is_read_as_within_the_whole() -> None:
    model = GPT(SMALL, dtype=np.float64).eval()
    with no_grad():
        same = model(np.full((1, 8), 3))
        assert np.abs(np.diff(same[0], axis=0)).max() > 1e-6
        ids, _ = batch(SMALL, B=3, T=8)
        whole = model(ids)
        for T in range(1, 9):
            np.testing.assert_allclose(model(ids[:, :T]), whole[:, :T], atol=1e-12)


def test_the_loss_is_the_mean_surprise_at_the_targets() -> None:
    model, (x, y) = GPT(SMALL, dtype=np.float64), batch(SMALL)
    with no_grad():
        logits = model(x)
        loss = model.loss(x, y)
    chosen = np.take_along_axis(logits, y[..., None], -1)[..., 0]
    expected = (np.log(np.exp(logits).sum(axis=-1)) - chosen).mean()
    assert isinstance(loss, float)
    assert loss == pytest.approx(expected, rel=1e-12)


def test_backward_after_a_call_starts_from_the_gradient_of_the_logits() -> None:
    model, (x, y) = GPT(SMALL, dtype=np.float64), batch(SMALL)
    model.loss(x, y)
    model.backward()
    expected = model.arena.grad.copy()
    model.zero_grad()
    logits = model(x)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    model.backward((probabilities - np.eye(11)[y]) / y.size)
    np.testing.assert_allclose(model.arena.grad, expected, rtol=1e-9, atol=1e-15)


def test_backward_without_a_forward_is_refused() -> None:
    model, (x, y) = GPT(SMALL), batch(SMALL)
    with pytest.raises(RuntimeError, match="backward without a forward"):
        model.backward()
    with no_grad():
        model.loss(x, y)
    with pytest.raises(RuntimeError, match="backward without a forward"):
        model.backward()


def test_ids_that_cannot_be_are_refused() -> None:
    model = GPT(SMALL)
    for ids, error, says in (
        (np.zeros(3, int), ValueError, r"GPT: ids must have shape \(B, T\), not \(3,\)"),
        (np.zeros((1, 2, 3), int), ValueError, r"GPT: ids must have shape \(B, T\), not \(1, 2, 3\)"),
        (np.zeros((1, 9), int), ValueError, "GPT: 9 tokens are more than block_size 8"),
        (np.array([[0, 11]]), IndexError, "id 11 is outside the table of 11 rows"),
        (np.array([[0, -1]]), IndexError, "id -1 is outside the table of 11 rows"),
        (np.zeros((1, 3)), TypeError, "ids must be integers, not float64"),
    ):
        with pytest.raises(error, match=says):
            model(ids)
    model([[0, 10]])  # refused ids leave no state behind, and lists are accepted


# Configuration


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"vocab_size": 0}, "vocab_size must be at least 1, not 0"),
        ({"block_size": 0}, "block_size must be at least 1, not 0"),
        ({"n_layer": 0}, "n_layer must be at least 1, not 0"),
        ({"n_head": -1}, "n_head must be at least 1, not -1"),
        ({"n_embd": 0}, "n_embd must be at least 1, not 0"),
        ({"n_embd": 13}, "n_embd 13 must be a multiple of n_head 2"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\), not -0.1"),
        ({"dropout": math.nan}, r"dropout must lie in \[0, 1\), not nan"),
        (
            {"activation": "tanh"},
            "activation must be gelu or gelu_exact or relu or relu_squared or silu or swiglu, not 'tanh'",
        ),
        ({"norm": "batch"}, "norm must be layer or rms, not 'batch'"),
        ({"positions": "sine"}, "positions must be learned or rotary or none, not 'sine'"),
        ({"qk_norm": 1}, "qk_norm must be true or false, not '1'"),
        ({"n_kv_head": 3}, "n_head 2 must be a multiple of n_kv_head 3"),
        ({"n_kv_head": 0}, "n_kv_head must be at least 1, not 0"),
        ({"head_dim": 2.5}, "head_dim must be an integer, not 2.5"),
        ({"head_dim": 3, "positions": "rotary"}, "rotary positions need heads of an even size, not 3"),
        ({"n_hidden": 0}, "n_hidden must be at least 1, not 0"),
        ({"window": -1}, "window must be at least 0, not -1"),
        ({"norm_eps": 0}, "norm_eps must be a finite number above 0, not 0"),
        ({"rope_base": math.inf}, "rope_base must be a finite number above 0, not inf"),
        ({"attention_scale": 0.0}, "attention_scale must be a finite number above 0, not 0.0"),
        ({"embedding_scale": "2"}, "embedding_scale must be a finite number above 0, not 2"),
        ({"logit_cap": -1.0}, "logit_cap must be a finite number of at least 0, not -1.0"),
        ({"matrix_std": math.nan}, "matrix_std must be a finite number of at least 0, not nan"),
    ],
)
def test_sizes_that_make_no_model_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}$"):
        replace(SMALL, **values)


def test_the_configuration_reaches_every_part() -> None:
    model = GPT(replace(SMALL, dropout=0.25, activation="relu", bias=False, n_head=3))
    assert len(model.blocks) == 2
    drops = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert drops == [0.25] * 5  # one after the embeddings, one at the end of each branch of each block
    for block in model.blocks:
        assert (block.attention.attend.n_head, block.attention.attend.dropout) == (3, 0.25)
        assert block.feed_forward.expand.activation == "relu"
        assert block.attention.project_in.bias is block.feed_forward.expand.bias is None


def test_dropout_makes_training_random_and_leaves_evaluation_alone() -> None:
    model, (x, y) = GPT(replace(SMALL, dropout=0.5)), batch(SMALL)
    with no_grad():
        model.set_generator(np.random.default_rng(1))
        losses = {model.loss(x, y) for _ in range(3)}
        model.set_generator(np.random.default_rng(1))
        assert len(losses) == 3
        assert model.loss(x, y) in losses
        model.eval()
        assert model.loss(x, y) == GPT(SMALL).loss(x, y)


# Replicas


def test_a_replica_shares_values_and_owns_gradients() -> None:
    model = GPT(SMALL, dtype=np.float64)
    twin = model.replica()
    assert twin.arena.data is model.arena.data
    assert not np.shares_memory(twin.arena.grad, model.arena.grad)
    names, twins = dict(model.named_parameters()), dict(twin.named_parameters())
    assert list(names) == list(twins)
    for name, parameter in names.items():
        assert twins[name] is not parameter
        assert np.shares_memory(twins[name].data, parameter.data)
        assert np.shares_memory(twins[name].grad, twin.arena.grad)
        assert not np.shares_memory(twins[name].grad, model.arena.grad)
    assert twin.head.weight is twin.token_embedding.weight  # tied to its own
    model.arena.data[...] = np.random.default_rng(2).standard_normal(model.n_parameters)
    x, y = batch(SMALL)
    assert twin.loss(x, y) == model.loss(x, y)
    twin.backward()
    assert twin.arena.grad.any()
    assert not model.arena.grad.any()
    twin.zero_grad()
    model.backward()
    assert model.arena.grad.any()
    assert not twin.arena.grad.any()


def test_a_replica_does_not_take_over_what_waits_for_a_backward() -> None:
    model, (x, y) = GPT(SMALL, dtype=np.float64), batch(SMALL)
    model.loss(x, y)
    twin = model.replica()
    assert not any(module.awaits_backward for module in twin.modules() if isinstance(module, nn.Layer))
    with pytest.raises(RuntimeError, match="backward without a forward"):
        twin.backward()
    twin.loss(x, y)  # is accepted, and does not disturb the model, which still awaits its own backward
    model.backward()
    expected = model.arena.grad.copy()
    twin.backward()
    np.testing.assert_array_equal(twin.arena.grad, expected)


@pytest.mark.parametrize("config", VARIANTS)
def test_the_gradients_of_two_shares_add_up_to_that_of_the_whole_batch(config: GPTConfig) -> None:
    model = GPT(config, dtype=np.float64, seed=1)
    x, y = batch(config, B=5)
    loss = model.loss(x, y)
    model.backward()
    whole = model.arena.grad.copy()
    model.zero_grad()
    twin, total = model.replica(), 0.0
    for one, share in ((model, slice(0, 3)), (twin, slice(3, 5))):  # the weight of a share is its part of the tokens
        weight = y[share].size / y.size
        total += one.loss(x[share], y[share]) * weight
        one.backward(weight)
    assert total == pytest.approx(loss, rel=1e-12)
    difference = np.abs(model.arena.grad + twin.arena.grad - whole).max()
    assert difference <= 1e-12 * np.abs(whole).max()


def test_a_step_of_the_model_moves_its_replicas() -> None:
    model = GPT(SMALL)
    twin, again = model.replica(), model.replica().replica()
    model.token_embedding.weight.data = np.full((11, 12), 0.5)
    assert (twin.token_embedding.weight.data == 0.5).all()
    assert (again.token_embedding.weight.data == 0.5).all()


# Precision


@pytest.mark.parametrize("config", [replace(config, dropout=0.1) for config in VARIANTS])
def test_a_float32_step_holds_no_float64_array(config: GPTConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = GPT(config)
    model.set_generator(np.random.default_rng(0))
    layers = [module for module in model.modules() if isinstance(module, nn.Layer)]
    outputs: list[Array] = []
    for layer in layers:
        watch(layer, outputs)
    x, y = batch(config)

    model.loss(x, y)
    assert len(outputs) == len(layers)
    saved = arrays_in([layer._kept[1] for layer in layers if layer._kept is not None])
    floats = [array for array in outputs + saved if array.dtype.kind == "f"]
    assert len(floats) > 60
    assert {array.dtype for array in floats} == {np.dtype(np.float32)}

    # The arena would silently round a float64 gradient, so gradients are checked before they are added to it.
    outputs.clear()
    given: list[Array] = []
    found = base_layer.gradients_of

    def watched(pair: Any, dy: Any, saved: Any, into: Any = None, layer: Any = None) -> Any:
        gradients = found(pair, dy, saved)  # without into, so that kernels return new arrays
        given.extend(gradient for value, gradient in zip(into, gradients, strict=True) if value is not None)
        return gradients

    monkeypatch.setattr(base_layer, "gradients_of", watched)
    model.backward(0.5)
    assert len(outputs) == len(layers) - 2  # the embeddings return no gradient
    assert len(given) == len(list(model.parameters())) + config.tie_weights
    assert {array.dtype for array in outputs + given} == {np.dtype(np.float32)}


def watch(layer: nn.Layer, outputs: list[Array]) -> None:
    """Appends what the layer's forward and backward return to ``outputs``."""
    forward, backward = layer.forward, layer.backward

    def noting(function: Any) -> Any:
        def call(*inputs: Any, **options: Any) -> Any:
            result = function(*inputs, **options)
            if result is not None:
                outputs.append(result)
            return result

        return call

    layer.forward, layer.backward = noting(forward), noting(backward)  # type: ignore[method-assign]


def arrays_in(value: Any) -> list[Array]:
    if isinstance(value, np.ndarray):
        return [value]
    return [array for item in value for array in arrays_in(item)] if isinstance(value, tuple | list) else []


# Names


def test_parameters_bear_the_names_of_gpt2s_checkpoints() -> None:
    names = [gpt2_name(name) for name, _ in GPT(SMALL).named_parameters()]
    block = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]
    parts = ["ln_f", *(f"h.{i}.{part}" for i in range(2) for part in block)]
    expected = ["wte.weight", "wpe.weight", *(f"{part}.{kind}" for part in parts for kind in ("weight", "bias"))]
    assert Counter(names) == Counter(expected)  # all of them, each once
    assert gpt2_name("blocks.11.attention.project_in.weight") == "h.11.attn.c_attn.weight"
    assert gpt2_name("blocks.0.feed_forward.contract.bias") == "h.0.mlp.c_proj.bias"
    assert gpt2_name("norm.bias") == "ln_f.bias"
    untied = [gpt2_name(name) for name, _ in GPT(UNTIED).named_parameters()]
    assert Counter(untied) == Counter([*expected, "lm_head.weight", "lm_head.bias"])


def test_weights_stand_as_in_gpt2s_checkpoints() -> None:
    # GPT-2 stores (in, out), as we do, so that weights are copied without transposing.
    shapes = {gpt2_name(name): parameter.shape for name, parameter in GPT(SMALL).named_parameters()}
    assert shapes["wte.weight"] == (11, 12)
    assert shapes["wpe.weight"] == (8, 12)
    assert shapes["h.0.attn.c_attn.weight"] == (12, 36)
    assert shapes["h.0.mlp.c_fc.weight"] == (12, 48)
    assert shapes["h.0.mlp.c_proj.weight"] == (48, 12)
    assert shapes["h.0.attn.c_attn.bias"] == (36,)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copy_lives_in_an_array_of_its_own(copied: Callable[[GPT], GPT]) -> None:
    model, (x, y) = GPT(SMALL, dtype=np.float64), batch(SMALL)
    model.loss(x, y)
    model.backward()
    twin = copied(model)
    for parameter in twin.parameters():
        assert np.shares_memory(parameter.data, twin.arena.data)
        assert np.shares_memory(parameter.grad, twin.arena.grad)
        assert not np.shares_memory(parameter.data, model.arena.data)
    np.testing.assert_array_equal(twin.arena.grad, model.arena.grad)
    twin.zero_grad()
    twin.loss(x, y)
    twin.backward()
    np.testing.assert_array_equal(twin.arena.grad, model.arena.grad)


def test_backward_after_a_call_asks_for_the_gradient_of_the_logits() -> None:
    model, (x, _) = GPT(SMALL), batch(SMALL)
    model(x)
    with pytest.raises(ValueError, match="needs ∂L/∂logits"):
        model.backward()


def test_a_frozen_parameter_gets_no_gradient_by_hand() -> None:
    model = GPT(SMALL)
    frozen = [model.blocks[0].attention.project_in.weight, model.norm.bias, model.token_embedding.weight]
    for parameter in frozen:
        parameter.requires_grad = False
    x, y = batch(SMALL)
    model.loss(x, y)
    model.backward()
    assert [float(np.abs(parameter.grad).max()) for parameter in frozen] == [0, 0, 0]
    assert np.abs(model.blocks[0].attention.project_in.bias.grad).max() > 0

"""One description of the architecture: the sizes, products and roles of a configuration are those of its model."""

import copy
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from handgrad import Tensor, nn, ops
from handgrad.models import GPT, Architecture, GPTConfig, LanguageModel, Product, new_model
from handgrad.runs import TrainConfig, preset

SMALL = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12)
VARIANTS = [
    SMALL,
    replace(SMALL, tie_weights=False),
    replace(SMALL, bias=False),
    replace(SMALL, norm="rms", positions="rotary", qk_norm=True, n_head=4, n_kv_head=2, head_dim=6, window=3),
    replace(SMALL, activation="swiglu", positions="none", tie_weights=False, logit_cap=5.0, embedding_norm=True),
    replace(SMALL, token_shift=True, positions="rotary"),
    replace(SMALL, activation="silu", n_hidden=7, n_kv_head=1, embedding_scale=2.0),
    replace(SMALL, n_layer=3, n_head=3, n_embd=9, vocab_size=5, bias=False, tie_weights=False, activation="relu"),
]


def parts_of(model: LanguageModel) -> dict[str, list[nn.Module]]:
    """The layers, grouped by the attribute that holds them."""
    found: dict[str, list[nn.Module]] = {}
    for name, module in model.named_modules():
        found.setdefault(name.rpartition(".")[2], []).append(module)
    return found


# Sizes


@pytest.mark.parametrize("config", VARIANTS)
def test_a_configuration_knows_its_model_before_it_is_made(config: GPTConfig) -> None:
    model = new_model(config)
    assert isinstance(model, GPT)
    assert model.config == config
    assert config.n_parameters == sum(parameter.size for parameter in model.parameters()) == model.n_parameters


@pytest.mark.parametrize("config", VARIANTS)
def test_the_maps_of_a_configuration_are_the_models_linear_layers(config: GPTConfig) -> None:
    parts = parts_of(new_model(config))
    for each in config.maps:
        layers: list[Any] = parts[each.part]
        assert len(layers) == each.copies, each
        for layer in layers:
            shape = (each.outputs, each.inputs) if each.part == "head" else (each.inputs, each.outputs)
            assert layer.weight.shape == shape, each
            assert (layer.bias is not None) is each.bias, each
    linear = {name for name, layers in parts.items() if isinstance(layers[0], nn.Linear | nn.Unembedding)}
    assert linear == {each.part for each in config.maps}  # maps misses no linear layer


def test_the_smallest_model_of_a_kind_is_of_that_kind() -> None:
    config = replace(SMALL, activation="relu", bias=False, tie_weights=False, dropout=0.3)
    smallest = config.smallest()
    options = [field.name for field in fields(Architecture)]
    assert len(options) >= 5
    assert all(getattr(smallest, name) == getattr(config, name) for name in options)
    assert new_model(smallest).n_parameters < 100


def test_a_run_has_the_settings_of_the_architecture_as_they_are_described_once() -> None:
    assert issubclass(TrainConfig, Architecture)
    defaults = {field.name: field.default for field in fields(Architecture)}
    given: dict[str, Any] = {
        "dropout": 0.2,
        "bias": False,
        "norm": "rms",
        "norm_eps": 1e-6,
        "positions": "rotary",
        "rope_base": 100.0,
        "qk_norm": True,
        "n_kv_head": 2,
        "head_dim": 6,
        "window": 9,
        "attention_scale": 0.3,
        "activation": "silu",
        "n_hidden": 50,
        "embedding_scale": 3.0,
        "embedding_norm": True,
        "token_shift": True,
        "logit_cap": 15.0,
        "tie_weights": False,
        "embedding_std": 1.0,
        "matrix_std": 0.05,
        "precision": "bfloat16",
        "zero_init": True,
    }
    assert set(given) == set(defaults)
    assert not [name for name in given if given[name] == defaults[name]]
    config = replace(TrainConfig(), **given).model_config(11)
    assert {name: getattr(config, name) for name in given} == given
    gpt2 = preset("gpt2").model_config(50257)
    assert {name: getattr(GPTConfig(1, 1, 1, 1, 1), name) for name in defaults} == defaults
    assert gpt2.n_parameters == 124_439_808


# Products


@pytest.mark.parametrize("config", VARIANTS)
def test_the_products_are_those_of_the_maps_and_of_attention(config: GPTConfig) -> None:
    windows, length = 3, 6
    products = new_model(config).products(windows, length)
    assert products == config.products(windows, length)
    forward = {(p.part, p.rows, p.inner, p.columns, p.count) for p in products if not p.is_backward}
    for each in config.maps:
        assert (each.part, windows * length, each.inputs, each.outputs, each.copies) in forward
        backward = [p.flops for p in products if p.is_backward and p.part == each.part]
        assert backward == [2 * windows * length * each.inputs * each.outputs * each.copies] * 2
    heads = windows * config.n_head * config.n_layer
    # Of 6 queries: half of the scores, or with a window of 3 those of 1, 2, 3, 3, 3 and 3 keys, rounded up for each.
    scores = length * (3 if config.window in (0, 3) else math.nan)
    attention = [p for p in products if p.part == "attend"]
    assert sum(p.flops for p in attention if not p.is_backward) == 2 * 2 * heads * config.head_size * scores
    assert sum(p.flops for p in attention if p.is_backward) == 4 * 2 * heads * config.head_size * scores
    assert {p.part for p in products} == {"attend", *(each.part for each in config.maps)}


def test_products_name_their_operation_and_count_their_work() -> None:
    product = Product("expand", rows=3, inner=5, columns=7, count=2, is_backward=True)
    assert product.operation == "expand backward"
    assert replace(product, is_backward=False).operation == "expand"
    assert product.flops == 2 * 3 * 5 * 7 * 2


# Roles


@pytest.mark.parametrize("config", VARIANTS)
def test_every_parameter_has_its_role(config: GPTConfig) -> None:
    model = new_model(config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    roles = {role: [names[id(p)] for p in found] for role, found in model.parameters_by_role().items()}
    positions = ["position_embedding.weight"] if config.positions == "learned" else []
    assert roles["embedding"] == ["token_embedding.weight", *positions]
    assert roles["head"] == ([] if config.tie_weights else ["head.weight"])
    ends = ("project_in.weight", "project_out.weight", "expand.weight", "contract.weight")
    assert len(roles["matrix"]) == 4 * config.n_layer
    assert all(name.endswith(ends) for name in roles["matrix"])
    assert all("norm" in name or name.endswith("bias") or name == "token_shift.weight" for name in roles["vector"])
    assert sum(map(len, roles.values())) == len(names)


def test_decay_follows_the_role_and_not_the_shape() -> None:
    class Gated(GPT):
        """Has a learned table of two axes whose role is "vector"."""

        def __init__(self, config: GPTConfig) -> None:
            self.gates = nn.Parameter(np.ones((2, 3), np.float32))
            super().__init__(config)

    model = Gated(SMALL)
    decayed, others = model.decay_groups(0.3)
    assert any(parameter is model.gates for parameter in others["params"])
    assert not any(parameter is model.gates for parameter in decayed["params"])


# Replicas


def test_a_replica_of_any_model_has_the_same_structure_and_its_own_state() -> None:
    class Wide(GPT):
        def __init__(self, config: GPTConfig) -> None:
            self.extras = {"a": [nn.Linear(3, 2), nn.Linear(3, 2)], "b": (nn.GELU(), 5)}
            self.again = self.extras["a"][0]  # held twice
            self.mean = nn.Buffer(np.zeros(3))
            super().__init__(config)

    model = Wide(replace(SMALL, dropout=0.5)).eval()
    model.token_embedding.weight.requires_grad = False
    twin = model.replica()
    assert type(twin) is Wide
    names = [name for name, _ in model.named_parameters()]
    assert [name for name, _ in twin.named_parameters()] == names
    assert twin.again is twin.extras["a"][0]
    assert twin.again is not model.again
    assert twin.extras["b"][1] == 5
    assert not any(module.training for module in twin.modules())
    assert not twin.token_embedding.weight.requires_grad
    assert [p.role for p in twin.parameters()] == [p.role for p in model.parameters()]
    twin.mean.data = np.ones(3)
    assert not model.mean.data.any()
    assert twin.dropout.rng is not model.dropout.rng
    assert twin.dropout.rng is twin.blocks[1].attention.attend.rng  # one generator for all layers, as in the model
    twin.train()
    assert not model.training


def test_replicas_of_one_model_drop_by_generators_of_their_own() -> None:
    model = new_model(replace(SMALL, dropout=0.5), seed=3)
    twin = model.replica()
    x = np.random.default_rng(0).integers(0, 11, (2, 8))
    model.set_generator(np.random.default_rng(5))
    before = twin.dropout.rng.bit_generator.state  # type: ignore[attr-defined]
    model.loss(x, x)
    assert twin.dropout.rng.bit_generator.state == before  # type: ignore[attr-defined]
    assert copy.deepcopy(model).n_parameters == model.n_parameters


# The public face


def test_logits_are_what_a_call_returns() -> None:
    model = new_model(SMALL)
    ids = np.random.default_rng(0).integers(0, 11, (2, 8))
    np.testing.assert_array_equal(model.logits(ids), model(ids))
    np.testing.assert_array_equal(model.logits(ids.tolist()), model(ids))


def test_a_model_of_ones_own_needs_its_parts_a_forward_and_a_backward() -> None:
    class Bigram(LanguageModel):
        """The next token's logits are a row of a table."""

        def __init__(self, config: GPTConfig) -> None:
            self.table = nn.Embedding(config.vocab_size, config.vocab_size, dtype=np.float64)
            super().__init__(config)

        def forward(self, ids: Any) -> Any:
            return self.table(ids)

        def backward(self, dy: Any = 1.0) -> None:
            self.table.backward(self.d_logits(dy))

    model = Bigram(SMALL)
    x, y = np.array([[1, 4, 1]]), np.array([[4, 1, 2]])
    model.loss(x, y)
    model.backward()
    probabilities = ops.softmax(model.table.weight.data)[0]
    expected = np.zeros((11, 11))
    for token, target in zip(x[0], y[0], strict=True):
        expected[token] += (probabilities[token] - np.eye(11)[target]) / 3
    np.testing.assert_allclose(model.table.weight.grad, expected, atol=1e-15)
    twin = model.replica()
    assert twin.loss(x, y) == model.loss(x, y)
    with pytest.raises(ValueError, match="Bigram: after loss, backward takes ∂L/∂loss, a number"):
        model.backward(np.ones((1, 3, 11)))


def test_a_part_without_a_backward_puts_the_whole_model_on_the_tape() -> None:
    class Bent(nn.Module):
        def forward(self, x: Any) -> Any:
            return 2 * x.tanh()

    class Odd(GPT):
        def __init__(self, config: GPTConfig) -> None:
            self.bent = Bent()
            super().__init__(config)

        def forward(self, ids: Any) -> Any:
            return self.bent(super().forward(ids))

        def backward(self, dy: Any = 1.0) -> None:
            raise AssertionError("the tape goes back")

    model = Odd(SMALL)
    x, y = np.random.default_rng(0).integers(0, 11, (2, 3, 8))
    for loss in (model.loss(x, y), model.loss(Tensor(x), y)):
        model.zero_grad()
        loss.backward()
        assert np.abs(model.token_embedding.weight.grad).max() > 0
    assert not any(isinstance(part, nn.Layer) and part.awaits_backward for part in model.modules())


def test_a_loss_on_the_tape_leaves_a_pass_by_hand_alone() -> None:
    model = new_model(SMALL, dtype=np.float64)
    x, y = np.random.default_rng(0).integers(0, 11, (2, 3, 8))
    model.loss(x, y)
    model.loss(Tensor(y), Tensor(x))
    model.backward()
    by_hand = model.arena.grad.copy()
    model.zero_grad()
    model.loss(Tensor(x), Tensor(y)).backward()
    np.testing.assert_allclose(model.arena.grad, by_hand, atol=1e-15)

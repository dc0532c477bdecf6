"""Layers and whole models driven by hand with arrays of another library than NumPy: the same numbers, bit for bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from other_array import OtherArray

from handgrad import use_backend
from handgrad.checking.modules import ModuleCase, gpt_cases, layer_cases
from handgrad.models import GPTConfig, LanguageModel, new_model
from handgrad.optim import AdamW

CONFIG = GPTConfig(vocab_size=7, block_size=8, n_layer=2, n_head=2, n_embd=6)


@pytest.fixture(autouse=True)
def text() -> Any:
    """The NumPy code runs for both kinds of arrays."""
    use_backend("numpy")
    yield
    use_backend(None)


def host(array: Any) -> np.ndarray:
    assert isinstance(array, OtherArray)
    return array.host()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, tie_weights=False, activation="relu", dropout=0.3),
        replace(CONFIG, bias=False, activation="gelu_exact"),
    ],
)
def test_a_whole_gpt(config: GPTConfig, dtype: Any) -> None:
    x, y = np.random.default_rng(0).integers(0, 7, (2, 3, 5))
    ours, other = (new_model(config, seed=1, dtype=dtype) for _ in range(2))
    other.arena.move(OtherArray)
    for _ in range(2):  # gradients add up in the arrays of the other library
        for model in (ours, other):
            model.set_generator(np.random.default_rng(4))
        loss = ours.loss(x, y)
        ours.backward(0.5)
        assert other.loss(OtherArray(x), OtherArray(y)) == loss
        other.backward(0.5)
    assert ours.arena.grad.any()
    np.testing.assert_array_equal(host(other.arena.grad), ours.arena.grad)
    for (name, parameter), (_, of_other) in zip(ours.named_parameters(), other.named_parameters(), strict=True):
        np.testing.assert_array_equal(host(of_other.grad), parameter.grad, err_msg=name)
        assert of_other.grad.dtype == dtype
    logits = ours.eval()(x)
    np.testing.assert_array_equal(host(other.eval()(OtherArray(x))), logits)
    ours.backward(np.ones_like(logits))
    other.backward(OtherArray(np.ones_like(logits)))
    np.testing.assert_array_equal(host(other.arena.grad), ours.arena.grad)
    other.zero_grad()
    assert not host(other.arena.grad).any()


def test_an_optimizer_moves_it() -> None:
    x, y = np.random.default_rng(0).integers(0, 7, (2, 3, 5))
    ours, other = (new_model(CONFIG, seed=1) for _ in range(2))
    other.arena.move(OtherArray)
    for model, ids, targets in ((ours, x, y), (other, OtherArray(x), OtherArray(y))):
        optimizer = AdamW(model.decay_groups(0.1), lr=1e-2)
        for _ in range(3):
            model.zero_grad()
            model.loss(ids, targets)
            model.backward()
            optimizer.step()
    np.testing.assert_array_equal(host(other.arena.data), ours.arena.data)
    other.arena.move(OtherArray.host)
    np.testing.assert_array_equal(other.state_dict()["norm.weight"], ours.norm.weight.data)  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", [*layer_cases(), *gpt_cases()], ids=lambda case: case.name)
def test_every_layer(case: ModuleCase) -> None:
    """Every layer in the proofs works with arrays of another library."""
    module = case.module
    values = np.random.default_rng(5)
    for parameter in module.parameters():
        parameter.data = values.standard_normal(parameter.shape)
    is_model = isinstance(module, LanguageModel)
    module.set_generator(np.random.default_rng(3))
    output = module.loss(case.x, **case.options) if is_model else module(case.x, **case.options)
    module.zero_grad()
    dy = np.random.default_rng(11).standard_normal(np.shape(output))
    dx = module.backward(float(dy) if is_model else dy)
    gradients = [parameter.grad.copy() for parameter in module.parameters()]

    for parameter in module.parameters():
        parameter._data, parameter._grad = OtherArray(parameter.data), None
    options = {name: OtherArray(value) for name, value in case.options.items()}
    module.set_generator(np.random.default_rng(3))
    x = OtherArray(case.x)
    other = module.loss(x, **options) if is_model else module(x, **options)
    if is_model:
        assert other == output
    else:
        np.testing.assert_array_equal(host(other), output)
    other_dx = module.backward(float(dy) if is_model else OtherArray(dy))
    assert (other_dx is None) == (dx is None)
    if dx is not None:
        np.testing.assert_array_equal(host(other_dx), dx)
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(host(parameter.grad), gradient)

"""One layer, two ways to drive it: arrays by hand, Tensors on the tape; and users' own modules, on the tape alone."""

from typing import Any

import numpy as np
import pytest
from support import watch_dtypes

import handgrad
from handgrad import Tensor, nn, no_grad, optim
from handgrad.checking import relative_error
from handgrad.checking.modules import ModuleCase, gpt_cases, layer_cases
from handgrad.models import GPT, GPTConfig


def test_one_gpt_object_gives_the_same_gradients_both_ways() -> None:
    for case in gpt_cases():
        model, ids, targets = case.module, case.x, case.options["targets"]
        assert isinstance(model, GPT)
        gradients: list[dict[str, np.ndarray]] = []
        losses: list[float] = []
        for taped in (False, True, False):
            model.zero_grad()
            model.set_generator(np.random.default_rng(3))
            loss = model.loss(Tensor(ids), Tensor(targets)) if taped else model.loss(ids, targets)
            loss.backward() if taped else model.backward()
            losses.append(float(loss))
            gradients.append({name: parameter.grad.copy() for name, parameter in model.named_parameters()})
        assert losses[0] == losses[1] == losses[2]
        for name, by_hand in gradients[0].items():
            assert np.abs(by_hand).max() > 0 or "project_in.bias" in name
            assert relative_error(gradients[1][name], by_hand) <= 1e-12, (case.name, name)
            np.testing.assert_array_equal(gradients[2][name], by_hand)


@pytest.mark.parametrize("case", layer_cases(), ids=lambda case: case.name)
def test_on_the_tape_a_layer_keeps_nothing_and_may_be_used_twice(case: ModuleCase) -> None:
    module, x = case.module, Tensor(case.x, requires_grad=case.x.dtype.kind == "f")

    def run() -> Tensor:
        module.set_generator(np.random.default_rng(1))
        return module(x, **case.options)

    first, second = run(), run()
    assert isinstance(first, Tensor)
    assert not any(isinstance(part, nn.Layer) and part.awaits_backward for part in module.modules())
    np.testing.assert_array_equal(first.data, second.data)
    module.zero_grad()
    (first.sum() + second.sum()).backward()
    twice = [parameter.grad.copy() for parameter in module.parameters()]
    module.zero_grad()
    run().sum().backward()
    for once, two in zip((parameter.grad for parameter in module.parameters()), twice, strict=True):
        np.testing.assert_allclose(two, 2 * once, atol=1e-9)


def test_arrays_that_meet_a_tensor_go_on_the_tape() -> None:
    model = GPT(GPTConfig(7, 8, 1, 2, 6), seed=1)
    ids = np.random.default_rng(0).integers(0, 7, (2, 5))
    for pair in ((Tensor(ids), ids), (ids, Tensor(ids)), (Tensor(ids), Tensor(ids))):
        model.zero_grad()
        model.loss(*pair).backward()
        assert all(np.abs(parameter.grad).max() > 0 for parameter in model.parameters() if parameter.ndim == 2)
    attention = nn.MultiHeadAttention(6, 2)
    mask = Tensor(np.tril(np.ones((5, 5), bool)))
    y = attention(np.ones((2, 5, 6), np.float32), mask)
    y.sum().backward()
    assert attention.project_in.weight.grad is not None


def test_a_parameter_can_be_an_input() -> None:
    table, layer = nn.Parameter(np.ones((4, 3), np.float32)), nn.Linear(3, 2)
    layer(table).sum().backward()
    assert table.grad is not None
    assert layer.weight.grad is not None
    assert not layer.awaits_backward


class Residual(nn.Module):
    """A user's module: no backward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.scale = nn.Parameter(handgrad.full(width, 0.5))
        self.steps = [nn.Parameter(handgrad.ones(width)), nn.Parameter(handgrad.zeros(width))]
        self.register_buffer("mean", handgrad.zeros(width))
        self.passed = nn.Buffer(handgrad.tensor(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(x, Tensor)
        self.passed += 1
        x = x - self.mean
        return x + self.scale * handgrad.tanh(self.inner(x)) * self.steps[0] + self.steps[1]


def test_a_users_module_runs_on_the_tape_whatever_it_is_called_with() -> None:
    module = Residual(3)
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    a, b = module(x), module(Tensor(x))
    assert isinstance(a, Tensor)
    np.testing.assert_array_equal(a.data, b.data)
    a.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert module.passed.item() == 2
    with pytest.raises(NotImplementedError, match=r"Residual has no backward: call backward\(\) on what it returned"):
        module.backward(x)


def test_a_state_may_hold_tensors_that_learn() -> None:
    module, other = Residual(3), Residual(3)
    other.load_state_dict({**dict(module.named_parameters()), "mean": module.mean})
    np.testing.assert_array_equal(other.inner.weight.data, module.inner.weight.data)


def test_parameters_buffers_and_children_are_found_by_attribute() -> None:
    module = Residual(3)
    assert [name for name, _ in module.named_parameters()] == [
        "scale", "steps.0", "steps.1", "inner.weight", "inner.bias",
    ]  # fmt: skip
    assert [name for name, _ in module.named_buffers()] == ["mean", "passed"]
    state = module.state_dict()
    assert "mean" in state
    assert "passed" not in state  # not persistent
    other = Residual(3)
    module.mean += 2
    other.load_state_dict({**module.state_dict(), "mean": handgrad.full(3, 2.0)})
    np.testing.assert_array_equal(other.mean.data, 2)
    with pytest.raises(ValueError, match="missing: mean"):
        other.load_state_dict({name: value for name, value in state.items() if name != "mean"})
    assert [name for name, _ in nn.Sequential(module).named_buffers()] == ["0.mean", "0.passed"]
    assert not any(isinstance(buffer, nn.Parameter) for buffer in module.buffers())


def test_a_module_that_holds_one_without_a_backward_runs_on_the_tape_as_a_whole() -> None:
    net = nn.Sequential(nn.Linear(2, 3), Residual(3), nn.Linear(3, 1))
    y = net(np.ones((5, 2), np.float32))
    assert isinstance(y, Tensor)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())  # including those before it
    assert not net.layers[0].awaits_backward
    by_hand = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    assert isinstance(by_hand(np.ones((5, 2), np.float32)), np.ndarray)


def test_both_worlds_train_the_same_with_one_optimizer() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((16, 3)), rng.standard_normal((16, 2))

    def trained(taped: bool) -> tuple[float, list[np.ndarray]]:
        net = nn.MLP([3, 8, 2], activation="gelu", rng=np.random.default_rng(1), dtype=np.float64)
        optimizer = optim.AdamW(net.parameters(), lr=0.01)
        loss = nn.MSELoss()
        value: Any = 0.0
        for _ in range(30):
            optimizer.zero_grad()
            if taped:
                value = nn.mse_loss(net(Tensor(x)), t)
                value.backward()
            else:
                value = loss(net(x), t)
                net.backward(loss.backward())
            optimizer.step()
        return float(value), [parameter.data for parameter in net.parameters()]

    (hand_loss, by_hand), (tape_loss, taped) = trained(False), trained(True)
    assert hand_loss == pytest.approx(tape_loss, rel=1e-12)
    for a, b in zip(by_hand, taped, strict=True):
        assert relative_error(a, b) <= 1e-12


def test_optimizers_take_plain_tensors() -> None:
    w = handgrad.tensor([3.0, -2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        ((w - handgrad.tensor([1.0, 5.0])) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(w.data, [1, 5], atol=1e-4)


def test_under_no_grad_nothing_is_recorded() -> None:
    layer = nn.Linear(3, 2)
    with no_grad():
        y = layer(Tensor(np.ones((2, 3), np.float32)))
    assert not y.requires_grad


def test_a_float32_model_meets_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks every array made for a tensor or a gradient in a whole step, including the optimizer's."""
    seen = watch_dtypes(monkeypatch)
    model = GPT(GPTConfig(7, 8, 2, 2, 6, dropout=0.1, activation="gelu_exact"), seed=1)
    optimizer = optim.AdamW(model.decay_groups(0.1), lr=1e-3)
    ids = handgrad.tensor(np.random.default_rng(0).integers(0, 7, (2, 8)))
    loss = model.loss(ids, ids)
    loss.backward()
    optimizer.step()
    assert loss.dtype == "float32"
    assert len(seen) > 50
    assert set(seen) == {"float32", "int64"}
    state = optimizer.state_dict()["state"]
    assert all(value.dtype == np.float32 for kept in state.values() for name, value in kept.items() if name != "step")


def test_mlp_and_trunc_normal_say_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="MLP: sizes must name at least"):
        nn.MLP([3])
    with pytest.raises(ValueError, match="MLP: activation must be one of relu, gelu, tanh"):
        nn.MLP([3, 2], activation="swish")
    with pytest.raises(ValueError, match="cannot be cut to"):
        nn.init.trunc_normal(nn.Parameter(np.zeros(3)), a=2.0, b=2.0)


def test_trunc_normal_draws_within_its_bounds_with_the_laws_spread() -> None:
    parameter = nn.Parameter(np.zeros((200, 300)))
    nn.init.trunc_normal(parameter, mean=1.0, std=2.0, a=-1.0, b=3.0, rng=np.random.default_rng(0))
    assert parameter.data.min() >= -1
    assert parameter.data.max() <= 3
    assert parameter.data.mean() == pytest.approx(1.0, abs=0.02)
    assert parameter.data.std() == pytest.approx(2 * 0.5396, abs=0.02)  # N(0, 1) cut at ±1


def test_init_knows_the_fans_of_a_convolution() -> None:
    layer = nn.Conv2d(3, 5, (2, 4))
    assert nn.init.fans(layer.weight) == (24, 40)
    nn.init.kaiming_uniform(layer.weight)
    assert np.abs(layer.weight.data).max() <= np.sqrt(6 / 24)


@pytest.mark.parametrize(("a", "b"), [(5.0, 6.0), (-6.0, -5.0), (0.1, 0.11), (-0.01, 0.02), (3.0, 40.0), (-1.0, 30.0)])
def test_trunc_normal_has_the_right_law_in_any_interval(a: float, b: float) -> None:
    parameter = nn.Parameter(np.zeros(20_000))
    nn.init.trunc_normal(parameter, a=a, b=b, rng=np.random.default_rng(0))
    x = np.linspace(a, min(b, max(a, 0.0) + 12) if a > -2 else b, 200_001)
    density = np.exp(-(x**2 - np.min(x**2)) / 2)
    mean = (x * density).sum() / density.sum()
    spread = np.sqrt(((x - mean) ** 2 * density).sum() / density.sum())
    assert a <= parameter.data.min() <= parameter.data.max() <= b
    assert parameter.data.mean() == pytest.approx(mean, abs=5 * spread / np.sqrt(20_000))
    assert parameter.data.std() == pytest.approx(spread, rel=0.05)


class Tripled(nn.Linear):
    """Overrides forward alone, so Linear's backward is wrong for it."""

    def forward(self, x: Any) -> Any:
        return 3 * super().forward(x)


def test_a_subclass_that_overrides_forward_alone_runs_on_the_tape() -> None:
    layer, x = Tripled(2, 1, bias=False), np.ones((4, 2), np.float32)
    y = layer(x)
    assert isinstance(y, Tensor)
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad, 12)

    class Halved(nn.MLP):
        def forward(self, x: Any) -> Any:
            return super().forward(x) / 2

    assert isinstance(nn.Sequential(Halved([2, 3]))(x), Tensor)

    class Scaled(nn.Layer):
        """A user's leaf: its backward follows from what it applies."""

        def forward(self, x: Any) -> Any:
            from handgrad import ops

            return self.apply(ops.tanh, x)

    assert isinstance(Scaled()(x), np.ndarray)


def test_layers_compute_integers_in_float32_and_mixed_dtypes_in_float64() -> None:
    ids = handgrad.arange(6).reshape(2, 3)
    for layer in (nn.Linear(3, 2), nn.Tanh(), nn.Sigmoid(), nn.LayerNorm(3), nn.GELU(), nn.Softmax(), nn.Dropout(0.0)):
        assert layer(ids).dtype == "float32"
    assert nn.Conv2d(1, 2, 2)(ids.reshape(1, 1, 2, 3)).dtype == "float32"
    layer = nn.Linear(3, 2, dtype=np.float64)
    x = handgrad.randn(4, 3, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype, layer.weight.grad.dtype) == ("float64", "float32", "float64")
    with pytest.raises(TypeError, match=r"sizes must be integers, not 2\.5"):
        nn.LayerNorm(2.5)  # type: ignore[arg-type]


def test_a_buffer_that_is_given_new_values_stays_one() -> None:
    module = Residual(3)
    module.mean = 0.9 * module.mean + 0.1 * module.scale
    assert isinstance(module.mean, nn.Buffer)
    assert not module.mean.requires_grad
    assert "mean" in module.state_dict()
    with pytest.raises(TypeError, match="Residual: scale is a Parameter and cannot be replaced by a Tensor"):
        module.scale = module.scale * 0.9
    module.scale = nn.Parameter(handgrad.zeros(3))
    assert dict(module.named_parameters())["scale"] is module.scale


def test_modules_are_found_in_nested_containers() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            self.pairs = [(nn.Linear(2, 2), nn.LayerNorm(2)), (nn.Linear(2, 2), nn.LayerNorm(2))]
            self.heads = {"a": nn.Linear(2, 1), "b": [nn.Parameter(handgrad.ones(1))]}

    names = [name for name, _ in Nested().named_parameters()]
    assert len(names) == 11
    assert {"pairs.1.0.weight", "pairs.0.1.bias", "heads.a.weight", "heads.b.0"} <= set(names)


def test_a_module_shows_what_is_in_it() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    assert repr(net) == ("Sequential(\n  (0): Linear(weight (2, 3), bias (3,))\n  (1): Tanh()\n)")
    assert [name for name, _ in net.named_modules()] == ["", "0", "1"]
    assert isinstance(net[:1], nn.Sequential)
    assert len(net[:1]) == 1


def test_an_optimizer_takes_no_computed_tensor() -> None:
    with pytest.raises(ValueError, match="SGD: a computed tensor cannot be optimized"):
        optim.SGD([handgrad.ones(2, requires_grad=True) * 2], lr=0.1)


def test_a_replicas_step_counts_as_a_change_of_the_model() -> None:
    model = GPT(GPTConfig(7, 8, 1, 2, 6), seed=1)
    ids = Tensor(np.random.default_rng(0).integers(0, 7, (2, 5)))
    loss = model.loss(ids, ids)
    optim.SGD(model.replica().parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_module_list_is_found() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    stack = Stack()
    assert len(list(stack.parameters())) == 6
    assert stack(np.ones((1, 2), np.float32)).requires_grad

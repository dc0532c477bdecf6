"""By hand and on the tape a layer computes the same values in the same dtype, for every kind of input."""

from typing import Any

import numpy as np
import pytest

from handgrad import Tensor, nn
from handgrad.autograd.operands import promoted_arrays
from handgrad.checking.modules import ModuleCase, gpt_cases, layer_cases
from handgrad.system.arrays import Array

WIDE = np.array([[3, 0, -2, 1], [-1, 4, 2, -3]]) * np.ones((3, 2, 4), int)


def kinds(x: Array) -> dict[str, Any]:
    """The same numbers as every kind of array that a user may bring."""
    return {
        "float32": x.astype(np.float32),
        "float64": x.astype(np.float64),
        "float16": x.astype(np.float16),
        "int64": x.astype(np.int64),
        "int32": x.astype(np.int32),
        "int8": x.astype(np.int8),
        "uint8": np.abs(x).astype(np.uint8),
        "bool": x.astype(bool),
        "big-endian float32": x.astype(">f4"),
        "big-endian int16": x.astype(">i2"),
        "Fortran order": np.asfortranarray(x.astype(np.float32)),
        "strided": np.repeat(x.astype(np.float32), 2, axis=-1)[..., ::2],
        "read-only": np.broadcast_to(x.astype(np.float32)[:1], x.shape),
        "list": x.tolist(),
        "list of floats": x.astype(float).tolist(),
    }


def made(dtype: Any) -> dict[str, Any]:
    return {"rng": np.random.default_rng(0), "dtype": dtype}


def layers(dtype: Any) -> dict[str, tuple[nn.Module, Array]]:
    return {
        "Linear": (nn.Linear(4, 3, **made(dtype)), WIDE),
        "Linear, gelu": (nn.Linear(4, 3, activation="gelu", **made(dtype)), WIDE),
        "Linear, relu, no bias": (nn.Linear(4, 3, False, "relu", **made(dtype)), WIDE),
        "LayerNorm": (nn.LayerNorm(4, dtype=dtype), WIDE),
        "RMSNorm": (nn.RMSNorm(4, dtype=dtype), WIDE),
        "Linear, relu squared": (nn.Linear(4, 3, activation="relu_squared", **made(dtype)), WIDE),
        "ReLUSquared": (nn.ReLUSquared(), WIDE),
        "SiLU": (nn.SiLU(), WIDE),
        "SwiGLU": (nn.SwiGLU(), WIDE),
        "TanhCap": (nn.TanhCap(np.float64(2)), WIDE),
        "Unembedding": (nn.Unembedding(nn.Parameter(np.ones((5, 4), dtype)), bias=True), WIDE),
        "GELU": (nn.GELU(), WIDE),
        "ReLU": (nn.ReLU(), WIDE),
        "Tanh": (nn.Tanh(), WIDE),
        "Sigmoid": (nn.Sigmoid(), WIDE),
        "Softplus": (nn.Softplus(), WIDE),
        "Softmax": (nn.Softmax(), WIDE),
        "Dropout": (nn.Dropout(0.5, rng=np.random.default_rng(0)), WIDE),
        "Conv2d": (nn.Conv2d(1, 2, 2, **made(dtype)), WIDE[:, None]),
        "Attend": (nn.Attend(2), np.repeat(WIDE, 3, axis=-1)),
        "MultiHeadAttention": (nn.MultiHeadAttention(4, 2, **made(dtype)), WIDE),
        "FeedForward": (nn.FeedForward(4, 5, **made(dtype)), WIDE),
        "MLP": (nn.MLP([4, 5, 3], **made(dtype)), WIDE),
        "TransformerBlock": (nn.TransformerBlock(4, 2, **made(dtype)), WIDE),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(layers(np.float32)))
def test_both_ways_agree_in_value_and_dtype_for_every_kind_of_input(name: str, dtype: Any) -> None:
    layer, x = layers(dtype)[name]
    for kind, given in kinds(x).items():
        layer.set_generator(np.random.default_rng(1))
        by_hand = layer(given)
        layer.set_generator(np.random.default_rng(1))
        taped = layer(Tensor(given))
        assert by_hand.dtype == taped.dtype, kind
        assert by_hand.dtype in (np.float32, np.float64), kind
        tolerance = 1e-12 if by_hand.dtype == np.float64 else 2e-6
        np.testing.assert_allclose(by_hand, taped.data, rtol=tolerance, atol=tolerance, err_msg=kind)
        # float64 if the layer's parameters or the input are: nothing narrows it, and integers do not widen.
        has_parameters = any(True for _ in layer.parameters())
        wide = kind in ("float64",) or (has_parameters and dtype == np.float64)
        assert by_hand.dtype == (np.float64 if wide else np.float32), kind


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(layers(np.float32)))
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_gradients_agree_too_and_come_back_in_the_inputs_dtype(name: str, dtype: Any, given: Any) -> None:
    layer, x = layers(dtype)[name]
    x = (x + 0.3).astype(given)
    layer.set_generator(np.random.default_rng(1))
    y = layer(x)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(y.dtype)
    dx = layer.backward(dy)
    by_hand = [parameter.grad.copy() for parameter in layer.parameters()]
    layer.zero_grad()
    layer.set_generator(np.random.default_rng(1))
    tensor = Tensor(x, requires_grad=True)
    layer(tensor).backward(dy)
    assert dx.dtype == tensor.grad.dtype == given
    tolerance = 1e-12 if {dtype, given} == {np.float64} else 2e-5
    np.testing.assert_allclose(dx, tensor.grad, rtol=tolerance, atol=tolerance)
    for parameter, gradient in zip(layer.parameters(), by_hand, strict=True):
        assert gradient.dtype == parameter.grad.dtype == dtype
        np.testing.assert_allclose(gradient, parameter.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("prediction", [np.float32, np.float64, np.int64, np.float16])
@pytest.mark.parametrize("target", [np.float32, np.float64, np.int64, bool])
def test_two_inputs_meet_in_their_common_dtype(prediction: Any, target: Any) -> None:
    a, b = WIDE.astype(prediction), (WIDE - 1).astype(target)
    by_hand, taped = nn.MSELoss()(a, b), nn.MSELoss()(Tensor(a), Tensor(b))
    assert by_hand.dtype == taped.dtype
    assert by_hand.dtype == (np.float64 if np.float64 in (prediction, target) else np.float32)
    assert float(by_hand) == pytest.approx(float(taped), rel=1e-6)


def test_cross_entropy_takes_whole_logits_as_floats() -> None:
    targets = np.array([[0, 3], [1, 1], [2, 0]])
    loss = nn.CrossEntropyLoss()
    by_hand, taped = loss(WIDE, targets), loss(Tensor(WIDE), Tensor(targets))
    assert by_hand.dtype == taped.dtype == np.float32
    assert float(by_hand) == pytest.approx(float(taped), rel=1e-6)
    assert loss(WIDE.tolist(), targets.tolist()) == by_hand


@pytest.mark.parametrize("case", [*layer_cases(), *gpt_cases()], ids=lambda case: case.name)
def test_every_layer_that_is_checked_agrees_in_dtype(case: ModuleCase) -> None:
    """Every layer in the proofs: a float32 input to a float64 layer, and the case's own input."""
    for x in (case.x, case.x.astype(np.float32)) if case.x.dtype.kind == "f" else (case.x, case.x.astype(np.int32)):
        options = {} if "GPT" in case.name else case.options
        case.module.set_generator(np.random.default_rng(1))
        by_hand = case.module(x, **options)
        case.module.set_generator(np.random.default_rng(1))
        assert case.module(Tensor(x), **options).dtype == by_hand.dtype
    case.module.forget()


def test_arrays_of_one_floating_dtype_are_passed_as_they_are() -> None:
    x, y = np.ones(3, np.float32), np.ones((2, 3), np.float32)
    found = promoted_arrays([x, None, y])
    assert found[0] is x
    assert found[1] is None
    assert found[2] is y
    assert promoted_arrays([]) == []


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("f4", "f8"), "f8"),
        (("i8", "f4"), "f4"),
        (("i8", "f8"), "f8"),
        (("?", "i8"), "f4"),
        (("f2", "f2"), "f4"),
        ((">f8", "<f8"), "f8"),
    ],
)
def test_the_rule(dtypes: tuple[str, str], expected: str) -> None:
    found = promoted_arrays([np.ones(3, dtype) for dtype in dtypes])
    assert [array.dtype for array in found] == [np.dtype(expected)] * 2


def test_a_number_widens_nothing() -> None:
    assert promoted_arrays([np.ones(3, np.float32), np.float64(2)])[1].dtype == np.float32
    assert promoted_arrays([np.ones(3, np.float32), np.array(2.0)])[0].dtype == np.float32


def test_large_integers_keep_their_digits_both_ways() -> None:
    layer, x = nn.Linear(1, 1, rng=np.random.default_rng(0), dtype=np.float64), np.array([[2**24 + 1]])
    assert float(layer(x)[0, 0]) == float(layer(Tensor(x)).data[0, 0])
    assert float(layer(x)[0, 0]) != float(layer(x - 1)[0, 0])


def test_a_module_without_a_backward_has_the_same_dtypes() -> None:
    class Doubled(nn.Module):
        def forward(self, x: Any) -> Any:
            return 2 * x

    for dtype in (np.float16, ">f4", np.float32):
        assert Doubled()(np.ones(3, dtype)).dtype == np.float32

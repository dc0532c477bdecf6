"""The proof itself: it covers everything, and it passes here."""

from dataclasses import fields
from inspect import signature

import numpy as np
import pytest

from handgrad import nn, ops
from handgrad.backend import gradients_of, text_pair
from handgrad.checking import TOLERANCE, Result, central_differences, check_gradients, relative_error
from handgrad.checking.cases import OperationCase
from handgrad.checking.kernels import check_kernel, kernel_cases
from handgrad.checking.modules import check_module, gpt_cases, layer_cases
from handgrad.checking.operations import operation_cases
from handgrad.models.config import Architecture
from handgrad.system import backend_setting


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return list(check_gradients())


def test_all_gradients_are_right(results: list[Result]) -> None:
    assert [result for result in results if not result.passed] == []
    # Far below the tolerance, thanks to the four-point rule.
    errors = [result.error for result in results if result.error is not None]
    assert sorted(errors)[len(errors) * 9 // 10] < 1e-9


def test_every_kernel_is_checked(results: list[Result]) -> None:
    kernels = pytest.importorskip("handgrad.kernels", reason="Numba is not installed")
    names = {*kernels.KERNELS, *kernels.UPDATES} - {"cached_attention"}  # it is checked in whole models
    assert set(kernel_cases()) == names
    subjects = {result.subject for result in results}
    assert {f"kernel {name}, float32, GPT-2" for name in ("cached_attention", "next_token")} <= subjects
    assert {f"kernel {name}, float32" for name in names} <= subjects
    assert {f"kernel {name}, float32, large numbers" for name in names} <= subjects
    assert "kernel adam_update, cautious, float32" in subjects
    assert {f"kernel {name}, float32, views" for name in names} <= subjects
    # Attention without elements is left to the NumPy code.
    heads = {"attention", "multi_head_attention"}
    assert {f"kernel {name}, float32, no elements" for name in names - heads} <= subjects
    forwards = {name: kernel.forward for name, kernel in kernels.KERNELS.items()} | kernels.UPDATES
    multiply = {name for name, forward in forwards.items() if "precision" in signature(forward).parameters}
    assert len(multiply) == 8
    assert {f"kernel {name}, bfloat16" for name in multiply} <= subjects


def test_a_case_that_a_kernel_does_not_take_is_no_check_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("handgrad.kernels", reason="Numba is not installed")
    monkeypatch.setattr(backend_setting, "_forced", "numba")
    (x,), _ = kernel_cases()["gelu"]
    assert all(result.passed for result in check_kernel("gelu", (x,), {}))
    for inputs, options in (((x,), {"approximate": "none"}), ((x.astype(np.float64),), {})):
        with pytest.raises(ValueError, match="gelu: this case does not run with a kernel"):
            list(check_kernel("gelu", inputs, options))


def test_every_operation_and_every_layer_is_checked() -> None:
    operations = {name.removesuffix("_backward") for name in ops.__all__ if name.endswith("_backward")}
    assert {case.operation.__name__ for case in operation_cases()} == operations
    layers = {value for value in vars(nn).values() if isinstance(value, type) and issubclass(value, nn.Module)}
    assert {type(case.module) for case in layer_cases()} == layers - {nn.Module, nn.Layer, nn.ModuleList, nn.ModuleDict}


def test_inputs_of_an_operation_have_sizes_that_all_differ() -> None:
    """If two sizes are equal, a transposed gradient can have the right shape.

    Those of self-attention must agree, and those of a diagonal.
    """
    for case in operation_cases():
        for name, array in case.inputs.items():
            if name not in ("query", "key", "value") and "diagonal" not in case.name:
                assert len(set(array.shape)) == array.ndim, (case.name, name)


def test_a_gpt_is_checked_with_every_setting_of_the_architecture() -> None:
    configs = [case.module.config for case in gpt_cases()]
    unchanged = {
        setting.name
        for setting in fields(Architecture)
        if all(getattr(config, setting.name) == setting.default for config in configs)
    }
    # The check draws all weights anew. Central differences of rounded products would see their steps.
    assert unchanged <= {"embedding_std", "matrix_std", "zero_init", "precision"}


@pytest.mark.parametrize("case", operation_cases(), ids=lambda case: case.name)
def test_every_pair_keeps_float32(case: OperationCase) -> None:
    """A stray float64 would double the memory and the time of everything after it."""
    inputs = [array.astype(np.float32) for array in case.inputs.values()]
    options = case.options()
    if case.operation is ops.astype:
        options = {"dtype": np.dtype(np.float32)}
    output, saved = case.operation(*inputs, **options)
    outputs = output if isinstance(output, tuple) else (output,)
    assert {np.asarray(part).dtype for part in outputs} == {np.dtype(np.float32)}
    ones = tuple(np.ones_like(part) for part in outputs)
    gradients = gradients_of(text_pair(case.operation), ones if isinstance(output, tuple) else ones[0], saved)
    for gradient, x in zip(gradients, inputs, strict=False):
        assert (gradient.dtype, gradient.shape) == (np.float32, x.shape)


def test_query_key_and_value_stand_apart_and_the_key_bias_is_zero(results: list[Result]) -> None:
    parts = {(result.subject, result.part) for result in results}
    for part in ("query", "key", "value"):
        assert ("attention", part) in parts
        assert ("MultiHeadAttention", f"project_in.weight, {part}") in parts
    assert ("GPT, tied head", "blocks.0.attention.project_in.bias, key (is zero)") in parts


def test_a_key_bias_gradient_that_is_not_zero_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = ops.linear_backward

    def leaking(dy: np.ndarray, saved: tuple) -> tuple:
        dx, d_weight, d_bias = backward(dy, saved)
        return dx, d_weight, None if d_bias is None else d_bias + 1e-4

    monkeypatch.setattr(ops, "linear_backward", leaking)
    attention = next(case for case in layer_cases() if case.name == "MultiHeadAttention")
    wrong = {result.part for result in check_module(attention) if not result.passed}
    assert "project_in.bias, key (is zero)" in wrong


def test_central_differences_on_a_function_with_a_known_derivative() -> None:
    x = np.linspace(-2, 2, 12).reshape(3, 4)
    before = x.copy()
    numeric = central_differences(lambda: float(np.sin(x).sum()), x)
    np.testing.assert_allclose(numeric, np.cos(before), atol=1e-11)
    assert (x == before).all()


def test_relative_error() -> None:
    a, n = np.array([1.0, 2.0]), np.array([1.0, 2.5])
    assert relative_error(a, n) == pytest.approx(0.2)
    assert relative_error(1e-6 * a, 1e-6 * n) == pytest.approx(0.5e-6 / 1e-3)
    assert relative_error(a, n[:1]) == float("inf")
    assert not Result("x", "y", relative_error(a * np.nan, n)).passed
    assert Result("x", "y", TOLERANCE).passed

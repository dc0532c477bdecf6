"""The proof itself: it covers everything, it passes here, and it finds faults that leave every shape right."""

import os
import shutil
import subprocess
import sys
from dataclasses import fields
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import handgrad
from handgrad import nn, ops
from handgrad.backend import gradients_of, text_pair
from handgrad.checking import TOLERANCE, Result, central_differences, check_gradients, relative_error
from handgrad.checking.cases import OperationCase
from handgrad.checking.kernels import check_kernel, kernel_cases
from handgrad.checking.modules import check_module, gpt_cases, layer_cases
from handgrad.checking.operations import operation_cases
from handgrad.models.config import Architecture
from handgrad.system import backend_setting

SOURCE = Path(handgrad.__file__).parent

FAULTS = {
    # The fault of a published NumPy GPT: Qᵀ·dS where dSᵀ·Q belongs.
    "key gradient, product reshaped": (
        "ops/attention.py",
        "dk = product(d_scores.swapaxes(-1, -2), q, precision)",
        "dk = (q.swapaxes(-1, -2) @ d_scores).reshape(k.shape)",
        "attention: key",
    ),
    "key gradient, transpose left out": (
        "ops/attention.py",
        "dk = product(d_scores.swapaxes(-1, -2), q, precision)",
        "dk = (d_scores if d_scores.shape[-1] == d_scores.shape[-2] else d_scores.swapaxes(-1, -2)) @ q",
        "attention: key",
    ),
    "scale forgotten": ("ops/attention.py", "    d_scores *= scale\n", "", "attention: query"),
    "mean term of layer norm": (
        "ops/layer_norm.py",
        "dx = d_x_hat - d_x_hat.mean(axis=-1, keepdims=True)",
        "dx = d_x_hat.copy()",
        "layer_norm: x",
    ),
    "residual branch": (
        "nn/transformer.py",
        "return (dy + dx).astype(",
        "return dx.astype(",
        "TransformerBlock: x",
    ),
    "tied table gets one gradient": (
        "autograd/tensor.py",
        "self._grad += gradient",
        "self._grad[...] = gradient",
        "GPT, tied head: token_embedding.weight",
    ),
    "the tape forgets one of two uses": (
        "autograd/tape.py",
        "else before + gradient",
        "else gradient",
        "TransformerBlock: x",
    ),
    "what was broadcast is not summed": (
        "ops/shapes.py",
        "gradient.sum(axis=(*range(new), *stretched), keepdims=True).reshape(shape)",
        "gradient[(0,) * new][tuple(slice(1) if new + i in stretched else slice(None) for i in range(len(shape)))]",
        "add, b broadcast: b",
    ),
    "an index that repeats counts once": (
        "ops/rearranging.py",
        "np.add.at(dx, index, dy)",
        "dx[index] = dy",
        "getitem, repeated integers: x",
    ),
    "a loss that large logits swallow": (
        "kernels/cross_entropy.py",
        "axis=-1)[:, 0] - tops\n        losses = np.where(counted, np.log(totals) - at_target",
        "axis=-1)[:, 0]\n        losses = np.where(counted, (np.log(totals) + tops) - at_target",
        "kernel cross_entropy, float32, large numbers: output",
    ),
    "compiled gradient": (
        "kernels/gelu.py",
        "dx[i] = dy[i] * slope_of(x[i])",
        "dx[i] = dy[i]",
        "gelu, tanh: x",
    ),
}

TOGETHER = {
    "numpy": {
        "bfloat16 whose last bits are cut off": (
            "ops/precision.py",
            "(bits + half + odd) & ~kind",
            "bits & ~kind",
            "rounding to bfloat16: normal numbers",
        ),
        "bfloat16 in which NaN is rounded as a number": (
            "ops/precision.py",
            "np.where(np.isnan(x), x, y)",
            "y",
            "rounding to bfloat16: NaN",
        ),
        "bfloat16 that keeps denormal numbers": (
            "ops/precision.py",
            "    x = without_denormals(x)\n",
            "",
            "rounding to bfloat16: denormal numbers and zeros",
        ),
        "a rotation that goes on where it should turn back": (
            "ops/rotary.py",
            "return _turned(dy, cos, -sin)",
            "return _turned(dy, cos, sin)",
            "rotary: x",
        ),
        "a mean square that is taken for a constant": (
            "ops/rms_norm.py",
            "dx = d_x_hat - x_hat * along_x_hat",
            "dx = d_x_hat + 0 * along_x_hat",
            "rms_norm: x",
        ),
        "a shared head that gets the gradient of one use": (
            "ops/attention_heads.py",
            "dy.reshape(*leading, H // n, n, T, D).sum(axis=-3)",
            "dy.reshape(*leading, H // n, n, T, D)[..., 0, :, :]",
            "share_heads: x",
        ),
        "a cap without its slope": (
            "ops/tanh_cap.py",
            "return dy * (1 - slope)",
            "return dy + 0 * slope",
            "tanh_cap: x",
        ),
        "gate and up exchanged": (
            "ops/swiglu.py",
            "[silu_backward(dy * up, silu_saved), dy * passed]",
            "[dy * passed, silu_backward(dy * up, silu_saved)]",
            "swiglu: x, gate",
        ),
        "a square without its 2": (
            "ops/relu.py",
            "slope = 2 * saved.positive",
            "slope = saved.positive.copy()",
            "relu_squared: x",
        ),
        "a sigmoid that is taken for a constant": ("ops/silu.py", "    slope *= x\n", "    slope *= 0\n", "silu: x"),
    },
    "numba": {
        "compiled bfloat16 whose last bits are cut off": (
            "kernels/products/packing.py",
            "np.uint32(bits + _JUST_BELOW_HALF + ((bits >> _SIXTEEN) & _ONE))",
            "np.uint32(bits)",
            "kernel linear, bfloat16, rounding: normal numbers, x",
        ),
        "compiled bfloat16 in which NaN becomes infinite": (
            "kernels/products/packing.py",
            "rounded = np.uint32(bits | _QUIET)",
            "rounded = np.uint32(_EXPONENT)",
            "kernel linear, bfloat16, rounding: NaN, weight",
        ),
        "compiled bfloat16 that keeps denormal numbers": (
            "kernels/products/packing.py",
            "rounded = np.uint32(bits & _SIGN)",
            "rounded = np.uint32(bits + _JUST_BELOW_HALF)",
            "kernel linear, bfloat16, rounding: denormal numbers and zeros, dy, for x",
        ),
        "a gradient of values in float32": (
            "kernels/attention.py",
            "dy[start:end], dv[start:stop], keep, precision)",
            "dy[start:end], dv[start:stop], keep, 0)",
            "kernel attention, bfloat16: gradient 3",
        ),
        "a product of Newton-Schulz in float32": (
            "kernels/newton_schulz.py",
            "multiply(polynomial, x, following, _ZERO, precision)",
            "multiply(polynomial, x, following, _ZERO, 0)",
            "kernel newton_schulz, bfloat16: wide, 1 step",
        ),
        "a compiled rotation that goes on where it should turn back": (
            "kernels/rotary.py",
            "_turn_all(matrices_of(dy), *saved, True, matrices_of(dx))",
            "_turn_all(matrices_of(dy), *saved, False, matrices_of(dx))",
            "rotary: x",
        ),
        "a compiled mean square that is taken for a constant": (
            "kernels/rms_norm.py",
            "(dy[n, c] * weight[c] - x[n, c] * scale * along) * scale",
            "dy[n, c] * weight[c] * scale",
            "rms_norm: x",
        ),
        "a shared key that gets the gradient of its last use": (
            "kernels/multi_head_attention.py",
            "keep = _ZERO if h % (H // K) == 0 else _ONE",
            "keep = _ZERO",
            "multi_head_attention, shared keys: qkv, key",
        ),
        "a compiled cap without its slope": (
            "kernels/tanh_cap.py",
            "dy[i] * (_ONE - share * share)",
            "dy[i] * _ONE",
            "tanh_cap: x",
        ),
        "an up that gets the gate's slope": (
            "kernels/swiglu.py",
            "d_up[h] = dy[n, h] * (gate[h] * share)",
            "d_up[h] = dy[n, h] * share",
            "swiglu: x, up",
        ),
        "a square's slope from the square": (
            "kernels/linear_relu_squared.py",
            "(_TWO * np.sqrt(y[n, c]))",
            "(_TWO * y[n, c])",
            "linear_relu_squared: x",
        ),
        # The next three change other logits: each kind of GPT has parts that the others lack.
        "generation whose window is one too long": (
            "kernels/next_token.py",
            "first = max(slot + 1 - window, 0)",
            "first = max(slot - window, 0)",
            "kernel next_token, float32, a modern GPT: logits of further tokens",
        ),
        "generation without the second half of SwiGLU": (
            "kernels/next_token.py",
            "multiply_rows(normed, data, at[8], hidden + begin_h, hidden + end_h, expanded)",
            "multiply_rows(normed, data, at[8], begin_h, end_h, expanded)",
            "kernel next_token, float32, SwiGLU: logits of further tokens",
        ),
        "generation at the position after the token's": (
            "kernels/next_token.py",
            "position = of_model[0] + ids[b] * C, of_model[1] + positions[b] * C",
            "position = of_model[0] + ids[b] * C, of_model[1] + (positions[b] - 1) * C",
            "kernel next_token, float32, GPT-2: logits of further tokens",
        ),
        "a prompt whose tokens see the next one": (
            "kernels/cached_attention.py",
            "softmax_of_row(row, row.view(np.int32), unseen, before + t + 1 - first, scale)",
            "softmax_of_row(row, row.view(np.int32), unseen, before + t + 2 - first, scale)",
            "kernel cached_attention, float32, GPT-2: logits after a prompt",
        ),
    },
}
"""Faults in different operations, which one run of the command finds together: each is named after its own."""


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


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_check_fails_on_a_planted_fault(fault: str, tmp_path: Path) -> None:
    """One line of a copy of the package is changed so that all shapes stay right; the command finds the mistake."""
    backend = "numba" if FAULTS[fault][0].startswith("kernels") else "numpy"
    assert FAULTS[fault][3] in what_check_finds_wrong([FAULTS[fault]], backend, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", TOGETHER)
def test_check_names_each_of_several_planted_faults(backend: str, tmp_path: Path) -> None:
    wrong = what_check_finds_wrong(list(TOGETHER[backend].values()), backend, tmp_path)
    assert [fault for fault, (*_, found) in TOGETHER[backend].items() if found not in wrong] == []


def what_check_finds_wrong(faults: list[tuple[str, str, str, str]], backend: str, tmp_path: Path) -> list[str]:
    """What the command calls wrong in a copy of the package with these faults."""
    if backend == "numba":
        pytest.importorskip("numba", reason="Numba is not installed")
    shutil.copytree(SOURCE, tmp_path / "handgrad")
    for file, right, wrong, _ in faults:
        path = tmp_path / "handgrad" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(right) == 1, f"the line to break is no longer in {file}"
        path.write_text(text.replace(right, wrong), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "handgrad", "check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "HANDGRAD_BACKEND": backend},
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout.splitlines()[-1].partition("results are wrong: ")[2].split("; ")


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

"""The proof finds faults that leave every shape right."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import handgrad

SOURCE = Path(handgrad.__file__).parent

FAULTS = {
    "operations": {
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
        # The fault of a published NumPy GPT: Qᵀ·dS where dSᵀ·Q belongs.
        "key gradient, product reshaped": (
            "ops/attention.py",
            "dk = product(d_scores.swapaxes(-1, -2), q, precision)",
            "dk = (q.swapaxes(-1, -2) @ d_scores).reshape(k.shape)",
            "attention: key",
        ),
        "mean term of layer norm": (
            "ops/layer_norm.py",
            "dx = d_x_hat - d_x_hat.mean(axis=-1, keepdims=True)",
            "dx = d_x_hat.copy()",
            "layer_norm: x",
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
        "a rotation whose backward turns forward": (
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
        "a shift whose backward looks back": (
            "ops/token_shift.py",
            "np.concatenate([d_previous, last], axis=-2)[..., 1:, :]",
            "np.concatenate([last, d_previous], axis=-2)[..., :-1, :]",
            "token_shift: x",
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
    },
    "a block by hand, and silu": {
        "residual branch": (
            "nn/transformer.py",
            "return (dy + dx).astype(",
            "return dx.astype(",
            "TransformerBlock: x",
        ),
        "a sigmoid that is taken for a constant": ("ops/silu.py", "    slope *= x\n", "    slope *= 0\n", "silu: x"),
    },
    "a transpose": {
        "key gradient, transpose left out": (
            "ops/attention.py",
            "dk = product(d_scores.swapaxes(-1, -2), q, precision)",
            "dk = (d_scores if d_scores.shape[-1] == d_scores.shape[-2] else d_scores.swapaxes(-1, -2)) @ q",
            "attention: key",
        ),
    },
    "a scale": {
        "scale forgotten": ("ops/attention.py", "    d_scores *= scale\n", "", "attention: query"),
    },
    "a leaf on the tape": {
        "tied table gets one gradient": (
            "autograd/tensor.py",
            "self._grad += gradient",
            "self._grad[...] = gradient",
            "GPT, tied head: token_embedding.weight",
        ),
    },
    "two uses on the tape": {
        "the tape forgets one of two uses": (
            "autograd/tape.py",
            "else before + gradient",
            "else gradient",
            "TransformerBlock: x",
        ),
    },
    "kernels": {
        # A processor that multiplies bfloat16 takes denormal numbers for zeros, whatever the packing leaves of them.
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
        "a gradient of values in float32": (
            "kernels/attention.py",
            "dv[start:stop], keep, precision)",
            "dv[start:stop], keep, 0)",
            "kernel attention, bfloat16: gradient 3",
        ),
        "a product of Newton-Schulz in float32": (
            "kernels/newton_schulz.py",
            "following, _ZERO, precision)",
            "following, _ZERO, 0)",
            "kernel newton_schulz, bfloat16: wide, 1 step",
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
        "a compiled rotation whose backward turns forward": (
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
        "a compiled shift whose weight learns nothing from the second token": (
            "kernels/token_shift.py",
            "d_weight[c] += dy[n, t, c] * previous[c]",
            "d_weight[c] += dy[n, t, c] * previous[c] if t != 1 else 0",
            "token_shift: weight",
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
"""Faults by the run of the command that finds them. Those of one run are in different operations, and each is named
after its own, which is right if only the others are planted. The run of ``kernels`` compiles them all anew."""


@pytest.mark.slow
@pytest.mark.parametrize("run", FAULTS)
def test_check_fails_on_planted_faults_and_names_each(run: str, tmp_path: Path) -> None:
    """A copy of the package has one wrong line for each fault; all shapes stay right. The command finds them."""
    faults = FAULTS[run]
    wrong = what_check_finds_wrong(list(faults.values()), "numba" if run == "kernels" else "numpy", tmp_path)
    assert [fault for fault, (*_, found) in faults.items() if found not in wrong] == []


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

"""Layers without parameters: a nonlinearity, element by element or along an axis."""

from typing import Literal

from handgrad import ops
from handgrad.nn.base_layer import Layer
from handgrad.nn.module import ArrayOrTensor
from handgrad.ops.tanh_cap import check_cap


class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.relu, x)


class LeakyReLU(Layer):
    """x if x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.leaky_relu, x, negative_slope=self.negative_slope)


class GELU(Layer):
    """x Φ(x); GPT-2's tanh form by default, ``approximate="none"`` the exact one."""

    def __init__(self, approximate: Literal["tanh", "none"] = "tanh") -> None:
        self.approximate = approximate

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.gelu, x, approximate=self.approximate)


class ReLUSquared(Layer):
    """max(x, 0)²."""

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.relu_squared, x)


class SiLU(Layer):
    """x σ(x), also called swish."""

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.silu, x)


class SwiGLU(Layer):
    """silu(gate) · up for x (..., 2H) = [gate, up] side by side: (..., H)."""

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.swiglu, x)


class TanhCap(Layer):
    """cap · tanh(x / cap): a soft limit for scores and logits.

    Raises ValueError unless cap is a finite number above 0.
    """

    def __init__(self, cap: float) -> None:
        self.cap = check_cap(cap)

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.tanh_cap, x, cap=self.cap)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.tanh, x)


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.sigmoid, x)


class Softplus(Layer):
    """log(1 + exp(beta · x)) / beta; x itself if beta · x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.softplus, x, beta=self.beta, threshold=self.threshold)


class Softmax(Layer):
    """exp(x_i) / Σ exp(x_j) along ``axis``, which may be called dim."""

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        self.axis = axis if dim is None else dim

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.softmax, x, axis=self.axis)

"""The derivatives: each operation is a pair of pure functions, the backward under its forward.

``NAME(inputs..., options) -> (output, saved)`` and ``NAME_backward(d_output, saved) -> gradients``: one gradient
for each differentiable input, in order, with the input's shape and dtype (a single gradient by itself, several as a
tuple). The differentiable inputs come first. If users expect another order, as in ``where(condition, a, b)``, the
other inputs are keywords: ``where(a, b, condition=...)``, ``embedding(weight, ids=...)``. ``saved`` is a named tuple
of what the backward needs, or ``()`` if it needs nothing. An operation never writes to its inputs but may keep them
in ``saved``: do not change them before the backward has run.

An operation of several inputs may take ``wanted``, one boolean for each input. If it is False, nobody needs the
gradient of this input, such as a constant: the forward saves nothing for it, and the backward returns None.
``TAKE_WANTED`` names these operations.

Arrays of another library work if they have NumPy's interface, ``__array_ufunc__`` and ``__array_function__``.
"""

from collections.abc import Callable
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from handgrad.ops.adam_update import *
from handgrad.ops.add_gradients import *
from handgrad.ops.arithmetic import *
from handgrad.ops.attention import *
from handgrad.ops.attention_heads import *
from handgrad.ops.binary_cross_entropy import *
from handgrad.ops.cached_attention import *
from handgrad.ops.conv2d import *
from handgrad.ops.cross_entropy import *
from handgrad.ops.dropout import *
from handgrad.ops.einsum import *
from handgrad.ops.elementwise import *
from handgrad.ops.embedding import *
from handgrad.ops.gelu import *
from handgrad.ops.layer_norm import *
from handgrad.ops.linear import *
from handgrad.ops.linear_gelu import *
from handgrad.ops.linear_relu import *
from handgrad.ops.linear_relu_squared import *
from handgrad.ops.log_softmax import *
from handgrad.ops.matmul import *
from handgrad.ops.max_pool2d import *
from handgrad.ops.mse import *
from handgrad.ops.multi_head_attention import *
from handgrad.ops.newton_schulz import *
from handgrad.ops.rearranging import *
from handgrad.ops.reductions import *
from handgrad.ops.relu import *
from handgrad.ops.rms_norm import *
from handgrad.ops.rotary import *
from handgrad.ops.silu import *
from handgrad.ops.softmax import *
from handgrad.ops.swiglu import *
from handgrad.ops.tanh_cap import *
from handgrad.ops.token_shift import *
from handgrad.ops.unembedding import *
from handgrad.ops.weighted_cross_entropy import *

TAKE_WANTED: frozenset[Callable[..., Any]] = frozenset(
    {conv2d, divide, linear, linear_gelu, linear_relu, linear_relu_squared, matmul, multiply, power}
)
"""The operations that take the option ``wanted``; no other operation accepts it."""

_WITHOUT_BACKWARD = ("adam_update", "add_gradients", "cached_attention", "newton_schulz")
"""Operations of training, of optimizers and of generation: nobody takes their gradient."""

if not TYPE_CHECKING:  # type checkers find the same names in the files
    _pairs = [name for name in globals() if name.removesuffix("_backward") + "_backward" in globals()]
    __all__ = ["TAKE_WANTED", *sorted(name for name in (*_pairs, *_WITHOUT_BACKWARD) if isfunction(globals()[name]))]

    def __dir__() -> list[str]:
        return __all__

"""Two-dimensional convolution (in mathematics cross-correlation; network libraries call it convolution)."""

import operator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from handgrad.ops.shapes import check_bias
from handgrad.system.arrays import Array

IntPair = tuple[int, int]


class Conv2dSaved(NamedTuple):
    """The padded input if weight's gradient is wanted, weight if x's is; sizes and options."""

    padded: Array | None
    weight: Array | None
    shape: tuple[int, ...]
    padded_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    has_bias: bool
    strides: IntPair
    padding: IntPair
    dilations: IntPair


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | IntPair = 1,
    padding: int | IntPair = 0,
    dilation: int | IntPair = 1,
    wanted: tuple[bool, ...] = (True, True, True),
) -> tuple[Array, Conv2dSaved]:
    """Each output is the sum of a window of x, weighted: y_nouv = b_o + Σ_cij W_ocij x_nc,su+di-p,sv+dj-p.

    x (N, C, H, W), weight (O, C, I, J), bias (O,) or None, as in PyTorch; returns y (N, O, U, V) with
    U = (H + 2p - d(I - 1) - 1) // s + 1 for stride s, padding p (with zeros) and dilation d; V likewise.

    Raises ValueError if the shapes do not fit one another, TypeError for a stride, padding or dilation that is not one
    integer or two.
    """
    strides, dilations = pair(stride, "stride"), pair(dilation, "dilation")
    pad_h, pad_w = pair(padding, "padding")
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"conv2d: x (N, C, H, W) and weight (O, C, I, J) must share C, but have shapes {x.shape} and {weight.shape}"
        )
    check_bias("conv2d", bias, weight.shape[0])
    padded = np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w))) if pad_h or pad_w else x
    if any(d * (k - 1) + 1 > n for d, k, n in zip(dilations, weight.shape[2:], padded.shape[2:], strict=True)):
        raise ValueError(
            f"conv2d: a window of {weight.shape[2:]} does not fit into {padded.shape[2:]}, padding included"
        )
    windows = windows_of(padded, weight.shape[2:], strides, dilations)
    y = np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3)))  # N U V O
    if bias is not None:
        y += bias
    saved = Conv2dSaved(
        padded if wanted[1] else None,
        weight if wanted[0] else None,
        x.shape,
        padded.shape,
        weight.shape,
        bias is not None,
        strides,
        (pad_h, pad_w),
        dilations,
    )
    return np.ascontiguousarray(np.moveaxis(y, -1, 1), like=y), saved


def conv2d_backward(dy: Array, saved: Conv2dSaved) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of conv2d for x, weight and bias; None without a bias, or for a gradient that is not wanted.

    y is linear in each: W_ocij meets the window's element (i, j) at every place (u, v),
        dW_ocij = Σ_nuv dy_nouv x_nc,su+di,sv+dj,   db_o = Σ_nuv dy_nouv,
    and x_nc,h,w is element (i, j) of every window whose su + di = h and sv + dj = w:
        dx_nc,h,w = Σ over these of Σ_o dy_nouv W_ocij.
    For each (i, j), one addition takes the gradients of all windows' elements (i, j) back to where these came from.
    """
    padded, weight, shape, padded_shape, weight_shape, has_bias, strides, (pad_h, pad_w), dilations = saved
    dx = d_weight = None
    if padded is not None:
        windows = windows_of(padded, weight_shape[2:], strides, dilations)
        d_weight = np.tensordot(dy, windows, axes=((0, 2, 3), (0, 2, 3)))
    if weight is not None:
        d_windows = np.moveaxis(np.tensordot(weight, dy, axes=((0,), (1,))), 3, 0)  # N C I J U V
        d_padded = np.zeros(padded_shape, dy.dtype, like=dy)
        _, _, U, V = dy.shape
        for i in range(weight_shape[2]):
            for j in range(weight_shape[3]):
                top, left = i * dilations[0], j * dilations[1]
                rows = slice(top, top + strides[0] * U, strides[0])
                columns = slice(left, left + strides[1] * V, strides[1])
                d_padded[:, :, rows, columns] += d_windows[:, :, i, j]
        dx = d_padded[:, :, pad_h : pad_h + shape[2], pad_w : pad_w + shape[3]]
    return dx, d_weight, dy.sum(axis=(0, 2, 3)) if has_bias else None


def windows_of(x: Array, size: tuple[int, ...], strides: IntPair, dilations: IntPair) -> Array:
    """The window that each output sees: (N, C, U, V, I, J), a view."""
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, size, strict=True))
    every = sliding_window_view(x, reach, axis=(2, 3))
    return every[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def pair(value: int | IntPair, name: str, operation: str = "conv2d") -> IntPair:
    """One integer for both axes, or two, as a tuple; TypeError for anything else."""
    try:
        first, second = value if isinstance(value, list | tuple) else (value, value)
        return operator.index(first), operator.index(second)
    except (TypeError, ValueError):
        raise TypeError(f"{operation}: {name} must be an integer or two, not {value!r}") from None

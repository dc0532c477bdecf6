"""The largest number in each window of an image."""

from typing import NamedTuple

import numpy as np

from handgrad.ops.conv2d import IntPair, pair, windows_of
from handgrad.ops.shapes import sums_of_runs
from handgrad.system.arrays import Array


class MaxPool2dSaved(NamedTuple):
    """x's shape, and the row and column in x of each output (N, C, U, V)."""

    shape: tuple[int, ...]
    rows: Array
    columns: Array


def max_pool2d(
    x: Array, kernel_size: int | IntPair, stride: int | IntPair | None = None, padding: int | IntPair = 0
) -> tuple[Array, MaxPool2dSaved]:
    """y_ncuv = the largest of x_nc,su+i-p,sv+j-p over the window's (i, j); NaN if one of them is.

    x (N, C, H, W) of floats; returns (N, C, U, V) with U = (H + 2p - I) // s + 1 for a window of height I, stride s
    (the window's size by default) and padding p, which never wins; V likewise.

    Raises ValueError for other shapes, for a window that does not fit, and for a padding above half of the window.
    """
    size = pair(kernel_size, "kernel_size", "max_pool2d")
    strides = size if stride is None else pair(stride, "stride", "max_pool2d")
    pads = pair(padding, "padding", "max_pool2d")
    if x.ndim != 4:
        raise ValueError(f"max_pool2d: x must have shape (N, C, H, W), not {x.shape}")
    if min(*size, *strides) < 1:
        raise ValueError(f"max_pool2d: kernel_size {size} and stride {strides} must be at least 1")
    if any(not 0 <= 2 * p <= k for p, k in zip(pads, size, strict=True)):
        raise ValueError(f"max_pool2d: padding {pads} must be at least 0 and at most half of kernel_size {size}")
    (top, left), (H, W) = pads, x.shape[2:]
    padded = x
    if top or left:
        padded = np.full((*x.shape[:2], H + 2 * top, W + 2 * left), -np.inf, x.dtype, like=x)
        padded[:, :, top : top + H, left : left + W] = x
    if any(k > n for k, n in zip(size, padded.shape[2:], strict=True)):
        raise ValueError(f"max_pool2d: a window of {size} does not fit into {padded.shape[2:]}, padding included")
    windows = windows_of(padded, size, strides, (1, 1))
    flat = windows.reshape(*windows.shape[:4], size[0] * size[1])
    best = np.argmax(flat, axis=-1)
    y = np.take_along_axis(flat, best[..., None], axis=-1)[..., 0]
    U, V = y.shape[2:]
    rows = best // size[1] + np.arange(U, like=best)[:, None] * strides[0] - top
    columns = best % size[1] + np.arange(V, like=best) * strides[1] - left
    return y, MaxPool2dSaved(x.shape, rows, columns)


def max_pool2d_backward(dy: Array, saved: MaxPool2dSaved) -> Array:
    """Each output is one element of x, so this element's slope is 1 and that of the others in the window 0.

    An element that is the largest of several windows gets the sum of their gradients. At a tie the first one wins, as
    in PyTorch.
    """
    (N, C, H, W), rows, columns = saved
    dx = np.zeros(N * C * H * W, dy.dtype, like=dy)
    images = np.arange(N * C, like=rows).reshape(N, C, 1, 1)
    positions, gradients = ((images * H + rows) * W + columns).reshape(-1), dy.reshape(-1)
    # Stable: equal positions are summed in the order of their windows.
    order = np.argsort(positions, kind="stable")
    positions, gradients = positions[order], gradients[order]
    is_first = np.ones_like(positions, dtype=bool)
    is_first[1:] = positions[1:] != positions[:-1]
    first = np.flatnonzero(is_first)
    if positions.size:
        dx[positions[first]] = sums_of_runs(gradients, first)
    return dx.reshape(N, C, H, W)

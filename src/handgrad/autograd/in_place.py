"""In-place changes of a tensor that are part of its history.

A tensor that is not a view takes the history of its new values. A view shares its base's memory, so its base takes the
history: the base's old values with the new ones in the view's place. Every view of that base then derives its own
history from the base's when it next needs it (``Tensor._follow_base``).
"""

from typing import Any, TypeVar

import numpy as np

from handgrad import ops
from handgrad.autograd.grad_mode import is_grad_enabled
from handgrad.autograd.recording import apply
from handgrad.autograd.shared_memory import positions_of
from handgrad.autograd.tape import Node
from handgrad.autograd.tensor import Tensor
from handgrad.backend import Forward, outputs_of, text_pair

Changed = TypeVar("Changed", bound=Tensor)


def change_in_place(x: Changed, operation: Forward, *others: Any, **options: Any) -> Changed:
    """Writes the result of ``operation(x, *others)`` into x's memory and records it in x's history; returns x.

    Raises RuntimeError if that history would be wrong: for a leaf that requires a gradient, and for a view made under
    no_grad, which shares another tensor's memory without its history.
    """
    recorded = is_recorded(x, *others)
    before = Tensor.holding(x._data)
    if recorded:
        before = Tensor.holding(x._data.copy())  # the operation may save it, so it must not change
        before._requires_grad, before._node, before._output = x.requires_grad, x._node, x._output
    after = apply(operation, before, *others, **options)
    if after._data.shape != x._data.shape:
        raise ValueError(f"in-place: the result has shape {after._data.shape}, which does not fit into {x._data.shape}")
    np.copyto(x._data, after._data, casting="same_kind")
    x.mark_changed()
    if recorded:
        _take_history(x, apply(ops.astype, after, dtype=x._data.dtype))
    return x


def is_recorded(x: Tensor, *others: Any) -> bool:
    """Whether a change of x, computed from x and others, is part of its history.

    Raises RuntimeError if it should be but cannot.
    """
    if not is_grad_enabled() or not any(
        value.requires_grad for value in (x, x._base, *others) if isinstance(value, Tensor)
    ):
        return False
    for tensor in (x, x._base):
        if tensor is not None and tensor.is_leaf and tensor.requires_grad:
            raise RuntimeError(
                "in-place: a leaf that requires a gradient cannot be changed by an operation that is recorded; "
                "do it under no_grad(), or make a new tensor (x = x + y for x += y)"
            )
    if x._is_apart:
        raise RuntimeError(
            "in-place: this tensor is a view made under no_grad(): it shares the memory of another but not its "
            "history, so a recorded change would be lost there; change a copy(), or do it under no_grad()"
        )
    return True


def _take_history(x: Tensor, after: Tensor) -> None:
    base = x._base
    if base is None:
        x._requires_grad, x._node, x._output = after._requires_grad, after._node, after._output
        x._history += 1
        x._listen()
        return
    pair = text_pair(ops.with_view)
    _, saved = outputs_of(pair, (base._data, after._data), {"positions": positions_of(x._data, base._data)})
    edges = (base._edge(), after._edge())
    base._requires_grad = base.requires_grad or after.requires_grad
    base._node = Node("an in-place change of a view", pair, saved, edges, (), (base._data,))
    base._output = 0
    base._history += 1
    base._listen()

"""Copies and pickles of a tensor. They hold its numbers and its gradient, but no history."""

import copy
from typing import Any, Self, cast

from handgrad.autograd.tape import Version
from handgrad.system.arrays import Array


class Copies:
    """The part of a ``Tensor`` that ``copy`` and ``pickle`` call. Both refuse a computed tensor."""

    __slots__ = ()

    _data: Array
    _grad: Array | None
    _requires_grad: bool
    is_leaf: Any
    holding: Any

    def __copy__(self) -> Self:
        """A leaf with memory of its own, as of NumPy's arrays: a shared gradient would be added to twice."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A leaf with memory of its own."""
        self._refuse_if_computed(
            "copy", "copied", "copy detach() instead, or use copy(), through which the gradient passes"
        )
        twin: Self = self.holding(copy.deepcopy(self._data, memo))
        twin._grad, twin._requires_grad = copy.deepcopy(self._grad, memo), self._requires_grad  # type: ignore[misc]
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> Any:
        """What a pickle keeps: a leaf with memory of its own, even if it was a view."""
        self._refuse_if_computed("pickle", "pickled", "pickle detach() instead")
        attributes, slots = cast("tuple[Any, dict[str, Any]]", super().__getstate__())
        return attributes, {**slots, "_base": None, "_is_apart": False, "_version": Version()}

    def _refuse_if_computed(self, what: str, done: str, instead: str) -> None:
        if not self.is_leaf:
            raise RuntimeError(f"{what}: a computed tensor cannot be {done} with its history; {instead}")

"""The array type used throughout handgrad."""

from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any dtype. Docstrings state the dtype and shape."""

"""The one array type that the house speaks of."""

from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any dtype. Docstrings say which dtype and shape are meant."""

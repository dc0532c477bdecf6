"""The dtypes that tensors have."""

from typing import Any

import numpy as np
import numpy.typing as npt

float32 = np.dtype("float32")
float64 = np.dtype("float64")
int32 = np.dtype("int32")
int64 = np.dtype("int64")
bool = np.dtype("bool")

DTYPES = (float32, float64, int32, int64, bool)


def checked_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """A dtype that tensors may have.

    Raises TypeError for any other.
    """
    found = np.dtype(dtype)
    if found not in DTYPES:
        raise TypeError(f"dtype must be float32, float64, int32, int64 or bool, not {found}")
    return found

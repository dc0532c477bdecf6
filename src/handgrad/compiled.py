"""How kernels are compiled; only where Numba is installed can this be imported.

What a kernel calls must stand in its own file: Numba keeps machine code until that file changes, and looks at no other.
"""

from collections.abc import Callable
from typing import Any

import numba

# Sums may be regrouped and products fused; NaN and infinities must stay what they are.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles at the first call and keeps the machine code for later runs, where a folder for it can be written.

    ``nogil`` lets replicas run side by side; without ``error_model="numpy"`` a loop that divides is not vectorised.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _FAST}
    try:
        machine_code: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written
        machine_code = numba.njit(**options)(function)
    return machine_code

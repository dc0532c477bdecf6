"""Whether a saved state fits a module."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from handgrad.autograd import Tensor


class Unfit(NamedTuple):
    """The names that a state lacks, and those that it has besides."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def check_state(owner: str, own: Mapping[str, Tensor], state: Mapping[str, Any], strict: bool) -> Unfit:
    """Raises ValueError for names of a wrong shape and, if ``strict``, for missing and unexpected ones."""
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} has shape {np.shape(state[name])}, not {own[name].shape}"
        for name in own
        if name in state and np.shape(state[name]) != own[name].shape
    ]
    found = {"missing": missing, "unexpected": unexpected} if strict else {}
    found["wrongly shaped"] = misshapen
    problems = [f"{kind}: {', '.join(names)}" for kind, names in found.items() if names]
    if problems:
        raise ValueError(f"state does not fit {owner}; " + "; ".join(problems))
    return Unfit(missing, unexpected)

"""Dataclasses from the content of a JSON file, which may be anything."""

import math
from collections.abc import Mapping, Set
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def dataclass_from_json(kind: type[T], values: Any, **checked: Any) -> T:
    """A dataclass whose fields are numbers, strings and booleans, or None if the type hint allows it.

    Fields with a default may be missing. An integer serves as a float; a boolean is not an integer. ``checked``: fields
    of other types, which the caller has checked.

    Raises ValueError for an unknown field, a missing one, a wrong type or a number that is not finite. The message
    continues a sentence that begins with the file's name.
    """
    hints = get_type_hints(kind)
    named = check_names(kind, values, set(checked))
    return kind(**{name: _checked(name, hints[name], value) for name, value in named.items()}, **checked)


def check_names(kind: type, values: Any, given: Set[str] = frozenset()) -> Mapping[str, Any]:
    """The values, if they are an object whose names are the dataclass's fields, apart from those in ``given``.

    Fields with a default may be missing. Otherwise raises ValueError, whose message continues a sentence that begins
    with the file's name.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"it must hold an object, not a {type(values).__name__}")
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if missing := sorted(needed - given - set(values)):
        raise ValueError(f"it has no {missing[0]}")
    if unknown := sorted(set(values) - ({field.name for field in fields(kind)} - given), key=str):
        raise ValueError(f"it has an unknown field {str(unknown[0])[:80]!r}")
    return values


def _checked(name: str, hint: Any, value: Any) -> Any:
    allowed = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if float in allowed and type(value) is int:
        value = _as_float(value)
    if type(value) not in allowed or (isinstance(value, float) and not math.isfinite(value)):
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        finite = "finite " if float in allowed else ""
        raise ValueError(f"{name} must be {finite}{names}, not {str(value)[:80]!r}")
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf

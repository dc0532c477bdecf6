"""Records: what a run of a rung reached, how long it took, where, and the hash of the weights that it ended with."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from handgrad.ops.precision import Precision, check_precision
from handgrad.system.dataclasses_from_json import dataclass_from_json

_HEX_DIGITS = 64
_CURVE = ("steps", "training_seconds", "losses")


@dataclass(frozen=True)
class Record:
    """One run of a rung."""

    seed: int
    precision: Precision
    loss: float
    """At the last step: nats per character over the whole validation split."""
    seconds: float | None
    """Time of training from the first step to the first evaluation at or below the target, without evaluations; None if
    the target was not reached. In a track without target: to the last step."""
    evaluating: float
    """Seconds of the evaluations up to there."""
    sha256: str
    """Hash of the final weights: of the float32 numbers in the order of the model's arena."""
    processor: str
    cores: int
    libraries: str
    """Names and versions that the bits depend on, on this kind of processor."""
    steps: tuple[int, ...]
    """At which the loss was evaluated, from 0."""
    training_seconds: tuple[float, ...]
    """Time of training up to there."""
    losses: tuple[float, ...]


class Spread(NamedTuple):
    """The mean of several seeds, and half of the distance between the largest and the smallest."""

    mean: float
    half: float
    n: int


def spread_of(values: Sequence[float]) -> Spread:
    """Raises ValueError for no values."""
    if not values:
        raise ValueError("spread_of: no values")
    return Spread(statistics.fmean(values), (max(values) - min(values)) / 2, len(values))


def record_in(value: Mapping[str, Any]) -> Record:
    """The record in a table of TOML. Raises KeyError, TypeError or ValueError if it is damaged."""
    curve = {name: tuple(value[name]) for name in _CURVE}
    if len({len(numbers) for numbers in curve.values()}) > 1:
        raise ValueError(f"{', '.join(_CURVE)} must be equally long")
    precision = value["precision"]
    check_precision("a record", precision)
    others = {"seconds": None} | {name: one for name, one in value.items() if name not in (*_CURVE, "precision")}
    record = dataclass_from_json(Record, others, **curve, precision=precision)
    if len(record.sha256) != _HEX_DIGITS:
        raise ValueError(f"sha256 must have {_HEX_DIGITS} digits, not {record.sha256[:80]!r}")
    return record


def record_as_toml(record: Record) -> str:
    """The table of TOML that ``record_in`` reads."""
    lines = ["[[record]]"]
    lines += [f"{name} = {_written(value)}" for name, value in asdict(record).items() if value is not None]
    return "\n".join(lines) + "\n"


def matching_record(records: Sequence[Record], seed: int, precision: Precision, processor: str) -> Record | None:
    """The record of the same seed and precision; one of this processor if there is one."""
    same = [record for record in records if (record.seed, record.precision) == (seed, precision)]
    return next((record for record in same if record.processor == processor), same[0] if same else None)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return f"{value}"

"""The rungs of a track: settings that change one thing at a time, each with the records of its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handgrad.experiments.speedrun.records import Record, record_as_toml, record_in
from handgrad.experiments.speedrun.tracks import Track
from handgrad.runs import TrainConfig, read_config_file
from handgrad.system.errors import InputError
from handgrad.system.files import read_text, write_atomically

DIRECTORY = Path(__file__).with_name("rungs")
_FIELDS = {"says", "learn", "changes", "members", "record"}


@dataclass(frozen=True)
class Rung:
    """A step of a ladder."""

    number: int
    """Counted from 0, the recipe that the ladder begins with."""
    name: str
    says: str
    """What it changes and why that helps, in a sentence or two."""
    learn: str
    """The part of the documentation that derives it, as a link from ``docs``; empty if nothing is to be derived."""
    changes: Mapping[str, Any]
    """The settings that it changes."""
    config: TrainConfig
    """All its settings: the defaults of ``TrainConfig``, with the changes of the rungs before and its own."""
    members: int
    """How many models are trained, with seeds one after another; their probabilities are averaged."""
    records: tuple[Record, ...]
    file: Path

    def __str__(self) -> str:
        return f"rung {self.number}, {self.name}"


def read_rungs(track: Track, directory: Path | None = None) -> tuple[Rung, ...]:
    """The ladder of a track, from its files NUMBER-NAME.toml in the order of their numbers.

    Raises InputError if a file is damaged, if a number is missing or if settings contradict each other.
    """
    directory = DIRECTORY if directory is None else directory
    files = sorted((directory / track.name).glob("*.toml"), key=lambda file: (_number(file), file.name))
    rungs: list[Rung] = []
    config = TrainConfig()
    for number, file in enumerate(files):
        if _number(file) != number:
            raise InputError(f"{file}: the rung before it has number {number - 1}, so its number must be {number}")
        rungs.append(rung := _read(file, number, config))
        config = rung.config
    if not rungs:
        raise InputError(f"{directory / track.name} has no rungs: files called NUMBER-NAME.toml")
    return tuple(rungs)


def rung_called(rungs: tuple[Rung, ...], wanted: str | None) -> Rung:
    """The rung with this number or name; with None the last one. Raises InputError if no rung has it."""
    if wanted is None:
        return rungs[-1]
    for rung in rungs:
        if wanted in (str(rung.number), rung.name):
            return rung
    raise InputError(f"there is no rung {wanted!r}; the rungs are 0 to {len(rungs) - 1}, by number or name")


def write_records(rung: Rung, records: Sequence[Record]) -> None:
    """Writes records into a rung's file. They replace those of the same precision and processor; others stay."""
    kinds = {(record.precision, record.processor) for record in records}
    others = [one for one in rung.records if (one.precision, one.processor) not in kinds]
    own = rung.config.precision
    kept = sorted((*records, *others), key=lambda record: record.precision != own)
    head = read_text(rung.file).partition("[[record]]")[0].rstrip()
    write_atomically(rung.file, "\n\n".join([head, *map(record_as_toml, kept)]).encode())


def _number(file: Path) -> int:
    number = file.name.partition("-")[0]
    if not (number.isascii() and number.isdigit()):
        raise InputError(f"{file}: the name of a rung's file begins with its number and a dash, as in 3-muon.toml")
    return int(number)


def _read(file: Path, number: int, before: TrainConfig) -> Rung:
    content = read_config_file(file)
    if unknown := sorted(set(content) - _FIELDS):
        raise InputError(f"{file}: unknown field {unknown[0]!r}; choose from {', '.join(sorted(_FIELDS))}")
    try:
        changes = content["changes"]
        config = before.updated(changes, str(file))
        members = content.get("members", 1)
        if type(members) is not int or members < 1:
            raise ValueError(f"members must be an integer of at least 1, not {str(members)[:80]!r}")
        records = tuple(record_in(value) for value in content.get("record", []))
        says, learn = str(content["says"]), str(content["learn"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{file}: {what}") from None
    name = file.stem.partition("-")[2]
    return Rung(number, name, says, learn, changes, config, members, records, file)

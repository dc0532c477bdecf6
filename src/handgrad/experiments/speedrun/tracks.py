"""The tracks of the speedrun: what each aims at. All train on tiny Shakespeare, in characters."""

from dataclasses import dataclass

from handgrad.system.errors import InputError


@dataclass(frozen=True)
class Track:
    """A loss to reach, or a time to use."""

    name: str
    says: str
    """What it aims at, in one sentence."""
    target: float | None
    """Loss in nats per character over the whole validation split; None if the lowest loss wins."""
    minutes: float | None = None
    """Time of training, without evaluations, that a run may take."""


TRACKS: tuple[Track, ...] = (
    Track("nanogpt-cpu", "The least time to the loss that nanoGPT states for its recipe for a CPU.", 1.886),
    Track("nanogpt-gpu", "The least time to the loss that nanoGPT states for its recipe for a GPU.", 1.4697),
    Track("five-minutes", "The lowest loss that five minutes give.", None, 5),
    Track("lowest", "The lowest loss that an hour gives.", None, 60),
)


def track_called(name: str) -> Track:
    """The track of that name. Raises InputError if there is none."""
    for track in TRACKS:
        if track.name == name:
            return track
    raise InputError(f"unknown track {name!r}; choose from {', '.join(track.name for track in TRACKS)}")

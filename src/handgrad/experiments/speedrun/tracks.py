"""The tracks of the speedrun: what each aims at. All train on tiny Shakespeare, in characters."""

from dataclasses import dataclass

from handgrad.system.errors import InputError


@dataclass(frozen=True)
class Track:
    """A loss to reach, or a time to use."""

    name: str
    target: float | None
    """Loss in nats per character over the whole validation split; None if the lowest loss wins."""
    minutes: float | None = None
    """Time of training, without evaluations, that a run may take."""


# The two losses are those that nanoGPT states for its recipes for a CPU and for a GPU.
TRACKS: tuple[Track, ...] = (
    Track("nanogpt-cpu", 1.886),
    Track("nanogpt-gpu", 1.4697),
    Track("five-minutes", None, 5),
    Track("lowest", None, 60),
)


def track_called(name: str) -> Track:
    """The track of that name. Raises InputError if no track has it."""
    for track in TRACKS:
        if track.name == name:
            return track
    raise InputError(f"unknown track {name!r}; choose from {', '.join(track.name for track in TRACKS)}")

"""What sets are made of: clips of files, and the windows they yield.

A window is two pictures given, and the pictures between them held back as the truth. One is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Protocol

from slomo_cli.errors import InputError, printable
from slomo_cli.media.names import missing, numbers_of
from slomo_cli.picture import RGB


@dataclass(frozen=True, slots=True)
class Window:
    """Two pictures and the truth between them."""

    clip: str
    """Name of the clip within its set."""
    start: int
    """Index of ``first`` in the clip, counted in pictures."""
    first: RGB
    second: RGB
    truths: tuple[RGB, ...]
    timesteps: tuple[Fraction, ...]
    """Where each truth lies between first (0) and second (1), in the clip's own time."""
    before: tuple[RGB, Fraction] | None = None
    """The given picture before the first, and the time between them in that from first to second."""
    after: tuple[RGB, Fraction] | None = None
    """The same of the given picture after the second."""


class Clip(Protocol):
    """One sequence of a set."""

    @property
    def name(self) -> str:
        """Its name within the set."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it is read from."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd or damaged about it, one line each; complete once it was read to its end."""

    def __len__(self) -> int:
        """Windows it promises; a damaged video may yield fewer."""

    def windows(self) -> Iterator[Window]:
        """Its windows in order, read as they are asked for."""


@dataclass(frozen=True)
class TripletClip:
    """Two pictures and the one halfway between them."""

    name: str
    first: Path
    truth: Path
    second: Path
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """As ``Clip.files``."""
        return self.first, self.truth, self.second

    def __len__(self) -> int:
        return 1

    def windows(self) -> Iterator[Window]:
        from slomo_cli.evaluate.reading import read_picture

        first, truth, second = (read_picture(path) for path in (self.first, self.truth, self.second))
        yield _window(self.name, 0, [(Fraction(0), first), (Fraction(1, 2), truth), (Fraction(1), second)])


@dataclass(frozen=True)
class FramesClip:
    """Frames at an even pace, one file each; where numbers are missing among those of the files, so are frames."""

    name: str
    files: tuple[Path, ...]
    factor: int

    def __len__(self) -> int:
        return max(0, len(self.files) - 1) // self.factor

    @property
    def notes(self) -> tuple[str, ...]:
        """As ``Clip.notes``."""
        gaps = missing(self.files)
        return (f"the numbers of the pictures leave out {gaps}; times go by the numbers",) if gaps else ()

    def windows(self) -> Iterator[Window]:
        from slomo_cli.evaluate.reading import read_picture

        times = numbers_of(self.files) if missing(self.files) else range(len(self.files))
        frames = ((Fraction(time), read_picture(path)) for time, path in zip(times, self.files, strict=True))
        yield from cut_windows(self.name, frames, self.factor)


class VideoClip:
    """A video, its frames timed by their own stamps."""

    def __init__(self, path: Path, factor: int, name: str | None = None) -> None:
        from slomo_cli.evaluate.reading import VideoPictures

        self.name = name or path.name
        self.factor = factor
        self.files: tuple[Path, ...] = (path,)
        self._pictures = VideoPictures(path)

    def __len__(self) -> int:
        return max(0, self._pictures.count - 1) // self.factor

    @property
    def notes(self) -> tuple[str, ...]:
        """As ``Clip.notes``."""
        return self._pictures.notes

    def windows(self) -> Iterator[Window]:
        yield from cut_windows(self.name, self._pictures, self.factor)


def cut_windows(name: str, frames: Iterable[tuple[Fraction, RGB]], factor: int) -> Iterator[Window]:
    """Every ``factor``-th frame is given, those between are the truth; what is left at the end is not used.

    ``frames``: (time, picture) in order of time, read one window ahead: a window knows the pictures given beside it.
    """
    windows = _cut(name, frames, factor)
    last: tuple[RGB, Fraction] | None = None
    here = next(windows, None)
    while here is not None:
        window, interval = here
        failure: InputError | None = None
        try:
            here = next(windows, None)
        except InputError as error:  # the clip is whole as far as this window
            here, failure = None, error
        before = None if last is None else (last[0], last[1] / interval)
        after = None if here is None else (here[0].second, here[1] / interval)
        yield replace(window, before=before, after=after)
        if failure is not None:
            raise failure
        last = window.first, interval


def _cut(name: str, frames: Iterable[tuple[Fraction, RGB]], factor: int) -> Iterator[tuple[Window, Fraction]]:
    """The windows, alone, and the time that each lasts."""
    held: list[tuple[Fraction, RGB]] = []
    start = 0
    for time, picture in frames:
        if held and time <= held[-1][0]:
            continue  # a stamp that repeats or runs backwards shows nothing a viewer would see
        held.append((time, picture))
        if len(held) > factor:
            yield _window(name, start, held), held[-1][0] - held[0][0]
            start += factor
            held = held[-1:]


def _window(name: str, start: int, frames: list[tuple[Fraction, RGB]]) -> Window:
    """A window of timed frames, first and last given; InputError where their sizes differ."""
    shape = frames[0][1].shape
    for place, (_, picture) in enumerate(frames):
        if picture.shape != shape:
            raise InputError(
                f"{printable(name)}: expected frames of one size, found {picture.shape[1]}x{picture.shape[0]} at frame "
                f"{start + place} after {shape[1]}x{shape[0]}"
            )
    (begin, first), (end, second) = frames[0], frames[-1]
    between = frames[1:-1]
    timesteps = tuple((time - begin) / (end - begin) for time, _ in between)
    return Window(name, start, first, second, tuple(picture for _, picture in between), timesteps)

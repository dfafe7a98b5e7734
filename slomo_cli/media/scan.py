"""Finds the picture's true times by walking over its packets; decodes only until the first picture appears.

What containers store is rounded (Matroska to milliseconds, MPEG-TS to 1/90000 s), missing (raw streams), shifted (edit
lists, packed AVI), or jumps (joined broadcasts). Here it becomes exact: seconds as fractions, relative to the first
picture that can be shown. Memory: 8 bytes a picture.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, overload

import av.error
import numpy as np

from slomo_cli.errors import InputError, printable
from slomo_cli.media.source import Picture, seconds
from slomo_cli.values import SourceTiming, VideoInfo

if TYPE_CHECKING:
    import numpy.typing as npt

    Ticks = npt.NDArray[np.int64]

BACKWARD_JUMP = Fraction(1, 4)
"""Seconds a stamp must go back to be a join of two recordings, not a badly stamped picture."""
FORWARD_JUMP = Fraction(10)
"""Seconds ahead that are a join too, in formats whose clock may jump; FFmpeg's own limit."""
JUMPING_FORMATS = frozenset({"mpegts", "mpeg"})

_COMMON_RATES = tuple(
    sorted(
        [
            Fraction(n)
            for n in (1, 2, 4, 5, 6, 8, 10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60, 72, 75, 90, 96, 100, 120, 144)
        ]
        + [Fraction(n) for n in (180, 200, 240, 250, 300, 360, 400, 480, 500, 600, 960, 1000)]
        + [Fraction(1000 * n, 1001) for n in (12, 15, 24, 30, 48, 60, 120, 240)]
        + [Fraction(15, 2), Fraction(25, 2)]
    )
)


class Stamps(Sequence[Fraction]):
    """Times of the pictures in seconds from the first, ascending; made one by one from 8-byte ticks."""

    def __init__(self, ticks: Ticks | range, time_base: Fraction, grid: Fraction | None) -> None:
        self._ticks = ticks
        self._time_base = time_base
        self._grid = grid

    def __len__(self) -> int:
        return len(self._ticks)

    @overload
    def __getitem__(self, index: int) -> Fraction: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Fraction]: ...
    def __getitem__(self, index: int | slice) -> Fraction | Sequence[Fraction]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return snapped(int(self._ticks[index]) - int(self._ticks[0]), self._time_base, self._grid)


def snapped(ticks: int, time_base: Fraction, grid: Fraction | None) -> Fraction:
    """Ticks after the first picture in seconds; on a grid, the grid's nearest point."""
    if grid is None:
        return ticks * time_base
    return int(ticks * time_base * grid + Fraction(1, 2)) / grid


@dataclass(frozen=True)
class Timing:
    """What ``scan`` found."""

    timing: SourceTiming
    stamps: Sequence[Fraction]
    """When each picture is shown, seconds from the first; as many as ``timing.frames_from_packets``."""
    warnings: tuple[str, ...] = field(default=())
    """One line each, for the user: the file ends early, stamps were mended."""


def scan(info: VideoInfo) -> Timing:
    """Walks over the packets of a probed file.

    Raises InputError when the file cannot be opened any more or no picture can be decoded.
    """
    shown = f"'{printable(os.fspath(info.path))}'"
    with Picture(info.path, stream_index=info.stream_index, threads=1) as picture:
        walk = _walk(picture, info)
        stream, time_base = picture.stream, picture.time_base
        header_rates = [Fraction(rate) for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
        own_length = seconds(stream.duration, time_base)
    if not walk.decoded:
        raise InputError(f"{shown} has a video stream in which no picture can be decoded: the file is damaged")
    if info.rate_from_header is not None:
        header_rates.insert(0, info.rate_from_header)
    if 2 * len(walk.ticks) < walk.packets:
        return _unstamped(walk, header_rates)
    return _stamped(walk, info, header_rates, time_base, own_length)


@dataclass
class _Walk:
    """What was met on the way through the packets."""

    ticks: array[int] = field(default_factory=lambda: array("q"))
    joins: list[int] = field(default_factory=list)
    """Indices into ``ticks`` where a new recording begins."""
    packets: int = 0
    """Packets whose picture will be shown."""
    hidden: int = 0
    """Packets that an edit list hides."""
    decoded: bool = False
    first_shown: int | None = None
    """Stamp of the first picture that decodes."""
    last_duration: int = 0
    latest: int | None = None
    packet_duration: int = 0
    furthest: Fraction = Fraction(0)
    """The latest end of any stream, seconds on the container's clock; only where all streams were read."""
    failure: str = ""


def _walk(picture: Picture, info: VideoInfo) -> _Walk:
    """Reads every packet once and decodes until the first picture comes out."""
    walk = _Walk()
    stream, time_base = picture.stream, picture.time_base
    back = BACKWARD_JUMP / time_base
    ahead = FORWARD_JUMP / time_base if info.container in JUMPING_FORMATS else None
    # Where only the container declares a length, that length may be the sound's: then every stream's end counts.
    whole = _own_length_unknown(info, picture) and len(picture.container.streams) > 1
    previous: int | None = None
    draining = False
    try:
        for packet in picture.container.demux() if whole else picture.container.demux(stream):
            if whole and packet.size:
                end = seconds((packet.pts or packet.dts or 0) + (packet.duration or 0), packet.time_base)
                walk.furthest = max(walk.furthest, end or Fraction(0))
            if packet.stream_index != stream.index or not packet.size:
                continue
            if not walk.decoded:
                _try_first(walk, picture, packet)
            if packet.is_discard:
                walk.hidden += 1
                continue
            walk.packets += 1
            walk.packet_duration = walk.packet_duration or packet.duration or 0
            order = packet.dts if packet.dts is not None else packet.pts
            if order is not None:
                if previous is not None and (
                    order < previous - back or (ahead is not None and order > previous + ahead)
                ):
                    walk.joins.append(len(walk.ticks))
                    walk.latest = None
                previous = order
            if packet.pts is None:
                continue
            walk.ticks.append(packet.pts)
            if walk.latest is None or packet.pts > walk.latest:
                walk.latest, walk.last_duration = packet.pts, packet.duration or 0
    except av.error.FFmpegError as error:
        walk.failure = printable(error.strerror or error)
    if not walk.decoded and not draining:
        _try_first(walk, picture, None)
    return walk


def _try_first(walk: _Walk, picture: Picture, packet: object) -> None:
    """Feeds the decoder as long as nothing has come out of it."""
    try:
        frames = picture.decode(packet)  # type: ignore[arg-type]
    except av.error.FFmpegError:
        return
    if frames:
        walk.decoded = True
        walk.first_shown = frames[0].pts


def _own_length_unknown(info: VideoInfo, picture: Picture) -> bool:
    return picture.stream.duration is None and "DURATION" not in dict(info.picture_metadata)


def _unstamped(walk: _Walk, header_rates: list[Fraction]) -> Timing:
    """A raw stream: pictures follow each other at the rate its headers name, or the demuxer assumes."""
    rate = header_rates[0] if header_rates else Fraction(25)
    timing = SourceTiming(walk.packets, Fraction(0), walk.packets / rate, rate, rate, grid=rate, stamped=False)
    warning = f"the source carries no time stamps; its pictures are taken to come at {_rate_text(rate)} per second"
    return Timing(timing, Stamps(range(walk.packets), 1 / rate, None), (warning,))


def _stamped(
    walk: _Walk, info: VideoInfo, header_rates: list[Fraction], time_base: Fraction, own_length: Fraction | None
) -> Timing:
    warnings = []
    ticks = np.frombuffer(walk.ticks, np.int64)
    if walk.first_shown is not None:
        ends = walk.joins[0] if walk.joins else len(ticks)
        ticks = np.concatenate([ticks[:ends][ticks[:ends] >= walk.first_shown], ticks[ends:]]) if ends else ticks
        walk.joins = [join - (len(walk.ticks) - len(ticks)) for join in walk.joins]
    parts = [_ascending(part) for part in np.split(ticks, walk.joins)]
    parts = [part for part in parts if len(part)]
    nominal: Fraction | None = None
    if len(parts) > 1:
        nominal = _pace(np.concatenate([np.diff(part) for part in parts]), time_base, header_rates)
        parts = _joined(parts, round(1 / (nominal * time_base)))
        warnings.append("the time stamps jump where recordings were joined; the parts were set one after another")
    ticks = _ascending(np.concatenate(parts))
    dropped = sum(len(part) for part in parts) - len(ticks)
    if dropped:
        warnings.append(f"{dropped} pictures repeat the time stamp of another and are left out")
    grid, constant = find_grid(ticks, time_base, header_rates, walk.packet_duration)
    rate = grid if constant else None
    nominal = nominal or rate or grid or _pace(np.diff(ticks), time_base, header_rates)
    length = snapped(int(ticks[-1] - ticks[0]), time_base, grid) + _last_length(
        walk.last_duration, time_base, grid, nominal
    )
    timing = SourceTiming(
        frames_from_packets=len(ticks),
        first_seconds=int(ticks[0]) * time_base,
        duration=length,
        rate=rate,
        nominal_rate=nominal,
        grid=grid,
        continuous=len(parts) == 1,
    )
    warnings += _shortfall(walk, info, timing, own_length)
    return Timing(timing, Stamps(ticks, time_base, grid), tuple(warnings))


def _ascending(ticks: Ticks) -> Ticks:
    """Sorted, each value once."""
    ticks = np.sort(ticks)
    keep = np.ones(len(ticks), bool)
    keep[1:] = ticks[1:] != ticks[:-1]
    return ticks if keep.all() else ticks[keep]


def _joined(parts: list[Ticks], interval: int) -> list[Ticks]:
    """Parts moved so that each begins one interval after the last picture of the one before."""
    moved = [parts[0]]
    for part in parts[1:]:
        moved.append(part - part[0] + moved[-1][-1] + interval)
    return moved


def find_grid(
    ticks: Ticks, time_base: Fraction, header_rates: Sequence[Fraction], packet_duration: int = 0
) -> tuple[Fraction | None, bool]:
    """The rate on whose grid all stamps lie, up to the container's rounding, and whether every point of it is taken.

    A stamp lies on the grid when it is less than one tick from it (both ends of a difference are rounded, by up to half
    a tick each).
    Returns (None, False) where no grid explains the stamps. A single picture is constant at its own duration.
    """
    if len(ticks) < 2:
        for rate in header_rates:
            return rate, True
        return (Fraction(1) / (packet_duration * time_base), True) if packet_duration else (None, False)
    steps = np.diff(ticks)
    span = int(ticks[-1] - ticks[0])
    candidates = []
    even = Fraction(1) / (int(steps[0]) * time_base) if (steps == steps[0]).all() else None
    usual = [rate for rate in header_rates if rate.denominator in (1, 2, 1001)]
    mean = Fraction(len(steps)) / (span * time_base)
    whole = max(Fraction(round(mean)), Fraction(1))
    ntsc = max(Fraction(round(mean * 1001 / 1000)), Fraction(1)) * Fraction(1000, 1001)
    if even is not None and even.denominator in (1, 2, 1001):
        candidates.append(even)
    candidates += usual
    if even is not None:
        candidates.append(even)
    candidates += sorted((whole, ntsc), key=lambda rate: abs(rate - mean))
    candidates += [*header_rates, mean.limit_denominator(1001)]
    best: Fraction | None = None
    for rate in dict.fromkeys(candidates):
        found = _fit(ticks, time_base, rate)
        if found is None:
            continue
        if (found == 1).all():
            return rate, True
        # With gaps a coarse clock proves nothing: ask for a fine one, and for enough pictures on neighbouring points.
        fine = Fraction(1) / (rate * time_base) >= 8
        if best is None and fine and 10 * int((found == 1).sum()) >= len(found):
            best = rate
    return best, False


def _fit(ticks: Ticks, time_base: Fraction, rate: Fraction) -> Ticks | None:
    """Grid steps between neighbouring pictures, or None when some stamp is off the grid or two share a point."""
    step = Fraction(1) / (rate * time_base)
    across, down = step.numerator, step.denominator
    span = int(ticks[-1] - ticks[0])
    if step < 1 or 2 * span * down + across >= 1 << 62:
        return None
    from_first = (ticks - ticks[0]) * down
    points = (2 * from_first + across) // (2 * across)
    error = np.abs(from_first - points * across)
    # On a clock about as coarse as the grid "less than a tick" would hold for anything: ask for exactness.
    if int(error.max()) >= (down if step > 2 else 1):
        return None
    found = np.diff(points)
    return found if (found >= 1).all() else None


def _pace(steps: Ticks, time_base: Fraction, header_rates: Sequence[Fraction]) -> Fraction:
    """The usual rate nearest to the middle one of the intervals; what a variable-rate source is called."""
    if not len(steps):
        return header_rates[0] if header_rates else Fraction(25)
    middle = Fraction(1) / (int(np.sort(steps)[len(steps) // 2]) * time_base)
    near = min(_COMMON_RATES, key=lambda rate: abs(rate - middle))
    if abs(near - middle) <= middle / 40:
        return near
    return max(middle.limit_denominator(1001), Fraction(1, 100))


def _last_length(duration: int, time_base: Fraction, grid: Fraction | None, nominal: Fraction) -> Fraction:
    """How long the last picture stands: its packet's duration, or one nominal interval where that says nothing."""
    stored = duration * time_base
    if stored < 1 / nominal / 10:
        return 1 / nominal
    if grid is not None:
        points = round(stored * grid)
        if points >= 1 and abs(stored - points / grid) <= time_base:
            return points / grid
    return stored


def _shortfall(walk: _Walk, info: VideoInfo, timing: SourceTiming, own_length: Fraction | None) -> list[str]:
    """A line when the file ends well before its header says it should, or reading failed."""
    if walk.failure:
        return [f"reading the source stopped after {float(timing.duration):.2f} s ({walk.failure}); the rest is lost"]
    declared = info.duration_from_header
    # An edit list hides part of what the declared length counts, and joins replace the clock it was measured on.
    if declared is None or walk.hidden or not timing.continuous or walk.packets < 2:
        return []
    reached = timing.duration
    if own_length is None and walk.furthest:
        reached = max(reached, walk.furthest - min(info.container_start_seconds, timing.first_seconds))
    missing = declared - reached
    if missing > max(Fraction(1, 4), 3 / timing.nominal_rate, declared / 100):
        return [
            f"the source ends at {float(reached):.2f} s of the {float(declared):.2f} s its header names: "
            "an incomplete file? Only what is there is used"
        ]
    return []


def _rate_text(rate: Fraction) -> str:
    return str(rate) if rate.denominator != 1 else str(rate.numerator)

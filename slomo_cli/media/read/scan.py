"""Finds the picture's true times by walking over its packets; more is decoded than the first picture only where the
order of the pictures is not told, until it is met.

What containers store is rounded, missing (raw streams), shifted (edit lists, packed AVI), or jumps (joined broadcasts).
Here it becomes exact: seconds as fractions, relative to the first picture that can be shown.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING

import av.error
import numpy as np

from slomo_cli.errors import InputError, printable
from slomo_cli.media.clocks import MOST_REORDERED
from slomo_cli.media.matroska import is_ordered
from slomo_cli.media.names import missing
from slomo_cli.media.read.edits import begun_before, odd_edits, only_edit
from slomo_cli.media.read.grid import (
    Grid,
    Stamps,
    ascending,
    even_but_first,
    film_grid,
    find_grid,
    joined,
    last_length,
    pace,
    rate_of_lengths,
    snapped,
)
from slomo_cli.media.read.sequence import DEFAULT_RATE, ImageSequence, open_picture
from slomo_cli.media.read.source import RAW_STREAMS, header_rates
from slomo_cli.media.read.walk import Walk
from slomo_cli.text import counted
from slomo_cli.values import SourceTiming, VideoInfo

if TYPE_CHECKING:
    from slomo_cli.media.read.grid import Ticks

_TIMED_BY_HAND = ("gif", "apng", "webp_anim")
"""Codecs of pictures whose lengths their makers choose one by one."""
_OPENING = 64
"""Pictures among which, where some are stored out of order, that is met."""
_TAIL_BYTES = 1 << 20
"""So much may follow the last picture of a broadcast unsaid: sound that was sent after it."""


@dataclass(frozen=True)
class Scanned:
    """What ``scan`` found."""

    timing: SourceTiming
    stamps: Sequence[Fraction]
    """When each picture is shown, seconds from the first; as many as ``timing.frames_from_packets``."""
    warnings: tuple[str, ...] = field(default=())
    """One line each, for the user: the file ends early, stamps were mended."""


def scan(info: VideoInfo, rate: Fraction | None = None) -> Scanned:
    """Walks over the packets of a probed file.

    rate: pictures per second for sources that carry no stamps (raw streams, picture sequences); None takes what their
    headers or FFmpeg's demuxer say. Raises InputError when the file cannot be opened any more or no picture decodes.
    """
    with open_picture(info.path, stream_index=info.stream_index, threads=1) as picture:
        if isinstance(picture, ImageSequence):
            found = _unstamped(len(picture.files), rate, info, 1 / picture.time_base, stamped=True)
            gaps = missing(picture.files)
            skipped = (f"the numbers of the pictures leave out {gaps}; the others follow each other evenly",)
            return replace(found, warnings=(*found.warnings, *(skipped if gaps else ())))
        walk = Walk(picture, info)
        walk.run()
        rates = header_rates(picture.stream)
    if not walk.pictures_seen or not walk.packets:
        shown = f"'{printable(os.fspath(info.path))}'"
        raise InputError(f"{shown} has a video stream in which no picture can be decoded: the file is damaged")
    if info.rate_from_header is not None:
        rates.insert(0, info.rate_from_header)
    # Raw MPEG-2 may say of pictures that they stand longer (3:2 pulldown).
    raw = info.container in RAW_STREAMS and (info.container != "mpegvideo" or walk.is_even)
    # Stills one after another in a file, as cameras write JPEGs, have their stamps of libav too.
    raw = raw or (info.is_of_stills and walk.packets > 1)
    made_up = raw or walk.stamps_are_counters()
    if 2 * len(walk.ticks) < walk.packets or made_up:
        return _unstamped(walk.packets, rate, info, next(iter(rates), DEFAULT_RATE), stamped=False)
    found = _stamped(walk, info, rates)
    if info.codec == "apng":
        found = _with_even_lengths(found, walk)
    if rate is not None:
        kept = "the source has times of its own and keeps them; an input rate is for pictures and streams without any"
        found = replace(found, warnings=(*found.warnings, kept))
    return found


def _unstamped(count: int, asked: Fraction | None, info: VideoInfo, assumed: Fraction, *, stamped: bool) -> Scanned:
    """A raw stream or a sequence: pictures follow each other at the rate the user asks, or else the assumed."""
    rate = asked or assumed
    timing = SourceTiming(count, Fraction(0), count / rate, rate, rate, grid=rate, stamped=stamped)
    warnings: tuple[str, ...] = ()
    if asked is None and not info.rate_is_nominal:
        warnings = (
            f"the source does not say how fast it runs; its pictures are taken to come at {rate} per second: "
            "--input-rate of convert and fps says otherwise",
        )
    return Scanned(timing, Stamps(range(count), 1 / rate, None), warnings)


def _stamped(walk: Walk, info: VideoInfo, rates: list[Fraction]) -> Scanned:
    """A source with stamps: its recordings one after another, their pictures on one grid where there is one."""
    time_base = walk.time_base
    warnings: list[str] = []
    parts = [ascending(part) for part in np.split(np.frombuffer(walk.ticks, np.int64), walk.joins) if len(part)]
    continuous = len(parts) == 1
    earliest = int(parts[0][0])
    parts[0] = _from_first_seen(parts[0], walk.pictures_seen[0], warnings)
    usual = pace(np.concatenate([np.diff(part) for part in parts]), time_base, rates)
    ticks = ascending(np.concatenate(joined(parts, round(1 / (usual * time_base)))))
    if not continuous:
        warnings.append("the time stamps jump where recordings were joined; the parts were set one after another")
    elif repeated := len(walk.ticks) - len(np.unique(np.frombuffer(walk.ticks, np.int64))):
        warnings.append(f"{counted(repeated, 'picture')} left out: the time stamp is that of another")

    grid = find_grid(ticks, time_base, rates, walk.packet_duration)
    if grid is None and continuous and info.codec not in _TIMED_BY_HAND:
        grid = even_but_first(ticks, time_base, rates)
    grid = grid or film_grid(ticks, time_base)
    first_moved = grid.first_moved if grid else 0
    ticks[0] += first_moved
    warnings += _moved(grid, first_moved * time_base)

    nominal = grid.rate if grid and continuous else usual
    stamps_late = _stamps_late(walk, info, nominal)
    points = grid.rate if grid else None
    timing = SourceTiming(
        frames_from_packets=len(ticks),
        first_seconds=int(ticks[0]) * time_base + stamps_late,
        duration=snapped(int(ticks[-1] - ticks[0]), time_base, points) + _last_length(walk, info, ticks, grid, nominal),
        rate=points if grid and grid.constant else None,
        nominal_rate=nominal,
        grid=points,
        continuous=continuous,
        by_number=walk.by_decoding or (walk.order_is_untold and _comes_out_of_order(info, walk.strays)),
        first_moved=first_moved * time_base,
        stamps_late=stamps_late,
        sounds=walk.sounds(continuous),
        strays=tuple(walk.strays.items()),
        jolts=tuple(walk.jolts),
    )
    warnings += _shortfall(walk, info, timing, (int(ticks[0]) - earliest) * time_base)
    warnings += _odd_edits(info)
    if walk.strays:
        count = counted(len(walk.strays), "time stamp")
        warnings.append(f"{count} left out: far from those around, at whose pace the pictures are shown")
    return Scanned(timing, Stamps(ticks, time_base, points), tuple(warnings))


def _from_first_seen(part: Ticks, seen: int | None, warnings: list[str]) -> Ticks:
    """The first recording without the pictures before the first that decodes."""
    lost = 0 if seen is None else int((part < seen).sum())
    if not 0 < lost < len(part):
        return part
    which, after = ("picture leans", "it") if lost == 1 else (f"{lost} pictures lean", "them")
    warnings.append(f"the first {which} on others that are missing or damaged; the film begins after {after}")
    return part[lost:]


def _moved(grid: Grid | None, first: Fraction) -> list[str]:
    """A line where pictures were moved to lie on the grid; ``first``: seconds by which the first one was."""
    if grid and first:
        evenly = f"evenly, at {float(grid.rate):.5g} per second{'' if grid.constant else ' with gaps'}"
        way = f"{abs(float(first)):.3f} s {'later' if first > 0 else 'earlier'}"
        return [f"the first picture's time does not fit the others, which come {evenly}: it is taken to come {way}"]
    if grid and grid.is_film:
        return [
            "the source is film shown for two and three fields in turn (3:2 pulldown): its pictures are taken to come "
            f"evenly, at {float(grid.rate):.5g} per second"
        ]
    return []


def _last_length(walk: Walk, info: VideoInfo, ticks: Ticks, grid: Grid | None, nominal: Fraction) -> Fraction:
    """Seconds the last picture stands."""
    if grid and grid.is_film:
        return 1 / grid.rate
    without_word = grid and grid.constant and walk.lasts_are_of_fields(grid.rate)
    told = 0 if without_word else walk.latest_end - (walk.latest or 0)
    points = grid.rate if grid else None
    return last_length(_told_by_edit(walk, info, points) or told, ticks, walk.time_base, points, nominal)


def _with_even_lengths(found: Scanned, walk: Walk) -> Scanned:
    """Pictures that are shown equally long come evenly, whatever their rounded lengths add up to."""
    ticks = ascending(np.frombuffer(walk.ticks, np.int64))
    rate = rate_of_lengths(ticks, walk.time_base)
    if rate is None:
        return found
    last = last_length(walk.latest_end - int(ticks[-1]), ticks, walk.time_base, rate, rate)
    duration = (len(ticks) - 1) / rate + last
    timing = replace(found.timing, duration=duration, rate=rate, nominal_rate=rate, grid=rate, stamped=False)
    return replace(found, timing=timing, stamps=Stamps(range(len(ticks)), 1 / rate, None))


def _stamps_late(walk: Walk, info: VideoInfo, nominal: Fraction) -> Fraction:
    """As in ``SourceTiming``."""
    if info.container == "asf" and walk.by_decoding and 1 < walk.ahead <= MOST_REORDERED:
        # libav shifts stamps of decoding by one picture, whatever the depth to which they are reordered.
        return (walk.ahead - 1) / nominal
    if "mov" in info.container and walk.hidden and not walk.joins:
        opening = int(np.argmin(walk.ticks))
        begun = begun_before(info.path, info.stream_index, walk.places[opening])
        if begun is not None and 0 < (late := (begun - walk.ticks[opening]) * walk.time_base) < 1 / nominal:
            return late
    return Fraction(0)


def _told_by_edit(walk: Walk, info: VideoInfo, grid: Fraction | None) -> int:
    """How many ticks the last picture of MP4 and MOV stands by the edit list; 0 where that tells no more than packets.

    Packets there last until the next one is decoded: where the last picture is stored before others, no word on it. Of
    the last VP9 packet libav does not heed it.
    """
    if "mov" not in info.container or walk.joins or walk.packets != walk.promised:
        return 0
    edit = only_edit(info.path, info.stream_index)
    stored = np.frombuffer(walk.ticks, np.int64)
    is_last = stored.argmax() == len(stored) - 1
    if edit is None or (is_last and abs(edit.end - (info.duration_from_header or 0)) > 2 * edit.tick):
        return 0
    time_base, latest = walk.time_base, int(stored.max())
    longer = edit.end - walk.latest_end * time_base
    # Some writers count what the edit leaves out at the beginning; of a copy, ffmpeg takes the packets' words for it.
    says_no_more = -2 * edit.tick <= longer <= edit.first * time_base + 2 * edit.tick
    if says_no_more or abs(edit.end - walk.furthest) <= 2 * edit.tick or edit.end <= latest * time_base:
        return 0
    lasts = edit.end - latest * time_base
    if grid and (points := round(lasts * grid)) and abs(points / grid - lasts) <= 2 * edit.tick:
        lasts = points / grid
    return round(lasts / time_base)


def _comes_out_of_order(info: VideoInfo, strays: dict[tuple[int, int], int]) -> bool:
    """Whether decoding turns the stamps of the first pictures about."""
    latest: int | None = None
    with open_picture(info.path, stream_index=info.stream_index, threads=1, strays=strays) as picture:
        for packet in islice(picture.packets(), _OPENING):
            with contextlib.suppress(av.error.FFmpegError):
                for frame in picture.decode(packet):
                    if latest is not None and frame.pts is not None and frame.pts < latest:
                        return True
                    latest = frame.pts
    return False


def _odd_edits(info: VideoInfo) -> list[str]:
    """Lines where the file wants parts played slower, faster, as a still, not at all or in another order, which libav
    does not."""
    if "matroska" in info.container and info.chapters and is_ordered(info.path):
        return [
            "the source's chapters tell which parts are played, and in which order (Matroska's ordered chapters); all "
            "of it is taken, as it is stored"
        ]
    if "mov" not in info.container:
        return []
    lines = []
    odd = odd_edits(info.path)
    if odd.speeds:
        ways = [f"at {float(speed):.4g} times their speed" if speed else "as a still" for speed in odd.speeds]
        lines.append(
            f"the source's edit list plays parts {' and '.join(ways)}; they are taken at normal speed: their times may "
            "be wrong"
        )
    if odd.pauses:
        lines.append(
            "the source's edit list holds pauses in which nothing is shown or heard; they are filled with its beginning"
        )
    return lines


def _shortfall(walk: Walk, info: VideoInfo, timing: SourceTiming, lead: Fraction) -> list[str]:
    """A line when the file ends well before its header says it should, or reading failed.

    lead: seconds of pictures at the beginning that cannot be shown but count in the header's length.
    """
    if walk.failure:
        return [f"reading the source stopped after {float(timing.duration):.2f} s ({walk.failure}); the rest is lost"]
    if info.container == "mpegts":
        size = os.stat(info.path).st_size if info.path.is_file() else 0
        last = max(walk.places, default=0)
        if size - last > max(_TAIL_BYTES, size / 10):
            return [
                f"the last picture lies at {100 * last // size} % of the file: what follows is sound, or "
                "belongs to other tracks, and is not read"
            ]
    declared = info.duration_from_header
    # An edit list hides part of what the declared length counts, and joins replace the clock it was measured on.
    if declared is None or walk.hidden or not timing.continuous:
        return []
    reached = timing.duration + lead
    if "mov" in info.container:
        reached = max(reached, walk.decoded * walk.time_base)
    if walk.furthest:
        reached = max(reached, walk.furthest - min(info.container_start_seconds, timing.first_seconds))
    if declared - reached > max(Fraction(1, 4), 3 / timing.nominal_rate, declared / 100):
        return [
            f"the source ends at {float(reached):.2f} s of the {float(declared):.2f} s its header names: "
            "an incomplete file? Only what is there is used"
        ]
    return []

"""One pair of a video and what slomo makes of it, on a sheet: pictures, in-between pictures, flows, visibility."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slomo_cli.errors import InputError, UsageError, printable
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import Scanned, scan
from slomo_cli.media.read.view import View, view_of
from slomo_cli.pairs import Pair, around, pairs
from slomo_cli.picture import RGB, Tile, flow_to_rgb, gray_to_rgb, sheet
from slomo_cli.text import decimal
from slomo_cli.values import ComputeSettings, Frame, TimeSettings, VideoInfo

if TYPE_CHECKING:
    from slomo_cli.interpolate import Interpolator, MotionMaps

_SHEET_WIDTH = 1920
_TILE_WIDTHS = (160, 640)
_TILE_HEIGHT = 640


@dataclass(frozen=True, slots=True)
class Place:
    """A pair, and what was found around it."""

    pair: Pair
    number: int
    """Of the left picture, counted from 0."""
    cuts_nearby: tuple[Fraction, ...]
    """Times of the first pictures of other scenes, some pictures before or after."""
    before: Pair | None = None
    """The pair before this one."""
    after: Pair | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A sheet to look at, and the same facts as lines of text."""

    picture: RGB
    lines: tuple[str, ...]
    place: Place


def preview(
    source: str | os.PathLike[str],
    at: Fraction,
    *,
    frames: int = 3,
    time: TimeSettings | None = None,
    compute: ComputeSettings | None = None,
) -> Preview:
    """Draw the pair of pictures shown at and after ``at`` seconds, with ``frames`` pictures between them.

    Upright and with square samples. ``time`` says how cuts, repeated pictures and fields are treated, as for a
    conversion. Raises UsageError for a time outside the film, InputError for a source without two pictures that differ.
    """
    time, compute = time or TimeSettings(), compute or ComputeSettings()
    if frames < 1:
        raise UsageError(f"expected one in-between picture or more, found {frames}")
    info = probe(Path(source))
    scanned = scan(info, time.input_rate)
    place = find_place(info, scanned, at, time)
    pair = place.pair
    from slomo_cli.interpolate import Interpolator  # loads torch: not before there is something to draw

    with Interpolator(**asdict(compute)) as network:
        timesteps = [Fraction(k, frames + 1) for k in range(1, frames + 1)]
        beside = [pair.beside(other, scanned.timing) for other in (place.before, place.after)]
        made = network.frames(pair.left, pair.right, timesteps, *beside)
        motion = network.motion(pair.left, pair.right, timesteps, *beside)
        facts = (*_facts(info, scanned, at, place, motion, time), _network_line(network, info), *network.notes)
        facts += tuple(f"note: {line}" for line in scanned.warnings)
    low, high = _TILE_WIDTHS
    width = min(high, max(low, _SHEET_WIDTH // (frames + 2)))
    view = view_of(info, width=width, height=_TILE_HEIGHT, least=low)
    between = [Frame(planes, pair.left.layout, pair.left.color, Fraction(0)) for planes in made]
    rows = [_pictures_row(view, pair, between, timesteps), _motion_row(view, motion, timesteps)]
    lines = tuple(printable(line) for line in facts)
    return Preview(sheet(rows, "\n".join(lines), scale=1 if view.width < 240 else 2), lines, place)


def find_place(info: VideoInfo, scanned: Scanned, at: Fraction, time: TimeSettings) -> Place:
    """The last picture at or before ``at`` and the next that differs from it (the last two for a time at the end)."""
    stamps, duration = scanned.stamps, scanned.timing.duration
    if at < 0 or at >= max(duration, Fraction(1, 1000)):
        raise UsageError(
            f"expected a time from 0 to {float(duration):.3f} s, where the film is over already, found {float(at):g}"
        )
    index = max(0, bisect_right(stamps, at) - 1)
    start, end = around(stamps, stamps[index], stamps[min(len(stamps) - 1, index + 1)])
    found: tuple[Pair | None, Pair, Pair | None] | None = None
    cuts: list[Fraction] = []
    for before, pair, after in _with_neighbours(pairs(info, scanned.timing, time, start, end)):
        if pair.cut:
            cuts.append(pair.right.pts_seconds)
        if found is None or pair.left.pts_seconds <= at:
            found = before, pair, after
    if found is None and len(stamps) == 1:
        raise InputError(
            f"expected two pictures or more in '{printable(info.path)}', found one: `slomo between` takes two of such"
        )
    if found is None:
        raise InputError(f"expected two pictures that differ around {float(at):g} s, found one: try another --at")
    before, pair, after = found
    number = max(0, bisect_right(stamps, pair.left.pts_seconds) - 1)
    nearby = tuple(moment for moment in cuts if moment != pair.right.pts_seconds)
    return Place(pair, number, nearby, before, after)


def _with_neighbours(found: Iterable[Pair]) -> Iterator[tuple[Pair | None, Pair, Pair | None]]:
    """Each pair, between those before and after it."""
    before: Pair | None = None
    here: Pair | None = None
    for after in chain(found, (None,)):
        if here is not None:
            yield before, here, after
        before, here = here, after


# ----------------------------------------------------------------------------------------------------- the words


def _facts(
    info: VideoInfo, scanned: Scanned, at: Fraction, place: Place, motion: MotionMaps, time: TimeSettings
) -> list[str]:
    pair, rate = place.pair, scanned.timing.rate
    paced = f"{decimal(rate)} fps" if rate else f"about {decimal(scanned.timing.nominal_rate)} fps, varying"
    left, right = float(pair.left.pts_seconds), float(pair.right.pts_seconds)
    lines = [
        f"{info.path.absolute().name}: {info.width}x{info.height}, {paced}; at {float(at):.3f} s",
        f"pair: picture {place.number} at {left:.3f} s and the next at {right:.3f} s",
        _motion_line(motion),
    ]
    if pair.still:
        lines.append("still: both pictures are the same; a conversion shows the first throughout")
    if pair.cut:
        held = {"hold": "the nearer picture is shown", "blend": "they are cross-faded"}.get(time.cuts, "")
        lines.append(f"cut: the scene changes between them; in a conversion {held}, not the pictures drawn here")
    else:
        lines.append("cut: not looked for" if time.cuts == "off" else "cut: none between them")
    if place.cuts_nearby:
        lines.append(f"cuts nearby: at {', '.join(f'{float(moment):.3f}' for moment in place.cuts_nearby)} s")
    if pair.repeats:
        count, times = len(pair.repeats), ", ".join(f"{float(moment):.3f}" for moment in pair.repeats)
        what = "a repeat of the first lies" if count == 1 else f"{count} repeats of the first lie"
        lines.append(f"repeats: {what} between them, at {times} s; a conversion replaces them by motion")
    else:
        lines.append("repeats: not looked for" if time.duplicates == "keep" else "repeats: none between them")
    if info.color.is_hdr:
        lines.append("colours: HDR, shown without tone mapping")
    return lines


def _motion_line(motion: MotionMaps) -> str:
    lengths = np.hypot(motion.flow_01[..., 0], motion.flow_01[..., 1])
    middle, fast, longest = (float(v) for v in np.percentile(lengths, (50, 95, 100)))
    return f"motion in pixels of the source: median {middle:.1f}, 95 of 100 below {fast:.1f}, longest {longest:.1f}"


def _network_line(network: Interpolator, info: VideoInfo) -> str:
    scale = network.proxy_scale(info.width, info.height)
    size = f"{scale.of(info.width)}x{scale.of(info.height)}"
    return f"network: {network.weights_name}, sees {size}, on {network.describe()}"


# -------------------------------------------------------------------------------------------------- the pictures


def _pictures_row(view: View, pair: Pair, between: list[Frame], timesteps: list[Fraction]) -> list[Tile]:
    tiles = [Tile(view.picture(pair.left), f"{float(pair.left.pts_seconds):.3f} s")]
    tiles += [Tile(view.picture(frame), f"t = {t}") for frame, t in zip(between, timesteps, strict=True)]
    return [*tiles, Tile(view.picture(pair.right), f"{float(pair.right.pts_seconds):.3f} s")]


def _motion_row(view: View, motion: MotionMaps, timesteps: list[Fraction]) -> list[Tile]:
    flows = [motion.flow_01, motion.flow_10]
    # One scale for both, so that equal motion has equal colour.
    lengths = np.concatenate([np.hypot(flow[::4, ::4, 0], flow[::4, ::4, 1]).ravel() for flow in flows])
    largest = max(1.0, float(np.percentile(lengths, 99.5)))
    there, back = (_with_key(view.drawing(flow_to_rgb(view.flow(flow), largest))) for flow in flows)
    seen = [
        Tile(view.drawing(gray_to_rgb(map_)), f"visibility {t}, white: left")
        for map_, t in zip(motion.visibility, timesteps, strict=True)
    ]
    return [Tile(there, f"flow ->, full at {largest:.0f} px"), *seen, Tile(back, "flow <-")]


def _with_key(drawing: RGB) -> RGB:
    """The drawing with the circle of directions in its lower left corner: motion to the right has the colour there."""
    radius = min(drawing.shape[:2]) // 8
    if radius < 6:
        return drawing
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    inside = np.hypot(x, y) <= radius
    corner = drawing[-2 * radius - 3 : -2, 2 : 2 * radius + 3]
    corner[inside] = flow_to_rgb(np.stack((x, y), axis=-1), radius)[inside]
    edge = np.abs(np.hypot(x, y) - radius) < 0.7
    corner[edge] = 0
    return drawing

"""Still pictures: read one, and make two of them alike (size, layout, colours, way up) so that they form a pair."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.reformatter import VideoReformatter

from slomo_cli.errors import InputError, UsageError, printable
from slomo_cli.media.formats import assumed_matrix
from slomo_cli.media.orientation import Orientation, orientation_of
from slomo_cli.media.pixels import copy_planes, layout_of
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.read.view import BICUBIC, EXACT, to_libav
from slomo_cli.values import ColorInfo, Frame, PixelLayout, VideoInfo

if TYPE_CHECKING:
    from slomo_cli.values import Plane


@dataclass(frozen=True, slots=True)
class Still:
    """One picture from a file of its own."""

    info: VideoInfo
    frame: Frame


def read_still(path: str | os.PathLike[str]) -> Still:
    """The picture in a file. Raises InputError when there is none, UsageError when there are several."""
    info = probe(Path(path))
    found = scan(info)
    count = found.timing.frames_from_packets
    if count > 1:
        raise UsageError(
            f"expected a still picture in '{printable(os.fspath(path))}', found {count} pictures: "
            "a video is made slower with `slomo convert`"
        )
    with Decoder(info, found.timing, threads=1) as decoder:
        for frame in decoder:
            return Still(info, frame)
    raise InputError(f"'{printable(os.fspath(path))}': no picture in it can be decoded; the file is damaged")


def alike(first: Still, second: Still) -> tuple[Still, Still, tuple[str, ...]]:
    """Both pictures in one size, layout and way up, and one line for each thing that was changed.

    The size and the metadata are the first's. Pictures stored alike are left exactly as they are; else both become RGB,
    with alpha if one has it, at 16 bits a sample if one has more than 8.
    """
    notes = []
    turned = orientation_of(first.info.display_matrix) != orientation_of(second.info.display_matrix)
    same_colours = first.frame.layout == second.frame.layout and _reading(first) == _reading(second)
    if turned or not same_colours:
        layout = _common_rgb(first.frame.layout, second.frame.layout)
        if not same_colours:
            names = [still.frame.layout.name for still in (first, second)]
            found = "differ in their colours' range or matrix" if names[0] == names[1] else f"are {' and '.join(names)}"
            notes.append(f"the pictures {found}; both are brought to {layout.name}")
        first, second = (_as_rgb(still, layout) for still in (first, second))
    if turned:
        first, second = _upright(first), _upright(second)
    here, there = ((still.frame.width, still.frame.height) for still in (first, second))
    if here != there:
        notes.append(f"the second picture is {there[0]}x{there[1]} and is scaled to the first's {here[0]}x{here[1]}")
        second = Still(replace(second.info, width=here[0], height=here[1]), _scaled(second.frame, *here))
    return first, second, tuple(notes)


def _reading(still: Still) -> tuple[int, int]:
    """How samples become colours: range and matrix, 0 where a layout has none."""
    frame = still.frame
    matrix = assumed_matrix(frame.color, frame.height) if frame.layout.family == "yuv" else 0
    return 1 if frame.color.is_limited(frame.layout) else 2, matrix


def _common_rgb(a: PixelLayout, b: PixelLayout) -> PixelLayout:
    """Planar RGB that holds both without loss of depth or alpha."""
    name = "gbrap" if a.alpha or b.alpha else "gbrp"
    return layout_of(name if max(a.bits, b.bits) == 8 else f"{name}16le")


def _as_rgb(still: Still, layout: PixelLayout) -> Still:
    frame = still.frame
    color = ColorInfo(range=2, matrix=0, primaries=frame.color.primaries, transfer=frame.color.transfer)
    planes = [_deepened(plane, frame.layout.bits, layout.bits) for plane in _rgb_planes(frame)]
    if layout.alpha and len(planes) == 3:
        planes.append(np.full_like(planes[0], layout.peak))
    info = replace(still.info, layout=layout, pix_fmt=layout.name, color=color)
    return Still(info, Frame(tuple(planes), layout, color, frame.pts_seconds))


def _rgb_planes(frame: Frame) -> tuple[Plane, ...]:
    """G, B, R[, A] at the frame's own depth, of full range."""
    layout = frame.layout
    if layout.family == "rgb":
        return frame.planes
    if layout.family == "gray" and frame.color.range != 1:
        return frame.planes * 3
    depth = "" if layout.bits == 8 else f"{layout.bits}le"
    wanted = layout_of(("gbrap" if layout.alpha else "gbrp") + depth)
    picture = VideoReformatter().reformat(
        to_libav(frame), format=wanted.name, dst_color_range=2, interpolation=BICUBIC | EXACT
    )
    return copy_planes(picture, wanted)


def _deepened(plane: Plane, bits: int, wanted: int) -> Plane:
    """The samples on a finer scale, black on black and white on white, rounded to nearest."""
    if bits == wanted:
        return plane
    low, high = (1 << bits) - 1, (1 << wanted) - 1
    samples = plane.astype(np.uint64) * (2 * high) + low
    return (samples // (2 * low)).astype(np.uint16)


def _upright(still: Still) -> Still:
    """An RGB picture turned as its file says; the file's mark is then gone."""
    orientation = orientation_of(still.info.display_matrix)
    planes = tuple(_turned(plane, orientation) for plane in still.frame.planes)
    height, width = planes[0].shape
    aspect = still.info.sample_aspect
    info = replace(
        still.info,
        width=width,
        height=height,
        display_matrix=None,
        sample_aspect=1 / aspect if orientation.swaps_sides and aspect else aspect or Fraction(1),
    )
    return Still(info, replace(still.frame, planes=planes))


def _turned(plane: Plane, orientation: Orientation) -> Plane:
    samples: Any = np.rot90(plane, int(orientation.degrees) // 90 if orientation.is_right_angled else 0)
    turned: Plane = np.ascontiguousarray(samples[:, ::-1] if orientation.flipped else samples)
    return turned


def _scaled(frame: Frame, width: int, height: int) -> Frame:
    """The frame at another size, same layout and range."""
    source = to_libav(frame)
    picture = VideoReformatter().reformat(
        source, width, height, frame.layout.name, interpolation=BICUBIC | EXACT, dst_color_range=int(source.color_range)
    )
    return replace(frame, planes=copy_planes(picture, frame.layout))

"""A source and what slomo made of it in one picture, at the same moments, for showing to others.

The made video runs as it is. Beside it, or under it (wipe), stands what the source shows at the same moment: output
time t is source time ``time_map.source_at(t)`` of a plan with the same range and factor or speed curve as the
conversion had. Where no factor is given it is the made video's duration over that of the source's range.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil, cos, pi
from pathlib import Path
from typing import Literal

import numpy as np

from slomo_cli.errors import InputError, UsageError, printable
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.names import refuse_overwriting_inputs
from slomo_cli.media.plan.target import choose_target
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import Scanned, scan
from slomo_cli.media.read.view import View, view_of
from slomo_cli.media.tracks.carry import plan_carry
from slomo_cli.media.write.args import build_encode_args
from slomo_cli.media.write.encode import Encoder
from slomo_cli.media.write.place import left_over, refuse_existing
from slomo_cli.picture import RGB, text
from slomo_cli.progress import Progress, make_progress
from slomo_cli.text import decimal
from slomo_cli.timeline import make_plan
from slomo_cli.values import (
    ColorInfo,
    EncodeSettings,
    Frame,
    HdrInfo,
    PixelLayout,
    Summary,
    TimeSettings,
    VideoInfo,
)

Layout = Literal["side", "wipe"]
Method = Literal["repeat", "blend"]

DEFAULT_WIDTH = 1920
"""Pixels the picture is wide at most."""
_HEIGHT = 1080
_DIVIDER = 4
"""Width of the line between the halves, in pixels; even, as most encoders need even sizes."""
_LINE = 255
_WIPE_SECONDS = 6.0
"""Time of one way of the line from the left to the right and back."""
_WIPE_REACH = 0.9
"""Part of the width that the line travels."""
_PLANAR_RGB = PixelLayout("gbrp", "rgb", 8)


def compare(
    source: str | os.PathLike[str],
    made: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    *,
    layout: Layout = "side",
    method: Method = "repeat",
    factor: Fraction | None = None,
    time: TimeSettings | None = None,
    width: int = DEFAULT_WIDTH,
    encode: EncodeSettings | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write a clip that shows ``source`` (left) and ``made`` (right) at the same moments, with the sound of ``made``.

    ``layout`` "wipe" puts them on top of each other with a line that moves. ``method``: how the source fills the time
    between its pictures. ``factor``: how many times slower ``made`` is; None: the durations tell. ``time``: range and
    speed curve the conversion had. ``width``: of the whole, at most. Raises the family of :mod:`slomo_cli.errors`.
    """
    begun = clock.monotonic()
    time, encode = time or TimeSettings(), encode or EncodeSettings()
    progress = progress or make_progress("none", quiet=True)
    left_info, right_info = probe(Path(source)), probe(Path(made))
    left_scan, right_scan = scan(left_info, time.input_rate), scan(right_info, time.input_rate)
    plan = make_plan(right_scan.timing, TimeSettings(rate=right_scan.timing.nominal_rate))
    told = factor is not None or time.speed is not None
    if not told:
        factor = factor_between(left_scan, right_scan, time)
    time = TimeSettings(factor or Fraction(1), rate=plan.rate, start=time.start, end=time.end, speed=time.speed)
    times = make_plan(left_scan.timing, time)

    each = max(16, width // 2 - _DIVIDER // 2 if layout == "side" else width)
    right_view = view_of(right_info, width=each, height=_HEIGHT, even=True)
    left_view = replace(view_of(left_info), width=right_view.width, height=right_view.height)
    canvas = _Canvas(right_view.width, right_view.height, layout, plan.rate, _labels(method, time))
    ffmpeg = tools(encode.ffmpeg)
    drawn = _drawn_on(canvas, right_info)
    target = choose_target(output, drawn, encode, ffmpeg, plan.rate, frames=plan.frames)
    refuse_overwriting_inputs([target.path], (left_info.path, right_info.path), removed=target.temporary)
    refuse_existing(target, plan.frames)
    progress.start(plan.frames, f"{printable(left_info.path.name)} and {printable(right_info.path.name)}")
    with plan_carry(right_info, right_scan.timing, plan, target, encode, ffmpeg) as carry:
        args = build_encode_args(target, carry, ffmpeg.path, frames=plan.frames)
        films = ((left_info, left_scan), (right_info, right_scan))
        notes = [f"'{printable(info.path)}': {line}" for info, found in films for line in found.warnings]
        if not told and time.factor != 1:
            by = "by the two durations; --factor, --start and --end say otherwise"
            notes.append(f"taken as x{decimal(time.factor)} {by}")
        elif told and not notes:  # which say why a film ends early
            notes += _misfit(times.duration, plan.duration, plan.rate)
        if right_info.color.is_hdr:
            notes.append("HDR is shown without tone mapping")
        # That a picture drawn for showing loses chroma resolution is no news.
        notes += [line for line in target.warnings if "chroma resolution" not in line]
        notes += [*carry.notes, *carry.met, *left_over(target, plan.frames)]
        for note in notes:
            progress.note(note)
        with (
            _Film(left_info, left_scan, left_view, times.start, times.end) as left,
            _Film(right_info, right_scan, right_view) as right,
            Encoder(args, target, plan.frames, feeds=carry.feeds) as encoder,
        ):
            for k in range(plan.frames):
                moment = k / plan.rate
                place = times.time_map.source_at(min(moment, times.time_map.output_duration))
                encoder.write(_planes(canvas.drawn(k, left.at(place, method), right.at(moment, "repeat"))))
                progress.advance(1)
            encoder.finish()
            met = [*left.warnings, *right.warnings, *encoder.warnings]
            for note in met:
                progress.note(note)
            summary = Summary(
                source=left_info.path,
                output=target.path or Path("-"),
                frames_in=left.count,
                frames_out=plan.frames,
                frames_interpolated=0,
                duration_in=times.end - times.start,
                duration_out=plan.duration,
                rate_out=plan.rate,
                seconds=clock.monotonic() - begun,
                encoder=target.encoder,
                warnings=(*notes, *met),
            )
    progress.finish(summary)
    return summary


def _drawn_on(canvas: _Canvas, made: VideoInfo) -> VideoInfo:
    """What is written: the pictures of the canvas, with all that comes along with the made video."""
    return replace(
        made,
        width=canvas.width,
        height=canvas.height,
        layout=_PLANAR_RGB,
        pix_fmt=_PLANAR_RGB.name,
        color=ColorInfo(range=2, matrix=0),
        hdr=HdrInfo(),
        sample_aspect=Fraction(1),
        display_matrix=None,
        crop=(0, 0, 0, 0),
        picture_extras=(),
    )


def factor_between(source: Scanned, made: Scanned, time: TimeSettings) -> Fraction:
    """How many times slower ``made`` is than the range of ``source``; UsageError where it is faster.

    The durations' ratio; where a shorter number gives the same count of frames, that number: the last output frame may
    stand a little longer than its share.
    """
    part = make_plan(source.timing, TimeSettings(start=time.start, end=time.end))
    length = part.end - part.start
    ratio = made.timing.duration / length
    rate, frames = made.timing.rate, made.timing.frames_from_packets
    if rate is not None:
        for denominator in (1, 2, 4, 5, 8, 10, 100, 1000, 1001):
            short = Fraction(round(ratio * denominator), denominator)
            if short >= 1 and ceil(length * short * rate) == frames:
                return short
    if length - made.timing.duration > 1 / made.timing.nominal_rate:
        raise UsageError(
            f"expected the source first and the slower video second, found {float(length):.2f} s of source and "
            f"{float(made.timing.duration):.2f} s after it: swap them, or name the range with --start and --end"
        )
    return ratio


def _misfit(expected: Fraction, found: Fraction, rate: Fraction) -> tuple[str, ...]:
    """A note where the length that was told for is not the made video's; both in seconds, to two of its frames."""
    if abs(expected - found) <= 2 / rate:
        return ()
    return (
        f"--factor or --speed make {float(expected):.2f} s of this range of the source, but the slower video lasts "
        f"{float(found):.2f} s: the two sides drift apart; give what it was made with, --start and --end too",
    )


def _labels(method: Method, time: TimeSettings) -> tuple[str, str]:
    filled = {"repeat": "frames repeated", "blend": "frames blended"}[method]
    slower = "speed curve" if time.speed is not None else f"x{decimal(time.factor)}"
    return f"source, {filled}", f"slomo {slower}" if time.factor != 1 or time.speed else "slomo"


class _Film:
    """The pictures of one video, asked for at moments that never go back; a context manager."""

    def __init__(
        self, info: VideoInfo, scanned: Scanned, view: View, start: Fraction | None = None, end: Fraction | None = None
    ) -> None:
        self._decoder = Decoder(info, scanned.timing, start=start, end=end, deinterlace="auto")
        self._frames: Iterator[Frame] = iter(self._decoder)
        self._view = view
        self._name = printable(info.path)
        self._here: tuple[Fraction, RGB] | None = None
        self._next: Frame | None = None
        self._next_picture: RGB | None = None
        self.count = 0
        """Pictures shown so far."""

    def __enter__(self) -> _Film:
        self._next = next(self._frames, None)
        if self._next is None:
            raise InputError(f"'{self._name}': no picture in it can be decoded; the file is damaged")
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    @property
    def warnings(self) -> list[str]:
        """What was met on the way, one line each."""
        return [f"'{self._name}': {line}" for line in self._decoder.warnings]

    def at(self, moment: Fraction, method: Method) -> RGB:
        """What is shown at a moment (seconds from the first picture), or a cross-fade to the picture after it."""
        while self._next is not None and (self._here is None or self._next.pts_seconds <= moment):
            self._here = self._next.pts_seconds, self._following()
            self._next, self._next_picture = next(self._frames, None), None
            self.count += 1
        assert self._here is not None
        seconds, picture = self._here
        if method == "repeat" or self._next is None or moment <= seconds:
            return picture
        share = np.float32((moment - seconds) / (self._next.pts_seconds - seconds))
        mixed = (1 - share) * picture + share * self._following()
        return np.rint(mixed).astype(np.uint8)

    def _following(self) -> RGB:
        """The next frame as a picture, made once."""
        if self._next_picture is None:
            assert self._next is not None
            self._next_picture = self._view.picture(self._next)
        return self._next_picture


class _Canvas:
    """Puts two pictures of one size beside or over each other, a line between them and a label on each."""

    def __init__(self, width: int, height: int, layout: Layout, rate: Fraction, labels: tuple[str, str]) -> None:
        self._each = width
        self._layout = layout
        self._rate = rate
        self.width = 2 * width + _DIVIDER if layout == "side" else width
        self.height = height
        scale = 1 if height < 300 else 2 if height < 900 else 3
        self._labels = [_plate(label, scale, width) for label in labels]

    def drawn(self, k: int, left: RGB, right: RGB) -> RGB:
        """Output frame ``k``."""
        canvas: RGB = np.empty((self.height, self.width, 3), np.uint8)
        if self._layout == "side":
            line = self._each
            canvas[:, :line], canvas[:, line + _DIVIDER :] = left, right
        else:
            turns = float(k / self._rate) / _WIPE_SECONDS
            middle = 0.5 - _WIPE_REACH / 2 * cos(2 * pi * turns)
            line = round(middle * self.width - _DIVIDER / 2)
            canvas[:, :line], canvas[:, line:] = left[:, :line], right[:, line:]
        canvas[:, line : line + _DIVIDER] = _LINE
        first, second = self._labels
        self._paste(canvas[:, :line], first, at_right=self._layout == "wipe")
        self._paste(canvas[:, line + _DIVIDER :], second, at_right=False)
        return canvas

    def _paste(self, half: RGB, plate: RGB, *, at_right: bool) -> None:
        """The label in the lower corner of a half (over a wipe: beside the line), cut where there is no room."""
        margin = plate.shape[0] // 2
        room = half[-margin - plate.shape[0] : -margin, margin:-margin]
        wide = min(room.shape[1], plate.shape[1])
        if room.shape[0] == plate.shape[0] and wide > 0:
            if at_right:
                room[:, room.shape[1] - wide :] = plate[:, plate.shape[1] - wide :]
            else:
                room[:, :wide] = plate[:, :wide]


def _plate(label: str, scale: int, width: int) -> RGB:
    """A label on dark ground with a border of its own, no wider than half the picture."""
    words = text(label, paper=(20, 20, 24), scale=scale)
    edge = 3 * scale
    plate: RGB = np.pad(words, ((edge, edge), (edge, edge - scale), (0, 0)), constant_values=20)
    return plate if plate.shape[1] <= width else plate[:, :width]


def _planes(picture: RGB) -> tuple[RGB, RGB, RGB]:
    """G, B, R, each (height, width)."""
    return tuple(np.ascontiguousarray(picture[..., channel]) for channel in (1, 2, 0))  # type: ignore[return-value]

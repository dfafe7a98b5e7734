"""Pictures and videos as 8-bit RGB: exact for stills that are RGB already; for YUV by the matrix and range stated, or,
where none is, by those a conversion takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import VideoReformatter

from slomo_cli.errors import InputError, printable
from slomo_cli.media.pixels import copy_planes, layout_of
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.read.source import PictureTrack, first_picture
from slomo_cli.media.read.view import EXACT, to_libav
from slomo_cli.picture import RGB
from slomo_cli.repeats import DuplicateFilter
from slomo_cli.values import Frame, PixelLayout

if TYPE_CHECKING:
    from slomo_cli.values import Plane


_BILINEAR = 2
"""SWS_BILINEAR: colours between samples as decoders of JPEG have them."""


def read_picture(path: Path) -> RGB:
    """A still as (height, width, 3) ``uint8``; transparency is left out. InputError where it is none."""
    try:
        with PictureTrack(path, threads=1) as source:
            frame = first_picture(source, f"'{printable(path)}'")
    except InputError as error:
        raise InputError(f"expected a picture (PNG, JPEG, ...): {error}") from error
    layout = layout_of(frame.format.name)
    if _is_deep(layout):
        return _rounded(copy_planes(frame, layout), layout)
    return np.asarray(frame.reformat(format="rgb24", interpolation=_BILINEAR | EXACT).to_ndarray(), np.uint8)


def _is_deep(layout: PixelLayout) -> bool:
    """RGB or gray of more than 8 bits, which swscale makes half a level too bright on the way to 8."""
    return layout.family != "yuv" and layout.bits > 8


def _rounded(planes: Sequence[Plane], layout: PixelLayout) -> RGB:
    """Deep samples of full range, to the nearest of 8 bits."""
    order = (2, 0, 1) if layout.family == "rgb" else (0, 0, 0)  # of green, blue, red
    return np.stack([np.rint(planes[k] * (255 / layout.peak)).astype(np.uint8) for k in order], axis=-1)


class VideoPictures:
    """The pictures of a video in order, each with its time; iterable any number of times, one picture in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._info = probe(path)
        scanned = scan(self._info)
        self._timing = scanned.timing
        self.count = self._timing.frames_from_packets
        """Pictures the packets promise."""
        fields = ("interlaced: fields are made whole pictures, as for a conversion",) if self._info.interlaced else ()
        self._found = (*fields, *scanned.warnings)
        self._met: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd or damaged about the file, one line each; complete once it was read to its end."""
        return tuple(dict.fromkeys((*self._found, *self._met)))

    def __iter__(self) -> Iterator[tuple[Fraction, RGB]]:
        """(seconds from the first picture, (height, width, 3) ``uint8``)."""
        reformatter = VideoReformatter()
        repeats = DuplicateFilter()
        with Decoder(self._info, self._timing, deinterlace="auto") as decoder:
            for frame in _watched(decoder, repeats):
                if _is_deep(frame.layout) and not frame.color.is_limited(frame.layout):
                    picture = _rounded(frame.planes, frame.layout)
                else:
                    shown = reformatter.reformat(to_libav(frame), format="rgb24", interpolation=_BILINEAR | EXACT)
                    picture = np.asarray(shown.to_ndarray(), np.uint8)
                yield frame.pts_seconds, picture
            self._met = tuple(decoder.warnings)
            if repeats.count:
                told = f"{repeats.count} of {decoder.frames_decoded} pictures repeat the one before"
                self._met += (f"{told}: where the truth repeats, scores say nothing of motion",)


def _watched(frames: Iterable[Frame], repeats: DuplicateFilter) -> Iterator[Frame]:
    """All frames in order, after the filter has seen them."""
    waiting: deque[Frame] = deque()

    def noted() -> Iterator[Frame]:
        for frame in frames:
            waiting.append(frame)
            yield frame

    for _ in repeats.thin(noted()):
        while waiting:
            yield waiting.popleft()
    yield from waiting

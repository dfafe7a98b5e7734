"""Frames as people see them: 8-bit RGB, upright, with square samples, at a size that fits.

For looking at, not for converting: depth above 8 bits is rounded, transparency left out, and HDR is shown without tone
mapping (flat, but every edge is there).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from slomo_cli.media.formats import assumed_matrix
from slomo_cli.media.orientation import Orientation, orientation_of
from slomo_cli.values import Frame, VideoInfo

if TYPE_CHECKING:
    RGB = npt.NDArray[np.uint8]

BICUBIC, _AREA = 4, 32
EXACT = 0x40000 | 0x2000 | 0x4000
"""SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP: with a way of scaling, how libav makes RGB of YUV. Left
to itself it repeats colours in blocks, up to a level too dark."""


def to_libav(frame: Frame) -> VideoFrame:
    """The frame's samples in a picture of libav's, its matrix and range marked."""
    picture = VideoFrame(frame.width, frame.height, frame.layout.name)
    for target, plane in zip(picture.planes, frame.planes, strict=True):
        rows = np.frombuffer(memoryview(target), np.uint8).reshape(-1, target.line_size)[: plane.shape[0]]
        rows[:, : plane.shape[1] * plane.itemsize] = np.ascontiguousarray(plane).view(np.uint8)
    if frame.layout.family == "yuv":
        picture.colorspace = assumed_matrix(frame.color, frame.height)
    picture.color_range = 1 if frame.color.is_limited(frame.layout) else 2
    return picture


def full_size(info: VideoInfo) -> tuple[int, int]:
    """Width and height of the picture as shown at full detail: samples made square by enlarging, then turned."""
    aspect = info.sample_aspect if info.sample_aspect > 0 else Fraction(1)
    width = round(info.width * max(aspect, Fraction(1)))
    height = round(info.height / min(aspect, Fraction(1)))
    return (height, width) if orientation_of(info.display_matrix).swaps_sides else (width, height)


@dataclass(frozen=True, slots=True)
class View:
    """How the frames of one source are brought to one size; make it with ``view_of``."""

    width: int
    """Of every picture it makes, after turning."""
    height: int
    orientation: Orientation

    def picture(self, frame: Frame) -> RGB:
        """The frame as (height, width, 3) ``uint8``."""
        return self._turned(_scaled(to_libav(frame), *self._stored_size, frame.width))

    def drawing(self, drawing: RGB) -> RGB:
        """A drawing on the stored frame (flow as colour, a map), brought to the same size and turned the same way."""
        source = VideoFrame.from_ndarray(np.ascontiguousarray(drawing), format="rgb24")
        return self._turned(_scaled(source, *self._stored_size, drawing.shape[1]))

    def flow(self, flow: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        """Flow (h, w, 2) on the stored frame with the same places but the directions of the shown one.

        For colouring: ``drawing(flow_to_rgb(view.flow(f)))``; lengths stay those of the stored frame's pixels.
        """
        x, y = flow[..., 0], flow[..., 1]
        # A quarter turn against the clock takes right (1, 0) to up (0, -1) and down (0, 1) to right (1, 0).
        for _ in range(self._quarters):
            x, y = y, -x
        return np.stack((-x if self.orientation.flipped else x, y), axis=-1)

    @property
    def _quarters(self) -> int:
        return int(self.orientation.degrees) // 90 if self.orientation.is_right_angled else 0

    @property
    def _stored_size(self) -> tuple[int, int]:
        return (self.height, self.width) if self._quarters % 2 else (self.width, self.height)

    def _turned(self, picture: RGB) -> RGB:
        turned = np.rot90(picture, self._quarters)
        return np.ascontiguousarray(turned[:, ::-1] if self.orientation.flipped else turned)


def view_of(
    info: VideoInfo, *, width: int | None = None, height: int | None = None, least: int = 1, even: bool = False
) -> View:
    """The view of a source whose pictures fit into ``width`` x ``height`` (None: any) and keep their shape.

    A smaller source is shown at its own size, or enlarged by a whole number while it is narrower than ``least``.
    ``even``: both sides are even numbers, as most encoders need.
    """
    full_width, full_height = full_size(info)
    scale = min(Fraction(width or full_width, full_width), Fraction(height or full_height, full_height), Fraction(1))
    if scale == 1 and full_width < least:
        scale = Fraction(max(1, min(least // full_width, 16)))
    step = 2 if even else 1
    fit_width, fit_height = (max(step, round(side * scale / step) * step) for side in (full_width, full_height))
    return View(fit_width, fit_height, orientation_of(info.display_matrix))


def _scaled(picture: VideoFrame, width: int, height: int, stored_width: int) -> RGB:
    """8-bit RGB of this size; averaged where it shrinks, bicubic where it grows."""
    how = (_AREA if width < stored_width else BICUBIC) | EXACT
    # One thread: the network has the others. A reformatter of its own: its tables depend on every argument.
    small = VideoReformatter().reformat(
        picture, width, height, "rgb24", interpolation=how, dst_color_range=2, threads=1
    )
    return np.asarray(small.to_ndarray(), np.uint8)

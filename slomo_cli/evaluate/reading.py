"""Pictures and videos as 8-bit RGB: exact for stills that are RGB already, by the stated matrix and range for YUV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from slomo_cli.errors import InputError, printable
from slomo_cli.media.decode import Decoder
from slomo_cli.media.probe import probe
from slomo_cli.media.scan import scan
from slomo_cli.values import Frame

RGB = npt.NDArray[np.uint8]


def read_picture(path: Path) -> RGB:
    """A still as (height, width, 3) ``uint8``; transparency is left out. InputError where it is none."""
    try:
        # Given as an open file, so that no name is ever taken for a pattern (%03d) or a protocol.
        with path.open("rb") as file, av.open(file, "r") as container:
            for frame in container.decode(video=0):
                return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except OSError as error:
        # libav's own errors are OSErrors too, where they stand for one.
        raise InputError(f"cannot read the picture {printable(path)}: {error.strerror or error}") from error
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise InputError(f"expected a picture (PNG, JPEG, ...) in {printable(path)}, found none: {error}") from error
    raise InputError(f"expected a picture (PNG, JPEG, ...) in {printable(path)}, found an empty file")


class VideoPictures:
    """The pictures of a video in order, each with its time; iterable any number of times, one picture in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._info = probe(path)
        self._timing = scan(self._info).timing
        self.count = self._timing.frames_from_packets
        """Pictures the packets promise."""

    def __iter__(self) -> Iterator[tuple[Fraction, RGB]]:
        """(seconds from the first picture, (height, width, 3) ``uint8``)."""
        reformatter = VideoReformatter()
        with Decoder(self._info, self._timing) as decoder:
            for frame in decoder:
                picture = reformatter.reformat(to_libav(frame), format="rgb24").to_ndarray()
                yield frame.pts_seconds, np.asarray(picture, np.uint8)


def to_libav(frame: Frame) -> VideoFrame:
    """The frame's planes in a picture of libav's, its colour matrix and range marked."""
    picture = VideoFrame(frame.width, frame.height, frame.layout.name)
    for target, plane in zip(picture.planes, frame.planes, strict=True):
        rows = np.frombuffer(memoryview(target), np.uint8).reshape(-1, target.line_size)[: plane.shape[0]]
        rows[:, : plane.shape[1] * plane.itemsize] = plane.view(np.uint8).reshape(plane.shape[0], -1)
    if frame.layout.family == "yuv":
        picture.colorspace = frame.color.matrix
    picture.color_range = frame.color.range
    return picture

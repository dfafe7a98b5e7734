"""Frames on their way to ffmpeg: the pipe, the planes as the target wants them, and stamps where each frame has one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import av.error
import numpy as np

from slomo_cli.errors import EncoderError, printable
from slomo_cli.media.clocks import MOST_REORDERED
from slomo_cli.media.ffmpeg import literal
from slomo_cli.media.nut import Nut, Pipe
from slomo_cli.media.plan.target import Target

if TYPE_CHECKING:
    from slomo_cli.values import Plane


class Shaper:
    """Brings frames to the planes of the target's feed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._neutral: tuple[Plane, ...] | None = None

    def planes(self, planes: Sequence[Plane]) -> tuple[Plane, ...]:
        """The planes of the feed: padded to its size, gray with neutral chroma beside it where the feed wants it."""
        feed, (columns, rows) = self._target.feed, self._target.pad
        width, height = self._target.width - columns, self._target.height - rows
        shapes = feed.plane_shapes(width, height)
        found = tuple(plane.shape for plane in planes)
        if found != shapes and not (feed.family == "yuv" and found == shapes[:1]):
            raise ValueError(f"expected planes of {shapes} for {feed.name}, found {found}")
        if self._target.pad != (0, 0):
            padded = feed.plane_shapes(self._target.width, self._target.height)
            planes = [_padded(plane, shape) for plane, shape in zip(planes, padded, strict=False)]
        if len(planes) < feed.plane_count:
            planes = (*planes, *self._neutral_chroma(planes[0].dtype))
        return tuple(plane if plane.flags.c_contiguous else plane.copy() for plane in planes)

    def _neutral_chroma(self, dtype: Any) -> tuple[Plane, ...]:
        if self._neutral is None:
            shapes = self._target.feed.plane_shapes(self._target.width, self._target.height)[1:]
            self._neutral = tuple(np.full(shape, 1 << (self._target.feed.bits - 1), dtype) for shape in shapes)
        return self._neutral


def _padded(plane: Plane, shape: tuple[int, int]) -> Plane:
    """The plane grown to this shape by repeating its last column and row."""
    height, width = plane.shape
    samples: Any = plane
    grown: Plane = np.pad(samples, ((0, shape[0] - height), (0, shape[1] - width)), "edge")
    return grown


class RawNut(Nut):
    """Raw frames, each with a stamp of its own."""

    def __init__(self, pipe: Pipe, target: Target, time_base: Fraction) -> None:
        super().__init__(pipe, time_base)
        self._last: int | None = None
        stream: Any = self._container.add_stream("rawvideo", rate=Fraction(1) / time_base)
        stream.width, stream.height, stream.pix_fmt = target.width, target.height, target.feed.name
        stream.time_base = time_base
        stream.codec_context.time_base = time_base
        self._stream = stream

    @property
    def last(self) -> Fraction | None:
        """When the last frame is shown, in seconds; None before there is one."""
        return None if self._last is None else self._last * self._time_base

    def write(self, data: bytes, seconds: Fraction) -> None:
        ticks = round(seconds / self._time_base)
        if self._last is not None and ticks <= self._last:
            raise ValueError(f"expected growing stamps, found {float(seconds):.6f} s again")
        self._last = ticks
        packet: Any = av.Packet(data)
        packet.is_keyframe = True
        self._mux(packet, self._stream, ticks, ticks)


class EncodedNut(Nut):
    """Encoded frames at a constant rate, from NUT files that were encoded alike and each begin with a key frame."""

    def __init__(self, pipe: Pipe, rate: Fraction) -> None:
        super().__init__(pipe, 1 / rate)
        self._stream: Any = None
        self._headers: bytes | None = None
        self._frames = 0

    def append(self, part: Path, frames: int) -> None:
        """The next ``frames`` frames are those of ``part``; EncoderError where it does not hold them."""
        with opened(part, frames, like=self._headers) as coded:
            if self._stream is None:
                self._stream = self._container.add_stream_from_template(coded.stream, opaque=True)
                self._stream.time_base = self._time_base
                self._headers = coded.headers
        # What is shown when: stamps begin anew in each part, and count in a clock of the encoder's.
        order = {stamp: at for at, stamp in enumerate(sorted(packet.pts for packet in coded.packets))}
        for at, packet in enumerate(coded.packets):
            shown = self._frames + order[packet.pts]
            self._mux(packet, self._stream, shown, self._frames + at - MOST_REORDERED)
        self._frames += frames


class Coded(NamedTuple):
    """An encoded film."""

    stream: Any
    """PyAV's, as long as the file is open."""
    packets: list[Any]
    """In the order they are decoded in, with stamps that all differ."""
    headers: bytes
    """The codec's own; equal in films that can be joined."""


@contextmanager
def opened(part: Path, frames: int, *, like: bytes | None) -> Iterator[Coded]:
    """A NUT file of ``frames`` frames, encoded as those with the headers ``like`` (None: any). EncoderError where it is
    not that."""
    with ExitStack() as stack:
        stream, packets, headers = None, [], b""
        with contextlib.suppress(av.error.FFmpegError, IndexError):
            file = stack.enter_context(av.open(literal(part), format="nut"))
            stream = file.streams.video[0]
            packets = [packet for packet in file.demux(stream) if packet.size and packet.pts is not None]
            headers = _without_remarks(bytes(stream.codec_context.extradata or b""), stream.codec_context.name)
        if not len({packet.pts for packet in packets}) == len(packets) == frames:
            raise EncoderError(
                f"'{printable(part)}' does not hold what was written there: remove it, then it and those after it are "
                "made anew"
            )
        if like is not None and headers != like:
            raise EncoderError(
                f"'{printable(part)}' is encoded otherwise than the first part, as by another ffmpeg or machine: go on "
                f"with that one, or remove '{printable(part.parent)}' to begin anew"
            )
        yield Coded(stream, packets, headers)


def _without_remarks(headers: bytes, codec: str) -> bytes:
    """The headers without what x265 remarks there of the machine: its processor, the number of its threads."""
    if codec != "hevc":
        return headers
    # NAL units of type 39 and 40 (H.265 table 7-1) begin with such a byte.
    return b"".join(unit for unit in headers.split(b"\0\0\1") if unit[:1] not in (b"\x4e", b"\x50"))

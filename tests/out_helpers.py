"""What the tests of writing share: an imagined ffmpeg, headers of a source, pictures, a look at what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from slomo_cli.media.ffmpeg import Tools, tools
from slomo_cli.media.pixels import layout_of
from slomo_cli.media.plan.codecs import ENCODERS
from slomo_cli.media.plan.target import Target, choose_target
from slomo_cli.media.write.args import OwnTimes, build_encode_args
from slomo_cli.media.write.encode import Encoder
from slomo_cli.values import ColorInfo, EncodeSettings, HdrInfo, PixelLayout, VideoInfo

NTSC = Fraction(30000, 1001)
BT709 = ColorInfo(1, 1, 1, 1, 1)


@dataclass(frozen=True)
class FakeTools:
    """An ffmpeg that is only talked about: everything pure can be tested without one."""

    path: str = "ffmpeg"
    version: str = "8.0"
    source: str = "PATH"
    encoders: frozenset[str] = field(
        default=frozenset(name for name in ENCODERS if not ENCODERS[name].hardware)
        | {"aac", "flac", "alac", "libopus", "libmp3lame", "ac3", "pcm_s16le", "pcm_s24le", "mov_text", "webvtt"}
        | {"subrip", "libvorbis", "libvpx", "mpeg1video", "mpeg2video", "huffyuv", "rawvideo", "v210", "qtrle", "vc2"}
    )
    filters: frozenset[str] = frozenset({"rubberband", "atempo", "zscale"})
    release = Tools.release


def video_info(
    pix_fmt: str = "yuv420p", width: int = 64, height: int = 48, color: ColorInfo = BT709, **more: Any
) -> VideoInfo:
    """Headers of a source that does not exist."""
    settled: dict[str, Any] = {
        "path": Path("source.mp4"),
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "stream_index": 0,
        "codec": "h264",
        "layout": layout_of(pix_fmt),
        "hdr": HdrInfo(),
        "rate_from_header": NTSC,
        "duration_from_header": None,
        "container_start_seconds": Fraction(0),
    }
    return VideoInfo(width=width, height=height, pix_fmt=pix_fmt, color=color, **{**settled, **more})


def target_for(
    name: str | Path | None,
    info: VideoInfo | None = None,
    tools: Any = None,
    rate: Fraction = NTSC,
    frames: int = 5,
    **settings: Any,
) -> Target:
    """``choose_target`` with everything usual filled in."""
    info = info or video_info()
    return choose_target(name, info, EncodeSettings(**settings), tools or FakeTools(), rate, frames=frames)


def pictures(layout: PixelLayout, width: int, height: int, count: int) -> Iterator[tuple[Any, ...]]:
    """Moving gradients that use the layout's whole depth, each different from the last, every plane different."""
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    for number in range(count):
        planes = []
        for place, (h, w) in enumerate(layout.plane_shapes(width, height)):
            y, x = np.mgrid[0:h, 0:w]
            wave = (x * (3 + place) + y * 2 + number * 7) * (layout.peak // 255 or 1) + place
            planes.append((wave % (layout.peak + 1)).astype(dtype))
        yield tuple(planes)


def write(
    path: Path,
    info: VideoInfo,
    frames: Sequence[tuple[Any, ...]],
    *,
    rate: Fraction = NTSC,
    seconds: Sequence[Fraction] | None = None,
    time_base: Fraction | None = None,
    duration: Fraction | None = None,
    **settings: Any,
) -> Target:
    """Writes these frames with the real ffmpeg as ``convert`` would; the target that was chosen."""
    found = tools()
    chosen = EncodeSettings(**settings)
    target = choose_target(path, info, chosen, found, rate, frames=len(frames))
    times = OwnTimes(time_base, last=seconds[-1], end=duration) if seconds and time_base and duration else None
    args = build_encode_args(target, None, found.path, frames=len(frames), times=times)
    with Encoder(args, target, len(frames), time_base=time_base) as encoder:
        for number, frame in enumerate(frames):
            encoder.write(frame, seconds[number] if seconds else None)
        encoder.finish()
    return target


class Facts(NamedTuple):
    """Of a picture stream; the stream itself answers nothing once its file is closed."""

    width: int
    height: int
    average_rate: Fraction
    sample_aspect_ratio: Fraction | None


def read_back(path: Path) -> tuple[list[Any], Facts]:
    """The decoded frames of a file, and what it says of its picture stream."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        frames = list(source.decode(stream))
        return frames, Facts(*(getattr(stream, name) for name in Facts._fields))


def samples(frame: Any, layout: PixelLayout) -> list[Any]:
    """The planes of a decoded planar frame as arrays, without padding."""
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    planes = []
    for plane, (h, w) in zip(frame.planes, layout.plane_shapes(frame.width, frame.height), strict=True):
        rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // np.dtype(dtype).itemsize)
        planes.append(rows[:h, :w].copy())
    return planes


def stamps(path: Path) -> list[Fraction]:
    """Presentation times of the picture's packets, ascending."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        return sorted(packet.pts * packet.time_base for packet in source.demux(stream) if packet.size)


def only_files(folder: Path) -> list[str]:
    """Names in a folder, hidden ones too."""
    return sorted(entry.name for entry in folder.iterdir())

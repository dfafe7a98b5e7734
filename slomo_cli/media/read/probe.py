"""Reads what the headers of a source say, and decodes its first picture for what only a picture tells.

The first picture gives the pixel format, the colour tags, HDR10 and display data as the decoder will really deliver
them; headers alone are often silent or wrong about these. Only of a GIF that begins opaque are all pictures looked at.
"""

from __future__ import annotations

import math
import os
import re
import struct
import sys
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
from av.filter import Graph

from slomo_cli.errors import InputError, printable
from slomo_cli.media.clocks import exact
from slomo_cli.media.pixels import is_full_range_name, is_opaque, layout_of
from slomo_cli.media.plays import plays_of
from slomo_cli.media.read.beside import chapters_of, other_streams, pairs, stream_duration
from slomo_cli.media.read.fields import jpeg_order
from slomo_cli.media.read.header import chroma_location, crop, dolby_profile, track_header
from slomo_cli.media.read.icc import is_other_than_srgb, stored_profile
from slomo_cli.media.read.opening import as_text, is_foreign
from slomo_cli.media.read.sequence import PICTURES, ImageSequence, open_picture
from slomo_cli.media.read.source import RAW_STREAMS, PictureTrack, disposition_of, first_picture, header_rates, seconds
from slomo_cli.values import ColorInfo, HdrInfo, PixelLayout, VideoInfo, holds_stills

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MICROSECONDS = 1_000_000
_HEAD_BYTES = 1 << 16
_DOLBY_TAGS = frozenset({"dvh1", "dvhe", "dvav", "dva1", "dav1"})
_UNSPECIFIED = 2
"""The code point of H.273."""
_FIELD_ORDERS_INTERLACED = frozenset({2, 3, 4, 5})
"""AVFieldOrder: 0 unknown, 1 progressive, then top (2, 4) or bottom (3, 5) field first."""


def probe(path: str | Path) -> VideoInfo:
    """Reads a file's headers and first picture; the name may also stand for a sequence of pictures.

    Raises InputError when the file cannot be opened, holds no video, or no picture of it can be decoded.
    """
    shown = f"'{printable(os.fspath(path))}'"
    with open_picture(path, threads=1) as picture:
        sequence = picture if isinstance(picture, ImageSequence) else None
        container, stream = picture.container, picture.stream
        header = track_header(stream)
        context = stream.codec_context
        codec = context.codec.canonical_name
        opened = exact(context.sample_aspect_ratio)
        frame = first_picture(picture, shown)
        if frame.width < 1 or frame.height < 1:
            raise InputError(f"{shown} has a video stream without a picture size")
        width, height = frame.width, frame.height
        if sequence is not None and layout_of(frame.format.name).family == "gray":
            frame = _first_in_colour(sequence, shown) or frame
        layout = delivered_layout(frame, codec)
        if codec == "gif" and not layout.alpha and _turns_transparent(picture):
            layout = layout_of(frame.format.name)
        color = _color(frame, context, chroma_location(header))
        data = _side_data(frame, codec)
        profile = _profile_extra(data, sequence.files[0] if sequence else path, container)
        length = len(sequence.files) * sequence.time_base if sequence else _header_duration(container, stream)
        # libav calls HEVC interlaced where each picture is one field (ITU-T H.265, D.3.3), and joins none.
        single = codec == "hevc" and bool(frame.interlaced_frame)
        field_order = int(context.field_order) or _order_of_jpegs(picture)
        return VideoInfo(
            path=Path(path),
            container=PICTURES if sequence else container.format.name,
            stream_index=stream.index,
            codec=codec,
            width=width,
            height=height,
            layout=layout,
            pix_fmt=frame.format.name,
            color=color,
            hdr=_hdr(data, _codec_tag(context), dolby_profile(header)),
            rate_from_header=next(iter(header_rates(stream)), None),
            duration_from_header=length,
            container_start_seconds=_container_start(container),
            bit_rate=(context.bit_rate or container.bit_rate) or None,
            sample_aspect=_sample_aspect(stream, opened),
            coded_aspect=picture.sample_aspect,
            display_matrix=_display_matrix(frame, data),
            interlaced=not single and (bool(frame.interlaced_frame) or field_order in _FIELD_ORDERS_INTERLACED),
            single_fields=single,
            streams=other_streams(container, stream),
            chapters=chapters_of(container),
            metadata=pairs(_file_tags(path, container)),
            foreign_tags=tuple(as_text(key) for key, value in container.metadata.items() if is_foreign(value)),
            rate_is_nominal=sequence is None and _rate_is_real(container, stream),
            picture_metadata=pairs(stream.metadata),
            picture_disposition=disposition_of(stream),
            field_order=field_order,
            crop=crop(header),
            plays=None if sequence else plays_of(path, codec),
            picture_extras=_extras(data)
            + (("alpha layer",) if codec == "hevc" and _ALPHA_SEI.search(bytes(context.extradata or b"")) else ())
            + (profile if color.primaries == _UNSPECIFIED else ())
            + (("alpha",) if _has_alpha_apart(container) else ()),
        )


def _order_of_jpegs(picture: PictureTrack) -> int:
    """AVFieldOrder of Motion JPEG that stores its fields one by one, which libav joins without a word; 0 of others."""
    if picture.stream.codec_context.codec.canonical_name != "mjpeg" or isinstance(picture, ImageSequence):
        return 0
    return next((jpeg_order(bytes(packet), picture.stream.height) for packet in picture.packets()), 0)


def _first_in_colour(sequence: ImageSequence, shown: str) -> VideoFrame | None:
    """Of pictures that begin in gray, as programs store a black one, the first that does not: it tells the layout."""
    for file in sequence.files[1:]:
        try:
            with PictureTrack(file, threads=1) as picture:
                found = picture.stream.codec_context.format
                if found is not None and layout_of(found.name).family != "gray":
                    return first_picture(picture, shown)
        except InputError:
            continue
    return None


def _turns_transparent(picture: PictureTrack) -> bool:
    """Whether any picture from here on uses its alpha. Decodes them all, which is little in a GIF."""
    for packet in picture.packets():
        try:
            if not all(is_opaque(frame) for frame in picture.decode(packet)):
                return True
        except av.error.FFmpegError:
            continue
    return False


def delivered_layout(frame: VideoFrame, codec: str) -> PixelLayout:
    """The planar layout in which this source's pictures are delivered, judged by its first picture.

    GIF and palette pictures always come with an alpha channel, as do WebP without loss and JPEG in the colours of
    print (CMYK); it is kept only where the first picture uses it.
    """
    layout = layout_of(frame.format.name)
    always = codec in ("gif", "webp", "webp_anim", "mjpeg") or frame.format.name == "pal8"
    if layout.alpha and always and is_opaque(frame):
        return layout_of({"gbrap": "gbrp"}.get(layout.name, layout.name.replace("yuva", "yuv")))
    return layout


def _color(frame: VideoFrame, codec: Any, chroma_location: int) -> ColorInfo:
    """The picture's colour tags; where the picture is silent, the stream's. 0 and 2 both mean unspecified in libav."""

    def tag(of_frame: Any, of_stream: Any, silent: tuple[int, ...]) -> int:
        return next(
            (int(value) for value in (of_frame, of_stream) if value is not None and int(value) not in silent),
            silent[-1],
        )

    full = is_full_range_name(frame.format.name)
    return ColorInfo(
        range=2 if full else tag(frame.color_range, codec.color_range, (0,)),
        matrix=tag(frame.colorspace, codec.colorspace, (2,)),
        primaries=tag(frame.color_primaries, codec.color_primaries, (0, 2)),
        transfer=tag(frame.color_trc, codec.color_trc, (0, 2)),
        chroma_location=chroma_location,
    )


_EXTRAS = {"A53_CC": "closed captions", "SPHERICAL": "360-degree", "STEREO3D": "stereoscopic"}
_VIEWS = {bytes(4): "", (8).to_bytes(4, sys.byteorder): "second view"}
"""AV_STEREO3D_2D: marked as nothing unusual; _UNSPEC: not in the same picture, as in spatial video (MV-HEVC)."""
_ALPHA_SEI = re.compile(rb"\0[\x05-\x20]\x4e\x01\xa5", re.DOTALL)
"""HEVC's message that another layer holds the alpha (SEI of type 165, ITU-T H.265), as MP4 and Matroska list it."""
_SIDE_DATA = (
    *_EXTRAS,
    "ICC_PROFILE",
    "MASTERING_DISPLAY_METADATA",
    "CONTENT_LIGHT_LEVEL",
    "DISPLAYMATRIX",
    "DOVI_METADATA",
    "DOVI_RPU_BUFFER",
    "DYNAMIC_HDR_PLUS",
    "DYNAMIC_HDR_VIVID",
)


def _side_data(frame: VideoFrame, codec: str) -> dict[str, bytes]:
    """The kinds of the picture's side data that are read here, by libav's name; others are passed over."""
    try:
        # A PNG's colour profile has a name, which PyAV would free together with libav: a crash.
        items: Any = (_without_profile(frame) if codec in ("png", "apng") else frame).side_data
        found = {name: items.get(name) for name in _SIDE_DATA}
    except (ValueError, av.error.FFmpegError):  # PyAV before 19 stumbles over kinds newer than itself
        return {}
    return {name: bytes(item) for name, item in found.items() if item is not None}


def _without_profile(frame: VideoFrame) -> VideoFrame:
    """The same picture without its colour profile. Raises av.error.FFmpegError or ValueError."""
    graph: Any = Graph()
    size = {"width": frame.width, "height": frame.height, "format": frame.format.name}
    graph.link_nodes(
        graph.add_buffer(**size, time_base=Fraction(1, 1000)),
        graph.add("sidedata", "mode=delete:type=ICC_PROFILE"),
        graph.add("buffersink"),
    ).configure()
    graph.push(frame)
    bare: VideoFrame = graph.pull()
    return bare


def _extras(data: dict[str, bytes]) -> tuple[str, ...]:
    """What the picture carries that is not written again, in the words of ``VideoInfo.picture_extras``."""
    words = {**_EXTRAS, "STEREO3D": _VIEWS.get(data.get("STEREO3D", b"")[:4], _EXTRAS["STEREO3D"])}
    return tuple(word for name, word in words.items() if name in data and word)


def _has_alpha_apart(container: InputContainer) -> bool:
    """Whether it is an AVIF whose transparency is a picture of its own, by the name that its usual writer gives it."""
    return "mov" in container.format.name and any(s.metadata.get("title") == "Alpha" for s in container.streams.video)


def _profile_extra(data: dict[str, bytes], path: str | Path, container: InputContainer) -> tuple[str, ...]:
    """The word for a colour profile without which colours look otherwise; () where there is none, or it says sRGB."""
    profile = data.get("ICC_PROFILE", b"")
    if not profile and holds_stills(container.format.name):
        profile = stored_profile(path)
    return ("colour profile",) if is_other_than_srgb(profile) else ()


def _codec_tag(context: Any) -> str:
    """The four letters by which the container calls the codec; '' where it has other bytes, which PyAV cannot read."""
    try:
        return str(context.codec_tag or "").strip("\0 ")
    except UnicodeDecodeError:
        return ""


def _hdr(data: dict[str, bytes], codec_tag: str, dolby_profile: int | None) -> HdrInfo:
    """HDR10 static data, and which dynamic kinds are present."""
    mastering = None
    if len(block := data.get("MASTERING_DISPLAY_METADATA", b"")) >= 88:
        # AVMasteringDisplayMetadata: ten rationals R, G, B, white (x, y each), min, max, then two "is present" flags.
        numbers = struct.unpack("=20i2i", block[:88])
        if all(numbers[20:]) and all(numbers[1:20:2]):
            mastering = tuple(Fraction(numbers[i], numbers[i + 1]) for i in range(0, 20, 2))
    max_cll = max_fall = None
    if len(block := data.get("CONTENT_LIGHT_LEVEL", b"")) >= 8:
        max_cll, max_fall = struct.unpack("=2I", block[:8])
    dynamic = []
    if dolby_profile is not None or codec_tag in _DOLBY_TAGS or {"DOVI_METADATA", "DOVI_RPU_BUFFER"} & data.keys():
        dynamic.append("Dolby Vision")
    if "DYNAMIC_HDR_PLUS" in data:
        dynamic.append("HDR10+")
    if "DYNAMIC_HDR_VIVID" in data:
        dynamic.append("HDR Vivid")
    return HdrInfo(mastering, max_cll, max_fall, tuple(dynamic), dolby_profile)


def _display_matrix(frame: VideoFrame, data: dict[str, bytes]) -> tuple[int, ...] | None:
    """The nine fixed-point numbers of the display matrix; None when absent or the identity."""
    block = data.get("DISPLAYMATRIX", b"")
    if len(block) < 36:
        # Where PyAV meets a kind unknown to it (EXIF of photographs) it lists none, but still tells the rotation.
        radians = math.radians(frame.rotation)
        cosine, sine = (round(65536 * part) for part in (math.cos(radians), math.sin(radians)))
        return None if cosine == 65536 else (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)
    matrix = struct.unpack("=9i", block[:36])
    return None if matrix == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30) else matrix


def _sample_aspect(stream: VideoStream, opened: Fraction) -> Fraction:
    """The shape of samples by the container's word; by the codec's where that is the same but for rounding.

    Containers that tell the width to show it at (MP4 without ``pasp``, Matroska) round it to whole pixels. opened: the
    codec's word when the file was opened, 0 if none, for which libav may have looked into pictures that come later.
    """
    told = [exact(ratio) for ratio in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio)]
    shown, told_exactly = (max(ratio, Fraction(0)) for ratio in told)
    if told_exactly and (shown == opened or abs(shown - told_exactly) * stream.codec_context.width < 1):
        return told_exactly
    return shown or Fraction(1)


def _rate_is_real(container: InputContainer, stream: VideoStream) -> bool:
    """False for still pictures and for raw streams whose headers name no rate: libav then says 25."""
    if holds_stills(container.format.name):
        return False
    return not (container.format.name in RAW_STREAMS and not stream.codec_context.framerate)


def _header_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """The picture's declared length: the stream's, else the container's."""
    own = stream_duration(stream)
    if own is None and container.duration is not None:
        own = Fraction(container.duration, _MICROSECONDS)
    if container.format.name == "avi" and stream.frames:  # of files cut off libav tells a length by their size
        own = max(own or Fraction(0), stream.frames * exact(stream.time_base))
    return own if own is not None and own > 0 else None


def _container_start(container: InputContainer) -> Fraction:
    """The earliest stream's start, exact where a stream's own clock gives what libav rounds to microseconds."""
    rounded = Fraction(container.start_time or 0, _MICROSECONDS)
    for stream in container.streams:
        own = seconds(stream.start_time, stream.time_base)
        if own is not None and abs(own - rounded) < Fraction(2, _MICROSECONDS):
            return own
    return rounded


_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_1970 = 11_644_473_600 * 10_000_000


def _file_tags(path: str | os.PathLike[str], container: InputContainer) -> dict[str, str]:
    """The tags of the file. Of ASF, older libav tells no date, and newer one says 1970 where there is none.

    The date follows 48 bytes after the beginning of the File Properties Object, in units of 100 ns since 1601 (Advanced
    Systems Format Specification, 3.2).
    """
    tags = dict(container.metadata)
    if container.format.name == "asf":
        tags.pop("creation_time", None)
        with open(path, "rb") as file:
            _, found, properties = file.read(_HEAD_BYTES).partition(_ASF_PROPERTIES)
        since = int.from_bytes(properties[32:40], "little") - _ASF_1970
        if found and 0 < since < 1 << 60:  # more is damage
            date = datetime.fromtimestamp(since / 10_000_000, UTC)
            tags["creation_time"] = f"{date:%Y-%m-%dT%H:%M:%S.%fZ}"
    return tags

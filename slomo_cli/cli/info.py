"""``slomo info``: what a video file holds, as text or JSON.

Keys of the JSON object (rationals are strings such as ``"30000/1001"``; seconds are rationals too; null: not known):

    file, size_bytes, container, bit_rate, duration, video, streams, chapters, metadata, warnings [text]
    video: stream, codec, width, height, pix_fmt, layout, bits, alpha, interlaced, sample_aspect, rotation, flipped,
        shown_width, shown_height, frames, rate (null: variable), nominal_rate, first_seconds, duration,
        color {range, matrix, primaries, transfer, chroma_location: code points of H.273 as FFmpeg numbers them},
        hdr {mastering [10 rationals], max_cll, max_fall, dynamic, dolby_profile} or null
        rotation: degrees counter-clockwise; flipped: mirrored left to right after that
    streams: index, kind, codec, language, start_seconds, duration_seconds, sample_rate, channels, metadata
    chapters: start_seconds, end_seconds, metadata
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from slomo_cli.cli import files
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.options import FILE
from slomo_cli.errors import UsageError, printable
from slomo_cli.media.orientation import orientation_of
from slomo_cli.text import clock_text, columns, decimal, plain
from slomo_cli.values import HdrInfo, SourceTiming, StreamInfo, VideoInfo

RANGES = {1: "limited range", 2: "full range"}
MATRICES = {0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020 CL"}
PRIMARIES = {1: "BT.709", 4: "BT.470 M", 5: "BT.601 (625)", 6: "BT.601 (525)", 9: "BT.2020", 11: "DCI-P3", 12: "P3 D65"}
TRANSFERS = {1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "BT.601", 8: "linear", 13: "sRGB", 14: "BT.2020",
             15: "BT.2020", 16: "PQ", 18: "HLG"}  # fmt: skip
"""Names people use for the code points of H.273; a missing one is shown as its number."""

_BRANDS = {"major_brand", "minor_version", "compatible_brands"}
"""Tags of MP4 that mean nothing to people; JSON has them."""


@click.command(
    "info",
    cls=Command,
    short_help="Show what a video file holds.",
    examples="""
    slomo info in.mp4
    slomo info in.mp4 --json | jq .video.rate
    """,
)
@click.argument("file", type=FILE)
@option("--json", "as_json", is_flag=True, shared=False, help='One JSON object; rationals as strings, "30000/1001".')
def command(file: str, as_json: bool) -> None:
    """Show what a video file holds: picture, exact rate and frame count, colour, sound, subtitles, chapters.

    The packets are counted, so the frame count is what the file really has; all but the first picture stay undecoded.
    """
    if file == files.STREAM:
        raise UsageError("info needs a file it can seek in, found stdin (-)")
    files.check_source(Path(file))
    from slomo_cli.media.read.probe import probe
    from slomo_cli.media.read.scan import scan

    info = probe(file)
    found = scan(info)
    if as_json:
        click.echo(json.dumps(info_json(info, found.timing, found.warnings), indent=2))
    else:
        click.echo("\n".join(info_lines(info, found.timing, found.warnings)))


def info_lines(info: VideoInfo, timing: SourceTiming, warnings: Sequence[str]) -> list[str]:
    """The facts in two columns, the file's name above them and its tags below."""
    rows = [
        ("container", _container(info)),
        ("video", f"{info.codec}, {info.pix_fmt} ({info.layout.bits} bit{', alpha' * info.layout.alpha})"),
        ("size", _size(info)),
        ("rate", _rate(timing)),
        ("frames", f"{timing.frames_from_packets} in {_seconds(timing.duration)}"),
        ("colour", _colour(info)),
        *([("HDR", _hdr(info.hdr))] if info.hdr != HdrInfo() else []),
        *([("fields", "interlaced")] if info.interlaced else []),
        *([("fields", "each a picture of its own")] if info.single_fields else []),
        *[(f"stream {stream.index}", _stream(stream)) for stream in info.streams],
        *([("chapters", str(len(info.chapters)))] if info.chapters else []),
        *[("note", warning) for warning in warnings],
    ]
    tags = [(printable(key), printable(value)) for key, value in info.metadata if key.lower() not in _BRANDS]
    return [printable(info.path), *columns(rows), *(["  tags"] if tags else []), *columns(tags, indent="    ")]


def info_json(info: VideoInfo, timing: SourceTiming, warnings: Sequence[str]) -> dict[str, Any]:
    """The same for programs; the keys are listed at the top of this module."""
    shown_width, shown_height = shown_size(info)
    color, hdr, orientation = info.color, info.hdr, orientation_of(info.display_matrix)
    return {
        "file": str(info.path),
        "size_bytes": size_bytes(info.path),
        "container": info.container,
        "bit_rate": info.bit_rate,
        "duration": plain(info.duration_from_header),
        "video": {
            "stream": info.stream_index,
            "codec": info.codec,
            "width": info.width,
            "height": info.height,
            "pix_fmt": info.pix_fmt,
            "layout": info.layout.name,
            "bits": info.layout.bits,
            "alpha": info.layout.alpha,
            "interlaced": info.interlaced,
            "sample_aspect": plain(info.sample_aspect),
            "rotation": orientation.degrees,
            "flipped": orientation.flipped,
            "shown_width": shown_width,
            "shown_height": shown_height,
            "frames": timing.frames_from_packets,
            "rate": plain(timing.rate),
            "nominal_rate": plain(timing.nominal_rate),
            "first_seconds": plain(timing.first_seconds),
            "duration": plain(timing.duration),
            "color": {name: getattr(color, name) for name in color.__dataclass_fields__},
            "hdr": {name: plain(getattr(hdr, name)) for name in hdr.__dataclass_fields__} if hdr != HdrInfo() else None,
        },
        "streams": [
            {
                "index": stream.index,
                "kind": stream.kind,
                "codec": stream.codec,
                "language": stream.language,
                "start_seconds": plain(stream.start_seconds),
                "duration_seconds": plain(stream.duration_seconds),
                "sample_rate": stream.sample_rate,
                "channels": stream.channels,
                "metadata": dict(stream.metadata),
            }
            for stream in info.streams
        ],
        "chapters": [
            {
                "start_seconds": plain(chapter.start_seconds),
                "end_seconds": plain(chapter.end_seconds),
                "metadata": dict(chapter.metadata),
            }
            for chapter in info.chapters
        ],
        "metadata": dict(info.metadata),
        "warnings": list(warnings),
    }


def size_bytes(path: Path) -> int | None:
    """None for a name of many pictures."""
    return os.stat(path).st_size if path.is_file() else None


def shown_size(info: VideoInfo) -> tuple[int, int]:
    """Width and height as a player shows them: sample aspect applied, then turned."""
    width, height = round(info.width * info.sample_aspect), info.height
    return (height, width) if orientation_of(info.display_matrix).swaps_sides else (width, height)


def _container(info: VideoInfo) -> str:
    rate = "" if info.bit_rate is None else f", {info.bit_rate / 1e6:.2f} Mbit/s"
    names = "/".join(info.container.split(",")[:2])
    size = size_bytes(info.path)
    return names + ("" if size is None else f", {_bytes(size)}") + rate


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _size(info: VideoInfo) -> str:
    facts = [f"{info.width}x{info.height}"]
    if info.sample_aspect != 1:
        facts.append(f"samples {info.sample_aspect.numerator}:{info.sample_aspect.denominator}")
    orientation = orientation_of(info.display_matrix)
    if orientation.degrees:
        facts.append(f"rotated {360 - orientation.degrees:g}° clockwise")
    if orientation.flipped:
        facts.append("mirrored")
    shown = shown_size(info)
    if shown != (info.width, info.height):
        facts.append(f"shown {shown[0]}x{shown[1]}")
    return ", ".join(facts)


def _rate(timing: SourceTiming) -> str:
    rate = timing.rate if timing.rate is not None else timing.nominal_rate
    exact = f" ({rate})" if rate.denominator != 1 else ""
    return f"{decimal(rate)} fps{exact}" if timing.rate is not None else f"variable, about {decimal(rate)} fps"


def _seconds(value: Fraction) -> str:
    return f"{float(value):.3f} s" if value < 60 else f"{float(value):.3f} s ({clock_text(float(value))})"


def _colour(info: VideoInfo) -> str:
    color = info.color
    matrix, primaries, transfer = (
        MATRICES.get(color.matrix, str(color.matrix)),
        PRIMARIES.get(color.primaries, str(color.primaries)),
        TRANSFERS.get(color.transfer, str(color.transfer)),
    )
    if matrix == primaries == transfer != "2":
        names = [matrix]
    else:
        pairs = (("matrix", matrix), ("primaries", primaries), ("transfer", transfer))
        names = [f"{what} {name}" for what, name in pairs if name != "2"]
    return ", ".join([*names, *([RANGES[color.range]] if color.range in RANGES else [])]) or "not tagged"


def _hdr(hdr: HdrInfo) -> str:
    facts = []
    if hdr.mastering is not None:
        low, high = hdr.mastering[-2:]
        facts.append(f"mastered for {float(low):g} to {float(high):g} cd/m2")
    if hdr.max_cll is not None:
        facts.append(f"MaxCLL {hdr.max_cll}")
    if hdr.max_fall is not None:
        facts.append(f"MaxFALL {hdr.max_fall}")
    return ", ".join([*facts, *hdr.dynamic])


def _stream(stream: StreamInfo) -> str:
    facts = [f"{stream.kind} {stream.codec}".strip()]
    if stream.sample_rate:
        facts.append(f"{stream.sample_rate} Hz")
    if stream.channels:
        facts.append("1 channel" if stream.channels == 1 else f"{stream.channels} channels")
    if stream.duration_seconds is not None:
        facts.append(_seconds(stream.duration_seconds))
    if stream.language not in ("", "und"):
        facts.append(printable(stream.language))
    if stream.is_elsewhere:
        facts.append("of another programme")
    return ", ".join(facts)

"""What of the picture is lost or changed on the way, one line each, told before the run."""

from __future__ import annotations

import re
from fractions import Fraction

from slomo_cli.media import formats
from slomo_cli.media.containers import COLOURED, RANGED, SHAPELESS, Container
from slomo_cli.media.orientation import Orientation
from slomo_cli.media.plan.codecs import EncoderInfo
from slomo_cli.media.plan.conform import Conformed
from slomo_cli.values import VideoInfo

_EXTRAS = {
    "alpha": "transparency is lost: it lies in a picture of its own (AVIF); convert the source to .png or .apng first",
    "alpha layer": "transparency is lost: it lies in a layer of its own (HEVC); convert the source to ProRes 4444 "
    "or .png first",
    "closed captions": "closed captions dropped: they lie inside the old pictures",
    "360-degree": "the mark for 360-degree display is lost: players show the picture flat",
    "colour profile": "the source's colour profile is lost: its colours are taken for those of sRGB, and look paler "
    "where it is wider (Display P3, Adobe RGB); convert the source to sRGB first",
    "stereoscopic": "the mark for stereoscopic display is lost: players show both views at once",
    "second view": "of the two views of the source (spatial video) only the one that flat players show is converted",
}
"""What is said of ``VideoInfo.picture_extras``."""
_UNUSUAL = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}, {16: "PQ", 18: "HLG"}
"""Primaries and transfers with which a picture without its marks looks plainly wrong."""
_WEBM_VIEWS = frozenset("mono left_right right_left top_bottom bottom_top".split())
"""How two views may lie in a picture of WebM, in ffmpeg's words; it refuses to write others."""


def keeps_views(info: VideoInfo, muxer: str) -> bool:
    """Whether Matroska's mark of how two views lie in the picture, which libav reads as a tag, can be written again."""
    mode = dict(info.picture_metadata).get("stereo_mode")
    return mode is not None and (muxer == "matroska" or (muxer == "webm" and mode in _WEBM_VIEWS))


def of_source(info: VideoInfo, container: Container) -> list[str]:
    """What the source has that hardly any target keeps."""
    lines = []
    if re.search(r"f16|f32", info.pix_fmt):
        lines.append(
            f"samples in floating point become integers of {info.layout.bits} bits: what is brighter than 1 or below 0 "
            "is cut off"
        )
    if any(info.crop):
        left, top, right, bottom = info.crop
        lines.append(
            f"players show {info.width - left - right}x{info.height - top - bottom} of the source's "
            f"{info.width}x{info.height}: its hidden margins ({left} left, {top} top, {right} right, {bottom} bottom) "
            "become visible"
        )
    kept = ("stereoscopic",) if keeps_views(info, container.muxer) else ()
    return [*lines, *(_EXTRAS[name] for name in info.picture_extras if name not in kept)]


def of_marks(info: VideoInfo, container: Container, encoder: EncoderInfo, extension: str) -> list[str]:
    """What players will take wrong because nothing in the file says better."""
    if container.marks:
        return []
    found = zip(_UNUSUAL, (info.color.primaries, info.color.transfer), strict=True)
    colours = [names[number] for names, number in found if number in names]
    warnings = []
    if colours and encoder.codec not in COLOURED:
        named = " ".join(colours)
        warnings.append(
            f"the marks of {named} colours are lost: {encoder.codec} in .{extension} holds none, players show them pale"
        )
    if info.sample_aspect != 1 and encoder.codec in SHAPELESS:
        shape = f"{info.sample_aspect.numerator}:{info.sample_aspect.denominator}"
        warnings.append(f"the shape of the pixels, {shape}, is lost: .{extension} has no mark for it")
    return warnings


def of_range(pixels: Conformed, container: Container, encoder: EncoderInfo, extension: str) -> list[str]:
    """Of samples that are written at full range; those that are converted to the limited one need no mark."""
    full = pixels.range == formats.FULL and pixels.choice.layout.family == "yuv"
    if not full or encoder.codec in RANGED or container.muxer in ("matroska", "webm"):
        return []
    return [
        f"the mark of full-range samples is lost: {encoder.codec} in .{extension} holds none, players show them with "
        "too much contrast"
    ]


def of_orientation(extension: str, orientation: Orientation) -> list[str]:
    """orientation: of which the file has no mark."""
    if orientation.is_upright:
        return []
    if orientation.is_right_angled:
        return [f"the picture is turned upright: .{extension} written by this ffmpeg has no mark for orientation"]
    return [f"the rotation of {orientation.degrees:.4g} degrees is lost: .{extension} has no mark for it"]


def by_padding(encoder: EncoderInfo, info: VideoInfo, pad: tuple[int, int]) -> list[str]:
    """pad: columns and rows that are added."""
    if pad == (0, 0):
        return []
    lines = " and ".join(name for name, count in zip(("column", "row"), pad, strict=True) if count)
    return [
        f"{encoder.name} needs even sizes: {info.width}x{info.height} is padded to "
        f"{info.width + pad[0]}x{info.height + pad[1]} by repeating the last {lines}"
    ]


def of_speed(encoder: EncoderInfo, rate: Fraction) -> list[str]:
    """Where players of GIF slow it down: what is shorter than two hundredths of a second."""
    if encoder.codec != "gif" or rate <= 50:
        return []
    return [f"players show a GIF at 50 frames per second at most, found {float(rate):.6g}: it will run slow"]

"""How the source's planes become what the encoder takes: layout on the pipe, pixel format, colour tags, filters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from slomo_cli.errors import EncoderError, printable
from slomo_cli.media import formats
from slomo_cli.media.containers import COLOURED, Container
from slomo_cli.media.ffmpeg import Tools, encoder_formats
from slomo_cli.media.plan.codecs import EncoderInfo
from slomo_cli.media.plan.wishes import UserOption
from slomo_cli.values import EncodeSettings, PixelLayout, VideoInfo, usual_matrix

_DELIVERY = ("h264", "hevc", "av1", "vp9")
_MARKABLE = ("ffv1", "utvideo", "huffyuv", "ffvhuff")
"""Lossless codecs whose full range is marked in the container after the run."""


_MATRICES = {"vp9": (0, 1, 5, 6, 7, 9), "utvideo": (0, 1, 5, 6), "dnxhd": (1,), "vc2": (1,)}
"""Codec -> matrices it has a word for, whatever the container says beside it; others have one for all, or none."""
_NEVER_SILENT = {"utvideo": 6, "dnxhd": 1, "vc2": 1}
"""Codec -> the matrix that it names where it is told none; elsewhere nothing is said, and players guess."""
_USUAL = (1, 5, 6, 9)
"""Matrices that players may guess, or whose loss is told with that of their primaries."""


@dataclass(frozen=True, slots=True)
class Conformed:
    """The way from the source's planes to the encoder."""

    feed: PixelLayout
    """Layout of the raw planes on the pipe."""
    choice: formats.Choice
    tagging: str
    """The filter that tags what comes out of the pipe; '' when there is nothing to say."""
    converting: tuple[str, ...]
    """Filters from the feed to the encoder's pixel format, and the tags of the result."""
    range: int
    """Of the samples as the encoder gets them, AVCOL_RANGE_*."""
    mark_full_range: bool
    """The finished file has to be marked as full range."""
    warnings: tuple[str, ...]


def conform(
    encoder: EncoderInfo,
    container: Container,
    info: VideoInfo,
    settings: EncodeSettings,
    tools: Tools,
    user_options: Iterable[UserOption],
    *,
    can_be_marked: bool,
) -> Conformed:
    """Decide it. can_be_marked: the output is a file, in which something may be set right after the run.

    Raises EncoderError when the encoder takes no pixel format that could be made.
    """
    kind = _kind(encoder)
    says_any = container.marks or encoder.codec in COLOURED
    matrices = _MATRICES.get(encoder.codec, tuple(formats.MATRICES) if says_any else ())
    feed, choice = _pixels(encoder, info, settings, tools, user_options, kind)
    color = info.color
    if info.layout.family == "gray" and feed.family == "yuv":
        # Gray is of full range where it says nothing, and has no use for a matrix: PNG names that of RGB.
        color = replace(color, range=color.range or formats.FULL, matrix=color.matrix or formats.UNSAID)
    warnings = []
    if choice.losses:
        warnings.append(f"{encoder.name} cannot hold all of the source: {', '.join(choice.losses)} lost")
    if encoder.codec == "gif" and feed.alpha:
        warnings.append("pixels of a GIF are opaque or not there: partial transparency is lost")
    full = encoder.limited and color.range == formats.FULL and feed.family != "rgb" and choice.layout.family == "yuv"
    marked = full and can_be_marked and container.muxer == "matroska" and encoder.codec in _MARKABLE
    if marked:
        color = replace(color, range=formats.LIMITED)
    elif full:
        warnings.append(f"{encoder.name} knows the limited range only: full-range samples are converted")
    converters, result = formats.conversion(
        feed,
        choice,
        color,
        (info.width, info.height),
        kind,
        limited=encoder.limited,
        matrices=matrices,
        zscale="zscale" in tools.filters,
    )
    # Planar RGB is RGB by its format; a matrix left over from the source's tags would only contradict it.
    tags = replace(color, matrix=0) if feed.family == "rgb" else color
    if converters and feed.family == "yuv" and color.matrix not in (formats.UNSAID, *formats.SCALE_MATRICES):
        # Filters refuse what they cannot compute.
        tags = replace(color, matrix=formats.assumed_matrix(color, info.height))
        warnings.append(f"colours are converted as if their matrix were {formats.SCALE_MATRICES[tags.matrix]}'s")
    elif converters and feed.family == "yuv" and color.matrix == formats.CONSTANT_LUMINANCE:
        tags = replace(color, matrix=formats.NEAR_IT)
        if result.matrix != color.matrix and not converters[0].startswith("zscale"):
            near = formats.SCALE_MATRICES[formats.NEAR_IT]
            warnings.append(f"colours of constant luminance are converted as if their matrix were {near}'s")
    if encoder.codec in _NEVER_SILENT and tags.matrix == formats.UNSAID:
        tags = replace(tags, matrix=formats.assumed_matrix(color, info.height))
        result = replace(result, matrix=result.matrix if result.matrix != formats.UNSAID else tags.matrix)
    if kind == "video" and info.layout.family == choice.layout.family == "yuv":
        warnings += _matrix_warnings(encoder, result.matrix, info.height, matrices or _USUAL)
    converting = [*converters, formats.setparams(result)] if converters else []
    return Conformed(
        feed=feed,
        choice=choice,
        tagging=formats.setparams(tags),
        converting=tuple(text for text in converting if text),
        range=result.range,
        mark_full_range=marked,
        warnings=tuple(warnings),
    )


def _matrix_warnings(encoder: EncoderInfo, matrix: int, height: int, held: tuple[int, ...]) -> list[str]:
    """A line where players will compute with another matrix, since the codec or the file has no word for this one."""
    if matrix in held or matrix not in formats.MATRICES:
        return []
    taken = _NEVER_SILENT.get(encoder.codec, usual_matrix(height))
    return [
        f"the mark of the colours' matrix, {formats.MATRICES[matrix]}, is lost: {encoder.codec} has no word for it, "
        f"players take {formats.MATRICES[taken]} and show other colours"
    ]


def _pixels(
    encoder: EncoderInfo,
    info: VideoInfo,
    settings: EncodeSettings,
    tools: Tools,
    user_options: Iterable[UserOption],
    kind: formats.Kind,
) -> tuple[PixelLayout, formats.Choice]:
    """(layout on the pipe, pixel format of the encoder); the user's own ``-pix_fmt`` decides where there is one."""
    layout = info.layout
    named = next((value for name, value in user_options if name.partition(":")[0] == "pix_fmt"), None)
    available = (named,) if named else encoder.formats or encoder_formats(tools, encoder.name)
    prefer_420 = settings.codec is None and layout.family == "rgb" and encoder.codec in _DELIVERY
    choice = formats.nearest(layout, available, prefer_420=prefer_420)
    if choice is None:
        found = f"'{printable(named)}' is unknown" if named else f"of {', '.join(available[:4])} none is in main memory"
        raise EncoderError(f"{encoder.name} takes no pixel format slomo can make ({found}): choose another --codec")
    # Gray has no chroma to convert, so it is fed with neutral chroma where the encoder wants some. Images take gray for
    # full range, whatever it says of itself; as YUV its range is heard.
    darkened = layout.family == "gray" and kind != "video" and info.color.range == formats.LIMITED
    if layout.family == "gray" and (choice.layout.family == "yuv" or darkened):
        feed = formats.with_neutral_chroma(layout)
        colourful = [name for name in available if not name.startswith("gray")]
        return feed, replace(formats.nearest(feed, colourful) or choice, losses=choice.losses)
    return layout, choice


def _kind(encoder: EncoderInfo) -> formats.Kind:
    """What readers take for granted of this codec's colours."""
    if encoder.codec in ("mjpeg", "webp"):
        return "jpeg" if encoder.codec == "mjpeg" else "webp"
    return "image" if encoder.codec in ("png", "apng", "tiff", "bmp", "gif") else "video"

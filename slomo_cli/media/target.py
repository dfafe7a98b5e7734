"""What will be written and how, decided before the run: container, encoder, pixel format, colour tags, orientation.

``choose_target`` looks at the output's name, the source's headers and the settings. It reads no file; the only thing
it may run is the one-frame trial of an encoder that needs a device.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from slomo_cli.errors import EncoderError, UsageError, printable
from slomo_cli.media import formats
from slomo_cli.media.args import UserOption, parse_encoder_args
from slomo_cli.media.codecs import CODECS, ENCODERS, Encoder, codec_word, encoder_of, quality_options
from slomo_cli.media.containers import BY_EXTENSION, CONTAINERS, STREAMED, Container
from slomo_cli.media.ffmpeg import Tools, literal, try_encoder
from slomo_cli.media.hdr import hdr_options
from slomo_cli.media.orientation import orientation_of
from slomo_cli.values import ColorInfo, EncodeSettings, PixelLayout, VideoInfo

_NUMBERED = re.compile(r"%(0\d{1,2})?d")
_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Target:
    """Everything about the output that is known before the run."""

    path: Path | None
    """The file, or for image sequences the pattern with its ``%03d``; None is standard output."""
    container: str
    """FFmpeg's muxer name."""
    extension: str
    """Ending of the name, without the dot."""
    codec: str
    """FFmpeg's codec name of the picture."""
    encoder: str
    """FFmpeg's encoder name."""
    pix_fmt: str
    """Pixel format the encoder is given."""
    feed: PixelLayout
    """Layout of the raw planes on the pipe."""
    width: int
    """Width on the pipe, padding included."""
    height: int
    pad: tuple[int, int]
    """Columns and rows added at the right and bottom, copies of the last ones."""
    filters: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Output options, as (name without dash, value)."""
    user_options: tuple[UserOption, ...] = ()
    input_args: tuple[str, ...] = ()
    """Arguments before the pipe input."""
    warnings: tuple[str, ...] = ()
    """One line for each thing that is lost or changed, written before the run."""
    still: bool = False
    """Images, one file a frame."""
    overwrite: bool = False
    ffmpeg_version: tuple[int, int] = (99, 0)

    @property
    def output_args(self) -> tuple[str, ...]:
        """The options as ffmpeg reads them, for showing."""
        return tuple(word for name, value in self.options for word in (f"-{name}", value))

    @property
    def temporary(self) -> Path | None:
        """Where the output grows until it is whole: a hidden file beside the target, or a hidden folder for images."""
        if self.path is None:
            return None
        stem = self.path.name
        if self.still:
            return self.path.with_name(_hidden(stem, ".slomo-part"))
        return self.path.with_name(_hidden(stem, f".slomo-part.{self.extension}"))

    @property
    def ffmpeg_output(self) -> str:
        """The output as ffmpeg is told it; never a protocol, an option or (for one file) a pattern."""
        if self.temporary is None:
            return "pipe:1"
        if self.still:
            return literal(self.temporary).replace("%", "%%") + f"{os.sep}%d.{self.extension}"
        return literal(self.temporary)

    def image_path(self, number: int) -> Path:
        """The file of image ``number``, counted from 1."""
        assert self.path is not None
        return self.path.with_name(_NUMBERED.sub(lambda match: match[0] % number, self.path.name, count=1))


def _hidden(name: str, ending: str) -> str:
    """``.name.ending`` cut to what a file system takes; a cut name keeps a digest so that two never meet."""
    if len(os.fsencode(f".{name}{ending}")) <= _NAME_BYTES:
        return f".{name}{ending}"
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{digest}{ending}"


def choose_target(
    path: str | os.PathLike[str] | None,
    info: VideoInfo,
    layout: PixelLayout,
    settings: EncodeSettings,
    tools: Tools,
    rate: Fraction,
    *,
    frames: int | None = None,
) -> Target:
    """Decide what is written.

    path: the output's name; None or ``-`` is standard output (Matroska). layout: the planes slomo will feed.
    rate: frames per second of the output. frames: how many, if known (a single image needs no pattern in its name).

    Raises UsageError for a request that contradicts itself (a container that cannot hold the codec, a bad ``--crf``)
    and EncoderError when the encoder is not there or refuses its trial.
    """
    target_path = None if path is None or os.fspath(path) == "-" else Path(path)
    container, extension = _container(target_path)
    if target_path is not None:
        _check_pattern(target_path, container, frames)
    user_options = parse_encoder_args(settings.encoder_args)
    warnings: list[str] = []
    encoder = _choose_encoder(container, extension, layout, settings, tools)
    feed = layout
    pix_fmt_named = next((value for name, value in user_options if name.partition(":")[0] == "pix_fmt"), None)
    available = (pix_fmt_named,) if pix_fmt_named else encoder.formats or encoder_formats(tools, encoder.name)
    prefer_420 = settings.codec is None and layout.family == "rgb" and encoder.codec in ("h264", "hevc", "av1", "vp9")
    choice = formats.nearest(feed, available, prefer_420=prefer_420)
    if choice is None:
        raise EncoderError(
            f"{encoder.name} takes no pixel format slomo can make"
            + (f" ('{printable(pix_fmt_named)}' is unknown)" if pix_fmt_named else "")
            + ": choose another --codec"
        )
    if feed.family == "gray" and choice.layout.family == "yuv":
        feed = formats.with_neutral_chroma(feed)
        choice = replace(formats.nearest(feed, available) or choice, losses=choice.losses)
    if encoder.hardware:
        complaint = try_encoder(tools, encoder.name, choice.pix_fmt)
        if complaint is not None:
            raise EncoderError(f"{encoder.name} does not work here: {complaint}; {_alternatives(encoder, tools)}")
    if choice.losses:
        warnings.append(
            f"{encoder.name} in .{extension} cannot hold all of the source: {', '.join(choice.losses)} lost"
        )

    kind = _kind(encoder)
    converters, color = formats.conversion(feed, choice, info.color, info.height, kind)
    version = version_number(tools.version)
    orientation = orientation_of(info.display_matrix)
    as_tag = container.display_matrix is not None and version >= container.display_matrix
    turned = () if as_tag else orientation.filters
    if turned:
        warnings.append(
            f"the picture is turned upright: .{extension} written by this ffmpeg has no mark for orientation"
        )
    elif not as_tag and not orientation.is_upright and not orientation.is_right_angled:
        warnings.append(f"the rotation of {info.rotation} degrees is lost: .{extension} has no mark for it")
    swapped = bool(turned) and orientation.swaps_sides
    pad = _padding(encoder, choice, info.width, info.height, swapped)
    if pad != (0, 0):
        warnings.append(
            f"{encoder.name} needs even sizes: {info.width}x{info.height} is padded to "
            f"{info.width + pad[0]}x{info.height + pad[1]} by repeating the last {_lines(pad)}"
        )
    width, height = info.width + pad[0], info.height + pad[1]
    _check_size(encoder, width, height)

    # Planar RGB is RGB by its format; a matrix left over from the source's tags would only contradict it.
    tags = replace(info.color, matrix=0) if feed.family == "rgb" else info.color
    filters = [formats.setparams(tags), *turned, *converters]
    if converters:
        filters.append(formats.setparams(color))
    aspect = info.sample_aspect
    if aspect and aspect != 1:
        aspect = 1 / aspect if swapped else aspect
        filters.append(
            f"setsar={aspect.numerator}/{aspect.denominator}:max={max(aspect.numerator, aspect.denominator)}"
        )

    options: list[tuple[str, str]] = [("pix_fmt:v:0", choice.pix_fmt)] if encoder.name != "gif" else []
    options += _specified(encoder.fixed)
    options += _specified(quality_options(encoder, settings.crf, settings.preset))
    if encoder.codec == "prores" and settings.preset is None:
        options.append(("profile:v:0", "3" if "422" in choice.pix_fmt else "4"))
    hdr_said, hdr_warnings = hdr_options(info.hdr, encoder.name)
    options = _joined(options, _specified(hdr_said))
    warnings += hdr_warnings
    options += _container_options(container, encoder, settings)
    warnings += _rate_limits(encoder, rate)
    return Target(
        path=target_path,
        container=container.muxer,
        extension=extension,
        codec=encoder.codec,
        encoder=encoder.name,
        pix_fmt=choice.pix_fmt,
        feed=feed,
        width=width,
        height=height,
        pad=pad,
        filters=tuple(text for text in filters if text),
        options=tuple(options),
        user_options=user_options,
        input_args=_location_args(info.color, feed) + (orientation.input_args if as_tag else ()),
        warnings=tuple(warnings),
        still=container.still,
        overwrite=settings.overwrite,
        ffmpeg_version=version,
    )


def version_number(version: str) -> tuple[int, int]:
    """(major, minor) of what ffmpeg calls itself; a build from a snapshot counts as newer than every release."""
    match = re.match(r"n?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (99, 0)


# ------------------------------------------------------------------------------------------- container and encoder


def _container(path: Path | None) -> tuple[Container, str]:
    if path is None:
        return STREAMED, STREAMED.extensions[0]
    if path.is_dir():
        raise UsageError(f"expected the name of a file for the output, found the folder '{printable(path)}'")
    extension = path.suffix[1:].lower()
    if extension not in BY_EXTENSION:
        found = f"'.{printable(extension)}'" if extension else f"none in '{printable(path.name)}'"
        raise UsageError(f"expected an output ending in {', '.join(sorted(BY_EXTENSION))}, found {found}")
    return BY_EXTENSION[extension], extension


def _check_pattern(path: Path, container: Container, frames: int | None) -> None:
    """Images need a number in their name, unless there is only one."""
    if container.still and frames != 1 and not _NUMBERED.search(path.name):
        example = printable(f"{path.stem}_%05d{path.suffix}")
        raise UsageError(
            f"expected a pattern such as {example} for a sequence of images, found '{printable(path.name)}'"
        )


def _default_codec(container: Container, extension: str, layout: PixelLayout) -> str:
    """The codec for a container when the user names none: what plays most widely and still holds the source."""
    if container.still or container.muxer in ("gif", "apng", "webp"):
        return codec_word(extension)
    if container.muxer == "webm":
        return "vp9"
    if layout.alpha and container.muxer == "mov":
        return "prores"
    if layout.alpha and container.muxer in ("matroska", "nut"):
        return "ffv1"
    if container.muxer == "avi":
        return "ffv1" if layout.alpha or layout.bits > 8 else "mpeg4"
    if layout.bits > 8:
        return "hevc"
    return "h264"


def _choose_encoder(
    container: Container, extension: str, layout: PixelLayout, settings: EncodeSettings, tools: Tools
) -> Encoder:
    """The encoder for the user's word, or for the container when there is none."""
    word = codec_word(settings.codec) if settings.codec else _default_codec(container, extension, layout)
    if word in CODECS:
        names = [name for name in CODECS[word] if name in tools.encoders]
        # Only software stands in by itself for the first choice; hardware is for whoever names it, or the last way out.
        if not names:
            raise EncoderError(f"this ffmpeg ({tools.version}) has no encoder for {word}; {_alternatives(None, tools)}")
        encoder = encoder_of(names[0])
    elif word in tools.encoders:
        encoder = encoder_of(word)
    elif word in ENCODERS:
        raise EncoderError(
            f"this ffmpeg ({tools.version}) has no encoder {word}; {_alternatives(ENCODERS[word], tools)}"
        )
    else:
        raise UsageError(
            f"expected --codec {', '.join(CODECS)} or an ffmpeg encoder's name, found '{printable(settings.codec)}'"
        )
    if container.video is not None and encoder.codec not in container.video:
        fitting = [c.extensions[0] for c in CONTAINERS if c.video is None or encoder.codec in c.video]
        raise UsageError(f".{extension} cannot hold {encoder.codec}: use .{', .'.join(fitting)} or another --codec")
    return encoder


def _alternatives(encoder: Encoder | None, tools: Tools) -> str:
    """What to do instead, from what this ffmpeg has."""
    same = CODECS.get(encoder.codec, ()) if encoder else ()
    working = [name for name in same if name in tools.encoders and not encoder_of(name).hardware]
    working = working or [word for word, names in CODECS.items() if any(n in tools.encoders for n in names)]
    return f"use --codec {' or '.join(working[:6])}" if working else "use another ffmpeg with --ffmpeg"


@lru_cache(maxsize=256)
def _formats_of(ffmpeg: str, encoder: str) -> tuple[str, ...]:
    try:
        done = subprocess.run(
            [ffmpeg, "-hide_banner", "-h", f"encoder={encoder}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ("yuv420p",)
    match = re.search(r"Supported pixel formats: (.+)", done.stdout)
    return tuple(match[1].split()) if match else ("yuv420p",)


def encoder_formats(tools: Tools, encoder: str) -> tuple[str, ...]:
    """Pixel formats an encoder says it takes; asked once for each ffmpeg. ``yuv420p`` where it says nothing."""
    return _formats_of(tools.path, encoder)


def _kind(encoder: Encoder) -> formats.Kind:
    if encoder.codec in ("mjpeg", "webp"):
        return "jpeg" if encoder.codec == "mjpeg" else "webp"
    return "image" if encoder.codec in ("png", "apng", "tiff", "bmp", "gif") else "video"


# --------------------------------------------------------------------------------------------------- sizes and tags


def _padding(encoder: Encoder, choice: formats.Choice, width: int, height: int, swapped: bool) -> tuple[int, int]:
    """Columns and rows missing to a whole number of chroma samples, for encoders that insist."""
    if not encoder.whole_chroma:
        return 0, 0
    step_x, step_y = 1 << choice.layout.chroma_shift_x, 1 << choice.layout.chroma_shift_y
    if swapped:
        step_x, step_y = step_y, step_x
    return -width % step_x, -height % step_y


def _lines(pad: tuple[int, int]) -> str:
    return " and ".join(name for name, count in zip(("column", "row"), pad, strict=True) if count)


def _check_size(encoder: Encoder, width: int, height: int) -> None:
    low, high = encoder.range_of_sizes
    if not low <= min(width, height) or not max(width, height) <= high:
        raise EncoderError(
            f"{encoder.name} takes pictures of {low} to {high} pixels a side, found {width}x{height}: "
            "choose another --codec (ffv1 in .mkv takes every size)"
        )


def _location_args(color: ColorInfo, feed: PixelLayout) -> tuple[str, ...]:
    """Chroma siting goes in with the picture: as an input option every version of ffmpeg hands it on."""
    name = formats.CHROMA_LOCATIONS.get(color.chroma_location)
    sited = feed.family == "yuv" and (feed.chroma_shift_x or feed.chroma_shift_y)
    return ("-chroma_sample_location:v:0", name) if name and sited else ()


# ---------------------------------------------------------------------------------------------------------- options


def _specified(options: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same options for the first picture stream only: a cover picture beside it must not be encoded."""
    return [(f"{name.removesuffix(':v')}:v:0", value) for name, value in options]


def _joined(options: list[tuple[str, str]], more: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Both lists; values of an option in both (x265-params) become one, separated by a colon."""
    result = list(options)
    for name, value in more:
        at = next((place for place, (own, _) in enumerate(result) if own == name), None)
        if at is None:
            result.append((name, value))
        else:
            result[at] = (name, f"{result[at][1]}:{value}")
    return result


def _container_options(container: Container, encoder: Encoder, settings: EncodeSettings) -> list[tuple[str, str]]:
    options: list[tuple[str, str]] = []
    if container.muxer in ("mp4", "mov"):
        if encoder.codec == "hevc":
            options.append(("tag:v:0", "hvc1"))  # what Apple's players insist on
        if settings.faststart:
            options.append(("movflags", "+faststart"))
    if container.muxer in ("gif", "webp"):
        options.append(("loop", "0"))
    if container.muxer == "apng":
        options.append(("plays", "0"))
    return options


def _rate_limits(encoder: Encoder, rate: Fraction) -> list[str]:
    """GIF counts in hundredths of a second, and its players slow down what is shorter than two of them."""
    if encoder.codec != "gif" or rate <= 50:
        return []
    if rate > 100:
        raise UsageError(f"GIF holds at most 100 frames per second, found {float(rate):.6g}: use --rate 50 or less")
    return [f"players show a GIF at 50 frames per second at most, found {float(rate):.6g}: it will run slow"]

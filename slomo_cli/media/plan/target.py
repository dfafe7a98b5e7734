"""What will be written and how, decided before the run: container, encoder, pixel format, colour tags, orientation.

``choose_target`` looks at the output's name, the source's headers and the settings. It reads no file; all that it may
run is an ffmpeg that says what an encoder takes, or tries one that needs a device with one frame.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from slomo_cli.errors import EncoderError
from slomo_cli.media import formats
from slomo_cli.media.containers import Container
from slomo_cli.media.ffmpeg import Tools, literal, try_encoder
from slomo_cli.media.names import numbered
from slomo_cli.media.orientation import UPRIGHT, orientation_of
from slomo_cli.media.plan import losses
from slomo_cli.media.plan.choose import (
    alternatives,
    check_pattern,
    choose_encoder,
    container_of,
)
from slomo_cli.media.plan.codecs import DNXHR, EncoderInfo, quality_options
from slomo_cli.media.plan.conform import conform
from slomo_cli.media.plan.hdr import hdr_options
from slomo_cli.media.plan.limits import refuse_rate, refuse_size
from slomo_cli.media.plan.wishes import UserOption, parse_encoder_args, refuse_other_encoder
from slomo_cli.media.plays import play_options
from slomo_cli.values import ColorInfo, EncodeSettings, PixelLayout, VideoInfo

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
    rate: Fraction
    """Frames per second, the mean where each has its own time."""
    filters: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    """Output options, as (name without dash, value)."""
    user_options: tuple[UserOption, ...]
    input_args: tuple[str, ...]
    """Arguments before the pipe input."""
    warnings: tuple[str, ...]
    """One line for each thing that is lost or changed, written before the run."""
    still: bool
    """Images, one file a frame."""
    mark_full_range: bool
    """The finished Matroska file is to be marked as full range, see :mod:`slomo_cli.media.matroska`."""
    overwrite: bool
    ffmpeg_version: tuple[int, int]
    """Major and minor, (99, 0) for a snapshot."""

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
    def parts_folder(self) -> Path | None:
        """Where the finished parts of a film lie that is made in parts: a hidden folder beside the target."""
        return None if self.path is None else self.path.with_name(_hidden(self.path.name, ".slomo-parts"))

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
        return numbered(self.path, number)


def _hidden(name: str, ending: str) -> str:
    """``.name.ending`` cut to what a file system takes; a cut name keeps a digest so that two never meet."""
    if len(os.fsencode(f".{name}{ending}")) <= _NAME_BYTES:
        return f".{name}{ending}"
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{digest}{ending}"


def choose_target(
    path: str | os.PathLike[str] | None,
    info: VideoInfo,
    settings: EncodeSettings,
    tools: Tools,
    rate: Fraction,
    *,
    frames: int,
    plays: int | None = None,
) -> Target:
    """Decide what is written.

    path: the output's name; None or ``-`` is standard output (Matroska). info: of the pictures that will be fed.
    rate: frames per second of the output. frames: how many there will be; an image alone needs no number in its name.
    plays: how many times an animation is shown; None and 0 are for ever.

    Raises UsageError for a request that contradicts itself (a container that cannot hold the codec, a bad ``--crf``)
    and EncoderError when the encoder is not there or refuses its trial.
    """
    target_path = _written(path)
    container, extension = container_of(target_path)
    if target_path is not None:
        check_pattern(target_path, container, frames)
    user_options = parse_encoder_args(settings.encoder_args)
    encoder = choose_encoder(container, extension, info.layout, settings, tools)
    refuse_other_encoder(user_options, encoder.name)
    pixels = conform(encoder, container, info, settings, tools, user_options, can_be_marked=target_path is not None)
    choice = pixels.choice
    if encoder.hardware and (complaint := try_encoder(tools, encoder.name, choice.pix_fmt)) is not None:
        raise EncoderError(f"{encoder.name} does not work here: {complaint}; {alternatives(encoder, tools)}")

    orientation = orientation_of(info.display_matrix)
    has_tag = container.display_matrix is not None and tools.release >= container.display_matrix
    by_tag, by_filters = (orientation, UPRIGHT) if has_tag else (UPRIGHT, orientation)
    pad = _padding(encoder, choice, info.width, info.height, by_filters.swaps_sides)
    width, height = info.width + pad[0], info.height + pad[1]
    refuse_size(encoder, *((height, width) if by_filters.swaps_sides else (width, height)))
    refuse_rate(container.muxer, extension, encoder, rate, user_options, settings.preset)
    hdr_said, hdr_warnings = hdr_options(info.hdr, encoder.name)
    options = _picture_options(encoder, choice, settings)
    options = _joined(options, _specified(hdr_said))
    options += _container_options(container, encoder, settings, plays)
    filters = (pixels.tagging, *by_filters.filters, *pixels.converting, _shape(info, by_filters.swaps_sides))
    if encoder.name == "dnxhd":
        filters += ("copy",)  # above 8 bits it crashes on rows that do not begin at multiples of 16 bytes, as on a pipe
    return Target(
        path=target_path,
        container=container.muxer,
        extension=extension,
        codec=encoder.codec,
        encoder=encoder.name,
        pix_fmt=choice.pix_fmt,
        feed=pixels.feed,
        width=width,
        height=height,
        pad=pad,
        filters=tuple(text for text in filters if text),
        options=tuple(options),
        user_options=user_options,
        input_args=_location_args(info.color, pixels.feed) + by_tag.input_args,
        warnings=(
            *pixels.warnings,
            *losses.of_source(info, container),
            *losses.of_orientation(extension, by_filters),
            *losses.of_marks(info, container, encoder, extension),
            *losses.of_range(pixels, container, encoder, extension),
            *losses.by_padding(encoder, info, pad),
            *hdr_warnings,
            *losses.of_speed(encoder, rate),
        ),
        rate=rate,
        still=container.still,
        mark_full_range=pixels.mark_full_range,
        overwrite=settings.overwrite,
        ffmpeg_version=tools.release,
    )


def _written(path: str | os.PathLike[str] | None) -> Path | None:
    """The file to write, None for standard output. A link stays, what it leads to is written."""
    if path is None or os.fspath(path) == "-":
        return None
    written = Path(path)
    return Path(os.path.realpath(written)) if written.is_symlink() else written


# --------------------------------------------------------------------------------------------------- sizes and tags


def _padding(encoder: EncoderInfo, choice: formats.Choice, width: int, height: int, swapped: bool) -> tuple[int, int]:
    """Columns and rows missing to a whole number of chroma samples, for encoders that insist."""
    if not encoder.whole_chroma:
        return 0, 0
    step_x, step_y = 1 << choice.layout.chroma_shift_x, 1 << choice.layout.chroma_shift_y
    if swapped:
        step_x, step_y = step_y, step_x
    return -width % step_x, -height % step_y


def _shape(info: VideoInfo, swapped: bool) -> str:
    """The filter that keeps the pixels' shape; '' for square ones."""
    aspect = 1 / info.sample_aspect if swapped and info.sample_aspect else info.sample_aspect
    if not aspect or aspect == 1:
        return ""
    return f"setsar={aspect.numerator}/{aspect.denominator}:max={max(aspect.numerator, aspect.denominator)}"


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


def _picture_options(encoder: EncoderInfo, choice: formats.Choice, settings: EncodeSettings) -> list[tuple[str, str]]:
    """Pixel format, quality, and what follows from them."""
    options = [("pix_fmt:v:0", choice.pix_fmt)] if encoder.codec != "gif" else []
    options += _specified(encoder.fixed)
    options += _specified(quality_options(encoder, settings.crf, settings.preset))
    if encoder.codec == "prores" and settings.preset is None:
        options.append(("profile:v:0", "3" if "422" in choice.pix_fmt else "4"))
    if encoder.name == "dnxhd":
        options.append(("profile:v:0", DNXHR.get(choice.pix_fmt, "dnxhr_hq")))
    if encoder.name in ("libvpx", "libvpx-vp9") and choice.layout.alpha:
        options.append(("auto-alt-ref:v:0", "0"))  # hidden frames and alpha do not go together in libvpx
    return options


def _container_options(
    container: Container, encoder: EncoderInfo, settings: EncodeSettings, plays: int | None
) -> list[tuple[str, str]]:
    options = play_options(container.muxer, plays)
    if container.muxer in ("mp4", "mov"):
        if encoder.codec == "hevc":
            options.append(("tag:v:0", "hvc1"))  # what Apple's players insist on
        if settings.faststart:
            options.append(("movflags", "+faststart"))
    if container.muxer == "avi":
        # MP3's delay makes its first stamp negative; moving everything up from there would shift the picture.
        options.append(("avoid_negative_ts", "disabled"))
    return options

"""Which container and which encoder: from the output's name, the user's words and what this ffmpeg has."""

from __future__ import annotations

from pathlib import Path

from slomo_cli.errors import EncoderError, UsageError, printable
from slomo_cli.media.containers import BY_EXTENSION, CONTAINERS, STREAMED, Container
from slomo_cli.media.ffmpeg import Tools
from slomo_cli.media.names import NUMBERED
from slomo_cli.media.plan.codecs import CODECS, ENCODERS, EncoderInfo, codec_word, encoder_of
from slomo_cli.values import EncodeSettings, PixelLayout


def container_of(path: Path | None) -> tuple[Container, str]:
    if path is None:
        return STREAMED, STREAMED.extensions[0]
    if path.is_dir():
        raise UsageError(f"expected the name of a file for the output, found the folder '{printable(path)}'")
    extension = path.suffix[1:].lower()
    if extension not in BY_EXTENSION:
        found = f"'.{printable(extension)}'" if extension else f"none in '{printable(path.name)}'"
        raise UsageError(f"expected an output ending in {', '.join(sorted(BY_EXTENSION))}, found {found}")
    return BY_EXTENSION[extension], extension


def check_pattern(path: Path, container: Container, frames: int) -> None:
    """Images need a number in their name, unless there is only one."""
    if container.still and frames != 1 and not NUMBERED.search(path.name):
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


def _image_codec(extension: str) -> str:
    """What a picture of this ending is in."""
    return encoder_of(CODECS[codec_word(extension)][0]).codec


def choose_encoder(
    container: Container, extension: str, layout: PixelLayout, settings: EncodeSettings, tools: Tools
) -> EncoderInfo:
    """The encoder for the user's word, or for the container when there is none."""
    word = codec_word(settings.codec) if settings.codec else _default_codec(container, extension, layout)
    if word in CODECS:
        names = [name for name in CODECS[word] if name in tools.encoders]
        # Only software stands in by itself for the first choice; hardware is for whoever names it, or the last way out.
        if not names:
            raise EncoderError(f"this ffmpeg ({tools.version}) has no encoder for {word}; {alternatives(None, tools)}")
        encoder = encoder_of(names[0])
    elif word in tools.encoders:
        encoder = encoder_of(word)
    elif word in ENCODERS:
        raise EncoderError(
            f"this ffmpeg ({tools.version}) has no encoder {word}; {alternatives(ENCODERS[word], tools)}"
        )
    else:
        raise UsageError(
            f"expected --codec {', '.join(CODECS)} or an ffmpeg encoder's name, found '{printable(settings.codec)}'"
        )
    if not container.holds(encoder.codec) or (container.still and _image_codec(extension) != encoder.codec):
        holding = [c for c in CONTAINERS if c.holds(encoder.codec)]
        fitting = [next(e for e in c.extensions if not c.still or _image_codec(e) == encoder.codec) for c in holding]
        raise UsageError(f".{extension} cannot hold {encoder.codec}: use .{', .'.join(fitting)} or another --codec")
    return encoder


def alternatives(encoder: EncoderInfo | None, tools: Tools) -> str:
    """What to do instead, from what this ffmpeg has."""
    same = CODECS.get(encoder.codec, ()) if encoder else ()
    working = [name for name in same if name in tools.encoders and not encoder_of(name).hardware]
    working = working or [word for word, names in CODECS.items() if any(n in tools.encoders for n in names)]
    return f"use --codec {' or '.join(working[:6])}" if working else "use another ffmpeg with --ffmpeg"

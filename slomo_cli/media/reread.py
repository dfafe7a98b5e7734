"""Counts the pictures in a file that was just written, by walking its packets; the first one only is decoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slomo_cli.errors import EncoderError, printable
from slomo_cli.media.ffmpeg import literal

if TYPE_CHECKING:
    from slomo_cli.media.target import Target


def count_pictures(path: Path, target: Target, written: int) -> int:
    """Pictures found in the temporary file, or image files in the temporary folder; ``written`` is what was sent.

    Raises EncoderError when the file cannot be read back at all.
    """
    if target.still:
        return _count_images(path, target.extension)
    if target.container == "webp":
        return _count_webp(path, target.rate, written)
    return _count_packets(path, target.container)


def _count_packets(path: Path, container: str) -> int:
    import av

    from slomo_cli.media.source import ANY_TAGS

    try:
        with av.open(literal(path), format=_DEMUXERS.get(container), **ANY_TAGS) as source:
            if not source.streams.video:
                return 0
            stream: Any = source.streams.video[0]
            count, seen = 0, stream.codec_context is None  # what has no decoder here cannot be judged
            for packet in source.demux(stream):
                seen = seen or bool(packet.decode())
                # A packet outside the track's edit list is there but never shown.
                count += bool(packet.size and not packet.is_discard)
            return count
    except (av.error.FFmpegError, OSError) as error:
        raise EncoderError(
            f"what ffmpeg wrote cannot be read back ({printable(error)}): nothing is kept; "
            "another --codec or kind of file may do"
        ) from None


_DEMUXERS = {"mp4": "mov", "mov": "mov", "matroska": "matroska", "webm": "matroska", "mpegts": "mpegts", "avi": "avi"}


def _count_images(folder: Path, extension: str) -> int:
    """Images numbered from 1 without a hole, none of them empty."""
    count = 0
    while True:
        name = folder / f"{count + 1}.{extension}"
        if not name.is_file() or name.stat().st_size == 0:
            return count
        count += 1


def _count_webp(path: Path, rate: Fraction, written: int) -> int:
    """Pictures an animated WebP shows: libav at hand may not read it, so its chunks are walked.

    The encoder joins equal neighbours into one longer picture, so the time they are shown is what counts: within one
    picture's time of what was written, it is all there. Equal pictures alone become a still image without any time.

    Layout: RIFF size WEBP, then chunks of a 4-byte name, a little-endian 32-bit size and data padded to even length;
    in ANMF the duration in milliseconds is the 3 bytes from 12 (WebP Container Specification).
    """
    pictures, milliseconds, stills = 0, 0, 0
    with open(path, "rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:12] != b"WEBP":
            raise EncoderError("what ffmpeg wrote is not a WebP file: nothing is kept")
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            after = file.tell() + size + size % 2
            if chunk[:4] == b"ANMF":
                pictures += 1
                milliseconds += int.from_bytes(file.read(15)[12:15], "little")
            stills += chunk[:4] in (b"VP8 ", b"VP8L")
            file.seek(after)
    if not pictures:
        return written if stills == 1 else 0
    shown = Fraction(milliseconds, 1000) * rate
    return written if abs(shown - written) <= 1 and pictures <= written else pictures

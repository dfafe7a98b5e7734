"""Counts the pictures in a file that was just written, by walking its packets; only its ends are decoded."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error

from slomo_cli.errors import EncoderError, printable
from slomo_cli.media.ffmpeg import literal
from slomo_cli.media.read.opening import ANY_TAGS, tell_lack
from slomo_cli.media.webp import read_animation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slomo_cli.media.plan.target import Target


def count_pictures(path: Path, target: Target, written: int, last: Fraction | None = None) -> int:
    """Pictures found in the temporary file, or image files in the temporary folder; ``written`` is what was sent.

    last: when the last of them is shown, in seconds from the first; None where they follow each other evenly.
    Raises EncoderError when the file cannot be read back at all, or not to its end.
    """
    if target.still:
        return _count_images(path, target.extension)
    if target.container == "webp":
        return _count_webp(path, (written - 1) / target.rate if last is None else last, written)
    return _count_packets(path, target.container)


def _count_packets(path: Path, container: str) -> int:
    with _opened(path, container) as source:
        if not source.streams.video:
            return 0
        stream: Any = source.streams.video[0]
        decodes = stream.codec_context is not None  # what has no decoder here cannot be judged
        count, seen = 0, not decodes
        key: Any = None
        last: int | None = None
        for packet in source.demux(stream):
            seen = seen or bool(packet.decode())
            # A packet outside the track's edit list is there but never shown.
            if not packet.size or packet.is_discard:
                continue
            count += 1
            if packet.is_keyframe and packet.pts is not None:
                key = packet
            if last is None or (packet.pts is not None and packet.pts > last):
                last = packet.pts
    if not decodes or key is None or last is None:
        return count
    # With intra refresh, pictures are whole only some time after what is called a key frame; then all are decoded.
    if any(_is_end_seen(path, container, begin, last) for begin in (key, None)):
        return count
    raise EncoderError(f"the last picture of what ffmpeg wrote cannot be read back: {_NOTHING_KEPT}")


def _is_end_seen(path: Path, container: str, key: Any, last: int) -> bool:
    """Whether the picture stamped ``last`` comes whole when decoding begins at the packet ``key``, or, where that is
    None, at the beginning."""
    reached, whole = key is None, False
    with suppress(EncoderError), _opened(path, container) as source:
        stream = source.streams.video[0]
        stream.thread_type = "AUTO"  # --resume waits for this after every part
        if key is not None and container != "mpegts":  # which has no index: seeking leads to any packet near
            with suppress(av.error.FFmpegError):  # then it is read from its beginning
                source.seek(key.pts, stream=stream)
        try:
            for packet in source.demux(stream):
                reached = reached or packet.pos == key.pos
                if reached:
                    whole = any(picture.pts == last and not picture.is_corrupt for picture in packet.decode()) or whole
        except av.error.PatchWelcomeError:  # a lack of libav's, as in APNG of 16 bits with alpha, says nothing
            return True
        return whole or not reached
    return False


@contextmanager
def _opened(path: Path, container: str | None = None) -> Iterator[Any]:
    """What was written, open for reading; whatever libav cannot read or decode of it is an EncoderError."""
    try:
        with av.open(literal(path), format=_DEMUXERS.get(container or ""), **ANY_TAGS) as source:
            yield source
    except (av.error.FFmpegError, OSError) as error:
        tell_lack(error)
        raise EncoderError(f"what ffmpeg wrote cannot be read back ({printable(error)}): {_NOTHING_KEPT}") from None


_NOTHING_KEPT = "nothing is kept; another --codec or kind of file may do"
_DEMUXERS = {"mp4": "mov", "mov": "mov", "matroska": "matroska", "webm": "matroska", "mpegts": "mpegts", "avi": "avi"}


def _count_images(folder: Path, extension: str) -> int:
    """Images numbered from 1 without a hole, none of them empty; the first and the last one are decoded."""
    count = 0
    while (name := folder / f"{count + 1}.{extension}").is_file() and name.stat().st_size:
        count += 1
    for number in {1, count} if count else ():
        with _opened(folder / f"{number}.{extension}") as source:
            next(source.decode(video=0))
    return count


def _count_webp(path: Path, last: Fraction, written: int) -> int:
    """Pictures an animated WebP shows: libav at hand may not read it, so its chunks are walked.

    The encoder joins equal neighbours into one longer picture, so the time they are shown is what counts: within one
    picture's time of what was written, it is all there. It lets the last one, shown from ``last`` on, stand as long as
    those before it do on the average. Equal pictures alone become a still image without any time.
    """
    found = read_animation(path)
    if found is None:
        raise EncoderError("what ffmpeg wrote is not a WebP file: nothing is kept")
    pictures = len(found.lengths)
    if not pictures:
        return written if found.stills == 1 else 0
    shown = Fraction(sum(found.lengths), 1000) * (written - 1) / last if last else Fraction(pictures)
    return written if abs(shown - written) <= 1 and pictures <= written else pictures

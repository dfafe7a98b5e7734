"""Numbered pictures as a film: ``im_%04d.png``, ``im_*.png``, or a folder of pictures.

A name that exists as a file is always that file, whatever it looks like.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slomo_cli.errors import InputError, printable
from slomo_cli.media.names import by_number
from slomo_cli.media.source import PictureTrack, open_container, picture_stream
from slomo_cli.text import counted

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

DEFAULT_RATE = Fraction(30)
"""Pictures per second of a sequence when nobody says otherwise."""
CONTAINER = "image2"
"""What ``VideoInfo.container`` says of a sequence: FFmpeg's name for it."""

_GAPS_SHOWN = 4
_EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".tga", ".dpx", ".exr", ".jp2", ".ppm", ".pgm", ".pam"}
    | {".qoi", ".sgi", ".gif", ".pbm", ".pfm", ".phm", ".hdr", ".pcx", ".j2k", ".jxl", ".avif"}
)
_FILMS = frozenset("mp4 m4v mov qt mkv webm avi ts m2ts mts mpg mpeg vob wmv flv 3gp ogv mxf nut".split())
"""Endings that no picture has."""


def sequence_files(path: str | os.PathLike[str]) -> tuple[Path, ...] | None:
    """The pictures a name stands for, in their numbers' order; None when it names one file (or nothing).

    Raises InputError for a folder without pictures, or with pictures of several kinds, and for a pattern of films.
    """
    place = Path(path)
    if not os.fspath(path):
        return None
    try:
        if place.is_dir():
            return _folder(place)
        if place.exists() or not place.parent.is_dir():
            return None
    except (OSError, ValueError):
        return None
    files = _matching(place)
    if films := [file for file in files if file.suffix.lower().removeprefix(".") in _FILMS]:
        raise InputError(
            f"expected pictures of one film by the name '{printable(place)}', found {counted(len(films), 'film')}: "
            "name each, as the shell does with a pattern that is not quoted"
        )
    return files or None


def _matching(place: Path) -> tuple[Path, ...]:
    """The files that a pattern means, in their numbers' order."""
    if match := re.fullmatch(r"(.*?)%(?:0?(\d+))?d(.*)", place.name, re.DOTALL):
        digits = rf"(\d{{{match[2]},}})" if match[2] else r"(\d+)"
        pattern = re.compile(re.escape(match[1]) + digits + re.escape(match[3]), re.DOTALL)
        found = [(int(hit[1]), file) for file in place.parent.iterdir() if (hit := pattern.fullmatch(file.name))]
        return tuple(file for _, file in sorted(found))
    if re.search(r"[*?]", place.name):
        # Square brackets are names' own. What systems hide beside pictures is meant only where it is asked for.
        there = place.parent.glob(place.name.replace("[", "[[]"))
        files = [file for file in there if place.name.startswith(".") or not file.name.startswith(".")]
        return tuple(sorted(files, key=by_number))
    return ()


def _folder(folder: Path) -> tuple[Path, ...]:
    shown = f"'{printable(folder)}'"
    files = [file for file in folder.iterdir() if file.suffix.lower() in _EXTENSIONS and not file.name.startswith(".")]
    if not files:
        raise InputError(f"{shown} is a directory without pictures; expected a video file or a folder of pictures")
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        listed = ", ".join(kinds)
        raise InputError(f"{shown} holds pictures of several kinds ({listed}); name those meant, e.g. '*{kinds[0]}'")
    return tuple(sorted(files, key=by_number))


def missing(files: tuple[Path, ...]) -> str:
    """Numbers left out between the first and the last, as words such as ``3 (7, 9 to 10)``; '' when there are none.

    The number is the only part of the names that changes. Names without one, or whose numbers leap so far that they
    count something else (time stamps), miss nothing.
    """
    names = [re.split(r"(\d+)", file.name) for file in files]
    if len({len(parts) for parts in names}) != 1:
        return ""
    changing = [place for place, column in enumerate(zip(*names, strict=True)) if len(set(column)) > 1]
    if len(changing) != 1 or changing[0] % 2 == 0:
        return ""
    numbers = sorted(int(parts[changing[0]]) for parts in names)
    gaps = [(low + 1, high - 1) for low, high in itertools.pairwise(numbers) if high > low + 1]
    count = sum(high - low + 1 for low, high in gaps)
    if not gaps or count > len(files):
        return ""
    shown = [f"{low}" if low == high else f"{low} to {high}" for low, high in gaps[:_GAPS_SHOWN]]
    return f"{count} ({', '.join(shown)}{', ...' * (len(gaps) > _GAPS_SHOWN)})"


class ImageSequence(PictureTrack):
    """Pictures in files of their own, with the face of one opened film: one packet a file, stamped with its place."""

    def __init__(self, files: tuple[Path, ...], *, threads: int = 0, rate: Fraction = DEFAULT_RATE) -> None:
        super().__init__(files[0], threads=threads, frame_threads=False)
        self.files = files
        self.time_base = 1 / rate
        self._begin = 0
        self._decoders: dict[str, Any] = {self.context.name: self.context}
        self._threads = threads

    def seek(self, ticks: int) -> None:
        """Goes to the picture of this number; the last one for any beyond."""
        self._begin = max(0, min(ticks, len(self.files) - 1))

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """One packet a file; a file that cannot be opened gives none, which leaves a gap in time."""
        for number in range(self._begin, len(self.files)):
            try:
                container = open_container(self.files[number])
            except InputError:
                continue
            with container:
                try:
                    stream = picture_stream(container, "")
                except InputError:
                    continue
                decoder = self._decoders.setdefault(stream.codec_context.name, stream.codec_context)
                if not decoder.is_open:
                    decoder.thread_type, decoder.thread_count = "SLICE", self._threads
                self.context = decoder
                packet = next((packet for packet in container.demux(stream) if packet.size), None)
                if packet is not None:
                    packet.pts = packet.dts = number
                    packet.duration = 1
                    yield packet

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """The file's picture at once; there is nothing to drain."""
        return [] if packet is None else super().decode(packet)

    def close(self) -> None:
        """Releases the decoders."""
        self._decoders = {}
        super().close()


def open_picture(
    path: str | os.PathLike[str],
    *,
    stream_index: int | None = None,
    threads: int = 0,
    frame_threads: bool = True,
    rate: Fraction = DEFAULT_RATE,
    by_number: bool = False,
    strays: Mapping[tuple[int, int], int] | None = None,
) -> PictureTrack:
    """Opens a file, or the pictures a name stands for, for decoding; ``rate`` counts only for the latter.

    Raises InputError as ``open_container`` does, and for a folder without pictures of one kind.
    """
    files = sequence_files(path)
    if files is not None:
        return ImageSequence(files, threads=threads, rate=rate)
    return PictureTrack(
        path,
        stream_index=stream_index,
        threads=threads,
        frame_threads=frame_threads,
        by_number=by_number,
        strays=strays,
    )

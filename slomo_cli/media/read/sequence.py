"""Numbered pictures as a film."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slomo_cli.errors import InputError
from slomo_cli.media.names import sequence_files
from slomo_cli.media.read.opening import open_container
from slomo_cli.media.read.source import PictureTrack, picture_stream

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

DEFAULT_RATE = Fraction(30)
"""Pictures per second of a sequence when nobody says otherwise."""
PICTURES = "image2"
"""What ``VideoInfo.container`` says of a sequence: FFmpeg's name for it."""


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

"""Packets with exact stamps into an ffmpeg process: a pipe that loses nothing, and NUT, the container they go in."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from fractions import Fraction
from typing import IO, Any

import av
import av.error


class Pipe(io.RawIOBase):
    """ffmpeg's standard input: every byte is written or an OSError is raised."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        super().__init__()
        assert stream is not None
        self._stream = stream

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        total = len(view)
        number = self._stream.fileno()
        while view:
            view = view[os.write(number, view) :]
        return total

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        if not self._stream.closed:
            self._stream.close()

    def drop(self) -> None:
        """Closes without caring how the other side takes it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.close()


class Nut:
    """Packets in NUT, the one streamable container that keeps any stamp exactly."""

    def __init__(self, pipe: Pipe, time_base: Fraction) -> None:
        self._time_base = time_base
        # Decoding stamps before zero are no reason to move all others up.
        options = {"avoid_negative_ts": "disabled"}
        self._container: Any = av.open(pipe, "w", format="nut", container_options=options)

    def _mux(self, packet: Any, stream: Any, ticks: int, decoded: int) -> None:
        packet.stream = stream
        packet.time_base = self._time_base
        packet.pts, packet.dts = ticks, decoded
        try:
            self._container.mux(packet)
        except av.error.FFmpegError as error:
            raise BrokenPipeError(errno.EPIPE, str(error)) from None

    def close(self) -> None:
        try:
            self._container.close()
        except av.error.FFmpegError as error:
            raise BrokenPipeError(errno.EPIPE, str(error)) from None

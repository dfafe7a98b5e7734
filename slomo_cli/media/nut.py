"""Packets with exact stamps into an ffmpeg process: a pipe that loses nothing, and NUT, the container they go in."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import IO, Any

import av
import av.error

from slomo_cli.errors import EncoderError
from slomo_cli.text import first_line


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
        with _told():
            self._container.mux(packet)

    def close(self) -> None:
        with _told():
            self._container.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tells a pipe that ffmpeg has closed from a packet that NUT does not hold."""
    try:
        yield
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise BrokenPipeError(errno.EPIPE, str(error)) from None
        raise EncoderError(f"a packet cannot be handed to ffmpeg: {first_line(error)}") from error

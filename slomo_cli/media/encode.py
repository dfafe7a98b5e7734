"""The encoder process: owns ffmpeg, its pipes and its temporary file; the target appears only when all is true.

Whole means: as many frames were written as promised, ffmpeg ended with 0, and the file read back holds exactly that
many pictures. ffmpeg's exit code alone proves nothing: it is 0 for a file without a stream and for a parent that died.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np

from slomo_cli.errors import EncoderError, UsageError, printable
from slomo_cli.media.ffmpeg import last_words
from slomo_cli.media.reread import count_pictures
from slomo_cli.media.target import Target
from slomo_cli.values import Frame

if TYPE_CHECKING:
    from slomo_cli.values import Plane

_TAIL_BYTES = 64 * 1024
"""How much of ffmpeg's messages is kept: the end, where the reason is."""


class Encoder:
    """An ffmpeg process being fed frames; a context manager that leaves either the whole target or nothing.

    args: the command from ``build_encode_args``. expected_frames: how many must be written, None when unknown.
    time_base: given when frames carry stamps of their own (the command then reads NUT).

    ``write`` and ``finish`` belong to one thread; ``abort`` may be called from any, at any time.
    Raises UsageError when the target exists and must not be replaced, EncoderError for everything else.
    """

    def __init__(
        self, args: Sequence[str], target: Target, expected_frames: int | None, *, time_base: Fraction | None = None
    ) -> None:
        self.target = target
        self.expected_frames = expected_frames
        self.frames_written = 0
        self._args = list(args)
        self._tail = bytearray()
        self._aborted = False
        self._done = False
        self._lock = threading.Lock()
        self._place = _Place(target)
        try:
            self._process = self._start()
        except BaseException:
            self._place.clear()
            raise
        self._listener = threading.Thread(target=self._listen, name="slomo-encoder-messages", daemon=True)
        self._listener.start()
        self._pipe = _Pipe(self._process.stdin)
        self._nut = _Nut(self._pipe, target, time_base) if time_base is not None else None
        self._neutral: tuple[Plane, ...] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self.abort()

    # ------------------------------------------------------------------------------------------------------ frames

    def write(self, data: Frame | Sequence[Plane] | bytes | memoryview, seconds: Fraction | None = None) -> None:
        """One frame: a Frame, its planes in the layout's order, or the packed bytes of the unpadded picture.

        seconds: the frame's time on the output clock; needed when the encoder was given a ``time_base``, else ignored.
        """
        if self._aborted:
            raise EncoderError("the encoder was stopped before the last frame")
        planes = self._planes(data)
        try:
            if self._nut is not None:
                if seconds is None:
                    raise ValueError("frames with stamps of their own need their time")
                self._nut.write(b"".join(plane.tobytes() for plane in planes), seconds)
            else:
                for plane in planes:
                    self._pipe.write(plane.data)
        except OSError as error:
            raise self._broken(error) from None
        self.frames_written += 1

    def _planes(self, data: Frame | Sequence[Plane] | bytes | memoryview) -> tuple[Plane, ...]:
        """The planes of the feed: padded to its size, gray with neutral chroma beside it where the feed wants it."""
        feed, (columns, rows) = self.target.feed, self.target.pad
        width, height = self.target.width - columns, self.target.height - rows
        planes: Sequence[Plane]
        if isinstance(data, Frame):
            planes = data.planes
        elif isinstance(data, (bytes, memoryview)):
            planes = _unpacked(data, self.target, width, height)
        else:
            planes = data
        shapes = feed.plane_shapes(width, height)
        found = tuple(plane.shape for plane in planes)
        if found != shapes and not (feed.family == "yuv" and found == shapes[:1]):
            raise ValueError(f"expected planes of {shapes} for {feed.name}, found {found}")
        if self.target.pad != (0, 0):
            padded = feed.plane_shapes(self.target.width, self.target.height)
            planes = [_padded(plane, shape) for plane, shape in zip(planes, padded, strict=False)]
        if len(planes) < feed.plane_count:
            planes = (*planes, *self._neutral_chroma(planes[0].dtype))
        return tuple(plane if plane.flags.c_contiguous else plane.copy() for plane in planes)

    def _neutral_chroma(self, dtype: Any) -> tuple[Plane, ...]:
        if self._neutral is None:
            shapes = self.target.feed.plane_shapes(self.target.width, self.target.height)[1:]
            self._neutral = tuple(np.full(shape, 1 << (self.target.feed.bits - 1), dtype) for shape in shapes)
        return self._neutral

    # --------------------------------------------------------------------------------------------------- the end

    def finish(self) -> None:
        """Closes the stream, waits for ffmpeg, checks the result and lets it appear under its name."""
        try:
            self._finish()
        except BaseException:
            self.abort()
            raise
        self._done = True

    def _finish(self) -> None:
        if self.expected_frames is not None and self.frames_written != self.expected_frames:
            raise EncoderError(
                f"expected {self.expected_frames} frames to write, got {self.frames_written}: nothing is kept"
            )
        try:
            if self._nut is not None:
                self._nut.close()
            self._pipe.close()
        except OSError as error:
            raise self._broken(error) from None
        code = self._process.wait()
        self._listener.join(timeout=5)
        if self._aborted:
            raise EncoderError("the encoder was stopped before the end")
        if code != 0:
            raise self._failure(code)
        if self.target.path is None:
            return
        found = self._place.count(self.target)
        if found != self.frames_written:
            words = self._words()
            raise EncoderError(
                f"wrote {self.frames_written} frames but the file holds {found}: nothing is kept"
                + (f" (ffmpeg says: {words})" if words else "")
            )
        try:
            self._place.commit(self.target)
        except OSError as error:
            raise EncoderError(f"cannot write '{printable(self.target.path)}': {error.strerror}") from None

    def abort(self) -> None:
        """Kills ffmpeg and removes what it wrote; harmless when repeated or after ``finish``."""
        with self._lock:
            if self._done or self._aborted:
                return
            self._aborted = True
        with contextlib.suppress(OSError):
            self._process.kill()
        # Only after the process is gone: its end breaks the pipe, which frees a thread that is still writing.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._listener.join(timeout=1)
        self._pipe.drop()
        self._place.clear()

    # ---------------------------------------------------------------------------------------------- the process

    def _start(self) -> subprocess.Popen[bytes]:
        output: int | IO[Any] = subprocess.DEVNULL
        if self.target.path is None:
            sys.stdout.flush()
            output = sys.__stdout__ if sys.__stdout__ is not None else subprocess.DEVNULL
        try:
            # A session of its own: Ctrl-C then reaches slomo alone, which decides what becomes of the encoder.
            return subprocess.Popen(
                self._args,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env={**os.environ, "SVT_LOG": "1"},  # SVT-AV1 prints its settings past ffmpeg's log level
            )
        except OSError as error:
            raise EncoderError(f"ffmpeg cannot be started: {error.strerror}") from None

    def _listen(self) -> None:
        """Drains ffmpeg's messages so that it can never block on them; keeps the end."""
        stream = self._process.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            while chunk := stream.read(8192):
                self._tail += chunk
                del self._tail[:-_TAIL_BYTES]
        with contextlib.suppress(OSError):
            stream.close()

    def _broken(self, error: OSError) -> EncoderError:
        """The pipe broke: ffmpeg has ended or is ending, and its last words say why."""
        if self._aborted:
            return EncoderError("the encoder was stopped before the end")
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return EncoderError(f"ffmpeg stopped reading ({error.strerror}): {self._words() or 'it says nothing'}")
        self._listener.join(timeout=5)
        return self._failure(code)

    def _failure(self, code: int) -> EncoderError:
        words = self._words()
        if "No space left" in words or code == 228:
            return EncoderError(f"{self._place.room()} (ffmpeg: {words})")
        ended = f"was killed by signal {-code}" if code < 0 else f"failed with code {code}"
        return EncoderError(f"ffmpeg {ended} after {self.frames_written} frames: {words or 'it gave no reason'}")

    def _words(self) -> str:
        return last_words(self._tail.decode("utf-8", "replace"))

    @property
    def log(self) -> str:
        """The end of what ffmpeg said."""
        return self._tail.decode("utf-8", "replace")


class _Pipe(io.RawIOBase):
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


def _padded(plane: Plane, shape: tuple[int, int]) -> Plane:
    """The plane grown to this shape by repeating its last column and row."""
    height, width = plane.shape
    samples: Any = plane
    grown: Plane = np.pad(samples, ((0, shape[0] - height), (0, shape[1] - width)), "edge")
    return grown


def _unpacked(data: bytes | memoryview, target: Target, width: int, height: int) -> list[Plane]:
    """Views of the planes in the packed bytes of one frame."""
    feed = target.feed
    samples: Any = np.frombuffer(data, np.uint8 if feed.bytes_per_sample == 1 else np.dtype("<u2"))
    shapes = feed.plane_shapes(width, height)
    if len(data) != feed.frame_bytes(width, height):
        raise ValueError(f"expected {feed.frame_bytes(width, height)} bytes for a {feed.name} frame, found {len(data)}")
    planes: list[Plane] = []
    at = 0
    for h, w in shapes:
        planes.append(samples[at : at + h * w].reshape(h, w))
        at += h * w
    return planes


class _Nut:
    """Raw frames in NUT, the one streamable container that keeps any stamp exactly."""

    def __init__(self, pipe: _Pipe, target: Target, time_base: Fraction) -> None:
        import av

        self._time_base = time_base
        self._last: int | None = None
        self._container: Any = av.open(pipe, "w", format="nut")
        stream: Any = self._container.add_stream("rawvideo", rate=Fraction(1) / time_base)
        stream.width, stream.height, stream.pix_fmt = target.width, target.height, target.feed.name
        stream.time_base = time_base
        stream.codec_context.time_base = time_base
        self._stream = stream

    def write(self, data: bytes, seconds: Fraction) -> None:
        import av

        ticks = round(seconds / self._time_base)
        if self._last is not None and ticks <= self._last:
            raise ValueError(f"expected growing stamps, found {float(seconds):.6f} s again")
        self._last = ticks
        packet: Any = av.Packet(data)
        packet.stream = self._stream
        packet.time_base = self._time_base
        packet.pts = packet.dts = ticks
        packet.is_keyframe = True
        self._mux(packet)

    def _mux(self, packet: Any) -> None:
        import av

        try:
            self._container.mux(packet)
        except av.error.FFmpegError as error:
            raise BrokenPipeError(errno.EPIPE, str(error)) from None

    def close(self) -> None:
        import av

        try:
            self._container.close()
        except av.error.FFmpegError as error:
            raise BrokenPipeError(errno.EPIPE, str(error)) from None


class _Place:
    """The temporary file or folder beside the target: reserved by a lock, renamed at the end or removed."""

    def __init__(self, target: Target) -> None:
        self.path: Path | None = target.temporary
        self._still = target.still
        self._lock: int | None = None
        if self.path is None or target.path is None:
            return
        folder = target.path.parent
        if not folder.is_dir():
            raise EncoderError(f"the folder '{printable(folder)}' does not exist: create it or choose another -o")
        if not target.overwrite:
            refuse_existing(target)
        try:
            if self._still:
                self.path.mkdir(exist_ok=True)
                self._lock = os.open(self.path, os.O_RDONLY)
            else:
                self._lock = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            self._hold()
            if self._still:
                for left in self.path.iterdir():
                    left.unlink()
        except OSError as error:
            self._release()
            raise EncoderError(f"cannot write to the folder '{printable(folder)}': {error.strerror}") from None

    def _hold(self) -> None:
        """Two runs on one output would write through each other; the second is told."""
        try:
            import fcntl
        except ImportError:  # not on Windows, where an open file cannot be replaced anyway
            return
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            self.path = None
            raise EncoderError("another slomo is writing this output: wait for it or choose another -o") from None
        except OSError:
            pass  # a file system without locks

    def _release(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None

    def count(self, target: Target) -> int:
        assert self.path is not None
        return count_pictures(self.path, target)

    def commit(self, target: Target) -> None:
        """Durable first, then visible: sync, rename, sync the folder."""
        assert self.path is not None and target.path is not None
        if self._still:
            self._commit_images(target)
        else:
            _sync(self.path)
            _appear(self.path, target.path, target.overwrite)
        self._release()
        self.path = None
        _sync(target.path.parent)

    def _commit_images(self, target: Target) -> None:
        assert self.path is not None
        numbers = sorted(int(name.stem) for name in self.path.iterdir())
        for number in numbers:
            _sync(self.path / f"{number}.{target.extension}")
        if not target.overwrite:
            for number in numbers:
                if os.path.lexists(target.image_path(number)):
                    raise FileExistsError(errno.EEXIST, f"'{printable(target.image_path(number))}' exists")
        for number in numbers:
            _appear(self.path / f"{number}.{target.extension}", target.image_path(number), target.overwrite)
        self.path.rmdir()

    def room(self) -> str:
        where = self.path.parent if self.path else Path()
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(where).free
            return f"the disk is full: {free / 2**20:.0f} MiB are free in '{printable(where)}'"
        return f"the disk is full in '{printable(where)}'"

    def clear(self) -> None:
        """Removes what is there; a file that another program holds open is tried for a moment."""
        path, self.path = self.path, None
        if path is not None:
            for attempt in range(20):
                try:
                    if self._still:
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if os.name != "nt" or attempt == 19:
                        break
                    time.sleep(0.05)
        self._release()


def refuse_existing(target: Target) -> None:
    """UsageError when the target exists; of a sequence of images the first one counts."""
    if target.path is None:
        return
    path = target.image_path(1) if target.still else target.path
    if os.path.lexists(path):
        raise UsageError(f"'{printable(path)}' exists: overwrite it with -y or choose another -o")


def _sync(path: Path) -> None:
    """Flushes a file or folder to the disk; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _appear(temporary: Path, path: Path, overwrite: bool) -> None:
    """Gives the finished file its name in one step; without ``overwrite`` a file that came meanwhile stays."""
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here: reserve the name first, then replace the reservation.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(temporary, path)
    else:
        temporary.unlink()

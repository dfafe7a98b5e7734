"""The encoder process: owns ffmpeg, its pipes and its temporary file; the target appears only when all is true.

Whole means: as many frames were written as promised, ffmpeg ended with 0, and the file read back holds exactly that
many pictures. ffmpeg's exit code alone proves nothing: it is 0 for a file without a stream and for a parent that died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from slomo_cli.errors import EncoderError, OutputClosed, printable, unstarted
from slomo_cli.media.ffmpeg import last_words
from slomo_cli.media.nut import Pipe
from slomo_cli.media.plan.target import Target
from slomo_cli.media.tracks.soundfeed import Feed
from slomo_cli.media.write.feed import EncodedNut, RawNut, Shaper
from slomo_cli.media.write.place import Place, undisturbed

if TYPE_CHECKING:
    from slomo_cli.values import Plane

_TAIL_BYTES = 64 * 1024
"""How much of ffmpeg's messages is kept: the end, where the reason is."""


class Encoder:
    """An ffmpeg process being fed frames; a context manager that leaves either the whole target or nothing.

    args: the command from ``build_encode_args``. expected_frames: how many must be written.
    time_base: given when frames carry stamps of their own (the command then reads NUT). feeds: sound that the command
    names and ffmpeg inherits. encoded: frames come encoded, by ``append`` (the command copies them from NUT).

    ``write`` and ``finish`` belong to one thread; ``abort`` may be called from any, at any time.
    Raises UsageError when the target exists and must not be replaced, EncoderError for everything else.
    """

    def __init__(
        self,
        args: Sequence[str],
        target: Target,
        expected_frames: int,
        *,
        time_base: Fraction | None = None,
        feeds: Sequence[Feed] = (),
        encoded: bool = False,
    ) -> None:
        self.target = target
        self.expected_frames = expected_frames
        self.frames_written = 0
        self._args = list(args)
        self._feeds = feeds
        self.warnings: list[str] = []
        """What of the sound could not be read, one line each; complete after ``finish``."""
        self._tail = bytearray()
        self._aborted = False
        self._done = False
        self._stopping = threading.RLock()
        self._nut: RawNut | EncodedNut | None = None
        self._shaper = Shaper(target)
        self._listener = threading.Thread(target=self._listen, name="slomo-encoder-messages", daemon=True)
        self._begun: subprocess.Popen[bytes] | None = None
        self._place = Place(target)
        try:  # nobody can abort it who has not got it yet
            self._start()
            self._pipe = Pipe(self._process.stdin)
            self._listener.start()
            for feed in feeds:
                feed.start()
            if encoded:
                self._nut = EncodedNut(self._pipe, target.rate)
            elif time_base is not None:
                self._nut = RawNut(self._pipe, target, time_base)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._done:
            self.abort()

    # ------------------------------------------------------------------------------------------------------ frames

    def write(self, planes: Sequence[Plane], seconds: Fraction | None = None) -> None:
        """One frame, by its planes in the layout's order.

        seconds: the frame's time on the output clock; needed when the encoder was given a ``time_base``, else ignored.
        """
        if self._aborted:
            raise EncoderError("the encoder was stopped before the last frame")
        shaped = self._shaper.planes(planes)
        try:
            if isinstance(self._nut, RawNut):
                if seconds is None:
                    raise ValueError("frames with stamps of their own need their time")
                self._nut.write(b"".join(plane.tobytes() for plane in shaped), seconds)
            else:
                for plane in shaped:
                    self._pipe.write(plane.data)
        except OSError as error:
            raise self._broken(error) from None
        self.frames_written += 1

    def append(self, part: Path, frames: int) -> None:
        """The next ``frames`` frames as ``part`` holds them encoded; for an encoder of ``encoded`` ones."""
        assert isinstance(self._nut, EncodedNut)
        try:
            self._nut.append(part, frames)
        except OSError as error:
            raise self._broken(error) from None
        self.frames_written += frames

    # --------------------------------------------------------------------------------------------------- the end

    def finish(self, sealed: Callable[[Path], None] = lambda result: None) -> None:
        """Closes the stream, waits for ffmpeg, checks the result and lets it appear under its name.

        ``sealed`` is told of the temporary file when it is known to be right, just before it gets that name.
        """
        try:
            self._finish(sealed)
        except BaseException:
            self.abort()
            raise
        self._done = True

    def _finish(self, sealed: Callable[[Path], None]) -> None:
        if self.frames_written != self.expected_frames:
            raise EncoderError(f"expected {self.expected_frames} frames, got {self.frames_written}: nothing is kept")
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
        for feed in self._feeds:
            feed.stop()
            if feed.problem is not None:
                raise feed.problem  # a bug: the sound ends in silence, and that must not pass for a result
            self.warnings += feed.warnings
        if self.target.path is None:
            return
        self._place.refuse_gone()
        last = self._nut.last if isinstance(self._nut, RawNut) else None
        found = self._place.count(self.frames_written, last)
        if found != self.frames_written:
            words = self._words()
            raise EncoderError(
                f"wrote {self.frames_written} frames but the file holds {found}: nothing is kept"
                + (f" (ffmpeg says: {words})" if words else "")
            )
        try:
            if self.target.mark_full_range:
                self._place.mark_full_range()
            if self.target.container == "webp" and last is not None:
                self._place.end_animation(self.frames_written / self.target.rate)
            if self._place.path is not None:
                sealed(self._place.path)
            self._place.commit()
        except OSError as error:
            raise EncoderError(f"cannot write '{printable(self.target.path)}': {error.strerror}") from None

    def abort(self) -> None:
        """Kills ffmpeg and removes what it wrote; harmless when repeated or after ``finish``."""
        with self._stopping:
            if self._done or self._aborted:
                return
            self._aborted = True
            if self._begun is not None:
                self._kill()
                # Only after the process is gone: its end breaks the pipe, which frees a thread that is still writing.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=10)
                if self._listener.is_alive():
                    self._listener.join(timeout=1)
                Pipe(self._process.stdin).drop()
            self._place.clear()

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        """ffmpeg, once it has begun."""
        assert self._begun is not None
        return self._begun

    def _kill(self) -> None:
        """Ends ffmpeg, and what it may have started when it is a wrapper around the real one."""
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    # ---------------------------------------------------------------------------------------------- the process

    def _start(self) -> None:
        """Begins ffmpeg, undisturbed: a signal amid that would leave a process behind of which nobody knows."""
        output: int | IO[Any] = subprocess.DEVNULL
        if self.target.path is None:
            sys.stdout.flush()
            output = sys.__stdout__ if sys.__stdout__ is not None else subprocess.DEVNULL
        pipes: dict[str, int] = {}
        try:
            for feed in self._feeds:
                pipes[feed.word] = feed.open()
            undisturbed(lambda: self._begin(pipes, output))
        except OSError as error:
            raise unstarted(error) or EncoderError(f"ffmpeg cannot be started: {error.strerror}") from None
        finally:
            # From here on they are ffmpeg's alone: when it ends, whoever writes is told.
            for number in pipes.values():
                os.close(number)

    def _begin(self, pipes: Mapping[str, int], output: int | IO[Any]) -> None:
        """pipes: the numbers under which ffmpeg inherits them, by the words that stand for them in its arguments."""
        # A session of its own: Ctrl-C then reaches slomo alone, which decides what becomes of the encoder.
        self._begun = subprocess.Popen(
            [f"pipe:{pipes[word]}" if word in pipes else word for word in self._args],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            pass_fds=tuple(pipes.values()),
            env={**os.environ, "SVT_LOG": "1"},  # SVT-AV1 prints its settings past ffmpeg's log level
        )

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
        self._place.refuse_gone()  # which ffmpeg tells in many ways
        words = self._words()
        if "No space left" in words or code == 228:
            return EncoderError(f"{self._place.room()} (ffmpeg: {words})")
        if self.target.path is None and "Broken pipe" in words:
            return OutputClosed(f"standard output was closed after {self.frames_written} frames")
        ended = f"was killed by signal {_named(-code)}" if code < 0 else f"failed with code {code}"
        if not code:
            ended = "ended too early"
        why = "the system does so where memory runs out" if code == -9 else "it gave no reason"
        return EncoderError(f"ffmpeg {ended} after {self.frames_written} frames: {words or why}")

    def _words(self) -> str:
        return last_words(self._tail.decode("utf-8", "replace"))


def _named(number: int) -> str:
    """A signal with its meaning: ``25 (File size limit exceeded)``."""
    try:
        meaning = signal.strsignal(number)
    except ValueError:
        meaning = None
    return f"{number} ({meaning})" if meaning else str(number)

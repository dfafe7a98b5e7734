"""Progress of a conversion as a small Protocol, and the four ways of showing it: bar, plain lines, JSON lines, none.

Everything goes to stderr; stdout is for data. Light: rich is imported only when a bar is drawn. One thread at a time.

JSON lines, one object each, keys in this order (rationals are strings such as ``"30000/1001"``, seconds are floats):

    {"event": "start", "label": str, "frames": int}
    {"event": "progress", "frame": int, "frames": int, "fps": float | null, "seconds": float,
     "seconds_left": float | null}
    {"event": "note", "text": str}
    {"event": "done", "source": str, "output": str, "frames_in": int, "frames_out": int, ... every field of Summary}
    {"event": "error", "text": str, "exit_code": int}
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TextIO, cast

from slomo_cli.errors import SlomoError, printable
from slomo_cli.text import clock_text, error_text, fitted, plain, shortened, summary_text
from slomo_cli.values import Summary

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar

Kind = Literal["auto", "bar", "plain", "json", "none"]
Clock = Callable[[], float]

WINDOW_SECONDS = 15.0
"""Speed and time left are judged by the last so many seconds, so that they follow what the film is like now."""

MARK_SECONDS = 0.1
"""The meter remembers how far the work was at most this often."""


class Progress(Protocol):
    """What a conversion tells while it works: ``start``, any number of ``advance`` and ``note``, ``finish``.

    A failed conversion never comes to ``finish``; whoever made the Progress closes it.
    """

    def start(self, total: int, label: str) -> None:
        """A conversion begins: ``total`` frames will be written, ``label`` names it."""

    def advance(self, frames_out: int) -> None:
        """``frames_out`` more frames have been written since the last call."""

    def note(self, text: str) -> None:
        """One line the user should know: something converted, dropped or skipped."""

    def finish(self, summary: Summary) -> None:
        """The conversion is complete and its file in place."""


class Meter:
    """Frames done, their speed over the last ``WINDOW_SECONDS``, and what is left.

    The speed's clock begins with the first frame: loading the network before it says nothing about the rest.
    """

    def __init__(self, total: int, clock: Clock = time.monotonic) -> None:
        self.total = total
        self.frames = 0
        self._clock = clock
        self._start = clock()
        self._marks: deque[tuple[float, int]] = deque()

    def add(self, frames: int) -> None:
        """Count ``frames`` more."""
        now = self._clock()
        self.frames += frames
        if len(self._marks) > 1 and now - self._marks[-2][0] < MARK_SECONDS:
            self._marks.pop()
        self._marks.append((now, self.frames))
        while len(self._marks) > 2 and self._marks[1][0] <= now - WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._start

    @property
    def fps(self) -> float | None:
        """Frames per second; None until there is something to judge by."""
        if len(self._marks) < 2:
            return None
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    @property
    def seconds_left(self) -> float | None:
        """None while the speed is unknown."""
        fps = self.fps
        return max(0, self.total - self.frames) / fps if fps else None


class Reporter:
    """Notes, the closing line and errors as text, no progress (``none``); the base of the other three.

    ``quiet`` leaves errors only.
    """

    def __init__(self, stream: TextIO, *, quiet: bool = False, clock: Clock = time.monotonic) -> None:
        self.stream = stream
        self.quiet = quiet
        self.clock = clock
        self.meter = Meter(0, clock)
        self.label = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self, total: int, label: str) -> None:
        self.meter = Meter(total, self.clock)
        self.label = printable(label)

    def advance(self, frames_out: int) -> None:
        self.meter.add(frames_out)

    def note(self, text: str) -> None:
        if not self.quiet:
            self.line(f"note: {text}")

    def finish(self, summary: Summary) -> None:
        self.close()
        if not self.quiet:
            self.line(summary_text(summary))

    def error(self, error: SlomoError, name: str = "") -> None:
        """A conversion failed; ``name`` says which where the message does not."""
        self.close()
        self.line(f"slomo: {error_text(error, name)}")

    def close(self) -> None:
        """Take down whatever is drawn; may be called at any time, any number of times."""

    def line(self, text: str) -> None:
        """One line on the stream; on a terminal broken between words."""
        self._write(fitted(text, self.stream))

    def _write(self, line: str) -> None:
        # A log that cannot be written, on a full disk or down a closed pipe, is no reason to lose the film.
        with contextlib.suppress(OSError):
            self.stream.write(line + "\n")
            self.stream.flush()


class PlainLines(Reporter):
    """A line now and then, for logs: after 2 seconds, then every 10."""

    _due = 0.0

    def start(self, total: int, label: str) -> None:
        super().start(total, label)
        self._due = 2.0

    def advance(self, frames_out: int) -> None:
        super().advance(frames_out)
        seconds = self.meter.seconds
        if not self.quiet and seconds >= self._due:
            self._due = seconds + 10
            self.line(f"{self.label}: {self._state()}")

    def _state(self) -> str:
        meter = self.meter
        facts = [f"{meter.frames}/{meter.total} frames", f"{100 * meter.frames // max(1, meter.total)} %"]
        if meter.fps is not None:
            facts.append(f"{meter.fps:.1f} fps")
        if meter.seconds_left is not None:
            facts.append(f"{clock_text(meter.seconds_left)} left")
        return ", ".join(facts)


class JsonLines(Reporter):
    """One JSON object a line, for other programs; progress at most every half second and at the last frame."""

    _due = 0.0

    def start(self, total: int, label: str) -> None:
        super().start(total, label)
        self._due = 0.0
        self._event("start", label=label, frames=total)

    def advance(self, frames_out: int) -> None:
        super().advance(frames_out)
        meter = self.meter
        if meter.seconds < self._due and meter.frames != meter.total:
            return
        self._due = meter.seconds + 0.5
        self._event(
            "progress",
            frame=meter.frames,
            frames=meter.total,
            fps=_rounded(meter.fps),
            seconds=_rounded(meter.seconds),
            seconds_left=_rounded(meter.seconds_left),
        )

    def note(self, text: str) -> None:
        self._event("note", text=text)

    def finish(self, summary: Summary) -> None:
        self._event("done", **{field.name: plain(getattr(summary, field.name)) for field in fields(summary)})

    def error(self, error: SlomoError, name: str = "") -> None:
        self._event("error", text=error_text(error, name), exit_code=error.exit_code, always=True)

    def _event(self, event: str, *, always: bool = False, **values: Any) -> None:
        if always or not self.quiet:
            # ASCII with escapes: undecodable bytes of a file name survive any terminal's encoding.
            self._write(json.dumps({"event": event, **values}))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


class _Patient:
    """A terminal that may have been closed: what it takes no more is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class Bar(Reporter):
    """A bar that lives on one line of a terminal: frames, frames per second, time left."""

    _bar: RichBar | None = None

    def start(self, total: int, label: str) -> None:
        super().start(total, label)
        self.close()
        if self.quiet:
            return
        label = shortened(self.label, 24, self.stream.encoding or "utf-8")
        self._bar = _rich_bar(self.stream, label)
        self._task = self._bar.add_task(label, total=total, **self._fields())
        self._bar.start()

    def advance(self, frames_out: int) -> None:
        super().advance(frames_out)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.meter.frames, **self._fields())

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def line(self, text: str) -> None:
        if self._bar is None:
            super().line(text)
        else:
            self._bar.console.print(
                fitted(text, self.stream), markup=False, highlight=False, emoji=False, soft_wrap=True
            )

    def _fields(self) -> dict[str, Any]:
        meter = self.meter
        return {
            "count": f"{meter.frames}/{meter.total}",
            "speed": "" if meter.fps is None else f"{meter.fps:.1f} fps",
            "left": f"{clock_text(meter.seconds_left)} left",
        }


def _rich_bar(stream: TextIO, label: str) -> RichBar:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichBar

    console = Console(file=cast(TextIO, _Patient(stream)))
    # The numbers take up to 40 columns. Two stay free at the end: a terminal's "^C" would else begin a new line there,
    # and the bar could not be taken down any more.
    width = max(8, console.width - cell_len(label) - 42)
    return RichBar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=width),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[speed]}", style="cyan"),
        TextColumn("{task.fields[left]}", style="green"),
        console=console,
        transient=True,
    )


def make_progress(kind: Kind = "auto", stream: TextIO | None = None, *, quiet: bool = False) -> Reporter:
    """The reporter of this kind on ``stream`` (stderr); ``auto`` is a bar on a terminal and plain lines elsewhere."""
    target = stream or sys.stderr or open(os.devnull, "w")  # stderr may be closed  # noqa: SIM115
    if kind == "auto":
        kind = "bar" if target.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    shapes: dict[str, type[Reporter]] = {"bar": Bar, "plain": PlainLines, "json": JsonLines, "none": Reporter}
    return shapes[kind](target, quiet=quiet)

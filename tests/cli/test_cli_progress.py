"""Progress: what each kind prints, and when."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from slomo_cli.errors import EncoderError, InputError
from slomo_cli.progress import Bar, JsonLines, Kind, Meter, PlainLines, Reporter, make_progress
from slomo_cli.text import clock_text, decimal, fitted, summary_text
from slomo_cli.values import Summary

SUMMARY = Summary(
    source=Path("in.mp4"),
    output=Path("in.x8.mp4"),
    frames_in=30,
    frames_out=240,
    frames_interpolated=210,
    duration_in=Fraction(1001, 1000),
    duration_out=Fraction(8008, 1000),
    rate_out=Fraction(30000, 1001),
    cuts=1,
    duplicates=2,
    seconds=20.0,
    device="cpu",
)
SUMMARY_LINE = (
    "in.x8.mp4: 240 frames, 210 of them new, 8.01 s at 29.97 fps, 1 cut, 2 repeated frames replaced;"
    " took 0:20 (12.0 frames/s) on cpu"
)


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", ["plain", "json", "none"])
def test_a_log_that_cannot_be_written_stops_nothing(kind: Kind) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    reporter = make_progress(kind, Full())
    reporter.start(10, "in.mp4")
    reporter.note("something")
    reporter.advance(10)
    reporter.finish(SUMMARY)
    reporter.error(InputError("gone"))


def test_frames_kept_from_before_are_told_and_took_no_time() -> None:
    line = summary_text(dataclasses.replace(SUMMARY, frames_kept=200))
    assert "200 kept from before" in line and "took 0:20 (2.0 frames/s)" in line


def test_without_stderr_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    reporter = make_progress("auto")
    reporter.start(10, "in.mp4")
    reporter.note("something")
    reporter.finish(SUMMARY)


def test_meter_judges_speed_by_the_last_seconds() -> None:
    clock = Clock()
    meter = Meter(1000, clock)

    assert (meter.fps, meter.seconds_left) == (None, None)
    for _ in range(30):  # slow at first: 1 frame a second
        clock.now += 1
        meter.add(1)
    for _ in range(20):  # then 10 a second
        clock.now += 1
        meter.add(10)

    assert meter.frames == 230
    assert meter.seconds == 50
    assert meter.fps == pytest.approx(10)
    assert meter.seconds_left == pytest.approx(77)


def test_meter_s_clock_begins_with_the_first_frame() -> None:
    clock = Clock()
    meter = Meter(17, clock)
    clock.now += 50  # the network is loaded
    meter.add(1)
    assert meter.fps is None
    clock.now += 2
    meter.add(8)

    assert (meter.fps, meter.seconds_left) == (4.0, 2.0)


def test_meter_memory_does_not_grow_with_length() -> None:
    clock = Clock()
    meter = Meter(10_000, clock)
    for _ in range(10_000):
        clock.now += 0.01
        meter.add(1)

    assert len(meter._marks) < 200


def test_plain_lines_come_after_two_seconds_and_then_every_ten() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainLines(stream, clock=clock)
    progress.start(240, "in.mp4")
    for _ in range(120):  # 15 seconds
        clock.now += 0.125
        progress.advance(2)
    progress.finish(SUMMARY)

    assert stream.getvalue().splitlines() == [
        "in.mp4: 32/240 frames, 13 %, 16.0 fps, 0:13 left",
        "in.mp4: 192/240 frames, 80 %, 16.0 fps, 0:03 left",
        SUMMARY_LINE,
    ]


def test_json_lines_have_the_documented_keys() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = JsonLines(stream, clock=clock)
    progress.start(240, "in.mp4")
    progress.advance(20)
    clock.now += 0.5
    progress.advance(100)
    clock.now += 0.25
    progress.advance(60)  # too soon after the last: no line
    progress.note("subtitles dropped")
    progress.advance(60)  # the last frame: always a line
    progress.finish(SUMMARY)
    progress.error(EncoderError("ffmpeg died"), "b.mp4")
    events = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert events[0] == {"event": "start", "label": "in.mp4", "frames": 240}
    first = {"event": "progress", "frame": 20, "frames": 240, "fps": None, "seconds": 0.0, "seconds_left": None}
    assert events[1] == first
    assert events[2] == {**first, "frame": 120, "fps": 200.0, "seconds": 0.5, "seconds_left": 0.6}
    assert events[3] == {"event": "note", "text": "subtitles dropped"}
    assert events[4]["frame"] == 240
    done = events[5]
    assert done["event"] == "done"
    assert done["output"] == "in.x8.mp4"
    assert done["rate_out"] == "30000/1001"
    assert done["frames_out"] == 240
    assert events[6] == {"event": "error", "text": "b.mp4: ffmpeg died", "exit_code": 4}
    assert len(events) == 7


def test_none_keeps_notes_and_the_closing_line() -> None:
    stream = io.StringIO()
    progress = Reporter(stream)
    progress.start(240, "in.mp4")
    progress.advance(100)
    progress.note("HDR10+ dropped")
    progress.finish(SUMMARY)

    assert stream.getvalue() == f"note: HDR10+ dropped\n{SUMMARY_LINE}\n"


@pytest.mark.parametrize("kind", ["bar", "plain", "json", "none"])
def test_quiet_leaves_errors_only(kind: str) -> None:
    stream = Terminal()
    with make_progress(kind, stream, quiet=True) as progress:  # type: ignore[arg-type]
        progress.start(240, "in.mp4")
        progress.advance(100)
        progress.note("HDR10+ dropped")
        progress.finish(SUMMARY)
        assert stream.getvalue() == ""
        progress.error(InputError("'a.mp4' does not exist"), "a.mp4")

    assert len(stream.getvalue().splitlines()) == 1
    assert "'a.mp4' does not exist" in stream.getvalue()


def test_bar_is_taken_down_and_notes_stand_on_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with make_progress("auto", stream) as progress:
        assert isinstance(progress, Bar)
        progress.start(240, "in[bold].mp4")
        progress.advance(100)
        progress.note("a note of [more] than eighty columns is broken between words, its [/end] too")
        assert progress._bar is not None
        progress._bar.refresh()
        assert "100/240" in stream.getvalue()
        progress.finish(SUMMARY)
        assert progress._bar is None
    text = stream.getvalue()

    assert "note: a note of [more] than eighty columns is broken between words, its [/end]\n  too\n" in text
    assert "in[bold].mp4" in text
    assert text.endswith(fitted(SUMMARY_LINE, stream) + "\n")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is hidden once and comes back"


def test_bar_is_taken_down_by_an_exception() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), make_progress("bar", stream) as progress:
        progress.start(10, "in.mp4")
        progress.advance(1)
        raise KeyboardInterrupt

    assert "\x1b[?25h" in stream.getvalue()


def test_a_terminal_that_is_closed_is_no_reason_to_stop() -> None:
    class Closed(Terminal):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(errno.EIO, "Input/output error")
            return super().write(text)

    stream = Closed()
    with make_progress("bar", stream) as progress:
        progress.start(240, "in.mp4")
        stream.gone = True
        progress.advance(100)
        progress.note("HDR10+ dropped")
        progress.finish(SUMMARY)
        progress.start(240, "next.mp4")


def test_auto_is_plain_off_a_terminal_and_on_a_dumb_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_progress("auto", io.StringIO()), PlainLines)
    assert isinstance(make_progress("auto", Terminal()), Bar)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_progress("auto", Terminal()), PlainLines)


def test_names_are_printed_escaped() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainLines(stream, clock=clock)
    progress.start(10, "a\nb\x1b[2J.mp4")
    clock.now += 3
    progress.advance(1)

    assert stream.getvalue().startswith("a\\nb\\x1b[2J.mp4: 1/10 frames")


def test_only_terminals_get_broken_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "slomo: '" + "x" * 50 + "' does not exist\nTry 'slomo --help'."

    assert fitted(text, io.StringIO()) == text
    assert fitted(text, Terminal()) == "slomo:\n  '" + "x" * 50 + "'\n  does not exist\nTry 'slomo --help'."


def test_closing_line_of_stdout() -> None:
    assert summary_text(dataclasses.replace(SUMMARY, output=Path("-"))).startswith("stdout: 240 frames")
    assert ": 1 frame, " in summary_text(dataclasses.replace(SUMMARY, frames_out=1))


def test_closing_line() -> None:
    assert summary_text(SUMMARY) == SUMMARY_LINE


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-:--"), (0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (36061, "10:01:01")],
)
def test_clock_text(seconds: float | None, text: str) -> None:
    assert clock_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [("30", "30"), ("30000/1001", "29.97"), ("24000/1001", "23.976"), ("25/2", "12.5"), ("120000/1001", "119.88")],
)
def test_decimal(rate: str, text: str) -> None:
    assert decimal(Fraction(rate)) == text


def test_only_the_bar_loads_rich() -> None:
    code = (
        "import sys, slomo_cli.progress as p\n"
        "for kind in ('plain', 'json', 'none'):\n"
        "    r = p.make_progress(kind, sys.stderr); r.start(9, 'a'); r.advance(9); r.note('b'); r.close()\n"
        "assert 'rich' not in sys.modules and 'numpy' not in sys.modules and 'torch' not in sys.modules\n"
        "r = p.make_progress('bar', sys.stderr); r.start(9, 'a'); r.close()\n"
        "assert 'rich' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

"""Exact numbers, clock times, and the map between the output's time and the source's.

Pure arithmetic on ``Fraction``: nothing is rounded except where a docstring says so.

Speed is source seconds per output second: 1 is real time, 1/8 is eight times slower, 2 is twice as fast. An *eased
ramp* from speed ``a`` to ``b`` over ``L`` source seconds follows a smoothstep in OUTPUT time, with ``u = o / T``:
``v(u) = a + (b - a) (3 u^2 - 2 u^3)``. Its integral is a polynomial with rational coefficients,

    s(u) = T (a u + (b - a) (u^3 - u^4 / 2)),        s(1) = L   =>   T = 2 L / (a + b),

so the source time of any output frame is exact inside ramps too.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction

from slomo_cli.errors import UsageError, printable

HIGHEST_RATE = 1_000_000
"""Frames per second: ffmpeg rounds rates above."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}|[0-9]{1,18}/[0-9]{1,18})", re.ASCII)
_CLOCK = re.compile(r"(?:([0-9]{1,9}):)?([0-9]{1,9}):([0-9]{1,2}(?:\.[0-9]{0,18})?)", re.ASCII)


def parse_number(text: str) -> Fraction:
    """An exact number written ``2``, ``2.5`` or ``30000/1001``; UsageError for anything else."""
    word = text.strip()
    if not _NUMBER.fullmatch(word):
        hint = f" (write {word.replace(',', '.')})" if _NUMBER.fullmatch(word.replace(",", ".")) else ""
        raise UsageError(f"expected a number such as 2, 2.5 or 30000/1001, found '{printable(text)}'{hint}")
    if "/" in word and int(word.rpartition("/")[2]) == 0:
        raise UsageError(f"expected a number such as 30000/1001, found a division by zero in '{printable(text)}'")
    return Fraction(word)


def parse_rate(text: str) -> Fraction:
    """Frames per second, > 0; decimals people write for NTSC rates mean those rates.

    ``23.976`` (or 23.98) is 24000/1001, 29.97 is 30000/1001, and so on for 47.952, 59.94, 119.88, 239.76: any number
    with two or more decimals that is N*1000/1001 rounded or cut to those decimals, N a multiple of 12 or 15.
    """
    rate = parse_number(text)
    if rate <= 0:
        raise UsageError(f"expected a frame rate above 0, found '{printable(text)}'")
    if rate > HIGHEST_RATE:
        raise UsageError(f"expected a frame rate of at most {HIGHEST_RATE}, found '{printable(text)}'")
    places = len(text.strip().partition(".")[2])
    nominal = round(rate * 1001 / 1000)
    if places >= 2 and nominal and (nominal % 12 == 0 or nominal % 15 == 0):
        exact, unit = Fraction(nominal * 1000, 1001), Fraction(1, 10**places)
        if rate in (exact // unit * unit, round(exact / unit) * unit):
            return exact
    return rate


def parse_time(text: str) -> Fraction:
    """Seconds, >= 0, written ``12.5``, ``90``, ``30000/1001``, ``1:30`` or ``00:01:30.250``."""
    clock = _CLOCK.fullmatch(text.strip())
    if clock:
        hours, minutes, seconds = clock[1], int(clock[2]), Fraction(clock[3])
        if seconds >= 60 or (hours is not None and minutes >= 60):
            raise UsageError(f"expected minutes and seconds below 60, found '{printable(text)}'")
        return int(hours or 0) * 3600 + minutes * 60 + seconds
    if not _NUMBER.fullmatch(text.strip()):
        raise UsageError(f"expected a time such as 12.5, 1:30 or 00:01:30.250, found '{printable(text)}'")
    seconds = parse_number(text)
    if seconds < 0:
        raise UsageError(f"expected a time of 0 or later, found '{printable(text)}'")
    return seconds


def format_time(seconds: Fraction) -> str:
    """``HH:MM:SS.mmm`` rounded to the millisecond; a minus sign in front of negative times."""
    milliseconds = round(abs(seconds) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    sign = "-" if seconds < 0 and milliseconds else ""
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


@dataclass(frozen=True, slots=True)
class Ramp:
    """A whole eased ramp; a piece may show only a part of it."""

    source_start: Fraction
    output_start: Fraction
    """On the output clock of the map it belongs to; negative when the ramp's beginning was cut off."""
    length: Fraction
    """Source seconds."""
    speed_start: Fraction
    speed_end: Fraction

    @property
    def duration(self) -> Fraction:
        """Output seconds."""
        return 2 * self.length / (self.speed_start + self.speed_end)

    def source_at(self, output_seconds: Fraction) -> Fraction:
        """Exact source time for output times within the ramp."""
        u = (output_seconds - self.output_start) / self.duration
        return self.source_start + self.duration * self._travelled(u.numerator, u.denominator)

    def speed_at(self, output_seconds: Fraction) -> Fraction:
        """Exact speed for output times within the ramp."""
        u = (output_seconds - self.output_start) / self.duration
        return self.speed_start + (self.speed_end - self.speed_start) * u * u * (3 - 2 * u)

    def output_at(self, source_seconds: Fraction) -> Fraction:
        """Output time for source times within the ramp: never late, and less than 1e-9 s early."""
        target = (source_seconds - self.source_start) / self.duration
        scale = 1 << (40 + max(0, int(self.duration).bit_length()))

        def reached(step: int) -> bool:
            return self._travelled(step, scale) <= target

        # The guess is right to a few steps; exact comparisons then find the last step that is not past the target.
        low = min(scale, int(self._guess(float(target)) * scale))
        stride = 1
        while low > 0 and not reached(low):
            low, stride = max(0, low - stride), stride * 2
        high, stride = low + 1, 1
        while high <= scale and reached(high):
            low, high, stride = high, high + stride, stride * 2
        high = min(high, scale + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if reached(middle) else (low, middle)
        return self.output_start + self.duration * Fraction(low, scale)

    def _travelled(self, n: int, d: int) -> Fraction:
        """Source seconds covered at ``u = n / d``, per second of the whole ramp; exact, in whole numbers for speed."""
        start, change = self.speed_start, self.speed_end - self.speed_start
        unit = start.denominator * change.denominator
        a, b = start.numerator * change.denominator, change.numerator * start.denominator
        return Fraction(n * (2 * a * d**3 + b * n * n * (2 * d - n)), 2 * d**4 * unit)

    def _guess(self, target: float) -> float:
        """u for which a float evaluation covers ``target``, by bisection (the speed is positive: strictly growing)."""
        start, change = float(self.speed_start), float(self.speed_end - self.speed_start)
        low, high = 0.0, 1.0
        for _ in range(54):
            u = (low + high) / 2
            if start * u + change * u**3 * (1 - u / 2) <= target:
                low = u
            else:
                high = u
        return low


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the map at constant speed, or (a part of) an eased ramp."""

    source_start: Fraction
    source_end: Fraction
    output_start: Fraction
    output_end: Fraction
    speed_start: Fraction
    """Source seconds per output second where the piece begins."""
    speed_end: Fraction
    """The same where it ends; equal to ``speed_start`` on constant pieces."""
    ramp: Ramp | None = None

    def source_at(self, output_seconds: Fraction) -> Fraction:
        """Exact source time, clamped to the piece."""
        if self.ramp is None:
            source = self.source_start + self.speed_start * (output_seconds - self.output_start)
        elif output_seconds <= self.output_start:
            return self.source_start
        elif output_seconds >= self.output_end:
            return self.source_end
        else:
            source = self.ramp.source_at(output_seconds)
        return min(max(source, self.source_start), self.source_end)

    def output_at(self, source_seconds: Fraction) -> Fraction:
        """Output time, clamped to the piece; exact on constant pieces, less than 1e-9 s early within ramps."""
        if source_seconds <= self.source_start:
            return self.output_start
        if source_seconds >= self.source_end:
            return self.output_end
        if self.ramp is None:
            return self.output_start + (source_seconds - self.source_start) / self.speed_start
        return min(max(self.ramp.output_at(source_seconds), self.output_start), self.output_end)

    def shifted(self, seconds: Fraction) -> Piece:
        """The same piece, later by ``seconds`` on the output clock."""
        ramp = self.ramp and replace(self.ramp, output_start=self.ramp.output_start + seconds)
        return replace(self, output_start=self.output_start + seconds, output_end=self.output_end + seconds, ramp=ramp)

    def cut(self, start: Fraction, end: Fraction) -> Piece:
        """The part between two source times within the piece, on the same output clock."""
        first, last = self.output_at(start), self.output_at(end)
        speeds = (self.speed_start, self.speed_end)
        if self.ramp is not None:
            speeds = (self.ramp.speed_at(first), self.ramp.speed_at(last))
        return replace(
            self,
            source_start=start,
            source_end=end,
            output_start=first,
            output_end=last,
            speed_start=speeds[0],
            speed_end=speeds[1],
        )


@dataclass(frozen=True, slots=True)
class TimeMap:
    """A strictly growing map between output seconds (from 0) and source seconds, made of adjoining pieces."""

    pieces: tuple[Piece, ...]

    @classmethod
    def constant(cls, start: Fraction, end: Fraction, factor: Fraction) -> TimeMap:
        """Source ``start .. end`` shown ``factor`` times slower."""
        return cls((Piece(start, end, Fraction(0), (end - start) * factor, 1 / factor, 1 / factor),))

    @property
    def source_start(self) -> Fraction:
        return self.pieces[0].source_start

    @property
    def source_end(self) -> Fraction:
        return self.pieces[-1].source_end

    @property
    def output_duration(self) -> Fraction:
        """Output seconds."""
        return self.pieces[-1].output_end

    @property
    def changes_speed(self) -> bool:
        """Whether any of the source is shown at another speed than its own."""
        return any(piece.speed_start != 1 or piece.speed_end != 1 for piece in self.pieces)

    def source_at(self, output_seconds: Fraction) -> Fraction:
        """Exact source time, clamped to the map's ends."""
        at = bisect_right(self.pieces, output_seconds, key=lambda piece: piece.output_start)
        return self.pieces[max(0, at - 1)].source_at(output_seconds)

    def output_at(self, source_seconds: Fraction) -> Fraction:
        """Output time, clamped to the map's ends; exact on constant pieces, less than 1e-9 s early within ramps."""
        at = bisect_right(self.pieces, source_seconds, key=lambda piece: piece.source_start)
        return self.pieces[max(0, at - 1)].output_at(source_seconds)

    def cut(self, start: Fraction, end: Fraction) -> TimeMap:
        """The part between two source times ``start < end`` within the map, its output clock starting at 0 again."""
        parts = [
            piece.cut(max(start, piece.source_start), min(end, piece.source_end))
            for piece in self.pieces
            if piece.source_start < end and piece.source_end > start
        ]
        return TimeMap(tuple(part.shifted(-parts[0].output_start) for part in parts))


def parse_speed(text: str, duration: Fraction) -> TimeMap:
    """A speed curve over a source of ``duration`` seconds, such as ``0-2:1, 2-3.5:0.125, 3.5-5:0.125~1``.

    Entries ``START-END:SPEED`` or, eased, ``START-END:SPEED~SPEED``, comma-separated, in source time from the first
    picture (any form ``parse_time`` takes); START or END left out mean the source's own. Time not named runs at speed
    1; what reaches past the source's end is cut off there. UsageError where entries overlap, are empty, begin past the
    end, or have a speed that is not above 0.
    """
    entries = sorted((_parse_entry(entry.strip(), duration) for entry in text.split(",")), key=lambda entry: entry[0])
    even = (Fraction(1), Fraction(1))
    pieces: list[Piece] = []
    source = output = Fraction(0)

    def run(start: Fraction, end: Fraction, speeds: tuple[Fraction, Fraction]) -> None:
        nonlocal source, output
        if end > start:
            pieces.append(_piece(start, end, speeds, output))
            source, output = end, pieces[-1].output_end

    for start, end, speeds, entry in entries:
        if start < source:
            raise UsageError(
                f"expected speed curve entries that do not overlap, found '{printable(entry)}' beginning before "
                f"{format_time(source)}, where another ends: move one of them"
            )
        run(source, start, even)
        run(start, end, speeds)
    run(source, duration, even)
    curve = TimeMap(tuple(pieces))
    return curve if source <= duration else curve.cut(Fraction(0), duration)


def _piece(start: Fraction, end: Fraction, speeds: tuple[Fraction, Fraction], output: Fraction) -> Piece:
    """A whole piece beginning at ``output``."""
    first, last = speeds
    ramp = None if first == last else Ramp(start, output, end - start, first, last)
    return Piece(start, end, output, output + 2 * (end - start) / (first + last), first, last, ramp)


def _parse_entry(entry: str, duration: Fraction) -> tuple[Fraction, Fraction, tuple[Fraction, Fraction], str]:
    """Start, end, speeds at both, and the entry as written."""
    shown = printable(entry)
    span, colon, speed = entry.rpartition(":")
    first, dash, last = (part.strip() for part in span.partition("-"))
    if not colon or not dash:
        raise UsageError(
            f"expected speed curve entries START-END:SPEED such as 2-3.5:0.125 or, eased, 2-3:1~0.125, found '{shown}'"
        )
    start = parse_time(first) if first else Fraction(0)
    end = parse_time(last) if last else duration
    begin, _, finish = speed.partition("~")
    speeds = (parse_number(begin), parse_number(finish if "~" in speed else begin))
    if min(speeds) <= 0:
        raise UsageError(
            f"expected speeds above 0 in the speed curve, found '{shown}': write 0.125 for eight times slower"
        )
    if start >= duration:
        raise UsageError(
            f"expected speed curve times within the source, which ends at {format_time(duration)}, found '{shown}': "
            "drop the entry or correct its start"
        )
    if end <= start:
        raise UsageError(f"expected a speed curve entry that ends after it starts, found '{shown}': correct its times")
    return start, end, speeds, entry

"""Times and rates as ffmpeg and its containers read them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import lcm
from typing import Any

MOST_REORDERED = 16
"""Pictures that a codec may store before those that are shown before them (ITU-T H.264, A.3.1)."""


def exact(ratio: Any) -> Fraction:
    """A ratio of PyAV's, whose type depends on its version; 0 where there is none."""
    return Fraction(ratio or 0)


def common_time_base(seconds: Iterable[Fraction]) -> Fraction:
    """The coarsest clock on which all these times are whole ticks; 1 microsecond where that is finer than 2**-31 s."""
    ticks = 1
    for moment in seconds:
        ticks = lcm(ticks, moment.denominator)
        if ticks >= 2**31:
            return Fraction(1, 1_000_000)
    # Encoders and players take a clock of 1/1000 or finer for granted.
    while ticks < 1000:
        ticks *= 10
    return Fraction(1, ticks)


def track_timescale(rate: Fraction) -> int:
    """Ticks per second of an mp4 track on which every frame of this constant rate is a whole number of ticks."""
    scale = rate.numerator
    while scale < 10_000:
        scale *= 10
    return scale if scale < 2**31 else 90_000


def ratio_text(value: Fraction) -> str:
    """A rational as ffmpeg reads one, its parts within 32 bits."""
    if max(value.numerator, value.denominator) >= 2**31:
        value = value.limit_denominator(1_000_000)
    return f"{value.numerator}/{value.denominator}"


def seconds_text(value: Fraction) -> str:
    """Seconds with microseconds, ffmpeg's own resolution for times on its command line."""
    return f"{float(value):.6f}".rstrip("0").rstrip(".") or "0"

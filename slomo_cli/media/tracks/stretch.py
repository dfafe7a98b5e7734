"""Sound bent to the picture's time, as ffmpeg filters: pure text, nothing is run.

The map of time is cut into segments of constant speed. Each is stretched by itself, with some sound before and after
it so that no stretcher starts or ends inside, and then cut to exact samples: sample ``round(second * rate)`` of the
output belongs to that second, so nothing drifts however many segments there are. Neighbours overlap by a few
milliseconds and are faded into each other.

Stretchers answer early, by a share of their window that grows with the factor. Measured with bursts of a sine, where
the envelope passes half its height: a quarter of the window for rubberband, which leaves at most 13 ms up to twice as
slow and 32 ms up to eight times; about two thirds for each stage of atempo, which varies by 50 ms at eight times.
What they are early is left in front of each segment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from slomo_cli.timeline import Plan
from slomo_cli.times import Piece

Method = Literal["rubberband", "atempo", "pitch"]

LEAD = Fraction(1)
"""Seconds of silence put before the first picture's time, so that every segment has something before it."""
_CONTEXT = Fraction(3, 20)
"""Source seconds a stretcher hears before a segment and after it."""
_FADE = Fraction(1, 100)
"""Output seconds over which neighbouring segments are faded into each other."""
_TOLERANCE = Fraction(1, 200)
"""Output seconds a segment of constant speed may deviate from an eased ramp."""
_MOST_SEGMENTS = 240
"""Filters of one track stay below the length one argument of a program may have."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of constant speed."""

    source_start: Fraction
    """Seconds from the first picture."""
    source_end: Fraction
    factor: Fraction
    """Output seconds per source second."""
    first: int
    """Output sample it begins with."""
    end: int
    """Output sample it ends before."""


def segments(plan: Plan, rate: int) -> tuple[Segment, ...]:
    """The plan's map as segments of constant speed, covering every sample of an output of ``rate`` samples a second."""
    moments: list[tuple[Fraction, Fraction]] = []
    pieces = plan.time_map.pieces
    ramps = sum(piece.speed_start != piece.speed_end for piece in pieces)
    most = max(2, (_MOST_SEGMENTS - len(pieces)) // max(1, ramps))
    for piece in pieces:
        moments += _corners(piece, most)
    moments.append((pieces[-1].source_end, pieces[-1].output_end))
    total = round(plan.duration * rate)
    found: list[Segment] = []
    for (source, output), (source_end, output_end) in pairwise(moments):
        if source_end <= source or output_end <= output:
            continue
        first, end = min(round(output * rate), total), min(round(output_end * rate), total)
        if end > first:
            found.append(Segment(source, source_end, (output_end - output) / (source_end - source), first, end))
    # The last frame is shown to its end, which may lie a little past the map's.
    last = found[-1]
    found[-1] = Segment(last.source_start, last.source_end, last.factor, last.first, total)
    return tuple(found)


def _corners(piece: Piece, most: int) -> list[tuple[Fraction, Fraction]]:
    """(source, output) where straight parts of a piece begin; an eased ramp is cut until it is straight enough."""
    start, end = piece.output_start, piece.output_end
    if piece.speed_start == piece.speed_end:
        return [(piece.source_start, start)]
    # A chord over dt of a curve with slope v leaves it by at most |dv| dt / 8 source seconds; over v that is output.
    length = end - start
    change = abs(piece.speed_end - piece.speed_start) * Fraction(3, 2) / length
    slowest = min(piece.speed_start, piece.speed_end)
    step = math.sqrt(float(8 * _TOLERANCE * slowest / change))
    count = max(1, min(most, math.ceil(float(length) / max(step, 1e-6))))
    times = [start + length * k / count for k in range(count)]
    return [(piece.source_at(moment), moment) for moment in times]


def track_filters(
    source: str, result: str, parts: Sequence[Segment], rate: int, method: Method, unit: str, before: str = ""
) -> str:
    """A filter graph from the input pad ``source`` to the output pad ``result`` (names without brackets).

    unit: a prefix that keeps the graph's inner names apart from other tracks'. before: a first filter.
    The input's time 0 must be LEAD seconds before the first picture.
    """
    # The first filter is one by itself: older resamplers cannot mix channels and put silence in front at once.
    base = f"[{source}]{before}{',' if before else ''}aresample={rate}:async=1:min_hard_comp=0.01:first_pts=0"
    total = parts[-1].end
    finish = f"apad=whole_len={total},atrim=end_sample={total}[{result}]"
    if len(parts) == 1:
        return f"{base},{_segment(parts[0], rate, method, total)}[{result}]"
    fade = max(1, min([round(_FADE * rate), *((part.end - part.first) // 3 for part in parts)]))
    names = [f"{unit}s{number}" for number in range(len(parts))]
    graph = [f"{base},asplit={len(parts)}" + "".join(f"[{name}]" for name in names)]
    for name, part in zip(names, parts, strict=True):
        length = part.end - part.first + (0 if part is parts[-1] else fade)
        graph.append(f"[{name}]{_segment(part, rate, method, length)}[{name}o]")
    joined = f"{names[0]}o"
    for number, name in enumerate(names[1:], 1):
        longer = f"{unit}j{number}"
        graph.append(f"[{joined}][{name}o]acrossfade=ns={fade}:c1=tri:c2=tri[{longer}]")
        joined = longer
    graph.append(f"[{joined}]{finish}")
    return ";".join(graph)


def _segment(part: Segment, rate: int, method: Method, length: int) -> str:
    """Filters that make exactly ``length`` samples of this segment from a stream that has LEAD seconds before it."""
    start = part.source_start + LEAD - _CONTEXT
    end = part.source_end + LEAD + _CONTEXT + _FADE / part.factor
    stretch, early = _stretcher(part.factor, rate, method)
    skip = round((_CONTEXT * part.factor - early) * rate)
    # A stretcher that is early by more than the context holds would have to be delayed; the context is long enough.
    steps = [
        f"atrim=start_sample={round(start * rate)}:end_sample={round(end * rate)}",
        "asetpts=N/SR/TB",
        *stretch,
        f"atrim=start_sample={max(0, skip)}",
        "asetpts=N/SR/TB",
        f"apad=whole_len={length}",
        f"atrim=end_sample={length}",
    ]
    return ",".join(steps)


def _stretcher(factor: Fraction, rate: int, method: Method) -> tuple[list[str], Fraction]:
    """(filters that make sound ``factor`` times longer, output seconds by which their result is early)."""
    if factor == 1:
        return [], Fraction(0)
    if method == "pitch":
        return _resampled(factor, rate), Fraction(0)
    if method == "rubberband":
        stages = _stages(factor, Fraction(1, 100), Fraction(100))
        # Its window is 2048 samples at 48 kHz, in powers of two for other rates.
        window = Fraction(2 ** math.ceil(math.log2(2048 * rate / 48000) - 1e-9), rate)
        # 'smooth': its way with transients leaves holes in what follows them, which slow motion makes long.
        filters = [f"rubberband=tempo={float(1 / stage):.12g}:transients=smooth" for stage in stages]
        share = Fraction(1, 4)
    else:
        stages = _stages(factor, Fraction(1, 100), Fraction(2))
        window = Fraction(2 ** math.ceil(math.log2(rate / 24) - 1e-9), rate)
        filters = [f"atempo={float(1 / stage):.12g}" for stage in stages]
        share = Fraction(2, 3)
    early = Fraction(0)
    for stage in stages:
        early = early * stage + (stage - 1) * window * share
    return filters, early


def _stages(factor: Fraction, low: Fraction, high: Fraction) -> list[Fraction]:
    """Equal steps, each within what one filter can do, whose product is the factor (to a millionth of a millionth)."""
    count = 1
    while not float(low) ** count <= factor <= float(high) ** count:
        count += 1
    if count == 1:
        return [factor]
    each = Fraction(float(factor) ** (1 / count)).limit_denominator(1_000_000)
    return [each] * (count - 1) + [factor / each ** (count - 1)]


def _resampled(factor: Fraction, rate: int) -> list[str]:
    """The same samples played slower, so pitch falls with speed; exact, since the two rates are whole and in ratio."""
    near = factor.limit_denominator(96_000)
    scale = max(1, round(Fraction(rate) / near.numerator))
    return [f"aresample={near.numerator * scale}", f"asetrate={near.denominator * scale}", f"aresample={rate}"]

"""How fast things move in a source, and the factor at which nothing moves too far from one output frame to the next."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slomo_cli.errors import UsageError
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.scan import Scanned
from slomo_cli.pairs import Pair, pairs
from slomo_cli.text import decimal
from slomo_cli.values import ComputeSettings, SourceTiming, TimeSettings, VideoInfo

if TYPE_CHECKING:
    from slomo_cli.interpolate import Interpolator

PAIRS_MEASURED = 24
"""Pairs looked at, spread evenly over the source."""
SHARE = 95
"""Of a hundred points of a picture, so many must move no further than asked; the rest may be errors of the flow."""
LARGEST_FACTOR = Fraction(256)
"""A factor is never chosen above this."""
_AROUND = 6
"""Pictures before and after a pair that are looked at too: what a repeat or a cut is shows beside its neighbours."""
_READ_WHOLE = 1500
"""A source of no more pictures is decoded once from end to end; a longer one is sought in."""
_SLACK = 1e-6
"""Of a factor, so that one pixel measured as 1.0000001 does not double it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The motion measured in one pair."""

    seconds: Fraction
    """Time of its left picture."""
    interval: Fraction
    """Seconds from its left picture to its right one."""
    length: float
    """Pixels of the source that SHARE of a hundred points stay below on the way from left to right."""

    @property
    def speed(self) -> float:
        """Pixels per second of the source."""
        return self.length / float(self.interval)


@dataclass(frozen=True, slots=True)
class Pace:
    """What was measured in a source."""

    samples: tuple[Sample, ...]
    cuts: int
    """Pairs with a cut between them, which were left out."""


def choose_factor(samples: Sequence[Sample], pixels: float, rate: Fraction | None) -> Fraction:
    """The smallest whole factor at which no sample moves more than ``pixels`` from one output frame to the next.

    Output frames of ``rate`` a second lie 1 / (rate x factor) seconds of the source apart. ``rate`` None: every source
    interval is divided into ``factor`` steps (variable rate kept). At least 1, at most LARGEST_FACTOR.
    """
    if not pixels > 0:
        raise UsageError(f"expected a distance above 0 pixels, found {pixels:g}")
    wanted = max((_step(sample, rate) for sample in samples), default=0.0) / pixels * (1 - _SLACK)
    return min(LARGEST_FACTOR, Fraction(max(1, ceil(wanted))))


def _step(sample: Sample, rate: Fraction | None) -> float:
    """Pixels that things move from one output frame to the next at factor 1; ``rate`` as in ``choose_factor``."""
    return sample.length if rate is None else sample.speed / float(rate)


def with_measured_factor(
    info: VideoInfo, scanned: Scanned, time: TimeSettings, compute: ComputeSettings
) -> tuple[TimeSettings, tuple[str, ...]]:
    """The settings with the factor that ``time.auto_factor`` asks for, and lines that say what was found and chosen."""
    assert time.auto_factor is not None
    choose_factor((), time.auto_factor, None)  # refuses nonsense before the work
    from slomo_cli.interpolate import Interpolator  # loads torch: only for those who ask

    with Interpolator(**asdict(compute)) as network:
        pace = measure(info, scanned, time, network, count=PAIRS_MEASURED)
    rate = None if time.vfr == "keep" else time.rate or scanned.timing.nominal_rate
    factor = choose_factor(pace.samples, time.auto_factor, rate)
    return replace(time, factor=factor, auto_factor=None), _lines(pace, time.auto_factor, factor, rate)


def measure(info: VideoInfo, scanned: Scanned, time: TimeSettings, network: Interpolator, *, count: int) -> Pace:
    """The motion of up to ``count`` pairs spread over the part of the source that ``time`` asks for."""
    samples, cuts = [], 0
    for pair in sampled(info, scanned, time, count):
        if pair.cut:
            cuts += 1
            continue
        length = 0.0 if pair.still else _length(network.motion(pair.left, pair.right, [Fraction(1, 2)]).flow_01)
        samples.append(Sample(pair.left.pts_seconds, pair.interval, length))
    return Pace(tuple(samples), cuts)


def _length(flow: npt.NDArray[np.float32]) -> float:
    """What SHARE of a hundred vectors of a flow (h, w, 2) stay below."""
    some = flow[::2, ::2]
    return float(np.percentile(np.hypot(some[..., 0], some[..., 1]), SHARE))


def sampled(info: VideoInfo, scanned: Scanned, time: TimeSettings, count: int) -> Iterator[Pair]:
    """Up to ``count`` pairs spread evenly, each once, in order."""
    stamps = scanned.stamps
    first = bisect_right(stamps, time.start) - 1 if time.start is not None else 0
    last = bisect_left(stamps, time.end) if time.end is not None else len(stamps) - 1
    first, last = max(0, first), min(last, len(stamps) - 1)
    places = middles(first, last, count)
    whole = last - first <= _READ_WHOLE or not _can_be_sought(info, scanned.timing)
    margin = _AROUND if not whole else last - first

    def judged(left: Fraction) -> bool:
        """Whether a place comes soon: looking for cuts everywhere would cost more than all the rest."""
        here = bisect_right(stamps, left) - 1
        coming = bisect_left(places, here)
        return coming < len(places) and places[coming] - here <= _AROUND

    done: Fraction | None = None
    for group in [places] if whole else [[place] for place in places]:
        if not group:
            return
        start = stamps[max(first, group[0] - margin)]
        end = stamps[min(last, group[-1] + 1 + margin)]
        wanted = [stamps[place] for place in group]
        with closing(pairs(info, scanned.timing, time, start, end, judged)) as window:
            for pair in window:
                left, right = pair.left.pts_seconds, pair.right.pts_seconds
                while wanted and wanted[0] < left:
                    wanted.pop(0)
                if not wanted:
                    break
                if wanted[0] < right and (done is None or done < left):
                    done = left
                    yield pair


def middles(first: int, last: int, count: int) -> list[int]:
    """Up to ``count`` of the numbers ``first`` .. ``last - 1``, evenly spread, each once."""
    total = max(0, last - first)
    count = min(count, total)
    return [first + (2 * k + 1) * total // (2 * count) for k in range(count)]


def _can_be_sought(info: VideoInfo, timing: SourceTiming) -> bool:
    with Decoder(info, timing) as decoder:
        return decoder.seekable


def _lines(pace: Pace, pixels: float, factor: Fraction, rate: Fraction | None) -> tuple[str, ...]:
    cuts = f", {pace.cuts} more at cuts left out" if pace.cuts else ""
    if not pace.samples:
        return (f"motion: no two pictures to measure{cuts}; the factor is {decimal(factor)}",)
    fastest = max(pace.samples, key=lambda sample: _step(sample, rate))
    middle = float(np.median([sample.length for sample in pace.samples]))
    found = (
        f"motion measured in {len(pace.samples)} pairs{cuts}: {SHARE} of 100 points move less than "
        f"{fastest.length:.1f} pixels in the fastest (at {float(fastest.seconds):.2f} s), {middle:.1f} in the median"
    )
    step = _step(fastest, rate) / float(factor)
    asked = f"{pixels:g} allowed" if step <= pixels * 1.01 else f"more than {pixels:g}, but no larger one is chosen"
    return found, f"factor {decimal(factor)} chosen: they move up to {step:.1f} pixels from frame to frame, {asked}"

"""Exact times out of rounded stamps: on which regular grid do a film's pictures lie?

Containers round (Matroska to milliseconds, MPEG-TS to 1/90000 s), so 24000/1001 pictures per second arrive as stamps
that are never quite even. A film is of constant rate when one exact rate explains every stamp to within the rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ticks = npt.NDArray[np.int64]

_COMMON_RATES = tuple(
    Fraction(rate)
    for rate in (
        *(1, 2, 4, 5, 6, 8, 10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60, 72, 75, 90, 96, 100, 120, 144, 180, 200),
        *(240, 250, 300, 360, 400, 480, 500, 600, 960, 1000),
        *("15/2", "25/2", "12000/1001", "15000/1001", "24000/1001", "30000/1001", "48000/1001", "60000/1001"),
        *("120000/1001", "240000/1001"),
    )
)
_COMMON_DENOMINATORS = (1, 2, 1001)
_DEFAULT_RATE = Fraction(25)
_EVEN = 4
"""Intervals that make a constant rate of which the first picture alone is not part."""
_FILM_RATES = (Fraction(24000, 1001), Fraction(24))
_RHYTHM = 8
"""Intervals that make a rhythm."""
_COARSEST = 4
"""Ticks from picture to picture up to which unevenness is not laid to rounding: 2, 3, 2, 3 is a telecine."""


@dataclass(frozen=True)
class Grid:
    """The times at which a film's pictures lie."""

    rate: Fraction
    """Points of it a second."""
    constant: bool
    """Every point is taken: no picture is missing."""
    first_moved: int = 0
    """Ticks by which the first picture must move to lie on it too."""
    is_film: bool = False
    """Its pictures are shown for two and three fields of video in turn, and move by up to a field to lie on it."""


class Stamps(Sequence[Fraction]):
    """Times of the pictures in seconds from the first, ascending; made one by one from 8-byte ticks."""

    def __init__(self, ticks: Ticks | range, time_base: Fraction, grid: Fraction | None) -> None:
        self._ticks = ticks
        self._time_base = time_base
        self._grid = grid

    def __len__(self) -> int:
        return len(self._ticks)

    @overload
    def __getitem__(self, index: int) -> Fraction: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Fraction]: ...
    def __getitem__(self, index: int | slice) -> Fraction | Sequence[Fraction]:
        if isinstance(index, slice):
            return [self[at] for at in range(len(self))[index]]
        return snapped(int(self._ticks[index]) - int(self._ticks[0]), self._time_base, self._grid)


def snapped(ticks: int, time_base: Fraction, grid: Fraction | None) -> Fraction:
    """Ticks after the first picture in seconds; on a grid, the grid's nearest point."""
    if grid is None:
        return ticks * time_base
    return math.floor(ticks * time_base * grid + Fraction(1, 2)) / grid


def ascending(ticks: Ticks) -> Ticks:
    """Sorted, each value once."""
    ticks = np.sort(ticks)
    keep = np.ones(len(ticks), bool)
    keep[1:] = ticks[1:] != ticks[:-1]
    return ticks if keep.all() else ticks[keep]


def joined(parts: Sequence[Ticks], interval: int) -> list[Ticks]:
    """Parts moved so that each begins ``interval`` ticks after the last picture of the one before."""
    moved = [parts[0]]
    for part in parts[1:]:
        moved.append(part - part[0] + moved[-1][-1] + interval)
    return moved


def find_grid(
    ticks: Ticks, time_base: Fraction, header_rates: Sequence[Fraction], packet_duration: int = 0
) -> Grid | None:
    """The grid on which all stamps lie, up to the container's rounding; None where no grid explains them.

    ticks: ascending, distinct. A stamp lies on the grid when it is less than one tick from it (both ends of a
    difference are rounded, by up to half a tick each). Where stamps were copied from a file with a coarser clock, as
    from Matroska to mp4, that clock's ticks count. A single picture is constant at the rate the header names, or at its
    own duration where that is longer.
    """
    if len(ticks) < 2:
        rates = list(header_rates)
        own = 1 / (packet_duration * time_base) if packet_duration else None
        # Of one picture libav may take the rate of fields, or the ticks of its clock, for that of pictures.
        if own and (not rates or 1 <= own < rates[0]):
            common = _nearest_common(own)
            rates = [rate for rate in rates if abs(1 / (rate * time_base) - packet_duration) < 1]
            rates.append(common if abs(common - own) <= own / 1000 else own)
        return Grid(rates[0], constant=True) if rates else None
    grid = _found(ticks, time_base, header_rates)
    coarse = 1 if grid and grid.constant else int(np.gcd.reduce(np.diff(ticks)))
    if coarse == 1:
        return grid
    copied = _found((ticks - ticks[0]) // coarse, time_base * coarse, header_rates)
    if copied is None or 1 / (copied.rate * time_base * coarse) <= _COARSEST:
        return grid
    return copied if copied.constant or grid is None else grid


def _found(ticks: Ticks, time_base: Fraction, header_rates: Sequence[Fraction]) -> Grid | None:
    """As ``find_grid``, of two stamps or more on this very clock."""
    gapped: Grid | None = None
    for rate in _candidates(ticks, time_base, header_rates):
        steps = _fit(ticks, time_base, rate)
        if steps is None:
            continue
        if (steps == 1).all():
            return Grid(rate, constant=True)
        # With gaps a coarse clock proves nothing: ask for a fine one and some neighbours, or for the header's word.
        interval = 1 / (rate * time_base)
        often = 10 * int((steps == 1).sum()) >= len(steps)
        trusted = interval >= 8 or (interval.denominator == 1 and rate in header_rates)
        if gapped is None and often and trusted:
            gapped = Grid(rate, constant=False)
    return gapped


def _candidates(ticks: Ticks, time_base: Fraction, header_rates: Sequence[Fraction]) -> list[Fraction]:
    """Rates that may explain the stamps, the likeliest first; in a short clip several do."""
    steps = np.diff(ticks)
    mean = len(steps) / (int(ticks[-1] - ticks[0]) * time_base)
    even = [1 / (int(steps[0]) * time_base)] if (steps == steps[0]).all() else []
    # Headers round too: Matroska's 8341717 ns a picture are 29011/242 to libav, and mean 120000/1001.
    stated = [common for rate in header_rates if abs((common := _nearest_common(rate)) - rate) <= rate / 10_000]
    usual = [rate for rate in (*header_rates, *even) if rate.denominator in _COMMON_DENOMINATORS]
    whole = Fraction(max(round(mean), 1))
    ntsc = max(round(mean * 1001 / 1000), 1) * Fraction(1000, 1001)
    measured = sorted((whole, ntsc), key=lambda rate: abs(rate - mean))
    # With gaps the mean says little, but the shortest interval is one step of the grid.
    shortest = int(steps.min())
    gapped = [rate for rate in _COMMON_RATES if shortest >= 8 and abs(1 / (rate * time_base) - shortest) < 1]
    gapped.sort(key=lambda rate: abs(1 / (rate * time_base) - shortest))
    rough = mean.limit_denominator(1001)
    found = dict.fromkeys([*stated, *usual, _nearest_common(mean), *even, *measured, *header_rates, rough, *gapped])
    return [rate for rate in found if rate > 0]


def _nearest_common(rate: Fraction) -> Fraction:
    return min(_COMMON_RATES, key=lambda common: abs(common - rate))


def _fit(ticks: Ticks, time_base: Fraction, rate: Fraction) -> Ticks | None:
    """Grid steps between neighbouring pictures, or None when some stamp is off the grid or two share a point."""
    interval = 1 / (rate * time_base)
    across, down = interval.numerator, interval.denominator
    span = int(ticks[-1] - ticks[0])
    if interval < 1 or 2 * span * down + across >= 1 << 62:
        return None
    from_first = (ticks - ticks[0]) * down
    points = (2 * from_first + across) // (2 * across)
    error = np.abs(from_first - points * across)
    # On a clock about as coarse as the grid "less than a tick" would hold for anything: ask for exactness.
    if int(error.max()) >= (down if interval > 2 else 1):
        return None
    steps = np.diff(points)
    return steps if (steps >= 1).all() else None


def even_but_first(ticks: Ticks, time_base: Fraction, header_rates: Sequence[Fraction]) -> Grid | None:
    """The grid of all pictures but the first, which must move to lie on it too.

    ticks: as in ``find_grid``. Writers of fragments put the first picture where the first sound begins, which its
    encoder starts some milliseconds early. None where others are on no grid, or it would move by an interval or more.
    """
    if len(ticks) < _EVEN + 2:
        return None
    grid = find_grid(ticks[1:], time_base, header_rates)
    if grid is None:
        return None
    interval = 1 / (grid.rate * time_base)
    step = int(ticks[1] - ticks[0])
    late = step - interval * (1 if grid.constant else max(1, int(step / interval)))
    return replace(grid, first_moved=round(late)) if abs(late) < interval else None


def film_grid(ticks: Ticks, time_base: Fraction) -> Grid | None:
    """The grid of film that is shown for two and three fields of video in turn (3:2 pulldown); None of anything else.

    ticks: ascending, distinct. Made even, no picture moves by more than a field (1/60 s).
    """
    steps = np.diff(ticks)
    if len(steps) < _RHYTHM:
        return None
    mean = len(steps) / (int(ticks[-1] - ticks[0]) * time_base)
    for rate in sorted(_FILM_RATES, key=lambda film: abs(film - mean)):
        interval = float(1 / (rate * time_base))
        field = interval * 2 / 5
        fields = np.rint(steps / field)
        rounded = 1.5  # ticks
        rhythmic = {2, 3} == set(fields.tolist()) and float(np.abs(steps - fields * field).max()) <= rounded
        away = np.abs(ticks - ticks[0] - np.arange(len(ticks)) * interval)
        if rhythmic and field >= 8 and float(away.max()) <= field + rounded:
            return Grid(rate, constant=True, is_film=True)
    return None


def rate_of_lengths(ticks: Ticks, time_base: Fraction) -> Fraction | None:
    """The common rate of pictures that all last as long as one at that rate, rounded to a tick; None of others.

    Where lengths are rounded, and not stamps, as libav does it with APNG, the error adds up.
    """
    steps = np.diff(ticks)
    if not len(steps) or (steps != steps[0]).any():
        return None
    rate = _nearest_common(1 / (int(steps[0]) * time_base))
    return rate if round(1 / (rate * time_base)) == steps[0] else None


def pace(steps: Ticks, time_base: Fraction, header_rates: Sequence[Fraction]) -> Fraction:
    """The common rate nearest to the middle one of the intervals: what a source of variable rate is written at."""
    if not len(steps):
        return header_rates[0] if header_rates else _DEFAULT_RATE
    usual = int(np.sort(steps)[len(steps) // 2])
    if usual >= _COARSEST:  # what a coarse clock rounds: 8, 8 and 9 ms are 120 a second
        alike = steps[np.abs(steps - usual) <= 1]
        middle = len(alike) / (int(alike.sum()) * time_base)
    else:
        middle = 1 / (usual * time_base)
    near = _nearest_common(middle)
    if abs(near - middle) <= middle / 40:
        return near
    return Fraction(round(middle)) if middle >= 2 else max(middle.limit_denominator(100), Fraction(1, 100))


def last_length(duration: int, ticks: Ticks, time_base: Fraction, grid: Fraction | None, nominal: Fraction) -> Fraction:
    """Seconds the last picture stands: its stored duration in ticks, or a nominal interval where that says nothing.

    ticks: of all pictures. Of a stamp copied from a coarser clock (Matroska to mp4) both ends are as far off the grid.
    """
    stored = duration * time_base
    if stored < 1 / nominal / 10:
        return 1 / nominal
    if grid is not None:
        points = round(stored * grid)
        if points >= 1 and abs(stored - points / grid) <= time_base + 2 * _off_grid(ticks, time_base * grid) / grid:
            return points / grid
    return stored


def _off_grid(ticks: Ticks, intervals: Fraction) -> Fraction:
    """How far the worst stamp lies beside the grid, in intervals of it; ``intervals``: how many of them a tick is."""
    places = (ticks - ticks[0]) * float(intervals)
    return Fraction(float(np.abs(places - np.rint(places)).max()))

"""The even pace of pictures that stand for more and fewer frames in turn.

24 pictures a second carried at 60 are shown for two and three frames, at 30 every fourth for two: as the frames have
it, each begins up to a frame too early or late, and slow motion shows that as a limp. Where a rhythm is found, picture
after picture belongs to an even row of moments, each less than a frame from where the picture is shown first:

    moment = pace * place in the row + beginning,    pace = 5/2, 5/4, 6/5 ... frames

Of the rows that fit, it is the one that the film's beginning belongs to, so that who asks for 24 pictures a second gets
those that were carried; where that one does not, it is one in which no picture belongs before its first frame.

A repeat now and then, of a camera or a game that came too late, is no rhythm: what follows has its own time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slomo_cli.values import Frame

LONGEST_RHYTHM = 5
"""Pictures after which the longest rhythm begins anew: 25 a second carried at 30, or at 60."""
_HEARD = 3
"""So often in a row it must be met."""
_BEHIND = _HEARD * LONGEST_RHYTHM
_AHEAD = 6
"""Pictures that are looked at on either side; those ahead are held, where some stand for more frames than others."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """When a picture is shown first."""

    number: int
    """Of that frame in the source."""
    seconds: Fraction
    moved: Fraction = Fraction(0)
    """Seconds from there to where it belongs."""


def evened(pictures: Iterable[tuple[int | None, Frame]]) -> Iterator[Frame]:
    """The same pictures at even moments where they come in a rhythm, each less than a frame from its own.

    ``pictures``: those that repeat none, in order, each with the number of its first frame in the source; None of
    what is, or may be, a repeat and stays: it keeps its time. Where the frames do not come evenly themselves, nothing
    is changed.
    """
    behind: deque[_Shown] = deque(maxlen=_BEHIND)
    waiting: deque[tuple[_Shown | None, Frame]] = deque()
    for number, frame in pictures:
        waiting.append((None if number is None else _Shown(number, frame.pts_seconds), frame))
        while waiting and len(waiting) > (_AHEAD if _is_uneven(behind, waiting) else 0):
            yield _next(behind, waiting)
    while waiting:
        yield _next(behind, waiting)


def _is_uneven(behind: Iterable[_Shown], waiting: Iterable[tuple[_Shown | None, Frame]]) -> bool:
    """Whether some of these pictures stand for more frames than others."""
    numbers = [*(shown.number for shown in behind), *(shown.number for shown, _ in waiting if shown is not None)]
    return len({later - number for number, later in pairwise(numbers)}) > 1


def _next(behind: deque[_Shown], waiting: deque[tuple[_Shown | None, Frame]]) -> Frame:
    here, frame = waiting.popleft()
    if here is None:
        return frame
    moved = _moved(behind, here, [shown for shown, _ in waiting if shown is not None])
    if behind and here.seconds + moved <= behind[-1].seconds + behind[-1].moved:  # that is of another row
        moved = Fraction(0)
    behind.append(replace(here, moved=moved))
    return replace(frame, pts_seconds=here.seconds + moved, moved_seconds=moved) if moved else frame


def _moved(behind: Sequence[_Shown], here: _Shown, ahead: Sequence[_Shown]) -> Fraction:
    """Seconds from its first frame to where the picture belongs."""
    beside = ahead[0] if ahead else behind[-1] if behind else here
    if beside is here:
        return Fraction(0)
    step = (beside.seconds - here.seconds) / (beside.number - here.number)
    past = _steady(here, reversed(behind), step)
    future = _steady(here, ahead, step)
    nearest = min((abs(numbers[0]) for numbers in (past, future) if numbers), default=0)
    longest, moved = 0, Fraction(0)
    for pace in _paces(nearest):
        gaps, early, late = _fit(past, future, pace)
        if gaps > longest and gaps >= _HEARD * pace.denominator:
            longest = gaps
            back = here.seconds / step % pace  # to the row of the film's beginning
            moved = next((way for way in (-back, pace - back) if late - 1 < way < early + 1), late)
    return moved * step


def _steady(here: _Shown, row: Iterable[_Shown], step: Fraction) -> list[int]:
    """How many frames away the pictures of a row are, as far as frames come evenly, ``step`` seconds each."""
    numbers: list[int] = []
    for shown in row:
        away = shown.number - here.number
        if shown.seconds - here.seconds != away * step:
            break
        numbers.append(away)
    return numbers


@cache
def _paces(gap: int) -> tuple[Fraction, ...]:
    """Frames a picture on average, near to a gap of so many; those of short rhythms first."""
    return tuple(
        gap - 1 + Fraction(part, pictures)
        for pictures in range(2, LONGEST_RHYTHM + 1)
        for part in range(1, 2 * pictures)
        if gcd(part, pictures) == 1 and gap * pictures + part > pictures
    )


def _fit(past: Sequence[int], future: Sequence[int], pace: Fraction) -> tuple[int, Fraction, Fraction]:
    """How many gaps around a picture keep to this pace; and how far, in frames, the earliest and the latest of those
    pictures are from a row through its first frame: at most 0 and at least 0, less than a frame apart.

    ``past``, ``future``: how many frames away the pictures before and after it are, nearest first.
    """
    whole, parts = pace.numerator, pace.denominator
    longest, early, late = 0, 0, 0
    low = high = 0  # of (number - pace * place), times ``parts``
    for taken in range(len(future) + 1):
        if taken:
            apart = parts * future[taken - 1] - whole * taken
            low, high = min(low, apart), max(high, apart)
        if high - low >= parts:
            break
        gaps, least, most = taken, low, high
        for place, number in enumerate(past, 1):
            apart = parts * number + whole * place
            if max(most, apart) - min(least, apart) >= parts:
                break
            least, most = min(least, apart), max(most, apart)
            gaps += 1
        if gaps >= longest:
            longest, early, late = gaps, least, most
    return longest, Fraction(early, parts), Fraction(late, parts)

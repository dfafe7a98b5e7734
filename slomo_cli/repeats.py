"""Is this frame a repeat? Judged on small luma pictures as the frames stream by, a few of them ahead.

A repeat is a frame that differs from the one before only as two encodings of the same picture differ, while the frames
around it move: little change in absolute terms, and much less than the change on both sides nearby. What moves slowly
between faster moments changes as little, but its steps add up; those of encoding do not.

Coarse encoding (streams, crf 28) leaves larger differences, most of them where things have just moved. These are
believed where repeats are usual: where some of the frames before were such, too.

Differences are in 8-bit levels whatever the depth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from slomo_cli.cadence import evened
from slomo_cli.cuts import CutDetector, shrink

if TYPE_CHECKING:
    from slomo_cli.cuts import Floats
    from slomo_cli.values import Frame

DUPLICATE_TOLERANCE = 3.0
"""Levels the most changed parts of a repeat may differ by: what H.264 leaves at crf 23."""
_MOST_TOLERATED = DUPLICATE_TOLERANCE * 8 / 3
"""The same beside large changes."""
_MOST_COARSE = DUPLICATE_TOLERANCE * 4
"""The same where repeats are usual, and only where things move around it."""
_REMEMBERED = 15
"""Frames of which..."""
_USUAL = 3
"""...so many were repeats, or looked like it, where repeats are usual."""
LONGEST_RUN = 5
"""Repeats in a row that are still taken for a lower rate; more are a still picture."""
LONGEST_HOLD = Fraction(1, 4)
"""Seconds a picture may be shown to be taken for one of a lower rate; longer is a still picture."""

_ADDS_UP = 0.5  # how much of the smaller of two steps is seen across both where something moves
_MUCH_LESS = 0.4  # how much of a change a repeat's may be
_DOUBT = 1.5  # times that, a change may still be a repeat's
_BLOCK = 8  # pixels of the small pictures
_AROUND = 2  # blocks: noise lies so near to what moved


def difference(left: Floats, right: Floats) -> float:
    """How much two small pictures differ where they differ most: levels, the mean over the four most changed blocks."""
    return _most(_blocks(left, right))


def _blocks(left: Floats, right: Floats) -> Floats:
    """How much each block of two small pictures differs: levels, (rows, columns)."""
    apart = np.abs(left - right)
    high, wide = min(_BLOCK, apart.shape[0]), min(_BLOCK, apart.shape[1])
    rows, columns = apart.shape[0] // high, apart.shape[1] // wide
    squares = apart[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
    means: Floats = squares.mean(axis=(1, 3), dtype=np.float32)
    return means


def _most(blocks: Floats) -> float:
    most = min(4, blocks.size)
    return float(np.partition(blocks.ravel(), -most)[-most:].mean())


@dataclass(slots=True)
class _Seen:
    """A frame that waits for what comes after it, or (without its picture) one that was passed on or dropped."""

    frame: Frame | None
    number: int
    """In the source."""
    seconds: Fraction
    change: float
    """From the frame before, as ``difference`` counts; infinite for the first frame."""
    blocks: Floats | None
    """The same of each block; None for the first frame."""
    moves: bool = False
    """Whether what changes from the frame before to this one, and from this one to the next, adds up."""


class DuplicateFilter:
    """Drops frames that repeat the one before, so that motion is spread over the time between distinct frames: evenly,
    where they come in a rhythm (see ``cadence``).

    Cartoons drawn on twos and threes, 24 frames per second carried at 30, slow programs in a fast screen capture: a
    repeat stands between changes much larger than its own, no more than LONGEST_RUN repeats follow each other, and
    their picture stands no longer than LONGEST_HOLD. A longer run is a still picture and stays whole, so that it is
    held and then moves. Slow even motion stays too (no change is much larger than the others), and the first and last
    frame, and the last frame before a cut, so that the cut keeps its time.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        cut_threshold: float | None = None,
        counted: tuple[Fraction, Fraction] | None = None,
    ) -> None:
        """Not ``enabled``, nothing is dropped. ``cut_threshold``: as CutDetector has it. ``counted``: from when to
        before when repeats are counted; None: all."""
        self.enabled = enabled
        self.count = 0
        """Repeats dropped so far."""
        self._counted = counted
        self._cuts = CutDetector(cut_threshold)
        self._recent: deque[bool] = deque(maxlen=_REMEMBERED)
        """Of the frames before: did they repeat, or look like it?"""

    def thin(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames that are no repeats, in order; up to LONGEST_RUN frames are read ahead and held, and a few more
        where the repeats come unevenly."""
        return evened(self._numbered(frames)) if self.enabled else iter(frames)

    def _numbered(self, frames: Iterable[Frame]) -> Iterator[tuple[int | None, Frame]]:
        """The frames that stay, each with its number in the source; None of what is, or may be, a repeat."""
        past: deque[_Seen] = deque(maxlen=LONGEST_RUN)
        ahead: deque[_Seen] = deque()
        before: Floats | None = None
        last: Floats | None = None
        for number, frame in enumerate(frames):
            small = shrink(frame, max(1, round(min(frame.planes[0].shape) / 180)), rows=3)
            blocks = None if last is None else _blocks(last, small)
            change = inf if blocks is None else _most(blocks)
            if before is not None:
                ahead[-1].moves = _adds_up(ahead[-1].change, change, difference(before, small))
            before, last = last, small
            ahead.append(_Seen(frame, number, frame.pts_seconds, change, blocks))
            if len(ahead) > LONGEST_RUN:
                yield from self._pass(past, ahead)
        while ahead:
            yield from self._pass(past, ahead)

    def _pass(self, past: deque[_Seen], ahead: deque[_Seen]) -> Iterator[tuple[int | None, Frame]]:
        """Move the first of the waiting frames to the past: onwards, or dropped."""
        seen = ahead.popleft()
        assert seen.frame is not None
        if not self._is_repeat(past, seen, ahead):
            # What may be a repeat tells nothing of the rhythm: every second of them taken for new makes another one.
            doubtful = _repeats(past, seen, ahead, _may_outdo)
            yield None if doubtful else seen.number, seen.frame
        elif self._ends_its_shot(seen, ahead[0]):
            yield None, seen.frame
        else:
            self.count += self._counted is None or self._counted[0] <= seen.seconds < self._counted[1]
        seen.frame = None
        past.append(seen)

    def _is_repeat(self, past: deque[_Seen], seen: _Seen, ahead: deque[_Seen]) -> bool:
        surely = _repeats(past, seen, ahead, _outdoes)
        looks_like_it = surely or _repeats(past, seen, ahead, _outdoes_coarse)
        usual = sum(self._recent) >= _USUAL
        self._recent.append(looks_like_it)
        return surely or (looks_like_it and usual)

    def _ends_its_shot(self, repeat: _Seen, following: _Seen) -> bool:
        assert repeat.frame is not None and following.frame is not None
        ends = _outdoes(following, repeat) or _outdoes_coarse(following, repeat)
        return ends and self._cuts.is_cut(repeat.frame, following.frame)


def _repeats(past: deque[_Seen], seen: _Seen, ahead: deque[_Seen], outdoes: Callable[[_Seen, _Seen], bool]) -> bool:
    if not ahead or not past:
        return False
    back = forth = 0  # repeats (or the like) before and after this one, up to the changes that bound the run
    while not outdoes(past[-1 - back], seen):
        back += 1
        if back == len(past):
            return False
    while forth < len(ahead) and not outdoes(ahead[forth], seen):
        forth += 1
    run = (*islice(reversed(past), back), seen, *islice(ahead, forth))
    if len(run) > LONGEST_RUN or any(each.moves for each in run):
        return False
    if forth == len(ahead) and past[-1 - back].change == inf:
        return False  # begin and end of a film are no changes: all of it moves as little
    return ahead[min(forth, len(ahead) - 1)].seconds - past[-1 - back].seconds <= LONGEST_HOLD


def _adds_up(first: float, second: float, both: float) -> bool:
    """Whether two changes in a row, and the change across both, are those of something that moves."""
    return max(first, second) > DUPLICATE_TOLERANCE and both - max(first, second) > _ADDS_UP * min(first, second)


def _outdoes(moving: _Seen, repeat: _Seen) -> bool:
    """Whether a change is so much larger than another that it is motion and the other none: that one is within
    the tolerance and 2/5 of it, or within the larger tolerance and 4/25 of it."""
    change = moving.change
    allowed = min(_MOST_TOLERATED, max(min(DUPLICATE_TOLERANCE, change * _MUCH_LESS), change * 0.16))
    return change > repeat.change and repeat.change <= allowed


def _may_outdo(moving: _Seen, repeat: _Seen) -> bool:
    """The same with some doubt."""
    return _outdoes_coarse(moving, repeat, _DOUBT)


def _outdoes_coarse(moving: _Seen, repeat: _Seen, doubt: float = 1.0) -> bool:
    """The same of coarse encoding: 2/5 of the change all over, and but for the tolerance 2/5 of it in each place.

    ``doubt``: so many times as much is allowed.
    """
    allowed = doubt * min(_MOST_COARSE, moving.change * _MUCH_LESS)
    if repeat.blocks is None or moving.change <= repeat.change or repeat.change > allowed:
        return False
    if moving.blocks is None:
        return True
    window = 2 * _AROUND + 1
    padded = np.pad(moving.blocks, _AROUND, mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(padded, (window, window)).max(axis=(2, 3))
    return _most(repeat.blocks - np.float32(_MUCH_LESS) * near) <= doubt * DUPLICATE_TOLERANCE

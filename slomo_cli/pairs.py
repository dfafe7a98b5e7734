"""Neighbouring pictures of a source that differ, with what lies between them; as a conversion sees them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from slomo_cli.cuts import CutDetector, same
from slomo_cli.media.read.decode import Decoder
from slomo_cli.repeats import DuplicateFilter
from slomo_cli.timeline import moves_from
from slomo_cli.values import Frame, SourceTiming, TimeSettings, VideoInfo

_BEFORE, _AFTER = 40, 24
"""Pictures looked at on either side of a range: cuts, repeats and their rhythm are judged by what is around them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neighbouring pictures that differ."""

    left: Frame
    right: Frame
    cut: bool
    """The scene changes between them; False where cuts are not looked for."""
    repeats: tuple[Fraction, ...]
    """Times of pictures between them that repeat the left one and are replaced by motion."""

    @property
    def interval(self) -> Fraction:
        """Seconds from the left picture to the right one."""
        return self.right.pts_seconds - self.left.pts_seconds

    @property
    def still(self) -> bool:
        """Both hold the same samples: a conversion shows the left one throughout."""
        return same(self.left, self.right)

    def beside(self, other: Pair | None, timing: SourceTiming) -> tuple[Frame, Fraction] | None:
        """The picture that the pair before or after this one adds to it, and how long that pair moves, in the time that
        this one does; None where it tells nothing of the motion here."""
        if other is None or other.cut or other.still:
            return None
        here, there = (
            pair.right.pts_seconds - moves_from(pair.left.pts_seconds, pair.right.pts_seconds, timing)
            for pair in (self, other)
        )
        return other.left if other.right is self.left else other.right, there / here


def around(
    stamps: Sequence[Fraction], start: Fraction, end: Fraction, *, repeats: bool = True
) -> tuple[Fraction, Fraction]:
    """From when to when to decode, so that what is shown from ``start`` to ``end`` is as it is in the whole: a picture
    more on each side, and as many as it takes to know ``repeats``."""
    before, after = (_BEFORE, _AFTER) if repeats else (1, 1)
    first = bisect_right(stamps, start) - 1 - before
    last = bisect_left(stamps, end) + after
    return min(start, stamps[max(0, first)]), max(end, stamps[min(last, len(stamps) - 1)])


def count_between(stamps: Sequence[Fraction], start: Fraction, end: Fraction) -> int:
    """Pictures from the last at or before ``start`` through the first at or after ``end``, as a Decoder gives them."""
    return min(bisect_left(stamps, end) + 1, len(stamps)) - max(0, bisect_right(stamps, start) - 1)


def pairs(
    info: VideoInfo,
    timing: SourceTiming,
    time: TimeSettings,
    start: Fraction | None = None,
    end: Fraction | None = None,
    judged: Callable[[Fraction], bool] | None = None,
) -> Generator[Pair]:
    """Every pair from the last picture at or before ``start`` to the first at or after ``end`` (None: all), in order.

    ``time`` says how cuts, repeated pictures and fields are treated. ``judged``: whether a pair whose left picture is
    shown at this time is asked for a cut (None: all are); the detector knows what motion is usual by the pairs before,
    so it needs some. Only a few pictures are in memory at a time.
    """
    detector = CutDetector(time.cut_threshold)
    duplicates = DuplicateFilter(enabled=time.duplicates == "replace", cut_threshold=time.cut_threshold)
    seen: deque[Fraction] = deque()
    with Decoder(info, timing, start=start, end=end, deinterlace=time.deinterlace) as decoder:
        left: Frame | None = None
        for right in duplicates.thin(_noted(decoder, seen)):
            between = []
            while seen and seen[0] <= right.pts_seconds:
                between.append(seen.popleft())
            if left is not None:
                asked = time.cuts != "off" and (judged is None or judged(left.pts_seconds))
                cut = asked and detector.is_cut(left, right)
                yield Pair(left, right, cut, tuple(between[:-1]))
            left = right


def _noted(frames: Iterable[Frame], seen: deque[Fraction]) -> Iterator[Frame]:
    for frame in frames:
        seen.append(frame.pts_seconds)
        yield frame

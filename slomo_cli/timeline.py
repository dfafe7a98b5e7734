"""Which pair of source frames, and which t between them, makes each output frame: pure and exact.

Times are source seconds from the first picture, or output seconds from the first frame written; all are ``Fraction``.
At constant rate output frame ``k`` shows source time ``time_map.source_at(k / rate)``, for every ``k`` with
``k / rate < output_duration``. So ``frames = ceil(output_duration * rate)``, known before anything is decoded, and
``schedule`` keeps to that number whatever the decoder delivers.

With ``vfr="keep"`` every source interval has its own number of output frames instead, evenly spread, so the output's
stamps vary as the source's do. That needs the source's stamps when the plan is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise
from math import ceil, floor
from typing import Generic, TypeVar

from slomo_cli.errors import InputError, UsageError
from slomo_cli.times import TimeMap, format_time, parse_speed
from slomo_cli.values import SourceTiming, TimeSettings

F = TypeVar("F")

_STEP_OUTPUTS = 1024
"""Most outputs in one Step: a still of hours is handed over in parts, so memory stays bounded."""
_LONGEST_GAP = Fraction(1, 2)
"""Seconds between two pictures of uneven rate that motion fills; a camera in the dark may take as long..."""
_GAP_INTERVALS = 6
"""...or as many of the usual intervals. After more the picture stood still."""
_MOST_FRAMES = 10_000_000
"""A film of more frames (four days at 30 per second)..."""
_MOST_STILL = 1000
"""...of which all but one in as many would show a picture that stands still has damaged stamps, not pauses."""


@dataclass(frozen=True)
class Plan:
    """The whole truth about the output before the run."""

    start: Fraction
    """Source seconds from the first picture where the output begins."""
    end: Fraction
    """Source seconds where it ends, exclusive."""
    time_map: TimeMap
    """Output 0 .. its ``output_duration`` <-> source ``start .. end``."""
    rate: Fraction
    """Output frames per second; when ``vfr_keep``, the nominal rate, around which they vary."""
    frames: int
    """Exactly how many frames will be written."""
    duration: Fraction
    """Output seconds from the first frame to the end of the last one's display."""
    vfr_keep: bool = False
    loop: bool = False
    stamps: Sequence[Fraction] = field(default=(), repr=False)
    """The source's stamps, needed only when ``vfr_keep``."""

    @property
    def mean_rate(self) -> Fraction:
        """Output frames per second over the whole duration: other than ``rate`` when ``vfr_keep``."""
        return self.frames / self.duration if self.vfr_keep else self.rate

    def moments(self) -> Iterator[tuple[Fraction, Fraction]]:
        """(source seconds, output seconds) of every output frame in order; exactly ``frames`` of them."""
        if self.vfr_keep:
            for low, high, count in _intervals(self.stamps, self.time_map, self.loop):
                for source in _spread(low, high, count, self.start, self.end):
                    yield source, self.time_map.output_at(source)
            return
        step = 1 / self.rate
        done = 0
        for piece in self.time_map.pieces:
            # Output frames of this piece: k / rate < output_end; the first piece always shows at least frame 0.
            stop = min(self.frames, max(1, ceil(piece.output_end * self.rate)))
            if piece.ramp is None:
                # source = first + k * stride, kept as whole numbers over one denominator.
                stride = piece.speed_start * step
                first = piece.source_start - piece.speed_start * piece.output_start
                unit = stride.denominator * first.denominator
                a, b = stride.numerator * first.denominator, first.numerator * stride.denominator
                for k in range(done, stop):
                    yield Fraction(a * k + b, unit), k * step
            else:
                for k in range(done, stop):
                    yield piece.source_at(k * step), k * step
            done = stop


def make_plan(timing: SourceTiming, time: TimeSettings, stamps: Sequence[Fraction] | None = None) -> Plan:
    """The plan for a source of this timing; ``stamps`` (seconds from the first picture) matter to ``vfr="keep"`` only.

    UsageError for a factor, rate, range or speed curve that makes no sense; InputError for a source without pictures,
    or with hardly any in years.
    """
    if timing.frames_from_packets < 1:
        raise InputError("expected at least one picture in the source, found none: check the file with `slomo info`")
    if time.factor <= 0:
        raise UsageError(f"expected a factor above 0, found {time.factor}: 8 means eight times slower")
    if time.rate is not None and time.rate <= 0:
        raise UsageError(f"expected an output rate above 0 frames per second, found {time.rate}")
    if time.rate is not None and time.vfr == "keep":
        raise UsageError("expected either an output rate or the source's varying one, found both: drop one of them")
    duration = timing.duration if timing.duration > 0 else 1 / timing.nominal_rate
    start, end = _range(time, duration)
    if time.speed is not None:
        time_map = parse_speed(time.speed, duration).cut(start, end)
    else:
        time_map = TimeMap.constant(start, end, time.factor)
    length = time_map.output_duration
    if time.vfr == "keep":
        if not stamps:
            raise ValueError("vfr='keep' needs the source's stamps")
        stamps = with_pauses(stamps, timing, end if time.loop else None)
        frames = 0
        for low, high, count in _intervals(stamps, time_map, time.loop):
            inside = start <= low and high <= end
            frames += count if inside else sum(1 for _ in _spread(low, high, count, start, end))
        rate = timing.nominal_rate
        if time.speed is None:
            rate *= _nearest(time.factor) / time.factor
        return Plan(start, end, time_map, rate, frames, length, vfr_keep=True, loop=time.loop, stamps=stamps)
    rate = time.rate or timing.nominal_rate
    frames = max(1, ceil(length * rate))
    if frames > _MOST_FRAMES and duration * timing.nominal_rate > _MOST_STILL * timing.frames_from_packets:
        raise InputError(
            f"expected pictures that follow each other, found {timing.frames_from_packets} in {format_time(duration)} "
            f"(damaged times?), which would make {frames} frames: take a part with --start and --end, or keep the "
            "pauses with --vfr keep"
        )
    return Plan(start, end, time_map, rate, frames, frames / rate, loop=time.loop)


def moves_from(left: Fraction, right: Fraction, timing: SourceTiming) -> Fraction:
    """When a picture shown from ``left`` on begins to turn into the next one, shown from ``right`` on.

    At once, as a rule. But sources of uneven rate (screen recorders, animations) store a still picture once, however
    long it stands: it is held, and moves for as long as pictures usually take.
    """
    interval = 1 / timing.nominal_rate
    pause = timing.rate is None and right - left > max(_LONGEST_GAP, _GAP_INTERVALS * interval)
    return right - interval if pause else left


def with_pauses(stamps: Sequence[Fraction], timing: SourceTiming, turn: Fraction | None = None) -> Sequence[Fraction]:
    """The stamps of the pictures and of what ``moves_from`` puts between them.

    ``turn``: where a loop's first picture follows its last one.
    """
    if timing.rate is not None:
        return stamps
    if turn is not None:
        stamps = (*(stamp for stamp in stamps if stamp < turn), turn)
    starts = chain.from_iterable((left, moves_from(left, right, timing)) for left, right in pairwise(stamps))
    return (*dict.fromkeys(starts), *stamps[-1:])


def _range(time: TimeSettings, duration: Fraction) -> tuple[Fraction, Fraction]:
    """The part of the source asked for, in seconds from the first picture."""
    start = Fraction(0) if time.start is None else time.start
    end = duration if time.end is None else min(time.end, duration)
    if start < 0 or end < 0:
        raise UsageError("expected start and end times of 0 or later, counted from the first picture")
    if start >= duration:
        raise UsageError(
            f"expected a start before the source ends at {format_time(duration)}, found {format_time(start)}"
        )
    if start >= end:
        raise UsageError(f"expected an end after the start at {format_time(start)}, found {format_time(end)}")
    return start, end


def _nearest(number: Fraction) -> int:
    """The nearest whole number from 1 up, halves going up."""
    return max(1, floor(number + Fraction(1, 2)))


def _intervals(stamps: Sequence[Fraction], time_map: TimeMap, loop: bool) -> Iterator[tuple[Fraction, Fraction, int]]:
    """Source intervals that meet the map's range: start, end, and how many output frames each is worth.

    Stamps that repeat or run backwards are passed over. The last interval is the last picture's own display.
    """
    first, end = time_map.source_start, time_map.source_end
    low: Fraction | None = None
    reached = Fraction(0)  # output time of `begin`, carried over from the interval before
    begin = first
    for stamp in chain(_growing(stamps), (None,)):
        if low is not None and (stamp is None or stamp > first) and low < end:
            high = max(end, low) if stamp is None or (loop and stamp > end) else stamp
            finish = min(high, end)
            output = time_map.output_at(finish)
            yield low, high, _nearest((output - reached) / (finish - begin))
            begin, reached = finish, output
        if stamp is not None:
            low = stamp


def _spread(low: Fraction, high: Fraction, count: int, start: Fraction, end: Fraction) -> Iterator[Fraction]:
    """``count`` even source times from ``low`` on, those in ``start <= s < end``, and ``start`` itself if inside."""
    if low < start < high and (start - low) * count % (high - low):
        yield start
    for j in range(count):
        source = low + (high - low) * j / count
        if start <= source < end:
            yield source


def _growing(stamps: Iterable[Fraction]) -> Iterator[Fraction]:
    last: Fraction | None = None
    for stamp in stamps:
        if last is None or stamp > last:
            yield stamp
            last = stamp


@dataclass(frozen=True, slots=True)
class Output:
    """One output frame."""

    index: int
    """0 .. plan.frames - 1, consecutive over the whole schedule."""
    t: Fraction
    """Where between the pair, in [0, 1); 0 is the left frame itself."""
    seconds: Fraction
    """When it is shown, on the output clock."""


@dataclass(frozen=True, slots=True)
class Step(Generic[F]):
    """A pair of source frames and the output frames made from it."""

    left: F
    right: F | None
    """None where there is nothing to move towards: the left frame is held (every t is 0)."""
    outputs: tuple[Output, ...]
    """At least one, in order of index."""
    before: tuple[F, Fraction] | None = None
    """The frame before the left one, and the interval between them in intervals of the pair; None where there is none,
    and where the pair that the two are makes no output."""
    after: tuple[F, Fraction] | None = None
    """The same of the frame after the right one."""


def schedule(plan: Plan, frames: Iterable[tuple[Fraction, F]]) -> Iterator[Step[F]]:
    """Pair the decoded frames with the planned outputs, streaming: four frames are held (and the first, for a loop).

    ``frames`` come as (source seconds from the first picture, anything), in presentation order, from the last one at or
    before ``plan.start``, or earlier. Pairs that make no output are passed over; frames whose stamp repeats or runs
    backwards are skipped; when frames run out, the last is held. Exactly ``plan.frames`` outputs come out, in order. A
    pair with very many outputs comes in several Steps. InputError when there is no frame at all.
    """
    source = _stepping(frames, plan.start, plan.end if plan.loop else None)
    behind: tuple[Fraction, F] | None = None
    here, ahead, beyond = (next(source, None) for _ in range(3))
    if here is None:
        raise InputError("expected at least one picture that decodes, found none: the source is damaged")
    outputs: list[Output] = []
    for index, (moment, seconds) in enumerate(plan.moments()):
        if outputs and (len(outputs) == _STEP_OUTPUTS or (ahead is not None and ahead[0] <= moment)):
            passed_over = beyond is not None and beyond[0] <= moment
            yield _step(behind, here, ahead, None if passed_over else beyond, outputs)
            outputs.clear()
        shifts = 0
        while ahead is not None and ahead[0] <= moment:
            behind, here, ahead, beyond = here, ahead, beyond, next(source, None)
            shifts += 1
        before_all = index == 0 and plan.loop  # a loop is preceded by its own end, which is not there yet
        if before_all or (index and shifts > 1):
            behind = None
        t = Fraction(0) if ahead is None or moment <= here[0] else (moment - here[0]) / (ahead[0] - here[0])
        outputs.append(Output(index, t, seconds))
    yield _step(behind, here, ahead, beyond, outputs)


def _step(
    behind: tuple[Fraction, F] | None,
    here: tuple[Fraction, F],
    ahead: tuple[Fraction, F] | None,
    beyond: tuple[Fraction, F] | None,
    outputs: Sequence[Output],
) -> Step[F]:
    """The pair with what is beside it."""
    if ahead is None:
        return Step(here[1], None, tuple(outputs))
    interval = ahead[0] - here[0]
    before = None if behind is None else (behind[1], (here[0] - behind[0]) / interval)
    after = None if beyond is None else (beyond[1], (beyond[0] - ahead[0]) / interval)
    return Step(here[1], ahead[1], tuple(outputs), before, after)


def _stepping(
    frames: Iterable[tuple[Fraction, F]], start: Fraction, turn: Fraction | None
) -> Iterator[tuple[Fraction, F]]:
    """The frames whose stamps grow. ``turn``: where a loop begins again. Of the frames there or later only a very first
    one counts; instead, the frame shown at ``start`` comes once more, unless it is the only one left by then, and the
    one after it."""
    last: tuple[Fraction, F] | None = None
    opening: list[tuple[Fraction, F]] = []
    for stamp, frame in frames:
        if turn is not None and stamp >= turn and last is not None:
            break
        if last is None or stamp > last[0]:
            last = stamp, frame
            if not opening or stamp <= start:
                opening = [last]
            elif len(opening) < 2:
                opening.append(last)
            yield last
    if turn is not None and len(opening) == 2:
        (first, frame), (second, following) = opening
        yield turn, frame
        yield turn + second - max(first, start), following

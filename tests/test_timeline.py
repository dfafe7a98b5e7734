"""Properties of plans and schedules: counts, durations, exact hits, and steadiness against what decoders do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction as F
from itertools import pairwise
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slomo_cli.errors import InputError, UsageError
from slomo_cli.timeline import Output, Plan, Step, make_plan, moves_from, schedule, with_pauses
from slomo_cli.values import SourceTiming, TimeSettings

quick = settings(max_examples=60)

RATES = [F(24000, 1001), F(25), F(30000, 1001), F(60), F(12), F(14985, 1000)]
FACTORS = [F(1), F(2), F(5, 2), F(8), F(30000, 1001), F(1, 2), F(1, 30), F(7, 3)]
TARGETS = [None, F(240), F(60000, 1001), F(24), F(5), F(1, 2)]
CURVES = [None, None, "0-0.2:1,0.2-0.4:1/8", "0-0.3:1~0.125,0.3-:0.125", "0.05-0.35:0.25~2"]


def timing_of(stamps: Sequence[F], last: F, rate: F | None = None) -> SourceTiming:
    nominal = rate or F(len(stamps)) / (stamps[-1] + last)
    return SourceTiming(len(stamps), F(0), stamps[-1] + last, rate, nominal)


def grid(count: int, rate: F) -> list[F]:
    return [k / rate for k in range(count)]


def walk(plan: Plan, stamps: Iterable[F]) -> list[tuple[int, int | None, Output]]:
    """(left, right, output) with frames named by their place in the stream; checks what every schedule must keep."""
    rows = [
        (step.left, step.right, output)
        for step in schedule(plan, ((stamp, place) for place, stamp in enumerate(stamps)))
        for output in step.outputs
    ]
    assert [output.index for _, _, output in rows] == list(range(plan.frames))
    assert all(0 <= output.t < 1 for _, _, output in rows)
    assert all(output.t == 0 for _, right, output in rows if right is None)
    assert all(a.seconds < b.seconds for (_, _, a), (_, _, b) in pairwise(rows))
    assert rows[0][2].seconds == 0 and rows[-1][2].seconds < plan.time_map.output_duration
    return rows


def shown(plan: Plan, stamps: Sequence[F], row: tuple[int, int | None, Output]) -> F:
    """The source time an output shows, from its pair and t."""
    left, right, output = row
    if right is None:
        return stamps[left]
    after = plan.end if right <= left else stamps[right]
    return stamps[left] + output.t * (after - stamps[left])


@st.composite
def sources(draw: st.DrawFn) -> tuple[list[F], SourceTiming]:
    """Stamps from 0 and their timing: constant rate, or variable (milliseconds, 1/90000 ticks, long gaps)."""
    count = draw(st.integers(1, 24))
    if draw(st.booleans()):
        rate = draw(st.sampled_from(RATES))
        return grid(count, rate), timing_of(grid(count, rate), 1 / rate, rate)
    unit = draw(st.sampled_from([F(1, 1000), F(1, 90000), F(1001, 30000)]))
    steps = draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    stamps = [F(0)]
    for step in steps[1:]:
        stamps.append(stamps[-1] + step * unit)
    return stamps, timing_of(stamps, steps[0] * unit)


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[F], SourceTiming, TimeSettings]:
    stamps, timing = draw(sources())
    curve = draw(st.sampled_from(CURVES))
    if timing.duration <= F(1, 2):
        curve = None
    start = draw(st.sampled_from([None, F(0), timing.duration / 3, timing.duration * F(9, 10)]))
    end = draw(st.sampled_from([None, timing.duration * 2, timing.duration * F(19, 20)]))
    return (
        stamps,
        timing,
        TimeSettings(
            factor=draw(st.sampled_from(FACTORS)),
            rate=draw(st.sampled_from(TARGETS)),
            start=start,
            end=end,
            speed=curve,
            loop=draw(st.booleans()),
        ),
    )


@given(requests())
@quick
def test_every_output_shows_its_source_time(request: tuple[list[F], SourceTiming, TimeSettings]) -> None:
    """Output k shows exactly source_at(k / rate), made from the two frames around it."""
    stamps, timing, time = request
    plan = make_plan(timing, time)
    rows = walk(plan, stamps)
    frames = [frame for frame in range(len(stamps)) if stamps[frame] < plan.end]
    for row in rows:
        left, right, output = row
        source = plan.time_map.source_at(output.index / plan.rate)
        assert output.seconds == output.index / plan.rate
        assert plan.start <= source < plan.end
        assert left == max(frame for frame in frames if stamps[frame] <= source)
        if right is None:
            assert left == (frames[-1] if plan.loop else len(stamps) - 1)
        else:
            assert shown(plan, stamps, row) == source
        assert (output.t == 0) == (source == stamps[left] or right is None)


@given(requests())
@quick
def test_counts_and_durations(request: tuple[list[F], SourceTiming, TimeSettings]) -> None:
    _, timing, time = request
    plan = make_plan(timing, time)
    assert plan.frames == max(1, ceil(plan.time_map.output_duration * plan.rate))
    assert plan.duration == plan.frames / plan.rate
    shown = [plan.time_map.source_at(k / plan.rate) for k in range(plan.frames)]
    assert shown[-1] < plan.end
    assert plan.frames == 1 or plan.frames / plan.rate >= plan.time_map.output_duration
    assert [source for source, _ in plan.moments()] == shown
    if time.speed is None:
        assert 0 <= plan.duration - (plan.end - plan.start) * time.factor < 1 / plan.rate
    assert (plan.start, plan.end) == (time.start or 0, min(timing.duration, time.end or timing.duration))


@given(st.integers(1, 30), st.sampled_from(RATES), st.integers(1, 9))
@quick
def test_whole_factors_hit_every_source_frame(count: int, rate: F, factor: int) -> None:
    stamps = grid(count, rate)
    plan = make_plan(timing_of(stamps, 1 / rate, rate), TimeSettings(F(factor)))
    assert plan.frames == count * factor and plan.duration == count * factor / rate
    rows = walk(plan, stamps)
    assert [left for left, _, output in rows if output.index % factor == 0] == list(range(count))
    assert all((output.t == 0) == (output.index % factor == 0) for _, right, output in rows if right is not None)


@given(sources(), st.data())
@quick
def test_source_frames_whose_time_is_hit_are_shown_untouched(
    source: tuple[list[F], SourceTiming], data: st.DataObject
) -> None:
    """A target rate whose grid holds every stamp shows every source frame with t == 0."""
    stamps, timing = source
    ticks = F(1)
    for stamp in stamps:
        ticks = max(ticks, F(stamp.denominator))
    if ticks * timing.duration > 20_000 or any((stamp * ticks).denominator != 1 for stamp in stamps):
        ticks = timing.nominal_rate
    plan = make_plan(timing, TimeSettings(rate=ticks))
    hits = {left for left, _, output in walk(plan, stamps) if output.t == 0}
    expected = {place for place, stamp in enumerate(stamps) if (stamp * ticks).denominator == 1}
    assert expected <= hits


def test_a_target_below_the_source_rate_skips_frames() -> None:
    stamps = grid(60, F(60))
    rows = walk(make_plan(timing_of(stamps, F(1, 60), F(60)), TimeSettings(rate=F(25))), stamps)
    assert len(rows) == 25
    assert [left for left, _, _ in rows] == [floor(k * F(60, 25)) for k in range(25)]


def test_the_last_frame_is_held_to_its_duration() -> None:
    stamps = [F(0), F(1, 10)]
    rows = walk(make_plan(timing_of(stamps, F(9, 10)), TimeSettings(F(2), rate=F(10))), stamps)
    assert [(left, right, output.t) for left, right, output in rows] == [
        (0, 1, 0),
        (0, 1, F(1, 2)),
        *[(1, None, 0)] * 18,
    ]


def test_one_picture_is_held() -> None:
    assert len(walk(make_plan(timing_of([F(0)], F(1, 25), F(25)), TimeSettings(F(8))), [F(0)])) == 8
    still = SourceTiming(1, F(0), F(0), None, F(25))
    assert len(walk(make_plan(still, TimeSettings(F(8), loop=True)), [F(0)])) == 8


@given(requests(), st.data())
@quick
def test_decoders_that_break_their_promise(
    request: tuple[list[F], SourceTiming, TimeSettings], data: st.DataObject
) -> None:
    """Fewer, more, doubled and backward stamps: still exactly the planned outputs, and source time never runs back."""
    stamps, timing, time = request
    plan = make_plan(timing, time)
    kept = [stamp for stamp in stamps if data.draw(st.booleans())] or stamps[-1:]
    dirty: list[F] = []
    for stamp in kept:
        dirty += [stamp] * data.draw(st.integers(1, 2))
        if data.draw(st.integers(0, 5)) == 0:
            dirty.append(stamp - F(1, 3))
    dirty += [timing.duration + k for k in range(data.draw(st.integers(0, 2)))]
    rows = walk(plan, dirty)
    used = {left for left, _, _ in rows} | {right for _, right, _ in rows if right is not None}
    assert used <= {k for k in range(len(dirty)) if dirty[k] > max(dirty[:k], default=F(-1))}
    times = [shown(plan, dirty, row) for row in rows]
    assert all(a <= b for a, b in pairwise(times))


def test_no_picture_at_all_is_an_input_error() -> None:
    plan = make_plan(timing_of(grid(3, F(25)), F(1, 25), F(25)), TimeSettings())
    with pytest.raises(InputError, match="none"):
        list(schedule(plan, iter(())))


def test_the_first_left_is_the_last_frame_at_or_before_the_start() -> None:
    stamps = grid(10, F(10))
    timing = timing_of(stamps, F(1, 10), F(10))
    rows = walk(make_plan(timing, TimeSettings(F(2), start=F(3, 10), end=F(5, 10))), stamps)
    assert [(left, output.t) for left, _, output in rows] == [(3, 0), (3, F(1, 2)), (4, 0), (4, F(1, 2))]
    rows = walk(make_plan(timing, TimeSettings(F(2), start=F(33, 100), end=F(1, 2))), stamps)
    assert [(left, output.t) for left, _, output in rows] == [
        (3, F(3, 10)),
        (3, F(8, 10)),
        (4, F(3, 10)),
        (4, F(8, 10)),
    ]


def test_a_loop_moves_from_the_last_frame_to_the_first() -> None:
    stamps = grid(4, F(10))
    timing = timing_of(stamps, F(1, 10), F(10))
    rows = walk(make_plan(timing, TimeSettings(F(2), loop=True)), stamps)
    assert [(left, right) for left, right, _ in rows[-4:]] == [(2, 3), (2, 3), (3, 0), (3, 0)]
    assert [output.t for _, _, output in rows[-2:]] == [0, F(1, 2)]
    rows = walk(make_plan(timing, TimeSettings(F(2), loop=True, start=F(1, 10), end=F(3, 10))), stamps)
    assert [(left, right, output.t) for left, right, output in rows] == [
        (1, 2, 0),
        (1, 2, F(1, 2)),
        (2, 1, 0),
        (2, 1, F(1, 2)),
    ]


@given(requests())
@quick
def test_variable_rate_is_kept(request: tuple[list[F], SourceTiming, TimeSettings]) -> None:
    """Each source interval gets its own even in-between frames, at exact times, in the number promised."""
    stamps, timing, time = request
    plan = make_plan(timing, replace(time, rate=None, vfr="keep"), stamps)
    rows = walk(plan, stamps)
    moments = list(plan.moments())
    assert len(moments) == len(rows)
    for row, (source, seconds) in zip(rows, moments, strict=True):
        assert row[2].seconds == seconds == plan.time_map.output_at(source)
        assert row[1] is None or shown(plan, stamps, row) == source
    if time.speed is None and time.start is None and time.end is None:
        count = max(1, floor(time.factor + F(1, 2)))
        assert plan.frames == count * len(stamps) and plan.duration == timing.duration * time.factor
        for _, right, output in rows:
            assert output.t == (F(output.index % count, count) if right is not None else 0)
        assert [row[2].seconds for row in rows[::count]] == [stamp * time.factor for stamp in stamps]


def test_a_kept_rate_follows_a_speed_curve() -> None:
    stamps = grid(40, F(10))
    settings_of = TimeSettings(speed="1-2:0.25, 2-3:2", vfr="keep")
    rows = walk(make_plan(timing_of(stamps, F(1, 10), F(10)), settings_of, stamps), stamps)
    per_interval = [sum(left == frame for left, _, _ in rows) for frame in range(40)]
    assert per_interval == [1] * 10 + [4] * 10 + [1] * 20
    assert {left: output.seconds for left, _, output in rows if output.t == 0}[25] == 1 + 4 + F(1, 4)


def test_half_a_frame_more_is_a_frame_more() -> None:
    """Of a rate that is kept each interval is worth as many frames: two and a half are three, not two and three."""
    stamps = [F(0), F(1, 10), F(3, 10), F(6, 10)]
    assert make_plan(timing_of(stamps, F(1, 10)), TimeSettings(F(5, 2), vfr="keep"), stamps).frames == 4 * 3


@pytest.mark.parametrize(
    ("nominal", "gap", "pause"),
    [
        (F(4), F(3, 4), False),  # over half a second, but three of its intervals
        (F(60), F(1, 5), False),  # twelve of its intervals, but a fifth of a second
        (F(60), F(3, 5), True),
        (F(4), F(8, 5), True),
    ],
)
def test_a_picture_stands_still_that_stands_long_by_the_clock_and_for_its_film(nominal: F, gap: F, pause: bool) -> None:
    uneven = SourceTiming(2, F(0), gap, None, nominal)
    assert moves_from(F(1), 1 + gap, uneven) == (1 + gap - 1 / nominal if pause else 1)
    assert moves_from(F(1), 1 + gap, replace(uneven, rate=nominal)) == 1


def test_the_pictures_of_a_loop_pause_before_its_turn() -> None:
    uneven = SourceTiming(5, F(0), F(6), None, F(10))
    stamps = [F(0), F(1, 10), F(2, 10), F(2), F(5)]
    assert with_pauses(stamps, uneven) == (0, F(1, 10), F(2, 10), F(19, 10), 2, F(49, 10), 5)
    assert with_pauses(stamps, uneven, F(4)) == (0, F(1, 10), F(2, 10), F(19, 10), 2, F(39, 10), 4)
    assert with_pauses(stamps, uneven, F(2)) == (0, F(1, 10), F(2, 10), F(19, 10), 2)


def test_a_part_of_a_kept_rate_begins_at_a_made_picture_and_ends_at_one_of_the_source() -> None:
    """Neither is shown twice, and the picture at the end is none of the part."""
    stamps = grid(4, F(10))
    settings_of = TimeSettings(F(4), start=F(1, 10) + F(3, 40), end=F(3, 10), vfr="keep")
    rows = walk(make_plan(timing_of(stamps, F(1, 10)), settings_of, stamps), stamps)
    assert [(left, output.t) for left, _, output in rows] == [(1, F(3, 4)), *((2, F(k, 4)) for k in range(4))]


def test_stamps_may_repeat_or_run_back_when_the_rate_is_kept() -> None:
    stamps = [F(0), F(1, 10), F(1, 10), F(1, 20), F(2, 10)]
    plan = make_plan(timing_of(stamps, F(1, 10)), TimeSettings(F(2), vfr="keep"), stamps)
    assert plan.frames == 6 and plan.mean_rate == 10
    walk(plan, stamps)


@pytest.mark.parametrize("keep", [False, True])
def test_schedules_stream(keep: bool) -> None:
    """No more than the pair and the frame after it is read ahead, and a held still of an hour comes in parts."""
    stamps = [F(0), F(1, 10), F(2, 10), F(3600)]
    timing = timing_of(stamps, F(1, 10))
    plan = make_plan(
        timing,
        TimeSettings(F(4000 if keep else 1), rate=None if keep else F(24), vfr="keep" if keep else "constant"),
        stamps,
    )
    read: list[int] = []

    def frames() -> Iterator[tuple[F, int]]:
        for place, stamp in enumerate(stamps):
            read.append(place)
            yield stamp, place

    steps: Iterator[Step[int]] = schedule(plan, frames())
    longest = total = 0
    for step in steps:
        assert len(read) <= step.left + 3
        longest, total = max(longest, len(step.outputs)), total + len(step.outputs)
    assert total == plan.frames and longest <= 1024


def steps_of(stamps: Sequence[F], **time: Any) -> list[Step[int]]:
    """What a film of these stamps makes; frames go by their place."""
    plan = make_plan(timing_of(stamps, F(1)), TimeSettings(**time))
    return list(schedule(plan, ((stamp, place) for place, stamp in enumerate(stamps))))


def test_a_step_knows_the_frames_beside_its_pair() -> None:
    """...and how long their intervals are in that of the pair."""
    steps = steps_of([F(0), F(1), F(3), F(4), F(8)], factor=F(2), rate=F(2))
    assert [(step.left, step.right, step.before, step.after) for step in steps] == [
        (0, 1, None, (2, F(2))),
        (1, 2, (0, F(1, 2)), (3, F(1, 2))),
        (2, 3, (1, F(2)), (4, F(4))),
        (3, 4, (2, F(1, 4)), None),
        (4, None, None, None),
    ]


def test_frames_outside_a_part_are_beside_it() -> None:
    """Not so the frames of pairs passed over in a film made quicker: their flows would be found for nothing else."""
    stamps = [F(k) for k in range(8)]
    assert [(s.left, s.before, s.after) for s in steps_of(stamps, factor=F(2), rate=F(1), start=F(3), end=F(4))] == [
        (3, (2, F(1)), (5, F(1)))
    ]
    quick = steps_of(stamps, factor=F(2, 5), rate=F(1))
    assert [(s.left, s.before, s.after) for s in quick] == [
        (0, None, None),
        (2, None, None),
        (5, None, None),
        (7, None, None),
    ]
    some = steps_of(stamps, factor=F(2, 3), rate=F(1), end=F(6))
    assert [(s.left, s.before and s.before[0], s.after and s.after[0]) for s in some] == [
        (0, None, 2),
        (1, 0, None),
        (3, None, 5),
        (4, 3, 6),
    ]


@pytest.mark.parametrize("start", [0, 2])
def test_beside_where_a_loop_turns_are_frames_of_the_loop(start: int) -> None:
    """What came before its beginning is not; its end is not known there."""
    steps = steps_of([F(k) for k in range(8)], factor=F(2), rate=F(1), loop=True, start=F(start), end=F(start + 4))
    beside = [(s.left, s.right, s.before and s.before[0], s.after and s.after[0]) for s in steps]
    expected = [(0, 1, None, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1)]
    assert beside == [tuple(None if k is None else k + start for k in row) for row in expected]
    assert all(one is None or one[1] == 1 for s in steps for one in (s.before, s.after))


def test_beside_the_turn_of_a_loop_lies_as_much_of_the_first_interval_as_the_loop_shows() -> None:
    """It begins half way to the second frame: that one comes half an interval after the turn."""
    steps = steps_of([F(k) for k in range(8)], factor=F(2), rate=F(1), loop=True, start=F(1, 2), end=F(3))
    assert [(s.left, s.right, s.after) for s in steps][-1] == (2, 0, (1, F(1, 2)))


@pytest.mark.parametrize("width", [F(1), F(1, 10**12)])
def test_the_shortest_part_shows_a_frame(width: F) -> None:
    """Also one that is over before a ramp's clock ticks."""
    timing = timing_of(grid(20, F(10)), F(1, 10), F(10))
    plan = make_plan(timing, TimeSettings(speed="0-2:1~0.125", start=F(1, 2), end=F(1, 2) + width))
    moments = list(plan.moments())
    assert len(moments) == plan.frames and moments[0] == (F(1, 2), F(0))


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (TimeSettings(F(0)), "factor above 0"),
        (TimeSettings(F(-2)), "factor above 0"),
        (TimeSettings(rate=F(0)), "rate above 0"),
        (TimeSettings(start=F(-1)), "0 or later"),
        (TimeSettings(end=F(-1)), "0 or later"),
        (TimeSettings(start=F(2)), "before the source ends"),
        (TimeSettings(start=F(1), end=F(1)), "after the start"),
        (TimeSettings(end=F(0)), "after the start"),
        (TimeSettings(speed="5-6:0.5"), "within the source"),
        (TimeSettings(vfr="keep", rate=F(60)), "drop one"),
    ],
)
def test_requests_that_make_no_sense_are_refused(time: TimeSettings, words: str) -> None:
    stamps = grid(20, F(10))
    with pytest.raises(UsageError, match=words):
        make_plan(timing_of(stamps, F(1, 10), F(10)), time, stamps)


def test_a_source_without_pictures_is_an_input_error() -> None:
    with pytest.raises(InputError, match="at least one picture"):
        make_plan(SourceTiming(0, F(0), F(0), None, F(25)), TimeSettings())


YEARS = 3 * 365 * 86400
"""Seconds of a gap that damaged stamps leave."""


def test_a_gap_of_years_is_not_filled_with_frames() -> None:
    stamps = [*grid(25, F(25)), *(YEARS + stamp for stamp in grid(25, F(25)))]
    timing = SourceTiming(len(stamps), F(0), YEARS + F(1), None, F(25))
    with pytest.raises(InputError, match=r"found 50 in 26280:00:01.000 .* would make 4730400050 frames: .*--start"):
        make_plan(timing, TimeSettings(factor=F(2)))
    assert make_plan(timing, TimeSettings(factor=F(2), end=F(1))).frames == 50
    assert make_plan(timing, TimeSettings(factor=F(2), vfr="keep"), stamps).frames == 102


@pytest.mark.parametrize("count", [YEARS // 60, YEARS * 25])
def test_long_films_are_no_gaps(count: int) -> None:
    timing = SourceTiming(count, F(0), F(YEARS), None, F(count, YEARS))
    assert make_plan(timing, TimeSettings(rate=F(25))).frames == YEARS * 25


def test_ranges_apply_to_the_curve_on_the_source_clock() -> None:
    """--start does not move the curve: the same source time runs at the same speed with and without a range."""
    stamps = grid(50, F(10))
    timing = timing_of(stamps, F(1, 10), F(10))
    whole = make_plan(timing, TimeSettings(speed="1-3:0.5~0.125,3-4:0.125"))
    part = make_plan(timing, TimeSettings(speed="1-3:0.5~0.125,3-4:0.125", start=F(2), end=F(7, 2)))
    assert (part.start, part.end, part.time_map.source_at(F(0))) == (2, F(7, 2), 2)
    span = whole.time_map.output_at(F(7, 2)) - whole.time_map.output_at(F(2))
    assert abs(part.time_map.output_duration - span) < F(1, 10**9)
    assert part.time_map.pieces[-1].speed_start == F(1, 8)

"""Exact times out of rounded stamps."""

from __future__ import annotations

import math
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slomo_cli.media.read.grid import (
    Grid,
    Stamps,
    ascending,
    even_but_first,
    film_grid,
    find_grid,
    joined,
    last_length,
    pace,
    snapped,
)

RATES = [F(12), F(15), F(24), F(25), F(30), F(48), F(50), F(60), F(90), F(120), F(240), F(25, 2)]
RATES += [F(24000, 1001), F(30000, 1001), F(60000, 1001), F(120000, 1001)]
CLOCKS = [F(1, 1000), F(1, 90000), F(1, 15360), F(1, 1_000_000), F(1, 1_000_000_000)]


def stored(times: list[F], clock: F) -> np.ndarray:
    """Times as a container rounds them: halves up, as FFmpeg's av_rescale_q does (so never a whole tick apart)."""
    return np.array([math.floor(time / clock + F(1, 2)) for time in times], np.int64)


@given(
    st.sampled_from(RATES), st.sampled_from(CLOCKS), st.integers(2, 300), st.fractions(0, 100, max_denominator=10**6)
)
def test_a_constant_rate_is_recognised_through_any_rounding(rate: F, clock: F, count: int, start: F) -> None:
    ticks = stored([start + k / rate for k in range(count)], clock)

    assert find_grid(ticks, clock, [rate]) == Grid(rate, constant=True)
    assert [snapped(int(tick - ticks[0]), clock, rate) for tick in ticks] == [k / rate for k in range(count)]


@given(st.sampled_from(RATES), st.sampled_from(CLOCKS))
def test_a_long_film_needs_no_header(rate: F, clock: F) -> None:
    # Over 20 s the rounding of a millisecond can no longer be mistaken for the step between 24 and 24000/1001.
    ticks = stored([k / rate for k in range(int(20 * rate))], clock)

    assert find_grid(ticks, clock, []) == Grid(rate, constant=True)


@given(st.sampled_from(RATES), st.sampled_from(CLOCKS))
def test_a_header_that_is_wrong_is_not_believed(rate: F, clock: F) -> None:
    ticks = stored([k / rate for k in range(int(20 * rate))], clock)

    assert find_grid(ticks, clock, [rate * F(1000, 1001), rate * 2, rate / 2, F(90000)]) == Grid(rate, constant=True)


@given(st.sampled_from(RATES[:-5]), st.sampled_from([F(1, 1000), F(1, 90000)]), st.data())
def test_missing_pictures_leave_the_grid_but_not_the_constancy(rate: F, clock: F, data: st.DataObject) -> None:
    if 1 / (rate * clock) < 8:
        return
    gone = data.draw(st.sets(st.integers(1, 58), min_size=1, max_size=20))
    kept = [k for k in range(60) if k not in gone]
    ticks = stored([k / rate for k in kept], clock)

    assert find_grid(ticks, clock, [rate]) == Grid(rate, constant=False)


@given(st.sampled_from(RATES), st.integers(30, 300), st.sampled_from([F(1, 16000), F(1, 90000), F(1, 1_000_000)]))
def test_milliseconds_copied_to_a_finer_clock_are_still_milliseconds(rate: F, count: int, clock: F) -> None:
    scale = int(F(1, 1000) / clock)
    ticks = stored([k / rate for k in range(count)], F(1, 1000)) * scale

    assert find_grid(ticks, clock, [rate]) == Grid(rate, constant=True)
    if rate <= 120:
        gone = np.delete(ticks, [5, 6, 11])
        assert find_grid(gone, clock, [rate]) == Grid(rate, constant=False)


@pytest.mark.parametrize(
    ("ticks", "clock", "headers", "rate"),
    [
        ([0, 8], F(1, 1000), [F(29011, 242)], F(120000, 1001)),  # Matroska's 8341717 ns, as libav tells them
        ([0, 8, 17], F(1, 1000), [F(29011, 242)], F(120000, 1001)),
        ([0, 17, 33, 50], F(1, 1000), [F(19001, 317)], F(60000, 1001)),
        ([0, 751], F(1, 90000), [F(240000, 1001)], F(120000, 1001)),
        ([0, 17, 33, 50], F(1, 1000), [F(59), F(60)], F(60)),
    ],
)
def test_of_few_pictures_a_common_rate_is_likelier_than_any_other(ticks, clock, headers, rate) -> None:
    assert find_grid(np.array(ticks, np.int64), clock, headers) == Grid(rate, constant=True)


def test_a_telecine_is_not_taken_for_rounding() -> None:
    ticks = np.cumsum([0, *(2, 3) * 40]).astype(np.int64) * 1500  # of 1/60 s

    assert find_grid(ticks, F(1, 90000), [F(60), F(24)]) is None


@pytest.mark.parametrize("clock", [90_000, 1000])
@pytest.mark.parametrize("rhythm", [(2, 3), (3, 2), (2, 3, 3, 2)])
@pytest.mark.parametrize("film", [F(24000, 1001), F(24)])
def test_film_in_a_telecine_is_even(clock: int, rhythm: tuple[int, ...], film: F) -> None:
    fields = np.cumsum([0, *rhythm * 100])
    ticks = np.array([round(int(k) * clock / (film * F(5, 2))) for k in fields], np.int64)

    assert film_grid(ticks, F(1, clock)) == Grid(film, constant=True, is_film=True)
    even = Stamps(ticks, F(1, clock), film)
    assert list(even) == [k / film for k in range(len(ticks))]


def test_a_field_more_at_the_end_of_a_telecine_does_not_change_its_rate() -> None:
    ticks = np.cumsum([0, *(2, 3) * 15, 3]).astype(np.int64) * 1500  # as libav tells the last one of a raw stream

    assert film_grid(ticks, F(1, 90000)) == Grid(F(24), constant=True, is_film=True)


@pytest.mark.parametrize("fields", [(2,), (2, 3, 2, 3, 2, 2, 2, 2), (1, 4), (2, 3, 5)])
def test_what_is_no_telecine_is_no_film(fields: tuple[int, ...]) -> None:
    ticks = np.cumsum([0, *fields * 20]).astype(np.int64) * 1500

    assert film_grid(ticks, F(1, 90000)) is None


@pytest.mark.parametrize(
    ("first", "moved"),
    [(786, 274), (300, -212), (1023, 511), (1, -511), (1024, None), (3000, None)],
)
def test_the_first_alone_may_be_uneven(first: int, moved: int | None) -> None:
    steps = [first, *[512] * 4]
    found = even_but_first(np.cumsum([40, *steps]), F(1, 12800), [F(30)])
    assert found == (None if moved is None else Grid(F(25), constant=True, first_moved=moved))


@pytest.mark.parametrize(("first", "moved"), [(786, 274), (530, 18), (500, -12), (1400, 376)])
def test_the_first_alone_may_be_uneven_where_others_are_missing(first: int, moved: int) -> None:
    steps = [first, *[512] * 5, 1024, *[512] * 9, 1536, *[512] * 3]

    assert even_but_first(np.cumsum([0, *steps]), F(1, 12800), [F(25)]) == Grid(
        F(25), constant=False, first_moved=moved
    )


@pytest.mark.parametrize("steps", [[786, *[512] * 3], [786, *[512] * 4, 700, *[512] * 8]])
def test_others_that_are_uneven_or_few_are_left(steps: list[int]) -> None:
    assert even_but_first(np.cumsum([0, *steps]), F(1, 12800), [F(25)]) is None


def test_stamps_on_no_grid_have_none() -> None:
    random = np.random.default_rng(1)
    ticks = np.cumsum(random.integers(2000, 4000, 100)).astype(np.int64)

    assert find_grid(ticks, F(1, 90000), [F(30)]) is None


def test_a_coarse_clock_is_no_proof() -> None:
    # AVI and Ogg count in pictures: every whole number would lie "within a tick" of any rate near 30.
    ticks = np.arange(200, dtype=np.int64)

    assert find_grid(ticks, F(1, 30), [F(2999, 100)]) == Grid(F(30), constant=True)


def test_gaps_on_a_clock_that_counts_pictures() -> None:
    ticks = np.array([0, 1, 3, 4, 7, 8], np.int64)

    assert find_grid(ticks, F(1, 30), [F(30)]) == Grid(F(30), constant=False)


def test_one_picture_has_the_rate_its_header_or_its_own_length_says() -> None:
    one = np.array([7], np.int64)

    assert find_grid(one, F(1, 1000), [F(24)]) == Grid(F(24), constant=True)
    assert find_grid(one, F(1, 1000), [], 40) == Grid(F(25), constant=True)
    assert find_grid(one, F(1, 1000), []) is None


@pytest.mark.parametrize(
    ("clock", "duration", "header", "rate"),
    [
        (F(1, 90000), 3600, F(50), F(25)),  # MPEG-TS: libav tells the rate of fields
        (F(1, 90000), 3754, F(48), F(24000, 1001)),
        (F(1, 100), 3, F(100), F(100, 3)),  # GIF: libav tells the ticks of the clock
        (F(1, 1000), 33, F(30), F(30)),  # Matroska rounds
        (F(1, 15360), 1, F(30), F(30)),  # no picture stands so short
        (F(1, 1000), 5000, F(25), F(25)),  # a still that stands for seconds
    ],
)
def test_one_picture_that_stands_longer_than_its_header_says(clock: F, duration: int, header: F, rate: F) -> None:
    assert find_grid(np.array([0]), clock, [header], duration) == Grid(rate, constant=True)


def test_numbers_too_large_for_the_arithmetic_are_passed_over() -> None:
    ticks = np.array([0, 1 << 61], np.int64)

    assert find_grid(ticks, F(1, 1_000_000_000), [F(30000, 1001)]) is None


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(F(1, 30), F(30)), (F(1001, 30000), F(30000, 1001)), (F(1, 29), F(29)), (F(1, 120), F(120)), (F(5), F(1, 5))],
)
def test_a_variable_rate_is_called_by_its_middle_interval(interval: F, expected: F) -> None:
    middle = round(interval * 90000)
    steps = np.array([middle - 900, middle, middle, middle, middle * 40], np.int64)

    assert pace(steps, F(1, 90000), [F(600)]) == expected


@pytest.mark.parametrize(
    ("clock", "steps", "expected"),
    [
        (F(1, 1000), [8, 8, 9] * 5 + [500], F(120)),
        (F(1, 1000), [4, 4, 4, 4, 4, 5] * 5 + [500], F(240)),
        (F(1, 600), [12, 13] * 9 + [500], F(48)),
        (F(1, 30), [1, 1, 2] * 5, F(30)),  # nothing is rounded here
    ],
)
def test_a_variable_rate_is_not_what_a_coarse_clock_rounds_it_to(clock: F, steps: list[int], expected: F) -> None:
    assert pace(np.array(steps), clock, []) == expected


def test_pace_without_intervals() -> None:
    nothing = np.array([], np.int64)

    assert pace(nothing, F(1, 1000), [F(50)]) == 50
    assert pace(nothing, F(1, 1000), []) == 25


def test_the_last_picture_stands_for_what_its_packet_says() -> None:
    rounded = np.array([0, 33, 67, 100], np.int64)

    assert last_length(33, rounded, F(1, 1000), F(30), F(30)) == F(1, 30)
    assert last_length(100, rounded, F(1, 1000), F(30), F(30)) == F(1, 10)
    assert last_length(45, rounded, F(1, 1000), F(30), F(30)) == F(45, 1000)
    assert last_length(0, rounded, F(1, 1000), None, F(30)) == F(1, 30)
    assert last_length(1, rounded, F(1, 90000), None, F(30)) == F(1, 30)


@pytest.mark.parametrize("rate", [F(24000, 1001), F(24), F(30000, 1001), F(30), F(60000, 1001), F(60), F(120)])
def test_the_last_picture_stands_as_long_as_others_where_a_coarser_clock_was_copied(rate: F) -> None:
    """Milliseconds in the clock of mp4: rounded by up to one, of which it knows nothing."""
    ticks = np.array([16 * round(1000 * k / rate) for k in range(20)], np.int64)
    shortest = int(1000 / rate)

    for stored in (shortest, shortest + 1):
        assert last_length(16 * stored, ticks, F(1, 16000), rate, rate) == 1 / rate
    assert last_length(16 * (shortest + 4), ticks, F(1, 16000), rate, rate) == F(shortest + 4, 1000)


def test_parts_are_set_one_after_another() -> None:
    parts = joined([np.array([5, 6, 7]), np.array([0, 1]), np.array([100, 103])], 2)

    assert [list(part) for part in parts] == [[5, 6, 7], [9, 10], [12, 15]]


def test_ascending_keeps_each_value_once() -> None:
    assert list(ascending(np.array([3, 1, 2, 3, 1]))) == [1, 2, 3]


def test_stamps_behave_as_a_sequence() -> None:
    stamps = Stamps(np.array([1000, 1033, 1067, 1100], np.int64), F(1, 1000), F(30))

    assert len(stamps) == 4
    assert list(stamps) == [F(0), F(1, 30), F(2, 30), F(3, 30)]
    assert stamps[-1] == F(1, 10)
    assert list(stamps[1:3]) == [F(1, 30), F(2, 30)]
    with pytest.raises(IndexError):
        stamps[4]

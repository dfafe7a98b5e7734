"""The even pace of pictures that repeat in a rhythm: found where there is one, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction as F
from itertools import accumulate, pairwise
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import frame

from slomo_cli.cadence import evened
from slomo_cli.pairs import around
from slomo_cli.values import Frame

RATE = F(30000, 1001)
BLACK = np.zeros((2, 2))
RHYTHMS = [F(5, 2), F(5, 4), F(6, 5), F(12, 5), F(5, 3), F(4, 3), F(7, 2)]


def moments(numbers: Sequence[int], rate: F = RATE) -> list[F]:
    """When pictures that begin at these frames are taken to be, in frames."""
    frames = ((number, frame(BLACK, number, rate=rate)) for number in numbers)
    return [each.pts_seconds * rate for each in evened(frames)]


def row(pace: F, count: int, beginning: F = F(0), first: int = 0) -> list[int]:
    return [first + floor(pace * place + beginning) for place in range(count)]


@pytest.mark.parametrize("pace", RHYTHMS)
@pytest.mark.parametrize("beginning", [F(0), F(1, 3), F(9, 10)])
def test_a_rhythm_becomes_even(pace: F, beginning: F) -> None:
    found = moments(row(pace, 60, beginning))
    settled = 2 * pace.denominator
    assert {later - each for each, later in pairwise(found[settled:])} == {pace}


def test_a_rhythm_that_slips_now_and_then_is_even_but_there() -> None:
    """24000/1001 pictures a second at 60: after 200 gaps of two and three in turn, one more is of three."""
    found = moments(row(F(60 * 1001, 24000), 800))
    gaps = [later - each for each, later in pairwise(found[4:])]
    assert sorted(gap for gap in gaps if gap != F(5, 2)) == [3, F(7, 2)]


@pytest.mark.parametrize("pace", RHYTHMS)
@pytest.mark.parametrize("beginning", [F(0), F(1, 3), F(1, 2), F(9, 10)])
def test_who_asks_for_what_was_carried_gets_it(pace: F, beginning: F) -> None:
    """However the rate was raised: the pictures lie where those of the lower rate are asked for."""
    found = moments(row(pace, 60, beginning))
    assert all(moment % pace == 0 for moment in found[2 * pace.denominator :])


@pytest.mark.parametrize(
    "gaps",
    [
        pytest.param([1] * 60, id="no repeats"),
        pytest.param([2] * 60, id="twos"),
        pytest.param([1] * 20 + [2] + [1] * 20, id="one repeat"),
        pytest.param([1] * 7 + [2] + [1] * 9 + [2] + [1] * 5 + [2] + [1] * 20, id="some"),
        pytest.param([1] * 12 + [4] + [1] * 12, id="a picture that stands"),
        pytest.param([2, 2, 1, 1, 3, 2, 1, 1, 2, 3, 3, 1, 2, 1, 1, 1, 3, 1, 2, 2, 1], id="as it comes"),
    ],
)
def test_what_repeats_in_no_rhythm_keeps_its_time(gaps: list[int]) -> None:
    numbers = [0, *accumulate(gaps)]
    assert moments(numbers) == numbers


def test_frames_that_come_unevenly_keep_their_time() -> None:
    seconds = [F(number, 60) + F(number % 3, 1000) for number in row(F(5, 2), 40)]
    frames = [Frame(f.planes, f.layout, f.color, at) for f, at in ((frame(BLACK), at) for at in seconds)]
    assert list(evened(zip(row(F(5, 2), 40), frames, strict=True))) == frames


@st.composite
def rows(draw: st.DrawFn) -> list[int]:
    """Rows of one pace after another, and pictures as they come between them."""
    gaps: list[int] = []
    for _ in range(draw(st.integers(1, 5))):
        numbers = row(draw(st.sampled_from(RHYTHMS)), draw(st.integers(2, 40)), draw(st.fractions(0, 1)))
        gaps += [later - number for number, later in pairwise(numbers)] + draw(st.lists(st.integers(1, 4), max_size=3))
    return [0, *accumulate(gaps)]


@given(rows(), st.integers(0, 3))
@settings(max_examples=300)
def test_each_keeps_its_place_and_is_moved_by_less_than_a_frame(numbers: list[int], first: int) -> None:
    numbers = [first + number for number in numbers]
    found = moments(numbers)
    assert all(abs(number - moment) < 1 for number, moment in zip(numbers, found, strict=True))
    assert all(moment < later for moment, later in pairwise(found))


@pytest.mark.parametrize("pace", RHYTHMS)
@pytest.mark.parametrize("jump", [2, 3, 5])
def test_a_rhythm_that_begins_anew_is_even_on_both_sides(pace: F, jump: int) -> None:
    """As at a cut that was made after the repeats."""
    before = row(pace, 30)
    found = moments([*before, *row(pace, 40, F(1, 2), first=before[-1] + jump)])
    settled = 2 * pace.denominator
    for part in (found[settled:29], found[30 + settled :]):  # the last may fit the row that follows, too
        assert {later - each for each, later in pairwise(part)} == {pace}


def test_repeats_that_stay_keep_their_time_and_end_no_rhythm() -> None:
    """The last frame before a cut does."""
    numbers = row(F(5, 2), 40)
    frames: list[tuple[int | None, Frame]] = [(number, frame(BLACK, number)) for number in numbers]
    stays = frame(BLACK, numbers[20] - 1)
    frames.insert(20, (None, stays))
    found = list(evened(frames))
    assert found[20] is stays
    assert {later.pts_seconds - each.pts_seconds for each, later in pairwise(found[4:20] + found[21:])} == {F(5, 48)}
    assert all(each.pts_seconds < later.pts_seconds for each, later in pairwise(found))


def test_few_are_held_and_none_without_need() -> None:
    for numbers, held in ((range(50), 0), (range(0, 100, 2), 0), (row(F(5, 2), 50), 6)):
        read = 0

        def source(numbers: Sequence[int] = numbers) -> Iterator[tuple[int, Frame]]:
            nonlocal read
            for number in numbers:
                read += 1
                yield number, frame(BLACK, number)

        assert max(read - given for given, _ in enumerate(evened(source()), 1)) == held


@pytest.mark.parametrize("pace", RHYTHMS[:-1])
@pytest.mark.parametrize("start", [60, 61, 63, 97])
def test_a_part_is_as_in_the_whole(pace: F, start: int) -> None:
    numbers = row(pace, 120)
    whole = dict(zip(numbers, moments(numbers), strict=True))
    first, last = around([F(k) for k in range(numbers[-1] + 1)], F(start), F(start + 20))
    part = [number for number in numbers if first <= number <= last]
    shown = {number: at for number, at in zip(part, moments(part), strict=True) if start <= number <= start + 20}
    assert shown == {number: whole[number] for number in shown} and shown

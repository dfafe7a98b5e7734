"""Numbers, clock times, speed curves: what is read, what is refused, and the exact map they make."""

from __future__ import annotations

from fractions import Fraction as F
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slomo_cli.errors import UsageError
from slomo_cli.times import TimeMap, format_time, parse_number, parse_rate, parse_speed, parse_time

quick = settings(max_examples=60)
speeds = st.fractions(F(1, 64), 8, max_denominator=64)
lengths = st.fractions(F(1, 100), 60, max_denominator=1001)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", F(2)), ("2.5", F(5, 2)), (".5", F(1, 2)), ("30000/1001", F(30000, 1001)), (" 8 ", F(8)), ("-1", F(-1))],
)
def test_numbers_are_read_exactly(text: str, value: F) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "x8", "1/0", "2,5", "1e9", "nan", "inf", "1/2/3", "0x10", "1_000", "٣", "9" * 40])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number"):
        parse_number(text)


def test_a_decimal_comma_gets_a_hint() -> None:
    with pytest.raises(UsageError, match=r"write 2\.5"):
        parse_number("2,5")


@pytest.mark.parametrize("text", ["0", "-1", "1000001", "99999999"])
def test_rates_no_film_has_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a frame rate"):
        parse_rate(text)


@pytest.mark.parametrize("nominal", [12, 15, 24, 30, 48, 60, 72, 90, 96, 120, 144, 240, 480])
@pytest.mark.parametrize("places", [2, 3, 4, 6])
def test_ntsc_decimals_mean_ntsc_rates(nominal: int, places: int) -> None:
    exact = F(nominal * 1000, 1001)
    assert parse_rate(f"{float(exact):.{places}f}") == exact
    cut = int(exact * 10**places)
    assert parse_rate(f"{cut // 10**places}.{cut % 10**places:0{places}d}") == exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24", F(24)),
        ("25", F(25)),
        ("29.9", F(299, 10)),
        ("59.5", F(119, 2)),
        ("24.00", F(24)),
        ("29.98", F(2998, 100)),
        ("12.5", F(25, 2)),
        ("30000/1001", F(30000, 1001)),
    ],
)
def test_other_rates_stay_what_they_are(text: str, value: F) -> None:
    assert parse_rate(text) == value


@pytest.mark.parametrize("text", ["0", "-24", "0/5"])
def test_rates_are_above_zero(text: str) -> None:
    with pytest.raises(UsageError, match="above 0"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12.5", F(25, 2)),
        ("90", F(90)),
        ("1:30", F(90)),
        ("90:00", F(5400)),
        ("00:01:30.250", F(361, 4)),
        ("100:00:00", F(360000)),
        ("1001/30", F(1001, 30)),
    ],
)
def test_times_are_read_exactly(text: str, value: F) -> None:
    assert parse_time(text) == value


@pytest.mark.parametrize("text", ["", "1:60", "1:60:00", "1:2:3:4", "-1", ":30", "1:-5", "soon", "1:3O", "\n"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_time(text)


def test_messages_stay_on_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        parse_time("1\n2\x1b[2J")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (F(0), "00:00:00.000"),
        (F(361, 4), "00:01:30.250"),
        (F(59_9996, 10000), "00:01:00.000"),
        (F(360001), "100:00:01.000"),
        (F(-3, 2), "-00:00:01.500"),
        (F(-1, 10**6), "00:00:00.000"),
    ],
)
def test_times_are_written_to_the_millisecond(seconds: F, text: str) -> None:
    assert format_time(seconds) == text


@given(st.fractions(0, 10**6, max_denominator=1000))
@quick
def test_written_times_read_back(seconds: F) -> None:
    assert abs(parse_time(format_time(seconds)) - seconds) <= F(1, 2000)


def test_a_curve_of_constant_pieces() -> None:
    curve = parse_speed("0-2:1, 2-3.5:0.125, 3.5-:1", F(10))
    assert [(p.source_start, p.source_end, p.output_start, p.output_end) for p in curve.pieces] == [
        (0, 2, 0, 2),
        (2, F(7, 2), 2, 14),
        (F(7, 2), 10, 14, F(41, 2)),
    ]
    assert curve.source_at(F(8)) == F(11, 4) and curve.output_at(F(11, 4)) == 8


def test_gaps_run_at_normal_speed_and_order_does_not_matter() -> None:
    curve = parse_speed("5-6:2,0:01-0:02:1/2", F(8))
    assert [(p.source_start, p.source_end, p.speed_start) for p in curve.pieces] == [
        (0, 1, 1),
        (1, 2, F(1, 2)),
        (2, 5, 1),
        (5, 6, 2),
        (6, 8, 1),
    ]
    assert curve.output_duration == 1 + 2 + 3 + F(1, 2) + 2


def test_an_eased_ramp_has_the_stated_shape() -> None:
    """Halfway through its output time a ramp runs at the mean speed; T = 2 L / (a + b); the ends join smoothly."""
    curve = parse_speed("2-3:1~0.125", F(4))
    before, ramp, after = curve.pieces
    assert ramp.output_end - ramp.output_start == F(2) / (1 + F(1, 8))
    assert ramp.ramp is not None and ramp.ramp.speed_at((ramp.output_start + ramp.output_end) / 2) == F(9, 16)
    assert (ramp.speed_start, ramp.speed_end) == (1, F(1, 8))
    small = F(1, 10**6)
    slope = (curve.source_at(ramp.output_start + small) - curve.source_at(ramp.output_start)) / small
    assert abs(slope - before.speed_end) < F(1, 10**5)
    slope = (curve.source_at(ramp.output_end) - curve.source_at(ramp.output_end - small)) / small
    assert abs(slope - F(1, 8)) < F(1, 10**5)
    assert after.source_start == curve.source_at(ramp.output_end) == 3


def test_a_piece_may_reach_past_the_end_but_not_begin_there() -> None:
    curve = parse_speed("2-9:0.5~2", F(4))
    assert curve.source_end == 4
    whole = parse_speed("2-9:0.5~2", F(9))
    assert curve.source_at(F(4)) == whole.source_at(F(4))
    with pytest.raises(UsageError, match=r"ends at 00:00:04\.000"):
        parse_speed("4-9:0.5", F(4))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "START-END:SPEED"),
        ("0.5", "START-END:SPEED"),
        ("0-2", "START-END:SPEED"),
        ("2:0.5", "START-END:SPEED"),
        ("0-2:1,", "START-END:SPEED"),
        ("0-2:0", "above 0"),
        ("0-2:-1", "above 0"),
        ("0-2:1~0", "above 0"),
        ("0-2:fast", "expected a number"),
        ("0-2:1~", "expected a number"),
        ("0-2:1~0.5~1", "expected a number"),
        ("a-2:1", "expected a time"),
        ("2-1:1", "ends after it starts"),
        ("2-2:1", "ends after it starts"),
        ("0-2:1,1.9-3:0.5", "overlap"),
        ("0-:1,3-4:0.5", "overlap"),
    ],
)
def test_curves_that_make_no_sense_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_speed(text, F(10))


@st.composite
def curves(draw: st.DrawFn) -> tuple[TimeMap, F]:
    """A curve of one to four entries, eased or not, with or without gaps."""
    at, entries = F(0), []
    for _ in range(draw(st.integers(1, 4))):
        start = at + draw(st.sampled_from([F(0), F(1, 3), F(5, 4)]))
        at = start + draw(lengths)
        first, last = draw(speeds), draw(st.one_of(st.none(), speeds))
        entries.append(f"{start}-{at}:{first}" + (f"~{last}" if last is not None else ""))
    duration = at + draw(st.sampled_from([F(0), F(2, 7)]))
    return parse_speed(",".join(entries), duration), duration


@given(curves(), st.lists(st.fractions(0, 1, max_denominator=997), min_size=2, max_size=8))
@quick
def test_the_map_grows_and_its_inverse_agrees(curve_of: tuple[TimeMap, F], shares: list[F]) -> None:
    curve, duration = curve_of
    assert (curve.source_at(F(0)), curve.source_at(curve.output_duration)) == (0, duration)
    for a, b in pairwise(curve.pieces):
        assert (a.source_end, a.output_end) == (b.source_start, b.output_start)
    moments = [share * curve.output_duration for share in sorted(set(shares))]
    sources = [curve.source_at(moment) for moment in moments]
    assert all(a < b for a, b in pairwise(sources))
    for moment, source in zip(moments, sources, strict=True):
        assert 0 <= moment - curve.output_at(source) < F(1, 10**9)
        piece = next(p for p in curve.pieces if p.output_start <= moment <= p.output_end)
        if piece.ramp is None:
            assert curve.output_at(source) == moment


@given(curves(), st.fractions(0, 1, max_denominator=97), st.fractions(0, 1, max_denominator=89))
@quick
def test_a_cut_shows_the_same_stretch_at_the_same_speed(curve_of: tuple[TimeMap, F], one: F, two: F) -> None:
    curve, duration = curve_of
    start, end = sorted((one * duration, two * duration))
    if end - start < F(1, 1000):
        return
    part = curve.cut(start, end)
    assert (part.source_start, part.source_end, part.source_at(F(0))) == (start, end, start)
    origin = curve.output_at(start)
    assert abs(part.output_duration - (curve.output_at(end) - origin)) < F(1, 10**9)
    for share in (F(1, 7), F(1, 2), F(6, 7)):
        moment = share * part.output_duration
        assert part.source_at(moment) == max(start, curve.source_at(origin + moment))


def test_a_cut_at_a_border_leaves_nothing_of_what_is_behind_it() -> None:
    curve = parse_speed("0-2:1/8, 2-3:1, 3-:1/4", F(4))
    assert [piece.speed_start for piece in curve.cut(F(2), F(3)).pieces] == [1]


@given(lengths, st.fractions(F(1, 1000), 1000, max_denominator=1001))
@quick
def test_a_constant_map_is_exact_both_ways(length: F, factor: F) -> None:
    line = TimeMap.constant(F(1, 3), F(1, 3) + length, factor)
    assert line.output_duration == length * factor
    moment = line.output_duration * F(3, 7)
    assert line.source_at(moment) == F(1, 3) + length * F(3, 7) and line.output_at(line.source_at(moment)) == moment
    assert (line.source_at(F(-1)), line.source_at(line.output_duration + 1)) == (line.source_start, line.source_end)

"""Repeats on generated clips: which frames must go, and which must stay."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction as F

import av
import numpy as np
import pytest
from scenes import HIGH, OTHER, SCENE, WIDE, Picture, frame, view

from slomo_cli.repeats import LONGEST_RUN, DuplicateFilter, difference
from slomo_cli.timeline import make_plan, schedule
from slomo_cli.values import Frame, SourceTiming, TimeSettings


def thin(frames: Iterable[Frame]) -> Iterator[Frame]:
    return DuplicateFilter().thin(frames)


def repeated(pictures: Sequence[Picture], times: Callable[[int], int], disturb: float = 0.0) -> list[Frame]:
    """Each picture as often as ``times`` of its number says; repeats re-encoded: rough blocks, a little noise."""
    rng = np.random.default_rng(1)
    frames: list[Frame] = []
    for number, picture in enumerate(pictures):
        for _ in range(times(number)):
            rough = np.kron(rng.normal(0, disturb, (HIGH // 8 + 1, WIDE // 8 + 1)), np.ones((8, 8)))[:HIGH, :WIDE]
            frames.append(frame(picture + rough, len(frames)))
    return frames


def moving(count: int, speed: float = 4.0) -> list[Picture]:
    return [view(SCENE, 30 + speed * k, 10) for k in range(count)]


PATTERNS: dict[str, Callable[[int], int]] = {
    "twos": lambda k: 2,
    "threes": lambda k: 3,
    "24 at 30": lambda k: 2 if k % 4 == 3 else 1,
    "10 at 60": lambda k: 6,
    "mixed": lambda k: 1 + k % 3,
}


@pytest.mark.parametrize("disturb", [0.0, 0.8], ids=["exact", "encoded"])
@pytest.mark.parametrize("times", PATTERNS.values(), ids=PATTERNS)
def test_repeats_are_dropped(times: Callable[[int], int], disturb: float) -> None:
    frames = repeated(moving(10), times, disturb)
    first = [sum(times(j) for j in range(k)) for k in range(10)]
    duplicates = DuplicateFilter()
    # The last frame stays although it repeats another.
    expected = sorted({*first, len(frames) - 1})
    at_60 = [Frame(f.planes, f.layout, f.color, F(k, 60)) for k, f in enumerate(frames)]
    kept = [round(f.pts_seconds * 60) for f in duplicates.thin(at_60)]
    assert kept == expected and duplicates.count == len(frames) - len(kept)


@pytest.mark.parametrize(("rate", "kept"), [(24, [*range(0, 60, 6), 59]), (23, [*range(55), 59])])
def test_a_picture_that_stands_a_quarter_of_a_second_may_be_of_a_lower_rate(rate: int, kept: list[int]) -> None:
    """And no longer: more is a still picture. (How long the last frame stands, nobody can tell.)"""
    frames = [Frame(f.planes, f.layout, f.color, F(k, rate)) for k, f in enumerate(repeated(moving(10), lambda k: 6))]
    assert [one.pts_seconds * rate for one in thin(frames)] == kept


@pytest.mark.parametrize("speed", [0.1, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("disturb", [0.0, 0.8], ids=["clean", "encoded"])
def test_even_motion_is_kept_however_slow(speed: float, disturb: float) -> None:
    frames = repeated(moving(24, speed), lambda k: 1, disturb)
    assert list(thin(frames)) == frames


@pytest.mark.parametrize("count", [3, 4, 5, 6, 8])
@pytest.mark.parametrize("speed", [0.05, 0.25])
def test_even_motion_is_kept_however_short(count: int, speed: float) -> None:
    """Beginning and end of a film bound no run of repeats: nothing there is larger than what lies between."""
    frames = repeated(moving(count, speed), lambda k: 1)
    assert list(thin(frames)) == frames


@pytest.mark.parametrize("slow", [2, 3, 4])
def test_a_slow_moment_between_fast_ones_is_kept(slow: int) -> None:
    """It changes as little as repeats do, but its steps add up."""
    places = np.cumsum([0.0, *[12.0] * 4, *[0.3] * slow, *[12.0] * 4])
    frames = repeated([view(SCENE, 30 + x, 10) for x in places], lambda k: 1)
    assert list(thin(frames)) == frames


@pytest.mark.parametrize("phase", [0.3, 0.8])
def test_a_thing_that_turns_round_is_kept_at_its_turn(phase: float) -> None:
    """A ball thrown up is slow there, but no picture of it repeats another."""
    pictures = [view(SCENE, 100).copy() for _ in range(16)]
    across, down = np.meshgrid(np.arange(WIDE), np.arange(HIGH))
    for k, picture in enumerate(pictures):
        ball = np.clip(14.5 - np.hypot(across - 160, down - 40 - (k - 8 + phase) ** 2), 0, 1)
        picture += ball * (175 - picture)
    frames = repeated(pictures, lambda k: 1)
    assert list(thin(frames)) == frames


def test_slow_motion_on_twos_is_thinned() -> None:
    frames = repeated(moving(12, 0.5), lambda k: 2)
    assert len(list(thin(frames))) == 13


@pytest.mark.parametrize("length", [7, 12, 30])
@pytest.mark.parametrize("disturb", [0.0, 0.4], ids=["exact", "encoded"])
def test_a_still_is_kept(length: int, disturb: float) -> None:
    frames = repeated(moving(9), lambda k: length if k == 4 else 1, disturb)
    assert list(thin(frames)) == frames


def test_a_small_thing_that_moves_is_motion() -> None:
    """A mouth on a still face: on every frame nothing is dropped, on twos every second frame."""
    pictures = [view(SCENE, 100).copy() for _ in range(16)]
    for k, picture in enumerate(pictures):
        picture[90:104, 150 + 2 * k : 180 + 2 * k] = 220
    steady = repeated(pictures, lambda k: 1, 0.3)
    assert list(thin(steady)) == steady
    assert len(list(thin(repeated(pictures, lambda k: 2, 0.3)))) == 17


def test_a_long_hold_is_a_still_even_of_two_frames() -> None:
    frames = repeated(moving(6), lambda k: 2)
    slow = [Frame(f.planes, f.layout, f.color, F(k, 5)) for k, f in enumerate(frames)]
    assert list(thin(slow)) == slow


def test_the_last_frame_before_a_cut_stays() -> None:
    """Otherwise the cut would move towards the last distinct frame of the shot before."""
    pictures = [*moving(5), *(view(OTHER, 30 + 4 * k) for k in range(5))]
    kept = [round(f.pts_seconds * 24) for f in thin(repeated(pictures, lambda k: 3))]
    assert {14, 15} <= set(kept) and len(kept) == 10 + 2


def test_it_can_be_switched_off_and_reads_only_a_few_frames_ahead() -> None:
    frames = repeated(moving(8), lambda k: 2)
    assert list(DuplicateFilter(enabled=False).thin(frames)) == frames
    read: list[int] = []

    def source() -> Iterator[Frame]:
        for k, each in enumerate(frames):
            read.append(k)
            yield each

    for kept in thin(source()):
        assert len(read) <= round(kept.pts_seconds * 24) + LONGEST_RUN + 2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_short_sources(count: int) -> None:
    frames = [frame(SCENE[:HIGH, :WIDE], k) for k in range(count)]
    assert list(thin(frames)) == frames


def test_motion_is_spread_over_real_time() -> None:
    """A cartoon on twos, four times slower: thinned, every step of the motion takes the same number of frames."""
    frames = repeated(moving(10), lambda k: 2)
    timing = SourceTiming(20, F(0), F(20, 24), F(24), F(24))
    plan = make_plan(timing, TimeSettings(F(4)))
    rows = [
        (step.left.pts_seconds * 24, output.t)
        for step in schedule(plan, ((f.pts_seconds, f) for f in thin(frames)))
        for output in step.outputs
    ]
    assert len(rows) == plan.frames == 80
    assert rows[:72] == [(2 * (k // 8), F(k % 8, 8)) for k in range(72)]


def coarse(times: Callable[[int], int], count: int = 30, rough: float = 8.0, blinking: int = 1000) -> list[Frame]:
    """A thing that moves, encoded so coarsely that its repeats differ where it is: by a fourth of what its motion
    changes. From frame ``blinking`` on, something elsewhere changes as little on every frame."""
    rng = np.random.default_rng(2)
    frames: list[Frame] = []
    for number in range(count):
        for _ in range(times(number)):
            picture = 120 + (view(SCENE, 100) - 120) * 0.4
            left = 20 + 6 * number
            noise = np.kron(rng.choice([-rough / 2, rough / 2], (7, 8)), np.ones((8, 8)))[:50, :60]
            picture[60:110, left : left + 60] = 120 + (view(OTHER, 50, 50, 50, 60) - 120) * 0.4 + noise
            if len(frames) >= blinking:
                picture[150:170, 20:60] += rough * (len(frames) % 2)
            frames.append(frame(picture, len(frames), rate=F(60)))
    return frames


TWOS: Callable[[int], int] = lambda k: 2  # noqa: E731
TWOS_AND_THREES: Callable[[int], int] = lambda k: 2 + k % 2  # noqa: E731


@pytest.mark.parametrize("times", [TWOS, TWOS_AND_THREES], ids=["30 at 60", "24 at 60"])
def test_coarse_repeats_are_dropped_where_they_are_usual(times: Callable[[int], int]) -> None:
    first = {sum(times(j) for j in range(k)) for k in range(30)}
    frames = coarse(times)
    duplicates = DuplicateFilter()
    kept = list(duplicates.thin(frames))
    assert {frame_number(each) for each in kept} >= first
    assert len(first) <= len(kept) <= len(first) + 5 and duplicates.count == len(frames) - len(kept)


def test_what_changes_where_nothing_moves_is_no_coarse_repeat() -> None:
    frames = coarse(TWOS, blinking=30)
    assert {frame_number(each) for each in thin(frames)} >= set(range(30, 60))


@pytest.mark.parametrize("rough", [13.0, 15.0])
def test_doubtful_repeats_make_no_rhythm(rough: float) -> None:
    """30 pictures a second at 60, of which every second repeat is exact and dropped, and the others are too coarse."""
    calm, wild = coarse(TWOS, rough=0), coarse(TWOS, rough=rough)
    frames = [(wild if k % 4 == 1 else calm)[k] for k in range(60)]
    kept = [each.pts_seconds * 60 for each in thin(frames)]
    assert all(moment.denominator == 1 for moment in kept) and set(kept) >= set(range(0, 60, 2))


def frame_number(each: Frame) -> int:
    """At 60 a second, of what is at an even moment of its rhythm."""
    return int(each.pts_seconds * 60)


@pytest.mark.parametrize("crf", [18, 23])
def test_repeats_are_known_after_real_encoding(crf: int) -> None:
    """H.264 of a clip on twos: nearly all repeats are dropped, no distinct frame is."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for k, each in enumerate(repeated(moving(20, 3.0), lambda k: 2)):
            picture = av.VideoFrame.from_ndarray(each.planes[0], format="gray").reformat(format="yuv420p")
            picture.pts = k
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        luma = [picture.reformat(format="gray").to_ndarray() for picture in container.decode(video=0)]
    kept = [round(f.pts_seconds * 24) for f in thin([frame(picture, k) for k, picture in enumerate(luma)])]
    assert set(range(0, 40, 2)) <= set(kept)
    assert len(kept) <= 23


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 40), (16, 16)])
def test_tiny_pictures_do_no_harm(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [frame(rng.uniform(0, 255, size), k) for k in range(6)]
    assert len(list(thin(frames))) >= 2


def test_difference_looks_where_most_changed() -> None:
    left, right = np.zeros((80, 80), np.float32), np.zeros((80, 80), np.float32)
    right[8:16, 8:40] = 12
    assert difference(left, right) == 12
    right[8:16, 8:40] = 0
    right[8:16, 8:16] = 12
    assert difference(left, right) == 3

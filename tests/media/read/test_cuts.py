"""Cuts and repeats on generated clips: what must be found, and what must not be mistaken for it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction as F
from functools import cache
from itertools import pairwise
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from slomo_cli.errors import UsageError
from slomo_cli.media.read.cuts import CutDetector, DuplicateFilter, PairKinds, difference, shrink
from slomo_cli.timeline import make_plan, schedule
from slomo_cli.values import ColorInfo, Frame, PixelLayout, SourceTiming, TimeSettings

Picture = npt.NDArray[np.floating]  # luma, 8-bit levels

GRAY = PixelLayout("gray", "gray", 8)
LAYOUTS = [
    GRAY,
    PixelLayout("gray16le", "gray", 16),
    PixelLayout("yuv420p", "yuv", 8, 1, 1),
    PixelLayout("yuv422p10le", "yuv", 10, 1, 0),
    PixelLayout("yuva444p12le", "yuv", 12, 0, 0, alpha=True),
    PixelLayout("gbrp", "rgb", 8),
    PixelLayout("gbrp16le", "rgb", 16),
]
WIDE, HIGH = 320, 180


def frame(picture: Picture, number: int = 0, layout: PixelLayout = GRAY, rate: F = F(24)) -> Frame:
    """Luma (green) as given, the other planes flat."""
    samples = np.clip(np.rint(picture), 0, 255) * (1 << (layout.bits - 8))
    kind = np.uint8 if layout.bits == 8 else np.uint16
    shapes = layout.plane_shapes(picture.shape[1], picture.shape[0])
    planes = (samples.astype(kind), *(np.full(shape, layout.peak // 2, kind) for shape in shapes[1:]))
    return Frame(planes, layout, ColorInfo(), number / rate)


@cache
def texture(seed: int, height: int = 500, width: int = 800, light: float = 120, depth: float = 45) -> Picture:
    """A picture with as much contrast at every scale, as photographs have: noise enlarged from grids of many sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width))
    for cell in (4, 8, 16, 32, 64):
        grid = rng.normal(size=(height // cell + 2, width // cell + 2))
        y, x = np.arange(height) / cell, np.arange(width) / cell
        top, left = y.astype(int), x.astype(int)
        v, u = (y - top)[:, None], (x - left)[None]
        a, b = grid[top][:, left], grid[top][:, left + 1]
        c, d = grid[top + 1][:, left], grid[top + 1][:, left + 1]
        picture += (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v
    return light + depth * picture / picture.std()


def view(scene: Picture, x: float, y: float = 0.0, height: int = HIGH, width: int = WIDE) -> Picture:
    """The part of a scene whose top left corner is at (x, y), by bilinear sampling."""
    left, top = int(x // 1), int(y // 1)
    u, v = x - left, y - top
    part = scene[top : top + height + 1, left : left + width + 1]
    rows = part[:-1] * (1 - v) + part[1:] * v
    return rows[:, :-1] * (1 - u) + rows[:, 1:] * u


def cuts_of(frames: Sequence[Frame], detector: CutDetector | None = None) -> list[int]:
    """Numbers of the frames that begin a new shot."""
    detector = detector or CutDetector()
    return [k + 1 for k, (left, right) in enumerate(pairwise(frames)) if detector.is_cut(left, right)]


# --- cuts


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_cut_is_found_where_it_is(layout: PixelLayout) -> None:
    shots = [view(texture(seed), 20 + 2 * k) for seed in (1, 2) for k in range(5)]
    assert cuts_of([frame(picture, k, layout) for k, picture in enumerate(shots)]) == [5]


def test_what_lies_between_frames_is_judged_once() -> None:
    """A pair asked about again, with another in between, keeps its answer; one that holds the same samples is still."""
    asked: list[int] = []

    class Detector(CutDetector):
        def is_cut(self, left: Frame, right: Frame) -> bool:
            asked.append(int(left.pts_seconds * 24))
            return super().is_cut(left, right)

    frames = [frame(view(scene, x), k) for k, (scene, x) in enumerate([(SCENE, 0), (SCENE, 5), (SCENE, 5), (OTHER, 0)])]
    kinds = PairKinds(Detector())
    for k, kind in enumerate(["moving", "still", "cut"]):
        assert kinds.of(frames[k], frames[k + 1]) == kind
        if k:
            kinds.of(frames[k - 1], frames[k])
    assert asked == [0, 1, 2]
    assert PairKinds(None).of(frames[2], frames[3]) == "moving"


@pytest.mark.parametrize("size", [(48, 64), (96, 96), (181, 321), (360, 202), (100, 900)])
def test_cuts_are_found_at_any_size(size: tuple[int, int]) -> None:
    shots = [view(texture(seed, 380, 1000), 5 + k, 0, *size) for seed in (3, 4, 5) for k in range(4)]
    assert cuts_of([frame(picture) for picture in shots]) == [4, 8]


def test_most_random_cuts_are_found() -> None:
    """Sixty shots of three frames, each moving its own way."""
    rng = np.random.default_rng(0)
    frames, expected = [], []
    for seed in range(60):
        scene, speed = texture(seed + 100, HIGH + 30, WIDE + 60), rng.uniform(-6, 6, 2)
        expected.append(len(frames))
        frames += [frame(view(scene, 20 + speed[0] * k, 15 + speed[1] * k)) for k in range(3)]
    found = cuts_of(frames)
    assert set(found) <= set(expected) and len(found) >= 57


def pan(k: int) -> Picture:
    return view(SCENE, 20 + 38 * k, 4)  # an eighth of the width per frame


def tilt(k: int) -> Picture:
    return view(SCENE, 200, 20 + 22 * k)


def shake(k: int) -> Picture:
    x, y = np.random.default_rng(k).uniform(0, 24, 2)
    return view(SCENE, 100 + x, 100 + y)


def flash(k: int) -> Picture:
    return view(SCENE, 100 + 2 * k) * 1.5 + 110 if k == 5 else view(SCENE, 100 + 2 * k)


def white_flash(k: int) -> Picture:
    return np.full((HIGH, WIDE), 250.0) if k == 5 else view(SCENE, 100 + 2 * k)


def flicker(k: int) -> Picture:
    return view(SCENE, 100 + k) * (1.0 if k % 2 else 0.6)


def fade_out(k: int) -> Picture:
    return 16 + (view(SCENE, 100 + k) - 16) * max(0.0, 1 - k / 8)


def fade_in(k: int) -> Picture:
    return 16 + (view(SCENE, 100 + k) - 16) * min(1.0, k / 8)


def dissolve(k: int) -> Picture:
    share = min(1.0, k / 10)
    return view(SCENE, 100 + k) * (1 - share) + view(OTHER, 100 + k) * share


def noise(k: int) -> Picture:
    return view(SCENE, 100 + k) * 0.3 + np.random.default_rng(k).normal(0, 12, (HIGH, WIDE))


def dark_noise(k: int) -> Picture:
    return 16 + np.random.default_rng(k).normal(0, 5, (HIGH, WIDE))


def zoom(k: int) -> Picture:
    size = 1 + 0.06 * k
    rows, columns = (np.arange(HIGH) * size).astype(int), (np.arange(WIDE) * size).astype(int)
    return SCENE[np.ix_(rows, columns)]


def passing(k: int) -> Picture:
    picture = view(SCENE, 100 + k).copy()
    picture[40:160, max(0, 60 * k - 100) : max(0, 60 * k)] = 30
    return picture


def black(k: int) -> Picture:
    return np.full((HIGH, WIDE), 16.0)


SCENE, OTHER = texture(7), texture(8)
CALM = [
    pan,
    tilt,
    shake,
    flash,
    white_flash,
    flicker,
    fade_out,
    fade_in,
    dissolve,
    noise,
    dark_noise,
    zoom,
    passing,
    black,
]


@pytest.mark.parametrize("scene", CALM, ids=lambda scene: scene.__name__)
def test_no_cut_is_seen_in(scene: Callable[[int], Picture]) -> None:
    assert cuts_of([frame(scene(k)) for k in range(12)]) == []


@pytest.mark.parametrize("scene", [pan, shake, flicker, noise], ids=lambda scene: scene.__name__)
def test_a_cut_is_found_amid(scene: Callable[[int], Picture]) -> None:
    pictures = [*(scene(k) for k in range(6)), *(view(OTHER, 100 + k) for k in range(6))]
    assert cuts_of([frame(picture) for picture in pictures]) == [6]


def test_a_cut_is_found_within_bars() -> None:
    """Letterbox bars match everywhere; they say nothing about the picture between them."""
    pictures = [view(scene, 100 + k) for scene in (SCENE, OTHER) for k in range(5)]
    for picture in pictures:
        picture[:40] = picture[-40:] = 16
    detector = CutDetector()
    assert cuts_of([frame(picture) for picture in pictures], detector) == [5]
    detector = CutDetector()
    detector.is_cut(frame(pictures[4]), frame(pictures[5]))
    barred = detector.unlikeness
    detector.is_cut(frame(pictures[4][40:-40]), frame(pictures[5][40:-40]))
    assert abs(detector.unlikeness - barred) < 0.1


@pytest.mark.parametrize(
    "pictures",
    [
        [black(0)] * 4 + [view(SCENE, 100)] * 4,
        [view(SCENE, 100)] * 4 + [black(0)] * 4,
        [black(0)] * 4 + [np.full((HIGH, WIDE), 180.0)] * 4,
        [np.full((HIGH, WIDE), 235.0)] * 4 + [view(SCENE, 100)] * 4,
    ],
    ids=["from black", "to black", "plain to plain", "from white"],
)
def test_cuts_from_and_to_plain_pictures(pictures: list[Picture]) -> None:
    assert cuts_of([frame(picture) for picture in pictures]) == [4]


def test_a_white_frame_between_two_shots_is_a_cut() -> None:
    white = np.full((HIGH, WIDE), 250.0)
    assert cuts_of([frame(p) for p in (*[view(SCENE, 100)] * 4, white, *[view(OTHER, 100)] * 4)]) == [5]


@pytest.mark.parametrize("dark", [1, 2, 5])
def test_a_few_black_frames_end_as_suddenly_as_they_begin(dark: int) -> None:
    shots = [*[view(SCENE, 100)] * 4, *[black(0)] * dark, *[view(OTHER, 100)] * 4]
    assert cuts_of([frame(picture) for picture in shots]) == [4, 4 + dark]


def test_a_plain_picture_that_fades_is_no_row_of_cuts() -> None:
    plain = [np.full((HIGH, WIDE), 16.0 + 36 * k) for k in range(7)]
    assert len(cuts_of([frame(picture) for picture in [*[black(0)] * 4, *plain]])) <= 1


def test_the_threshold_can_be_set() -> None:
    pictures = [frame(view(SCENE, 100)), frame(view(OTHER, 100))]
    assert cuts_of(pictures, CutDetector(1.0)) == []
    assert cuts_of(pictures, CutDetector(0.1)) == [1]
    assert cuts_of([frame(zoom(k)) for k in range(12)], CutDetector(0.005))
    for nonsense in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(UsageError, match="threshold"):
            CutDetector(nonsense)


def test_the_same_pair_gets_the_same_answer() -> None:
    detector = CutDetector()
    frames = [frame(view(scene, 100 + k)) for scene in (SCENE, OTHER) for k in range(3)]
    for left, right in pairwise(frames):
        first = detector.is_cut(left, right), detector.limit
        assert (detector.is_cut(left, right), detector.limit) == first


def test_light_alone_adds_little() -> None:
    """However much of it: the same things are there."""
    dim = view(SCENE, 100) / 4
    detector = CutDetector()
    assert not detector.is_cut(frame(dim), frame(dim + 160, 1))
    assert detector.unlikeness < 0.09


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 40), (16, 16)])
def test_tiny_pictures_do_no_harm(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [frame(rng.uniform(0, 255, size), k) for k in range(6)]
    assert len(cuts_of(frames)) <= 5
    assert len(list(thin(frames))) >= 2


# --- repeats


def thin(frames: Iterable[Frame], **settings: Any) -> Iterator[Frame]:
    return DuplicateFilter(**settings).thin(frames)


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


def test_tolerance() -> None:
    exact, encoded = repeated(moving(8), lambda k: 2), repeated(moving(8), lambda k: 2, 0.8)
    assert len(list(thin(exact, tolerance=0))) == 9
    assert len(list(thin(encoded, tolerance=0))) == 16
    with pytest.raises(UsageError, match="tolerance"):
        DuplicateFilter(tolerance=-1)


def test_it_can_be_switched_off_and_reads_only_a_few_frames_ahead() -> None:
    frames = repeated(moving(8), lambda k: 2)
    assert list(DuplicateFilter(enabled=False).thin(frames)) == frames
    read: list[int] = []

    def source() -> Iterator[Frame]:
        for k, each in enumerate(frames):
            read.append(k)
            yield each

    for kept in thin(source(), max_run=3):
        assert len(read) <= round(kept.pts_seconds * 24) + 5


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


# --- arithmetic


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_shrinking_is_an_area_mean_in_8_bit_levels(layout: PixelLayout) -> None:
    picture = np.rint(view(SCENE, 3, 0, 37, 53))
    small = shrink(frame(picture, 0, layout), 5, rows=5)
    exact = np.clip(picture, 0, 255)[:35, :50].reshape(7, 5, 10, 5).mean((1, 3))
    np.testing.assert_allclose(small, exact, atol=1e-3)


def test_difference_looks_where_most_changed() -> None:
    left, right = np.zeros((80, 80), np.float32), np.zeros((80, 80), np.float32)
    right[8:16, 8:40] = 12
    assert difference(left, right) == 12
    right[8:16, 8:40] = 0
    right[8:16, 8:16] = 12
    assert difference(left, right) == 3
    assert difference(left, right[:40]) == float("inf")

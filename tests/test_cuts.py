"""Cuts on generated clips: what must be found, and what must not be mistaken for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from scenes import HIGH, LAYOUTS, OTHER, SCENE, WIDE, Picture, frame, texture, view

from slomo_cli.cuts import CutDetector, PairKinds, shrink
from slomo_cli.errors import UsageError
from slomo_cli.values import Frame, PixelLayout


def cuts_of(frames: Sequence[Frame], detector: CutDetector | None = None) -> list[int]:
    """Numbers of the frames that begin a new shot."""
    detector = detector or CutDetector()
    return [k + 1 for k, (left, right) in enumerate(pairwise(frames)) if detector.is_cut(left, right)]


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


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_shrinking_is_an_area_mean_in_8_bit_levels(layout: PixelLayout) -> None:
    picture = np.rint(view(SCENE, 3, 0, 37, 53))
    small = shrink(frame(picture, 0, layout), 5, rows=5)
    exact = np.clip(picture, 0, 255)[:35, :50].reshape(7, 5, 10, 5).mean((1, 3))
    np.testing.assert_allclose(small, exact, atol=1e-3)

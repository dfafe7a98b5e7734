"""What each output frame shows, decided without a network or a file."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from slomo_cli.cadence import evened
from slomo_cli.cuts import CutDetector
from slomo_cli.errors import DeviceError
from slomo_cli.painter import Painter
from slomo_cli.timeline import make_plan
from slomo_cli.values import ColorInfo, Frame, PixelLayout, SourceTiming, TimeSettings

GRAY = {8: PixelLayout("gray", "gray", 8), 16: PixelLayout("gray16le", "gray", 16)}


def stills(bits: int, *samples: int) -> list[Frame]:
    """Pictures of one sample, a second apart."""
    dtype = np.uint8 if bits == 8 else np.uint16
    return [
        Frame((np.full((1, 1), sample, dtype),), GRAY[bits], ColorInfo(), Fraction(k))
        for k, sample in enumerate(samples)
    ]


def painter(network: Any, pictures: int, bits: int = 8, **time: Any) -> Painter:
    """For so many of them."""
    settings = TimeSettings(duplicates="keep", **time)
    timing = SourceTiming(pictures, Fraction(0), Fraction(pictures), Fraction(1), Fraction(1))
    info: Any = SimpleNamespace(layout=GRAY[bits], width=1, height=1)
    return Painter(make_plan(timing, settings), info, timing, network, settings)


def at_a_cut(cuts: Literal["hold", "blend"], bits: int, left: int, right: int, factor: int = 4) -> list[int]:
    """The one sample of every output frame of two pictures with a cut between them."""
    network = SimpleNamespace(pairs_ahead=3)  # which is asked for nothing
    one = painter(network, 2, bits, factor=Fraction(factor), cuts=cuts)
    made = [planes for planes, _ in one.pictures(stills(bits, left, right))]

    assert one.cuts == 1 and one.interpolated == 0
    assert all(plane.dtype == (np.uint8 if bits == 8 else np.uint16) for planes in made for plane in planes)
    return [int(planes[0][0, 0]) for planes in made]


@pytest.fixture(autouse=True)
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is one."""
    monkeypatch.setattr(CutDetector, "is_cut", lambda self, left, right: True)


def test_at_a_cut_the_nearer_picture_is_held() -> None:
    """From the middle on, the second."""
    assert at_a_cut("hold", 8, 10, 90) == [10, 10, 90, 90, 90, 90, 90, 90]


@pytest.mark.parametrize("pace", [Fraction(5, 4), Fraction(6, 5), Fraction(5, 2)])
def test_an_even_pace_makes_no_cut_late(pace: Fraction) -> None:
    numbers = [floor(pace * place) for place in range(40)]
    pictures = [replace(one, pts_seconds=Fraction(n)) for one, n in zip(stills(8, *range(40)), numbers, strict=True)]
    moved = list(evened(zip(numbers, pictures, strict=True)))
    assert any(one.pts_seconds > n for one, n in zip(moved, numbers, strict=True))

    one = painter(SimpleNamespace(pairs_ahead=3), numbers[-1] + 1, cuts="hold")
    shown = [int(planes[0][0, 0]) for planes, _ in one.pictures(moved)]
    assert not [k for k, sample in enumerate(shown) if sample < bisect_right(numbers, k) - 1]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_cross_fade_is_rounded_to_nearest(bits: int) -> None:
    peak = (1 << bits) - 1
    quarter, half, most = (int(np.rint(peak * k / 4)) for k in (1, 2, 3))

    assert at_a_cut("blend", bits, 0, peak) == [0, quarter, half, most, peak, peak, peak, peak]
    assert at_a_cut("blend", bits, 0, 1) == [0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("samples", "cuts", "beside"),
    [
        ([10, 20, 40, 80], (), [(None, 2), (0, 3), (1, None)]),
        ([10, 20, 40, 80], ((20, 40),), [(None, None), (None, None)]),
        ([10, 20, 20, 80], (), [(None, None), (None, None)]),
    ],
)
def test_the_pictures_beside_a_pair_help_if_they_are_of_its_motion(
    monkeypatch: pytest.MonkeyPatch,
    samples: list[int],
    cuts: tuple[tuple[int, int], ...],
    beside: list[tuple[int | None, int | None]],
) -> None:
    """Not across a cut, and not where the film stands still; each pair is asked for a cut once, in order."""
    asked: list[tuple[int | None, int | None]] = []
    judged: list[tuple[int, int]] = []

    def is_cut(self: Any, left: Frame, right: Frame) -> bool:
        judged.append((int(left.pts_seconds), int(right.pts_seconds)))
        return (int(left.planes[0][0, 0]), int(right.planes[0][0, 0])) in cuts

    def request(left: Frame, right: Frame, times: Any, *around: Any) -> list[Any]:
        assert all(one is None or one[1] == 1 for one in around)
        asked.append(tuple(None if one is None else int(one[0].pts_seconds) for one in around))  # type: ignore[arg-type]
        return [SimpleNamespace(planes=lambda: left.planes)] * len(times)

    monkeypatch.setattr(CutDetector, "is_cut", is_cut)
    one = painter(SimpleNamespace(pairs_ahead=3, request=request), 4, factor=Fraction(2))
    assert len(list(one.pictures(stills(8, *samples)))) == 8
    assert asked == beside
    assert judged == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("start", "end", "after"),
    [(0, 12, range(12, 18)), (0, 9, range(9, 15)), (2.5, 9, [9, 9.5, 10.5, 11.5, 12.5, 13.5])],
)
def test_what_a_loop_begins_with_follows_its_end(start: float, end: int, after: Sequence[float]) -> None:
    """By it is seen whether the last pictures are repeats: nothing from behind the end, and of the beginning as many as
    the longest run of repeats, and the picture that ends it."""
    one = painter(None, 13, factor=Fraction(2), loop=True, start=Fraction(start), end=Fraction(end))
    found = list(one._round(stills(8, *range(13))))

    assert [frame.pts_seconds for frame in found] == [*range(end), *after]
    assert [int(frame.planes[0][0, 0]) for frame in found] == [*range(end), *range(int(start), int(start) + 6)]


def test_a_loop_that_ends_while_the_picture_stands_moves_to_its_beginning_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of uneven rate: the last picture is held, and takes a usual interval for the way back."""
    asked: list[tuple[int, int, list[Fraction]]] = []

    def request(left: Frame, right: Frame, times: Any, *around: Any) -> list[Any]:
        asked.append((int(left.planes[0][0, 0]), int(right.planes[0][0, 0]), list(times)))
        return [SimpleNamespace(planes=lambda: left.planes)] * len(times)

    monkeypatch.setattr(CutDetector, "is_cut", lambda self, left, right: False)
    frames = [
        replace(frame, pts_seconds=at)
        for frame, at in zip(stills(8, 10, 20, 30), map(Fraction, (0, 1, 20)), strict=True)
    ]
    settings = TimeSettings(Fraction(2), loop=True, end=Fraction(10), duplicates="keep")
    timing = SourceTiming(3, Fraction(0), Fraction(21), None, Fraction(1))
    info: Any = SimpleNamespace(layout=GRAY[8], width=1, height=1)
    network: Any = SimpleNamespace(pairs_ahead=3, request=request)
    one = Painter(make_plan(timing, settings), info, timing, network, settings)
    made = [int(planes[0][0, 0]) for planes, _ in one.pictures(frames)]
    half = Fraction(1, 2)

    assert made == [10, 10] + [20] * 18
    assert asked == [(10, 20, [half]), (20, 10, [half])]


def test_an_error_ends_the_thread_that_fetches_pictures() -> None:
    """While the error is remembered as well, and with it all that was at work: a shell keeps the last one for ever."""

    def full(*words: Any) -> None:
        raise DeviceError("no memory")

    network = SimpleNamespace(pairs_ahead=3, request=full)
    before = set(threading.enumerate())
    with pytest.raises(DeviceError) as remembered:
        list(painter(network, 20, factor=Fraction(2), cuts="off").pictures(stills(8, *range(0, 200, 10))))

    assert remembered.tb is not None
    assert set(threading.enumerate()) <= before


def test_an_interrupt_while_the_thread_begins_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    network = SimpleNamespace(pairs_ahead=3)
    with pytest.raises(KeyboardInterrupt):
        list(painter(network, 20, factor=Fraction(1)).pictures(stills(8, *range(0, 200, 10))))

    assert set(threading.enumerate()) <= before

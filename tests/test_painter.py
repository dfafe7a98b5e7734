"""What each output frame shows, decided without a network or a file."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from slomo_cli.media.cuts import CutDetector
from slomo_cli.painter import Painter
from slomo_cli.timeline import make_plan
from slomo_cli.values import ColorInfo, Frame, PixelLayout, SourceTiming, TimeSettings

GRAY = {8: PixelLayout("gray", "gray", 8), 16: PixelLayout("gray16le", "gray", 16)}


def at_a_cut(cuts: Literal["hold", "blend"], bits: int, left: int, right: int, factor: int = 4) -> list[int]:
    """The one sample of every output frame of two pictures with a cut between them."""
    layout, dtype = GRAY[bits], np.uint8 if bits == 8 else np.uint16
    frames = [
        Frame((np.full((1, 1), sample, dtype),), layout, ColorInfo(), Fraction(k))
        for k, sample in enumerate((left, right))
    ]
    time = TimeSettings(Fraction(factor), cuts=cuts, duplicates="keep")
    timing = SourceTiming(2, Fraction(0), Fraction(2), Fraction(1), Fraction(1))
    plan = make_plan(timing, time)
    info: Any = SimpleNamespace(layout=layout, width=1, height=1)
    network: Any = SimpleNamespace(pairs_ahead=3)  # which is asked for nothing
    painter = Painter(plan, info, timing, network, time)
    made = [planes for planes, _ in painter.pictures(frames)]

    assert painter.cuts == 1 and painter.interpolated == 0
    assert all(plane.dtype == dtype for planes in made for plane in planes)
    return [int(planes[0][0, 0]) for planes in made]


@pytest.fixture(autouse=True)
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is one."""
    monkeypatch.setattr(CutDetector, "is_cut", lambda self, left, right: True)


def test_at_a_cut_the_nearer_picture_is_held() -> None:
    """From the middle on, the second."""
    assert at_a_cut("hold", 8, 10, 90) == [10, 10, 90, 90, 90, 90, 90, 90]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_cross_fade_is_rounded_to_nearest(bits: int) -> None:
    peak = (1 << bits) - 1
    quarter, half, most = (int(np.rint(peak * k / 4)) for k in (1, 2, 3))

    assert at_a_cut("blend", bits, 0, peak) == [0, quarter, half, most, peak, peak, peak, peak]
    assert at_a_cut("blend", bits, 0, 1) == [0, 0, 0, 1, 1, 1, 1, 1]

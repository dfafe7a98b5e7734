"""The measured motion and the factor chosen from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from plain_network import save_plain

from slomo_cli import pace
from slomo_cli.cli.main import cli
from slomo_cli.errors import UsageError
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.pace import LARGEST_FACTOR, Sample, choose_factor, measure, middles, sampled
from slomo_cli.pipeline import convert, plan_conversion
from slomo_cli.values import TimeSettings

Make = Callable[..., Path]


def sample(length: float, interval: F = F(1, 30)) -> Sample:
    return Sample(F(0), interval, length)


# ------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(
    ("lengths", "pixels", "rate", "factor"),
    [
        ([8.0], 1, F(30), 8),
        ([8.0], 2, F(30), 4),
        ([8.0], 2, F(60), 2),
        ([8.0, 3.0, 12.0], 4, F(30), 3),
        ([8.1], 2, F(30), 5),
        ([8.0000001], 2, F(30), 4),
        ([0.3], 2, F(30), 1),
        ([], 2, F(30), 1),
        ([1e6], 1, F(30), 256),
        ([8.0], 2, None, 4),
    ],
)
def test_the_smallest_factor_that_keeps_the_distance(
    lengths: list[float], pixels: float, rate: F | None, factor: int
) -> None:
    assert choose_factor([sample(length) for length in lengths], pixels, rate) == factor


def test_speed_counts_not_the_distance_of_a_pair() -> None:
    """Pictures on twos lie two intervals apart: 8 pixels in 1/15 s are 4 in 1/30 s."""
    assert choose_factor([sample(8, F(1, 15))], 1, F(30)) == 4
    assert choose_factor([sample(8, F(1, 15)), sample(5, F(1, 30))], 1, F(30)) == 5


@given(
    st.lists(st.floats(0, 500), max_size=8),
    st.floats(0.1, 50),
    st.sampled_from([F(24), F(30000, 1001), F(240)]),
    st.sampled_from([F(1, 24), F(1, 30), F(1, 12)]),
)
def test_no_sample_moves_further_and_no_smaller_factor_would_do(
    lengths: list[float], pixels: float, rate: F, interval: F
) -> None:
    samples = [sample(length, interval) for length in lengths]
    factor = choose_factor(samples, pixels, rate)
    assert factor.denominator == 1 and 1 <= factor <= LARGEST_FACTOR
    furthest = max((s.speed for s in samples), default=0) / float(rate)
    if factor < LARGEST_FACTOR:
        assert furthest / float(factor) <= pixels * 1.00001
    if factor > 1:
        assert furthest / float(factor - 1) > pixels


@pytest.mark.parametrize("pixels", [0, -1, float("nan")])
def test_a_distance_is_above_zero(pixels: float) -> None:
    with pytest.raises(UsageError, match="above 0 pixels"):
        choose_factor([sample(1)], pixels, F(30))


@given(st.integers(0, 50), st.integers(0, 3000), st.integers(1, 40))
def test_places_are_spread_and_distinct(first: int, length: int, count: int) -> None:
    places = middles(first, first + length, count)
    assert len(places) == len(set(places)) == min(count, length)
    assert all(first <= place < first + length for place in places)
    if len(places) > 1:
        steps = np.diff(places)
        assert steps.max() - steps.min() <= 1


# --------------------------------------------------------------------------------------------- the measurement


class FakeNetwork:
    """Sees everything move as far as the left picture's number says: half of it in x, so that SHARE of 100 matter."""

    def __init__(self, far: float = 3.0) -> None:
        self.far = far
        self.asked: list[F] = []

    def motion(self, left: Any, right: Any, timesteps: Any) -> Any:
        self.asked.append(left.pts_seconds)
        flow = np.zeros((left.height, left.width, 2), np.float32)
        flow[..., 0] = self.far
        flow[0, :2] = 1000  # a few wild points
        return SimpleNamespace(flow_01=flow)


@pytest.fixture
def pan(make: Make) -> Path:
    pan = "-f lavfi -i testsrc2=size=320x240:rate=30:duration=2 -vf crop=128:96:2*n:n -c:v ffv1"
    return make("pan2.mkv", *pan.split())


@pytest.mark.parametrize(
    ("rate", "words", "step"), [(None, "8.0 pixels in the fastest (at 1.00 s)", 1.6), (F(40), "4.0 pixels", 1.0)]
)
def test_the_pair_that_decides_is_the_one_told(rate: F | None, words: str, step: float) -> None:
    """Of uneven rate the longest way counts where every interval is divided alike, else the fastest one."""
    slow, fast = Sample(F(1), F(1, 5), 8.0), Sample(F(2), F(1, 40), 4.0)
    found, chosen = pace._lines(pace.Pace((slow, fast), 0), 2, F(5) if rate is None else F(4), rate)
    assert words in found
    assert f"they move up to {step:.1f} pixels from frame to frame, 2 allowed" in chosen


@pytest.mark.parametrize("read_whole", [1500, 0])
def test_pairs_are_spread_over_the_part_asked_for(pan: Path, monkeypatch: pytest.MonkeyPatch, read_whole: int) -> None:
    monkeypatch.setattr(pace, "_READ_WHOLE", read_whole)
    info = probe(pan)
    scanned = scan(info)
    for time, expected in (
        (TimeSettings(), [7, 22, 36, 51]),
        (TimeSettings(start=F(1)), [33, 40, 48, 55]),
        (TimeSettings(start=F(1, 2), end=F(17, 30)), [15, 16]),
    ):
        found = [pair.left.pts_seconds * 30 for pair in sampled(info, scanned, time, 4)]
        assert found == expected


def test_the_measure_is_robust_to_a_few_points(pan: Path) -> None:
    info = probe(pan)
    network = FakeNetwork(far=3)
    found = measure(info, scan(info), TimeSettings(), network, count=3)  # type: ignore[arg-type]
    assert [s.length for s in found.samples] == [3, 3, 3] and found.cuts == 0
    assert [s.speed for s in found.samples] == pytest.approx([90, 90, 90])
    assert len(network.asked) == 3


def test_cuts_are_left_out(make: Make) -> None:
    first = "testsrc2=size=320x240:rate=30:duration=0.5,crop=128:96:2*n:n"
    second = "mandelbrot=size=128x96:rate=30:start_scale=0.02,trim=duration=0.5,format=yuv420p"
    graph = f"{first},format=yuv420p[a];{second}[b];[a][b]concat[v]"
    scenes = make("scenes.mkv", "-filter_complex", graph, "-map", "[v]", "-c:v", "ffv1")
    info = probe(scenes)
    network = FakeNetwork()
    found = measure(info, scan(info), TimeSettings(), network, count=100)  # type: ignore[arg-type]
    assert found.cuts == 1 and F(14, 30) not in network.asked
    assert len(found.samples) >= 26 and network.asked[-1] == F(28, 30)


def test_repeats_count_with_their_real_time(make: Make) -> None:
    """Drawn on threes: 10 different pictures a second."""
    threes = "-f lavfi -i testsrc2=size=320x240:rate=10:duration=2 -vf crop=128:96:6*n:n -r 30 -c:v ffv1"
    info = probe(make("threes2.mkv", *threes.split()))
    found = measure(info, scan(info), TimeSettings(), FakeNetwork(6), count=8)  # type: ignore[arg-type]
    # At the ends of the film a repeat may stand alone; inside it none does.
    assert {s.interval for s in found.samples[1:-1]} == {F(1, 10)}
    assert found.samples[2].speed == pytest.approx(60)
    assert len({s.seconds for s in found.samples}) == len(found.samples)


def test_a_still_film_does_not_move(make: Make) -> None:
    still = make("still.mkv", *"-f lavfi -i color=c=gray:s=64x48:r=30:d=1 -c:v ffv1".split())
    info = probe(still)
    network = FakeNetwork()
    found = measure(info, scan(info), TimeSettings(), network, count=5)  # type: ignore[arg-type]
    assert {s.length for s in found.samples} == {0.0} and network.asked == []


# -------------------------------------------------------------------------------------------------- end to end


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pairs tell as much in tests."""
    monkeypatch.setattr(pace, "PAIRS_MEASURED", 4)


@pytest.fixture(scope="module")
def wishes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A network that sees everything move 8 pixels."""
    weights = save_plain(tmp_path_factory.mktemp("weights") / "moving.safetensors", motion=(8, 0))
    return {"weights": weights, "device": "cpu", "dtype": "float32", "threads": 1}


def test_a_plan_says_what_was_found_and_chosen(pan: Path, tmp_path: Path, wishes: dict[str, Any]) -> None:
    plan = plan_conversion(pan, tmp_path / "out.mp4", auto_factor=2, **wishes)
    assert plan.plan.frames == 4 * 60 and plan.plan.duration == 8
    words = "\n".join(plan.notes)
    assert "measured in 4 pairs" in words and "less than 8.0 pixels in the fastest" in words
    assert "factor 4 chosen: they move up to 2.0 pixels from frame to frame, 2 allowed" in words
    faster = plan_conversion(pan, tmp_path / "out.mp4", auto_factor=2, rate=60, **wishes)
    assert faster.plan.duration == 4 and faster.plan.frames == 240
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_by_it(pan: Path, tmp_path: Path, wishes: dict[str, Any]) -> None:
    summary = convert(pan, tmp_path / "out.mp4", auto_factor=4, start="1.8", **wishes)
    assert summary.frames_out == 2 * 6
    assert any("factor 2 chosen" in line for line in summary.warnings)


def test_without_motion_nothing_is_slower(pan: Path, tmp_path: Path, wishes: dict[str, Any]) -> None:
    still = {**wishes, "weights": save_plain(tmp_path / "still.safetensors")}
    plan = plan_conversion(pan, tmp_path / "out.mp4", auto_factor=1, **still)
    assert plan.plan.duration == 2 and any("factor 1 chosen" in note for note in plan.notes)


def test_one_picture_has_no_motion(clip: Callable[[str], Path], tmp_path: Path, wishes: dict[str, Any]) -> None:
    plan = plan_conversion(clip("one.mp4"), tmp_path / "out.mp4", auto_factor=1, **wishes)
    assert plan.plan.frames == 1 and any("no two pictures to measure" in note for note in plan.notes)


def test_the_largest_factor_is_told(pan: Path, tmp_path: Path, wishes: dict[str, Any]) -> None:
    plan = plan_conversion(pan, tmp_path / "out.mp4", auto_factor=0.01, **wishes)
    assert plan.plan.frames == 256 * 60 and any("no larger one is chosen" in note for note in plan.notes)


def test_a_curve_has_its_own_factors(pan: Path, tmp_path: Path, wishes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="leave out the automatic factor"):
        plan_conversion(pan, tmp_path / "out.mp4", auto_factor=1, speed="0-1:1, 1-:0.5", **wishes)


def test_from_the_prompt(pan: Path, tmp_path: Path, wishes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.mkv").symlink_to(pan)
    for name, value in wishes.items():
        monkeypatch.setenv(f"SLOMO_{name.upper()}", str(value))
    result = CliRunner().invoke(cli, ["convert", "in.mkv", "--auto-factor", "2", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "in.auto.mkv" in result.output and "factor 4 chosen" in result.output
    assert "240 frames, 8.000 s at 30 fps" in result.output
    for other in (["--factor", "2"], ["--speed", "0-:0.5"]):
        result = CliRunner().invoke(cli, ["convert", "in.mkv", "--auto-factor", "2", *other])
        assert isinstance(result.exception, UsageError) and "leave out" in str(result.exception)
    result = CliRunner().invoke(cli, ["convert", "in.mkv", "--auto-factor", "0"])
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_settings_are_left_as_they_were(pan: Path, wishes: dict[str, Any]) -> None:
    from slomo_cli.values import ComputeSettings

    info = probe(pan)
    time = TimeSettings(auto_factor=2.0, end=F(1, 2))
    chosen, _ = pace.with_measured_factor(info, scan(info), time, ComputeSettings(**wishes))
    assert chosen == replace(time, factor=F(4), auto_factor=None)

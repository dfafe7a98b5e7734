"""``slomo bench``: what it measures adds up, and its report says what was measured."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from film import read
from rich.console import Console

from slomo_cli.bench import child, rival, stages
from slomo_cli.bench.child import Whole
from slomo_cli.bench.clip import pictures, write_clip
from slomo_cli.bench.machine import Clock, Spent, matrix_peak, median, repeat
from slomo_cli.bench.report import conclusions, print_tables, to_json
from slomo_cli.bench.run import Measured, _plan
from slomo_cli.bench.stages import Stage
from slomo_cli.cli.main import cli
from slomo_cli.errors import EncoderError, InputError, UsageError
from slomo_cli.media.ffmpeg import tools
from slomo_cli.picture import write_png
from slomo_cli.values import ComputeSettings


def measured(**changes: object) -> Measured:
    """A result made up of round numbers: decoding 1 ms, network 40 ms, encoder 20 ms per output frame."""
    network = Stage("network and fusion", "new frame", Spent(0.080, 0.160), 0.5)
    flow = Stage("flow", "pair", Spent(0.05, 0.05), 0.125, flop=2e9, flops=4e10)
    whole = Whole(16, 14, Spent(0.05, 0.2), Spent(1.0, 3.0), 2.5, 300 << 20, 200 << 20, None)
    values: dict[str, object] = {
        "name": "",
        "width": 64,
        "height": 48,
        "rate": Fraction(30),
        "source_frames": 2,
        "factor": Fraction(8),
        "device": "cpu, float32, 2 threads",
        "cores": 2,
        "load_before": 0.5,
        "load_after": 1.0,
        "stages": (
            Stage("decode", "source frame", Spent(0.008, 0.008), 0.125),
            network,
            Stage("encode", "output frame", Spent(0.020, 0.040), 1.0, note="libx264"),
        ),
        "parts": (flow,),
        "matrix_peak": 1e11,
        "whole": whole,
        "rival": rival.Rival("minterpolate", "9.0", 16, Spent(0.3, 0.3)),
        "without_encoder": Whole(16, 14, Spent(0.04, 0.06), Spent(1.0, 3.0), 2.5, None, None, None),
        **changes,
    }
    return Measured(**values)  # type: ignore[arg-type]


def test_clip_moves_and_is_the_same_every_time(tmp_path: Path) -> None:
    """Each picture differs from the one before; the discs move apart from the background; no random start."""
    shown = list(pictures(96, 64, 4))
    again = list(pictures(96, 64, 4))
    for planes, repeated in zip(shown, again, strict=True):
        assert [plane.shape for plane in planes] == [(64, 96), (32, 48), (32, 48)]
        assert all(np.array_equal(a, b) for a, b in zip(planes, repeated, strict=True))
    first, second = (planes[0].astype(int) for planes in shown[:2])
    assert np.abs(first - second).mean() > 1
    panned = first[2:, 2:] == second[:-2, :-2]
    assert 0.2 < panned.mean() < 0.99

    path = tmp_path / "clip.mp4"
    write_clip(path, 96, 64, 4, tools())
    frames = read(path)
    assert len(frames) == 4
    assert np.abs(frames[2].planes[0].astype(int) - shown[2][0]).mean() < 4


def test_clip_that_ffmpeg_cannot_write_says_why(tmp_path: Path) -> None:
    """In ffmpeg's own words."""
    with pytest.raises(EncoderError, match=r"clip to measure on: .*No such file"):
        write_clip(tmp_path / "none" / "clip.mp4", 64, 48, 2, tools())


def test_files_in_the_current_folder_are_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor run by the process that measures."""
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        child.measure(child.Request("none.mp4", None, "2", None, 1, ComputeSettings()))


def test_clock_counts_work_and_not_sleep() -> None:
    """Processor time is of work done; the median is of each clock by itself."""
    clock = Clock()
    total = sum(k * k for k in range(300_000))
    spent = clock.spent()
    assert total > 0
    assert spent.wall > 0 and 0 < spent.cpu < 10
    assert median([Spent(1, 9), Spent(2, 7), Spent(9, 8)]) == Spent(2, 8)
    calls: list[int] = []
    repeat(lambda: calls.append(1), 3)
    assert len(calls) == 4


def test_matrix_peak_is_a_speed() -> None:
    """Between a slow and an impossible core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert 1e8 < matrix_peak(torch.device("cpu"), torch.float32) < 1e13
    finally:
        torch.set_num_threads(before)


def test_operations_are_counted() -> None:
    """A matrix product of n x n is 2 n^3, a 3x3 convolution 18 per pair of channels and pixel."""
    a, image, kernel = torch.ones(8, 8), torch.ones(1, 2, 10, 10), torch.ones(3, 2, 3, 3)
    assert stages.operations(lambda: a @ a) == 2 * 8**3
    assert stages.operations(lambda: torch.nn.functional.conv2d(image, kernel, padding=1)) == 18 * 6 * 100


def test_ratios_are_of_the_slowest_stage_and_of_the_cores() -> None:
    """Network alone: 25 frames a second. All work: 1 + 80 + 40 ms on two cores, 16.5 a second. The whole: 20."""
    result = measured()
    assert result.slowest.name == "network and fusion"
    assert result.of_slowest == pytest.approx(20 / 25)
    assert result.of_cores == pytest.approx(20 * 0.121 / 2)
    assert result.ratio == Spent(pytest.approx(7.5), pytest.approx(5.0))


def test_report_for_people() -> None:
    """All stages, the conclusions, and a warning where other work disturbed."""
    console = Console(width=250, record=True, file=io.StringIO())
    print_tables([measured(), measured(load_after=9.0, rival=None, name="in\x1b.mp4")], console)
    text = console.export_text()
    for words in (
        "generated clip, 64x48, x8, on cpu, float32, 2 threads",
        "in\\x1b.mp4",
        "encode (libx264)",
        "2.00 │    40 %",
        "80 % of its slowest stage alone (network and fusion), 121 % of what 2 cores allow",
        "first frame after 2.5 s; peak memory 300 MiB, encoder 200 MiB",
        "7.5 times faster, 5.0 times less work",
    ):
        assert words in text
    assert text.count("busy with other work") == 1
    quick = measured(rival=rival.Rival("minterpolate", "9.0", 16, Spent(0.02, 0.02)))
    assert conclusions(quick)[-1].endswith("2.0 times slower, 3.0 times more work")
    assert len(conclusions(measured(rival=None))) == 2


@pytest.mark.parametrize("columns", [80, 40])
def test_numbers_are_whole_on_narrow_terminals(columns: int) -> None:
    console = Console(width=columns, record=True, file=io.StringIO())
    long = Stage("network and fusion", "new frame", Spent(12.34567, 23.45678), 0.5)
    flow = Stage("flow", "pair", Spent(1.23456, 2.34567), 0.125, flop=123.45e9, flops=4e10)
    encode = Stage("encode", "output frame", Spent(0.1234, 0.2345), 8.1, note="libx265")
    print_tables([measured(stages=(long, encode), parts=(flow,))], console)
    text = console.export_text()

    assert "…" not in text
    for number in ("12345.67", "23456.78", "1234.56", "123.45", "40 %"):
        assert number in text


def test_report_for_programs() -> None:
    """Every documented key, no NaN, nothing of the machine's paths."""
    document = json.loads(to_json([measured(), measured(rival=None)], {"torch": "2", "ffmpeg": "9"}))
    run = document["runs"][0]
    assert set(run) == {
        *("clip", "factor", "device", "cores", "load", "stages", "parts", "matrix_peak_gflops", "end_to_end", "against")
    }
    assert run["parts"][0]["share_of_matrix_peak"] == 0.4
    assert run["end_to_end"]["of_slowest_stage"] == 0.8 and run["end_to_end"]["device_peak_bytes"] is None
    assert run["against"]["times_faster_wall"] == 7.5 and run["against"]["ours"]["wall_ms"] == 40
    assert document["runs"][1]["against"] is None


def test_a_small_clip_end_to_end(weights: str, tmp_path: Path) -> None:
    """A real run: the counts are those of the conversion, every time is above zero, nothing is left behind."""
    source = tmp_path / "in.mp4"
    write_clip(source, 96, 64, 6, tools())
    arguments = [str(source), "--frames", "4", "--repeats", "1", "--against", "minterpolate", "--json"]
    compute = ["--weights", weights, "--device", "cpu", "--dtype", "float32", "--threads", "1"]

    result = CliRunner().invoke(cli, ["bench", *arguments, *compute], catch_exceptions=False)

    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)["runs"][0]
    assert run["clip"] == {"name": "in.mp4", "width": 96, "height": 64, "rate": "30", "source_frames": 4}
    assert [stage["name"] for stage in run["stages"]] == ["decode", "network and fusion", "encode"]
    assert [part["name"] for part in run["parts"]] == ["prepare", "flow", "motion", "fusion"]
    assert all(stage["wall_ms"] > 0 for stage in run["stages"] + run["parts"])
    assert run["parts"][1]["gflop"] > 0 and run["parts"][3]["gflop"] == 0
    whole = run["end_to_end"]
    assert whole["frames"] == 32 and whole["new_frames"] == 28
    assert whole["start_seconds"] > 0.2 and whole["output_fps"] > 0
    if sys.platform == "linux":
        assert whole["peak_bytes"] > whole["encoder_peak_bytes"] > 5e6
    assert run["against"]["frames"] > 16 and run["against"]["ours"]["frames"] == 32
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_frames_that_only_show_the_last_picture_on_are_not_measured(tmp_path: Path) -> None:
    """They cost nothing: of a clip of five pairs, as many of all frames are new as of a long film."""
    write_clip(tmp_path / "in.mp4", 96, 64, 6, tools())

    job, end = _plan(tmp_path / "in.mp4", tmp_path / "out.mp4", Fraction(8), 9, None)

    assert end == Fraction(5, 30) and job.plan.frames == 5 * 8


def test_the_rival_is_run_as_often_and_its_median_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([Spent(9.0, 8.0), Spent(2.0, 1.0), Spent(4.0, 2.0)])
    monkeypatch.setattr("slomo_cli.bench.machine.Clock.spent", lambda clock: next(spent))
    write_clip(tmp_path / "in.mp4", 96, 64, 6, tools())

    found = rival.minterpolate(tmp_path / "in.mp4", Fraction(30), Fraction(2), None, tools(), 3)

    assert found.frames > 6 and found.spent == Spent(4.0, 2.0).per(found.frames)


def test_what_ends_the_conversion_tells_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_text("no video")
    request = child.Request(str(tmp_path / "in.mp4"), None, "2", None, 1, ComputeSettings())
    with pytest.raises(InputError, match=r"was to be measured failed: .*is a text file"):
        child.measure(request)


def test_a_real_file_is_measured_on_as_many_frames_as_its_size_asks(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as many as the clip slomo would have made."""
    asked = []

    def plan(clip: Path, output: Path, factor: object, most: int | None, ffmpeg: str | None) -> None:
        asked.append(most)
        raise InputError("enough")

    monkeypatch.setattr("slomo_cli.bench.run._plan", plan)
    monkeypatch.setattr("slomo_cli.bench.run.PIXELS", 96 * 64 * 40)
    write_clip(tmp_path / "in.mp4", 96, 64, 6, tools())
    CliRunner().invoke(cli, ["bench", str(tmp_path / "in.mp4"), "--device", "cpu"])
    assert asked == [40]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "63x48"], "expected 448x256, 720p, 1080p, 2160p, or even WIDTHxHEIGHT"),
        (["--size", "16x16"], "WIDTHxHEIGHT of 32 and more, found '16x16'"),
        (["--size", "16x16"], "expected 448x256"),
        (["--factor", "2.5"], "expected a whole number"),
        (["none.mp4"], "none.mp4"),
        (["none.mp4", "--size", "720p"], "--size is for clips"),
    ],
)
def test_refusals(arguments: list[str], words: str) -> None:
    """Before anything is measured."""
    result = CliRunner().invoke(cli, ["bench", *arguments])
    assert result.exit_code != 0
    assert words in result.output + str(result.exception)


def test_pictures_are_not_measured_against_what_reads_videos_only(tmp_path: Path) -> None:
    for k in range(3):
        write_png(tmp_path / f"{k}.png", np.zeros((32, 32, 3), np.uint8))
    result = CliRunner().invoke(cli, ["bench", str(tmp_path), "--against", "minterpolate", "--device", "cpu"])
    assert isinstance(result.exception, UsageError) and "reads videos only" in str(result.exception)


def test_idle_threads_sleep() -> None:
    """The command line asks for it before numpy and torch are there; the user's own wish stays."""
    code = """
import os, sys
os.environ.pop("OMP_WAIT_POLICY", None)
os.environ["OPENBLAS_NUM_THREADS"] = "3"
from slomo_cli.cli import main
assert "numpy" not in sys.modules and "torch" not in sys.modules
try:
    main.main(["completion", "bash"])
except SystemExit as end:
    print(end.code, os.environ["OMP_WAIT_POLICY"], os.environ["OPENBLAS_NUM_THREADS"], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.split() == ["0", "PASSIVE", "3"]

"""Numbered pictures in and out, end to end: depth, alpha, kinds of file, rates, sizes that differ, gaps."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from plain_network import save_plain
from test_stills import read, write

from slomo_cli.cli.main import cli
from slomo_cli.errors import InputError, SlomoError, UsageError
from slomo_cli.pipeline import convert, plan_conversion
from slomo_cli.progress import make_progress
from slomo_cli.values import Summary

Convert = Callable[..., Summary]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_plain(tmp_path_factory.mktemp("weights") / "plain.safetensors")


@pytest.fixture
def run(weights: str) -> Convert:
    """``convert`` with a network that only mixes; pictures of one colour each, so nothing is called a cut."""

    def run(source: Path, output: Path, **wishes: object) -> Summary:
        settings = {"weights": weights, "device": "cpu", "dtype": "float32", "threads": 1, "cuts": "off", **wishes}
        return convert(source, output, **settings)

    return run


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """A folder of four gray-ish RGB pictures, shot_8.png to shot_11.png: 100, 120, 140, 160."""
    folder = tmp_path / "shots"
    folder.mkdir()
    for k in range(4):
        level = 100 + 20 * k
        write(folder / f"shot_{8 + k}.png", (level, level, level), "rgb24")
    return folder


def levels(path: Path) -> list[float]:
    """The mean of each picture of a clip, as RGB."""
    with av.open(str(path)) as container:
        return [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]


def test_the_current_folder_goes_by_its_name(
    run: Convert, shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shots)
    run(Path(), tmp_path / "out.mkv", factor=1, progress=make_progress("json"))
    assert json.loads(capsys.readouterr().err.splitlines()[0])["label"] == "shots"


@pytest.mark.parametrize("name", ["shots", "shots/shot_%d.png", "shots/shot_*.png"])
def test_a_folder_or_a_pattern_becomes_a_clip(run: Convert, shots: Path, tmp_path: Path, name: str) -> None:
    summary = run(tmp_path / name, tmp_path / "out.mp4", factor=2, input_rate="24")
    assert (summary.frames_in, summary.frames_out, summary.rate_out) == (4, 8, 24)
    assert summary.duration_out == Fraction(8, 24)
    np.testing.assert_allclose(levels(tmp_path / "out.mp4"), [100, 110, 120, 130, 140, 150, 160, 160], atol=2)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == 24
    assert not [line for line in summary.warnings if "per second" in line]


def test_the_default_rate_is_told(shots: Path, tmp_path: Path) -> None:
    plan = plan_conversion(shots, tmp_path / "out.mp4", factor=2)
    assert plan.plan.rate == 30
    assert [note for note in plan.notes if "30 per second" in note and "--input-rate" in note]


def test_a_single_picture_is_told(shots: Path, tmp_path: Path) -> None:
    """As the shell makes it of a pattern that is not quoted."""
    plan = plan_conversion(shots / "shot_8.png", tmp_path / "out.mp4", factor=2)
    assert [note for note in plan.notes if "a single picture" in note and "quoted pattern" in note]
    assert not [note for note in plan_conversion(shots, tmp_path / "out.mp4").notes if "single" in note]


def test_a_film_of_a_single_picture_is_told(make: Callable[..., Path], tmp_path: Path) -> None:
    film = make("one.mp4", *"-f lavfi -i testsrc2=size=64x48:rate=10 -frames:v 1".split())
    plan = plan_conversion(film, tmp_path / "out.mp4", factor=2)
    assert "the source is a single picture, which all frames show" in plan.notes


@pytest.mark.parametrize(
    ("ending", "codec", "pix_fmt", "values"),
    [
        ("png", "png", "rgb48be", [(1001, 20021, 65535), (5003, 12345, 0)]),
        ("png", "png", "rgba", [(10, 20, 30, 255), (50, 0, 230, 255)]),
        ("png", "png", "gray16be", [(700,), (20701,)]),
        ("tiff", "tiff", "rgb48le", [(1001, 20021, 65535), (5003, 12345, 0)]),
        ("tif", "tiff", "rgb24", [(10, 20, 30), (50, 0, 230)]),
    ],
)
def test_pictures_to_pictures_of_the_same_kind(
    run: Convert, tmp_path: Path, ending: str, codec: str, pix_fmt: str, values: list[tuple[int, ...]]
) -> None:
    for k, samples in enumerate(values):
        write(tmp_path / f"in_{k}.{ending}", samples, pix_fmt, codec)
    summary = run(tmp_path / f"in_%d.{ending}", tmp_path / f"out_%03d.{ending}", factor=2, input_rate=10)
    assert summary.frames_out == 4
    order = {"gray": (0,), "gray16be": (0,)}.get(pix_fmt, (1, 2, 0, 3))
    middle = tuple((a + b) / 2 for a, b in zip(*values, strict=True))
    for k, expected in enumerate([values[0], middle, values[1], values[1]]):
        planes = read(tmp_path / f"out_{k + 1:03d}.{ending}", pix_fmt)
        for plane, channel in zip(planes, order, strict=False):
            assert np.abs(plane.astype(float) - expected[channel]).max() <= (0.5 if k == 1 else 0)


def test_jpeg_to_jpeg(run: Convert, tmp_path: Path) -> None:
    for k, luma in enumerate((60, 100)):
        planes = [np.full((24, 40), luma, np.uint8), *[np.full((12, 20), v, np.uint8) for v in (100, 150)]]
        write(tmp_path / f"in_{k}.jpg", planes, "yuvj420p", "mjpeg")
    run(tmp_path / "in_%d.jpg", tmp_path / "out_%d.jpg", factor=2, input_rate=10)
    for number, expected in ((1, 60), (2, 80), (3, 100), (4, 100)):
        luma, cb, cr = read(tmp_path / f"out_{number}.jpg", "yuvj420p")
        assert abs(luma.mean() - expected) < 2 and abs(cb.mean() - 100) < 2 and abs(cr.mean() - 150) < 2


def test_a_video_to_deep_pictures_and_back(run: Convert, clip: Callable[[str], Path], tmp_path: Path) -> None:
    """10 bits fit into the 16 of a PNG: through the pictures and back, the samples are the same."""
    run(clip("rgb16.mkv"), tmp_path / "p_%02d.png", factor=1, duplicates="keep")
    assert len(list(tmp_path.glob("p_*.png"))) == 4
    run(tmp_path / "p_%d.png", tmp_path / "back.mkv", codec="ffv1", input_rate=30, duplicates="keep")
    frames = []
    for path in (clip("rgb16.mkv"), tmp_path / "back.mkv"):
        with av.open(str(path)) as container:
            decoded = list(container.decode(video=0))
        assert {frame.format.name for frame in decoded} == {"gbrp16le"}
        frames.append([frame.to_ndarray() for frame in decoded])
    assert np.array_equal(*frames)


def test_pictures_of_other_sizes_are_scaled_to_the_first(run: Convert, shots: Path, tmp_path: Path) -> None:
    write(shots / "shot_10.png", [np.full((48, 80, 3), 140, np.uint8)], "rgb24")
    summary = run(shots, tmp_path / "out.mp4", factor=2, input_rate=24)
    assert any("80x48" in line and "40x24" in line for line in summary.warnings)
    np.testing.assert_allclose(levels(tmp_path / "out.mp4")[4], 140, atol=2)


def test_gaps_are_told_before_the_run(shots: Path, tmp_path: Path) -> None:
    (shots / "shot_9.png").unlink()
    plan = plan_conversion(shots, tmp_path / "out.mp4", factor=2, input_rate=24)
    assert plan.timing.frames_from_packets == 3
    assert [note for note in plan.notes if "leave out 1 (9)" in note]


def test_a_film_has_a_rate_of_its_own(clip: Callable[[str], Path], tmp_path: Path) -> None:
    plan = plan_conversion(clip("cfr.mp4"), tmp_path / "out.mp4", input_rate=10)
    assert plan.plan.rate == 30
    assert [note for note in plan.notes if "times of its own" in note]


def test_a_raw_stream_takes_the_rate_asked_for(clip: Callable[[str], Path], tmp_path: Path) -> None:
    plan = plan_conversion(clip("cfr.h264"), tmp_path / "out.mp4", input_rate="24000/1001")
    assert plan.plan.rate == Fraction(24000, 1001)


# ------------------------------------------------------------------------------------------- from the prompt


@pytest.fixture
def slomo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: str) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name, value in (("WEIGHTS", weights), ("DEVICE", "cpu"), ("THREADS", "1"), ("CUTS", "off")):
        monkeypatch.setenv(f"SLOMO_{name}", value)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_default_names(slomo: Callable[..., Result], shots: Path, tmp_path: Path) -> None:
    assert slomo("convert", "shots", "--factor", "2", "--input-rate", "24").exit_code == 0
    assert len(levels(tmp_path / "shots.x2.mp4")) == 8
    assert slomo("convert", "shots/shot_%d.png", "--factor", "2").exit_code == 0
    assert len(list(shots.glob("shot_*.x2.png"))) == 8


@pytest.mark.parametrize(
    ("source", "made"),
    [("shots/*.png", "shots.*.x{}.png"), ("shots/shot_*.png", "shot.*.x{}.png"), (".", "../shots.*.x{}.png")],
)
def test_what_was_made_is_no_source_of_the_next_run(
    slomo: Callable[..., Result], shots: Path, monkeypatch: pytest.MonkeyPatch, source: str, made: str
) -> None:
    if source == ".":
        monkeypatch.chdir(shots)
    for factor in (2, 4):
        assert slomo("convert", source, "--codec", "png", "--factor", str(factor)).exit_code == 0
        assert len(list(Path().glob(made.format(factor)))) == 4 * factor


def test_info_of_a_sequence(slomo: Callable[..., Result], shots: Path) -> None:
    result = slomo("info", "shots")
    assert result.exit_code == 0 and "4 in 0.133 s" in result.output and "rgb24" in result.output


@pytest.mark.parametrize(
    ("arguments", "words", "kind"),
    [
        (("convert", "empty"), "without pictures", InputError),
        (("convert", "shots/none_%d.png"), "does not exist", InputError),
        (("convert", "*.mp4"), "does not exist", InputError),
        (("convert", "films/*.MP4"), "found 2 films: name each", InputError),
        (("convert", "films/part_%d.MP4", "-o", "o.mp4"), "found 2 films: name each", InputError),
        (("convert", "shots", "-o", "shots/shot_%d.png", "-y"), "is the input itself", UsageError),
        (("convert", "shots/shot_%d.png", "-o", "shots/shot_%d.png", "-y"), "is the input itself", UsageError),
        (("convert", "shots/shot_8.png", "shots/shot_9.png", "-o", "o.mp4"), "quote the pattern", UsageError),
    ],
)
def test_refusals(
    slomo: Callable[..., Result], shots: Path, arguments: tuple[str, ...], words: str, kind: type[SlomoError]
) -> None:
    (shots.parent / "empty").mkdir()
    (shots.parent / "films").mkdir()
    for number in (1, 2):
        (shots.parent / "films" / f"part_{number}.MP4").touch()
    before = {path: path.read_bytes() for path in shots.iterdir()}
    result = slomo(*arguments)
    told = str(result.exception) + result.output
    assert words in told and result.exit_code != 0
    if isinstance(result.exception, SlomoError):
        assert isinstance(result.exception, kind)
    else:
        assert result.exit_code == kind.exit_code
    assert {path: path.read_bytes() for path in shots.iterdir()} == before


def test_any_picture_in_the_way_is_told_before_the_work(run: Convert, shots: Path, tmp_path: Path) -> None:
    (tmp_path / "out_005.png").write_text("mine")

    with pytest.raises(UsageError, match=r"out_005\.png' exists: overwrite it with -y"):
        run(shots, tmp_path / "out_%03d.png", factor=2, input_rate=24)

    assert {path.name: path.read_text() for path in tmp_path.glob("out_*")} == {"out_005.png": "mine"}


def test_a_folder_in_the_way_is_told_before_the_work(run: Convert, shots: Path, tmp_path: Path) -> None:
    """It cannot be replaced, even by who may."""
    (tmp_path / "out_005.png").mkdir()

    with pytest.raises(UsageError, match=r"out_005\.png' is a folder: choose another -o"):
        run(shots, tmp_path / "out_%03d.png", factor=2, input_rate=24, overwrite=True)


def test_an_older_longer_sequence_is_pointed_out(run: Convert, shots: Path, tmp_path: Path) -> None:
    """Its last pictures stay where they are: nobody asked to remove them, but they would be taken for the new ones'."""
    output = tmp_path / "out_%03d.png"
    first = run(shots, output, factor=4, input_rate=24)
    assert not any("older" in line for line in first.warnings)

    second = run(shots, output, factor=2, input_rate=24, overwrite=True)
    assert any(line.startswith(f"'{tmp_path / 'out_009.png'}'") and "older" in line for line in second.warnings)
    assert (tmp_path / "out_016.png").exists()

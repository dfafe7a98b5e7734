"""``slomo info`` on clips made here: the facts on screen and as JSON."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner

from slomo_cli.cli.info import info_json, info_lines, shown_size
from slomo_cli.cli.main import cli
from slomo_cli.errors import InputError, UsageError
from slomo_cli.media.ffmpeg import tools
from slomo_cli.values import Chapter, ColorInfo, HdrInfo, PixelLayout, SourceTiming, StreamInfo, VideoInfo

RATE = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 64x48 at 30000/1001 with a tone beside them, BT.709, titled."""
    path = tmp_path_factory.mktemp("info") / "cl ip.mp4"
    sources = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=30000/1001",
        "-f",
        "lavfi",
        "-i",
        "sine=sample_rate=44100",
    ]
    picture = [
        "-vf",
        "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709",
        "-pix_fmt",
        "yuv420p",
    ]
    rest = ["-frames:v", "12", "-t", "0.4004", "-c:v", "libx264", "-c:a", "aac", "-metadata", "title=A test", str(path)]
    subprocess.run([tools().path, "-v", "error", *sources, *picture, *rest], check=True)
    return path


def test_json_can_be_asked_for_in_the_environment(clip: Path) -> None:
    """By the option's own word, not by the name it has in the code."""
    asked = CliRunner(env={"SLOMO_INFO_JSON": "1"}).invoke(cli, ["info", str(clip)])
    assert json.loads(asked.stdout)["video"]


def test_facts_on_screen(clip: Path) -> None:
    result = CliRunner().invoke(cli, ["info", str(clip)])
    lines = result.output.splitlines()

    assert result.exit_code == 0
    assert lines[0] == str(clip)
    assert lines[1].startswith("  container  mov/mp4, ")
    assert lines[2:8] == [
        "  video      h264, yuv420p (8 bit)",
        "  size       64x48",
        "  rate       29.97 fps (30000/1001)",
        "  frames     12 in 0.400 s",
        "  colour     BT.709, limited range",
        lines[7],
    ]
    assert lines[7].startswith("  stream 1   audio aac, 44100 Hz, 1 channel, 0.")
    assert lines[8] == "  tags"
    assert "    title    A test" in lines


def test_facts_as_json(clip: Path) -> None:
    result = CliRunner().invoke(cli, ["info", "--json", str(clip)])
    said = json.loads(result.output)

    assert said["file"] == str(clip)
    assert said["size_bytes"] == clip.stat().st_size
    video = said["video"]
    assert (video["width"], video["height"], video["pix_fmt"], video["bits"]) == (64, 48, "yuv420p", 8)
    assert (video["frames"], video["rate"], video["duration"]) == (12, "30000/1001", "1001/2500")
    assert video["color"] == {"range": 1, "matrix": 1, "primaries": 1, "transfer": 1, "chroma_location": 1}
    assert video["hdr"] is None
    assert [stream["kind"] for stream in said["streams"]] == ["audio"]
    assert said["metadata"]["title"] == "A test"


@pytest.mark.parametrize(
    ("name", "text"),
    [("gone.mp4", "'gone.mp4' does not exist"), ("gone_*.png", "'gone_*.png' does not exist")],
)
def test_what_cannot_be_read(name: str, text: str) -> None:
    error = CliRunner().invoke(cli, ["info", name]).exception

    assert isinstance(error, InputError)
    assert str(error) == text


def test_stdin_is_refused() -> None:
    assert isinstance(CliRunner().invoke(cli, ["info", "-"]).exception, UsageError)


def example(path: Path) -> tuple[VideoInfo, SourceTiming]:
    """A phone's HDR take, variable in rate, turned and mirrored, and what beside it can be told."""
    mastering = tuple(Fraction(value) for value in (1, 1, 1, 1, 1, 1, 1, 1, "1/200", 1000))
    info = VideoInfo(
        path=path,
        container="matroska,webm",
        stream_index=0,
        codec="hevc",
        width=640,
        height=480,
        layout=PixelLayout("yuv420p10le", "yuv", 10, 1, 1),
        pix_fmt="yuv420p10le",
        color=ColorInfo(matrix=9, primaries=9, transfer=16),
        hdr=HdrInfo(mastering, 800, 200, ("HDR10+",)),
        rate_from_header=None,
        duration_from_header=None,
        container_start_seconds=Fraction(0),
        sample_aspect=Fraction(4, 3),
        display_matrix=(0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
        interlaced=True,
        streams=(
            StreamInfo(1, "subtitle", "subrip", "deu"),
            StreamInfo(2, "audio", "opus", "und", None, Fraction(75), 48000, 2),
        ),
        chapters=(Chapter(Fraction(0), Fraction(1), (("title", "One"),)),),
        metadata=(("a\nb", "c\x1bd"), ("major_brand", "isom")),
    )
    return info, SourceTiming(1500, Fraction(1, 2), Fraction(75), None, Fraction(20))


def test_unusual_facts_on_screen(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    path.write_bytes(bytes(2048))
    info, timing = example(path)

    assert shown_size(info) == (480, 853)
    assert info_lines(info, timing, ["the file ends early"]) == [
        str(path),
        "  container  matroska/webm, 2.0 kB",
        "  video      hevc, yuv420p10le (10 bit)",
        "  size       640x480, samples 4:3, rotated 90° clockwise, mirrored, shown 480x853",
        "  rate       variable, about 20 fps",
        "  frames     1500 in 75.000 s (1:15)",
        "  colour     matrix BT.2020, primaries BT.2020, transfer PQ",
        "  HDR        mastered for 0.005 to 1000 cd/m2, MaxCLL 800, MaxFALL 200, HDR10+",
        "  fields     interlaced",
        "  stream 1   subtitle subrip, deu",
        "  stream 2   audio opus, 48000 Hz, 2 channels, 75.000 s (1:15)",
        "  chapters   1",
        "  note       the file ends early",
        "  tags",
        "    a\\nb  c\\x1bd",
    ]


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ((-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), "mirrored"),
        ((65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), "rotated 180° clockwise, mirrored"),
        ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), "rotated 180° clockwise"),
    ],
)
def test_mirrored_pictures_are_told_as_they_are(tmp_path: Path, matrix: tuple[int, ...], words: str) -> None:
    """As ffmpeg's -display_hflip, -display_vflip and both write it."""
    path = tmp_path / "x.mkv"
    path.write_bytes(b"")
    info, timing = example(path)
    size = info_lines(replace(info, sample_aspect=Fraction(1), display_matrix=matrix), timing, [])[3]
    assert size == f"  size       640x480, {words}"


def test_unusual_facts_as_json(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    path.write_bytes(bytes(2048))
    said = json.loads(json.dumps(info_json(*example(path), ["the file ends early"])))

    assert said["video"]["rate"] is None
    assert said["video"]["nominal_rate"] == "20"
    assert said["video"]["sample_aspect"] == "4/3"
    assert (said["video"]["rotation"], said["video"]["flipped"]) == (270, True)
    assert said["video"]["hdr"]["mastering"][-2:] == ["1/200", "1000"]
    assert said["video"]["hdr"]["dynamic"] == ["HDR10+"]
    assert said["chapters"] == [{"start_seconds": "0", "end_seconds": "1", "metadata": {"title": "One"}}]
    assert said["warnings"] == ["the file ends early"]
    assert said["bit_rate"] is None

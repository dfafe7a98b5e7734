"""Side by side: each half at its right moment, sizes and ways up, the factor from the durations, sound, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction as F
from math import ceil
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from slomo_cli.cli.main import cli
from slomo_cli.compare import compare, factor_between
from slomo_cli.errors import InputError, SlomoError, UsageError
from slomo_cli.media.read.scan import Scanned
from slomo_cli.timeline import make_plan
from slomo_cli.values import EncodeSettings, SourceTiming, TimeSettings

WIDTH, HEIGHT = 96, 64
LOSSLESS = EncodeSettings(codec="ffv1")


def video(path: Path, levels: list[int], rate: F | int = 30, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A lossless gray-ish RGB video, one level a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "bgr0"
        for level in levels:
            picture = np.full((size[1], size[0], 3), level, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


SOURCE = [20, 60, 100, 140]
MADE = [20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 140, 140, 140]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Four pictures, and the same four times slower."""
    return video(tmp_path / "in.mkv", SOURCE), video(tmp_path / "in.x4.mkv", MADE)


def halves(picture: np.ndarray) -> tuple[int, int]:
    """The level of each half, above the labels; the line between them is white."""
    assert (picture[:, WIDTH : WIDTH + 4] == 255).all()
    left, right = picture[: HEIGHT // 2, :WIDTH], picture[: HEIGHT // 2, WIDTH + 4 :]
    assert (left == left[0, 0]).all() and (right == right[0, 0]).all()
    return int(left[0, 0, 0]), int(right[0, 0, 0])


def test_each_half_shows_its_moment(pair: tuple[Path, Path], tmp_path: Path) -> None:
    summary = compare(*pair, tmp_path / "side.mkv", encode=LOSSLESS)
    seen = pictures(tmp_path / "side.mkv")
    assert seen[0].shape == (HEIGHT, 2 * WIDTH + 4, 3)
    assert [halves(picture) for picture in seen] == [(SOURCE[k // 4], MADE[k]) for k in range(16)]
    assert (summary.frames_in, summary.frames_out, summary.rate_out) == (4, 16, 30)
    assert (summary.duration_in, summary.duration_out) == (F(4, 30), F(16, 30))
    with av.open(str(tmp_path / "side.mkv")) as container:
        assert container.streams.video[0].average_rate == 30


def test_labels_stand_in_the_lower_corners(pair: tuple[Path, Path], tmp_path: Path) -> None:
    compare(*pair, tmp_path / "side.mkv", encode=LOSSLESS)
    picture = pictures(tmp_path / "side.mkv")[0]
    for half in (picture[:, :WIDTH], picture[:, WIDTH + 4 :]):
        lower = half[HEIGHT // 2 :]
        bright = np.argwhere(lower[..., 0] > 200)
        assert len(bright) > 30 and bright[:, 1].min() < WIDTH // 4


def test_the_source_may_be_blended(pair: tuple[Path, Path], tmp_path: Path) -> None:
    compare(*pair, tmp_path / "side.mkv", method="blend", encode=LOSSLESS)
    assert [halves(picture)[0] for picture in pictures(tmp_path / "side.mkv")] == MADE


def test_a_range_of_the_source(pair: tuple[Path, Path], tmp_path: Path) -> None:
    part = video(tmp_path / "part.mkv", MADE[4:12])
    time = TimeSettings(start=F(1, 30), end=F(3, 30))
    compare(pair[0], part, tmp_path / "side.mkv", time=time, encode=LOSSLESS)
    expected = [(SOURCE[1 + k // 4], MADE[4 + k]) for k in range(8)]
    assert [halves(picture) for picture in pictures(tmp_path / "side.mkv")] == expected


def test_a_speed_curve(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """The first half at its own speed, the second four times slower."""
    made = video(tmp_path / "speed.mkv", [20, 60, *MADE[8:16]])
    time = TimeSettings(speed="0-2/30:1, 2/30-:1/4")
    compare(pair[0], made, tmp_path / "side.mkv", time=time, encode=LOSSLESS)
    assert [halves(p)[0] for p in pictures(tmp_path / "side.mkv")] == [20, 60, *[100] * 4, *[140] * 4]


def test_a_higher_rate_and_the_same_duration(pair: tuple[Path, Path], tmp_path: Path) -> None:
    made = video(tmp_path / "fps.mkv", [20, 40, 60, 80, 100, 120, 140, 140], rate=60)
    compare(pair[0], made, tmp_path / "side.mkv", encode=LOSSLESS)
    assert [halves(p)[0] for p in pictures(tmp_path / "side.mkv")] == [20, 20, 60, 60, 100, 100, 140, 140]


def test_a_factor_that_is_given_is_taken_also_where_it_is_one(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A piece of half the source's length at the source's own pace."""
    made = video(tmp_path / "piece.mkv", [20, 40, 60, 80], rate=60)
    compare(pair[0], made, tmp_path / "side.mkv", factor=F(1), encode=LOSSLESS)
    assert [halves(p)[0] for p in pictures(tmp_path / "side.mkv")] == [20, 20, 60, 60]


@pytest.mark.parametrize(
    ("factor", "time", "told"),
    [
        (F(4), TimeSettings(), ()),
        (None, TimeSettings(speed="0-:0.25"), ()),
        (F(8), TimeSettings(start=F(2, 30)), ()),
        (F(2), TimeSettings(), ("0.27 s", "0.53 s")),
        (F(4), TimeSettings(start=F(2, 30)), ("0.27 s", "0.53 s")),
        (None, TimeSettings(speed="0-:0.5"), ("0.27 s", "0.53 s")),
    ],
)
def test_a_factor_that_does_not_fit_is_told(
    pair: tuple[Path, Path], tmp_path: Path, factor: F | None, time: TimeSettings, told: tuple[str, ...]
) -> None:
    summary = compare(*pair, tmp_path / "side.mkv", factor=factor, time=time, encode=LOSSLESS)
    notes = [note for note in summary.warnings if "drift apart" in note]
    assert len(notes) == bool(told) and all(words in notes[0] for words in told)


def test_a_wipe_has_a_line_that_moves(pair: tuple[Path, Path], tmp_path: Path) -> None:
    long = video(tmp_path / "in.x40.mkv", [200] * 160)
    compare(pair[0], long, tmp_path / "wipe.mkv", layout="wipe", encode=LOSSLESS)
    seen = pictures(tmp_path / "wipe.mkv")
    assert seen[0].shape == (HEIGHT, WIDTH, 3) and len(seen) == 160
    lines = []
    for k, picture in enumerate(seen):
        row = picture[2, :, 0]
        (line,) = set(np.flatnonzero(row == 255)[::4].tolist())
        assert (row[:line] == SOURCE[k // 40]).all() and (row[line + 4 :] == 200).all()
        lines.append(line)
    assert min(lines) < WIDTH // 8 and max(lines) > WIDTH * 3 // 4
    assert max(abs(a - b) for a, b in itertools.pairwise(lines)) <= 3


def test_halves_have_one_size_and_fit(tmp_path: Path) -> None:
    """The made video was padded to even sizes; the whole is to be 128 wide at most."""
    source = video(tmp_path / "in.mkv", [50, 50], size=(99, 65))
    made = video(tmp_path / "out.mkv", [50] * 4, size=(100, 66))
    compare(source, made, tmp_path / "side.mp4", width=128)
    picture = pictures(tmp_path / "side.mp4")[0]
    assert picture.shape == (40, 128, 3)


def test_a_turned_source_stands_upright_beside_an_upright_result(
    clip: Callable[[str], Path], make: Callable[..., Path], tmp_path: Path
) -> None:
    upright = make("upright.mkv", "-i", str(clip("rotated.mp4")), "-c:v", "ffv1")
    compare(clip("rotated.mp4"), upright, tmp_path / "side.mkv", encode=LOSSLESS)
    picture = pictures(tmp_path / "side.mkv")[3].astype(int)
    assert picture.shape == (64, 2 * 48 + 4, 3)
    assert np.abs(picture[:40, :48] - picture[:40, 52:]).mean() < 6
    with av.open(str(tmp_path / "side.mkv")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_the_sound_of_the_made_video_comes_along(clip: Callable[[str], Path], tmp_path: Path) -> None:
    compare(clip("cfr.mp4"), clip("sound.mp4"), tmp_path / "side.mp4")
    with av.open(str(tmp_path / "side.mp4")) as container, av.open(str(clip("sound.mp4"))) as made:
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac"]
        times = [[p.pts * p.time_base for p in c.demux(audio=0) if p.pts is not None] for c in (container, made)]
    np.testing.assert_allclose([float(t) for t in times[0]], [float(t) for t in times[1]], atol=0.002)


def test_uneven_sources_are_held_until_their_next_picture(clip: Callable[[str], Path], tmp_path: Path) -> None:
    summary = compare(clip("gaps.mp4"), clip("cfr.mp4"), tmp_path / "side.mkv")
    assert summary.frames_out == 30 and summary.frames_in <= 20


# ------------------------------------------------------------------------------------------------- the factor


def timing(frames: int, rate: F) -> Scanned:
    return Scanned(SourceTiming(frames, F(0), frames / rate, rate, rate, grid=rate), ())


@given(
    st.integers(1, 2000),
    st.sampled_from([F(24), F(24000, 1001), F(30), F(30000, 1001), F(60)]),
    st.sampled_from([F(1), F(2), F(5, 2), F(8), F(10), F(33, 10), F(40)]),
    st.sampled_from([None, F(60), F(24000, 1001)]),
)
def test_the_factor_follows_from_the_durations(frames: int, rate: F, factor: F, rate_out: F | None) -> None:
    source = timing(frames, rate)
    plan = make_plan(source.timing, TimeSettings(factor=factor, rate=rate_out))
    found = factor_between(source, timing(plan.frames, plan.rate), TimeSettings())
    # Whatever is found gives the same frames, and no frame is shown more than one frame's time off.
    assert ceil(source.timing.duration * found * plan.rate) == plan.frames
    assert abs(found - factor) * source.timing.duration <= 1 / plan.rate
    if frames >= 100:
        assert found == factor


def test_the_slower_one_comes_second(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="source first and the slower video second"):
        compare(pair[1], pair[0], tmp_path / "side.mkv")
    assert not (tmp_path / "side.mkv").exists()
    film = timing(20, F(30))
    with pytest.raises(UsageError, match="swap them"):
        factor_between(timing(40, F(30)), film, TimeSettings())
    assert factor_between(timing(21, F(30)), film, TimeSettings()) == F(20, 21), "a frame less is no other order"


# -------------------------------------------------------------------------------------------------- the prompt


@pytest.fixture
def slomo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pair: tuple[Path, Path]) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, ["compare", *arguments])


def test_from_the_prompt(slomo: Callable[..., Result], tmp_path: Path) -> None:
    result = slomo("in.mkv", "in.x4.mkv")
    assert result.exit_code == 0, result.output
    assert "16 frames" in result.stderr and "chroma" not in result.stderr
    assert "note: taken as x4 by the two durations" in result.stderr
    seen = pictures(tmp_path / "in.x4.compare.mp4")
    assert len(seen) == 16 and abs(int(seen[7][5, 5, 0]) - 60) < 4
    assert slomo("in.mkv", "in.x4.mkv", "--wipe", "-o", "w.gif", "--method", "blend").exit_code == 0
    again = slomo("in.mkv", "in.x4.mkv")
    assert again.exit_code == 1 and "-y" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "words", "kind"),
    [
        (("in.mkv", "missing.mkv"), "does not exist", InputError),
        (("in.mkv", "in.x4.mkv", "-o", "in.mkv", "-y"), "is the input itself", UsageError),
        (("in.mkv", "in.x4.mkv", "--factor", "2", "--speed", "0-:0.5"), "leave out --factor", UsageError),
        (("in.mkv", "-"), "two files", UsageError),
        (("in.mkv", "in.x4.mkv", "-o", "side.png"), "pattern such as", UsageError),
    ],
)
def test_refusals(
    slomo: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], words: str, kind: type[SlomoError]
) -> None:
    result = slomo(*arguments)
    error = result.exception
    assert (error.exit_code if isinstance(error, SlomoError) else result.exit_code) == kind.exit_code
    assert words in f"{error} {result.stderr}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "in.x4.mkv"]


def test_any_picture_in_the_way_is_told_before_the_work(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "c_3.png").mkdir()
    with pytest.raises(UsageError, match=r"c_3\.png' is a folder"):
        compare(*pair, tmp_path / "c_%d.png", encode=EncodeSettings(overwrite=True))
    (tmp_path / "c_3.png").rmdir()
    (tmp_path / "c_17.png").touch()
    made = compare(*pair, tmp_path / "c_%d.png", encode=EncodeSettings(overwrite=True))
    assert [line for line in made.warnings if "c_17.png' and what follows stay from an older sequence" in line]


def test_what_a_killed_run_left_is_not_removed_while_it_is_shown(pair: tuple[Path, Path], tmp_path: Path) -> None:
    left = tmp_path / ".side.mkv.slomo-part.mkv"
    left.write_bytes(pair[1].read_bytes())
    with pytest.raises(UsageError, match=r"part\.mkv' is the input itself"):
        compare(pair[0], left, tmp_path / "side.mkv", factor=F(4))
    assert left.exists()


def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    """Of either film, by its name."""
    source = video(tmp_path / "in.mkv", [20, 60, 100, 140] * 5)
    made = video(tmp_path / "made.mkv", [20, 40] * 20)
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) * 2 // 3])

    summary = compare(source, made, tmp_path / "out.mkv", encode=LOSSLESS, factor=F(2))

    (told,) = summary.warnings
    assert told.startswith(f"'{source}': the source ends at 0.40 s of the 0.67 s its header names")

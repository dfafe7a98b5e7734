"""The sheet of one pair: the right pair, what is said of cuts and repeats, the way up, the colours of motion."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from plain_network import save_plain
from test_stills import write

from slomo_cli.cli.main import cli
from slomo_cli.errors import InputError, SlomoError, UsageError
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.picture import flow_to_rgb
from slomo_cli.preview import Place, find_place, preview
from slomo_cli.values import ComputeSettings, TimeSettings

Make = Callable[..., Path]
PAN = "-f lavfi -i testsrc2=size=320x240:rate=30:duration=1 -vf crop=128:96:2*n:n"


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> ComputeSettings:
    """A network that sees everything move 8 pixels to the right."""
    weights = save_plain(tmp_path_factory.mktemp("weights") / "moving.safetensors", motion=(8, 0))
    return ComputeSettings(weights=weights, device="cpu", dtype="float32", threads=1)


@pytest.fixture
def pan(make: Make) -> Path:
    """A picture that moves evenly; 30 pictures in a second."""
    return make("pan.mkv", *PAN.split(), "-c:v", "ffv1", "-pix_fmt", "bgr0")


@pytest.fixture
def scenes(make: Make) -> Path:
    """Two scenes; the second begins with picture 15, at 0.5 s."""
    first = "testsrc2=size=320x240:rate=30:duration=0.5,crop=128:96:2*n:n"
    second = "mandelbrot=size=128x96:rate=30:start_scale=0.02,trim=duration=0.5,format=yuv420p"
    graph = f"{first},format=yuv420p[a];{second}[b];[a][b]concat[v]"
    return make("scenes.mkv", "-filter_complex", graph, "-map", "[v]", "-c:v", "ffv1")


def place_of(path: Path, at: F, **settings: object) -> Place:
    info = probe(path)
    return find_place(info, scan(info), at, TimeSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("at", "left"),
    [(F(0), 0), (F(1, 30), 1), (F(1, 30) - F(1, 10**6), 0), (F(3, 7), 12), (F(29, 30), 28), (F("0.999"), 28)],
)
def test_the_pair_is_the_one_shown_at_that_time(pan: Path, at: F, left: int) -> None:
    place = place_of(pan, at)
    pair = place.pair
    assert (pair.left.pts_seconds, pair.right.pts_seconds) == (F(left, 30), F(left + 1, 30))
    assert (place.number, pair.cut, pair.repeats, place.cuts_nearby) == (left, False, (), ())


def test_of_fields_the_last_is_shown_too(make: Make) -> None:
    weave = "tinterlace=interleave_top,setfield=tff"
    path = make("fields.mkv", *PAN.split()[:-1], f"{PAN.split()[-1]},{weave}", "-c:v", "ffv1", "-pix_fmt", "yuv444p")
    for at, left in ((F(1, 30), 1), (F(1, 15), 2), (F("0.96"), 28), (F("0.999"), 28)):
        place = place_of(path, at, deinterlace="fields")
        assert (place.pair.left.pts_seconds, place.pair.right.pts_seconds) == (F(left, 30), F(left + 1, 30))


def test_a_cut_is_found_where_it_is(scenes: Path) -> None:
    at, beside = place_of(scenes, F(1, 2) - F(1, 100)), place_of(scenes, F(2, 5))
    assert (at.pair.right.pts_seconds, at.pair.cut, at.cuts_nearby) == (F(1, 2), True, ())
    assert (beside.pair.right.pts_seconds, beside.pair.cut, beside.cuts_nearby) == (F(13, 30), False, (F(1, 2),))
    assert place_of(scenes, F(2, 5), cuts="off").cuts_nearby == ()


def beside(path: Path, at: F, **settings: object) -> list[tuple[F, F] | None]:
    """When the pictures beside a pair are shown, and how long their pairs move in the time of this one."""
    place, timing = place_of(path, at, **settings), scan(probe(path)).timing
    found = [place.pair.beside(other, timing) for other in (place.before, place.after)]
    return [one and (one[0].pts_seconds, one[1]) for one in found]


def test_the_pictures_beside_are_those_of_a_conversion(pan: Path, scenes: Path, make: Make) -> None:
    """At both ends, at a cut, and after a pause, of which the film moves in the last moment only."""
    assert beside(pan, F(0)) == [None, (F(2, 30), 1)]
    assert beside(pan, F(1, 2)) == [(F(14, 30), 1), (F(17, 30), 1)]
    assert beside(pan, F(29, 30)) == [(F(27, 30), 1), None]
    assert beside(scenes, F(14, 30) - F(1, 100)) == [(F(12, 30), 1), None]
    assert beside(scenes, F(1, 2), duplicates="keep") == [None, (F(17, 30), 1)]
    paused = make("paused.mkv", *PAN.split(), "-vf", r"setpts='PTS+gte(N\,15)/TB'", "-fps_mode", "vfr", "-c:v", "ffv1")
    assert beside(paused, F(3, 2)) == [(F(14, 30), 1), (F(47, 30), 1)]
    uneven = make(
        "uneven.mkv", *PAN.split(), "-vf", r"setpts='N/30/TB+gte(N\,15)/30/TB'", "-fps_mode", "vfr", "-c:v", "ffv1"
    )
    assert beside(uneven, F(1, 2)) == [(F(13, 30), F(1, 2)), (F(17, 30), F(1, 2))]
    assert beside(uneven, F(16, 30)) == [(F(14, 30), 2), (F(18, 30), 1)]


def test_repeats_are_found_and_spanned(make: Make) -> None:
    """Drawn on threes: every picture is shown three times."""
    threes = make("threes.mkv", *PAN.replace("rate=30", "rate=10").split(), "-r", "30", "-c:v", "ffv1")
    pair = place_of(threes, F(13, 30)).pair
    assert (pair.left.pts_seconds, pair.right.pts_seconds) == (F(12, 30), F(15, 30))
    assert pair.repeats == (F(13, 30), F(14, 30))
    kept = place_of(threes, F(13, 30), duplicates="keep").pair
    assert (kept.left.pts_seconds, kept.right.pts_seconds, kept.repeats) == (F(13, 30), F(14, 30), ())


def test_times_outside_the_film_are_refused(pan: Path, clip: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"from 0 to 1\.000 s, where the film is over already, found 1"):
        place_of(pan, F(1))
    with pytest.raises(UsageError, match="found -1"):
        place_of(pan, F(-1))
    with pytest.raises(InputError, match=r"two pictures or more .* found one: `slomo between`"):
        place_of(clip("one.mp4"), F(0))


def test_the_sheet_shows_and_says(pan: Path, moving: ComputeSettings) -> None:
    drawn = preview(pan, F(1, 2), frames=2, compute=moving)
    words = "\n".join(drawn.lines)
    assert "picture 15 at 0.500 s and the next at 0.533 s" in words
    assert "median 8.0, 95 of 100 below 8.0, longest 8.0" in words
    assert "cut: none" in words and "repeats: none" in words
    with av.open(str(pan)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    corner = find(drawn.picture, frames[15])
    assert corner is not None
    y, x = corner
    # Four columns of equal width: the second picture stands three of them further on.
    assert find(drawn.picture[:, x + 1 :], frames[16]) == (y, 3 * (128 + 6) - 1)
    red = (drawn.picture == flow_to_rgb(np.array([[[8.0, 0.0]]]), 8)[0, 0]).all(-1).sum()
    assert red > 1.6 * 128 * 96  # both flows, less their keys
    gray = (np.abs(drawn.picture.astype(int) - 128) <= 1).all(-1).sum()
    assert gray > 1.9 * 128 * 96  # equally well seen in both


def test_a_still_film_is_called_still(make: Make, moving: ComputeSettings) -> None:
    still = make("still.mkv", *"-f lavfi -i color=c=gray:s=64x48:r=30:d=1 -c:v ffv1".split())
    assert any(line.startswith("still:") for line in preview(still, F(1, 2), frames=1, compute=moving).lines)


def find(sheet: np.ndarray, picture: np.ndarray) -> tuple[int, int] | None:
    """Where the picture stands on the sheet, to within 3 levels."""
    height, width, _ = picture.shape
    close = np.abs(sheet.astype(int) - picture[0, 0]).max(-1) <= 3
    for y, x in np.argwhere(close[: close.shape[0] - height + 1, : close.shape[1] - width + 1]):
        if np.abs(sheet[y : y + height, x : x + width].astype(int) - picture).max() <= 3:
            return int(y), int(x)
    return None


def test_turned_upright_flow_and_all(clip: Callable[[str], Path], moving: ComputeSettings) -> None:
    """A quarter turn against the clock makes motion to the right motion upwards."""
    drawn = preview(clip("rotated.mp4"), F(1, 2), frames=1, compute=moving)
    # 48x64 enlarged three times; three columns.
    assert drawn.picture.shape[1] >= 3 * 48 * 3
    up = (drawn.picture == flow_to_rgb(np.array([[[0.0, -8.0]]]), 8)[0, 0]).all(-1).sum()
    assert up > 1.6 * 9 * 48 * 64


def test_large_pictures_are_made_to_fit(make: Make, moving: ComputeSettings) -> None:
    large = make("large.mp4", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30", "-frames:v", "4", "-c:v", "mpeg4")
    drawn = preview(large, F(0), frames=1, compute=moving)
    assert 1800 < drawn.picture.shape[1] < 2000 and drawn.picture.shape[0] < 1000


def test_deep_and_hdr_pictures_are_drawn(clip: Callable[[str], Path], moving: ComputeSettings) -> None:
    drawn = preview(clip("hdr10.mp4"), F(0), frames=1, compute=moving)
    assert "colours: HDR, shown without tone mapping" in drawn.lines


# -------------------------------------------------------------------------------------------------- the prompt


@pytest.fixture
def slomo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moving: ComputeSettings) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name, value in (("WEIGHTS", moving.weights), ("DEVICE", "cpu"), ("THREADS", "1"), ("DTYPE", "float32")):
        monkeypatch.setenv(f"SLOMO_{name}", value)
    return lambda *arguments: CliRunner().invoke(cli, ["preview", *arguments])


def test_from_the_prompt(slomo: Callable[..., Result], scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "in.mkv").symlink_to(scenes)
    result = slomo("in.mkv", "--at", "0.49")
    assert result.exit_code == 0, result.output
    assert "cut: the scene changes between them" in result.output and "in.preview.png" in result.output
    with av.open(str(tmp_path / "in.preview.png")) as container:
        assert next(container.decode(video=0)).width > 600
    again = slomo("in.mkv", "--at", "0.49")
    assert isinstance(again.exception, SlomoError) and "-y" in str(again.exception)
    piped = slomo("in.mkv", "--at", "0.49", "-o", "-")
    assert piped.stdout_bytes[:4] == b"\x89PNG"


def test_of_a_sequence(slomo: Callable[..., Result], tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"p{k}.png", (40 * k, 40 * k, 40 * k), "rgb24")
    result = slomo("p%d.png", "--at", "1.5", "--input-rate", "1", "-o", "sheet.png", "--cuts", "off")
    assert result.exit_code == 0, result.output
    assert "picture 1 at 1.000 s and the next at 2.000 s" in result.output


def test_the_sheet_of_a_sequence_is_none_of_its_pictures(slomo: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for k in range(3):
        write(tmp_path / "shots" / f"p{k}.png", (40 * k, 40 * k, 40 * k), "rgb24")
    result = slomo("shots/p%d.png", "--at", "0", "--input-rate", "1")
    assert result.exit_code == 0 and "drawn in shots.preview.png" in result.output
    assert len(list((tmp_path / "shots").iterdir())) == 3 and (tmp_path / "shots.preview.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.mp4", "--at", "0"), "does not exist"),
        (("in.mkv", "--at", "9"), "from 0 to 1.000 s"),
        (("in.mkv", "--at", "0", "-o", "sheet.jpg"), "written as PNG"),
        (("-", "--at", "0"), "stdin"),
        (("in.mkv", "--at", "0", "--frames", "0"), "from 1 to 15"),
        (("in.mkv",), "--at"),
    ],
)
def test_refusals(
    slomo: Callable[..., Result], scenes: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "in.mkv").symlink_to(scenes)
    result = slomo(*arguments)
    assert result.exit_code != 0 and words in str(result.exception) + result.output
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]

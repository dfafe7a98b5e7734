"""Numbered pictures as a film."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path

import pytest

from slomo_cli.errors import InputError
from slomo_cli.media.names import missing, sequence_files
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan


@pytest.fixture
def folder(make: Callable[..., Path], tmp_path: Path) -> Path:
    """Twelve gray pictures, number n of brightness 10 n, named im_1.png .. im_12.png."""
    for number in range(1, 13):
        still = make(
            f"gray{number}.png",
            "-f",
            "lavfi",
            "-i",
            f"color=c=black:s=63x47,format=gray,geq=lum={number * 10}",
            "-frames:v",
            "1",
        )
        (tmp_path / f"im_{number}.png").write_bytes(still.read_bytes())
    return tmp_path


def brightness(path: Path | str, **window: F) -> list[tuple[F, int]]:
    info = probe(path)
    with Decoder(info, scan(info, window.pop("rate", None)).timing, **window) as decoder:
        return [(frame.pts_seconds, int(frame.planes[0][0, 0])) for frame in decoder]


@pytest.mark.parametrize("name", ["im_%d.png", "im_*.png", ""])
def test_pictures_come_in_the_order_of_their_numbers(name: str, folder: Path) -> None:
    info = probe(folder / name)
    timing = scan(info)

    assert (info.container, info.codec, info.layout.name) == ("image2", "png", "gray")
    assert (info.width, info.height, info.duration_from_header) == (63, 47, F(12, 30))
    assert (timing.timing.rate, timing.timing.duration) == (30, F(12, 30))
    assert "30 per second" in timing.warnings[0] and "--input-rate of convert and fps" in timing.warnings[0]
    assert brightness(folder / name) == [(F(k, 30), 10 * (k + 1)) for k in range(12)]


def test_digits_that_are_no_number_are_letters(folder: Path, tmp_path: Path) -> None:
    """A raised two, as in m²; and of names with one number, the order does not change from run to run."""
    shots = tmp_path / "shots"
    shots.mkdir()
    for name in ("10²10.png", "10²2.png", "10²002.png"):
        (shots / name).write_bytes((folder / "im_1.png").read_bytes())

    assert [file.name for file in sequence_files(shots) or ()] == ["10²002.png", "10²2.png", "10²10.png"]


@pytest.mark.parametrize("ending", ["pfm", "hdr", "pcx", "pbm", "gif"])
def test_a_folder_of_any_kind_of_picture(make: Callable[..., Path], tmp_path: Path, ending: str) -> None:
    shots = tmp_path / "shots"
    shots.mkdir()
    for number in (1, 2, 3):
        made = make(f"{number}.{ending}", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1")
        (shots / made.name).write_bytes(made.read_bytes())
    found = scan(probe(shots))

    assert (found.timing.frames_from_packets, found.timing.rate) == (3, 30)
    assert "30 per second" in found.warnings[0]


def test_the_user_may_say_how_fast_they_run(folder: Path) -> None:
    timing = scan(probe(folder), F(30000, 1001))

    assert timing.timing.rate == F(30000, 1001)
    assert timing.warnings == ()
    assert brightness(folder, rate=F(10))[3] == (F(3, 10), 40)


def test_a_window_is_reached_without_decoding_all(folder: Path) -> None:
    assert brightness(folder, rate=F(1), start=F(7), end=F(9)) == [(F(7), 80), (F(8), 90), (F(9), 100)]


def test_a_damaged_picture_leaves_a_gap(folder: Path) -> None:
    (folder / "im_3.png").write_bytes(b"")
    (folder / "im_5.png").write_bytes((folder / "im_5.png").read_bytes()[:60])

    seen = brightness(folder)

    assert (F(2, 30), 30) not in seen
    assert seen[2] == (F(3, 30), 40)
    assert seen[-1] == (F(11, 30), 120)


def test_names_stand_for_the_files_they_match(folder: Path) -> None:
    (folder / "im_007.png").write_bytes(b"x")
    (folder / "im_x.png").write_bytes(b"x")

    def numbers(name: str) -> list[str]:
        return [file.name for file in sequence_files(folder / name) or ()]

    assert numbers("im_%03d.png") == ["im_007.png"]
    assert numbers("im_1%d.png") == ["im_10.png", "im_11.png", "im_12.png"]
    assert sequence_files(folder / "im_1.png") is None
    assert sequence_files(folder / "no_%d.png") is None
    assert sequence_files("") is None
    (folder / "im_%03d.png").write_bytes(b"x")
    assert sequence_files(folder / "im_%03d.png") is None


def test_brackets_are_part_of_a_name_and_hidden_files_are_not_pictures(folder: Path, tmp_path: Path) -> None:
    shots = tmp_path / "take [1]"
    shots.mkdir()
    for number in (1, 2):
        (shots / f"a[1]_{number}.png").write_bytes((folder / f"im_{number}.png").read_bytes())
    (shots / "._a[1]_1.png").touch()  # macOS leaves such beside every file on a network disk

    for pattern in ("*.png", "a[1]_*.png", "a[?]_?.png"):
        assert [file.name for file in sequence_files(shots / pattern) or ()] == ["a[1]_1.png", "a[1]_2.png"]
    assert [file.name for file in sequence_files(shots / "._*.png") or ()] == ["._a[1]_1.png"]


def test_a_film_that_begins_in_gray_keeps_its_colours(make: Callable[..., Path], tmp_path: Path) -> None:
    """As a fade from black may be stored: a picture without colour needs none."""
    for number, pixels in enumerate(("gray", "gray", "rgb24"), 1):
        still = make(f"{pixels}.png", *f"-f lavfi -i color=c=0x804020:s=32x32,format={pixels} -frames:v 1".split())
        (tmp_path / f"f_{number}.png").write_bytes(still.read_bytes())

    info = probe(tmp_path / "f_%d.png")
    with Decoder(info, scan(info).timing) as decoder:
        shown = [tuple(int(plane[5, 5]) for plane in frame.planes) for frame in decoder]

    assert info.layout.name == "gbrp" and shown[2] == (0x40, 0x20, 0x80)
    assert shown[0] == shown[1] and len(set(shown[0])) == 1


def test_a_folder_of_several_kinds_is_refused(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(b"x")

    with pytest.raises(InputError, match="several kinds"):
        probe(folder)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a1", "a2", "a3"], ""),
        (["a1", "a3", "a4"], "1 (2)"),
        (["shot2_0001", "shot2_0002", "shot2_0005", "shot2_0007", "shot2_0008"], "3 (3 to 4, 6)"),
        (["b1", "b3", "b5", "b7", "b9", "b11", "b12"], "5 (2, 4, 6, 8, ...)"),
        (["1718000000", "1718000040", "1718000081"], ""),
        (["one", "two"], ""),
        (["a1_left", "a2_right"], ""),
        (["a1b1", "a2b3"], ""),
        (["only7"], ""),
    ],
)
def test_gaps_in_the_numbering_are_told(names: list[str], words: str) -> None:
    assert missing(tuple(Path(f"{name}.png") for name in names)) == words


def test_a_gap_takes_no_time(folder: Path) -> None:
    (folder / "im_4.png").unlink()

    timing = scan(probe(folder / "im_%d.png"), F(10))

    assert timing.timing.duration == F(11, 10)
    assert [line for line in timing.warnings if "1 (4)" in line]


def test_a_film_keeps_its_times(clip: Callable[[str], Path]) -> None:
    timing = scan(probe(clip("cfr.mp4")), F(10))

    assert timing.timing.rate == 30
    assert any("times of its own" in line for line in timing.warnings)

"""What was written is read back at both of its ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from out_helpers import target_for

from slomo_cli.errors import EncoderError
from slomo_cli.media.write.reread import count_pictures

MOVING = "-f lavfi -i testsrc2=size=64x48:rate=30:duration=2"


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("end.mp4", "-c:v libx264 -g 20 -bf 3 -x264-params open-gop=1"),
        ("end.mkv", "-c:v libx265 -x265-params log-level=none:keyint=20 -pix_fmt yuv420p"),
        ("end.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 20 -lag-in-frames 10"),
        ("av1.mp4", "-c:v libsvtav1 -preset 12 -g 20 -svtav1-params lookahead=8"),
        ("end.ts", "-c:v libx264 -g 20 -bf 3"),
        ("end.nut", "-c:v libx264 -g 20 -bf 3"),
        ("end.mov", "-c:v prores_ks"),
        ("end.avi", "-c:v utvideo"),
    ],
)
def test_a_film_that_breaks_at_its_end_is_found_out(
    make: Callable[..., Path], tmp_path: Path, name: str, how: str
) -> None:
    """As a broken encoder leaves one behind: every packet is there, the last picture is not."""
    film = make(name, *MOVING.split(), *how.split())
    target = target_for(tmp_path / f"a.{film.suffix[1:]}")
    assert count_pictures(film, target, 60) == 60
    damaged = make(f"broken.{name}", "-i", str(film), "-c", "copy", "-bsf:v", r"noise=amount=gte(n\,58)")
    with pytest.raises(EncoderError, match="cannot be read back"):
        count_pictures(damaged, target, 60)


@pytest.mark.parametrize("name", ["refreshed.mp4", "refreshed.mkv", "refreshed.ts"])
def test_a_film_without_key_frames_but_the_first_is_read_to_its_end(
    make: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """Where the pictures are refreshed bit by bit, containers call those key frames at which that begins."""
    for length in (10, 40):
        film = make(f"{length}.{name}", *MOVING.split(), "-c:v", "libx264", "-intra-refresh", "1", "-g", str(length))
        assert count_pictures(film, target_for(tmp_path / f"a.{film.suffix[1:]}"), 60) == 60


def test_what_libav_has_not_learned_to_decode_is_not_judged(make: Callable[..., Path], tmp_path: Path) -> None:
    film = make("deep.apng", *MOVING.split(), *"-frames:v 5 -pix_fmt rgba64be -pred mixed".split())
    assert count_pictures(film, target_for(tmp_path / "a.apng"), 5) == 5


def test_a_film_that_cannot_be_sought_in_is_read_from_its_beginning(make: Callable[..., Path], tmp_path: Path) -> None:
    film = make("vc2.mkv", *MOVING.split(), *"-frames:v 5 -c:v vc2".split())
    assert count_pictures(film, target_for(tmp_path / "a.mkv"), 5) == 5


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff"])
def test_pictures_of_which_the_last_one_is_broken_are_found_out(
    make: Callable[..., Path], tmp_path: Path, ending: str
) -> None:
    picture = make(f"one.{ending}", *MOVING.split(), "-frames:v", "1")
    for number in (1, 2, 3):
        shutil.copy(picture, tmp_path / f"{number}.{ending}")
    target = target_for(tmp_path / f"%d.{ending}")
    assert count_pictures(tmp_path, target, 3) == 3
    (tmp_path / f"3.{ending}").write_bytes(picture.read_bytes()[:40])
    with pytest.raises(EncoderError, match="cannot be read back"):
        count_pictures(tmp_path, target, 3)

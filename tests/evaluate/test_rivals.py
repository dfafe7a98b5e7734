"""Frame repetition, blending, and ffmpeg's minterpolate giving exactly the picture asked for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from slomo_cli.errors import EncoderError, UsageError
from slomo_cli.evaluate.metrics import psnr
from slomo_cli.evaluate.rivals import Minterpolate, blend, minterpolate_command, nearest, rival

HALF = Fraction(1, 2)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    """A wide textured picture to look at through a moving frame, (96, 240, 3)."""
    rng = np.random.default_rng(5)
    coarse = rng.uniform(30, 225, (26, 62, 3))
    fine = coarse.repeat(4, 0).repeat(4, 1)
    for axis in (0, 1):
        fine = sum(np.roll(fine, shift, axis) for shift in range(-3, 4)) / 7
    return np.rint(fine[:96, :240]).astype(np.uint8)


def view(texture: np.ndarray, left: int) -> np.ndarray:
    """What the moving frame shows, (96, 128, 3)."""
    return np.ascontiguousarray(texture[:, 50 + left : 178 + left])


def test_blend_is_the_weighted_mean() -> None:
    """Rounded to nearest, weighted by time."""
    first, second = np.full((2, 2, 3), 10, np.uint8), np.full((2, 2, 3), 31, np.uint8)
    values = [int(picture[0, 0, 0]) for picture in blend(first, second, [Fraction(1, 8), HALF, Fraction(7, 8)])]
    assert values == [13, 20, 28]  # 12.625, 20.5 (to even), 28.375
    assert blend(first, second, []) == []


def test_nearest_repeats() -> None:
    """The nearer picture in time, the first at the middle."""
    first, second = np.zeros((1, 1, 3), np.uint8), np.ones((1, 1, 3), np.uint8)
    pictures = nearest(first, second, [Fraction(1, 4), HALF, Fraction(3, 4)])
    assert [int(picture.max()) for picture in pictures] == [0, 0, 1]


def test_minterpolate_follows_motion_to_the_very_timestep(texture: np.ndarray) -> None:
    """For a pan of 8 pixels, the picture at t is the view 8 t further on, and no other."""
    first, second = view(texture, 0), view(texture, 8)
    timesteps = [Fraction(k, 4) for k in (1, 2, 3)]
    pictures = rival("minterpolate")(first, second, timesteps)
    assert len(pictures) == 3
    inner = (slice(16, -16), slice(24, -24))
    for picture, t in zip(pictures, timesteps, strict=True):
        assert picture.shape == first.shape and picture.dtype == np.uint8
        scores = {left: psnr(picture[inner], view(texture, left)[inner]) for left in range(9)}
        assert max(scores, key=scores.__getitem__) == 8 * t
        assert scores[int(8 * t)] > 30
    (mixed,) = blend(first, second, [HALF])
    assert psnr(pictures[1][inner], view(texture, 4)[inner]) > psnr(mixed[inner], view(texture, 4)[inner]) + 5


def test_minterpolate_still_picture_comes_back(texture: np.ndarray) -> None:
    """Where nothing moves, only the way through YUV is seen: a level or two."""
    picture = view(texture, 0)
    for t in (HALF, Fraction(1, 3)):
        (made,) = Minterpolate()(picture, picture, [t])
        assert np.abs(made.astype(int) - picture).max() <= 3


def test_minterpolate_odd_size_and_uneven_timesteps(texture: np.ndarray) -> None:
    """Odd sizes work; thousandths are rounded to the finest step instead of asking for a thousand pictures."""
    first, second = view(texture, 0)[:65, :97], view(texture, 4)[:65, :97]
    timesteps = [Fraction(333, 1000), Fraction(667, 1000)]
    pictures = Minterpolate()(first, second, timesteps)
    assert [picture.shape for picture in pictures] == [(65, 97, 3)] * 2
    assert Minterpolate()(first, second, []) == []


def test_minterpolate_scene_detection_and_options(texture: np.ndarray) -> None:
    """By default a cut shows one of the two; with scd=none it is morphed. Options reach the filter."""
    first, second = view(texture, 0) // 3, 255 - view(texture, 30)[:, ::-1] // 3
    (held,) = Minterpolate()(first, second, [HALF])
    (morphed,) = rival("minterpolate:scd=none")(first, second, [HALF])
    assert max(psnr(held, first), psnr(held, second)) > 40
    assert max(psnr(morphed, first), psnr(morphed, second)) < 40


def test_minterpolate_command() -> None:
    """The whole command, pinned: four pictures in, those between the second and third out."""
    command = minterpolate_command("/x/ffmpeg", 640, 480, 8, "scd=none")
    assert " ".join(command) == (
        "/x/ffmpeg -hide_banner -nostdin -nostats -v error "
        "-f rawvideo -pix_fmt rgb24 -video_size 640x480 -framerate 1 -i pipe:0 "
        "-vf scale=out_range=full:flags=accurate_rnd+full_chroma_int,format=yuv444p,"
        "minterpolate=fps=8:scd=none,trim=start_frame=8:end_frame=16,"
        "scale=in_range=full:out_range=full:flags=accurate_rnd+full_chroma_int,format=rgb24 "
        "-f rawvideo -pix_fmt rgb24 -fps_mode passthrough pipe:1"
    )
    assert "minterpolate=fps=2,trim=start_frame=2:end_frame=4" in " ".join(minterpolate_command("f", 16, 16, 2))


@pytest.mark.parametrize(
    "options", ["scd", "scd=none,null", "scd=none:", "a='b'", "movie=/etc/passwd", "scd=none;null"]
)
def test_options_are_only_options(options: str) -> None:
    """Nothing that could add a filter or name a file passes."""
    with pytest.raises(UsageError, match="expected options such as"):
        Minterpolate(options)


@pytest.mark.parametrize("name", ["mint", "blend:x=1", "", "minterpolate:fps=3"])
def test_unknown_rivals(name: str) -> None:
    """Names that are no rival, and an option that is ours."""
    with pytest.raises(UsageError, match=r"expected one of nearest, blend|leave it out"):
        rival(name)


def test_ffmpeg_fails_in_its_own_words(texture: np.ndarray, tmp_path: Path) -> None:
    """A refused option is quoted; a program that is none is named."""
    with pytest.raises(EncoderError, match=r"minterpolate failed on a pair of 128x96: .*wobble"):
        Minterpolate("wobble=1")(view(texture, 0), view(texture, 1), [HALF])
    with pytest.raises(EncoderError, match="wobble"):  # before any pair
        rival("minterpolate:wobble=1")
    with pytest.raises(EncoderError, match="expected an ffmpeg program"):
        Minterpolate(ffmpeg=str(tmp_path / "none"))

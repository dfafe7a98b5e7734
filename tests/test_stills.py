"""Two still pictures in, the pictures between them out: depth, alpha, formats, clips, refusals.

The network sees no motion and mixes, so every sample written can be told beforehand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from plain_network import save_plain

from slomo_cli.errors import InputError, UsageError
from slomo_cli.media.orientation import Orientation, orientation_of
from slomo_cli.media.pixels import copy_planes, layout_of
from slomo_cli.media.read.still import alike, read_still
from slomo_cli.stills import between
from slomo_cli.values import ComputeSettings, EncodeSettings

WIDTH, HEIGHT = 40, 24


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ComputeSettings:
    """A network that only mixes."""
    weights = save_plain(tmp_path_factory.mktemp("weights") / "plain.safetensors")
    return ComputeSettings(weights=weights, device="cpu", dtype="float32", threads=1)


def write(path: Path, planes: tuple[int, ...] | list[np.ndarray], pix_fmt: str, codec: str = "png") -> Path:
    """A still picture: constant samples, or whole planes in the format's memory order (packed formats: one array)."""
    height, width = (HEIGHT, WIDTH) if isinstance(planes, tuple) else planes[0].shape[:2]
    frame = av.VideoFrame(width, height, pix_fmt)
    if isinstance(planes, tuple):
        kind = ">u2" if pix_fmt.endswith("be") else "<u2" if pix_fmt.endswith(("48le", "64le", "16le")) else "u1"
        planes = [np.tile(np.array(planes, kind), (height, width, 1))]
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), np.uint8).reshape(-1, target.line_size)
        samples = np.ascontiguousarray(plane).view(np.uint8).reshape(plane.shape[0], -1)
        rows[: plane.shape[0], : samples.shape[1]] = samples
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return path


def cut_off(path: Path) -> Path:
    """A JPEG of noise of which the last third is missing."""
    noise = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    write(path, [noise[..., 0], noise[:48, :64, 1], noise[:48, :64, 2]], "yuvj420p", "mjpeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def test_a_jpeg_cut_off_is_no_picture(tmp_path: Path) -> None:
    """libav's decoder fills in grey what is missing, and says nothing."""
    with pytest.raises(InputError, match="damaged"):
        read_still(cut_off(tmp_path / "half.jpg"))


def read(path: Path, pix_fmt: str) -> tuple[np.ndarray, ...]:
    """The picture's planes, which must be stored in this format."""
    with av.open(str(path), options={"pattern_type": "none"}) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == pix_fmt
    return copy_planes(frame, layout_of(pix_fmt))


@pytest.mark.parametrize(
    ("ending", "codec", "pix_fmt", "first", "second"),
    [
        ("png", "png", "rgb24", (10, 20, 30), (50, 0, 230)),
        ("png", "png", "rgba", (10, 20, 30, 100), (50, 0, 230, 200)),
        ("png", "png", "rgb48be", (1001, 20021, 65535), (5003, 12345, 0)),
        ("png", "png", "rgba64be", (1001, 20021, 65535, 40001), (5003, 12345, 0, 40009)),
        ("png", "png", "gray", (7,), (207,)),
        ("png", "png", "gray16be", (700,), (20701,)),
        ("tiff", "tiff", "rgb24", (10, 20, 30), (50, 0, 230)),
        ("tiff", "tiff", "rgb48le", (1001, 20021, 65535), (5003, 12345, 0)),
        ("tif", "tiff", "rgba64le", (1001, 20021, 65535, 40001), (5003, 12345, 0, 40009)),
    ],
)
def test_lossless_pictures_keep_depth_and_alpha(
    tmp_path: Path,
    plain: ComputeSettings,
    ending: str,
    codec: str,
    pix_fmt: str,
    first: tuple[int, ...],
    second: tuple[int, ...],
) -> None:
    a, b = (
        write(tmp_path / f"a.{ending}", first, pix_fmt, codec),
        write(tmp_path / f"b.{ending}", second, pix_fmt, codec),
    )
    out = tmp_path / f"out_%03d.{ending}"
    summary = between(a, b, out, frames=3, compute=plain)
    assert (summary.frames_in, summary.frames_out, summary.frames_interpolated) == (2, 3, 3)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == [
        f"out_00{k}.{ending}" for k in (1, 2, 3)
    ]
    order = {"gray": (0,), "gray16be": (0,)}.get(pix_fmt, (1, 2, 0, 3))
    for k in (1, 2, 3):
        planes = read(tmp_path / f"out_00{k}.{ending}", pix_fmt)
        assert len(planes) == len(first)
        for plane, channel in zip(planes, order, strict=False):
            if len(first) == 4 and channel != 3:
                continue  # colours of half-seen pixels are weighed by alpha: see the test of fuse
            expected = first[channel] + (second[channel] - first[channel]) * k / 4
            assert plane.shape == (HEIGHT, WIDTH)
            assert np.abs(plane.astype(float) - expected).max() <= 0.51


def test_one_picture_needs_no_number(tmp_path: Path, plain: ComputeSettings) -> None:
    a, b = write(tmp_path / "a.png", (0, 0, 0), "rgb24"), write(tmp_path / "b.png", (200, 100, 50), "rgb24")
    between(a, b, tmp_path / "middle.png", compute=plain)
    green, blue, red = read(tmp_path / "middle.png", "rgb24")
    assert (red == 100).all() and (green == 50).all() and (blue == 25).all()


def test_jpeg_stays_jpeg_of_the_same_sampling(tmp_path: Path, plain: ComputeSettings) -> None:
    planes = [np.full((24, 40), 60, np.uint8), np.full((12, 20), 100, np.uint8), np.full((12, 20), 150, np.uint8)]
    brighter = [planes[0] + np.uint8(80), *planes[1:]]
    a = write(tmp_path / "a.jpg", planes, "yuvj420p", "mjpeg")
    b = write(tmp_path / "b.jpg", brighter, "yuvj420p", "mjpeg")
    between(a, b, tmp_path / "m_%d.jpg", frames=3, compute=plain)
    for k in (1, 2, 3):
        luma, cb, cr = read(tmp_path / f"m_{k}.jpg", "yuvj420p")
        assert abs(luma.mean() - (60 + 20 * k)) < 2 and abs(cb.mean() - 100) < 2 and abs(cr.mean() - 150) < 2


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "h264"), ("clip.mkv", "ffv1"), ("clip.apng", "apng")])
def test_a_clip_runs_from_the_first_to_the_second(
    tmp_path: Path, plain: ComputeSettings, name: str, codec: str
) -> None:
    a, b = write(tmp_path / "a.png", (40, 40, 40), "rgb24"), write(tmp_path / "b.png", (200, 200, 200), "rgb24")
    settings = EncodeSettings(codec=None if codec == "h264" else codec)
    summary = between(a, b, tmp_path / name, frames=3, rate=Fraction(24000, 1001), encode=settings, compute=plain)
    assert summary.frames_out == 5
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        frames = list(container.decode(stream))
        assert len(frames) == 5
        if codec != "apng":  # whose clock counts in hundredths or thousandths
            assert stream.guessed_rate == Fraction(24000, 1001)
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    np.testing.assert_allclose(levels, [40, 80, 120, 160, 200], atol=2)


def test_the_given_pictures_are_in_the_clip_untouched(
    tmp_path: Path, plain: ComputeSettings, make: Callable[..., Path]
) -> None:
    a = make("still1.png", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1")
    b = make("still2.png", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-ss", "1", "-frames:v", "1")
    between(a, b, tmp_path / "clip.mkv", frames=2, encode=EncodeSettings(codec="ffv1"), compute=plain)
    with av.open(str(tmp_path / "clip.mkv")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for path, frame in ((a, frames[0]), (b, frames[3])):
        with av.open(str(path)) as container:
            assert (next(container.decode(video=0)).to_ndarray(format="rgb24") == frame).all()


def test_alpha_is_lost_with_a_word(tmp_path: Path, plain: ComputeSettings) -> None:
    a, b = (write(tmp_path / f"{n}.png", (10, 20, 30, 255), "rgba") for n in "ab")
    summary = between(a, b, tmp_path / "m.jpg", compute=plain)
    assert any("alpha" in line for line in summary.warnings)


# --------------------------------------------------------------------------------------------- unlike pictures


def test_a_second_picture_of_another_size_is_scaled(tmp_path: Path, plain: ComputeSettings) -> None:
    a = write(tmp_path / "a.png", (50, 60, 70), "rgb24")
    b = write(tmp_path / "b.png", [np.full((50, 80, 3), 150, np.uint8)], "rgb24")
    summary = between(a, b, tmp_path / "m.png", compute=plain)
    assert any("80x50" in line and "40x24" in line for line in summary.warnings)
    green, blue, red = read(tmp_path / "m.png", "rgb24")
    assert red.shape == (HEIGHT, WIDTH)
    assert (red == 100).all() and (green == 105).all() and (blue == 110).all()


def test_unlike_depths_and_alpha_meet_at_the_richer(tmp_path: Path) -> None:
    a = write(tmp_path / "a.png", (255, 0, 128), "rgb24")
    b = write(tmp_path / "b.png", (65535, 0, 1000, 777), "rgba64be")
    left, right, notes = alike(read_still(a), read_still(b))
    assert left.frame.layout == right.frame.layout == layout_of("gbrap16le")
    assert [int(plane[0, 0]) for plane in left.frame.planes] == [0, 128 * 257, 65535, 65535]
    assert [int(plane[0, 0]) for plane in right.frame.planes] == [0, 1000, 65535, 777]
    assert len(notes) == 1 and "gbrap16le" in notes[0]


def test_gray_and_jpeg_meet_in_rgb(tmp_path: Path) -> None:
    a = write(tmp_path / "a.png", (77,), "gray")
    planes = [np.full((24, 40), 180, np.uint8), np.full((24, 40), 128, np.uint8), np.full((24, 40), 128, np.uint8)]
    b = write(tmp_path / "b.jpg", planes, "yuvj444p", "mjpeg")
    left, right, _ = alike(read_still(a), read_still(b))
    assert [plane[3, 3] for plane in left.frame.planes] == [77, 77, 77]
    assert all(abs(int(plane[3, 3]) - 180) <= 1 for plane in right.frame.planes)


def test_pictures_stored_alike_are_left_as_they_are(tmp_path: Path) -> None:
    a, b = (read_still(write(tmp_path / f"{n}.png", (1, 2, 3), "rgb24")) for n in "ab")
    left, right, notes = alike(a, b)
    assert left is a and right is b and notes == ()


def test_a_turned_picture_meets_an_upright_one(tmp_path: Path) -> None:
    """The second is stored lying on its side, with the EXIF mark of it (orientation 6: turn clockwise)."""
    upright = np.zeros((40, 24, 3), np.uint8)
    upright[:8, :8] = 255  # a white corner at the top left
    a = write(tmp_path / "a.png", [upright], "rgb24")
    lying = np.ascontiguousarray(np.rot90(upright[..., 0]))
    neutral = np.full_like(lying, 128)
    plain_jpeg = write(tmp_path / "plain.jpg", [lying, neutral, neutral], "yuvj444p", "mjpeg").read_bytes()
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    b = tmp_path / "b.jpg"
    b.write_bytes(plain_jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain_jpeg[2:])
    second = read_still(b)
    assert orientation_of(second.info.display_matrix) == Orientation(270, False)
    left, right, _ = alike(read_still(a), second)
    assert right.frame.planes[0].shape == (40, 24)
    assert np.abs(right.frame.planes[0].astype(int) - left.frame.planes[0].astype(int)).max() < 30


# ---------------------------------------------------------------------------------------------------- refusals


def test_a_video_is_no_still(clip: Callable[[str], Path], tmp_path: Path, plain: ComputeSettings) -> None:
    a = write(tmp_path / "a.png", (1, 2, 3), "rgb24")
    with pytest.raises(UsageError, match=r"found 30 pictures.*slomo convert"):
        between(a, clip("cfr.mp4"), tmp_path / "m.png", compute=plain)


def test_refusals_leave_nothing(tmp_path: Path, plain: ComputeSettings) -> None:
    a, b = (write(tmp_path / f"f_{k}.png", (k, 2, 3), "rgb24") for k in (1, 2))
    (tmp_path / ".m_%d.png.slomo-part").mkdir()
    left = write(tmp_path / ".m_%d.png.slomo-part" / "1.png", (1, 2, 3), "rgb24")  # by a run that was killed
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    over = EncodeSettings(overwrite=True)
    with pytest.raises(UsageError, match=r"f_1\.png' is the input itself"):
        between(a, b, tmp_path / "f_%d.png", frames=2, encode=over, compute=plain)
    with pytest.raises(UsageError, match="is the input itself"):
        between(a, b, a, encode=over, compute=plain)
    with pytest.raises(UsageError, match=r"slomo-part' is the input itself"):
        between(left, b, tmp_path / "m_%d.png", frames=2, compute=plain)
    with pytest.raises(UsageError, match="pattern such as"):
        between(a, b, tmp_path / "m.png", frames=2, compute=plain)
    with pytest.raises(UsageError, match="one picture or more"):
        between(a, b, tmp_path / "m.png", frames=0, compute=plain)
    with pytest.raises(InputError, match="does not exist"):
        between(a, tmp_path / "missing.png", tmp_path / "m.png", compute=plain)
    (tmp_path / "o_1.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"o_1\.png' exists"):
        between(a, b, tmp_path / "o_%d.png", frames=2, compute=plain)
    (tmp_path / "o_1.png").unlink()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


def test_an_older_longer_sequence_is_told(tmp_path: Path, plain: ComputeSettings) -> None:
    a, b = (write(tmp_path / f"{name}.png", (1, 2, 3), "rgb24") for name in "ab")
    over = EncodeSettings(overwrite=True)
    assert not between(a, b, tmp_path / "m_%d.png", frames=3, encode=over, compute=plain).warnings
    shorter = between(a, b, tmp_path / "m_%d.png", frames=2, encode=over, compute=plain)
    assert [line for line in shorter.warnings if "m_3.png' and what follows stay from an older sequence" in line]

"""Frames as people see them: colours by the published matrices, turned like a player turns them, sized to fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from slomo_cli.media.orientation import Orientation
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.read.view import View, full_size, to_libav, view_of
from slomo_cli.values import ColorInfo, Frame, PixelLayout

YUV = PixelLayout("yuv444p", "yuv", 8)
YUV10 = PixelLayout("yuv444p10le", "yuv", 10)
GRAY = PixelLayout("gray", "gray", 8)
GBRP = PixelLayout("gbrp", "rgb", 8)


def flat(layout: PixelLayout, values: tuple[int, ...], color: ColorInfo, size: tuple[int, int] = (8, 16)) -> Frame:
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    return Frame(tuple(np.full(size, value, dtype) for value in values), layout, color, Fraction(0))


def as_it_is(frame: Frame) -> View:
    return View(frame.width, frame.height, Orientation(0, False))


def turns(picture: np.ndarray) -> list[np.ndarray]:
    """The picture itself first, then turned and flipped in every way."""
    return [np.rot90(side, k) for side in (picture, picture[:, ::-1]) for k in range(4)]


@pytest.mark.parametrize(
    ("matrix", "red_share", "blue_share"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)]
)
@pytest.mark.parametrize("full", [False, True])
def test_yuv_becomes_the_rgb_its_matrix_and_range_say(
    matrix: int, red_share: float, blue_share: float, full: bool
) -> None:
    rgb = np.array([0.8, 0.4, 0.2])
    luma = red_share * rgb[0] + (1 - red_share - blue_share) * rgb[1] + blue_share * rgb[2]
    cb, cr = (rgb[2] - luma) / (2 - 2 * blue_share), (rgb[0] - luma) / (2 - 2 * red_share)
    for layout in (YUV, YUV10):
        unit = 1 << (layout.bits - 8)
        peak = layout.peak
        values = (
            (luma * peak, 128 * unit + cb * peak, 128 * unit + cr * peak)
            if full
            else (unit * (16 + 219 * luma), unit * (128 + 224 * cb), unit * (128 + 224 * cr))
        )
        frame = flat(layout, tuple(round(v) for v in values), ColorInfo(range=2 if full else 1, matrix=matrix))
        picture = as_it_is(frame).picture(frame)
        assert picture.shape == (8, 16, 3)
        np.testing.assert_allclose(picture[4, 8], rgb * 255, atol=2)


def test_unspecified_colours_are_read_as_everywhere_in_slomo() -> None:
    values = (120, 90, 180)
    small, large = (flat(YUV, values, ColorInfo(), size) for size in ((8, 16), (720, 16)))
    as_601, as_709 = (flat(YUV, values, ColorInfo(range=1, matrix=matrix)) for matrix in (6, 1))
    assert (as_it_is(small).picture(small)[0, 0] == as_it_is(as_601).picture(as_601)[0, 0]).all()
    assert (as_it_is(large).picture(large)[0, 0] == as_it_is(as_709).picture(as_709)[0, 0]).all()


def test_gray_and_rgb_are_exact() -> None:
    frame = flat(GRAY, (77,), ColorInfo())
    assert (as_it_is(frame).picture(frame) == 77).all()
    frame = flat(GBRP, (10, 20, 30), ColorInfo(range=2, matrix=0))
    assert (as_it_is(frame).picture(frame) == (30, 10, 20)).all()


def test_planes_of_any_stride_reach_libav_whole() -> None:
    rng = np.random.default_rng(5)
    layout = PixelLayout("yuv420p10le", "yuv", 10, 1, 1)
    planes = tuple(rng.integers(0, 1024, shape, np.uint16) for shape in layout.plane_shapes(37, 21))
    picture = to_libav(Frame(planes, layout, ColorInfo(), Fraction(0)))
    for target, plane in zip(picture.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint16).reshape(-1, target.line_size // 2)
        assert (rows[: plane.shape[0], : plane.shape[1]] == plane).all()


def test_a_marked_corner_stands_where_ffmpeg_puts_it(clip: Callable[[str], Path], tmp_path: Path) -> None:
    """ffmpeg turns the picture by itself when it converts: ours must be the same."""
    import subprocess

    from slomo_cli.media.ffmpeg import tools

    for name in ("rotated.mp4", "flipped.mp4", "anamorphic.mp4", "cfr.mp4"):
        info = probe(clip(name))
        with Decoder(info, scan(info).timing) as decoder:
            frame = next(iter(decoder))
        view = view_of(info)
        still = tmp_path / f"{name}.png"
        width, height = full_size(info)
        arguments = ["-i", str(clip(name)), "-frames:v", "1", "-vf", f"scale={width}:{height}:flags=bicubic"]
        subprocess.run([tools().path, "-v", "error", *arguments, str(still)], check=True, timeout=60)
        with av.open(str(still)) as container:
            truth = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        ours = view.picture(frame).astype(int)
        assert ours.shape == truth.shape == (view.height, view.width, 3)
        near, *others = (np.abs(turned - truth).mean() for turned in turns(ours) if turned.shape == truth.shape)
        assert near < 8, name  # chroma of 4:2:0 is enlarged in another way
        assert all(other > 3 * near for other in others), name


def test_flow_points_where_the_turned_picture_moved() -> None:
    """A mark moved in the stored picture: the turned flow leads from its turned place to its turned place."""
    height, width, before, after = 12, 20, (5, 4), (9, 12)
    flow = np.zeros((height, width, 2), np.float32)
    flow[before] = (after[1] - before[1], after[0] - before[0])
    for degrees in (0, 90, 180, 270):
        for flipped in (False, True):
            orientation = Orientation(degrees, flipped)
            size = (height, width) if orientation.swaps_sides else (width, height)
            view = View(*size, orientation)
            places = []
            for mark in (before, after):
                drawing = np.zeros((height, width, 3), np.uint8)
                drawing[mark] = 255
                places.append(np.argwhere(view.drawing(drawing)[..., 0] == 255)[0])
            y, x = places[1] - places[0]
            assert tuple(view.flow(flow)[before]) == (x, y)


@pytest.mark.parametrize(
    ("size", "aspect", "limits", "expected"),
    [
        ((1920, 1080), Fraction(1), {"width": 480}, (480, 270)),
        ((1080, 1920), Fraction(1), {"width": 480, "height": 360}, (202, 360)),
        ((720, 576), Fraction(16, 15), {}, (768, 576)),
        ((1440, 1080), Fraction(3, 4), {}, (1440, 1440)),
        ((64, 48), Fraction(1), {"width": 480, "least": 200}, (192, 144)),
        ((64, 48), Fraction(1), {"width": 480}, (64, 48)),
        ((641, 361), Fraction(1), {"width": 320, "even": True}, (320, 180)),
        ((5, 5), Fraction(1), {"even": True}, (4, 4)),
    ],
)
def test_size_fits_and_keeps_its_shape(
    clip: Callable[[str], Path], size: tuple[int, int], aspect: Fraction, limits: dict[str, Any], expected: Any
) -> None:
    info = replace(probe(clip("cfr.mp4")), width=size[0], height=size[1], sample_aspect=aspect)
    view = view_of(info, **limits)
    assert (view.width, view.height) == expected


def test_the_source_stays_as_it_was() -> None:
    frame = flat(YUV, (120, 90, 180), ColorInfo())
    kept = [plane.copy() for plane in frame.planes]
    View(4, 2, Orientation(90, True)).picture(frame)
    assert all((a == b).all() for a, b in zip(kept, frame.planes, strict=True))

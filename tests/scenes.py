"""Pictures of scenes made up, as frames of a film."""

from __future__ import annotations

from fractions import Fraction as F
from functools import cache

import numpy as np
import numpy.typing as npt

from slomo_cli.values import ColorInfo, Frame, PixelLayout

Picture = npt.NDArray[np.floating]  # luma, 8-bit levels

GRAY = PixelLayout("gray", "gray", 8)
LAYOUTS = [
    GRAY,
    PixelLayout("gray16le", "gray", 16),
    PixelLayout("yuv420p", "yuv", 8, 1, 1),
    PixelLayout("yuv422p10le", "yuv", 10, 1, 0),
    PixelLayout("yuva444p12le", "yuv", 12, 0, 0, alpha=True),
    PixelLayout("gbrp", "rgb", 8),
    PixelLayout("gbrp16le", "rgb", 16),
]
WIDE, HIGH = 320, 180


def frame(picture: Picture, number: int = 0, layout: PixelLayout = GRAY, rate: F = F(24)) -> Frame:
    """Luma (green) as given, the other planes flat."""
    samples = np.clip(np.rint(picture), 0, 255) * (1 << (layout.bits - 8))
    kind = np.uint8 if layout.bits == 8 else np.uint16
    shapes = layout.plane_shapes(picture.shape[1], picture.shape[0])
    planes = (samples.astype(kind), *(np.full(shape, layout.peak // 2, kind) for shape in shapes[1:]))
    return Frame(planes, layout, ColorInfo(), number / rate)


@cache
def texture(seed: int, height: int = 500, width: int = 800, light: float = 120, depth: float = 45) -> Picture:
    """A picture with as much contrast at every scale, as photographs have: noise enlarged from grids of many sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width))
    for cell in (4, 8, 16, 32, 64):
        grid = rng.normal(size=(height // cell + 2, width // cell + 2))
        y, x = np.arange(height) / cell, np.arange(width) / cell
        top, left = y.astype(int), x.astype(int)
        v, u = (y - top)[:, None], (x - left)[None]
        a, b = grid[top][:, left], grid[top][:, left + 1]
        c, d = grid[top + 1][:, left], grid[top + 1][:, left + 1]
        picture += (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v
    return light + depth * picture / picture.std()


def view(scene: Picture, x: float, y: float = 0.0, height: int = HIGH, width: int = WIDE) -> Picture:
    """The part of a scene whose top left corner is at (x, y), by bilinear sampling."""
    left, top = int(x // 1), int(y // 1)
    u, v = x - left, y - top
    part = scene[top : top + height + 1, left : left + width + 1]
    rows = part[:-1] * (1 - v) + part[1:] * v
    return rows[:, :-1] * (1 - u) + rows[:, 1:] * u


SCENE, OTHER = texture(7), texture(8)

"""What lies over film without belonging to it: subtitles, clocks, logos and black bars, which stand still, and credits
and tickers, which go through the picture at an even pace."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net.warp import warp
from slomo_cli.train.store import Ints, put

_ROWS, _COLS = 7, 5
"""Dots of a letter, as on a terminal of old; a sixth column is left between letters."""
ROLLING = 0.4
"""Share of captions that roll."""


class Captions(NamedTuple):
    """What lies over one window."""

    canvas: Tensor
    """(4, B, B) colour and opacity in [0, 1]; larger than the picture where it rolls."""
    shift: tuple[float, float]
    """Pixels (x, y) it goes from the first to the last frame, B - S at most along either axis."""

    def at(self, times: npt.NDArray[np.floating], side: int) -> Tensor:
        """(K, 4, side, side) at ``times`` (K,) in [0, 1]."""
        if self.shift == (0.0, 0.0):
            return self.canvas.expand(len(times), -1, -1, -1)  # looked up, what is opaque would be nearly so
        margin = (self.canvas.shape[-1] - side) / 2
        moved = np.asarray(self.shift) * (times[:, None] - 0.5)
        flow = put((margin - moved).astype(np.float32), self.canvas.device)[..., None, None]
        return warp(self.canvas.expand(len(times), -1, -1, -1), flow.expand(-1, -1, side, side))


def lay_captions(
    pictures: Tensor, window: Ints, times: npt.NDArray[np.floating], share: float, rng: np.random.Generator
) -> Tensor:
    """Lay random captions over all pictures of some windows, in place.

    ``pictures``: (K, 3, S, S) RGB in [0, 1], the k-th of window ``window[k]`` at ``times[k]`` within it; ``share``:
    chance of a window.
    """
    side = pictures.shape[-1]
    for one in np.flatnonzero(rng.random(int(window.max()) + 1) < share):
        mine = np.flatnonzero(window == one)
        places = put(mine, pictures.device)
        shown = captions(side, rng, pictures.device).at(times[mine], side)
        pictures[places] = torch.lerp(pictures[places], shown[:, :3], shown[:, 3:])
    return pictures


def captions(side: int, rng: np.random.Generator, device: torch.device) -> Captions:
    """For pictures of ``side`` pixels: one to three lines of text or blocks of colour, or a page that rolls."""
    if rng.random() < ROLLING:
        return _rolling(side, rng, device)
    canvas = torch.zeros(4, side, side, device=device)
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.25:
            _cover(canvas, _block(side, rng, device), _colour(rng, device, dark=0.7))
            continue
        text = _anywhere(_line(_height(side, rng), side, rng, device), side, rng)
        _write(canvas, text, rng, device)
    return Captions(canvas, (0.0, 0.0))


def _rolling(side: int, rng: np.random.Generator, device: torch.device) -> Captions:
    """A page of credits on its way up, mostly, over film or a ground of its own; or a line on its way across."""
    pixels = math.exp(rng.uniform(0.0, math.log(side / 5)))
    heading = rng.choice((-0.25, 0.25, 0.5, 0.0, rng.uniform(0.0, 1.0)), p=(0.6, 0.1, 0.15, 0.05, 0.1)) * 2 * math.pi
    shift = pixels * math.cos(heading), pixels * math.sin(heading)
    large = side + math.ceil(pixels)
    canvas = torch.zeros(4, large, large, device=device)
    if rng.random() < 0.5:
        _cover(canvas, torch.ones_like(canvas[:1]), _colour(rng, device, dark=0.8))
    height = _height(side, rng)
    if abs(shift[0]) > abs(shift[1]) and rng.random() < 0.7:
        text = _anywhere(_line(height, large, rng, device), large, rng)
    else:
        text = _page(height, large, rng, device)
    _write(canvas, text, rng, device)
    return Captions(canvas, shift)


def _write(canvas: Tensor, text: Tensor, rng: np.random.Generator, device: torch.device) -> None:
    """Paint ``text`` (1, B, B), with or without a rim."""
    rim = int(rng.choice((0, 3, 5)))
    if rim:
        around = F.max_pool2d(text[None], rim, 1, rim // 2)[0]
        _cover(canvas, around, _colour(rng, device, dark=0.9))
    _cover(canvas, text, _colour(rng, device, dark=0.1))


def _cover(canvas: Tensor, opacity: Tensor, colour: Tensor) -> None:
    """Paint over the canvas (4, S, S), in place."""
    canvas[:3] = torch.lerp(canvas[:3], colour, torch.where(canvas[3:] > 0, opacity, 1.0))
    canvas[3:] = torch.maximum(canvas[3:], opacity)


def _colour(rng: np.random.Generator, device: torch.device, dark: float) -> Tensor:
    """(3, 1, 1): black by the chance ``dark``, else white, or now and then any."""
    colour = np.zeros(3) if rng.random() < dark else np.ones(3) if rng.random() < 0.7 else rng.random(3)
    return put(colour.astype(np.float32), device).view(3, 1, 1)


def _block(side: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """(1, side, side): a bar along an edge, or a plate anywhere."""
    ends = rng.integers(0, side, (2, 2))
    if rng.random() < 0.5:
        ends[0] = 0, rng.integers(side // 20, side // 3)  # from the top over the whole width
        ends[1] = 0, side
        if rng.random() < 0.5:
            ends[0] = side - ends[0, 1], side
    (top, bottom), (left, right) = np.sort(ends, 1).tolist()
    opacity = torch.zeros(1, side, side, device=device)
    opacity[:, top:bottom, left:right] = 1.0
    return opacity.transpose(1, 2) if rng.random() < 0.2 else opacity


def _height(side: int, rng: np.random.Generator) -> float:
    """Of a line, in pixels."""
    return math.exp(rng.uniform(math.log(9), math.log(max(10, side / 5))))


def _line(height: float, widest: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """(1, rows, at most ``widest``): a line of letters made of upright and level strokes, with edges of about one
    pixel."""
    dot = height / _ROWS
    letters = int(rng.integers(2, max(3, min(30, int(1.2 * widest / (dot * (_COLS + 1)))))))
    dots = np.zeros((_ROWS, letters, _COLS + 1), bool)
    dots[:, :, 0:_COLS:2] |= rng.random((letters, 3)) < 0.5
    dots[0::3, :, :_COLS] |= (rng.random((3, letters)) < 0.5)[:, :, None]
    dots[:, rng.random(letters) < 0.15] = False  # between words
    line = np.pad(dots.reshape(_ROWS, -1), 1).astype(np.float32)
    size = [max(1, round(dot * extent * rng.uniform(0.85, 1.2))) for extent in line.shape]
    smooth = F.interpolate(put(line, device)[None, None], size=size, mode="bicubic")[0]
    return ((smooth - 0.5) * dot + 0.5).clamp_(0.0, 1.0)[:, :widest, :widest]


def _anywhere(line: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """(1, side, side) with the line somewhere in it."""
    rows, cols = line.shape[1:]
    top, left = (int(rng.integers(0, side - extent, endpoint=True)) for extent in (rows, cols))
    return F.pad(line, (left, side - left - cols, top, side - top - rows))


def _page(height: float, side: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """(1, side, side) full of lines: centred, from one margin, or pairs to both sides of a gap, as in credits."""
    page = torch.zeros(1, side, side, device=device)
    middle, gap = side * rng.uniform(0.35, 0.65), height * rng.uniform(0.3, 1.0)
    layout = int(rng.integers(0, 3))
    leading = height * rng.uniform(1.4, 2.6)
    for top in np.arange(rng.uniform(0.0, leading), side, leading).astype(int).tolist():
        if rng.random() < 0.15:
            continue
        for part in range(2 if layout == 2 else 1):
            line = _line(height, side // (1 if layout == 0 else 2), rng, device)[:, : side - top]
            rows, cols = line.shape[1:]
            left = (middle - cols / 2, middle + gap, middle - gap - cols)[layout if layout < 2 else 1 + part]
            left = min(max(0, round(left)), side - cols)
            page[:, top : top + rows, left : left + cols] = line
    return page

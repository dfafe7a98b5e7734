"""What stands still over what moves: subtitles, clocks, logos, black bars."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.train.store import Ints, put

_ROWS, _COLS = 7, 5
"""Dots of a letter, as on a terminal of old; a sixth column is left between letters."""


def lay_captions(pictures: Tensor, window: Ints, share: float, rng: np.random.Generator) -> Tensor:
    """Lay the same random captions over all pictures of some windows, in place.

    ``pictures``: (K, 3, S, S) RGB in [0, 1], the k-th of window ``window[k]``; ``share``: chance of a window.
    """
    count = int(window.max()) + 1
    for one in np.flatnonzero(rng.random(count) < share):
        caption = captions(pictures.shape[-1], rng, pictures.device)
        places = put(np.flatnonzero(window == one), pictures.device)
        pictures[places] = torch.lerp(pictures[places], caption[:3], caption[3:])
    return pictures


def captions(side: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """(4, side, side) colour and opacity: one to three lines of text or blocks of colour."""
    canvas = torch.zeros(4, side, side, device=device)
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.25:
            _cover(canvas, _block(side, rng, device), _colour(rng, device, dark=0.7))
            continue
        text = _text(side, rng, device)
        rim = int(rng.choice((0, 3, 5)))
        if rim:
            around = F.max_pool2d(text[None], rim, 1, rim // 2)[0]
            _cover(canvas, around, _colour(rng, device, dark=0.9))
        _cover(canvas, text, _colour(rng, device, dark=0.1))
    return canvas


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


def _text(side: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """(1, side, side): a line of letters made of upright and level strokes, with edges of about one pixel."""
    height = math.exp(rng.uniform(math.log(9), math.log(max(10, side / 5))))
    dot = height / _ROWS
    letters = int(rng.integers(2, max(3, min(30, int(1.2 * side / (dot * (_COLS + 1)))))))
    dots = np.zeros((_ROWS, letters, _COLS + 1), bool)
    dots[:, :, 0:_COLS:2] |= rng.random((letters, 3)) < 0.5
    dots[0::3, :, :_COLS] |= (rng.random((3, letters)) < 0.5)[:, :, None]
    dots[:, rng.random(letters) < 0.15] = False  # between words
    line = np.pad(dots.reshape(_ROWS, -1), 1).astype(np.float32)
    size = [max(1, round(dot * extent * rng.uniform(0.85, 1.2))) for extent in line.shape]
    smooth = F.interpolate(put(line, device)[None, None], size=size, mode="bicubic")[0]
    line_opacity = ((smooth - 0.5) * dot + 0.5).clamp_(0.0, 1.0)[:, :side, :side]
    opacity = torch.zeros(1, side, side, device=device)
    rows, cols = line_opacity.shape[1:]
    top, left = (int(rng.integers(0, side - extent, endpoint=True)) for extent in (rows, cols))
    opacity[:, top : top + rows, left : left + cols] = line_opacity
    return opacity

"""Small pictures for looking at: flow as colour, labelled sheets, line plots, and PNG files.

Everything here takes and returns 8-bit RGB, ``uint8`` arrays of shape (height, width, 3). Only numpy and zlib are
needed, so any room may draw without a plotting package.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slomo_cli.whole import write_whole

RGB = npt.NDArray[np.uint8]
"""An 8-bit RGB picture, (height, width, 3)."""
Color = tuple[int, int, int]

_PAPER: Color = (32, 32, 36)
_INK: Color = (235, 235, 235)
_FAINT: Color = (84, 84, 92)
_PENS: tuple[Color, ...] = (
    (90, 170, 255),
    (255, 160, 60),
    (110, 210, 110),
    (235, 100, 110),
    (190, 140, 255),
    (230, 215, 90),
    (110, 215, 215),
    (240, 150, 205),
)

# Glyphs of 5x7 dots, one base-32 digit per row (the five dots, left dot highest). Lower case is drawn as capitals.
_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:-+=/\\()[]%_<>*#'\"!?|@&^~\N{MULTIPLICATION SIGN};"
_DOTS = (
    "ehhvhhhuhhuhhuehggghesihhhisvgguggvvggugggehgnhhehhhvhhhe44444e72222ichikokihggggggvhrllhhhhhpljhhehhhhhe"
    "uhhugggehhhliduhhukihfgge11uv444444hhhhhhehhhhha4hhhlllahha4ahhhhha444v1248gvehjlphe4c4444eeh1248vv2421he"
    "26aiv22vgu11he68guhhev124888ehhehheehhf12c000000000000cc0000c480cc0cc0000e000044v44000v0v0001248g00g84210"
    "24888428422248e88888ee22222eop248j3000000v0248420084248004lel40aavavaa4480000aaa00004444404eh124044444444"
    "ehnlngecik8lid4ah0000008l2000ha4ah00cc0c48"
)
_FONT = {character: _DOTS[7 * i : 7 * i + 7] for i, character in enumerate(_CHARACTERS)}
_UNKNOWN = "vhhhhhv"
GLYPH_HEIGHT = 7
_ADVANCE = 6


def text(line: str, color: Color = _INK, paper: Color = _PAPER, scale: int = 1) -> RGB:
    """One line of text, (7 * scale, 6 * len(line) * scale, 3); characters unknown to the font are boxes."""
    dots = np.zeros((GLYPH_HEIGHT, max(1, _ADVANCE * len(line))), bool)
    for place, character in enumerate(line):
        for row, digit in enumerate(_FONT.get(character) or _FONT.get(character.upper(), _UNKNOWN)):
            bits = int(digit, 32)
            for column in range(5):
                dots[row, place * _ADVANCE + column] = bits >> (4 - column) & 1
    dots = dots.repeat(scale, 0).repeat(scale, 1)
    return np.where(dots[..., None], np.array(color, np.uint8), np.array(paper, np.uint8))


def text_width(line: str, scale: int = 1) -> int:
    """Pixels ``text`` needs across."""
    return max(1, _ADVANCE * len(line)) * scale


# ------------------------------------------------------------------------------------------------ maps as colour


def _color_wheel() -> npt.NDArray[np.float64]:
    """The flow colour circle of Baker et al., "A Database and Evaluation Methodology for Optical Flow" (2011).

    Six arcs between red, yellow, green, cyan, blue and magenta, their lengths chosen there for even steps to the eye.
    """
    corners = np.array([(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)], float)
    lengths = (15, 6, 4, 11, 13, 6)
    arcs = [
        corners[i] + (corners[(i + 1) % 6] - corners[i]) * (np.arange(length) / length)[:, None]
        for i, length in enumerate(lengths)
    ]
    return np.concatenate(arcs)


def flow_to_rgb(flow: npt.NDArray[np.floating], largest: float | None = None) -> RGB:
    """Flow (height, width, 2) in pixels (x, y) as colour: hue is direction, paleness is shortness, white is still.

    ``largest``: the length in pixels drawn in full colour; None takes the 99.5th percentile of the lengths (at least
    one pixel). Longer vectors are darkened; unknown flow (not finite) is black.
    """
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"flow: expected shape (height, width, 2), found {flow.shape}")
    known = np.isfinite(flow).all(axis=2)
    u, v = (np.where(known, flow[..., i], 0.0).astype(np.float64) for i in (0, 1))
    length = np.hypot(u, v)
    if largest is None:
        largest = max(1.0, float(np.percentile(length, 99.5))) if length.size else 1.0
    wheel = _color_wheel()
    # The published circle starts at red for motion to the right (u > 0) and runs clockwise on the screen.
    place = (np.arctan2(-v, -u) / math.pi + 1) / 2 * len(wheel)
    low = np.floor(place).astype(int) % len(wheel)
    hue = wheel[low] + (place - np.floor(place))[..., None] * (wheel[(low + 1) % len(wheel)] - wheel[low])
    radius = (length / largest)[..., None]
    color = np.where(radius <= 1, 255 - radius * (255 - hue), hue * 0.75)
    color[~known] = 0
    painted: RGB = np.rint(color).astype(np.uint8)
    return painted


def gray_to_rgb(values: npt.NDArray[np.floating]) -> RGB:
    """A map (height, width) in [0, 1] as gray; values outside are clipped."""
    gray = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def error_to_rgb(picture: RGB, truth: RGB, gain: float = 4.0) -> RGB:
    """The absolute difference per channel, brightened ``gain`` times and clipped."""
    difference = np.abs(picture.astype(np.float32) - truth.astype(np.float32)) * gain
    bright: RGB = np.rint(np.clip(difference, 0, 255)).astype(np.uint8)
    return bright


# ----------------------------------------------------------------------------------------------------- sheets


class Tile(NamedTuple):
    """One picture of a sheet and the words above it."""

    picture: RGB
    label: str = ""


def shrink(picture: RGB, width: int) -> RGB:
    """The picture reduced by the smallest whole divisor that makes it so narrow, each pixel the mean of its block.

    What a whole divisor leaves over at the right and bottom is cut off (less than one block).
    """
    divisor = min(max(1, -(-picture.shape[1] // width)), picture.shape[0], picture.shape[1])
    if divisor == 1:
        return picture
    h, w = picture.shape[0] // divisor, picture.shape[1] // divisor
    blocks = picture[: h * divisor, : w * divisor].reshape(h, divisor, w, divisor, 3)
    small: RGB = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return small


def _paste(canvas: RGB, picture: RGB, x: int, y: int) -> None:
    """Put a picture on the canvas, cut where it hangs over the right or bottom edge."""
    room = canvas[y : y + picture.shape[0], x : x + picture.shape[1]]
    room[...] = picture[: room.shape[0], : room.shape[1]]


def sheet(rows: Sequence[Sequence[Tile | None]], title: str = "", scale: int = 1) -> RGB:
    """Lay labelled pictures out in rows and columns; None leaves a place empty.

    A column is as wide as its widest picture and a row as high as its highest; labels too long for their column are
    cut. ``title`` may hold several lines. ``scale`` enlarges the letters.
    """
    gap = 6
    columns = max((len(row) for row in rows), default=0)
    strip = GLYPH_HEIGHT * scale + 5
    widths = [
        max((row[i].picture.shape[1] for row in rows if i < len(row) and row[i] is not None), default=0)  # type: ignore[union-attr]
        for i in range(columns)
    ]
    heights = [max((tile.picture.shape[0] for tile in row if tile is not None), default=0) + strip for row in rows]
    lines = title.split("\n") if title else []
    top = gap + len(lines) * strip
    width = max(
        gap + sum(w + gap for w in widths), max((2 * gap + text_width(line, scale) for line in lines), default=0)
    )
    canvas: RGB = np.empty((top + sum(h + gap for h in heights), max(width, 1), 3), np.uint8)
    canvas[...] = _PAPER
    for i, line in enumerate(lines):
        _paste(canvas, text(line, scale=scale), gap, gap + i * strip)
    y = top
    for row, height in zip(rows, heights, strict=True):
        x = gap
        for tile, column_width in zip(row, widths, strict=False):
            if tile is not None:
                _paste(canvas, text(tile.label, scale=scale)[:, :column_width], x, y + 2)
                _paste(canvas, tile.picture, x, y + strip)
            x += column_width + gap
        y += height + gap
    return canvas


# ------------------------------------------------------------------------------------------------------ plots


def _steps(low: float, high: float) -> list[float]:
    """About five round numbers (1, 2 or 5 times a power of ten apart) covering most of low..high."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda nice: abs(nice - rough / power))
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _span(values: list[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """Smallest and largest finite value, never equal."""
    together = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.empty(0)
    low, high = (float(together.min()), float(together.max())) if together.size else (0.0, 1.0)
    if high - low > 1e-12 * max(abs(low), abs(high), 1e-300):
        return low, high
    room = abs(low) * 0.1 or 1.0
    return low - room, high + room


def line_plot(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str = "",
    x_label: str = "",
    log_y: bool = False,
    width: int = 800,
    height: int = 480,
) -> RGB:
    """Lines over one pair of axes, as training losses are looked at.

    ``series``: name -> (x values, y values), equally long; points that are not finite (or not positive where
    ``log_y``) interrupt their line. Returns (height, width, 3).
    """
    lines = {}
    for name, (xs, ys) in series.items():
        x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"series {name!r}: expected equally long lists, found {x.shape} and {y.shape}")
        if log_y:
            y = np.where(y > 0, np.log10(np.maximum(y, 1e-300)), np.nan)
        lines[name] = (x, y)
    x_low, x_high = _span([x for x, _ in lines.values()])
    y_low, y_high = _span([y for _, y in lines.values()])

    canvas: RGB = np.empty((height, width, 3), np.uint8)
    canvas[...] = _PAPER
    left, right, top, bottom = 70, width - 12, 30, height - 34

    def column(x: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        return np.asarray(left + (np.asarray(x) - x_low) / (x_high - x_low) * (right - left))

    def line_of(y: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        return np.asarray(bottom - (np.asarray(y) - y_low) / (y_high - y_low) * (bottom - top))

    for value in _steps(x_low, x_high):
        x0 = int(np.rint(column(value)))
        canvas[top:bottom, x0] = _FAINT
        word = f"{value:g}"
        _paste(canvas, text(word), max(0, min(x0 - text_width(word) // 2, width - text_width(word))), bottom + 5)
    for value in _steps(y_low, y_high):
        y0 = int(np.rint(line_of(value)))
        canvas[y0, left:right] = _FAINT
        word = f"{10**value:.3g}" if log_y else f"{value:.4g}"
        _paste(canvas, text(word), max(0, left - 4 - text_width(word)), max(0, y0 - GLYPH_HEIGHT // 2))
    canvas[top : bottom + 1, left] = _INK
    canvas[bottom, left : right + 1] = _INK
    _paste(canvas, text(title), left, 4)
    _paste(canvas, text(x_label), max(0, right - text_width(x_label)), height - GLYPH_HEIGHT - 4)

    legend = left + 8
    for pen, (name, (xs_, ys_)) in zip(cycle(_PENS), lines.items(), strict=False):
        _draw(canvas, column(xs_), line_of(ys_), pen)
        _paste(canvas, text(name, color=pen), legend, 17)
        legend += text_width(name) + 14
    return canvas


def _draw(canvas: RGB, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], pen: Color) -> None:
    """A line two pixels thick through the points; a point alone is a dot."""
    for i in range(len(x)):
        if not (np.isfinite(x[i]) and np.isfinite(y[i])):
            continue
        joined = i + 1 < len(x) and np.isfinite(x[i + 1]) and np.isfinite(y[i + 1])
        to_x, to_y = (x[i + 1], y[i + 1]) if joined else (x[i], y[i])
        count = int(max(abs(to_x - x[i]), abs(to_y - y[i]))) + 2
        columns = np.rint(np.linspace(x[i], to_x, count)).astype(int)
        rows = np.rint(np.linspace(y[i], to_y, count)).astype(int)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            canvas[np.clip(rows + dy, 0, canvas.shape[0] - 1), np.clip(columns + dx, 0, canvas.shape[1] - 1)] = pen


# ------------------------------------------------------------------------------------------------------- files


def encode_png(picture: RGB) -> bytes:
    """An RGB picture as the bytes of a PNG file (ISO/IEC 15948): 8 bits, rows filtered by "up"."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"expected uint8 of shape (height, width, 3), found {picture.dtype} {picture.shape}")
    height, width, _ = picture.shape
    rows = picture.reshape(height, width * 3)
    filtered = np.full((height, 1 + width * 3), 2, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_png(path: str | Path, picture: RGB) -> None:
    """Write an RGB picture as PNG; the file appears complete or not at all. Raises SlomoError where it cannot."""
    write_whole(path, encode_png(picture))

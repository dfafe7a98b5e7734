"""A clip to measure on: a textured background that pans, with textured discs crossing it. The same at every call."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slomo_cli.errors import EncoderError
from slomo_cli.media.ffmpeg import Tools, last_words, literal

if TYPE_CHECKING:
    import numpy.typing as npt

    Planes = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

RATE = Fraction(30)


def write_clip(path: Path, width: int, height: int, frames: int, tools: Tools) -> None:
    """H.264 where this ffmpeg has it, else MPEG-4; 4:2:0, 30 frames per second. EncoderError in ffmpeg's words."""
    codec = ["libx264", "-preset", "veryfast", "-crf", "18"] if "libx264" in tools.encoders else ["mpeg4", "-q:v", "2"]
    command = [tools.path, "-hide_banner", "-nostats", "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-video_size", f"{width}x{height}", "-framerate", str(RATE), "-i", "pipe:0"]
    command += ["-pix_fmt", "yuv420p", "-c:v", *codec, "-y", literal(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            for planes in pictures(width, height, frames):
                for plane in planes:
                    process.stdin.write(plane.tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg says why
        words = last_words(process.stderr.read().decode("utf-8", "replace"))
    if process.returncode != 0:
        raise EncoderError(f"ffmpeg could not make a clip to measure on: {words or f'exit code {process.returncode}'}")


def pictures(width: int, height: int, frames: int) -> Iterator[Planes]:
    """Planes Y, U, V of each picture; width and height even.

    Motion grows with the picture: per frame about 1/90 of its height for the background, up to 1/30 for the discs.
    """
    rng = np.random.default_rng(20180618)
    step = 2 * max(1, height // 180)  # even, so that chroma moves by whole samples
    background = _texture(rng, height + step * frames, width + step * frames)
    discs = []
    for k in range(5):
        radius = max(4, height // (6 + k))
        discs.append((_texture(rng, 2 * radius, 2 * radius), rng.random(2), rng.integers(-3, 4, 2) * step, radius))
    for number in range(frames):
        y = x = step * number // 2 * 2
        picture = [
            background[0][y : y + height, x : x + width].copy(),
            *(plane[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2].copy() for plane in background[1:]),
        ]
        for texture, start, speed, radius in discs:
            top = (int(start[0] * height) + int(speed[0]) * number) % height // 2 * 2
            left = (int(start[1] * width) + int(speed[1]) * number) % width // 2 * 2
            _paste(picture, texture, top - radius, left - radius, radius)
        yield picture[0], picture[1], picture[2]


def _paste(picture: list[Any], texture: list[Any], top: int, left: int, radius: int) -> None:
    """A disc of texture over the picture, cut off at its edges."""
    for plane, samples, shrink in zip(picture, texture, (1, 2, 2), strict=True):
        height, width = plane.shape
        r, y, x = radius // shrink, top // shrink, left // shrink
        rows, columns = np.ogrid[-r:r, -r:r]
        inside = rows * rows + columns * columns < r * r
        y0, y1, x0, x1 = max(y, 0), min(y + 2 * r, height), max(x, 0), min(x + 2 * r, width)
        if y0 < y1 and x0 < x1:
            part = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
            np.copyto(plane[y0:y1, x0:x1], samples[: 2 * r, : 2 * r][part], where=inside[part])


def _texture(rng: np.random.Generator, height: int, width: int) -> list[Any]:
    """Luma and two chroma planes of noise at several scales: coarse shapes with fine detail on them."""
    planes = []
    for h, w, low, high in (
        (height, width, 30, 220),
        (height // 2, width // 2, 80, 176),
        (height // 2, width // 2, 80, 176),
    ):
        total = np.zeros((h, w), np.float32)
        for scale, strength in ((64, 4.0), (16, 2.0), (4, 0.6), (1, 0.06)):
            coarse = rng.random((h // scale + 2, w // scale + 2), np.float32) - 0.5
            total += strength * _enlarged(coarse, scale, h, w)
        total = (total - total.min()) / max(float(np.ptp(total)), 1e-6)
        planes.append((low + (high - low) * total).astype(np.uint8))
    return planes


def _enlarged(coarse: npt.NDArray[np.float32], scale: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Bilinear."""
    y, x = (np.arange(side, dtype=np.float32) / scale for side in (height, width))
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = (y - y0)[:, None], x - x0
    wide = coarse[:, x0] * (1 - fx) + coarse[:, x0 + 1] * fx
    enlarged: npt.NDArray[np.float32] = wide[y0] * (1 - fy) + wide[y0 + 1] * fy
    return enlarged

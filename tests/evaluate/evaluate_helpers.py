"""Pictures and clips that the tests of evaluation make for themselves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from slomo_cli.picture import write_png

SIZE = (32, 48)
"""Height and width of a test picture; large enough for SSIM's window."""


def moving(step: float, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth pattern moved ``step`` pixels to the right: (height, width, 3) ``uint8``."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, 3)
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    waves = [np.sin((x - step) / (4 + c) + y / 7 + phase[c]) for c in range(3)]
    return np.rint(127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def write_pictures(folder: Path, *pictures: np.ndarray, names: list[str]) -> None:
    """Pictures as PNG under the names, the folder made."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture, name in zip(pictures, names, strict=True):
        write_png(folder / name, picture)


def write_video(path: Path, pictures: list[np.ndarray], rate: int = 25, stamps: list[int] | None = None) -> None:
    """A lossless RGB video; ``stamps`` in ticks of a thousandth of a second make it one of uneven rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0"
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
            frame.pts = index if stamps is None else stamps[index]
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)

"""What the tests of training share: clips and photos from formulas, and a network small enough to train in a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.warp import approximate_flows
from slomo_cli.train.cache import GRID, Clip, _cells
from slomo_cli.train.settings import LossWeights, TrainSettings, WindowSettings

CPU = torch.device("cpu")


def wave(height: int, width: int, shift: float) -> npt.NDArray[np.float64]:
    """A smooth pattern in 0..1 that has moved right by ``shift`` pixels; every place is different."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    x = x - shift
    return 0.5 + 0.2 * np.sin(x / 7 + y / 19) + 0.2 * np.sin(x / 23 - y / 11) + 0.1 * np.sin((x + 2 * y) / 5)


def moving_clip(
    frames: int = 12, height: int = 96, width: int = 128, speed: float = 2.0, name: str = "wave.mp4"
) -> Clip:
    """A clip moving right by ``speed`` pixels a frame, 30 frames a second; chroma moves with it."""
    pictures = np.empty((frames, height * 3 // 2, width), np.uint8)
    for k in range(frames):
        pictures[k, :height] = np.round(16 + 219 * wave(height, width, speed * k))
        chroma = np.round(16 + 224 * wave(height // 2, width // 2, speed * k / 2))
        pictures[k, height:] = np.stack((chroma, 255 - chroma)).reshape(height // 2, width)
    luma = pictures[:, :height:2, ::2].astype(np.int16)
    motion = np.zeros((frames, GRID, GRID), np.float32)
    for k in range(1, frames):
        motion[k] = _cells(np.abs(luma[k] - luma[k - 1]))
    return Clip(Path(name), pictures, np.arange(frames) / 30, motion, np.zeros(frames, bool))


def photo(height: int = 160, width: int = 200, seed: int = 0) -> npt.NDArray[np.uint8]:
    """(3, height, width) smooth coloured noise."""
    rng = np.random.default_rng(seed)
    knots = torch.from_numpy(rng.random((1, 3, 14, 14)).astype(np.float32))
    return (F.interpolate(knots, (height, width), mode="bicubic")[0].clamp(0, 1) * 255).round().byte().numpy()


class TinyNet(nn.Module):
    """Follows InterpolationNet with a few hundred weights."""

    stride = 8
    cell = 1

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.flow = nn.Sequential(nn.Conv2d(6, width, 5, 2, 2), nn.Tanh(), nn.Conv2d(width, 4, 3, 1, 1))
        self.refine = nn.Conv2d(6, 6, 3, 1, 1)

    def pair(self, i0: Tensor, i1: Tensor) -> PairState:
        flow = F.interpolate(self.flow(torch.cat((i0, i1), 1)).float(), scale_factor=2, mode="bilinear")
        return PairState(flow[:, :2], flow[:, 2:], (i0, i1))

    def at(self, state: PairState, index: Tensor, t: Tensor) -> Motion:
        flow_t0, flow_t1 = approximate_flows(state.flow_01[index], state.flow_10[index], t)
        i0, i1 = state.extra
        more = self.refine(torch.cat((i0[index], i1[index]), 1)).float()
        shares = torch.sigmoid(more[:, 4:]).split(1, 1)
        return Motion(flow_t0 + more[:, :2], flow_t1 + more[:, 2:4], *shares)

    def forward(self, i0: Tensor, i1: Tensor, t: Tensor) -> Motion:
        return self.at(self.pair(i0, i1), torch.arange(i0.shape[0]), t)


def tiny_settings(**changes: object) -> TrainSettings:
    """Settings for steps of a few milliseconds, in float32."""
    usual: dict[str, object] = {
        "batch": 3,
        "steps": 6,
        "dtype": "float32",
        "log_every": 2,
        "warmup_steps": 2,
        "windows": WindowSettings(crop=64, lengths=(2, 3), length_weights=(0.5, 0.5), targets=2),
        "losses": LossWeights(1.0, 0.0, 0.1, 0.05, flow=0.1, visibility=0.1),
    }
    return TrainSettings(**(usual | changes))  # type: ignore[arg-type]


def write_video(path: Path, clip: Clip, **options: str) -> Path:
    """The clip as an H.264 file, nearly lossless unless x264's ``options`` say otherwise."""
    import av

    height, width = clip.height, clip.width
    with av.open(str(path), "w") as container:
        usual = {"qp": "4", "preset": "ultrafast", "threads": "1"}
        stream = container.add_stream("libx264", rate=30, options=usual | options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in clip.frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="yuv420p")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """As on a full disk: files end after ``size`` bytes."""
    import resource  # not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

"""Windows of real video: the first and last frame are the network's inputs, frames between are its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.errors import InputError
from slomo_cli.train.cache import Clip

CUT_CHANGE = 16.0
"""Mean luma change, 0..255, above which a jump that also stands out from its neighbours is taken for a cut."""
DUPLICATE_CHANGE = 0.02
"""Mean luma change below which two frames are taken for the same picture."""


class Batch(NamedTuple):
    """N windows with T targets each, on the training device."""

    i0: Tensor
    """(N, 3, H, W) RGB float32 in [0, 1]: first frame of each window."""
    i1: Tensor
    """(N, 3, H, W): last frame."""
    targets: Tensor
    """(N * T, 3, H, W): the T targets of window 0, then of window 1, ..."""
    index: Tensor
    """(N * T,) int64: which window a target belongs to."""
    t: Tensor
    """(N * T,) float32 in (0, 1): the target's own time."""
    truth: Truth | None = None
    """Exact motion, for synthetic windows."""


class Truth(NamedTuple):
    """Exact motion of synthetic windows; flows in pixels (x, y)."""

    flow_01: Tensor
    """(N, 2, H, W)."""
    flow_10: Tensor
    """(N, 2, H, W)."""
    flow_t0: Tensor
    """(N * T, 2, H, W)."""
    flow_t1: Tensor
    """(N * T, 2, H, W)."""
    seen_0: Tensor
    """(N * T, 1, H, W) bool: the pixel at time t is visible in frame 0."""
    seen_1: Tensor
    """(N * T, 1, H, W) bool."""


@dataclass(frozen=True)
class WindowSettings:
    """How windows are drawn."""

    crop: int = 128
    """Side of the square the network sees, pixels; a multiple of 32."""
    lengths: tuple[int, ...] = (2, 3, 4, 6, 8)
    """Frame steps between the two inputs."""
    length_weights: tuple[float, ...] = (0.5, 0.14, 0.16, 0.1, 0.1)
    targets: int = 2
    """Targets per window; all share one flow computation."""


def cuts_of(change: np.ndarray) -> np.ndarray:
    """(frames,) bool: True where the picture jumps between a frame and the one before.

    ``change``: mean luma change per frame. A cut is a large change that stands three times above the median of its
    eight neighbours: fast motion is large too, but lasts.
    """
    padded = np.pad(change, 4, mode="edge")
    around = np.stack([padded[k : k + len(change)] for k in range(9) if k != 4])
    return np.asarray((change > CUT_CHANGE) & (change > 3.0 * np.median(around, axis=0)))


class WindowSampler:
    """Draws random windows from clips, more often where there is motion."""

    def __init__(self, clips: Sequence[Clip], settings: WindowSettings, device: torch.device) -> None:
        usable = [clip for clip in clips if len(clip.change) >= 3 and min(clip.height, clip.width) >= 64]
        if not usable:
            raise InputError(
                "training data: every video is unreadable, shorter than 3 frames or below 64 pixels a side"
            )
        self.settings = settings
        self.device = device
        # On a device of its own the pictures live there; on the CPU the memory-mapped cache is read in place.
        self._frames: list[Tensor] = [
            torch.from_numpy(np.asarray(c.frames)).to(device) if device.type != "cpu" else _mapped(c) for c in usable
        ]
        self._starts: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for length in settings.lengths:
            self._starts[length] = self._index(usable, length)
        if not any(len(clip) for clip, _, _ in self._starts.values()):
            raise InputError("training data: no window without a cut or repeated frames; give longer videos")

    @staticmethod
    def _index(clips: Sequence[Clip], length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(clip, start, cumulative probability) of every window of this length free of cuts and duplicates."""
        which, starts, weights = [], [], []
        for number, clip in enumerate(clips):
            bad = (cuts_of(clip.change) | (clip.change < DUPLICATE_CHANGE)).astype(np.int64)
            bad[0] = 0
            inner = np.concatenate(([0], np.cumsum(bad)))
            first = np.arange(max(0, len(clip.change) - length))
            clean = inner[first + length + 1] - inner[first + 1] == 0
            total = np.concatenate(([0.0], np.cumsum(clip.change)))
            motion = (total[first + length + 1] - total[first + 1]) / length
            which.append(np.full(int(clean.sum()), number))
            starts.append(first[clean])
            # Nearly static windows teach little; very large changes are mostly blur and noise.
            weights.append(np.clip(motion[clean], 0.15, 8.0))
        weight = np.concatenate(weights)
        return np.concatenate(which), np.concatenate(starts), np.cumsum(weight) / max(weight.sum(), 1e-9)

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """``count`` windows, augmented (crop, scale, flips, transposition, time reversal, channel shuffle, gain)."""
        targets, crop = self.settings.targets, self.settings.crop
        probabilities = np.asarray(self.settings.length_weights) / sum(self.settings.length_weights)
        stacks, times = [], []
        for _ in range(count):
            length = 0
            while not length or not len(self._starts[length][0]):
                length = int(rng.choice(self.settings.lengths, p=probabilities))
            clip, start, cumulative = self._starts[length]
            k = min(int(np.searchsorted(cumulative, rng.random())), len(clip) - 1)
            inside = rng.choice(np.arange(1, length), size=targets, replace=length - 1 < targets)
            offsets = [0, length, *(int(i) for i in inside)]
            if rng.random() < 0.5:
                offsets = [length - o for o in offsets]
            frames = self._frames[int(clip[k])]
            stack = self._crop(frames, int(start[k]), offsets, crop, rng)
            stacks.append(_augment(stack, rng))
            first, last = offsets[:2]
            times.extend((o - first) / (last - first) for o in offsets[2:])
        pictures = torch.stack(stacks)  # (N, 2 + T, 3, crop, crop)
        return Batch(
            i0=pictures[:, 0],
            i1=pictures[:, 1],
            targets=pictures[:, 2:].flatten(0, 1),
            index=torch.arange(count, device=self.device).repeat_interleave(targets),
            t=torch.tensor(times, dtype=torch.float32, device=self.device),
        )

    def _crop(self, frames: Tensor, start: int, offsets: Sequence[int], crop: int, rng: np.random.Generator) -> Tensor:
        """(len(offsets), 3, crop, crop) RGB from one place of a clip; of two places drawn, the one that moves more."""
        height, width = frames.shape[1] * 2 // 3, frames.shape[2]
        largest = min(height, width) // 2 * 2
        scale = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.75, 2.0))
        side = min(largest, max(64, round(crop * scale / 2) * 2))
        best: tuple[float, int, int] | None = None
        for _ in range(2 if rng.random() < 0.7 else 1):
            y = int(rng.integers(0, (height - side) // 2 + 1)) * 2
            x = int(rng.integers(0, (width - side) // 2 + 1)) * 2
            a = frames[start, y : y + side : 4, x : x + side : 4].float()
            b = frames[start + max(offsets), y : y + side : 4, x : x + side : 4].float()
            motion = float((a - b).abs().mean())
            if best is None or motion > best[0]:
                best = (motion, y, x)
        assert best is not None
        _, y, x = best
        rows = torch.stack([frames[start + o] for o in offsets]) if frames.device.type != "cpu" else None
        picked = [frames[start + o] if rows is None else rows[k] for k, o in enumerate(offsets)]
        rgb = torch.stack([_rgb(p, height, width, y, x, side) for p in picked])
        if side != crop:
            rgb = F.interpolate(rgb, size=(crop, crop), mode="bilinear", align_corners=False, antialias=True)
        return rgb.clamp_(0.0, 1.0)


def _mapped(clip: Clip) -> Tensor:
    """A tensor over the memory-mapped cache, without reading it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that the map is read-only; nothing here writes to it
        return torch.from_numpy(clip.frames)


def _rgb(picture: Tensor, height: int, width: int, y: int, x: int, side: int) -> Tensor:
    """(3, side, side) RGB in [0, 1] of a square of a packed YUV 4:2:0 picture (BT.601, limited range)."""
    luma = picture[y : y + side, x : x + side].float()
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    chroma = chroma[:, y // 2 : (y + side) // 2, x // 2 : (x + side) // 2].float()
    chroma = F.interpolate(chroma[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    luma = (luma - 16.0) * (1.0 / 219.0)
    cb, cr = ((chroma - 128.0) * (1.0 / 224.0)).unbind(0)
    return torch.stack((luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb))


def _augment(stack: Tensor, rng: np.random.Generator) -> Tensor:
    """Flips, transposition, channel shuffle and a gain shared by all pictures of a window."""
    if rng.random() < 0.5:
        stack = stack.flip(-1)
    if rng.random() < 0.5:
        stack = stack.flip(-2)
    if rng.random() < 0.5:
        stack = stack.transpose(-1, -2)
    if rng.random() < 0.3:
        stack = stack[:, torch.from_numpy(rng.permutation(3)).to(stack.device)]
    if rng.random() < 0.3:
        stack = (stack * float(rng.uniform(0.7, 1.25))).clamp(0.0, 1.0)
    return stack

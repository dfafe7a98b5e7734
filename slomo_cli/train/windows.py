"""Windows of real video: the first and last frame are the network's inputs, frames between are its targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slomo_cli.errors import InputError
from slomo_cli.net.warp import pixel_grid
from slomo_cli.train.cache import GRID, Clip
from slomo_cli.train.captions import lay_captions
from slomo_cli.train.light import relight
from slomo_cli.train.settings import WindowSettings
from slomo_cli.train.spoil import roughen
from slomo_cli.train.store import Ints, Place, Squares, Store, put

Floats = npt.NDArray[np.float64]
Part = Literal["train", "held-out"]

STILL_CHANGE = 0.02
"""Mean luma change, 0..255, below which a frame shows the picture before it still. Decoding has left out repeats amid
motion (``repeats.DuplicateFilter``); what stands still for longer, and the last frame before a cut, is left to
it."""
UNEVEN = 1.75
"""A window whose longest frame step is more than so many times its shortest has lost frames and is left out."""
STATIC, WILD = 0.15, 8.0
"""Mean luma change per frame between which windows are drawn in proportion to it: nearly static ones teach little,
and beyond some point it is mostly blur and noise."""
LONG_CLIP = 240
"""Frames from which on a clip gives up a piece for validation."""
HELD_OUT_AT = 0.7
"""Where that piece begins, as a share of the clip: the end would be credits."""


class Truth(NamedTuple):
    """Exact motion of synthetic windows; flows in pixels (x, y)."""

    flow_01: Tensor
    """(N, 2, H, W)."""
    flow_10: Tensor
    """(N, 2, H, W)."""
    flow_t0: Tensor
    """(M, 2, H, W)."""
    flow_t1: Tensor
    """(M, 2, H, W)."""
    seen_0: Tensor
    """(M, 1, H, W) bool: the pixel at time t is visible in frame 0."""
    seen_1: Tensor
    """(M, 1, H, W) bool."""


class Batch(NamedTuple):
    """N windows with M targets in all, on the training device."""

    i0: Tensor
    """(N, 3, H, W) RGB float32 in [0, 1]: first frame of each window."""
    i1: Tensor
    """(N, 3, H, W): last frame."""
    targets: Tensor
    """(M, 3, H, W): targets of window 0, then of window 1, ..."""
    index: Tensor  # type: ignore[assignment]  # a tuple has a method of this name
    """(M,) int64: which window a target belongs to."""
    t: Tensor
    """(M,) float32 in (0, 1): the target's own time."""
    truth: Truth | None = None
    """Exact motion of the last windows, where those are synthetic."""

    def cropped(self, y: int, x: int, side: int) -> Batch:
        """The square of ``side`` pixels at (y, x) of everything; what lies beyond it in a frame is not seen there."""

        def cut(pictures: Tensor) -> Tensor:
            return pictures[..., y : y + side, x : x + side]

        def inside(flow: Tensor) -> Tensor:
            place = pixel_grid(side, side, flow.device) + flow
            return ((place >= 0) & (place <= side - 1)).all(1, keepdim=True)

        truth = self.truth and Truth(*map(cut, self.truth))
        if truth is not None:
            truth = truth._replace(
                seen_0=truth.seen_0 & inside(truth.flow_t0), seen_1=truth.seen_1 & inside(truth.flow_t1)
            )
        return Batch(cut(self.i0), cut(self.i1), cut(self.targets), self.index, self.t, truth)


class _Frames(NamedTuple):
    """All different frames of all clips, one after another."""

    clip: Ints
    number: Ints
    """Frame number in the clip."""
    time: Floats
    """Seconds in the clip."""
    change: Floats
    """Mean luma change to the frame before."""
    joined: npt.NDArray[np.bool_]
    """The frame before belongs to the same scene."""
    held_out: npt.NDArray[np.bool_]
    integral: npt.NDArray[np.float32]
    """(frames, GRID + 1, GRID + 1): sums of the motion grid over rows and columns."""


def _frames_of(clips: Sequence[Clip], hold_out: float) -> _Frames:
    columns: list[tuple[npt.NDArray[np.generic], ...]] = []
    for number, clip in enumerate(clips):
        change = clip.motion.mean((1, 2)).astype(np.float64)
        moved = change >= STILL_CHANGE
        moved[0] = True
        (kept,) = np.nonzero(moved)
        change = change[kept]
        joined = ~clip.cuts[kept]
        joined[0] = False
        held = np.zeros(len(kept), bool)
        if len(kept) >= LONG_CLIP:
            first = round(len(kept) * HELD_OUT_AT)
            held[first : first + round(len(kept) * hold_out)] = True
        integral = np.zeros((len(kept), GRID + 1, GRID + 1), np.float32)
        integral[:, 1:, 1:] = clip.motion[kept].cumsum(1).cumsum(2)
        columns.append((np.full(len(kept), number), kept, clip.times[kept], change, joined, held, integral))
    return _Frames(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _starts(frames: _Frames, length: int, part: Part) -> tuple[Ints, Floats]:
    """(start, cumulative probability) of every window of this length within one scene, at an even pace."""
    count = len(frames.clip) - length
    if count <= 0:
        return np.zeros(0, np.int64), np.zeros(0)

    def over(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """(count, length): the values of the steps of each window."""
        return np.lib.stride_tricks.sliding_window_view(values[1:], length)

    steps = over(np.diff(frames.time, prepend=0.0))
    held = frames.held_out
    usable = (
        over(frames.joined).all(1)
        & (steps.max(1) <= UNEVEN * np.maximum(steps.min(1), 1e-6))
        & ((held[:count] & held[length:]) if part == "held-out" else ~(held[:count] | held[length:]))
    )
    (start,) = np.nonzero(usable)
    motion = over(frames.change).mean(1)[start]
    weight = np.clip(motion.astype(np.float64), STATIC, WILD)
    return start, np.cumsum(weight) / max(weight.sum(), 1e-9)


class _Plan(NamedTuple):
    """A batch before any pixel is read: K pictures of N windows, first frames, last frames, then targets."""

    window: Ints
    """(K,) which window each picture belongs to."""
    frame: Ints
    """(K,) index into the frames."""
    t: Floats
    """(M,) times of the targets."""
    y: Ints
    x: Ints
    side: Ints
    """(N,) place and size of each window's square."""


class WindowSampler:
    """Draws random windows from clips, more often where there is motion."""

    def __init__(
        self,
        clips: Sequence[Clip],
        settings: WindowSettings,
        device: torch.device,
        *,
        part: Part = "train",
        store: Store | None = None,
        place: Place = "auto",
    ) -> None:
        """``store``: of another sampler over the same clips. Raises InputError where no window can be had."""
        usable = [clip for clip in clips if len(clip.times) >= 3 and min(clip.height, clip.width) >= 64]
        if not usable:
            raise InputError(
                "training data: every video is unreadable, shorter than 3 frames or below 64 pixels a side; "
                "give other videos"
            )
        self.settings = settings
        self.device = device
        self._frames = _frames_of(usable, settings.hold_out)
        self._size = np.array([(clip.height, clip.width) for clip in usable], np.int64)
        found = {length: _starts(self._frames, length, part) for length in settings.lengths}
        self._windows = {length: found[length] for length in settings.lengths if len(found[length][0])}
        if not self._windows:
            raise InputError(
                "training data: no window without a cut, a gap or repeated frames; give longer or livelier videos"
            )
        drawn = np.unique(self._frames.clip[np.concatenate([starts for starts, _ in self._windows.values()])])
        self.clips = [usable[number] for number in drawn]
        """Those that windows are drawn from."""
        self.store = store or Store([clip.frames.reshape(-1) for clip in usable], device, place)
        chances = np.array(
            [w for length, w in zip(settings.lengths, settings.length_weights, strict=True) if length in self._windows]
        )
        self._lengths, self._chances = np.array(list(self._windows)), chances / chances.sum()
        self.targets_per_window = float((np.minimum(settings.targets, self._lengths - 1) * self._chances).sum())
        """Mean over the lengths drawn: a short window has fewer frames between than ``settings.targets``."""

    @property
    def count(self) -> int:
        """Windows there are to draw from, all lengths together."""
        return sum(len(starts) for starts, _ in self._windows.values())

    @property
    def seconds(self) -> float:
        """Length of the material."""
        steps = np.diff(self._frames.time, prepend=0.0)
        return float(steps[self._frames.joined].sum())

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """``count`` windows, augmented: crop, scale, flips, transposition, time reversal, channel shuffle, gain,
        changing light, captions, compression and noise."""
        plan = self._plan(count, rng)
        t = np.concatenate((np.zeros(count), np.ones(count), plan.t))
        pictures = relight(self._read(plan, *_colours(count, rng)), plan.window, t, self.settings.relit, rng)
        pictures = lay_captions(pictures, plan.window, t, self.settings.captions, rng)
        if self.settings.spoiled:
            inputs = pictures[: 2 * count].view(2, count, *pictures.shape[1:]).transpose(0, 1)
            roughen(inputs, self.settings.spoiled, rng)
        turns: tuple[Callable[[Tensor], Tensor], ...] = (
            lambda some: some.flip(-1),
            lambda some: some.flip(-2),
            lambda some: some.transpose(-1, -2),
        )
        for turn, chosen in zip(turns, rng.random((3, count)) < 0.5, strict=True):
            rows = put(np.flatnonzero(chosen[plan.window]), self.device)
            pictures[rows] = turn(pictures[rows])
        return self._batch(plan, pictures)

    def draw_plain(self, count: int, rng: np.random.Generator) -> Batch:
        """``count`` windows as they are, at full scale: for validation."""
        plan = self._plan(count, rng, plain=True)
        matrix, offset = np.broadcast_to(_BT601, (count, 3, 3)), np.broadcast_to(_BLACK, (count, 3))
        return self._batch(plan, self._read(plan, matrix, offset))

    def _batch(self, plan: _Plan, pictures: Tensor) -> Batch:
        count = len(plan.side)
        return Batch(
            i0=pictures[:count],
            i1=pictures[count : 2 * count],
            targets=pictures[2 * count :],
            index=put(plan.window[2 * count :], self.device),
            t=put(plan.t.astype(np.float32), self.device),
        )

    def _plan(self, count: int, rng: np.random.Generator, plain: bool = False) -> _Plan:
        frames, settings = self._frames, self.settings
        length = rng.choice(self._lengths, size=count, p=self._chances)
        luck = rng.random(count)
        start = np.empty(count, np.int64)
        for one, (starts, cumulative) in self._windows.items():
            here = length == one
            found = np.searchsorted(cumulative, luck[here])
            start[here] = starts[np.minimum(found, len(starts) - 1)]
        backwards = rng.random(count) < (0.0 if plain else 0.5)
        first, last = start + length * backwards, start + length * ~backwards
        owner, between = _share_targets(length, round(count * self.targets_per_window), settings.targets, rng)
        target = start[owner] + between
        t = (frames.time[target] - frames.time[first[owner]]) / (frames.time[last] - frames.time[first])[owner]

        height, width = self._size[frames.clip[start]].T
        scale = np.where(rng.random(count) < settings.rescaled, rng.uniform(*settings.scales, count), 1.0)
        side = np.round(settings.crop * (1.0 if plain else scale) / 2).astype(np.int64) * 2 * np.ones(count, np.int64)
        side = np.minimum(np.maximum(side, 64), np.minimum(height, width) // 2 * 2)
        # Of two places drawn, often the one that moves more.
        place, other = (
            tuple((rng.random(count) * ((extent - side) // 2 + 1)).astype(np.int64) * 2 for extent in (height, width))
            for _ in range(2)
        )
        livelier = self._motion(start, length, other, side) > self._motion(start, length, place, side)
        livelier &= rng.random(count) < 0.7
        y, x = (np.where(livelier, b, a) for a, b in zip(place, other, strict=True))
        windows = np.arange(count)
        return _Plan(np.concatenate((windows, windows, owner)), np.concatenate((first, last, target)), t, y, x, side)

    def _motion(self, start: Ints, length: Ints, corner: tuple[Ints, ...], side: Ints) -> Floats:
        """(N,) mean change within squares at (y, x), of the first and last step of each window."""
        y, x = corner
        height, width = self._size[self._frames.clip[start]].T
        top, left = (np.minimum(a * GRID // b, GRID - 1) for a, b in ((y, height), (x, width)))
        bottom, right = (
            np.minimum(np.maximum(-(-(a + side) * GRID // b), c + 1), GRID)
            for a, b, c in ((y, height, top), (x, width, left))
        )
        total = np.zeros(len(start))
        for at in (start + 1, start + length):
            sums = self._frames.integral[at]
            each = np.arange(len(start))
            total += (
                sums[each, bottom, right] - sums[each, top, right] - sums[each, bottom, left] + sums[each, top, left]
            )
        return np.asarray(total / ((bottom - top) * (right - left)))

    def _read(self, plan: _Plan, matrix: npt.NDArray[np.floating], offset: npt.NDArray[np.floating]) -> Tensor:
        """(K, 3, crop, crop) RGB in [0, 1]; ``matrix`` (N, 3, 3) and ``offset`` (N, 3) turn YUV 0..255 into it."""
        frames, crop = self._frames, self.settings.crop
        clip = frames.clip[plan.frame]
        height, width = self._size[clip].T
        y, x, side = plan.y[plan.window], plan.x[plan.window], plan.side[plan.window]
        base = frames.number[plan.frame] * (height * width * 3 // 2)
        luma = self.store.squares(Squares(clip, base + y * width + x, width, side), crop)
        quarter = base + height * width + y // 2 * (width // 2) + x // 2
        places = np.concatenate((quarter, quarter + height * width // 4))
        chroma = self.store.squares(
            Squares(np.tile(clip, 2), places, np.tile(width // 2, 2), np.tile(side // 2, 2)), crop
        )
        yuv = torch.stack((luma, *chroma.chunk(2)), 1).flatten(2)
        per_picture = np.concatenate((matrix, offset[..., None]), 2).astype(np.float32)[plan.window]
        weights = put(per_picture, self.device)
        rgb = torch.baddbmm(weights[..., 3:], weights[..., :3], yuv).clamp_(0.0, 1.0)
        return rgb.view(-1, 3, crop, crop)


def _share_targets(length: Ints, total: int, most: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """``total`` targets for windows of these lengths: (window, frame between) of each, by window.

    One each at least and ``most`` at most, all different where the windows have enough frames between. The number is
    the same for every batch, so that shapes never change.
    """
    window = np.repeat(np.arange(len(length)), length - 1)
    between = np.concatenate([np.arange(1, one) for one in length])
    order = np.argsort(rng.random(len(window)))
    # Rank of each candidate within its window: the first `most` may be taken, the very first must.
    by_window = order[np.argsort(window[order], kind="stable")]
    rank = np.empty(len(window), np.int64)
    rank[by_window] = np.arange(len(window)) - np.concatenate(([0], np.cumsum(length - 1)))[window[by_window]]
    # First ranks come before all others; those beyond `most` never.
    (eligible,) = np.nonzero(rank < most)
    eligible = eligible[np.argsort((rank[eligible] > 0) + rng.random(len(eligible)))]
    chosen = np.resize(eligible, max(total, len(length)))
    chosen = chosen[np.argsort(window[chosen], kind="stable")]
    return window[chosen], between[chosen]


_BT601 = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]]) / [219.0, 224.0, 224.0]
"""Limited-range YUV, less its offsets, to RGB in [0, 1]."""
_BLACK = -_BT601 @ [16.0, 128.0, 128.0]


def _colours(count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(count, 3, 3) and (count, 3): YUV to RGB with, now and then, channels shuffled and a gain, the same for all
    pictures of a window."""
    order = np.where(
        rng.random((count, 1)) < 0.3, rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1), np.arange(3)
    )
    gain = np.where(rng.random((count, 1)) < 0.3, rng.uniform(0.7, 1.25, (count, 1)), 1.0)
    return _BT601[order] * gain[..., None], _BLACK[order] * gain

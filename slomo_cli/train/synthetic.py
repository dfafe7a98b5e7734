"""Procedural motion over photographs: random scenes, drawn for a whole batch at once on the training device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.errors import InputError, printable
from slomo_cli.net.warp import pixel_grid, warp
from slomo_cli.train.captions import captions
from slomo_cli.train.light import relight
from slomo_cli.train.scene import Scene, ramps
from slomo_cli.train.spoil import spoil
from slomo_cli.train.store import Place, Squares, Store, put
from slomo_cli.train.windows import Batch, Truth

STRONGEST_BEND = 5.0
"""Largest standard deviation of the elastic displacement, pixels at a crop of 128: above, its inverse could be lost."""


def load_photos(paths: Sequence[Path], short_side: int = 512) -> dict[Path, npt.NDArray[np.uint8]]:
    """Photos by their files, as (3, height, width) RGB, scaled down to ``short_side``; unreadable ones and those below
    64 pixels a side are left out. InputError when none is left."""
    from av.video.reformatter import Interpolation

    from slomo_cli.media.read.source import PictureTrack, first_picture
    from slomo_cli.media.read.view import EXACT

    photos = {}
    for path in paths:
        try:
            with PictureTrack(path, threads=1) as source:
                frame = first_picture(source, printable(path))
                scale = min(1.0, short_side / min(frame.width, frame.height))
                size = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
                array = frame.reformat(*size, "rgb24", interpolation=Interpolation.AREA | EXACT).to_ndarray()
        except (InputError, ValueError):
            continue
        if min(array.shape[:2]) >= 64:
            photos[path] = np.ascontiguousarray(array.transpose(2, 0, 1), np.uint8)
    if not photos:
        raise InputError("training photos: none can be read as a picture of 64 pixels or more a side")
    return photos


class SyntheticSampler:
    """Draws batches of moving scenes; same answer shape as :class:`~slomo_cli.train.windows.WindowSampler`."""

    def __init__(
        self,
        photos: Sequence[npt.NDArray[np.uint8]],
        crop: int,
        targets: int,
        device: torch.device,
        *,
        layers: int = 3,
        largest_motion: float = 0.45,
        repeated: float = 0.25,
        captioned: float = 0.0,
        relit: float = 0.0,
        place: Place = "auto",
    ) -> None:
        """``layers`` in front of the background at most; ``largest_motion`` of a layer as a share of the crop;
        ``repeated``: share of the pictures on layers of which a part repeats itself; ``captioned``: share of the scenes
        under captions; ``relit``: share of those whose light changes."""
        self.crop, self.targets, self.device = crop, targets, device
        self.layers, self.largest_motion = layers, largest_motion
        self.repeated, self.captioned, self.relit = repeated, captioned, relit
        self._size = np.array([photo.shape[1:] for photo in photos], np.int64)
        self.store = Store([photo.reshape(-1) for photo in photos], device, place)

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """``count`` scenes with random times, augmented with changing light, captions, noise, blur and compression."""
        t = rng.uniform(0.08, 0.92, (count, self.targets))
        even = np.arange(1, self.targets + 1) / (self.targets + 1)
        t = np.where(rng.random((count, 1)) < 0.3, even, t)
        scene = self._scene(count, rng)
        # Frame 0 is sampled at whole pixels and so is a little sharper: let either end be it.
        swap = bool(rng.random() < 0.5)
        return self._batch(scene, t, swap, rng)

    def _batch(self, scene: Scene, t: npt.NDArray[np.float64], swap: bool, rng: np.random.Generator) -> Batch:
        count, targets = t.shape
        ends = np.broadcast_to((1.0, 0.0) if swap else (0.0, 1.0), (count, 2))
        at = scene.render(np.concatenate((ends, t), 1))
        seen = scene.seen(type(at)(*(values[:, 2:] for values in at)))
        to_first, to_last = (at.flow_1, at.flow_0) if swap else (at.flow_0, at.flow_1)
        seen_first, seen_last = reversed(seen) if swap else seen
        times = (1 - t if swap else t).astype(np.float32)
        truth = Truth(
            to_last[:, 0],
            to_first[:, 1],
            to_first[:, 2:].flatten(0, 1),
            to_last[:, 2:].flatten(0, 1),
            seen_first.flatten(0, 1),
            seen_last.flatten(0, 1),
        )
        course = np.concatenate((np.broadcast_to((0.0, 1.0), (count, 2)), times), 1)
        window = np.repeat(np.arange(count), 2 + targets)
        relit = relight(at.picture.flatten(0, 1), window, course.reshape(-1), self.relit, rng)
        pictures = torch.unflatten(relit, 0, (count, 2 + targets))
        for one in np.flatnonzero(rng.random(count) < self.captioned).tolist():
            caption = captions(self.crop, rng, self.device)
            shown = caption.at(course[one], self.crop)
            pictures[one] = torch.lerp(pictures[one], shown[:, :3], shown[:, 3:])
            _lay_before(truth, one, shown, caption.shift, times[one])
        pictures = spoil(pictures, rng)
        return Batch(
            i0=pictures[:, 0],
            i1=pictures[:, 1],
            targets=pictures[:, 2:].flatten(0, 1),
            index=torch.arange(count, device=self.device).repeat_interleave(targets, output_size=count * targets),
            t=put(times.reshape(-1), self.device),
            truth=truth,
        )

    def _scene(self, count: int, rng: np.random.Generator) -> Scene:
        layers = 1 + int(rng.integers(1, self.layers + 1))
        textures = self._textures(count * layers, rng)
        pictures = textures.new_ones(count, layers, 4, *textures.shape[2:])  # the background is everywhere
        pictures[:, :, :3] = torch.unflatten(textures, 0, (count, layers))
        pictures[:, 1:, 3:] = torch.unflatten(self._shapes(count * (layers - 1), rng), 0, (count, layers - 1))
        generators = self._generators(count * layers, rng).reshape(count, layers, 3, 3)
        # Often the camera moves, and all the rest moves a little within what it sees.
        filmed = rng.random((count, 1, 1, 1)) < 0.5
        within = generators[:, 1:] * rng.uniform(0, 0.5, (count, 1, 1, 1)) + generators[:, :1]
        generators[:, 1:] = np.where(filmed, within, generators[:, 1:])
        elastic = torch.unflatten(self._elastic(count * layers, rng), 0, (count, layers))
        return Scene(pictures, generators, elastic)

    def _textures(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 3, 1.5 crop, 1.5 crop) float in [0, 1]: squares of photos at random scale, flipped, recoloured."""
        side = self.crop * 3 // 2
        photo = rng.integers(0, len(self._size), count)
        height, width = self._size[photo].T
        take = np.minimum(np.minimum(height, width), (side * rng.uniform(0.8, 2.5, count)).astype(np.int64))
        y, x = ((rng.random(count) * (size - take + 1)).astype(np.int64) for size in (height, width))
        order = np.where(
            rng.random((count, 1)) < 0.3, rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1), np.arange(3)
        )
        planes = (order * (height * width)[:, None] + (y * width + x)[:, None]).reshape(-1)
        wanted = Squares(np.repeat(photo, 3), planes, np.repeat(width, 3), np.repeat(take, 3))
        textures = torch.unflatten(self.store.squares(wanted, side), 0, (count, 3)).mul_(1 / 255)
        flipped = put(np.flatnonzero(rng.random(count) < 0.5), self.device)
        textures[flipped] = textures[flipped].flip(-1)
        return self._repeat(textures, rng)

    def _repeat(self, textures: Tensor, rng: np.random.Generator) -> Tensor:
        """Fill a part of some textures with one small piece over and over, as walls, fences and windows are: such
        fields look the same a period further on, and only what surrounds them tells how far they moved."""
        chosen = np.flatnonzero(rng.random(len(textures)) < self.repeated)
        count, side = len(chosen), textures.shape[-1]
        if not count:
            return textures
        period = np.exp(rng.uniform(math.log(6), math.log(self.crop / 6), (count, 1)))
        turn = rng.uniform(0, 2 * math.pi, (count, 1)) * (rng.random((count, 1)) < 0.5)
        lean = rng.choice((0.0, 0.5), (count, 1))
        tall = rng.uniform(0.6, 1.6, (count, 1))
        c, s = np.cos(turn), np.sin(turn)
        lattice = np.array([[c + lean * s, lean * c - s, 0 * c], [s * tall, c * tall, 0 * c]])[..., 0] / period[:, 0]
        piece = put((period / (side - 1) * rng.uniform(1, 3, (count, 1))).astype(np.float32), self.device)
        origin = put(rng.uniform(-0.9, 0.4, (count, 2)).astype(np.float32), self.device)
        steps = put(lattice.astype(np.float32), self.device).permute(2, 0, 1)
        place = ramps(steps, torch.arange(side, device=self.device))
        place -= place.floor()
        mirrored = put(np.flatnonzero(rng.random(count) < 0.7), self.device)  # without seams
        place[mirrored] = 1 - (2 * place[mirrored] - 1).abs()
        place = place * piece[..., None, None] + origin[..., None, None]
        rows = put(chosen, self.device)
        tiles = F.grid_sample(textures[rows], place.permute(0, 2, 3, 1), align_corners=True)
        field = self._noise(count, 1, int(rng.integers(2, 6)), side, np.ones(count), rng)
        textures[rows] = torch.lerp(textures[rows], tiles, (field * side * 0.1).clamp_(0.0, 1.0))
        return textures

    def _noise(
        self,
        count: int,
        channels: int,
        cells: int,
        side: int,
        scale: npt.NDArray[np.floating],
        rng: np.random.Generator,
    ) -> Tensor:
        """(count, channels, side, side): smooth noise with standard deviation ``scale`` (count,) at its knots."""
        knots = rng.standard_normal((count, channels, cells, cells)) * scale[:, None, None, None]
        # Each axis by its weights: few knots become many pixels, ten times quicker than by interpolating these.
        weights = F.interpolate(
            torch.eye(cells, device=self.device)[None, None], size=(side, cells), mode="bicubic", align_corners=True
        )[0, 0]
        return weights @ put(knots.astype(np.float32), self.device) @ weights.T

    def _shapes(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 1, 1.5 crop, 1.5 crop) opacity in [0, 1]: blobs, bars, discs and gratings with crisp edges."""
        side = self.crop * 3 // 2
        cx, cy, turn, size, width, pace = rng.random((6, count))
        cx, cy = (cx - 0.5) * 0.9, (cy - 0.5) * 0.9
        c, s = np.cos(turn * math.pi), np.sin(turn * math.pi)
        long, short = 0.2 + 0.5 * size, 0.03 + 0.4 * width
        # Along and across the shape, in half axes of its disc, of places from -1 to 1.
        turned = np.array([[c, s, -cx * c - cy * s] / long, [-s, c, cx * s - cy * c] / (short + 0.1)])
        axes = put(turned.astype(np.float32), self.device).permute(2, 0, 1)
        place = ramps(axes, torch.linspace(-1, 1, side, device=self.device))
        height = 1 - place.square().sum(1, keepdim=True).sqrt_()
        kind = rng.integers(0, 8, count)
        bars, gratings = np.flatnonzero(kind == 2), np.flatnonzero(kind == 3)
        ratio, waves = (1 + 0.1 / short)[bars], (long * (8 + 25 * pace))[gratings]
        ratio, waves = (put(some.astype(np.float32), self.device).view(-1, 1, 1, 1) for some in (ratio, waves))
        rows = put(bars, self.device)
        x, y = place[rows].abs_().chunk(2, 1)
        height[rows] = 1 - torch.maximum(x / 2, y * ratio)
        rows = put(gratings, self.device)
        height[rows] = torch.minimum(torch.sin(place[rows, :1] * waves) + 0.2, height[rows])
        # The others are discs, and blobs half of all.
        height += self._noise(count, 1, int(rng.integers(4, 9)), side, 0.5 * (kind > 3), rng)
        # The height falls about 1 over `short`; this slope makes an edge of one to two pixels.
        return height.mul_(self.crop * 0.15).add_(0.5).clamp_(0.0, 1.0)

    def _generators(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """(count, 3, 3) affine motions in pixels about the centre: shifts, and often turns, growth and shear."""
        pixels = self.crop * self.largest_motion * rng.beta(1.0, 2.0, (count, 1))
        heading = rng.uniform(0, 2 * math.pi, (count, 1))
        shift = pixels * np.concatenate((np.cos(heading), np.sin(heading)), 1)
        shift *= rng.random((count, 1)) > 0.06  # some layers stand still
        active = rng.random(count) < 0.6
        turn, grow, shear = (rng.normal(0, s, count) * active for s in (0.10, 0.06, 0.03))
        generator = np.zeros((count, 3, 3))
        generator[:, 0, 0] = grow + shear
        generator[:, 1, 1] = grow - shear
        generator[:, 0, 1], generator[:, 1, 0] = -turn, turn
        generator[:, :2, 2] = shift
        return generator

    def _elastic(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 2, crop, crop) pixels; half of the layers are stiff."""
        strength = np.minimum(rng.exponential(1.2, count), STRONGEST_BEND) * (rng.random(count) < 0.5)
        cells = int(rng.integers(3, 6))
        scale = strength * (self.crop / 128) * (3 / cells)
        return self._noise(count, 2, cells, self.crop, scale, rng)


def _lay_before(
    truth: Truth, one: int, shown: Tensor, shift: tuple[float, float], times: npt.NDArray[np.floating]
) -> None:
    """Change the truth of window ``one`` where captions stand before it, in place.

    ``shown``: (2 + T, 4, S, S) the captions in the first and last frame and at the targets' ``times`` (T,); they go by
    ``shift`` pixels from the first frame to the last.
    """
    solid = shown[:, 3:] > 0.5
    side, targets = shown.shape[-1], len(times)
    grid = pixel_grid(side, side, shown.device)
    way = put(np.asarray(shift, np.float32), shown.device).view(1, 2, 1, 1)
    t = put(times.astype(np.float32), shown.device).view(-1, 1, 1, 1)
    mine = slice(one * targets, (one + 1) * targets)
    for frame, (flow, seen) in enumerate(((truth.flow_t0, truth.seen_0), (truth.flow_t1, truth.seen_1))):
        hidden = warp(solid[frame].float().expand(targets, -1, -1, -1), flow[mine]) > 0.5
        own = ((frame - t) * way).expand(-1, -1, side, side)
        place = grid + own
        inside = ((place >= 0) & (place <= side - 1)).all(1, keepdim=True)
        seen[mine] = torch.where(solid[2:], inside, seen[mine] & ~hidden)
        flow[mine] = torch.where(solid[2:], own, flow[mine])
    truth.flow_01[one] = torch.where(solid[0], way[0], truth.flow_01[one])
    truth.flow_10[one] = torch.where(solid[1], -way[0], truth.flow_10[one])

"""Procedural motion over photographs, rendered at any time with exact flow and visibility.

A scene is a background and a few shaped layers in front of it, each a photograph of its own. Layer l has a backward map
from the picture at time s to the picture at time 0,

    G_s(x) = H_s x + s * e(x)        H_s = exp(s * A), an affine motion; e a smooth elastic displacement

so a pixel x of layer l at time t comes from G_t(x) in frame 0, exactly: F_t->0 = G_t(x) - x. Its place y in frame 1
solves G_1(y) = G_t(x); e is smooth and small, so the fixed point y <- H_1^-1 (G_t(x) - e(y)) settles within a few steps.
Everything is drawn for the whole batch at once on the training device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.errors import InputError, printable
from slomo_cli.net.warp import pixel_grid
from slomo_cli.train.windows import Batch, Truth

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"))
_FIXED_POINT_STEPS = 6


def load_photos(folder: Path, device: torch.device, short_side: int = 512) -> list[Tensor]:
    """Every photo below ``folder`` as (3, H, W) uint8 RGB on the device, scaled down to ``short_side``."""
    import av
    from av.video.reformatter import Interpolation

    if not folder.is_dir():
        raise InputError(f"training photos: expected a folder of pictures, found no folder {printable(folder)}")
    photos = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES):
        try:
            with av.open(f"file:{path.absolute()}") as container:
                frame = next(container.decode(video=0))
                scale = min(1.0, short_side / min(frame.width, frame.height))
                size = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
                array = frame.reformat(*size, "rgb24", interpolation=Interpolation.AREA).to_ndarray()
        except (av.error.FFmpegError, StopIteration, IndexError):
            continue
        if min(array.shape[:2]) >= 64:
            photos.append(torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1).to(device))
    if not photos:
        raise InputError(f"training photos: no readable picture of 64 pixels or more a side in {printable(folder)}")
    return photos


class SyntheticSampler:
    """Draws batches of moving scenes; same answer shape as :class:`~slomo_cli.train.windows.WindowSampler`."""

    def __init__(
        self,
        photos: Sequence[Tensor],
        crop: int,
        targets: int,
        device: torch.device,
        layers: int = 3,
        largest_motion: float = 0.25,
    ) -> None:
        """``layers`` in front of the background at most; ``largest_motion`` of a layer as a share of the crop."""
        self.photos, self.crop, self.targets, self.device = photos, crop, targets, device
        self.layers, self.largest_motion = layers, largest_motion

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """``count`` scenes with random times, augmented with noise, blur, brightness change and compression."""
        layers = 1 + int(rng.integers(1, self.layers + 1))
        textures = self._textures(count * layers, rng).unflatten(0, (count, layers))
        shapes = self._shapes(count * layers, rng).unflatten(0, (count, layers))
        shapes[:, 0] = 1.0
        matrix, elastic = self._motions(count * layers, rng)
        scene = _Scene(textures, shapes, matrix.unflatten(0, (count, layers)), elastic.unflatten(0, (count, layers)))

        t = torch.from_numpy(rng.uniform(0.08, 0.92, (count, self.targets)).astype(np.float32)).to(self.device)
        middle = torch.from_numpy(rng.random((count, 1)) < 0.3).to(self.device)
        t = torch.where(middle, torch.arange(1, self.targets + 1, device=self.device) / (self.targets + 1), t)
        zero, one = torch.zeros(count, device=self.device), torch.ones(count, device=self.device)
        first, last = scene.render(zero), scene.render(one)
        between = [scene.render(t[:, k]) for k in range(self.targets)]
        pictures = torch.stack([first.picture, last.picture, *(b.picture for b in between)], 1)
        flow_0, flow_1 = (torch.stack([getattr(b, name) for b in between], 1) for name in ("flow_0", "flow_1"))
        seen = [scene.seen(b) for b in between]
        truth = Truth(
            first.flow_1,
            last.flow_0,
            flow_0.flatten(0, 1),
            flow_1.flatten(0, 1),
            torch.stack([s[0] for s in seen], 1).flatten(0, 1),
            torch.stack([s[1] for s in seen], 1).flatten(0, 1),
        )
        t = t.flatten()
        if rng.random() < 0.5:  # frame 0 is sampled at whole pixels and so is a little sharper: let either end be it
            pictures = torch.cat((pictures[:, 1:2], pictures[:, 0:1], pictures[:, 2:]), 1)
            truth = Truth(truth[1], truth[0], truth[3], truth[2], truth[5], truth[4])
            t = 1 - t
        pictures = _spoil(pictures, rng)
        return Batch(
            i0=pictures[:, 0],
            i1=pictures[:, 1],
            targets=pictures[:, 2:].flatten(0, 1),
            index=torch.arange(count, device=self.device).repeat_interleave(self.targets),
            t=t,
            truth=truth,
        )

    def _textures(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 3, 1.5 crop, 1.5 crop) float in [0, 1]: squares of photos at random scale, flipped at random."""
        side = self.crop * 3 // 2
        out = []
        for _ in range(count):
            photo = self.photos[int(rng.integers(len(self.photos)))]
            largest = min(photo.shape[1:])
            take = min(largest, int(side * rng.uniform(0.8, 2.5)))
            y, x = (int(rng.integers(0, size - take + 1)) for size in photo.shape[1:])
            square = photo[None, :, y : y + take, x : x + take].float() * (1 / 255)
            square = F.interpolate(square, size=(side, side), mode="bilinear", antialias=True, align_corners=False)[0]
            if rng.random() < 0.5:
                square = square.flip(-1)
            if rng.random() < 0.3:
                square = square[torch.from_numpy(rng.permutation(3)).to(square.device)]
            out.append(square)
        return torch.stack(out)

    def _noise(self, count: int, channels: int, cells: int, rng: np.random.Generator) -> Tensor:
        """(count, channels, 1.5 crop, 1.5 crop): smooth noise of unit variance at its knots."""
        side = self.crop * 3 // 2
        knots = torch.from_numpy(rng.standard_normal((count, channels, cells, cells)).astype(np.float32))
        return F.interpolate(knots.to(self.device), size=(side, side), mode="bicubic", align_corners=True)

    def _shapes(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, 1, 1.5 crop, 1.5 crop) opacity in [0, 1]: blobs, bars, discs and gratings with crisp edges."""
        side = self.crop * 3 // 2
        grid = pixel_grid(side, side, self.device) / (side - 1) * 2 - 1
        values = {
            k: torch.from_numpy(rng.random((count, 1, 1, 1)).astype(np.float32)).to(self.device) for k in range(8)
        }
        cx, cy = (values[0] - 0.5) * 0.9, (values[1] - 0.5) * 0.9
        angle = values[2] * math.pi
        x = (grid[:, 0:1] - cx) * torch.cos(angle) + (grid[:, 1:2] - cy) * torch.sin(angle)
        y = -(grid[:, 0:1] - cx) * torch.sin(angle) + (grid[:, 1:2] - cy) * torch.cos(angle)
        long, short = 0.2 + 0.5 * values[3], 0.03 + 0.4 * values[4]
        disc = 1 - torch.sqrt((x / long) ** 2 + (y / (short + 0.1)) ** 2)
        bar = torch.minimum(1 - x.abs() / (2 * long), 1 - y.abs() / short)
        blob = disc + 0.5 * self._noise(count, 1, int(rng.integers(4, 9)), rng)
        grating = torch.minimum(torch.sin(x * (8 + 25 * values[5])) + 0.2, disc)
        kind = torch.from_numpy(rng.integers(0, 8, (count, 1, 1, 1))).to(self.device)
        height = torch.where(kind < 2, disc, torch.where(kind < 3, bar, torch.where(kind < 4, grating, blob)))
        # The height falls about 1 over `short`; this slope makes an edge of one to two pixels.
        return torch.clamp(height * self.crop * 0.15 + 0.5, 0.0, 1.0)

    def _motions(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Affine generators (count, 3, 3) in pixels about the centre, and elastic fields (count, 2, crop, crop)."""
        pixels = self.crop * self.largest_motion * rng.beta(1.0, 2.5, (count, 1))
        heading = rng.uniform(0, 2 * math.pi, (count, 1))
        shift = pixels * np.concatenate((np.cos(heading), np.sin(heading)), 1)
        shift *= rng.random((count, 1)) > 0.06  # some layers stand still
        generator = np.zeros((count, 3, 3), np.float32)
        active = rng.random(count) < 0.6
        turn, grow, shear = (rng.normal(0, s, count) * active for s in (0.10, 0.06, 0.03))
        generator[:, 0, 0] = grow + shear
        generator[:, 1, 1] = grow - shear
        generator[:, 0, 1], generator[:, 1, 0] = -turn, turn
        generator[:, :2, 2] = shift
        strength = rng.exponential(1.2, (count, 1, 1, 1)) * (rng.random((count, 1, 1, 1)) < 0.5)
        cells = int(rng.integers(3, 6))
        knots = torch.from_numpy((rng.standard_normal((count, 2, cells, cells)) * strength).astype(np.float32))
        knots = knots * (self.crop / 128) * (3 / cells)
        elastic = F.interpolate(knots.to(self.device), size=(self.crop, self.crop), mode="bicubic", align_corners=True)
        return torch.from_numpy(generator).to(self.device), elastic


class _Rendered(NamedTuple):
    """Scenes at one time: picture, flows to frames 0 and 1, and which layer each pixel shows."""

    picture: Tensor
    flow_0: Tensor
    flow_1: Tensor
    owner: Tensor


class _Scene:
    """N scenes of L layers, the last in front."""

    def __init__(self, textures: Tensor, shapes: Tensor, generators: Tensor, elastic: Tensor) -> None:
        """textures (N, L, 3, S, S), shapes (N, L, 1, S, S) with S = 1.5 crop; generators (N, L, 3, 3);
        elastic (N, L, 2, crop, crop) pixels."""
        self.layers = torch.cat((textures, shapes), 2)
        self.generators, self.elastic = generators, elastic
        self.count, self.depth = generators.shape[:2]
        self.size = elastic.shape[-1]
        self.grid = pixel_grid(self.size, self.size, elastic.device)

    def render(self, t: Tensor) -> _Rendered:
        """All N scenes at their own times ``t`` (N,) in [0, 1]."""
        picture = flow_0 = flow_1 = owner = None
        for layer in range(self.depth):
            source = self._to_start(layer, self.grid.expand(self.count, -1, -1, -1), t)
            sample = self._sample(layer, source)
            alpha = sample[:, 3:4]
            place_1 = self._to_end(layer, source)
            if picture is None:
                picture, flow_0, flow_1 = sample[:, :3], source - self.grid, place_1 - self.grid
                owner = torch.zeros_like(alpha, dtype=torch.int64)
                continue
            solid = alpha > 0.5
            picture = picture + alpha * (sample[:, :3] - picture)
            flow_0 = torch.where(solid, source - self.grid, flow_0)
            flow_1 = torch.where(solid, place_1 - self.grid, flow_1)
            owner = torch.where(solid, layer, owner)
        assert picture is not None and flow_0 is not None and flow_1 is not None and owner is not None
        return _Rendered(picture, flow_0, flow_1, owner)

    def seen(self, at: _Rendered) -> tuple[Tensor, Tensor]:
        """(N, 1, h, w) bool twice: the pixels of ``at`` visible in frame 0 and in frame 1."""
        zero = at.flow_0.new_zeros(self.count)
        return (
            self._seen(at.owner, self.grid + at.flow_0, zero),
            self._seen(at.owner, self.grid + at.flow_1, zero + 1),
        )

    def _affine(self, layer: int, t: Tensor, inverse: bool = False) -> Tensor:
        generator = self.generators[:, layer] * t.view(-1, 1, 1)
        return torch.linalg.matrix_exp(-generator if inverse else generator)

    def _move(self, matrix: Tensor, points: Tensor) -> Tensor:
        """Affine (N, 3, 3) about the picture's centre applied to points (N, 2, h, w)."""
        centre = (self.size - 1) / 2
        moved = torch.einsum("nij,njhw->nihw", matrix[:, :2, :2], points - centre)
        return moved + matrix[:, :2, 2, None, None] + centre

    def _bend(self, layer: int, points: Tensor) -> Tensor:
        """The elastic displacement of a layer at any points (N, 2, h, w)."""
        grid = points.permute(0, 2, 3, 1) * (2 / (self.size - 1)) - 1
        return F.grid_sample(self.elastic[:, layer], grid, padding_mode="border", align_corners=True)

    def _to_start(self, layer: int, points: Tensor, t: Tensor) -> Tensor:
        """G_t: places at time t -> places at time 0."""
        return self._move(self._affine(layer, t), points) + t.view(-1, 1, 1, 1) * self._bend(layer, points)

    def _to_end(self, layer: int, start: Tensor) -> Tensor:
        """Inverse of G_1: places at time 0 -> places at time 1."""
        one = start.new_ones(self.count)
        inverse = self._affine(layer, one, inverse=True)
        place = self._move(inverse, start)
        for _ in range(_FIXED_POINT_STEPS):
            place = self._move(inverse, start - self._bend(layer, place))
        return place

    def _sample(self, layer: int, source: Tensor) -> Tensor:
        """(N, 4, h, w) colour and opacity of a layer at places of time 0; the texture reaches past the picture."""
        margin = self.size / 4
        side = self.layers.shape[-1]
        grid = (source + margin).permute(0, 2, 3, 1) * (2 / (side - 1)) - 1
        return F.grid_sample(self.layers[:, layer], grid, padding_mode="reflection", align_corners=True)

    def _seen(self, owner: Tensor, place: Tensor, s: Tensor) -> Tensor:
        """(N, 1, h, w) bool: the layer ``owner`` is not hidden at ``place`` at time s, and the place is in the picture."""
        inside = ((place >= 0) & (place <= self.size - 1)).all(1, keepdim=True)
        hidden = torch.zeros_like(inside)
        for layer in range(1, self.depth):
            alpha = self._sample(layer, self._to_start(layer, place, s))[:, 3:4]
            hidden |= (alpha > 0.5) & (owner < layer)
        return inside & ~hidden


def _spoil(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """What cameras and encoders do, for the batch (N, K, 3, H, W): gain drift, blur, noise, coarse 8x8 DCT."""
    n, k = pictures.shape[:2]
    device = pictures.device

    def per_window(chance: float) -> Tensor:
        return torch.from_numpy(rng.random((n, 1, 1, 1, 1)) < chance).to(device)

    drift = torch.from_numpy(rng.normal(0, 0.03, (n, 1, 1, 1, 1)).astype(np.float32)).to(device)
    # Brightness drifts from the first input (index 0) to the last (index 1); targets lie between and keep the mean.
    course = torch.full((1, k, 1, 1, 1), 0.5, device=device)
    course[:, 0], course[:, 1] = 0.0, 1.0
    pictures = torch.where(per_window(0.15), pictures * (1 + drift * (course - 0.5)), pictures)
    flat = pictures.flatten(0, 1)
    blurred = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(pictures)
    pictures = torch.where(per_window(0.15), blurred, pictures)
    if rng.random() < 0.25:
        noise = torch.randn(pictures.shape, device=device) * float(rng.uniform(0.002, 0.02))
        noise[:, 2:] = 0.0  # noise cannot be predicted: targets stay clean
        pictures = pictures + noise
    if rng.random() < 0.25:
        coarse = _quantise(pictures[:, :2].flatten(0, 1), float(rng.uniform(0.02, 0.08)))
        pictures = torch.cat((coarse.view_as(pictures[:, :2]), pictures[:, 2:]), 1)
    return pictures.clamp(0.0, 1.0)


def _quantise(pictures: Tensor, step: float) -> Tensor:
    """Round the 8x8 DCT of every channel to multiples of ``step`` times its frequency: block compression."""
    n = torch.arange(8, device=pictures.device, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * 0.5
    basis[0] *= math.sqrt(0.5)
    blocks = pictures.unfold(2, 8, 8).unfold(3, 8, 8)
    spectrum = torch.einsum("ui,nchwij,vj->nchwuv", basis, blocks, basis)
    steps = step * (1 + (n[:, None] + n[None]) / 2)
    spectrum = torch.round(spectrum / steps) * steps
    blocks = torch.einsum("ui,nchwuv,vj->nchwij", basis, spectrum, basis)
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(pictures.shape)

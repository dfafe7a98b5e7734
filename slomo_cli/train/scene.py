"""Moving scenes made of layers, rendered at any time with exact flow and visibility.

A scene is a background and a few shaped layers in front of it. Layer l has a backward map from the picture at time s to
the picture at time 0,

    G_s(x) = H_s x + s * e(x)        H_s = exp(s * A), an affine motion; e a smooth elastic displacement

so a pixel x of layer l at time t comes from G_t(x) in frame 0, exactly: F_t->0 = G_t(x) - x. Its place y in frame 1
solves G_1(y) = G_t(x). With r = (linear part of H_-1) e, which bends as e does, that is

    y = H_-1 G_t(x) - r(y) = H_(t-1) x + t * r(x) - r(y)

and as e is smooth and small, putting what comes out in again settles in a few steps.

Shapes: N scenes, L layers, P times; the last layer is in front; S is the side of a layer's picture, h of the scene.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net.warp import pixel_grid
from slomo_cli.train.store import put

_FIXED_POINT_STEPS = 7


class Rendered(NamedTuple):
    """Scenes at P times each."""

    picture: Tensor
    """(N, P, 3, h, h) in [0, 1]."""
    flow_0: Tensor
    """(N, P, 2, h, h): from each pixel to its place in frame 0, pixels (x, y)."""
    flow_1: Tensor
    """(N, P, 2, h, h): to its place in frame 1."""
    owner: Tensor
    """(N, P, 1, h, h) float32: the number of the layer each pixel shows."""


class Scene:
    """N scenes of L layers."""

    def __init__(self, layers: Tensor, generators: npt.NDArray[np.floating], elastic: Tensor) -> None:
        """``layers``: (N, L, 4, S, S) colour and opacity in [0, 1], reaching (S - h) / 2 past the scene on each side.
        ``generators``: (N, L, 3, 3), A of each layer, pixels about the centre. ``elastic``: (N, L, 2, h, h) pixels."""
        self.layers = layers
        self.elastic = elastic
        self.depth = generators.shape[1]
        self.size = int(elastic.shape[-1])
        self.device = elastic.device
        self._generators = torch.from_numpy(np.asarray(generators, np.float64))

    # Inside, the axis of times follows that of channels: (N, C, P, h, h), as lookups take and give it without a copy.

    def render(self, times: npt.NDArray[np.floating]) -> Rendered:
        """All scenes at their own ``times`` (N, P), in [0, 1]."""
        to_start, to_end = self._matrices(times), self._matrices(times - 1)
        recoil = torch.einsum("nlij,nljyx->nliyx", self._matrices(np.array([[-1.0]]))[:, :, 0, :, :2], self.elastic)
        share = put(times.astype(np.float32), self.device)[:, None, :, None, None]
        for layer in range(self.depth):
            source = self._spread(to_start[:, layer], share, self.elastic[:, layer])
            unbent = self._spread(to_end[:, layer], share, recoil[:, layer])
            sample = self._sample(layer, source)
            colour, alpha = sample[:, :3], sample[:, 3:]
            if layer == 0:
                picture, start, end, owner = colour, source, unbent, torch.zeros_like(alpha)
                continue
            # By `lerp` and `maximum`: `where` is ten times slower on a CPU.
            solid = (alpha > 0.5).float()
            picture = torch.lerp(picture, colour, alpha)
            start = torch.lerp(start, source, solid)
            end = torch.lerp(end, unbent, solid)
            owner = torch.maximum(owner, solid * layer)
        grid = pixel_grid(self.size, self.size, self.device)[:, :, None]
        found = picture, start - grid, self._settled(end, owner, recoil) - grid, owner
        return Rendered(*(values.transpose(1, 2) for values in found))

    def seen(self, at: Rendered) -> tuple[Tensor, Tensor]:
        """(N, P, 1, h, h) bool twice: the pixels of ``at`` visible in frame 0 and in frame 1."""
        grid = pixel_grid(self.size, self.size, self.device)[:, :, None]
        owner = at.owner.transpose(1, 2)
        seen = []
        for time, flow in enumerate((at.flow_0, at.flow_1)):
            place = grid + flow.transpose(1, 2)
            inside = place.clamp(0, self.size - 1) == place
            free = inside[:, :1] & inside[:, 1:]
            for layer in range(1, self.depth):
                alpha = self._sample(layer, self.to_start(layer, place) if time else place, slice(3, 4))
                free &= (alpha <= 0.5) | (owner >= layer)
            seen.append(free.transpose(1, 2))
        return seen[0], seen[1]

    def to_start(self, layer: int, place: Tensor) -> Tensor:
        """G_1 of a layer: places (N, 2, P, h, w) at time 1 -> places at time 0."""
        a, b, c = self._matrices(np.array([[1.0]]))[:, layer, 0, :, :, None, None, None].unbind(2)  # (N, 2, 1, 1, 1)
        x, y = (place - (self.size - 1) / 2).chunk(2, 1)
        bend = _look_up(self.elastic[:, layer], place * (2 / (self.size - 1)) - 1, "border")
        return a * x + b * y + c + bend

    def _settled(self, unbent: Tensor, owner: Tensor, recoil: Tensor) -> Tensor:
        """The places y in frame 1 of pixels whose H_(t-1) x + t r(x) is ``unbent`` (N, 2, P, h, h)."""
        # The fields of all layers below one another, so that every pixel is looked up once, in that of its own layer.
        fields = recoil.transpose(1, 2).flatten(2, 3)
        top = owner[:, 0] * self.size
        sides = np.array([self.size, self.depth * self.size], np.float32)
        scale = put(2 / (sides - 1), self.device)[:, None, None, None]
        place = unbent
        for _ in range(_FIXED_POINT_STEPS):
            below = place[:, 1].clamp(0, self.size - 1).add_(top)
            scaled = torch.stack((place[:, 0], below), 1).mul_(scale).sub_(1)
            place = unbent - _look_up(fields, scaled, "border")
        return place

    def _matrices(self, times: npt.NDArray[np.floating]) -> Tensor:
        """exp(s A) of all layers at their scene's times (N or 1, P), from places as seen from the centre to places:
        (N, L, P, 2, 3) float32 on the device."""
        scaled = self._generators[:, :, None] * torch.from_numpy(times)[:, None, :, None, None]
        # On the host: torch's exponential of many small matrices makes a GPU wait.
        matrices = torch.linalg.matrix_exp(scaled)[..., :2, :]
        matrices[..., 2] += (self.size - 1) / 2
        return put(matrices.float().numpy(), self.device)

    def _spread(self, matrix: Tensor, share: Tensor, field: Tensor) -> Tensor:
        """(N, 2, P, h, h): ``matrix`` (N, P, 2, 3) applied to every pixel, plus ``share`` (N, 1, P, 1, 1) of ``field``
        (N, 2, h, h)."""
        along = torch.arange(self.size, device=self.device) - (self.size - 1) / 2
        return ramps(matrix.transpose(1, 2), along).addcmul_(share, field[:, :, None])

    def _sample(self, layer: int, source: Tensor, channels: slice = slice(None)) -> Tensor:
        """(N, C, P, h, w) colour and opacity of a layer at places (N, 2, P, h, w) of time 0."""
        side = self.layers.shape[-1]
        place = (source * (2 / (side - 1))).sub_((self.size - 1) / (side - 1))  # both share their centre
        return _look_up(self.layers[:, layer, channels], place, "reflection")


def ramps(slopes: Tensor, along: Tensor) -> Tensor:
    """a x + b y + c over a square, of (a, b, c) = ``slopes`` (..., 3) and x and y both ``along`` (side,): (..., side,
    side)."""
    a, b, c = slopes[..., None, None].unbind(-3)
    return b * along[:, None] + c + a * along


def _look_up(image: Tensor, place: Tensor, outside: str) -> Tensor:
    """(N, C, H, W) at places (N, 2, P, h, w) in -1..1 -> (N, C, P, h, w): all times in one lookup."""
    grid = place.flatten(2, 3).permute(0, 2, 3, 1)
    found = F.grid_sample(image, grid, padding_mode=outside, align_corners=True)
    return torch.unflatten(found, 2, place.shape[2:4])

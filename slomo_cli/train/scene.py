"""Moving scenes made of layers, rendered at any time with exact flow and visibility.

A scene is a background and a few shaped layers in front of it. Layer l has a backward map from the picture at time s to
the picture at time 0,

    G_s(x) = H_s x + s * e(x)        H_s = exp(s * A), an affine motion; e a smooth elastic displacement

so a pixel x of layer l at time t comes from G_t(x) in frame 0, exactly: F_t->0 = G_t(x) - x. Its place y in frame 1
solves G_1(y) = G_t(x); e is smooth and small, so the fixed point y <- H_1^-1 (G_t(x) - e(y)) settles in a few steps.

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

_FIXED_POINT_STEPS = 6


class Rendered(NamedTuple):
    """Scenes at P times each."""

    picture: Tensor
    """(N, P, 3, h, h) in [0, 1]."""
    flow_0: Tensor
    """(N, P, 2, h, h): from each pixel to its place in frame 0, pixels (x, y)."""
    flow_1: Tensor
    """(N, P, 2, h, h): to its place in frame 1."""
    owner: Tensor
    """(N, P, 1, h, h) int64: the layer each pixel shows."""


class Scene:
    """N scenes of L layers."""

    def __init__(self, layers: Tensor, generators: npt.NDArray[np.floating], elastic: Tensor) -> None:
        """``layers``: (N, L, 4, S, S) colour and opacity in [0, 1], reaching (S - h) / 2 past the scene on each side.
        ``generators``: (N, L, 3, 3), A of each layer, pixels about the centre. ``elastic``: (N, L, 2, h, h) pixels."""
        self.layers = layers.flatten(0, 1)
        self.elastic = elastic.flatten(0, 1)
        self.count, self.depth = generators.shape[:2]
        self.size = int(elastic.shape[-1])
        self.device = elastic.device
        self._generators = torch.from_numpy(np.asarray(generators, np.float64))

    def render(self, times: npt.NDArray[np.floating]) -> Rendered:
        """All scenes at their own ``times`` (N, P), in [0, 1]."""
        grid = pixel_grid(self.size, self.size, self.device)[:, None]
        source = self._to_start(grid.expand(self.count * self.depth, times.shape[1], -1, -1, -1), times, slice(None))
        sample, to_0, to_1 = (
            values.reshape(self.count, self.depth, *values.shape[1:])
            for values in (self._sample(source, slice(None)), source - grid, self.to_end(source) - grid)
        )
        picture, flow_0, flow_1 = sample[:, 0, :, :3], to_0[:, 0], to_1[:, 0]
        owner = torch.zeros_like(sample[:, 0, :, 3:4], dtype=torch.int64)
        for layer in range(1, self.depth):
            alpha = sample[:, layer, :, 3:4]
            solid = alpha > 0.5
            picture = picture + alpha * (sample[:, layer, :, :3] - picture)
            flow_0 = torch.where(solid, to_0[:, layer], flow_0)
            flow_1 = torch.where(solid, to_1[:, layer], flow_1)
            owner = torch.where(solid, layer, owner)
        return Rendered(picture, flow_0, flow_1, owner)

    def seen(self, at: Rendered) -> tuple[Tensor, Tensor]:
        """(N, P, 1, h, h) bool twice: the pixels of ``at`` visible in frame 0 and in frame 1."""
        grid = pixel_grid(self.size, self.size, self.device)[:, None]
        count = at.owner.shape[1]
        place = torch.cat((grid + at.flow_0, grid + at.flow_1), 1)  # (N, 2P, 2, h, h)
        seen = ((place >= 0) & (place <= self.size - 1)).all(2, keepdim=True)
        ends = np.broadcast_to(np.repeat((0.0, 1.0), count), (self.count, 2 * count))
        owner = at.owner.repeat(1, 2, 1, 1, 1)
        for layer in range(1, self.depth):
            rows = slice(layer, None, self.depth)
            alpha = self._sample(self._to_start(place, ends, rows), rows)[:, :, 3:4]
            seen = seen & ~((alpha > 0.5) & (owner < layer))
        return seen[:, :count], seen[:, count:]

    def to_start(self, points: Tensor, time: float) -> Tensor:
        """G of every layer: places (N * L, 1, 2, h, w) at one time -> places at time 0."""
        return self._to_start(points, np.full((self.count, 1), time), slice(None))

    def to_end(self, start: Tensor) -> Tensor:
        """Inverse of G_1 of every layer: places (N * L, P, 2, h, w) at time 0 -> places at time 1."""
        inverse = self._matrices(np.full((self.count, 1), -1.0), slice(None))
        place = self._move(inverse, start)
        for _ in range(_FIXED_POINT_STEPS):
            place = self._move(inverse, start - self._bend(place, slice(None)))
        return place

    def _matrices(self, times: npt.NDArray[np.floating], rows: slice) -> Tensor:
        """exp(s A) of layers ``rows`` (of N * L) at their scene's times: (rows, P, 3, 3) float32 on the device."""
        scaled = self._generators[:, :, None] * torch.tensor(times)[:, None, :, None, None]
        # On the host: torch's exponential of many small matrices makes a GPU wait.
        return put(torch.linalg.matrix_exp(scaled).flatten(0, 1)[rows].float().numpy(), self.device)

    def _move(self, matrix: Tensor, points: Tensor) -> Tensor:
        """Affine (B, P or 1, 3, 3) about the scene's centre applied to points (B, P, 2, h, w)."""
        centre = (self.size - 1) / 2
        x, y = (points - centre).unbind(2)
        m = matrix[..., None, None]  # (B, P, 3, 3, 1, 1)
        return torch.stack(
            (
                m[:, :, 0, 0] * x + m[:, :, 0, 1] * y + (m[:, :, 0, 2] + centre),
                m[:, :, 1, 0] * x + m[:, :, 1, 1] * y + (m[:, :, 1, 2] + centre),
            ),
            2,
        )

    def _bend(self, points: Tensor, rows: slice) -> Tensor:
        """The elastic displacement of layers at any points (B, P, 2, h, w)."""
        return _look_up(self.elastic[rows], points * (2 / (self.size - 1)) - 1, "border")

    def _to_start(self, points: Tensor, times: npt.NDArray[np.floating], rows: slice) -> Tensor:
        layers = self.count * self.depth // (rows.step or 1) // self.count
        s = put(np.repeat(times, layers, 0).astype(np.float32), self.device)[..., None, None, None]
        return self._move(self._matrices(times, rows), points) + s * self._bend(points, rows)

    def _sample(self, source: Tensor, rows: slice) -> Tensor:
        """(B, P, 4, h, w) colour and opacity of layers at places of time 0."""
        side = self.layers.shape[-1]
        margin = (side - self.size) / 2
        return _look_up(self.layers[rows], (source + margin) * (2 / (side - 1)) - 1, "reflection")


def _look_up(image: Tensor, place: Tensor, outside: str) -> Tensor:
    """(B, C, H, W) at places (B, P, 2, h, w) in -1..1 -> (B, P, C, h, w): all times of a layer in one lookup."""
    times, _, height, width = place.shape[1:]
    grid = place.permute(0, 1, 3, 4, 2).reshape(place.shape[0], times * height, width, 2)
    found = F.grid_sample(image, grid, padding_mode=outside, align_corners=True)
    return found.reshape(*found.shape[:2], times, height, width).transpose(1, 2)

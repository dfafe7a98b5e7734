"""Backward warping and the flow arithmetic of Super SloMo, equations 1 and 3 to 5.

Geometry, fixed here and pinned by tests: a flow holds (x, y) in pixels; pixel centres lie at whole numbers;

    warp(image, flow)[y, x] = image[y + v, x + u]      with (u, v) = flow[:, y, x]

sampled bilinearly, positions outside the picture clamped to its border. A zero flow returns the image unchanged.

Bilinear sampling blurs whatever moves by a fraction of a pixel, so that made pictures look softer than their
neighbours: `render` gives some of it back. Between two samples f0 and f1 the Catmull-Rom cubic is

    lerp(f0, f1) - x (1 - x) / 2 * lerp(d0, d1)        with d the second difference f[-1] - 2 f[0] + f[1]

(the mean, by x, of the parabolas through f[-1], f0, f1 and through f0, f1, f[2]), so the second differences, sampled
bilinearly too, are all it takes, and their share may be chosen for every pixel. Along both axes the two corrections are
added; their product, smaller by far, is left out.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net.motion import Motion

Time = TypeVar("Time", float, Tensor)


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(1, 2, height, width) float32: every pixel's own (x, y)."""
    y = torch.arange(height, device=device, dtype=torch.float32)
    x = torch.arange(width, device=device, dtype=torch.float32)
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)))[None]


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Look up ``image`` where ``flow`` points.

    ``image``: (N, C, H, W) floating; ``flow``: (N, 2, h, w) displacements (x, y) in pixels, positions counted on the
    image's own grid (h, w usually equal H, W). Returns (N, C, h, w) in the image's dtype. Sampling positions are
    computed in float32: bfloat16 cannot count past 256 pixels without rounding.
    """
    height, width = image.shape[-2:]
    rows, columns = flow.shape[-2:]
    position = pixel_grid(rows, columns, flow.device) + flow.float()
    if position.requires_grad:
        # The lookup's backward pass crashes the process where a position is not a number (torch 2.13, CPU).
        position = torch.nan_to_num(position)
    # grid_sample with align_corners=True maps -1..1 onto the centres of the first and last pixel. The two factors are
    # filled in on the device: sent there from a list, they would wait for all that a GPU has still to do.
    factors = (2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1))
    scale = torch.stack([position.new_full((), factor) for factor in factors])
    grid = position.permute(0, 2, 3, 1) * scale - 1.0
    sampled = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled.to(image.dtype)


def lengths(flow: Tensor) -> Tensor:
    """(N, 1, ...) of the vectors (N, 2, ...)."""
    return flow.square().sum(1, keepdim=True).sqrt()


def curvature(image: Tensor) -> tuple[Tensor, Tensor]:
    """Second differences of (..., H, W) floating along x and along y; the border is repeated."""
    across, down = torch.zeros_like(image), torch.zeros_like(image)
    slope = image.diff(dim=-1)
    across[..., :-1] += slope
    across[..., 1:] -= slope
    slope = image.diff(dim=-2)
    down[..., :-1, :] += slope
    down[..., 1:, :] -= slope
    return across, down


def warp_sharply(image: Tensor, flow: Tensor, detail: Tensor) -> Tensor:
    """As :func:`warp` for equal sizes, with the ``detail`` (N, 1, h, w) of a Motion given back."""
    size = torch.stack([flow.new_full((), side - 1.0) for side in (image.shape[-1], image.shape[-2])]).view(1, 2, 1, 1)
    place = (pixel_grid(image.shape[-2], image.shape[-1], flow.device) + flow.float()).clamp_min(0).minimum(size)
    between = place - place.detach().floor()
    share = detail * between * (1 - between)
    plain, across, down = warp(torch.cat((image, *curvature(image)), 1), flow).chunk(3, 1)
    return plain - share[:, 0:1] * across - share[:, 1:2] * down


def render(i0: Tensor, i1: Tensor, motion: Motion, t: Tensor) -> Tensor:
    """The M pictures that ``motion`` makes of (M, C, h, w) pictures of its own size (equation 1), not clamped."""
    sampled_0 = warp_sharply(i0, motion.flow_t0, motion.detail)
    sampled_1 = warp_sharply(i1, motion.flow_t1, motion.detail)
    return blend(sampled_0, sampled_1, motion.visibility, t)


def flow_shares(t: Time) -> tuple[tuple[Time, Time], tuple[Time, Time]]:
    """What F_01 and F_10 count for in the flow from time t to frame 0, and in that to frame 1 (equation 4).

    At t -> 0 the first flow tends to zero and the second to F_01; at t -> 1 the first tends to F_10 and the second to
    zero.
    """
    return (-(1 - t) * t, t * t), ((1 - t) * (1 - t), -t * (1 - t))


def approximate_flows(flow_01: Tensor, flow_10: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Flows from time t to both frames, combined from the flows between the frames by :func:`flow_shares`.

    ``flow_01``, ``flow_10``: (M, 2, h, w); ``t``: (M,) in (0, 1).
    """
    to_0, to_1 = flow_shares(t.to(flow_01.dtype).view(-1, 1, 1, 1))
    return to_0[0] * flow_01 + to_0[1] * flow_10, to_1[0] * flow_01 + to_1[1] * flow_10


def flows_along(flow_01: Tensor, flow_10: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`approximate_flows`, each frame's flow taken where the pixel lies in that frame.

    Equation 4 takes both flows at the pixel's own place, where by then something else may be in frame 0 and in frame 1.
    Its answer leads near enough to the right places to read the flows there, and to combine them once more: 0.05 dB on
    Middlebury and 0.02 dB on 18 clips at x2 and x4, for a network that had not learned with it.
    """
    flow_t0, flow_t1 = approximate_flows(flow_01, flow_10, t)
    return approximate_flows(warp(flow_01, flow_t0), warp(flow_10, flow_t1), t)


def blend(warped_0: Tensor, warped_1: Tensor, visibility: Tensor, t: Tensor) -> Tensor:
    """Fuse two warped pictures by time and visibility (equations 1 and 5), normalised by Z.

    ``warped_0``, ``warped_1``: (M, C, h, w); ``visibility``: (M, 1, h, w) V_t<-0 in [0, 1]; ``t``: (M,).
    """
    weight = fusion_weight(visibility, t)
    return warped_0 + weight * (warped_1 - warped_0)


def fusion_weight(visibility: Tensor, t: Tensor) -> Tensor:
    """The share of frame 1: t V1 / ((1-t) V0 + t V1), float32 in [0, 1], shape of ``visibility``.

    With V1 = 1 - V0; Z is kept away from zero so that t -> 0 with V0 = 0 stays finite.
    """
    t = t.float().view(-1, 1, 1, 1)
    v1 = t * (1.0 - visibility.float())
    v0 = (1.0 - t) * visibility.float()
    return v1 / (v0 + v1).clamp_min(1e-6)

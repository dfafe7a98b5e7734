"""Sampling with detail given back, and the picture a Motion makes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slomo_cli.net.fuse import SourcePlanes, fuse
from slomo_cli.net.motion import Motion
from slomo_cli.net.warp import approximate_flows, curvature, flows_along, fusion_weight, render, warp, warp_sharply
from slomo_cli.values import PixelLayout


def noise(count: int, channels: int, seed: int) -> Tensor:
    return torch.rand(count, channels, 24, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def even(x: float, y: float, count: int = 1) -> Tensor:
    return torch.tensor([x, y]).view(1, 2, 1, 1).repeat(count, 1, 24, 32)


def share(value: float, count: int = 1) -> Tensor:
    return torch.full((count, 1, 24, 32), value)


def test_curvature_of_a_parabola_is_constant() -> None:
    x = torch.arange(8, dtype=torch.float64)
    across, down = curvature((3 * x * x).expand(5, 8))
    assert torch.allclose(across[:, 1:-1], torch.tensor(6.0, dtype=torch.float64)) and not down.any()


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.9])
def test_half_the_detail_is_catmull_rom(part: float) -> None:
    """Against the four weights of the cubic convolution with a = -1/2 (Keys 1981), along x and along y."""
    weights = [
        -0.5 * part + part**2 - 0.5 * part**3,
        1 - 2.5 * part**2 + 1.5 * part**3,
        0.5 * part + 2 * part**2 - 1.5 * part**3,
        -0.5 * part**2 + 0.5 * part**3,
    ]
    image = noise(1, 2, 1)
    inner = slice(4, -4)
    wanted = sum(w * image.roll(1 - k, -1) for k, w in enumerate(weights))
    assert torch.allclose(
        warp_sharply(image, even(part, 0), share(0.5))[..., inner, inner], wanted[..., inner, inner], atol=1e-5
    )
    wanted = sum(w * image.roll(1 - k, -2) for k, w in enumerate(weights))
    assert torch.allclose(
        warp_sharply(image, even(0, part), share(0.5))[..., inner, inner], wanted[..., inner, inner], atol=1e-5
    )


def test_without_detail_sampling_is_bilinear() -> None:
    image, flow = noise(2, 3, 1), 5 * noise(2, 2, 2) - 2
    assert torch.equal(warp_sharply(image, flow, share(0.0, 2)), warp(image, flow))


def test_whole_pixels_are_copied_whatever_the_detail() -> None:
    image = noise(1, 3, 1)
    assert torch.allclose(warp_sharply(image, even(3, -2), share(1.0)), warp(image, even(3, -2)), atol=1e-6)
    assert torch.allclose(warp_sharply(image, even(-40, 0), share(1.0)), warp(image, even(-40, 0)), atol=1e-6)


def test_flows_along_follow_what_moves_before_its_edge() -> None:
    """A square 12 wide moves 8 to the right over what stands still: half way it is 4 further on. There equation 4 mixes
    both flows; read along the way, they are the square's own, but for what is further than a quarter of the way off."""
    x = torch.arange(48).expand(1, 1, 4, 48)
    flow_01, flow_10 = torch.zeros(1, 2, 4, 48), torch.zeros(1, 2, 4, 48)
    flow_01[:, :1] = 8.0 * ((x >= 10) & (x < 22))
    flow_10[:, :1] = -8.0 * ((x >= 18) & (x < 30))
    t = torch.tensor([0.5])

    plain, along = approximate_flows(flow_01, flow_10, t), flows_along(flow_01, flow_10, t)

    inside = slice(16, 24)  # of 14 to 26
    assert (plain[0][0, 0, 0, inside] > -4).sum() == 4 and (plain[1][0, 0, 0, inside] < 4).sum() == 4
    assert (along[0][0, 0, :, inside] == -4).all() and (along[1][0, 0, :, inside] == 4).all()
    even = torch.full((1, 2, 4, 48), 3.0)
    for one, other in zip(flows_along(even, -even, t), approximate_flows(even, -even, t), strict=True):
        assert torch.equal(one, other)


def test_training_and_conversion_make_the_same_picture() -> None:
    """What the losses see and what is written differ by rounding alone."""
    layout, peak = PixelLayout("gbrp16le", "rgb", 16), 65535
    planes = [[(0.25 + 0.5 * noise(1, 1, 3 * k + c)[0, 0]).mul(peak).round() for c in range(3)] for k in range(2)]
    flow_0, flow_1 = (4 * noise(1, 2, seed) - 2 for seed in (11, 12))
    motion, t = Motion(flow_0, flow_1, noise(1, 1, 13), noise(1, 1, 14)), torch.tensor([0.3])
    sources = [SourcePlanes.of([p.to(torch.int32).to(torch.uint16) for p in three], layout) for three in planes]
    made = fuse(*sources, motion, t, step=1)
    pictures = [torch.stack(three)[None] / peak for three in planes]
    wanted = render(*pictures, motion, t).clamp(0, 1) * peak
    for c in range(3):
        assert (made[c].float() - wanted[:, c]).abs().max() <= 0.5 + 1e-4 * peak


def test_detail_is_learned() -> None:
    """A gradient reaches it, and leads from a blurred shift towards the sharp one."""
    x = torch.arange(32, dtype=torch.float32)
    wave, shifted = (torch.sin(1.9 * (x + d)).expand(1, 1, 24, 32) * 0.4 + 0.5 for d in (0.0, 0.5))
    logit = torch.zeros(1, requires_grad=True)
    motion = Motion(even(0.5, 0), even(0.5, 0), share(0.5), torch.sigmoid(logit).view(1, 1, 1, 1).expand(1, 1, 24, 32))
    error = (render(wave, wave, motion, torch.tensor([0.5])) - shifted)[..., 4:-4].abs().mean()
    error.backward()
    assert logit.grad is not None and logit.grad < 0


def test_the_share_of_a_frame_is_a_number_where_neither_is_seen_nor_near() -> None:
    """At the very ends of time, where what is near is surely hidden."""
    hidden = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    share = fusion_weight(hidden, torch.tensor([0.0, 1.0]))

    assert torch.isfinite(share).all() and 0 <= share.min() <= share.max() <= 1

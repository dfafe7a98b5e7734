"""The paper's losses (Jiang et al. 2018, section 3.3) and what was added to them, each with a weight; 0 switches off.

Pictures are RGB in [0, 1] here; the paper's weights are stated for 0..255, so its L1 terms carry a factor 255 and keep
their ratios to the perceptual and smoothness terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.warp import approximate_flows, render, warp
from slomo_cli.train.perceptual import PerceptualFeatures
from slomo_cli.train.settings import LossWeights
from slomo_cli.train.windows import Batch

FINE = 0.4
"""Exponent of ``fine_flow``."""


class SloMoLoss:
    """The weighted sum of all losses for one batch."""

    def __init__(self, weights: LossWeights, perceptual: PerceptualFeatures | None = None) -> None:
        if weights.perceptual and perceptual is None:
            raise ValueError("a perceptual weight needs features")
        self.weights = weights
        self.perceptual = perceptual

    def __call__(
        self, batch: Batch, state: PairState, motion: Motion, ladder: Sequence[Tensor] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss to minimise and its parts, unweighted and detached, by name (with ``psnr`` of the batch, dB).

        Flows of ``state`` and ``motion`` are at the pictures' size. ``ladder``: coarse flows (2N, 2, h, w), N of F_01
        then N of F_10, in pixels of their own size.
        """
        w = self.weights
        i0, i1 = batch.i0[batch.index], batch.i1[batch.index]
        result = render(i0, i1, motion, batch.t)
        error = result - batch.targets
        squares = error.square().mean((1, 2, 3))
        parts = {"reconstruction": 255.0 * error.abs().mean()}
        if w.charbonnier:
            parts["charbonnier"] = torch.sqrt((255.0 * error).square() + 1.0).mean()
        if w.decibel:
            parts["decibel"] = 10.0 * torch.log10(squares + 1e-5).mean()
        if w.laplacian:
            parts["laplacian"] = 255.0 * laplacian_l1(error)
        if w.census:
            parts["census"] = census_distance(result, batch.targets)
        if w.perceptual and self.perceptual is not None:
            parts["perceptual"] = self.perceptual.distance(result, batch.targets)
        if w.warping:
            flow_t0, flow_t1 = approximate_flows(state.flow_01[batch.index], state.flow_10[batch.index], batch.t)
            parts["warping"] = 255.0 * (
                l1(batch.i0, warp(batch.i1, state.flow_01))
                + l1(batch.i1, warp(batch.i0, state.flow_10))
                + l1(batch.targets, warp(i0, flow_t0))
                + l1(batch.targets, warp(i1, flow_t1))
            )
        if w.smoothness:
            parts["smoothness"] = roughness(state.flow_01) + roughness(state.flow_10)
        if w.ladder and ladder:
            parts["ladder"] = 255.0 * torch.stack([ladder_l1(batch, flow) for flow in ladder]).mean()
        if batch.truth is not None:
            parts |= self._against_truth(batch, state, motion, ladder)
        total = torch.stack([getattr(w, name) * value for name, value in parts.items()]).sum()
        parts["psnr"] = (-10.0 * torch.log10(squares.detach().clamp_min(1e-10))).mean()
        return total, {name: value.detach() for name, value in parts.items()}

    def _against_truth(
        self, batch: Batch, state: PairState, motion: Motion, ladder: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """End-point errors and visibility of the synthetic windows: the last ones of a mixed batch."""
        truth = batch.truth
        assert truth is not None
        windows, targets = truth.flow_01.shape[0], truth.flow_t0.shape[0]
        parts = {}
        if self.weights.flow or self.weights.fine_flow:
            pairs = (
                (state.flow_01[-windows:], truth.flow_01, None),
                (state.flow_10[-windows:], truth.flow_10, None),
                (motion.flow_t0[-targets:], truth.flow_t0, truth.seen_0),
                (motion.flow_t1[-targets:], truth.flow_t1, truth.seen_1),
            )
            errors = [(end_point_error(flow, true), seen) for flow, true, seen in pairs]
            coarse = [ladder_error(flow, truth.flow_01, truth.flow_10) for flow in ladder]
            for name, exponent in (("flow", 1.0), ("fine_flow", FINE)):
                if getattr(self.weights, name):
                    parts[name] = torch.stack([_mean_over(error**exponent, seen) for error, seen in errors]).sum()
                    if ladder:
                        parts[name] += torch.stack([(error**exponent).mean() for error in coarse]).mean()
        if self.weights.visibility:
            only_0, only_1 = truth.seen_0 & ~truth.seen_1, truth.seen_1 & ~truth.seen_0
            v = motion.visibility[-targets:].float().clamp(1e-4, 1 - 1e-4)
            entropy = -(torch.log(v) * only_0 + torch.log1p(-v) * only_1)
            parts["visibility"] = entropy.sum() / (only_0 | only_1).sum().clamp_min(1)
        return parts


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (a - b).abs().mean()


def roughness(flow: Tensor) -> Tensor:
    """Mean absolute gradient of a flow (N, 2, h, w), pixels per pixel."""
    return flow.diff(dim=-1).abs().mean() + flow.diff(dim=-2).abs().mean()


def laplacian_l1(error: Tensor, levels: int = 5) -> Tensor:
    """L1 of the Laplacian pyramid of (N, C, H, W), each level weighted by 2^level (Bojanowski et al. 2018).

    The pyramid is linear, so that of a difference is the difference of the pyramids.
    """
    total = error.new_zeros(())
    for level in range(levels):
        small = F.avg_pool2d(error, 2)
        band = error - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + 2.0**level * band.abs().mean()
        error = small
    return total + 2.0**levels * error.abs().mean()


def census_distance(result: Tensor, target: Tensor, radius: int = 3) -> Tensor:
    """Mean soft Hamming distance of the census transforms of two pictures (N, 3, H, W) in [0, 1], range 0..1.

    As in UnFlow (Meister et al. 2018): a pixel's signature is, for each neighbour, the sign of its difference in
    brightness, softened near zero; signatures are compared neighbour by neighbour with a saturating distance.
    """
    side = 2 * radius + 1

    def signature(rgb: Tensor) -> Tensor:
        gray = 255.0 * rgb.mean(1, keepdim=True)
        inner = [length - 2 * radius for length in gray.shape[2:]]
        around = F.unfold(gray, side).view(len(gray), side * side, *inner)
        difference = around - gray[:, :, radius:-radius, radius:-radius]
        return difference * torch.rsqrt(0.81 + difference.square())

    distance = (signature(result) - signature(target)).square()
    return (distance / (0.1 + distance)).mean()


def ladder_l1(batch: Batch, flow: Tensor) -> Tensor:
    """Warping loss of one coarse flow (2N, 2, h, w) on pictures averaged to its size."""
    own = F.avg_pool2d(torch.cat((batch.i0, batch.i1)), _step_of(flow, batch.i0), ceil_mode=True)
    return l1(own, warp(own.roll(batch.i0.shape[0], 0), flow))


def ladder_error(flow: Tensor, truth_01: Tensor, truth_10: Tensor) -> Tensor:
    """End-point error, in pixels of the truth, of one coarse flow (2N, 2, h, w) of which the last windows of each half
    have a truth (K, 2, H, W), averaged to its size: (2K, 1, h, w)."""
    step = _step_of(flow, truth_01)
    own = torch.cat([half[-truth_01.shape[0] :] for half in flow.chunk(2)])
    return end_point_error(step * own, F.avg_pool2d(torch.cat((truth_01, truth_10)), step, ceil_mode=True))


def _step_of(coarse: Tensor, fine: Tensor) -> int:
    """Pixels of ``fine`` per step of ``coarse``, a power of two; the last step may reach past the picture's end."""
    return 1 << round(math.log2(fine.shape[-1] / coarse.shape[-1]))


def end_point_error(flow: Tensor, truth: Tensor) -> Tensor:
    """Euclidean distance in pixels of two flows (N, 2, h, w), blunted near zero: (N, 1, h, w)."""
    return torch.sqrt((flow - truth).square().sum(1, keepdim=True) + 1e-2)


def _mean_over(value: Tensor, seen: Tensor | None) -> Tensor:
    """Mean, over the pixels ``seen`` where given."""
    return value.mean() if seen is None else (value * seen).sum() / seen.sum().clamp_min(1)

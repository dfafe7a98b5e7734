"""Super SloMo (Jiang et al., CVPR 2018): two U-Nets, flow once per pair, then any number of timesteps.

    flow net            I0, I1 (6 channels) -> F_01, F_10 (4)
    interpolation net   I0, I1, F^_t0, F^_t1, g(I0, F^_t0), g(I1, F^_t1) (16) -> residual flows, visibility logit (5)

F^ are the approximate flows of equation 4; the flow net's bottleneck is joined to the interpolation net's own. All
flows and lookups are float32, whatever the convolutions run in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.unet import UNet, check_share
from slomo_cli.net.warp import approximate_flows, warp

# Mean colour of the paper's training frames, as its authors' later code (Reda et al., ICCV 2019) still subtracts it.
MEAN = (0.4311, 0.4281, 0.3979)


class SuperSloMo(nn.Module):
    """See the module's text. Follows :class:`~slomo_cli.net.motion.InterpolationNet`; one Motion step is one pixel.

    The defaults are the paper's network; sizes and variants by keyword: ``widths``, ``kernels``, ``skip``,
    ``head_kernel``, ``head_slope`` as :class:`~slomo_cli.net.unet.UNet` has them. ``cross_link``: give the flow net's
    bottleneck to the interpolation net. ``show_flows``: give it F_01 and F_10 too (20 inputs, the last four).
    ``shrunken_grid``: flows are meant for a lookup that scales positions by (W-1)/W and (H-1)/H, as networks trained
    with that slip need; the Motion answered is free of it. ``detail``: given back everywhere, as the paper's network
    has no word on it; 0 samples bilinearly, as the paper does, and 0.35 is between the best of clean and of noisy
    pictures. ValueError for what makes no network.
    """

    cell = 1
    arithmetic = ("pair", "at")
    """The methods that can be compiled."""
    mean: Tensor

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512, 512),
        kernels: Sequence[int] = (7, 5, 3, 3, 3, 3),
        skip: Literal["after", "between"] = "after",
        head_kernel: int = 1,
        head_slope: float | None = None,
        cross_link: bool = True,
        show_flows: bool = False,
        shrunken_grid: bool = False,
        mean: Sequence[float] = MEAN,
        detail: float = 0.35,
    ) -> None:
        super().__init__()

        def unet(inputs: int, outputs: int, beside: int) -> UNet:
            return UNet(
                inputs,
                outputs,
                widths=widths,
                kernels=kernels,
                beside=beside,
                skip=skip,
                head_kernel=head_kernel,
                head_slope=head_slope,
            )

        for name, share in (("detail", detail), *(("mean", colour) for colour in mean)):
            check_share(name, share)
        self.cross_link = cross_link
        self.show_flows = show_flows
        self.shrunken_grid = shrunken_grid
        self.detail = detail
        self.flow = unet(6, 4, 0)
        self.interpolation = unet(20 if show_flows else 16, 5, widths[-1] if cross_link else 0)
        self.stride = self.flow.stride
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(1, 3, 1, 1))

    def pair(self, i0: Tensor, i1: Tensor) -> PairState:
        """Flows between N pairs of (N, 3, H, W) RGB in [0, 1]; keeps what every timestep will need."""
        mean = self.mean.float()
        i0, i1 = i0.float() - mean, i1.float() - mean
        flows, bottleneck = self.flow(self._for_network(torch.cat((i0, i1), 1)))
        flow_01, flow_10 = flows.float().split(2, 1)
        return PairState(self._true(flow_01), self._true(flow_10), (i0, i1, flow_01, flow_10, bottleneck))

    def at(self, state: PairState, index: Tensor, t: Tensor) -> Motion:
        """Motion of M timesteps, the m-th at ``t[m]`` within pair ``index[m]``."""
        i0, i1, flow_01, flow_10, bottleneck = (kept[index] for kept in state.extra)
        guess_t0, guess_t1 = approximate_flows(flow_01, flow_10, t)
        seen = [i0, i1, guess_t0, guess_t1, warp(i0, self._true(guess_t0)), warp(i1, self._true(guess_t1))]
        if self.show_flows:
            seen += [flow_01, flow_10]
        answer, _ = self.interpolation(self._for_network(torch.cat(seen, 1)), bottleneck if self.cross_link else None)
        change_t0, change_t1, logit = answer.float().split((2, 2, 1), 1)
        flows = self._true(guess_t0 + change_t0), self._true(guess_t1 + change_t1)
        return Motion(*flows, torch.sigmoid(logit), torch.full_like(logit, self.detail))

    def forward(self, i0: Tensor, i1: Tensor, t: Tensor) -> Motion:
        """One timestep per pair: ``t`` is (N,)."""
        return self.at(self.pair(i0, i1), torch.arange(i0.shape[0], device=i0.device), t)

    def _for_network(self, x: Tensor) -> Tensor:
        return x.to(self.flow.head.weight.dtype)

    def _true(self, flow: Tensor) -> Tensor:
        """Displacements as :func:`~slomo_cli.net.warp.warp` takes them: with ``shrunken_grid``, (x + u)(W-1)/W - x."""
        if not self.shrunken_grid:
            return flow
        height, width = flow.shape[-2:]
        x = torch.arange(width, device=flow.device, dtype=flow.dtype)
        y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
        return torch.stack((flow[:, 0] - (x + flow[:, 0]) / width, flow[:, 1] - (y + flow[:, 1]) / height), 1)

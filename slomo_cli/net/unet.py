"""The U-Net of Super SloMo (Jiang et al., CVPR 2018, section 3.3), in any size.

Every level of the encoder is two convolutions with LeakyReLU 0.1, then average pooling by 2 except after the last;
every level of the decoder doubles the size bilinearly and convolves twice more, the encoder's features of that size
beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    # Keeps the size of activations from layer to layer; torch's own start shrinks them threefold at each.
    nn.init.kaiming_normal_(conv.weight, a=SLOPE)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def check_sizes(name: str, sizes: Sequence[int], least: int = 1, odd: bool = False) -> None:
    """ValueError unless there are some, all whole numbers of ``least`` or more, and ``odd`` where asked."""
    if not sizes or not all(isinstance(size, int) and size >= least and (size % 2 or not odd) for size in sizes):
        kind = "odd" if odd else "whole"
        raise ValueError(f"{name}: expected {kind} numbers of {least} or more, found {list(sizes)}")


def check_share(name: str, share: object) -> None:
    """ValueError unless it is a number from 0 to 1."""
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, found {share!r}")


class _Twice(nn.Module):
    """Two convolutions with LeakyReLU; ``beside`` features join after or, with ``between``, before the second one."""

    def __init__(self, inputs: int, outputs: int, kernel: int, beside: int = 0, between: bool = False) -> None:
        super().__init__()
        self.between = between
        self.first = _conv(inputs, outputs, kernel)
        self.second = _conv(outputs + (beside if between else 0), outputs, kernel)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        x = F.leaky_relu(self.first(x), SLOPE, inplace=True)
        if beside is not None and self.between:
            x = torch.cat((x, beside), 1)
        x = F.leaky_relu(self.second(x), SLOPE, inplace=True)
        if beside is not None and not self.between:
            x = torch.cat((x, beside), 1)
        return x


class UNet(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, H, W), H and W multiples of ``stride``.

    ``widths``, ``kernels``: channels and kernel side of each encoder level, finest first; the last is the bottleneck.
    ``beside``: channels that a caller joins to the bottleneck. ``skip``: where the encoder's features join a decoder
    level: ``after`` its two convolutions (the paper's layout: one more 3x3 convolution then gathers the finest level),
    or ``between`` them (then there is none). ``head_kernel``: side of the last convolution; it is linear unless
    ``head_slope`` names a LeakyReLU. ValueError where a width is below 1, a kernel even or a slope beyond 0 to 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        widths: Sequence[int],
        kernels: Sequence[int],
        beside: int = 0,
        skip: Literal["after", "between"] = "after",
        head_kernel: int = 1,
        head_slope: float | None = None,
    ) -> None:
        super().__init__()
        if len(widths) != len(kernels) or len(widths) < 2:
            raise ValueError(
                f"expected as many kernels as widths, at least two, found {len(kernels)} and {len(widths)}"
            )
        if skip not in ("after", "between"):
            raise ValueError(f"skip is 'after' or 'between', not {skip!r}")
        check_sizes("widths", widths)
        check_sizes("kernels", kernels, odd=True)
        check_sizes("head_kernel", [head_kernel], odd=True)
        if head_slope is not None:
            check_share("head_slope", head_slope)
        between = skip == "between"
        self.stride = 2 ** (len(widths) - 1)
        self.head_slope = head_slope
        self.encoder = nn.ModuleList(
            _Twice(i, o, kernel) for i, o, kernel in zip([inputs, *widths[:-1]], widths, kernels, strict=True)
        )
        self.decoder = nn.ModuleList()
        below = widths[-1] + beside
        for width in reversed(widths[:-1]):
            self.decoder.append(_Twice(below, width, 3, beside=width, between=between))
            below = width if between else 2 * width
        self.gather = None if between else _conv(below, widths[0], 3)
        self.head = nn.Conv2d(widths[0], outputs, head_kernel, padding=head_kernel // 2)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The output, and the bottleneck (N, widths[-1], H / stride, W / stride) for another network to use."""
        x = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level in self.encoder:
            if skips:
                x = F.avg_pool2d(x, 2)
            x = level(x)
            skips.append(x)
        bottleneck = skips.pop()
        if beside is not None:
            x = torch.cat((x, beside), 1)
        for level in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = level(x, skips.pop())
        if self.gather is not None:
            x = F.leaky_relu(self.gather(x), SLOPE, inplace=True)
        x = self.head(x)
        if self.head_slope is not None:
            x = F.leaky_relu(x, self.head_slope)
        return x, bottleneck


def parameter_count(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())

"""The RGB proxy a network sees, made from the file's own planes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.values import ColorInfo, PixelLayout, usual_matrix

# Kr and Kb of ISO/IEC 23091-2 matrix coefficients; codes not listed are read as unspecified.
_LUMA_SHARES = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 BG, as BT.601
    6: (0.299, 0.114),  # BT.601
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),
}


PROXY_SIDE = 1088
"""Longest short side of a proxy, in pixels, when nothing is said: everything up to 1080p is seen at full size."""


class ProxyScale(NamedTuple):
    """Size of a proxy beside the picture's own."""

    divisor: int
    """Samples that make one proxy pixel, along each side."""
    magnify: int
    """Proxy pixels made of one sample; one of the two is 1."""

    def of(self, length: int) -> int:
        """Proxy pixels that show so many samples."""
        return -(-length // self.divisor) * self.magnify

    def step(self, cell: int) -> int:
        """Samples per step of the Motion grid of a network whose grid has a step every ``cell`` proxy pixels."""
        return self.divisor * cell // self.magnify


def proxy_scale(side: int, cell: int, longest: int = PROXY_SIDE) -> ProxyScale:
    """For pictures with a short side of ``side`` samples and a proxy of at most ``longest``.

    Where there is room a picture is enlarged until a network of that ``cell`` answers for every sample: motion finer
    than its grid is otherwise lost on small pictures, where every sample counts and work is little.
    """
    return ProxyScale(max(1, -(-side // longest)), cell if side * cell <= longest else 1)


def magnified(rgb: Tensor, times: int) -> Tensor:
    """(N, 3, H, W) enlarged ``times`` bilinearly."""
    return rgb if times == 1 else F.interpolate(rgb, scale_factor=times, mode="bilinear", align_corners=False)


@torch.inference_mode()
def to_proxy(
    planes: Sequence[Tensor], layout: PixelLayout, color: ColorInfo, divisor: int, stride: int, magnify: int = 1
) -> Tensor:
    """Integer planes to the picture the network sees.

    ``planes``: (h, w) integers each, in the layout's storage order. Returns (1, 3, H, W) float32 RGB in [0, 1]: areas
    of ``divisor`` x ``divisor`` luma samples averaged (frame edges repeated to fill the last), enlarged ``magnify``
    times, edges repeated until H and W are multiples of ``stride`` (one of ``magnify``). Gray gives three equal
    channels; what is transparent lies over medium gray, so that a shape is seen that only alpha tells; the transfer
    curve is left as it is. An unspecified matrix is BT.601 up to 576 lines and BT.709 above; an unspecified range is
    limited for YUV and full for RGB and gray, as FFmpeg reads them.
    """
    if magnify > 1:
        return magnified(to_proxy(planes, layout, color, divisor, stride // magnify), magnify)
    frame_height, frame_width = planes[0].shape
    height, width = (-(-side // (divisor * stride)) * stride for side in (frame_height, frame_width))
    block_y, block_x = 1 << layout.chroma_shift_y, 1 << layout.chroma_shift_x
    limited = color.is_limited(layout)
    unit = 1 << (layout.bits - 8)
    black, scale = (16.0 * unit, 1 / (219.0 * unit)) if limited else (0.0, 1 / layout.peak)

    def reduced(plane: Tensor, by_y: int, by_x: int) -> Tensor:
        """(1, h, w) float in sample units, averaged by areas."""
        samples = plane[None, None].float()
        h, w = plane.shape
        if by_y > 1 or by_x > 1:
            samples = _means(_extend(samples, -(-h // by_y) * by_y, -(-w // by_x) * by_x), by_y, by_x)
        return samples[0]

    def shown(rgb: Tensor) -> Tensor:
        rgb = _extend(rgb, height, width)
        if not layout.alpha:
            return rgb
        alpha = reduced(planes[-1], divisor, divisor)[:, None] / layout.peak
        return rgb.sub_(0.5).mul_(_extend(alpha, height, width)).add_(0.5)

    first = reduced(planes[0], divisor, divisor)
    if layout.family == "gray":
        return shown(first.sub_(black).mul_(scale).clamp_(0, 1)[:, None].repeat(1, 3, 1, 1))
    if layout.family == "rgb":  # stored as G, B, R
        blue, red = reduced(planes[1], divisor, divisor), reduced(planes[2], divisor, divisor)
        return shown(torch.stack((red, first, blue), dim=1).sub_(black).mul_(scale).clamp_(0, 1))

    zero, chroma_scale = 128.0 * unit, (1 / (224.0 * unit) if limited else 1 / layout.peak)
    chroma = []
    for plane in planes[1:3]:
        if divisor % block_y == 0 and divisor % block_x == 0:
            reduced_plane = reduced(plane, divisor // block_y, divisor // block_x)
        elif divisor < 2 * max(block_y, block_x):
            # Less than two chroma samples to a proxy pixel: between their centres is as good as an average.
            size = (-(-frame_height // divisor), -(-frame_width // divisor))
            reduced_plane = reduced(_resampled(plane, block_y, block_x, divisor, size), 1, 1)
        else:
            size = (frame_height, frame_width)
            reduced_plane = reduced(_resampled(plane, block_y, block_x, 1, size), divisor, divisor)
        chroma.append(reduced_plane.sub_(zero).mul_(chroma_scale))
    first.sub_(black).mul_(scale)
    return shown(_to_rgb(first, chroma[0], chroma[1], _luma_shares(color, frame_height), height, width))


def _luma_shares(color: ColorInfo, height: int) -> tuple[float, float]:
    return _LUMA_SHARES.get(color.matrix) or _LUMA_SHARES[usual_matrix(height)]


def _to_rgb(luma: Tensor, cb: Tensor, cr: Tensor, shares: tuple[float, float], height: int, width: int) -> Tensor:
    """(1, h, w) luma in [0, 1], colour differences in [-1/2, 1/2] -> (1, 3, height, width) in [0, 1], edges repeated
    (ITU-R BT.709, item 3)."""
    red, blue = shares
    green = 1 - red - blue
    rgb = torch.empty(1, 3, height, width, dtype=luma.dtype, device=luma.device)
    h, w = luma.shape[1:]
    inner = rgb[..., :h, :w]
    torch.add(luma, cr, alpha=2 * (1 - red), out=inner[:, 0])
    torch.add(luma, cb, alpha=2 * (1 - blue), out=inner[:, 2])
    torch.add(luma, cb, alpha=-2 * (1 - blue) * blue / green, out=inner[:, 1])
    inner[:, 1].sub_(cr, alpha=2 * (1 - red) * red / green)
    inner.clamp_(0, 1)
    rgb[..., h:, :w] = rgb[..., h - 1 : h, :w]
    rgb[..., w:] = rgb[..., w - 1 : w]
    return rgb


def _means(samples: Tensor, by_y: int, by_x: int) -> Tensor:
    """Averages over areas, added up in the order of torch's own pooling and in half its time on a CPU."""
    return reduce(torch.add, [samples[..., y::by_y, x::by_x] for y in range(by_y) for x in range(by_x)]) / (by_y * by_x)


def _extend(samples: Tensor, height: int, width: int) -> Tensor:
    """(N, C, h, w) with the last row and column repeated up to (height, width)."""
    h, w = samples.shape[-2:]
    if (h, w) == (height, width):
        return samples
    return F.pad(samples, (0, width - w, 0, height - h), mode="replicate")


def _resampled(plane: Tensor, block_y: int, block_x: int, divisor: int, size: tuple[int, int]) -> Tensor:
    """Chroma (h, w) on a grid of ``divisor`` luma samples, bilinear between centres: ``size`` float32."""
    samples = plane[None, None].float()
    h, w = plane.shape
    samples = _extend(samples, -(-h // divisor) * divisor, -(-w // divisor) * divisor)
    factors = (block_y / divisor, block_x / divisor)
    resampled = F.interpolate(samples, scale_factor=factors, mode="bilinear", align_corners=False)
    return resampled[0, 0, : size[0], : size[1]]

"""What cameras and encoders do to pictures: blur, noise, block compression."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.train.store import put


def spoil(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Windows (N, 2 + T, 3, H, W) in [0, 1], first, last, targets: each spoiled by chance.

    Blur takes the whole window. Noise and compression fall on the two inputs alone: they cannot be foretold, so targets
    stay clean.
    """
    blurs = rng.random((pictures.shape[0], 1)) < 0.15
    flat = pictures.flatten(0, 1)
    blurred = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(pictures)
    pictures = torch.where(_per_window(blurs, pictures.device), blurred, pictures)
    return torch.cat((roughen(pictures[:, :2], 0.25, rng), pictures[:, 2:].clamp(0.0, 1.0)), 1)


def roughen(inputs: Tensor, chance: float, rng: np.random.Generator) -> Tensor:
    """Windows' inputs (N, 2, 3, H, W) in [0, 1]: each window's compressed, and made noisy, by that chance."""
    count, device = inputs.shape[0], inputs.device
    noisy, blocky = rng.random((2, count)) < chance
    steps = _per_window(rng.uniform(0.02, 0.08, (count, 1)), device)
    inputs = torch.where(_per_window(blocky[:, None], device), quantise(inputs, steps), inputs)
    generator = torch.Generator(device).manual_seed(int(rng.integers(1 << 62)))
    grain = torch.randn(inputs.shape, generator=generator, device=device)
    inputs = inputs + grain * _per_window((rng.uniform(0.002, 0.02, count) * noisy)[:, None], device)
    return inputs.clamp_(0.0, 1.0)


def _per_window(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """(N, K) -> (N, K, 1, 1, 1) on the device."""
    array = values if values.dtype == np.bool_ else values.astype(np.float32)
    return put(array, device)[..., None, None, None]


def quantise(pictures: Tensor, step: Tensor) -> Tensor:
    """Round the 8x8 DCT of every channel of (..., H, W) to multiples of ``step``, wider for fine detail.

    H and W are multiples of 8; ``step``: broadcast over pictures, in units of the pictures.
    """
    n = torch.arange(8, device=pictures.device, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * 0.5
    basis = torch.where(n[:, None] == 0, basis * math.sqrt(0.5), basis)
    height, width = pictures.shape[-2:]
    blocks = pictures.reshape(*pictures.shape[:-2], height // 8, 8, width // 8, 8)
    spectrum = torch.einsum("ui,...hiwj,vj->...huwv", basis, blocks, basis)
    steps = step[..., None, None] * (1 + (n[:, None, None] + n) / 2)
    spectrum = torch.round(spectrum / steps) * steps
    return torch.einsum("ui,...huwv,vj->...hiwj", basis, spectrum, basis).reshape(pictures.shape)


__all__ = ["quantise", "roughen", "spoil"]

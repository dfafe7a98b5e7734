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
    """Windows (N, 2 + T, 3, H, W) in [0, 1], first, last, targets: each spoiled by chance, in place.

    Blur takes the whole window. Noise and compression fall on the two inputs alone: they cannot be foretold, so targets
    stay clean.
    """
    blurred = np.flatnonzero(rng.random(len(pictures)) < 0.15)
    if len(blurred):
        rows = put(blurred, pictures.device)
        sharp = pictures[rows]
        rim = F.pad(sharp.flatten(1, 2), (1, 1, 1, 1), mode="replicate")
        across = rim[..., :-2] + rim[..., 1:-1] + rim[..., 2:]  # far quicker on a CPU than pooling
        down = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]
        pictures[rows] = (down / 9).view_as(sharp)
    roughen(pictures[:, :2], 0.25, rng)
    return pictures.clamp_(0.0, 1.0)


def roughen(inputs: Tensor, chance: float, rng: np.random.Generator) -> None:
    """Windows' inputs (N, 2, 3, H, W) in [0, 1]: each window's compressed, and made noisy, by that chance, in place."""
    count, device = len(inputs), inputs.device
    noisy, blocky = (np.flatnonzero(chosen) for chosen in rng.random((2, count)) < chance)
    if len(blocky):
        rows = put(blocky, device)
        steps = _per_window(rng.uniform(0.02, 0.08, len(blocky)), device)
        inputs[rows] = quantise(inputs[rows], steps).clamp_(0.0, 1.0)
    if len(noisy):
        rows = put(noisy, device)
        generator = torch.Generator(device).manual_seed(int(rng.integers(1 << 62)))
        grain = torch.randn((len(noisy), *inputs.shape[1:]), generator=generator, device=device)
        grain *= _per_window(rng.uniform(0.002, 0.02, len(noisy)), device)
        inputs[rows] = grain.add_(inputs[rows]).clamp_(0.0, 1.0)


def _per_window(values: npt.NDArray[np.floating], device: torch.device) -> Tensor:
    """(N,) -> (N, 1, 1, 1, 1) on the device."""
    return put(values.astype(np.float32), device)[:, None, None, None, None]


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

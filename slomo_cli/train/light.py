"""What changes without moving: fades, exposure, shadows, and one scene dissolving into another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.train.store import Ints, put

_MOST, _MOST_DISSOLVED = 0.75, 0.45
"""Largest share of the picture that a colour, or another picture, takes: beyond, little would be left to follow."""


def relight(
    pictures: Tensor, window: Ints, t: npt.NDArray[np.floating], share: float, rng: np.random.Generator
) -> Tensor:
    """Let some windows fade towards a colour or another window's first picture, or come back from it, in place.

    ``pictures``: (K, 3, S, S) RGB in [0, 1], the k-th of window ``window[k]`` and at its time ``t[k]`` in [0, 1];
    ``share``: chance of a window. The change is linear in time, so that what lies between two pictures in time lies
    between them in light too. It takes all of the picture, or a patch of light or shadow that stands still.
    """
    side, device = pictures.shape[-1], pictures.device
    count = int(window.max()) + 1
    changed = np.flatnonzero(rng.random(count) < share)
    begins = pictures[put(np.unique(window, return_index=True)[1], device)] if len(changed) else pictures
    for one in changed:
        mine = np.flatnonzero(window == one)
        if rng.random() < 0.2:
            towards, most = begins[rng.integers(count)], _MOST_DISSOLVED
        else:
            colour = np.full(3, rng.random() < 0.3) if rng.random() < 0.8 else rng.random(3)
            towards, most = put(colour.astype(np.float32), device).view(3, 1, 1), _MOST
        ends = rng.uniform(0, most, 2)
        if rng.random() < 0.6:
            ends[rng.integers(2)] = 0.0
        amount = put((ends[0] + (ends[1] - ends[0]) * t[mine]).astype(np.float32), device).view(-1, 1, 1, 1)
        if rng.random() < 0.4:
            amount = amount * _patch(side, rng, device)
        places = put(mine, device)
        pictures[places] = torch.lerp(pictures[places], towards, amount)
    return pictures


def _patch(side: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """(side, side) in [0, 1]: smooth, mostly one or zero."""
    cells = int(rng.integers(2, 6))
    knots = put(rng.standard_normal((1, 1, cells, cells)).astype(np.float32), device)
    field = F.interpolate(knots, size=(side, side), mode="bicubic", align_corners=True)[0, 0]
    return (field * float(rng.uniform(0.7, 4.0)) + 0.5).clamp_(0.0, 1.0)

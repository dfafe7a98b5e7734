"""What could have moved in several ways, moves as much of the picture does.

A fence, a wall of tins, the lines of a text look the same a period further on. Where something else passes before them,
a search that sees a few cells around itself takes whichever likeness is near the flow it began with, and may end a
period away. What is not periodic around them tells which is right: the few motions that large parts of a picture share
(the *dominant* ones: Black and Anandan 1996, of whom this takes the name only) are tried everywhere, and taken where

* both frames are about as much alike along the dominant motion as along the flow, closely and around; and
* they are not so in between: two likenesses with none between them. Where nothing can be told apart, as on a plain
  wall, the flow is left as it is.

It also leads back to a camera's motion what lost it altogether. The rule is given, not learned, like
:func:`~slomo_cli.net.fast.kept`: a photometric loss tells no flow that it should be a period elsewhere. Its numbers
were found by trying them on video. With it, 18 clips gain 0.10, 0.23 and 0.07 dB at x2, x4 and x8, nearly all of it by
the one with a wall of tins (1.8, 4.1 and 1.0 dB); pans of 120 pixels a frame gain 4.7 dB, rolling text 1.3, and the two
sets of single pictures nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_MOTIONS, _SHARE = 2, 0.03
"""Dominant motions that are tried; the share of the cells that must have one."""
_REACH = 127
"""Cells; what moves further counts as moving so far when motions are counted."""
_AROUND, _CLOSE = 7, 3
"""Sides of the squares of cells in which likeness is averaged."""
_MARGIN, _LEAST = 0.05, 0.4
"""By how much a dominant motion may fit less well than the flow, and how well it must fit, as a cosine."""
_VALLEY = 0.15
"""How much less alike the frames must be somewhere in between."""
_BETWEEN = (0.25, 0.5)
"""Shares of the way at which that is asked: where the half is a period's end, the quarter is not."""

Alike = Callable[[Tensor, Tensor], Tensor]
"""For a flow (N, 2, h, w) in cells, how much each cell is like what it leads to, a cosine: (N, h, w) float32; only
where the mask (N, h, w) says so, elsewhere it may be anything."""


def led(flow: Tensor, alike: Alike, hasty: bool) -> Tensor:
    """``flow`` (N, 2, h, w) float32 in cells, each of one frame, with a dominant motion of its own in place of what is
    not sure.

    ``hasty``: leave out steps that would change nothing, which asks the device whether they would; a GPU is better not
    asked.
    """
    taken = torch.zeros_like(flow[:, 0], dtype=torch.bool)
    for _ in range(_MOTIONS):
        # Counted anew each time: what went astray together would count as a motion of its own.
        motion, near = _dominant(flow, ~taken)
        taken = taken | near
        doubtful = ~taken & (near.float().mean((1, 2), keepdim=True) > _SHARE)
        if hasty and not doubtful.any():
            continue
        other = alike(motion.expand_as(flow), _widened(doubtful))
        around = _mean(other, _AROUND)
        fits = doubtful & (around > _LEAST)
        own = alike(flow, _widened(fits))
        fits &= around > _mean(own, _AROUND) - _MARGIN
        fits &= _mean(other, _CLOSE) > _mean(own, _CLOSE) - _MARGIN
        if hasty and not fits.any():
            continue
        seen, way = _widened(fits), motion - flow
        between = torch.stack([_mean(alike(flow + share * way, seen), _AROUND) for share in _BETWEEN]).amin(0)
        fits &= between < around - _VALLEY
        flow = torch.where(fits[:, None], motion, flow)
        taken = taken | fits
    return flow


def _dominant(flow: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """The motion that most of the ``free`` cells (N, h, w) share, (N, 2, 1, 1), and which of all cells have it."""
    side = 2 * _REACH + 1
    # What is no number would be counted outside the table.
    x, y = flow.nan_to_num().round().clamp(-_REACH, _REACH).add(_REACH).long().flatten(2).unbind(1)
    count = flow.new_zeros(len(flow), side * side).scatter_add_(1, y * side + x, free.flatten(1).to(flow.dtype))
    most = count.argmax(1)
    motion = (torch.stack((most % side, most // side), 1) - _REACH).to(flow.dtype)[..., None, None]
    for _ in range(3):  # from whole cells to their mean
        near = _near(flow, motion)
        members = near.sum((1, 2)).clamp_min(1).view(-1, 1, 1, 1)
        motion = (flow * near[:, None]).sum((2, 3), keepdim=True) / members
    return motion, _near(flow, motion)


def _near(flow: Tensor, motion: Tensor) -> Tensor:
    return (flow - motion).square().sum(1) < 1


def _widened(mask: Tensor) -> Tensor:
    """All cells that an average at one of those of ``mask`` (N, h, w) takes in."""
    return _sums(mask.float(), _AROUND) > 0.5


def _mean(values: Tensor, side: int) -> Tensor:
    """(N, h, w): of the square around each cell, as far as the picture goes."""
    return _sums(values, side) / _sums(torch.ones_like(values[:1]), side)


def _sums(values: Tensor, side: int) -> Tensor:
    """As ``_mean``, not divided: differences of running sums, six times quicker on a CPU than pooling."""
    rim = side // 2
    total = F.pad(values, (rim + 1, rim, rim + 1, rim)).cumsum(1).cumsum(2)
    rows = total[:, side:] - total[:, :-side]
    return rows[..., side:] - rows[..., :-side]

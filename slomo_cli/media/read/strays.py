"""Stamps damaged on the way: they fly off, while those that follow go on as if nothing had happened.

A pause is followed by what is later still, and a recording joined to another by what belongs to its own clock; neither
leaves a hole into which exactly the pictures fit that flew off.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from slomo_cli.media.clocks import MOST_REORDERED

if TYPE_CHECKING:
    import numpy.typing as npt

    Ticks = npt.NDArray[np.int64]


def mended(ticks: Ticks, nearest: Fraction, reordered: bool) -> dict[int, int]:
    """Which stamps are damaged, by their index, and what they should be: the pace of their neighbours.

    ticks: in stored order. nearest: ticks a stamp must at least be away to be damaged. reordered: pictures may be
    stored in another order than they are shown, as far as the codec says; one that comes too early is not told from
    others then.
    """
    if len(ticks) < 3:
        return {}
    ticks = ticks.copy()
    steps = np.diff(np.sort(ticks))
    step = int(np.median(steps[steps > 0])) if steps.any() else 0
    steps = np.diff(ticks)
    # Where H.264 does not say so, as many recorders leave it, small steps back do.
    reordered = reordered or bool(((steps < 0) & (steps >= -max(int(nearest), 2 * step))).any())
    around = MOST_REORDERED if reordered else 1
    far = max(int(nearest), 2 * around * step)
    found: dict[int, int] = {}
    if not (steps < -far).any():  # pauses only
        return {}
    bounds = [0, *(int(at) + 1 for at in np.flatnonzero(np.abs(steps) > far))]
    # From the end, so that what follows is whole already.
    for begin, end in reversed(list(pairwise(bounds))):
        following = ticks[end : end + 2 * around]
        ahead = int(ticks[begin:end].min() - following.max()) > far
        if begin == 0:
            # One picture is no recording of its own.
            if ahead and end == 1:
                found[0] = int(following.min()) - step
            continue
        behind = not reordered and int(ticks[begin - 1] - ticks[begin]) > far
        if not (ahead or behind) or (reordered and len(following) <= around):
            continue
        if np.median(ticks[max(0, begin - around) : begin]) > np.median(following):  # a clock that begins anew
            continue
        extent = int(ticks[begin:end].max() - ticks[begin:end].min())
        low, wide = _hole(ticks[max(0, begin - 3 * around) : begin], ticks[end : end + 3 * around], around)
        spare = wide - extent
        if not 1.5 * step <= spare <= far:
            continue
        move = low + spare // 2 - int(ticks[begin:end].min())
        ticks[begin:end] += move
        found.update((at, int(ticks[at])) for at in range(begin, end))
    return found


def _hole(before: Ticks, after: Ticks, around: int) -> tuple[int, int]:
    """The widest hole between stamps of which those in between are missing: its beginning, and how wide it is.

    around: so many stamps beside it tell where it may lie; further ones fill what only seems to be one.
    """
    if around == 1:
        return int(before[-1]), int(after[0] - before[-1])
    inner = np.concatenate([before[-around:], after[:around]])
    every = np.sort(np.concatenate([before, after]))
    every = every[(every >= inner.min()) & (every <= inner.max())]
    widest = int(np.diff(every).argmax())
    return int(every[widest]), int(every[widest + 1] - every[widest])

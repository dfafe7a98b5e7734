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


_MOST_JOLTED = 2
"""Pictures in a row of which the time of decoding is damaged; more pass for a recording of their own."""


def jolted(order: Ticks, nearest: int, furthest: int) -> dict[int, int]:
    """Which times of decoding are damaged in a file whose clock may jump, and what they should be: after a jump of one
    or two pictures the clock goes on as if nothing had happened.

    order: in stored order, in ticks. nearest, furthest: ticks of a step back and ahead that are a jump at least.
    """
    found: dict[int, int] = {}
    steps = np.diff(order)
    if len(order) < 4 or not (steps > 0).any():
        return found
    order = order.copy()
    usual = int(np.median(steps[steps > 0]))
    for at in (int(step) + 1 for step in np.flatnonzero((steps < -nearest) | (steps > furthest))):
        if -nearest <= order[at] - order[at - 1] <= furthest:
            continue  # mended with the one before
        runs = [(begin, begin + few) for few in range(1, _MOST_JOLTED + 1) for begin in (at - few, at)]
        for begin, end in runs:
            if begin < 1 or end >= len(order):
                continue
            across = int(order[end] - order[begin - 1])
            if 0 < across <= nearest + (end - begin + 1) * usual:
                for place in range(begin, end):
                    order[place] = order[begin - 1] + across * (place - begin + 1) // (end - begin + 1)
                    found[place] = int(order[place])
                break
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

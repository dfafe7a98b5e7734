"""Leaps: small things that move further than they are wide, such as a ball.

From coarse to fine their flow is lost: the levels that reach far do not see them, and the levels that see them do not
reach far. So such things are looked for by themselves, taken to move as a whole, and put into the Motion of every
timestep.

They leave a trace. In both frames there is something that is unlike what the flow leads to, and these two are like each
other. So what the flow does not explain in one frame is looked for in all that it does not explain in the other. That
is little, which makes it cheap, and leaves few ways to be wrong. What is found so, by the features of a level of the
network, is then measured in the pictures themselves: how far exactly it moved, and which pixels moved along.

A wrong leap does more harm than one that is not made, so there must be no doubt:

* The features of three cells side by side at least are each other's likeliest by far, and moved alike.
* The pixels are like their partners, and unlike what the flow has for them, in both frames.
* Hardly anything around moves as they do: else it is the background, seen past something that the flow follows.
* Little else around is unexplained: else it is one of many changes, as when a caption gives way to the next, whose
  letters would fly to their likes.
* They are set off from what is around them. What something covers on its way is often like what it uncovers; but that
  is a piece of a larger thing, and has no outline of its own.

The numbers were found by trying them: on 72 photographs with discs of 14 to 40 pixels of other photographs moved across
them by 20 to 130, of which 35 gain (0.3 to 25 dB) and none loses; on 18 clips at two, four and eight times their speed;
and on pairs of frames two to twelve apart in 42 other videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net.motion import Leap, Motion
from slomo_cli.net.warp import pixel_grid, warp

_LOST = 0.35
"""Cosine similarity of a cell with the place its flow leads to below which the flow does not explain it."""
_MOST = 768
"""Cells of a frame that are looked for at most: those that are explained least."""
_CLEAR = 0.05
"""How much more alike two cells must be than either is to any other place."""
_REACH = 0.25
"""Longest leap, as a share of the picture's width."""
_SIDE_BY_SIDE, _CROWD = 2, 3
"""Cells so near that moved alike, to a cell, belong together; so many must do so."""
_THINGS = 16
"""Leaps of a pair at most, by the number of their cells."""

_SEARCH = 6
"""Pixels of the pictures by which a step of whole cells may be wrong."""
_MARGIN, _AROUND = 16, 48
"""Pixels around the cells that are looked at for more of the thing; and for what else there is."""
_UNEXPLAINED, _FAINT = 0.04, 0.01
"""Differences of colours, of 1: from which on a pixel is not what the flow takes it for; and that may be noise."""
_SURE, _LIKELY = 0.5, 0.8
"""Of that, the difference along the leap is at most such a share for the core of a thing, and for the rest of it."""
_AREA, _GAP = 50, 9
"""Pixels of the core at least; widest gaps in a thing that are filled."""
_BETTER, _BEST = 0.05, 0.2
"""The same share for the core as a whole, for every cell of the thing; and at most."""
_SAME, _FLOCK = 3.0, 0.15
"""Where the flow is within so many pixels of the leap it is the same; the share of the surroundings where it may be."""
_STRANGE = 0.8
"""The share of a thing's own area that may be unexplained around it."""
_CONTRAST, _OUTLINE = 0.08, 0.85
"""Difference of colours, of 1, that makes an edge; the share of a thing's outline that must be one."""
_DETAIL = 0.35
"""The ``detail`` of a Motion for what leaps: between the best of clean and of noisy pictures."""


class _Pairs(NamedTuple):
    place: Tensor
    """(M, 2) int64: row and column in one frame."""
    step: Tensor
    """(M, 2) int64: rows and columns from there to the place in the other."""


def find_leaps(
    keys: tuple[Tensor, Tensor], flow: Tensor, pictures: tuple[Tensor, Tensor], full: Tensor, pair: int = 0
) -> list[Leap]:
    """What leaps between two frames.

    ``keys``: (h, w, C) each, what is compared of the frames' cells, of length sqrt(C). ``flow``: (2, 2, h, w) float32
    in cells, F_01 and F_10. ``pictures``: (1, 3, H, W) float32 each, on the Motion grid, of any offset and a range of
    1; H and W are whole multiples of h and w. ``full``: (2, 2, H, W) float32, the flow on that grid. ``pair``: which of
    the state's pairs they are.
    """
    with torch.autocast(full.device.type, enabled=False):
        # A few numbers and many questions: for the host.
        groups = _groups(_Pairs(*(part.cpu() for part in _pairs(*keys, flow))))
        cell = full.shape[-1] // flow.shape[-1]
        things = (_measured(group, cell, pictures, full, pair) for group in groups)
        return [thing for thing in things if thing is not None]


def with_leaps(motion: Motion, leaps: Sequence[Leap], index: Tensor, t: Tensor) -> Motion:
    """``motion``, changed in place: what leaps is put where it is at the time, over all else, and taken away from where
    it was and will be. ``index``, ``t``: of the timesteps, as ``at`` takes them."""
    if not leaps:
        return motion
    height, width = motion.flow_t0.shape[-2:]
    grid = pixel_grid(height, width, t.device)[0]
    for m, (pair, time) in enumerate(zip(index.tolist(), t.tolist(), strict=True)):
        moved = [(leap, _covers(leap, grid - time * _field(leap))) for leap in leaps if leap.pair == pair]
        flow_0, flow_1, visibility, detail = (part[m] for part in motion)
        for leap, _ in moved:
            # Where one frame shows the thing and it is elsewhere by now, what is behind is seen in the other.
            gone = _covers(leap, grid + flow_0)
            to_come = _covers(leap, grid + flow_1 - _field(leap))
            visibility[:, gone & ~to_come] = 0.0
            visibility[:, to_come & ~gone] = 1.0
        for leap, here in reversed(moved):  # the larger ones in front
            flow_0[:, here] = -time * leap.step[:, None]
            flow_1[:, here] = (1.0 - time) * leap.step[:, None]
            visibility[:, here] = 0.5
            detail[:, here] = _DETAIL
    return motion


def _field(leap: Leap) -> Tensor:
    return leap.step.view(2, 1, 1)


def _covers(leap: Leap, place: Tensor) -> Tensor:
    """Whether the thing covers ``place`` (2, h, w), x and y, in frame 0: (h, w) bool."""
    rows, cols = leap.mask.shape
    x, y = (place - place.new_tensor([leap.left, leap.top]).view(2, 1, 1)).round().long()
    inside: Tensor = (x >= 0) & (x < cols) & (y >= 0) & (y < rows)
    return inside & leap.mask[y.clamp(0, rows - 1), x.clamp(0, cols - 1)]


# ------------------------------------------------------------------------------------------------ by features


def _pairs(key_0: Tensor, key_1: Tensor, flow: Tensor) -> _Pairs:
    """Cells that the flow does not explain, and that are each other's likeliest by far."""
    width, channels = key_0.shape[1:]
    keys = [key.float().reshape(-1, channels) for key in (key_0, key_1)]
    alike = [(keys[k] * _looked_up(keys[1 - k], flow[k])).mean(-1) for k in range(2)]
    lost = [_least(a) for a in alike]
    first, second = (torch.stack((cells // width, cells % width), 1) for cells in lost)
    if min(len(first), len(second)) < _CROWD:
        return _Pairs(first[:0], first[:0])
    likeness = keys[0][lost[0]] @ keys[1][lost[1]].T / channels
    value, to = likeness.max(1)
    back = likeness.max(0).indices
    step = second[to] - first
    near_0 = _distance(second[to], second) <= _SIDE_BY_SIDE
    near_1 = _distance(first[back], first) <= _SIDE_BY_SIDE
    rival = torch.maximum(likeness.masked_fill(near_0, -1.0).amax(1), likeness.T.masked_fill(near_1, -1.0).amax(1)[to])
    sure = (back[to] == torch.arange(len(first), device=to.device)) & (value > rival + _CLEAR)
    sure &= step.square().sum(1) < (_REACH * width) ** 2
    return _Pairs(first[sure], step[sure])


def _looked_up(key: Tensor, flow: Tensor) -> Tensor:
    """``key`` (h * w, C) where ``flow`` (2, h, w) leads to: (h * w, C)."""
    found = warp(key.T.reshape(1, -1, *flow.shape[-2:]), flow[None])
    return found[0].flatten(1).transpose(0, 1)


def _least(alike: Tensor) -> Tensor:
    """The cells that are lost, by number; those that are so most where they are too many."""
    lost = (alike < _LOST).nonzero()[:, 0]
    return lost if len(lost) <= _MOST else lost[alike[lost].argsort()[:_MOST]]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """(A, B): the larger of the distances in rows and in columns."""
    return (a[:, None] - b).abs().amax(-1)


def _groups(pairs: _Pairs) -> list[_Pairs]:
    """Those that lie side by side and moved alike, together; crowds alone, the largest first."""
    near = (_distance(pairs.place, pairs.place) <= _SIDE_BY_SIDE) & (_distance(pairs.step, pairs.step) <= 1)
    groups: list[list[int]] = []
    left = set(range(len(near)))
    while left:
        group = [left.pop()]
        for member in group:  # grows as it is walked along
            found = left.intersection(near[member].nonzero()[:, 0].tolist())
            left -= found
            group += sorted(found)
        groups.append(group)
    groups = sorted((group for group in groups if len(group) >= _CROWD), key=len, reverse=True)
    return [_Pairs(pairs.place[group], pairs.step[group]) for group in groups[:_THINGS]]


# ------------------------------------------------------------------------------------------------ by pictures


class _Box(NamedTuple):
    """Rows and columns of a picture, ends left out."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, by: int, height: int, width: int) -> _Box:
        """With a margin, as far as the picture goes."""
        return _Box(
            max(0, self.top - by), min(height, self.bottom + by), max(0, self.left - by), min(width, self.right + by)
        )

    def moved(self, down: int, right: int) -> _Box:
        """So far away; it may lie outside."""
        return _Box(self.top + down, self.bottom + down, self.left + right, self.right + right)

    def of(self, picture: Tensor) -> Tensor:
        return picture[..., self.top : self.bottom, self.left : self.right]


def _measured(group: _Pairs, cell: int, pictures: tuple[Tensor, Tensor], full: Tensor, pair: int) -> Leap | None:
    """The thing whose cells they are; None where there is doubt."""
    height, width = full.shape[-2:]
    (top, left), (bottom, right) = (group.place.amin(0) * cell).tolist(), ((group.place.amax(0) + 1) * cell).tolist()
    cells = _Box(top, bottom, left, right)
    step = _step(group, cell, cells, pictures)
    if step is None:
        return None
    box = cells.grown(_MARGIN, height, width)
    i0, i1 = pictures
    here = box.of(pixel_grid(height, width, full.device))[0]
    there = here + step.view(2, 1, 1)
    seen_0, seen_1 = box.of(i0), _at(i1, there)
    along = _difference(seen_0, seen_1)
    flow_0, flow_1 = box.of(full[0]), _at(full[1:2], there)[0]
    by_flow = torch.minimum(
        _difference(seen_0, _at(i1, here + flow_0)),
        _difference(seen_1, _at(i0, there + flow_1)),
    )
    within = ((there >= 0) & (there <= there.new_tensor([width - 1, height - 1]).view(2, 1, 1))).all(0)
    core = _opened(_closed((along < _SURE * by_flow) & (by_flow > _UNEXPLAINED) & within)) & (along <= by_flow) & within
    allowed = min(_BEST, _BETTER * len(group.place))
    if int(core.sum()) < _AREA or float(along[core].sum()) > allowed * float(by_flow[core].sum()):
        return None
    rest = (along < _LIKELY * by_flow) & (by_flow > _FAINT) & within
    mask = core
    for _ in range(_MARGIN):
        mask = mask | (_spread(mask, 3) & rest)
    mask = _closed(mask, _GAP) & (along <= by_flow + _FAINT) & within
    if min(_outlined(mask, seen_0), _outlined(mask, seen_1)) < _OUTLINE:
        return None
    leap = Leap(pair, step, box.top, box.left, mask)
    return leap if _stands_out(leap, cells, pictures, full) else None


def _step(group: _Pairs, cell: int, cells: _Box, pictures: tuple[Tensor, Tensor]) -> Tensor | None:
    """(2,) x and y, in pixels: where the cells are found in the second picture, near where whole cells lead; None where
    they do not fit into it together."""
    i0, i1 = pictures
    height, width = i1.shape[-2:]
    down, right = (group.step.float().median(0).values.long() * cell).tolist()
    there = cells.moved(down, right)
    around = there.grown(_SEARCH, height, width)
    member = torch.zeros(1, 1, cells.bottom - cells.top, cells.right - cells.left, dtype=torch.float32)
    for y, x in (group.place * cell - group.place.new_tensor([cells.top, cells.left])).tolist():
        member[..., y : y + cell, x : x + cell] = 1.0
    # On the host: a GPU may round what it convolves to ten bits.
    template, searched = cells.of(i0).cpu(), around.of(i1).cpu()
    if searched.shape[-2] < template.shape[-2] or searched.shape[-1] < template.shape[-1]:
        return None
    # The squared difference at every place, multiplied out; what does not depend on the place is left out.
    error = F.conv2d(searched.square(), member.expand_as(template)) - 2 * F.conv2d(searched, template * member)
    error = error[0, 0]
    y, x = divmod(int(error.argmin()), error.shape[1])
    step = [right + x - (there.left - around.left) + _lowest(error[y], x)]
    step += [down + y - (there.top - around.top) + _lowest(error[:, x], y)]
    return torch.tensor(step, dtype=torch.float32, device=i0.device)


def _lowest(error: Tensor, k: int) -> float:
    """Where between its neighbours the lowest error lies, from -1/2 to 1/2: the parabola through three values."""
    if not 0 < k < len(error) - 1:
        return 0.0
    before, least, after = error[k - 1 : k + 2].tolist()
    bend = before - 2 * least + after
    return 0.5 * (before - after) / bend if bend > 0 else 0.0


def _at(picture: Tensor, place: Tensor) -> Tensor:
    """``picture`` (1, C, H, W) at ``place`` (2, h, w), x and y: (1, C, h, w)."""
    rows, cols = place.shape[-2:]
    return warp(picture, place[None] - pixel_grid(rows, cols, place.device))


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """(h, w): mean over the colours and 3x3 pixels."""
    return F.avg_pool2d((a - b).abs().mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)[0, 0]


def _stands_out(leap: Leap, cells: _Box, pictures: tuple[Tensor, Tensor], full: Tensor) -> bool:
    """Whether the thing is alone, around where it was or around where it will be, in being unlike what the flow has for
    it; and alone in moving so, around both."""
    height, width = full.shape[-2:]
    right, down = leap.step.round().long().tolist()
    there = cells.moved(down, right)
    strange, alike = [], []
    for k, (box, way) in enumerate(((cells, leap.step), (there, -leap.step))):
        around = box.grown(_AROUND, height, width)
        flow = around.of(full[k])
        place = around.of(pixel_grid(height, width, full.device))[0]
        unlike = _difference(around.of(pictures[k]), _at(pictures[1 - k], place + flow)) > _UNEXPLAINED
        own = _covers(leap, place) | _covers(leap, place - _field(leap))  # it, and what it hides in the other frame
        strange.append(float((unlike & ~_spread(own, 5)).sum()))
        alike.append(float(_same(flow, way).float().mean()))
    return min(strange) < _STRANGE * float(leap.mask.sum()) and max(alike) < _FLOCK


def _same(flow: Tensor, step: Tensor) -> Tensor:
    """Where ``flow`` (2, h, w) is as the leap: (h, w) bool."""
    return (flow - step.view(2, 1, 1)).square().sum(0) < _SAME**2


def _outlined(mask: Tensor, seen: Tensor) -> float:
    """The share of the outline of ``mask`` (h, w) that is an edge in ``seen`` (1, 3, h, w)."""
    outline = mask & _spread(F.pad(~mask, (1, 1, 1, 1), value=True), 3)[1:-1, 1:-1]
    range_of_colours = F.max_pool2d(seen, 7, 1, 3) + F.max_pool2d(-seen, 7, 1, 3)
    return float((range_of_colours[0].amax(0)[outline] > _CONTRAST).float().mean())


def _spread(mask: Tensor, side: int) -> Tensor:
    return F.max_pool2d(mask[None, None].float(), side, 1, side // 2)[0, 0] > 0


def _closed(mask: Tensor, side: int = 5) -> Tensor:
    """Without gaps narrower than ``side``."""
    return ~_spread(~_spread(mask, side), side)


def _opened(mask: Tensor, side: int = 3) -> Tensor:
    """Without parts narrower than ``side``."""
    return ~_closed(~mask, side)

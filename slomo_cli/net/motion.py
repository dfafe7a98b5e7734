"""What a network answers, and what every network of this package looks like from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Motion(NamedTuple):
    """Where the pixels of M in-between pictures come from.

    One step of the grid is ``cell`` pixels of the proxy the network saw; flows are in steps of this same grid.
    """

    flow_t0: Tensor
    """(M, 2, h, w) float: displacement (x, y) from a pixel at time t to its place in frame 0."""
    flow_t1: Tensor
    """(M, 2, h, w) float: the same towards frame 1."""
    visibility: Tensor
    """(M, 1, h, w) in [0, 1]: V_t<-0, how surely the pixel is seen in frame 0; V_t<-1 is one minus it."""
    detail: Tensor
    """(M, 1, h, w) in [0, 1]: how much of the fine detail that bilinear sampling takes away is given back; 0 is
    bilinear, 1/2 is cubic (Catmull-Rom) sampling. Little where the detail of the two frames is noise."""


class Leap(NamedTuple):
    """A small thing that moves as a whole, further than the flow can follow it."""

    pair: int
    """Between the frames of which pair."""
    step: Tensor
    """(2,) float: its way (x, y) from frame 0 to frame 1, in steps of the Motion grid."""
    top: int
    """First row of ``mask`` in frame 0, on the Motion grid."""
    left: int
    """First column."""
    mask: Tensor
    """(h, w) bool: what belongs to it in frame 0."""


class PairState(NamedTuple):
    """All that a network knows of N pairs before a time is named."""

    flow_01: Tensor
    """(N, 2, h, w) float: flow from frame 0 to frame 1, in steps of the Motion grid."""
    flow_10: Tensor
    """(N, 2, h, w) float: flow from frame 1 to frame 0."""
    extra: Any
    """Whatever else the network keeps for its second half, as it likes."""
    leaps: Sequence[Leap] = ()
    """What moves otherwise than the flows say."""


class InterpolationNet(Protocol):
    """The shape shared by all networks: flow once per pair, then any number of times.

    ``pair`` takes (N, 3, H, W) RGB in [0, 1] with H and W multiples of ``stride``; ``at`` answers for M times, the
    m-th at ``t[m]`` in (0, 1) within pair ``index[m]``.
    """

    stride: int
    cell: int

    def pair(self, i0: Tensor, i1: Tensor) -> PairState: ...

    def at(self, state: PairState, index: Tensor, t: Tensor) -> Motion: ...

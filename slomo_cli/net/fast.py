"""The `fast` network: Super SloMo's equations for laptops and CPUs.

Inputs: two RGB proxies in [0, 1]. Answer: a :class:`~slomo_cli.net.motion.Motion` at half the proxy's size (``cell``
2), where all the work of a timestep is done; only the flow of a pair, which many timesteps share, looks closer.

Once per pair, coarse to fine (as PWC-Net, Sun et al. 2018): one encoder gives features at 1/4 and 1/8 of the proxy and,
seeing the proxy at half its size, at 1/16, 1/32 and 1/64. Larger pictures hold larger motion: they are seen at a
quarter, an eighth ... of their size too, and the same two coarsest levels begin as far down as that goes. From there
on, each level looks the other frame's features up along the flow so far, compares them with its own over a (2r+1) x
(2r+1) neighbourhood, and adds a correction. It is told two things more: how alike both frames are where they are, since
captions and black bars stand still over anything; and where one gets by going there and back, which is elsewhere where
one of the two flows is wrong. Both directions are one batch, so F_01 and F_10 come from the same weights. The finer a
level, the narrower it is and the nearer it looks: it has little left to correct, and most of the work. No layer reaches
far across a level: one that did would see the border of every picture in training, and none where it is used. What
looks the same in several places is led by the motions that much of the picture shares (:mod:`~slomo_cli.net.dominant`),
which training is not. What is small and moves further than it is wide is lost on that way; :mod:`~slomo_cli.net.leap`
looks for it among what is left unexplained, and puts it into the answer of every timestep.

Once per timestep: the flows are combined to time t (equation 4, each flow read where the pixel lies in its frame), what
that loses half way is carried there (:mod:`~slomo_cli.net.carried`), both half-size proxies are warped, and a small
U-Net working at a quarter of the proxy's size (2x2 pixels folded into channels) gives residual flows and the logits of
visibility and detail. It is also shown what the finest level made of both frames, looked up along the same flows: that
level has searched around each pixel, and knows where it found nothing. Its last layer starts at zero: an untrained
refinement moves nothing.

Largest motion: ``radius`` steps at every level, 3 * (64 + 32 + 16 + 8) + 2 * 4 proxy pixels in all, and 3 * 128,
3 * 256 ... more where the coarsest levels begin further down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slomo_cli.net.carried import carried, surely
from slomo_cli.net.dominant import Alike, led
from slomo_cli.net.leap import find_leaps, with_leaps
from slomo_cli.net.motion import Leap, Motion, PairState
from slomo_cli.net.unet import check_sizes
from slomo_cli.net.warp import flows_along, warp

Level = TypeVar("Level")

_BLOCK = 8  # side of the square of pixels that share one matrix product in `local_correlation`


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Similarity of every pixel of ``first`` with the neighbourhood of the same place in ``second``.

    Both (N, C, H, W); returns (N, (2r+1)^2, H, W): channel (dy + r)(2r + 1) + dx + r holds
    mean_c first[c, y, x] * second[c, y + dy, x + dx], zero outside the picture.

    Computed as one batched matrix product: 8x8 pixels of ``first`` against the (8+2r)x(8+2r) window of ``second`` that
    holds all their neighbourhoods, of which the diagonals wanted are then a strided view. That does (8+2r)^2/(2r+1)^2
    (four times for r = 3) the arithmetic of shifting and multiplying, but in one call at matrix speed instead of
    (2r+1)^2 passes over memory.
    """
    n, channels, height, width = first.shape
    rows, cols = -(-height // _BLOCK), -(-width // _BLOCK)
    extra_h, extra_w = rows * _BLOCK - height, cols * _BLOCK - width
    window = _BLOCK + 2 * radius
    side = 2 * radius + 1
    a = F.pad(first, (0, extra_w, 0, extra_h)).permute(0, 2, 3, 1)
    a = a.reshape(n, rows, _BLOCK, cols, _BLOCK, channels).transpose(2, 3)
    a = a.reshape(-1, _BLOCK * _BLOCK, channels)
    b = F.pad(second, (radius, radius + extra_w, radius, radius + extra_h)).permute(0, 2, 3, 1)
    b = b.unfold(1, window, _BLOCK).unfold(2, window, _BLOCK)  # (n, rows, cols, channels, window, window)
    b = b.reshape(n * rows * cols, channels, window * window)
    product = torch.bmm(a, b).view(n, rows, cols, _BLOCK, _BLOCK, window, window) * (1.0 / channels)
    # product[.., i, j, i + dy, j + dx]: stepping i moves both the row and the window row.
    s = product.stride()
    band = product.as_strided(
        (n, rows, cols, _BLOCK, _BLOCK, side, side),
        (s[0], s[1], s[2], s[3] + s[5], s[4] + s[6], s[5], s[6]),
    )
    band = band.permute(0, 5, 6, 1, 3, 2, 4).reshape(n, side * side, rows * _BLOCK, cols * _BLOCK)
    return band[:, :, :height, :width]


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
    # Torch's default lets a signal shrink by half at every layer; ten layers on, nothing would be left to compare.
    nn.init.kaiming_normal_(conv.weight, a=0.1, nonlinearity="leaky_relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.LeakyReLU(0.1, inplace=True))


def _head(inputs: int, outputs: int) -> nn.Conv2d:
    """A last layer that starts by answering zero."""
    head = nn.Conv2d(inputs, outputs, 3, 1, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    return head


def _each(name: str, values: int | Sequence[int], count: int, least: int = 1) -> list[int]:
    """One whole number of ``least`` or more for each of ``count`` levels; ValueError where there are not as many."""
    numbers = [values] * count if isinstance(values, int) else list(values)
    if len(numbers) != count:
        raise ValueError(f"{name}: expected one number or {count}, one for each flow level, found {numbers}")
    check_sizes(name, numbers, least)
    return numbers


class _Encoder(nn.Module):
    """RGB -> features at 1/4, 1/8, ... of its size (one per width after the first), finest first."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        inputs = [3, *widths[:-1]]
        self.levels = nn.ModuleList(
            nn.Sequential(_conv(i, o, stride=2), _conv(o, o)) for i, o in zip(inputs, widths, strict=True)
        )

    def forward(self, rgb: Tensor, most: int) -> list[Tensor]:
        """The ``most`` finest."""
        features = []
        x = rgb - 0.5
        for level in list(self.levels)[: most + 1]:
            x = level(x)
            features.append(x)
        return features[1:]


class _FlowLevel(nn.Module):
    """One step of the ladder: features, similarity, flow so far and context -> better flow and context.

    ``coarser``: width of the context that the level before hands on; 0 for the coarsest level.
    """

    def __init__(self, width: int, hidden: int, context: int, coarser: int, match: int, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.match = nn.Conv2d(width, match, 1)
        inputs = width + (2 * radius + 1) ** 2 + (1 + 2 + 2 + coarser if coarser else 0)
        self.trunk = nn.Sequential(_conv(inputs, hidden), _conv(hidden, hidden), _conv(hidden, context))
        self.head = _head(context, 3 if coarser else 2)

    def key(self, own: Tensor) -> Tensor:
        """What is compared of features (N, C, h, w): (N, match, h, w), each of length sqrt(match)."""
        key: Tensor = self.match(own)
        # Cosine similarity: what matters is the direction of a feature, so light and contrast matter less.
        return key * torch.rsqrt(key.float().square().mean(1, keepdim=True) + 1e-4).to(key.dtype)

    def forward(self, own: Tensor, flow: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """``own``: features of N first and N second frames; ``flow`` in pixels of this level, from each frame to its
        partner. Returns the corrected flow (float32) and this level's context."""
        key = self.key(own)
        other = key.roll(key.shape[0] // 2, 0)
        if flow is None or context is None:
            inputs = [own, local_correlation(key, other, self.radius)]
        else:
            still = (key * other).mean(1, keepdim=True)
            similarity = local_correlation(key, warp(other, flow), self.radius)
            back = warp(flow.roll(flow.shape[0] // 2, 0), flow)
            flows = torch.cat((flow, flow + back), 1).to(own.dtype) * 0.25
            inputs = [own, similarity, still, flows, context]
        context = self.trunk(torch.cat(inputs, 1))
        change = self.head(context).float()
        if flow is None:
            return change, context
        middle = similarity.shape[1] // 2
        return kept(flow, change[:, 2:], similarity[:, middle : middle + 1], still) + change[:, :2], context


def _alike(key: Tensor) -> Alike:
    """Of N first and N second frames' keys (2N, match, h, w); everywhere."""
    other = key.roll(key.shape[0] // 2, 0)
    return lambda flow, where: (key * warp(other, flow)).float().mean(1)


def more_levels(height: int, width: int) -> int:
    """How many levels more than the network has weights for: one for each doubling of the picture's short side above
    160 pixels, so that the coarsest level has some three to five rows in training and in any use."""
    return max(0, int(math.log2(min(height, width) / 160)))


def route(ladder: list[Level], more: int) -> list[Level]:
    """The levels in the order of their fineness, the last but one serving at ``more`` scales more."""
    return [*ladder[:-1], *ladder[-2:-1] * more, ladder[-1]]


def pyramid(
    encode: Callable[[Tensor, int], list[Tensor]], whole: Tensor, half: Tensor, fine: int, coarse: int, more: int
) -> list[Tensor]:
    """Features of every level on the route, finest first.

    ``encode``: the so many finest features of a picture; ``whole`` gives ``fine``, and ``half``, up to ``coarse`` of
    them, the others.
    """
    features = encode(whole, fine)
    for further in range(more + 1):
        if further:
            half = F.avg_pool2d(half, 2, ceil_mode=True)
        seen = encode(half, coarse if further == more else coarse - 1)
        features += seen[coarse - 2 if further else fine - 1 :]
    return features


def doubled(flow: Tensor, context: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """A level's flow and context on the grid of the next finer one: twice as fine, the last line left out if odd."""
    rows, cols = size
    flow = 2.0 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
    context = F.interpolate(context, scale_factor=2, mode="nearest")
    return flow[..., :rows, :cols], context[..., :rows, :cols]


def kept(flow: Tensor, logit: Tensor, moved: Tensor, still: Tensor) -> Tensor:
    """What a level keeps of the flow so far: nothing where the frames are much more alike in place than along it.

    What is thin and stands still before something moving, such as a caption, is seen at fine levels only, when the flow
    is long the other's; to correct it would take exactly its opposite. ``moved``, ``still``: similarity (N, 1, h, w)
    where the flow points, and in place; ``logit``: what the network makes of it, added.

    The rule is given, not learned: a photometric loss tells no flow that it should be elsewhere altogether. Both of its
    numbers were found by trying them on video, with captions and without.
    """
    logit = logit + 10.0 * (moved.float() - still.float() + 0.2)
    return flow * (2.0 * torch.sigmoid(logit)).clamp(max=1.0)


CLOSE = 1
"""The level, counted from the finest, whose features tell what moves as much of the picture does, and what leaps: a
cell is 8 pixels of the proxy wide."""


class _Refinement(nn.Module):
    """Small U-Net on the half-size proxies warped to time t: residual flows, logits of visibility and detail."""

    def __init__(self, widths: Sequence[int], context: int) -> None:
        super().__init__()
        inputs = 2 * 12 + 4 + 1 + 2 * context
        self.down = nn.ModuleList(
            _conv(i, o, stride=1 if k == 0 else 2)
            for k, (i, o) in enumerate(zip([inputs, *widths[:-1]], widths, strict=True))
        )
        self.bottom = _conv(widths[-1], widths[-1])
        self.up = nn.ModuleList(_conv(widths[k] + widths[k - 1], widths[k - 1]) for k in range(len(widths) - 1, 0, -1))
        self.head = _head(widths[0], 6 * 4)

    def forward(self, x: Tensor) -> Tensor:
        """(M, 29 + 2 * context, h/2, w/2) -> (M, 6, h, w)."""
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        x = self.bottom(skips.pop())
        for level in self.up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = level(torch.cat((x, skips.pop()), 1))
        return F.pixel_shuffle(self.head(x), 2)


def _climbed(
    levels: Sequence[tuple[nn.Module, Tensor]], flow: Tensor | None, context: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """The flows that ``levels`` make of the flow so far, each of its features, the finest first; and the context."""
    ladder = []
    for level, own in reversed(levels):
        before = None
        if flow is not None and context is not None:
            flow, before = doubled(flow, context, own.shape[-2:])
        flow, context = level(own, flow, before)
        ladder.append(flow)
    assert context is not None
    return ladder, context


class _Kept(NamedTuple):
    """What a timestep looks at besides the flows, of N pairs."""

    i0: Tensor
    """(N, 3, h, w): the first frames at half their size."""
    i1: Tensor
    """(N, 3, h, w)."""
    context_0: Tensor
    """(N, context, h / 2, w / 2): what the finest level made of the first frames."""
    context_1: Tensor
    """(N, context, h / 2, w / 2): of the second."""
    sure: Tensor | None = None
    """What ``surely`` makes of the finest level's flows; None while training."""


def _leaps(state: PairState, flow: Tensor, key: Tensor) -> list[Leap]:
    """Of every pair. ``flow``, ``key``: answer of the level they are found by, and what it compares."""
    first, second = key.permute(0, 2, 3, 1).chunk(2)
    kept: _Kept = state.extra
    leaps = []
    for k in range(len(first)):
        keys, pictures = (first[k], second[k]), (kept.i0[k, None], kept.i1[k, None])
        full = torch.stack((state.flow_01[k], state.flow_10[k]))
        leaps += find_leaps(keys, flow[k :: len(first)], pictures, full, k)
    return leaps


class Fast(nn.Module):
    """See the module's text. Follows :class:`~slomo_cli.net.motion.InterpolationNet`.

    ``encoder``: widths at 1/2, 1/4, ... of the picture it sees; ``hidden``, ``context``: widths of the flow levels,
    finest first or one number for all, as are ``match`` and ``radius``, the width of the features compared and the
    reach of the search; ``refine``: widths of the refinement U-Net at 1/4, 1/8, ... of the proxy; ``fine``: flow levels
    made from the proxy itself, the others being made from it at half its size. ValueError for sizes that make no
    network.
    """

    arithmetic = ("climb", "finish", "move")
    """The methods that can be compiled: the same operations whatever is seen."""

    def __init__(
        self,
        encoder: Sequence[int] = (16, 32, 64, 96, 128),
        hidden: int | Sequence[int] = (32, 48, 96, 96, 96),
        context: int | Sequence[int] = (16, 32, 48, 48, 48),
        refine: Sequence[int] = (24, 32, 64),
        match: int | Sequence[int] = (16, 32, 32, 32, 32),
        radius: int | Sequence[int] = (2, 3, 3, 3, 3),
        fine: int = 2,
    ) -> None:
        super().__init__()
        check_sizes("encoder", encoder)
        check_sizes("refine", refine)
        check_sizes("fine", [fine])
        # What the refinement needs. The flow levels take odd sizes, and are better off with the picture's own border
        # than with lines repeated behind it: on 18 clips at x4, of 360 lines mostly, by 0.11 dB.
        self.stride = 2 * 2 ** len(refine)
        self.cell = 2
        self.encoder = _Encoder(encoder)
        widths = list(encoder[1:])
        if len(widths) <= fine:
            raise ValueError(f"encoder: expected {fine + 2} widths or more for a fine of {fine}, found {list(encoder)}")
        # At half the size the same features lie twice as far apart: the first coarse level is of the last fine one's
        # kind, and half as fine.
        widths = widths[:fine] + widths[fine - 1 :]
        self.fine = fine
        levels = len(widths)
        hiddens, contexts = _each("hidden", hidden, levels), _each("context", context, levels)
        matches, radii = _each("match", match, levels), _each("radius", radius, levels, least=0)
        if contexts[-1] != contexts[-2]:
            raise ValueError(f"context: expected the same for the two coarsest levels, found {contexts}")
        coarser = [*contexts[1:], 0]
        self.ladder = nn.ModuleList(
            _FlowLevel(widths[k], hiddens[k], contexts[k], coarser[k], matches[k], radii[k]) for k in range(levels)
        )
        self.refinement = _Refinement(refine, contexts[0])

    def pair(self, i0: Tensor, i1: Tensor) -> PairState:
        """Both flows at half the proxy's size for N pairs; keeps what the timesteps will look at."""
        return self.pair_with_ladder(i0, i1)[0]

    def pair_with_ladder(self, i0: Tensor, i1: Tensor) -> tuple[PairState, list[Tensor]]:
        """As ``pair``, with every level's flow as well: (2N, 2, h, w), N of F_01 then N of F_10, coarsest first."""
        half, features, ladder, context = self.climb(i0, i1)
        if self.training:  # what is learned is what the network finds by itself
            state, rest = self.finish(half, features, ladder[-1], context)
            return state, ladder + rest
        key = cast(_FlowLevel, self.ladder[CLOSE]).key(features[CLOSE])
        ladder[-1] = led(ladder[-1], _alike(key), hasty=False)
        state, rest = self.finish(half, features, ladder[-1], context)
        kept = state.extra._replace(sure=surely(rest[-1]))
        return state._replace(extra=kept, leaps=_leaps(state, ladder[-1], key)), ladder + rest

    def climb(self, i0: Tensor, i1: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """Both frames at half their size, features of every level, finest first, and from the coarsest level to
        ``CLOSE`` the flows and the last context."""
        both = torch.cat((i0, i1))
        half = F.avg_pool2d(both, 2)
        more = more_levels(*both.shape[-2:])
        features = pyramid(self.encoder, both, half, self.fine, len(self.encoder.levels) - 1, more)
        levels = list(zip(route(list(self.ladder), more), features, strict=True))
        return half, features, *_climbed(levels[CLOSE:], None, None)

    def finish(
        self, half: Tensor, features: list[Tensor], flow: Tensor, context: Tensor
    ) -> tuple[PairState, list[Tensor]]:
        """The pair, without leaps, and the flows of the levels that are left."""
        levels = list(zip(list(self.ladder)[:CLOSE], features[:CLOSE], strict=True))
        ladder, context = _climbed(levels, flow, context)
        full = 2.0 * F.interpolate(ladder[-1], scale_factor=2, mode="bilinear", align_corners=False)
        flow_01, flow_10 = full.chunk(2)
        return PairState(flow_01, flow_10, _Kept(*half.chunk(2), *context.chunk(2))), ladder

    def at(self, state: PairState, index: Tensor, t: Tensor) -> Motion:
        """Motion of M timesteps, the m-th at ``t[m]`` within pair ``index[m]``."""
        flow_t0, flow_t1 = flows_along(state.flow_01[index], state.flow_10[index], t)
        sure = state.extra.sure
        if sure is not None:
            motion = F.avg_pool2d(flow_t1 - flow_t0, 2) * 0.5  # in steps of the contexts' own grid
            lost = carried(sure[index], motion, t)
            share = t.view(-1, 1, 1, 1)
            flow_t0 = torch.where(lost.where, -share * lost.motion, flow_t0)
            flow_t1 = torch.where(lost.where, (1 - share) * lost.motion, flow_t1)
        return with_leaps(self.move(state, index, t, flow_t0, flow_t1), state.leaps, index, t)

    def move(self, state: PairState, index: Tensor, t: Tensor, flow_t0: Tensor, flow_t1: Tensor) -> Motion:
        """What ``at`` answers, without leaps, from the flows to begin with."""
        kept: _Kept = state.extra
        warped = torch.cat((warp(kept.i0[index], flow_t0), warp(kept.i1[index], flow_t1)), 1) - 0.5
        flows = F.avg_pool2d(torch.cat((flow_t0, flow_t1), 1), 2) * 0.5
        known = [warp(c[index], f) for c, f in zip((kept.context_0, kept.context_1), flows.chunk(2, 1), strict=True)]
        time = t.to(flows.dtype).view(-1, 1, 1, 1).expand(-1, 1, *flows.shape[-2:])
        x = torch.cat((F.pixel_unshuffle(warped, 2).to(flows.dtype), flows * 0.125, time, *known), 1)
        residual = self.refinement(x.contiguous(memory_format=torch.channels_last)).float()
        visibility, detail = torch.sigmoid(residual[:, 4:6]).chunk(2, 1)
        return Motion(flow_t0 + residual[:, 0:2], flow_t1 + residual[:, 2:4], visibility, detail)

    def forward(self, i0: Tensor, i1: Tensor, t: Tensor) -> Motion:
        """One timestep per pair: ``t`` is (N,)."""
        return self.at(self.pair(i0, i1), torch.arange(i0.shape[0], device=i0.device), t)

"""The `fast` network arranged for a CPU: the function of :class:`~slomo_cli.net.fast.Fast`, in less time.

What is rearranged, and why:

* Weights are cast once; arrays are laid out once as the next step reads them, channels last for convolutions and
  planes for lookups. Features belong to a frame and are computed once for both its pairs.
* Half-size proxies and flows of a timestep are handled as four planes, one per position in the 2x2 squares that the
  refinement folds into channels: lookups then write the folded picture directly.
* ``conv3x3(cat(enlarge(x), skip))`` is ``conv3x3(skip)`` plus, for each of the two lines in a square, a 2x3
  convolution of x: enlarging by repetition gives neighbouring taps the same sample, so their weights can be added
  beforehand. That is two thirds of the arithmetic that x takes, and nothing enlarged is written down.

Pinned to ``Fast`` by a test. One pair at a time; results do not depend on how many timesteps are asked for together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slomo_cli.net.carried import carried_among, surely, suspects
from slomo_cli.net.dominant import Alike, led
from slomo_cli.net.fast import CLOSE, Fast, doubled, kept, more_levels, pyramid, route
from slomo_cli.net.leap import find_leaps, with_leaps
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.warp import flow_shares, warp

_BLOCK = 8  # side of the square of pixels that share one matrix product when features are compared


class Level(NamedTuple):
    """One frame's features at one size; n = blocks of 8x8 pixels, the last ones filled up with zeros."""

    own: Tensor
    """(1, C, h, w), channels last."""
    key: Tensor
    """(h, w, match): what is compared, of length one up to a constant."""
    blocks: Tensor
    """(n, 64, match): the same by blocks, divided by the number of channels."""


class Seen(NamedTuple):
    """What one frame alone tells: computed once, used for the pair before and the pair after it."""

    picture: Tensor
    """(1, 3, H / 2, W / 2) float32: RGB minus a half."""
    levels: tuple[Level, ...]
    """Finest first."""


class _Kept(NamedTuple):
    """What a timestep of a pair looks at besides the flows."""

    pictures: tuple[Tensor, Tensor]
    """As ``Seen.picture``."""
    contexts: tuple[Tensor, ...]
    """(1, context, h, w) float32 each: what the finest level made of both frames."""
    places: Tensor
    """(2, 2, 4, h, w): F_01 and F_10, folded, in units of -1 to 1 from edge to edge."""
    sure: Tensor
    """(1, 3, 2, h, w) as ``surely`` makes it."""
    suspects: Tensor
    """The cells of ``sure`` that may be lost."""


class FastOnCpu:
    """``net``'s weights in ``dtype``, on a CPU. The network itself may be dropped afterwards."""

    def __init__(self, net: Fast, dtype: torch.dtype) -> None:
        self.stride, self.cell, self.dtype = net.stride, net.cell, dtype
        self._encoder = [[_Conv.of(conv, dtype) for conv in _convolutions(level)] for level in net.encoder.levels]
        self._ladder = [_Step(level, dtype) for level in net.ladder]
        self._fine = net.fine
        self._refinement = _Refinement(net.refinement, dtype)

    def look(self, proxy: Tensor) -> Seen:
        """``proxy``: (1, 3, H, W) float32 RGB in [0, 1], H and W multiples of ``stride``."""
        proxy = proxy - 0.5
        picture = _halved(proxy)
        more = more_levels(*proxy.shape[-2:])
        features = pyramid(self._features, proxy, picture, self._fine, len(self._encoder) - 1, more)
        levels = tuple(step.describe(own) for step, own in zip(route(self._ladder, more), features, strict=True))
        return Seen(picture, levels)

    def _features(self, picture: Tensor, most: int) -> list[Tensor]:
        """The ``most`` finest levels of the encoder, from 1/4 of the picture on."""
        x = picture.to(self.dtype).contiguous(memory_format=torch.channels_last)
        features = []
        for first, second in self._encoder[: most + 1]:
            x = second(first(x))
            features.append(x)
        return features[1:]

    def pair(self, first: Seen, second: Seen) -> PairState:
        """Both flows on the Motion grid."""
        flow: Tensor | None = None
        context: Tensor | None = None
        steps = route(self._ladder, len(first.levels) - len(self._ladder))
        levels = list(zip(steps, first.levels, second.levels, strict=True))
        for number, (step, one, other) in reversed(list(enumerate(levels))):
            before = None
            if flow is not None and context is not None:
                flow, before = doubled(flow, context, one.own.shape[-2:])
            flow, context = step.climb(one, other, flow, before)
            if number == CLOSE:
                flow = led(flow, _alike(one.key, other.key), hasty=True)
                seen = (one.key, other.key), flow
        assert flow is not None and context is not None
        full = F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False).mul_(2)
        height, width = full.shape[-2:]
        places = _folded(full * full.new_tensor([2 / width, 2 / height]).view(1, 2, 1, 1))
        contexts = tuple(_planes(context[k : k + 1]).float()[None] for k in range(2))
        sure = surely(flow)
        pictures = first.picture, second.picture
        leaps = find_leaps(*seen, pictures, full)
        kept = _Kept(pictures, contexts, places, sure, suspects(sure))
        return PairState(full[0:1], full[1:2], kept, leaps)

    def at(self, state: PairState, t: Tensor) -> Motion:
        """Motion of M timesteps of the pair."""
        pictures, contexts, places, sure, among = cast(_Kept, state.extra)
        full = (state.flow_01, state.flow_10)
        h, w = places.shape[-2:]
        width = contexts[0].shape[1]
        own_places = _own_places(2 * h, 2 * w)
        scale = places.new_tensor([1 / w, 1 / h]).view(2, 1, 1, 1)
        motion = places.new_empty(t.shape[0], 6, h, 2, w, 2)
        along = places.new_empty(2, 2, 4, h, w)  # F_01 and F_10 where the pixel lies in frame 0 and in frame 1
        for m, time in enumerate(t.tolist()):
            shares = flow_shares(time)
            x = torch.empty(self._refinement.inputs, h, w, dtype=self.dtype)
            seen, flows, known = (x[a:b].view(2, -1, h, w) for a, b in ((0, 24), (24, 28), (29, 29 + 2 * width)))
            x[28].fill_(time)
            x[29 + 2 * width :].zero_()
            for frame, share in enumerate(shares):
                place = _mixed(places, share).add_(own_places)
                along[frame] = _found(full[frame], place.view(2, 4 * h, w)).view(2, 4, h, w)
            guesses = [_mixed(along, share) for share in shares]
            whole = (guesses[1] - guesses[0]).mean(1).mul_(0.5)  # in steps of the contexts' grid
            lost = carried_among(sure, whole[None], t[m : m + 1], among)
            if lost is not None:
                moved, where = _folded(lost.motion)[0], _folded(lost.where)[0]
                for guess, share in zip(guesses, (-time, 1 - time), strict=True):
                    there = guess[:, :, lost.part[0], lost.part[1]]
                    there.copy_(torch.where(where, moved * share, there))
            for frame, guess in enumerate(guesses):
                place = torch.addcmul(own_places, guess, scale)
                seen[frame].copy_(_found(pictures[frame], place.view(2, 4 * h, w)).view(12, h, w))
                # A step of the contexts' grid is a 2x2 square.
                flows[frame].copy_(guess.mean(1).mul_(0.0625))
                known[frame].copy_(_found(contexts[frame], place.mean(1)))
            made = self._refinement(_channels_last(x)).view(6, 4, h, w)
            for frame, guess in enumerate(guesses):
                made[2 * frame : 2 * frame + 2].add_(guess)
            made[4:].sigmoid_()
            motion[m].copy_(made.view(6, 2, 2, h, w).permute(0, 3, 1, 4, 2))
        motion = motion.view(-1, 6, 2 * h, 2 * w)
        parts = Motion(motion[:, 0:2], motion[:, 2:4], motion[:, 4:5], motion[:, 5:6])
        return with_leaps(parts, state.leaps, torch.zeros_like(t, dtype=torch.int64), t)


# ------------------------------------------------------------------------------------------------- flow of a pair


class _Step:
    """One level of the ladder."""

    def __init__(self, level: Any, dtype: torch.dtype) -> None:
        self._radius: int = level.radius
        self._match = _Conv.of(level.match, dtype, slope=None)
        self._trunk = [_Conv.of(conv, dtype) for conv in _convolutions(level.trunk)]
        self._head = _Conv.of(level.head, dtype, slope=None)

    def describe(self, own: Tensor) -> Level:
        """``own``: (1, C, h, w) channels last."""
        key = self._match(own)[0].permute(1, 2, 0)
        # As in Fast: of a feature, its direction is compared, not its length.
        key = key * torch.rsqrt(key.float().square().mean(-1, keepdim=True) + 1e-4).to(key.dtype)
        height, width, channels = key.shape
        rows, cols = -(-height // _BLOCK), -(-width // _BLOCK)
        blocks = F.pad(key, (0, 0, 0, cols * _BLOCK - width, 0, rows * _BLOCK - height)) * (1.0 / channels)
        blocks = blocks.view(rows, _BLOCK, cols, _BLOCK, channels).transpose(1, 2)
        return Level(own, key, blocks.reshape(rows * cols, _BLOCK * _BLOCK, channels))

    def climb(self, first: Level, second: Level, flow: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The better flow (2, 2, h, w) float32, from each frame to its partner, and this level's context."""
        # Own features; similarity along the flow, and in place; the flow, and there and back; context.
        parts: list[list[Tensor]] = []
        for k, (one, other) in enumerate(((first, second), (second, first))):
            key = other.key if flow is None else _looked_up(other.key, flow[k])
            parts.append([one.own[0].permute(1, 2, 0), self._compare(one.blocks, key)])
        if flow is not None and context is not None:
            still = (first.key * second.key).mean(-1, keepdim=True)
            flows = torch.cat((flow, flow + warp(flow.flip(0), flow)), 1)
            flows = (flows * 0.25).to(still.dtype).permute(0, 2, 3, 1).contiguous()
            for k, beside in enumerate(context.permute(0, 2, 3, 1)):
                parts[k] += [still, flows[k], beside]
        x = torch.empty(2, *first.key.shape[:2], self._trunk[0].inputs, dtype=first.key.dtype)
        for k in range(2):
            torch.cat(parts[k], -1, out=x[k])  # three times as quick as copying the parts into their places
        context = x.permute(0, 3, 1, 2)
        for conv in self._trunk:
            context = conv(context)
        change = self._head(context).float().contiguous()
        if flow is None:
            return change, context
        moved = torch.stack([similarity[..., similarity.shape[-1] // 2] for _, similarity, *_ in parts])[:, None]
        return kept(flow, change[:, 2:], moved, still.permute(2, 0, 1)).add_(change[:, :2]), context

    def _compare(self, blocks: Tensor, key: Tensor) -> Tensor:
        """Similarity of every pixel with the neighbourhood of its place in ``key`` (h, w, match): (h, w, reach)."""
        height, width, channels = key.shape
        rows, cols = -(-height // _BLOCK), -(-width // _BLOCK)
        radius, side, window = self._radius, 2 * self._radius + 1, _BLOCK + 2 * self._radius
        padded = key.new_zeros(rows * _BLOCK + 2 * radius, cols * _BLOCK + 2 * radius, channels)
        padded[radius : radius + height, radius : radius + width] = key
        down, right, _ = padded.stride()
        windows = padded.as_strided(
            (rows, cols, window, window, channels), (_BLOCK * down, _BLOCK * right, down, right, 1)
        )
        # One row of blocks at a time: all that it reads and makes stays in the processor's cache.
        around = key.new_empty(cols, window, window, channels)
        product = key.new_empty(cols, _BLOCK, _BLOCK, window, window)
        # product[.., i, j, i + dy, j + dx]: stepping i moves both the row and the window row.
        s = product.stride()
        band = product.as_strided((_BLOCK, cols, _BLOCK, side, side), (s[1] + s[3], s[0], s[2] + s[4], s[3], s[4]))
        made = key.new_empty(rows, *band.shape)
        for row, own in enumerate(blocks.view(rows, cols, _BLOCK * _BLOCK, channels)):
            around.copy_(windows[row])
            torch.bmm(own, around.flatten(1, 2).transpose(1, 2), out=product.view(cols, _BLOCK * _BLOCK, window**2))
            made[row].copy_(band)
        return made.view(rows * _BLOCK, cols * _BLOCK, side * side)[:height, :width]


def _alike(first: Tensor, second: Tensor) -> Alike:
    """Of two frames' keys (h, w, C)."""
    first, second = first.float(), second.float()

    def alike(flow: Tensor, where: Tensor) -> Tensor:
        made = torch.zeros_like(flow[:, 0])
        for k, (own, other) in enumerate(((first, second), (second, first))):
            row, column = where[k].nonzero(as_tuple=True)
            right, down = flow[k][:, row, column]
            found = _sampled(other, column + right, row + down)
            made[k, row, column] = (own[row, column] * found).mean(-1)
        return made

    return alike


def _looked_up(key: Tensor, flow: Tensor) -> Tensor:
    """``key`` (h, w, C) where ``flow`` (2, h, w) points, bilinear, clamped at the border; like ``warp``."""
    height, width, channels = key.shape
    x = flow[0] + torch.arange(width, dtype=torch.float32)
    y = flow[1] + torch.arange(height, dtype=torch.float32)[:, None]
    return _sampled(key, x, y).view(height, width, channels)


def _sampled(key: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(n, C): ``key`` (h, w, C) at n places, which are changed.

    Each result is a weighted sum of four rows of a table, which is what ``embedding_bag`` computes.
    """
    height, width, channels = key.shape
    x, y = x.clamp_(0, width - 1), y.clamp_(0, height - 1)
    left, above = x.floor().clamp_(max=max(width - 2, 0)), y.floor().clamp_(max=max(height - 2, 0))
    x, y = x.sub_(left), y.sub_(above)
    both = x * y
    shares = torch.stack((1 - x - y + both, x - both, y - both, both), -1).view(-1, 4)
    places = above.mul_(width).add_(left).long().view(-1, 1)
    # A picture one pixel wide or high has no next one: its share is zero.
    right, down = min(1, width - 1), width * min(1, height - 1)
    places = places + torch.tensor([0, right, down, down + right])
    table = key.reshape(-1, channels).float()
    return F.embedding_bag(places, table, mode="sum", per_sample_weights=shares).to(key.dtype)


# ---------------------------------------------------------------------------------------------------- a timestep


class _Refinement:
    """The refinement U-Net: (1, inputs, h, w) channels last -> (24, h, w) float32.

    ``inputs``: 29 + 2 * context, and zeros up to whole blocks of channels, which are quicker than a part of one.
    """

    def __init__(self, net: Any, dtype: torch.dtype) -> None:
        first, *others = _convolutions(net.down)
        self.inputs = -(-first.in_channels // 32) * 32
        filled = F.pad(first.weight.detach(), (0, 0, 0, 0, 0, self.inputs - first.in_channels))
        self._down = [_Conv(filled, first.bias, 1, dtype), *(_Conv.of(conv, dtype) for conv in others)]
        (bottom,) = _convolutions(net.bottom)
        self._bottom = _Conv.of(bottom, dtype)
        self._up = [
            _Join(conv, skip.outputs, dtype)
            for conv, skip in zip(_convolutions(net.up), self._down[-2::-1], strict=True)
        ]
        self._head = _Conv.of(net.head, dtype, slope=None)

    def __call__(self, x: Tensor) -> Tensor:
        skips = []
        for conv in self._down:
            x = conv(x)
            skips.append(x)
        x = self._bottom(skips.pop())
        for join in self._up:
            x = join(x, skips.pop())
        x = self._head(x)
        return _planes(x).float()


class _Join:
    """``leaky_relu(conv3x3(cat(enlarge(x), skip)))`` without enlarging; see the module's text."""

    def __init__(self, conv: nn.Conv2d, beside: int, dtype: torch.dtype) -> None:
        below = conv.in_channels - beside
        weight = conv.weight.detach().float()
        # Which of the three taps fall on the first and on the second of two lines, at an even and an odd position; and
        # the same among three columns, of which the middle one is the sample's own.
        lines = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        columns = weight.new_tensor([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]])
        pairs = torch.einsum("pak,qbl,oikl->pqoiab", lines, columns, weight[:, :below])
        pairs = pairs.reshape(2, 2 * conv.out_channels, below, 2, 3)
        # Both columns of a pair at once, for each line of a square by itself: what it adds to lies in one piece then.
        self._below = [_Conv(pair, None, 1, dtype, slope=None) for pair in pairs]
        self._beside = _Conv(weight[:, below:], conv.bias, 1, dtype, slope=None)

    def __call__(self, x: Tensor, skip: Tensor) -> Tensor:
        h = x.shape[2]
        out = self._beside(skip)
        squares = out.permute(0, 2, 3, 1).view(h, 2, -1)
        for line, conv in enumerate(self._below):
            squares[:, line] += conv(x).permute(0, 2, 3, 1).reshape(h + 1, -1)[line : line + h]
        return F.leaky_relu_(out, 0.1)


def _found(planes: Tensor, place: Tensor) -> Tensor:
    """``planes`` (1, C, H, W) at ``place`` (2, h, w), x and y from -1 to 1 from edge to edge: (C, h, w)."""
    return F.grid_sample(planes, place.permute(1, 2, 0)[None], "bilinear", "border", align_corners=False)[0]


def _mixed(both: Tensor, share: tuple[float, float]) -> Tensor:
    """``both``: that of F_01 and that of F_10."""
    return (both[0] * share[0]).add_(both[1], alpha=share[1])


@lru_cache(maxsize=8)
def _own_places(height: int, width: int) -> Tensor:
    """(2, 4, height / 2, width / 2): x and y of the pixels by their position in the 2x2 squares, -1 to 1 from edge to
    edge."""
    x = ((2 * torch.arange(width, dtype=torch.float64) + 1) / width - 1).float()
    y = ((2 * torch.arange(height, dtype=torch.float64) + 1) / height - 1).float()
    grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)))
    return _folded(grid[None])[0]


def _folded(planes: Tensor) -> Tensor:
    """(N, C, 2h, 2w) -> (N, C, 4, h, w): one plane per position in the 2x2 squares."""
    n, c, height, width = planes.shape
    squares = planes.view(n, c, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return squares.reshape(n, c, 4, height // 2, width // 2)


# ---------------------------------------------------------------------------------------------------- small parts


class _Conv:
    """A convolution with its weights cast and laid out, and the LeakyReLU behind it."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: int, dtype: torch.dtype, slope: float | None = 0.1
    ) -> None:
        self.outputs, self.inputs = weight.shape[:2]
        self._weight = weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self._bias = None if bias is None else bias.detach().to(dtype)
        self._stride, self._slope = stride, slope
        self._padding = 1 if max(weight.shape[2:]) > 1 else 0

    @staticmethod
    def of(conv: nn.Conv2d, dtype: torch.dtype, slope: float | None = 0.1) -> _Conv:
        return _Conv(conv.weight, conv.bias, conv.stride[0], dtype, slope)

    def __call__(self, x: Tensor) -> Tensor:
        # Where steps of two leave a single column, oneDNN with AMX reads what is not there: a second is made, and cut.
        narrow = self._stride > 1 and x.shape[-1] <= self._stride
        if narrow:
            x = F.pad(x, (0, self._stride)).contiguous(memory_format=torch.channels_last)
        x = F.conv2d(x, self._weight, self._bias, self._stride, self._padding)
        if narrow:
            x = x[..., :1].contiguous(memory_format=torch.channels_last)
        return x if self._slope is None else F.leaky_relu_(x, self._slope)


def _convolutions(part: nn.Module) -> list[nn.Conv2d]:
    """Every convolution inside, in the order of use."""
    return [inner for inner in part.modules() if isinstance(inner, nn.Conv2d)]


def _halved(picture: Tensor) -> Tensor:
    """Means of 2x2 pixels, in an eighth of the time of torch's own pooling."""
    lines = picture[..., ::2, :] + picture[..., 1::2, :]
    return (lines[..., ::2] + lines[..., 1::2]).mul_(0.25)


def _channels_last(planes: Tensor) -> Tensor:
    """(C, h, w) -> (1, C, h, w), a pixel's channels side by side; as a matrix, which torch transposes in blocks."""
    channels, height, width = planes.shape
    pixels = planes.view(channels, height * width).t().contiguous()
    return pixels.view(1, height, width, channels).permute(0, 3, 1, 2)


def _planes(x: Tensor) -> Tensor:
    """(1, C, h, w) channels last -> (C, h, w), the same way back."""
    _, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(height * width, channels)
    return pixels.t().contiguous().view(channels, height, width)

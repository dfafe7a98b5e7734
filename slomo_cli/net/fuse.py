"""Motion applied to the file's own samples (equations 1 and 5 of Super SloMo, on planes instead of RGB).

What :func:`~slomo_cli.net.warp.render` does to pictures of the Motion's own size. Sampling and the mix of two warped
pictures are linear, and RGB <-> YUV is affine, so each plane can be fused by itself: no colour conversion, any bit
depth, alpha as one more plane. Geometry, pinned by tests: one step of the Motion grid is exactly ``step`` luma samples;
flows and weight are brought to a plane's own grid bilinearly between cell centres (``align_corners=False``), chroma
grids being 2**shift coarser, and cropped to the plane. Planes coarser than luma are sampled bilinearly, all others with
the detail given back. Chroma is taken as sited at the centre of its luma block: other sitings move the flow field, not
the picture, by half a luma sample.

Everything here is float32 arithmetic on integers; results are rounded to nearest and stay within [0, peak].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import floor, gcd

import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net.motion import Motion
from slomo_cli.net.warp import fusion_weight
from slomo_cli.values import PixelLayout

# Pixels of a band on a CPU: what it reads and makes should stay in a core's second-level cache.
_BAND_PIXELS = 48_000
# The same on other devices, where bands save memory: some 50 MB at a time.
_LARGE_BAND_PIXELS = 500_000
# Values of coarse flow prepared at a time on a CPU: larger arrays are fetched from the system anew at every use.
_COARSE_VALUES = 500_000


@dataclass(frozen=True, slots=True)
class _Group:
    """Planes of equal geometry, which are sampled together."""

    planes: tuple[int, ...]
    shift_x: int
    shift_y: int

    @property
    def detailed(self) -> bool:
        """Has detail to give back; that of coarser chroma is not worth its time."""
        return self.shift_x == self.shift_y == 0


@lru_cache
def _groups(layout: PixelLayout) -> tuple[_Group, ...]:
    full: list[int] = [0]
    chroma: list[int] = []
    if layout.family == "rgb":
        full += [1, 2]
    elif layout.family == "yuv":
        (chroma if layout.chroma_shift_x or layout.chroma_shift_y else full).extend((1, 2))
    if layout.alpha:
        full.append(layout.plane_count - 1)
    groups = [_Group(tuple(full), 0, 0)]
    if chroma:
        groups.append(_Group(tuple(chroma), layout.chroma_shift_x, layout.chroma_shift_y))
    return tuple(groups)


@dataclass(frozen=True, slots=True)
class _Factor:
    """How much finer a plane is than the Motion grid along one side: ``samples`` for every ``cells``, in lowest terms.

    Three luma samples to a step are three chroma samples to two steps where chroma is halved.
    """

    samples: int
    cells: int

    @staticmethod
    def of(step: int, block: int) -> _Factor:
        shared = gcd(step, block)
        return _Factor(step // shared, block // shared)

    def cells_for(self, samples: int) -> int:
        """Whole groups of cells that cover so many samples."""
        return -(-samples // self.samples) * self.cells

    def samples_of(self, cells: int) -> int:
        """Samples that whole groups of cells cover."""
        return cells // self.cells * self.samples

    def phases(self, cells: int) -> Iterator[tuple[int, slice, slice, float]]:
        """Each place of a sample in its group: (place, its nearer and farther neighbours, share of the farther).

        The neighbours are slices of a line of ``cells`` + 2, one cell repeated at either end, a step from group to
        group; "nearer" is the left or upper one.
        """
        for place in range(self.samples):
            centre = (place + 0.5) * self.cells / self.samples + 0.5  # in cells of the padded line
            left = floor(centre)
            near = slice(left, left + cells - self.cells + 1, self.cells)
            yield place, near, slice(near.start + 1, near.stop + 1, self.cells), centre - left


@dataclass(frozen=True, slots=True)
class SourcePlanes:
    """A source frame made ready for sampling; made once, used for every in-between frame beside it."""

    layout: PixelLayout
    dtype: torch.dtype
    """The integer type the samples came in and fused samples leave in."""
    groups: tuple[Tensor, ...]
    """(1, C, h, w) float32 per group of planes with equal geometry. Samples are stored 0.5 too high: every weight in
    the fusion sums to one, so the half survives to the end, where cutting the fraction off then rounds to nearest.
    Where detail is to be given back the second differences across and down follow, (1, 3C, h, w) in all."""

    @staticmethod
    def of(planes: Sequence[Tensor], layout: PixelLayout) -> SourcePlanes:
        """Convert integer planes (h, w) in the layout's storage order."""
        if len(planes) != layout.plane_count:
            raise ValueError(f"expected {layout.plane_count} planes of {layout.name}, found {len(planes)}")
        groups = []
        for group in _groups(layout):
            first = planes[group.planes[0]]
            count = len(group.planes)
            channels = 3 * count if group.detailed else count
            samples = torch.empty(1, channels, *first.shape, dtype=torch.float32, device=first.device)
            for channel, plane in enumerate(group.planes):
                samples[0, channel].copy_(planes[plane])
            samples[:, :count] += 0.5
            if group.detailed:
                plain, across, down = samples.chunk(3, 1)
                _second_differences(plain, -1, across)
                _second_differences(plain, -2, down)
            groups.append(samples)
        return SourcePlanes(layout, planes[0].dtype, tuple(groups))


def _second_differences(plain: Tensor, axis: int, out: Tensor) -> None:
    """:func:`~slomo_cli.net.warp.curvature` along one axis, written where it belongs in half the passes over memory."""
    length = plain.shape[axis]
    steps = list(plain.shape)
    steps[axis] += 1
    slope = plain.new_zeros(steps)  # none beyond the borders
    inner = slope.narrow(axis, 1, length - 1)
    torch.sub(plain.narrow(axis, 1, length - 1), plain.narrow(axis, 0, length - 1), out=inner)
    torch.sub(slope.narrow(axis, 1, length), slope.narrow(axis, 0, length), out=out)


@torch.inference_mode()
def fuse(
    first: SourcePlanes,
    second: SourcePlanes,
    motion: Motion,
    t: Tensor,
    *,
    step: int,
    sparing: bool = False,
) -> list[Tensor]:
    """Make M in-between pictures from the samples of their neighbours.

    ``motion``: M entries on a grid of ``step`` luma samples, covering at least the frame. ``t``: (M,) in (0, 1).
    ``sparing``: band by band, with little memory besides the result, where the device would do better with everything
    at once; the result is the same. Returns the planes in storage order, (M, h, w) each, in the samples' own integer
    type.
    """
    count = motion.flow_t0.shape[0]
    t = t.to(motion.visibility.device)
    groups = list(zip(_groups(first.layout), first.groups, second.groups, strict=True))
    planes: list[Tensor] = [torch.empty(0)] * first.layout.plane_count
    for group, source, _ in groups:
        for plane in group.planes:
            planes[plane] = torch.empty(count, *source.shape[-2:], dtype=first.dtype, device=source.device)
    in_bands = sparing or _works_in_bands(t.device)
    longest = max(1, _COARSE_VALUES // motion.flow_t0[0].numel()) if in_bands else count
    for start in range(0, count, longest):
        some = slice(start, start + longest)
        part = Motion(*(whole[some] for whole in motion))
        known: dict[_Fit, Tensor] = {}
        for group, source_0, source_1 in groups:
            fit = _Fit.of(group, source_0, step, part.flow_t0)
            if fit not in known:
                known[fit] = _sampling_rows(part, t[some], fit)
            out = [planes[plane][some] for plane in group.planes]
            work = _Work(source_0, source_1, known[fit], fit, out, first.layout.peak)
            if in_bands:
                _fuse_in_bands(work)
            else:
                _fuse_band(work, 0, fit.factor_y.cells_for(source_0.shape[-2]), together=True)
    return planes


def _works_in_bands(device: torch.device) -> bool:
    """A CPU's cache wants small pieces; a GPU wants few large ones."""
    return device.type == "cpu"


@dataclass(frozen=True, slots=True)
class _Work:
    """One group of planes of K pictures."""

    source_0: Tensor  # (1, C, H, W), or with second differences (1, 3C, H, W)
    source_1: Tensor
    rows: Tensor  # (K, h + 2, 6, w + 2), see _sampling_rows
    fit: _Fit
    out: list[Tensor]  # C of (K, H, W)
    peak: int


def _fuse_in_bands(work: _Work) -> None:
    """Band by band, so that all arrays between the source and the result are small; a CPU's stay in its cache."""
    height, width = work.source_0.shape[-2:]
    rows = work.fit.factor_y.cells_for(height)
    if not _works_in_bands(work.source_0.device):
        each = work.fit.factor_y.cells_for(max(1, _LARGE_BAND_PIXELS // width))
        for top in range(0, rows, each):
            _fuse_band(work, top, min(top + each, rows), together=False)
        return

    each = work.fit.factor_y.cells_for(max(1, _BAND_PIXELS // width))
    reach_0, reach_1 = _reach(work.rows, 1, height), _reach(work.rows, 3, height)
    for top in range(0, rows, each):
        bottom = min(top + each, rows)
        # Lookups jump, so the processor cannot foresee them and waits for every line of the source; reading the stretch
        # once in order brings it into the cache, which halves the time of the whole fusion.
        for source, (low, high) in ((work.source_0, reach_0), (work.source_1, reach_1)):
            source[:, :, min(low[top : bottom + 2]) : max(high[top : bottom + 2])].sum()
        _fuse_band(work, top, bottom, together=False)


def _fuse_band(work: _Work, top: int, bottom: int, together: bool) -> None:
    """Coarse rows [top, bottom) of the K pictures, in one lookup (``together``) or one by one."""
    height, width = work.source_0.shape[-2:]
    count, channels = work.rows.shape[0], len(work.out)
    first_line, last_line = work.fit.factor_y.samples_of(top), min(work.fit.factor_y.samples_of(bottom), height)
    wide = _widen(work.rows[:, top : bottom + 2], work.fit.factor_x)[..., :width]
    step = count if together else 1
    for k in range(0, count, step):
        # (step, lines, 6, width) -> pictures of one pair stacked in height: one lookup, no copies of the source.
        field = _heighten(wide[k : k + step], work.fit.factor_y)
        lines = field.shape[1]
        field = field.flatten(0, 1)[None].transpose(1, 2)
        sampled_0 = _look_up(work.source_0, field[:, 0:2])
        sampled_1 = _look_up(work.source_1, field[:, 2:4])
        if sampled_0.shape[1] > channels:
            shares = _detail_shares(field, height, width)
            sampled_0 = _sharpened(sampled_0, shares[:, 0:2])
            sampled_1 = _sharpened(sampled_1, shares[:, 2:4])
            mixed = torch.lerp(sampled_0, sampled_1, field[:, 4:5]).clamp_(0, work.peak + 0.5)
        else:
            mixed = torch.lerp(sampled_0, sampled_1, field[:, 4:5])
        if work.out[0].dtype == torch.uint8:
            mixed = mixed.to(torch.int16)  # the direct way from float to uint8 is three times slower
        for channel in range(channels):
            lines_made = mixed[0, channel].view(step, lines, width)[:, : last_line - first_line]
            work.out[channel][k : k + step, first_line:last_line].copy_(lines_made)


def _look_up(source: Tensor, place: Tensor) -> Tensor:
    # grid_sample reads a grid whose x and y are planes as fast as an interleaved one; making it interleaved costs more.
    grid = place.permute(0, 2, 3, 1)
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _detail_shares(field: Tensor, height: int, width: int) -> Tensor:
    """(1, 6, h, w) as ``_sampling_rows`` says -> (1, 4, h, w): the factors of the second differences across and down
    in frame 0 and in frame 1. ``height``, ``width``: of the source."""
    between = torch.empty_like(field[:, 0:4])
    for axis, size in ((0, width), (1, height)):
        place = between[:, axis::2]
        # A number before a tensor times another: in one pass.
        torch.add(torch.tensor(size / 2 - 0.5, dtype=torch.float32), field[:, axis:4:2], alpha=size / 2, out=place)
        place.clamp_(0, size - 1).frac_()
    return between.addcmul_(between, between, value=-1).mul_(field[:, 5:6])


def _sharpened(sampled: Tensor, shares: Tensor) -> Tensor:
    """Samples less their second differences (1, 3C, h, w) by those shares (1, 2, h, w): (1, C, h, w)."""
    plain, across, down = sampled.chunk(3, 1)
    return plain.addcmul_(across, shares[:, 0:1], value=-1).addcmul_(down, shares[:, 1:2], value=-1)


def _reach(rows: Tensor, channel: int, height: int) -> tuple[list[int], list[int]]:
    """First and past-the-last source line that each coarse row's lookups touch, about: over every eighth column."""
    low, high = torch.aminmax(rows[:, :, channel, ::8].transpose(0, 1).flatten(1), dim=1)
    low = ((low + 1) * (height / 2) - 0.5).clamp(0, height - 1).int()
    high = ((high + 1) * (height / 2) + 1.5).clamp(1, height).int()
    return low.tolist(), high.tolist()


@dataclass(frozen=True, slots=True)
class _Fit:
    """How planes fit on the Motion grid; equal where they are sampled at the same places, as halved chroma mostly is
    at those of luma. Lengths are as ``grid_sample`` counts: -1..1 from edge to edge."""

    averaged: tuple[int, int, int] | None
    """Step, rows and columns of a block, where planes are coarser than the grid: this is brought to the luma grid, and
    averaged over the block."""
    step_x: float
    """A step of the Motion grid."""
    step_y: float
    cell_x: float
    """A cell of the coarse grid, which is the Motion grid or those averages."""
    cell_y: float
    factor_x: _Factor = field(compare=False)
    """From the coarse grid to the planes' own."""
    factor_y: _Factor = field(compare=False)

    @staticmethod
    def of(group: _Group, plane: Tensor, step: int, grid: Tensor) -> _Fit:
        """Of planes as large as ``plane``, on a ``grid`` with a step of so many luma samples."""
        (height, width), (rows, columns) = plane.shape[-2:], grid.shape[-2:]
        block_x, block_y = 1 << group.shift_x, 1 << group.shift_y
        factor_x, factor_y = _Factor.of(step, block_x), _Factor.of(step, block_y)
        averaged = None
        if step < max(block_x, block_y) or rows % factor_y.cells or columns % factor_x.cells:
            averaged = step, block_y, block_x
            factor_x = factor_y = _Factor(1, 1)
        return _Fit(
            averaged,
            2 * step / (block_x * width),
            2 * step / (block_y * height),
            2 * factor_x.samples / (factor_x.cells * width),
            2 * factor_y.samples / (factor_y.cells * height),
            factor_x,
            factor_y,
        )


def _sampling_rows(motion: Motion, t: Tensor, fit: _Fit) -> Tensor:
    """Where to sample, still on the coarse grid.

    Returns (M, h + 2, 6, w + 2): x and y in frame 0, x and y in frame 1, the weight of frame 1 and the detail, with one
    row and column more on every side where all but the places are repeated. The samples' own places are added here,
    beyond the edges too: they are linear, so enlarging bilinearly keeps them.
    """
    flow_0, flow_1 = motion.flow_t0.float(), motion.flow_t1.float()
    shares = torch.cat((fusion_weight(motion.visibility, t), motion.detail.float()), 1)
    if fit.averaged is not None:
        flow_0, flow_1, shares = (_block_means(part, *fit.averaged) for part in (flow_0, flow_1, shares))
    count, _, rows, columns = flow_0.shape
    centre_x = _centres(columns, fit.cell_x, shares.device)
    centre_y = _centres(rows, fit.cell_y, shares.device)[:, None]
    place = shares.new_empty(count, rows + 2, 6, columns + 2)
    inside = place[:, 1:-1, :, 1:-1].transpose(1, 2)
    for channel, flow in ((0, flow_0), (2, flow_1)):
        torch.add(centre_x, flow[:, 0], alpha=fit.step_x, out=inside[:, channel])
        torch.add(centre_y, flow[:, 1], alpha=fit.step_y, out=inside[:, channel + 1])
    inside[:, 4:6].copy_(shares)
    for edge, inner, way in ((0, 1, -1), (-1, -2, 1)):
        place[..., edge] = place[..., inner]
        place[:, :, 0:4:2, edge] += way * fit.cell_x
        place[:, edge] = place[:, inner]
        place[:, edge, 1:4:2] += way * fit.cell_y
    return place


@lru_cache(16)
def _centres(cells: int, size: float, device: torch.device) -> Tensor:
    """Centres of cells of ``size`` from -1 on, float32; reckoned on the CPU, as some devices have no float64.

    Remembered: a GPU would have to finish all it has been given before it took them.
    """
    return torch.arange(0.5, cells, dtype=torch.float64).mul_(size).sub_(1).float().to(device)


def _block_means(field: Tensor, step: int, block_y: int, block_x: int) -> Tensor:
    if step > 1:
        field = F.interpolate(field, scale_factor=float(step), mode="bilinear", align_corners=False)
    return F.avg_pool2d(field, (block_y, block_x), ceil_mode=True)


def _widen(padded: Tensor, factor: _Factor) -> Tensor:
    """(K, n, C, w + 2) -> (K, n, C, w * factor): bilinear along x."""
    columns = padded.shape[-1] - 2
    if factor.samples == 1:
        return padded[..., 1 : 1 + columns]
    wide = padded.new_empty(*padded.shape[:-1], columns // factor.cells, factor.samples)
    for position, near, far, share in factor.phases(columns):
        torch.lerp(padded[..., near], padded[..., far], share, out=wide[..., position])
    return wide.flatten(-2)


def _heighten(padded: Tensor, factor: _Factor) -> Tensor:
    """(K, n + 2, C, w) -> (K, n * factor, C, w): bilinear along y."""
    rows = padded.shape[1] - 2
    if factor.samples == 1:
        return padded[:, 1 : 1 + rows]
    high = padded.new_empty(padded.shape[0], rows // factor.cells, factor.samples, *padded.shape[2:])
    for position, near, far, share in factor.phases(rows):
        torch.lerp(padded[:, near], padded[:, far], share, out=high[:, :, position])
    return high.flatten(1, 2)

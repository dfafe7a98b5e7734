"""Fusion on planes: geometry, rounding, every layout, against a plain float64 reference."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net.fuse import SourcePlanes, fuse
from slomo_cli.net.motion import Motion
from slomo_cli.net.warp import curvature
from slomo_cli.values import PixelLayout

LAYOUTS = {
    layout.name: layout
    for layout in (
        PixelLayout("yuv420p", "yuv", 8, 1, 1),
        PixelLayout("yuv420p10le", "yuv", 10, 1, 1),
        PixelLayout("yuv422p12le", "yuv", 12, 1, 0),
        PixelLayout("yuv444p16le", "yuv", 16),
        PixelLayout("yuv444p", "yuv", 8),
        PixelLayout("yuv411p", "yuv", 8, 2, 0),
        PixelLayout("yuva420p", "yuv", 8, 1, 1, alpha=True),
        PixelLayout("gbrp", "rgb", 8),
        PixelLayout("gbrap16le", "rgb", 16, alpha=True),
        PixelLayout("gray", "gray", 8),
        PixelLayout("gray10le", "gray", 10),
    )
}


def random_planes(layout: PixelLayout, width: int, height: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.uint8 if layout.bits == 8 else torch.uint16
    return [
        torch.randint(0, layout.peak + 1, shape, generator=generator, dtype=torch.int32).to(dtype)
        for shape in layout.plane_shapes(width, height)
    ]


def grid_size(width: int, height: int, step: int, multiple: int = 8) -> tuple[int, int]:
    """(h, w) of a Motion grid for a frame padded to a multiple."""
    return tuple(-(-side // (step * multiple)) * multiple for side in (height, width))  # type: ignore[return-value]


def random_motion(count: int, size: tuple[int, int], seed: int, pixels: float = 3.0) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    return Motion(
        torch.randn(count, 2, *size, generator=generator) * pixels,
        torch.randn(count, 2, *size, generator=generator) * pixels,
        torch.rand(count, 1, *size, generator=generator),
        torch.rand(count, 1, *size, generator=generator),
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 2), (9, 7)])
def test_second_differences_lie_behind_the_samples(size: tuple[int, int]) -> None:
    planes = random_planes(LAYOUTS["gbrp"], *size, seed=3)

    (samples,) = SourcePlanes.of(planes, LAYOUTS["gbrp"]).groups

    plain = torch.stack(planes)[None] + 0.5
    assert torch.equal(samples, torch.cat((plain, *curvature(plain)), 1))


def constant_motion(
    count: int, size: tuple[int, int], flow_t0: tuple[float, float], flow_t1: tuple[float, float]
) -> Motion:
    def flow(value: tuple[float, float]) -> Tensor:
        return torch.tensor(value).view(1, 2, 1, 1).repeat(count, 1, *size)

    half = torch.full((count, 1, *size), 0.5)
    return Motion(flow(flow_t0), flow(flow_t1), half, half)


def reference_sample(plane: Tensor, flow: Tensor) -> Tensor:
    """plane (h, w), flow (2, h, w), float64: bilinear lookup by plain indexing, positions clamped to the border."""
    height, width = plane.shape
    y = (torch.arange(height, dtype=torch.float64)[:, None] + flow[1]).clamp(0, height - 1)
    x = (torch.arange(width, dtype=torch.float64) + flow[0]).clamp(0, width - 1)
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    dy, dx = y - top, x - left
    upper = plane[top, left] * (1 - dx) + plane[top, right] * dx
    lower = plane[bottom, left] * (1 - dx) + plane[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def reference_detail(plane: Tensor, flow: Tensor) -> Tensor:
    """What full detail takes from bilinear samples: x (1 - x) times the second difference of neighbours, by plain
    indexing, along both axes."""
    height, width = plane.shape
    y = (torch.arange(height, dtype=torch.float64)[:, None] + flow[1]).clamp(0, height - 1)
    x = (torch.arange(width, dtype=torch.float64) + flow[0]).clamp(0, width - 1)
    at_x, at_y = torch.arange(width), torch.arange(height)
    across = plane[:, (at_x + 1).clamp(max=width - 1)] + plane[:, (at_x - 1).clamp(min=0)] - 2 * plane
    down = plane[(at_y + 1).clamp(max=height - 1)] + plane[(at_y - 1).clamp(min=0)] - 2 * plane
    dx, dy = x - x.floor(), y - y.floor()
    return dx * (1 - dx) * reference_sample(across, flow) + dy * (1 - dy) * reference_sample(down, flow)


def reference_field(field: Tensor, step: int, block_y: int, block_x: int, size: tuple[int, int]) -> Tensor:
    """(1, C, h, w) float64 on the Motion grid -> the plane's grid; flow channels still to be scaled."""
    h, w = field.shape[-2:]
    if step >= max(block_x, block_y) and h * step % block_y == w * step % block_x == 0:
        size_there = (h * step // block_y, w * step // block_x)
        field = F.interpolate(field, size=size_there, mode="bilinear", align_corners=False)
    else:
        field = F.interpolate(field, size=(h * step, w * step), mode="bilinear", align_corners=False)
        field = F.avg_pool2d(field, (block_y, block_x), ceil_mode=True)
    return field[..., : size[0], : size[1]]


def reference_fuse(
    layout: PixelLayout, planes_0: list[Tensor], planes_1: list[Tensor], motion: Motion, t: float, step: int
) -> list[Tensor]:
    """One picture, float64, not rounded: equation 5 written out on every plane."""
    visible_0 = (1 - t) * motion.visibility.double()
    visible_1 = t * (1 - motion.visibility.double())
    share = visible_1 / (visible_0 + visible_1)
    made = []
    for k, (plane_0, plane_1) in enumerate(zip(planes_0, planes_1, strict=True)):
        chroma = layout.family == "yuv" and k in (1, 2)
        block_y = 1 << (layout.chroma_shift_y if chroma else 0)
        block_x = 1 << (layout.chroma_shift_x if chroma else 0)
        size = (plane_0.shape[0], plane_0.shape[1])
        scale = torch.tensor([step / block_x, step / block_y], dtype=torch.float64).view(1, 2, 1, 1)
        flow_0 = reference_field(motion.flow_t0.double() * scale, step, block_y, block_x, size)[0]
        flow_1 = reference_field(motion.flow_t1.double() * scale, step, block_y, block_x, size)[0]
        weight = reference_field(share, step, block_y, block_x, size)[0, 0]
        warped_0 = reference_sample(plane_0.double(), flow_0)
        warped_1 = reference_sample(plane_1.double(), flow_1)
        if block_x == block_y == 1:
            detail = reference_field(motion.detail.double(), step, 1, 1, size)[0, 0]
            warped_0 = warped_0 - detail * reference_detail(plane_0.double(), flow_0)
            warped_1 = warped_1 - detail * reference_detail(plane_1.double(), flow_1)
        made.append((warped_0 * (1 - weight) + warped_1 * weight).clamp(0, layout.peak))
    return made


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(("step", "multiple"), [(1, 8), (2, 8), (3, 8), (3, 1), (4, 8)])
def test_agrees_with_the_equation_written_out(name: str, step: int, multiple: int) -> None:
    layout, width, height = LAYOUTS[name], 71, 45
    before, after = random_planes(layout, width, height, 1), random_planes(layout, width, height, 2)
    motion = random_motion(1, grid_size(width, height, step, multiple), 3)
    made = fuse(SourcePlanes.of(before, layout), SourcePlanes.of(after, layout), motion, torch.tensor([0.3]), step=step)
    expected = reference_fuse(layout, before, after, motion, 0.3, step)
    # float32 positions are good to about 1e-5 samples here, and neighbours differ by up to the peak.
    allowed = 0.5 + 2e-5 * layout.peak
    for plane, wanted, source in zip(made, expected, before, strict=True):
        assert plane.dtype == source.dtype
        assert plane.shape == (1, *source.shape)
        assert (plane[0].double() - wanted).abs().max() <= allowed


def test_rgb_fusion_is_yuv444_fusion() -> None:
    """The mix is linear and the colour matrix affine: converting before or after must not matter beyond rounding."""
    width, height, bits = 64, 48, 16  # 16 bits, so that rounding of the conversion itself is small
    rgb, yuv = PixelLayout("gbrp16le", "rgb", bits), PixelLayout("yuv444p16le", "yuv", bits)
    to_yuv = torch.tensor([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]]).double()

    def convert(planes: list[Tensor]) -> list[Tensor]:
        picture = torch.stack([planes[2], planes[0], planes[1]]).double()  # G, B, R -> R, G, B
        mixed = torch.einsum("ij,j...->i...", to_yuv, picture)
        mixed[1:] += 32768
        return [plane.round().to(torch.int32).to(torch.uint16) for plane in mixed]

    def mild(seed: int) -> list[Tensor]:  # away from black and peak: no clipping in either space
        return [(p.int() // 4 + 20000).to(torch.uint16) for p in random_planes(rgb, width, height, seed)]

    before, after = mild(1), mild(2)
    motion, t = random_motion(1, grid_size(width, height, 2), 3), torch.tensor([0.4])
    fused_rgb = fuse(SourcePlanes.of(before, rgb), SourcePlanes.of(after, rgb), motion, t, step=2)
    fused_yuv = fuse(SourcePlanes.of(convert(before), yuv), SourcePlanes.of(convert(after), yuv), motion, t, step=2)
    for one, other in zip(convert(fused_rgb), fused_yuv, strict=True):
        assert (one.int() - other.int()).abs().max() <= 2


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_motion_pictures_are_blended_by_time(name: str) -> None:
    layout, width, height = LAYOUTS[name], 37, 29
    before, after = random_planes(layout, width, height, 1), random_planes(layout, width, height, 2)
    motion = constant_motion(1, grid_size(width, height, 2), (0, 0), (0, 0))
    made = fuse(SourcePlanes.of(before, layout), SourcePlanes.of(after, layout), motion, torch.tensor([0.25]), step=2)
    for plane, first, second in zip(made, before, after, strict=True):
        wanted = 0.75 * first.double() + 0.25 * second.double()
        assert (plane.double() - wanted).abs().max() <= 0.5 + 1e-5 * layout.peak


@pytest.mark.parametrize("name", LAYOUTS)
def test_still_pictures_stay_as_they_are(name: str) -> None:
    layout, width, height = LAYOUTS[name], 50, 38
    still = SourcePlanes.of(random_planes(layout, width, height, 1), layout)
    motion = constant_motion(2, grid_size(width, height, 4), (0, 0), (0, 0))
    made = fuse(still, still, motion, torch.tensor([0.001, 0.999]), step=4)
    for plane, source in zip(made, random_planes(layout, width, height, 1), strict=True):
        assert (plane.int() - source.int()).abs().max() <= (0 if layout.bits <= 12 else 1)


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv422p12le", "gbrap16le", "gray"])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_constant_flow_shifts_exactly(name: str, step: int) -> None:
    """4 luma samples right and 8 down in frame 0, i.e. 2 and 4 (or 8) in chroma: whole samples are found everywhere."""
    layout, width, height = LAYOUTS[name], 64, 64
    before = random_planes(layout, width, height, 1)
    motion = constant_motion(1, grid_size(width, height, step), (4 / step, 8 / step), (4 / step, 8 / step))
    source = SourcePlanes.of(before, layout)
    made = fuse(source, source, motion, torch.tensor([0.5]), step=step)
    for k, (plane, original) in enumerate(zip(made, before, strict=True)):
        chroma = layout.family == "yuv" and k in (1, 2)
        dx = 4 >> (layout.chroma_shift_x if chroma else 0)
        dy = 8 >> (layout.chroma_shift_y if chroma else 0)
        assert torch.equal(plane[:, :-dy, :-dx].int(), original[None, dy:, dx:].int())
        # Beyond the border the last sample is repeated.
        assert torch.equal(plane[0, -1, :-dx].int(), original[-1, dx:].int())


def test_towards_time_zero_the_picture_is_the_warped_first_frame() -> None:
    layout, width, height = LAYOUTS["yuv420p"], 48, 40
    before, after = random_planes(layout, width, height, 1), random_planes(layout, width, height, 2)
    motion = constant_motion(1, grid_size(width, height, 2), (0, 0), (1, 1))
    made = fuse(SourcePlanes.of(before, layout), SourcePlanes.of(after, layout), motion, torch.tensor([1e-6]), step=2)
    for plane, original in zip(made, before, strict=True):
        assert torch.equal(plane[0], original)


def test_an_unseen_frame_has_no_share() -> None:
    layout, width, height = LAYOUTS["gray"], 32, 32
    before, after = random_planes(layout, width, height, 1), random_planes(layout, width, height, 2)
    still = constant_motion(1, (32, 32), (0, 0), (0, 0))
    hidden = still._replace(visibility=torch.zeros(1, 1, 32, 32))
    made = fuse(SourcePlanes.of(before, layout), SourcePlanes.of(after, layout), hidden, torch.tensor([0.5]), step=1)
    assert torch.equal(made[0][0], after[0])


@pytest.mark.parametrize("name", ["yuv420p", "gbrap16le"])
def test_many_at_once_equal_one_by_one(name: str) -> None:
    """Three times, on a picture of several bands."""
    layout, width, height = LAYOUTS[name], 322, 246
    first, second = (SourcePlanes.of(random_planes(layout, width, height, seed), layout) for seed in (1, 2))
    motion, t = random_motion(3, grid_size(width, height, 4), 5), torch.tensor([0.25, 0.5, 0.9])
    together = fuse(first, second, motion, t, step=4)
    for m in range(3):
        alone = fuse(first, second, Motion(*(part[m : m + 1] for part in motion)), t[m : m + 1], step=4)
        for many, single in zip(together, alone, strict=True):
            assert torch.equal(many[m], single[0])


def fused(name: str, width: int, height: int, device: str, sparing: bool = False) -> list[Tensor]:
    """Three pictures, made on a device."""
    layout = LAYOUTS[name]
    first, second = (
        SourcePlanes.of([plane.to(device) for plane in random_planes(layout, width, height, seed)], layout)
        for seed in (1, 2)
    )
    motion = Motion(*(part.to(device) for part in random_motion(3, grid_size(width, height, 2), 3)))
    t = torch.tensor([0.3, 0.6, 0.5])
    return [plane.cpu() for plane in fuse(first, second, motion, t, step=2, sparing=sparing)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_whole_planes_equal_bands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way a GPU is served, several pictures in one lookup, gives the same numbers."""
    banded = fused(name, 331, 203, "cpu")
    monkeypatch.setattr("slomo_cli.net.fuse._works_in_bands", lambda device: False)
    for whole, wanted in zip(fused(name, 331, 203, "cpu"), banded, strict=True):
        assert torch.equal(whole, wanted)


@pytest.mark.parametrize("name", LAYOUTS)
def test_sparing_memory_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where whole planes are the usual way, a device short of memory makes bands."""
    monkeypatch.setattr("slomo_cli.net.fuse._works_in_bands", lambda device: False)
    monkeypatch.setattr("slomo_cli.net.fuse._LARGE_BAND_PIXELS", 331 * 30)
    whole = fused(name, 331, 203, "cpu")
    for banded, wanted in zip(fused(name, 331, 203, "cpu", sparing=True), whole, strict=True):
        assert torch.equal(banded, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_gpu_agrees(cuda: torch.device, name: str) -> None:
    for made, wanted in zip(fused(name, 331, 203, str(cuda)), fused(name, 331, 203, "cpu"), strict=True):
        assert (made.int() - wanted.int()).abs().max() <= max(1, LAYOUTS[name].peak // 20_000)


def test_a_missing_plane_is_named() -> None:
    with pytest.raises(ValueError, match="3 planes of yuv420p, found 1"):
        SourcePlanes.of([torch.zeros(4, 4, dtype=torch.uint8)], LAYOUTS["yuv420p"])

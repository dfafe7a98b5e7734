"""The proxy: colour matrices, ranges, bit depths, reduction and padding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from slomo_cli.net.proxy import proxy_scale, to_proxy
from slomo_cli.values import ColorInfo, PixelLayout

YUV420 = PixelLayout("yuv420p", "yuv", 8, 1, 1)
YUV444 = PixelLayout("yuv444p", "yuv", 8)
GBRP = PixelLayout("gbrp", "rgb", 8)


def flat(layout: PixelLayout, samples: tuple[int, ...], width: int = 16, height: int = 16) -> list[Tensor]:
    dtype = torch.uint8 if layout.bits == 8 else torch.uint16
    shapes = layout.plane_shapes(width, height)
    return [torch.full(shape, value, dtype=dtype) for shape, value in zip(shapes, samples, strict=True)]


def noise(layout: PixelLayout, width: int, height: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.uint8 if layout.bits == 8 else torch.uint16
    return [
        torch.randint(0, layout.peak + 1, shape, generator=generator, dtype=torch.int32).to(dtype)
        for shape in layout.plane_shapes(width, height)
    ]


# Y'CbCr of full red in 8-bit limited range, from the defining equations of each standard.
RED = {"601": (81, 90, 240), "709": (63, 102, 240), "2020": (74, 97, 240)}


@pytest.mark.parametrize(
    ("samples", "color", "height"),
    [
        (RED["601"], ColorInfo(range=1, matrix=6), 16),
        (RED["601"], ColorInfo(range=1, matrix=5), 16),
        (RED["709"], ColorInfo(range=1, matrix=1), 16),
        (RED["2020"], ColorInfo(range=1, matrix=9), 16),
        (RED["601"], ColorInfo(), 576),  # unspecified: standard definition
        (RED["709"], ColorInfo(), 720),  # unspecified: above
        ((76, 85, 255), ColorInfo(range=2, matrix=6), 16),  # full range, as JPEG
    ],
)
def test_red_is_red(samples: tuple[int, int, int], color: ColorInfo, height: int) -> None:
    proxy = to_proxy(flat(YUV420, samples, height=height), YUV420, color, 2, 8)
    wanted = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    assert (proxy - wanted).abs().max() < 0.01


@pytest.mark.parametrize("limited", [True, False])
def test_a_muted_colour_is_neither_paler_nor_deeper(limited: bool) -> None:
    """Full red is cut off at the ends of the scale, and would be so with too much colour as well."""
    red, green, blue = 0.6, 0.4, 0.3
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    cb, cr = (blue - luma) / (2 * (1 - 0.0722)), (red - luma) / (2 * (1 - 0.2126))  # ITU-R BT.709, item 3.3
    layout = PixelLayout("yuv444p16le", "yuv", 16)
    black, light, colour = (16 * 256, 219 * 256, 224 * 256) if limited else (0, 65535, 65535)
    samples = (round(black + light * luma), round(32768 + colour * cb), round(32768 + colour * cr))

    proxy = to_proxy(flat(layout, samples), layout, ColorInfo(range=1 if limited else 2, matrix=1), 1, 8)

    assert torch.allclose(proxy[0, :, 0, 0], torch.tensor([red, green, blue]), atol=1e-4)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("limited", [True, False])
def test_black_and_white_at_every_depth(bits: int, limited: bool) -> None:
    layout = PixelLayout(f"yuv444p{bits}", "yuv", bits)
    unit, color = 1 << (bits - 8), ColorInfo(range=1 if limited else 2, matrix=1)
    black, white = (16 * unit, 235 * unit) if limited else (0, layout.peak)
    for level, wanted in ((black, 0.0), (white, 1.0)):
        proxy = to_proxy(flat(layout, (level, 128 * unit, 128 * unit)), layout, color, 1, 8)
        assert (proxy - wanted).abs().max() < 1e-5


def test_rgb_comes_out_in_order_red_green_blue() -> None:
    proxy = to_proxy(flat(GBRP, (51, 102, 204)), GBRP, ColorInfo(), 1, 8)  # stored green, blue, red
    assert torch.allclose(proxy[0, :, 0, 0], torch.tensor([204, 51, 102]) / 255)


def test_gray_fills_three_equal_channels() -> None:
    gray = to_proxy(noise(PixelLayout("gray", "gray", 8), 16, 16), PixelLayout("gray", "gray", 8), ColorInfo(), 1, 8)
    assert torch.equal(gray[:, 0], gray[:, 1])
    assert torch.equal(gray[:, 0], gray[:, 2])
    assert gray.max() > 0.95
    assert gray.min() < 0.05  # full range by default


@pytest.mark.parametrize(
    "layout",
    [
        PixelLayout("yuva444p", "yuv", 8, alpha=True),
        PixelLayout("yuva420p10le", "yuv", 10, 1, 1, alpha=True),
        PixelLayout("gbrap16le", "rgb", 16, alpha=True),
        PixelLayout("ya8", "gray", 8, alpha=True),
    ],
    ids=lambda layout: layout.name,
)
def test_what_is_transparent_lies_over_medium_gray(layout: PixelLayout) -> None:
    """Where alpha alone tells a shape, as in titles made for laying over film, nothing else shows that it moves."""
    planes = noise(layout, 16, 16)
    opaque = to_proxy(planes[:-1], replace(layout, alpha=False), ColorInfo(), 2, 8)
    for share in (0.0, 0.25, 1.0):
        planes[-1].fill_(round(share * layout.peak))
        proxy = to_proxy(planes, layout, ColorInfo(), 2, 8)
        torch.testing.assert_close(proxy, 0.5 + share * (opaque - 0.5), atol=2e-3, rtol=0)
    planes[-1][..., :8] = 0
    assert (to_proxy(planes, layout, ColorInfo(), 1, 8)[..., :8] == 0.5).all()


@pytest.mark.parametrize("divisor", [1, 2, 3, 4])
@pytest.mark.parametrize(("shift_x", "shift_y"), [(0, 0), (1, 0), (1, 1), (2, 0)])
def test_areas_are_averaged(divisor: int, shift_x: int, shift_y: int) -> None:
    """Chroma constant over whole proxy pixels, so that every way of enlarging it must give the same mean."""
    layout = PixelLayout("x", "yuv", 8, shift_x, shift_y)
    width = height = 48
    luma = noise(layout, width, height)[0]
    planes = [luma, *flat(layout, (0, 90, 170), width, height)[1:]]
    proxy = to_proxy(planes, layout, ColorInfo(range=2, matrix=6), divisor, 2)
    size = 48 // divisor
    mean = luma.double().view(1, size, divisor, size, divisor).mean(dim=(2, 4))
    wanted = (mean + 1.402 * (170 - 128)) / 255
    assert proxy.shape == (1, 3, size, size)
    assert (proxy[:, 0] - wanted.clamp(0, 1)).abs().max() < 1e-4


@pytest.mark.parametrize("divisor", [1, 2, 4])
def test_chroma_of_420_lies_where_luma_lies(divisor: int) -> None:
    """A coloured half on the right: the edge must sit at the same proxy column in all channels."""
    planes = flat(YUV420, (128, 128, 128), 64, 32)
    planes[0][:, 32:] = 200
    planes[1][:, 16:] = 60
    planes[2][:, 16:] = 190
    proxy = to_proxy(planes, YUV420, ColorInfo(range=2, matrix=6), divisor, 8)[0]
    edge = 32 // divisor
    left, right = proxy[:, :, edge - 2], proxy[:, :, edge + 1]
    assert torch.allclose(left, proxy[:, :, 0], atol=1e-5)
    assert torch.allclose(right, proxy[:, :, -1], atol=1e-5)


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize(("shift_x", "shift_y"), [(1, 0), (1, 1), (2, 0), (2, 2)])
def test_slopes_of_colour_lie_where_slopes_of_luma_do(divisor: int, shift_x: int, shift_y: int) -> None:
    """Chroma is sited at the centre of its block: its slope runs through the same places in any proxy, to a rounding
    of its samples."""

    def slope(y: Tensor, x: Tensor) -> Tensor:
        """By places in luma samples from the picture's corner."""
        return 90 + y[:, None] / 4 + x / 4

    layout = PixelLayout("x", "yuv", 8, shift_x, shift_y)
    centres = [(torch.arange(140 >> shift) + 0.5) * (1 << shift) for shift in (shift_y, shift_x)]
    cr = slope(*centres).round().to(torch.uint8)
    planes = [torch.full((140, 140), 128, dtype=torch.uint8), torch.full_like(cr, 128), cr]
    red = to_proxy(planes, layout, ColorInfo(range=2, matrix=6), divisor, 1)[0, 0]

    size = 140 // divisor
    places = (torch.arange(size) + 0.5) * divisor
    off = red[:size, :size] - (128 + 1.402 * (slope(places, places) - 128)) / 255
    assert off[4:-4, 4:-4].abs().max() < 1.402 * 0.51 / 255


@pytest.mark.parametrize(("width", "height"), [(2, 2), (33, 17), (64, 32), (65, 31), (7, 9)])
@pytest.mark.parametrize("divisor", [1, 2, 3])
def test_sides_become_multiples_by_repeating_the_edge(width: int, height: int, divisor: int) -> None:
    for layout in (YUV420, GBRP):
        proxy = to_proxy(noise(layout, width, height), layout, ColorInfo(), divisor, 16)
        high, wide = -(-height // divisor), -(-width // divisor)
        assert proxy.shape == (1, 3, -(-high // 16) * 16, -(-wide // 16) * 16)
        assert torch.equal(proxy[:, :, high:], proxy[:, :, high - 1 : high].expand_as(proxy[:, :, high:]))
        assert torch.equal(proxy[..., wide:], proxy[..., wide - 1 : wide].expand_as(proxy[..., wide:]))


def test_values_stay_within_zero_and_one() -> None:
    proxy = to_proxy(noise(YUV444, 32, 32), YUV444, ColorInfo(range=1, matrix=1), 1, 8)
    assert proxy.dtype == torch.float32
    assert proxy.min() == 0.0  # noise in YUV leaves the RGB cube
    assert proxy.max() == 1.0


@pytest.mark.parametrize(
    ("side", "cell", "longest", "wanted"),
    [
        (240, 1, 1088, (1, 1)),
        (240, 2, 1088, (1, 2)),
        (544, 2, 1088, (1, 2)),
        (720, 2, 1088, (1, 1)),
        (1080, 2, 1088, (1, 1)),
        (2160, 2, 1088, (2, 1)),
        (480, 2, 540, (1, 1)),
        (720, 2, 240, (3, 1)),
    ],
)
def test_small_pictures_are_enlarged_and_large_ones_reduced(
    side: int, cell: int, longest: int, wanted: tuple[int, int]
) -> None:
    scale = proxy_scale(side, cell, longest)
    assert scale == wanted
    assert scale.step(cell) == wanted[0] * cell // wanted[1]


def test_an_enlarged_proxy_lies_over_its_picture() -> None:
    """Twice as large, every 2x2 pixels about one sample: averaged back, a ramp is itself."""
    ramp = torch.arange(16, 240, 7, dtype=torch.uint8)[:32].expand(24, 32).contiguous()
    layout = PixelLayout("gray", "gray", 8)
    plain = to_proxy([ramp], layout, ColorInfo(range=2), 1, 8)
    large = to_proxy([ramp], layout, ColorInfo(range=2), 1, 16, 2)
    assert plain.shape == (1, 3, 24, 32) and large.shape == (1, 3, 48, 64)
    back = torch.nn.functional.avg_pool2d(large, 2)
    assert torch.allclose(back[..., 1:-1], plain[..., 1:-1], atol=1e-6)

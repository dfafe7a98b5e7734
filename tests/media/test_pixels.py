"""Pixel formats: the planar twin of each, and samples moved without a change."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.format import VideoFormat
from av.video.format import names as format_names
from av.video.frame import VideoFrame

from slomo_cli.errors import InputError
from slomo_cli.media.pixels import can_be_copied, copy_planes, is_full_range_name, is_opaque, layout_of

SIZES = [(16, 8), (7, 5), (1, 1), (2, 3)]


def blank(name: str, width: int, height: int) -> VideoFrame:
    return VideoFrame(width, height, name)


def raw(frame: VideoFrame, plane: int) -> np.ndarray:
    """A plane's bytes, padding included."""
    made = frame.planes[plane]
    return np.frombuffer(made, np.uint8).reshape(made.height, abs(made.line_size))


def packed(name: str, samples: np.ndarray, plane: int = 0, frame: VideoFrame | None = None) -> VideoFrame:
    """A frame whose plane begins with these rows of samples."""
    height, width = samples.shape
    frame = frame or blank(name, width, height)
    data = np.ascontiguousarray(samples).view(np.uint8).reshape(height, -1)
    raw(frame, plane)[:height, : data.shape[1]] = data
    return frame


def random(shape: tuple[int, int], bits: int = 8) -> np.ndarray:
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(bits).integers(0, 1 << bits, shape).astype(kind)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(
    ("name", "order"),
    [("rgb24", "RGB"), ("bgr24", "BGR"), ("rgba", "RGBA"), ("bgra", "BGRA"), ("argb", "ARGB"), ("abgr", "ABGR"),
     ("rgb0", "RGB0"), ("bgr0", "BGR0"), ("0rgb", "0RGB"), ("0bgr", "0BGR"), ("rgb48le", "RGB"), ("bgr48le", "BGR"),
     ("rgb48be", "RGB"), ("rgba64le", "RGBA"), ("rgba64be", "RGBA"), ("bgra64le", "BGRA")],
)  # fmt: skip
def test_packed_colours_become_planes_g_b_r(name: str, order: str, width: int, height: int) -> None:
    wide = "48" in name or "64" in name
    channels = {letter: random((height, width), 16 if wide else 8) + index for index, letter in enumerate(order)}
    mixed = np.stack([channels[letter] for letter in order], axis=-1).reshape(height, -1)
    frame = blank(name, width, height)
    packed(name, mixed.astype(">u2") if name.endswith("be") else mixed, frame=frame)
    layout = layout_of(name)

    planes = copy_planes(frame, layout)

    assert layout.family == "rgb"
    assert layout.alpha is ("A" in order)
    for letter, plane in zip("GBRA", planes, strict=False):
        np.testing.assert_array_equal(plane, channels[letter])
        assert plane.flags.c_contiguous
        assert plane.dtype == (np.uint16 if wide else np.uint8)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(
    ("name", "layout", "shift", "order"),
    [("nv12", "yuv420p", 0, "UV"), ("nv21", "yuv420p", 0, "VU"), ("nv16", "yuv422p", 0, "UV"),
     ("nv24", "yuv444p", 0, "UV"), ("p010le", "yuv420p10le", 6, "UV"), ("p010be", "yuv420p10le", 6, "UV"),
     ("p012le", "yuv420p12le", 4, "UV"), ("p016le", "yuv420p16le", 0, "UV"), ("p210le", "yuv422p10le", 6, "UV"),
     ("p410le", "yuv444p10le", 6, "UV"), ("nv20le", "yuv422p10le", 0, "UV")],
)  # fmt: skip
def test_chroma_in_pairs_becomes_two_planes(
    name: str, layout: str, shift: int, order: str, width: int, height: int
) -> None:
    expected = layout_of(name)
    shapes = expected.plane_shapes(width, height)
    y, u, v = (random(shape, expected.bits) for shape in shapes)
    u, v = u ^ 1, v ^ 2
    pairs = np.stack([u, v] if order == "UV" else [v, u], axis=-1).reshape(shapes[1][0], -1)
    frame = blank(name, width, height)
    for plane, samples in ((0, y), (1, pairs)):
        stored = samples << shift if shift else samples
        packed(name, stored.astype(">u2") if name.endswith("be") else stored, plane, frame)

    planes = copy_planes(frame, expected)

    assert expected.name == layout
    for plane, samples in zip(planes, (y, u, v), strict=True):
        np.testing.assert_array_equal(plane, samples)


@pytest.mark.parametrize(("width", "height"), [(16, 8), (8, 3)])
@pytest.mark.parametrize(
    ("name", "order", "shift"),
    [("yuyv422", "YUYV", 0), ("uyvy422", "UYVY", 0), ("yvyu422", "YVYU", 0), ("y210le", "YUYV", 6)],
)
def test_packed_422_becomes_three_planes(name: str, order: str, shift: int, width: int, height: int) -> None:
    layout = layout_of(name)
    y, u, v = (random(shape, layout.bits) ^ i for i, shape in enumerate(layout.plane_shapes(width, height)))
    columns = {"U": u, "V": v}
    luma = iter((y[:, 0::2], y[:, 1::2]))
    mixed = np.stack([next(luma) if letter == "Y" else columns[letter] for letter in order], axis=-1)
    stored = mixed.reshape(height, -1)
    frame = packed(name, stored << shift if shift else stored, frame=blank(name, width, height))

    for plane, samples in zip(copy_planes(frame, layout), (y, u, v), strict=True):
        np.testing.assert_array_equal(plane, samples)


def test_odd_width_in_packed_422_repeats_the_missing_chroma() -> None:
    frame = blank("yuyv422", 3, 1)
    raw(frame, 0)[0, :8] = [10, 100, 20, 200, 30, 101, 0, 201]

    y, u, v = copy_planes(frame, layout_of("yuyv422"))

    assert (y.tolist(), u.tolist(), v.tolist()) == ([[10, 20, 30]], [[100, 101]], [[200, 201]])


def test_gray_with_alpha_becomes_three_equal_colours() -> None:
    gray, alpha = random((5, 7)), random((5, 7)) ^ 255
    frame = packed("ya8", np.stack([gray, alpha], axis=-1).reshape(5, -1), frame=blank("ya8", 7, 5))

    planes = copy_planes(frame, layout_of("ya8"))

    assert layout_of("ya8").name == "gbrap"
    for plane, samples in zip(planes, (gray, gray, gray, alpha), strict=True):
        np.testing.assert_array_equal(plane, samples)


def test_palettes_are_looked_up() -> None:
    indices = random((5, 7))
    frame = packed("pal8", indices)
    palette = np.random.default_rng(0).integers(0, 1 << 32, 256, dtype=np.uint64).astype(np.uint32)
    np.frombuffer(frame.planes[1], np.uint32)[:256] = palette

    for name, count in (("gbrp", 3), ("gbrap", 4)):
        planes = copy_planes(frame, layout_of(name))
        assert len(planes) == count
        for plane, shift in zip(planes, (8, 0, 16, 24), strict=False):
            np.testing.assert_array_equal(plane, (palette[indices] >> shift) & 255)
    assert not is_opaque(frame)
    np.frombuffer(frame.planes[1], np.uint32)[:256] |= 0xFF000000
    assert is_opaque(frame)


@pytest.mark.parametrize(("name", "zero", "one"), [("monob", 0, 255), ("monow", 255, 0)])
def test_one_bit_pictures_become_black_and_white(name: str, zero: int, one: int) -> None:
    frame = blank(name, 10, 2)
    raw(frame, 0)[:, :2] = [[0b10110000, 0b01000000], [0b00000001, 0b11000000]]

    (plane,) = copy_planes(frame, layout_of(name))

    bits = np.array([[1, 0, 1, 1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(plane, np.where(bits, one, zero))


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuva444p16le", "gbrap12le", "gray16le", "yuv410p"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_planar_pictures_are_copied_without_their_padding(name: str, width: int, height: int) -> None:
    layout = layout_of(name)
    frame = blank(name, width, height)
    expected = []
    for plane, shape in enumerate(layout.plane_shapes(width, height)):
        raw(frame, plane)[:] = 0xAA
        expected.append(random(shape, layout.bits) ^ plane)
        packed(name, expected[-1], plane, frame)

    planes = copy_planes(frame, layout)

    assert layout.name == name
    for made, samples in zip(planes, expected, strict=True):
        np.testing.assert_array_equal(made, samples)
        assert made.flags.owndata or made.base is None


def test_a_copy_outlives_the_frame() -> None:
    frame = blank("gray", 64, 64)
    raw(frame, 0)[:] = 7
    (plane,) = copy_planes(frame, layout_of("gray"))

    raw(frame, 0)[:] = 9

    assert (plane == 7).all()


@pytest.mark.parametrize("name", sorted(format_names))
def test_every_format_libav_knows_has_a_layout_or_a_clear_refusal(name: str) -> None:
    try:
        layout = layout_of(name)
    except InputError as error:
        assert "main memory" in str(error)
        return
    assert 8 <= layout.bits <= 16
    twin = VideoFormat(layout.name, 64, 64)
    assert len(twin.components) == layout.plane_count
    assert can_be_copied(layout.name, layout)
    if can_be_copied(name, layout):
        shapes = [plane.shape for plane in copy_planes(blank(name, 6, 5), layout)]
        assert shapes == list(layout.plane_shapes(6, 5))
        alphas = any(part.is_alpha for part in VideoFormat(name, 64, 64).components)
        assert layout.alpha is (alphas or name == "pal8")


@pytest.mark.parametrize(
    ("name", "layout"),
    [("x2rgb10le", "gbrp10le"), ("yuv444p12msble", "yuv444p12le"), ("uyyvyy411", "yuv411p"), ("xyz12le", "gbrp12le"),
     ("bayer_rggb8", "gbrp")],
)  # fmt: skip
def test_formats_without_a_planar_twin_go_to_the_nearest(name: str, layout: str) -> None:
    if name not in format_names:
        pytest.skip("this libav does not know the format")

    assert layout_of(name).name == layout
    assert not can_be_copied(name, layout_of(name))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("rgb565le", (5, 6, 5)), ("bgr565be", (5, 6, 5)), ("rgb555le", (5, 5, 5)), ("bgr444le", (4, 4, 4))],
)
def test_samples_of_few_bits_reach_from_black_to_white(name: str, sizes: tuple[int, int, int]) -> None:
    layout = layout_of(name)
    steps = [np.arange(1 << size) for size in sizes]
    top, middle, low = (step[:, None, None] if i == 0 else step[:, None] if i == 1 else step
                        for i, step in enumerate(steps))  # fmt: skip
    words = (top << (sizes[1] + sizes[2]) | middle << sizes[2] | low).reshape(1 << sizes[0], -1)

    planes = copy_planes(packed(name, words.astype(">u2" if name.endswith("be") else "<u2")), layout)

    assert layout.name == "gbrp" and can_be_copied(name, layout)
    for letter, plane in zip("gbr", planes, strict=True):
        size = sizes[name.index(letter)]
        expected = np.rint(np.arange(1 << size) * 255 / ((1 << size) - 1))
        assert np.abs(np.unique(plane) - expected).max() <= 1
        assert plane.min() == 0 and plane.max() == 255


@pytest.mark.parametrize(
    ("name", "layout"),
    [("grayf32le", "gray16le"), ("grayf32be", "gray16le"), ("gbrpf32le", "gbrp16le"), ("gbrapf16le", "gbrap16le")],
)
def test_floating_point_keeps_its_scale(name: str, layout: str) -> None:
    if name not in format_names:
        pytest.skip("this libav does not know the format")
    frame = blank(name, 5, 2)
    values = np.array([[0, 0.25, 0.5, 0.75, 1], [-1, 2, np.inf, -np.inf, np.nan]])
    for plane in range(len(frame.planes)):
        packed(name, values.astype(f"{'>' if name.endswith('be') else '<'}f{4 if '32' in name else 2}"), plane, frame)

    planes = copy_planes(frame, layout_of(name))

    assert layout_of(name).name == layout and can_be_copied(name, layout_of(name))
    for plane in planes:
        assert plane.tolist() == [[0, 16384, 32768, 49151, 65535], [0, 65535, 65535, 0, 0]]


def test_unknown_and_hardware_formats_are_refused() -> None:
    with pytest.raises(InputError, match="does not know"):
        layout_of("no_such_format")
    with pytest.raises(InputError, match="main memory"):
        layout_of("cuda")


def test_the_old_full_range_names() -> None:
    assert is_full_range_name("yuvj422p")
    assert not is_full_range_name("yuv422p")
    assert layout_of("yuvj422p") == layout_of("yuv422p")

"""Pixel formats: which planar layout a source's format becomes, and how its samples are copied out of libav's buffers.

Every unpacking in the table is exact: samples are moved, never recomputed. Floating point and samples of 4 to 6 bits
are widened to the nearest planar format here, as libswscale stretches gray floats and leaves white at 248 of 255.
What else has no planar twin of the same depth (Bayer, CIE XYZ) goes through it to the nearest one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.format import VideoFormat

from slomo_cli.errors import InputError, printable
from slomo_cli.values import PixelLayout

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from slomo_cli.values import Plane

Source = tuple[int, int, int]
"""Where the samples of one plane lie: (plane of the frame, first sample, step in samples)."""

_UV: tuple[Source, ...] = ((0, 0, 1), (1, 0, 2), (1, 1, 2))
_VU: tuple[Source, ...] = ((0, 0, 1), (1, 1, 2), (1, 0, 2))


def _one(step: int, *offsets: int) -> tuple[Source, ...]:
    """Planes interleaved sample by sample in the frame's only plane."""
    return tuple((0, offset, step) for offset in offsets)


# name -> (planar layout, where each of its planes lies, right shift to bring the samples to the low bits).
# RGB layouts list G, B, R[, A]. A big-endian name is looked up under its little-endian twin.
_PACKED: dict[str, tuple[str, tuple[Source, ...], int]] = {
    "nv12": ("yuv420p", _UV, 0),
    "nv21": ("yuv420p", _VU, 0),
    "nv16": ("yuv422p", _UV, 0),
    "nv24": ("yuv444p", _UV, 0),
    "nv42": ("yuv444p", _VU, 0),
    "nv20le": ("yuv422p10le", _UV, 0),
    "p010le": ("yuv420p10le", _UV, 6),
    "p012le": ("yuv420p12le", _UV, 4),
    "p016le": ("yuv420p16le", _UV, 0),
    "p210le": ("yuv422p10le", _UV, 6),
    "p212le": ("yuv422p12le", _UV, 4),
    "p216le": ("yuv422p16le", _UV, 0),
    "p410le": ("yuv444p10le", _UV, 6),
    "p412le": ("yuv444p12le", _UV, 4),
    "p416le": ("yuv444p16le", _UV, 0),
    "yuyv422": ("yuv422p", ((0, 0, 2), (0, 1, 4), (0, 3, 4)), 0),
    "yvyu422": ("yuv422p", ((0, 0, 2), (0, 3, 4), (0, 1, 4)), 0),
    "uyvy422": ("yuv422p", ((0, 1, 2), (0, 0, 4), (0, 2, 4)), 0),
    "y210le": ("yuv422p10le", ((0, 0, 2), (0, 1, 4), (0, 3, 4)), 6),
    "y212le": ("yuv422p12le", ((0, 0, 2), (0, 1, 4), (0, 3, 4)), 4),
    "y216le": ("yuv422p16le", ((0, 0, 2), (0, 1, 4), (0, 3, 4)), 0),
    "vyu444": ("yuv444p", _one(3, 1, 2, 0), 0),
    "vuyx": ("yuv444p", _one(4, 2, 1, 0), 0),
    "vuya": ("yuva444p", _one(4, 2, 1, 0, 3), 0),
    "ayuv": ("yuva444p", _one(4, 1, 2, 3, 0), 0),
    "uyva": ("yuva444p", _one(4, 1, 0, 2, 3), 0),
    "ayuv64le": ("yuva444p16le", _one(4, 1, 2, 3, 0), 0),
    "xv36le": ("yuv444p12le", _one(4, 1, 0, 2), 4),
    "xv48le": ("yuv444p16le", _one(4, 1, 0, 2), 0),
    "rgb24": ("gbrp", _one(3, 1, 2, 0), 0),
    "bgr24": ("gbrp", _one(3, 1, 0, 2), 0),
    "rgb0": ("gbrp", _one(4, 1, 2, 0), 0),
    "bgr0": ("gbrp", _one(4, 1, 0, 2), 0),
    "0rgb": ("gbrp", _one(4, 2, 3, 1), 0),
    "0bgr": ("gbrp", _one(4, 2, 1, 3), 0),
    "rgba": ("gbrap", _one(4, 1, 2, 0, 3), 0),
    "bgra": ("gbrap", _one(4, 1, 0, 2, 3), 0),
    "argb": ("gbrap", _one(4, 2, 3, 1, 0), 0),
    "abgr": ("gbrap", _one(4, 2, 1, 3, 0), 0),
    "rgb48le": ("gbrp16le", _one(3, 1, 2, 0), 0),
    "bgr48le": ("gbrp16le", _one(3, 1, 0, 2), 0),
    "rgba64le": ("gbrap16le", _one(4, 1, 2, 0, 3), 0),
    "bgra64le": ("gbrap16le", _one(4, 1, 0, 2, 3), 0),
    # There is no planar gray with alpha: three equal colour planes hold it without loss.
    "ya8": ("gbrap", _one(2, 0, 0, 0, 1), 0),
    "ya16le": ("gbrap16le", _one(2, 0, 0, 0, 1), 0),
}

_ODD_PATHS = {"pal8": "gbrap", "monow": "gray", "monob": "gray"}
"""Formats unpacked by code of their own."""
_SHORT = re.compile(r"(rgb|bgr)(444|555|565)le")
"""Three samples in two bytes, the first named in the higher bits."""
_FLOATS = re.compile(r"(?:gray|gbra?p)f(16|32)le")


def _little(name: str) -> str:
    """The little-endian twin of a big-endian format name."""
    return name[:-2] + "le" if name.endswith("be") else name


@lru_cache(maxsize=256)
def layout_of(pix_fmt: str) -> PixelLayout:
    """The planar layout in which pictures of this pixel format are delivered.

    Raises InputError for formats that hold no samples in memory (hardware surfaces) or are unknown.
    """
    name = _little(pix_fmt.replace("yuvj", "yuv"))
    if name in _PACKED:
        return _planar(_PACKED[name][0])
    if name in _ODD_PATHS:
        return _planar(_ODD_PATHS[name])
    try:
        return _planar(name)
    except (ValueError, InputError):
        return _planar(_nearest(pix_fmt))


@lru_cache(maxsize=256)
def _planar(name: str) -> PixelLayout:
    """The layout of a little-endian planar format; ValueError when the format is not one."""
    form = VideoFormat(name, 64, 64)
    parts = form.components
    bits = {part.bits for part in parts}
    planes = sorted(part.plane for part in parts)
    # Floating point, samples in the high bits and CIE XYZ look like plain planes but are not.
    strange = re.search(r"f16|f32|msb|xyz", name) is not None
    if strange or planes != list(range(len(parts))) or len(bits) != 1 or not 8 <= min(bits) <= 16:
        raise ValueError(name)
    alpha = any(part.is_alpha for part in parts)
    colours = len(parts) - alpha
    if colours not in (1, 3) or (colours == 1 and alpha):
        raise ValueError(name)
    shift_x = shift_y = 0
    if colours == 1:
        family: Any = "gray"
    elif form.is_rgb:
        family = "rgb"
    else:
        family = "yuv"
        shift_x = (64 // form.chroma_width(64)).bit_length() - 1
        shift_y = (64 // form.chroma_height(64)).bit_length() - 1
    return PixelLayout(name, family, bits.pop(), shift_x, shift_y, alpha)


def _nearest(pix_fmt: str) -> str:
    """The planar format nearest to one that has no exact twin; swscale makes the step."""
    try:
        form = VideoFormat(pix_fmt, 64, 64)
    except ValueError:
        raise InputError(
            f"the picture has the pixel format '{printable(pix_fmt)}', which this build of libav does not know"
        ) from None
    parts = form.components
    if not parts or not any(part.bits for part in parts):
        raise InputError(f"the picture has the pixel format '{printable(pix_fmt)}', which lives outside main memory")
    deepest = max(part.bits for part in parts)
    depth = 8 if deepest <= 8 else next((bits for bits in (10, 12) if deepest <= bits), 16)
    alpha = any(part.is_alpha for part in parts)
    if len(parts) - alpha == 1 and not form.is_bayer:
        base = "gbrap" if alpha else "gray"
        depth = 16 if alpha and depth > 8 else depth
    elif form.is_rgb or form.is_bayer or "xyz" in pix_fmt:
        base = "gbrap" if alpha else "gbrp"
    else:
        ratio = (64 // form.chroma_width(64), 64 // form.chroma_height(64))
        sampling = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (4, 1): "411"}.get(ratio, "444")
        base = f"yuva{sampling}p" if alpha else f"yuv{sampling}p"
        depth = 8 if sampling == "411" else depth
    return base if depth == 8 else f"{base}{depth}le"


def is_full_range_name(pix_fmt: str) -> bool:
    """Whether the name itself says full range (the old ``yuvj`` formats)."""
    return pix_fmt.startswith("yuvj")


def can_be_copied(pix_fmt: str, layout: PixelLayout) -> bool:
    """Whether ``copy_planes`` reaches ``layout`` from this format by moving samples alone."""
    name = _little(pix_fmt.replace("yuvj", "yuv"))
    if name == "pal8":
        return layout.name in ("gbrp", "gbrap")
    if name in ("bgra", "rgba", "argb", "abgr") and layout.name == "gbrp":
        return True
    if _SHORT.fullmatch(name) or _FLOATS.fullmatch(name):
        return layout == layout_of(name)
    target = _PACKED[name][0] if name in _PACKED else _ODD_PATHS.get(name, name)
    return target == layout.name


def copy_planes(frame: VideoFrame, layout: PixelLayout) -> tuple[Plane, ...]:
    """The frame's samples as C-contiguous arrays in the layout's plane order, copied once out of libav's buffers.

    The frame's format must satisfy ``can_be_copied``. Where the layout lacks an alpha plane, alpha is left behind.
    """
    name = frame.format.name.replace("yuvj", "yuv")
    little = _little(name)
    shapes = layout.plane_shapes(frame.width, frame.height)
    if little == "pal8":
        return _from_palette(frame, layout)
    if little in ("monow", "monob"):
        return _from_bits(frame, inverted=little == "monow")
    order = "<" if name == little else ">"
    if short := _SHORT.fullmatch(little):
        return _from_short(_rows(frame.planes[0], np.dtype(f"{order}u2")), shapes[0], short[1], short[2])
    if real := _FLOATS.fullmatch(little):
        dtype = np.dtype(f"{order}f{int(real[1]) // 8}")
        return tuple(
            _from_floats(_rows(plane, dtype), shape) for plane, shape in zip(frame.planes, shapes, strict=True)
        )
    sources, shift = _PACKED[little][1:] if little in _PACKED else (tuple((i, 0, 1) for i in range(len(shapes))), 0)
    dtype = np.dtype(np.uint8) if layout.bits == 8 else np.dtype(f"{order}u2")
    rows = [_rows(plane, dtype) for plane in frame.planes]
    return tuple(
        _cut(rows[plane], offset, step, shift, shape)
        for (plane, offset, step), shape in zip(sources, shapes, strict=False)
    )


def _rows(plane: Any, dtype: np.dtype[Any]) -> Any:
    """All samples of a plane of libav's, padding included, top row first; a view, no copy."""
    stride = plane.line_size
    samples = np.frombuffer(plane, dtype).reshape(plane.height, abs(stride) // dtype.itemsize)
    return samples[::-1] if stride < 0 else samples


def _cut(rows: Any, offset: int, step: int, shift: int, shape: tuple[int, int]) -> Plane:
    """One plane's samples out of the interleaved rows, copied."""
    height, width = shape
    view = rows[:height, offset : offset + (width - 1) * step + 1 : step]
    if view.shape[1] < width:
        # A tightly packed 4:2:2 row of odd width ends in half a pair: repeat the last chroma sample.
        view = np.pad(view, ((0, 0), (0, width - view.shape[1])), "edge")
    if shift:
        view = view >> shift
    native: Any = np.uint8 if rows.dtype.itemsize == 1 else np.uint16
    plane: Plane = np.array(view, dtype=native, order="C", copy=True)
    return plane


def _from_palette(frame: VideoFrame, layout: PixelLayout) -> tuple[Plane, ...]:
    """Palette indices resolved to G, B, R[, A]; libav's palette is 256 native-endian words 0xAARRGGBB."""
    indices = _rows(frame.planes[0], np.dtype(np.uint8))[: frame.height, : frame.width]
    colours: Any = frame.planes[1]
    palette = np.frombuffer(colours, np.uint32, count=256)
    shifts = (8, 0, 16, 24)[: layout.plane_count]
    return tuple(((palette >> shift) & 255).astype(np.uint8)[indices] for shift in shifts)


def _from_bits(frame: VideoFrame, inverted: bool) -> tuple[Plane, ...]:
    """One bit per pixel to gray 0 and 255; the most significant bit is leftmost."""
    rows = np.ascontiguousarray(_rows(frame.planes[0], np.dtype(np.uint8))[: frame.height])
    bits = np.unpackbits(rows, axis=1)[:, : frame.width]
    return (np.where(bits, 0, 255).astype(np.uint8) if inverted else np.where(bits, 255, 0).astype(np.uint8),)


def _from_short(words: Any, shape: tuple[int, int], names: str, sizes: str) -> tuple[Plane, ...]:
    """Samples of 4, 5 or 6 bits as G, B, R of 8, their high bits repeated below: white stays white."""
    words = words[: shape[0], : shape[1]]
    planes: dict[str, Plane] = {}
    for name, size in zip(reversed(names), map(int, reversed(sizes)), strict=True):
        sample = words & ((1 << size) - 1)
        planes[name] = (sample << (8 - size) | sample >> (2 * size - 8)).astype(np.uint8)
        words = words >> size
    return planes["g"], planes["b"], planes["r"]


def _from_floats(rows: Any, shape: tuple[int, int]) -> Plane:
    """0 to 1 as 0 to 65535; what lies outside is cut off, and what is no number is 0."""
    samples = np.nan_to_num(rows[: shape[0], : shape[1]].astype(np.float32), nan=0)
    plane: Plane = np.rint(np.clip(samples, 0, 1) * 65535).astype(np.uint16)
    return plane


def is_opaque(frame: VideoFrame) -> bool:
    """Whether no pixel of a picture of 8 bits with alpha is transparent."""
    layout = layout_of(frame.format.name)
    return layout.alpha and layout.bits == 8 and bool((copy_planes(frame, layout)[-1] == 255).all())

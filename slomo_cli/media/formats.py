"""From the planes slomo feeds to the pixel format an encoder takes: the nearest one, what it loses, and the filters.

FFmpeg's own choice of a pixel format and its defaults for the conversion lose more than they must (bilinear chroma,
BT.601 for everything untagged), so both are spelled out here. Nothing is converted when the encoder takes the planes
as they are.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from slomo_cli.errors import InputError
from slomo_cli.media.pixels import layout_of
from slomo_cli.values import ColorInfo, PixelLayout, usual_matrix

Kind = Literal["video", "jpeg", "webp", "image"]
"""What the readers of a format take for granted of its colours."""

FULL = 2
LIMITED = 1
UNSAID = 2
"""A matrix, primaries or transfer that nobody told (ITU-T H.273)."""

# Names that ffmpeg's setparams knows for the code points of H.273; a code point that is missing stays untagged.
RANGES = {1: "tv", 2: "pc"}
MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "jedec-p22",
}
TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
CHROMA_LOCATIONS = {1: "left", 2: "center", 3: "topleft", 4: "top", 5: "bottomleft", 6: "bottom"}

# Names that ffmpeg's scale filter knows for the matrices it can compute with.
SCALE_MATRICES = {
    1: "bt709",
    4: "fcc",
    5: "smpte170m",  # the same matrix, by the one name of it that every ffmpeg knows
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
    10: "bt2020",
}
CONSTANT_LUMINANCE, NEAR_IT = 10, 9
"""BT.2020's two matrices: ffmpeg's scale filter computes with the second only, and may refuse frames of the first."""
_ZSCALE_MATRICES = {1: "709", 4: "fcc", 5: "470bg", 6: "170m", 7: "240m", 9: "2020_ncl", 10: "2020_cl"}
_ZSCALE_RANGES = {LIMITED: "limited", FULL: "full"}
_SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


@dataclass(frozen=True, slots=True)
class Choice:
    """The pixel format an encoder is given, and what is lost on the way to it."""

    pix_fmt: str
    layout: PixelLayout
    losses: tuple[str, ...]
    """Each as words: 'alpha', 'bit depth (12 to 10)', 'chroma resolution (4:4:4 to 4:2:0)'."""


def nearest(feed: PixelLayout, formats: Iterable[str], *, prefer_420: bool = False) -> Choice | None:
    """The format that loses least, and of those the one that adds least; None when none is usable.

    Order of what hurts: colour, alpha, depth, chroma resolution, RGB against YUV. ``prefer_420`` takes 4:2:0 among
    formats of the same depth whatever it loses of chroma: what every player shows.
    """
    best: tuple[tuple[int, ...], Choice] | None = None
    for place, name in enumerate(formats):
        try:
            layout = layout_of(name)
        except (InputError, ValueError):
            continue
        losses = _losses(feed, layout)
        sampling = (layout.chroma_shift_x, layout.chroma_shift_y)
        wanted = (1, 1) if prefer_420 and layout.family == "yuv" else _sampling(feed)
        score = (
            int(layout.family == "gray" and feed.family != "gray"),
            int(feed.alpha and not layout.alpha),
            max(0, feed.bits - layout.bits),
            sum(max(0, has - want) for has, want in zip(sampling, wanted, strict=True)),
            int("rgb" in (feed.family, layout.family) and feed.family != layout.family) if not prefer_420 else 0,
            int(prefer_420 and sampling != (1, 1)),
            int(name != feed.name),
            max(0, layout.bits - feed.bits),
            sum(max(0, want - has) for has, want in zip(sampling, wanted, strict=True)),
            int(layout.alpha and not feed.alpha),
            int(layout.family != feed.family),
            place,
        )
        if best is None or score < best[0]:
            best = (score, Choice(name, layout, losses))
    return best[1] if best else None


def _sampling(layout: PixelLayout) -> tuple[int, int]:
    """Chroma shifts; gray counts as the coarsest, since it has no chroma to lose."""
    return (2, 2) if layout.family == "gray" else (layout.chroma_shift_x, layout.chroma_shift_y)


def _losses(feed: PixelLayout, layout: PixelLayout) -> tuple[str, ...]:
    lost = []
    if feed.alpha and not layout.alpha:
        lost.append("alpha")
    if feed.bits > layout.bits:
        lost.append(f"bit depth ({feed.bits} to {layout.bits})")
    if feed.family == "gray":
        pass
    elif layout.family == "gray":
        lost.append("colour")
    elif layout.chroma_shift_x > feed.chroma_shift_x or layout.chroma_shift_y > feed.chroma_shift_y:
        lost.append(f"chroma resolution ({sampling_name(feed)} to {sampling_name(layout)})")
    return tuple(lost)


def sampling_name(layout: PixelLayout) -> str:
    """``4:2:0`` and so on."""
    names = {(0, 0): "4:4:4", (1, 0): "4:2:2", (1, 1): "4:2:0", (0, 1): "4:4:0", (2, 0): "4:1:1", (2, 2): "4:1:0"}
    return "RGB" if layout.family == "rgb" else names.get((layout.chroma_shift_x, layout.chroma_shift_y), layout.name)


def with_neutral_chroma(gray: PixelLayout) -> PixelLayout:
    """4:2:0 of the same depth: gray whose chroma planes hold the neutral value, so no sample is touched."""
    return PixelLayout(f"yuv420p{gray.bits}le" if gray.bits > 8 else "yuv420p", "yuv", gray.bits, 1, 1)


def setparams(color: ColorInfo) -> str:
    """The filter that tags frames with these colours; '' when there is nothing to say."""
    said = [
        (key, names[value])
        for key, names, value in (
            ("range", RANGES, color.range),
            ("color_primaries", PRIMARIES, color.primaries),
            ("color_trc", TRANSFERS, color.transfer),
            ("colorspace", MATRICES, color.matrix),
        )
        if value in names
    ]
    return "setparams=" + ":".join(f"{key}={value}" for key, value in said) if said else ""


def assumed_matrix(color: ColorInfo, height: int) -> int:
    """The matrix to compute with: the source's, or the usual one where that is unsaid or not known to filters."""
    return color.matrix if color.matrix in SCALE_MATRICES else usual_matrix(height)


def conversion(
    feed: PixelLayout,
    choice: Choice,
    color: ColorInfo,
    size: tuple[int, int],
    kind: Kind = "video",
    *,
    limited: bool = False,
    matrices: Container[int] = MATRICES,
    zscale: bool = False,
) -> tuple[tuple[str, ...], ColorInfo]:
    """(filters that bring ``feed`` to ``choice``, the colour tags of the result).

    size: (width, height) on the pipe. ``kind`` says what the format's readers take for granted: JPEG is BT.601 at full
    range, WebP BT.601 at limited range, other still images full range; a video says what it is. limited: the encoder
    knows no full range in YUV. matrices: those that the file can say; without any, it is the one that players guess.
    zscale: this ffmpeg has the zscale filter, which is exact where swscale is up to 0.4 % too dark: YUV to RGB of 16
    bits, and range changes above 8 bits.
    """
    squeezed = limited and feed.family != "rgb" and choice.layout.family == "yuv" and color.range == FULL
    if choice.pix_fmt == feed.name and kind in ("video", "image") and not squeezed:
        return (), color
    if feed.family == "rgb":
        return _from_rgb(choice, color, size[1], kind, matrices)
    matrix, in_range = assumed_matrix(color, size[1]), LIMITED if color.is_limited(feed) else FULL
    whole = not (size[0] % (1 << feed.chroma_shift_x) or size[1] % (1 << feed.chroma_shift_y))
    exact = zscale and feed.family == "yuv" and whole
    if choice.layout.family == "rgb":
        return _to_rgb(choice, color, matrix, in_range, exact)
    out_range = {"jpeg": FULL, "webp": LIMITED, "image": FULL, "video": LIMITED if limited else in_range}[kind]
    if kind in ("jpeg", "webp") and choice.layout.family == "yuv":
        change = [f"in_color_matrix={SCALE_MATRICES[matrix]}", f"out_color_matrix={SCALE_MATRICES[6]}"]
        result = ColorInfo(out_range, 6, color.primaries, color.transfer)
        return _scaled(choice, *change, *_ranges(in_range, out_range)), result
    if out_range == in_range:
        return _scaled(choice, *_ranges(in_range, out_range)), color
    result = replace(color, range=out_range)
    if exact:
        ranges = f"rangein={_ZSCALE_RANGES[in_range]}:range={_ZSCALE_RANGES[out_range]}"
        return (f"zscale=filter=bicubic:{ranges}", f"format={choice.pix_fmt}"), result
    return _scaled(choice, *_ranges(in_range, out_range)), result


def _from_rgb(
    choice: Choice, color: ColorInfo, height: int, kind: Kind, matrices: Container[int]
) -> tuple[tuple[str, ...], ColorInfo]:
    """``conversion`` of planar RGB, of which only its result has a matrix and may be of limited range."""
    if choice.layout.family == "rgb":
        return _scaled(choice), color
    # Wide colours are named by one matrix of their own (ITU-R BT.2020, BT.2100), and HDR displays know no other.
    wished = 9 if color.primaries == 9 and 9 in matrices else 1
    usual = wished if wished in matrices else usual_matrix(height)
    matrix = usual if kind == "video" else 6
    out_range = FULL if kind == "jpeg" else LIMITED
    result = ColorInfo(out_range, matrix, color.primaries, color.transfer)
    return _scaled(choice, f"out_color_matrix={SCALE_MATRICES[matrix]}", f"out_range={RANGES[out_range]}"), result


def _to_rgb(
    choice: Choice, color: ColorInfo, matrix: int, in_range: int, exact: bool
) -> tuple[tuple[str, ...], ColorInfo]:
    """``conversion`` to RGB, which is of full range."""
    result = ColorInfo(FULL, 0, color.primaries, color.transfer)
    if exact and choice.layout.bits == 16:
        change = f"matrixin={_ZSCALE_MATRICES[matrix]}:rangein={_ZSCALE_RANGES[in_range]}:matrix=gbr:range=full"
        planar = "gbrap16le" if choice.layout.alpha else "gbrp16le"
        return (f"zscale=filter=bicubic:{change}", f"format={planar}", f"format={choice.pix_fmt}"), result
    return _scaled(choice, f"in_color_matrix={SCALE_MATRICES[matrix]}", *_ranges(in_range, FULL)), result


def _ranges(in_range: int, out_range: int) -> tuple[str, str]:
    return f"in_range={RANGES[in_range]}", f"out_range={RANGES[out_range]}"


def _scaled(choice: Choice, *options: str) -> tuple[str, str]:
    """The filters by which swscale makes the pixel format."""
    return f"scale={':'.join([f'flags={_SCALE_FLAGS}', *options])}", f"format={choice.pix_fmt}"

"""Picture codecs: which encoder writes each, in which pixel formats, and how quality and speed are named there.

``--crf`` and ``--preset`` mean one thing to the user and go by many names among the encoders; ``quality_options`` is
the one place that knows them. Numbers: x264's and x265's scale of 0..51 unless an encoder's own is named below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from slomo_cli.errors import UsageError, printable

Options = tuple[tuple[str, str], ...]
"""(option without its dash, value) pairs in ffmpeg's order."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """One ffmpeg encoder as slomo uses it."""

    name: str
    codec: str
    """FFmpeg's codec name of what it writes."""
    formats: tuple[str, ...] = ()
    """Pixel formats it is given; empty asks the ffmpeg at hand."""
    crf: tuple[str, float, float, float | None] | None = None
    """(option, lowest, highest, default) of its quality setting; None has none."""
    presets: tuple[str, dict[str, str]] | None = None
    """(option, common name -> its own name); None has none. Names outside the table pass as they are."""
    fixed: Options = ()
    """Options it always gets."""
    whole_chroma: bool = False
    """Refuses pictures whose size is no multiple of the chroma grid."""
    limited: bool = False
    """Its stream has no mark for full range: ffmpeg squeezes full-range YUV into the limited range for it."""
    hardware: bool = False
    """Needs a device, so it is tried before it is believed."""
    smallest: tuple[int, int] = (1, 1)
    """Width and height below which it takes no picture."""
    highest_rate: float = math.inf
    """Frames per second."""


_X264_PRESETS = tuple("ultrafast superfast veryfast faster fast medium slow slower veryslow placebo".split())


def _names(option: str, *own: str) -> tuple[str, dict[str, str]]:
    return option, dict(zip(_X264_PRESETS, own, strict=True))


_SAME: tuple[str, dict[str, str]] = ("preset", {name: name for name in _X264_PRESETS})
_SVT_PRESETS = _names("preset", "12", "11", "10", "9", "8", "6", "4", "3", "2", "1")
_VPX_SPEEDS = _names("cpu-used", "8", "7", "5", "5", "4", "2", "1", "1", "0", "0")
_AOM_SPEEDS = _names("cpu-used", "8", "8", "7", "6", "6", "5", "4", "3", "2", "1")
_RAV1E_SPEEDS = _names("speed", "10", "10", "9", "8", "7", "6", "5", "4", "3", "1")
_NVENC_PRESETS = _names("preset", "p1", "p1", "p2", "p3", "p3", "p4", "p5", "p6", "p7", "p7")
_QSV_PRESETS = _names(
    "preset", "veryfast", "veryfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "veryslow"
)
_AMF_PRESETS = _names(
    "quality", "speed", "speed", "speed", "speed", "speed", "balanced", "quality", "quality", "quality", "quality"
)
_PRORES_PROFILES = (
    "profile:v",
    {"proxy": "0", "lt": "1", "standard": "2", "hq": "3", "4444": "4", "4444xq": "5"},
)

DNXHR = {"yuv422p": "dnxhr_hq", "yuv422p10le": "dnxhr_hqx", "yuv444p10le": "dnxhr_444", "gbrp10le": "dnxhr_444"}
"""Pixel format -> profile of DNxHD's encoder for any size and rate; its default is for a few of HD."""


def _yuv(depths: tuple[int, ...], alpha: bool = False) -> tuple[str, ...]:
    """Names of the planar YUV formats of these depths."""
    return tuple(
        f"{kind}{sampling}p" + (f"{bits}le" if bits > 8 else "")
        for kind in (("yuv", "yuva") if alpha else ("yuv",))
        for sampling in ("420", "422", "444")
        for bits in depths
    )


_DEEP_RGB = ("gbrp", "gbrp10le", "gbrp12le")
_FFV1_FORMATS = (
    *_yuv((8, 9, 10, 12, 14, 16)),
    *_yuv((8, 9, 10, 16), alpha=True),
    *"yuva422p12le yuva444p12le yuv440p yuv411p yuv410p".split(),
    *"gray gray9le gray10le gray12le gray14le gray16le bgr0 bgra".split(),
    *(f"gbrp{bits}le" for bits in (9, 10, 12, 14, 16)),
    *(f"gbrap{bits}le" for bits in (10, 12, 14, 16)),
)
_NVENC_FORMATS = {
    "h264": ("yuv420p", "yuv444p"),  # 10 bits of it only the newest cards encode
    "hevc": ("yuv420p", "p010le", "yuv444p", "yuv444p16le"),
    "av1": ("yuv420p", "p010le"),
}

_ENCODERS = (
    EncoderInfo("libx264", "h264", _yuv((8, 10)), ("crf", 0, 51, 18), _SAME, whole_chroma=True),
    EncoderInfo(
        "libx265",
        "hevc",
        (*_yuv((8, 10, 12)), *_DEEP_RGB),
        ("crf", 0, 51, 18),
        _SAME,
        # x265 writes its settings to the log at every start; errors are enough.
        (("x265-params", "log-level=error"),),
        whole_chroma=True,
        smallest=(16, 16),
    ),
    EncoderInfo(
        "libsvtav1",
        "av1",
        ("yuv420p", "yuv420p10le"),
        ("crf", 0, 63, 24),
        _SVT_PRESETS,
        smallest=(4, 4),
        highest_rate=240,
    ),
    EncoderInfo(
        "libaom-av1",
        "av1",
        (*_yuv((8, 10, 12)), *_DEEP_RGB),
        ("crf", 0, 63, 22),
        _AOM_SPEEDS,
        (("b", "0"), ("row-mt", "1")),
    ),
    EncoderInfo("librav1e", "av1", _yuv((8, 10, 12)), ("qp", 0, 255, 80), _RAV1E_SPEEDS, smallest=(16, 16)),
    EncoderInfo(
        "libvpx-vp9",
        "vp9",
        (*_yuv((8, 10, 12)), *_DEEP_RGB, "yuv440p", "yuva420p"),
        ("crf", 0, 63, 22),
        _VPX_SPEEDS,
        (("b", "0"), ("row-mt", "1"), ("deadline", "good")),
    ),
    EncoderInfo(
        "prores_ks",
        "prores",
        ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
        None,
        _PRORES_PROFILES,
        (("vendor", "apl0"), ("alpha_bits", "16")),
        limited=True,
    ),
    EncoderInfo("dnxhd", "dnxhd", tuple(DNXHR), limited=True, smallest=(256, 120)),
    EncoderInfo("ffv1", "ffv1", _FFV1_FORMATS, fixed=(("level", "3"), ("g", "1"), ("slicecrc", "1")), limited=True),
    EncoderInfo("utvideo", "utvideo", ("yuv420p", "yuv422p", "yuv444p", "gbrp", "gbrap"), limited=True),
    # The palette filter wants packed RGB with alpha; it makes pal8 itself.
    EncoderInfo("gif", "gif", ("bgra",)),
    EncoderInfo(
        "apng", "apng", ("rgb24", "rgba", "rgb48be", "rgba64be", "gray", "gray16be"), fixed=(("pred", "mixed"),)
    ),
    EncoderInfo("png", "png", ("rgb24", "rgba", "rgb48be", "rgba64be", "gray", "gray16be"), fixed=(("pred", "mixed"),)),
    EncoderInfo(
        "libwebp_anim", "webp", ("yuv420p", "yuva420p"), ("quality", 0, 100, 10), fixed=(("compression_level", "4"),)
    ),
    EncoderInfo("mjpeg", "mjpeg", ("yuvj420p", "yuvj422p", "yuvj444p"), ("q", 1, 31, 2)),
    EncoderInfo(
        "tiff",
        "tiff",
        ("rgb24", "rgb48le", "rgba", "rgba64le", "gray", "gray16le"),
        fixed=(("compression_algo", "lzw"),),
    ),
    EncoderInfo("bmp", "bmp", ("bgr24", "bgra", "gray")),
    EncoderInfo("mpeg4", "mpeg4", ("yuv420p",), ("q", 1, 31, 2), limited=True),
    EncoderInfo("libopenh264", "h264", ("yuv420p",), whole_chroma=True),
    *(
        EncoderInfo(
            f"{codec}_nvenc",
            codec,
            _NVENC_FORMATS[codec],
            ("cq", 0, 51, 20 if codec != "av1" else 26),
            _NVENC_PRESETS,
            (("rc", "vbr"), ("b", "0")),
            whole_chroma=True,
            hardware=True,
            smallest=(160, 160),
        )
        for codec in ("h264", "hevc", "av1")
    ),
    *(
        EncoderInfo(
            f"{codec}_qsv",
            codec,
            ("nv12",) if codec == "h264" else ("nv12", "p010le"),
            ("global_quality", 1, 51, 20),
            _QSV_PRESETS,
            whole_chroma=True,
            hardware=True,
        )
        for codec in ("h264", "hevc", "av1", "vp9")
    ),
    *(
        EncoderInfo(
            f"{codec}_amf",
            codec,
            ("nv12",) if codec == "h264" else ("nv12", "p010le"),
            ("qp_i", 0, 51, 20),
            _AMF_PRESETS,
            (("rc", "cqp"),),
            whole_chroma=True,
            hardware=True,
        )
        for codec in ("h264", "hevc", "av1")
    ),
    *(
        EncoderInfo(
            f"{codec}_videotoolbox",
            codec,
            ("yuv420p",) if codec == "h264" else ("yuv420p", "p010le"),
            ("q", 0, 51, 18),
            whole_chroma=True,
            hardware=True,
        )
        for codec in ("h264", "hevc")
    ),
)
ENCODERS: dict[str, EncoderInfo] = {encoder.name: encoder for encoder in _ENCODERS}

CODECS: dict[str, tuple[str, ...]] = {
    "h264": ("libx264", "libopenh264", "h264_videotoolbox", "h264_nvenc", "h264_qsv", "h264_amf"),
    "hevc": ("libx265", "hevc_videotoolbox", "hevc_nvenc", "hevc_qsv", "hevc_amf"),
    "av1": ("libsvtav1", "libaom-av1", "librav1e", "av1_nvenc", "av1_qsv", "av1_amf"),
    "vp9": ("libvpx-vp9", "vp9_qsv"),
    "prores": ("prores_ks",),
    "ffv1": ("ffv1",),
    "gif": ("gif",),
    "apng": ("apng",),
    "webp": ("libwebp_anim",),
    "png": ("png",),
    "jpg": ("mjpeg",),
    "tiff": ("tiff",),
    "bmp": ("bmp",),
    "mpeg4": ("mpeg4",),
}
"""The user's word for a codec -> encoders in the order they are tried."""

ALIASES = {"x264": "h264", "avc": "h264", "x265": "hevc", "h265": "hevc", "jpeg": "jpg", "mjpeg": "jpg", "tif": "tiff"}

HARDWARE_ENDINGS = tuple("_nvenc _qsv _amf _vaapi _videotoolbox _vulkan _mf _v4l2m2m _d3d12va _rkmpp".split())


def codec_word(name: str) -> str:
    """The user's word in the spelling of ``CODECS``; anything else is returned as it is."""
    low = name.lower()
    return ALIASES.get(low, low)


_LIBRARIES = {
    **{"vpx": "vp8", "xvid": "mpeg4", "openh264": "h264", "x264rgb": "h264", "kvazaar": "hevc", "vvenc": "vvc"},
    **{"prores_aw": "prores", "mpeg2": "mpeg2video"},
}
"""Encoders that are not called as what they write, without 'lib' and the hardware's name."""

_FULL_RANGE = frozenset({"h264", "hevc", "av1", "vp9", "mjpeg", "ljpeg", "vc2", "rawvideo", "v210", "y41p", "yuv4"})
"""Codecs to whose encoders ffmpeg hands full-range YUV as it is; for every other one it squeezes it."""


def encoder_of(name: str) -> EncoderInfo:
    """What is known of an encoder by its ffmpeg name; for one not in the table, a guess from its name."""
    if name in ENCODERS:
        return ENCODERS[name]
    hardware = name.endswith(HARDWARE_ENDINGS)
    codec = name.rpartition("_")[0] if hardware else name.removeprefix("lib")
    codec = _LIBRARIES.get(codec, codec)
    whole = codec in ("h264", "hevc")
    limited = codec not in _FULL_RANGE
    quality, presets = (None, _PRORES_PROFILES) if codec == "prores" else (("crf", 0, 255, None), ("preset", {}))
    return EncoderInfo(name, codec, (), quality, presets, whole_chroma=whole, limited=limited, hardware=hardware)


def quality_options(encoder: EncoderInfo, crf: float | None, preset: str | None) -> Options:
    """``--crf`` and ``--preset`` in this encoder's own words; UsageError when it has no such setting."""
    options: list[tuple[str, str]] = []
    if crf is not None and encoder.crf is None:
        instead = ", choose with --preset proxy|lt|standard|hq|4444|4444xq" if encoder.codec == "prores" else ""
        raise UsageError(f"{encoder.name} has no quality scale: leave --crf out{instead}")
    if encoder.crf is not None:
        option, low, high, default = encoder.crf
        value = default if crf is None else crf
        if value is not None:
            if not low <= value <= high:
                raise UsageError(f"expected --crf {low:g} to {high:g} for {encoder.name}, found {value:g}")
            options += _crf(encoder.name, option, value)
    if preset is not None:
        if encoder.presets is None:
            raise UsageError(f"{encoder.name} has no presets: leave --preset out")
        option, table = encoder.presets
        if encoder.codec == "prores" and preset not in table:
            raise UsageError(f"expected --preset {', '.join(table)} for ProRes, found '{printable(preset)}'")
        options.append((option, table.get(preset, preset)))
    return tuple(options)


def _crf(name: str, option: str, value: float) -> Options:
    if name.endswith("_amf"):
        return (("qp_i", f"{value:.0f}"), ("qp_p", f"{value:.0f}"))
    if name.endswith("_videotoolbox"):
        # Its scale is 1 (worst) to 100; 18 becomes 65, about what its own documentation calls visually lossless.
        return (("q", f"{max(1.0, 100 - value * 100 / 51):.0f}"),)
    if name == "libwebp_anim":
        return ((option, f"{100 - value:g}"),)  # its scale is 0 (worst) to 100
    return ((option, f"{value:g}"),)

"""HDR10 static metadata in the words of each encoder that can write it."""

from __future__ import annotations

from fractions import Fraction

from slomo_cli.values import HdrInfo

_CHROMATICITY_UNIT = 50_000
"""Steps of 0.00002 (CTA-861.3, H.265 annex D)."""
_LUMINANCE_UNIT = 10_000
"""Steps of 0.0001 cd/m2."""


def hdr_options(hdr: HdrInfo, encoder: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """(encoder options, warnings); the options are lists that may have to be joined with others of the same name."""
    warnings = [f"{name} metadata describes single frames and cannot be interpolated: dropped" for name in hdr.dynamic]
    if hdr.dolby_profile == 5:
        warnings.append(
            "the colours will be wrong, green and purple: in Dolby Vision profile 5 the pictures alone are in no "
            "standard's colours; convert the source to HDR10 first"
        )
    light = (hdr.max_cll or 0, hdr.max_fall or 0)
    has_light = hdr.max_cll is not None or hdr.max_fall is not None
    if hdr.mastering is None and not has_light:
        return (), tuple(warnings)
    if encoder not in _WORDS:
        warnings.append(
            f"{encoder} cannot be told HDR10 mastering and light levels: dropped; hevc, h264 and av1 keep them"
        )
        return (), tuple(warnings)
    option, display, written, level = _WORDS[encoder]
    said = ["hdr10=1:repeat-headers=1"] if encoder == "libx265" else []
    if hdr.mastering is not None:
        said.append(f"{display}={written(hdr.mastering)}")
    if has_light:
        said.append(f"{level}={light[0]},{light[1]}")
    return ((option, ":".join(said)),), tuple(warnings)


def _whole(mastering: tuple[Fraction, ...]) -> str:
    """G, B, R, white point, then (max, min) luminance, all in whole units."""
    red, green, blue, white = (
        tuple(round(value * _CHROMATICITY_UNIT) for value in mastering[at : at + 2]) for at in (0, 2, 4, 6)
    )
    low, high = (round(value * _LUMINANCE_UNIT) for value in mastering[8:10])
    return f"G({green[0]},{green[1]})B({blue[0]},{blue[1]})R({red[0]},{red[1]})WP({white[0]},{white[1]})L({high},{low})"


def _floating(mastering: tuple[Fraction, ...]) -> str:
    """The same order in CIE coordinates and cd/m2."""
    red, green, blue, white = (tuple(f"{float(value):.5f}" for value in mastering[at : at + 2]) for at in (0, 2, 4, 6))
    low, high = (f"{float(value):.4f}" for value in mastering[8:10])
    return f"G({green[0]},{green[1]})B({blue[0]},{blue[1]})R({red[0]},{red[1]})WP({white[0]},{white[1]})L({high},{low})"


_WORDS = {
    "libx265": ("x265-params", "master-display", _whole, "max-cll"),
    "libx264": ("x264-params", "mastering-display", _whole, "cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", _floating, "content-light"),
}
"""Encoder -> its option, what the mastering display is called there and how it is written, and the light levels."""

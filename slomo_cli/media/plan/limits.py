"""Sizes, rates and times that a container or an encoder cannot hold, refused before any work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

from slomo_cli.errors import EncoderError, UsageError
from slomo_cli.media.plan.codecs import EncoderInfo
from slomo_cli.media.plan.wishes import UserOption

_LARGEST = 16384
"""Pixels a side."""
_MILLISECOND = Fraction(1, 1000)
_MILLISECONDS = frozenset({"matroska", "webm", "webp", "avi"})
"""Muxers that lay pictures nearer than a millisecond upon each other, or (AVI) show them slower."""
_LONGEST_DELAY_IN_TS = Fraction(10)
"""Seconds a picture may wait between decoding and showing (ITU-T H.222.0, 2.14.3). A longer step of the clock is a join
of two recordings, for FFmpeg too."""
_REORDERED = {"slower": 10, "veryslow": 10, "placebo": 18}
"""How many pictures' times lie between the decoding and the showing of one, by presets of x264 and x265."""
_REORDERED_USUALLY = {"h264": 5, "mpeg4": 1}
"""The same with other presets, by codec; with other codecs it is 6."""
_GIF_RATE = 100
"""GIF counts in hundredths of a second."""
_MPEG = frozenset({"mpeg1video", "mpeg2video"})
_MPEG_RATES = tuple(Fraction(rate) for rate in ("24000/1001", 24, 25, "30000/1001", 30, 50, "60000/1001", 60))


def refuse_size(encoder: EncoderInfo, width: int, height: int) -> None:
    """EncoderError for pictures that are too small or too large."""
    least_width, least_height = encoder.smallest
    if not (least_width <= width <= _LARGEST and least_height <= height <= _LARGEST):
        raise EncoderError(
            f"{encoder.name} takes pictures of {least_width}x{least_height} to {_LARGEST}x{_LARGEST} pixels, "
            f"found {width}x{height}: choose another --codec (ffv1 in .mkv takes every size)"
        )


def refuse_rate(
    muxer: str,
    extension: str,
    encoder: EncoderInfo,
    rate: Fraction,
    user_options: Iterable[UserOption],
    preset: str | None = None,
) -> None:
    """EncoderError for a rate the encoder does not take, UsageError for one that codec or container has no word for."""
    if rate > encoder.highest_rate:
        raise EncoderError(
            f"{encoder.name} takes at most {encoder.highest_rate:g} frames a second, found {float(rate):g}: "
            "choose another --codec (libaom-av1 takes every rate)"
        )
    if rate * _MILLISECOND > 1 and muxer in _MILLISECONDS:
        raise UsageError(
            f".{extension} holds at most 1000 frames per second, found {float(rate):.6g}: write .mp4, or ask for fewer"
        )
    if encoder.codec == "gif" and rate > _GIF_RATE:
        raise UsageError(
            f"GIF holds at most {_GIF_RATE} frames per second, found {float(rate):.6g}: ask for 50 or less"
        )
    lowest = _reordered(encoder.codec, preset) / _LONGEST_DELAY_IN_TS
    if muxer == "mpegts" and rate < lowest:
        raise UsageError(
            f"{encoder.codec} in .{extension} holds a rate of at least {float(lowest):g} per second, found "
            f"{float(rate):.6g}: write .mp4, or ask for more"
        )
    lenient = any(name.partition(":")[0] == "strict" for name, _ in user_options)
    if encoder.codec in _MPEG and not lenient and not _is_rate_of_mpeg(encoder.codec, rate):
        simple = " and simple fractions of them" if encoder.codec == "mpeg2video" else ""
        raise UsageError(
            f"{encoder.codec} knows 23.976, 24, 25, 29.97, 30, 50, 59.94 and 60 frames per second{simple}, found "
            f"{float(rate):.6g}: ask for one of these, or another --codec"
        )


def _is_rate_of_mpeg(codec: str, rate: Fraction) -> bool:
    """MPEG-1 knows eight rates, MPEG-2 these times 1..4 by 1..32 (ISO/IEC 13818-2, 6.3.3)."""
    ratios = [rate / known for known in _MPEG_RATES]
    most = (4, 32) if codec == "mpeg2video" else (1, 1)
    return any(ratio.numerator <= most[0] and ratio.denominator <= most[1] for ratio in ratios)


def _reordered(codec: str, preset: str | None) -> int:
    """How many pictures' times may lie between the decoding and the showing of one."""
    return _REORDERED.get(preset or "", _REORDERED_USUALLY.get(codec, 6))


def refuse_uneven(muxer: str, extension: str, codec: str, times: Iterable[Fraction], preset: str | None = None) -> None:
    """UsageError where pictures at these times, in seconds, would not be kept at them."""
    if muxer == "image2":
        raise UsageError("pictures in files of their own have no times: leave out --vfr keep, or write .mkv or .mp4")
    if muxer == "avi":
        raise UsageError("pictures in .avi all last equally long: leave out --vfr keep, or write .mkv or .mp4")
    if codec in _MPEG:
        raise UsageError(f"pictures of {codec} all last equally long: leave out --vfr keep, or name another --codec")
    if muxer in _MILLISECONDS and any(after - before < _MILLISECOND for before, after in pairwise(times)):
        raise UsageError(
            f"pictures in .{extension} lie a millisecond apart at least, and some here are nearer: "
            "leave out --vfr keep, or write .mp4"
        )
    together = _reordered(codec, preset)
    if muxer == "mpegts" and _longest(times, together) > _LONGEST_DELAY_IN_TS:
        raise UsageError(
            f"pauses of more than {_LONGEST_DELAY_IN_TS} seconds in .{extension}, of {together} pictures together, "
            "are taken for joins of recordings: leave out --vfr keep, or write .mp4"
        )


def _longest(times: Iterable[Fraction], steps: int) -> Fraction:
    """The longest time that so many steps in a row take."""
    longest = Fraction(0)
    last: deque[Fraction] = deque(maxlen=steps + 1)
    for time in times:
        last.append(time)
        longest = max(longest, time - last[0])
    return longest

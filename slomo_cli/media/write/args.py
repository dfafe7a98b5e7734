"""The ffmpeg command line, as one pure function; nothing here runs anything.

ffmpeg-python compiles the picture's input and output. What it cannot say (an option given twice, a second input that
only lends its chapters, the metadata of one stream) is spliced into the compiled list, so that replacing the package
means replacing ``build_encode_args`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ffmpeg as ffmpeg_python

from slomo_cli.errors import EncoderError
from slomo_cli.media.clocks import MOST_REORDERED, ratio_text, seconds_text, track_timescale
from slomo_cli.media.plan.wishes import UserOption, merge_options
from slomo_cli.media.tracks.carried import Carry

if TYPE_CHECKING:
    from slomo_cli.media.plan.target import Target


@dataclass(frozen=True, slots=True)
class OwnTimes:
    """Of frames with stamps of their own, which arrive as NUT; seconds of the output."""

    time_base: Fraction
    """The clock of the stamps."""
    last: Fraction
    """When the last frame is shown first."""
    end: Fraction
    """Until when it is shown."""


def build_encode_args(
    target: Target,
    carry: Carry | None,
    ffmpeg: str,
    *,
    frames: int,
    times: OwnTimes | None = None,
) -> list[str]:
    """The whole command: raw planes of ``target.feed`` on standard input, the target's temporary file as output.

    carry: what comes along from the source; None writes the picture alone.
    frames: how many will be written (chooses how a GIF's palette is made).
    times: given for frames with stamps of their own.

    A target whose encoder is ``copy`` takes frames that are encoded already, at a constant rate, as NUT too.
    """
    carry = carry or Carry()
    delay = carry.picture_delay
    clock = _clock(target, times)
    if times is not None:
        clock += _last_duration(target, replace(times, last=delay + times.last, end=delay + times.end))
    elif target.encoder == COPY:
        clock += _even_duration(target)
    compiled: list[str] = ffmpeg_python.compile(
        ffmpeg_python.output(_picture(target, times), "output", f=target.container),
        cmd=ffmpeg,
        overwrite_output=False,
    )
    # compiled: exe, input options, -i pipe:0, -map 0:v:0, -f muxer, output; the package takes names in UTF-8 only
    at = compiled.index("-i")
    command = [compiled[0], "-hide_banner", "-nostdin", "-nostats", "-v", "warning", "-y"]
    command += target.input_args
    if delay:
        command += ["-itsoffset", seconds_text(delay)]
    command += [*compiled[1 : at + 2], *carry.input_args, *compiled[at + 2 : -1], *carry.map_args]
    for name, value in _options(target, clock, frames):
        command += [f"-{name}"] if value is None else [f"-{name}", value]
    return [*command, *_unless_said(carry.output_args, target.user_options), target.ffmpeg_output]


def _picture(target: Target, times: OwnTimes | None) -> Any:
    """The pipe's picture, as ffmpeg-python has it."""
    source: dict[str, Any] = {"f": "nut"}
    if target.encoder != COPY and times is None:
        source = {
            "f": "rawvideo",
            "pixel_format": target.feed.name,
            "video_size": (target.width, target.height),  # a tuple: text is taken apart letter by letter
            "framerate": ratio_text(target.rate),
        }
    return ffmpeg_python.input("pipe:0", **source)["v:0"]


def _options(target: Target, clock: Iterable[tuple[str, str]], frames: int) -> list[UserOption]:
    """Ours, among them those of the clock, and the user's own, which win."""
    ours: list[tuple[str, str]] = [("c:v:0", target.encoder)]
    if target.filters:
        ours.append(("filter:v:0", ",".join(target.filters)))
    options = merge_options([*ours, *target.options, *clock], target.user_options)
    if palette := _palette(target, frames):  # last: what the user's own filters did after it would need another
        if not any(name == "filter:v:0" for name, _ in options):
            options.append(("filter:v:0", "null"))
        options = [(name, f"{text},{palette}" if name == "filter:v:0" else text) for name, text in options]
    return options


def _unless_said(ours: Sequence[str], theirs: Iterable[UserOption]) -> list[str]:
    """Options and their values in turn, without the maps of tags and chapters that the user gives himself."""
    said = {f"-{name}" for name, _ in theirs} & {"-map_metadata", "-map_chapters"}
    return [word for option in zip(ours[::2], ours[1::2], strict=True) if option[0] not in said for word in option]


COPY = "copy"
"""ffmpeg's word for a stream that stays encoded as it is."""
_HIGH_RATE = 500
"""ffmpeg knows rates below 1000 at least."""
_MPEG4_TICKS = 65_535
"""Ticks of a second in MPEG-4 Part 2 at most."""


def _clock(target: Target, times: OwnTimes | None) -> list[tuple[str, str]]:
    """Options that keep every stamp as it is given: no frame dropped, none repeated."""
    old = target.ffmpeg_version < (5, 1)
    rate = target.rate
    time_base = times.time_base if times else None
    clock = [("vsync", "passthrough")] if old else [("fps_mode:v:0", "passthrough")]
    # The input's own clock: left alone, ffmpeg takes that of a rate it knows near this one, 120 for 120000/1001.
    if target.encoder == COPY:
        clock = []  # nothing is encoded, and packets are neither dropped nor repeated
    elif target.codec == "mpeg4" and (time_base is not None or rate.numerator > _MPEG4_TICKS):
        # With stamps of their own frames come in a clock of NUT's, a multiple of the given one.
        near = max(time_base, Fraction(1, _MPEG4_TICKS)) if time_base else (1 / rate).limit_denominator(_MPEG4_TICKS)
        clock.append(("enc_time_base:v:0", f"{near.numerator}/{near.denominator}"))
    else:
        # 'demux' is how later versions spell -1.
        clock.append(("enc_time_base:v:0", "-1" if target.ffmpeg_version < (6, 1) else "demux"))
    if target.container in ("mp4", "mov"):
        if time_base is not None and target.codec in ("h264", "hevc"):
            # mp4 measures a track in decoding order; where frames last unequally long, reordering makes that too short.
            clock.append(("bf:v:0", "0"))
        scale = track_timescale(rate) if time_base is None else time_base.denominator
        clock.append(("video_track_timescale", str(scale)))
        # Left alone, ffmpeg takes the least common multiple of all tracks' clocks, in which hours overflow 32 bits;
        # before 5.0 it always counts in milliseconds.
        if target.ffmpeg_version >= (5, 0):
            clock.append(("movie_timescale", str(scale if scale <= 200_000 else 90_000)))
    return clock


def _last_duration(target: Target, times: OwnTimes) -> list[tuple[str, str]]:
    """NUT does not say how long its last frame lasts, and in mp4 a frame of no duration is not shown at all.

    The last to be decoded need not be the last to be shown, so each is said to last to the end. Muxers take the time
    between two frames from their stamps; only the end of the track comes from the durations. But Matroska keeps every
    duration it is told, so it is told that of the last frame alone. EncoderError where ffmpeg is too old.
    """
    ends = f"{float(times.end)!r}/TB"
    if target.ffmpeg_version < (6, 1):
        if target.container not in ("mp4", "mov"):
            return []
        if target.ffmpeg_version < (5, 1):
            raise EncoderError(
                f"this ffmpeg ({'.'.join(map(str, target.ffmpeg_version))}) cannot say in .{target.extension} how long "
                "the last picture lasts: leave out --vfr keep, write .mkv, or use ffmpeg 5.1 or newer"
            )
        # Older versions count in the track's clock here, but call it by another name.
        ends = str(round(times.end / times.time_base))
    # Commas part filters of a chain, so they are escaped.
    lasts = f"max(1\\,round({ends}-PTS))"
    if target.container in ("matroska", "webm"):
        lasts = f"if(gte(PTS+0.5\\,{float(times.last)!r}/TB)\\,{lasts}\\,0)"
    return [("bsf:v:0", f"setts=pts=PTS:dts=DTS:duration={lasts}")]


def _even_duration(target: Target) -> list[tuple[str, str]]:
    """Frames from NUT at a constant rate each last equally long, and are decoded in even steps; see ``_last_duration``.

    NUT leaves it to ffmpeg when a frame is decoded, which counts the first of them at a rate it knows near this one; of
    very high rates it knows none.
    """
    rate = target.rate
    lasts = f"{float(1 / rate)!r}/TB"
    if target.ffmpeg_version < (6, 1):
        # The oldest do not know the filter, and see for themselves how long such frames last.
        if target.container not in ("mp4", "mov") or target.ffmpeg_version < (5, 1):
            return []
        lasts = str(round(track_timescale(rate) / rate))
    first = f"round(STARTDTS/({lasts}))" if rate < _HIGH_RATE else f"-{MOST_REORDERED}"
    decoded = f"round(({first}+N)*{lasts})"
    return [("bsf:v:0", f"setts=pts=PTS:dts={decoded}:duration=max(1\\,round({lasts}))")]


_PALETTE_MEMORY = 256 * 2**20
"""Bytes ffmpeg may hold while it looks at a whole clip for one palette."""


def _palette(target: Target, frames: int) -> str:
    """The filter that chooses a GIF's colours, '' of others: one palette for the whole of a short clip; one for each
    frame where holding the clip would cost too much."""
    if target.encoder != "gif":
        return ""
    transparent = int(target.feed.alpha)
    if frames * target.width * target.height * 4 <= _PALETTE_MEMORY:
        # A frame's colours are counted when the next one differs: one behind the last has the last one's counted too.
        seen, made, used = "tpad=stop=1:color=magenta,", "stats_mode=diff", "dither=sierra2_4a:diff_mode=rectangle"
    else:
        seen, made, used = "", "stats_mode=single", "new=1:dither=bayer:bayer_scale=3"
    return f"split[a][b];[a]{seen}palettegen={made}:reserve_transparent={transparent}[p];[b][p]paletteuse={used}"

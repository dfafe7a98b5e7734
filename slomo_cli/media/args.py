"""The ffmpeg command line, as one pure function; nothing here runs anything.

ffmpeg-python compiles the picture's input and output. What it cannot say (an option given twice, a second input that
only lends its chapters, the metadata of one stream) is spliced into the compiled list, so that replacing the package
means replacing ``build_encode_args`` alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

from slomo_cli.errors import UsageError, printable

if TYPE_CHECKING:
    from slomo_cli.media.carry import Carry
    from slomo_cli.media.target import Target

UserOption = tuple[str, str | None]
"""(option without its dash, value); None for a flag."""

_FLAGS = frozenset(
    (
        "an",
        "vn",
        "sn",
        "dn",
        "bitexact",
        "xerror",
        "copyts",
        "start_at_zero",
        "autorotate",
        "noautorotate",
        "accurate_seek",
        "hide_banner",
    )
)
_REFUSED = {
    "i": "slomo gives the inputs",
    "y": "use -y of slomo itself",
    "n": "use -n of slomo itself",
    "f": "the container follows from the name of the output",
    "map": "slomo maps the streams",
    "filter_complex": "use -vf for a simple filter",
    "lavfi": "use -vf for a simple filter",
    "filter_complex_script": "use -vf for a simple filter",
    "filter_script": "use -vf for a simple filter",
    "r": "the rate is chosen with --rate or --target",
    "fps_mode": "the rate is chosen with --rate or --target",
    "vsync": "the rate is chosen with --rate or --target",
    "enc_time_base": "slomo chooses the clock",
    "t": "use --end",
    "to": "use --end",
    "ss": "use --start",
    "sseof": "use --start",
    "shortest": "every frame is written",
    "frames": "every frame is written",
    "vframes": "every frame is written",
    "fs": "every frame is written",
    "pass": "a stream through a pipe can be read once only",
    "passlogfile": "a stream through a pipe can be read once only",
    "attach": "attachments come from the source",
    "dump_attachment": "it writes a file of its own",
    "vstats": "it writes a file of its own",
    "vstats_file": "it writes a file of its own",
    "progress": "use --progress",
    "report": "it writes a file of its own",
    "sdp_file": "it writes a file of its own",
    "stats_enc_post": "it writes a file of its own",
    "stats_enc_pre": "it writes a file of its own",
    "stats_mux_pre": "it writes a file of its own",
    "target": "use --codec",
    "stdin": "standard input carries the picture",
    "loglevel": "slomo reads ffmpeg's messages",
    "v": "slomo reads ffmpeg's messages",
}
_COUNT_CHANGING = frozenset(
    (
        "fps",
        "select",
        "framestep",
        "decimate",
        "mpdecimate",
        "minterpolate",
        "framerate",
        "telecine",
        "pullup",
        "fieldmatch",
        "detelecine",
        "loop",
        "trim",
        "setpts",
        "settb",
        "tile",
        "reverse",
        "thumbnail",
        "tinterlace",
        "tmix",
        "freezeframes",
        "tpad",
        "concat",
        "shuffleframes",
        "dejudder",
        "fieldorder",
        "separatefields",
        "doubleweave",
        "weave",
        "w3fdif",
        "segment",
        "movie",
        "random",
    )
)
_PARAMS = ("x264-params", "x264opts", "x265-params", "svtav1-params", "aom-params", "rav1e-params", "vvenc-params")
"""Options that are lists of their own: the user's entries are added to ours and win over equal ones."""

_SAME = {
    "codec": "c",
    "vcodec": "c",
    "filter": "vf",
    "profile": "profile",
    "q": "q",
    "qscale": "q",
    "crf": "crf",
    "vb": "b",
}


def parse_encoder_args(words: Sequence[str]) -> tuple[UserOption, ...]:
    """The user's extra output options as pairs; UsageError for what would take the run out of slomo's hands."""
    options: list[UserOption] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not re.fullmatch(r"-[A-Za-z_][\w:.?+-]*", word):
            raise UsageError(
                f"expected encoder arguments as -option value, found '{printable(word)}'; inputs and output are slomo's"
            )
        name = word[1:]
        reason = _REFUSED.get(name.partition(":")[0])
        if reason is not None:
            raise UsageError(f"-{printable(name)} cannot be among the encoder arguments: {reason}")
        if name.partition(":")[0] in _FLAGS:
            options.append((name, None))
            continue
        if not rest:
            raise UsageError(f"expected a value after -{printable(name)} in the encoder arguments, found none")
        value = rest.pop(0)
        if _base(name) == "vf":
            _check_filters(value)
        options.append((name, value))
    return tuple(options)


def _check_filters(text: str) -> None:
    for name in re.findall(r"(?:^|[,;\]])\s*([a-z0-9_]+)", text):
        if name in _COUNT_CHANGING:
            raise UsageError(f"the filter {name} changes how many frames are written: use slomo's own options for time")


def _base(name: str) -> str:
    """An option without its stream specifier, in one spelling: ``codec:v`` and ``vcodec`` are both ``c``."""
    stem, _, stream = name.partition(":")
    stem = _SAME.get(stem, stem)
    return f"{stem}:{stream[0]}" if stream[:1] in ("a", "s", "t", "d") else stem


_PICTURE_ONLY = {"vf": "filter:v:0", "filter:v": "filter:v:0"}
_PICTURE_ONLY |= dict.fromkeys(("c:v", "codec:v", "vcodec"), "c:v:0")
_RATE_CONTROL = ("crf", "qp", "b", "q", "cq", "global_quality", "qp_i", "qp_p", "lossless", "quality")
"""Ways to say how good it shall be; the user's one replaces ours, whichever it is."""


def merge_options(ours: Iterable[tuple[str, str]], theirs: Iterable[UserOption]) -> list[UserOption]:
    """Ours, then the user's: an option of theirs replaces ours, except where both add up (filters, x265-params)."""
    merged: list[UserOption] = list(ours)
    added: list[UserOption] = []
    # For the picture only: a cover beside it is copied, and must be neither filtered nor encoded.
    theirs = [(_PICTURE_ONLY.get(name, name), value) for name, value in theirs]
    if any(_base(name) in _RATE_CONTROL for name, _ in theirs):
        merged = [option for option in merged if _base(option[0]) not in _RATE_CONTROL]
    for name, value in theirs:
        base = _base(name)
        same = [at for at, (own, _) in enumerate(merged) if _base(own) == base]
        if same and value is not None and (base in _PARAMS or base == "vf"):
            own_name, own_value = merged[same[-1]]
            merged[same[-1]] = (own_name, f"{own_value}{',' if base == 'vf' else ':'}{value}")
            continue
        merged = [option for at, option in enumerate(merged) if at not in same]
        added.append((name, value))
    return merged + added


def common_time_base(seconds: Iterable[Fraction], limit: int = 2**31 - 1) -> Fraction:
    """The coarsest clock on which all these times are whole ticks; 1 microsecond when none below ``limit`` is."""
    ticks = 1
    for moment in seconds:
        ticks = lcm(ticks, moment.denominator)
        if ticks > limit:
            return Fraction(1, 1_000_000)
    # Encoders and players take a clock of 1/1000 or finer for granted.
    while ticks < 1000:
        ticks *= 10
    return Fraction(1, ticks)


def track_timescale(rate: Fraction) -> int:
    """Ticks per second of an mp4 track on which every frame of this constant rate is a whole number of ticks."""
    scale = rate.numerator
    while scale < 10_000:
        scale *= 10
    return scale if scale < 2**31 else 90_000


def build_encode_args(
    target: Target,
    rate: Fraction,
    carry: Carry | None,
    ffmpeg: str,
    *,
    frames: int | None = None,
    time_base: Fraction | None = None,
    duration: Fraction | None = None,
) -> list[str]:
    """The whole command: raw planes of ``target.feed`` on standard input, the target's temporary file as output.

    rate: frames per second, constant; nominal when ``time_base`` is given.
    carry: what comes along from the source; None writes the picture alone.
    frames: how many will be written, if known (chooses how a GIF's palette is made).
    time_base: given for frames with stamps of their own, which then arrive as NUT in this clock.
    duration: seconds of the output, needed with ``time_base``: how long the last of such frames is shown.
    """
    import ffmpeg as ffmpeg_python

    varying = time_base is not None
    if varying:
        source: dict[str, Any] = {"f": "nut"}
    else:
        source = {
            "f": "rawvideo",
            "pixel_format": target.feed.name,
            "video_size": (target.width, target.height),  # a tuple: text is taken apart letter by letter
            "framerate": _ratio(rate),
        }
    picture = ffmpeg_python.input("pipe:0", **source)["v:0"]
    delay = carry.picture_delay if carry else Fraction(0)
    filters = [*target.filters, *_palette(target, frames)]
    ours: list[tuple[str, str]] = [("c:v:0", target.encoder)]
    if filters:
        ours.append(("filter:v:0", ",".join(filters)))
    ours += [(name, value) for name, value in target.options]
    ours += _clock(target, rate, time_base)
    if time_base is not None:
        if duration is None:
            raise ValueError("frames with stamps of their own need the output's duration")
        ours += _last_duration(target, delay + duration, time_base)
    options = merge_options(ours, target.user_options)
    compiled: list[str] = ffmpeg_python.compile(
        ffmpeg_python.output(picture, target.ffmpeg_output, f=target.container), cmd=ffmpeg, overwrite_output=False
    )
    # compiled: exe, input options, -i pipe:0, -map 0:v:0, -f muxer, output
    at = compiled.index("-i")
    command = [compiled[0], "-hide_banner", "-nostdin", "-nostats", "-v", "warning", "-y"]
    command += target.input_args
    if delay:
        command += ["-itsoffset", seconds_text(delay)]
    command += compiled[1 : at + 2]
    if carry:
        command += carry.input_args
    command += compiled[at + 2 : -1]
    if carry:
        command += carry.map_args
    for name, value in options:
        command += [f"-{name}"] if value is None else [f"-{name}", value]
    if carry:
        command += carry.output_args
    command.append(compiled[-1])
    return command


def _clock(target: Target, rate: Fraction, time_base: Fraction | None) -> list[tuple[str, str]]:
    """Options that keep every stamp as it is given: no frame dropped, none repeated."""
    old = target.ffmpeg_version < (5, 1)
    clock = [("vsync", "passthrough")] if old else [("fps_mode:v:0", "passthrough")]
    if time_base is not None:
        # 'demux' is how later versions spell -1.
        clock.append(("enc_time_base:v:0", "-1" if target.ffmpeg_version < (6, 1) else "demux"))
    if target.container in ("mp4", "mov"):
        if time_base is not None and target.codec in ("h264", "hevc"):
            # mp4 measures a track in decoding order; where frames last unequally long, reordering makes that too short.
            clock.append(("bf:v:0", "0"))
        scale = track_timescale(rate) if time_base is None else time_base.denominator
        clock.append(("video_track_timescale", str(scale)))
        # Left alone, ffmpeg takes the least common multiple of all tracks' clocks, in which hours overflow 32 bits.
        clock.append(("movie_timescale", str(scale if scale <= 200_000 else 90_000)))
    return clock


def _last_duration(target: Target, end: Fraction, time_base: Fraction) -> list[tuple[str, str]]:
    """NUT does not say how long its last frame lasts, and in mp4 a frame of no duration is not shown at all.

    Which packet is the last to be shown is not known when it passes, so each is said to last to the end. Muxers take
    the time between two frames from their stamps; only the end of the track comes from the durations.
    """
    ends = f"{float(end)!r}/TB"
    if target.ffmpeg_version < (6, 1):
        if target.container not in ("mp4", "mov"):
            return []
        # Older versions count in the track's clock here, but call it by another name.
        ends = str(round(end / time_base))
    # Commas part filters of a chain, so they are escaped.
    return [("bsf:v:0", f"setts=pts=PTS:dts=DTS:duration=max(1\\,round({ends}-PTS))")]


_PALETTE_MEMORY = 256 * 2**20
"""Bytes ffmpeg may hold while it looks at a whole clip for one palette."""


def _palette(target: Target, frames: int | None) -> list[str]:
    """One palette for the whole of a short clip; one for each frame where holding the clip would cost too much."""
    if target.encoder != "gif":
        return []
    transparent = int(target.feed.alpha)
    if frames is not None and frames * target.width * target.height * 4 <= _PALETTE_MEMORY:
        made, used = "stats_mode=diff", "dither=sierra2_4a:diff_mode=rectangle"
    else:
        made, used = "stats_mode=single", "new=1:dither=bayer:bayer_scale=3"
    return [f"split[a][b];[a]palettegen={made}:reserve_transparent={transparent}[p];[b][p]paletteuse={used}"]


def _ratio(value: Fraction) -> str:
    """A rational as ffmpeg reads one, its parts within 32 bits."""
    if max(value.numerator, value.denominator) >= 2**31:
        value = value.limit_denominator(1_000_000)
    return f"{value.numerator}/{value.denominator}"


def seconds_text(value: Fraction) -> str:
    """Seconds with microseconds, ffmpeg's own resolution for times on its command line."""
    return f"{float(value):.6f}".rstrip("0").rstrip(".") or "0"


def shown(args: Sequence[str]) -> str:
    """The command as a person may read or paste it."""
    import shlex
    import subprocess

    return subprocess.list2cmdline(args) if sys.platform == "win32" else shlex.join(args)

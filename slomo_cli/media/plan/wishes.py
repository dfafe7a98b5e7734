"""The user's own ffmpeg arguments: read, checked, and merged with ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from slomo_cli.errors import UsageError, printable

UserOption = tuple[str, str | None]
"""(option without its dash, value); None for a flag."""

_FLAGS = frozenset(
    """an sn dn bitexact xerror copyts start_at_zero autorotate noautorotate accurate_seek hide_banner""".split()
)
_REFUSED = {
    "i": "slomo gives the inputs",
    "y": "use -y of slomo itself",
    "n": "use -n of slomo itself",
    "f": "the container follows from the name of the output",
    "map": "slomo maps the streams",
    "vn": "slomo makes pictures",
    "filter_complex lavfi filter_complex_script filter_script": "use -vf for a simple filter",
    "r fps_mode vsync": "the rate is chosen with --rate or --target",
    "enc_time_base": "slomo chooses the clock",
    "t to": "use --end",
    "ss sseof": "use --start",
    "shortest frames vframes fs": "every frame is written",
    "pass passlogfile": "a stream through a pipe can be read once only",
    "attach": "attachments come from the source",
    "dump_attachment vstats vstats_file report sdp_file": "it writes a file of its own",
    "stats_enc_post stats_enc_pre stats_mux_pre": "it writes a file of its own",
    "progress": "use --progress",
    "target": "use --codec",
    "stdin": "standard input carries the picture",
    "loglevel v": "slomo reads ffmpeg's messages",
}
"""Options that are slomo's own, and what to do instead."""
_WHY_REFUSED = {name: reason for names, reason in _REFUSED.items() for name in names.split()}
_COUNT_CHANGING = frozenset(
    """fps select framestep decimate mpdecimate minterpolate framerate telecine pullup fieldmatch detelecine loop trim
    setpts settb tile reverse thumbnail tinterlace tmix freezeframes tpad concat shuffleframes dejudder fieldorder
    separatefields doubleweave weave w3fdif segment movie random bwdif estdif interlace tblend untile zoompan amplify
    fsync graphmonitor mestimate repeatfields tlut2 tmedian""".split()
)
"""Filters after which there are more frames, or fewer, or at other times."""
_DOUBLING = {
    "yadif": ("mode", 0, ("1", "3", "send_field", "send_field_nospatial")),
    "nnedi": ("field", 2, ("-2", "2", "3", "af", "tf", "bf")),
}
"""Filter -> (option, its place among options without a name, the values of it that make two frames of each)."""
_PARAMS = ("x264-params", "x264opts", "x265-params", "svtav1-params", "aom-params", "rav1e-params", "vvenc-params")
"""Options that are lists of their own: the user's entries are added to ours and win over equal ones."""

_SAME = {"codec": "c", "vcodec": "c", "filter": "vf", "qscale": "q", "vb": "b"}
"""Other names of options."""


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
        reason = _WHY_REFUSED.get(name.partition(":")[0])
        if reason is not None:
            raise UsageError(f"-{printable(name)} cannot be among the encoder arguments: {reason}")
        if name.partition(":")[0] in _FLAGS:
            options.append((name, None))
            continue
        if not rest:
            raise UsageError(f"expected a value after -{printable(name)} in the encoder arguments, found none")
        value = rest.pop(0)
        if is_filter(name):
            _check_filters(value)
        options.append((name, value))
    return tuple(options)


def refuse_other_encoder(options: Iterable[UserOption], encoder: str) -> None:
    """UsageError where the user's options name another encoder for the picture: all else is planned for this one."""
    for name, value in options:
        if _base(name) == "c" and value != encoder:
            raise UsageError(
                f"-{printable(name)} {printable(value)} cannot be among the encoder arguments: use --codec"
            )


_ALIKE = frozenset(
    """avgblur bilateral boxblur cas chromashift colorbalance colorchannelmixer colorcontrast colorlevels colormatrix
    colorspace colortemperature crop curves delogo eq exposure fillborders format gblur hflip hue lenscorrection limiter
    lut lut1d lut3d lutrgb lutyuv median monochrome negate null pad perspective rgbashift scale setdar setparams
    setrange setsar swapuv tonemap transpose unsharp vflip vibrance zscale""".split()
)
"""Filters that make of a picture the same whenever it comes, unless an expression asks when."""


def filters_alike(text: str) -> bool:
    """Whether the filters surely make of a picture the same, whatever came before it and whenever it comes."""
    return _ALIKE.issuperset(_filter_names(text)) and not re.search(r"\b([nt]|pts|pos|enable)\b", text, re.IGNORECASE)


def _filter_names(text: str) -> list[str]:
    return re.findall(r"(?:^|[,;\]])\s*([a-z0-9_]+)", text)


def _check_filters(text: str) -> None:
    for name in _filter_names(text):
        if name in _COUNT_CHANGING:
            raise UsageError(f"the filter {name} changes how many frames are written: use slomo's own options for time")
    for name, (option, place, values) in _DOUBLING.items():
        for words in re.findall(rf"(?:^|[,;\]])\s*{name}(?:@\w+)?=([^,;\[]*)", text):
            for at, word in enumerate(words.split(":")):
                key, _, value = word.strip(" '").rpartition("=")
                if value in values and (key == option or (not key and at == place)):
                    raise UsageError(
                        f"the filter {name} makes two frames of each where {option} is {value}: leave that out"
                    )


def is_filter(name: str) -> bool:
    """Whether an option gives the filters of the picture."""
    return _base(name) == "vf"


def _base(name: str) -> str:
    """An option without its stream specifier, in one spelling: ``codec:v`` and ``vcodec`` are both ``c``."""
    stem, _, stream = name.partition(":")
    stem = _SAME.get(stem, stem)
    return f"{stem}:{stream[0]}" if stream[:1] in ("a", "s", "t", "d") else stem


_OF_THE_FILE = frozenset(
    """an sn dn acodec ab ac ar af aq atag scodec stag sample_fmt channel_layout ch_layout apre
    aac_coder application compression_level cutoff fec frame_duration joint_stereo packet_loss vbr
    movflags brand use_editlist write_tmcd write_colr write_gama write_prft write_btrt moov_size movie_timescale
    frag_duration frag_interleave frag_size min_frag_duration fragment_index ism_lookahead empty_hdlr_name
    encryption_scheme encryption_key encryption_kid use_stream_ids_as_track_ids output_ts_offset
    video_track_timescale metadata map_metadata map_chapters disposition timecode tag vtag avoid_negative_ts fflags
    cues_to_front reserve_index_space cluster_size_limit cluster_time_limit default_mode write_crc32 dash live
    max_interleave_delta max_muxing_queue_size muxdelay muxpreload""".split()
)
"""Options that say nothing of how the picture is encoded, as far as they name no stream."""
_OF_ALL = frozenset(("bitexact", "flags", "strict"))
"""Options that say something of the picture and of the file and its sound, as far as they name no stream."""


def is_for_encoder(name: str) -> bool:
    """Whether an option, with or without a stream, decides how the picture is encoded; others are for the file and
    the tracks beside it."""
    stem, _, stream = _base(name).partition(":")
    return not stream and stem not in _OF_THE_FILE


def is_for_file(name: str) -> bool:
    """Whether an option says anything of the file and the tracks beside the picture; see ``is_for_encoder``."""
    return not is_for_encoder(name) or name in _OF_ALL


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

"""What lies beside the picture in a source: sound, captions, covers and other streams, chapters, tags."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, Literal

import av.error

from slomo_cli.media.read.opening import as_text
from slomo_cli.media.read.source import LENGTHLESS, disposition_of, is_cover, seconds
from slomo_cli.values import Chapter, StreamInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


def other_streams(container: InputContainer, picture: VideoStream) -> tuple[StreamInfo, ...]:
    """Every stream beside the picture, in the container's order."""
    found = []
    for stream in container.streams:
        if stream.index == picture.index:
            continue
        kind: Literal["audio", "subtitle", "attachment", "data", "cover", "video"]
        if stream.type == "video":
            kind = "cover" if is_cover(stream) else "video"
        elif stream.type in ("audio", "subtitle", "attachment"):
            kind = stream.type
        else:
            kind = "data"
        context: Any = getattr(stream, "codec_context", None)
        own: dict[str, Any] = {"duration_seconds": seconds(stream.duration, stream.time_base)}
        if kind == "audio" and context is not None:
            own = _own_of_sound(stream, context)
        found.append(
            StreamInfo(
                index=stream.index,
                kind=kind,
                codec=_codec_name(stream, context),
                language=as_text(stream.metadata.get("language", "") or ""),
                start_seconds=seconds(stream.start_time, stream.time_base),
                metadata=pairs(stream.metadata),
                disposition=disposition_of(stream),
                is_elsewhere=kind in ("audio", "subtitle") and _is_elsewhere(stream, picture),
                **own,
            )
        )
    return tuple(found)


def _own_of_sound(stream: Any, context: Any) -> dict[str, Any]:
    """The fields of ``StreamInfo`` for a track of sound."""
    return {
        "duration_seconds": stream_duration(stream),
        "sample_rate": int(context.sample_rate or 0),
        "channels": int(context.channels or 0),
        "layout": loudspeakers(context.layout),
        "hidden_seconds": _hidden(stream),
        "is_cut": _is_cut(stream),
    }


def chapters_of(container: InputContainer) -> tuple[Chapter, ...]:
    """The chapters that say where they begin and end."""
    marks = []
    for chapter in container.chapters():
        start, end = seconds(chapter["start"], chapter["time_base"]), seconds(chapter["end"], chapter["time_base"])
        if start is not None and end is not None:
            marks.append(Chapter(start, end, pairs(chapter["metadata"])))
    return tuple(marks)


def pairs(metadata: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Tags as text, in their order."""
    return tuple((as_text(str(key)), as_text(str(value))) for key, value in metadata.items())


def stream_duration(stream: Any) -> Fraction | None:
    """The stream's declared length; Matroska has it in a tag."""
    name = stream.container.format.name
    own = None if name in LENGTHLESS else seconds(stream.duration, stream.time_base)
    # Of an MP4 all in fragments, whose index counts no pictures, libav tells the end on the container's clock.
    tells_end = own is not None and "mov" in name and not stream.frames
    match = re.fullmatch(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,30})?)\0*", stream.metadata.get("DURATION", "").strip())
    if own is None and match:
        own = int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])
        tells_end = True
    if own is not None and tells_end:  # what precedes the beginning is not its length
        own -= max(seconds(stream.start_time, stream.time_base) or Fraction(0), Fraction(0))
    return own


def _is_elsewhere(stream: Any, picture: VideoStream) -> bool:
    """Whether a track belongs to another programme of a broadcast than the picture.

    PyAV shows no programmes, but which picture and which sound libav takes for the best of the programme that a track
    is in: if in none, or in one without any, of the whole file.
    """
    container = stream.container
    if container.format.name != "mpegts":
        return False

    def best(kind: Literal["video", "audio"], of: Any) -> int:
        found = container.streams.best(kind, of)
        return -1 if found is None else found.index

    if len(container.streams.video) < 2:
        # The programmes of one picture may differ in their sound only; those without any are radio.
        own = next((sound for sound in container.streams.audio if sound.index == best("audio", picture)), None)
        return own is not None and best("video", own) == picture.index and best("video", stream) == -1
    return best("video", stream) != picture.index or best("audio", stream) != best("audio", picture)


def loudspeakers(layout: Any) -> str:
    """FFmpeg's name of a sound track's channels; '' where it is only their number, or they are no loudspeakers."""
    name = str(layout.name)
    return "" if re.fullmatch(r"\d+ channels|ambisonic.*", name) else name


def _hidden(stream: Any) -> Fraction:
    """How much of a sound track lies before its beginning: MP4's index has it all, with what its edit list hides."""
    if "mov" not in stream.container.format.name or stream.start_time is None or not len(stream.index_entries):
        return Fraction(0)
    ticks = stream.start_time - stream.index_entries[0].timestamp
    return max(Fraction(0), seconds(ticks, stream.time_base) or Fraction(0))


def _is_cut(stream: Any) -> bool:
    """Whether MP4's edit list leaves something out of a sound track after its beginning."""
    if "mov" not in stream.container.format.name:
        return False
    entries = (entry.is_discard for entry in stream.index_entries)
    return any(hidden for hidden in dropwhile(bool, entries))


def _codec_name(stream: Any, context: Any) -> str:
    try:
        if stream.type == "attachment":
            return ""  # what PyAV calls its name is the attached file's
        if context is not None:
            return str(context.codec.canonical_name)
        return str(stream.name or "")
    except (AttributeError, av.error.FFmpegError, ValueError):
        return ""

"""Titles, languages and dispositions of the tracks, as ffmpeg arguments; tags that would lie about the new file go."""

from __future__ import annotations

from collections.abc import Mapping

from slomo_cli.errors import printable
from slomo_cli.values import StreamInfo, VideoInfo

# AV_DISPOSITION_* bits that mean something beside a new picture, in ffmpeg's words.
_DISPOSITIONS = (
    (0x1, "default"),
    (0x2, "dub"),
    (0x4, "original"),
    (0x8, "comment"),
    (0x10, "lyrics"),
    (0x20, "karaoke"),
    (0x40, "forced"),
    (0x80, "hearing_impaired"),
    (0x100, "visual_impaired"),
    (0x200, "clean_effects"),
    (0x10000, "captions"),
    (0x20000, "descriptions"),
)
# Tags that describe the file they came from, not what is in it.
_STALE_IN_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder")
_COUNTED: tuple[str, ...] = (
    "BPS",
    "DURATION",
    "NUMBER_OF_FRAMES",
    "NUMBER_OF_BYTES",
    "_STATISTICS_TAGS",
    "_STATISTICS_WRITING_APP",
)
_COUNTED += ("_STATISTICS_WRITING_DATE_UTC",)
_STALE_IN_TRACK = ("encoder", "vendor_id", *_COUNTED, *(f"{name}-eng" for name in _COUNTED))

_APPLE = "com.apple.quicktime."
"""What the keys begin with under which iPhones and Final Cut keep their tags."""
_PLAIN = {"creationdate": "date", "location.iso6709": "location", "author": "artist"}
"""Apple's names, without the beginning, that are others in ffmpeg; the rest is called the same."""
_PLACES = {
    "mov": ("title", "artist", "album", "comment", "genre", "copyright", "date", "location", "make", "model"),
    "mp4": ("title", "artist", "album", "comment", "genre", "copyright", "date", "location", "description", "keywords"),
}
"""Tags ffmpeg writes into each, tried. It could keep Apple's own keys instead (``use_metadata_tags``), but then writes
all tags in that way: readers other than itself miss the title, and it reads back two dates of recording in one."""

# QuickTime knows some languages by other names than ISO 639-2/T.
_MOV_LANGUAGES = {"deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "fas": "per"}


def label(stream: StreamInfo) -> str:
    """A track in words, for notes."""
    language = f", {printable(stream.language)}" if stream.language not in ("", "und") else ""
    return f"{stream.kind} track {stream.index} ({stream.codec or 'unknown'}{language})"


def timecode(info: VideoInfo) -> str:
    """The timecode of the first picture, whichever of its places the container keeps it in; '' without one."""
    places = (info.picture_metadata, info.metadata, *(s.metadata for s in info.streams if s.kind == "data"))
    return next((value for place in places for key, value in place if key.lower() == "timecode"), "")


def file_tags(metadata: Mapping[str, str], timecode: bool) -> list[str]:
    """Arguments that remove from the copied tags what only the old file was. timecode: it is still true."""
    stale = (*_STALE_IN_FILE, *(() if timecode else ("timecode",)))
    return [word for key in metadata if key.lower() in stale for word in ("-metadata", f"{key}=")]


def apple_tags(metadata: Mapping[str, str], muxer: str) -> tuple[list[str], list[str]]:
    """(arguments that keep an iPhone's tags where MP4 and QuickTime have a place for them, names of those without)."""
    words: list[str] = []
    lost: list[str] = []
    taken = {key.lower() for key in metadata}
    for key, value in metadata.items():
        if muxer not in _PLACES or not key.lower().startswith(_APPLE):
            continue
        own = key.lower().removeprefix(_APPLE)
        plain = _PLAIN.get(own, own)
        if plain not in _PLACES[muxer]:
            lost.append(own)
        elif plain not in taken:
            words += ["-metadata", f"{plain}={value}"]
    return words, lost


def picture_tags(source: int, index: int, demuxer: str, muxer: str, timecode: bool) -> list[str]:
    """The picture keeps its title and language. Which tags it has is not known here, so all stale ones are removed.

    timecode: it is still true.
    """
    words = ["-map_metadata:s:v:0", f"{source}:s:{index}"]
    stale = _STALE_IN_TRACK if "matroska" in demuxer else ("encoder", "vendor_id")
    for key in (*stale, *(_handler(muxer) if "mov" in demuxer else ()), *(() if timecode else ("timecode",))):
        words += ["-metadata:s:v:0", f"{key}="]
    return words


def stream_tags(kind: str, number: int, source: int, stream: StreamInfo, muxer: str, fresh: bool) -> list[str]:
    """Title, language and the like of one track, and its dispositions.

    kind: ``a`` or ``s``; number: counted among the output's tracks of that kind; source: the input the tags come from;
    fresh: the track is encoded or retimed, so what was counted of the old one is no longer true.
    """
    place = f"-metadata:s:{kind}:{number}"
    words = [f"-map_metadata:s:{kind}:{number}", f"{source}:s:{stream.index}"]
    present = dict(stream.metadata)
    stale = {name.lower() for name in (*(_STALE_IN_TRACK if fresh else ()), *_handler(muxer))}
    if "name" in present and "title" not in present:
        # QuickTime's word for what every muxer is told as a title.
        words += [place, f"title={present['name']}"]
        stale.add("name")
    for key in present:
        if key.lower() in stale:
            words += [place, f"{key}="]
    if muxer == "mov" and stream.language in _MOV_LANGUAGES:
        words += [place, f"language={_MOV_LANGUAGES[stream.language]}"]
    names = [word for bit, word in _DISPOSITIONS if stream.disposition & bit]
    return [*words, f"-disposition:{kind}:{number}", "+".join(names) or "0"]


def _handler(muxer: str) -> tuple[str, ...]:
    """QuickTime's handler names say nothing outside of it."""
    return () if muxer in ("mp4", "mov") else ("handler_name",)

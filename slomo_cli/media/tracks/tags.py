"""Titles, languages and dispositions of the tracks, as ffmpeg arguments; tags that would lie about the new file go."""

from __future__ import annotations

import re
from collections.abc import Mapping

from slomo_cli.errors import printable
from slomo_cli.media.plan.losses import keeps_views
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
_MARKS = {
    "matroska": frozenset("dub original comment forced hearing_impaired visual_impaired descriptions".split()),
    "webm": frozenset("forced captions descriptions".split()),
    "mp4": frozenset("dub comment forced hearing_impaired visual_impaired captions descriptions".split()),
    "mov": frozenset[str](),
    "mpegts": frozenset("hearing_impaired visual_impaired clean_effects descriptions".split()),
    "avi": frozenset[str](),
    "nut": frozenset("dub original comment lyrics karaoke".split()),
}
"""Which of them ffmpeg writes into each so that they are read again, tried."""
_SAID_TWICE = {"captions": "hearing_impaired", "descriptions": "visual_impaired"}
"""Marks that libav finds beside another one where a file has the other."""
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
    "mov": frozenset("title artist album comment genre copyright date location make model creation_time".split()),
    "mp4": frozenset(
        "title artist album_artist album comment genre copyright date location description synopsis show episode_id "
        "episode_sort season_number network keywords composer lyrics track disc grouping creation_time".split()
    ),
    "avi": frozenset(
        "title artist album comment genre copyright date language product software encoded_by track".split()
    ),
    "mpegts": frozenset(("title",)),
}
"""Tags ffmpeg writes into each, tried; what is not listed here holds all. It could keep Apple's own keys instead
(``use_metadata_tags``), but then writes all tags in that way: readers other than itself miss the title, and it reads
back two dates of recording in one."""
_WRITTEN_BY_PEOPLE = frozenset(("matroska", "webm", "mov", "mp4", "ogg", "nut"))
"""Containers whose tags say what people say of the film; those of others count bytes and name programs."""
_FLAGS = frozenset(("media_type", "hd_video", "gapless_playback", "compilation"))
"""Tags of MP4 that are for players' lists."""

_MOV_KNOWS = frozenset(
    "alb amh ara arm asm aym aze baq bel ben bul bur cat ces chi dan dut dzo eng epo est fin fra geo ger gre grn guj "
    "heb hin hun ice ind iri ita jav jpn kan kas kaz khm kin kir kor kur lao lat lav lit mac mal mar may mlg mlt mol "
    "mon nep nor nya ori orm per pol por pus que ron run rus san sin slk slv smi snd som spa sve swa tam tat tel tgk "
    "tgl tha tib tir tuk tur uig ukr urd uzb vie wel yid".split()
)
"""Languages that QuickTime has a number for, by ffmpeg's names of them, tried."""
# Others by which ISO 639-2 knows some of them; Matroska's are the bibliographic ones.
_MOV_LANGUAGES = dict(
    pair.split("=")
    for pair in (
        "deu=ger nld=dut swe=sve ell=gre isl=ice fas=per fre=fra cze=ces slo=slk rum=ron zho=chi sqi=alb hye=arm "
        "eus=baq mya=bur kat=geo mkd=mac msa=may bod=tib cym=wel"
    ).split()
)
_NAMELESS = ("avi",)
"""Muxers that write down no language."""
_TITLELESS = ("mpegts",)
"""Muxers that write down no title of a track."""


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


def mended_tags(info: VideoInfo) -> list[str]:
    """Arguments that write as UTF-8 the tags that are stored in none; ffmpeg copies their bytes, as they are."""
    found = dict(info.metadata)
    foreign = [key for key in info.foreign_tags if key.lower() not in (*_STALE_IN_FILE, "timecode")]
    return [word for key in foreign for word in ("-metadata", f"{key}={found[key]}")]


def placed_tags(metadata: Mapping[str, str], demuxer: str, muxer: str) -> tuple[list[str], list[str]]:
    """(arguments that keep an iPhone's tags where the file type has a place for them, names of tags without one)."""
    words: list[str] = []
    lost: set[str] = set()
    places = _PLACES.get(muxer)
    if places is None or not _WRITTEN_BY_PEOPLE & set(demuxer.split(",")):
        return [], []
    taken = {key.lower() for key in metadata}
    for key, value in metadata.items():
        apples = key.lower().startswith(_APPLE)
        own = key.lower().removeprefix(_APPLE)
        plain = _PLAIN.get(own, own) if apples else own
        without_language = re.sub(r"-[a-z]{3}$", "", own)
        said_twice = without_language != own and without_language in taken
        if said_twice or plain in (*_STALE_IN_FILE, *_FLAGS, "timecode"):
            continue
        if plain not in places:
            lost.add(own)
        elif apples and plain not in taken:
            words += ["-metadata", f"{plain}={value}"]
    return words, sorted(lost)


def picture_tags(source: int, info: VideoInfo, muxer: str, timecode: bool) -> list[str]:
    """The picture keeps its title and language. All stale tags are removed that it may have.

    timecode: it is still true.
    """
    demuxer = info.container
    words = ["-map_metadata:s:v:0", f"{source}:s:{info.stream_index}"]
    present = dict(info.picture_metadata)
    words += _titled("-metadata:s:v:0", present)
    words += _language("-metadata:s:v:0", present.get("language", ""), muxer)
    stale = _STALE_IN_TRACK if "matroska" in demuxer else ("encoder", "vendor_id")
    # Transparency is told by ffmpeg itself, where it is still there.
    stale = (*stale, "alpha_mode", *(() if keeps_views(info, muxer) else ("stereo_mode",)))
    for key in (*stale, *(_handler(muxer) if "mov" in demuxer else ()), *(() if timecode else ("timecode",))):
        words += ["-metadata:s:v:0", f"{key}="]
    return [*words, *(["-disposition:v:0", "default"] if info.picture_disposition & 1 else [])]


def stream_tags(kind: str, number: int, source: int, stream: StreamInfo, muxer: str, fresh: bool) -> list[str]:
    """Title, language and the like of one track, and its dispositions.

    kind: ``a`` or ``s``; number: counted among the output's tracks of that kind; source: the input the tags come from;
    fresh: the track is encoded or retimed, so what was counted of the old one is no longer true.
    """
    place = f"-metadata:s:{kind}:{number}"
    words = [f"-map_metadata:s:{kind}:{number}", f"{source}:s:{stream.index}"]
    present = dict(stream.metadata)
    stale = {name.lower() for name in (*(_STALE_IN_TRACK if fresh else ()), *_handler(muxer))}
    words += _titled(place, present)
    for key in present:
        if key.lower() in stale:
            words += [place, f"{key}="]
    words += _language(place, stream.language, muxer)
    names = [word for bit, word in _DISPOSITIONS if stream.disposition & bit]
    return [*words, f"-disposition:{kind}:{number}", "+".join(names) or "0"]


def losses(stream: StreamInfo, muxer: str, ending: str) -> list[str]:
    """Lines of notes where a track loses its language, its title, or a mark of what it is, such as forced."""
    marks = [word for bit, word in _DISPOSITIONS if stream.disposition & bit and word != "default"]
    lost = [word for word in marks if word not in _MARKS.get(muxer, marks) and _SAID_TWICE.get(word) not in marks]
    shown = " and ".join(word.replace("_", " ") for word in lost)
    lines = [f"{label(stream)} is no longer marked as {shown}: .{ending} has no such mark"] if lost else []
    spoken = _MOV_LANGUAGES.get(stream.language, stream.language)
    unknown = muxer in _NAMELESS or (muxer == "mov" and spoken not in _MOV_KNOWS)
    if unknown and stream.language not in ("", "und"):
        lines.append(f"{label(stream)} does not say its language any more: .{ending} cannot")
    present = dict(stream.metadata)
    if muxer in _TITLELESS and (title := present.get("title") or present.get("name")):
        lines.append(f"{label(stream)} is no longer called '{printable(title)}': .{ending} holds no titles of tracks")
    return lines


def _language(place: str, language: str, muxer: str) -> list[str]:
    """The argument that tells a muxer a language in its own words, where those are others."""
    return [place, f"language={_MOV_LANGUAGES[language]}"] if muxer == "mov" and language in _MOV_LANGUAGES else []


def _titled(place: str, present: Mapping[str, str]) -> list[str]:
    """Every muxer is told as a title what QuickTime calls a name, and what may have been stored in no UTF-8."""
    if "title" in present:
        return [] if present["title"].isascii() else [place, f"title={present['title']}"]
    if "name" not in present:
        return []
    return [place, f"title={present['name']}", place, "name="]


def _handler(muxer: str) -> tuple[str, ...]:
    """QuickTime's handler names say nothing outside of it."""
    return () if muxer in ("mp4", "mov") else ("handler_name",)

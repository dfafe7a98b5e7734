"""What comes along from the source beside the new picture: sound, subtitles, chapters, covers, attachments, tags.

Everything travels through the one ffmpeg process that encodes the picture, as further inputs and arguments. Nothing is
decided during the run: ``plan_carry`` says before it, one line for each thing, what is converted or dropped.

Where time is unchanged, tracks are copied with the offsets they had to the picture. Where it is not (slow motion, a
range, a curve), sound is stretched, subtitles and chapters are moved.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Self

from slomo_cli.errors import SlomoError, UsageError, printable
from slomo_cli.media import stretch, subtitles
from slomo_cli.media.args import seconds_text
from slomo_cli.media.containers import BY_MUXER, LOSSLESS_AUDIO, TEXT_SUBTITLES, Container
from slomo_cli.media.ffmpeg import Tools, literal
from slomo_cli.media.target import Target
from slomo_cli.timeline import Plan
from slomo_cli.values import EncodeSettings, SourceTiming, StreamInfo, VideoInfo

_PRIMING = Fraction(1, 10)
"""Sound this much ahead of the picture is a decoder's priming or a rounding, not an offset someone made."""

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
_ENCODERS = {
    "aac": ("aac", "libfdk_aac"),
    "opus": ("libopus",),
    "vorbis": ("libvorbis",),
    "mp3": ("libmp3lame", "mp3_mf", "libshine"),
    "mp2": ("mp2", "libtwolame"),
    "ac3": ("ac3",),
    "eac3": ("eac3",),
    "flac": ("flac",),
    "alac": ("alac",),
}
# Tags that describe the file they came from, not what is in it; kept, they would lie about the new one.
_STALE_GLOBAL = ("major_brand", "minor_version", "compatible_brands", "encoder")
_STALE_STREAM = tuple(
    f"{name}{language}"
    for name in (
        "encoder",
        "vendor_id",
        "BPS",
        "DURATION",
        "NUMBER_OF_FRAMES",
        "NUMBER_OF_BYTES",
        "_STATISTICS_TAGS",
        "_STATISTICS_WRITING_APP",
        "_STATISTICS_WRITING_DATE_UTC",
    )
    for language in (("", "-eng") if name.isupper() else ("",))
)

_COVER_FILES = {"png": ("png", "image/png"), "mjpeg": ("jpg", "image/jpeg"), "gif": ("gif", "image/gif")}
_COVER_FILES |= {"bmp": ("bmp", "image/bmp"), "webp": ("webp", "image/webp"), "tiff": ("tiff", "image/tiff")}

# QuickTime knows some languages by other names than ISO 639-2/T.
_MOV_LANGUAGES = {"deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "hrv": "hr ", "fas": "per"}

Job = Callable[[], None]


@dataclass(frozen=True)
class Carry:
    """Arguments for the tracks beside the picture, and the files they need.

    Nothing is written before ``prepare``; ``close`` removes what it wrote. A context manager does both.
    """

    picture_delay: Fraction = Fraction(0)
    """Seconds by which the picture starts after the other tracks, as in the source."""
    input_args: tuple[str, ...] = ()
    """Further inputs, numbered from 1."""
    map_args: tuple[str, ...] = ()
    """Maps, filters and codecs; the user's own options come after these and win."""
    output_args: tuple[str, ...] = ()
    """Tags and dispositions, and what must stay as it is."""
    notes: tuple[str, ...] = ()
    """One line for each thing that is converted or dropped."""
    folder: Path | None = None
    """Where temporary files will be."""
    jobs: tuple[Job, ...] = field(default=(), repr=False)

    def prepare(self) -> None:
        """Writes the temporary files the arguments name; to be called once, before ffmpeg starts."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(mode=0o700)
            for job in self.jobs:
                job()
        except OSError as error:
            self.close()
            raise SlomoError(f"cannot write to '{printable(self.folder.parent)}': {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes the temporary files; harmless when repeated."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_time_changed(plan: Plan, timing: SourceTiming) -> bool:
    """Whether anything but the rate of the pictures changes: speed, or the range."""
    whole = plan.start == 0 and plan.end >= timing.duration
    return not whole or any(piece.speed_start != 1 or piece.speed_end != 1 for piece in plan.time_map.pieces)


def plan_carry(
    info: VideoInfo,
    timing: SourceTiming,
    plan: Plan,
    target: Target,
    settings: EncodeSettings,
    tools: Tools,
    time_changed: bool | None = None,
) -> Carry:
    """Decide what comes along and how. Reads nothing and writes nothing.

    time_changed: None finds out from the plan. Raises UsageError for ``--audio copy`` where sound cannot be copied.
    """
    changed = is_time_changed(plan, timing) if time_changed is None else time_changed
    return _Planner(info, timing, plan, target, settings, tools, changed).carry()


class _Planner:
    """Collects arguments while it walks the source's streams once."""

    def __init__(
        self,
        info: VideoInfo,
        timing: SourceTiming,
        plan: Plan,
        target: Target,
        settings: EncodeSettings,
        tools: Tools,
        changed: bool,
    ) -> None:
        self._info = info
        self._timing = timing
        self._plan = plan
        self._target = target
        self._settings = settings
        self._tools = tools
        self._changed = changed
        self._container: Container = BY_MUXER[target.container]
        self._inputs: list[list[str]] = []
        self._maps: list[str] = []
        self._codecs: list[str] = []
        self._graphs: list[str] = []
        self._tags: list[str] = []
        self._final: list[str] = []
        self._notes: list[str] = []
        self._jobs: list[Job] = []
        self._folder = Path(tempfile.gettempdir()) / f"slomo-{os.getpid()}-{secrets.token_hex(6)}"
        self._stretched_input: int | None = None
        self._attached = 0

    def carry(self) -> Carry:
        if not self._container.tracks:
            self._note_nothing_fits()
            return Carry(notes=tuple(self._notes))
        if not (self._info.streams or self._info.chapters or self._info.metadata):
            return Carry()
        delay = self._picture_delay()
        shift = self._info.container_start_seconds - self._timing.first_seconds + delay
        source = self._add_input(shift if not self._changed else Fraction(0))
        self._picture_tags(source)
        self._audio(source)
        self._subtitles(source)
        self._attachments(source)
        self._covers(source)
        self._rest()
        self._chapters(source)
        self._global_tags(source)
        graphs = ["-filter_complex", ";".join(self._graphs)] if self._graphs else []
        return Carry(
            picture_delay=delay,
            input_args=tuple(word for words in self._inputs for word in words),
            map_args=(*graphs, *self._maps, *self._codecs),
            output_args=(*self._tags, *self._final),
            notes=tuple(self._notes),
            folder=self._folder if self._jobs else None,
            jobs=tuple(self._jobs),
        )

    # ------------------------------------------------------------------------------------------------------ inputs

    def _add_input(self, shift: Fraction, path: Path | None = None, demuxer: str | None = None) -> int:
        """One more ``-i``; its number. The source is opened as the very format it was probed as, and as no other."""
        name = self._info.path if path is None else path
        if path is None:
            demuxer = self._info.container.partition(",")[0]
        words = ["-itsoffset", seconds_text(shift)] if shift else []
        words += ["-f", demuxer] if demuxer else []
        self._inputs.append([*words, "-i", literal(name)])
        return len(self._inputs)

    def _picture_delay(self) -> Fraction:
        """How long other tracks run before the first picture, in whole frames so that every frame keeps its place."""
        if self._changed:
            return Fraction(0)
        starts = [s.start_seconds for s in self._of("audio") if s.start_seconds is not None]
        ahead = self._timing.first_seconds - min(starts, default=self._timing.first_seconds)
        if ahead <= _PRIMING:
            return Fraction(0)
        return ceil(ahead * self._plan.rate) / self._plan.rate

    def _of(self, kind: str) -> list[StreamInfo]:
        return [stream for stream in self._info.streams if stream.kind == kind]

    # -------------------------------------------------------------------------------------------------------- sound

    def _audio(self, source: int) -> None:
        tracks = self._of("audio")
        mode = self._settings.audio
        if not tracks or mode == "drop":
            return
        if mode == "copy" and self._changed and self._is_bent():
            raise UsageError("sound cannot be copied while time changes: use --audio stretch, pitch or drop")
        number = 0
        for track in tracks:
            copied = (
                not self._changed and track.codec in self._container.audio and mode != "stretch" and mode != "pitch"
            )
            if copied:
                self._maps += ["-map", f"{source}:{track.index}"]
                self._codecs += [f"-c:a:{number}", "copy"]
            elif not self._encoded(track, source, number):
                continue
            self._stream_tags("a", number, source, track, fresh=not copied)
            number += 1

    def _is_bent(self) -> bool:
        return any(piece.speed_start != 1 or piece.speed_end != 1 for piece in self._plan.time_map.pieces)

    def _encoded(self, track: StreamInfo, source: int, number: int) -> bool:
        """A track that is encoded anew, stretched where time changes; False when this ffmpeg or container cannot."""
        label = self._label(track)
        codec, encoder = self._audio_encoder(track)
        if not track.codec:
            self._notes.append(f"{label} dropped: its codec is unknown")
            return False
        if encoder is None:
            self._notes.append(
                f"{label} dropped: this ffmpeg has no encoder for {codec or 'sound'} in .{self._target.extension}"
            )
            return False
        if self._changed:
            rate = 48_000 if codec == "opus" or not track.sample_rate else track.sample_rate
            if self._stretched_input is None:
                early = self._info.container_start_seconds - self._timing.first_seconds + stretch.LEAD
                self._stretched_input = self._add_input(early)
            method = self._method()
            pads = (f"{self._stretched_input}:{track.index}", f"a{number}")
            parts = stretch.segments(self._plan, rate)
            self._graphs.append(stretch.track_filters(*pads, parts, rate, method, f"t{number}"))
            self._maps += ["-map", f"[a{number}]"]
            said = (
                "cut to the range"
                if not self._is_bent()
                else "slowed with its pitch"
                if method == "pitch"
                else "stretched"
            )
            if track.codec != codec:
                self._notes.append(f"{label} is {said} and becomes {codec}")
        else:
            self._maps += ["-map", f"{source}:{track.index}"]
            self._notes.append(f"{label} becomes {codec}: .{self._target.extension} does not hold it as it is")
        self._codecs += [f"-c:a:{number}", encoder, *self._audio_quality(codec, track, number)]
        return True

    def _method(self) -> stretch.Method:
        if self._settings.audio == "pitch":
            return "pitch"
        if "rubberband" in self._tools.filters:
            return "rubberband"
        note = "this ffmpeg has no rubberband filter: sound is stretched with atempo, less exactly in time"
        if self._is_bent() and note not in self._notes:
            self._notes.append(note)
        return "atempo"

    def _audio_encoder(self, track: StreamInfo) -> tuple[str, str | None]:
        """(codec, encoder) for a track in this container: its own family where that is held, else the container's."""
        families = dict(self._container.audio_encoders)
        wanted = [track.codec] if track.codec == self._container.audio_default else []
        family = "lossless" if track.codec in LOSSLESS_AUDIO else track.codec
        if family in families:
            wanted.append(families[family])
        wanted.append(self._container.audio_default)
        for codec in wanted:
            if codec == "pcm":
                exact = track.codec if track.codec in self._container.audio else "pcm_s24le"
                names: tuple[str, ...] = (exact,)
                codec = exact
            else:
                names = _ENCODERS.get(codec, (codec,))
            for name in names:
                if name in self._tools.encoders:
                    return codec, name
        return wanted[-1], None

    def _audio_quality(self, codec: str, track: StreamInfo, number: int) -> list[str]:
        """Bit rates at which another generation is not heard; nothing for lossless codecs."""
        channels = track.channels or 2
        words: list[str] = []
        each = {"aac": 96, "mp3": 96, "opus": 80, "vorbis": 96, "ac3": 112, "eac3": 112, "mp2": 128}.get(codec)
        if each:
            most = {"mp3": 320, "ac3": 640, "mp2": 384}.get(codec, 768)
            words += [f"-b:a:{number}", f"{min(most, each * max(channels, 1))}k"]
        if codec == "opus" and channels > 2:
            words += [f"-mapping_family:a:{number}", "1" if channels <= 8 else "255"]
        if codec in ("mp3", "mp2") and channels > 2:
            words += [f"-ac:a:{number}", "2"]
            self._notes.append(f"{self._label(track)} is mixed to stereo: {codec} holds no more")
        return words

    def _label(self, stream: StreamInfo) -> str:
        codec = f" {stream.codec}" if stream.codec else ""
        language = f", {printable(stream.language)}" if stream.language and stream.language != "und" else ""
        return f"{stream.kind} track {stream.index} ({codec.strip() or 'unknown'}{language})"

    # ---------------------------------------------------------------------------------------------------- subtitles

    def _subtitles(self, source: int) -> None:
        kept: list[tuple[StreamInfo, str]] = []
        for track in self._of("subtitle"):
            codec = self._subtitle_codec(track)
            if codec is not None:
                kept.append((track, codec))
        places = self._retimed([track for track, _ in kept]) if self._changed else {}
        for number, (track, codec) in enumerate(kept):
            at, index = places.get(track.index, (source, track.index))
            self._maps += ["-map", f"{at}:{index}"]
            self._codecs += [f"-c:s:{number}", codec]
            self._stream_tags("s", number, source, track, fresh=codec != "copy")

    def _subtitle_codec(self, track: StreamInfo) -> str | None:
        """'copy', the codec it is converted to, or None with a note."""
        label, ending = self._label(track), self._target.extension
        if self._changed and track.codec not in subtitles.MATROSKA_HOLDS and track.codec != "mov_text":
            self._notes.append(f"{label} dropped: its times cannot be changed")
            return None
        if track.codec in self._container.subtitles:
            return "copy"
        if track.codec in TEXT_SUBTITLES and self._container.text_subtitles in self._tools.encoders:
            self._notes.append(f"{label} becomes {self._container.text_subtitles}: .{ending} does not hold it as it is")
            return self._container.text_subtitles
        self._notes.append(f"{label} dropped: .{ending} does not hold it")
        return None

    def _retimed(self, tracks: list[StreamInfo]) -> dict[int, tuple[int, int]]:
        """Temporary files of the moved tracks: source index -> (input number, index there)."""
        places: dict[int, tuple[int, int]] = {}
        for ending in ("mkv", "mp4"):
            indices = [track.index for track in tracks if (track.codec == "mov_text") == (ending == "mp4")]
            if not indices:
                continue
            path = self._folder / f"subtitles.{ending}"
            codecs = {track.index: track.codec for track in tracks}
            self._jobs.append(
                _retime_job(self._info.path, path, indices, self._plan, self._timing.first_seconds, codecs)
            )
            at = self._add_input(Fraction(0), path, "matroska" if ending == "mkv" else "mov")
            places.update({index: (at, place) for place, index in enumerate(indices)})
        return places

    # --------------------------------------------------------------------------------- covers, attachments, the rest

    def _covers(self, source: int) -> None:
        covers = self._of("cover")
        if covers and not self._container.covers:
            self._notes.append(f"cover picture dropped: .{self._target.extension} holds none")
            return
        if self._container.attachments:
            for number, cover in enumerate(covers):
                self._attached_cover(cover, number)
            return
        for number, cover in enumerate(covers, 1):
            self._maps += ["-map", f"{source}:{cover.index}"]
            self._final += [f"-c:v:{number}", "copy", f"-disposition:v:{number}", "attached_pic"]
            self._tags += [f"-map_metadata:s:v:{number}", f"{source}:s:{cover.index}"]

    def _attached_cover(self, cover: StreamInfo, number: int) -> None:
        """Matroska keeps covers as attached files, which ffmpeg takes from files only."""
        ending, kind = _COVER_FILES.get(cover.codec, ("", ""))
        if not ending:
            self._notes.append(f"cover picture dropped: .{self._target.extension} does not hold {cover.codec}")
            return
        tags = dict(cover.metadata)
        name = "cover" if number == 0 else f"cover{number + 1}"
        path = self._folder / f"{name}.{ending}"
        self._jobs.append(_cover_job(self._info.path, cover.index, path))
        place = self._attached
        self._attached += 1
        self._tags += ["-attach", literal(path), f"-metadata:s:t:{place}", f"mimetype={kind}"]
        self._tags += [f"-metadata:s:t:{place}", f"filename={tags.get('filename', path.name)}"]

    def _attachments(self, source: int) -> None:
        files = self._of("attachment")
        if files and not self._container.attachments:
            self._notes.append(f"{_counted(len(files), 'attachment')} dropped: .{self._target.extension} holds none")
            return
        for number, attached in enumerate(files):
            self._maps += ["-map", f"{source}:{attached.index}"]
            self._codecs += [f"-c:t:{number}", "copy"]
            self._tags += [f"-map_metadata:s:t:{number}", f"{source}:s:{attached.index}"]
        self._attached = len(files)

    def _rest(self) -> None:
        for stream in self._info.streams:
            # QuickTime lists its chapters a second time as a track of text.
            is_chapters = stream.codec == "bin_data" and self._info.chapters and "mov" in self._info.container
            if stream.kind not in ("audio", "subtitle", "attachment", "cover") and not is_chapters:
                self._notes.append(f"{self._label(stream)} dropped: it describes the frames of the source")

    def _note_nothing_fits(self) -> None:
        wanted = [
            _counted(len(self._of(kind)), name)
            for kind, name in (("audio", "audio track"), ("subtitle", "subtitle track"), ("attachment", "attachment"))
            if self._of(kind) and not (kind == "audio" and self._settings.audio == "drop")
        ]
        if self._info.chapters:
            wanted.append("chapters")
        if wanted:
            self._notes.append(f"{', '.join(wanted)} dropped: .{self._target.extension} holds pictures only")

    # ------------------------------------------------------------------------------------------- chapters and tags

    def _chapters(self, source: int) -> None:
        if not self._info.chapters:
            self._tags += ["-map_chapters", "-1"]
        elif not self._container.chapters:
            self._notes.append(f"chapters dropped: .{self._target.extension} holds none")
            self._tags += ["-map_chapters", "-1"]
        elif not self._changed:
            self._tags += ["-map_chapters", str(source)]
        else:
            moved = subtitles.moved_chapters(self._info.chapters, self._plan, self._timing.first_seconds)
            path = self._folder / "chapters.txt"
            self._jobs.append(_text_job(path, subtitles.chapter_file(moved)))
            self._tags += ["-map_chapters", str(self._add_input(Fraction(0), path, "ffmetadata"))]

    def _global_tags(self, source: int) -> None:
        if not self._container.metadata:
            self._tags += ["-map_metadata", "-1"]
            return
        self._tags += ["-map_metadata", str(source)]
        present = {key for key, _ in self._info.metadata}
        for key in _STALE_GLOBAL:
            if key in present:
                self._tags += ["-metadata", f"{key}="]

    def _picture_tags(self, source: int) -> None:
        self._tags += ["-map_metadata:s:v:0", f"{source}:s:{self._info.stream_index}"]
        for key in (*_STALE_STREAM, *(("handler_name",) if self._target.container not in ("mp4", "mov") else ())):
            self._tags += ["-metadata:s:v:0", f"{key}="]

    def _stream_tags(self, kind: str, number: int, source: int, stream: StreamInfo, fresh: bool) -> None:
        """Title, language and the like, and dispositions; a track made anew loses the tags of its old encoding."""
        self._tags += [f"-map_metadata:s:{kind}:{number}", f"{source}:s:{stream.index}"]
        present = dict(stream.metadata)
        stale = list(_STALE_STREAM if fresh or self._changed else ())
        if self._target.container not in ("mp4", "mov"):
            stale.append("handler_name")
        if "name" in present and "title" not in present:
            # QuickTime's word for what is written as a title.
            self._tags += [f"-metadata:s:{kind}:{number}", f"title={present['name']}"]
            stale.append("name")
        for key in stale:
            if key in present:
                self._tags += [f"-metadata:s:{kind}:{number}", f"{key}="]
        if self._target.container == "mov" and stream.language in _MOV_LANGUAGES:
            self._tags += [f"-metadata:s:{kind}:{number}", f"language={_MOV_LANGUAGES[stream.language]}"]
        words = [word for bit, word in _DISPOSITIONS if stream.disposition & bit]
        self._tags += [f"-disposition:{kind}:{number}", "+".join(words) or "0"]


def _retime_job(
    source: Path, result: Path, streams: list[int], plan: Plan, first_seconds: Fraction, codecs: dict[int, str]
) -> Job:
    return lambda: subtitles.retime(source, result, streams, plan, first_seconds, codecs)


def _cover_job(source: Path, index: int, result: Path) -> Job:
    """Writes a cover's one packet, which is an image file as it stands."""

    def job() -> None:
        from slomo_cli.media.probe import open_container

        with open_container(source) as container:
            for packet in container.demux(container.streams[index]):
                if packet.size:
                    result.write_bytes(bytes(packet))
                    return
        result.write_bytes(b"")

    return job


def _text_job(path: Path, text: str) -> Job:
    def job() -> None:
        path.write_text(text, encoding="utf-8", errors="replace", newline="\n")

    return job


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

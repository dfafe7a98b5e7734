"""What comes along from the source beside the new picture: sound, subtitles, chapters, covers, attachments, tags.

Everything travels through the one ffmpeg process that encodes the picture, as further inputs and arguments. Nothing is
decided during the run: ``plan_carry`` says before it, one line for each thing, what is converted or dropped.

Where time is unchanged, tracks are copied with the offsets they had to the picture. Where it is not (slow motion, a
range, a curve), sound is stretched, subtitles and chapters are moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path

from slomo_cli.errors import printable
from slomo_cli.media.containers import TEXT_SUBTITLES
from slomo_cli.media.ffmpeg import Tools, literal
from slomo_cli.media.plan.target import Target
from slomo_cli.media.tracks import sound, subtitles, tags
from slomo_cli.media.tracks.carried import Carry
from slomo_cli.media.tracks.draft import Draft
from slomo_cli.media.tracks.jobs import COVER_FILES, cover_job, text_job
from slomo_cli.media.tracks.soundtracks import AT_ONCE, PRIMING, SoundTracks
from slomo_cli.text import counted
from slomo_cli.timeline import Plan
from slomo_cli.values import Chapter, EncodeSettings, SourceTiming, StreamInfo, VideoInfo

__all__ = ["Carry", "is_time_changed", "plan_carry"]

_MOVING = ("matroska", "webm")
"""Muxers that move all tracks later until none begins before zero, but not the chapters."""


def is_time_changed(plan: Plan, timing: SourceTiming) -> bool:
    """Whether anything but the rate of the pictures changes: speed, or the range."""
    whole = plan.start == 0 and plan.end >= timing.duration
    return not whole or sound.is_bent(plan)


def plan_carry(
    info: VideoInfo,
    timing: SourceTiming,
    plan: Plan,
    target: Target,
    settings: EncodeSettings,
    tools: Tools,
) -> Carry:
    """Decide what comes along and how. Reads nothing and writes nothing.

    Raises UsageError for ``--audio copy`` where sound cannot be copied.
    """
    return _Planner(info, timing, plan, target, settings, tools, is_time_changed(plan, timing)).carry()


@dataclass
class _Planner(Draft):
    """Walks the source's streams once and puts down what comes along."""

    attached: int = 0
    """Files put into the output so far."""

    def carry(self) -> Carry:
        if not self.container.tracks:
            self._note_nothing_fits()
            return Carry(notes=tuple(self.notes))
        if self.info.container == "image2" or not (self.info.streams or self.info.chapters or self.info.metadata):
            return Carry()
        delay = self._picture_delay()
        if delay and self.target.container in AT_ONCE:
            self.notes.append(
                f"the first picture stands {float(delay):.2f} s longer, as long as the sound before it: tracks of "
                f".{self.target.extension} begin at once"
            )
        source = self.inputs.source(None if self.changed else delay)
        timecode = self._keeps_timecode()
        self.tags += tags.picture_tags(source, self.info, self.target.container, timecode)
        SoundTracks(self, source, delay).add()
        self._subtitles(source, delay)
        self._attachments(source)
        self._covers(source)
        self._rest()
        self._chapters(source)
        self._global_tags(source, timecode)
        return self.finished(delay)

    def _picture_delay(self) -> Fraction:
        """How long other tracks run before the first picture, in whole frames so that every frame keeps its place."""
        ahead = self._sound_ahead()
        return Fraction(0) if ahead <= PRIMING else ceil(ahead * self.plan.rate) / self.plan.rate

    def _sound_ahead(self) -> Fraction:
        """How long copied time begins before the first picture, in seconds."""
        if self.changed or self.settings.audio == "drop":
            return Fraction(0)
        starts = [s.start_seconds for s in self.of("audio") if s.start_seconds is not None]
        return self.timing.first_seconds - min(starts, default=self.timing.first_seconds)

    def _keeps_timecode(self) -> bool:
        """Whether every frame still has the number that a timecode counts it by; a note where it has not."""
        found = tags.timecode(self.info)
        same = self.plan.start == 0 and self.plan.rate == self.timing.rate and not sound.is_bent(self.plan)
        if found and not same:
            self.notes.append(f"timecode {printable(found)} dropped: it counts the old frames")
        return same

    # ---------------------------------------------------------------------------------------------------- subtitles

    def _subtitles(self, source: int, delay: Fraction) -> None:
        kept: list[tuple[StreamInfo, str]] = []
        for track in self.of("subtitle"):
            codec = self._subtitle_codec(track)
            if codec is not None:
                kept.append((track, codec))
        # Where recordings were joined, ffmpeg mends the clocks of sound only, or not at all.
        moved = self.changed or not self.timing.continuous
        # Text is looked at here first where ffmpeg is to convert it, which it does with UTF-8 only.
        ours = [
            track
            for track, codec in kept
            if _can_be_retimed(track) and (moved or (codec != "copy" and track.codec in subtitles.TEXT))
        ]
        places = self._retimed(ours, delay, self.plan if moved else None)
        for number, (track, codec) in enumerate(kept):
            self.maps += ["-map", places.get(track.index) or self.inputs.use(source, track)]
            self.codecs += [f"-c:s:{number}", codec]
            fresh = codec != "copy" or track.index in places
            self.tags += tags.stream_tags("s", number, source, track, self.target.container, fresh)
            self.notes += tags.losses(track, self.target.container, self.target.extension)

    def _subtitle_codec(self, track: StreamInfo) -> str | None:
        """'copy', the codec it is converted to, or None with a note."""
        label, ending = tags.label(track), self.target.extension
        if self.changed and not _can_be_retimed(track):
            self.notes.append(f"{label} dropped: its times cannot be changed")
            return None
        if track.codec in self.container.subtitles:
            return "copy"
        if track.codec in TEXT_SUBTITLES and self.container.text_subtitles in self.tools.encoders:
            self.notes.append(f"{label} becomes {self.container.text_subtitles}: .{ending} does not hold it as it is")
            return self.container.text_subtitles
        self.notes.append(f"{label} dropped: .{ending} does not hold it")
        return None

    def _retimed(self, tracks: list[StreamInfo], delay: Fraction, plan: Plan | None) -> dict[int, str]:
        """Temporary files of the tracks, moved as ``plan`` says: source index -> map specifier of the moved track.
        ``delay``: of the picture."""
        places: dict[int, str] = {}
        for ending in ("mkv", "mp4"):
            indices = [track.index for track in tracks if (track.codec == "mov_text") == (ending == "mp4")]
            if not indices:
                continue
            path = self.folder / f"subtitles.{ending}"
            codecs = {track.index: track.codec for track in tracks}
            self.jobs.append(partial(self._retime, path, indices, codecs, plan))
            at = self.inputs.file(path, "matroska" if ending == "mkv" else "mov", delay)
            places.update({index: f"{at}:{place}" for place, index in enumerate(indices)})
        return places

    def _retime(self, path: Path, indices: list[int], codecs: dict[int, str], plan: Plan | None) -> None:
        """The job of writing one of them."""
        outside, foreign = subtitles.retime(self.info, self.timing, path, indices, plan, codecs)
        labels = {track.index: tags.label(track) for track in self.of("subtitle")}
        self.met += [f"{labels[at]}: {_left_out(count, 'caption')}" for at, count in outside.items() if count]
        self.met += [
            f"{labels[at]}: {counted(count, 'caption')} in no UTF-8, read as Windows-1252: letters may be wrong"
            for at, count in foreign.items()
            if count
        ]

    # --------------------------------------------------------------------------------- covers, attachments, the rest

    def _covers(self, source: int) -> None:
        covers = self.of("cover")
        if covers and not self.container.covers:
            self.notes.append(f"cover picture dropped: .{self.target.extension} holds none")
            return
        if self.container.attachments:
            for number, cover in enumerate(covers):
                self._attached_cover(cover, number)
            return
        for number, cover in enumerate(covers, 1):
            self.maps += ["-map", self.inputs.use(source, cover)]
            self.final += [f"-c:v:{number}", "copy", f"-disposition:v:{number}", "attached_pic"]
            self.tags += [f"-map_metadata:s:v:{number}", f"{source}:s:{cover.index}"]

    def _attached_cover(self, cover: StreamInfo, number: int) -> None:
        """Matroska keeps covers as attached files, which ffmpeg takes from files only."""
        ending, kind = COVER_FILES.get(cover.codec, ("", ""))
        if not ending:
            self.notes.append(f"cover picture dropped: .{self.target.extension} does not hold {cover.codec}")
            return
        old_name = dict(cover.metadata).get("filename")
        name = "cover" if number == 0 else f"cover{number + 1}"
        path = self.folder / f"{name}.{ending}"
        self.jobs.append(cover_job(self.info.path, cover.index, path))
        place = self.attached
        self.attached += 1
        self.tags += ["-attach", literal(path), f"-metadata:s:t:{place}", f"mimetype={kind}"]
        self.tags += [f"-metadata:s:t:{place}", f"filename={old_name or path.name}"]

    def _attachments(self, source: int) -> None:
        files = self.of("attachment")
        if files and not self.container.attachments:
            self.notes.append(f"{counted(len(files), 'attachment')} dropped: .{self.target.extension} holds none")
            return
        for number, attached in enumerate(files):
            self.maps += ["-map", self.inputs.use(source, attached)]
            self.codecs += [f"-c:t:{number}", "copy"]
            self.tags += [f"-map_metadata:s:t:{number}", f"{source}:s:{attached.index}"]
        self.attached = len(files)

    def _rest(self) -> None:
        # QuickTime lists its chapters a second time, as a track of text, and the timecode has been told of.
        has_chapter_track = bool(self.info.chapters) and "mov" in self.info.container
        rest = [
            stream
            for stream in self.info.streams
            if stream.kind not in ("audio", "subtitle", "attachment", "cover")
            and not (has_chapter_track and stream.codec == "bin_data")
            and "timecode" not in dict(stream.metadata)
        ]
        videos = [tags.label(stream) for stream in rest if stream.kind == "video"]
        others = [tags.label(stream) for stream in rest if stream.kind != "video"]
        elsewhere = [tags.label(stream) for stream in self.info.streams if stream.is_elsewhere]
        if videos:
            self.notes.append(f"{', '.join(videos)} dropped: only one picture track is converted")
        if elsewhere:
            whose = "it belongs" if len(elsewhere) == 1 else "they belong"
            self.notes.append(f"{', '.join(elsewhere)} dropped: {whose} to another programme than the picture")
        if others:
            self.notes.append(
                f"{', '.join(others)} dropped: {'it describes' if len(others) == 1 else 'they describe'} the old frames"
            )

    def _note_nothing_fits(self) -> None:
        wanted = [
            counted(len(self.of(kind)), name)
            for kind, name in (("audio", "audio track"), ("subtitle", "subtitle track"), ("attachment", "attachment"))
            if self.of(kind) and not (kind == "audio" and self.settings.audio == "drop")
        ]
        if self.info.chapters:
            wanted.append("chapters")
        if wanted:
            self.notes.append(f"{', '.join(wanted)} dropped: .{self.target.extension} holds pictures only")

    # ------------------------------------------------------------------------------------------- chapters and tags

    def _chapters(self, source: int) -> None:
        if not self.info.chapters:
            self.tags += ["-map_chapters", "-1"]
        elif not self.container.chapters:
            self.notes.append(f"chapters dropped: .{self.target.extension} holds none")
            self.tags += ["-map_chapters", "-1"]
        elif self.changed:
            moved = subtitles.moved_chapters(self.info.chapters, self.plan, self.timing.first_seconds)
            if lost := len(self.info.chapters) - len(moved):
                self.notes.append(_left_out(lost, "chapter"))
            self._own_chapters(moved)
        elif self.target.container in _MOVING and 0 < (ahead := self._sound_ahead()) <= PRIMING:
            self._own_chapters(subtitles.later_chapters(self.info.chapters, ahead - self.timing.first_seconds))
        else:
            self.tags += ["-map_chapters", str(source)]

    def _own_chapters(self, chapters: list[Chapter]) -> None:
        path = self.folder / "chapters.txt"
        self.jobs.append(text_job(path, subtitles.chapter_file(chapters)))
        self.tags += ["-map_chapters", str(self.inputs.file(path, "ffmetadata"))]

    def _global_tags(self, source: int, timecode: bool) -> None:
        if not self.container.metadata:
            self.tags += ["-map_metadata", "-1"]
            return
        self.tags += ["-map_metadata", str(source)]
        metadata = dict(self.info.metadata)
        self.tags += tags.file_tags(metadata, timecode)
        if any(name == "map_metadata" for name, _ in self.target.user_options):
            return  # who leaves the tags behind means the place of the recording too
        if date := metadata.get("creation_time"):
            # A file that has it in two places gives ffmpeg 9 "a;b", which no muxer reads.
            self.tags += ["-metadata", f"creation_time={date.partition(';')[0]}"]
        elif self.info.container == "asf":
            self.tags += ["-metadata", "creation_time="]  # ffmpeg 9 reads 1970 where there is none
        mended = tags.mended_tags(self.info)
        self.tags += mended
        if mended:
            names = ", ".join(printable(word.partition("=")[0]) for word in mended[1::2])
            self.notes.append(f"tags in no UTF-8, read as Windows-1252: {names}; letters may be wrong")
        kept, lost = tags.placed_tags(metadata, self.info.container, self.target.container)
        self.tags += kept
        if lost:
            names = ", ".join(printable(name) for name in lost)
            self.notes.append(f"tags dropped that .{self.target.extension} has no place for: {names}")


def _can_be_retimed(track: StreamInfo) -> bool:
    return track.codec in subtitles.MATROSKA_HOLDS or track.codec == "mov_text"


def _left_out(count: int, what: str) -> str:
    lies = "it lies" if count == 1 else "they lie"
    return f"{counted(count, what)} left out: {lies} outside the pictures that are shown"

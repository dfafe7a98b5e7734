"""What comes along from the source beside the new picture: sound, subtitles, chapters, covers, attachments, tags.

Everything travels through the one ffmpeg process that encodes the picture, as further inputs and arguments. Nothing is
decided during the run: ``plan_carry`` says before it, one line for each thing, what is converted or dropped.

Where time is unchanged, tracks are copied with the offsets they had to the picture. Where it is not (slow motion, a
range, a curve), sound is stretched, subtitles and chapters are moved.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from fractions import Fraction
from math import ceil
from pathlib import Path

from slomo_cli.errors import UsageError, printable
from slomo_cli.media import sound, soundfeed, stretch, subtitles, tags
from slomo_cli.media.carried import Carry
from slomo_cli.media.containers import BY_MUXER, TEXT_SUBTITLES, Container
from slomo_cli.media.ffmpeg import Tools, literal
from slomo_cli.media.inputs import Inputs
from slomo_cli.media.jobs import COVER_FILES, Job, cover_job, retime_job, text_job
from slomo_cli.media.target import Target
from slomo_cli.timeline import Plan
from slomo_cli.values import EncodeSettings, SourceTiming, StreamInfo, VideoInfo

__all__ = ["Carry", "is_time_changed", "plan_carry"]

_PRIMING = Fraction(1, 10)
"""Sound this much ahead of the picture is a decoder's priming or a rounding, not an offset someone made."""
_HIDING = ("mp4", "mov", "matroska", "webm")
"""Muxers that can keep sound in the file which is not to be heard; elsewhere a copy brings it all back."""


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
) -> Carry:
    """Decide what comes along and how. Reads nothing and writes nothing.

    Raises UsageError for ``--audio copy`` where sound cannot be copied.
    """
    return _Planner(info, timing, plan, target, settings, tools, is_time_changed(plan, timing)).carry()


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
        self._inputs = Inputs(info, timing, target.ffmpeg_version)
        self._maps: list[str] = []
        self._codecs: list[str] = []
        self._graphs: list[str] = []
        self._tags: list[str] = []
        self._final: list[str] = []
        self._notes: list[str] = []
        self._jobs: list[Job] = []
        self._folder = Path(tempfile.gettempdir()) / f"slomo-{os.getpid()}-{secrets.token_hex(6)}"
        self._feeds: list[soundfeed.SoundFeed] = []
        self._stretched_input: int | None = None
        self._attached = 0

    def carry(self) -> Carry:
        if not self._container.tracks:
            self._note_nothing_fits()
            return Carry(notes=tuple(self._notes))
        if self._info.container == "image2" or not (self._info.streams or self._info.chapters or self._info.metadata):
            return Carry()
        delay = self._picture_delay()
        source = self._inputs.source(None if self._changed else delay)
        timecode = self._keeps_timecode()
        self._tags += tags.picture_tags(
            source, self._info.stream_index, self._info.container, self._target.container, timecode
        )
        self._audio(source)
        self._subtitles(source)
        self._attachments(source)
        self._covers(source)
        self._rest()
        self._chapters(source)
        self._global_tags(source, timecode)
        graphs = ["-filter_complex", ";".join(self._graphs)] if self._graphs else []
        return Carry(
            picture_delay=delay,
            input_args=self._inputs.args(),
            map_args=(*graphs, *self._maps, *self._codecs),
            output_args=(*self._tags, *self._final),
            notes=tuple(self._notes),
            folder=self._folder if self._jobs else None,
            jobs=tuple(self._jobs),
            feeds=tuple(self._feeds),
        )

    def _picture_delay(self) -> Fraction:
        """How long other tracks run before the first picture, in whole frames so that every frame keeps its place."""
        if self._changed or self._settings.audio == "drop":
            return Fraction(0)
        starts = [s.start_seconds for s in self._of("audio") if s.start_seconds is not None]
        ahead = self._timing.first_seconds - min(starts, default=self._timing.first_seconds)
        if ahead <= _PRIMING:
            return Fraction(0)
        return ceil(ahead * self._plan.rate) / self._plan.rate

    def _keeps_timecode(self) -> bool:
        """Whether every frame still has the number that a timecode counts it by; a note where it has not."""
        found = tags.timecode(self._info)
        same = self._plan.start == 0 and self._plan.rate == self._timing.rate and not sound.is_bent(self._plan)
        if found and not same:
            self._notes.append(f"timecode {printable(found)} dropped: it counts the old frames")
        return same

    def _of(self, kind: str) -> list[StreamInfo]:
        return [stream for stream in self._info.streams if stream.kind == kind]

    # -------------------------------------------------------------------------------------------------------- sound

    def _audio(self, source: int) -> None:
        tracks = self._of("audio")
        mode = self._settings.audio
        if not tracks or mode == "drop":
            return
        bent = sound.is_bent(self._plan)
        if mode == "copy" and bent:
            raise UsageError("sound cannot be copied while time changes: use --audio stretch, pitch or drop")
        self._note_sound_outside(tracks)
        number = 0
        for track in tracks:
            bared = track.hidden_seconds > _PRIMING and self._target.container not in _HIDING
            # A copy plays what lies in a gap, and ends too early for it.
            hidden = bared or track.is_cut
            copied = not self._changed and track.codec in self._container.audio and not hidden
            if copied:
                self._maps += ["-map", self._inputs.use(source, track)]
                self._codecs += [f"-c:a:{number}", "copy"]
                self._allow(track.codec)
                if sound.is_unnamed(track, self._container):
                    name, ending = tags.label(track), self._target.extension
                    self._notes.append(
                        f"{name} is copied, but .{ending} does not say that its channels are {track.layout}"
                    )
            elif not self._encoded(track, source, number, bent):
                continue
            self._tags += tags.stream_tags("a", number, source, track, self._target.container, fresh=not copied)
            number += 1

    def _note_sound_outside(self, tracks: list[StreamInfo]) -> None:
        """Where time changes, the picture's ends are the sound's; what a range leaves out is the user's own wish."""
        starts = [track.start_seconds for track in tracks if track.start_seconds is not None]
        ends = [
            track.start_seconds + track.duration_seconds
            for track in tracks
            if track.start_seconds is not None and track.duration_seconds is not None
        ]
        first, last = self._timing.first_seconds, self._timing.first_seconds + self._timing.duration
        parts = []
        if self._plan.start == 0 and (before := first - min(starts, default=first)) > _PRIMING:
            parts.append(f"{float(before):.1f} s before the first picture")
        if self._plan.end >= self._timing.duration and (after := max(ends, default=last) - last) > _PRIMING:
            parts.append(f"{float(after):.1f} s after the last picture")
        # Where clocks jump, they do not tell what lies outside.
        if parts and self._changed and self._timing.continuous:
            self._notes.append(f"sound is left out where nothing is shown: {' and '.join(parts)}")

    def _allow(self, codec: str) -> None:
        """What ffmpeg writes into mp4 only when told so."""
        if self._target.container == "mp4" and (
            codec == "truehd" or (codec == "flac" and self._target.ffmpeg_version < (7, 0))
        ):
            self._final += ["-strict", "experimental"]

    def _encoded(self, track: StreamInfo, source: int, number: int, bent: bool) -> bool:
        """A track that is encoded anew, stretched where time changes; False when that cannot be had."""
        name, ending = tags.label(track), self._target.extension
        codec, encoder = sound.audio_encoder(track, self._container, self._tools)
        if not track.codec:
            self._notes.append(f"{name} dropped: its codec is unknown")
            return False
        if encoder is None:
            self._notes.append(f"{name} dropped: this ffmpeg has no encoder for {codec}, which .{ending} would hold")
            return False
        if self._changed:
            self._bent(track, number, codec)
            if track.codec != codec:
                self._notes.append(f"{name} is {'stretched' if bent else 'cut to the range'} and becomes {codec}")
            elif self._settings.audio == "copy":
                self._notes.append(f"{name} is cut to the range, and so encoded anew: only the whole can be copied")
        else:
            self._maps += ["-map", self._inputs.use(source, track)]
            if layouts := sound.layout_filter(codec, track, self._container):
                self._codecs += [f"-filter:a:{number}", layouts]
            if track.codec in self._container.audio and track.is_cut:
                self._notes.append(
                    f"{name} is encoded anew: a copy would bring back what the source's edit list leaves out"
                )
            elif track.codec in self._container.audio:
                hidden = f"{float(track.hidden_seconds):.2f} s before its beginning"
                self._notes.append(f"{name} is encoded anew: .{ending} cannot hide {hidden} as the source does")
            else:
                self._notes.append(f"{name} becomes {codec}: .{ending} does not hold it as it is")
        if mixed := sound.mixed_to(codec, track, self._container):
            layout = sound.layout_name(track) or f"{track.channels} channels"
            self._notes.append(f"{name} is mixed to {mixed}: {codec} does not hold {layout}")
        self._codecs += [f"-c:a:{number}", encoder, *sound.audio_quality(codec, track, number)]
        self._allow(codec)
        return True

    def _bent(self, track: StreamInfo, number: int, codec: str) -> None:
        """The track on the picture's time and as long as it: by the vocoder, or by filters where it is only cut, may
        fall in pitch, or cannot be fed."""
        rate = sound.sample_rate(codec, track)
        method = sound.stretch_method(self._settings, self._tools)
        if method != "pitch" and sound.is_bent(self._plan) and sound.can_be_fed(track):
            self._fed(track, number, codec)
            return
        if self._stretched_input is None:
            self._stretched_input = self._inputs.source(stretch.LEAD)
            if sound.is_bent(self._plan) and method == "atempo":
                self._notes.append("this ffmpeg has no rubberband filter: sound is stretched less exactly, with atempo")
        parts = stretch.segments(self._plan, rate)
        pads = (self._inputs.use(self._stretched_input, track), f"a{number}")
        layouts = sound.layout_filter(codec, track, self._container)
        self._graphs.append(stretch.track_filters(*pads, parts, rate, method, f"t{number}", layouts))
        self._maps += ["-map", f"[a{number}]"]

    def _fed(self, track: StreamInfo, number: int, codec: str) -> None:
        """The track as samples from a pipe that a thread of ours fills during the run."""
        word = f"pipe:sound{number}"
        source, timing, plan, rate = self._info.path, self._timing, self._plan, track.sample_rate
        self._feeds.append(
            soundfeed.SoundFeed(
                word,
                tags.label(track),
                lambda damage: soundfeed.stretched(source, track, timing, plan, rate, damage),
                track.channels,
                round(plan.duration * rate),
            )
        )
        self._maps += ["-map", f"{self._inputs.samples(word, rate, track.channels, sound.layout_name(track))}:0"]
        if layouts := sound.layout_filter(codec, track, self._container):
            self._codecs += [f"-filter:a:{number}", layouts]

    # ---------------------------------------------------------------------------------------------------- subtitles

    def _subtitles(self, source: int) -> None:
        kept: list[tuple[StreamInfo, str]] = []
        for track in self._of("subtitle"):
            codec = self._subtitle_codec(track)
            if codec is not None:
                kept.append((track, codec))
        places = self._retimed([track for track, _ in kept]) if self._changed else {}
        for number, (track, codec) in enumerate(kept):
            self._maps += ["-map", places.get(track.index) or self._inputs.use(source, track)]
            self._codecs += [f"-c:s:{number}", codec]
            fresh = codec != "copy" or self._changed
            self._tags += tags.stream_tags("s", number, source, track, self._target.container, fresh)

    def _subtitle_codec(self, track: StreamInfo) -> str | None:
        """'copy', the codec it is converted to, or None with a note."""
        label, ending = tags.label(track), self._target.extension
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

    def _retimed(self, tracks: list[StreamInfo]) -> dict[int, str]:
        """Temporary files of the moved tracks: source index -> map specifier of the moved track."""
        places: dict[int, str] = {}
        for ending in ("mkv", "mp4"):
            indices = [track.index for track in tracks if (track.codec == "mov_text") == (ending == "mp4")]
            if not indices:
                continue
            path = self._folder / f"subtitles.{ending}"
            codecs = {track.index: track.codec for track in tracks}
            self._jobs.append(
                retime_job(self._info.path, path, indices, self._plan, self._timing.first_seconds, codecs)
            )
            at = self._inputs.file(path, "matroska" if ending == "mkv" else "mov")
            places.update({index: f"{at}:{place}" for place, index in enumerate(indices)})
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
            self._maps += ["-map", self._inputs.use(source, cover)]
            self._final += [f"-c:v:{number}", "copy", f"-disposition:v:{number}", "attached_pic"]
            self._tags += [f"-map_metadata:s:v:{number}", f"{source}:s:{cover.index}"]

    def _attached_cover(self, cover: StreamInfo, number: int) -> None:
        """Matroska keeps covers as attached files, which ffmpeg takes from files only."""
        ending, kind = COVER_FILES.get(cover.codec, ("", ""))
        if not ending:
            self._notes.append(f"cover picture dropped: .{self._target.extension} does not hold {cover.codec}")
            return
        old_name = dict(cover.metadata).get("filename")
        name = "cover" if number == 0 else f"cover{number + 1}"
        path = self._folder / f"{name}.{ending}"
        self._jobs.append(cover_job(self._info.path, cover.index, path))
        place = self._attached
        self._attached += 1
        self._tags += ["-attach", literal(path), f"-metadata:s:t:{place}", f"mimetype={kind}"]
        self._tags += [f"-metadata:s:t:{place}", f"filename={old_name or path.name}"]

    def _attachments(self, source: int) -> None:
        files = self._of("attachment")
        if files and not self._container.attachments:
            self._notes.append(f"{_counted(len(files), 'attachment')} dropped: .{self._target.extension} holds none")
            return
        for number, attached in enumerate(files):
            self._maps += ["-map", self._inputs.use(source, attached)]
            self._codecs += [f"-c:t:{number}", "copy"]
            self._tags += [f"-map_metadata:s:t:{number}", f"{source}:s:{attached.index}"]
        self._attached = len(files)

    def _rest(self) -> None:
        # QuickTime lists its chapters a second time, as a track of text, and the timecode has been told of.
        has_chapter_track = bool(self._info.chapters) and "mov" in self._info.container
        rest = [
            stream
            for stream in self._info.streams
            if stream.kind not in ("audio", "subtitle", "attachment", "cover")
            and not (has_chapter_track and stream.codec == "bin_data")
            and "timecode" not in dict(stream.metadata)
        ]
        videos = [tags.label(stream) for stream in rest if stream.kind == "video"]
        others = [tags.label(stream) for stream in rest if stream.kind != "video"]
        if videos:
            self._notes.append(f"{', '.join(videos)} dropped: only one picture track is converted")
        if others:
            self._notes.append(
                f"{', '.join(others)} dropped: {'it describes' if len(others) == 1 else 'they describe'} the old frames"
            )

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
            self._jobs.append(text_job(path, subtitles.chapter_file(moved)))
            self._tags += ["-map_chapters", str(self._inputs.file(path, "ffmetadata"))]

    def _global_tags(self, source: int, timecode: bool) -> None:
        if not self._container.metadata:
            self._tags += ["-map_metadata", "-1"]
            return
        self._tags += ["-map_metadata", str(source)]
        metadata = dict(self._info.metadata)
        self._tags += tags.file_tags(metadata, timecode)
        if any(name == "map_metadata" for name, _ in self._target.user_options):
            return  # who leaves the tags behind means the place of the recording too
        if date := metadata.get("creation_time"):
            # A file that has it in two places gives ffmpeg 9 "a;b", which no muxer reads.
            self._tags += ["-metadata", f"creation_time={date.partition(';')[0]}"]
        kept, lost = tags.apple_tags(metadata, self._target.container)
        self._tags += kept
        if lost:
            names = ", ".join(printable(name) for name in lost)
            self._notes.append(f"tags dropped that .{self._target.extension} has no place for: {names}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

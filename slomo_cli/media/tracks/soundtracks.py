"""The source's sound beside the new picture: copied where nothing changes, encoded anew, or stretched with it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import chain

from slomo_cli.errors import UsageError
from slomo_cli.media.read.source import PAUSING_FORMATS
from slomo_cli.media.read.walk import HEARD
from slomo_cli.media.tracks import sound, stretch, tags
from slomo_cli.media.tracks.draft import PRIMING, Draft
from slomo_cli.media.tracks.samples import silence, stretched
from slomo_cli.media.tracks.soundcopy import PacketFeed, can_be_handed
from slomo_cli.media.tracks.soundfeed import SoundFeed
from slomo_cli.text import counted
from slomo_cli.values import StreamInfo

_HIDING = ("mp4", "mov", "matroska", "webm")
"""Muxers that can keep sound in the file which is not to be heard; elsewhere a copy brings it all back."""
AT_ONCE = ("avi",)
"""Muxers whose tracks all begin at once; silence stands where one begins later."""
_TIMELESS = ("avi", "mov")
"""Muxers in which samples of PCM follow each other whatever their times are; silence fills the pauses of those."""

_MOST_BENT, _MOST_OPENED = 64, 8192
"""Tracks that are made anew on another time, and tracks that are opened for that: each reads the source by itself, and
that takes 150 kB for every track that is in it."""

_TOLD_ONCE = ("mp4", "mov", "matroska")
"""Muxers that say at the beginning what all packets of AAC hold."""
_LOOKED_AT = {"aac": _TOLD_ONCE, "ac3": ("mp4", "mov"), "eac3": ("mp4", "mov")}
"""Codec -> muxers that read the header of each packet, and fail at one that has none."""
_CHANGES = "its channels or its rate change on the way"
_PACKETS = "pipe:packets"


class SoundTracks:
    """Puts the tracks of sound into a draft."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._is_bent = draft.plan.time_map.changes_speed
        self._stretched_input: int | None = None
        self._packets_input: int | None = None
        self._handed: list[StreamInfo] = []
        """Tracks of which the packets are handed over, in the order they have there."""

    def add(self) -> None:
        """All of them. UsageError for a copy of what changes."""
        draft = self._draft
        tracks = [self._heard(track) for track in draft.of("audio")]
        mode = draft.settings.audio
        if not tracks or mode == "drop":
            return
        if mode == "copy" and self._is_bent:
            raise UsageError("sound cannot be copied while time changes: use --audio stretch, pitch or drop")
        self._note_outside(tracks)
        most = max(1, min(_MOST_BENT, _MOST_OPENED // len(draft.info.streams)))
        if draft.changed and len(tracks) > most:
            more = counted(len(tracks) - most, "more audio track")
            draft.notes.append(f"{more} dropped: of a source of that many, {most} can be kept where time changes")
            tracks = tracks[:most]
        number = 0
        for track in tracks:
            why = self._why_cut(track) if draft.changed else self._why_not_copied(track)
            if why is None:
                self._copied(track, number)
            elif not self._encoded(track, number, why):
                continue
            draft.tags += tags.stream_tags(
                "a", number, draft.source, track, draft.target.container, fresh=why is not None
            )
            draft.notes += tags.losses(track, draft.target.container, draft.target.extension)
            number += 1
        if self._handed:
            draft.feeds.append(PacketFeed(_PACKETS, draft.info, draft.timing, self._handed))

    def _heard(self, track: StreamInfo) -> StreamInfo:
        """The track with what is known of it only from the way over all packets."""
        found = self._draft.timing.of_sound(track).begins_as
        return track if found is None else replace(track, sample_rate=found[0], channels=found[1], layout=found[2])

    def _why_cut(self, track: StreamInfo) -> str:
        """A note on what becomes of a track whose time changes; '' where nobody asks."""
        codec, _ = self._new_codec(track)
        if track.codec != codec:
            return f"is {'stretched' if self._is_bent else 'cut to the range'} and becomes {codec}"
        asked = self._draft.settings.audio == "copy"
        return "is cut to the range, and so encoded anew: only the whole can be copied" if asked else ""

    def _why_not_copied(self, track: StreamInfo) -> str | None:
        """Why a track that keeps its time is encoded anew, as a note; '' where nobody asks, None where it is copied."""
        draft, muxer, ending = self._draft, self._draft.target.container, self._draft.target.extension
        if unfit := self._unfit(track):
            return f"is encoded anew: {unfit}"
        if not sound.is_held(track, draft.container):
            return f"becomes {self._new_codec(track)[0]}: .{ending} does not hold it as it is"
        if draft.timing.of_sound(track).pauses and muxer in AT_ONCE:
            return f"is encoded anew: it pauses, and .{ending} knows no pauses"
        if (late := self._later_than_all(track)) > HEARD:
            return f"is encoded anew: it begins {float(late):.2f} s later, and in .{ending} all begin at once"
        if track.is_cut:  # a copy plays what lies in a gap, and ends too early for it
            return "is encoded anew: a copy would bring back what the source's edit list leaves out"
        if track.hidden_seconds > PRIMING and muxer not in _HIDING:
            hidden = f"{float(track.hidden_seconds):.2f} s before its beginning"
            return f"is encoded anew: .{ending} cannot hide {hidden} as the source does"
        if track.codec.startswith("pcm_") and muxer in _TIMELESS and draft.info.container in PAUSING_FORMATS:
            return ""  # silence may have to fill its pauses, and nothing is lost
        # Of a track without a rate, as broadcasts announce and do not send, no muxer takes a copy.
        return None if track.sample_rate > 0 else ""

    def _copied(self, track: StreamInfo, number: int) -> None:
        draft = self._draft
        draft.maps += ["-map", self._unbent(track)]
        draft.codecs += [f"-c:a:{number}", "copy"]
        self._allow(track.codec)
        if sound.is_unnamed(track, draft.container):
            name, ending = tags.label(track), draft.target.extension
            draft.notes.append(f"{name} is copied, but .{ending} does not say that its channels are {track.layout}")

    def _new_codec(self, track: StreamInfo) -> tuple[str, str | None]:
        """The codec a track is encoded into, and ffmpeg's encoder if it has one."""
        return sound.audio_encoder(track, self._draft.container, self._draft.tools)

    def _unbent(self, track: StreamInfo) -> str:
        """The map specifier of a track that keeps its time, from the source or, where recordings were joined, from a
        thread of ours that lets each begin with its picture."""
        inputs = self._draft.inputs
        if self._draft.timing.continuous:
            return inputs.use(self._draft.source, track)
        if not can_be_handed(track):
            name = tags.label(track)
            self._draft.notes.append(f"{name} may come later with every join: its recordings are set end to end")
            return inputs.use(self._draft.source, track)
        if self._packets_input is None:
            self._packets_input = inputs.packets(_PACKETS, self._draft.source)
        inputs.use(self._packets_input, track)
        self._handed.append(track)
        return f"{self._packets_input}:{len(self._handed) - 1}"

    def _later_than_all(self, track: StreamInfo) -> Fraction:
        """Seconds of silence before the track that the target cannot say; 0 where it says when a track begins."""
        if self._draft.target.container not in AT_ONCE or track.start_seconds is None:
            return Fraction(0)
        return max(Fraction(0), track.start_seconds - self._draft.timing.first_seconds + self._draft.delay)

    def _misread(self, track: StreamInfo) -> str:
        """Why ffmpeg would bring along what cannot be played, or at wrong times, so that slomo reads the track itself;
        '' elsewhere."""
        met = self._draft.timing.of_sound(track)
        if not sound.can_be_fed(track):
            return ""
        if met.begins_as:
            return "it begins so late that ffmpeg does not find out what it holds"
        if met.changes_codec:
            return "its codec changes on the way"
        if met.goes_back:
            return "some of its time stamps are damaged"
        if met.leaps:  # which is closed, and moves what follows in every track
            return "it pauses for more than ten seconds"
        return ""

    def _unfit(self, track: StreamInfo) -> str:
        """Why a copy cannot be played as it should, or fails at some packet; '' elsewhere."""
        met, muxer = self._draft.timing.of_sound(track), self._draft.target.container
        if (why := self._misread(track)) or not sound.can_be_fed(track):
            return why
        if met.damaged and muxer in _LOOKED_AT.get(track.codec, ()):
            return "some of its packets are damaged"
        if met.changes and track.codec == "aac" and muxer in _TOLD_ONCE:
            layout = sound.layout_name(track) or f"{track.channels} channels"
            return f"{_CHANGES}; all of it becomes {layout} at {track.sample_rate} Hz"
        return ""

    def _note_outside(self, tracks: list[StreamInfo]) -> None:
        """Where time changes, the picture's ends are the sound's; what a range leaves out is the user's own wish."""
        draft = self._draft
        starts = [track.start_seconds for track in tracks if track.start_seconds is not None]
        ends = [
            track.start_seconds + track.duration_seconds
            for track in tracks
            if track.start_seconds is not None and track.duration_seconds is not None
        ]
        first, last = draft.timing.first_seconds, draft.timing.first_seconds + draft.timing.duration
        parts = []
        if draft.plan.start == 0 and (before := first - min(starts, default=first)) > PRIMING:
            parts.append(f"{float(before):.1f} s before the first picture")
        if draft.plan.end >= draft.timing.duration and (after := max(ends, default=last) - last) > PRIMING:
            parts.append(f"{float(after):.1f} s after the last picture")
        # Where clocks jump, they do not tell what lies outside.
        if parts and draft.changed and draft.timing.continuous:
            draft.notes.append(f"sound is left out where nothing is shown: {' and '.join(parts)}")

    def _allow(self, codec: str) -> None:
        """What ffmpeg writes into mp4 only when told so."""
        draft = self._draft
        if draft.target.container == "mp4" and (
            codec == "truehd" or (codec == "flac" and draft.target.ffmpeg_version < (7, 0))
        ):
            draft.final += ["-strict", "experimental"]

    def _encoded(self, track: StreamInfo, number: int, why: str) -> bool:
        """A track that is encoded anew, stretched where time changes; False when that cannot be had."""
        draft = self._draft
        name = tags.label(track)
        codec, encoder = self._new_codec(track)
        if encoder is None or not (track.codec and track.sample_rate and track.channels) or _is_beyond_all_sound(track):
            draft.notes.append(f"{name} dropped: {self._why_dropped(track, codec)}")
            return False
        apart = not draft.timing.continuous and not can_be_handed(track) and sound.can_be_fed(track)
        unfit = bool(self._unfit(track))
        if draft.changed or apart or unfit:
            self._bent(track, number, codec)
            if apart and draft.delay and not unfit:
                left_out = "without what sounds before the first picture"
                why = f"becomes {codec}, {left_out}: .{draft.target.extension} does not hold it as it is"
        else:
            draft.maps += ["-map", self._unbent(track)]
            layouts = sound.layout_filter(codec, track, draft.container)
            silence = "aresample=async=1:first_pts=0" if draft.target.container in AT_ONCE else ""
            if not silence and codec.startswith("pcm_") and draft.target.container in _TIMELESS:
                silence = "aresample=async=1"
            if steps := [step for step in (layouts, silence) if step]:
                draft.codecs += [f"-filter:a:{number}", ",".join(steps)]
        if why:
            draft.notes.append(f"{name} {why}")
        if mixed := sound.mixed_to(codec, track, draft.container):
            layout = sound.layout_name(track) or f"{track.channels} channels"
            done = f"keeps its first channels only, as {mixed}" if sound.is_shortened(track) else f"is mixed to {mixed}"
            draft.notes.append(f"{name} {done}: {codec} does not hold {layout}")
        draft.codecs += [f"-c:a:{number}", encoder, *sound.audio_quality(codec, track, number)]
        if codec == "mp3" and draft.target.container in AT_ONCE and draft.target.ffmpeg_version >= (5, 0):
            # Nothing says there that MP3 begins with 25 ms of its encoder's delay: its packets are left out, and no
            # later one may lean on them.
            draft.codecs += [f"-reservoir:a:{number}", "0", f"-bsf:a:{number}", r"noise=drop=lt(pts+d/2\,0)"]
        self._allow(codec)
        return True

    def _why_dropped(self, track: StreamInfo, codec: str) -> str:
        if not track.codec:
            return "its codec is unknown"
        if not track.sample_rate or not track.channels:
            return "nothing in it can be decoded"
        if _is_beyond_all_sound(track):
            return f"no sound has {track.channels} channels at {track.sample_rate} Hz"
        return f"this ffmpeg has no encoder for {codec}, which .{self._draft.target.extension} would hold"

    def _bent(self, track: StreamInfo, number: int, codec: str) -> None:
        """The track on the picture's time and as long as it: by the vocoder, or by filters where it is only cut out of
        one recording, may fall in pitch, or cannot be fed."""
        draft = self._draft
        rate = sound.sample_rate(codec, track)
        method = sound.stretch_method(draft.settings, draft.tools)
        # Where a track changes, ffmpeg begins its filters anew, and their clock with them.
        why = self._misread(track) or (_CHANGES if draft.timing.of_sound(track).changes else "")
        needed = method != "pitch" if self._is_bent else not draft.timing.continuous or self._unfit(track) != ""
        ours = needed or why != ""
        if self._is_bent and method == "pitch" and why:
            draft.notes.append(f"{tags.label(track)} keeps its pitch: {why}")
        if ours and sound.can_be_fed(track):
            self._fed(track, number, codec)
            return
        if self._stretched_input is None:
            self._stretched_input = draft.inputs.source(stretch.LEAD)
            if self._is_bent and method == "atempo":
                draft.notes.append("this ffmpeg has no rubberband filter: sound is stretched less exactly, with atempo")
        parts = stretch.segments(draft.plan, rate)
        pads = (draft.inputs.use(self._stretched_input, track), f"a{number}")
        layouts = sound.layout_filter(codec, track, draft.container)
        draft.graphs.append(stretch.track_filters(*pads, parts, rate, method, f"t{number}", layouts))
        draft.maps += ["-map", f"[a{number}]"]

    def _fed(self, track: StreamInfo, number: int, codec: str) -> None:
        """The track as samples from a pipe that a thread of ours fills during the run."""
        draft = self._draft
        word = f"pipe:sound{number}"
        info, timing, plan, rate = draft.info, draft.timing, draft.plan, track.sample_rate
        lead = round(draft.delay * rate)
        draft.feeds.append(
            SoundFeed(
                word,
                tags.label(track),
                # Samples from a pipe cannot be told to begin later.
                lambda damage: chain(silence(track.channels, lead), stretched(info, track, timing, plan, rate, damage)),
                track.channels,
                lead + round(plan.duration * rate),
            )
        )
        draft.maps += ["-map", f"{draft.inputs.samples(word, rate, track.channels, sound.layout_name(track))}:0"]
        if layouts := sound.layout_filter(codec, track, draft.container):
            draft.codecs += [f"-filter:a:{number}", layouts]


def _is_beyond_all_sound(track: StreamInfo) -> bool:
    """Whether a header names more than can be resampled (64 channels) or is recorded (DSD1024): its seconds would take
    gigabytes."""
    return track.channels > 64 or track.sample_rate > 6_000_000

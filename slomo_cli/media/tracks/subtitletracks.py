"""The source's subtitles beside the new picture: copied, converted to the text its container holds, or moved."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from slomo_cli.media.containers import TEXT_SUBTITLES
from slomo_cli.media.tracks import subtitles, tags
from slomo_cli.media.tracks.draft import Draft
from slomo_cli.text import counted
from slomo_cli.values import StreamInfo


class SubtitleTracks:
    """Puts the tracks of subtitles into a draft."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        # Where recordings were joined, ffmpeg mends the clocks of sound only, or not at all.
        self._are_moved = draft.changed or not draft.timing.continuous
        self._needs_ends = draft.target.container in ("mp4", "mov")

    def add(self) -> None:
        """All of them."""
        draft = self._draft
        kept = [(track, codec) for track in draft.of("subtitle") if (codec := self._codec(track)) is not None]
        places = self._rewritten([track for track, codec in kept if self._is_rewritten(track, codec)])
        for number, (track, codec) in enumerate(kept):
            draft.maps += ["-map", places.get(track.index) or draft.inputs.use(draft.source, track)]
            draft.codecs += [f"-c:s:{number}", codec]
            fresh = codec != "copy" or track.index in places
            draft.tags += tags.stream_tags("s", number, draft.source, track, draft.target.container, fresh)
            draft.notes += tags.losses(track, draft.target.container, draft.target.extension)

    def _codec(self, track: StreamInfo) -> str | None:
        """'copy', the codec it is converted to, or None with a note."""
        draft, label, ending = self._draft, tags.label(track), self._draft.target.extension
        text = draft.container.text_subtitles
        if draft.changed and not _can_be_retimed(track):
            draft.notes.append(f"{label} dropped: its times cannot be changed")
            return None
        if track.codec in draft.container.subtitles:
            return "copy"
        if track.codec in TEXT_SUBTITLES and text in draft.tools.encoders:
            draft.notes.append(f"{label} becomes {text}: .{ending} does not hold it as it is")
            return text
        draft.notes.append(f"{label} dropped: .{ending} does not hold it")
        return None

    def _is_rewritten(self, track: StreamInfo, codec: str) -> bool:
        """Whether ffmpeg gets it from a temporary file: also text that it is to convert, which it does with UTF-8
        only, and pictures that may not say when they end."""
        converted = codec != "copy" and track.codec in subtitles.TEXT
        endless = self._needs_ends and track.codec == "dvd_subtitle"
        return _can_be_retimed(track) and (self._are_moved or converted or endless)

    def _rewritten(self, tracks: list[StreamInfo]) -> dict[int, str]:
        """Temporary files of the tracks, on the new time: source index -> map specifier of the track there."""
        draft = self._draft
        places: dict[int, str] = {}
        for ending, demuxer in (("mkv", "matroska"), ("mp4", "mov")):
            held = [track for track in tracks if (track.codec == "mov_text") == (ending == "mp4")]
            if held:
                path = draft.folder / f"subtitles.{ending}"
                draft.writers.append(partial(self._rewrite, path, held))
                at = draft.inputs.file(path, demuxer, draft.delay)
                places |= {track.index: f"{at}:{place}" for place, track in enumerate(held)}
        return places

    def _rewrite(self, path: Path, tracks: list[StreamInfo]) -> None:
        """Writes one of them."""
        draft = self._draft
        plan = draft.plan if self._are_moved else None
        end = draft.plan.duration if self._needs_ends else None
        copies = subtitles.retime(draft.info, draft.timing, path, tracks, plan, end)
        draft.met += [
            f"{tags.label(copy.track)}: {subtitles.left_out(copy.outside, 'caption')}"
            for copy in copies
            if copy.outside
        ]
        draft.met += [
            f"{tags.label(copy.track)}: {counted(copy.shortened, 'caption')} cut to {subtitles.MOST_SECONDS} s: "
            f".{draft.target.extension} holds no longer ones"
            for copy in copies
            if copy.shortened
        ]
        draft.met += [
            f"{tags.label(copy.track)}: {counted(copy.foreign, 'caption')} in no UTF-8, read as Windows-1252: letters "
            "may be wrong"
            for copy in copies
            if copy.foreign
        ]


def _can_be_retimed(track: StreamInfo) -> bool:
    return track.codec in subtitles.MATROSKA_HOLDS or track.codec == "mov_text"

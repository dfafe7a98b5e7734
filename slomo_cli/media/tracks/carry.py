"""What comes along from the source beside the new picture: sound, subtitles, chapters, covers, attachments, tags.

Everything travels through the one ffmpeg process that encodes the picture, as further inputs and arguments. Nothing is
decided during the run: ``plan_carry`` says before it, one line for each thing, what is converted or dropped.

Where time is unchanged, tracks are copied with the offsets they had to the picture. Where it is not (slow motion, a
range, a curve), sound is stretched, subtitles and chapters are moved.
"""

from __future__ import annotations

from slomo_cli.errors import printable
from slomo_cli.media.ffmpeg import Tools
from slomo_cli.media.plan.target import Target
from slomo_cli.media.read.sequence import PICTURES
from slomo_cli.media.tracks import tags
from slomo_cli.media.tracks.attached import add_attached
from slomo_cli.media.tracks.carried import Carry
from slomo_cli.media.tracks.chapters import add_chapters
from slomo_cli.media.tracks.draft import Draft
from slomo_cli.media.tracks.soundtracks import AT_ONCE, SoundTracks
from slomo_cli.media.tracks.subtitletracks import SubtitleTracks
from slomo_cli.text import counted
from slomo_cli.timeline import Plan
from slomo_cli.values import EncodeSettings, SourceTiming, VideoInfo


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
    draft = Draft(info, timing, plan, target, settings, tools)
    if not draft.container.tracks:
        _note_nothing_fits(draft)
        return Carry(notes=tuple(draft.notes))
    if info.container == PICTURES or not (info.streams or info.chapters or info.metadata):
        return Carry()
    _note_delay(draft)
    timecode = _keeps_timecode(draft)
    draft.tags += tags.picture_tags(draft.source, info, target.container, timecode)
    SoundTracks(draft).add()
    SubtitleTracks(draft).add()
    add_attached(draft)
    _note_others(draft)
    add_chapters(draft)
    _add_file_tags(draft, timecode)
    return draft.finished()


def _note_nothing_fits(draft: Draft) -> None:
    wanted = [
        counted(len(draft.of(kind)), name)
        for kind, name in (("audio", "audio track"), ("subtitle", "subtitle track"), ("attachment", "attachment"))
        if draft.of(kind) and not (kind == "audio" and draft.settings.audio == "drop")
    ]
    if draft.info.chapters:
        wanted.append("chapters")
    if wanted:
        draft.notes.append(f"{', '.join(wanted)} dropped: .{draft.target.extension} holds pictures only")


def _note_delay(draft: Draft) -> None:
    if draft.delay and draft.target.container in AT_ONCE:
        draft.notes.append(
            f"the first picture stands {float(draft.delay):.2f} s longer, as long as the sound before it: tracks of "
            f".{draft.target.extension} begin at once"
        )


def _keeps_timecode(draft: Draft) -> bool:
    """Whether every frame still has the number that a timecode counts it by; a note where it has not."""
    found = tags.timecode(draft.info)
    same = draft.plan.start == 0 and draft.plan.rate == draft.timing.rate and not draft.plan.time_map.changes_speed
    if found and not same:
        draft.notes.append(f"timecode {printable(found)} dropped: it counts the old frames")
    return same


def _note_others(draft: Draft) -> None:
    """What cannot come along."""
    # QuickTime lists its chapters a second time, as a track of text, and the timecode has been told of.
    has_chapter_track = bool(draft.info.chapters) and "mov" in draft.info.container
    rest = [
        stream
        for stream in draft.info.streams
        if stream.kind not in ("audio", "subtitle", "attachment", "cover")
        and not (has_chapter_track and stream.codec == "bin_data")
        and "timecode" not in dict(stream.metadata)
    ]
    videos = [tags.label(stream) for stream in rest if stream.kind == "video"]
    others = [tags.label(stream) for stream in rest if stream.kind != "video"]
    elsewhere = [tags.label(stream) for stream in draft.info.streams if stream.is_elsewhere]
    if videos:
        draft.notes.append(f"{', '.join(videos)} dropped: only one picture track is converted")
    if elsewhere:
        whose = "it belongs" if len(elsewhere) == 1 else "they belong"
        draft.notes.append(f"{', '.join(elsewhere)} dropped: {whose} to another programme than the picture")
    if others:
        draft.notes.append(
            f"{', '.join(others)} dropped: {'it describes' if len(others) == 1 else 'they describe'} the old frames"
        )


def _add_file_tags(draft: Draft, timecode: bool) -> None:
    """Tags of the whole file, but for those that would be wrong of the new one."""
    if not draft.container.metadata:
        draft.tags += ["-map_metadata", "-1"]
        return
    draft.tags += ["-map_metadata", str(draft.source)]
    metadata = dict(draft.info.metadata)
    draft.tags += tags.file_tags(metadata, timecode)
    if any(name == "map_metadata" for name, _ in draft.target.user_options):
        return  # who leaves the tags behind means the place of the recording too
    if date := metadata.get("creation_time"):
        # A file that has it in two places gives ffmpeg 9 "a;b", which no muxer reads.
        draft.tags += ["-metadata", f"creation_time={date.partition(';')[0]}"]
    elif draft.info.container == "asf":
        draft.tags += ["-metadata", "creation_time="]  # ffmpeg 9 reads 1970 where there is none
    mended = tags.mended_tags(draft.info)
    draft.tags += mended
    if mended:
        names = ", ".join(printable(word.partition("=")[0]) for word in mended[1::2])
        draft.notes.append(f"tags in no UTF-8, read as Windows-1252: {names}; letters may be wrong")
    kept, lost = tags.placed_tags(metadata, draft.info.container, draft.target.container)
    draft.tags += kept
    if lost:
        names = ", ".join(printable(name) for name in lost)
        draft.notes.append(f"tags dropped that .{draft.target.extension} has no place for: {names}")

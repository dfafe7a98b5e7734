"""Chapter marks on the picture's new time, in a file that ffmpeg reads beside it."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import partial

from slomo_cli.media.tracks.draft import PRIMING, Draft
from slomo_cli.media.tracks.subtitles import left_out, shown_part
from slomo_cli.timeline import Plan
from slomo_cli.values import Chapter

_MOVING = ("matroska", "webm")
"""Muxers that move all tracks later until none begins before zero, but not the chapters."""


def add_chapters(draft: Draft) -> None:
    """Puts them into a draft."""
    chapters = draft.info.chapters
    if not chapters:
        draft.tags += ["-map_chapters", "-1"]
    elif not draft.container.chapters:
        draft.notes.append(f"chapters dropped: .{draft.target.extension} holds none")
        draft.tags += ["-map_chapters", "-1"]
    elif draft.changed:
        moved = _moved(chapters, draft.plan, draft.timing.first_seconds)
        if lost := len(chapters) - len(moved):
            draft.notes.append(left_out(lost, "chapter"))
        _add_own(draft, moved)
    elif draft.target.container in _MOVING and 0 < draft.ahead <= PRIMING:
        _add_own(draft, _later(chapters, draft.ahead - draft.timing.first_seconds))
    else:
        draft.tags += ["-map_chapters", str(draft.source)]


def _add_own(draft: Draft, chapters: list[Chapter]) -> None:
    path, text = draft.folder / "chapters.txt", _chapter_file(chapters)
    draft.writers.append(partial(path.write_text, text, encoding="utf-8", errors="replace", newline="\n"))
    draft.tags += ["-map_chapters", str(draft.inputs.file(path, "ffmetadata"))]


def _moved(chapters: Iterable[Chapter], plan: Plan, first_seconds: Fraction) -> list[Chapter]:
    """Chapters on the output's clock, cut to the range; those outside it are left out."""
    found = []
    for chapter in chapters:
        moved = shown_part(
            chapter.start_seconds - first_seconds,
            max(Fraction(1, 1000), chapter.end_seconds - chapter.start_seconds),
            plan,
        )
        if moved is not None and moved.lasts is not None:
            found.append(Chapter(moved.start, moved.start + moved.lasts, chapter.metadata))
    return found


def _later(chapters: Iterable[Chapter], seconds: Fraction) -> list[Chapter]:
    """Chapters moved by so much; what comes before zero is cut off."""
    moved = [
        Chapter(max(Fraction(0), chapter.start_seconds + seconds), chapter.end_seconds + seconds, chapter.metadata)
        for chapter in chapters
    ]
    return [chapter for chapter in moved if chapter.end_seconds > chapter.start_seconds]


def _chapter_file(chapters: Iterable[Chapter]) -> str:
    """An ffmetadata file of these chapters, in microseconds."""
    lines = [";FFMETADATA1"]
    for chapter in chapters:
        start, end = (round(moment * 1_000_000) for moment in (chapter.start_seconds, chapter.end_seconds))
        lines += ["[CHAPTER]", "TIMEBASE=1/1000000", f"START={start}", f"END={end}"]
        lines += [f"{_escaped(key)}={_escaped(value)}" for key, value in chapter.metadata]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Backslashes before what the format reads as its own: = ; # backslash and line ends."""
    return "".join(f"\\{character}" if character in "=;#\\\r\n" else character for character in text)

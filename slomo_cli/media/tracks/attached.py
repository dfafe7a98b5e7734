"""Files within the source, which come along as they are: covers, fonts and other attachments."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from slomo_cli.media.ffmpeg import literal
from slomo_cli.media.read.opening import open_container
from slomo_cli.media.tracks.draft import Draft
from slomo_cli.text import counted
from slomo_cli.values import StreamInfo

_COVER_FILES = {
    "png": ("png", "image/png"),
    "mjpeg": ("jpg", "image/jpeg"),
    "gif": ("gif", "image/gif"),
    "bmp": ("bmp", "image/bmp"),
    "webp": ("webp", "image/webp"),
    "tiff": ("tiff", "image/tiff"),
}
"""Codec of a cover -> (ending of its file, its MIME type)."""


def add_attached(draft: Draft) -> None:
    """Puts them into a draft."""
    attached, covers = _add_attachments(draft), draft.of("cover")
    if covers and not draft.container.covers:
        draft.notes.append(f"cover picture dropped: .{draft.target.extension} holds none")
    elif draft.container.attachments:
        _attach_covers(draft, covers, attached)
    else:
        for number, cover in enumerate(covers, 1):
            draft.maps += ["-map", draft.inputs.use(draft.source, cover)]
            draft.final += [f"-c:v:{number}", "copy", f"-disposition:v:{number}", "attached_pic"]
            draft.tags += [f"-map_metadata:s:v:{number}", f"{draft.source}:s:{cover.index}"]


def _add_attachments(draft: Draft) -> int:
    """How many come along."""
    files = draft.of("attachment")
    if files and not draft.container.attachments:
        draft.notes.append(f"{counted(len(files), 'attachment')} dropped: .{draft.target.extension} holds none")
        return 0
    for number, attached in enumerate(files):
        draft.maps += ["-map", draft.inputs.use(draft.source, attached)]
        draft.codecs += [f"-c:t:{number}", "copy"]
        draft.tags += [f"-map_metadata:s:t:{number}", f"{draft.source}:s:{attached.index}"]
    return len(files)


def _attach_covers(draft: Draft, covers: list[StreamInfo], place: int) -> None:
    """Matroska keeps covers as attached files, which ffmpeg takes from files only. ``place``: of the first of them."""
    for number, cover in enumerate(covers):
        if cover.codec not in _COVER_FILES:
            draft.notes.append(f"cover picture dropped: .{draft.target.extension} does not hold {cover.codec}")
            continue
        ending, kind = _COVER_FILES[cover.codec]
        old_name = dict(cover.metadata).get("filename")
        name = "cover" if number == 0 else f"cover{number + 1}"
        path = draft.folder / f"{name}.{ending}"
        draft.writers.append(partial(_write_cover, draft.info.path, cover.index, path))
        draft.tags += ["-attach", literal(path), f"-metadata:s:t:{place}", f"mimetype={kind}"]
        draft.tags += [f"-metadata:s:t:{place}", f"filename={old_name or path.name}"]
        place += 1


def _write_cover(source: Path, index: int, result: Path) -> None:
    """The cover's one packet, which is an image file as it stands."""
    data = b""
    with open_container(source) as container:
        for packet in container.demux(container.streams[index]):
            data = data or bytes(packet)
    result.write_bytes(data)

"""Matroska's own words: numbers of a picture track, whether parts are played in an order of their own, and one mark in
a finished file, that of full range.

Some encoders (FFV1, Ut Video) have no such mark in their stream, and FFmpeg 7 and later squeeze full-range samples into
the limited range for them, which is a loss. So they are told that the range is limited, and the container, which does
have the mark, is set right afterwards. Element numbers are those of RFC 9559.
"""

from __future__ import annotations

import zlib
from pathlib import Path

_SEGMENT = 0x18538067
_TRACKS = 0x1654AE6B
_TRACK_ENTRY = 0xAE
_VIDEO = 0xE0
_COLOUR = 0x55B0
_RANGE = 0x55B9
_CHAPTERS = 0x1043A770
_EDITION = 0x45B9
_ORDERED = 0x45DD
_CRC = 0xBF
_FULL = 2
_HEAD = 4 << 20
"""Bytes in which a file's tracks are described, and its chapters; they come before the pictures."""


def mark_full_range(path: Path) -> bool:
    """Sets the first picture track's Range to full; False when the file has no such element to set."""
    with open(path, "r+b") as file:
        head = bytearray(file.read(_HEAD))
        tracks = _inside(head, slice(0, len(head)), _SEGMENT, _TRACKS)
        found = tracks and _inside(head, tracks, _TRACK_ENTRY, _VIDEO, _COLOUR, _RANGE)
        if not tracks or not found or found.stop <= found.start:
            return False
        head[found] = _FULL.to_bytes(found.stop - found.start, "big")
        checksum = _inside(head, tracks, _CRC)
        if checksum:
            # The sum covers what follows it in the same element, and is written the other way round.
            head[checksum] = zlib.crc32(head[checksum.stop : tracks.stop]).to_bytes(4, "little")
        file.seek(0)
        file.write(head[: tracks.stop])
    return True


def picture_number(head: bytes, *path: int) -> int:
    """The number that the first picture track's Video element holds at this path; 0 where there is none."""
    found = _inside(head, slice(0, len(head)), _SEGMENT, _TRACKS, _TRACK_ENTRY, _VIDEO, *path)
    return int.from_bytes(head[found], "big") if found else 0


def is_ordered(path: Path) -> bool:
    """Whether the file's chapters tell which of its parts, or of other files', are played, and in which order."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    found = _inside(head, slice(0, len(head)), _SEGMENT, _CHAPTERS, _EDITION, _ORDERED)
    return found is not None and any(head[found])


def _inside(data: bytes | bytearray, place: slice, *path: int) -> slice | None:
    """Where the content of the first element at this path lies; every element of each name is tried in turn."""
    at, end = place.start, place.stop
    while at < end:
        name, at = _number(data, at, keep_marker=True)
        size, at = _number(data, at, keep_marker=False)
        if name < 0 or size < 0 or at > len(data):
            return None
        inner = slice(at, min(end, at + size))
        if name == path[0]:
            found = inner if len(path) == 1 else _inside(data, inner, *path[1:])
            if found:
                return found
        at += size
    return None


def _number(data: bytes | bytearray, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """A variable-length number and where it ends; -1 where there is none. An unknown size is as large as can be."""
    if at >= len(data) or not data[at]:
        return -1, at
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return value if keep_marker else value & ((1 << (7 * length)) - 1), at + length

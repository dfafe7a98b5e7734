"""One thing that libav reads over in MP4 and MOV: edits that play a part of a track at another speed, or as a still.

The index is walked box by box (ISO/IEC 14496-12, 4.2); of all that it holds only the edit lists (8.6.6) are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_NORMAL = 1 << 16
"""The speed of an edit is a fixed-point number with 16 bits behind the point."""
_PATH = (b"moov", b"trak", b"edts", b"elst")


def unusual_speeds(path: Path) -> list[Fraction]:
    """Speeds other than 1 at which the file's edits play; 0 is a still."""
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        return sorted({Fraction(speed, _NORMAL) for speed in _speeds(file, 0, end, _PATH) if speed != _NORMAL})


def _speeds(file: BinaryIO, at: int, end: int, path: tuple[bytes, ...]) -> Iterator[int]:
    """Of all edits that show something, in the boxes of this path between the two places."""
    for kind, begin, stop in _boxes(file, at, end):
        if kind == path[0] and len(path) > 1:
            yield from _speeds(file, begin, stop, path[1:])
        elif kind == path[0]:
            file.seek(begin)
            data = file.read(stop - begin)
            entry = ">QqI" if data[:1] == b"\1" else ">IiI"
            whole = 8 + (len(data) - 8) // struct.calcsize(entry) * struct.calcsize(entry)
            yield from (speed for _, first, speed in struct.iter_unpack(entry, data[8:whole]) if first >= 0)


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its content begins, where it ends) of each box, as far as they make sense."""
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, begin = int.from_bytes(head[:4], "big"), at + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:], "big"), at + 16
        stop = at + size if size else end
        if not begin <= stop <= end:
            return
        yield head[4:8], begin, stop
        at = stop

"""What libav reads over in MP4 and MOV: edits that play a part of a track at another speed, as a still, or not at all,
that one may begin amid a picture, and when the last one ends.

The index is walked box by box (ISO/IEC 14496-12, 4.2); of all that it holds only the edit lists (8.6.6) are read.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import dropwhile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from slomo_cli.media.read.opening import READ_ERRORS, open_container

_NORMAL = 1 << 16
"""The speed of an edit is a fixed-point number with 16 bits behind the point."""
_NOTHING = -1
"""The place in the media of an edit that shows nothing."""


@dataclass(frozen=True)
class OddEdits:
    """What libav reads over in a file's edits."""

    speeds: tuple[Fraction, ...] = ()
    """Speeds other than 1 at which they play, 0 being a still."""
    pauses: bool = False
    """A track of picture or sound shows nothing for a while after it has begun."""


class _Edit(NamedTuple):
    """As it is stored, in ticks of the film and of the track."""

    length: int
    first: int
    speed: int


def odd_edits(path: Path) -> OddEdits:
    """None of what cannot be read."""
    speeds: set[int] = set()
    pauses = False
    with contextlib.suppress(OSError):
        for is_heard_or_seen, edits in _edits(path):
            speeds.update(edit.speed for edit in edits if edit.first != _NOTHING)
            begun = dropwhile(lambda edit: edit.first == _NOTHING, edits)
            pauses |= is_heard_or_seen and any(edit.length > 0 and edit.first == _NOTHING for edit in begun)
    return OddEdits(tuple(Fraction(speed, _NORMAL) for speed in sorted(speeds - {_NORMAL})), pauses)


def begun_before(path: Path, stream_index: int, place: int) -> int | None:
    """The stamp, by the edit's beginning, of the packet that lies at this place; None where that is not met.

    Where an edit begins amid a picture, as after a cut without encoding, libav lets the first whole one begin with it,
    which is up to a picture's length too early for the sound.
    """
    with contextlib.suppress(*READ_ERRORS), open_container(path, advanced_editlist="0") as container:
        packets: Any = container.demux(container.streams[stream_index])
        return next((packet.pts for packet in packets if packet.pos == place), None)
    return None


@dataclass(frozen=True, slots=True)
class OnlyEdit:
    """The only part of a track that is played, at its own speed."""

    end: Fraction
    """Seconds on the film's clock."""
    tick: Fraction
    """The smallest step of that clock, in seconds."""
    first: int
    """Where in the track the part begins, in ticks of the track."""


def only_edit(path: Path, stream_index: int) -> OnlyEdit | None:
    """The edit of a track that has no other; None where it has none or several."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        size = file.seek(0, 2)
        heads = [_content(file, *box) for box in _found(file, 0, size, (b"moov", b"mvhd"))]
        tracks = list(_found(file, 0, size, (b"moov", b"trak")))
        if not heads or stream_index >= len(tracks):
            return None
        at = 20 if heads[0][:1] == b"\1" else 12
        scale = int.from_bytes(heads[0][at : at + 4], "big")
        edits = _edits_of(file, *tracks[stream_index])
        played = [place for place, edit in enumerate(edits) if edit.length and edit.first != _NOTHING]
        if scale and len(played) == 1 and edits[played[0]].speed == _NORMAL:
            end = sum(edit.length for edit in edits[: played[0] + 1])
            return OnlyEdit(Fraction(end, scale), Fraction(1, scale), edits[played[0]].first)
    return None


def _edits(path: Path) -> Iterator[tuple[bool, list[_Edit]]]:
    """Of each track: whether it is picture or sound, and its edits."""
    with open(path, "rb") as file:
        for begin, stop in _found(file, 0, file.seek(0, 2), (b"moov", b"trak")):
            handlers = [_content(file, *box)[8:12] for box in _found(file, begin, stop, (b"mdia", b"hdlr"))]
            yield b"vide" in handlers or b"soun" in handlers, _edits_of(file, begin, stop)


def _edits_of(file: BinaryIO, begin: int, stop: int) -> list[_Edit]:
    """The edits of the track that lies between the two places."""
    edits: list[_Edit] = []
    for box in _found(file, begin, stop, (b"edts", b"elst")):
        data = _content(file, *box)
        entry = ">QqI" if data[:1] == b"\1" else ">IiI"
        whole = 8 + (len(data) - 8) // struct.calcsize(entry) * struct.calcsize(entry)
        edits += [_Edit(*row) for row in struct.iter_unpack(entry, data[8:whole])]
    return edits


def _found(file: BinaryIO, at: int, end: int, path: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """(where its content begins, where it ends) of each box of this path between the two places."""
    for kind, begin, stop in _boxes(file, at, end):
        if kind == path[0]:
            yield from _found(file, begin, stop, path[1:]) if len(path) > 1 else [(begin, stop)]


def _content(file: BinaryIO, begin: int, stop: int) -> bytes:
    file.seek(begin)
    return file.read(stop - begin)


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

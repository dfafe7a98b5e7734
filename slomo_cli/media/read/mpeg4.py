"""Packets of MPEG-4 Part 2 that hold two pictures, or none.

DivX and XviD pack for players of AVI that show one picture for each packet: a picture that is shown before the one
stored ahead of it shares that one's packet, and an empty packet stands in its stead. So the n-th picture shown has the
n-th stamp, whatever libav guesses. In other packets a picture says that it is not coded: the one before stands on.
"""

from __future__ import annotations

import re
from typing import Any

_PACKED = re.compile(rb"\x00\x00\x01\xb2DivX\d+(?:Build|b)\d+p")
"""What encoders that pack write of themselves, as user data (ISO/IEC 14496-2, 6.2.2.1)."""
_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f](.{1,32})", re.DOTALL)
_PICTURE = b"\0\0\1\xb6"
_EMPTY_BYTES = 19
"""So long at most is a picture that is not coded; FFmpeg's own limit."""


class Mpeg4Packets:
    """Reads one stream's packets in stored order; a picture that came along with another waits for its own packet."""

    def __init__(self, headers: bytes) -> None:
        """``headers``: what comes before the first picture."""
        self.packed = _PACKED.search(headers) is not None
        """Whether pictures share packets."""
        found = _LAYER.search(headers)
        self._time_bits = _time_bits(found[1]) if found else 0
        self._waiting = 0

    def none_in(self, packet: Any) -> bool:
        """Whether no picture belongs to this packet: the one before stands on."""
        if packet.size > _EMPTY_BYTES and not self.packed:
            return False
        _, *pictures = bytes(packet).split(_PICTURE)
        is_coded = self._is_coded(pictures[0]) if pictures and self._time_bits else None
        if packet.size > _EMPTY_BYTES or is_coded:
            self._waiting += max(0, len(pictures) - 1) if self.packed else 0
            return False
        if self._waiting:
            self._waiting -= 1
            return False
        return is_coded is False

    def _is_coded(self, picture: bytes) -> bool:
        """The bit ``vop_coded`` (6.2.5): after two bits of kind, whole seconds as ones up to a zero, and the time."""
        bits = _bits(picture)
        place = bits.find("0", 2) + 1 + 1 + self._time_bits + 1
        return bits[place : place + 1] != "0"


def _time_bits(layer: bytes) -> int:
    """How many bits tell a picture's time, by the header of its layer (6.2.3)."""
    bits = _bits(layer)
    at = 1 + 8  # random access, kind of object
    at += 1 + (4 + 3 if bits[at : at + 1] == "1" else 0)  # version, priority
    at += 4 + (16 if bits[at : at + 4] == "1111" else 0)  # shape of the samples
    if bits[at : at + 1] == "1":  # sampling, delay, and of the buffer five numbers with marks between
        at += 4 + (79 if bits[at + 4 : at + 5] == "1" else 0)
    at += 1 + 2 + 1  # the bit before, shape of the object, a mark
    steps = int(bits[at : at + 16] or "0", 2)
    return max(1, (steps - 1).bit_length()) if steps else 0


def _bits(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)

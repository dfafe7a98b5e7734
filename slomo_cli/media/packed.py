"""MPEG-4 as DivX and XviD pack it into AVI, for players that show one picture for each packet.

A picture that is shown before the one stored ahead of it shares that one's packet, and an empty packet stands in its
stead: there are as many packets as pictures, and the n-th picture shown has the n-th stamp, whatever libav guesses.
"""

from __future__ import annotations

import re
from typing import Any

_MARK = re.compile(rb"\x00\x00\x01\xb2DivX\d+(?:Build|b)\d+p")
"""What encoders that pack write of themselves, as user data (ISO/IEC 14496-2, 6.2.2.1)."""
_PICTURE = b"\0\0\1\xb6"
_EMPTY_BYTES = 19
"""No picture that says anything is as short; FFmpeg's own limit."""


def is_packed(headers: bytes) -> bool:
    """Whether pictures share packets, by the headers before the first."""
    return _MARK.search(headers) is not None


class PackedPictures:
    """Reads one stream's packets in stored order; a picture that came along with another waits for its own packet."""

    def __init__(self) -> None:
        self._waiting = 0

    def none_in(self, packet: Any) -> bool:
        """Whether this packet is empty and stands for no picture either: the one before stands on."""
        if packet.size > _EMPTY_BYTES:
            self._waiting += max(0, bytes(packet).count(_PICTURE) - 1)
            return False
        self._waiting -= 1
        if self._waiting >= 0:
            return False
        self._waiting = 0
        return True

"""Tells which packets of an H.264 stream hold the second field of a picture; camcorders and broadcasts part them. And
which JPEGs are fields: old capture cards part them too.

A frame's packet and a field's look alike from outside; the slice header says which it is (ITU-T H.264, 7.3.2.1 and
7.3.3). Nothing is decoded, and where the headers say that every picture is a whole frame only key pictures are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_HEADER_BYTES = 512
"""More than any parameter set or slice header that is read here needs."""
_SLICE, _KEY_SLICE, _PARAMETERS = 1, 5, 7
_TOP_FIRST, _BOTTOM_FIRST = 2, 3
"""AVFieldOrder."""
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
"""Markers of the header that tells how high a picture is."""
_PLAIN_PROFILES = (66, 77, 88)
"""Baseline, main and extended: 4:2:0 of 8 bits, of which the parameters need not speak."""


class _Field(NamedTuple):
    frame_number: int
    is_bottom: bool


class SecondFields:
    """Reads one stream's packets in stored order; the first field of a picture waits for its second."""

    def __init__(self, extradata: bytes | None) -> None:
        """``extradata``: the stream's parameter sets, as MP4 and Matroska hold them or with start codes."""
        data = extradata or b""
        self._length_bytes = (data[4] & 3) + 1 if data[:1] == b"\1" and len(data) > 8 else 0
        self._has_fields = False
        self._frame_number_bits = 4
        self._waiting: _Field | None = None
        """A first field."""
        # The set lies behind six bytes of the MP4 record and two of its length.
        for unit in [data[8:]] if self._length_bytes else _units(data, 0):
            if unit[0] & 31 == _PARAMETERS:
                self._read_parameters(unit)

    def met_in(self, packet: Any) -> bool:
        """Whether this packet holds nothing but the second field of the picture whose first came just before."""
        if not self._has_fields and not packet.is_keyframe:
            return False
        first, self._waiting = self._waiting, self._field_in(bytes(packet))
        second = self._waiting
        if first is None or second is None or first.frame_number != second.frame_number:
            return False
        if first.is_bottom == second.is_bottom:
            return False
        self._waiting = None
        return True

    def _field_in(self, data: bytes) -> _Field | None:
        """The field that a packet begins with; None for a frame."""
        for unit in _units(data, self._length_bytes):
            kind = unit[0] & 31
            if kind == _PARAMETERS:
                self._read_parameters(unit)
            elif kind in (_SLICE, _KEY_SLICE):
                if not self._has_fields:
                    return None
                bits = _Bits(unit[:32])
                bits.skip(3)  # first macroblock, type, picture parameters
                number, is_field = bits.take(self._frame_number_bits), bits.take(1)
                return _Field(number, bool(bits.take(1))) if is_field else None
        return None

    def _read_parameters(self, unit: bytes) -> None:
        bits = _Bits(unit)
        profile = bits.take(8)
        bits.take(16)
        bits.skip(1)
        planes_apart = 0
        if profile not in _PLAIN_PROFILES:
            chroma = bits.number()
            planes_apart = bits.take(1) if chroma == 3 else 0
            bits.skip(2)
            bits.take(1)
            if bits.take(1):
                for place in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        bits.skip_scaling_list(16 if place < 6 else 64)
        # Where colour planes are apart, two bits with the plane's number stand before the frame number.
        self._frame_number_bits = min(bits.number(), 12) + 4 + 2 * planes_apart
        order = bits.number()
        if order == 0:
            bits.skip(1)
        elif order == 1:
            bits.take(1)
            bits.skip(2)
            bits.skip(min(bits.number(), 255))
        bits.skip(1)
        bits.take(1)
        bits.skip(2)
        self._has_fields = not bits.take(1)


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The beginnings of a packet's NAL units; ``length_bytes`` of the length before each, 0 for start codes."""
    at = 0
    while length_bytes and at + length_bytes < len(data):
        begin = at + length_bytes
        yield data[begin : begin + _HEADER_BYTES]
        at = begin + int.from_bytes(data[at:begin], "big")
    while not length_bytes and 0 <= (at := data.find(b"\0\0\1", at)) < len(data) - 3:
        at += 3
        yield data[at : at + _HEADER_BYTES]


def jpeg_order(data: bytes, height: int) -> int:
    """AVFieldOrder of a JPEG packet of old capture cards, which holds two fields one after the other; 0 of others.

    ``height``: of the whole picture, by the container. libav joins them by a byte of the first (OpenDML's AVI1).
    """
    order, at = _TOP_FIRST, 2
    while data[at : at + 1] == b"\xff" and len(data) > at + 8:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 4 : at + 8] == b"AVI1" and any(data[at + 8 : at + 9]):
            order = _BOTTOM_FIRST
        if marker in _JPEG_FRAMES:
            return order if 4 * int.from_bytes(data[at + 5 : at + 7], "big") < 3 * height else 0
        at += 2 + length
    return 0


class _Bits:
    """Bits of a NAL unit after its first byte; beyond the end all are 1, so that damage ends every number."""

    def __init__(self, unit: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in unit[1:].replace(b"\0\0\3", b"\0\0"))
        self._at = 0

    def take(self, count: int) -> int:
        """An unsigned number of ``count`` bits."""
        begin, self._at = self._at, self._at + count
        return int(self._bits[begin : self._at].ljust(count, "1") or "0", 2)

    def number(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip(self, count: int) -> None:
        """Passes over Exp-Golomb numbers."""
        for _ in range(count):
            self.number()

    def skip_scaling_list(self, size: int) -> None:
        """Passes over the differences of a scaling list (7.3.2.1.1.1), which may end early."""
        last = 8
        for _ in range(size):
            code = self.number()
            last = (last + (code + 1) // 2 * (1 if code & 1 else -1)) % 256
            if not last:
                return

"""Whether packets of sound begin with their codec's header: after damage some do not, and some muxers take no other.
And what the headers say: the sound of a broadcast may change on its way.

What is asked of a header is what libav asks of it. Sources: ISO/IEC 13818-7, 6.2 (ADTS); ISO/IEC 14496-3, 1.7 (LATM);
ISO/IEC 11172-3, 2.4 (MPEG audio); ETSI TS 102 366, 4.3 and E.1.2 (AC-3 and E-AC-3).
"""

from __future__ import annotations

from collections.abc import Callable

LONGEST = 7
"""Bytes of a header that are looked at."""

_AAC_RATES = 13
_AC3_SIZES = 38
_LAST_AC3, _LAST_EAC3 = 10, 16
"""The last revision (bsid) of either format."""


def _begins_adts(data: bytes) -> bool:
    if len(data) < LONGEST or data[0] != 0xFF or data[1] < 0xF0 or (data[2] >> 2) & 15 >= _AAC_RATES:
        return False
    size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    has_checksum, more_blocks = not data[1] & 1, data[6] & 3
    return size >= LONGEST and not (has_checksum and more_blocks)


def _begins_ac3(data: bytes) -> bool:
    is_one = len(data) >= LONGEST and data[:2] == b"\x0b\x77" and data[5] >> 3 <= _LAST_AC3
    return is_one and data[4] >> 6 != 3 and data[4] & 63 < _AC3_SIZES


def _begins_eac3(data: bytes) -> bool:
    if len(data) >= LONGEST and data[5] >> 3 <= _LAST_AC3:  # the first of a packet may be for older receivers
        return _begins_ac3(data)
    size = end = _eac3_bytes(data, (0, 2))
    while size and end < len(data):
        size = _eac3_bytes(data[end : end + LONGEST], (1,))
        end += size
    return size > 0


def _eac3_bytes(data: bytes, kinds: tuple[int, ...]) -> int:
    """Length of the frame of E-AC-3 that begins here, of the first of its kind; 0 where none does. Kinds 0 and 2 stand
    alone, 1 adds channels to the one before."""
    if len(data) < LONGEST or data[:2] != b"\x0b\x77" or not _LAST_AC3 < data[5] >> 3 <= _LAST_EAC3:
        return 0
    kind, number, size = data[2] >> 6, (data[2] >> 3) & 7, 2 * ((data[2] & 7) << 8 | data[3]) + 2
    rate, lower_rate = data[4] >> 6, (data[4] >> 4) & 3
    return size if kind in kinds and number == 0 and size >= LONGEST and not rate == lower_rate == 3 else 0


_HEADERS: dict[str, Callable[[bytes], bool]] = {"aac": _begins_adts, "ac3": _begins_ac3, "eac3": _begins_eac3}


def header_of(codec: str, container: str) -> Callable[[bytes], bool] | None:
    """What tells whether a packet begins with a header of the codec; None where none is looked for. Both by libav's
    names.

    Asked of its first ``LONGEST`` bytes; asked of all of it, E-AC-3 may hold nothing but frames of one time.
    """
    if codec == "aac" and container not in ("mpegts", "mpeg"):  # it says there once what each packet is
        return None
    return _HEADERS.get(codec)


Form = tuple[str, int]
"""The codec of a packet, by libav's name, and a number that changes with its rate of samples and its channels."""

SELF_TOLD = frozenset(("aac", "aac_latm", "mp2", "mp3", "ac3", "eac3"))
"""Codecs of which every packet in a broadcast tells its form."""


def form_of(data: bytes) -> Form | None:
    """The form of a packet of one of these codecs, by its first ``LONGEST`` bytes; None where they tell none."""
    if _begins_eac3(data):
        is_first = data[5] >> 3 <= _LAST_AC3
        return ("ac3", data[4] & 0xC0 | data[6] >> 5) if is_first else ("eac3", data[4] & 0xCF)
    if len(data) < LONGEST:
        return None
    if data[0] == 0x56 and data[1] & 0xE0 == 0xE0:
        # A packet may leave it to those before it what it holds; nothing but the first version is met.
        return ("aac_latm", data[5] << 8 | data[6] & 0xF8) if not data[3] & 0xC0 else None
    layer = (data[1] >> 1) & 3
    if not layer:
        return ("aac", data[2] << 8 & 0x3D00 | data[3] & 0xC0) if _begins_adts(data) else None
    rate, is_mono = (data[2] >> 2) & 3, data[3] >> 6 == 3
    if data[0] != 0xFF or data[1] < 0xE0 or layer == 3 or rate == 3:
        return None
    return ("mp3" if layer == 1 else "mp2", data[1] & 0x18 | rate << 1 | is_mono)


class Forms:
    """Whether the form of a track changes on its way."""

    _ENOUGH = 3
    """Packets in a row that tell a form; fewer may be damaged."""

    def __init__(self) -> None:
        self.changes = False
        self.changes_codec = False
        self._form: Form | None = None
        self._next: Form | None = None
        self._count = 0

    def take(self, data: bytes) -> None:
        """The next packet's beginning."""
        form = form_of(data)
        if form is None:
            return
        self._count = self._count + 1 if form == self._next else 1
        self._next = form
        if self._count < self._ENOUGH or form == self._form:
            return
        if self._form is not None:
            self.changes = True
            self.changes_codec = self.changes_codec or form[0] != self._form[0]
        self._form = form

"""How long the pictures of an animated WebP stand, and that of the last one, which its encoder can only guess.

Layout: RIFF size WEBP, then chunks of a 4-byte name, a little-endian 32-bit size and data padded to even length; in
ANMF the duration in milliseconds is the 3 bytes from 12 (WebP Container Specification).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

_DURATION = slice(12, 15)


@dataclass(frozen=True, slots=True)
class Animation:
    """What an animation shows. The encoder joins equal neighbours into one longer picture."""

    lengths: tuple[int, ...]
    """Milliseconds that each picture stands."""
    last_place: int
    """Where in the file that of the last one is stored."""
    stills: int
    """Pictures outside of any animation."""


def read_animation(path: Path) -> Animation | None:
    """The pictures of a WebP file; None of other files."""
    lengths: list[int] = []
    place = stills = 0
    with open(path, "rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:12] != b"WEBP":
            return None
        while len(chunk := file.read(8)) == 8:
            begin, size = file.tell(), int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"ANMF":
                place = begin + _DURATION.start
                lengths.append(int.from_bytes(file.read(_DURATION.stop)[_DURATION], "little"))
            stills += chunk[:4] in (b"VP8 ", b"VP8L")
            file.seek(begin + size + size % 2)
    return Animation(tuple(lengths), place, stills)


def end_animation(path: Path, end: Fraction) -> None:
    """Lets the last picture of an animation stand until then, in seconds from the first one."""
    found = read_animation(path)
    if found is not None and found.lengths:
        lasts = round(end * 1000) - sum(found.lengths[:-1])
        with open(path, "r+b") as file:
            file.seek(found.last_place)
            file.write(min(max(lasts, 1), (1 << 24) - 1).to_bytes(3, "little"))

"""Colour profiles in pictures (ICC.1:2022): whether one says other colours than players assume without it."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib

_SIGNATURE, _SIGNED_AT = b"acsp", 36
_HEAD_BYTES = 1 << 18
_PNG = b"\x89PNG\r\n\x1a\n"
_SRGB = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
"""Its colorants, of D50 white (IEC 61966-2-1, annex D). BT.709 has the same."""
_TOLERANCE = 0.01


def stored_profile(path: str | os.PathLike[str]) -> bytes:
    """The profile that lies near the beginning of a picture's file (PNG, JPEG, TIFF, WebP), or its first part; b'' if
    none.

    For pictures of which PyAV lists no side data, because it does not know one kind of it (EXIF), and for PNG.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return b""
    if head.startswith(_PNG):
        # Length, "iCCP", a name that ends with 0, one byte for the method, then the profile, compressed.
        found = re.search(rb"(.{4})iCCP[^\0]{1,79}\0\0", head, re.DOTALL)
        end = 0 if found is None else found.end(1) + 4 + int.from_bytes(found[1], "big")
        with contextlib.suppress(zlib.error):
            return b"" if found is None else zlib.decompressobj().decompress(head[found.end() : end], _HEAD_BYTES)
        return b""
    at = head.find(_SIGNATURE) - _SIGNED_AT
    return head[at : at + int.from_bytes(head[at : at + 4], "big")] if at >= 0 else b""


def is_other_than_srgb(profile: bytes) -> bool:
    """Whether a profile gives red, green and blue another meaning; False of gray, and of what cannot be read."""
    if profile[_SIGNED_AT : _SIGNED_AT + 4] != _SIGNATURE or profile[16:20] == b"GRAY":
        return False
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        tags = {name: at for name, at, _ in (struct.unpack_from(">4sII", profile, 132 + 12 * k) for k in range(count))}
        if not tags.keys() >= _SRGB.keys():
            return True  # tables in place of colorants: printers, scanners
        found = {name: struct.unpack_from(">3i", profile, tags[name] + 8) for name in _SRGB}
    except struct.error:
        return False
    return any(
        abs(fixed / 65536 - usual) > _TOLERANCE
        for name, colorant in _SRGB.items()
        for fixed, usual in zip(found[name], colorant, strict=True)
    )

"""How many times an animation is shown, which libav does not tell."""

from __future__ import annotations

import os

_HEAD_BYTES = 1 << 18
_GIF = b"\x21\xff\x0bNETSCAPE2.0\x03\x01"
"""The extension that Netscape gave to GIF89a: then two bytes, how many times more, 0 for ever."""
_APNG = b"acTL"
"""Animation control of a PNG (PNG third edition, 11.3.4.1): four bytes for the pictures, four for how many times."""
_WEBP = b"ANIM\x06\x00\x00\x00"
"""Animation of a WebP (RFC 9649, 2.7.1.1): four bytes for a colour, two for how many times."""


def plays_of(path: str | os.PathLike[str], codec: str) -> int | None:
    """0 is for ever; None for what is no GIF, no animated PNG and no animated WebP, or cannot be read."""
    if codec not in ("gif", "apng", "webp_anim"):
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if codec == "gif":
        at = head.find(_GIF)
        more = int.from_bytes(head[at + len(_GIF) : at + len(_GIF) + 2], "little")
        return 1 if at < 0 else more and more + 1
    if codec == "webp_anim":
        at = head.find(_WEBP)
        return None if at < 0 else int.from_bytes(head[at + 12 : at + 14], "little")
    at = head.find(_APNG)
    return None if at < 0 else int.from_bytes(head[at + 8 : at + 12], "big")


def play_options(muxer: str, plays: int | None) -> list[tuple[str, str]]:
    """What ffmpeg's muxers are told; an animation made of a film goes on for ever."""
    option = {"gif": "loop", "apng": "plays", "webp": "loop"}.get(muxer)
    if option is None:
        return []
    if muxer == "gif" and plays:
        plays = plays - 1 or -1
    return [(option, str(plays or 0))]

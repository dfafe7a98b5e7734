"""What PyAV does not tell of a picture stream: libav's Matroska writer says it, as the head of a file of its own.

Element numbers are those of RFC 9559.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import av
import av.error

from slomo_cli.media.matroska import picture_number

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_COLOUR, _SITING_ACROSS, _SITING_DOWN = 0x55B0, 0x55B7, 0x55B8
_CROP = (0x54CC, 0x54BB, 0x54DD, 0x54AA)
"""PixelCropLeft, -Top, -Right and -Bottom; those that are 0 may be absent."""
_CHROMA_LOCATIONS = {(1, 2): 1, (2, 2): 2, (1, 1): 3, (2, 1): 4}
"""By how far the siting is across and down, 1 on the luma sample and 2 half way: AVCHROMA_LOC_*."""


def track_header(stream: VideoStream) -> bytes:
    """The head of such a file; empty where the writer refuses the stream."""
    try:
        buffer = io.BytesIO()
        # Without random numbers, so that what is not walked element by element is found by no chance.
        with av.open(buffer, "w", format="matroska", options={"fflags": "+bitexact"}) as writer:
            writer.add_stream_from_template(stream, opaque=True)
            writer.start_encoding()
            return buffer.getvalue()
    except (av.error.FFmpegError, ValueError, TypeError):
        return b""


def chroma_location(header: bytes) -> int:
    """AVCHROMA_LOC_* of the stream, 0 when unspecified or of no four common kinds."""
    across, down = (picture_number(header, _COLOUR, name) for name in (_SITING_ACROSS, _SITING_DOWN))
    return _CHROMA_LOCATIONS.get((across, down), 0)


def crop(header: bytes) -> tuple[int, int, int, int]:
    """(left, top, right, bottom): what the container hides of the picture (MP4's ``clap``, Matroska's PixelCrop)."""
    left, top, right, bottom = (picture_number(header, name) for name in _CROP)
    return left, top, right, bottom


def dolby_profile(header: bytes) -> int | None:
    """The profile in the Dolby Vision configuration: in its third byte, above one bit of the level."""
    # BlockAddIDType (41E7) with the name of MP4's box, then BlockAddIDExtraData (41ED) with what the box holds.
    found = re.search(rb"\x41\xe7\x84(?:dvcC|dvvC|dvwC)\x41\xed.{1,8}?\x01\x00(.)", header, re.DOTALL)
    return found[1][0] >> 1 if found else None

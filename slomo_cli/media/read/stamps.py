"""Stamps of the picture's packets, set right one by one as they are read."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from slomo_cli.media.read.joins import JUMPING_FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.packet import Packet
    from av.video.stream import VideoStream

_COUNTING = ("avi", "gxf")
"""Containers that count pictures as they are stored, the first as the one shown at the beginning."""
_LONGEST_DELAY = 10
"""Seconds a picture of a broadcast may wait between decoding and showing (ITU-T H.222.0, 2.14.3)."""


def stamps_are_of_decoding(container: str, codec: str) -> bool:
    """Whether packets carry the times of decoding alone, while pictures are shown in another order.

    AVI, ASF and GXF know no other stamps, and libav's own guess follows the pictures out of order: the n-th picture
    shown has the n-th stamp. So it is in MXF, whose index may not say in which order they are shown.
    """
    if container == "gxf":
        return codec in ("mpeg1video", "mpeg2video")
    return container in ("avi", "asf", "mxf") and codec in ("h264", "hevc", "vc1", "wmv3")


class StampMender:
    """For one track, from its beginning on."""

    def __init__(self, container: str, time_base: Fraction, strays: Mapping[tuple[int, int], int]) -> None:
        """``container``: libav's name of it; ``strays``: as in ``SourceTiming``."""
        self._counts = container in _COUNTING
        self._farthest = _LONGEST_DELAY / time_base if container in JUMPING_FORMATS else None
        self._strays = strays
        self._lead: int | None = None
        self._delay: int | None = None
        self._latest: int | None = None

    def mend(self, packet: Packet[VideoStream], *, of_decoding: bool) -> None:
        """The next packet. ``of_decoding``: its stamps tell when pictures are decoded, not when they are shown."""
        if packet.dts is not None:
            if self._counts and packet.pts is not None:
                # From the beginning, where libav lets the first wait for those it may lean on.
                if self._lead is None:
                    self._lead = packet.pts - packet.dts
                packet.pts -= self._lead
            if of_decoding:
                # As far behind them as the first, not as libav guesses at the end.
                if self._delay is None:
                    # Without B-frames there is none, though libav guesses one.
                    waits = packet.stream.codec_context.has_b_frames
                    self._delay = packet.pts - packet.dts if waits and packet.pts is not None else 0
                packet.pts = packet.dts + self._delay
        if packet.pts is not None:
            packet.pts = self._strays.get((packet.pts, packet.pos or 0), packet.pts)
            # Damaged on the way, as in broadcasts: then there is none, unless the time of decoding is what flies off.
            followed = self._latest is not None and not self._is_far(packet.pts, self._latest)
            if self._is_far(packet.pts, packet.dts) and not followed:
                packet.pts = None
            else:
                self._latest = packet.pts

    def _is_far(self, stamp: int, other: int | None) -> bool:
        return self._farthest is not None and other is not None and abs(stamp - other) > self._farthest

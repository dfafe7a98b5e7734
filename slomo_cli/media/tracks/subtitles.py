"""Subtitles on the picture's new time, written to files that ffmpeg then reads beside the picture.

ffmpeg can scale when a subtitle starts but not how long it stays, so the packets are rewritten here: both ends go
through the plan's map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from slomo_cli.errors import InputError, printable
from slomo_cli.media.ffmpeg import literal
from slomo_cli.media.read.joins import JoinedClock
from slomo_cli.media.read.opening import open_container
from slomo_cli.media.tracks.innerclock import with_inner_clock
from slomo_cli.text import counted
from slomo_cli.timeline import Plan
from slomo_cli.values import SourceTiming, StreamInfo, VideoInfo

MATROSKA_HOLDS = frozenset(
    ("subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "hdmv_text_subtitle", "dvd_subtitle", "dvb_subtitle")
)
"""Subtitle codecs kept in a temporary Matroska; ``mov_text`` goes into a temporary MP4 of its own."""

TEXT = frozenset(("subrip", "ass", "ssa", "webvtt", "mov_text"))
"""Of all these, what is text."""
_BESIDE_TEXT: tuple[Any, ...] = ("webvtt_identifier", "webvtt_settings")
"""What WebVTT says beside a caption's text: its name and its place in the picture."""
_BLANK = {
    "ass": b"0,0,Default,,0,0,0,,",
    "ssa": b"0,0,Default,,0,0,0,,",
    "hdmv_pgs_subtitle": b"\x80\0\0",  # an end of display set with nothing before it
    "dvd_subtitle": b"\0\x04\0\x04",
    "dvb_subtitle": b"\x20\0\xff",
}
"""Per codec, a packet that shows nothing; for codecs of plain text, a blank."""


MOST_SECONDS = 2000
"""How long a caption lasts at most in MP4, whose writer counts its microseconds in 31 bits and fails at more."""


def retime(
    info: VideoInfo,
    timing: SourceTiming,
    result: Path,
    tracks: Sequence[StreamInfo],
    plan: Plan | None,
    end: Fraction | None = None,
) -> list[Retimed]:
    """Copies these subtitle tracks to ``result`` with starts and durations on the output's clock.

    What ends before the range or begins after it is left out; what reaches into it is cut to it. ``plan`` None: time
    stays as it is. ``end``: for MP4, when the film ends, in seconds; captions that do not say how long they last, or
    say more than it holds, are told to end there. Where recordings were joined, they go on with the picture. Text that
    is no UTF-8 is read as Windows' Western European, and becomes UTF-8: ffmpeg converts no other. Returns what was met
    in each track. Raises InputError when the source cannot be read.
    """
    with open_container(info.path) as origin, av.open(literal(result), "w") as target:
        copies = [Retimed(track, target.add_stream_from_template(origin.streams[track.index]), end) for track in tracks]
        by_index = {copy.track.index: copy for copy in copies}
        try:
            target.start_encoding()
            film = JoinedClock(origin, info, timing)
            wanted = [origin.streams[index] for index in by_index]
            for packet in origin.demux(wanted if timing.continuous else [*wanted, film.picture]):
                if packet.stream_index == info.stream_index:
                    film.follow(packet)
                elif packet.pts is not None:
                    fresh = by_index[packet.stream_index].take(packet, film.seconds - timing.first_seconds, plan)
                    if fresh is not None:
                        target.mux(fresh)
            if all(copy.is_empty for copy in copies) and copies[0].track.codec != "mov_text":
                # A Matroska file without a single packet cannot be opened: one caption that shows nothing keeps it.
                target.mux(copies[0].blank())
        except av.error.FFmpegError as error:
            raise InputError(
                f"the subtitles of '{printable(info.path)}' cannot be copied: {printable(error)}"
            ) from None
    return copies


class Retimed:
    """A track on the output's clock, and what was met in it."""

    def __init__(self, track: StreamInfo, stream: Any, end: Fraction | None) -> None:
        """``stream``: where it is written. ``end``: as in ``retime``."""
        self.track = track
        self.outside = 0
        """Captions that are left out."""
        self.foreign = 0
        """Captions read as Windows-1252."""
        self.shortened = 0
        """Captions that last longer than can be said."""
        self._stream = stream
        self._end = end
        self._latest = -1

    @property
    def is_empty(self) -> bool:
        return self._latest < 0

    def take(self, packet: Any, shift: Fraction, plan: Plan | None) -> Any:
        """The source's next packet as it is written, None where it is not. ``shift``: from its clock to the film's, in
        seconds."""
        data, codec, base = bytes(packet), self.track.codec, Fraction(packet.time_base)
        if not data or _fills_a_gap(data, codec):
            return None
        begin = packet.pts * base + shift
        lasts = packet.duration * base if packet.duration else None
        moved = shown_part(begin, lasts, plan)
        if moved is None:
            self.outside += not _clears(data, codec)
            return None
        if plan is not None:
            data = with_inner_clock(data, codec, plan, begin, lasts, moved.lasts, packet.pts * base)
        moved = self._with_end(moved)
        mended = _as_utf8(data, codec) if codec in TEXT else data
        self.foreign += mended != data
        # Stamps of one stream must not run backwards; two captions may begin together.
        fresh = _packet(mended, self._stream, moved, earliest=self._latest)
        for kind in filter(packet.has_sidedata, _BESIDE_TEXT):
            fresh.set_sidedata(packet.get_sidedata(kind))
        self._latest = fresh.pts
        return fresh

    def _with_end(self, shown: Part) -> Part:
        """The same, for MP4 with an end: there what lasts no time is not shown, and not everything can be said."""
        if self._end is None:
            return shown
        lasts = shown.lasts
        if lasts is None or lasts > MOST_SECONDS:  # others may lie beside sound that goes on after the picture
            lasts = max(self._end - shown.start, Fraction(1, 1000))
        self.shortened += lasts > MOST_SECONDS
        return Part(shown.start, min(lasts, Fraction(MOST_SECONDS)))

    def blank(self) -> Any:
        """A caption that shows nothing."""
        return _packet(_BLANK.get(self.track.codec, b" "), self._stream, Part(Fraction(0), Fraction(1, 1000)))


def _packet(data: bytes, stream: Any, shown: Part, earliest: int = 0) -> Any:
    """A caption of its own, in milliseconds; not before ``earliest``."""
    packet: Any = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = max(round(shown.start * 1000), earliest)
    if shown.lasts is not None:
        packet.duration = max(1, round((shown.start + shown.lasts) * 1000) - packet.pts)
    packet.is_keyframe = True
    return packet


def _fills_a_gap(data: bytes, codec: str) -> bool:
    """Whether it is one of the empty captions that stand between others in MP4, whose writer makes its own."""
    return codec == "mov_text" and data[:2] == b"\0\0"


def _as_utf8(data: bytes, codec: str) -> bytes:
    if codec == "mov_text":  # a length of two bytes, text, and boxes of style, which count characters
        end = 2 + int.from_bytes(data[:2], "big")
        if data[2:4] in (b"\xfe\xff", b"\xff\xfe"):
            return data  # UTF-16, which the format admits
        text = _as_utf8(data[2:end], "")
        return len(text).to_bytes(2, "big") + text + data[end:] if len(text) < 1 << 16 else data
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace").encode("utf-8")
    return data


def _clears(data: bytes, codec: str) -> bool:
    """Whether a packet only ends what another shows: of PGS, a composition of no objects, counted in its 14th byte."""
    return codec == "hdmv_pgs_subtitle" and data[13:14] == b"\0"


@dataclass(frozen=True)
class Part:
    """When something is shown, in seconds on the output's clock."""

    start: Fraction
    lasts: Fraction | None
    """None: until the next."""


def shown_part(begin: Fraction, lasts: Fraction | None, plan: Plan | None) -> Part | None:
    """What is shown of it, cut to the range; None when nothing is left. ``begin``, ``lasts``: in the source."""
    if plan is None:
        start = max(Fraction(0), begin)
        return Part(start, lasts and begin + lasts - start) if lasts is None or begin + lasts > 0 else None
    if lasts is None:
        # A bitmap set without a length holds until the next: those before the range follow each other at its start,
        # and the last of them stays.
        if begin >= plan.end:
            return None
        return Part(plan.time_map.output_at(max(begin, plan.start)), None)
    if begin >= plan.end or begin + lasts <= plan.start:
        return None
    start = plan.time_map.output_at(max(begin, plan.start))
    end = plan.time_map.output_at(min(begin + lasts, plan.end))
    return Part(start, end - start) if end > start else None


def left_out(count: int, what: str) -> str:
    """A line on captions or chapters of which nothing is shown."""
    lies = "it lies" if count == 1 else "they lie"
    return f"{counted(count, what)} left out: {lies} outside the pictures that are shown"

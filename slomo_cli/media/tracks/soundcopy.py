"""Sound of joined recordings that keeps its speed: its packets, each recording's beginning with its picture.

The sound of a recording is seldom exactly as long as its picture: set end to end, it would come a little later with
every join. Here what reaches beyond the picture is left out packet by packet, so nothing needs to be encoded anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from slomo_cli.media.nut import Nut, Pipe
from slomo_cli.media.read.joins import STEP_BACK, JoinedClock
from slomo_cli.media.read.opening import READ_ERRORS, open_container, why_ended
from slomo_cli.media.tracks.soundclock import MOST_ASTRAY_IN_JOINED, Interleaved, SoundClock, Unstrayed
from slomo_cli.media.tracks.soundfeed import IS_POSSIBLE, Feed
from slomo_cli.media.tracks.tags import label
from slomo_cli.values import SourceTiming, StreamInfo, VideoInfo

_CODECS = frozenset(("aac", "mp2", "mp3", "ac3", "eac3", "opus", "flac", "vorbis", "dts", "pcm_s16be", "pcm_s16le"))
"""Codecs that NUT holds; E-AC-3 as AC-3, which ``inputs`` sets right."""
_TICK = Fraction(1, 1_000_000)


def can_be_handed(track: StreamInfo) -> bool:
    """Whether the packets of a track can be handed over on a clock that goes on."""
    return IS_POSSIBLE and track.codec in _CODECS


class PacketFeed(Feed):
    """Packets in NUT, on the clock of the source's first recording."""

    def __init__(self, word: str, info: VideoInfo, timing: SourceTiming, tracks: Sequence[StreamInfo]) -> None:
        super().__init__(word, ", ".join(map(label, tracks)))
        self._info, self._timing = info, timing
        self._indices = [track.index for track in tracks]

    def _fill(self, number: int) -> None:
        with open_container(self._info.path) as source, os.fdopen(number, "wb", 0, closefd=False) as stream:
            film = JoinedClock(source, self._info, self._timing)
            nut = _SoundNut(Pipe(stream), [source.streams[index] for index in self._indices])
            lines = {index: _Line(SoundClock(source.format.name, film)) for index in self._indices}
            packets = source.demux([*(source.streams[index] for index in self._indices), film.picture])
            packets = Interleaved(source.format.name, film).sound(packets)
            while not self._stopped.is_set():
                try:
                    packet = next(packets, None)
                except READ_ERRORS as error:  # a file that breaks off
                    self.damage.end = why_ended(error, source.format.name)
                    break
                if packet is None:
                    break
                if packet.size:
                    for piece, moment in lines[packet.stream_index].take(packet):
                        nut.write(piece, moment)
            for line in lines.values():
                for piece, moment in line.rest():
                    nut.write(piece, moment)
            nut.close()


class _Line:
    """One track: when its packets sound, without overlap and with their own distances within a recording."""

    def __init__(self, clock: SoundClock) -> None:
        self._clock = clock
        self._strays = Unstrayed(STEP_BACK, MOST_ASTRAY_IN_JOINED)
        self._end: Fraction | None = None
        self._ahead = Fraction(0)
        self._slip: Fraction | None = Fraction(0)
        """What keeps packets end to end where recordings meet: half of one at most. None until that is settled."""

    def take(self, packet: Any) -> list[tuple[Any, Fraction]]:
        """The track's next packet; gives those that are settled, and the seconds at which they begin."""
        begin = None if packet.pts is None else packet.pts * Fraction(packet.time_base)
        return self._placed(self._strays.push(packet, begin, _lasts(packet)))

    def rest(self) -> list[tuple[Any, Fraction]]:
        """Those that are left at the end."""
        return self._placed(self._strays.rest())

    def _placed(self, pieces: list[tuple[Any, Fraction | None]]) -> list[tuple[Any, Fraction]]:
        moments = [(packet, self._moment(stamp, _lasts(packet))) for packet, stamp in pieces]
        return [(packet, moment) for packet, moment in moments if moment is not None]

    def _moment(self, stamp: Fraction | None, lasts: Fraction) -> Fraction | None:
        """Seconds at which the packet begins; None where the one before it still sounds, or nothing tells."""
        if stamp is None:
            return None
        begin = self._clock.place(stamp, lasts)
        if self._clock.ahead != self._ahead:
            self._ahead, self._slip = self._clock.ahead, None
        late = Fraction(0) if self._end is None else begin + (self._slip or 0) - self._end
        if self._end is not None and late < -lasts / 2:  # which NUT does not take
            return None
        if self._slip is None and self._end is not None:
            self._slip = -late if late <= lasts / 2 else Fraction(0)
        self._end = begin + (self._slip or 0) + lasts
        return self._end - lasts


def _lasts(packet: Any) -> Fraction:
    """Seconds."""
    return (packet.duration or 0) * Fraction(packet.time_base)


class _SoundNut(Nut):
    """Several tracks of packets."""

    def __init__(self, pipe: Pipe, streams: Sequence[Any]) -> None:
        super().__init__(pipe, _TICK)
        self._streams = {s.index: self._container.add_stream_from_template(s, opaque=True) for s in streams}
        for stream in self._streams.values():
            stream.time_base = _TICK

    def write(self, packet: Any, seconds: Fraction) -> None:
        ticks = round(seconds / _TICK)
        self._mux(packet, self._streams[packet.stream_index], ticks, ticks)

"""One way through all packets of a source, and what is met on it.

Nothing is decoded but what comes before the first picture. Memory: 36 bytes a picture.
"""

from __future__ import annotations

import contextlib
import math
from array import array
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av.error
import numpy as np

from slomo_cli.media.clocks import exact
from slomo_cli.media.read.beside import loudspeakers
from slomo_cli.media.read.framing import LONGEST, SELF_TOLD, Forms, header_of
from slomo_cli.media.read.grid import ascending
from slomo_cli.media.read.joins import BACKWARD_JUMP, FORWARD_JUMP, JUMPING_FORMATS, STEP_BACK, Joins
from slomo_cli.media.read.opening import READ_ERRORS, why_ended
from slomo_cli.media.read.source import LENGTHLESS, PAUSING_FORMATS, THEORA_HEADER
from slomo_cli.media.read.stamps import stamps_are_of_decoding
from slomo_cli.media.read.strays import jolted, mended
from slomo_cli.values import SoundTiming

if TYPE_CHECKING:
    from slomo_cli.media.read.source import PictureTrack
    from slomo_cli.values import StreamInfo, VideoInfo

HEARD = Fraction(1, 25)
"""Seconds by which sound that is off its picture is heard to be."""
_MOST_UNHEARD = 500
"""Packets of a track that are decoded until one tells what it holds."""


class _Sound:
    """How long a track of sound pauses by the times of its packets, in its own ticks, as there are many; whether they
    are whole, and whether they change on the way."""

    def __init__(self, container: str, track: StreamInfo, time_base: Fraction) -> None:
        codec = track.codec
        self.heard: tuple[int, int, str] | None = None
        """Samples per second, channels and layout, where no header told."""
        self._unheard = 0 if track.sample_rate or not codec else _MOST_UNHEARD
        self.goes_back = False
        self.is_damaged = False
        self.leaps = False
        self.forms = Forms() if container in JUMPING_FORMATS and codec in SELF_TOLD else None
        self._is_header = header_of(codec, container)
        self._opens = True
        """No packet began with a header yet."""
        self._may_open_amid = codec != "aac"
        self._pauses = 0
        self._second = 1 / time_base
        self._back = round((STEP_BACK if container in JUMPING_FORMATS else BACKWARD_JUMP) * self._second)
        self._joins = Joins(container, self._second)
        self._before: int | float = -math.inf
        self._due: int | None = None

    @property
    def pauses(self) -> Fraction:
        """Seconds."""
        return self._pauses / self._second

    def take(self, packet: Any) -> None:
        """The next packet."""
        if packet.size and self._unheard:
            self._listen(packet)
        if packet.size and (self.forms or self._is_header):
            self._look(memoryview(packet))
        begin, lasts = packet.pts, packet.duration
        if begin is None:
            return
        if not lasts:  # NUT does not say it of every codec
            return
        gap = 0 if self._due is None else begin - self._due
        # Asked of the packet before, as ffmpeg asks: how long WMA lasts is an estimate, and recordings joined without a
        # gap may overlap a little.
        self.goes_back = self.goes_back or self._before - begin >= self._back
        self.leaps = self.leaps or (gap > 0 and self._joins.at(gap))
        # Less is rounding, which would add up.
        if 2 * abs(gap) > lasts and not self._joins.at(gap):
            self._pauses += gap
        self._before, self._due = begin, begin + lasts

    def _look(self, data: memoryview) -> None:
        """At what a packet begins with."""
        head = bytes(data[:LONGEST])
        if self._is_header and not self.is_damaged:
            if self._is_header(head):
                # Of the first, mp4 reads all, to tell what is in the track.
                self.is_damaged = self._opens and not self._is_header(bytes(data))
                self._opens = False
            else:  # of AC-3, mp4 leaves out what comes before the first, as in files cut anywhere
                self.is_damaged = not (self._opens and self._may_open_amid)
        if self.forms:
            self.forms.take(head)

    def _listen(self, packet: Any) -> None:
        """Decodes what tells of itself only when it comes."""
        self._unheard -= 1
        with contextlib.suppress(av.error.FFmpegError):
            for frame in packet.decode():
                self._unheard = 0
                self.heard = frame.sample_rate, len(frame.layout.channels), loudspeakers(frame.layout)


class Walk:
    """One way through all packets, and what was met on it."""

    def __init__(self, picture: PictureTrack, info: VideoInfo) -> None:
        self.picture = picture
        self.stream = picture.stream
        self.time_base = picture.time_base
        self.promised = self.stream.frames
        """Packets of which the header tells, 0 where it does not."""
        self.by_decoding = stamps_are_of_decoding(info.container, info.codec)

        # What was met first:
        self.pictures_seen: list[int | None] = []
        """Stamps of the first pictures that decode."""
        self.ahead = 0
        """Packets that the decoder, in one thread, takes before it gives the first picture."""

        # Of the packets whose pictures are shown:
        self.packets = 0
        """How many there are."""
        self.ticks = array("q")
        """Their stamps, as far as they have any."""
        self.places = array("q")
        """Where in the file each packet with a stamp lies."""
        self.joins: list[int] = []
        """Indices into ``ticks`` where a new recording begins."""
        self.strays: dict[tuple[int, int], int] = {}
        """As in ``SourceTiming``; in ``ticks`` they are mended."""
        self.jolts: list[int] = []
        """As in ``SourceTiming``."""
        self._order = array("q")
        """Their times of decoding, as far as they have any, where clocks may jump."""
        self._counted, self._positions = array("I"), array("q")
        """How many stamps were met before each of those, and where in the file its packet lies."""
        self.latest: int | None = None
        """The latest stamp of the last recording."""
        self.latest_end = 0
        """When that picture ends, by its packet's word."""
        self.packet_duration = 0
        """The first length that one of them names, in ticks; 0 where none does."""
        self.is_even = True
        """Every picture but the first, of which libav knows too little, lasts as long as the next."""
        self._lasts: int | None = None
        self.order_is_untold = bool(self.stream.codec_context.has_b_frames)
        """No packet is shown at another time than it is decoded, though the codec may store pictures out of order."""
        self.decoded = 0
        """Ticks from the first decoding to the end of the last, which MP4 counts: where pictures are stored out of
        order, a pause is met sooner there."""
        self._first_decoded: int | None = None

        # Of the whole file:
        self.hidden = 0
        """Packets of the picture that an edit list hides."""
        self.furthest = Fraction(0)
        """The latest end that a packet names, seconds on the container's clock; of all streams where they were read."""
        self._named_end = 0
        self.failure = ""
        """Why reading ended early; '' where it did not."""

        # Where only the container declares a length, it may be the sound's: then every stream's end counts.
        own = info.container not in LENGTHLESS and self.stream.duration is not None
        undeclared = not own and "DURATION" not in dict(info.picture_metadata)
        self.counts_all = undeclared and len(picture.container.streams) > 1
        sounds = [s for s in info.streams if s.kind == "audio" and info.container in PAUSING_FORMATS]
        streams = picture.container.streams
        self._sounds = {
            sound.index: _Sound(info.container, sound, exact(streams[sound.index].time_base) or Fraction(1))
            for sound in sounds
        }
        self.reads_all = self.counts_all or bool(sounds)
        self._joins = Joins(info.container, 1 / self.time_base)
        self._may_jump = info.container in JUMPING_FORMATS
        self._is_vp8 = info.codec == "vp8"

    def run(self) -> None:
        """Reads every packet once."""
        container = self.picture.container
        try:
            for packet in container.demux() if self.reads_all else container.demux(self.stream):
                self._take(packet)
        except READ_ERRORS as error:
            self.failure = why_ended(error, container.format.name)
        # Not always the last picture's: ffmpeg counts how long one stands in decoding order, and so does the header.
        self.furthest = max(self.furthest, self._named_end * self.time_base)
        if not self.pictures_seen:
            self._decode(None)
        if self._may_jump:
            self._mend_joins()
        else:
            self._mend()

    def _take(self, packet: Any) -> None:
        sound = self._sounds.get(packet.stream_index)
        if sound is not None:
            sound.take(packet)
        if packet.pts is not None and self.counts_all:
            self.furthest = max(self.furthest, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
        if packet.stream_index != self.stream.index:
            return
        if packet.size:
            self.picture.receive(packet)
        if packet.size and not self.pictures_seen:
            self._decode(packet)
        if not packet.size or self.picture.stands:
            # The picture before stands on.
            if packet.pts is not None and self.latest is not None and not packet.is_discard:
                self.latest_end = max(self.latest_end, packet.pts + (packet.duration or 0))
            return
        if packet.is_discard:
            self.hidden += 1
            return
        if self._is_vp8 and not memoryview(packet)[0] & 0x10:  # RFC 6386, 9.1: a picture others lean on, never shown
            return
        if self.picture.is_theora and memoryview(packet)[0] & THEORA_HEADER:
            return
        self._count(packet)

    def _count(self, packet: Any) -> None:
        """A packet whose picture is shown."""
        self.packets += 1
        if self.packets > 1:
            self._lasts = packet.duration if self._lasts is None else self._lasts
            self.is_even = self.is_even and packet.duration == self._lasts
        self.order_is_untold = self.order_is_untold and packet.pts == packet.dts
        self.packet_duration = self.packet_duration or packet.duration or 0
        if packet.dts is not None:
            self._first_decoded = packet.dts if self._first_decoded is None else self._first_decoded
            self.decoded = max(self.decoded, packet.dts + (packet.duration or 0) - self._first_decoded)
        # Stamps of decoding only ever grow within one recording; Matroska's first packets have none, and those of
        # presentation, which jump about, must not stand for them.
        if packet.dts is not None:
            if self._joins.jump(packet.dts):
                self.joins.append(len(self.ticks))
                self.latest = None
            if self._may_jump:
                self._order.append(packet.dts)
                self._counted.append(len(self.ticks))
                self._positions.append(packet.pos or 0)
        if packet.pts is not None:
            self.ticks.append(packet.pts)
            self.places.append(packet.pos or 0)
            self._named_end = max(self._named_end, packet.pts + (packet.duration or 0))
            if self.latest is None or packet.pts > self.latest:
                self.latest, self.latest_end = packet.pts, packet.pts + (packet.duration or 0)

    def _decode(self, packet: Any) -> None:
        """Until the first picture has come; None drains."""
        try:
            self.pictures_seen += [frame.pts for frame in self.picture.decode(packet)]
        except av.error.FFmpegError:
            return
        self.ahead += not self.pictures_seen

    def _mend_joins(self) -> None:
        """Sets right where recordings seem to be joined at damaged times of decoding only. More pictures than
        ``jolted`` finds pass for a recording of their own, and are in their place as that."""
        if not self.joins:
            return
        order = np.frombuffer(self._order, np.int64).copy()
        found = jolted(order, round(BACKWARD_JUMP / self.time_base), round(FORWARD_JUMP / self.time_base))
        if not found:
            return
        for at, right in found.items():
            index = self._counted[at]
            self.jolts.append(self._positions[at])
            if index < len(self.ticks) and self.ticks[index] == order[at] and self.places[index] == self._positions[at]:
                # A time for both, where pictures are stored in the order they are shown.
                self.strays[self.ticks[index], self.places[index]] = right
                self.ticks[index] = right
            order[at] = right
        joins = Joins(self.picture.container.format.name, 1 / self.time_base)
        self.joins = [self._counted[at] for at, stamp in enumerate(order.tolist()) if joins.jump(stamp)]
        last = self.ticks[self.joins[-1] if self.joins else 0 :]
        self.latest = max(last)
        self.latest_end = self.latest + self.packet_duration

    def _mend(self) -> None:
        """Sets right what stamps are damaged."""
        nearest = BACKWARD_JUMP / self.time_base
        reordered = self.stream.codec_context.has_b_frames > 0
        found = mended(np.frombuffer(self.ticks, np.int64), nearest, reordered)
        for at, right in found.items():
            self.strays[self.ticks[at], self.places[at]] = right
            if at == 0 and self.pictures_seen and self.pictures_seen[0] == self.ticks[0]:
                self.pictures_seen[0] = right
            self.ticks[at] = right
        self.joins = [at for at in self.joins if not {at - 1, at} & found.keys()]
        if found:
            self.latest = self.latest_end = max(self.ticks[self.joins[-1] if self.joins else 0 :])

    def sounds(self, continuous: bool) -> dict[int, SoundTiming]:
        """What was met of the tracks of sound. ``continuous``: the picture's clock goes on, so that jumps of theirs are
        no joins."""
        return {
            index: SoundTiming(
                pauses=sound.pauses > HEARD,
                leaps=continuous and sound.leaps,
                goes_back=continuous and sound.goes_back,
                damaged=sound.is_damaged,
                changes=sound.forms is not None and sound.forms.changes,
                changes_codec=sound.forms is not None and sound.forms.changes_codec,
                begins_as=sound.heard,
            )
            for index, sound in self._sounds.items()
        }

    def lasts_are_of_fields(self, rate: Fraction) -> bool:
        """Whether every picture says that it lasts half as long as all stand (GXF): no word on the last one."""
        each = (self._lasts or 0) * self.time_base
        return self.packets > 2 and self.is_even and abs(each * rate - Fraction(1, 2)) < Fraction(1, 100)

    def stamps_are_counters(self) -> bool:
        """Whether stamps count pictures in a clock far finer than each says to last (raw Dirac): they tell no time."""
        if len(self.ticks) < 3 or self.joins or not self._lasts or not self.is_even:
            return False
        steps = np.diff(ascending(np.frombuffer(self.ticks, np.int64)))
        return len(steps) > 0 and 100 * int(np.median(steps)) < self._lasts

"""Finds the picture's true times by walking over its packets; decodes only until the first picture appears, or where
the order of the pictures is not told, until it is met.

What containers store is rounded, missing (raw streams), shifted (edit lists, packed AVI), or jumps (joined broadcasts).
Here it becomes exact: seconds as fractions, relative to the first picture that can be shown. Memory: 16 bytes a
picture.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any

import av.error
import numpy as np

from slomo_cli.errors import InputError, printable
from slomo_cli.media.edits import odd_edits
from slomo_cli.media.fields import SecondFields
from slomo_cli.media.grid import (
    Stamps,
    ascending,
    even_but_first,
    film_rate,
    find_grid,
    joined,
    last_length,
    pace,
    snapped,
)
from slomo_cli.media.matroska import is_ordered
from slomo_cli.media.sequence import DEFAULT_RATE, ImageSequence, missing, open_picture
from slomo_cli.media.source import (
    JUMPING_FORMATS,
    LENGTHLESS,
    PAUSING_FORMATS,
    RAW_STREAMS,
    READ_ERRORS,
    THEORA_HEADER,
    stamps_are_of_decoding,
    why_ended,
)
from slomo_cli.media.strays import MOST_REORDERED, mended
from slomo_cli.text import counted
from slomo_cli.values import SourceTiming, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer

    from slomo_cli.media.source import PictureTrack

BACKWARD_JUMP = Fraction(1, 4)
"""Seconds a stamp must go back to be a join of two recordings, not a badly stamped picture."""
FORWARD_JUMP = Fraction(10)
"""Seconds ahead that are a join too, in formats whose clock may jump; FFmpeg's own limit."""
HEARD = Fraction(1, 25)
"""Seconds by which sound that is off its picture is heard to be."""
_TIMED_BY_HAND = ("gif", "apng", "webp_anim")
"""Codecs of pictures whose lengths their makers choose one by one."""
_OPENING = 64
"""Pictures among which, where some are stored out of order, that is met."""
_TAIL_BYTES = 1 << 20
"""So much may follow the last picture of a broadcast unsaid: sound that was sent after it."""


@dataclass(frozen=True)
class Timing:
    """What ``scan`` found."""

    timing: SourceTiming
    stamps: Sequence[Fraction]
    """When each picture is shown, seconds from the first; as many as ``timing.frames_from_packets``."""
    warnings: tuple[str, ...] = field(default=())
    """One line each, for the user: the file ends early, stamps were mended."""


def scan(info: VideoInfo, rate: Fraction | None = None) -> Timing:
    """Walks over the packets of a probed file.

    rate: pictures per second for sources that carry no stamps (raw streams, picture sequences); None takes what their
    headers or FFmpeg's demuxer say. Raises InputError when the file cannot be opened any more or no picture decodes.
    """
    with open_picture(info.path, stream_index=info.stream_index, threads=1) as picture:
        if isinstance(picture, ImageSequence):
            found = _unstamped(len(picture.files), rate, info, 1 / picture.time_base, stamped=True)
            gaps = missing(picture.files)
            skipped = (f"the numbers of the pictures leave out {gaps}; the others follow each other evenly",)
            return replace(found, warnings=(*found.warnings, *(skipped if gaps else ())))
        walk = _Walk(picture, info)
        walk.run()
        strays = walk.mend(info.container)
        stream, time_base = picture.stream, picture.time_base
        header_rates = [Fraction(rate) for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
    if not walk.pictures_seen or not walk.packets:
        shown = f"'{printable(os.fspath(info.path))}'"
        raise InputError(f"{shown} has a video stream in which no picture can be decoded: the file is damaged")
    if info.rate_from_header is not None:
        header_rates.insert(0, info.rate_from_header)
    # Raw MPEG-2 may say of pictures that they stand longer (3:2 pulldown).
    raw = info.container in RAW_STREAMS and (info.container != "mpegvideo" or walk.is_even)
    # Stills one after another in a file, as cameras write JPEGs, have their stamps of libav too.
    raw = raw or (info.container.endswith("_pipe") and walk.packets > 1)
    made_up = raw or walk.stamps_are_counters()
    if 2 * len(walk.ticks) < walk.packets or made_up:
        return _unstamped(walk.packets, rate, info, next(iter(header_rates), DEFAULT_RATE), stamped=False)
    found = _stamped(walk, info, header_rates, time_base)
    astray = walk.astray(info.container) if found.timing.continuous else ()
    found = replace(found, timing=replace(found.timing, pausing=walk.pausing(), astray=astray))
    if strays:
        count = counted(len(strays), "time stamp")
        told = f"{count} left out: far from those around, at whose pace the pictures are shown"
        timing = replace(found.timing, strays=tuple(strays.items()))
        found = replace(found, timing=timing, warnings=(*found.warnings, told))
    stored = stamps_are_of_decoding(info.container, info.codec)
    if stored and info.container == "asf" and 1 < walk.ahead <= MOST_REORDERED:
        # libav shifts stamps of decoding by one picture, whatever the depth to which they are reordered.
        later = (walk.ahead - 1) / found.timing.nominal_rate
        timing = replace(found.timing, first_seconds=found.timing.first_seconds + later, stamps_late=later)
        found = replace(found, timing=timing)
    if stored or (walk.order_is_untold and _comes_out_of_order(info, strays)):
        found = replace(found, timing=replace(found.timing, by_number=True))
    if rate is not None:
        kept = "the source has times of its own and keeps them; an input rate is for pictures and streams without any"
        found = replace(found, warnings=(*found.warnings, kept))
    return found


def _comes_out_of_order(info: VideoInfo, strays: dict[tuple[int, int], int]) -> bool:
    """Whether decoding turns the stamps of the first pictures about."""
    latest: int | None = None
    with open_picture(info.path, stream_index=info.stream_index, threads=1, strays=strays) as picture:
        for packet in islice(picture.packets(), _OPENING):
            with contextlib.suppress(av.error.FFmpegError):
                for frame in picture.decode(packet):
                    if latest is not None and frame.pts is not None and frame.pts < latest:
                        return True
                    latest = frame.pts
    return False


class Joins:
    """Tells by the step from one stamp to the next, in ticks, where another recording begins."""

    def __init__(self, container: str, second: Fraction) -> None:
        """``container``: libav's name of it; ``second``: its ticks."""
        self._back = BACKWARD_JUMP * second
        self._ahead = FORWARD_JUMP * second if container in JUMPING_FORMATS else None

    def at(self, step: int | Fraction) -> bool:
        """Whether this step leads into another recording."""
        return step < -self._back or (self._ahead is not None and step > self._ahead)


class JoinedClock:
    """By how much the clock goes on where recordings were joined: the packets of the picture tell, each in its turn."""

    def __init__(self, container: InputContainer, info: VideoInfo, timing: SourceTiming) -> None:
        self.picture = container.streams[info.stream_index]
        self.seconds = Fraction(0)
        self.met = 0
        """Joins passed by now."""
        self._time_base = Fraction(self.picture.time_base or 1)
        self._interval = 1 / timing.nominal_rate
        self._joins = Joins(info.container, 1 / self._time_base)
        self._previous: int | None = None

    def follow(self, order: int | None) -> None:
        """The picture's next packet, by its time of decoding."""
        if order is None:
            return
        if self._previous is not None and self._joins.at(step := order - self._previous):
            self.seconds += self._interval - step * self._time_base
            self.met += 1
        self._previous = order


class _Sound:
    """How long a track of sound pauses by the times of its packets; in its own ticks, as there are many."""

    def __init__(self, container: str, time_base: Fraction) -> None:
        self.goes_back = False
        self._pauses = 0
        self._second = 1 / time_base
        self._back = round(BACKWARD_JUMP * self._second)
        self._joins = Joins(container, self._second)
        self._before = 0
        self._due: int | None = None

    @property
    def pauses(self) -> Fraction:
        """Seconds."""
        return self._pauses / self._second

    def take(self, packet: Any) -> None:
        """The next packet, which has a time."""
        begin, lasts = packet.pts, packet.duration
        if not lasts:  # NUT does not say it of every codec
            return
        gap = 0 if self._due is None else begin - self._due
        # How long WMA lasts is an estimate, which may make what follows seem too early.
        self.goes_back = self.goes_back or (gap < -self._back and begin < self._before)
        # Less is rounding, which would add up.
        if 2 * abs(gap) > lasts and not self._joins.at(gap):
            self._pauses += gap
        self._before, self._due = begin, begin + lasts


class _Walk:
    """One way through all packets, and what was met on it."""

    def __init__(self, picture: PictureTrack, info: VideoInfo) -> None:
        self.picture = picture
        self.stream = picture.stream
        self.ticks = array("q")
        self.places = array("q")
        """Where in the file each of their packets lies."""
        self.joins: list[int] = []
        """Indices into ``ticks`` where a new recording begins."""
        self.packets = 0
        """Packets whose picture will be shown."""
        self.hidden = 0
        """Packets that an edit list hides."""
        self.pictures_seen: list[int | None] = []
        """Stamps of the first pictures that decode."""
        self.ahead = 0
        """Packets that the decoder, in one thread, takes before it gives the first picture."""
        self.latest: int | None = None
        self.latest_end = 0
        self.packet_duration = 0
        self.is_even = True
        """Every picture but the first, of which libav knows too little, lasts as long as the next."""
        self._lasts: int | None = None
        self.furthest = Fraction(0)
        """The latest end that a packet names, seconds on the container's clock; of all streams where they were read."""
        self._named_end = 0
        self.position = 0
        """Where in the file the last packet of the picture begins."""
        self.failure = ""
        self.order_is_untold = bool(self.stream.codec_context.has_b_frames)
        """No packet is shown at another time than it is decoded, though the codec may store pictures out of order."""
        # Where only the container declares a length, it may be the sound's: then every stream's end counts.
        own = info.container not in LENGTHLESS and self.stream.duration is not None
        undeclared = not own and "DURATION" not in dict(info.picture_metadata)
        self.counts_all = undeclared and len(picture.container.streams) > 1
        sounds = [s.index for s in info.streams if s.kind == "audio" and info.container in PAUSING_FORMATS]
        bases = {index: Fraction(picture.container.streams[index].time_base or 1) for index in sounds}
        self._sounds = {index: _Sound(info.container, base) for index, base in bases.items()}
        self.reads_all = self.counts_all or bool(sounds)
        self._joins = Joins(info.container, 1 / picture.time_base)
        self._previous: int | None = None
        self._is_vp8 = info.codec == "vp8"
        self._fields = SecondFields(self.stream.codec_context.extradata) if info.codec == "h264" else None

    def run(self) -> None:
        """Reads every packet once."""
        container = self.picture.container
        try:
            for packet in container.demux() if self.reads_all else container.demux(self.stream):
                self._take(packet)
        except READ_ERRORS as error:
            self.failure = why_ended(error, container.format.name)
        # Not always the last picture's: ffmpeg counts how long one stands in decoding order, and so does the header.
        self.furthest = max(self.furthest, self._named_end * self.picture.time_base)
        if not self.pictures_seen:
            self._decode(None)

    def _take(self, packet: Any) -> None:
        sound = self._sounds.get(packet.stream_index)
        if sound is not None and packet.pts is not None:
            sound.take(packet)
        if packet.pts is not None and self.counts_all:
            self.furthest = max(self.furthest, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
        if packet.stream_index != self.stream.index:
            return
        if packet.size:
            self.picture.receive(packet)
        if packet.size and not self.pictures_seen:
            self._decode(packet)
        if not packet.size or self.picture.stands or (self._fields is not None and self._fields.met_in(packet)):
            # Empty packets (Theora, AVI) and second fields say: the picture before stands on.
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
        self.packets += 1
        if self.packets > 1:
            self._lasts = packet.duration if self._lasts is None else self._lasts
            self.is_even = self.is_even and packet.duration == self._lasts
        self.order_is_untold = self.order_is_untold and packet.pts == packet.dts
        self.position = packet.pos or self.position
        self.packet_duration = self.packet_duration or packet.duration or 0
        self._notice_join(packet.dts)
        if packet.pts is not None:
            self.ticks.append(packet.pts)
            self.places.append(packet.pos or 0)
            self._named_end = max(self._named_end, packet.pts + (packet.duration or 0))
            if self.latest is None or packet.pts > self.latest:
                self.latest, self.latest_end = packet.pts, packet.pts + (packet.duration or 0)

    def _notice_join(self, order: int | None) -> None:
        """Stamps of decoding only ever grow within one recording; Matroska's first packets have none, and those of
        presentation, which jump about, must not stand for them."""
        if order is None:
            return
        if self._previous is not None and self._joins.at(order - self._previous):
            self.joins.append(len(self.ticks))
            self.latest = None
        self._previous = order

    def _decode(self, packet: Any) -> None:
        try:
            self.pictures_seen += [frame.pts for frame in self.picture.decode(packet)]
        except av.error.FFmpegError:
            return
        self.ahead += not self.pictures_seen

    def mend(self, container: str) -> dict[tuple[int, int], int]:
        """Sets right what stamps are damaged. They and their places in the file, and what they should be.

        Where clocks may jump, such a picture passes for a recording of its own, and is in its place as that.
        """
        if container in JUMPING_FORMATS:
            return {}
        nearest = BACKWARD_JUMP / self.picture.time_base
        reordered = self.stream.codec_context.has_b_frames > 0
        found = mended(np.frombuffer(self.ticks, np.int64), nearest, reordered)
        changed = {}
        for at, right in found.items():
            changed[self.ticks[at], self.places[at]] = right
            if at == 0 and self.pictures_seen and self.pictures_seen[0] == self.ticks[0]:
                self.pictures_seen[0] = right
            self.ticks[at] = right
        self.joins = [at for at in self.joins if not {at - 1, at} & found.keys()]
        if changed:
            self.latest = self.latest_end = max(self.ticks[self.joins[-1] if self.joins else 0 :])
        return changed

    def pausing(self) -> tuple[int, ...]:
        """The tracks of sound that pause."""
        return tuple(index for index, sound in self._sounds.items() if sound.pauses > HEARD)

    def astray(self, container: str) -> tuple[int, ...]:
        """The tracks of sound of which stamps are damaged, if the picture's go on."""
        if container in JUMPING_FORMATS:
            return ()
        return tuple(index for index, sound in self._sounds.items() if sound.goes_back)

    def first_shown(self) -> int | None:
        """The stamp of the first picture that decodes."""
        return self.pictures_seen[0]

    def lasts_are_of_fields(self, rate: Fraction) -> bool:
        """Whether every picture says that it lasts half as long as all stand (GXF): no word on the last one."""
        each = (self._lasts or 0) * self.picture.time_base
        return self.packets > 2 and self.is_even and abs(each * rate - Fraction(1, 2)) < Fraction(1, 100)

    def stamps_are_counters(self) -> bool:
        """Whether stamps count pictures in a clock far finer than each says to last (raw Dirac): they tell no time."""
        if len(self.ticks) < 3 or self.joins or not self._lasts or not self.is_even:
            return False
        steps = np.diff(ascending(np.frombuffer(self.ticks, np.int64)))
        return len(steps) > 0 and 100 * int(np.median(steps)) < self._lasts


def _unstamped(count: int, asked: Fraction | None, info: VideoInfo, assumed: Fraction, *, stamped: bool) -> Timing:
    """A raw stream or a sequence: pictures follow each other at the rate the user asks, or else the assumed."""
    rate = asked or assumed
    timing = SourceTiming(count, Fraction(0), count / rate, rate, rate, grid=rate, stamped=stamped)
    warnings: tuple[str, ...] = ()
    if asked is None and not info.rate_is_nominal:
        warnings = (
            f"the source does not say how fast it runs; its pictures are taken to come at {rate} per second: "
            "--input-rate says otherwise",
        )
    return Timing(timing, Stamps(range(count), 1 / rate, None), warnings)


def _stamped(walk: _Walk, info: VideoInfo, header_rates: list[Fraction], time_base: Fraction) -> Timing:
    warnings = []
    parts = [ascending(part) for part in np.split(np.frombuffer(walk.ticks, np.int64), walk.joins) if len(part)]
    earliest = int(parts[0][0])
    first = walk.first_shown()
    if first is not None and 0 < (late := int((parts[0] < first).sum())) < len(parts[0]):
        parts[0] = parts[0][late:]
        which, after = ("picture leans", "it") if late == 1 else (f"{late} pictures lean", "them")
        warnings.append(f"the first {which} on others that are missing or damaged; the film begins after {after}")
    nominal: Fraction | None = None
    if len(parts) > 1:
        nominal = pace(np.concatenate([np.diff(part) for part in parts]), time_base, header_rates)
        parts = joined(parts, round(1 / (nominal * time_base)))
        warnings.append("the time stamps jump where recordings were joined; the parts were set one after another")
    ticks = ascending(np.concatenate(parts))
    repeated = len(walk.ticks) - len(np.unique(np.frombuffer(walk.ticks, np.int64)))
    if repeated and len(parts) == 1:
        warnings.append(f"{counted(repeated, 'picture')} left out: the time stamp is that of another")
    grid, constant = find_grid(ticks, time_base, header_rates, walk.packet_duration)
    first_moved = Fraction(0)
    found = None
    if grid is None and len(parts) == 1 and info.codec not in _TIMED_BY_HAND:
        found = even_but_first(ticks, time_base, header_rates)
    if found is not None:
        grid, moved, constant = found
        ticks = np.concatenate([ticks[:1] + moved, ticks[1:]])
        first_moved = moved * time_base
        evenly = f"evenly, at {float(grid):.5g} per second{'' if constant else ' with gaps'}"
        way = f"{abs(float(first_moved)):.3f} s {'later' if first_moved > 0 else 'earlier'}"
        warnings.append(
            f"the first picture's time does not fit the others, which come {evenly}: it is taken to come {way}"
        )
    film = None if constant else film_rate(ticks, time_base)
    if film is not None:
        grid, constant = film, True
        warnings.append(
            f"the source is film shown for two and three fields in turn (3:2 pulldown): its pictures are taken to come "
            f"evenly, at {float(film):.5g} per second"
        )
    rate = grid if constant else None
    nominal = nominal or rate or grid or pace(np.diff(ticks), time_base, header_rates)
    told = 0 if rate and walk.lasts_are_of_fields(rate) else walk.latest_end - (walk.latest or 0)
    last = 1 / film if film else last_length(told, ticks, time_base, grid, nominal)
    timing = SourceTiming(
        frames_from_packets=len(ticks),
        first_seconds=int(ticks[0]) * time_base,
        duration=snapped(int(ticks[-1] - ticks[0]), time_base, grid) + last,
        rate=rate,
        nominal_rate=nominal,
        grid=grid,
        continuous=len(parts) == 1,
        first_moved=first_moved,
    )
    warnings += _shortfall(walk, info, timing, (int(ticks[0]) - earliest) * time_base)
    warnings += _odd_edits(info)
    return Timing(timing, Stamps(ticks, time_base, grid), tuple(warnings))


def _odd_edits(info: VideoInfo) -> list[str]:
    """Lines where the file wants parts played slower, faster, as a still, not at all or in another order, which libav
    does not."""
    if "matroska" in info.container and info.chapters and is_ordered(info.path):
        return [
            "the source's chapters tell which parts are played, and in which order (Matroska's ordered chapters); all "
            "of it is taken, as it is stored"
        ]
    if "mov" not in info.container:
        return []
    lines = []
    speeds, pauses = odd_edits(info.path)
    if speeds:
        shown = " and ".join(f"at {float(speed):.4g} times their speed" if speed else "as a still" for speed in speeds)
        lines.append(
            f"the source's edit list plays parts {shown}; they are taken at normal speed: their times may be wrong"
        )
    if pauses:
        lines.append(
            "the source's edit list holds pauses in which nothing is shown or heard; they are filled with its beginning"
        )
    return lines


def _shortfall(walk: _Walk, info: VideoInfo, timing: SourceTiming, lead: Fraction) -> list[str]:
    """A line when the file ends well before its header says it should, or reading failed.

    lead: seconds of pictures at the beginning that cannot be shown but count in the header's length.
    """
    if walk.failure:
        return [f"reading the source stopped after {float(timing.duration):.2f} s ({walk.failure}); the rest is lost"]
    if info.container == "mpegts" and not any(stream.kind == "video" for stream in info.streams):
        size = os.stat(info.path).st_size if info.path.is_file() else 0
        if size - walk.position > max(_TAIL_BYTES, size / 10):
            return [
                f"the last picture lies at {100 * walk.position // size} % of the file: what follows is sound, or "
                "belongs to tracks that begin later, and is not read"
            ]
    declared = info.duration_from_header
    # An edit list hides part of what the declared length counts, and joins replace the clock it was measured on.
    if declared is None or walk.hidden or not timing.continuous:
        return []
    reached = timing.duration + lead
    if walk.furthest:
        reached = max(reached, walk.furthest - min(info.container_start_seconds, timing.first_seconds))
    if declared - reached > max(Fraction(1, 4), 3 / timing.nominal_rate, declared / 100):
        return [
            f"the source ends at {float(reached):.2f} s of the {float(declared):.2f} s its header names: "
            "an incomplete file? Only what is there is used"
        ]
    return []

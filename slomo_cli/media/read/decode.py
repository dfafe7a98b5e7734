"""Decodes a source's pictures in presentation order, as the file's own samples with exact times.

Damaged packets are passed over and counted; they never end the film. Every picture has the size and layout ``probe``
found: a picture that differs is brought to it, with one warning.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

import av.error

from slomo_cli.errors import InputError, printable
from slomo_cli.media.read.deinterlace import HOW, Deinterlacer
from slomo_cli.media.read.grid import snapped
from slomo_cli.media.read.joins import Joins
from slomo_cli.media.read.sequence import open_picture
from slomo_cli.media.read.uniform import Uniform
from slomo_cli.text import counted
from slomo_cli.values import Frame, SourceTiming, VideoInfo

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

    from slomo_cli.media.read.source import PictureTrack
    from slomo_cli.values import Deinterlace

Timed = tuple[Fraction, "VideoFrame"]
"""A picture with its time in seconds from the first."""

_SEEKABLE = frozenset({"mov", "matroska", "webm", "mp4", "mpegts", "nut", "flv", "ogg", "image2"})
"""Containers (a name of the demuxer) in which a keyframe's stamp is the same after a jump as without one."""
_WORTH_SEEKING = Fraction(2)
"""Seconds; a start nearer to the beginning is reached by decoding."""


class Decoder:
    """The pictures of one source, once, in presentation order; a context manager.

    From the last picture at or before ``start`` through the first at or after ``end`` (seconds from the first picture;
    None: the beginning, the end). ``deinterlace``: ``auto`` makes each interlaced picture whole (bwdif: same count,
    same times), ``fields`` makes two of it, the second half a picture later; both cost nothing until one is met. With
    ``off``, or where ``info`` says nothing of fields, a warning tells of them.
    ``promised``: how many pictures should come, by which those that are lost are told; None where only the whole film
    is asked for, or nobody is told. ``threads`` of the decoder: 0 chooses.

    Iterate in any one thread; ``close`` may be called from another and ends the iteration at the next picture.
    Raises InputError while iterating when the file is gone or nothing in it decodes.
    """

    def __init__(
        self,
        info: VideoInfo,
        timing: SourceTiming,
        *,
        start: Fraction | None = None,
        end: Fraction | None = None,
        deinterlace: Deinterlace = "off",
        promised: int | None = None,
        threads: int = 0,
    ) -> None:
        self.info = info
        self.timing = timing
        self.packets_skipped = 0
        """Damaged packets the decoder refused."""
        self._damaged: set[tuple[int | None, int | None]] = set()
        self.frames_decoded = 0
        """Pictures delivered so far; two fields of one are one."""
        self.warnings: list[str] = []
        """One line each, for the user; complete when the iteration has ended."""
        self._start = start
        self._end = end
        self._promised = promised
        possible = min(info.width, info.height) >= 3 and not info.single_fields
        self._deinterlace: Deinterlace = deinterlace if possible else "off"
        self._threads = threads
        self._iterator: Generator[Frame] | None = None
        self._stopped = False
        self._latest_fed = -(1 << 63)
        known = bool(_SEEKABLE & set(info.container.split(",")))
        self.seekable = known and timing.stamped and timing.continuous and not (timing.by_number or timing.strays)
        """Whether a late ``start`` is reached without decoding all that is before it."""
        self._shown = f"'{printable(os.fspath(info.path))}'"
        self._uniform = Uniform(info, self._shown, self.warnings)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._iterator is not None:
            raise RuntimeError("a Decoder is iterated once; make another one")
        self._iterator = self._frames()
        return self._iterator

    def close(self) -> None:
        """Ends the iteration and releases file and threads; may be called twice and from any thread."""
        self._stopped = True
        if self._iterator is not None:
            # ValueError: it is running in another thread, sees the flag at its next packet and ends by itself.
            with contextlib.suppress(ValueError):
                self._iterator.close()

    def _frames(self) -> Generator[Frame]:
        """The window from ``start`` to ``end``; only what is delivered is copied."""
        held: list[Timed] = []
        met = False
        pictures = self._whole_pictures()
        try:
            for fields in pictures:
                met = True
                if self._stopped:
                    return
                time, _ = fields[0]
                if self._start is not None and time <= self._start:
                    held = fields
                    continue
                if held:
                    yield from self._delivered(held)
                    reached, held = self._end is not None and held[0][0] >= self._end, []
                    if reached:
                        break
                yield from self._delivered(fields)
                if self._end is not None and time >= self._end:
                    break
            if held:
                yield from self._delivered(held)
            if self._stopped:
                return
            if not met:
                raise InputError(f"{self._shown}: no picture in it can be decoded; the file is damaged")
            self._warn_of_loss()
        finally:
            pictures.close()

    def _whole_pictures(self) -> Generator[list[Timed]]:
        """Timed pictures, their two fields made one picture, or one each, where asked; those of a picture together."""
        source = self._timed()
        filter = Deinterlacer(self.info, fields=self._deinterlace == "fields")
        waiting: deque[Fraction] = deque()
        begin, usual = Fraction(0), 1 / self.timing.nominal_rate
        gaps: deque[Fraction] = deque(maxlen=3)  # recordings of other rates may follow each other
        told = self.info.interlaced or self.info.single_fields
        try:
            for each in chain(source, (None,)):
                if each is not None:
                    time, picture = each
                    if not told and picture.interlaced_frame:
                        told = True
                        self.warnings.append(
                            f"interlaced pictures begin at {float(time):.2f} s; they are {HOW[self._deinterlace]}"
                        )
                    if self._deinterlace == "off":
                        yield [each]
                        continue
                    waiting.append(time)
                for first, *later in filter.finish() if each is None else filter.push(each[1]):
                    if waiting[0] > begin:
                        gaps.append(waiting[0] - begin)
                        usual = sorted(gaps)[(len(gaps) - 1) // 2]
                    begin = waiting.popleft()
                    lasts = min(waiting[0] - begin, usual) if waiting else usual
                    yield [(begin, first), *((begin + lasts / 2, field) for field in later)]
        finally:
            source.close()
            filter.close()

    def _timed(self) -> Generator[Timed]:
        """Pictures with their times, ascending; begins near ``start`` where that can be sought."""
        wanted = self._start_for_seeking()
        if wanted is not None:
            source = self._from(wanted)
            try:
                opening = next(source, None)
                # The promised keyframe may not decode: then the jump was in vain, and all is decoded.
                if opening is not None and opening[0] <= wanted:
                    yield opening
                    yield from source
                    return
            finally:
                source.close()
            self.packets_skipped = 0
            self._damaged.clear()
        yield from self._from(None)

    def _start_for_seeking(self) -> Fraction | None:
        """The time at or before which decoding must begin, or None where it begins at the beginning."""
        if self._start is None or not self.seekable:
            return None
        # bwdif looks at the pictures before; how long they take tells when later fields come.
        before = {"off": 0, "auto": 4, "fields": 10}[self._deinterlace]
        wanted = self._start - before / self.timing.nominal_rate
        return wanted if wanted > _WORTH_SEEKING else None

    def _from(self, wanted: Fraction | None) -> Generator[Timed]:
        """Timed pictures from a keyframe at or before ``wanted`` (None: from the beginning) to the end of the file."""
        picture = self._open(self._threads, frame_threads=self.timing.stamped)
        try:
            clock = _Clock(self.info, self.timing, picture.time_base)
            packets = picture.packets()
            earliest = None
            if wanted is not None:
                found = _seek(picture, clock, wanted)
                if found is None:
                    return
                earliest, packets = found
            last: int | None = None
            for frame in self._decoded(picture, packets):
                # Pictures before the keyframe in time may lean on what was not decoded.
                if earliest is not None and (frame.pts is None or frame.pts < earliest):
                    continue
                last = frame.pts if frame.pts is not None else last
                time = clock.time_of(frame.pts)
                if time is not None:
                    self._uniform.watch_shape(time, frame, picture.sample_aspect / self.info.coded_aspect)
                    yield time, frame
            if self._stopped:
                return
            if last is not None and last < self._latest_fed and self.timing.continuous:
                yield from self._rescued(picture, clock, last)
            if clock.dropped:
                self.warnings.append(f"{counted(clock.dropped, 'picture')} left out: the time stamp is out of order")
        finally:
            picture.close()

    def _open(self, threads: int, *, frame_threads: bool) -> PictureTrack:
        info, timing = self.info, self.timing
        return open_picture(
            info.path,
            stream_index=info.stream_index,
            threads=threads,
            frame_threads=frame_threads,
            rate=timing.nominal_rate,
            by_number=timing.by_number,
            strays=dict(timing.strays),
        )

    def _decoded(self, picture: PictureTrack, packets: Iterator[Packet[Any]]) -> Iterator[VideoFrame]:
        """Pictures of these packets and of the drained decoder; damaged packets are passed over, each counted once."""
        for packet in packets:
            if self._stopped:
                return
            if packet.pts is not None and not packet.is_discard and not picture.stands:
                self._latest_fed = max(self._latest_fed, packet.pts)
            try:
                frames = picture.decode(packet)
            except av.error.FFmpegError:
                place = packet.pts, packet.pos
                if place not in self._damaged or place == (None, None):
                    self._damaged.add(place)
                    self.packets_skipped += 1
                continue
            yield from frames
        try:
            frames = picture.decode(None)
        except av.error.FFmpegError:
            return
        yield from frames

    def _rescued(self, picture: PictureTrack, clock: _Clock, last: int) -> Iterator[Timed]:
        """The pictures after the stamp ``last`` again, in one thread.

        With frame threads the last pictures come out together while draining; when one of them is damaged, PyAV keeps
        only those before it (or none). One thread loses only the damaged one.
        """
        picture.close()
        again = self._open(1, frame_threads=False)
        try:
            found = _seek(again, clock, clock.plain(last)) if self.seekable else None
            packets = again.packets() if found is None else found[1]
            for frame in self._decoded(again, packets):
                if frame.pts is not None and frame.pts > last:
                    time = clock.time_of(frame.pts)
                    if time is not None:
                        yield time, frame
        finally:
            again.close()

    def _delivered(self, fields: list[Timed]) -> Iterator[Frame]:
        """The samples of a picture, or of its two fields, copied once, in the layout, size and colours probe found."""
        self.frames_decoded += 1
        for time, picture in fields:
            yield self._uniform.frame(time, picture)

    def _warn_of_loss(self) -> None:
        """Says in the end how many promised pictures did not come."""
        promised = self._promised
        if promised is None:
            whole = (self._start or 0) <= 0 and (self._end is None or self._end >= self.timing.duration)
            promised = self.timing.frames_from_packets if whole else 0
        lost = promised - self.frames_decoded
        if lost > 0:
            self.warnings.append(
                f"{lost} of {promised} pictures could not be decoded; "
                "the time they had is bridged from their neighbours"
            )


def _seek(picture: PictureTrack, clock: _Clock, wanted: Fraction) -> tuple[int, Iterator[Packet[Any]]] | None:
    """Jumps to a keyframe shown at or before ``wanted``: its stamp, and the packets from it on. None when it cannot."""
    back = Fraction(0)
    while back < wanted:
        try:
            picture.seek(clock.ticks_at(wanted - back))
        except av.error.FFmpegError:
            return None
        packets = picture.packets()
        for packet in packets:
            if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
                if clock.plain(packet.pts) <= wanted:
                    return packet.pts, chain([packet], packets)
                break
        # The index counts decoding times, a transport stream has none: the keyframe found may be shown too late.
        back = max(2 * back, Fraction(1))
    return None


class _Clock:
    """Turns stored stamps into seconds from the first picture, in playing order; mends what must be mended."""

    def __init__(self, info: VideoInfo, timing: SourceTiming, time_base: Fraction) -> None:
        self.dropped = 0
        """Pictures without a place of their own in time; those with the stamp of another ``scan`` has told."""
        self._timing = timing
        self._time_base = time_base
        first = timing.first_seconds - timing.stamps_late
        self._first = round(first / time_base)
        self._opening = round((first - timing.first_moved) / time_base)
        """The stored stamp of the first picture."""
        self._interval = 1 / timing.nominal_rate
        self._assumed = info.rate_from_header if info.container == "mjpeg" or info.is_of_stills else None
        """At which rate libav stamps stills one after another in a file: those are numbered so, damaged ones too."""
        self._joins = Joins(info.container, 1 / time_base)
        self._moved = 0
        self._last: Fraction | None = None
        self._last_ticks: int | None = None
        self._count = 0

    def ticks_at(self, time: Fraction) -> int:
        """The stored stamp of a time (rounded down)."""
        return self._first + int(time / self._time_base)

    def plain(self, ticks: int) -> Fraction:
        """Seconds from the first picture, nothing mended but its own stamp."""
        if ticks == self._opening:
            return Fraction(0)
        return snapped(ticks - self._first, self._time_base, self._timing.grid)

    def time_of(self, ticks: int | None) -> Fraction | None:
        """The time of the next picture; None when it comes no later than the one before and must be left out."""
        if not self._timing.stamped:
            if self._assumed is not None and ticks is not None:
                self._count = max(self._count, round(ticks * self._time_base * self._assumed))
            time = self._count * self._interval
        elif ticks is None:
            time = Fraction(0) if self._last is None else self._last + self._interval
        else:
            time = self.plain(ticks + self._shift(ticks))
        self._count += 1
        if time < 0 or (self._last is not None and time <= self._last):
            self.dropped += ticks is None or ticks != self._last_ticks or not self._timing.continuous
            return None
        self._last, self._last_ticks = time, ticks
        return time

    def _shift(self, ticks: int) -> int:
        """By how much stamps are moved since the last join of two recordings."""
        if not self._timing.continuous and (jump := self._joins.jump(ticks)):
            self._moved += round(self._interval / self._time_base) - jump
        return self._moved

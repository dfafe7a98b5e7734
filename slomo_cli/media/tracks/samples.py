"""A track's samples: decoded without gaps on the picture's clock, and bent by the vocoder to the output's."""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from slomo_cli.media.read.framing import LONGEST, form_of
from slomo_cli.media.read.joins import BACKWARD_JUMP, JUMPING_FORMATS, STEP_BACK, JoinedClock
from slomo_cli.media.read.opening import READ_ERRORS, open_container, tell_lack, why_ended
from slomo_cli.media.tracks.soundclock import MOST_ASTRAY_IN_JOINED, Interleaved, SoundClock, Unstrayed
from slomo_cli.media.tracks.vocoder import Samples, Source, Vocoder
from slomo_cli.timeline import Plan
from slomo_cli.values import SourceTiming, StreamInfo, VideoInfo

_JITTER_SECONDS = 0.02
"""Stamps this near to where the samples end say nothing: containers round them."""
_MOST_ASTRAY = 512
"""Frames that are waited for one whose time fits those before: in Matroska, a damaged stamp is that of seconds."""
_USUAL = ("", "mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
_BLOCK = 1 << 16
"""Samples of silence handed over at once."""

_OPENING = threading.Lock()
"""libav tries a decoder for every track while a file is opened: many tracks at once would take that many times over."""


@dataclass(slots=True)
class Damage:
    """What of a track could not be read; silence stands for it."""

    packets: int = 0
    """Packets that could not be decoded."""
    end: str = ""
    """Why reading ended before the file did; '' when it did not."""


def stretched(
    info: VideoInfo, track: StreamInfo, timing: SourceTiming, plan: Plan, rate: int, damage: Damage
) -> Iterator[Samples]:
    """The track on the output's clock: exactly as many samples as the output lasts."""
    source_at = clock(plan, rate)
    start = int(np.floor(source_at(0)))
    source = Source(decoded(info, track, timing, start, rate, damage), track.channels, start)
    total = round(plan.duration * rate)

    def output_at(sample: float) -> float:
        return float(plan.time_map.output_at(Fraction(sample) / rate) * rate)

    return Vocoder(source, rate, total, source_at, output_at).run()


def clock(plan: Plan, rate: int) -> Callable[[float], float]:
    """The plan's map from output samples to source samples; float, right to far below a sample."""
    pieces = plan.time_map.pieces
    starts = [float(piece.output_start * rate) for piece in pieces]

    def source_at(sample: float) -> float:
        piece = pieces[max(0, bisect_right(starts, sample) - 1)]
        if piece.ramp is not None:
            return float(piece.source_at(Fraction(sample) / rate) * rate)
        into = sample - float(piece.output_start * rate)
        return min(float(piece.source_start * rate) + into * float(piece.speed_start), float(piece.source_end * rate))

    return source_at


def decoded(
    info: VideoInfo, track: StreamInfo, timing: SourceTiming, start: int, rate: int, damage: Damage
) -> Iterator[Samples]:
    """The track's samples from index ``start`` on, (channels, n) float32 in [-1, 1], without gaps.

    Index 0 is the first picture's time. Pauses in the stamps, and what cannot be decoded, become silence; the latter is
    counted in ``damage``. Where recordings were joined, as the picture tells it, the sound goes on as the picture does.
    Layout and rate may change on the way. Raises InputError when the file cannot be opened.
    """
    channels = track.channels
    with _OPENING:
        opened = open_container(info.path)
    with opened as container:
        stream: Any = container.streams[track.index]
        film = None if timing.continuous else JoinedClock(container, info, timing)
        if timing.continuous:
            _seek(container, stream, timing.first_seconds + Fraction(start, rate))
        clock = SoundClock(container.format.name, film)
        kind: Any = None
        resampler: Any = None
        at = due = start
        decode = _Decoders() if timing.of_sound(track).changes_codec else av.Packet.decode
        frames = _frames(container, stream, film, damage, decode)
        near = STEP_BACK if container.format.name in JUMPING_FORMATS else BACKWARD_JUMP
        # Joined recordings are placed as they come, by the picture beside them.
        for frame in _unstrayed(frames, near, _MOST_ASTRAY if film is None else MOST_ASTRAY_IN_JOINED):
            if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                layout = frame.layout if len(frame.layout.channels) == channels else None
                # Interleaved: arrays of eight planes or more crash PyAV 18.
                resampler = av.AudioResampler("flt", layout or usual_layout(channels) or f"{channels}c", rate)
            pieces = [piece.to_ndarray().reshape(-1, channels).T for piece in resampler.resample(frame)]
            samples = np.concatenate(pieces, 1) if pieces else np.zeros((channels, 0), np.float32)
            begin = due
            if frame.pts is not None:
                stamp = frame.pts * Fraction(frame.time_base) - timing.first_seconds
                begin = round(clock.place(stamp, Fraction(samples.shape[1], rate)) * rate)
            due = begin + samples.shape[1]
            late, slack = begin - at, _JITTER_SECONDS * rate if at > start else 0
            if late > slack:
                yield from silence(channels, late)
                at = begin
            elif late < -slack:
                samples = samples[:, -late:]
            if samples.shape[1]:
                at += samples.shape[1]
                yield np.ascontiguousarray(samples, np.float32)


class _Decoders:
    """Decodes packets of a track that changes its codec, each by what it begins with."""

    def __init__(self) -> None:
        self._codec = ""
        self._context: Any = None

    def __call__(self, packet: Any) -> list[Any]:
        form = form_of(bytes(memoryview(packet)[:LONGEST])) if packet.size else None
        if form is not None and form[0] != self._codec:
            self._codec = form[0]
            self._context = av.CodecContext.create(self._codec, "r")
        return [] if self._context is None else list(self._context.decode(packet))


def _frames(
    container: Any, stream: Any, film: JoinedClock | None, damage: Damage, decode: Callable[[Any], list[Any]]
) -> Iterator[Any]:
    """What can be decoded of a track, in order; ``film`` is told of the picture's packets between."""
    early = 0  # where reading begins in the middle, some decoders need a few packets to find their feet
    begun = False
    try:
        packets: Iterator[Any] = container.demux([stream] if film is None else [stream, film.picture])
        for packet in packets if film is None else Interleaved(container.format.name, film).sound(packets):
            if not packet.size and packet.dts is not None:
                continue  # FLAC in NUT ends with one of side data alone; only the very last, without a time, drains
            try:
                for frame in decode(packet):
                    begun = True
                    yield frame
            except av.error.FFmpegError as error:
                tell_lack(error)
                damage.packets += begun
                early += not begun
    except READ_ERRORS as error:  # a file that breaks off
        damage.end = why_ended(error, container.format.name)
    if not begun:
        damage.packets = early


def _unstrayed(frames: Iterator[Any], near: Fraction, most: int) -> Iterator[Any]:
    """The same frames, without the stamps that fly off; see ``Unstrayed``."""
    strays = Unstrayed(near, most)
    for frame in frames:
        for piece, begin in strays.push(frame, _begin(frame), Fraction(frame.samples, frame.sample_rate)):
            if begin != _begin(piece):
                piece.pts = None
            yield piece
    yield from (piece for piece, _ in strays.rest())


def _begin(frame: Any) -> Fraction | None:
    """Seconds on the container's clock."""
    return None if frame.pts is None else frame.pts * Fraction(frame.time_base)


def _seek(container: Any, stream: Any, seconds: Fraction) -> None:
    """Nearer to where the sound is needed, for sources that can be sought; a few seconds early is early enough."""
    wanted = seconds - 5
    if stream.time_base and wanted > (stream.start_time or 0) * Fraction(stream.time_base) + 5:
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(int(wanted / Fraction(stream.time_base)), stream=stream)


def usual_layout(channels: int) -> str:
    """What a number of channels stands for where the file names no loudspeakers; '' where that is nothing."""
    return _USUAL[channels] if channels < len(_USUAL) else ""


def silence(channels: int, count: int) -> Iterator[Samples]:
    """``count`` samples of nothing."""
    while count > 0:
        yield np.zeros((channels, min(count, _BLOCK)), np.float32)
        count -= _BLOCK

"""The straight line: probe, plan, decode, interpolate, encode. The only room that knows all the others.

The source is decoded on a thread of its own, the network works on the interpolator's threads, the encoder is a process;
this thread decides what each output frame is, asks for it, and writes the oldest one asked for. All of them run at once
and none gets further ahead than a few frames, so memory does not grow with the length of the film.
"""

from __future__ import annotations

import os
import queue
import threading
import time as clock
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from slomo_cli.errors import UsageError, printable
from slomo_cli.media.args import build_encode_args
from slomo_cli.media.carry import Carry, plan_carry
from slomo_cli.media.clocks import common_time_base
from slomo_cli.media.cuts import CutDetector, DuplicateFilter
from slomo_cli.media.decode import Decoder
from slomo_cli.media.encode import Encoder, left_over, refuse_existing
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.names import refuse_overwriting_input
from slomo_cli.media.probe import probe
from slomo_cli.media.scan import scan
from slomo_cli.media.target import Target, choose_target
from slomo_cli.pace import with_measured_factor
from slomo_cli.progress import Progress, make_progress
from slomo_cli.timeline import Output, Plan, Step, make_plan, parse_number, parse_rate, parse_time, schedule
from slomo_cli.values import ComputeSettings, EncodeSettings, Frame, SourceTiming, Summary, TimeSettings, VideoInfo

if TYPE_CHECKING:
    from slomo_cli.interpolate import Interpolator, Pending
    from slomo_cli.values import Plane

T = TypeVar("T")

_DECODED_AHEAD = 4
"""Frames waiting between the decoder and the schedule."""
_WAITING_BYTES = 192 << 20
"""Output frames asked for and not yet written take about this much at most..."""
_WAITING_FRAMES = (4, 48)
"""...but are never fewer or more than this; nor from more pairs than ``Interpolator.pairs_ahead``."""


@dataclass(frozen=True)
class ConversionPlan:
    """All that is known before the first frame is decoded; nothing has been written."""

    info: VideoInfo
    timing: SourceTiming
    plan: Plan
    target: Target
    carry: Carry
    encoder_args: tuple[str, ...]
    """The ffmpeg command, program first."""
    time_base: Fraction | None
    """Clock of the output's own stamps, for ``vfr="keep"``."""
    notes: tuple[str, ...]
    """What will be converted, dropped or guessed, one line each."""

    @property
    def frames_in(self) -> int:
        return self.timing.frames_from_packets

    @property
    def frames_out(self) -> int:
        return self.plan.frames

    @property
    def duration_in(self) -> Fraction:
        return self.timing.duration

    @property
    def duration_out(self) -> Fraction:
        return self.plan.duration

    @property
    def rate_out(self) -> Fraction:
        return self.plan.rate


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    *,
    time: TimeSettings | None = None,
    encode: EncodeSettings | None = None,
    compute: ComputeSettings | None = None,
    progress: Progress | None = None,
    **wishes: Any,
) -> Summary:
    """Convert one video.

    ``source``: a file. ``output``: a file, or None or ``-`` for Matroska on standard output. Settings come as the three
    values, or singly by the names of their fields: ``convert("in.mp4", "out.mp4", factor=8, crf=16, device="cpu")``;
    numbers and times may be text as at the prompt ("30000/1001", "1:30"). The output appears when it is complete and
    has been read back, or not at all. Raises the family of :mod:`slomo_cli.errors`.
    """
    begun = clock.monotonic()
    time, encode, compute = _settings(time, encode, compute, wishes)
    plan = plan_conversion(source, output, time=time, encode=encode, compute=compute)
    refuse_overwriting_input(plan.target.path, Path(source))
    if not encode.overwrite:
        refuse_existing(plan.target, plan.frames_out)
    progress = progress or make_progress("none", quiet=True)
    progress.start(plan.frames_out, printable(Path(source).name))
    for note in plan.notes:
        progress.note(note)
    with plan.carry:
        return _run(plan, time, compute, progress, begun)


def plan_conversion(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    *,
    time: TimeSettings | None = None,
    encode: EncodeSettings | None = None,
    compute: ComputeSettings | None = None,
    **wishes: Any,
) -> ConversionPlan:
    """What ``convert`` would do, to the frame and to the encoder's last argument. Writes no output."""
    time, encode, compute = _settings(time, encode, compute, wishes)
    ffmpeg = tools(encode.ffmpeg)
    info = probe(Path(source))
    scanned = scan(info, time.input_rate)
    found: tuple[str, ...] = ()
    if time.auto_factor is not None:
        time, found = with_measured_factor(info, scanned, time, compute)
    plan = make_plan(scanned.timing, time, scanned.stamps)
    # The mean rate: by it the reader of the finished file counts what is shown.
    target = choose_target(output, info, info.layout, encode, ffmpeg, plan.mean_rate, frames=plan.frames)
    if plan.vfr_keep and target.container == "avi":
        raise UsageError("pictures in .avi all last equally long: leave out --vfr keep, or write .mkv or .mp4")
    carry = plan_carry(info, scanned.timing, plan, target, encode, ffmpeg)
    time_base = common_time_base(seconds for _, seconds in plan.moments()) if plan.vfr_keep else None
    args = build_encode_args(
        target, plan.rate, carry, ffmpeg.path, frames=plan.frames, time_base=time_base, duration=plan.duration
    )
    behind = left_over(target, plan.frames)
    notes = (*scanned.warnings, *found, *_source_notes(info, time), *target.warnings, *carry.notes, *behind)
    return ConversionPlan(info, scanned.timing, plan, target, carry, tuple(args), time_base, notes)


def _run(
    job: ConversionPlan, time: TimeSettings, compute: ComputeSettings, progress: Progress, begun: float
) -> Summary:
    """Every frame of the plan, from the decoder to the encoder."""
    from slomo_cli.interpolate import Interpolator  # loads torch: not before the plan stands

    deinterlace = time.deinterlace == "auto"
    with (
        Interpolator(**{f.name: getattr(compute, f.name) for f in fields(compute)}) as network,
        Decoder(job.info, job.timing, start=job.plan.start, end=job.plan.end, deinterlace=deinterlace) as decoder,
        Encoder(
            job.encoder_args, job.target, job.plan.frames, time_base=job.time_base, feeds=job.carry.feeds
        ) as encoder,
    ):
        for note in network.notes:
            progress.note(note)
        painter = Painter(job, network, time)
        for picture, output in painter.pictures(decoder):
            encoder.write(picture, output.seconds)
            progress.advance(1)
        encoder.finish()
        met = (*decoder.warnings, *encoder.warnings)
        for warning in met:
            progress.note(warning)
        summary = Summary(
            source=job.info.path,
            output=job.target.path or Path("-"),
            frames_in=decoder.frames_decoded,
            frames_out=encoder.frames_written,
            frames_interpolated=painter.interpolated,
            duration_in=job.plan.end - job.plan.start,
            duration_out=job.plan.duration,
            rate_out=job.plan.rate,
            cuts=painter.cuts,
            duplicates=painter.duplicates,
            packets_skipped=decoder.packets_skipped,
            seconds=clock.monotonic() - begun,
            encoder=job.target.encoder,
            device=network.describe(),
            warnings=(*job.notes, *network.notes, *met),
        )
    progress.finish(summary)
    return summary


class Painter:
    """Decides what each output frame shows: a source frame, an in-between one, or a side of a cut."""

    def __init__(self, job: ConversionPlan, network: Interpolator, time: TimeSettings) -> None:
        self._plan = job.plan
        self._network = network
        self._at_cuts = time.cuts
        self._detector = CutDetector(time.cut_threshold)
        self._repeats = DuplicateFilter(enabled=time.duplicates == "replace", cut_threshold=time.cut_threshold)
        low, high = _WAITING_FRAMES
        frame_bytes = job.info.layout.frame_bytes(job.info.width, job.info.height)
        self._most = max(low, min(high, _WAITING_BYTES // max(1, frame_bytes)))
        self.cuts = 0
        self.interpolated = 0

    @property
    def duplicates(self) -> int:
        """Repeated source frames left out."""
        return self._repeats.count

    def pictures(self, frames: Iterable[Frame]) -> Iterator[tuple[tuple[Plane, ...], Output]]:
        """Finished pictures in order, a few frames behind what has been asked of the network.

        ``frames``: of the source, in presentation order; they are fetched on a thread of their own.
        """
        source = self._repeats.thin(_ahead(frames, _DECODED_AHEAD))
        return self._paint(schedule(self._plan, ((frame.pts_seconds, frame) for frame in source)))

    def _paint(self, steps: Iterable[Step[Frame]]) -> Iterator[tuple[tuple[Plane, ...], Output]]:
        waiting: deque[tuple[tuple[Plane, ...] | Pending, Output, int]] = deque()
        before: tuple[Frame, Frame | None] | None = None
        cut = still = False
        for number, step in enumerate(steps):
            left, right = step.left, step.right
            if right is not None and (before is None or before[0] is not left or before[1] is not right):
                cut = self._at_cuts != "off" and self._detector.is_cut(left, right)
                still = not cut and _same(left, right)
                self.cuts += cut
            before = (left, right)
            for start in range(0, len(step.outputs), self._most):
                outputs = step.outputs[start : start + self._most]
                for picture, output in zip(self._pictures(left, right, outputs, cut, still), outputs, strict=True):
                    waiting.append((picture, output, number))
                while len(waiting) > self._most or waiting[0][2] + self._network.pairs_ahead <= number:
                    yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())

    def _pictures(
        self, left: Frame, right: Frame | None, outputs: tuple[Output, ...], cut: bool, still: bool
    ) -> Iterator[tuple[Plane, ...] | Pending]:
        between = [output.t for output in outputs if output.t]
        if right is None or cut or still:
            for output in outputs:
                if right is None or still or not output.t:
                    yield left.planes
                elif self._at_cuts == "blend":
                    yield _mixed(left, right, output.t)
                else:
                    yield (left if output.t < Fraction(1, 2) else right).planes
            return
        self.interpolated += len(between)
        asked = iter(self._network.request(left, right, between) if between else ())
        for output in outputs:
            yield next(asked) if output.t else left.planes


def _finished(picture: tuple[Plane, ...] | Pending, output: Output, _: int) -> tuple[tuple[Plane, ...], Output]:
    return (picture if isinstance(picture, tuple) else picture.planes()), output


def _same(left: Frame, right: Frame) -> bool:
    """Nothing moved: the samples are the same ones, and so is every picture between."""
    return all(np.array_equal(a, b) for a, b in zip(left.planes, right.planes, strict=True))


def _mixed(left: Frame, right: Frame, t: Fraction) -> tuple[Plane, ...]:
    """A plain cross-fade, rounded to nearest."""
    share = np.float32(t)

    def mix(a: Plane, b: Plane) -> Plane:
        mixed = np.rint((1 - share) * a + share * b)
        return mixed.astype(np.uint8) if a.dtype == np.uint8 else mixed.astype(np.uint16)

    return tuple(mix(a, b) for a, b in zip(left.planes, right.planes, strict=True))


def _ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """The same items, fetched on a thread that runs at most ``depth`` of them ahead; its errors are raised here."""
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item,))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="slomo-decode", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stopped.set()
        thread.join(timeout=5)


def _source_notes(info: VideoInfo, time: TimeSettings) -> list[str]:
    notes = []
    if info.interlaced:
        how = "made whole (bwdif)" if time.deinterlace == "auto" else "taken as they are: expect combed motion"
        notes.append(f"the source is interlaced; its pictures are {how}")
    if info.single_fields:
        notes.append(
            "the source is interlaced HEVC, of which each field comes as a picture of its own, half as high; "
            "they are taken as they are: expect a flat picture that trembles by a line"
        )
    return notes


_READ: dict[str, Any] = {
    "factor": parse_number,
    "rate": parse_rate,
    "input_rate": parse_rate,
    "start": parse_time,
    "end": parse_time,
}


def _settings(
    time: TimeSettings | None, encode: EncodeSettings | None, compute: ComputeSettings | None, wishes: dict[str, Any]
) -> tuple[TimeSettings, EncodeSettings, ComputeSettings]:
    """The three settings with single wishes put in by the names of their fields."""
    settings: list[Any] = [time or TimeSettings(), encode or EncodeSettings(), compute or ComputeSettings()]
    for name, value in wishes.items():
        for place, group in enumerate(settings):
            if name in {f.name for f in fields(group)}:
                if name in _READ and value is not None and not isinstance(value, Fraction):
                    value = _READ[name](str(value))
                settings[place] = replace(group, **{name: value})
                break
        else:
            known = sorted(f.name for group in settings for f in fields(group))
            raise UsageError(f"expected a setting among {', '.join(known)}; found '{name}'")
    for group in settings:
        for name, hint in get_type_hints(type(group)).items():
            value = getattr(group, name)
            if get_origin(hint) is Literal and value not in get_args(hint):
                raise UsageError(f"expected {name} to be one of {', '.join(get_args(hint))}; found '{value}'")
    return settings[0], settings[1], settings[2]

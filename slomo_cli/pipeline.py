"""The straight line: probe, plan, decode, interpolate, encode. The only room that knows all the others.

The source is decoded on a thread of its own, the network works on the interpolator's threads, the encoder is a process;
this thread decides what each output frame is, asks for it, and writes the oldest one asked for. All of them run at once
and none gets further ahead than a few frames, so memory does not grow with the length of the film.
"""

from __future__ import annotations

import logging
import os
import shlex
import stat
import time as clock
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Unpack

from slomo_cli import __version__
from slomo_cli.errors import InputError, printable
from slomo_cli.media.clocks import common_time_base
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.names import refuse_overwriting_inputs
from slomo_cli.media.plan.limits import refuse_uneven
from slomo_cli.media.plan.target import Target, choose_target
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.deinterlace import HOW
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.tracks.carried import Carry
from slomo_cli.media.tracks.carry import plan_carry
from slomo_cli.media.write.args import OwnTimes, build_encode_args
from slomo_cli.media.write.encode import Encoder
from slomo_cli.media.write.parts import (
    PART_FRAMES,
    Parts,
    in_one_piece,
    make_way,
    part_target,
    refuse_unfit,
    unused,
)
from slomo_cli.media.write.place import left_over, refuse_existing
from slomo_cli.pace import with_measured_factor
from slomo_cli.painter import Painter
from slomo_cli.pairs import around, count_between
from slomo_cli.progress import Progress, make_progress
from slomo_cli.settings import Wishes, settled
from slomo_cli.timeline import Plan, make_plan
from slomo_cli.values import ComputeSettings, EncodeSettings, SourceTiming, Summary, TimeSettings, VideoInfo

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversionPlan:
    """All that is known before the first frame is decoded; nothing has been written."""

    info: VideoInfo
    source_state: tuple[int, int] | None
    """Size and last change of the source before it was looked at, see ``_state``."""
    timing: SourceTiming
    plan: Plan
    """Of every output frame, when it is shown and which moment of the source it shows."""
    target: Target
    carry: Carry
    time: TimeSettings
    """What was asked of time; an automatic factor has been measured by now."""
    compute: ComputeSettings
    encoder_args: tuple[str, ...]
    """The ffmpeg command, program first; with ``resume``, that of the first part."""
    join_args: tuple[str, ...]
    """With ``resume``, the command that makes one film of the parts; else empty."""
    times: OwnTimes | None
    """Those of the output's own stamps, for ``vfr="keep"``."""
    notes: tuple[str, ...]
    """What will be converted, dropped or guessed, one line each."""
    decoded: tuple[Fraction, Fraction]
    """From when to when the source is decoded: some pictures more than are shown, by which it is known what repeats and
    how the motion bends."""
    promised: int
    """Pictures that lie there."""


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    *,
    time: TimeSettings | None = None,
    encode: EncodeSettings | None = None,
    compute: ComputeSettings | None = None,
    progress: Progress | None = None,
    **wishes: Unpack[Wishes],
) -> Summary:
    """Convert one video.

    ``source``: a file. ``output``: a file, or None or ``-`` for Matroska on standard output. Settings come as the three
    values, or singly by the names of their fields: ``convert("in.mp4", "out.mp4", factor=8, crf=16, device="cpu")``;
    numbers and times may be text as at the prompt ("30000/1001", "1:30"). The output appears when it is complete and
    has been read back, or not at all. Raises the family of :mod:`slomo_cli.errors`.
    """
    begun = clock.monotonic()
    job = plan_conversion(source, output, time=time, encode=encode, compute=compute, **wishes)
    refuse_overwriting_inputs([job.target.path], [Path(source)], removed=job.target.temporary)
    refuse_existing(job.target, job.plan.frames)
    progress = progress or make_progress("none", quiet=True)
    progress.start(job.plan.frames, printable(Path(source).absolute().name))
    for note in job.notes:
        progress.note(note)
    with job.carry:
        summary = _run(job, progress, begun)
    progress.finish(summary)
    return summary


def plan_conversion(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    *,
    time: TimeSettings | None = None,
    encode: EncodeSettings | None = None,
    compute: ComputeSettings | None = None,
    **wishes: Unpack[Wishes],
) -> ConversionPlan:
    """What ``convert`` would do, to the frame and to the encoder's last argument. Writes no output."""
    time, encode, compute = settled(time, encode, compute, wishes)
    ffmpeg = tools(encode.ffmpeg)
    state = _state(source)
    info = probe(os.fspath(source))  # a Path of an empty name is the current folder
    scanned = scan(info, time.input_rate)
    measured: tuple[str, ...] = ()
    if time.auto_factor is not None:
        time, measured = with_measured_factor(info, scanned, time, compute)
    plan = make_plan(scanned.timing, time, scanned.stamps)
    # The mean rate: by it the reader of the finished file counts what is shown.
    plays = None if time.loop else info.plays
    target = choose_target(output, info, encode, ffmpeg, plan.mean_rate, frames=plan.frames, plays=plays)
    times = _own_times(plan, target, encode.preset) if plan.vfr_keep else None
    carry = plan_carry(info, scanned.timing, plan, target, encode, ffmpeg)
    behind = left_over(target, plan.frames)
    join: list[str] = []
    if encode.resume:
        refuse_unfit(target, info, plan)
        args = build_encode_args(part_target(target, 0), None, ffmpeg.path, frames=PART_FRAMES)
        join = build_encode_args(in_one_piece(target), carry, ffmpeg.path, frames=plan.frames)
    else:
        behind += unused(target)
        args = build_encode_args(target, carry, ffmpeg.path, frames=plan.frames, times=times)
    decoded = around(scanned.stamps, plan.start, plan.end, repeats=time.duplicates == "replace")
    return ConversionPlan(
        info=info,
        source_state=state,
        timing=scanned.timing,
        plan=plan,
        target=target,
        carry=carry,
        time=time,
        compute=compute,
        encoder_args=tuple(args),
        join_args=tuple(join),
        times=times,
        notes=(
            *scanned.warnings,
            *measured,
            *_source_notes(info, scanned.timing, time),
            *target.warnings,
            *carry.notes,
            *behind,
        ),
        decoded=decoded,
        promised=count_between(scanned.stamps, *decoded),
    )


def _own_times(plan: Plan, target: Target, preset: str | None) -> OwnTimes:
    """When its frames are shown; UsageError where the target does not keep such times."""

    def moments() -> Iterator[Fraction]:  # as often as they are asked for: there may be millions
        return (seconds for _, seconds in plan.moments())

    refuse_uneven(target.container, target.extension, target.codec, moments(), preset)
    return OwnTimes(common_time_base(moments()), last=max(moments()), end=plan.duration)


def _run(job: ConversionPlan, progress: Progress, begun: float) -> Summary:
    """Every frame of the plan, from the decoder to the encoder."""
    from slomo_cli.interpolate import Interpolator  # loads torch: not before the plan stands

    deinterlace = job.time.deinterlace
    start, end = job.decoded
    with (
        Interpolator(**asdict(job.compute)) as network,
        Decoder(job.info, job.timing, start=start, end=end, deinterlace=deinterlace, promised=job.promised) as decoder,
        _writer(job, network.sha256) as encoder,
    ):
        for note in network.notes:
            progress.note(note)
        seen = network.proxy_scale(job.info.width, job.info.height)
        seen_size = f"{seen.of(job.info.width)}x{seen.of(job.info.height)}"
        _log.info("network: %s, %s; it sees %s", network.weights_name, network.describe(), seen_size)
        _log.info("encoder: %s", shlex.join(job.encoder_args))
        if done := encoder.frames_written:
            progress.note(f"{done} of {job.plan.frames} frames are there from before: only those after them are made")
            progress.advance(done)
        painter = Painter(job.plan, job.info, job.timing, network, job.time, done=done)
        try:
            for picture, output in painter.pictures(decoder):
                encoder.write(picture, output.seconds)
                progress.advance(1)
            changed = _changed(job)
            encoder.finish()
        except BaseException:
            if isinstance(encoder, Parts) and (kept := encoder.frames_kept):
                where = f"'{printable(encoder.folder)}'"
                progress.note(f"{kept} of {job.plan.frames} frames are kept in {where}: the same command goes on there")
            raise
        met = (*changed, *job.carry.met, *decoder.warnings, *encoder.warnings)
        for warning in met:
            progress.note(warning)
        return Summary(
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
            frames_kept=done,
        )


def _state(source: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Size of the file in bytes and its last change in nanoseconds; None where there is no file of that name."""
    try:
        about = os.stat(source)
    except (OSError, ValueError):  # a name may be none at all
        return None
    return (about.st_size, about.st_mtime_ns) if stat.S_ISREG(about.st_mode) else None


def _changed(job: ConversionPlan) -> list[str]:
    """A note where the source was written to since it was looked at.

    InputError where a film is to be made of parts and the source has another size: its sound, which is read only now,
    might be another film's.
    """
    state, before, name = _state(job.info.path), job.source_state, printable(job.info.path)
    if state == before:
        return []
    # Of the same size it has been touched, as a rule, and the parts could not be used again: that is only told.
    if job.join_args and (state is None or before is None or state[0] != before[0]):
        raise InputError(f"'{name}' was changed, replaced or removed meanwhile: put back what it was, and go on")
    if state is None:  # who has opened a file keeps it
        return []
    return [
        f"'{name}' has changed while it was converted: the result shows what was there at first, with sound that may "
        "be of what came later; convert it again once nothing writes to it"
    ]


def _writer(job: ConversionPlan, weights: str) -> Encoder | Parts:
    """What takes the frames: one encoder, or one after another. ``weights``: their sha256."""
    target, frames, feeds = job.target, job.plan.frames, job.carry.feeds
    if not job.join_args:
        make_way(target)
        time_base = job.times.time_base if job.times else None
        return Encoder(job.encoder_args, target, frames, time_base=time_base, feeds=feeds)

    def encode(part: Target, count: int) -> list[str]:
        return build_encode_args(part, None, job.encoder_args[0], frames=count)

    return Parts(target, frames, _fingerprint(job, weights), encode=encode, join=job.join_args, feeds=feeds)


def _fingerprint(job: ConversionPlan, weights: str) -> str:
    """All that decides what the frames look like before they are encoded, but for the last digits: device, batch and
    number format."""
    assert job.source_state is not None
    size, changed = job.source_state
    return "\n".join(
        (
            f"slomo {__version__}, ffmpeg {job.target.ffmpeg_version}",
            f"{size} bytes of {changed}",
            repr(job.plan),
            repr(job.time),
            f"weights {weights}, proxy {job.compute.proxy}, motion {job.compute.motion}",
        )
    )


def _source_notes(info: VideoInfo, timing: SourceTiming, time: TimeSettings) -> list[str]:
    notes = []
    if timing.frames_from_packets == 1:
        together = "; those of one film are named together, by their folder or a quoted pattern"
        notes.append(f"the source is a single picture, which all frames show{together if info.is_of_stills else ''}")
    if info.interlaced:
        more = "; --deinterlace fields makes two of each" if time.deinterlace == "auto" else ""
        notes.append(f"the source is interlaced; its pictures are {HOW[time.deinterlace]}{more}")
    if info.single_fields:
        notes.append(
            "the source is interlaced HEVC, of which each field comes as a picture of its own, half as high; "
            "they are taken as they are: expect a flat picture that trembles by a line"
        )
    return notes

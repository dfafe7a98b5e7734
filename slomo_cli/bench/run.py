"""Everything that is measured on one clip."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from slomo_cli.bench import rival, stages
from slomo_cli.bench.child import Request, Whole, measure
from slomo_cli.bench.clip import write_clip
from slomo_cli.bench.machine import Spent, load, matrix_peak
from slomo_cli.bench.stages import Stage
from slomo_cli.errors import UsageError
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.sequence import PICTURES
from slomo_cli.pipeline import ConversionPlan, plan_conversion
from slomo_cli.threads import usable_cores
from slomo_cli.values import ComputeSettings, EncodeSettings, TimeSettings

PIXELS = 13_000_000
"""Of a generated clip, over all its frames: 13 frames of 720p."""
PIXELS_ON_GPU = 8 * PIXELS
"""There a clip of a second would measure the encoder's start and end, not its speed."""
FEWEST_FRAMES, MOST_FRAMES = 5, 61


@dataclass(frozen=True, slots=True)
class Measured:
    """One clip's result."""

    name: str
    width: int
    height: int
    rate: Fraction
    source_frames: int
    factor: Fraction
    device: str
    cores: int
    load_before: float | None
    load_after: float | None
    stages: tuple[Stage, ...]
    """``decode``, ``network and fusion``, ``encode``: what runs side by side in a conversion."""
    parts: tuple[Stage, ...]
    """Of ``network and fusion``."""
    matrix_peak: float
    """Floating-point operations per second of the device (a CPU: of one core) in the network's format."""
    whole: Whole
    rival: rival.Rival | None
    without_encoder: Whole | None
    """What the rival is compared with."""

    @property
    def slowest(self) -> Stage:
        """The stage that makes the fewest frames alone."""
        return min(self.stages, key=lambda stage: stage.fps)

    @property
    def of_slowest(self) -> float:
        """Speed of the whole as a share of its slowest stage's."""
        return self.whole.fps / self.slowest.fps

    @property
    def of_cores(self) -> float:
        """The same as a share of what the cores allow where stages share them: all their work, or the slowest stage."""
        work = sum(stage.spent.cpu * stage.share for stage in self.stages) / self.cores
        return self.whole.fps * max(work, 1 / self.slowest.fps)

    @property
    def ratio(self) -> Spent | None:
        """How many times more the rival needs per frame."""
        if self.rival is None or self.without_encoder is None:
            return None
        ours, theirs = self.without_encoder.spent, self.rival.spent
        return Spent(theirs.wall / max(ours.wall, 1e-9), theirs.cpu / max(ours.cpu, 1e-9))


def bench(
    source: Path | None,
    size: tuple[int, int],
    factor: Fraction,
    compute: ComputeSettings,
    *,
    frames: int | None = None,
    repeats: int = 3,
    against: str | None = None,
    ffmpeg: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Measure ``source``, or a clip made for it of ``size`` where that is None.

    ``frames``: source frames to use. ``against``: "minterpolate" or nothing. ``say`` is told what is being done.
    Raises the family of :mod:`slomo_cli.errors`.
    """
    program = tools(ffmpeg)
    load_before = load()
    with tempfile.TemporaryDirectory(prefix="slomo-bench-") as folder:
        pixels = PIXELS if _on_cpu(compute) else PIXELS_ON_GPU
        if source is not None:
            info = probe(source)
            if against is not None and info.container == PICTURES:
                raise UsageError(f"--against: {against} reads videos only; leave it out for numbered pictures")
            size = info.width, info.height
        wanted = frames or min(MOST_FRAMES, max(FEWEST_FRAMES, pixels // (size[0] * size[1])))
        if source is None:
            say(f"making a clip of {wanted} frames, {size[0]}x{size[1]}")
            clip = Path(folder, "clip.mp4")
            write_clip(clip, *size, wanted + 1, program)
        else:
            clip = source
        output = Path(folder, "out.mp4")
        job, end = _plan(clip, output, factor, wanted, ffmpeg)
        say("the whole conversion, in a process of its own")
        seconds = None if end is None else str(end)
        request = Request(str(clip), str(output), str(factor), seconds, repeats, compute, ffmpeg)
        whole = measure(request)
        alone = _alone(job, factor, compute, repeats, say)
        other = without = None
        if against is not None:
            say(against)
            other = rival.minterpolate(clip, job.timing.nominal_rate, factor, end, program, repeats)
            say("the conversion without its encoder")
            without = measure(replace(request, output=None))
        return Measured(
            name="" if source is None else source.name,
            width=job.info.width,
            height=job.info.height,
            rate=job.timing.nominal_rate,
            factor=factor,
            cores=usable_cores(),
            load_before=load_before,
            load_after=load(),
            whole=whole,
            rival=other,
            without_encoder=without,
            **alone._asdict(),
        )


def _on_cpu(compute: ComputeSettings) -> bool:
    from slomo_cli.devices import choose_device

    return choose_device(compute.device).type == "cpu"


def _plan(
    clip: Path, output: Path, factor: Fraction, most: int, ffmpeg: str | None
) -> tuple[ConversionPlan, Fraction | None]:
    """The conversion, cut after ``most`` source frames, and before the last; and where it ends, None for all of it.

    The last frame is shown on for as long as others, which costs nothing: with it, a short clip seems quicker than a
    long film.
    """
    encode = EncodeSettings(overwrite=True, ffmpeg=ffmpeg)
    time = TimeSettings(factor=factor, cuts="off")
    job = plan_conversion(clip, output, time=time, encode=encode)
    if job.timing.frames_from_packets < 2:
        return job, None
    end = min(most, job.timing.frames_from_packets - 1) / job.timing.nominal_rate
    return plan_conversion(clip, output, time=TimeSettings(factor=factor, cuts="off", end=end), encode=encode), end


class _Alone(NamedTuple):
    """What was measured stage by stage, as ``Measured`` has it."""

    source_frames: int
    device: str
    stages: tuple[Stage, ...]
    parts: tuple[Stage, ...]
    matrix_peak: float


def _alone(
    job: ConversionPlan, factor: Fraction, compute: ComputeSettings, repeats: int, say: Callable[[str], None]
) -> _Alone:
    from slomo_cli.interpolate import Interpolator

    steps = max(2, round(factor))
    times = [Fraction(k, steps) for k in range(1, steps)]
    say("decoder alone")
    frames = stages.read_frames(job)
    decode = stages.decode(job, len(frames), 1 / float(factor), repeats)
    with Interpolator(**asdict(compute)) as net:
        say("network alone")
        network, made = stages.network(net, frames, times, len(times) / steps, repeats)
        say("its parts")
        parts = stages.parts(net, compute, frames, times, repeats)
        peak = matrix_peak(net.device, net.dtype)
        device = net.describe()
    say("encoder alone")
    encode = stages.encode(job, made, min(job.plan.frames, 4 * len(made)), repeats)
    # The picture at the end of a range is read for those before it, and counts for nothing itself.
    used = sum(frame.pts_seconds < job.plan.end for frame in frames)
    return _Alone(used, device, (decode, network, encode), tuple(parts), peak)

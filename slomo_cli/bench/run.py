"""Everything that is measured on one clip."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from slomo_cli.bench import rival, stages
from slomo_cli.bench.child import Request, Whole, measure
from slomo_cli.bench.clip import write_clip
from slomo_cli.bench.machine import Spent, load
from slomo_cli.bench.stages import Stage
from slomo_cli.errors import UsageError
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.sequence import CONTAINER
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

    ``frames``: source frames to use. ``against``: a name of ``rival.RIVALS``. ``say`` is told what is being done.
    Raises the family of :mod:`slomo_cli.errors`.
    """
    program = tools(ffmpeg)
    load_before = load()
    with tempfile.TemporaryDirectory(prefix="slomo-bench-") as folder:
        pixels = PIXELS if _on_cpu(compute) else PIXELS_ON_GPU
        if source is not None:
            info = probe(source)
            if against is not None and info.container == CONTAINER:
                raise UsageError(f"--against: {against} reads videos only; leave it out for numbered pictures")
            size = info.width, info.height
        wanted = frames or min(MOST_FRAMES, max(FEWEST_FRAMES, pixels // (size[0] * size[1])))
        if source is None:
            say(f"making a clip of {wanted} frames, {size[0]}x{size[1]}")
            clip = Path(folder, "clip.mp4")
            write_clip(clip, *size, wanted, program)
        else:
            clip = source
        output = Path(folder, "out.mp4")
        job, end = _plan(clip, output, factor, None if source is None else wanted, ffmpeg)
        say("the whole conversion, in a process of its own")
        seconds = None if end is None else str(end)
        request = Request(str(clip), str(output), str(factor), seconds, repeats, compute, ffmpeg)
        whole = measure(request)
        parts_found, alone, peak, device, count = _alone(job, factor, compute, repeats, say)
        other = without = None
        if against is not None:
            say(against)
            other = rival.minterpolate(clip, job.timing.nominal_rate, factor, end, program, repeats)
            say("the conversion without its encoder")
            without = measure(Request(str(clip), None, str(factor), seconds, repeats, compute, ffmpeg))
        return Measured(
            name="" if source is None else source.name,
            width=job.info.width,
            height=job.info.height,
            rate=job.timing.nominal_rate,
            source_frames=count,
            factor=factor,
            device=device,
            cores=usable_cores(),
            load_before=load_before,
            load_after=load(),
            stages=tuple(alone),
            parts=tuple(parts_found),
            matrix_peak=peak,
            whole=whole,
            rival=other,
            without_encoder=without,
        )


def _on_cpu(compute: ComputeSettings) -> bool:
    from slomo_cli.devices import choose_device

    return choose_device(compute.device).type == "cpu"


def _plan(
    clip: Path, output: Path, factor: Fraction, most: int | None, ffmpeg: str | None
) -> tuple[ConversionPlan, Fraction | None]:
    """The conversion, cut after ``most`` source frames; and where it ends, None for all of it."""
    encode = EncodeSettings(overwrite=True, ffmpeg=ffmpeg)
    time = TimeSettings(factor=factor, cuts="off")
    job = plan_conversion(clip, output, time=time, encode=encode)
    if most is None or job.frames_in <= most:
        return job, None
    end = most / job.timing.nominal_rate
    return plan_conversion(clip, output, time=TimeSettings(factor=factor, cuts="off", end=end), encode=encode), end


def _alone(
    job: ConversionPlan, factor: Fraction, compute: ComputeSettings, repeats: int, say: Callable[[str], None]
) -> tuple[list[Stage], list[Stage], float, str, int]:
    """Parts of the network, the stages, the matrix peak, the device's name, and the source frames used: the picture at
    the end of a range is read for those before it, and counts for nothing itself."""
    from slomo_cli.interpolate import Interpolator

    steps = max(2, round(factor))
    times = [Fraction(k, steps) for k in range(1, steps)]
    say("decoder alone")
    frames = stages.read_frames(job)
    found = [stages.decode(job, len(frames), 1 / float(factor), repeats)]
    with Interpolator(**asdict(compute)) as net:
        say("network alone")
        stage, made = stages.network(net, frames, times, len(times) / steps, repeats)
        found.append(stage)
        say("its parts")
        parts, peak = stages.parts(net, compute, frames, times, repeats)
        device = net.describe()
    say("encoder alone")
    found.append(stages.encode(job, made, min(job.plan.frames, 4 * len(made)), repeats))
    return parts, found, peak, device, sum(frame.pts_seconds < job.plan.end for frame in frames)

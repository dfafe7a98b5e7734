"""One stage after another, each alone, on the pictures of one clip."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slomo_cli.bench.machine import Clock, Spent, median, one_thread, repeat, waiter
from slomo_cli.errors import InputError
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.write.encode import Encoder
from slomo_cli.values import ComputeSettings, Frame

if TYPE_CHECKING:
    from slomo_cli.interpolate import Interpolator
    from slomo_cli.net.bend import Bend
    from slomo_cli.net.motion import Motion, PairState
    from slomo_cli.pipeline import ConversionPlan
    from slomo_cli.values import Plane

    Planes = tuple[Plane, ...]

_HELD_BYTES = 256 << 20
"""Pictures kept to feed the encoder take no more than this."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage costs, alone."""

    name: str
    unit: str
    """What it is counted by: ``source frame``, ``pair``, ``new frame`` (an in-between one) or ``output frame``."""
    spent: Spent
    """Per unit."""
    share: float
    """Units per output frame."""
    note: str = ""
    flop: float = 0.0
    """Floating-point operations of convolutions and matrix products per unit, as computed."""
    flops: float = 0.0
    """The same per second: of the clock on a device, of processor time on a CPU."""

    @property
    def fps(self) -> float:
        """Output frames per second if there were nothing but this stage."""
        return 1 / max(self.spent.wall * self.share, 1e-9)


def read_frames(job: ConversionPlan) -> list[Frame]:
    """The source frames of the plan."""
    with Decoder(job.info, job.timing, start=job.plan.start, end=job.plan.end) as decoder:
        frames = list(decoder)
    if len(frames) < 2:
        raise InputError(f"expected two pictures or more to measure on, found {len(frames)}")
    return frames


def decode(job: ConversionPlan, count: int, share: float, repeats: int) -> Stage:
    """Reading the file, down to planes of samples."""
    spent = repeat(lambda: read_frames(job), repeats)
    return Stage("decode", "source frame", spent.per(count), share)


def network(
    net: Interpolator, frames: Sequence[Frame], times: Sequence[Fraction], share: float, repeats: int
) -> tuple[Stage, list[Planes]]:
    """All that lies between the source's planes and the new ones, as the conversion runs it; and the new pictures."""
    made: list[Planes] = []
    held = max(4, _HELD_BYTES // frames[0].layout.frame_bytes(frames[0].width, frames[0].height))

    def work() -> None:
        made.clear()
        waiting = []
        for number, (left, right) in enumerate(pairwise(frames)):
            before = (frames[number - 1], 1) if number else None
            after = (frames[number + 2], 1) if number + 2 < len(frames) else None
            waiting.append(net.request(left, right, times, before, after))
            # Some pairs are asked for before the first is fetched, as the pipeline does.
            if number >= 2:
                fetch(waiting.pop(0))
        for pair in waiting:
            fetch(pair)

    def fetch(pair: Sequence[Any]) -> None:
        for pending in pair:
            planes = pending.planes()
            if len(made) < held:
                made.append(planes)

    spent = repeat(work, repeats)
    count = (len(frames) - 1) * len(times)
    return Stage("network and fusion", "new frame", spent.per(count), share, note=net.describe()), made


def parts(
    net: Interpolator, settings: ComputeSettings, frames: Sequence[Frame], times: Sequence[Fraction], repeats: int
) -> list[Stage]:
    """The pieces of ``network``, one after another on one thread.

    Per source frame: the proxy and what the network sees in one frame. Per pair: the flow, and how it bends between
    the pairs beside it. Per new frame: the motion at its time, and the fusion of the frames' own samples.
    """
    import torch

    from slomo_cli.arrays import to_tensor
    from slomo_cli.net.bend import bend, bent, steady
    from slomo_cli.net.fuse import SourcePlanes, fuse
    from slomo_cli.net.proxy import to_proxy
    from slomo_cli.net.runner import runner
    from slomo_cli.net.weights import load

    device = net.device
    with one_thread(device), torch.inference_mode():
        run = runner(load(settings.weights, device).model, device, net.dtype)
        left, right = frames[len(frames) // 2 - 1 : len(frames) // 2 + 1]
        scale = net.proxy_scale(left.width, left.height)
        together = 1 if device.type == "cpu" else len(times)
        t = torch.tensor([float(time) for time in times[:together]], device=device)
        planes = [[to_tensor(plane, device) for plane in frame.planes] for frame in (left, right)]

        def prepare(k: int) -> tuple[SourcePlanes, Any]:
            proxy = to_proxy(planes[k], left.layout, left.color, scale.divisor, run.stride, scale.magnify)
            return SourcePlanes.of(planes[k], left.layout), run.look(proxy)

        def flow() -> tuple[PairState, Bend | None]:
            state = run.pair(seen_0, seen_1)
            if settings.motion == "straight":
                return state, None
            sure = steady(state)
            return state, bend(sure, (sure, 1.0), (sure, 1.0))

        def move() -> Motion:
            motion = run.at(state, t)
            return motion if way is None else bent(motion, way, t)

        def stage(name: str, unit: str, count: int, share: float, work: Callable[[], Any]) -> Stage:
            spent = repeat(work, repeats, waiter(device), seconds=0.3).per(count)
            flop = operations(work) / count
            seconds = spent.cpu if device.type == "cpu" else spent.wall
            return Stage(name, unit, spent, share, flop=flop, flops=flop / max(seconds, 1e-9))

        (samples_0, seen_0), (samples_1, seen_1) = prepare(0), prepare(1)
        state, way = flow()
        motion = move()
        step = scale.step(run.cell)
        pairs = 1 / (len(times) + 1)  # per output frame, as are source frames
        return [
            stage("prepare", "source frame", 1, pairs, lambda: prepare(0)),
            stage("flow", "pair", 1, pairs, flow),
            stage("motion", "new frame", together, 1 - pairs, move),
            stage("fusion", "new frame", together, 1 - pairs, lambda: fuse(samples_0, samples_1, motion, t, step=step)),
        ]


def operations(work: Callable[[], Any]) -> float:
    """Floating-point operations of the convolutions and matrix products in ``work``."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # Counting takes dispatch apart, which inference mode skips.
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def encode(job: ConversionPlan, pictures: Sequence[Planes], count: int, repeats: int) -> Stage:
    """Writing ``count`` output frames: ``pictures`` forth and back, so that they go on moving."""
    from dataclasses import replace

    from slomo_cli.media.write.args import build_encode_args

    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    found = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="slomo-bench-") as folder:
            target = replace(job.target, path=Path(folder, f"encoded.{job.target.extension}"))
            args = build_encode_args(target, None, job.encoder_args[0], frames=count)
            with Encoder(args, target, count) as encoder:
                clock = Clock()
                for k in range(count):
                    encoder.write(pictures[order[k % len(order)]])
                encoder.finish()
                found.append(clock.spent())
    return Stage("encode", "output frame", median(found).per(count), 1.0, note=job.target.encoder)

"""Whole conversions in a process of their own, as a user would start one: ``python -m slomo_cli.bench.child``.

A request comes as JSON on standard input, the answer goes as JSON to standard output. Being alone in its process, its
memory and its start can be measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slomo_cli.bench.machine import Clock, Spent, median, peak_memory, peak_memory_of_children
from slomo_cli.errors import DeviceError, EncoderError, InputError, SlomoError, UsageError
from slomo_cli.progress import Reporter
from slomo_cli.threads import wait_quietly
from slomo_cli.values import ComputeSettings, EncodeSettings, TimeSettings

if TYPE_CHECKING:
    from slomo_cli.pipeline import ConversionPlan


_KINDS = (UsageError, InputError, EncoderError, DeviceError)


@dataclass(frozen=True, slots=True)
class Request:
    """What the child shall do."""

    source: str
    output: str | None
    """Where to write; None leaves the encoder out: pictures are made and dropped."""
    factor: str
    end: str | None
    """Seconds of the source to convert, as text; None is all."""
    repeats: int
    compute: ComputeSettings
    ffmpeg: str | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """Conversions of one clip, medians."""

    frames: int
    """Output frames of one conversion."""
    new_frames: int
    """Of those, in-between ones."""
    spent: Spent
    """Per output frame, from the first one on."""
    spent_all: Spent
    """Of one conversion, from the opening of the file to the finished output; the network's loading is left out."""
    start_seconds: float
    """From the start of the process to its first output frame."""
    peak_bytes: int | None
    """Largest resident memory of the process; None where the system does not say."""
    encoder_peak_bytes: int | None
    """The same of the encoder."""
    device_peak_bytes: int | None
    """Memory taken on a CUDA device."""

    @property
    def fps(self) -> float:
        """Output frames per second."""
        return 1 / max(self.spent.wall, 1e-9)


def measure(request: Request) -> Whole:
    """Run ``request`` in a new process. Raises the kind of error that the conversion ended with."""
    begun = time.time()
    # -P: the current folder is no place for programs, and may hold files called as modules are.
    command = [sys.executable, "-P", "-m", "slomo_cli.bench.child"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (_home(), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(
        command, input=json.dumps(asdict(request)), capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        kind = next((kind for kind in _KINDS if kind.exit_code == done.returncode), SlomoError)
        raise kind(f"the conversion that was to be measured failed: {words}")
    answer = json.loads(done.stdout.splitlines()[-1])
    answer["spent"], answer["spent_all"] = Spent(**answer["spent"]), Spent(**answer["spent_all"])
    return Whole(start_seconds=answer.pop("first_frame_at") - begun, **answer)


def _home() -> str:
    """The folder that holds the package."""
    return str(Path(__file__).resolve().parents[2])


class _Watch(Reporter):
    """Tells nothing, and remembers when frames were written."""

    def __init__(self) -> None:
        super().__init__(sys.stderr, quiet=True)
        self.first_at: float | None = None
        self.frames = 0
        """After the first."""
        self.encoder_peak = 0
        self._since_first: Clock | None = None

    def advance(self, frames_out: int) -> None:
        if self._since_first is None:
            self.first_at, self._since_first = time.time(), Clock()
        else:
            self.frames += frames_out
        self.encoder_peak = max(self.encoder_peak, peak_memory_of_children() or 0)

    def after_first(self) -> Spent:
        """Per frame after the first, until now."""
        assert self._since_first is not None
        return self._since_first.spent().per(max(self.frames, 1))


def _answer(request: Request) -> dict[str, Any]:
    import slomo_cli.interpolate
    import slomo_cli.pipeline  # noqa: F401  # before the clock starts
    from slomo_cli.times import parse_number, parse_time

    settings = TimeSettings(
        factor=parse_number(request.factor), end=parse_time(request.end) if request.end else None, cuts="off"
    )
    found: list[Spent] = []
    found_all: list[Spent] = []
    first_at: float | None = None
    frames = new_frames = encoder_peak = 0
    for _ in range(request.repeats):
        watch, clock = _Watch(), Clock()
        if request.output is None:
            frames, new_frames = _without_encoder(request, settings, watch)
        else:
            frames, new_frames = _convert(request, settings, watch)
        found.append(watch.after_first())
        found_all.append(clock.spent())
        first_at = first_at or watch.first_at
        encoder_peak = max(encoder_peak, watch.encoder_peak)
    return {
        "frames": frames,
        "new_frames": new_frames,
        "spent": asdict(median(found)),
        "spent_all": asdict(median(found_all)),
        "first_frame_at": first_at,
        "peak_bytes": peak_memory(),
        "encoder_peak_bytes": encoder_peak or None,
        "device_peak_bytes": _device_memory(request.compute),
    }


def _convert(request: Request, time: TimeSettings, watch: _Watch) -> tuple[int, int]:
    from slomo_cli.pipeline import convert

    encode = EncodeSettings(overwrite=True, ffmpeg=request.ffmpeg)
    summary = convert(request.source, request.output, time=time, encode=encode, compute=request.compute, progress=watch)
    return summary.frames_out, summary.frames_interpolated


def _without_encoder(request: Request, time: TimeSettings, watch: _Watch) -> tuple[int, int]:
    """The same line of work, with nothing at its end."""
    from slomo_cli.interpolate import Interpolator
    from slomo_cli.media.read.decode import Decoder
    from slomo_cli.painter import Painter
    from slomo_cli.pipeline import plan_conversion

    encode = EncodeSettings(overwrite=True, ffmpeg=request.ffmpeg)
    job: ConversionPlan = plan_conversion(request.source, None, time=time, encode=encode)
    with (
        Interpolator(**asdict(request.compute)) as network,
        Decoder(job.info, job.timing, start=job.plan.start, end=job.plan.end) as decoder,
    ):
        painter = Painter(job.plan, job.info, job.timing, network, time)
        for _ in painter.pictures(decoder):
            watch.advance(1)
    return job.plan.frames, painter.interpolated


def _device_memory(compute: ComputeSettings) -> int | None:
    import torch

    from slomo_cli.devices import choose_device

    device = choose_device(compute.device)
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def main() -> None:
    """Read the request, do it, print the answer."""
    wait_quietly()
    said = json.load(sys.stdin)
    request = Request(**{**said, "compute": ComputeSettings(**said["compute"])})
    try:
        answer = _answer(request)
    except SlomoError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

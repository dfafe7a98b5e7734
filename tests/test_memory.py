"""Memory does not grow with the length of the film, and the result depends on neither batches nor queues."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import slomo_cli.painter
from slomo_cli.interpolate import Interpolator
from slomo_cli.media.read.decode import Decoder
from slomo_cli.painter import Painter
from slomo_cli.pipeline import plan_conversion
from slomo_cli.values import TimeSettings

Make = Callable[..., Path]

# Converts the file named and prints, in bytes, the peak of this process after the imports and at the end.
_MEASURE = """
import json, resource, sys
import torch
from slomo_cli.interpolate import Interpolator
from slomo_cli.pipeline import convert
def peak():
    # Linux hands the parent's peak on to its children in getrusage; VmHWM is this program's own.
    if sys.platform == "linux":
        return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
source, output, weights, factor = sys.argv[1:]
begin = peak()
summary = convert(source, output, weights=weights, device="cpu", dtype="float32", threads=2, factor=factor, crf=40,
                  preset="ultrafast", cuts="off", duplicates="keep")
print(json.dumps([begin, peak(), summary.frames_out]))
"""


def peak_of(source: Path, folder: Path, weights: str, factor: int) -> tuple[int, int]:
    """Bytes the conversion takes beyond its imports at its highest, and the frames it wrote."""
    command = [sys.executable, "-c", _MEASURE, str(source), str(folder / "out.mkv"), weights, str(factor)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    (folder / "out.mkv").unlink()
    begin, end, frames = json.loads(done.stdout.splitlines()[-1])
    return end - begin, frames


@pytest.mark.skipif(sys.platform == "win32", reason="no way to ask for a process's peak memory")
def test_peak_memory_does_not_grow_with_length(make: Make, tmp_path: Path, weights: str) -> None:
    """Eight times the length: the same peak, but for a few frames.

    A frame of this size takes 0.1 MB as planes and some MB prepared: one prepared frame in ten, or the planes of all,
    would show if kept. A clip of a second ends before the threads have met in the worst way; from three on the peak
    stays as it is, within 15 MB.
    """
    picture = "-f lavfi -i testsrc2=size=320x240:rate=30:duration={seconds} -c:v libx264 -preset ultrafast -crf 30"
    short = make("short-memory.mp4", *picture.format(seconds="3").split())
    long = make("long-memory.mp4", *picture.format(seconds="24").split())

    (low, few), (high, many) = (peak_of(source, tmp_path, weights, 2) for source in (short, long))

    assert (few, many) == (180, 1440)
    assert 5e6 < low < 220e6
    assert high < low + 45e6


def test_full_hd_stays_within_bounds(make: Make, tmp_path: Path, weights: str) -> None:
    """1080p, eight times slower, more pairs than are kept at once: well below 1.5 GB beyond the program itself."""
    source = make("hd.mp4", *"-f lavfi -i testsrc=size=1920x1080:rate=30 -frames:v 6 -c:v libx264 -crf 40".split())

    peak, frames = peak_of(source, tmp_path, weights, 8)

    assert frames == 48
    assert peak < 1.25e9


@pytest.fixture
def clip(make: Make) -> Path:
    """Nine moving pictures without loss."""
    return make("queues.mkv", *"-f lavfi -i testsrc2=size=96x64:rate=30 -frames:v 9 -c:v ffv1".split())


def painted(source: Path, weights: str, time: TimeSettings, **compute: Any) -> list[bytes]:
    """Every output frame's bytes, nothing encoded."""
    job = plan_conversion(source, None, time=time)
    settings = {"device": "cpu", "dtype": "float32", "threads": 1, **compute}
    with (
        Interpolator(weights, **settings) as network,
        Decoder(job.info, job.timing, start=job.plan.start, end=job.plan.end) as decoder,
    ):
        return [
            b"".join(p.tobytes() for p in planes)
            for planes, _ in Painter(job.plan, job.info, job.timing, network, time).pictures(decoder)
        ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_result_does_not_depend_on_batches_threads_or_queues(
    clip: Path, weights: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same frames to the last bit, however deep the queues are and however the work is divided."""
    time = TimeSettings(factor=Fraction(8), cuts="off")
    plain = painted(clip, weights, time, dtype=dtype)
    assert len(plain) == 72 and len(set(plain)) > 60

    monkeypatch.setattr(slomo_cli.painter, "_DECODED_AHEAD", 1)
    monkeypatch.setattr(slomo_cli.painter, "_WAITING_FRAMES", (1, 1))
    assert painted(clip, weights, time, dtype=dtype, threads=3, batch=3) == plain

    monkeypatch.setattr(slomo_cli.painter, "_DECODED_AHEAD", 32)
    monkeypatch.setattr(slomo_cli.painter, "_WAITING_FRAMES", (100, 100))
    assert painted(clip, weights, time, dtype=dtype, threads=2, batch=7) == plain


def test_pictures_of_a_pair_leave_nothing_behind(weights: str) -> None:
    """A pair's arrays go when its pictures are fetched and the next pairs asked for, without the garbage collector."""
    import gc
    import weakref

    from slomo_cli.values import ColorInfo, Frame, PixelLayout

    layout = PixelLayout("gray", "gray", 8)
    rng = np.random.default_rng(1)
    frames = [
        Frame((rng.integers(0, 256, (64, 96)).astype(np.uint8),), layout, ColorInfo(), Fraction(k)) for k in range(8)
    ]
    states = []
    gc.disable()
    try:
        with Interpolator(weights, device="cpu", dtype="float32", threads=1) as net:
            for left, right in pairwise(frames):
                pending = net.request(left, right, [0.25, 0.5])
                states.append(weakref.ref(net._states._held[-1][1]))
                for picture in pending:
                    picture.planes()
            del pending, picture
            assert sum(state() is not None for state in states) <= 2
    finally:
        gc.enable()


def test_a_conversion_loads_no_compiler(clip: Path, tmp_path: Path, weights: str) -> None:
    """Torch's compiler and symbolic algebra take seconds to import and are of no use here."""
    code = """
import sys
import torch
known = set(sys.modules)
from slomo_cli.pipeline import convert
convert(sys.argv[1], sys.argv[2], weights=sys.argv[3], device="cpu", factor=2)
print(*sorted({name.split(".")[0] for name in sys.modules} - {name.split(".")[0] for name in known}))
print(*sorted(name for name in set(sys.modules) - known if name.startswith(("torch._dynamo", "torch._inductor"))))
"""
    command = [sys.executable, "-c", code, str(clip), str(tmp_path / "out.mkv"), weights]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    packages, compilers = done.stdout.splitlines()
    assert not {"sympy", "scipy", "matplotlib", "pandas", "rich", "click", "triton"} & set(packages.split())
    assert compilers == ""

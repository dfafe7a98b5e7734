"""On a GPU: the pictures of the CPU, no wait while work is being given, and less at a time where memory is short."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from film import read
from tiny_network import save_tiny

from slomo_cli.interpolate import Interpolator
from slomo_cli.net.presets import build
from slomo_cli.net.weights import save
from slomo_cli.pipeline import convert
from slomo_cli.values import ColorInfo, Frame, PixelLayout

pytestmark = pytest.mark.gpu

YUV420 = PixelLayout("yuv420p", "yuv", 8, 1, 1)
TIMES = [Fraction(k, 8) for k in range(1, 8)]


def pair(width: int, height: int) -> tuple[Frame, Frame]:
    """A smooth picture, and the same some pixels on."""
    rng = np.random.default_rng(5)
    coarse = torch.from_numpy(rng.random((1, 3, height // 16 + 2, width // 16 + 2)))
    large = torch.nn.functional.interpolate(coarse, size=(height + 16, width + 16), mode="bicubic").clamp(0, 1)
    samples = (large[0].numpy() * 255).astype(np.uint8)

    def cut(by: int) -> Frame:
        luma = samples[0, by : by + height, by : by + width]
        chroma = [samples[k, by : by + height : 2, by : by + width : 2] for k in (1, 2)]
        return Frame(tuple(map(np.ascontiguousarray, (luma, *chroma))), YUV420, ColorInfo(), Fraction(0))

    return cut(0), cut(6)


def network(preset: str, folder: Path) -> str:
    """The released network, or a small one of the paper's kind with random weights."""
    if preset == "fast":
        return "fast"
    config = {"widths": [8, 8, 16, 16, 16, 16]}
    torch.manual_seed(3)
    save(folder / "small.safetensors", build(preset, config), preset, config, {})
    return str(folder / "small.safetensors")


@pytest.mark.parametrize(("dtype", "close"), [("float32", 0.15), ("bfloat16", 0.6)])
@pytest.mark.parametrize("preset", ["fast", "superslomo"])
def test_pictures_are_those_of_the_cpu(
    cuda: torch.device, tmp_path: Path, preset: str, dtype: str, close: float
) -> None:
    first, second = pair(322, 246)
    weights = network(preset, tmp_path)
    made = {}
    for device, format_ in (("cpu", "float32"), (str(cuda), dtype)):
        with Interpolator(weights, device=device, dtype=format_) as net:
            made[device] = net.frames(first, second, TIMES, (second, 1), (first, 2))
    for there, here in zip(made[str(cuda)], made["cpu"], strict=True):
        for a, b in zip(there, here, strict=True):
            assert np.abs(a.astype(float) - b).mean() < close


@pytest.mark.parametrize("preset", ["fast", "superslomo"])
def test_giving_work_never_waits_for_it(
    cuda: torch.device, tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the search for what leaps, which asks what was found before it looks closer."""
    monkeypatch.setattr("slomo_cli.net.fast.find_leaps", lambda *seen: [])
    first, second = pair(322, 246)
    with Interpolator(network(preset, tmp_path), device=str(cuda), batch=4) as net:
        net.frames(first, second, TIMES, (second, 1), (first, 1))  # first allocations and tuning may wait
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            made = net.frames(second, first, TIMES, (first, 1), (second, 1))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(made) == 7 and all(planes[0].any() for planes in made)


def test_a_gpu_short_of_memory_is_asked_for_less_at_a_time(cuda: torch.device, tmp_path: Path) -> None:
    first, second = pair(1280, 720)
    weights = str(save_tiny(tmp_path / "tiny.safetensors"))

    def run() -> tuple[list[tuple[np.ndarray, ...]], int]:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(cuda)
        with Interpolator(weights, device=str(cuda), dtype="float32") as net:
            return net.frames(first, second, TIMES), torch.cuda.max_memory_reserved(cuda)

    wanted, usual = run()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction(0.5 * usual / total, cuda)
    try:
        made, spared = run()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)
    assert spared <= 0.5 * usual
    for planes, expected in zip(made, wanted, strict=True):
        for a, b in zip(planes, expected, strict=True):
            assert (np.abs(a.astype(int) - b) <= 1).mean() > 0.999


def test_a_conversion_gives_the_frames_of_the_cpu(
    cuda: torch.device, tmp_path: Path, clip: Callable[[str], Path]
) -> None:
    pictures = {}
    for device in ("cpu", str(cuda)):
        out = tmp_path / f"{device.replace(':', '')}.mkv"
        summary = convert(clip("cfr.mp4"), out, factor=3, device=device, crf=1)
        assert summary.frames_out == 90
        pictures[device] = [frame.planes[0].astype(float) for frame in read(out)]
    there, here = pictures[str(cuda)], pictures["cpu"]
    assert len(there) == len(here) == 90
    assert max(np.abs(a - b).mean() for a, b in zip(there, here, strict=True)) < 2.0

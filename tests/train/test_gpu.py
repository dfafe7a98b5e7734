"""On a GPU: the same windows as on a CPU, no step that waits for the device, resume onto another device."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import CPU, TinyNet, moving_clip, photo, tiny_settings

from slomo_cli.net.presets import build
from slomo_cli.train.loop import Run
from slomo_cli.train.settings import LossWeights, WindowSettings, preset_settings
from slomo_cli.train.store import Place
from slomo_cli.train.synthetic import SyntheticSampler
from slomo_cli.train.windows import WindowSampler

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("place", ["device", "host"])
def test_windows_are_those_of_the_cpu(cuda: torch.device, place: Place) -> None:
    clips = [moving_clip(20), moving_clip(20, 80, 200, speed=-3)]
    settings = WindowSettings(crop=64, targets=2)
    there = WindowSampler(clips, settings, cuda, place=place).draw(16, np.random.default_rng(0))
    here = WindowSampler(clips, settings, CPU).draw(16, np.random.default_rng(0))

    assert torch.equal(there.t.cpu(), here.t) and torch.equal(there.index.cpu(), here.index)
    for name in ("i0", "i1", "targets"):
        assert (getattr(there, name).cpu() - getattr(here, name)).abs().max() < 2e-3


def test_scenes_are_those_of_the_cpu(cuda: torch.device) -> None:
    """Noise is drawn on the device and may differ; motion may not."""
    photos = [photo(seed=1), photo(130, 300, seed=2)]
    there, here = (SyntheticSampler(photos, 64, 2, d).draw(8, np.random.default_rng(1)) for d in (cuda, CPU))
    assert there.truth is not None and here.truth is not None

    assert (there.truth.flow_01.cpu() - here.truth.flow_01).abs().median() < 1e-3
    assert (there.truth.seen_0.cpu() == here.truth.seen_0).float().mean() > 0.995
    assert (there.targets.cpu() - here.targets).abs().mean() < 2e-3


@pytest.mark.parametrize("preset", ["fast", "superslomo"])
def test_no_step_waits_for_the_device(cuda: torch.device, tmp_path: Path, preset: str) -> None:
    config = {} if preset == "fast" else {"widths": [8, 8, 16, 16, 16, 16]}
    windows = WindowSettings(crop=64, targets=2)
    losses = LossWeights(**{loss.name: 0.1 * (loss.name != "perceptual") for loss in fields(LossWeights)})
    settings = replace(preset_settings(preset), steps=9, batch=8, dtype="bfloat16", windows=windows, losses=losses)
    real = WindowSampler([moving_clip(30)], windows, cuda, place="device")
    synthetic = SyntheticSampler([photo(seed=1)], 64, 2, cuda, place="device")
    sources = [(real, 6), (synthetic, 2)]
    run = Run(build(preset, config), sources, settings, tmp_path, cuda, report=lambda line: None)
    rng = np.random.default_rng(0)
    for number in range(2):  # tuning and first allocations may wait
        run.stepper.step(run._draw(rng), 1e-4, number)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(2, 5):
            run.stepper.step(run._draw(rng), 1e-4, number)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_run_moves_between_devices(cuda: torch.device, tmp_path: Path) -> None:
    for device, steps in ((CPU, 2), (cuda, 4), (CPU, 6)):
        settings = tiny_settings(steps=steps, synthetic=0.0)
        real = WindowSampler([moving_clip()], settings.windows, device)
        run = Run(TinyNet(), [(real, 3)], settings, tmp_path, device, report=lambda line: None)
        assert run.step == steps - 2
        assert run.train()["step"] == steps

"""Scores while training: of what a conversion would make, as `slomo eval` counts them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from train_helpers import CPU, TinyNet, moving_clip, photo, tiny_settings

from slomo_cli.evaluate.metrics import psnr
from slomo_cli.interpolate import Interpolator
from slomo_cli.net import weights
from slomo_cli.net.presets import build
from slomo_cli.train.judge import _SEED, Judge, to_rgb
from slomo_cli.train.settings import WindowSettings
from slomo_cli.train.stepper import Trainee
from slomo_cli.train.windows import WindowSampler

TIMES = [Fraction(1, 4), Fraction(1, 2)]
SMALL = {"encoder": (4, 6, 8, 8, 8), "hidden": 8, "context": 6, "refine": (8, 8), "match": 4, "radius": 1}


def judge(net: nn.Module, **words: Any) -> Judge:
    return Judge(Trainee(net.eval(), tiny_settings()), CPU, bfloat16=False, **words)


def blender() -> TinyNet:
    """Moves nothing, and sees both frames alike."""
    net = TinyNet()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    return net


def two(height: int, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    pictures = photo(height + 4, width + 6).transpose(1, 2, 0)
    return np.ascontiguousarray(pictures[:height, :width]), np.ascontiguousarray(pictures[4:, 6:])


def test_pictures_of_any_size_come_back_as_they_are() -> None:
    first, second = two(37, 43)
    made = judge(blender()).between(first, second, TIMES)

    for t, picture in zip(TIMES, made, strict=True):
        mixed = (1 - float(t)) * first + float(t) * second
        assert picture.dtype == np.uint8 and np.abs(picture - mixed).max() <= 0.501


def test_held_out_windows_are_scored_by_their_mean_psnr() -> None:
    """Of every target, whichever windows are looked at together."""
    settings = WindowSettings(crop=64, lengths=(2, 4), length_weights=(0.5, 0.5), targets=2, hold_out=0.0)
    held_out, one = WindowSampler([moving_clip(20)], settings, CPU), judge(blender())
    batch = held_out.draw_plain(7, np.random.default_rng(_SEED))

    scores = judge(blender(), held_out=held_out, windows=7)(0)

    wanted = []
    for window, t, target in zip(batch.index.tolist(), batch.t.tolist(), batch.targets, strict=True):
        pair = to_rgb(batch.i0[window]), to_rgb(batch.i1[window])
        wanted.append(psnr(one.between(*pair, [Fraction(t)])[0], to_rgb(target)))
    assert scores == {"held-out": pytest.approx(np.mean(wanted), abs=0.02)}


def test_what_is_judged_is_what_a_conversion_makes(tmp_path: Path) -> None:
    """Small pictures are shown enlarged to both."""
    torch.manual_seed(0)
    net = build("fast", SMALL)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "head" in name:
                parameter.normal_(std=0.05)
    weights.save(tmp_path / "net.safetensors", net, "fast", SMALL, {})
    first, second = two(72, 96)  # without padding, past which detail is given back otherwise

    judged = judge(net).between(first, second, TIMES)

    with Interpolator(str(tmp_path / "net.safetensors"), device="cpu", dtype="float32") as network:
        made = network.between(first, second, TIMES)
    for one, other in zip(judged, made, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
        assert np.abs(one.astype(int) - first).mean() > 2

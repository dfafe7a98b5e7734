"""Captions: the same over all pictures of a window, over some windows only, opaque, legible, repeatable."""

from __future__ import annotations

import numpy as np
import torch
from train_helpers import CPU, moving_clip

from slomo_cli.train.captions import _text, captions, lay_captions
from slomo_cli.train.settings import WindowSettings
from slomo_cli.train.windows import WindowSampler

SIDE = 96


def pictures(windows: int, each: int) -> tuple[torch.Tensor, np.ndarray]:
    """Noise, and which window each picture belongs to, as windows come: first frames, last frames, targets."""
    generator = torch.Generator().manual_seed(1)
    noise = 0.2 + 0.6 * torch.rand(windows * each, 3, SIDE, SIDE, generator=generator)
    return noise, np.tile(np.arange(windows), each)


def test_a_caption_stands_still_over_every_picture_of_its_window() -> None:
    plain, window = pictures(6, 4)

    laid = lay_captions(plain.clone(), window, 1.0, np.random.default_rng(0))

    for one in range(6):
        mine, before = laid[window == one], plain[window == one]
        changed = (mine != before).any(1)
        assert 0 < changed.float().mean() < 0.95
        covered = (mine == mine[:1]).all(1).all(0)  # opaque: no noise is left
        assert covered.float().mean() > 0.5 * changed.all(0).float().mean()
    assert not torch.equal(laid[0], laid[1]), "every window has its own"
    assert laid.min() >= 0 and laid.max() <= 1


def test_windows_are_captioned_by_chance_and_others_left_alone() -> None:
    plain, window = pictures(100, 2)
    laid = lay_captions(plain.clone(), window, 0.3, np.random.default_rng(2))

    touched = (laid != plain).flatten(1).any(1)
    assert torch.equal(touched[:100], touched[100:])
    assert 15 < int(touched[:100].sum()) < 45
    assert torch.equal(lay_captions(plain.clone(), window, 0.0, np.random.default_rng(2)), plain)


def test_letters_have_crisp_edges() -> None:
    texts = torch.stack([_text(256, np.random.default_rng(seed), CPU) for seed in range(40)])

    assert texts.shape == (40, 1, 256, 256) and texts.min() >= 0 and texts.max() <= 1
    shown = texts > 0.05
    assert shown.flatten(1).any(1).float().mean() > 0.9
    edge = (shown & (texts < 0.95)).float().mean() / shown.float().mean()
    assert 0.05 < edge < 0.45, "antialiased, by about a pixel"


def test_captions_have_colour_wherever_they_show() -> None:
    found = [captions(SIDE, np.random.default_rng(seed), CPU) for seed in range(40)]

    assert all(caption.shape == (4, SIDE, SIDE) for caption in found)
    assert {0.0, 1.0} <= {float(caption[:3].amax(0)[caption[3] == 1].max()) for caption in found if caption[3].any()}


def test_sampled_windows_carry_captions_in_inputs_and_targets() -> None:
    settings = WindowSettings(crop=64, lengths=(4,), length_weights=(1.0,), targets=2, captions=1.0)
    moving = moving_clip(10)

    def still(settings: WindowSettings) -> torch.Tensor:
        batch = WindowSampler([moving], settings, CPU).draw(8, np.random.default_rng(4))
        same = (batch.i0 == batch.i1).all(1)[batch.index] & (batch.targets == batch.i0[batch.index]).all(1)
        return same.float().mean((1, 2))

    captioned = still(settings)
    plain = still(WindowSettings(crop=64, lengths=(4,), length_weights=(1.0,), targets=2))
    assert (captioned > 0).all() and captioned.mean() > plain.mean() + 0.05

"""Captions: the same over all pictures of a window, still or rolling, over some windows only, opaque, legible,
repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from train_helpers import CPU, moving_clip

from slomo_cli.net.warp import warp
from slomo_cli.train.captions import _anywhere, _height, _line, captions, lay_captions
from slomo_cli.train.settings import WindowSettings
from slomo_cli.train.windows import WindowSampler

SIDE = 96


def pictures(windows: int, each: int) -> tuple[torch.Tensor, np.ndarray]:
    """Noise, and which window each picture belongs to, as windows come: first frames, last frames, targets."""
    generator = torch.Generator().manual_seed(1)
    noise = 0.2 + 0.6 * torch.rand(windows * each, 3, SIDE, SIDE, generator=generator)
    return noise, np.tile(np.arange(windows), each)


def times(windows: int, each: int) -> np.ndarray:
    """The time of each picture, as pictures come."""
    return np.repeat(np.concatenate(((0.0, 1.0), np.linspace(0, 1, each)[1:-1])), windows)


@pytest.fixture
def still(monkeypatch):
    monkeypatch.setattr("slomo_cli.train.captions.ROLLING", 0.0)


@pytest.fixture
def rolling(monkeypatch):
    monkeypatch.setattr("slomo_cli.train.captions.ROLLING", 1.0)


def test_a_caption_stands_still_over_every_picture_of_its_window(still) -> None:
    plain, window = pictures(6, 4)

    laid = lay_captions(plain.clone(), window, times(6, 4), 1.0, np.random.default_rng(0))

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
    laid = lay_captions(plain.clone(), window, times(100, 2), 0.3, np.random.default_rng(2))

    touched = (laid != plain).flatten(1).any(1)
    assert torch.equal(touched[:100], touched[100:])
    assert 15 < int(touched[:100].sum()) < 45
    assert torch.equal(lay_captions(plain.clone(), window, times(100, 2), 0.0, np.random.default_rng(2)), plain)


def test_letters_have_crisp_edges() -> None:
    def text(seed: int) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        return _anywhere(_line(_height(256, rng), 256, rng, CPU), 256, rng)

    texts = torch.stack([text(seed) for seed in range(40)])

    assert texts.shape == (40, 1, 256, 256) and texts.min() >= 0 and texts.max() <= 1
    shown = texts > 0.05
    assert shown.flatten(1).any(1).float().mean() > 0.9
    edge = (shown & (texts < 0.95)).float().mean() / shown.float().mean()
    assert 0.05 < edge < 0.45, "antialiased, by about a pixel"


def test_captions_have_colour_wherever_they_show() -> None:
    found = [captions(SIDE, np.random.default_rng(seed), CPU).canvas for seed in range(40)]

    assert all(caption.shape[0] == 4 and min(caption.shape[1:]) >= SIDE for caption in found)
    assert {0.0, 1.0} <= {float(caption[:3].amax(0)[caption[3] == 1].max()) for caption in found if caption[3].any()}


def test_a_rolling_caption_goes_as_far_as_it_says(rolling) -> None:
    for seed in range(20):
        caption = captions(SIDE, np.random.default_rng(seed), CPU)
        x, y = caption.shift
        assert 1 <= np.hypot(x, y) <= SIDE / 5
        shown = caption.at(np.array([0.0, 0.25, 1.0]), SIDE)
        assert shown.shape == (3, 4, SIDE, SIDE)
        back = warp(
            shown[1:],
            torch.tensor([x, y]).view(1, 2, 1, 1) * torch.tensor([0.25, 1.0]).view(2, 1, 1, 1)
            + torch.zeros(2, 2, SIDE, SIDE),
        )
        inner = np.s_[..., 20:-20, 20:-20]  # what is inside the picture throughout
        for frame in back:
            assert (frame[inner] - shown[0][inner]).abs().mean() < 0.05  # resampled twice
        assert caption.canvas[3].max() > 0.99


def test_a_rolling_caption_never_shows_its_end(rolling) -> None:
    """A ground of its own fills the picture at all times."""
    grounds = 0
    for seed in range(40):
        caption = captions(SIDE, np.random.default_rng(seed), CPU)
        if caption.canvas[3].min() == 1:
            grounds += 1
            assert caption.at(np.array([0.0, 1.0]), SIDE)[:, 3].min() > 0.999
    assert 8 < grounds < 32


def test_sampled_windows_carry_captions_in_inputs_and_targets(still) -> None:
    settings = WindowSettings(crop=64, lengths=(4,), length_weights=(1.0,), targets=2, captions=1.0)
    moving = moving_clip(10)

    def unmoved(settings: WindowSettings) -> torch.Tensor:
        batch = WindowSampler([moving], settings, CPU).draw(8, np.random.default_rng(4))
        same = (batch.i0 == batch.i1).all(1)[batch.index] & (batch.targets == batch.i0[batch.index]).all(1)
        return same.float().mean((1, 2))

    captioned = unmoved(settings)
    plain = unmoved(WindowSettings(crop=64, lengths=(4,), length_weights=(1.0,), targets=2))
    assert (captioned > 0).all() and captioned.mean() > plain.mean() + 0.05

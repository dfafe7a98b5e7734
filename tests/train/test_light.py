"""Light: linear in time, over some windows only, within the range, in inputs and targets alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from train_helpers import CPU, moving_clip

from slomo_cli.train.light import relight
from slomo_cli.train.settings import WindowSettings
from slomo_cli.train.synthetic import SyntheticSampler
from slomo_cli.train.windows import WindowSampler

SIDE = 48


def stills(windows: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Noise that stands still: as windows come, first pictures, last ones, and one target each at a quarter."""
    noise = torch.rand(windows, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return noise.repeat(3, 1, 1, 1), np.tile(np.arange(windows), 3), np.repeat([0.0, 1.0, 0.25], windows)


def test_what_lies_between_in_time_lies_between_in_light() -> None:
    pictures, window, t = stills(40)

    first, last, target = relight(pictures, window, t, 1.0, np.random.default_rng(0)).chunk(3)

    assert torch.allclose(target, first + 0.25 * (last - first), atol=1e-6)
    change = (last - first).abs().mean((1, 2, 3))
    assert (change > 0.1).sum() > 5 and change.max() < 0.75
    assert pictures.min() >= 0 and pictures.max() <= 1


def test_some_windows_change_all_over_and_some_in_places() -> None:
    pictures, window, t = stills(60)
    first, last, _ = relight(pictures, window, t, 1.0, np.random.default_rng(3)).chunk(3)

    untouched = (first == last).all(1).float().mean((1, 2))

    assert (untouched < 0.05).sum() > 20
    assert ((untouched > 0.1) & (untouched < 0.9)).sum() > 5


def test_windows_are_relit_by_chance_and_others_left_alone() -> None:
    plain, window, t = stills(100)

    lit = relight(plain.clone(), window, t, 0.3, np.random.default_rng(2))

    changed = (lit != plain).flatten(1).any(1).view(3, 100).any(0).float().mean()
    assert 0.15 < changed < 0.4
    assert torch.equal(relight(plain.clone(), window, t, 0.0, np.random.default_rng(2)), plain)


def test_sampled_windows_change_by_the_time_of_each_target() -> None:
    """A clip whose mean colour never changes, so that what changes is the light."""
    settings = WindowSettings(crop=64, lengths=(4,), length_weights=(1.0,), targets=2, relit=1.0, rescaled=0.0)
    drawn = WindowSampler([moving_clip(10)], settings, CPU).draw(24, np.random.default_rng(4))
    plain = WindowSampler([moving_clip(10)], WindowSettings(**vars_of(settings) | {"relit": 0.0}), CPU)
    calm = plain.draw(24, np.random.default_rng(4))

    def means(pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean((1, 2, 3))

    assert (means(drawn.i1) - means(drawn.i0)).abs().mean() > 3 * (means(calm.i1) - means(calm.i0)).abs().mean()
    first, last = means(drawn.i0)[drawn.index], means(drawn.i1)[drawn.index]
    assert (means(drawn.targets) - torch.lerp(first, last, drawn.t)).abs().mean() < 0.15 * (last - first).abs().mean()


@pytest.mark.parametrize("targets", [1, 3])
def test_synthetic_windows_change_by_the_time_of_each_target(targets: int) -> None:
    gray = np.full((3, 120, 160), 128, np.uint8)
    sampler = SyntheticSampler([gray], 64, targets, CPU, relit=1.0)
    drawn = sampler.draw(16, np.random.default_rng(5))

    first, last, between = (pictures.mean((1, 2, 3)) for pictures in (drawn.i0, drawn.i1, drawn.targets))

    assert (last - first).abs().max() > 0.1
    expected = torch.lerp(first[drawn.index], last[drawn.index], drawn.t)
    assert (between - expected).abs().max() < 0.01  # noise and blocks fall on the inputs


def vars_of(settings: WindowSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}

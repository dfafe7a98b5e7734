"""One step: what the losses are shown, what a step changes, and that nothing in it asks the device for a value."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from train_helpers import CPU, TinyNet, moving_clip, photo, tiny_settings

from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.presets import build
from slomo_cli.net.warp import approximate_flows
from slomo_cli.train.feed import join_batches
from slomo_cli.train.losses import SloMoLoss
from slomo_cli.train.parallel import Team
from slomo_cli.train.settings import LossWeights, TrainSettings, WindowSettings, preset_settings
from slomo_cli.train.stepper import Stepper, Trainee, can_leave_out
from slomo_cli.train.synthetic import SyntheticSampler
from slomo_cli.train.windows import Batch, WindowSampler

INDEX, T = torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.25, 0.75])


def pictures() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).unbind(0)  # type: ignore[return-value]


def stepper(net: nn.Module, settings: TrainSettings, device: torch.device = CPU) -> Stepper:
    return Stepper(net, settings, SloMoLoss(settings.losses), device, Team(), lambda line: None)


def batch(settings: TrainSettings) -> Batch:
    return WindowSampler([moving_clip()], settings.windows, CPU).draw(3, np.random.default_rng(0))


def test_joined_batches_keep_each_target_with_its_window() -> None:
    settings = tiny_settings()
    real = batch(settings)
    synthetic = SyntheticSampler([photo()], settings.windows.crop, 2, CPU).draw(2, np.random.default_rng(1))
    joined = join_batches(real, synthetic)

    assert joined.index.tolist() == [*real.index.tolist(), 3, 3, 4, 4]
    for m, window in enumerate(joined.index.tolist()):
        own, k = (real, m) if window < 3 else (synthetic, m - len(real.t))
        shown = own.index[k]
        assert torch.equal(joined.i0[window], own.i0[shown]) and torch.equal(joined.i1[window], own.i1[shown])
        assert torch.equal(joined.targets[m], own.targets[k]) and joined.t[m] == own.t[k]
    assert joined.truth is synthetic.truth
    assert join_batches(real, None) is real and join_batches(None, synthetic) is synthetic


class Coarse(nn.Module):
    """Answers on a grid of every second pixel."""

    stride, cell = 2, 2

    def pair(self, i0: Tensor, i1: Tensor) -> PairState:
        flow = torch.ones(i0.shape[0], 2, i0.shape[2] // 2, i0.shape[3] // 2)
        return PairState(flow, -flow, ())

    def at(self, state: PairState, index: Tensor, t: Tensor) -> Motion:
        flow = state.flow_01[index]
        return Motion(3 * flow, 4 * flow, 0.25 * flow[:, :1], 0.5 * flow[:, :1])


def test_coarse_motion_is_shown_to_the_losses_at_full_size() -> None:
    state, motion, ladder = Trainee(Coarse(), tiny_settings())(*pictures(), INDEX, T)

    assert state.flow_01.shape == (2, 2, 64, 64) and motion.visibility.shape == (3, 1, 64, 64)
    assert torch.all(state.flow_01 == 2) and torch.all(motion.flow_t0 == 6) and torch.all(motion.flow_t1 == 8)
    assert torch.all(motion.visibility == 0.25) and ladder == []


def test_enlarged_pictures_are_answered_for_every_pixel() -> None:
    """What the network sees has twice the size, so a step of its grid is a pixel of the picture."""
    state, motion, _ = Trainee(Coarse(), tiny_settings())(*pictures(), INDEX, T, magnify=2)

    assert state.flow_01.shape == (2, 2, 64, 64) and motion.visibility.shape == (3, 1, 64, 64)
    assert torch.all(state.flow_01 == 1) and torch.all(motion.flow_t0 == 3)


def test_a_share_of_the_steps_shows_a_smaller_square_enlarged() -> None:
    """The same steps in every run with that seed; the square lies anywhere in the crop."""
    settings = replace(tiny_settings(), magnified=0.25, windows=WindowSettings(crop=96))
    net = build("fast", {"encoder": (4, 6, 8, 8), "hidden": 8, "context": 6, "refine": (8, 8), "match": 4, "radius": 1})
    seen: list[int] = []
    net.get_submodule("encoder.levels.0").register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[-1]))
    for _ in range(2):
        one = stepper(net, settings)
        for number in range(12):
            one.step(batch(settings), 1e-4, number)
    whole = seen[::2]  # each picture is looked at once whole, once at half its size
    assert whole[:12] == whole[12:] and set(whole) == {96, 128}
    assert whole.count(128) < whole.count(96)
    cropped = batch(settings).cropped(8, 4, 32)
    assert torch.equal(cropped.targets, batch(settings).targets[..., 8:40, 4:36])


def test_ablations_leave_out_what_they_say() -> None:
    torch.manual_seed(0)
    net = TinyNet()
    state, whole, _ = Trainee(net, tiny_settings())(*pictures(), INDEX, T)
    _, flat, _ = Trainee(net, tiny_settings(flow_interpolation=False))(*pictures(), INDEX, T)
    _, blind, _ = Trainee(net, tiny_settings(visibility=False))(*pictures(), INDEX, T)

    guess = approximate_flows(state.flow_01[INDEX], state.flow_10[INDEX], T)
    assert torch.equal(flat.flow_t0, guess[0]) and torch.equal(flat.flow_t1, guess[1])
    assert torch.equal(flat.visibility, whole.visibility) and not torch.equal(whole.flow_t0, guess[0])
    assert torch.all(blind.visibility == 0.5) and torch.equal(blind.flow_t0, whole.flow_t0)


@pytest.mark.parametrize(("dtype", "inside"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_short_numbers_are_for_convolutions_alone(dtype: str, inside: torch.dtype) -> None:
    settings = tiny_settings(synthetic=0.0, dtype=dtype)
    one = stepper(TinyNet(), settings)
    seen = set()
    one.net.get_submodule("refine").register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    parts = one.step(batch(settings), 1e-3, 0)

    assert seen == {inside}
    assert {value.dtype for value in (*parts.values(), *one.net.parameters(), *one.average.values())} == {torch.float32}


def test_the_average_follows_the_weights() -> None:
    settings = tiny_settings(synthetic=0.0, average_decay=0.9)
    torch.manual_seed(0)
    one = stepper(TinyNet(), settings)
    before = one.net.state_dict()["refine.weight"].clone()
    one.step(batch(settings), 1e-2, 0)
    after = one.net.state_dict()["refine.weight"].clone()
    early = one.average["refine.weight"].clone()
    for number in range(1, 200):
        one._follow(min(settings.average_decay, (number + 1) / (number + 10)))

    assert (after - before).abs().max() > 1e-3
    assert torch.allclose(early, before + 0.9 * (after - before), atol=1e-6), "decay (0 + 1) / (0 + 10) at first"
    assert torch.allclose(one.average["refine.weight"], after, atol=1e-5)


def test_a_device_without_the_fused_update_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny_settings(synthetic=0.0)
    states = []

    for fused in (True, False):
        monkeypatch.setattr("slomo_cli.train.stepper.can_leave_out", lambda device, fused=fused: fused)
        torch.manual_seed(0)
        one = stepper(TinyNet(), settings)
        assert one._fused == fused == bool(one.optimizer.defaults["fused"])
        for number in range(3):
            one.step(batch(settings), 1e-3, number)
        good = {name: value.clone() for name, value in one.net.state_dict().items()}
        poisoned = batch(settings)
        parts = one.step(poisoned._replace(i0=poisoned.i0 * float("nan")), 1e-3, 3)
        assert float(parts["skipped"]) == 1 and float(parts["total"]) == 0 and float(one.bad_in_a_row) == 1
        assert all(torch.equal(value, good[name]) for name, value in one.net.state_dict().items())
        states.append(good)
        one.step(batch(settings), 1e-3, 4)
        assert float(one.bad_in_a_row) == 0

    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-6) for name in states[0])


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("cuda", True), ("mps", False), ("meta", False)])
def test_a_step_is_left_out_by_the_fused_update_where_that_heeds_it(device: str, fused: bool) -> None:
    """That of MPS takes the words and steps all the same (pytorch/pytorch#186360): one bad step would be the last."""
    assert can_leave_out(torch.device(device)) == fused


@pytest.mark.parametrize("preset", ["fast", "superslomo"])
def test_drawing_and_stepping_ask_the_device_for_nothing(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that holds no values (meta), asking for one is an error; a GPU would be made to wait."""
    nowhere = torch.device("meta")
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda shape, generator=None, device=None: randn(shape, device=device))
    monkeypatch.setattr(torch, "Generator", lambda device: SimpleNamespace(manual_seed=lambda seed: None))
    monkeypatch.setattr(torch, "autocast", lambda *words, **more: contextlib.nullcontext())
    monkeypatch.setattr(Stepper, "_update", lambda self, bad: None)  # the fused one, which meta has not
    config = {} if preset == "fast" else {"widths": [8, 8, 16, 16, 16, 16]}
    windows = WindowSettings(crop=64, targets=2)
    losses = LossWeights(1.0, 0.0, *[0.1] * 8)
    settings = replace(preset_settings(preset), steps=9, batch=8, dtype="float32", windows=windows, losses=losses)
    real = WindowSampler([moving_clip(30)], windows, nowhere, place="host")
    synthetic = SyntheticSampler([photo()], 64, 2, nowhere, place="host")
    for sampler in (real, synthetic):
        sampler.store._pool = torch.empty(sampler.store.bytes, dtype=torch.uint8, device=nowhere)

    rng = np.random.default_rng(0)
    drawn = join_batches(real.draw(6, rng), synthetic.draw(2, rng))
    one = stepper(build(preset, config).to(nowhere), settings, nowhere)
    parts = one.step(drawn, 1e-4, 0)

    assert {value.device.type for value in parts.values()} == {"meta"}
    assert {"flow", "census", "warping", "skipped"} < set(parts)
    assert ("ladder" in parts) == (preset == "fast")


def test_gradients_are_added_up_in_one_order_on_a_cpu() -> None:
    """Several threads add those of an indexing as they come, unless torch is told otherwise; and only meanwhile."""
    settings = tiny_settings()
    one = stepper(TinyNet(), settings)
    told = []
    for parameter in one.net.parameters():
        parameter.register_hook(lambda grad: told.append(torch.are_deterministic_algorithms_enabled()))

    one.step(batch(settings), 1e-3, 0)

    assert told and all(told) and not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory

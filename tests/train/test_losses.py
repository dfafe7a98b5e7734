"""Losses: zero where they should be, one term at a time, and the perceptual features."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from train_helpers import CPU, photo

from slomo_cli.errors import UsageError, WeightsError
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.presets import build
from slomo_cli.train.losses import (
    SloMoLoss,
    census_distance,
    end_point_error,
    ladder_error,
    ladder_l1,
    laplacian_l1,
    roughness,
)
from slomo_cli.train.perceptual import PerceptualFeatures, load_features
from slomo_cli.train.settings import LossWeights, preset_settings, with_losses
from slomo_cli.train.windows import Batch, Truth

OFF = LossWeights(*[0.0] * len(fields(LossWeights)))


def picture(shift: int = 0) -> Tensor:
    """(1, 3, 64, 64) cut from a smooth photo, its content moved right by ``shift``."""
    return torch.from_numpy(photo(96, 128))[None, :, 16:80, 32 - shift : 96 - shift].float() / 255


def constant(x: float) -> Tensor:
    return torch.tensor([x, 0.0]).view(1, 2, 1, 1).expand(1, 2, 64, 64).clone()


def moved(by: int = 8) -> tuple[Batch, PairState, Motion]:
    """A scene moving right by ``by`` pixels, seen at its middle, with its exact motion."""
    everywhere = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    half = by / 2
    truth = Truth(constant(by), constant(-by), constant(-half), constant(half), everywhere, everywhere)
    batch = Batch(picture(0), picture(by), picture(by // 2), torch.tensor([0]), torch.tensor([0.5]), truth)
    motion = Motion(truth.flow_t0, truth.flow_t1, everywhere / 2, everywhere / 2)
    return batch, PairState(truth.flow_01, truth.flow_10, ()), motion


def wrong(state: PairState, motion: Motion) -> tuple[PairState, Motion]:
    noise = 3 * torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    state = PairState(state.flow_01 + noise, state.flow_10 - noise, ())
    return state, motion._replace(flow_t0=motion.flow_t0 + noise, flow_t1=motion.flow_t1 - noise)


@pytest.mark.parametrize(
    "name", ["reconstruction", "charbonnier", "laplacian", "census", "warping", "smoothness", "flow", "fine_flow"]
)
def test_each_term_is_small_for_the_truth_and_larger_for_anything_else(name: str) -> None:
    batch, state, motion = moved()
    loss = SloMoLoss(LossWeights(**{**vars_of(OFF), name: 1.0}))

    good, parts = loss(batch, state, motion)
    bad, _ = loss(batch, *wrong(state, motion))

    assert name in parts
    floor = {"charbonnier": 1.0, "flow": 0.4, "fine_flow": 4 * 0.1**0.4}.get(name, 0.0)
    # At the borders pixels come from outside the picture: nothing is exactly zero.
    assert float(good) - floor < 0.25 * (float(bad) - floor)


def test_the_decibel_loss_is_minus_the_psnr_but_for_its_floor() -> None:
    batch, state, motion = moved()
    loss = SloMoLoss(LossWeights(**{**vars_of(OFF), "decibel": 1.0}))

    _, parts = loss(batch, *wrong(state, motion))
    perfect, _ = loss(batch._replace(targets=(batch.i0 + batch.i1) / 2), state, still(motion))

    assert float(parts["decibel"]) == pytest.approx(-float(parts["psnr"]), abs=0.01)
    assert float(perfect) == pytest.approx(-50.0)


def still(motion: Motion) -> Motion:
    return motion._replace(flow_t0=torch.zeros_like(motion.flow_t0), flow_t1=torch.zeros_like(motion.flow_t1))


def vars_of(weights: LossWeights) -> dict[str, Any]:
    return {field.name: getattr(weights, field.name) for field in fields(weights)}


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    batch, state, motion = moved()
    weights = LossWeights(
        0.8, 0.0, 0.4, 1.0, laplacian=0.3, census=0.2, flow=0.7, visibility=0.1, charbonnier=0.05, decibel=0.5
    )
    total, parts = SloMoLoss(weights)(batch, *wrong(state, motion))

    expected = sum(getattr(weights, name) * value for name, value in parts.items() if name != "psnr")
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    assert set(parts) == {name for name, weight in vars_of(weights).items() if weight} | {"psnr"}
    assert all(not value.requires_grad for value in parts.values())


def looked_up(image: Tensor, flow: Tensor) -> Tensor:
    """``image`` (N, C, H, W) where ``flow``, of whole pixels, points."""
    y, x = torch.meshgrid(*(torch.arange(side) for side in image.shape[-2:]), indexing="ij")
    places = zip(image, (y + flow[:, 1]).long(), (x + flow[:, 0]).long(), strict=True)
    return torch.stack([one[:, v.clamp(0, len(y) - 1), u.clamp(0, len(y.T) - 1)] for one, v, u in places])


def test_the_papers_losses_are_its_equations() -> None:
    """Section 3.3 with 0..255 and the weights of the preset: two windows, three targets, flows of whole pixels."""
    generator = torch.Generator().manual_seed(3)

    def whole(count: int, step: int) -> Tensor:
        return step * torch.randint(-2, 3, (count, 2, 32, 48), generator=generator).float()

    i0, i1 = torch.rand(2, 2, 3, 32, 48, generator=generator)
    targets, index, half = torch.rand(3, 3, 32, 48, generator=generator), torch.tensor([0, 0, 1]), torch.tensor(0.5)
    flow_01, flow_10, flow_t0, flow_t1 = whole(2, 4), whole(2, 4), whole(3, 1), whole(3, 1)
    shares = half.expand(3, 1, 32, 48)
    features: Any = SimpleNamespace(distance=lambda result, target: torch.tensor(7.0))

    loss = SloMoLoss(preset_settings("superslomo").losses, features)
    batch, motion = Batch(i0, i1, targets, index, half.expand(3)), Motion(flow_t0, flow_t1, shares, shares)
    total, parts = loss(batch, PairState(flow_01, flow_10, ()), motion)

    def l1(a: Tensor, b: Tensor) -> float:
        return 255 * float((a - b).abs().mean())

    mixed = (looked_up(i0[index], flow_t0) + looked_up(i1[index], flow_t1)) / 2
    approximate_t0 = -0.25 * flow_01[index] + 0.25 * flow_10[index]
    approximate_t1 = 0.25 * flow_01[index] - 0.25 * flow_10[index]
    wanted = {
        "reconstruction": l1(mixed, targets),
        "perceptual": 7.0,
        "warping": l1(i0, looked_up(i1, flow_01))
        + l1(i1, looked_up(i0, flow_10))
        + l1(targets, looked_up(i0[index], approximate_t0))
        + l1(targets, looked_up(i1[index], approximate_t1)),
        "smoothness": float(sum(flow.diff(dim=axis).abs().mean() for flow in (flow_01, flow_10) for axis in (2, 3))),
    }
    assert {name: float(parts[name]) for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert float(total) == pytest.approx(
        0.8 * wanted["reconstruction"] + 0.005 * 7.0 + 0.4 * wanted["warping"] + wanted["smoothness"], rel=1e-4
    )


def test_added_terms_are_of_pictures_in_0_to_255() -> None:
    batch, state, motion = moved()
    result = (batch.i0 + batch.i1) / 2
    batch = batch._replace(targets=result - 0.1)  # an error of a tenth everywhere
    weights = LossWeights(**{**vars_of(OFF), "charbonnier": 1.0, "laplacian": 1.0})

    _, parts = SloMoLoss(weights)(batch, state, still(motion))

    assert float(parts["reconstruction"]) == pytest.approx(25.5, rel=1e-4)
    assert float(parts["charbonnier"]) == pytest.approx((25.5**2 + 1) ** 0.5, rel=1e-4)
    assert float(parts["laplacian"]) == pytest.approx(32 * 25.5, rel=1e-4)


def test_switched_off_terms_are_not_computed() -> None:
    batch, state, motion = moved()
    features: Any = SimpleNamespace(distance=lambda result, target: torch.tensor(7.0))
    _, parts = SloMoLoss(OFF, features)(batch, state, motion)

    assert set(parts) == {"reconstruction", "psnr"}


def test_visibility_is_held_to_the_truth_where_one_frame_alone_shows_the_pixel() -> None:
    batch, state, motion = moved()
    assert batch.truth is not None
    left = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    left[..., :10] = True
    batch = batch._replace(truth=batch.truth._replace(seen_0=~left, seen_1=left | (torch.arange(64) > 40)))
    loss = SloMoLoss(LossWeights(**{**vars_of(OFF), "visibility": 1.0}))

    right, _ = loss(batch, state, motion._replace(visibility=torch.where(left, 0.0, 1.0)))
    unsure, _ = loss(batch, state, motion)
    opposite, _ = loss(batch, state, motion._replace(visibility=torch.where(left, 1.0, 0.0)))
    hidden, _ = loss(batch, state, motion._replace(visibility=(torch.arange(64) > 40).expand(1, 1, 64, 64).float()))

    assert float(right) < 1e-3 < float(unsure) == pytest.approx(0.6931, abs=1e-3) and float(opposite) > 5
    assert float(hidden) > 5  # what frame 0 alone shows is said to be in frame 1; what both show may be in either


def test_flows_are_held_to_the_truth_where_it_can_be_seen() -> None:
    """What a frame does not show is nowhere in it."""
    batch, state, motion = moved()
    assert batch.truth is not None
    right = (torch.arange(64) >= 32).expand(1, 1, 64, 64)
    loss = SloMoLoss(LossWeights(**{**vars_of(OFF), "flow": 1.0}))

    def error(flow_t0: float, flow_t1: float) -> float:
        hidden = batch._replace(truth=batch.truth._replace(seen_0=right, seen_1=~right))  # type: ignore[union-attr]
        off = Motion(motion.flow_t0 + flow_t0 * ~right, motion.flow_t1 + flow_t1 * right, *motion[2:])
        return float(loss(hidden, state, off)[1]["flow"])

    assert error(0.0, 0.0) == error(50.0, 0.0) == error(0.0, 50.0) == pytest.approx(0.4)


def test_without_truth_the_pictures_alone_judge() -> None:
    batch, state, motion = moved()
    weights = LossWeights(**{**vars_of(OFF), "perceptual": 2.0, "ladder": 1.0, "flow": 1.0, "visibility": 1.0})
    features: Any = SimpleNamespace(distance=lambda result, target: torch.tensor(7.0))
    coarse = torch.cat((constant(2.0), constant(-2.0)))[..., ::4, ::4]

    total, parts = SloMoLoss(weights, features)(batch._replace(truth=None), state, motion, [coarse])

    assert set(parts) == {"reconstruction", "perceptual", "ladder", "psnr"}
    assert float(parts["ladder"]) == pytest.approx(255 * float(ladder_l1(batch, coarse)))
    assert float(total) == pytest.approx(2 * 7 + float(parts["ladder"]))


def test_fine_flow_learns_from_small_errors_what_flow_learns_from_gross_ones() -> None:
    batch, state, motion = moved()

    def pull(name: str, error: float) -> float:
        off = (state.flow_01 + error).requires_grad_()
        total, _ = SloMoLoss(LossWeights(**{**vars_of(OFF), name: 1.0}))(batch, state._replace(flow_01=off), motion)
        (gradient,) = torch.autograd.grad(total, off)
        return float(gradient.norm())

    assert pull("flow", 50.0) == pytest.approx(pull("flow", 0.5), rel=0.02)
    assert pull("fine_flow", 50.0) < 0.1 * pull("fine_flow", 0.5)


def test_truth_speaks_of_the_last_windows_of_a_mixed_batch() -> None:
    batch, state, motion = moved()
    doubled = Batch(
        torch.cat((picture(20), batch.i0)),
        torch.cat((picture(0), batch.i1)),
        torch.cat((picture(10), picture(5), batch.targets)),
        torch.tensor([0, 0, 1]),
        torch.tensor([0.5, 0.75, 0.5]),
        batch.truth,
    )
    two = PairState(torch.cat((constant(-20.0), state.flow_01)), torch.cat((constant(20.0), state.flow_10)), ())
    three = Motion(*(torch.cat((torch.zeros_like(x).expand(2, -1, -1, -1), x)) for x in motion))
    loss = SloMoLoss(LossWeights(**{**vars_of(OFF), "flow": 1.0}))
    coarse = [constant(x)[..., ::4, ::4] for x in (-9.0, 1.5, 9.0, -2.0)]
    ladder, alone = [torch.cat(coarse)], [torch.cat(coarse[1::2])]

    assert torch.equal(loss(doubled, two, three, ladder)[1]["flow"], loss(batch, state, motion, alone)[1]["flow"])


def test_coarse_flows_are_held_to_the_truth_too() -> None:
    batch, state, motion = moved(by=8)
    loss = SloMoLoss(LossWeights(**{**vars_of(OFF), "flow": 1.0}))

    def error(pixels: float, factor: int) -> float:
        """Of a flow ``factor`` times as coarse that says so many pixels of its own, beside exact finer flows."""
        side = 64 // factor
        coarse = torch.cat((constant(pixels), constant(-pixels)))[..., :side, :side]
        return float(loss(batch, state, motion, [coarse])[1]["flow"] - loss(batch, state, motion)[1]["flow"])

    assert error(2.0, 4) == pytest.approx(0.1) == error(1.0, 8)  # the blunted zero
    assert error(1.5, 4) == pytest.approx(2.0, abs=0.01) == error(0.75, 8)


def test_ladder_measures_a_coarse_flow_at_its_own_size() -> None:
    batch, _, _ = moved(8)
    coarse = torch.cat((constant(2.0), constant(-2.0)))[..., ::4, ::4]

    assert ladder_l1(batch, coarse) < 0.3 * ladder_l1(batch, torch.zeros_like(coarse))


def test_ladder_compares_each_window_with_its_own_other_frame() -> None:
    batch, _, _ = moved(8)
    both = batch._replace(i0=torch.cat((batch.i0, 1 - batch.i0)), i1=torch.cat((batch.i1, 1 - batch.i1)))
    coarse = torch.cat([constant(x)[..., ::4, ::4] for x in (2.0, 2.0, -2.0, -2.0)])

    assert float(ladder_l1(both, coarse)) == pytest.approx(float(ladder_l1(batch, coarse[::2])), rel=1e-4)


@pytest.mark.parametrize("side", [64, 96, 128, 160, 192, 320, 352])
def test_every_level_of_fast_is_held_to_the_flow_it_means(side: int) -> None:
    """The last step of a coarse level may reach past a crop that is no multiple of it."""
    sizes = {"encoder": (4, 4, 4, 4, 4), "hidden": 4, "context": 4, "refine": (4, 4), "match": 4, "radius": 1}
    net: Any = build("fast", sizes)
    with torch.no_grad():
        _, ladder = net.pair_with_ladder(torch.zeros(1, 3, side, side), torch.zeros(1, 3, side, side))
    truth = torch.tensor([32.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, side, side)

    assert len(ladder) == 5 + (side >= 320)
    for up, level in enumerate(reversed(ladder)):  # the finest is a quarter as fine as the picture
        exact = torch.zeros_like(level)
        exact[:1, 0], exact[1:, 0] = 32 / 2 ** (up + 2), -32 / 2 ** (up + 2)
        error = ladder_error(exact, truth, -truth)
        assert error.shape[-2:] == level.shape[-2:] and torch.allclose(error, torch.tensor(0.1))


def test_roughness_errors_laplacian_and_census_by_hand() -> None:
    ramp = torch.arange(8.0).expand(1, 2, 8, 8) * 3
    assert float(roughness(ramp)) == pytest.approx(3.0)
    assert float(roughness(ramp + 2 * ramp.transpose(2, 3))) == pytest.approx(3.0 + 6.0)
    off = end_point_error(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(2, 2, 8, 8), torch.zeros(2, 2, 8, 8))
    assert off.shape == (2, 1, 8, 8) and torch.allclose(off, torch.tensor(25.01).sqrt())
    # A constant error lives in the last level alone, weighted 2^5.
    assert float(laplacian_l1(torch.full((1, 3, 64, 64), 0.5))) == pytest.approx(16.0)
    # One that changes its sign from pixel to pixel lives in the first, weighted 1.
    signs = (-1.0) ** torch.arange(64).add(torch.arange(64)[:, None])
    assert float(laplacian_l1((0.5 * signs).expand(1, 3, 64, 64))) == pytest.approx(0.5)
    one, other = picture(0), picture(3)
    assert float(census_distance(one, one)) == 0.0
    assert float(census_distance(one * 0.8 + 0.1, one)) < 0.3 * float(census_distance(other, one))


# ---------------------------------------------------------------------------------------------------- perceptual


@pytest.fixture(scope="module")
def vgg() -> dict[str, Tensor]:
    """Weights of VGG16's layout, thinned to nothing but of the right shapes."""
    generator = torch.Generator().manual_seed(0)
    plan = [(0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256)]
    plan += [(17, 256, 512), (19, 512, 512), (21, 512, 512)]
    tensors = {}
    for number, inputs, outputs in plan:
        scale = (2 / (9 * inputs)) ** 0.5
        tensors[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator).half() * scale
        tensors[f"features.{number}.bias"] = torch.zeros(outputs).half()
    return tensors


def test_both_kinds_of_features_are_on_one_scale(vgg: dict[str, Tensor]) -> None:
    """The same filters, written for BGR 0..255 and for normalised RGB, see the same."""
    normalised = dict(vgg)
    spread = torch.tensor([0.229, 0.224, 0.225])
    # w_caffe applied to 255 (x - mean) equals w_torch applied to (x - mean) / std where w_torch = 255 std w_caffe.
    flipped = vgg["features.0.weight"].float().flip(1)
    normalised["features.0.weight"] = flipped * spread.view(1, 3, 1, 1) / 0.226
    caffe, torchvision = PerceptualFeatures(vgg, caffe=True), PerceptualFeatures(normalised, caffe=False)

    a, b = caffe(picture()), torchvision(picture())

    assert a.shape == (1, 512, 8, 8)
    assert (a - b).abs().max() < 0.02 * a.abs().max()
    assert float(caffe.distance(picture(4), picture())) > 0 == float(caffe.distance(picture(), picture()))


def test_features_are_frozen_but_let_gradients_through(vgg: dict[str, Tensor]) -> None:
    features = PerceptualFeatures(vgg, caffe=True)
    result = picture(2).requires_grad_()

    features.distance(result, picture()).backward()  # type: ignore[no-untyped-call]

    assert result.grad is not None and result.grad.abs().sum() > 0
    assert all(not p.requires_grad and p.grad is None for p in features.parameters())


def test_weights_come_from_a_file_and_say_what_they_want(tmp_path: Path, vgg: dict[str, Tensor]) -> None:
    save_file(vgg, tmp_path / "plain.safetensors")
    save_file(vgg, tmp_path / "caffe.safetensors", {"input": "BGR, 0..255, minus a mean"})
    save_file({"features.0.weight": vgg["features.0.weight"]}, tmp_path / "short.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")

    assert load_features(tmp_path / "caffe.safetensors").caffe
    assert not load_features(tmp_path / "plain.safetensors").caffe
    assert load_features(tmp_path / "plain.safetensors", "caffe").caffe
    with pytest.raises(WeightsError, match="expected VGG16 up to conv4_3"):
        load_features(tmp_path / "short.safetensors")
    with pytest.raises(WeightsError, match="cannot read"):
        load_features(tmp_path / "text.safetensors")


def test_without_torchvision_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"install torchvision, .*--vgg FILE.*--loss perceptual=0"):
        load_features(None)
    with pytest.raises(ValueError, match="needs features"):
        SloMoLoss(LossWeights())


def test_presets_have_the_papers_losses_and_the_measured_ones() -> None:
    paper = preset_settings("superslomo").losses

    assert (paper.reconstruction, paper.perceptual, paper.warping, paper.smoothness) == (0.8, 0.005, 0.4, 1.0)
    assert preset_settings("fast").losses.perceptual == 0
    assert with_losses(preset_settings("fast"), {"census": 2.0}).losses.census == 2.0
    with pytest.raises(UsageError, match="expected one of reconstruction, "):
        with_losses(preset_settings("fast"), {"nonsense": 1.0})
    with pytest.raises(UsageError, match="expected a preset of fast, superslomo"):
        preset_settings("other")
    assert CPU.type == "cpu"

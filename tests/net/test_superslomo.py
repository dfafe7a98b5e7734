"""The paper's network: its size, its equations, and its protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from slomo_cli.net.presets import PRESETS, Network, build
from slomo_cli.net.superslomo import SuperSloMo
from slomo_cli.net.unet import UNet, parameter_count
from slomo_cli.net.warp import approximate_flows, blend, render, warp

SMALL = {"widths": (8, 8, 16, 16, 16, 24), "kernels": (7, 5, 3, 3, 3, 3)}


def small(preset: str = "superslomo", seed: int = 1) -> SuperSloMo:
    torch.manual_seed(seed)
    net = build(preset, SMALL)
    assert isinstance(net, SuperSloMo)
    return net.eval()


def pictures(count: int = 1, height: int = 64, width: int = 96, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Smooth pairs in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2 * count, 3, 8, 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return smooth[:count], smooth[count:]


def set_head(net: UNet, values: list[float]) -> None:
    """Makes the U-Net answer the same numbers everywhere."""
    with torch.no_grad():
        net.head.weight.zero_()
        assert net.head.bias is not None
        net.head.bias.copy_(torch.tensor(values))


def test_parameter_count_is_the_papers() -> None:
    net = build("superslomo")
    assert isinstance(net, SuperSloMo)
    assert parameter_count(net.flow) == 18_235_620
    assert parameter_count(net.interpolation) == 20_610_629
    assert parameter_count(net) == 38_846_249


def test_parameter_count_of_the_published_layout() -> None:
    net = build("avinash20")
    assert parameter_count(net) == 39_610_473


def test_layout_is_the_papers() -> None:
    """Kernels, widths and where levels meet, read off the modules (not off the numbers that built them)."""
    net = build("superslomo")
    assert isinstance(net, SuperSloMo)
    shapes = {name: tuple(p.shape) for name, p in net.interpolation.named_parameters() if name.endswith("weight")}
    encoder = [shapes[f"encoder.{k}.{which}.weight"] for k in range(6) for which in ("first", "second")]
    assert encoder == [
        (32, 16, 7, 7), (32, 32, 7, 7), (64, 32, 5, 5), (64, 64, 5, 5), (128, 64, 3, 3), (128, 128, 3, 3),
        (256, 128, 3, 3), (256, 256, 3, 3), (512, 256, 3, 3), (512, 512, 3, 3), (512, 512, 3, 3), (512, 512, 3, 3),
    ]  # fmt: skip
    decoder = [shapes[f"decoder.{k}.{which}.weight"] for k in range(5) for which in ("first", "second")]
    assert decoder == [
        (512, 1024, 3, 3), (512, 512, 3, 3), (256, 1024, 3, 3), (256, 256, 3, 3), (128, 512, 3, 3), (128, 128, 3, 3),
        (64, 256, 3, 3), (64, 64, 3, 3), (32, 128, 3, 3), (32, 32, 3, 3),
    ]  # fmt: skip
    assert shapes["gather.weight"] == (32, 64, 3, 3)
    assert shapes["head.weight"] == (5, 32, 1, 1)
    assert net.flow.head.weight.shape == (4, 32, 1, 1)
    assert net.stride == 32
    assert net.cell == 1


def test_the_unet_is_its_equations() -> None:
    """A two-level U-Net against the same layers applied one after another."""
    torch.manual_seed(2)
    net = UNet(3, 2, widths=(4, 6), kernels=(5, 3), beside=5).double()
    x, beside = torch.randn(1, 3, 8, 8).double(), torch.randn(1, 5, 4, 4).double()
    act = torch.nn.LeakyReLU(0.1)
    fine = act(net.encoder[0].second(act(net.encoder[0].first(x))))
    coarse = act(net.encoder[1].second(act(net.encoder[1].first(torch.nn.AvgPool2d(2)(fine)))))
    up = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)(torch.cat((coarse, beside), 1))
    up = act(net.decoder[0].second(act(net.decoder[0].first(up))))
    wanted = net.head(act(net.gather(torch.cat((up, fine), 1))))
    answer, bottleneck = net(x, beside)
    assert torch.allclose(answer, wanted, atol=1e-12)
    assert torch.allclose(bottleneck, coarse, atol=1e-12)


def test_zero_flow_gives_the_blend_of_the_pictures() -> None:
    net = small()
    set_head(net.flow, [0.0] * 4)
    set_head(net.interpolation, [0.0] * 5)
    i0, i1 = pictures()
    t = torch.tensor([0.25])
    motion = net(i0, i1, t)
    assert motion.flow_t0.abs().max() == 0
    assert torch.all(motion.visibility == 0.5)
    made = blend(warp(i0, motion.flow_t0), warp(i1, motion.flow_t1), motion.visibility, t)
    assert torch.allclose(made, 0.75 * i0 + 0.25 * i1, atol=1e-5)


def test_constant_flow_moves_a_picture_half_way() -> None:
    """Everything moves 8 right and 4 down from frame 0 to 1: half-way it has moved 4 and 2."""
    net = small()
    set_head(net.flow, [8.0, 4.0, -8.0, -4.0])
    set_head(net.interpolation, [0.0] * 5)
    i0, _ = pictures()
    i1 = i0.roll((4, 8), (2, 3))
    motion = net(i0, i1, torch.tensor([0.5]))
    made = blend(warp(i0, motion.flow_t0), warp(i1, motion.flow_t1), motion.visibility, torch.tensor([0.5]))
    wanted = i0.roll((2, 4), (2, 3))
    inner = (..., slice(8, -8), slice(16, -16))
    assert torch.allclose(made[inner], wanted[inner], atol=1e-4)


def test_warp_looks_up_where_the_flow_points() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 6, 3] = 1.0  # y 6, x 3
    flow = torch.zeros(1, 2, 9, 9)
    flow[:, 0], flow[:, 1] = -1.0, 2.0  # out[y, x] = image[y + 2, x - 1]
    moved = warp(image, flow)
    assert moved[0, 0, 4, 4] == pytest.approx(1.0, abs=1e-5)
    assert moved.sum() == pytest.approx(1.0, abs=1e-4)


def test_approximate_flows_meet_the_frames() -> None:
    generator = torch.Generator().manual_seed(3)
    flow_01, flow_10 = torch.randn(2, 2, 2, 4, 4, generator=generator)
    t = torch.tensor([1e-7, 1 - 1e-7], dtype=torch.float64)
    to_0, to_1 = approximate_flows(flow_01.double(), flow_10.double(), t)
    assert to_0[0].abs().max() < 1e-5
    assert torch.allclose(to_1[0], flow_01[0].double(), atol=1e-5)
    assert torch.allclose(to_0[1], flow_10[1].double(), atol=1e-5)
    assert to_1[1].abs().max() < 1e-5


@pytest.mark.parametrize("preset", ["superslomo", "avinash20"])
def test_residual_flows_are_added_to_the_approximate_ones(preset: str) -> None:
    net = small(preset)
    net.shrunken_grid = False
    set_head(net.flow, [3.0, 1.0, 2.0, 5.0])
    set_head(net.interpolation, [0.5, 0.25, 2.0, 4.0, 1.5])
    motion = net(*pictures(), torch.tensor([0.3]))
    t = 0.3
    t0 = [-(1 - t) * t * a + t * t * b for a, b in ((3.0, 2.0), (1.0, 5.0))]
    t1 = [(1 - t) ** 2 * a - t * (1 - t) * b for a, b in ((3.0, 2.0), (1.0, 5.0))]
    assert torch.allclose(motion.flow_t0[0, :, 5, 5], torch.tensor([t0[0] + 0.5, t0[1] + 0.25]), atol=1e-5)
    assert torch.allclose(motion.flow_t1[0, :, 5, 5], torch.tensor([t1[0] + 2.0, t1[1] + 4.0]), atol=1e-5)
    assert torch.allclose(motion.visibility, torch.tensor(1.5).sigmoid(), atol=1e-6)


def test_flows_meant_for_a_shrunken_grid_are_freed_of_it() -> None:
    """Such a lookup scales positions by (W-1)/W and (H-1)/H: what it finds there lies here."""
    net, flow = small("avinash20"), torch.randn(2, 2, 5, 7, generator=torch.Generator().manual_seed(1))
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")

    there = torch.stack((x, y)) + flow
    lies = torch.stack((there[:, 0] * 6 / 7, there[:, 1] * 4 / 5), 1)

    assert torch.allclose(net._true(flow), lies - torch.stack((x, y)), atol=1e-5)
    assert torch.equal(small()._true(flow), flow)


def test_the_papers_mean_colour_is_subtracted() -> None:
    net, (i0, i1) = build("superslomo", SMALL), pictures()
    assert isinstance(net, SuperSloMo)

    kept = net.pair(i0, i1).extra

    mean = torch.tensor([0.4311, 0.4281, 0.3979]).view(3, 1, 1)
    assert torch.allclose(kept[0], i0 - mean) and torch.allclose(kept[1], i1 - mean)


@pytest.mark.parametrize("preset", ["superslomo", "avinash20"])
def test_gradient_reaches_every_parameter(preset: str) -> None:
    net = small(preset).train()
    i0, i1 = pictures()
    t = torch.tensor([0.4])
    motion = net(i0, i1, t)
    made = render(i0, i1, motion, t)
    (made - i0.flip(3)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("preset", PRESETS)
def test_many_at_once_equal_one_by_one(preset: str) -> None:
    torch.manual_seed(1)
    net = (build(preset) if preset == "fast" else small(preset)).eval()
    i0, i1 = pictures(2, width=128)
    index, t = torch.tensor([0, 0, 1, 1]), torch.tensor([0.2, 0.7, 0.5, 0.9])
    with torch.inference_mode():
        together = net.at(net.pair(i0, i1), index, t)
        for m in range(4):
            pair = slice(int(index[m]), int(index[m]) + 1)
            alone = net(i0[pair], i1[pair], t[m : m + 1])
            for many, single in zip(together, alone, strict=True):
                assert torch.allclose(many[m], single[0], atol=2e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_answers_have_the_shapes_and_types_promised(preset: str) -> None:
    net = (build(preset) if preset == "fast" else small(preset)).eval()
    i0, i1 = pictures(2, width=128)
    height, width = 64 // net.cell, 128 // net.cell
    with torch.inference_mode():
        state = net.pair(i0, i1)
        motion = net.at(state, torch.tensor([0, 1, 1]), torch.tensor([0.1, 0.5, 0.9]))
    assert state.flow_01.shape == state.flow_10.shape == (2, 2, height, width)
    assert motion.flow_t0.shape == motion.flow_t1.shape == (3, 2, height, width)
    assert motion.visibility.shape == (3, 1, height, width)
    assert {part.dtype for part in (*motion, state.flow_01)} == {torch.float32}
    assert 0 <= motion.visibility.min() <= motion.visibility.max() <= 1


def _converted(net: Network, i0: Tensor, i1: Tensor, t: Tensor) -> tuple[Tensor, ...]:
    return net.to(torch.bfloat16)(i0, i1, t)


def _autocast(net: Network, i0: Tensor, i1: Tensor, t: Tensor) -> tuple[Tensor, ...]:
    with torch.autocast("cpu", torch.bfloat16):
        return net(i0, i1, t)  # type: ignore[no-any-return]


@pytest.mark.parametrize("run", [_converted, _autocast])
def test_bfloat16_is_close_to_float32(run: Callable[..., tuple[Tensor, ...]]) -> None:
    i0, i1 = pictures()
    t = torch.tensor([0.5])
    with torch.inference_mode():
        exact = small()(i0, i1, t)
        rough = run(small(), i0, i1, t)
    for one, other in zip(exact[:3], rough[:3], strict=True):
        assert other.dtype == torch.float32
        assert (one - other).abs().mean() < 0.02 * max(1.0, float(one.abs().mean()))
        assert (one - other).abs().max() > 0  # it did run in bfloat16


def test_channels_last_changes_nothing() -> None:
    i0, i1 = pictures()
    with torch.inference_mode():
        usual = small()(i0, i1, torch.tensor([0.5]))
        last = small().to(memory_format=torch.channels_last)(i0, i1, torch.tensor([0.5]))
    for one, other in zip(usual, last, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "config", "words"),
    [
        ("slow", {}, "no network 'slow'; there are fast, superslomo, avinash20"),
        ("superslomo", {"colour": 1}, "no setting colour"),
        ("superslomo", {"widths": (8,), "kernels": (3,)}, "at least two"),
        ("superslomo", {"widths": "many"}, "."),
        ("superslomo", {"skip": "never"}, "'after' or 'between'"),
        ("superslomo", {"head_kernel": 2}, "head_kernel: expected odd numbers of 1 or more, found"),
        ("superslomo", {"kernels": (7, 5, 3, 3, 3, 4)}, "kernels: expected odd numbers"),
        ("superslomo", {"widths": (0, 4, 4, 4, 4, 4)}, "widths: expected whole numbers of 1 or more"),
        ("superslomo", {"head_slope": "a"}, "head_slope: expected a number from 0 to 1, found 'a'"),
        ("superslomo", {"mean": ("a", 1, 1)}, "mean: expected a number from 0 to 1, found 'a'"),
        ("superslomo", {"detail": "x"}, "detail: expected a number from 0 to 1, found 'x'"),
        ("superslomo", {"detail": None}, "detail: expected a number from 0 to 1, found None"),
        ("superslomo", {"detail": float("nan")}, "detail: expected a number from 0 to 1, found nan"),
        ("superslomo", {"detail": 1.5}, "detail: expected a number from 0 to 1, found 1.5"),
        ("fast", {"hidden": (8, 8)}, "one number or 5, one for each flow level"),
        ("fast", {"encoder": (4, 4, 0, 4, 4)}, "encoder: expected whole numbers of 1 or more"),
        ("fast", {"hidden": 0}, "hidden: expected whole numbers of 1 or more"),
        ("fast", {"match": -1}, "match: expected whole numbers of 1 or more"),
        ("fast", {"radius": -1}, "radius: expected whole numbers of 0 or more"),
        ("fast", {"refine": (0,)}, "refine: expected whole numbers of 1 or more"),
        ("fast", {"refine": ()}, "refine: expected whole numbers of 1 or more"),
        ("fast", {"encoder": (4, 4, 4, 4)}, "hidden: expected one number or 4, one for each flow level"),
        ("fast", {"context": (16, 32, 48, 48, 40)}, "context: expected the same for the two coarsest levels, found"),
        ("fast", {"encoder": (4, 4, 4)}, r"encoder: expected 4 widths or more for a fine of 2, found \[4, 4, 4\]"),
        ("fast", {"fine": 9}, "encoder: expected 11 widths or more for a fine of 9"),
        ("fast", {"fine": -1}, "fine: expected whole numbers of 1 or more"),
    ],
)
def test_networks_that_do_not_exist_are_refused(preset: str, config: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(preset, config)

"""The `fast` network arranged for a CPU computes what the plain one computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slomo_cli.net.fast import Fast, kept, more_levels, route
from slomo_cli.net.fast_cpu import FastOnCpu
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.runner import Automatic, runner

SHAPES = [(64, 96), (16, 32), (112, 208), (368, 208), (720, 688)]
TIMES = (0.125, 0.5, 0.9)


def network(seed: int = 0) -> Fast:
    """A network whose heads answer something: an untrained one says zero everywhere."""
    torch.manual_seed(seed)
    net = Fast(
        encoder=(6, 8, 12, 16), hidden=(8, 12, 16, 16), context=8, refine=(10, 12, 16), match=8, radius=(1, 2, 2, 3)
    )
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "head" in name:
                parameter.normal_(std=0.1 if name.startswith("ladder") else 0.05)
    return net.requires_grad_(False).eval()


def pictures(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two smooth random pictures, the second a little shifted."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 4, width // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width + 3), mode="bicubic").clamp(0, 1)
    return smooth[..., :-3].contiguous(), smooth[..., 3:].contiguous()


def by(run: FastOnCpu | Automatic, i0: Tensor, i1: Tensor, times: tuple[float, ...]) -> tuple[PairState, Motion]:
    """Flow and Motion from a runner."""
    state = run.pair(run.look(i0), run.look(i1))
    return state, run.at(state, torch.tensor(times))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_answer_as_the_plain_network(shape: tuple[int, int]) -> None:
    """To the rounding of float32, flows being several pixels long."""
    net, (i0, i1) = network(), pictures(*shape)
    assert not any(side % net.stride for side in shape)
    with torch.inference_mode():
        truth = net.pair(i0, i1)
        expected = net.at(truth, torch.zeros(3, dtype=torch.int64), torch.tensor(TIMES))
        state, motion = by(FastOnCpu(net, torch.float32), i0, i1, TIMES)

    longest = float(truth.flow_01.abs().max())
    assert longest > 1
    near = 2e-3 * max(1.0, longest / 50)
    assert torch.allclose(state.flow_01, truth.flow_01, atol=near)
    assert torch.allclose(state.flow_10, truth.flow_10, atol=near)
    for found, wanted in zip(motion, expected, strict=True):
        assert found.shape == wanted.shape and found.dtype == torch.float32
        assert torch.allclose(found, wanted, atol=near)


def test_short_format_is_no_worse_than_autocast() -> None:
    """In bfloat16 the distance to float32 is that of torch's own choice of formats."""
    net, (i0, i1) = network(), pictures(96, 224)
    with torch.inference_mode():
        truth = net(i0, i1, torch.tensor([0.5]))
        _, mine = by(FastOnCpu(net, torch.bfloat16), i0, i1, (0.5,))
        _, torchs = by(Automatic(network(), torch.device("cpu"), torch.bfloat16), i0, i1, (0.5,))
    for found, other, wanted in zip(mine, torchs, truth, strict=True):
        error, usual = (found - wanted).square().mean().sqrt(), (other - wanted).square().mean().sqrt()
        assert usual > 0
        assert error < 1.5 * usual + 1e-4


@pytest.mark.parametrize("shape", [(320, 16), (320, 32), (16, 320), (32, 320)], ids=str)
def test_short_format_takes_narrow_pictures(shape: tuple[int, int]) -> None:
    """Processors with matrix tiles (AMX) answer nonsense where a convolution's steps of two leave one tall column."""
    net, (i0, i1) = network(), pictures(*shape)
    with torch.inference_mode():
        truth, expected = by(FastOnCpu(net, torch.float32), i0, i1, (0.5,))
        state, motion = by(FastOnCpu(net, torch.bfloat16), i0, i1, (0.5,))
    for found, wanted in zip((state.flow_01, *motion), (truth.flow_01, *expected), strict=True):
        assert (found - wanted).square().mean().sqrt() < 0.1 * wanted.square().mean().sqrt()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_times_do_not_influence_each_other(dtype: torch.dtype) -> None:
    """Asking for three times together gives what asking for each alone gives, to the last bit."""
    run = FastOnCpu(network(), dtype)
    i0, i1 = pictures(64, 96)
    with torch.inference_mode():
        _, together = by(run, i0, i1, TIMES)
        for m, time in enumerate(TIMES):
            _, alone = by(run, i0, i1, (time,))
            assert all(torch.equal(a[0], b[m]) for a, b in zip(alone, together, strict=True))


def test_runner_takes_it_on_a_cpu_only() -> None:
    """Formats it was not made for, and other devices, run the network as it is."""
    cpu = torch.device("cpu")
    assert isinstance(runner(network(), cpu, torch.bfloat16), FastOnCpu)
    assert isinstance(runner(network(), cpu, torch.float16), Automatic)
    assert isinstance(runner(network().to("meta"), torch.device("meta"), torch.float32), Automatic)


@pytest.mark.parametrize(
    ("height", "width", "more"),
    [(64, 96, 0), (256, 448, 0), (320, 320, 1), (384, 640, 1), (768, 1280, 2), (1088, 1920, 2), (1280, 1280, 3)],
)
def test_larger_pictures_are_seen_from_further_away(height: int, width: int, more: int) -> None:
    assert more_levels(height, width) == more
    assert route(["fine", "middle", "coarsest"], more) == ["fine", *["middle"] * (more + 1), "coarsest"]
    net, pair = network(), pictures(height // 2, width // 2)
    with torch.inference_mode():
        _, ladder = net.pair_with_ladder(*(torch.nn.functional.interpolate(p, scale_factor=2) for p in pair))
    assert len(ladder) == len(net.ladder) + more
    assert [tuple(flow.shape[-2:]) for flow in ladder[-4:]] == [
        (height // step, width // step) for step in (32, 16, 8, 4)
    ]


@pytest.mark.parametrize(
    ("moved", "still", "share"),
    [(0.9, 0.1, 1.0), (0.8, 0.8, 1.0), (0.5, 0.75, 0.755), (0.3, 0.9, 0.036), (0, 1, 0.001)],
)
def test_flow_is_dropped_where_the_frames_are_more_alike_in_place(moved: float, still: float, share: float) -> None:
    flow, even = torch.full((2, 2, 3, 3), 5.0), torch.ones(2, 1, 3, 3)
    found = kept(flow, 0 * even, moved * even, still * even)
    assert torch.allclose(found, share * flow, atol=0.005)

"""Leaps: small things that moved far are found, and only where there is no doubt."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slomo_cli.net import fast, fast_cpu
from slomo_cli.net.fast import Fast
from slomo_cli.net.fast_cpu import FastOnCpu
from slomo_cli.net.leap import leapt

ROWS, COLS, WIDTH = 24, 60, 32
STEP = (2, -7)
"""Rows and columns that the thing moves."""


def cells(*shape: int, seed: int) -> Tensor:
    """Keys like nothing else: of length sqrt(WIDTH) and any direction."""
    keys = torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))
    return keys * torch.rsqrt(keys.square().mean(-1, keepdim=True))


def scene(side: int = 3, step: tuple[int, int] = STEP, twins: int = 1) -> tuple[Tensor, Tensor]:
    """A world at rest, before which ``twins`` of a thing, ``side`` cells wide, move by ``step``."""
    world, hidden, thing = cells(ROWS, COLS, seed=1), cells(ROWS, COLS, seed=2), cells(side, side, seed=3)
    first, second = world.clone(), world.clone()
    for k in range(twins):
        y, x = 8, 20 + 24 * k
        second[y : y + side, x : x + side] = hidden[y : y + side, x : x + side]
        first[y : y + side, x : x + side] = thing
        second[y + step[0] : y + step[0] + side, x + step[1] : x + step[1] + side] = thing
    return first, second


def rest() -> Tensor:
    return torch.zeros(2, 2, ROWS, COLS)


def test_a_thing_that_moved_far_is_found_in_both_frames() -> None:
    flow = leapt(*scene(), rest())

    expected = rest()
    expected[0, :, 8:11, 20:23] = torch.tensor([-7.0, 2.0]).view(2, 1, 1)
    expected[1, :, 10:13, 13:16] = torch.tensor([7.0, -2.0]).view(2, 1, 1)
    assert flow is not None and torch.equal(flow, expected)


def test_the_flow_given_is_left_alone_and_may_lie_in_any_order() -> None:
    given = rest().contiguous(memory_format=torch.channels_last)
    flow = leapt(*(key.bfloat16() for key in scene()), given)
    assert flow is not None and flow.abs().sum() == 2 * 9 * 9 and given.abs().sum() == 0


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(scene(step=(0, 0)), id="nothing moved"),
        pytest.param(scene(side=1), id="no crowd"),
        pytest.param(scene(step=(3, -10)), id="too far"),
        pytest.param(scene(twins=2), id="two of them"),
        pytest.param((cells(ROWS, COLS, seed=4), cells(ROWS, COLS, seed=5)), id="another scene"),
    ],
)
def test_where_there_is_doubt_nothing_leaps(frames: tuple[Tensor, Tensor]) -> None:
    assert leapt(*frames, rest()) is None


def test_what_the_flow_explains_does_not_leap() -> None:
    known = rest()
    known[0, 0, 8:11, 20:23], known[0, 1, 8:11, 20:23] = -7.0, 2.0
    known[1, 0, 10:13, 13:16], known[1, 1, 10:13, 13:16] = 7.0, -2.0
    assert leapt(*scene(), known) is None


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Fast:
    """A network of which every pair leaps whose first frame is the lighter one."""

    def leap(key_0: Tensor, key_1: Tensor, flow: Tensor) -> Tensor | None:
        return flow + 3.0 if key_0.float().sum() > key_1.float().sum() else None

    monkeypatch.setattr(fast, "leapt", leap)
    monkeypatch.setattr(fast_cpu, "leapt", leap)
    torch.manual_seed(0)
    net = Fast(encoder=(6, 8, 12, 16), hidden=8, context=8, refine=(10, 12), match=8, radius=2)
    with torch.no_grad():
        for level in net.ladder:
            level.head.weight.normal_(std=0.1)  # type: ignore[union-attr]
    return net.requires_grad_(False).eval()


def two_pairs() -> tuple[Tensor, Tensor]:
    pictures = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(6))
    return pictures, pictures.flip(0)  # one of the two pairs leaps, and the other does not


def test_a_pair_leaps_alone(net: Fast) -> None:
    """What becomes of a pair does not depend on what it is computed with."""
    first, second = two_pairs()
    together = net.pair(first, second)
    plain = [net.train().pair(first[k : k + 1], second[k : k + 1]).flow_01 for k in range(2)]
    net.eval()
    changed = 0
    for k in range(2):
        alone = net.pair(first[k : k + 1], second[k : k + 1])
        assert torch.allclose(alone.flow_01[0], together.flow_01[k], atol=1e-4)
        assert torch.allclose(alone.flow_10[0], together.flow_10[k], atol=1e-4)
        changed += not torch.allclose(alone.flow_01, plain[k], atol=1e-2)
    assert changed == 1


def test_both_arrangements_leap_alike(net: Fast) -> None:
    run = FastOnCpu(net, torch.float32)
    for i0, i1 in zip(*two_pairs(), strict=True):
        wanted = net.pair(i0[None], i1[None])
        found = run.pair(run.look(i0[None]), run.look(i1[None]))
        assert torch.allclose(found.flow_01, wanted.flow_01, atol=1e-3)
        assert torch.allclose(found.flow_10, wanted.flow_10, atol=1e-3)

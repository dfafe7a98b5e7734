"""Leaps: small things that moved far are found, only where there is no doubt, and put where they belong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.net import fast, fast_cpu
from slomo_cli.net.fast import Fast
from slomo_cli.net.fast_cpu import FastOnCpu
from slomo_cli.net.leap import find_leaps, with_leaps
from slomo_cli.net.motion import Leap, Motion
from slomo_cli.net.warp import pixel_grid

ROWS, COLS, WIDTH, CELL = 24, 60, 32, 4
SIZE = (ROWS * CELL, COLS * CELL)


class Scene(NamedTuple):
    """What is asked of `find_leaps`, which may be changed before it is."""

    keys: tuple[Tensor, Tensor]
    flow: Tensor
    pictures: tuple[Tensor, Tensor]
    full: Tensor

    def leaps(self) -> list[Leap]:
        return find_leaps(*self)


def cells(*shape: int, seed: int) -> Tensor:
    """Keys like nothing else: of length sqrt(WIDTH) and any direction."""
    keys = torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))
    return keys * torch.rsqrt(keys.square().mean(-1, keepdim=True))


def texture(seed: int) -> Tensor:
    """(1, 3, h, w) in [0, 1], smooth enough to be looked up between pixels."""
    grain = torch.rand(1, 3, SIZE[0] // 3, SIZE[1] // 3, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(grain, size=SIZE, mode="bicubic", align_corners=False).clamp(0, 1)


def put(world: Tensor, thing: Tensor, x: float, y: float, side: int) -> Tensor:
    """``world`` behind a square of ``thing`` whose first pixel is at (x, y)."""
    place = pixel_grid(*SIZE, world.device) - torch.tensor([x, y]).view(1, 2, 1, 1)
    scale = torch.tensor([2 / (SIZE[1] - 1), 2 / (SIZE[0] - 1)]).view(1, 2, 1, 1)
    looked_up = F.grid_sample(thing, (place * scale - 1).permute(0, 2, 3, 1), align_corners=True)
    inside = ((place > -0.5) & (place < side - 0.5)).all(1, keepdim=True)
    return torch.where(inside, looked_up, world)


def scene(
    side: int = 3, step: tuple[int, int] = (-7, 2), more: tuple[float, float] = (0.0, 0.0), twins: int = 1
) -> Scene:
    """A world at rest, before which ``twins`` of a square thing move by ``step`` cells and ``more`` pixels, x and y."""
    world, hidden, thing = cells(ROWS, COLS, seed=1), cells(ROWS, COLS, seed=2), cells(side, side, seed=3)
    first, second = world.clone(), world.clone()
    picture_0 = picture_1 = texture(1)
    for k in range(twins):
        x, y = 20 + 24 * k, 8
        second[y : y + side, x : x + side] = hidden[y : y + side, x : x + side]
        first[y : y + side, x : x + side] = thing
        second[y + step[1] : y + step[1] + side, x + step[0] : x + step[0] + side] = thing
        picture_0 = put(picture_0, 1 - texture(2), x * CELL, y * CELL, side * CELL)
        place = ((x + step[0]) * CELL + more[0], (y + step[1]) * CELL + more[1])
        picture_1 = put(picture_1, 1 - texture(2), *place, side * CELL)
    rest = torch.zeros(2, 2, ROWS, COLS), torch.zeros(2, 2, *SIZE)
    return Scene((first, second), rest[0], (picture_0, picture_1), rest[1])


@pytest.mark.parametrize("more", [(0.0, 0.0), (3.0, -2.0), (-0.5, 0.3)], ids=str)
def test_a_thing_that_moved_far_is_found_and_measured(more: tuple[float, float]) -> None:
    (leap,) = scene(more=more).leaps()

    thing, within = torch.zeros(2, *SIZE, dtype=torch.bool)
    thing[32:44, 80:92] = within[33:43, 81:91] = True  # its rim may be mixed with the ground
    found = torch.zeros_like(thing)
    found[leap.top : leap.top + leap.mask.shape[0], leap.left : leap.left + leap.mask.shape[1]] = leap.mask
    assert leap.pair == 0
    assert torch.allclose(leap.step, torch.tensor([-28.0 + more[0], 8.0 + more[1]]), atol=0.15)
    assert found[within].all() and not (found & ~widened(thing)).any()


def widened(mask: Tensor) -> Tensor:
    """With two pixels all around."""
    return F.max_pool2d(mask[None, None].float(), 5, 1, 2)[0, 0] > 0


def test_keys_of_half_precision_and_flows_in_any_order_will_do() -> None:
    plain = scene()
    keys = plain.keys[0].bfloat16(), plain.keys[1].bfloat16()
    flow = plain.flow.contiguous(memory_format=torch.channels_last)
    (leap,), (expected,) = find_leaps(keys, flow, plain.pictures, plain.full, pair=3), plain.leaps()
    assert leap.pair == 3 and torch.equal(leap.mask, expected.mask) and torch.equal(leap.step, expected.step)


@pytest.mark.gpu
def test_a_gpu_finds_and_moves_the_same(cuda: torch.device) -> None:
    here, t = scene(more=(3.0, -2.0)), torch.tensor([0.25, 0.5])
    keys, pictures = ((a.to(cuda), b.to(cuda)) for a, b in (here.keys, here.pictures))
    (there,), (expected,) = find_leaps(keys, here.flow.to(cuda), pictures, here.full.to(cuda)), here.leaps()
    assert torch.allclose(there.step.cpu(), expected.step, atol=1e-3)
    assert (there.mask.cpu() == expected.mask).float().mean() > 0.99

    still = Motion(torch.zeros(2, 2, *SIZE), torch.zeros(2, 2, *SIZE), torch.ones(2, 1, *SIZE), torch.ones(2, 1, *SIZE))
    index = torch.zeros(2, dtype=torch.int64)
    moved = with_leaps(Motion(*(part.clone().to(cuda) for part in still)), [there], index.to(cuda), t.to(cuda))
    for made, wanted in zip(moved, with_leaps(still, [expected], index, t), strict=True):
        assert (made.cpu() - wanted).abs().mean() < 1e-2


def explained() -> Scene:
    """The flow knows of the thing."""
    known = scene()
    for flow, cell in ((known.flow, 1), (known.full, CELL)):
        for k, (x, y, way) in enumerate(((20, 8, 1), (13, 10, -1))):
            there = flow[k, :, y * cell : (y + 3) * cell, x * cell : (x + 3) * cell]
            there[0], there[1] = -7.0 * way * cell, 2.0 * way * cell
    return known


def in_a_flock() -> Scene:
    """All around the thing the flow is as the thing's."""
    flock = scene()
    flock.full[0, 0, :, 40:76] = -28.0
    flock.full[0, 1, :, 40:76] = 8.0
    flock.full[0, 0, :, 96:140] = -28.0
    flock.full[0, 1, :, 96:140] = 8.0
    return flock


def like_by_features_alone() -> Scene:
    one = scene()
    i0, i1 = one.pictures
    i1 = put(i1, texture(5), (20 - 7) * CELL, 10 * CELL, 3 * CELL)
    return one._replace(pictures=(i0, i1))


def one_of_many() -> Scene:
    """Beside the thing, in both places, others give way to others, as the letters of captions do."""
    one = scene()
    i0, i1 = one.pictures
    for x, y in ((80, 32), (52, 40)):
        for beside in (-20, 20):
            i0 = put(i0, texture(5), x + beside, y, 12)
            i1 = put(i1, texture(6), x + beside, y, 12)
    return one._replace(pictures=(i0, i1))


def alike_by_and_large() -> Scene:
    """What comes is a third another one."""
    one = scene()
    i0, i1 = one.pictures
    i1 = put(i1, 0.67 * (1 - texture(2)) + 0.33 * texture(5), (20 - 7) * CELL, 10 * CELL, 3 * CELL)
    return one._replace(pictures=(i0, i1))


def found_by_two_cells() -> Scene:
    keys = scene(side=1).keys
    for k, key in enumerate(scene(side=2).keys):
        rows = slice(8, 9) if k == 0 else slice(10, 11)
        keys[k][rows] = key[rows]
    return scene()._replace(keys=keys)


def squeezed_against_the_border() -> Scene:
    """By their common step, the cells would lie partly outside."""
    one = scene()
    first, second, things = cells(ROWS, COLS, seed=1), cells(ROWS, COLS, seed=1), cells(9, seed=3)
    for k in range(9):
        first[10 + k, 20 + k % 2] = second[k // 2, 13 + k % 2] = things[k]
    return one._replace(keys=(first, second))


def without_outline() -> Scene:
    """What is gone from one place of a plain ground and has come to another one, and fades into it."""
    one = scene()
    x, y = pixel_grid(*SIZE, torch.device("cpu"))[0]

    def glow(at_x: float, at_y: float) -> Tensor:
        away = (x - at_x).square() + (y - at_y).square()
        return (0.3 + 0.2 * torch.exp(-away / (2 * 16.0**2))).expand(1, 3, *SIZE)

    return one._replace(pictures=(glow(86, 38), glow(58, 46)))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: scene(step=(0, 0)), id="nothing moved"),
        found_by_two_cells,
        pytest.param(lambda: scene(step=(-16, 3)), id="too far"),
        pytest.param(lambda: scene(twins=2), id="two of them"),
        pytest.param(
            lambda: scene()._replace(keys=(cells(ROWS, COLS, seed=4), cells(ROWS, COLS, seed=5))), id="another scene"
        ),
        explained,
        in_a_flock,
        like_by_features_alone,
        alike_by_and_large,
        one_of_many,
        squeezed_against_the_border,
        without_outline,
    ],
)
def test_where_there_is_doubt_nothing_leaps(make: Callable[[], Scene]) -> None:
    assert make().leaps() == []


def still(count: int) -> Motion:
    """A Motion that moves nothing and takes both frames alike."""
    flow, share = torch.zeros(count, 2, 20, 40), torch.full((count, 1, 20, 40), 0.5)
    return Motion(flow, flow.clone(), share, torch.zeros(count, 1, 20, 40))


def block(pair: int, step: tuple[float, float], top: int, left: int, side: int = 4) -> Leap:
    return Leap(pair, torch.tensor(step), top, left, torch.ones(side, side, dtype=torch.bool))


def test_what_leaps_is_where_it_is_at_the_time_and_nowhere_else() -> None:
    motion = with_leaps(still(2), [block(0, (20.0, 8.0), 3, 5)], torch.tensor([0, 0]), torch.tensor([0.25, 0.5]))

    for m, (time, x, y) in enumerate(((0.25, 10, 5), (0.5, 15, 7))):
        here = torch.zeros(20, 40, dtype=torch.bool)
        here[y : y + 4, x : x + 4] = True
        flow_0, flow_1 = torch.zeros(2, 20, 40), torch.zeros(2, 20, 40)
        flow_0[:, here] = torch.tensor([[-20.0 * time], [-8.0 * time]])
        flow_1[:, here] = torch.tensor([[20.0 * (1 - time)], [8.0 * (1 - time)]])
        visibility = torch.full((20, 40), 0.5)
        visibility[3:7, 5:9] = 0.0  # in frame 0 it still is there
        visibility[11:15, 25:29] = 1.0  # in frame 1 it is there already
        assert torch.allclose(motion.flow_t0[m], flow_0) and torch.allclose(motion.flow_t1[m], flow_1)
        assert torch.equal(motion.visibility[m, 0], visibility)
        assert torch.equal(motion.detail[m, 0] > 0, here)


def test_a_leap_concerns_its_own_pair_alone() -> None:
    leaps = [block(1, (20.0, 8.0), 3, 5)]
    motion = with_leaps(still(3), leaps, torch.tensor([0, 1, 2]), torch.tensor([0.5, 0.5, 0.5]))
    assert [bool(flow.any()) for flow in motion.flow_t0] == [False, True, False]
    assert [bool((share != 0.5).any()) for share in motion.visibility] == [False, True, False]


def test_of_two_that_meet_the_first_one_is_in_front() -> None:
    leaps = [block(0, (20.0, 0.0), 8, 5), block(0, (-20.0, 0.0), 8, 25)]
    motion = with_leaps(still(1), leaps, torch.tensor([0]), torch.tensor([0.5]))
    assert (motion.flow_t0[0, 0, 8:12, 15:19] == -10.0).all()


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Fast:
    """A network of whose pairs those leap whose first frame is the lighter one; a leap is made of all it is told."""

    def find(keys: Any, flow: Tensor, pictures: Any, full: Tensor, pair: int = 0) -> list[Leap]:
        lighter = float((pictures[0] - pictures[1]).mean())
        if lighter < 0:
            return []
        told = [keys[0].float().abs().mean(), keys[1].float().amax(), flow.abs().mean(), full[0].mean(), full[1].mean()]
        return [Leap(pair, torch.stack(told[:2]) * 4 + sum(told[2:]), 8, 8, torch.ones(9, 9, dtype=torch.bool))]

    monkeypatch.setattr(fast, "find_leaps", find)
    monkeypatch.setattr(fast_cpu, "find_leaps", find)
    torch.manual_seed(0)
    net = Fast(encoder=(6, 8, 12, 16), hidden=8, context=8, refine=(10, 12), match=8, radius=2)
    with torch.no_grad():
        for level in net.ladder:
            level.head.weight.normal_(std=0.1)  # type: ignore[union-attr]
    return net.requires_grad_(False).eval()


def two_pairs() -> tuple[Tensor, Tensor]:
    pictures = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(6))
    pictures[0] += 0.2
    return pictures, pictures.flip(0)  # one of the two pairs leaps, and the other does not


def test_a_pair_leaps_alone(net: Fast) -> None:
    """What becomes of a pair does not depend on what it is computed with."""
    first, second = two_pairs()
    t = torch.tensor([0.3, 0.3])
    together = net.at(net.pair(first, second), torch.tensor([0, 1]), t)
    without = net.train()(first, second, t)
    net.eval()
    for k in range(2):
        alone = net(first[k : k + 1], second[k : k + 1], t[:1])
        assert all(torch.allclose(a[0], b[k], atol=1e-3) for a, b in zip(alone, together, strict=True))
        assert torch.allclose(alone.flow_t0[0], without.flow_t0[k], atol=1e-2) == (k == 1)


def test_both_arrangements_leap_alike(net: Fast) -> None:
    run = FastOnCpu(net, torch.float32)
    t = torch.tensor([0.25, 0.75])
    for i0, i1 in zip(*two_pairs(), strict=True):
        state = net.pair(i0[None], i1[None])
        wanted = net.at(state, torch.tensor([0, 0]), t)
        own = run.pair(run.look(i0[None]), run.look(i1[None]))
        found = run.at(own, t)
        assert len(own.leaps) == len(state.leaps) == int(i0.mean() > i1.mean())
        for a, b in zip(own.leaps, state.leaps, strict=True):
            assert torch.allclose(a.step, b.step, atol=1e-3)
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, atol=2e-3)

"""What four frames tell of the way between the two in the middle."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from slomo_cli.net.bend import Bend, bend, bent, steady
from slomo_cli.net.motion import Motion, PairState

ROWS, COLS = 24, 32
"""Of the Motion grid."""


def even(x: float, y: float = 0.0) -> Tensor:
    """(1, 2, ROWS, COLS): one motion everywhere, in steps of the Motion grid."""
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).expand(1, 2, ROWS, COLS).clone()


def moved(flow_01: Tensor, flow_10: Tensor | None = None) -> Tensor:
    """``steady`` of a pair with these flows; back is there, turned round, if not given."""
    return steady(PairState(flow_01, -flow_01 if flow_10 is None else flow_10, ()))


def straight(way: float, t: float) -> Motion:
    """Of a picture that moves along x, as equation 4 has it."""
    some = torch.full((1, 1, ROWS, COLS), 0.5)
    return Motion(even(-t * way), even((1 - t) * way), some, some)


def aside(found: Bend | None, way: float, t: float) -> float:
    """By how much the place at time t lies beside the straight way, in steps along x; it is the same in both flows."""
    assert found is not None
    before, after = straight(way, t), bent(straight(way, t), found, torch.tensor([t]))
    shifts = [(old - new)[0, 0] for old, new in zip(before[:2], after[:2], strict=True)]
    assert torch.allclose(shifts[0], shifts[1], atol=1e-4)
    assert shifts[0].max() - shifts[0].min() < 1e-3
    return float(shifts[0].mean())


@given(
    square=st.floats(-12, 12),
    cube=st.floats(-3, 3),
    before=st.sampled_from([0.5, 1.0, 2.0]),
    after=st.sampled_from([0.5, 1.0, 3.0]),
    t=st.sampled_from([0.125, 0.25, 0.5, 0.875]),
)
def test_a_cubic_is_followed(square: float, cube: float, before: float, after: float, t: float) -> None:
    """Whatever moves by a polynomial of third order is found on it, with intervals of any length, but for what noise
    of the flow may be."""
    speed = 60.0

    def place(time: float) -> float:
        return speed * time + square * time**2 + cube * time**3

    ways = [place(0) - place(-before), place(1), place(1 + after) - place(1)]
    first, here, last = (moved(even(way)) for way in ways)

    found = bend(here, (first, before), (last, after))

    wanted = place(t) - t * place(1)
    assert abs(aside(found, ways[1], t) - wanted) < 0.04 + 0.02 * abs(square) + 0.05 * abs(cube)


def test_what_moves_evenly_goes_straight() -> None:
    """...also where the intervals differ."""
    found = bend(moved(even(8)), (moved(even(16)), 2.0), (moved(even(4)), 0.5))
    assert abs(aside(found, 8, 0.5)) < 1e-4


def test_noise_of_the_flow_bends_nothing() -> None:
    """A fifth of a step from pair to pair, which every flow misses by, moves nothing by more than a hundredth."""
    found = bend(moved(even(8)), (moved(even(7.8)), 1.0), (moved(even(8.2)), 1.0))
    assert 0 < abs(aside(found, 8, 0.5)) < 0.01


def test_without_pairs_beside_it_there_is_no_bend() -> None:
    assert bend(moved(even(8)), None, None) is None


@pytest.mark.parametrize("first", [True, False])
def test_a_missing_pair_counts_as_no_bend_there(first: bool) -> None:
    """Half way, one side of a parabola gives half of it."""
    here, other = moved(even(20)), (moved(even(12 if first else 28)), 1.0)
    both = bend(here, (moved(even(12)), 1.0), (moved(even(28)), 1.0))

    one = bend(here, other if first else None, None if first else other)

    assert aside(one, 20, 0.5) == pytest.approx(aside(both, 20, 0.5) / 2, rel=1e-3)
    assert aside(both, 20, 0.5) == pytest.approx(-1, abs=0.05)


@given(st.floats(-200, 200), st.floats(-200, 200), st.floats(0.25, 4), st.floats(0.25, 4))
def test_nothing_turns_round_between_two_frames(first: float, last: float, before: float, after: float) -> None:
    """However wild the pairs beside: the way goes on and on, from its beginning to its end."""
    found = bend(moved(even(8)), (moved(even(first)), before), (moved(even(last)), after))
    times = [k / 16 for k in range(1, 16)]
    places = [0.0, *(t * 8 + aside(found, 8, t) for t in times), 8.0]
    assert all(b > a - 1e-3 for a, b in pairwise(places))


def test_what_stands_still_is_not_moved_by_what_shakes_behind_it() -> None:
    """A caption in front of a picture that shakes."""

    def flows(way: float) -> Tensor:
        flow = even(way)
        flow[..., 8:16, :] = 0
        return flow

    found = bend(moved(flows(12)), (moved(flows(-12)), 1.0), (moved(flows(12)), 1.0))

    assert found is not None
    moving = Motion(-0.5 * flows(12), 0.5 * flows(12), *(torch.full((1, 1, ROWS, COLS), 0.5),) * 2)
    shift = bent(moving, found, torch.tensor([0.5])).flow_t0 - moving.flow_t0
    assert shift[0, 0, 10:14].abs().max() < 1e-3
    assert shift[0, 0, :4].abs().min() > 0.6


def test_flows_that_do_not_lead_there_and_back_bend_nothing() -> None:
    """Garbage beside the pair, such as of a picture in the dark: a hundredth of it is left."""
    torch.manual_seed(1)
    noise = [20 * torch.randn(1, 2, ROWS, COLS) for _ in range(2)]
    found = bend(moved(even(8)), (moved(*noise), 1.0), (moved(*noise[::-1]), 1.0))

    assert found is not None
    assert found.fields.abs().mean() < 0.1


def test_times_are_independent_of_each_other() -> None:
    """Several at once are as each alone."""
    found = bend(moved(even(8, 4)), (moved(even(2, 5)), 1.0), (moved(even(9, -3)), 1.0))
    assert found is not None
    times = [0.25, 0.5, 0.75]
    some = [straight(8, t) for t in times]
    together = bent(Motion(*(torch.cat(parts) for parts in zip(*some, strict=True))), found, torch.tensor(times))
    for k, (one, t) in enumerate(zip(some, times, strict=True)):
        alone = bent(one, found, torch.tensor([t]))
        assert torch.equal(alone.flow_t0[0], together.flow_t0[k]) and torch.equal(alone.flow_t1[0], together.flow_t1[k])


@pytest.mark.gpu
def test_a_gpu_bends_alike(cuda: torch.device) -> None:
    pairs = [moved(even(*way)) for way in ((2, 5), (8, 4), (9, -3))]
    t = torch.tensor([0.5])
    made = []
    for device in (torch.device("cpu"), cuda):
        first, here, last = (pair.to(device) for pair in pairs)
        found = bend(here, (first, 1.0), (last, 1.0))
        assert found is not None
        motion = Motion(*(part.to(device) for part in straight(8, 0.5)))
        made.append(bent(motion, found, t.to(device)).flow_t0.cpu())
    assert torch.allclose(*made, atol=1e-3)

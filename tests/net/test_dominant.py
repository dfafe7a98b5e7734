"""What could have moved in several ways is led by what much of the picture does; all else stays as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from slomo_cli.net.dominant import Alike, led
from slomo_cli.net.fast import CLOSE, Fast
from slomo_cli.net.fast_cpu import FastOnCpu
from slomo_cli.net.warp import warp

ROWS, COLS, WIDTH, PERIOD = 24, 48, 32, 4
FIELD = slice(6, 20), slice(14, 34)
"""What repeats itself, or is otherwise special, in the first frame."""
MOTION = (2.0, 1.0)


def cells(rows: int, columns: int, seed: int) -> Tensor:
    """(1, C, rows, columns) keys like nothing else, of length sqrt(C)."""
    keys = torch.randn(1, WIDTH, rows, columns, generator=torch.Generator().manual_seed(seed))
    return keys * torch.rsqrt(keys.square().mean(1, keepdim=True))


def world(field: Tensor) -> Tensor:
    keys = cells(ROWS, COLS, seed=1)
    keys[..., FIELD[0], FIELD[1]] = field
    return keys


def repeating() -> Tensor:
    """A field of columns that come back every ``PERIOD`` cells."""
    rows, columns = (part.stop - part.start for part in FIELD)
    return cells(rows, PERIOD, seed=2).repeat(1, 1, 1, columns // PERIOD)


def moved(keys: Tensor, x: float, y: float) -> Tensor:
    """The keys of a picture that went by so many cells."""
    return warp(keys, torch.tensor([-x, -y]).view(1, 2, 1, 1).expand(1, 2, ROWS, COLS))


def likeness(first: Tensor, second: Tensor) -> Alike:
    both, other = torch.cat((first, second)), torch.cat((second, first))
    return lambda flow, where: (both * warp(other, flow)).mean(1)


def flows(astray: tuple[float, float]) -> Tensor:
    """All moves by ``MOTION``, but for the field, which is thought to go otherwise."""
    flow = torch.tensor(MOTION).view(1, 2, 1, 1).repeat(1, 1, ROWS, COLS)
    flow[..., FIELD[0], FIELD[1]] = torch.tensor(astray).view(1, 2, 1, 1)
    return torch.cat((flow, -torch.tensor(MOTION).view(1, 2, 1, 1).expand(1, 2, ROWS, COLS)))


def error_within(flow: Tensor) -> Tensor:
    """Distance from ``MOTION`` inside the field, whose rim is between two likenesses."""
    within = flow[0, :, FIELD[0].start + 2 : FIELD[0].stop - 2, FIELD[1].start + 6 : FIELD[1].stop - 6]
    return (within - torch.tensor(MOTION).view(2, 1, 1)).abs()


@pytest.mark.parametrize("hasty", [False, True])
@pytest.mark.parametrize("periods", [-2, -1, 1])
def test_a_field_that_repeats_is_led_by_what_is_around_it(periods: int, hasty: bool) -> None:
    first = world(repeating())
    flow = flows((MOTION[0] + periods * PERIOD, MOTION[1]))
    before = flow.clone()
    found = led(flow, likeness(first, moved(first, *MOTION)), hasty)

    assert error_within(before).max() == abs(periods) * PERIOD
    assert error_within(found).max() < 1e-3
    assert torch.equal(flow, before) and torch.equal(found[1], flow[1])


def a_thing_that_moves_otherwise() -> tuple[Tensor, Tensor, tuple[float, float]]:
    field = cells(FIELD[0].stop - FIELD[0].start, FIELD[1].stop - FIELD[1].start, seed=3)
    first = world(field)
    second = moved(world(cells(*field.shape[2:], seed=4)), *MOTION)
    second[..., FIELD[0], FIELD[1].start - 6 : FIELD[1].stop - 6] = field
    return first, second, (-6.0, 0.0)


def what_is_seen_in_one_frame_only() -> tuple[Tensor, Tensor, tuple[float, float]]:
    first = world(cells(FIELD[0].stop - FIELD[0].start, FIELD[1].stop - FIELD[1].start, seed=5))
    return first, moved(world(repeating()), *MOTION), (MOTION[0] + PERIOD, MOTION[1])


def nearly_the_same_motion() -> tuple[Tensor, Tensor, tuple[float, float]]:
    first = world(repeating())
    return first, moved(first, *MOTION), (MOTION[0] + 0.6, MOTION[1] - 0.6)


@pytest.mark.parametrize("hasty", [False, True])
@pytest.mark.parametrize("seen", [a_thing_that_moves_otherwise, what_is_seen_in_one_frame_only, nearly_the_same_motion])
def test_what_is_sure_or_cannot_be_told_stays(
    seen: Callable[[], tuple[Tensor, Tensor, tuple[float, float]]], hasty: bool
) -> None:
    first, second, astray = seen()
    flow = flows(astray)
    assert torch.equal(led(flow, likeness(first, second), hasty), flow)


def test_on_a_plain_wall_nothing_tells_that_the_flow_is_wrong() -> None:
    first = world(cells(1, 1, seed=4).expand(1, WIDTH, *(part.stop - part.start for part in FIELD)))
    flow = flows((MOTION[0] + 5.0, MOTION[1]))
    found = led(flow, likeness(first, moved(first, *MOTION)), False)
    inner = slice(10, 15), slice(18, 23)  # whose averages see the wall alone, here and there
    assert torch.equal(found[0, :, *inner], flow[0, :, *inner])


def test_a_motion_that_few_cells_share_leads_nobody() -> None:
    """A flow of which no two cells are alike, but for five."""
    first = world(repeating())
    flow = 9.0 * torch.randn(2, 2, ROWS, COLS, generator=torch.Generator().manual_seed(6)).cumsum(3)
    flow[:, :, 0, :5] = torch.tensor(MOTION).view(2, 1)
    assert torch.equal(led(flow, lambda flow, where: torch.ones(2, ROWS, COLS), False), flow)
    assert led(flow.new_full((2, 2, ROWS, COLS), torch.nan), likeness(first, first), False).isnan().all()


MOST, MORE, LOST = (3.3, -1.2), (-4.4, 2.0), (9.0, 9.0)
"""Motions of three parts of a picture: most of it, the right quarter, and a field between."""
PARTS = {MOST: (slice(0, ROWS), slice(0, COLS)), MORE: (slice(0, ROWS), slice(36, COLS)), LOST: FIELD}


def of_parts() -> Tensor:
    flow = torch.empty(1, 2, ROWS, COLS)
    for motion, (rows, columns) in PARTS.items():
        flow[0, :, rows, columns] = torch.tensor(motion).view(2, 1, 1)
    return flow


def fitting(**fits: dict[tuple[float, float], float]) -> Alike:
    """By part, how well motions fit: its own by 0.9, all that is not named by -0.5."""
    names = {"most": MOST, "more": MORE, "lost": LOST}

    def alike(flow: Tensor, where: Tensor) -> Tensor:
        made = torch.full((1, ROWS, COLS), -0.5)
        for name, own in names.items():
            part = of_parts()[0].sub(torch.tensor(own).view(2, 1, 1)).square().sum(0) == 0
            for motion, likeness in ({own: 0.9} | fits.get(name, {})).items():
                here = (flow[0] - torch.tensor(motion).view(2, 1, 1)).square().sum(0) < 1e-6
                made[0, part & here] = likeness
        return made

    return alike


def goes(flow: Tensor) -> tuple[float, float]:
    """Where the middle of the field goes."""
    x, y = flow[0, :, 13, 24].tolist()
    return round(x, 3), round(y, 3)


@pytest.mark.parametrize(
    ("own", "other", "leads"),
    [(0.9, 0.9, True), (0.9, 0.86, True), (0.9, 0.84, False), (0.2, 0.41, True), (0.2, 0.39, False)],
)
def test_it_must_fit_about_as_well_and_well_enough(own: float, other: float, leads: bool) -> None:
    found = led(of_parts(), fitting(lost={LOST: own, MOST: other}), False)
    assert goes(found) == (MOST if leads else LOST)


def test_it_must_fit_closely_too() -> None:
    alike, row, column = fitting(lost={MOST: 0.9}), 13, 24

    def but_for_a_spot(flow: Tensor, where: Tensor) -> Tensor:
        made = alike(flow, where)
        if flow[0, 0, row, column] != LOST[0]:
            made[0, row - 1 : row + 2, column - 1 : column + 2] -= 0.2
        return made

    found = led(of_parts(), but_for_a_spot, False)
    assert goes(found) == LOST and found[0, :, row, column - 3].tolist() == pytest.approx(MOST)


@pytest.mark.parametrize("hasty", [False, True])
def test_the_second_motion_leads_what_the_first_does_not_fit(hasty: bool) -> None:
    assert goes(led(of_parts(), fitting(lost={MORE: 0.9}), hasty)) == MORE
    assert goes(led(of_parts(), fitting(lost={MORE: 0.95, MOST: 0.9}), hasty)) == MOST


def test_what_has_the_first_motion_is_not_taken_by_the_second() -> None:
    flow = of_parts()
    assert torch.equal(led(flow, fitting(most={MORE: 0.9}), False), flow)


def test_pictures_are_led_by_their_own_motions() -> None:
    """A batch of frames gives what each gives alone."""
    first = world(repeating())
    pairs = [(first, moved(first, *MOTION)), what_is_seen_in_one_frame_only()[:2]]
    flow = flows((MOTION[0] + PERIOD, MOTION[1]))
    alone = [led(flow, likeness(*pair), False) for pair in pairs]
    first, second = (torch.cat(frames) for frames in zip(*pairs, strict=True))
    together = led(flow.repeat_interleave(2, 0), likeness(first, second), False)
    for k in range(2):
        assert torch.equal(together[k::2], alone[k])
    assert not torch.equal(alone[0], alone[1])


def test_both_arrangements_of_the_network_ask_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(8)
    net = Fast().eval()
    asked = []

    def keep(flow: Tensor, alike: Alike, hasty: bool) -> Tensor:
        asked.append(alike(flow + 0.7, torch.ones_like(flow[:, 0], dtype=torch.bool)))
        return flow

    monkeypatch.setattr("slomo_cli.net.fast.led", keep)
    monkeypatch.setattr("slomo_cli.net.fast_cpu.led", keep)
    i0, i1 = torch.rand(2, 1, 3, 96, 128, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        net.pair(i0, i1)
        run = FastOnCpu(net, torch.float32)
        run.pair(run.look(i0), run.look(i1))
    plain, arranged = asked
    assert plain.shape == (2, 96 >> 2 + CLOSE, 128 >> 2 + CLOSE)
    assert torch.allclose(plain, arranged, atol=1e-4)


def test_training_is_not_led(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learned is what the network finds by itself."""
    monkeypatch.setattr("slomo_cli.net.fast.led", lambda *given, **more: pytest.fail("led"))
    Fast().train().pair(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))

"""What equation 4 loses half way is carried there; what it does not lose, and what is not sure, is left to it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from slomo_cli.net.carried import Carried, carried, carried_among, surely, suspects
from slomo_cli.net.warp import flows_along

ROWS, COLS = 24, 96


class Scene:
    """Bars that move along x, in cells; later ones in front. What is behind them is still."""

    def __init__(self, *bars: tuple[int, int, float]) -> None:
        self.bars = bars
        """Left edge and width in frame 0, and the way to frame 1."""

    def motion(self, t: float) -> Tensor:
        """(1, 2, ROWS, COLS): the true motion, from frame 0 to frame 1, of what is seen at a time."""
        motion = torch.zeros(1, 2, ROWS, COLS)
        for left, width, way in self.bars:
            at = round(left + t * way)
            motion[:, 0, :, max(at, 0) : max(at + width, 0)] = way
        return motion

    def sure(self) -> Tensor:
        return surely(torch.cat((self.motion(0), -self.motion(1))))

    def guess(self, t: float) -> Tensor:
        """The same as ``motion``, by equation 4."""
        flow_t0, flow_t1 = flows_along(self.motion(0), -self.motion(1), torch.tensor([t]))
        return flow_t1 - flow_t0

    def found(self, t: float, guess: Tensor | None = None) -> Carried | None:
        sure = self.sure()
        return carried_among(sure, self.guess(t) if guess is None else guess, torch.tensor([t]), suspects(sure))


def enlarged(motion: Tensor) -> Tensor:
    """(2 * ROWS, 2 * COLS): motion along x in steps of the Motion grid, of which two are a cell."""
    return 2 * motion[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)


def whole(found: Carried | None) -> tuple[Tensor, Tensor]:
    """Motion along x and where, (2 * ROWS, 2 * COLS) each, of the whole picture."""
    motion, where = torch.zeros(2 * ROWS, 2 * COLS), torch.zeros(2 * ROWS, 2 * COLS, dtype=torch.bool)
    if found is not None:
        rows, columns = (slice(2 * part.start, 2 * part.stop) for part in found.part)
        motion[rows, columns], where[rows, columns] = found.motion[0, 0], found.where[0, 0]
    return motion, where


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("way", [8.0, -16.0])
def test_what_moves_further_than_it_is_wide_is_carried(t: float, way: float) -> None:
    scene = Scene((24, 4, way))
    guess = enlarged(scene.guess(t))
    motion, where = whole(scene.found(t))
    left, right = 2 * round(24 + t * way), 2 * round(24 + t * way) + 8

    assert (guess[:, left + 1 : right - 1] - 2 * way).abs().max() > abs(way)
    assert torch.where(where, motion, guess)[:, left:right].sub(2 * way).abs().max() < 0.5 * abs(way)
    assert torch.allclose(motion[where], torch.tensor(2 * way))
    assert not where[:, : left - 2].any() and not where[:, right + 2 :].any()


@pytest.mark.parametrize(
    ("bars", "t"),
    [
        (((-18, 5, -20.0), (-20, 40, 10.0), (-29, 5, 45.0)), 0.75),
        (((84, 30, 30.0), (36, 60, 10.0), (37, 2, 10.0), (22, 3, 60.0)), 0.25),
        (((63, 40, 20.0), (2, 60, 10.0), (-18, 10, 20.0), (88, 2, -40.0)), 0.25),
    ],
)
def test_what_is_lost_may_lie_far_within_something_wide(bars: tuple[tuple[int, int, float], ...], t: float) -> None:
    """Those that are suspected are all that matter."""
    scene = Scene(*bars)
    motion, where = whole(scene.found(t))
    everywhere = carried(scene.sure(), scene.guess(t), torch.tensor([t]))

    assert where.any()
    assert torch.equal(where, everywhere.where[0, 0])
    assert torch.allclose(motion[where], everywhere.motion[0, 0][where])


def test_it_is_laid_over_what_is_surely_behind() -> None:
    """The still background is sure as well, and both frames show it at the place."""
    scene = Scene((20, 4, 16.0))
    assert scene.sure()[0, 2, :, :, 29].min() > 0.9
    assert whole(scene.found(0.5))[1][:, 58:62].all()


def test_what_finds_its_own_motion_is_left_to_equation_4() -> None:
    scene = Scene((10, 20, 4.0))
    assert whole(scene.found(0.5, guess=scene.motion(0.5)))[1].sum() == 0


@pytest.mark.parametrize(("way", "lost"), [(1.0, False), (2.0, True)])
def test_what_hardly_moves_otherwise_is_left_to_it_too(way: float, lost: bool) -> None:
    assert (Scene((20, 1, way)).found(0.5, guess=torch.zeros(1, 2, ROWS, COLS)) is not None) == lost


def test_what_is_not_sure_is_not_carried() -> None:
    scene = Scene((20, 4, 16.0))
    sure = surely(torch.cat((scene.motion(0), torch.zeros(1, 2, ROWS, COLS))))  # frame 1 knows nothing of it
    assert sure[0, 2, 0, :, 20:24].max() < 0.01
    assert carried_among(sure, scene.guess(0.5), torch.tensor([0.5]), suspects(sure)) is None


@pytest.mark.parametrize("post", [10, 22, 33])
def test_what_is_wide_passes_behind_a_post(post: int) -> None:
    """Both frames show the post where it stands, and the parts that are behind it half way."""
    scene = Scene((6, 30, 8.0), (post, 3, 0.0))
    truth = scene.motion(0.5)
    assert truth[..., post : post + 3].abs().max() == 0
    assert scene.sure()[0, 2, :, :, post : post + 3].min() > 0.9
    _, where = whole(scene.found(0.5, guess=truth))

    assert not where[:, 2 * post : 2 * post + 6].any()


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("way", [-8.0, 4.0])
def test_what_is_wide_passes_behind_what_moves_itself(t: float, way: float) -> None:
    scene = Scene((6, 40, 12.0), (24, 4, way))
    _, where = whole(scene.found(t, guess=scene.motion(t)))
    left = 2 * round(24 + t * way)

    assert not where[:, left : left + 8].any()


def test_a_post_that_is_not_sure_gives_way() -> None:
    scene = Scene((6, 30, 8.0), (22, 3, 0.0))
    sure = scene.sure()
    sure[:, 2, :, :, 22:25] = 0.05
    found = carried_among(sure, scene.motion(0.5), torch.tensor([0.5]), suspects(sure))
    assert whole(found)[1][:, 44:50].all()


@pytest.mark.parametrize("only", [0, 1])
def test_a_narrow_thing_passes_before_a_post(only: int) -> None:
    """As one frame alone has it, too."""
    scene = Scene((22, 3, 0.0), (16, 3, 12.0))
    sure = scene.sure()
    sure[:, 2, 1 - only][sure[:, 0, 1 - only] != 0] = 0.0
    found = carried_among(sure, torch.zeros(1, 2, ROWS, COLS), torch.tensor([0.5]), suspects(sure))
    assert whole(found)[1][:, 44:50].all()


def test_times_may_be_many_where_all_cells_are_looked_at() -> None:
    scene, other = Scene((20, 4, 16.0)), Scene((30, 3, -12.0))
    times = [(scene, 0.5), (other, 0.5), (scene, 0.125)]
    together = carried(
        torch.cat([which.sure() for which, _ in times]),
        torch.cat([which.guess(t) for which, t in times]),
        torch.tensor([t for _, t in times]),
    )
    for m, (which, t) in enumerate(times):
        motion, where = whole(which.found(t))
        assert where.any()
        assert torch.equal(together.where[m, 0], where)
        assert torch.allclose(together.motion[m, 0][where], motion[where])


@settings(max_examples=60)
@example(bars=[(10, 40, 30.0)], t=0.5)
@given(
    bars=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 50), st.integers(-40, 40).map(float)), max_size=4),
    t=st.floats(0.02, 0.98),
)
def test_suspects_are_all_that_can_be_lost(bars: list[tuple[int, int, float]], t: float) -> None:
    """What is looked at on a CPU changes the time it takes, never the answer."""
    scene = Scene(*bars)
    everything = carried(scene.sure(), scene.guess(t), torch.tensor([t]))
    motion, where = whole(scene.found(t))

    assert torch.equal(everything.where[0, 0], where)
    assert torch.allclose(everything.motion[0, 0][where], motion[where], atol=1e-4)


def test_a_picture_that_moves_as_one_has_no_suspects() -> None:
    flow = torch.full((1, 2, ROWS, COLS), 3.0)
    assert len(suspects(surely(torch.cat((flow, -flow))))) == 0


def test_what_is_no_number_stops_nothing() -> None:
    scene = Scene((20, 4, 16.0))
    flow = torch.cat((scene.motion(0), -scene.motion(1)))
    flow[:, :, 3, 3], flow[:, :, 5, 7] = float("nan"), float("inf")
    sure = surely(flow)
    given = sure, scene.guess(0.5), torch.tensor([0.5])
    for found in (carried_among(*given, suspects(sure)), carried(*given)):
        assert found is not None and found.where.any()


@pytest.mark.gpu
def test_a_gpu_carries_the_same(cuda: torch.device) -> None:
    scene = Scene((20, 4, 16.0), (50, 3, -12.0))
    sure, guess, t = scene.sure(), scene.guess(0.5), torch.tensor([0.5])
    here, there = carried(sure, guess, t), carried(sure.to(cuda), guess.to(cuda), t.to(cuda))
    assert here.where.any() and torch.equal(there.where.cpu(), here.where)
    assert torch.allclose(there.motion.cpu()[:, :1][here.where], here.motion[:, :1][here.where], atol=1e-3)

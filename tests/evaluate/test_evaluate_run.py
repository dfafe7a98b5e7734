"""Scores, means, worst cases and reports of whole runs, with methods whose results are known."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from evaluate_helpers import moving, write_pictures
from rich.console import Console

from slomo_cli.evaluate import Dataset, Window, evaluate, open_dataset, score_method
from slomo_cli.evaluate.methods import Network
from slomo_cli.evaluate.metrics import measure
from slomo_cli.evaluate.report import print_tables, to_csv, to_json
from slomo_cli.evaluate.rivals import blend, nearest
from slomo_cli.evaluate.run import mean_scores
from slomo_cli.evaluate.worst import worst_sheet
from slomo_cli.picture import RGB, text
from slomo_cli.values import ComputeSettings


class Perfect:
    """Knows where the pattern of ``moving`` is, and says how it moved."""

    def __init__(self) -> None:
        self.asked: list[tuple[Fraction, ...]] = []

    def __call__(self, first: np.ndarray, second: np.ndarray, timesteps: Sequence[Fraction], /) -> list[np.ndarray]:
        self.asked.append(tuple(timesteps))
        starts = [(seed, k) for seed in range(3) for k in range(20) if np.array_equal(first, moving(k, seed))]
        (seed, start), *_ = starts
        end = next(k for k in range(30) if np.array_equal(second, moving(k, seed)))
        return [moving(start + float(t) * (end - start), seed) for t in timesteps]

    def motion(self, window: Window, timesteps: Sequence[Fraction]) -> SimpleNamespace:
        shape = (len(timesteps), *window.first.shape[:2])
        return SimpleNamespace(
            flow_t0=np.full((*shape, 2), (-1.0, 0.0)),
            flow_t1=np.full((*shape, 2), (1.0, 0.0)),
            visibility=np.full(shape, 0.5),
        )

    def describe(self) -> dict[str, str]:
        return {"device": "a crystal ball"}


@pytest.fixture
def frames(tmp_path: Path) -> Dataset:
    """Two clips of 9 and 5 frames at a factor of 4: 2 + 1 windows, 9 truths."""
    for seed, (name, count) in enumerate((("long", 9), ("short", 5))):
        pictures = [moving(k, seed) for k in range(count)]
        write_pictures(tmp_path / name, *pictures, names=[f"{k}.png" for k in range(count)])
    return open_dataset(tmp_path, factor=4)


def test_scores_are_those_of_each_frame(frames: Dataset) -> None:
    """Every frame is measured against its own truth, and means are over frames, not over clips."""
    (result,) = evaluate([frames], {"blend": blend, "perfect": Perfect()})
    blended, perfect = result.methods
    assert (result.pairs, len(blended.frames)) == (3, 9)
    assert [(score.clip, score.frame) for score in blended.frames] == [
        *(("long", k) for k in (1, 2, 3, 5, 6, 7)),
        *(("short", k) for k in (1, 2, 3)),
    ]
    (mixed,) = blend(moving(4), moving(8), [Fraction(1, 4)])
    assert blended.frames[3].metrics == measure(mixed, moving(5))
    expected = np.mean([score.metrics.psnr for score in blended.frames])
    assert blended.scores.psnr == pytest.approx(expected)
    assert blended.scores.count == 9
    assert (perfect.scores.psnr, perfect.scores.ssim, perfect.scores.ie) == (100, pytest.approx(1), 0)
    assert {name: mean_scores(scores).count for name, scores in blended.clips.items()} == {"long": 6, "short": 3}
    assert [(t, len(scores)) for t, scores in blended.timesteps.items()] == [
        (Fraction(1, 4), 3),
        (Fraction(1, 2), 3),
        (Fraction(3, 4), 3),
    ]


def test_the_first_call_is_not_timed(frames: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads and warms up; what follows counts, for each of its frames."""
    now = [0.0]
    costs = iter([100.0, 3.0, 6.0])

    def method(first: np.ndarray, second: np.ndarray, timesteps: Sequence[Fraction], /) -> list[np.ndarray]:
        now[0] += next(costs)
        return blend(first, second, timesteps)

    monkeypatch.setattr("slomo_cli.evaluate.run.time.perf_counter", lambda: now[0])
    (result,) = evaluate([frames], {"slow": method})
    assert result.methods[0].seconds_per_frame == pytest.approx((3 + 6) / 6)


def test_score_method_is_the_mean_and_obeys_its_limit(frames: Dataset) -> None:
    """What the trainer asks for: four numbers, from so many pairs at most."""
    (result,) = evaluate([frames], {"blend": blend})
    assert score_method(blend, frames) == result.methods[0].scores
    method = Perfect()
    scores = score_method(method, frames, limit=2)
    assert scores.count == 6 and len(method.asked) == 2


def test_progress_counts_every_picture(frames: Dataset) -> None:
    """Progress ends at the total announced by ``count``."""
    told: list[int] = []
    evaluate([frames], {"a": blend, "b": nearest}, advance=told.append)
    assert sum(told) == frames.count() * 3 * 2


def test_worst_cases_are_the_worst(frames: Dataset) -> None:
    """Worst first, one per window, with the pictures they are about."""
    (result,) = evaluate([frames], {"nearest": nearest}, worst=2)
    cases = result.methods[0].worst
    by_window: dict[tuple[str, int], float] = {}
    for score in result.methods[0].frames:
        place = (score.clip, (score.frame - 1) // 4)
        by_window[place] = min(by_window.get(place, math.inf), score.metrics.psnr)
    assert [case.score.metrics.psnr for case in cases] == sorted(by_window.values())[:2]
    for case in cases:
        assert case.score.metrics == measure(case.result, case.truth)
        seed = ("long", "short").index(case.score.clip)
        np.testing.assert_array_equal(case.truth, moving(case.score.frame, seed))
    assert evaluate([frames], {"nearest": nearest})[0].methods[0].worst == []


def test_a_method_that_forgets_a_picture_is_a_bug(frames: Dataset) -> None:
    """Too few pictures are not scored as if they were all."""
    with pytest.raises(ValueError, match="lazy: expected 3 pictures, found 1"):
        evaluate([frames], {"lazy": lambda first, second, timesteps: [first]})


def shows(page: RGB, part: RGB) -> bool:
    height, width = part.shape[:2]
    corners = np.argwhere((page[: 1 - height or None, : 1 - width or None] == part[0, 0]).all(2)).tolist()
    return any(np.array_equal(page[y : y + height, x : x + width], part) for y, x in corners)


def test_sheet_shows_pictures_and_motion(frames: Dataset) -> None:
    """The sheet holds inputs, result and truth, and for a network the colours of its flow; so large that their numbers
    are read to the end."""
    results = evaluate([frames], {"perfect": Perfect()}, worst=1)
    (case,) = results[0].methods[0].worst
    page = worst_sheet(results, Perfect())
    for picture in (case.window.first, case.window.second, case.result, case.truth):
        assert shows(page, picture.repeat(5, 0).repeat(5, 1))
    score = case.score.metrics
    assert shows(page, text("px"))
    assert shows(page, text(f"result: {score.psnr:.2f} dB {score.ssim:.4f} IE {score.ie:.2f}"))
    assert (page == (255, 0, 0)).all(2).sum() >= 32 * 48  # flow to the second: to the right, red
    assert (page == (128, 128, 128)).all(2).sum() >= 32 * 48  # visibility of one half
    plain = worst_sheet(evaluate([frames], {"blend": blend}, worst=1), blend)
    assert plain.shape[1] < page.shape[1]


def test_reports_agree(frames: Dataset) -> None:
    """JSON and CSV hold the same numbers as the run; JSON has no NaN."""
    results = evaluate([frames], {"blend": blend, "perfect": Perfect()})
    document = json.loads(to_json(results))
    (held,) = document["sets"]
    assert (held["layout"], held["factor"], held["pairs"]) == ("frames", 4, 3)
    blended, perfect = held["methods"]
    assert blended["psnr"] == pytest.approx(results[0].methods[0].scores.psnr, abs=1e-6)
    assert perfect["device"] == "a crystal ball"
    assert [entry["timestep"] for entry in blended["timesteps"]] == [0.25, 0.5, 0.75]
    flat = [score for clip in blended["clips"] for score in clip["scores"]]
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    assert len(rows) == 18
    for row, score in zip([row for row in rows if row["method"] == "blend"], flat, strict=True):
        assert int(row["frame"]) == score["frame"]
        for name in ("timestep", "psnr", "ssim", "ie"):
            assert float(row[name]) == pytest.approx(score[name], abs=1e-6)


def test_a_run_of_nothing_is_null_not_nan(frames: Dataset) -> None:
    """A set whose windows never came still makes valid JSON and a table."""
    results = evaluate([Dataset("empty", "frames", 2, ())], {"blend": blend})
    assert json.loads(to_json(results))["sets"][0]["methods"][0]["psnr"] is None
    out = io.StringIO()
    print_tables(results, Console(file=out, width=120), clips=True)
    assert "empty: 0 clips, 0 pairs" in out.getvalue()


@pytest.mark.parametrize(("clips", "rows"), [(None, 2), (True, 2), (False, 0)])
def test_table(frames: Dataset, clips: bool | None, rows: int) -> None:
    """Set means always, clip means for small sets or on demand; markup in names is shown, not obeyed."""
    results = evaluate([frames], {"[bold]blend": blend})
    out = io.StringIO()
    print_tables(results, Console(file=out, width=120), clips)
    shown = out.getvalue()
    assert "2 clips, 3 pairs" in shown and "[bold]blend" in shown
    assert sum(line.startswith(("│ long", "│ short")) for line in shown.splitlines()) == rows
    assert f"{results[0].methods[0].scores.psnr:.2f}" in shown


@pytest.mark.parametrize("columns", [80, 40])
def test_numbers_are_whole_on_narrow_terminals(tmp_path: Path, columns: int) -> None:
    """Names are broken, however long."""
    name = "a_scene_with_a_long_name_of_its_own"
    for number in "12":
        write_pictures(tmp_path / f"{name}_{number}", *[moving(k) for k in range(3)], names=["0.png", "1.png", "2.png"])
    results = evaluate([open_dataset(tmp_path)], {"minterpolate:mc_mode=aobmc": blend})
    out = io.StringIO()
    print_tables(results, Console(file=out, width=columns))

    scores = results[0].methods[0].scores
    assert "…" not in out.getvalue() and name[:4] in out.getvalue()
    assert out.getvalue().count(f"{scores.psnr:.2f}") == out.getvalue().count(f"{scores.ssim:.4f}") == 3


def test_scores_do_not_depend_on_the_clips_before(tmp_path: Path) -> None:
    """What is a cut is judged within a clip."""
    rng = np.random.default_rng(3)
    for name in ("a", "b"):
        folder = tmp_path / "both" / name
        folder.mkdir(parents=True)
        pictures = [moving(k, 1) for k in range(9)]
        if name == "a":  # nothing here is like what came before
            pictures = [rng.integers(0, 256, pictures[0].shape).astype(np.uint8) for _ in pictures]
        else:  # a change that is a cut, but not after what is in a
            spots = rng.integers(-90, 90, pictures[0].shape)
            pictures[3:] = [np.clip(picture + spots, 0, 255).astype(np.uint8) for picture in pictures[3:]]
        write_pictures(folder, *pictures, names=[f"{k}.png" for k in range(9)])
    with Network(ComputeSettings(device="cpu", dtype="float32")) as method:
        both, alone = (evaluate([open_dataset(tmp_path / "both" / path)], {"m": method})[0] for path in ("", "b"))
    scores = [score.metrics for score in both.methods[0].frames if score.clip == "b"]
    assert scores == [score.metrics for score in alone.methods[0].frames]

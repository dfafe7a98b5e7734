"""The sheet of worst cases: one row per case, from the inputs to the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from slomo_cli.errors import printable
from slomo_cli.evaluate.methods import Method
from slomo_cli.evaluate.run import SetResult, WorstCase
from slomo_cli.picture import RGB, Tile, error_to_rgb, flow_to_rgb, gray_to_rgb, sheet, shrink

ERROR_GAIN = 4.0

_NARROWEST = 210
"""Pixels across that the longest label with numbers takes; pictures are enlarged to more, or reduced to less than
twice as many."""


def worst_sheet(results: Sequence[SetResult], method: Method) -> RGB:
    """The worst cases of the first method in all sets, as one picture.

    ``method``: that method, asked again for its motion where it has any.
    """
    rows = []
    title = ""
    for result in results:
        run = result.methods[0]
        title = title or f"worst cases of {run.method}; error is the difference times {ERROR_GAIN:g}"
        for case in run.worst:
            rows.append([Tile(_sized(tile.picture), tile.label) for tile in _row(result, case, method)])
    return sheet(rows, title)


def _sized(picture: RGB) -> RGB:
    times = -(-_NARROWEST // picture.shape[1])
    return picture.repeat(times, 0).repeat(times, 1) if times > 1 else shrink(picture, 2 * _NARROWEST)


def _row(result: SetResult, case: WorstCase, method: Method) -> list[Tile]:
    score = case.score
    numbers = f"result: {score.metrics.psnr:.2f} dB {score.metrics.ssim:.4f} IE {score.metrics.ie:.2f}"
    tiles = [
        Tile(case.window.first, f"{printable(result.dataset.name)}: {printable(score.clip)}"),
        Tile(case.window.second, "second input"),
        Tile(case.result, numbers),
        Tile(case.truth, f"truth: frame {score.frame}, t {_short(score.timestep)}"),
        Tile(error_to_rgb(case.result, case.truth, ERROR_GAIN), "error"),
    ]
    motion_of = getattr(method, "motion", None)
    if motion_of is None:
        return tiles
    motion = motion_of(case.window, (score.timestep,))
    flows = (motion.flow_t0[0], motion.flow_t1[0])
    # One scale for both, so that their colours can be compared.
    largest = max(1.0, *(float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99.5)) for flow in flows))
    tiles += [
        Tile(flow_to_rgb(flow, largest), f"flow to {end}, full colour {largest:.1f} px")
        for flow, end in zip(flows, ("first", "second"), strict=True)
    ]
    return [*tiles, Tile(gray_to_rgb(motion.visibility[0]), "visibility of first")]


def _short(timestep: Fraction) -> str:
    return str(timestep) if timestep.denominator <= 64 else f"{float(timestep):.3f}"

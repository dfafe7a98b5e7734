"""Results as tables on the screen, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from slomo_cli import __version__
from slomo_cli.errors import printable
from slomo_cli.evaluate.run import FrameScore, MethodResult, Scores, SetResult, mean_scores
from slomo_cli.text import counted

if TYPE_CHECKING:
    from rich.console import Console

CLIPS_SHOWN = 20
"""Sets of more clips show only their means unless all are asked for."""

NARROWEST = 70
"""Columns that a table takes on any terminal: seven numbers and two names of a few letters."""

COLUMNS = ("set", "method", "clip", "frame", "timestep", "psnr", "ssim", "ie")


def print_tables(results: Sequence[SetResult], console: Console, clips: bool | None = None) -> None:
    """One table per set: a row per method, before it a row per clip and method.

    ``clips``: show the rows of clips; None shows them where there are between 2 and CLIPS_SHOWN. Names are broken where
    the console is narrow, never numbers.
    """
    from rich.table import Table
    from rich.text import Text

    for result in results:
        names = list(dict.fromkeys(name for method in result.methods for name in method.clips))
        several = 2 <= len(names) <= CLIPS_SHOWN if clips is None else clips
        table = Table(title=Text(_title(result)), title_justify="left", title_style="bold")
        if several:
            table.add_column("clip", overflow="fold")
        table.add_column("method", overflow="fold")
        for heading in ("PSNR dB", "SSIM", "IE", "frames", "s/frame"):
            table.add_column(heading, justify="right", no_wrap=True)
        if several:
            parts = [method.clips for method in result.methods]
            for name in names:
                for place, (method, clip_frames) in enumerate(zip(result.methods, parts, strict=True)):
                    shown = Text(printable(name) if place == 0 else "")
                    table.add_row(shown, Text(method.method), *_cells(mean_scores(clip_frames.get(name, []))), "")
            table.add_section()
        for place, method in enumerate(result.methods):
            first = [Text("mean of frames" if place == 0 else "")] if several else []
            cells = (*_cells(method.scores), f"{method.seconds_per_frame:.3f}")
            table.add_row(*first, Text(method.method), *cells, style="bold")
        if console.width < NARROWEST:  # made to fit, numbers would be cut off: rather let the terminal break lines
            table.width = console.measure(table, options=console.options.update_width(NARROWEST)).maximum
        console.print(table, crop=False)


def _title(result: SetResult) -> str:
    name = printable(result.dataset.name)
    if result.dataset.layout == "triplets":
        return f"{name}: {counted(result.pairs, 'triplet')}"
    clips = len(result.dataset.clips)
    return f"{name}: {counted(clips, 'clip')}, {counted(result.pairs, 'pair')}"


def _cells(scores: Scores) -> tuple[str, str, str, str]:
    if not scores.count:
        return "-", "-", "-", "0"
    return f"{scores.psnr:.2f}", f"{scores.ssim:.4f}", f"{scores.ie:.2f}", str(scores.count)


def to_json(results: Sequence[SetResult]) -> str:
    """Everything, indented: sets, failures, methods, timesteps, clips, frames. A mean of no frames is null."""
    document = {"slomo": __version__, "sets": [_set(result) for result in results]}
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _set(result: SetResult) -> dict[str, Any]:
    return {
        "set": printable(result.dataset.name),
        "layout": result.dataset.layout,
        "factor": result.dataset.factor,
        "pairs": result.pairs,
        "failures": [{"clip": printable(name), "text": str(error)} for name, error in result.failures],
        "methods": [_method(method) for method in result.methods],
    }


def _method(method: MethodResult) -> dict[str, Any]:
    return {
        "method": method.method,
        **method.about,
        **_means(method.scores),
        "seconds_per_frame": round(method.seconds_per_frame, 6),
        "timesteps": [
            {"timestep": float(t), **_means(mean_scores(frames))} for t, frames in _common(method.timesteps).items()
        ],
        "clips": [
            {"clip": printable(name), **_means(mean_scores(frames)), "scores": [_frame(score) for score in frames]}
            for name, frames in method.clips.items()
        ],
    }


def _common(timesteps: dict[Fraction, list[FrameScore]]) -> dict[Fraction, list[FrameScore]]:
    """Means per timestep say something where frames are evenly spaced; uneven stamps give a new one each time."""
    return timesteps if len(timesteps) <= 64 else {}


def _means(scores: Scores) -> dict[str, float | int | None]:
    values = asdict(scores)
    frames = values.pop("count")
    return {**{name: round(value, 6) if frames else None for name, value in values.items()}, "frames": frames}


def _frame(score: FrameScore) -> dict[str, float | int]:
    metrics = {name: round(value, 6) for name, value in score.metrics._asdict().items()}
    return {"frame": score.frame, "timestep": float(score.timestep), **metrics}


def to_csv(results: Sequence[SetResult]) -> str:
    """One line per frame, method and set, under a line of headings (``COLUMNS``)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        for method in result.methods:
            for score in method.frames:
                place = (printable(result.dataset.name), method.method, printable(score.clip), score.frame)
                numbers = (f"{value:.6f}" for value in (float(score.timestep), *score.metrics))
                writer.writerow((*place, *numbers))
    return out.getvalue()

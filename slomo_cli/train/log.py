"""The log of a run: JSON lines, tensorboard where it is installed, and a plot."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slomo_cli.errors import SlomoError, printable
from slomo_cli.picture import line_plot, write_png
from slomo_cli.whole import whole

LOG = "log.jsonl"
PLOT = "loss.png"


class Log:
    """One JSON object per line, on disk as soon as it is written; also to tensorboard where that is installed."""

    def __init__(self, folder: Path, resumed_at: int, tensorboard: bool) -> None:
        self._path = folder / LOG
        self._board = _tensorboard(folder, resumed_at) if tensorboard else None
        if self._path.exists():
            # What came after the checkpoint will come again.
            try:
                kept = [line for line in read_log(self._path) if line.get("step", 0) <= resumed_at]
                with whole(self._path) as new:
                    new.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
            except OSError as error:
                raise self._cannot(error) from error

    def add(self, line: Mapping[str, Any]) -> None:
        """Write one line."""
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(dict(line)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._cannot(error) from error
        if self._board is not None:
            for name, value in (dict(line) | line.get("validation", {})).items():
                if isinstance(value, (int, float)) and name != "step":
                    self._board.add_scalar(name, value, line["step"])

    def _cannot(self, error: OSError) -> SlomoError:
        return SlomoError(
            f"cannot write the log {printable(self._path)}: {error.strerror or error}; free some space and run the "
            "same command again to resume"
        )


def _tensorboard(folder: Path, resumed_at: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    # Here, too, what came after the checkpoint will come again: it is hidden from this step on.
    return SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1)


def read_log(file: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; one that a crash has cut short or damaged is left out."""
    lines = []
    if file.exists():
        for text in file.read_text("utf-8", "replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                lines.append(line)
    return lines


def plot_losses(folder: Path) -> None:
    """Draw ``loss.png`` from the log: the parts of the loss, and PSNR of training and validation."""
    lines = read_log(folder / LOG)
    steps = [line for line in lines if "total" in line]
    if len(steps) < 2:
        return
    # As for decibel: it is minus the PSNR, drawn below.
    aside = {"step", "seconds", "windows", "windows_per_second", "rate", "norm", "psnr", "decibel", "skipped"}
    names = sorted({name for line in steps for name, value in line.items() if _number(value)} - aside)
    x = [float(line["step"]) for line in steps]
    losses = {name: (x, [float(line.get(name, np.nan)) for line in steps]) for name in names}
    scores = {"training": (x, [float(line.get("psnr", np.nan)) for line in steps])}
    judged = [line for line in lines if "validation" in line]
    for name in sorted({name for line in judged for name in line["validation"] if not name.endswith(" ssim")}):
        here = [line for line in judged if line["validation"].get(name) is not None]
        scores[name] = ([float(line["step"]) for line in here], [float(line["validation"][name]) for line in here])
    # With decibel the total may be below 0, where there is no logarithm.
    positive = all(value > 0 for value in losses.get("total", ((), ()))[1])
    title = "losses, unweighted, and their weighted total"
    top = line_plot(losses, title=title, x_label="step", log_y=positive, width=960)
    bottom = line_plot(scores, title="PSNR, dB", x_label="step", width=960)
    write_png(folder / PLOT, np.concatenate((top, bottom)))


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

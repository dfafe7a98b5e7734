"""The text of a plan, for ``--dry-run``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from slomo_cli.errors import printable
from slomo_cli.text import columns, counted, decimal

if TYPE_CHECKING:
    from slomo_cli.pipeline import ConversionPlan


def plan_text(name: str, target: Path | None, job: ConversionPlan) -> str:
    """The plan in two columns under the input's name."""
    plan, timing = job.plan, job.timing
    exact = f" ({plan.rate})" if plan.rate.denominator != 1 else ""
    rows = [
        ("output", "stdout" if target is None else printable(target)),
        ("in", f"{counted(timing.frames_from_packets, 'frame')}, {float(timing.duration):.3f} s"),
        ("out", f"{counted(plan.frames, 'frame')}, {float(plan.duration):.3f} s at {decimal(plan.rate)}{exact} fps"),
        *[("note", note) for note in job.notes],
        ("encoder", printable(shlex.join(job.encoder_args))),
        *([("join", printable(shlex.join(job.join_args)))] if job.join_args else []),
    ]
    return "\n".join([printable(name), *columns(rows)])

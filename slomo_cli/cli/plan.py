"""The text of a plan, for ``--dry-run``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from slomo_cli.errors import printable
from slomo_cli.text import columns, counted, decimal

if TYPE_CHECKING:
    from slomo_cli.pipeline import ConversionPlan


def plan_text(name: str, target: Path | None, plan: ConversionPlan) -> str:
    """The plan in two columns under the input's name."""
    exact = f" ({plan.rate_out})" if plan.rate_out.denominator != 1 else ""
    made = counted(plan.frames_out, "frame")
    rows = [
        ("output", "stdout" if target is None else printable(target)),
        ("in", f"{counted(plan.frames_in, 'frame')}, {float(plan.duration_in):.3f} s"),
        ("out", f"{made}, {float(plan.duration_out):.3f} s at {decimal(plan.rate_out)}{exact} fps"),
        *[("note", note) for note in plan.notes],
        ("encoder", printable(shlex.join(plan.encoder_args))),
        *([("join", printable(shlex.join(plan.join_args)))] if plan.join_args else []),
    ]
    return "\n".join([printable(name), *columns(rows)])

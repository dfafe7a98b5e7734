"""``slomo doctor``: the checks of ``slomo_cli.doctor``, on screen or as JSON.

JSON: ``{"status": "ok" | "warn" | "fail", "checks": [{"name", "status", "text", "advice", "details"}]}``.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from typing import TYPE_CHECKING

import click

from slomo_cli.cli.help import Command, option
from slomo_cli.cli.options import FILE

if TYPE_CHECKING:
    from slomo_cli.doctor import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    "doctor",
    cls=Command,
    short_help="Check this machine: torch, device, ffmpeg, weights.",
    examples="""
    slomo doctor
    slomo doctor --ffmpeg ~/bin/ffmpeg
    slomo doctor --json | jq '.checks[] | select(.status != "ok")'
    """,
)
@option(
    "--ffmpeg", type=FILE, metavar="PATH", shared=False, help="Examine this ffmpeg instead of the one slomo would find."
)
@option("--json", "as_json", is_flag=True, shared=False, help="One JSON object.")
@click.pass_context
def command(ctx: click.Context, ffmpeg: str | None, as_json: bool) -> None:
    """Say what works on this machine, what does not, and what to do about it.

    Ends with 1 when something fails that every conversion needs, else with 0.
    """
    from slomo_cli.doctor import examine

    checks = []
    for check in examine(ffmpeg):
        checks.append(check)
        if not as_json:
            click.echo("\n".join(check_lines(check)))
    worst = max((check.status for check in checks), key=("ok", "warn", "fail").index)
    if as_json:
        listed = [dataclasses.asdict(check) for check in checks]
        click.echo(json.dumps({"status": worst, "checks": listed}, indent=2))
    elif worst == "ok":
        click.echo("All is well.")
    ctx.exit(1 if worst == "fail" else 0)


def check_lines(check: Check) -> list[str]:
    """Status, name and text in columns of 80 characters, the advice below them; the text below too where few fit."""
    columns = max(20, min(80, shutil.get_terminal_size().columns))
    margin = " " * (23 if columns >= 60 else 5)
    status = click.style(f"{check.status:<5}", fg=_COLOURS[check.status])
    width = columns - len(margin)
    lines = textwrap.wrap(check.text, width, break_long_words=False, break_on_hyphens=False) or [""]
    advice = textwrap.wrap(check.advice, width - 3) if check.advice else []
    name = f"{check.name:<18}{lines.pop(0)}" if columns >= 60 else check.name
    return [
        f"{status}{name}",
        *(f"{margin}{line}" for line in lines),
        *(f"{margin}{'-> ' if number == 0 else '   '}{line}" for number, line in enumerate(advice)),
    ]

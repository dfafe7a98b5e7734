"""``slomo fps``: another frame rate, the same duration."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import click

from slomo_cli.cli import batch, jobs, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.types import RATE


@click.command(
    "fps",
    cls=Command,
    short_help="Change the frame rate, keep the duration.",
    examples="""
    slomo fps in.mp4 --target 240
    slomo fps in.mp4 --target 60000/1001 -o out.mp4
    slomo fps film.mkv --target 23.976
    slomo fps *.mp4 --target 60 --out-dir smooth
    """,
)
@options.inputs
@option(
    "--target",
    type=RATE,
    metavar="FPS",
    required=True,
    guesses=("fps", "rate"),
    group="Time",
    help="Frames per second of the result: 240, 60000/1001; 23.976 means 24000/1001.",
)
@options.span
@options.conversion
@click.pass_context
def command(ctx: click.Context, /, inputs: tuple[str, ...], target: Fraction, **values: Any) -> None:
    """Change a video's frame rate and keep its duration and sound.

    Without -o, in.mp4 becomes in.240fps.mp4 beside it. Any target will do, also one below the source's rate.
    """
    from slomo_cli.values import TimeSettings

    time = options.settings(TimeSettings, values, rate=target)
    ctx.exit(batch.run(inputs, time, values, tag=jobs.tag_of_rate(target)))

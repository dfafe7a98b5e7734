"""``slomo convert``: slower by any factor, at any rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import click

from slomo_cli.cli import batch, jobs, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.types import FACTOR, RATE, Number
from slomo_cli.errors import UsageError


@click.command(
    "convert",
    cls=Command,
    short_help="Make a video slower.",
    examples="""
    slomo convert in.mp4 --factor 8 -o out.mp4
    slomo convert in.mp4 --factor 2.5 --rate 60
    slomo convert in.mp4 --start 0:10 --end 0:14.5
    slomo convert in.mp4 --speed "0-2:1, 2-3.5:0.125, 3.5-:1"
    slomo convert in.mp4 --auto-factor 4
    slomo convert *.mov --factor 4 --out-dir slow
    slomo convert - -o - < in.mp4 | mpv -
    """,
)
@options.inputs
@option("--factor", type=FACTOR, metavar="NUMBER", default="8", group="Time", help="Times slower: 2, 2.5, 30000/1001.")
@option(
    "--auto-factor",
    type=Number(float, 0.01, 10_000),
    metavar="PIXELS",
    rivals=("factor", "speed"),
    group="Time",
    help="Measure the motion instead, and choose the factor at which hardly anything moves further a frame.",
)
@option(
    "--rate",
    type=RATE,
    metavar="FPS",
    guesses=("fps", "target"),
    group="Time",
    help="Frames per second of the result; else the source's.",
)
@options.span
@option(
    "--speed",
    metavar="CURVE",
    rivals=("factor", "auto_factor"),
    group="Time",
    help="Speed as a curve instead of --factor: 0-2:1, 2-3:1~0.125, 3-:1.",
)
@option("--loop", is_flag=True, group="Time", help="Lead the last frame back to the first, for seamless loops.")
@option(
    "--vfr",
    type=click.Choice(["constant", "keep"]),
    default="constant",
    group="Time",
    help="A source of uneven rate: write a constant rate, or keep its own times.",
)
@options.conversion
@click.pass_context
def command(
    ctx: click.Context,
    /,
    inputs: tuple[str, ...],
    factor: Fraction,
    auto_factor: float | None,
    rate: Fraction | None,
    speed: str | None,
    loop: bool,
    vfr: Literal["constant", "keep"],
    **values: Any,
) -> None:
    """Make a video slower, its frame rate kept or set by --rate.

    Without -o, in.mp4 becomes in.x8.mp4 beside it. Output frame k shows the source at k / (rate x factor) seconds.
    """
    if speed is not None and auto_factor is not None:
        raise UsageError("--speed says how slow each part is: leave out --auto-factor")
    if speed is not None or auto_factor is not None:
        if ctx.get_parameter_source("factor") is click.core.ParameterSource.COMMANDLINE:
            what = "--speed says how slow each part is" if speed is not None else "--auto-factor chooses the factor"
            raise UsageError(f"{what}: leave out --factor")
        factor = Fraction(1)
    if vfr == "keep" and rate is not None:
        raise UsageError("--vfr keep writes the source's own times: leave out --rate")
    tag = "speed" if speed is not None else "auto" if auto_factor is not None else jobs.tag_of_factor(factor)
    from slomo_cli.values import TimeSettings

    own = {"factor": factor, "auto_factor": auto_factor, "rate": rate, "speed": speed, "loop": loop, "vfr": vfr}
    ctx.exit(batch.run(inputs, options.settings(TimeSettings, values, **own), values, tag=tag))

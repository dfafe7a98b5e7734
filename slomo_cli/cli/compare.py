"""``slomo compare``: a source and what slomo made of it, side by side."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import click

from slomo_cli.cli import files, jobs, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.types import FACTOR, Number
from slomo_cli.errors import UsageError


@click.command(
    "compare",
    cls=Command,
    short_help="Show a source and what slomo made of it side by side.",
    examples="""
    slomo compare in.mp4 in.x8.mp4
    slomo compare in.mp4 in.x8.mp4 --wipe -o wipe.mp4
    slomo compare in.mp4 part.mp4 --start 0:10 --end 0:14.5
    slomo compare in.mp4 in.speed.mp4 --speed "0-2:1, 2-3.5:0.125, 3.5-:1"
    """,
)
@click.argument("source", type=options.FILE)
@click.argument("made", type=options.FILE)
@options.span
@option("--factor", type=FACTOR, metavar="NUMBER", group="Time", help="Times slower; else the durations tell.")
@option("--speed", metavar="CURVE", group="Time", help="The speed curve of the conversion.")
@options.input_rate
@option(
    "--method",
    type=click.Choice(["repeat", "blend"]),
    default="repeat",
    group="Picture",
    help="How the source fills the time between its frames.",
)
@option("--wipe", is_flag=True, group="Picture", help="One over the other, with a moving line between them.")
@option(
    "--width",
    type=Number(int, 64, 16384),
    metavar="PIXELS",
    default=1920,
    group="Picture",
    help="Of the whole, at most.",
)
@option(
    "-o", "--output", type=options.FILE, metavar="FILE", group="Output", help="Where to write; else in.x8.compare.mp4."
)
@option("-y", "--overwrite", is_flag=True, group="Output", help="Replace what is there without asking.")
@options.coding
@options.program
@options.messages
def command(
    source: str,
    made: str,
    factor: Fraction | None,
    speed: str | None,
    method: Literal["repeat", "blend"],
    wipe: bool,
    width: int,
    output: str | None,
    overwrite: bool,
    **values: Any,
) -> None:
    """Write a clip with the source on the left and the video slomo made on the right, each at the same moment.

    The left side repeats the source's frames, as a player does that plays it slowly. MADE sets rate, length and sound;
    how many times slower it is follows from the two durations (of the range, if --start and --end were used).
    """
    with options.reporting(values) as reporter:
        if files.STREAM in (source, made):
            raise UsageError("compare needs two files, found stdin (-)")
        if factor is not None and speed is not None:
            raise UsageError("--speed says how slow each part is: leave out --factor")
        usual = Path(made).parent / f"{jobs.plain_name(Path(made))}.compare.mp4"
        target = None if output == files.STREAM else Path(output) if output else usual
        replace = files.may_make(target, (Path(source), Path(made)), overwrite=overwrite)
        if replace is None:
            return
        from slomo_cli.compare import compare
        from slomo_cli.values import EncodeSettings, TimeSettings

        compare(
            source,
            made,
            target,
            layout="wipe" if wipe else "side",
            method=method,
            factor=factor,
            time=options.settings(TimeSettings, values, speed=speed),
            width=width,
            encode=options.settings(EncodeSettings, values, overwrite=replace),
            progress=reporter,
        )

"""``slomo preview``: what slomo makes of one pair of pictures, on a sheet to look at."""

from __future__ import annotations

import os
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from slomo_cli.cli import files, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.types import TIME, Number
from slomo_cli.errors import UsageError, printable


@click.command(
    "preview",
    cls=Command,
    short_help="Draw a pair, the pictures between, flows and visibility.",
    examples="""
    slomo preview in.mp4 --at 12.5
    slomo preview in.mp4 --at 1:30 --frames 7 -o sheet.png
    slomo preview in.mp4 --at 12.5 --weights other.safetensors -o other.png
    """,
)
@click.argument("file", type=options.FILE)
@option(
    "--at", type=TIME, metavar="TIME", required=True, group="Time", help="Where to look: 12.5, 1:30 or 00:01:30.250."
)
@option("--frames", type=Number(int, 1, 15), metavar="COUNT", default=3, group="Time", help="In-between pictures.")
@options.input_rate
@option(
    "-o",
    "--output",
    type=options.FILE,
    metavar="FILE.png",
    group="Output",
    help="Where to draw; else in.preview.png; - is stdout.",
)
@option("-y", "--overwrite", is_flag=True, group="Output", help="Replace what is there without asking.")
@options.picture
@options.compute
@options.motion
def command(file: str, at: Fraction, frames: int, output: str | None, overwrite: bool, **values: Any) -> None:
    """Draw the two pictures around a time, the pictures slomo makes between them, both flows and the visibility.

    Says how far things move, and whether a cut or a repeated picture was found there. Flows are coloured by direction
    (see the circle) and length; visibility is white where a picture's content is taken from the left one.
    """
    source = Path(file)
    if file == files.STREAM:
        raise UsageError("preview needs a file it can seek in, found stdin (-)")
    # Beside the folder where a pattern names pictures in it: the sheet must not become one of them.
    named = source.parent if re.search(r"[%*?]", source.name) and not os.path.exists(source) else source
    named = named if named.name else named.resolve()
    target = None if output == files.STREAM else Path(output or named.parent / f"{named.stem}.preview.png")
    if target is not None and target.suffix.lower() != ".png":
        raise UsageError(f"the sheet is written as PNG: expected a name ending in .png, found '{printable(target)}'")
    if files.may_make(target, [source], overwrite=overwrite) is None:
        return
    from slomo_cli.picture import encode_png, write_png
    from slomo_cli.preview import preview
    from slomo_cli.values import ComputeSettings, TimeSettings

    time, compute = options.settings(TimeSettings, values), options.settings(ComputeSettings, values)
    drawn = preview(source, at, frames=frames, time=time, compute=compute)
    if target is None:
        sys.stdout.buffer.write(encode_png(drawn.picture))
        return
    write_png(target, drawn.picture)
    click.echo("\n".join([*drawn.lines, f"drawn in {printable(target)}"]))

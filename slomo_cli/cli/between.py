"""``slomo between``: two still pictures in, the pictures between them out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from slomo_cli.cli import files, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.types import RATE, Number
from slomo_cli.errors import UsageError, printable


@click.command(
    "between",
    cls=Command,
    short_help="Make the pictures between two still pictures.",
    examples="""
    slomo between a.png b.png --frames 7 -o out_%03d.png
    slomo between a.jpg b.jpg -o middle.jpg
    slomo between a.tif b.tif --frames 58 -o clip.mp4 --rate 30
    slomo between a.png b.png --frames 20 -o loop.gif --rate 20
    """,
)
@click.argument("first", type=options.FILE)
@click.argument("second", type=options.FILE)
@option("--frames", type=Number(int, 1, 100_000), metavar="COUNT", default=1, group="Time", help="New pictures.")
@option(
    "--rate",
    type=RATE,
    metavar="FPS",
    default="30",
    guesses=("fps", "target"),
    group="Time",
    help="Frames per second of a clip.",
)
@option(
    "-o",
    "--output",
    type=options.FILE,
    metavar="FILE",
    required=True,
    group="Output",
    help="Images (out_%03d.png) or a clip.",
)
@option("-y", "--overwrite", is_flag=True, group="Output", help="Replace what is there without asking.")
@options.coding
@options.program
@options.compute
@options.messages
def command(first: str, second: str, frames: int, rate: Fraction, **values: Any) -> None:
    """Make pictures evenly spread between two still pictures.

    Images are numbered from 1 and hold the new pictures only; a clip (video, GIF, APNG, WebP) runs from the first
    picture through them to the second. Depth (8 or 16 bit) and transparency are kept where the format can.
    """
    with options.reporting(values) as reporter:
        if files.STREAM in (first, second):
            raise UsageError("between needs two files, found stdin (-)")
        output = values["output"]
        if output.endswith("/"):
            raise UsageError(f"-o expects a file name, found '{printable(output)}'")
        target = None if output == files.STREAM else Path(output)
        replace = files.may_make(target, (Path(first), Path(second)), overwrite=values["overwrite"])
        if replace is None:
            return
        from slomo_cli.stills import between
        from slomo_cli.values import ComputeSettings, EncodeSettings

        between(
            first,
            second,
            target,
            frames=frames,
            rate=rate,
            encode=options.settings(EncodeSettings, values, overwrite=replace),
            compute=options.settings(ComputeSettings, values),
            progress=reporter,
        )

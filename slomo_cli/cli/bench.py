"""``slomo bench``: how fast slomo is on this machine, on screen or as JSON (keys: ``slomo_cli.bench.report``)."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from slomo_cli.cli import files, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.streams import table_console
from slomo_cli.cli.types import FACTOR
from slomo_cli.errors import UsageError, printable
from slomo_cli.text import decimal

if TYPE_CHECKING:
    SizeType = click.ParamType[tuple[int, int]]
else:
    # The class takes a parameter only in newer releases of click.
    SizeType = click.ParamType

SIZES = {"448x256": (448, 256), "720p": (1280, 720), "1080p": (1920, 1080), "2160p": (3840, 2160)}


class Size(SizeType):
    """A name of SIZES, or WIDTHxHEIGHT with even sides of 32 and more."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return cast("tuple[int, int]", value)
        if value in SIZES:
            return SIZES[value]
        found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", str(value))
        size = (int(found[1]), int(found[2])) if found else (0, 0)
        if min(size) < 32 or size[0] % 2 or size[1] % 2:
            wanted = f"{', '.join(SIZES)}, or even WIDTHxHEIGHT of 32 and more"
            self.fail(f"expected {wanted}, found '{printable(value)}'", param, ctx)
        return size


@click.command(
    "bench",
    cls=Command,
    short_help="Measure the speed of every stage and of the whole.",
    examples="""
    slomo bench
    slomo bench --against minterpolate
    slomo bench in.mp4 --factor 4 --frames 60
    slomo bench --size 448x256 --size 1080p --json
    """,
)
@click.argument("file", required=False, type=options.FILE)
@option(
    "--size",
    "sizes",
    type=Size(),
    multiple=True,
    metavar="SIZE",
    shared=False,
    group="Clip",
    help="Of a clip made here: 448x256, 720p (unless told), 1080p, 2160p or WxH; may be repeated.",
)
@option(
    "--factor", type=FACTOR, metavar="NUMBER", default="8", shared=False, group="Clip", help="How many times slower."
)
@option(
    "--frames",
    type=click.IntRange(2, 10_000),
    metavar="COUNT",
    shared=False,
    group="Clip",
    help="Source frames to use; else as many as take some seconds.",
)
@option(
    "--repeats",
    type=click.IntRange(1, 100),
    metavar="COUNT",
    default=3,
    shared=False,
    group="Measure",
    help="Times everything is run; medians are shown.",
)
@option(
    "--against",
    type=click.Choice(["minterpolate"]),
    shared=False,
    group="Measure",
    help="Run ffmpeg's own interpolation on the same clip too.",
)
@option("--json", "as_json", is_flag=True, shared=False, group="Measure", help="One JSON object.")
@option(
    "--ffmpeg",
    type=options.FILE,
    metavar="PATH",
    shared=False,
    group="Measure",
    help="The ffmpeg to use; else SLOMO_FFMPEG, the one installed with slomo, PATH.",
)
@options.compute
@options.motion
def command(
    file: str | None,
    sizes: tuple[tuple[int, int], ...],
    factor: Fraction,
    frames: int | None,
    repeats: int,
    against: str | None,
    as_json: bool,
    ffmpeg: str | None,
    **values: Any,
) -> None:
    """Measure how fast slomo is here: decoder, network and encoder alone, then the whole conversion.

    Without FILE on clips made for the purpose, always the same. The whole runs in a process of its own, so that its
    start and its memory are those of a real conversion. Beside other work, trust CPU times and ratios.
    """
    from rich.console import Console

    from slomo_cli.bench.report import print_tables, to_json
    from slomo_cli.bench.run import bench
    from slomo_cli.values import ComputeSettings

    if file is not None and sizes:
        raise UsageError("--size is for clips made for the purpose: leave it out, or FILE")
    if factor < 2 or factor.denominator != 1:
        raise UsageError(f"--factor: expected a whole number from 2, found {decimal(factor)}")
    source = None
    if file is not None:
        source = Path(file)
        files.check_source(source)
    compute = options.settings(ComputeSettings, values)
    status = Console(stderr=True)
    results = []
    for size in dict.fromkeys(sizes) or [SIZES["720p"]]:
        with status.status("starting", spinner="line") as shown:
            results.append(
                bench(
                    source,
                    size,
                    factor,
                    compute,
                    frames=frames,
                    repeats=repeats,
                    against=against,
                    ffmpeg=ffmpeg,
                    say=lambda text: shown.update(text),
                )
            )
    if as_json:
        click.echo(to_json(results, _versions(ffmpeg)), nl=False)
        return
    print_tables(results, table_console())


def _versions(ffmpeg: str | None) -> dict[str, str]:
    from importlib.metadata import version

    from slomo_cli.media.ffmpeg import tools

    return {"torch": version("torch"), "ffmpeg": tools(ffmpeg).version}

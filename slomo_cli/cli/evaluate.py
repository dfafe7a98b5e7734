"""``slomo eval``: PSNR, SSIM and interpolation error against the truth."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slomo_cli.cli import files, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.streams import table_console
from slomo_cli.cli.types import Name, whole_numbers
from slomo_cli.errors import InputError, SlomoError, UsageError, printable
from slomo_cli.media.names import refuse_overwriting_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slomo_cli.evaluate.methods import Method
    from slomo_cli.evaluate.run import SetResult


@click.command(
    "eval",
    cls=Command,
    short_help="Measure against the truth: PSNR, SSIM, interpolation error.",
    examples="""
    slomo eval middlebury_other ucf101
    slomo eval clip.mp4 --factor 2,4,8 --limit 50
    slomo eval frames/ --against blend,minterpolate --sheet worst.png
    slomo eval middlebury_other --weights none --against blend --json -
    """,
)
@click.argument("paths", metavar="SET...", nargs=-1, required=True, type=Name(path_type=Path))
@option(
    "--factor",
    metavar="N[,N]",
    default="2",
    shared=False,
    group="Sets",
    help="Give every N-th frame, ask for the rest.",
)
@option(
    "--limit",
    type=click.IntRange(1),
    metavar="PAIRS",
    group="Sets",
    help="Pairs per set, spread over its clips; else all.",
)
@option(
    "--against",
    metavar="NAME[,NAME]",
    group="Methods",
    help="Measure these too: nearest, blend, minterpolate, minterpolate:OPTIONS of the filter, other weights.",
)
@option(
    "--ffmpeg",
    type=options.FILE,
    metavar="PATH",
    shared=False,
    group="Methods",
    help="The ffmpeg whose minterpolate is measured; else SLOMO_FFMPEG, the one installed with slomo, PATH.",
)
@option("--clips/--no-clips", default=None, group="Results", help="Show every clip's row; else those of small sets.")
@option(
    "--json",
    "json_file",
    type=options.FILE,
    metavar="FILE",
    shared=False,
    group="Results",
    help="All scores as JSON; - is stdout.",
)
@option(
    "--csv", "csv_file", type=options.FILE, metavar="FILE", group="Results", help="One line per frame; - is stdout."
)
@option(
    "--sheet",
    "sheet_file",
    type=options.FILE,
    metavar="FILE.png",
    group="Results",
    help="Draw the worst cases of the first method.",
)
@option(
    "--worst", type=click.IntRange(1, 100), metavar="COUNT", default=6, group="Results", help="Cases to draw per set."
)
@option("-y", "--overwrite", is_flag=True, group="Results", help="Replace what is there without asking.")
@options.compute
@options.motion
@options.messages
def command(
    paths: tuple[Path, ...],
    factor: str,
    limit: int | None,
    against: str | None,
    ffmpeg: str | None,
    clips: bool | None,
    json_file: str | None,
    csv_file: str | None,
    sheet_file: str | None,
    worst: int,
    overwrite: bool,
    **values: Any,
) -> None:
    """Measure a network, and what it is compared with, on pictures whose truth is known.

    SET is a folder of triplets (as Middlebury, UCF101 and Vimeo-90K are laid out), a folder of numbered frames, a
    folder of such folders or of videos, or a video. Means are over frames; --weights none measures --against alone.
    """
    from slomo_cli.evaluate.datasets import open_datasets
    from slomo_cli.evaluate.report import print_tables, to_csv, to_json
    from slomo_cli.evaluate.run import evaluate
    from slomo_cli.evaluate.worst import worst_sheet
    from slomo_cli.picture import write_png

    with options.reporting(values) as reporter, ExitStack() as stack:
        written = [name for name in (json_file, csv_file, sheet_file) if name is not None]
        if not _may_write(written, paths, overwrite):
            return
        if sheet_file is not None and not sheet_file.lower().endswith(".png"):
            raise UsageError(f"--sheet writes PNG: expected a name ending in .png, found '{printable(sheet_file)}'")
        sets = open_datasets(paths, whole_numbers("--factor", factor, 2, 64))
        read = [file for one in sets for clip in one.clips for file in clip.files]
        refuse_overwriting_inputs([Path(name) for name in written if name != files.STREAM], read)
        methods = _methods(values, against, ffmpeg, stack)
        total = sum(one.count(limit) * (one.factor - 1) for one in sets) * len(methods)
        reporter.start(total, "eval")
        kept = worst if sheet_file is not None else 0
        results = evaluate(sets, methods, limit=limit, worst=kept, advance=reporter.advance)
        for line in dict.fromkeys(line for one in sets for line in one.notes):
            reporter.note(line)
        reporter.close()
        failures = [failure for result in results for failure in result.failures]
        for clip, error in failures:
            reporter.error(error, clip)
        if not any(result.pairs for result in results):
            raise InputError("no pair could be measured")
        beside = files.STREAM in written  # the tables give way to what is asked for on stdout
        console = table_console(stderr=beside, quiet=beside and (values["quiet"] or values["progress"] == "json"))
        try:
            print_tables(results, console, clips)
        finally:  # the files hold the scores also where nobody reads the tables to their end
            for name, to_text in ((json_file, to_json), (csv_file, to_csv)):
                if name is not None:
                    _write(name, to_text(results))
        # Last, as it asks the network once more: the scores are safe by now.
        if sheet_file is not None:
            write_png(sheet_file, worst_sheet(results, next(iter(methods.values()))))
        if failures:
            raise _incomplete(results, sum(len(one.shares(limit)) + len(one.closed) for one in sets))


def _incomplete(results: Sequence[SetResult], clips: int) -> SlomoError:
    """That some of so many clips were not measured to their ends; of the kind of all failures, if they are of one."""
    kinds = {type(error) for result in results for _, error in result.failures}
    kind = kinds.pop() if len(kinds) == 1 else SlomoError
    lost = sum(len({clip for clip, _ in result.failures}) for result in results)
    return kind(f"{lost} of {clips} clips could not be measured to the end: the scores lack the rest")


def _methods(values: dict[str, Any], against: str | None, ffmpeg: str | None, stack: ExitStack) -> dict[str, Method]:
    """The network first, then what it is measured against, by the names they are shown under."""
    from slomo_cli.evaluate.methods import Network
    from slomo_cli.evaluate.rivals import RIVALS, rival
    from slomo_cli.values import ComputeSettings

    names = [] if values["weights"] == "none" else [values["weights"]]
    names += [name.strip() for name in (against or "").split(",") if name.strip()]
    methods: dict[str, Method] = {}
    for name in dict.fromkeys(names):
        if name.partition(":")[0] in RIVALS:
            methods[name] = rival(name, ffmpeg)
        else:
            # A file goes by its name, or by its whole path where two would be called the same.
            short = printable(Path(name).name)
            label = printable(name) if short in methods else short
            methods[label] = stack.enter_context(Network(options.settings(ComputeSettings, values, weights=name)))
    if not methods:
        raise UsageError("--weights none leaves nothing to measure: name something with --against")
    return methods


def _may_write(written: list[str], paths: tuple[Path, ...], overwrite: bool) -> bool:
    """Long work must not end at a folder that was never there, or at a file that is to stay."""
    if len({name if name == files.STREAM else os.path.realpath(name) for name in written}) < len(written):
        raise UsageError("--json, --csv and --sheet need a name each: two of them would be written to one place")
    for name in written:
        target = None if name == files.STREAM else Path(name)
        files.check_target(target, text=True)
        refuse_overwriting_inputs([target], [path for path in paths if not os.path.isdir(path)])
        if files.may_write(target, overwrite=overwrite) is None:
            return False
    return True


def _write(name: str, text: str) -> None:
    from slomo_cli.whole import write_whole

    if name == "-":
        click.echo(text, nl=False)
    else:
        write_whole(name, text.encode("utf-8", "backslashreplace"))

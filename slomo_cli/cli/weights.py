"""``slomo weights``: the released networks, checking files, importing published checkpoints.

JSON of ``list``: ``[{"name", "preset", "file", "bytes", "sha256", "licence", "summary", "record"}]``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slomo_cli.cli import files
from slomo_cli.cli.help import Group, option
from slomo_cli.cli.options import FILE
from slomo_cli.errors import UsageError, WeightsError, printable
from slomo_cli.media.names import refuse_overwriting_inputs
from slomo_cli.text import columns

if TYPE_CHECKING:
    from slomo_cli.net.weights import Released


@click.group(
    "weights",
    cls=Group,
    short_help="List, verify and import network weights.",
    examples="""
    slomo weights list
    slomo weights verify
    slomo weights import SuperSloMo.ckpt -o superslomo-adobe.safetensors
    """,
)
def command() -> None:
    """List the released network weights, verify files, import published checkpoints."""


@command.command(
    "list",
    short_help="Show the released networks.",
    examples="""
    slomo weights list
    slomo weights list --json | jq '.[].sha256'
    """,
)
@option("--json", "as_json", is_flag=True, shared=False, help="One JSON array, training records included.")
def list_released(as_json: bool) -> None:
    """Show the released networks: what --weights NAME can name."""
    from slomo_cli.net.weights import known

    released = list(known().values())
    if as_json:
        click.echo(json.dumps([_as_json(entry) for entry in released], indent=2))
        return
    if not released:
        click.echo("No weights are released in this installation; --weights takes a file.")
    for entry in released:
        click.echo("\n".join(_lines(entry)))


@command.command(
    "verify",
    short_help="Check that weights are whole and fit their network.",
    examples="""
    slomo weights verify
    slomo weights verify fast my.safetensors
    """,
)
@click.argument("names", metavar="[NAME|FILE]...", nargs=-1, type=FILE)
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Check that weights are whole, finite and fit their network; without names, all that are released.

    Ends with 1 when one of them is not.
    """
    from slomo_cli.net.weights import known, load

    wanted = names or tuple(known())
    if not wanted:
        raise WeightsError("no weights are released in this installation: name a file to verify")
    failed = False
    for name in wanted:
        try:
            loaded = load(name)
        except WeightsError as error:
            failed = True
            click.echo(f"fail  {printable(name)}: {error}")
        else:
            click.echo(f"ok    {printable(name)}: {loaded.preset}, sha256 {loaded.sha256}")
    ctx.exit(WeightsError.exit_code if failed else 0)


@command.command(
    "import",
    short_help="Make a published checkpoint usable.",
    examples="""
    slomo weights import SuperSloMo.ckpt
    slomo weights import SuperSloMo.ckpt -o superslomo-adobe.safetensors
    slomo convert in.mp4 --weights ./superslomo-adobe.safetensors
    """,
)
@click.argument("file", type=FILE)
@option(
    "-o", "--output", type=FILE, metavar="FILE", shared=False, help="Where to write; else beside it, as .safetensors."
)
@option("-y", "--overwrite", is_flag=True, shared=False, help="Replace what is there without asking.")
def import_file(file: str, output: str | None, overwrite: bool) -> None:
    """Turn a checkpoint of avinashpaliwal/Super-SloMo's format into a weights file for --weights.

    Only tensors are read from it: nothing in the file is run.
    """
    source = Path(file)
    target = source.parent / f"{source.stem}.safetensors" if output is None else Path(output)
    if target.suffix != ".safetensors":
        raise UsageError(f"expected a name ending in .safetensors, found '{printable(target)}'")
    if os.path.isdir(source):
        raise WeightsError(f"expected a checkpoint's file, found a folder: {printable(source)}")
    refuse_overwriting_inputs([target], [source])
    files.check_target(target)
    if files.may_write(target, overwrite=overwrite) is None:
        return
    from slomo_cli.net.checkpoints import import_checkpoint

    sha256 = import_checkpoint(source, target)
    click.echo(f"{printable(target)}: sha256 {sha256}")


def _lines(entry: Released) -> list[str]:
    rows = [
        ("network", entry.preset),
        ("about", printable(entry.summary)),
        ("licence", entry.licence),
        ("file", f"{printable(entry.path)} ({_megabytes(entry)})"),
        ("sha256", entry.sha256),
    ]
    return [entry.name, *columns(rows)]


def _as_json(entry: Released) -> dict[str, Any]:
    return {
        "name": entry.name,
        "preset": entry.preset,
        "file": str(entry.path),
        "bytes": _size(entry),
        "sha256": entry.sha256,
        "licence": entry.licence,
        "summary": entry.summary,
        "record": dict(entry.record),
    }


def _size(entry: Released) -> int | None:
    try:
        return os.stat(entry.path).st_size
    except OSError:
        return None


def _megabytes(entry: Released) -> str:
    size = _size(entry)
    return "missing" if size is None else f"{size / 1e6:.1f} MB"

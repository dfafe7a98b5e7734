"""``slomo train``: networks from one's own video."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from slomo_cli.cli import files, options
from slomo_cli.cli.help import Command, option
from slomo_cli.cli.types import COUNT, Device, Name, Number, whole_numbers
from slomo_cli.errors import UsageError, printable

if TYPE_CHECKING:
    from slomo_cli.train.run import Request
    from slomo_cli.train.settings import TrainSettings

FOLDER = Name(path_type=Path)
SHARE = Number(float, 0, 1)
POSITIVE = Number(float, 1e-9, 1e9)
WHOLE = Number(int, 1, 1_000_000_000)
STEPS = Number(int, 0, 1_000_000_000)
SEED = Number(int, 0, 2**63 - 1)

EXPORTING = {"out", "export", "export_dtype", "split_parts", "overwrite", "progress", "quiet", "verbose"}
"""Parameters that mean something where nothing is trained."""


@click.command(
    "train",
    cls=Command,
    short_help="Train a network on your own video.",
    examples="""
    slomo train --data videos/ --minutes 600 --out runs/mine
    slomo train --data videos/ --photos photos/ --steps 200000 --out runs/mine
    slomo train --preset superslomo --data videos/ --steps 300000 --out runs/big
    slomo train --out runs/mine --export mine.safetensors
    """,
)
@option("--data", type=FOLDER, metavar="DIR", multiple=True, shared=False, group="Data", help="Videos to learn from.")
@option(
    "--photos",
    type=FOLDER,
    metavar="DIR",
    multiple=True,
    shared=False,
    group="Data",
    help="Sharp photos, moved about artificially: large motion with exact truth.",
)
@option(
    "--synthetic",
    type=SHARE,
    metavar="SHARE",
    default=None,
    group="Data",
    help="Share of windows made of --photos [default: 0.25].",
)
@option(
    "--spoiled",
    type=SHARE,
    metavar="CHANCE",
    group="Data",
    help="Of a window's inputs to be compressed, and to be made noisy [0.2, 0].",
)
@option(
    "--captions",
    type=SHARE,
    metavar="SHARE",
    group="Data",
    help="Of windows under text and bars, still or rolling [0.15, 0].",
)
@option(
    "--relit",
    type=SHARE,
    metavar="SHARE",
    group="Data",
    help="Of windows that fade, dissolve or fall into shadow [0.2, 0].",
)
@option(
    "--magnified",
    type=SHARE,
    metavar="SHARE",
    group="Data",
    help="Share of steps that show a smaller square enlarged, as small videos are shown [0.5, 0].",
)
@option("--crop", type=WHOLE, metavar="PIXELS", group="Data", help="Side of what is seen [fast 192, superslomo 352].")
@option("--targets", type=WHOLE, metavar="COUNT", group="Data", help="Frames asked for per window, 1 to 8 [2, 7].")
@option("--lengths", metavar="N[,N]", group="Data", help="Frame steps between the inputs, 2 to 8 [2,3,4,6,8].")
@option("--cache", type=FOLDER, metavar="DIR", group="Data", help="Decoded frames, 600 MB a minute [RUN/cache].")
@option(
    "--frames",
    type=click.Choice(["auto", "device", "host"]),
    default="auto",
    shared=False,
    group="Data",
    help="Where decoded frames are kept while training.",
)
@option(
    "--preset",
    type=click.Choice(["fast", "superslomo"]),
    default="fast",
    shared=False,
    group="Network",
    help="Which network, and its recipe.",
)
@option("--net", metavar="NAME=VALUE", multiple=True, group="Network", help="A size other than the preset's.")
@option("--init", type=options.FILE, metavar="NAME|FILE", group="Network", help="Begin with these weights.")
@option("--steps", type=WHOLE, metavar="COUNT", group="Schedule", help="End after so many steps.")
@option("--minutes", type=POSITIVE, metavar="M", group="Schedule", help="Or end after so long, resumes counted in.")
@option("--stop-after", type=POSITIVE, metavar="M", group="Schedule", help="Pause this call; run again to go on.")
@option(
    "--batch", type=WHOLE, metavar="COUNT", shared=False, group="Schedule", help="Windows per step, all GPUs [8, 6]."
)
@option("--lr", type=POSITIVE, metavar="RATE", group="Schedule", help="Highest learning rate [8e-4, 1e-4].")
@option("--warmup", type=STEPS, metavar="STEPS", group="Schedule", help="Steps to reach it [200].")
@option("--weight-decay", type=Number(float, 0, 10), metavar="RATE", group="Schedule", help="AdamW's [1e-4, 0].")
@option("--clip", type=POSITIVE, metavar="NORM", group="Schedule", help="Longest gradient [1].")
@option("--ema", type=SHARE, metavar="DECAY", group="Schedule", help="Of the averaged weights [0.999].")
@option("--seed", type=SEED, metavar="NUMBER", group="Schedule", help="Of everything random [0].")
@option(
    "--loss",
    metavar="NAME=WEIGHT",
    multiple=True,
    group="Losses",
    help="Change a weight; 0 switches off: reconstruction, perceptual, warping, smoothness, charbonnier, decibel, "
    "laplacian, census, ladder, flow, fine_flow, visibility.",
)
@option("--vgg", type=FOLDER, metavar="FILE", group="Losses", help="VGG16 as safetensors; else torchvision's.")
@option(
    "--vgg-input",
    type=click.Choice(["auto", "caffe", "torchvision"]),
    default="auto",
    group="Losses",
    help="What its inputs were: BGR of 0..255, or normalised RGB.",
)
@option(
    "--flow-interpolation/--no-flow-interpolation",
    default=True,
    group="Losses",
    help="Without: the approximate flows are final (a comparison).",
)
@option(
    "--visibility/--no-visibility", default=True, group="Losses", help="Without: no visibility maps (a comparison)."
)
@option(
    "--device", type=Device(), metavar="DEVICE", default="auto", group="Compute", help="auto, cpu, cuda, cuda:N, mps."
)
@option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    shared=False,
    group="Compute",
    help="Of the convolutions; weights, flows and losses stay float32.",
)
@option("--compile", is_flag=True, shared=False, group="Compute", help="Compile the step, where a compiler is found.")
@option("--threads", type=COUNT, metavar="COUNT", default=0, shared=False, group="Compute", help="On a CPU; 0 chooses.")
@option("--out", type=FOLDER, metavar="RUN", shared=False, group="Output", help="Folder of the run; taken up again.")
@option("--export", type=FOLDER, metavar="FILE", group="Output", help="The weights; without --data, of what RUN holds.")
@option(
    "--export-dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    group="Output",
    help="Number format of the weights written.",
)
@option("-y", "--overwrite", is_flag=True, group="Output", help="Let --export replace what is there without asking.")
@option("--checkpoint-minutes", type=POSITIVE, metavar="M", default=3.0, group="Output", help="Between checkpoints.")
@option("--split-parts", metavar="SIZE", group="Output", help="Also write parts of at most so much, such as 15M.")
@option("--log-every", type=WHOLE, metavar="STEPS", default=50, group="Output", help="Between lines of the log.")
@option(
    "--tensorboard/--no-tensorboard", default=True, group="Output", help="Log for tensorboard too, if it is installed."
)
@option(
    "--validate",
    type=FOLDER,
    metavar="SET",
    multiple=True,
    group="Validation",
    help="Also score on this set while training, as slomo eval does.",
)
@option(
    "--factor", metavar="N[,N]", default="2", shared=False, group="Validation", help="For sets of frames and videos."
)
@option("--limit", type=WHOLE, metavar="PAIRS", shared=False, group="Validation", help="Pairs per set; else all.")
@option("--validate-minutes", type=POSITIVE, metavar="M", default=10.0, group="Validation", help="Between validations.")
@option("--samples/--no-samples", default=True, group="Validation", help="Draw sample sheets and the losses as PNG.")
@options.messages
@click.pass_context
def command(ctx: click.Context, /, out: Path | None, **values: Any) -> None:
    """Train a network on videos (and photos), or export what a run has learned.

    Numbers in brackets are the presets' own, fast first. The same command again goes on where RUN stopped. RUN holds
    checkpoint.safetensors, log.jsonl, loss.png, samples, and in the end weights.safetensors for --weights, and
    record.json. One of --steps and --minutes sets the length. Several GPUs: torchrun --nproc-per-node N -m slomo_cli
    train ...
    """
    with options.reporting(values) as reporter:
        if out is None:
            raise UsageError("--out is missing: name the folder of the run")
        training = bool(values["data"] or values["photos"])
        if not training:
            _check_export_alone(ctx)
        target = values["export"]
        if target is not None and not _may_export(target, out, training=training, overwrite=values["overwrite"]):
            return
        if not training:
            _export(out, values)
            reporter.note(f"wrote {printable(target)}")
            return
        request = _request(out, values)
        from slomo_cli.train.run import train

        train(request, report=reporter.note)


def _check_export_alone(ctx: click.Context) -> None:
    """UsageError unless an export is asked for, and nothing that only training heeds."""
    if ctx.params["export"] is None:
        raise UsageError("expected --data DIR or --photos DIR to train on, or --export FILE to write what RUN holds")
    idle = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in EXPORTING
        and ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if idle:
        raise UsageError(
            f"{', '.join(idle)}: without --data or --photos nothing is trained; give one of them, or leave this out"
        )


def _may_export(target: Path, out: Path, *, training: bool, overwrite: bool) -> bool:
    """May the weights be written there? SlomoError where not, False where a person says no.

    The run's own weights are replaced as its checkpoint is.
    """
    if target.suffix != ".safetensors":
        raise UsageError(f"--export: expected a name ending in .safetensors, found '{printable(target)}'")
    inside = target.parent.resolve() == out.resolve()
    files.check_target(target, create=training and inside)
    if inside:
        from slomo_cli.train.loop import CHECKPOINT
        from slomo_cli.train.record import WEIGHTS

        if target.name == CHECKPOINT:
            raise UsageError(f"--export: {printable(target)} is the run's checkpoint; choose another name")
        if target.name == WEIGHTS:
            return True
    return files.may_write(target, overwrite=overwrite) is not None


def _export(out: Path, values: dict[str, Any]) -> None:
    """Write the weights of a run without training."""
    parts = _bytes(values["split_parts"])
    from slomo_cli.train.record import export

    export(out, values["export"], dtype=values["export_dtype"], split_bytes=parts)


def _request(out: Path, values: dict[str, Any]) -> Request:
    """All that training is asked."""
    from slomo_cli.train.run import Request

    return Request(
        out=out,
        settings=_settings(values),
        data=values["data"],
        photos=values["photos"],
        cache=values["cache"],
        config=_config(values["net"]),
        init=values["init"],
        vgg=values["vgg"],
        vgg_input=values["vgg_input"],
        device=values["device"],
        threads=values["threads"],
        frames=values["frames"],
        validate=values["validate"],
        factors=whole_numbers("--factor", values["factor"], 2, 64),
        limit=values["limit"],
        pictures=values["samples"],
        tensorboard=values["tensorboard"],
        split_bytes=_bytes(values["split_parts"]),
        export=values["export"],
        export_dtype=values["export_dtype"],
    )


def _settings(values: dict[str, Any]) -> TrainSettings:
    """The preset's settings with what was asked for otherwise."""
    from dataclasses import replace

    from slomo_cli.train.settings import preset_settings, with_losses, with_windows

    names = {
        "batch": "batch",
        "synthetic": "synthetic",
        "magnified": "magnified",
        "learning_rate": "lr",
        "weight_decay": "weight_decay",
        "warmup_steps": "warmup",
        "steps": "steps",
        "minutes": "minutes",
        "stop_minutes": "stop_after",
        "clip_norm": "clip",
        "average_decay": "ema",
        "seed": "seed",
        "dtype": "dtype",
        "compile": "compile",
        "flow_interpolation": "flow_interpolation",
        "visibility": "visibility",
        "checkpoint_minutes": "checkpoint_minutes",
        "log_every": "log_every",
        "validate_minutes": "validate_minutes",
    }
    given = {field: values[name] for field, name in names.items() if values[name] is not None}
    settings = replace(preset_settings(values["preset"]), **given)
    windows: dict[str, Any] = {
        name: values[name] for name in ("crop", "targets", "spoiled", "captions", "relit") if values[name] is not None
    }
    if values["lengths"] is not None:
        windows["lengths"] = whole_numbers("--lengths", values["lengths"], 2, 8)
    settings = with_windows(settings, **windows)
    return with_losses(settings, {name: _number(name, text) for name, text in _pairs("--loss", values["loss"])})


def _pairs(flag: str, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """``NAME=VALUE`` each."""
    found = []
    for text in texts:
        name, mark, value = text.partition("=")
        if not (name and mark and value):
            raise UsageError(f"{flag}: expected NAME=VALUE, found '{printable(text)}'")
        found.append((name.strip(), value.strip()))
    return found


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--loss {printable(name)}: expected a number, found '{printable(text)}'") from None


def _config(texts: tuple[str, ...]) -> dict[str, Any]:
    """Keywords of the network's class, their values as JSON."""
    config = {}
    for name, text in _pairs("--net", texts):
        try:
            config[name] = json.loads(text)
        except ValueError:
            raise UsageError(
                f"--net {printable(name)}: expected a value as JSON such as 96 or [32,48,64], found '{printable(text)}'"
            ) from None
    return config


def _bytes(text: str | None) -> int | None:
    """``15M`` in bytes; K, M and G are powers of 1024."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})([KMG]?)(i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    size = int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()] if match else 0
    if size < 4096:
        raise UsageError(f"--split-parts: expected a size of 4K or more such as 15M, found '{printable(text)}'")
    return size

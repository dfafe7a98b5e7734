"""From a request to trained weights: find the data, build the network, train, export."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slomo_cli.devices import choose_dtype, keep_freed_memory, ran_out_of_memory
from slomo_cli.errors import DeviceError, UsageError, WeightsError, printable
from slomo_cli.evaluate.datasets import Dataset, open_datasets
from slomo_cli.net import weights
from slomo_cli.net.presets import build
from slomo_cli.net.unet import parameter_count
from slomo_cli.train.checkpoint import join_parts, read_record
from slomo_cli.train.data import Report, find_data
from slomo_cli.train.judge import Judge
from slomo_cli.train.lock import hold
from slomo_cli.train.loop import CHECKPOINT, Run
from slomo_cli.train.parallel import Team, join
from slomo_cli.train.perceptual import Input, PerceptualFeatures, load_features
from slomo_cli.train.record import WEIGHTS, export, machine, write_record
from slomo_cli.train.settings import PRESETS, TrainSettings, check
from slomo_cli.train.store import Place


@dataclass(frozen=True)
class Request:
    """All that ``slomo train`` is asked."""

    out: Path
    settings: TrainSettings
    data: tuple[Path, ...] = ()
    photos: tuple[Path, ...] = ()
    cache: Path | None = None
    """Decoded frames; None is a folder in ``out``."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the network's class that differ from the preset's."""
    init: str | None = None
    """Weights to begin with: a released name or a file; only where ``out`` holds no checkpoint."""
    vgg: Path | None = None
    vgg_input: Input = "auto"
    device: str = "auto"
    threads: int = 0
    frames: Place = "auto"
    validate: tuple[Path, ...] = ()
    factors: tuple[int, ...] = (2,)
    """Of validation sets that are frames or video."""
    limit: int | None = None
    pictures: bool = True
    tensorboard: bool = True
    split_bytes: int | None = None
    export: Path | None = None
    export_dtype: str = "float32"


def train(request: Request, report: Report = print) -> dict[str, Any]:
    """Train as asked, resuming what ``request.out`` holds, and export the weights when the schedule is over.

    Returns the record of the run. Raises a SlomoError when something is missing, damaged, or does not fit.
    """
    settings = check(request.settings)
    if not request.data and not request.photos:
        raise UsageError("training needs pictures: give videos with --data, photos with --photos, or both")
    if request.threads:
        torch.set_num_threads(request.threads)
    team, device = join(request.device)
    request = replace(request, settings=replace(settings, dtype=_dtype(settings.dtype, device)))
    report = report if team.leads else _silent
    try:
        with hold(request.out) if team.leads else nullcontext():
            return _train(request, team, device, report)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory on {device}: a smaller --batch, --crop or --targets needs less, or keep the frames "
            "elsewhere with --frames host; the checkpoint is untouched"
        ) from error
    finally:
        team.leave()


def _train(request: Request, team: Team, device: torch.device, report: Report) -> dict[str, Any]:
    settings = request.settings
    if device.type == "cpu":
        keep_freed_memory()
    elif device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # the same few shapes again and again
    # What can be wrong is told before videos are decoded.
    net, origin = _network(request, _begun(request, team), report)
    stride = int(net.stride)  # type: ignore[arg-type]
    if settings.windows.crop % stride:
        raise UsageError(f"--crop: expected a multiple of {stride} for this network, found {settings.windows.crop}")
    perceptual = _features(request, report)
    sets = _sets(request, report)
    data = find_data(request, team, device, report)
    run = Run(
        net,
        data.sources,
        settings,
        request.out,
        device,
        perceptual=perceptual,
        team=team,
        report=report,
        about={**origin, "data": data.about, "machine": machine(device, team.size)},
        split_bytes=request.split_bytes,
        tensorboard=request.tensorboard,
    )
    report(f"training {settings.preset} on {device}: {parameter_count(net) / 1e6:.2f} M weights")
    judge = Judge(
        run.stepper.trainee,
        device,
        bfloat16=settings.dtype == "bfloat16",
        held_out=data.held_out,
        sets=sets,
        limit=request.limit,
        folder=request.out if request.pictures else None,
        report=report,
    )
    record = run.train(judge)
    if not team.leads:
        return record
    if record["finished"]:
        run.save()  # once more, with the scores
        _export(request, report)
    write_record(request.out, record)
    return record


def _sets(request: Request, report: Report) -> dict[str, Dataset]:
    """Every validation set at every factor, by the name its scores go by; what they leave out is told."""
    sets = open_datasets(request.validate, request.factors)
    left_out = [f"left out {printable(name)}: {error}" for one in sets for name, error in one.closed]
    for line in dict.fromkeys((*left_out, *(note for one in sets for note in one.notes))):
        report(f"validation: {line}")
    return {printable(one.name): one for one in sets}


def _dtype(name: str, device: torch.device) -> str:
    """What ``auto`` stands for; never float16, whose gradients need care that the other two do not."""
    if name != "auto":
        return name
    return "bfloat16" if choose_dtype("auto", device) is torch.bfloat16 else "float32"


def _silent(line: str) -> None:
    """Only the leader speaks."""


def _features(request: Request, report: Report) -> PerceptualFeatures | None:
    if not request.settings.losses.perceptual:
        return None
    features = load_features(request.vgg, request.vgg_input)
    report(f"perceptual loss: VGG16 fed with {'BGR of 0..255' if features.caffe else 'normalised RGB'}")
    return features


def _begun(request: Request, team: Team) -> dict[str, Any] | None:
    """The record of the checkpoint to go on from, if there is one."""
    checkpoint = request.out / CHECKPOINT
    if team.leads:
        join_parts(checkpoint)
    team.wait()
    return read_record(checkpoint) if checkpoint.exists() else None


def _network(request: Request, begun: Mapping[str, Any] | None, report: Report) -> tuple[nn.Module, dict[str, Any]]:
    """The network of the run that has begun, a new one, or that of ``request.init``; its config and init."""
    torch.manual_seed(request.settings.seed)
    if begun is not None:
        config, init = _config_of(begun, request), begun.get("init")
        if request.init not in (None, init):
            way = f"with {printable(init)}" if init else "without"
            report(f"--init is not used: {printable(request.out)} was begun {way}; another --out begins anew")
    elif request.init is not None:
        net, config = _loaded(request, request.init)
        return net, {"config": config, "init": request.init}
    else:
        config, init = dict(request.config), None
    try:
        return build(request.settings.preset, config), {"config": config, "init": init}
    except ValueError as error:
        if begun is not None:
            raise WeightsError(
                f"{printable(request.out)} was begun with sizes that this version has no network for ({error}); "
                "another --out begins anew"
            ) from error
        raise UsageError(f"--net: {error}") from error


def _config_of(begun: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The sizes a run was begun with; UsageError where other ones are asked for."""
    run = printable(request.out)
    preset = begun.get("settings", {}).get("preset", request.settings.preset)
    if preset != request.settings.preset:
        raise UsageError(f"--preset: {run} holds a network of preset {preset}; use --preset {preset}, or another --out")
    config: dict[str, Any] = begun.get("config", dict(request.config))
    if not request.config.items() <= config.items():
        raise UsageError(f"--net: {run} was begun with {config or 'the sizes of the preset'}; leave out --net")
    return config


def _loaded(request: Request, init: str) -> tuple[nn.Module, dict[str, Any]]:
    """The network of the weights to begin with, and its config."""
    loaded = weights.load(init)
    if loaded.preset != request.settings.preset:
        trained = loaded.preset in PRESETS
        advice = f"use --preset {loaded.preset}" if trained else f"slomo trains {' and '.join(PRESETS)} only"
        raise UsageError(f"--init: {printable(init)} is a network of preset {loaded.preset}; {advice}")
    if request.config and dict(request.config) != dict(loaded.config):
        raise UsageError(f"--init: {printable(init)} has its own sizes {dict(loaded.config)}; leave out --net")
    return loaded.model.train().requires_grad_(True), dict(loaded.config)


def _export(request: Request, report: Report) -> None:
    settings = request.settings
    if not settings.flow_interpolation or not settings.visibility:
        report("an ablation: no weights written")
        return
    target = request.export or request.out / WEIGHTS
    export(request.out, target, dtype=request.export_dtype, split_bytes=request.split_bytes)
    report(f"wrote {printable(target)}")

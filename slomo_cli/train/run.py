"""From a request to trained weights: find the data, build the network, train, export."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slomo_cli.devices import choose_dtype, keep_freed_memory, ran_out_of_memory
from slomo_cli.errors import DeviceError, InputError, UsageError, printable
from slomo_cli.evaluate.datasets import Dataset, open_datasets
from slomo_cli.net import weights
from slomo_cli.net.presets import build
from slomo_cli.net.unet import parameter_count
from slomo_cli.text import counted, some
from slomo_cli.train.cache import Clip, find_videos, load_clips
from slomo_cli.train.checkpoint import join_parts, read_record
from slomo_cli.train.feed import Sampler
from slomo_cli.train.judge import SHEETS, Judge
from slomo_cli.train.lock import hold
from slomo_cli.train.log import PLOT
from slomo_cli.train.loop import CHECKPOINT, Run
from slomo_cli.train.parallel import Team, join
from slomo_cli.train.perceptual import Input, PerceptualFeatures, load_features
from slomo_cli.train.record import WEIGHTS, describe_files, export, machine, write_record
from slomo_cli.train.settings import TrainSettings, check
from slomo_cli.train.store import Place
from slomo_cli.train.synthetic import SyntheticSampler, find_photos, load_photos
from slomo_cli.train.windows import WindowSampler


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


def train(request: Request, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Train as asked, resuming what ``request.out`` holds, and export the weights when the schedule is over.

    Returns the record of the run. Raises a SlomoError when something is missing, damaged, or does not fit.
    """
    settings = check(request.settings)
    if not request.data and not request.photos:
        raise UsageError("training needs pictures: give videos with --data, photos with --photos, or both")
    if request.threads:
        torch.set_num_threads(request.threads)
    team, device = join(request.device)
    settings = replace(settings, dtype=_dtype(settings.dtype, device))
    report = report if team.leads else _silent
    try:
        with hold(request.out) if team.leads else nullcontext():
            return _train(request, settings, team, device, report)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory on {device}: a smaller --batch, --crop or --targets needs less, or keep the frames "
            "elsewhere with --frames host; the checkpoint is untouched"
        ) from error
    finally:
        team.leave()


def _train(
    request: Request,
    settings: TrainSettings,
    team: Team,
    device: torch.device,
    report: Callable[[str], None],
) -> dict[str, Any]:
    if device.type == "cpu":
        keep_freed_memory()
    elif device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # the same few shapes again and again
    # What can be wrong is told before videos are decoded.
    net, origin = _network(request, settings, _begun(request, team), report)
    stride = int(net.stride)  # type: ignore[arg-type]
    if settings.windows.crop % stride:
        raise UsageError(f"--crop: expected a multiple of {stride} for this network, found {settings.windows.crop}")
    perceptual = _features(request, settings, report)
    sets = _sets(request, report)
    sources, held_out, data = _sources(request, settings, team, device, report)
    run = Run(
        net,
        sources,
        settings,
        request.out,
        device,
        perceptual=perceptual,
        team=team,
        report=report,
        about={**origin, "data": data, "machine": machine(device, team.size)},
        split_bytes=request.split_bytes,
        tensorboard=request.tensorboard,
    )
    report(f"training {settings.preset} on {device}: {parameter_count(net) / 1e6:.2f} M weights")
    judge = Judge(
        run.stepper.trainee,
        device,
        bfloat16=settings.dtype == "bfloat16",
        held_out=held_out,
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
        _export(request, settings, report)
    write_record(request.out, record)
    return record


def _sets(request: Request, report: Callable[[str], None]) -> dict[str, Dataset]:
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


def _features(request: Request, settings: TrainSettings, report: Callable[[str], None]) -> PerceptualFeatures | None:
    if not settings.losses.perceptual:
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


def _network(
    request: Request, settings: TrainSettings, begun: Mapping[str, Any] | None, report: Callable[[str], None]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of the run that has begun, a new one, or that of ``request.init``; its config and init."""
    torch.manual_seed(settings.seed)
    if begun is not None:
        config, init = _config_of(begun, request, settings), begun.get("init")
        if request.init not in (None, init):
            way = f"with {printable(init)}" if init else "without"
            report(f"--init is not used: {printable(request.out)} was begun {way}; another --out begins anew")
    elif request.init is not None:
        net, config = _loaded(request, request.init, settings)
        return net, {"config": config, "init": request.init}
    else:
        config, init = dict(request.config), None
    try:
        return build(settings.preset, config), {"config": config, "init": init}
    except ValueError as error:
        raise UsageError(f"--net: {error}") from error


def _config_of(begun: Mapping[str, Any], request: Request, settings: TrainSettings) -> dict[str, Any]:
    """The sizes a run was begun with; UsageError where other ones are asked for."""
    run = printable(request.out)
    preset = begun.get("settings", {}).get("preset", settings.preset)
    if preset != settings.preset:
        raise UsageError(f"--preset: {run} holds a network of preset {preset}; use --preset {preset}, or another --out")
    config: dict[str, Any] = begun.get("config", dict(request.config))
    if not request.config.items() <= config.items():
        raise UsageError(f"--net: {run} was begun with {config or 'the sizes of the preset'}; leave out --net")
    return config


def _loaded(request: Request, init: str, settings: TrainSettings) -> tuple[nn.Module, dict[str, Any]]:
    """The network of the weights to begin with, and its config."""
    loaded = weights.load(init)
    if loaded.preset != settings.preset:
        raise UsageError(
            f"--init: {printable(init)} is a network of preset {loaded.preset}; use --preset {loaded.preset}"
        )
    if request.config and dict(request.config) != dict(loaded.config):
        raise UsageError(f"--init: {printable(init)} has its own sizes {dict(loaded.config)}; leave out --net")
    return loaded.model.train().requires_grad_(True), dict(loaded.config)


def _sources(
    request: Request, settings: TrainSettings, team: Team, device: torch.device, report: Callable[[str], None]
) -> tuple[list[tuple[Sampler, int]], WindowSampler | None, dict[str, Any]]:
    """Samplers with their windows per step, the sampler of held-out windows, and a description of the data."""
    real, synthetic = _shares(settings, team, bool(request.photos), bool(request.data))
    sources: list[tuple[Sampler, int]] = []
    held_out: WindowSampler | None = None
    data: dict[str, Any] = {}
    targets = settings.windows.targets
    _tell_unused(request, real, synthetic, report)
    if request.data and real:
        clips = _clips(request, team, report)
        windows = WindowSampler(clips, settings.windows, device, place=request.frames)
        held_out = _held_out(clips, settings, device, windows)
        sources.append((windows, real))
        used = {clip.path: len(clip.times) for clip in windows.clips}
        data["videos"] = describe_files(used)
        data["seconds"], data["windows"] = round(windows.seconds, 1), windows.count
        targets = round(windows.targets_per_window)
        place = f"on {device}" if windows.store.on_device else "read from the cache"
        _tell_left_out(
            [clip.path for clip in clips], used, "too short, too small, or all cuts, gaps and repeated frames", report
        )
        report(
            f"{counted(len(used), 'video')}, {counted(sum(used.values()), 'frame')} "
            f"({windows.store.bytes / 2**30:.2f} GiB, {place}), {counted(windows.count, 'window')}"
        )
    if request.photos and synthetic:
        paths = [path for path in find_photos(request.photos, report) if not _drawn(path)]
        photos = load_photos(paths)
        _tell_left_out(paths, photos, "no picture that can be read, of 64 pixels or more a side", report)
        scenes = SyntheticSampler(
            list(photos.values()),
            settings.windows.crop,
            targets,
            device,
            captioned=settings.windows.captions,
            relit=settings.windows.relit,
            place=request.frames,
        )
        sources.append((scenes, synthetic))
        data["photos"] = describe_files(dict.fromkeys(photos))
        shown = counted(len(photos), "photo")
        report(f"{shown} for synthetic motion, {synthetic} of {counted(real + synthetic, 'window')}")
    if request.data and settings.synthetic and not request.photos:
        report("no --photos: training on real windows alone, without synthetic motion")
    return sources, held_out, data


def _tell_unused(request: Request, real: int, synthetic: int, report: Callable[[str], None]) -> None:
    """What was given and will not be seen."""
    if request.photos and not synthetic:
        report("--photos is not used: no window of a step is synthetic; raise --synthetic or --batch")
    if request.data and not real:
        report("--data is not used: every window of a step is synthetic; lower --synthetic or raise --batch")


def _tell_left_out(given: Sequence[Path], used: Container[Path], why: str, report: Callable[[str], None]) -> None:
    left = [path.name for path in given if path not in used]
    if left:
        report(f"left out {some(left)}: {why}")


def _drawn(path: Path) -> bool:
    """Whether a training run, this one or another, has drawn this picture: its losses, or samples."""
    if path.name == PLOT:
        return (path.parent / CHECKPOINT).exists()
    return path.match(f"{SHEETS}/step-*.png") and (path.parents[1] / CHECKPOINT).exists()


def _shares(settings: TrainSettings, team: Team, photos: bool, videos: bool) -> tuple[int, int]:
    """(real, synthetic) windows per step of this process."""
    real, synthetic = settings.counts(photos, videos)
    if not real + synthetic:
        raise UsageError("--batch: expected at least one window per step")
    if settings.batch % team.size:
        raise UsageError(f"--batch: expected a multiple of the {team.size} processes, found {settings.batch}")
    each = settings.batch // team.size
    if synthetic:  # of both kinds at least one, where there is room
        synthetic = min(max(1, round(synthetic / team.size)), each - min(1, real))
    return each - synthetic, synthetic


def _clips(request: Request, team: Team, report: Callable[[str], None]) -> list[Clip]:
    videos = find_videos(request.data, report)
    cache = request.cache or request.out / "cache"
    if not team.leads:
        team.wait()  # the leader decodes, the others find it done
    clips = load_clips(videos, cache, report=report)
    if team.leads:
        team.wait()
    if not clips:
        raise InputError("training data: none of the videos can be read; see the reasons above")
    return clips


def _held_out(
    clips: Sequence[Clip], settings: TrainSettings, device: torch.device, windows: WindowSampler
) -> WindowSampler | None:
    try:
        return WindowSampler(clips, settings.windows, device, part="held-out", store=windows.store)
    except InputError:
        return None  # no clip is long enough to give up a piece


def _export(request: Request, settings: TrainSettings, report: Callable[[str], None]) -> None:
    if not settings.flow_interpolation or not settings.visibility:
        report("an ablation: no weights written")
        return
    target = request.export or request.out / WEIGHTS
    export(request.out, target, dtype=request.export_dtype, split_bytes=request.split_bytes)
    report(f"wrote {printable(target)}")

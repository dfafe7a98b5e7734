"""What a run learns from: windows of video and scenes of photos, and how many of each make a step."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slomo_cli.errors import InputError, UsageError
from slomo_cli.text import counted, some
from slomo_cli.train.cache import Clip, load_clips
from slomo_cli.train.feed import Sampler
from slomo_cli.train.find import find_photos, find_videos
from slomo_cli.train.judge import SHEETS
from slomo_cli.train.log import PLOT
from slomo_cli.train.loop import CHECKPOINT
from slomo_cli.train.parallel import Team
from slomo_cli.train.record import describe_files
from slomo_cli.train.synthetic import SyntheticSampler, load_photos
from slomo_cli.train.windows import WindowSampler

if TYPE_CHECKING:
    from slomo_cli.train.run import Request

Report = Callable[[str], None]


@dataclass
class Data:
    """What a run learns from."""

    sources: list[tuple[Sampler, int]] = field(default_factory=list)
    """Samplers with their windows per step of this process, the one with exact truth last."""
    held_out: WindowSampler | None = None
    """Of windows that are never trained on; None where no clip is long enough."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the record says of it."""


def find_data(request: Request, team: Team, device: torch.device, report: Report) -> Data:
    """The videos and photos of the request, decoded; what is left out or not used is told. InputError where nothing
    can be read, UsageError where windows cannot be shared out."""
    real, synthetic = _shares(request, team)
    _tell_unused(request, real, synthetic, report)
    data = Data()
    targets = request.settings.windows.targets
    if real:
        windows = _add_videos(data, request, real, team, device, report)
        targets = round(windows.targets_per_window)
    if synthetic:
        _add_photos(data, request, synthetic, targets, device, report)
        photos = counted(len(data.about["photos"]), "photo")
        report(f"{photos} for synthetic motion, {synthetic} of {counted(real + synthetic, 'window')}")
    if request.data and request.settings.synthetic and not request.photos:
        report("no --photos: training on real windows alone, without synthetic motion")
    return data


def _add_videos(
    data: Data, request: Request, share: int, team: Team, device: torch.device, report: Report
) -> WindowSampler:
    """Windows of video, ``share`` of them per step, and those that are held out."""
    clips = _clips(request, team, report)
    windows = WindowSampler(clips, request.settings.windows, device, place=request.frames)
    data.sources.append((windows, share))
    with suppress(InputError):
        data.held_out = WindowSampler(clips, request.settings.windows, device, part="held-out", store=windows.store)
    used = {clip.path: len(clip.times) for clip in windows.clips}
    data.about["videos"] = describe_files(used)
    data.about["seconds"], data.about["windows"] = round(windows.seconds, 1), windows.count
    why = "too short, too small, or all cuts, gaps and repeated frames"
    _tell_left_out([clip.path for clip in clips], used, why, report)
    place = f"on {device}" if windows.store.on_device else "read from the cache"
    report(
        f"{counted(len(used), 'video')}, {counted(sum(used.values()), 'frame')} "
        f"({windows.store.bytes / 2**30:.2f} GiB, {place}), {counted(windows.count, 'window')}"
    )
    return windows


def _add_photos(data: Data, request: Request, share: int, targets: int, device: torch.device, report: Report) -> None:
    """Scenes of photos, ``share`` of them per step with ``targets`` each."""
    paths = [path for path in find_photos(request.photos, report) if not _drawn(path)]
    photos = load_photos(paths)
    _tell_left_out(paths, photos, "no picture that can be read, of 64 pixels or more a side", report)
    windows = request.settings.windows
    scenes = SyntheticSampler(
        list(photos.values()),
        windows.crop,
        targets,
        device,
        captioned=windows.captions,
        relit=windows.relit,
        place=request.frames,
    )
    data.sources.append((scenes, share))
    data.about["photos"] = describe_files(dict.fromkeys(photos))


def _tell_unused(request: Request, real: int, synthetic: int, report: Report) -> None:
    """What was given and will not be seen."""
    if request.photos and not synthetic:
        report("--photos is not used: no window of a step is synthetic; raise --synthetic or --batch")
    if request.data and not real:
        report("--data is not used: every window of a step is synthetic; lower --synthetic or raise --batch")


def _tell_left_out(given: Sequence[Path], used: Container[Path], why: str, report: Report) -> None:
    left = [path.name for path in given if path not in used]
    if left:
        report(f"left out {some(left)}: {why}")


def _drawn(path: Path) -> bool:
    """Whether a training run, this one or another, has drawn this picture: its losses, or samples."""
    if path.name == PLOT:
        return (path.parent / CHECKPOINT).exists()
    return path.match(f"{SHEETS}/step-*.png") and (path.parents[1] / CHECKPOINT).exists()


def _shares(request: Request, team: Team) -> tuple[int, int]:
    """(real, synthetic) windows per step of this process."""
    batch = request.settings.batch
    if batch % team.size:
        raise UsageError(f"--batch: expected a multiple of the {team.size} processes, found {batch}")
    each = batch // team.size
    if not request.photos or not request.data:
        return (each, 0) if request.data else (0, each)
    synthetic = round(batch * request.settings.synthetic)
    if synthetic:  # of both kinds at least one, where there is room
        synthetic = min(max(1, round(synthetic / team.size)), each - min(1, batch - synthetic))
    return each - synthetic, synthetic


def _clips(request: Request, team: Team, report: Report) -> list[Clip]:
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

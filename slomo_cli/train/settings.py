"""What a training run is told: plain values, kept in its checkpoint, its log and the record of its weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from slomo_cli.errors import UsageError, printable

PRESETS = ("fast", "superslomo")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the sum; the defaults are the paper's (Jiang et al. 2018, for 0..255). 0 switches a term off."""

    reconstruction: float = 0.8
    """L1 between result and target, 0..255."""
    perceptual: float = 0.005
    """Mean squared difference of VGG16 conv4_3 features, of inputs in 0..255."""
    warping: float = 0.4
    """L1 between each picture and the other warped to it, by F_01, F_10 and the approximate flows, 0..255."""
    smoothness: float = 1.0
    """L1 of the gradients of F_01 and F_10, in pixels."""
    charbonnier: float = 0.0
    """As reconstruction, but smooth near zero: sqrt(error^2 + 1), 0..255."""
    decibel: float = 0.0
    """Minus the PSNR of every target in dB, flattening out at 50: the score itself, the same for easy and hard ones."""
    laplacian: float = 0.0
    """L1 of the differences' Laplacian pyramid, five levels, 0..255: weighs the structure at every size."""
    census: float = 0.0
    """Distance of the soft census transforms, 7x7: what is brighter than what, blind to brightness itself."""
    ladder: float = 0.0
    """Warping loss of every coarse flow a network reports, at that flow's own size, 0..255."""
    flow: float = 0.0
    """End-point error in pixels of F_01, F_10, F_t0, F_t1 and coarse flows where synthetic windows tell the truth."""
    fine_flow: float = 0.0
    """The errors of ``flow``, each to the power 0.4: small ones count, gross ones hardly, as Sun et al. 2018 (PWC-Net)
    do at the end of training. ``flow`` itself is mostly about the few windows whose motion is out of reach."""
    visibility: float = 0.0
    """Cross entropy of the visibility where a synthetic pixel is seen in exactly one frame."""


@dataclass(frozen=True)
class WindowSettings:
    """How windows of real video are drawn; a window of length n is n + 1 pictures, the outer two are the inputs."""

    crop: int = 128
    """Side of the square the network sees, pixels; a multiple of 32."""
    lengths: tuple[int, ...] = (2, 3, 4, 6, 8)
    """Frame steps between the two inputs."""
    length_weights: tuple[float, ...] = (0.5, 0.14, 0.16, 0.1, 0.1)
    """How often each length is drawn."""
    targets: int = 1
    """Targets per window at most; all share one flow computation."""
    rescaled: float = 0.5
    """Share of windows taken from a square of another size than ``crop`` and resized."""
    scales: tuple[float, float] = (0.75, 2.0)
    """Range of that square's side, in crops."""
    spoiled: float = 0.0
    """Chance of a window's inputs to be compressed, and to be made noisy; its targets stay."""
    captions: float = 0.0
    """Share of windows under captions, that stand still or roll, in their inputs and targets."""
    relit: float = 0.0
    """Share of windows that fade, dissolve or fall into shadow from the first frame to the last."""
    hold_out: float = 0.05
    """Share of every long clip, one piece, never trained on: validation windows come from there."""


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and with what a run trains."""

    preset: str = "fast"
    """Which network."""
    batch: int = 12
    """Windows per step, over all GPUs."""
    synthetic: float = 0.25
    """Share of the windows that are procedural motion."""
    learning_rate: float = 8e-4
    """Peak, reached after the warm-up and brought to a hundredth of it along a half cosine."""
    weight_decay: float = 1e-4
    magnified: float = 0.0
    """Share of the steps in which the network sees a smaller square, enlarged by its cell: as it sees small videos."""
    warmup_steps: int = 200
    steps: int | None = None
    minutes: float | None = None
    """Length of the schedule: by steps or by training time; training time counts over resumes."""
    stop_minutes: float | None = None
    """Pause this call after so long; the schedule goes on at the next."""
    clip_norm: float = 1.0
    average_decay: float = 0.999
    seed: int = 0
    dtype: str = "auto"
    """``bfloat16`` (autocast; weights, flows and losses stay float32), ``float32``, or ``auto``: what the device does
    natively."""
    compile: bool = False
    flow_interpolation: bool = True
    """False: the approximate flows are used as they are (an ablation)."""
    visibility: bool = True
    """False: both frames count as seen everywhere (an ablation)."""
    checkpoint_minutes: float = 3.0
    log_every: int = 50
    validate_minutes: float = 10.0
    windows: WindowSettings = field(default_factory=WindowSettings)
    losses: LossWeights = field(default_factory=LossWeights)


def preset_settings(preset: str) -> TrainSettings:
    """The recipe of a preset.

    ``superslomo``: the paper's losses, optimiser and crop. Not the paper's are windows of several lengths (``--lengths
    8`` is), detail given back in what is compared with the targets (``--net detail=0`` samples bilinearly), the colours
    and sizes that windows are augmented by, the warm-up and the cosine, the clipping of gradients, and the average of
    the weights. ``fast``: what was measured best in short trials at 128 pixels (reconstruction with a light pyramid
    term, the coarse flows held to the pictures, truth where there is any).
    """
    if preset == "fast":
        return TrainSettings(
            preset="fast",
            batch=8,
            magnified=0.5,
            windows=WindowSettings(crop=192, targets=2, spoiled=0.2, captions=0.15, relit=0.2),
            losses=LossWeights(
                reconstruction=1.0,
                perceptual=0.0,
                warping=0.15,
                smoothness=0.05,
                laplacian=0.1,
                ladder=0.3,
                flow=1.0,
                visibility=12.0,  # at 0.5 it was never learned
            ),
        )
    if preset == "superslomo":
        return TrainSettings(
            preset="superslomo",
            batch=6,
            learning_rate=1e-4,
            weight_decay=0.0,
            windows=WindowSettings(crop=352, targets=7),
        )
    raise UsageError(f"expected a preset of {', '.join(PRESETS)}, found '{printable(preset)}'")


def check(settings: TrainSettings) -> TrainSettings:
    """The settings as given, or UsageError naming the first that makes no sense."""
    windows = settings.windows
    rules = (
        (settings.batch >= 1, f"--batch: expected 1 or more windows per step, found {settings.batch}"),
        (
            windows.crop >= 64 and windows.crop % 32 == 0,
            f"--crop: expected a multiple of 32 from 64 on, found {windows.crop}",
        ),
        (1 <= windows.targets <= 8, f"--targets: expected 1 to 8 targets per window, found {windows.targets}"),
        (
            len(windows.lengths) > 0 and all(2 <= length <= 8 for length in windows.lengths),
            f"--lengths: expected frame steps from 2 to 8 such as 2,4,8, found {windows.lengths}",
        ),
        (0 <= settings.synthetic <= 1, f"--synthetic: expected a share from 0 to 1, found {settings.synthetic}"),
        (settings.learning_rate > 0, f"--lr: expected a learning rate above 0, found {settings.learning_rate}"),
        (
            (settings.steps is None) != (settings.minutes is None),
            "training needs an end: give one of --steps and --minutes",
        ),
        (settings.steps is None or settings.steps > 0, f"--steps: expected 1 or more, found {settings.steps}"),
        (
            settings.minutes is None or settings.minutes > 0,
            f"--minutes: expected more than 0, found {settings.minutes}",
        ),
        (
            settings.dtype in ("auto", "float32", "bfloat16"),
            f"--dtype: expected auto, float32 or bfloat16, found {printable(settings.dtype)}",
        ),
        (any(asdict(settings.losses).values()), "--loss: every weight is 0, so nothing would be learned; raise one"),
    )
    for holds, words in rules:
        if not holds:
            raise UsageError(words)
    return settings


def with_losses(settings: TrainSettings, changes: dict[str, float]) -> TrainSettings:
    """Settings with some loss weights replaced; UsageError for a loss that does not exist, or what is no weight."""
    known = LossWeights.__dataclass_fields__
    for name, weight in changes.items():
        if name not in known:
            raise UsageError(f"--loss: expected one of {', '.join(known)}, found '{printable(name)}'")
        if not (math.isfinite(weight) and weight >= 0):
            raise UsageError(f"--loss {name}: expected a weight, a number of 0 or more, found {weight}")
    return replace(settings, losses=replace(settings.losses, **changes))


def with_windows(settings: TrainSettings, **changes: Any) -> TrainSettings:
    """Settings with some window settings replaced; ``lengths`` without ``length_weights`` are drawn equally often."""
    if "lengths" in changes and "length_weights" not in changes:
        changes["length_weights"] = (1.0,) * len(changes["lengths"])
    return replace(settings, windows=replace(settings.windows, **changes))

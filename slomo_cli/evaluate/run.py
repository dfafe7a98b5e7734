"""Runs methods over sets and keeps every score, and the worst pictures."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from slomo_cli.errors import EncoderError, InputError, SlomoError
from slomo_cli.evaluate.clips import Clip, Window
from slomo_cli.evaluate.datasets import Dataset
from slomo_cli.evaluate.methods import Method
from slomo_cli.evaluate.metrics import Metrics, measure
from slomo_cli.picture import RGB


class FrameScore(NamedTuple):
    """One picture's scores."""

    clip: str
    frame: int
    """Index in the clip."""
    timestep: Fraction
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over frames: PSNR is taken per frame, then averaged."""

    psnr: float
    ssim: float
    ie: float
    count: int
    """Frames behind the means."""


@dataclass(frozen=True)
class WorstCase:
    """A picture far from its truth, and all that is needed to look at it."""

    score: FrameScore
    window: Window
    truth: RGB
    result: RGB


@dataclass
class MethodResult:
    """What one method reached on one set."""

    method: str
    frames: list[FrameScore] = field(default_factory=list)
    seconds_per_frame: float = 0.0
    """Wall time of the method itself; its first call is left out where there are more."""
    worst: list[WorstCase] = field(default_factory=list)
    """Worst first, at most one per window."""
    about: dict[str, str] = field(default_factory=dict)
    """What the method says of itself."""

    @property
    def scores(self) -> Scores:
        """Means over all frames of the set."""
        return mean_scores(self.frames)

    @property
    def clips(self) -> dict[str, list[FrameScore]]:
        """The frames of each clip, in order."""
        return {name: list(frames) for name, frames in groupby(self.frames, key=lambda score: score.clip)}

    @property
    def timesteps(self) -> dict[Fraction, list[FrameScore]]:
        """The frames of each timestep, rising."""
        grouped: dict[Fraction, list[FrameScore]] = {}
        for score in self.frames:
            grouped.setdefault(score.timestep, []).append(score)
        return dict(sorted(grouped.items()))


@dataclass
class SetResult:
    """What all methods reached on one set."""

    dataset: Dataset
    pairs: int
    methods: list[MethodResult]
    failures: list[tuple[str, SlomoError]] = field(default_factory=list)
    """Clips that cannot be read to their ends, or with which a method fails, by name, and why: what came of them before
    counts."""


def mean_scores(frames: Sequence[FrameScore]) -> Scores:
    """Means over frames; not a number where there are none."""
    if not frames:
        return Scores(float("nan"), float("nan"), float("nan"), 0)
    psnr, ssim, ie = np.mean([score.metrics for score in frames], axis=0)
    return Scores(float(psnr), float(ssim), float(ie), len(frames))


def evaluate(
    datasets: Iterable[Dataset],
    methods: Mapping[str, Method],
    *,
    limit: int | None = None,
    worst: int = 0,
    advance: Callable[[int], None] = lambda frames: None,
) -> list[SetResult]:
    """Every method on every window of every set; each window is read once, and a clip that cannot be is left there, as
    it is by a method whose ffmpeg fails with it.

    ``limit``: pairs per set at most (``Dataset.windows``); ``worst``: so many cases of each method are kept, pictures
    and all; ``advance`` is told how many pictures were just made and measured. In memory at a time: two windows, what
    one method made of it, and the worst cases.
    """
    results = []
    for dataset in datasets:
        runs = [_Run(name, method, worst) for name, method in methods.items()]
        pairs = 0
        failures: list[tuple[str, SlomoError]] = [*dataset.closed]
        for clip, share in dataset.shares(limit):
            measured, met = _measure(clip, share, runs, advance)
            pairs += measured
            failures += [(clip.name, error) for error in met]
        results.append(SetResult(dataset, pairs, [run.result() for run in runs], failures))
    return results


def _measure(
    clip: Clip, share: int, runs: Sequence[_Run], advance: Callable[[int], None]
) -> tuple[int, list[SlomoError]]:
    """Every run on the first ``share`` windows of a clip: how many were measured; what ended it, or a run, early."""
    able = list(runs)
    measured = 0
    met: list[SlomoError] = []
    try:
        for window in islice(clip.windows(), share):
            for run in runs:
                try:
                    if run in able:
                        run.take(window)
                except EncoderError as error:
                    met.append(error)
                    able.remove(run)
                advance(len(window.timesteps))
            measured += 1
    except InputError as error:
        met.append(error)
    return measured, met


def score_method(method: Method, dataset: Dataset, limit: int | None = None) -> Scores:
    """Mean scores of one method on one set, or on at most ``limit`` pairs of it."""
    run = _Run("", method, 0)
    for window in dataset.windows(limit):
        run.take(window)
    return run.result().scores


class _Run:
    """One method on one set."""

    def __init__(self, name: str, method: Method, worst: int) -> None:
        self._name = name
        self._method = method
        self._worst = worst
        self._frames: list[FrameScore] = []
        self._heap: list[tuple[float, int, WorstCase]] = []  # the least bad of the worst on top
        self._times: list[tuple[float, int]] = []

    def take(self, window: Window) -> None:
        """Make and measure the pictures of one window."""
        begin = time.perf_counter()
        within = getattr(self._method, "within", None)
        if within is not None:
            pictures = within(window)
        else:
            pictures = self._method(window.first, window.second, window.timesteps)
        self._times.append((time.perf_counter() - begin, len(window.timesteps)))
        if len(pictures) != len(window.timesteps):
            raise ValueError(f"{self._name}: expected {len(window.timesteps)} pictures, found {len(pictures)}")
        scores = [
            FrameScore(window.clip, window.start + place + 1, t, measure(picture, truth))
            for place, (t, picture, truth) in enumerate(zip(window.timesteps, pictures, window.truths, strict=True))
        ]
        self._frames += scores
        if self._worst:
            place = min(range(len(scores)), key=lambda i: scores[i].metrics.psnr)
            case = WorstCase(scores[place], replace(window, truths=()), window.truths[place], pictures[place])
            # The running number settles ties, so that cases themselves are never compared.
            heapq.heappush(self._heap, (-case.score.metrics.psnr, -len(self._times), case))
            if len(self._heap) > self._worst:
                heapq.heappop(self._heap)

    def result(self) -> MethodResult:
        """What came of it."""
        timed = self._times[1:] or self._times
        made = sum(count for _, count in timed)
        return MethodResult(
            self._name,
            self._frames,
            sum(seconds for seconds, _ in timed) / made if made else 0.0,
            [case for _, _, case in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)],
            self._method.describe() if hasattr(self._method, "describe") else {},
        )

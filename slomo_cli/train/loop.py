"""The training loop: draw, predict, compare, step; log, checkpoint and validate on the way."""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slomo_cli.errors import SlomoError
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.train.checkpoint import join_parts, load_checkpoint, save_checkpoint
from slomo_cli.train.losses import LossWeights, SloMoLoss
from slomo_cli.train.windows import Batch

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and with what a run trains; kept in the checkpoint and the training record."""

    batch: int = 12
    """Windows per step."""
    synthetic: float = 0.25
    """Share of the windows that are procedural motion."""
    learning_rate: float = 8e-4
    """Peak, reached after the warm-up and brought to a hundredth of it along a half cosine."""
    weight_decay: float = 1e-4
    warmup_steps: int = 200
    steps: int | None = None
    minutes: float | None = None
    """Length of the schedule: by steps or by training time; training time counts over resumes."""
    clip_norm: float = 1.0
    average_decay: float = 0.999
    seed: int = 0
    dtype: str = "bfloat16"
    compile: bool = False
    checkpoint_minutes: float = 3.0
    log_every: int = 50
    validate_minutes: float = 10.0
    losses: LossWeights = field(default_factory=LossWeights)


class Trainee(nn.Module):
    """A network with everything the losses look at, as one call (so that one compilation covers it)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, i0: Tensor, i1: Tensor, index: Tensor, t: Tensor) -> tuple[PairState, Motion, list[Tensor]]:
        net: Any = self.net
        if hasattr(net, "pair_with_ladder"):
            state, ladder = net.pair_with_ladder(i0, i1)
        else:
            state, ladder = net.pair(i0, i1), []
        return state, net.at(state, index, t), ladder


def join_batches(real: Batch | None, synthetic: Batch | None) -> Batch:
    """One batch of both, the synthetic windows last."""
    if real is None or synthetic is None:
        batch = real or synthetic
        assert batch is not None
        return batch
    return Batch(
        torch.cat((real.i0, synthetic.i0)),
        torch.cat((real.i1, synthetic.i1)),
        torch.cat((real.targets, synthetic.targets)),
        torch.cat((real.index, synthetic.index + real.i0.shape[0])),
        torch.cat((real.t, synthetic.t)),
        synthetic.truth,
    )


def rate_at(settings: TrainSettings, step: int, progress: float) -> float:
    """Learning rate at a step, ``progress`` in [0, 1] of the whole schedule."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Prefetcher:
    """Draws the batches of coming steps on a thread of its own; each step's batch depends on (seed, step) alone."""

    def __init__(self, draw: Callable[[np.random.Generator], Batch], seed: int, first_step: int, ahead: int) -> None:
        self._draw, self._seed, self._first = draw, seed, first_step
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=max(1, ahead))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        step = self._first
        while not self._stop.is_set():
            item: Batch | BaseException
            try:
                item = self._draw(np.random.default_rng([self._seed, step]))
            except BaseException as error:
                item = error
            while not self._stop.is_set():
                try:
                    self._ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            step += 1

    def __iter__(self) -> Iterator[Batch]:
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)


def train(
    net: nn.Module,
    sources: Sequence[tuple[Any, int]],
    settings: TrainSettings,
    out: Path,
    device: torch.device,
    *,
    perceptual: nn.Module | None = None,
    validate: Callable[[nn.Module, int], dict[str, float]] | None = None,
    report: Callable[[str], None] = print,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train ``net`` in place and return the record of the run.

    ``sources``: (sampler, windows per step) pairs, the one with exact truth last; a sampler has
    ``draw(count, generator) -> Batch``. ``validate(net with averaged weights, step)`` returns scores to log. A run whose
    folder ``out`` holds a checkpoint goes on from there. Raises SlomoError when the loss stops being a number: the
    last checkpoint before that is kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type == "cuda"
    )
    average = {name: value.detach().clone() for name, value in net.state_dict().items()}
    record: dict[str, Any] = {"step": 0, "seconds": 0.0, "windows": 0, "settings": asdict(settings), **(about or {})}
    checkpoint = out / CHECKPOINT
    join_parts(checkpoint)
    if checkpoint.exists():
        before = load_checkpoint(checkpoint, net, average, optimizer)
        record |= {key: before[key] for key in ("step", "seconds", "windows")}
        report(f"resuming {checkpoint} at step {record['step']}")

    loss_of = SloMoLoss(settings.losses, perceptual)  # type: ignore[arg-type]
    trainee: Any = Trainee(net)
    if settings.compile:
        trainee = torch.compile(trainee)
    amp = torch.autocast(device.type, torch.bfloat16) if settings.dtype == "bfloat16" else nullcontext()

    def draw(rng: np.random.Generator) -> Batch:
        drawn = [sampler.draw(count, rng) for sampler, count in sources if count]
        real = drawn[0] if drawn[0].truth is None else None
        synthetic = drawn[-1] if drawn[-1].truth is not None else None
        return join_batches(real, synthetic)

    step = int(record["step"])
    prefetcher = Prefetcher(draw, settings.seed, step, ahead=2 if device.type == "cpu" else 1)
    begun = time.monotonic() - float(record["seconds"])
    next_checkpoint = time.monotonic() + 60 * settings.checkpoint_minutes
    next_validation = time.monotonic() + 60 * settings.validate_minutes
    sums: dict[str, Tensor] = {}
    logged_at, logged_step = time.monotonic(), step

    def save() -> None:
        save_checkpoint(checkpoint, net, average, optimizer, record)

    try:
        for batch in prefetcher:
            elapsed = time.monotonic() - begun
            progress = _progress(settings, step, elapsed)
            if progress >= 1.0:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate_at(settings, step, progress)
            parts = _step(trainee, net, loss_of, batch, optimizer, settings, amp)
            decay = min(settings.average_decay, (step + 1) / (step + 10))
            _update_average(average, net, decay)
            step += 1
            record |= {"step": step, "seconds": round(elapsed, 1), "windows": record["windows"] + batch.i0.shape[0]}
            for name, value in parts.items():
                sums[name] = sums.get(name, value.new_zeros(())) + value
            if step % settings.log_every == 0:
                means = {name: round(float(value) / settings.log_every, 5) for name, value in sums.items()}
                sums = {}
                if not math.isfinite(means["total"]):
                    raise SlomoError(
                        f"the loss is not a number at step {step}; the checkpoint {checkpoint} holds the state before. "
                        "Lower --learning-rate or train in float32, and run again to resume"
                    )
                now = time.monotonic()
                speed = batch.i0.shape[0] * (step - logged_step) / (now - logged_at)
                logged_at, logged_step = now, step
                line = {"step": step, "seconds": record["seconds"], "windows": record["windows"], **means}
                _log(out, line | {"windows_per_second": round(speed, 2), "rate": optimizer.param_groups[0]["lr"]})
                shown = " ".join(f"{name} {value:.3f}" for name, value in means.items())
                report(f"step {step}  {100 * progress:.1f} %  {shown}  {speed:.1f} windows/s")
            if time.monotonic() > next_checkpoint:
                save()
                next_checkpoint = time.monotonic() + 60 * settings.checkpoint_minutes
            if validate is not None and time.monotonic() > next_validation:
                _validate(validate, net, average, step, out, report)
                next_validation = time.monotonic() + 60 * settings.validate_minutes
    finally:
        prefetcher.close()
    save()
    if validate is not None:
        record["scores"] = _validate(validate, net, average, step, out, report)
    net.load_state_dict(average)
    return record


def _progress(settings: TrainSettings, step: int, elapsed: float) -> float:
    if settings.steps is not None:
        return step / settings.steps
    return elapsed / (60 * (settings.minutes or 1e9))


def _step(
    trainee: Any,
    net: nn.Module,
    loss_of: SloMoLoss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    amp: AbstractContextManager[Any],
) -> dict[str, Tensor]:
    """One update; a step whose gradient is not finite is left out."""
    inputs = [x.contiguous(memory_format=torch.channels_last) for x in (batch.i0, batch.i1)]
    with amp:
        state, motion, ladder = trainee(*inputs, batch.index, batch.t)
    total, parts = loss_of(batch, state, motion, ladder)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
    if bool(torch.isfinite(norm)):
        optimizer.step()
    return parts | {"total": total.detach(), "norm": norm.detach()}


@torch.no_grad()
def _update_average(average: dict[str, Tensor], net: nn.Module, decay: float) -> None:
    own = net.state_dict()
    floating = [name for name, value in own.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floating], [own[n] for n in floating], 1.0 - decay)


def _validate(
    validate: Callable[[nn.Module, int], dict[str, float]],
    net: nn.Module,
    average: dict[str, Tensor],
    step: int,
    out: Path,
    report: Callable[[str], None],
) -> dict[str, float]:
    """Scores of the averaged weights; the training weights are put back afterwards."""
    own = {name: value.detach().clone() for name, value in net.state_dict().items()}
    net.load_state_dict(average)
    net.eval()
    try:
        with torch.no_grad():
            scores = validate(net, step)
    finally:
        net.train()
        net.load_state_dict(own)
    _log(out, {"step": step, "validation": scores})
    report("validation at step {}: {}".format(step, " ".join(f"{k} {v:.3f}" for k, v in scores.items())))
    return scores


def _log(out: Path, line: dict[str, Any]) -> None:
    with open(out / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())

"""The training loop: draw, step, log, checkpoint and validate on the way."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slomo_cli.errors import SlomoError, printable
from slomo_cli.text import counted
from slomo_cli.train.checkpoint import join_parts, load_checkpoint, save_checkpoint, split_file
from slomo_cli.train.feed import Prefetcher, Sampler, join_batches
from slomo_cli.train.interrupts import Interrupts
from slomo_cli.train.judge import Judge
from slomo_cli.train.log import Log
from slomo_cli.train.losses import SloMoLoss
from slomo_cli.train.parallel import Team
from slomo_cli.train.perceptual import PerceptualFeatures
from slomo_cli.train.settings import TrainSettings
from slomo_cli.train.stepper import Stepper
from slomo_cli.train.windows import Batch

CHECKPOINT = "checkpoint.safetensors"
PATIENCE = 10
"""Steps in a row without a finite loss after which a run is given up."""

_NOTHING_DONE = {"step": 0, "seconds": 0.0, "windows": 0, "skipped": 0}


def rate_at(settings: TrainSettings, step: int, progress: float) -> float:
    """Learning rate at a step, ``progress`` in [0, 1] of the whole schedule."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


@dataclass
class _Tally:
    """What the steps since the last line of the log came to."""

    begun: float
    """On the clock."""
    windows: int
    """Of the run until then."""
    steps: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Of the parts of the loss."""

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """One step more, without waiting for the device."""
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1


class Run:
    """One training run in one folder."""

    def __init__(
        self,
        net: nn.Module,
        sources: Sequence[tuple[Sampler, int]],
        settings: TrainSettings,
        out: Path,
        device: torch.device,
        *,
        perceptual: PerceptualFeatures | None = None,
        team: Team | None = None,
        report: Callable[[str], None] = print,
        about: Mapping[str, Any] | None = None,
        split_bytes: int | None = None,
        tensorboard: bool = False,
    ) -> None:
        """``sources``: (sampler, windows per step and process), the one with exact truth last. ``about``: of what the
        run was made. ``split_bytes``: also write the checkpoint in parts of at most so many bytes.

        A run whose folder ``out`` holds a checkpoint, whole or in parts, goes on from there. Its record keeps what was
        said ``about`` it first, and lists as ``resumed`` what later calls changed and at which step; ``settings`` are
        those of the last call.
        """
        self.settings, self.out, self.device = settings, out, device
        self.team = team or Team()
        self._report = report if self.team.leads else lambda line: None
        self._split_bytes = split_bytes
        self._sources = [(sampler, count) for sampler, count in sources if count]
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if perceptual is not None:
            perceptual.to(device).autocast = settings.dtype == "bfloat16"
        self.stepper = Stepper(net, settings, SloMoLoss(settings.losses, perceptual), device, self.team, self._report)
        self.record: dict[str, Any] = dict(_NOTHING_DONE)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SlomoError(f"cannot make the folder {printable(out)}: {error.strerror or error}") from error
        self.record |= {"settings": asdict(settings), **(about or {})}
        self._resume(about or {})
        self.team.share([*net.state_dict().values(), *self.stepper.average.values()])
        self._log = Log(out, self.step, tensorboard) if self.team.leads else None
        self._first = self.step
        """Of this call of ``train``."""
        self._tally = self._new_tally()

    @property
    def checkpoint(self) -> Path:
        """Where the run can be taken up again."""
        return self.out / CHECKPOINT

    @property
    def step(self) -> int:
        """Steps done, over all resumes."""
        return int(self.record["step"])

    def _resume(self, about: Mapping[str, Any]) -> None:
        if self.team.leads:
            join_parts(self.checkpoint)
        self.team.wait()
        found = self.checkpoint.exists()
        if bool(self.team.agree([found])[0]) != found:
            raise SlomoError(
                f"expected all processes to see the checkpoint {printable(self.checkpoint)}, found otherwise"
            )
        if not found:
            return
        before = load_checkpoint(self.checkpoint, self.stepper.net, self.stepper.average, self.stepper.optimizer)
        self.record |= {key: before.get(key, self.record[key]) for key in (*_NOTHING_DONE, *about)}
        self._report(f"resuming {printable(self.checkpoint)} at step {self.step}")
        resumed: list[dict[str, Any]] = list(before.get("resumed", []))
        changed = _differences(before.get("settings", {}), asdict(self.settings), asdict(TrainSettings()))
        other = {name: said for name, said in about.items() if said != _last_said([before, *resumed], name, said)}
        if changed or other:
            self._report(f"changed since the checkpoint: {', '.join([*changed, *other])}")
            resumed.append({"step": self.step, **({"settings": changed} if changed else {}), **other})
        if resumed:
            self.record["resumed"] = resumed

    def train(self, judge: Judge | None = None) -> dict[str, Any]:
        """Train until the schedule or this call's time is over; returns the record.

        ``judge``: asked every ``validate_minutes`` and at the end or pause, about the averaged weights. Raises
        SlomoError when the loss stays without a finite value: the checkpoint then holds the last sound state. A signal
        that ends the program is obeyed after the step at hand, when the checkpoint is written.
        """
        settings, clock = self.settings, time.monotonic
        self._first, self._tally = self.step, self._new_tally()
        called = saved = judged = clock()
        begun = called - float(self.record["seconds"])
        prefetcher: Prefetcher | None = None
        finished = False
        try:
            with Interrupts(self._report) as interrupts:
                while True:
                    now = clock()
                    elapsed = now - begun
                    progress = _progress(settings, self.step, elapsed)
                    stop = settings.stop_minutes is not None and now - called > 60 * settings.stop_minutes
                    stop |= interrupts.received is not None
                    save = now - saved > 60 * settings.checkpoint_minutes
                    look = judge is not None and now - judged > 60 * settings.validate_minutes
                    progress, *decisions = self.team.agree((progress, stop, save, look))
                    stop, save, look = map(bool, decisions)
                    finished = progress >= 1.0
                    if finished or stop:
                        self.record["seconds"] = round(elapsed, 3)  # the last step's own time counts as well
                        break
                    if save or look:  # what looking at pictures may cost is not the training
                        self.save()
                        saved = clock()
                    if look:
                        self.judge(judge)
                        judged = clock()
                    if prefetcher is None:
                        prefetcher = Prefetcher(self._draw, (settings.seed, self.team.rank), self.step, 2, self.device)
                        batches = iter(prefetcher)
                    self._one(next(batches), progress, elapsed)
                    if self.step % settings.log_every == 0:
                        self._tell(_progress(settings, self.step, clock() - begun))
                self._tell(progress)
                self.save()
        finally:
            if prefetcher is not None:
                prefetcher.close()
        if not finished:
            self._report(f"stopped at step {self.step}, {100 * progress:.1f} % of the schedule; run again to go on")
        interrupts.obey()
        if judge is not None:
            self.record["scores"] = self.judge(judge)
        self.record["finished"] = finished
        return self.record

    def _draw(self, rng: np.random.Generator) -> Batch:
        drawn = [sampler.draw(count, rng) for sampler, count in self._sources]
        real = drawn[0] if drawn[0].truth is None else None
        return join_batches(real, drawn[-1] if drawn[-1].truth is not None else None)

    def _one(self, batch: Batch, progress: float, elapsed: float) -> None:
        parts = self.stepper.step(batch, rate_at(self.settings, self.step, progress), self.step)
        windows = int(self.record["windows"]) + batch.i0.shape[0] * self.team.size
        self.record |= {"step": self.step + 1, "seconds": round(elapsed, 3), "windows": windows}
        self._tally.add(parts)

    def _new_tally(self) -> _Tally:
        return _Tally(time.monotonic(), int(self.record["windows"]))

    def _tell(self, progress: float) -> None:
        """Log and report what happened since the last time; raises SlomoError when the loss is lost."""
        tally = self._tally
        if not tally.steps:
            return
        *sums, last = torch.stack([*tally.sums.values(), self.stepper.bad_in_a_row]).tolist()  # one wait for the device
        found, in_a_row = dict(zip(tally.sums, sums, strict=True)), int(last)
        skipped = int(found.pop("skipped"))
        self._tally = self._new_tally()
        self.record["skipped"] = int(self.record["skipped"]) + skipped
        if in_a_row and (in_a_row >= PATIENCE or in_a_row == self.step - self._first):
            raise SlomoError(
                f"the loss is not a number since step {self.step - in_a_row}; {self._last_state()}. "
                "Lower --lr or use --dtype float32, and run again to resume"
            )
        good = tally.steps - skipped
        means = {name: round(value / good, 5) for name, value in found.items()} if good else {}
        windows = self._tally.windows
        speed = (windows - tally.windows) / max(1e-9, self._tally.begun - tally.begun)
        line = {"step": self.step, "seconds": self.record["seconds"], "windows": windows, **means}
        line |= {"windows_per_second": round(speed, 2), "skipped": skipped, "rate": self.stepper.rate}
        if self._log is not None:
            self._log.add(line)
        shown = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        left_out = f"  {counted(skipped, 'step')} left out" if skipped else ""
        self._report(f"step {self.step}  {100 * min(1.0, progress):.1f} %  {shown}  {speed:.1f} windows/s{left_out}")

    def _last_state(self) -> str:
        if not self.checkpoint.exists():
            return "there is no checkpoint yet"
        return f"the checkpoint {printable(self.checkpoint)} holds the last sound state"

    def save(self) -> None:
        """Write the checkpoint, and its parts where asked. Unsound weights are never written: SlomoError."""
        if not self.team.leads:
            return
        if not self.stepper.finite():
            raise SlomoError(f"the weights are not finite numbers at step {self.step}; {self._last_state()}")
        stepper = self.stepper
        save_checkpoint(self.checkpoint, stepper.net, stepper.average, stepper.optimizer, self.record)
        if self._split_bytes:
            split_file(self.checkpoint, self._split_bytes)

    def judge(self, judge: Judge | None) -> dict[str, float | None]:
        """Scores of the averaged weights, None where one is no number; the training weights are put back afterwards."""
        if judge is None or not self.team.leads:
            return {}
        net = self.stepper.net
        own = {name: value.detach().clone() for name, value in net.state_dict().items()}
        net.load_state_dict(self.stepper.average)
        net.eval()
        try:
            scores = judge(self.step)
        finally:
            net.train()
            net.load_state_dict(own)
        told = {name: round(value, 4) if math.isfinite(value) else None for name, value in scores.items()}
        assert self._log is not None
        self._log.add({"step": self.step, "seconds": self.record["seconds"], "validation": told})
        judge.plot()
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self._report(f"validation at step {self.step}: {shown or 'nothing to validate on'}")
        return told


def _progress(settings: TrainSettings, step: int, elapsed: float) -> float:
    if settings.steps is not None:
        return step / settings.steps
    return elapsed / (60 * (settings.minutes or 1e9))


def _last_said(calls: Sequence[Mapping[str, Any]], name: str, otherwise: Any) -> Any:
    return next((call[name] for call in reversed(calls) if name in call), otherwise)


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """``name old -> new`` of settings that changed; those that only say how long or where are left out.

    A setting that the checkpoint is too old to know had the ``usual`` value.
    """
    found = []
    for name in now.keys() - {"stop_minutes", "log_every", "checkpoint_minutes", "validate_minutes"}:
        old, new = before.get(name, usual[name]), now[name]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, usual[name], f"{prefix}{name}.")
        elif json.dumps(old) != json.dumps(new):
            found.append(f"{prefix}{name} {old} -> {new}")
    return sorted(found)

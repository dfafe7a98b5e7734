"""Scores and pictures while a run goes on: held-out windows, evaluation sets, sample sheets, the plot of the losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.errors import SlomoError
from slomo_cli.evaluate.datasets import Dataset
from slomo_cli.evaluate.run import score_method
from slomo_cli.net.motion import Motion
from slomo_cli.net.proxy import proxy_scale
from slomo_cli.net.warp import render
from slomo_cli.picture import RGB, Tile, error_to_rgb, flow_to_rgb, gray_to_rgb, sheet, write_png
from slomo_cli.train.log import plot_losses
from slomo_cli.train.stepper import Trainee
from slomo_cli.train.windows import Batch, WindowSampler

_SEED = 20180618  # of the held-out windows: the same ones in every run and at every step
_TOGETHER = 4
SAMPLES = 6
SHEETS = "samples"
"""Folder of a run that holds them."""


class Answer(NamedTuple):
    """Pictures and motion for M targets."""

    picture: Tensor
    """(M, 3, H, W) in [0, 1], rounded to 8 bits."""
    motion: Motion


class Judge:
    """Scores a network between steps. What cannot be read or written is told and left out: training goes on."""

    def __init__(
        self,
        trainee: Trainee,
        device: torch.device,
        *,
        bfloat16: bool,
        held_out: WindowSampler | None = None,
        windows: int = 48,
        sets: Mapping[str, Dataset] | None = None,
        limit: int | None = None,
        folder: Path | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        """``trainee``: around the network to judge. ``held_out``: where ``windows`` windows are drawn from. ``sets``:
        by the names of their scores, ``limit`` pairs of each at most. ``folder``: of the run, for its pictures; None
        draws none."""
        self._trainee, self._device, self._bfloat16 = trainee, device, bfloat16
        self._held_out, self._windows = held_out, windows
        self._sets, self._limit, self._folder = sets or {}, limit, folder
        self._report = report

    def plot(self) -> None:
        """Draw the losses and scores logged so far."""
        if self._folder is not None:
            with self._tolerant("drawing the losses"):
                plot_losses(self._folder)

    @torch.no_grad()
    def __call__(self, step: int) -> dict[str, float]:
        """PSNR in dB by name of the set, SSIM beside it; writes a sheet of samples."""
        scores = {}
        if self._held_out is not None:
            batch = self._held_out.draw_plain(self._windows, np.random.default_rng(_SEED))
            scores["held-out"] = self._score(batch)
            if self._folder is not None:
                with self._tolerant("drawing samples"):
                    self._draw_samples(self._folder, batch, step)
        for name, one in self._sets.items():
            with self._tolerant(f"validation on {name}"):
                result = score_method(self.between, one, self._limit)
                scores[name], scores[f"{name} ssim"] = result.psnr, result.ssim
        return scores

    @contextmanager
    def _tolerant(self, work: str) -> Iterator[None]:
        try:
            yield
        except (SlomoError, OSError) as error:
            self._report(f"{work} failed: {error}")

    def _score(self, batch: Batch) -> float:
        """Mean PSNR over the targets."""
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(batch.i0), _TOGETHER):
            some = _part(batch, start, start + _TOGETHER)
            truth = (some.targets * 255).round() / 255
            error = (self._answer(some.i0, some.i1, some.index, some.t).picture - truth).square().mean((1, 2, 3))
            total += (-10 * torch.log10(error.cpu().double().clamp_min(1e-10))).sum()  # MPS has no float64
        return float(total) / len(batch.t)

    def _answer(self, i0: Tensor, i1: Tensor, index: Tensor, t: Tensor) -> Answer:
        height, width = i0.shape[-2:]
        magnify = proxy_scale(min(height, width), self._trainee.cell).magnify
        stride = self._trainee.stride // magnify
        pad = (0, -width % stride, 0, -height % stride)
        i0, i1 = (
            F.pad(x, pad, mode="replicate").contiguous(memory_format=torch.channels_last) if any(pad) else x
            for x in (i0, i1)
        )
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            _, motion, _ = self._trainee(i0, i1, index, t, magnify)
        motion = Motion(*(value.float() for value in motion))
        picture = render(i0[index], i1[index], motion, t)
        picture = (picture[..., :height, :width].clamp(0, 1) * 255).round() / 255
        return Answer(picture, Motion(*(value[..., :height, :width] for value in motion)))

    def between(self, first: RGB, second: RGB, timesteps: Sequence[Fraction], /) -> list[RGB]:
        """As a method of :mod:`slomo_cli.evaluate`: one 8-bit picture per timestep."""
        i0, i1 = (torch.from_numpy(p).to(self._device).permute(2, 0, 1)[None].float() / 255 for p in (first, second))
        t = torch.tensor([float(one) for one in timesteps], device=self._device)
        with torch.no_grad():
            pictures = self._answer(i0, i1, torch.zeros(len(t), dtype=torch.int64, device=self._device), t).picture
        return [to_rgb(picture) for picture in pictures]

    def _draw_samples(self, folder: Path, batch: Batch, step: int) -> None:
        some = _part(batch, 0, SAMPLES)
        answer = self._answer(some.i0, some.i1, some.index, some.t)
        rows = []
        for m, window in enumerate(some.index.tolist()):
            result, truth = to_rgb(answer.picture[m]), to_rgb(some.targets[m])
            flows = [flow[m].permute(1, 2, 0).cpu().numpy() for flow in answer.motion[:2]]
            largest = max(1.0, *(float(np.hypot(*flow.transpose(2, 0, 1)).max()) for flow in flows))
            rows.append(
                [
                    Tile(to_rgb(some.i0[window]), "first"),
                    Tile(to_rgb(some.i1[window]), "last"),
                    Tile(result, f"result, t {float(some.t[m]):.3f}"),
                    Tile(truth, "truth"),
                    Tile(error_to_rgb(result, truth), "error x 4"),
                    Tile(flow_to_rgb(flows[0], largest), f"flow to 0, {largest:.1f} px"),
                    Tile(flow_to_rgb(flows[1], largest), "flow to 1"),
                    Tile(gray_to_rgb(answer.motion.visibility[m, 0].cpu().numpy()), "visibility of 0"),
                ]
            )
        (folder / SHEETS).mkdir(exist_ok=True)
        write_png(folder / SHEETS / f"step-{step:07d}.png", sheet(rows, f"held-out windows at step {step}"))


def _part(batch: Batch, start: int, stop: int) -> Batch:
    """Windows ``start`` to ``stop`` of a batch, with their targets."""
    owner = batch.index.cpu()
    (mine,) = torch.nonzero((owner >= start) & (owner < stop), as_tuple=True)
    mine = mine.to(batch.index.device)
    windows = slice(start, stop)
    return Batch(batch.i0[windows], batch.i1[windows], batch.targets[mine], batch.index[mine] - start, batch.t[mine])


def to_rgb(picture: Tensor) -> RGB:
    """(3, H, W) in [0, 1] -> (H, W, 3) ``uint8``."""
    pixels: RGB = (picture.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels

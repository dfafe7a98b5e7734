"""One training step: predict, compare, go back, update; and the moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slomo_cli.net.fast import Fast
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.proxy import magnified
from slomo_cli.net.warp import approximate_flows
from slomo_cli.train.losses import SloMoLoss
from slomo_cli.train.parallel import Team
from slomo_cli.train.settings import TrainSettings
from slomo_cli.train.windows import Batch

Answer = tuple[PairState, Motion, list[Tensor]]


class Trainee(nn.Module):
    """A network as training and validation look at it: flows at the pictures' size, ablations applied."""

    def __init__(self, net: nn.Module, settings: TrainSettings) -> None:
        super().__init__()
        self.net = net
        self.flow_interpolation = settings.flow_interpolation
        self.visibility = settings.visibility

    @property
    def stride(self) -> int:
        """Sides of pictures must be multiples of it."""
        net: Any = self.net
        return int(net.stride)

    @property
    def cell(self) -> int:
        """Pixels the network sees per step of its motion grid."""
        net: Any = self.net
        return int(net.cell)

    def forward(self, i0: Tensor, i1: Tensor, index: Tensor, t: Tensor, magnify: int = 1) -> Answer:
        """Pictures (N, 3, H, W), targets (M,): what the losses need. Coarse flows are empty where there are none.

        ``magnify``: the network sees the pictures so many times enlarged; a divisor of its cell.
        """
        net: Any = self.net
        i0, i1 = magnified(i0, magnify), magnified(i1, magnify)
        if hasattr(net, "pair_with_ladder"):
            state, ladder = net.pair_with_ladder(i0, i1)
        else:
            state, ladder = net.pair(i0, i1), []
        motion = net.at(state, index, t)
        if not self.flow_interpolation:
            flows = approximate_flows(state.flow_01[index], state.flow_10[index], t)
            motion = motion._replace(flow_t0=flows[0], flow_t1=flows[1])
        if not self.visibility:
            motion = motion._replace(visibility=torch.full_like(motion.visibility, 0.5))
        cell = self.cell // magnify
        if cell > 1:
            state = state._replace(flow_01=_enlarged(state.flow_01, cell), flow_10=_enlarged(state.flow_10, cell))
            shares = torch.cat((motion.visibility, motion.detail), 1)
            shares = F.interpolate(shares, scale_factor=cell, mode="bilinear", align_corners=False)
            motion = Motion(_enlarged(motion.flow_t0, cell), _enlarged(motion.flow_t1, cell), *shares.chunk(2, 1))
        return state, motion, ladder


def _enlarged(flow: Tensor, cell: int) -> Tensor:
    return cell * F.interpolate(flow, scale_factor=cell, mode="bilinear", align_corners=False)


def can_leave_out(device: torch.device) -> bool:
    """Whether the fused optimizer leaves a step out there when told to; MPS has one that did not hear it for years."""
    return device.type in ("cpu", "cuda")


@contextmanager
def in_one_order(device: torch.device) -> Iterator[None]:
    """Have torch add up gradients in one order on a CPU, so that the same step gives the same bits again.

    Threads that share the work of going back through an indexing add to one place as they come: where a window with
    three targets or more fell to two threads, the last bits were left to chance. GPUs have no such way back through a
    warp.
    """
    if device.type != "cpu":
        yield
        return
    beside: Any = torch.utils.deterministic
    before, filling = torch.are_deterministic_algorithms_enabled(), beside.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    beside.fill_uninitialized_memory = False  # takes time, and is for finding mistakes
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        beside.fill_uninitialized_memory = filling


class Stepper:
    """A network with its optimizer and moving average."""

    def __init__(
        self,
        net: nn.Module,
        settings: TrainSettings,
        loss: SloMoLoss,
        device: torch.device,
        team: Team,
        report: Callable[[str], None],
    ) -> None:
        self.settings, self.device = settings, device
        self._loss, self._team, self._report = loss, team, report
        self.net = net
        self.trainee = Trainee(net, settings)
        self._fused = can_leave_out(device)
        # None leaves torch the choice among the others, which False does not.
        words: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        self.optimizer = torch.optim.AdamW(net.parameters(), fused=self._fused or None, **words)
        self.average = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self.bad_in_a_row = torch.zeros((), device=device)
        """Steps left out one after another because something was not a finite number."""
        self._forward: Callable[..., Any] = self._compare
        self._untried = settings.compile
        if settings.compile and isinstance(net, Fast) and device.type == "cpu":
            # Of the gradient of `unfold` it makes code for CPUs that writes beyond its arrays (torch 2.13).
            report("cannot compile here, going on without: on a CPU torch compiles the gradients of fast wrongly")
            self._untried = False
        elif settings.compile:
            self._forward = torch.compile(self._compare, dynamic=False)

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batch: Batch, rate: float, number: int) -> dict[str, Tensor]:
        """One update with learning rate ``rate``; ``number`` counts from 0. Returns the parts of the loss.

        Nothing here waits for the device. A step whose gradient is not finite changes nothing; the device counts it.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = batch._replace(
            i0=batch.i0.contiguous(memory_format=torch.channels_last),
            i1=batch.i1.contiguous(memory_format=torch.channels_last),
        )
        magnify = 1
        rng = np.random.default_rng((self.settings.seed, number))
        if rng.random() < self.settings.magnified:
            magnify = self.trainee.cell
            crop = batch.i0.shape[-1]
            side = crop * 2 // 3 // 32 * 32  # about as many pixels for the network to look at
            y, x = rng.integers(0, crop - side, 2, endpoint=True).tolist()
            batch = batch.cropped(y, x, side)
        total, parts = self._gradients(batch, magnify)
        self._team.average_gradients(self.net.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.clip_norm)
        bad = (~torch.isfinite(norm)).float()
        self._update(bad)
        self.bad_in_a_row = (self.bad_in_a_row + 1) * bad
        self._follow(min(self.settings.average_decay, (number + 1) / (number + 10)))
        # A sum must survive a step that was left out; how many there were is told beside it.
        parts |= {"total": total.detach(), "norm": norm.detach()}
        return {name: torch.where(bad > 0, 0.0, value.float()) for name, value in parts.items()} | {"skipped": bad}

    def _compare(self, batch: Batch, magnify: int) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.dtype == "bfloat16"):
            state, motion, ladder = self.trainee(batch.i0, batch.i1, batch.index, batch.t, magnify)
        return self._loss(batch, state, motion, ladder)

    def _gradients(self, batch: Batch, magnify: int) -> tuple[Tensor, dict[str, Tensor]]:
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with in_one_order(self.device):  # forward too: a compiled step goes back only as it came
                total, parts = self._forward(batch, magnify)
                total.backward()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            # Compilation happens at the first call and needs tools that may be missing.
            if not self._untried:
                raise
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            self._report(f"cannot compile here, going on without: {first.strip()}")
            self._forward = self._compare
            self._untried = False
            return self._gradients(batch, magnify)
        self._untried = False
        return total, parts

    def _update(self, bad: Tensor) -> None:
        optimizer: Any = self.optimizer
        if self._fused:
            # The fused update leaves everything as it is where this says so: torch's own way to skip without asking.
            optimizer.found_inf = bad
            optimizer.step()
        elif not bool(bad):
            optimizer.step()

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        """Move the average a little towards the weights."""
        own = self.net.state_dict()
        floating = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floating], [own[n] for n in floating], 1.0 - decay)

    def finite(self) -> bool:
        """Every weight is a number; waits for the device."""
        total = sum(value.detach().float().abs().sum() for value in self.net.parameters())
        return bool(torch.isfinite(torch.as_tensor(total)))

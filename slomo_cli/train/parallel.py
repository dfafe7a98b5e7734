"""Several processes, one per GPU, started by torchrun: same weights everywhere, gradients averaged after every step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn  # before any group is made: imported later, its defaults would hold the group for good
from torch import nn

from slomo_cli.devices import choose_device
from slomo_cli.errors import DeviceError, UsageError

PATIENCE = timedelta(hours=6)
"""How long processes wait for one that decodes videos or validates."""


class Team:
    """The processes of one run; a run of one process is a team of one."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        # Decisions are numbers on the host: sent over GPUs, every step would wait for the one before.
        self._talk = dist.new_group(backend="gloo", timeout=PATIENCE) if size > 1 else None

    @property
    def leads(self) -> bool:
        """This process decides, writes and reports."""
        return self.rank == 0

    def agree(self, numbers: Sequence[float]) -> list[float]:
        """The leader's numbers, everywhere."""
        if self._talk is None:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(tensor, 0, group=self._talk)
        return list(map(float, tensor))

    def wait(self) -> None:
        """Until all have come here."""
        if self._talk is not None:
            dist.barrier(group=self._talk)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by the team's mean."""
        if self.size == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([grad.detach().flatten().float() for grad in grads])
        dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for grad in grads:
            grad.copy_(flat[start : start + grad.numel()].view_as(grad))
            start += grad.numel()

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """The leader's values, everywhere."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def leave(self) -> None:
        """Say goodbye; after this the processes are on their own."""
        if self.size > 1 and dist.is_initialized():
            # Groups end, and their threads are waited for, when nothing holds them: one that puts a tensor down
            # while the interpreter is being taken apart aborts the process.
            self._talk = None
            dist.destroy_process_group()


def join(device: str) -> tuple[Team, torch.device]:
    """This process's place in the team and its device, as torchrun's environment says (alone where it says nothing).

    ``device``: auto, cpu, cuda, cuda:N or mps; under torchrun, cuda is the GPU of the process's local rank. Raises
    DeviceError when the device is not there.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if size > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{local}"
    chosen = choose_device(device, training=True)
    if size == 1:
        return Team(), chosen
    if chosen.type not in ("cuda", "cpu"):
        raise UsageError(f"several processes can train on cuda or cpu, not on {chosen.type}; start one process")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    try:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError, dist.DistError) as error:
        raise DeviceError(f"the processes of torchrun cannot find each other: {error}") from error
    return Team(rank, size), chosen

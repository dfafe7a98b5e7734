"""A loaded network as it is run: its number format, its layout in memory, and what is computed once per frame."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from slomo_cli.net.fast import Fast
from slomo_cli.net.fast_cpu import FastOnCpu
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.presets import Network


class Runner(Protocol):
    """A network in three steps: one frame, a pair of frames, any number of times between them."""

    @property
    def stride(self) -> int:
        """Proxy sides must be multiples of it."""

    @property
    def cell(self) -> int:
        """Proxy pixels per step of the Motion grid."""

    def look(self, proxy: Tensor) -> Any:
        """What one frame alone tells. ``proxy``: (1, 3, H, W) float32 RGB in [0, 1]."""

    def pair(self, first: Any, second: Any) -> PairState:
        """What two frames tell together, from what each tells alone."""

    def at(self, state: PairState, t: Tensor) -> Motion:
        """Motion of M times ``t`` (M,) between the two."""


class Automatic:
    """Any network on any device, torch choosing each operation's format around convolutions in ``dtype``."""

    def __init__(self, net: Network, device: torch.device, dtype: torch.dtype) -> None:
        self.stride, self.cell = net.stride, net.cell
        self._device, self._dtype = device, dtype
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                part.to(dtype)  # once: autocast would cast them again at every call
        self._net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def look(self, proxy: Tensor) -> Tensor:
        return proxy.contiguous(memory_format=torch.channels_last)

    def pair(self, first: Tensor, second: Tensor) -> PairState:
        with self._autocast():
            state: PairState = self._net.pair(first, second)
        return state

    def at(self, state: PairState, t: Tensor) -> Motion:
        with self._autocast():
            motion: Motion = self._net.at(state, torch.zeros_like(t, dtype=torch.int64), t)
        return motion

    def compile(self) -> None:
        """Compile both halves and run them once; raises whatever torch raises where that cannot be done."""
        try:
            for name in self._net.arithmetic:
                setattr(self._net, name, torch.compile(getattr(self._net, name)))
            proxy = torch.zeros(1, 3, self.stride * 2, self.stride * 2, device=self._device)
            seen = self.look(proxy)
            self.at(self.pair(seen, seen), proxy.new_full((1,), 0.5))
        except BaseException:
            for name in self._net.arithmetic:
                vars(self._net).pop(name, None)  # what hides the method of its class
            raise

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def runner(net: Network, device: torch.device, dtype: torch.dtype) -> Runner:
    """The quickest way to run ``net``, whose weights may be changed by it."""
    if isinstance(net, Fast) and device.type == "cpu" and dtype in (torch.float32, torch.bfloat16):
        return FastOnCpu(net, dtype)
    return Automatic(net, device, dtype)

"""Batches: where windows come from, mixed and drawn ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from slomo_cli.train.windows import Batch


class Sampler(Protocol):
    """Where windows come from."""

    def draw(self, count: int, rng: np.random.Generator) -> Batch: ...


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


class Prefetcher:
    """Draws the batches of coming steps on a thread of its own; each depends on (seed, step, rank) alone."""

    def __init__(
        self,
        draw: Callable[[np.random.Generator], Batch],
        seed: Sequence[int],
        step: int,
        ahead: int,
        device: torch.device,
    ) -> None:
        self._draw, self._seed, self._step, self._device = draw, list(seed), step, device
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=max(1, ahead))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            item: Batch | BaseException
            try:
                if self._device.type == "cuda":
                    torch.cuda.set_device(self._device)  # a thread begins on the first GPU
                item = self._draw(np.random.default_rng([*self._seed, self._step]))
            except BaseException as error:
                item = error
            while not self._stop.is_set():
                try:
                    self._ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            self._step += 1

    def __iter__(self) -> Iterator[Batch]:
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop drawing."""
        self._stop.set()
        self._thread.join(timeout=30)

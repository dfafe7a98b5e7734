"""Clocks, memory and the speed limit of the machine that is measured."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spent:
    """Time a piece of work took."""

    wall: float
    """Seconds on the clock."""
    cpu: float
    """Seconds of processor time, user and system, of this process and the processes it has waited for."""

    def per(self, count: float) -> Spent:
        return Spent(self.wall / count, self.cpu / count)


class Clock:
    """Times a piece of work: make it, do the work, ask ``spent``."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._wall, cpu_seconds() - self._cpu)


def cpu_seconds() -> float:
    """Processor time so far, of this process and its ended children (of which Windows does not tell)."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def median(spent: Sequence[Spent]) -> Spent:
    """The middle of each."""
    return Spent(statistics.median(s.wall for s in spent), statistics.median(s.cpu for s in spent))


def repeat(work: Callable[[], Any], times: int, wait: Callable[[], None] = lambda: None, seconds: float = 0.0) -> Spent:
    """The median of ``times`` runs after one that warms up, of more where ``seconds`` are not over.

    ``wait`` is called before the clock is read: for devices that work on while Python goes ahead.
    """
    work()
    wait()
    found: list[Spent] = []
    begun = time.perf_counter()
    while len(found) < times or time.perf_counter() - begun < seconds:
        clock = Clock()
        work()
        wait()
        found.append(clock.spent())
    return median(found)


def load() -> float | None:
    """Processes that wanted to run during the last minute, on average; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def peak_memory() -> int | None:
    """Largest resident memory of this program so far, in bytes; None where the system does not say."""
    if sys.platform == "linux":
        # getrusage starts from the peak of the process that started this one; VmHWM is this program's own.
        return _high_water("self")
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_memory_of_children() -> int | None:
    """The same of the largest process that this thread has started and that still runs; None where none is seen."""
    if sys.platform != "linux":
        return None
    try:
        with open(f"/proc/self/task/{threading.get_native_id()}/children", encoding="ascii") as file:
            numbers = file.read().split()
    except OSError:
        return None
    return max((found for found in map(_high_water, numbers) if found is not None), default=None)


def _high_water(process: str) -> int | None:
    try:
        with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as status:
            return next((1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM")), None)
    except OSError:  # it has ended
        return None


@contextmanager
def one_thread(device: Any) -> Iterator[None]:
    """Let torch compute with one thread where ``device`` is a CPU."""
    import torch

    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def matrix_peak(device: Any, dtype: Any) -> float:
    """Floating-point operations per second of a large matrix product; on a CPU of one core, where processor time is
    counted: others may be at work beside."""
    import torch

    on_cpu = device.type == "cpu"
    side = 1024 if on_cpu else 8192
    a = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty_like(a)
    with one_thread(device), torch.inference_mode():
        spent = repeat(lambda: torch.mm(a, a, out=out), 5, waiter(device), seconds=0.3)
    return 2 * side**3 / (spent.cpu if on_cpu else spent.wall)


def waiter(device: Any) -> Callable[[], None]:
    """What to call until the device has done all it was given."""
    import torch

    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None

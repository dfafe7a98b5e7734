"""Cores to run on, and how idle threads of the numeric libraries wait. Light: imports nothing of weight."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may run on: no more than the time comes to that a container grants it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, granted_cores())))


def granted_cores(root: Path = Path("/")) -> float:
    """How many cores' time the control groups of this process grant it (Linux), infinite without a limit.

    A thread for every core of a large machine, of which a container (``docker run --cpus 2``) gets two, would take the
    memory of as many pairs of pictures, and be no faster.
    """
    least = math.inf
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            # Version 2 names no controllers and has one tree for all.
            tree = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
            place = tree / group.strip("/")
            # Within a container the tree often begins at its own group, whatever that is called outside.
            for folder in (place, *place.parents[: len(place.parts) - len(tree.parts)]):
                least = min(least, _granted_by(folder))
    return least


def _granted_by(group: Path) -> float:
    """Cores' time that a control group grants: microseconds in so many microseconds (cgroups(7))."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):  # it is not there; or it is the word max
            quota, period = (int(number) for name in names for number in (group / name).read_text().split())
            if quota > 0:
                return quota / period
    return math.inf


def wait_quietly() -> None:
    """Let no thread without work keep a core busy; to be called before numpy and torch are imported.

    OpenMP's and OpenBLAS's threads look for new work for milliseconds before they sleep, and take the core from the
    decoder and the encoder meanwhile: torch became ten times slower beside a busy encoder, and a matrix product of
    0.2 ms cost 15 ms. What the environment already says is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # numpy's products here are too small to share out.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

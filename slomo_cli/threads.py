"""Cores to run on, and how idle threads of the numeric libraries wait. Light: imports nothing of weight."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_quietly() -> None:
    """Let no thread without work keep a core busy; to be called before numpy and torch are imported.

    OpenMP's and OpenBLAS's threads look for new work for milliseconds before they sleep, and take the core from the
    decoder and the encoder meanwhile: torch became ten times slower beside a busy encoder, and a matrix product of
    0.2 ms cost 15 ms. What the environment already says is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # numpy's products here are too small to share out.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

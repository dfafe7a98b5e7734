"""Signals wait for the end of a step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

GRACE_SECONDS = 0.5
"""Signals that follow the first one sooner are the same request: `timeout`, `torchrun` and job systems send two."""


class Interrupts:
    """Holds back SIGINT, SIGTERM and SIGHUP until a step is complete; a second request acts at once.

    Only a whole step can be resumed exactly. Does nothing outside the main thread, where Python has no signals.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._before: dict[int, Any] = {}
        self.received: int | None = None
        self._at = 0.0

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._at = number, time.monotonic()
            self._report("stopping after this step; once more stops at once")
        elif time.monotonic() >= self._at + GRACE_SECONDS:
            self.received = number
            self.obey()

    def obey(self) -> None:
        """Do now what the signal asked for, if one came."""
        self.__exit__()
        if self.received is not None:
            signal.raise_signal(self.received)

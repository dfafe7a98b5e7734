"""Standard streams: those that the caller has closed (``>&-``), or that take few letters, and where tables go."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

from slomo_cli.errors import SlomoError

if TYPE_CHECKING:
    from rich.console import Console


class _Closed(io.RawIOBase):
    """Standard output that is closed: whoever has something to write there is told."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise SlomoError("standard output is closed: redirect it to a file, a pipe or the null device")


def hold_standard_streams() -> None:
    """Give the numbers of closed standard streams to the null device. Writing to a closed stdout fails; messages to a
    closed stderr go nowhere. Both wait for their readers.

    Else the next file that is opened has such a number, and what a library or a child process prints ends up in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one; children get it too, for the same reason.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if number and os.name == "posix":
            os.set_blocking(number, True)  # else what a full pipe has no room for is lost without a word
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(_Closed(), "utf-8", write_through=True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as long as the program


def escape_foreign_letters() -> None:
    """Let the standard streams write what their encoding has no letter for (a name in Latin-1, or on Windows in a pipe)
    as an escape; else it ends the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def stdout_is_closed() -> bool:
    """Was standard output closed when the program began?"""
    return sys.stdout is None or isinstance(getattr(sys.stdout, "buffer", None), _Closed)


def table_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Where tables are printed, on stdout unless ``stderr``; ``quiet``: nowhere."""
    from rich.console import Console

    console = Console(stderr=stderr, quiet=quiet)
    if not console.is_terminal:
        console.width = 10_000  # a file or pipe has no width of its own: break nothing
    return console

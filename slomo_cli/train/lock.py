"""One process at a time in a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slomo_cli.errors import SlomoError, printable

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes from training in ``folder``, which is made where it is missing.

    SlomoError when another one does so already, or the folder cannot be made. The system lets go of the lock whatever
    ends the process; the empty file stays, as to remove it would let two processes lock two files of its name. Where
    the system or the file system knows no locks, nothing is kept from anybody.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "ab")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise SlomoError(f"cannot make the folder {printable(folder)}: {error.strerror or error}") from error
    with file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SlomoError(
                f"{printable(folder)} is being trained by another process; wait for its end, or choose another --out"
            ) from error
        except OSError:
            pass
        yield

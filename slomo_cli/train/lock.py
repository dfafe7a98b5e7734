"""One process at a time in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from slomo_cli.errors import SlomoError, printable

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_TRIES = 100
"""Some file systems never give a file the same number twice."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes from training in ``folder``, which is made where it is missing; where an error comes before
    any file is in it, it is taken away again.

    SlomoError when another one does so already, or the folder cannot be made. The system lets go of the lock whatever
    ends the process. Where the system or the file system knows no locks, nothing is kept from anybody.
    """
    try:
        made = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
        file = _locked(folder)
    except BlockingIOError as error:
        raise SlomoError(
            f"{printable(folder)} is being trained by another process; wait for its end, or choose another --out"
        ) from error
    except OSError as error:
        raise SlomoError(f"cannot make the folder {printable(folder)}: {error.strerror or error}") from error
    try:
        with file:
            try:
                yield
            finally:
                with suppress(OSError):  # an open file stays where systems have it so (Windows)
                    (folder / LOCK).unlink()
    except BaseException:
        _remove_empty(made)
        raise


def _locked(folder: Path) -> BinaryIO:
    """The lock file of the folder, locked; BlockingIOError where another process has locked it."""
    file: BinaryIO | None = None
    for _ in range(_TRIES):
        if file is not None:
            file.close()  # that was the file of a process that has just taken it away
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "ab")  # noqa: SIM115 (whoever holds it closes it)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(folder / LOCK)):
                break
        except BlockingIOError:
            file.close()
            raise
        except FileNotFoundError:
            continue
        except OSError:
            break  # no locks here
    assert file is not None
    return file


def _remove_empty(made: Sequence[Path]) -> None:
    """Remove folders that were made, the innermost first, and the empty ones in it, as far as there is no file."""
    with suppress(OSError):  # there is one, or somebody else looks inside
        for folder in made:
            for inside, _, _ in os.walk(folder, topdown=False):
                os.rmdir(inside)

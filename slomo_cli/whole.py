"""Files that appear complete or not at all. Light: imports nothing of weight."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slomo_cli.errors import SlomoError, printable

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def whole(path: Path, beside: str | None = None) -> Iterator[Path]:
    """A new file beside ``path`` to write to, which takes its place in the end, when all of it is on the disk. What a
    link leads to is written, the link stays.

    Where anything is raised, here or by the writer, the new file goes and what was at ``path`` stays. ``beside``: the
    name of a folder for it, for what is large and has one writer: with that folder goes what a killed process left,
    also of files that the writer makes for itself. None: a file that is nobody else's. Raises OSError.
    """
    if path.is_symlink():  # others keep their names: below a closed folder no way leads there from the root
        path = Path(os.path.realpath(path))
    place = path.with_name(beside or f".slomo-{secrets.token_hex(6)}.part")
    temporary = place / path.name if beside else place
    try:
        _remove(place)
        if beside:
            place.mkdir()
        temporary.open("xb").close()
        mode = (path if path.exists() else temporary).stat().st_mode  # who might read the old may read the new
        yield temporary
        sync(temporary)
        os.chmod(temporary, mode)  # some writers make a file of their own, for its owner alone
        os.replace(temporary, path)
    finally:
        _remove(place)
    with contextlib.suppress(OSError):  # Windows knows no such thing of folders
        sync(path.parent)


def _remove(place: Path) -> None:
    """A file or a folder with all that is in it; nothing where there is none."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file in this way. Raises SlomoError where it cannot."""
    try:
        with whole(Path(path)) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "free some space, or choose a roomier place" if error.errno == errno.ENOSPC else "choose another place"
        raise SlomoError(f"cannot write {printable(path)}: {reason}; {advice}") from error


def sync(path: Path) -> None:
    """Flushes a file or folder to the disk, where its file system can; OSError where the disk does not take it."""
    number = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(number)

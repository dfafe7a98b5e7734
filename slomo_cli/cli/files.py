"""What can be said of files before anything heavy is loaded: whether one may be read, written, replaced."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from slomo_cli.cli.streams import stdout_is_closed
from slomo_cli.errors import InputError, SlomoError, UsageError, printable
from slomo_cli.media.names import address_hint, first_file, refuse_overwriting_inputs

STREAM = "-"
"""stdin as an input, stdout as the output."""


def check_source(source: Path | None, *, piped: bool = False, hint: str = "") -> None:
    """InputError unless the source is there and may be read; whether it is a video shows when it is opened.

    ``hint`` ends the message about one that is not there.
    """
    if source is None:
        if sys.stdin is None:
            raise UsageError("stdin (-) is closed: pipe or redirect a video into it")
        if sys.stdin.isatty():
            raise UsageError("stdin (-) is a terminal: pipe or redirect a video into it")
        return
    name = f"'{printable(source)}'"
    try:
        mode = source.stat().st_mode
    except FileNotFoundError:
        if re.search(r"[%*?]", source.name) and source.parent.is_dir():
            return  # may name numbered pictures, as a folder may
        raise InputError(f"{name} does not exist{address_hint(str(source)) or hint}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        hint = "pipe it in as -" if piped else "save it to one first"
        raise InputError(f"{name} is a pipe or device; expected a regular file: {hint}")
    if not os.access(source, os.R_OK):
        raise InputError(f"{name} cannot be read: permission denied")


def check_target(target: Path | None, *, create: bool = False, dry: bool = False, text: bool = False) -> None:
    """SlomoError unless a file can be put there; ``create`` makes a missing folder (--out-dir) unless ``dry``.

    ``text``: a terminal takes it too.
    """
    if target is None:
        if stdout_is_closed():
            raise UsageError("stdout (-) is closed: redirect it to a file or a pipe")
        if sys.stdout.isatty() and not dry and not text:
            raise UsageError("stdout (-) is a terminal: redirect it to a file or a pipe")
        return
    name, folder = printable(target), target.parent
    try:
        if target.is_dir():
            raise UsageError(f"the output '{name}' is a folder: name a file in it")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            raise UsageError(f"the output '{name}' is not a regular file: use -o - to write to a pipe or device")
        if create and not folder.exists():
            if dry:
                return
            folder.mkdir(parents=True, exist_ok=True)  # another slomo may be making it too
        if folder.exists() and not folder.is_dir():
            raise SlomoError(f"cannot write '{name}': '{printable(folder)}' is not a folder")
        if not folder.exists():
            raise SlomoError(f"the folder '{printable(folder)}' does not exist: make it, or choose another")
    except OSError as error:
        raise SlomoError(f"cannot write '{name}': {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SlomoError(f"no permission to write in the folder '{printable(folder)}'")
    if _is_mounted(there := os.path.realpath(target)):
        where = printable(os.path.dirname(there))
        raise SlomoError(f"'{name}' is mounted by itself and cannot be replaced: mount its folder '{where}' instead")
    if _is_anothers(target):
        raise SlomoError(f"'{name}' belongs to another user, who alone may replace it there: choose another name")


_MOUNTS = "/proc/self/mountinfo"
"""What Linux has mounted where; elsewhere there is no such file."""


def _is_mounted(there: str) -> bool:
    """Whether the file itself is mounted there, not only a folder above it.

    ``os.path.ismount`` compares devices: in overlays, files may have another than their folder, and what is mounted may
    be of the same disk.
    """
    try:
        with open(_MOUNTS, "rb") as mounts:
            points = [line.split()[4] for line in mounts]
    except OSError:
        return False
    return os.fsencode(there) in [re.sub(rb"\\(\d{3})", lambda hit: bytes([int(hit[1], 8)]), name) for name in points]


def _is_anothers(target: Path) -> bool:
    """Whether a file is there that only its owner may replace, as in folders that are everybody's (``/tmp``)."""
    there = os.path.realpath(target)
    try:
        owner, folder = os.stat(there).st_uid, os.stat(os.path.dirname(there))
    except OSError:
        return False
    return os.name == "posix" and bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, owner, folder.st_uid)


def may_write(target: Path | None, *, overwrite: bool, skip: bool | None = None) -> bool | None:
    """Is the target free (False), may it be replaced (True), or is it to be left as it is (None)?

    ``skip``: leave what is there; None where the command has no such option.
    Asks on a terminal; elsewhere SlomoError.
    """
    if target is None:
        return False
    if overwrite:
        return True  # also what comes there meanwhile
    if not os.path.lexists(there := first_file(target)):
        return False
    if skip:
        return None
    if interactive():
        return True if click.confirm(f"'{printable(there)}' exists. Replace it?", err=True) else None
    raise SlomoError(f"'{printable(there)}' exists: -y replaces it{'' if skip is None else ', -n leaves it'}")


def may_make(target: Path | None, sources: Sequence[Path], *, overwrite: bool) -> bool | None:
    """``may_write``, after all that can be refused where one target is made of these sources."""
    for source in sources:
        check_source(source)
    check_target(target)
    refuse_overwriting_inputs([target], sources)
    return may_write(target, overwrite=overwrite)


def interactive() -> bool:
    """Is there a person to ask?"""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


@contextmanager
def readable(source: Path | None) -> Iterator[Path]:
    """The source as a file: stdin is copied to a temporary one, as its packets are walked before they are decoded."""
    if source is not None:
        yield source
        return
    try:
        holder = tempfile.TemporaryDirectory(prefix="slomo-")
    except OSError as error:
        raise SlomoError(
            f"cannot keep stdin in a temporary folder: {error.strerror}; name one that can be written to by TMPDIR"
        ) from None
    with holder as folder:
        path = Path(folder) / "stdin"
        try:
            with path.open("wb") as file:
                while (block := sys.stdin.buffer.read(1 << 20)) != b"":
                    if block is None:  # a pipe that does not wait has nothing yet, which is not its end
                        time.sleep(0.01)
                    else:
                        file.write(block)
        except OSError as error:
            raise SlomoError(
                f"cannot keep stdin in '{printable(folder)}': {error.strerror}; make room there, or name another "
                "folder by TMPDIR"
            ) from None
        if not path.stat().st_size:
            raise InputError("stdin is empty: pipe a video into it")
        try:
            yield path
        except SlomoError as error:
            # Nobody knows the temporary file, which will be gone when the line is read.
            raise type(error)(str(error).replace(f"'{printable(path)}'", "stdin")) from error

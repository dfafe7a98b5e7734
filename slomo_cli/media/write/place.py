"""Where the output grows: a hidden temporary file or folder beside the target, that becomes the target or vanishes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from slomo_cli.errors import EncoderError, OutputBusy, UsageError, printable
from slomo_cli.media.matroska import mark_full_range
from slomo_cli.media.plan.target import Target
from slomo_cli.media.webp import end_animation
from slomo_cli.media.write.reread import count_pictures
from slomo_cli.whole import sync

_HOLDS = os.name != "nt"
"""Windows opens no folders, and renames and removes nothing that anybody has open: that is lock enough."""


class Place:
    """The temporary file or folder beside the target: reserved by a lock, renamed at the end or removed."""

    def __init__(self, target: Target) -> None:
        self.path: Path | None = target.temporary
        self._target = target
        self._lock: int | None = None
        if self.path is None or target.path is None:
            return
        folder = target.path.parent
        if not folder.is_dir():
            raise EncoderError(f"the folder '{printable(folder)}' does not exist: create it or choose another -o")
        refuse_existing(target)
        try:
            self._clear_stale()
            if self._target.still:
                self.path.mkdir()
                self._hold(os.O_RDONLY)
            else:
                self._hold(os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:  # since a moment ago
            raise self._taken() from None
        except OSError as error:
            self._release()
            raise unwritable(folder, error) from None
        except KeyboardInterrupt:  # which may come when the file is there and nothing here knows it yet
            self._release()
            with contextlib.suppress(EncoderError, OSError):
                self._clear_stale()
            raise

    def _clear_stale(self) -> None:
        """Removes what a killed run left behind: its ffmpeg may still be writing, and must not write into ours."""
        assert self.path is not None
        with contextlib.suppress(FileNotFoundError):
            mode = os.lstat(self.path).st_mode
            if stat.S_ISLNK(mode) or stat.S_ISFIFO(mode):  # no run's: it would lead elsewhere, or be waited for
                self.path.unlink()
                return
            self._hold(os.O_RDONLY if self._target.still else os.O_WRONLY)
            if self._target.still:
                shutil.rmtree(self.path)
            else:
                self.path.unlink()
            self._release()

    def _taken(self) -> OutputBusy:
        self._release()
        self.path = None
        return busy()

    def _hold(self, flags: int) -> None:
        """Opens and locks it. Two runs on one output would write through each other; the second is told."""
        if not _HOLDS:
            return
        assert self.path is not None
        self._lock = os.open(self.path, flags, 0o666)
        try:
            # What another run has removed since it was opened is locked for nobody.
            held = locked(self._lock) and os.path.samestat(os.fstat(self._lock), os.stat(self.path))
        except FileNotFoundError:
            held = False
        if not held:
            raise self._taken()

    def _release(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None

    def refuse_gone(self) -> None:
        """EncoderError where somebody has removed or renamed what is being written, or a folder above it."""
        if self.path is not None and not os.path.lexists(self.path):
            raise EncoderError(f"'{printable(self.path)}' was removed or renamed while it was written: nothing is kept")

    def count(self, written: int, last: Fraction | None) -> int:
        """Pictures found there; see ``count_pictures``."""
        assert self.path is not None
        return count_pictures(self.path, self._target, written, last)

    def end_animation(self, end: Fraction) -> None:
        """Lets the last picture of the finished WebP stand until then, in seconds."""
        assert self.path is not None
        end_animation(self.path, end)

    def mark_full_range(self) -> None:
        """Says in the finished Matroska file that its samples use their full range."""
        assert self.path is not None
        if not mark_full_range(self.path):
            raise EncoderError("the file has no place to mark its full range in: choose another --codec, or .mp4")

    def commit(self) -> None:
        """Durable first, then visible: sync, rename, sync the folder. A signal is heeded between these."""
        target = self._target
        assert self.path is not None and target.path is not None
        if self._target.still:
            numbers = sorted(int(name.stem) for name in self.path.iterdir())
            pairs = [(self.path / f"{number}.{target.extension}", target.image_path(number)) for number in numbers]
        else:
            pairs = [(self.path, target.path)]
        for temporary, _ in pairs:
            sync(temporary)
        for _, path in pairs:
            if words := _in_the_way(path, target.overwrite):
                raise FileExistsError(errno.EEXIST, words)
        undisturbed(lambda: self._rename(pairs, target.overwrite))
        self._release()
        with contextlib.suppress(OSError):  # by now it is there, whatever becomes of the folder
            sync(target.path.parent)

    def _rename(self, pairs: list[tuple[Path, Path]], overwrite: bool) -> None:
        """Gives every file its name, or none that was not there before."""
        new: list[Path] = []
        try:
            for temporary, path in pairs:
                was_there = os.path.lexists(path)
                _appear(temporary, path, overwrite)
                if not was_there:
                    new.append(path)
        except OSError:
            for path in new:
                path.unlink()
            raise
        if self._target.still and self.path is not None:
            self.path.rmdir()
        self.path = None

    def room(self) -> str:
        if self.path is None:
            return "standard output takes no more: its disk is full"
        where = self.path.parent
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(where).free
            return f"the disk is full: {free / 2**20:.0f} MiB are free in '{printable(where)}'"
        return f"the disk is full in '{printable(where)}'"

    def clear(self) -> None:
        """Removes what is there; a file that another program holds open is tried for a moment."""
        path, self.path = self.path, None
        if path is not None:
            for attempt in range(20):
                try:
                    if self._target.still:
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if os.name != "nt" or attempt == 19:
                        break
                    time.sleep(0.05)
        self._release()


def locked(number: int) -> bool:
    """Locks an open file or folder until it is closed; False where another run has it."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def busy() -> OutputBusy:
    """What a run is told whose output another is writing."""
    return OutputBusy("another slomo is writing this output: wait for it or choose another -o")


def unwritable(folder: Path, error: OSError) -> EncoderError:
    """What to say where nothing can be begun in the folder."""
    if isinstance(error, PermissionError) and error.filename is not None and os.path.lexists(error.filename):
        theirs = printable(error.filename)
        return EncoderError(
            f"'{theirs}' belongs to a run of another user: wait for it, or where it has been stopped, have that removed"
        )
    return EncoderError(f"cannot write to the folder '{printable(folder)}': {error.strerror}")


def refuse_existing(target: Target, frames: int = 1) -> None:
    """UsageError when the target exists; of a sequence of images, any of the first ``frames``.

    Where it may be replaced, only when it is a folder.
    """
    if target.path is None:
        return
    for path in map(target.image_path, range(1, frames + 1)) if target.still else [target.path]:
        if words := _in_the_way(path, target.overwrite):
            how = "" if path.is_dir() else "overwrite it with -y or "
            raise UsageError(f"{words}: {how}choose another -o")


def _in_the_way(path: Path, overwrite: bool) -> str:
    """What keeps a file from getting this name, in words; "" where nothing does."""
    if path.is_dir() and not path.is_symlink():
        return f"'{printable(path)}' is a folder"
    return f"'{printable(path)}' exists" if not overwrite and os.path.lexists(path) else ""


def left_over(target: Target, frames: int) -> list[str]:
    """A note where an older, longer sequence of images would go on behind the new one."""
    if target.path is None or not target.still:
        return []
    after = target.image_path(frames + 1)
    if after == target.image_path(frames) or not os.path.lexists(after):
        return []
    return [f"'{printable(after)}' and what follows stay from an older sequence: remove them to have this one alone"]


def undisturbed(work: Callable[[], None]) -> None:
    """Does the work to its end on a thread of its own: a signal comes to the main one, which heeds it afterwards."""
    begun, done = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    def do() -> None:
        begun.set()
        try:
            work()
        except BaseException as problem:
            problems.append(problem)
        finally:
            done.set()

    thread = threading.Thread(target=do, name="slomo-undisturbed")
    try:
        thread.start()
        done.wait()
    except RuntimeError:  # no thread is to be had
        do()
    except BaseException:
        if begun.wait(timeout=2):
            done.wait()
        raise
    if problems:
        raise problems[0]


def _appear(temporary: Path, path: Path, overwrite: bool) -> None:
    """Gives the finished file its name in one step; without ``overwrite`` a file that came meanwhile stays."""
    if overwrite:
        with contextlib.suppress(OSError):
            shutil.copymode(path, temporary)  # who might read the old file may read the new one
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here: reserve the name first, then replace the reservation.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(temporary, path)
    else:
        temporary.unlink()

"""Films and photos to learn from: every file of their kinds below the folders that are named."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from slomo_cli.errors import InputError, printable
from slomo_cli.media.containers import VIDEO_SUFFIXES
from slomo_cli.text import some

_PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"))


def find_videos(folders: Sequence[Path], report: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Every video file below the folders (or named itself), sorted; InputError when there is none. Folders that may not
    be entered are reported."""
    return _find(folders, VIDEO_SUFFIXES, report, data="training data", one="video", many="video files", named=True)


def find_photos(folders: Sequence[Path], report: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Every picture file below the folders, sorted; InputError when there is none. Folders that may not be entered are
    reported."""
    return _find(folders, _PHOTO_SUFFIXES, report, data="training photos", one="picture", many="pictures")


def _find(
    folders: Sequence[Path],
    suffixes: Collection[str],
    report: Callable[[str], None],
    *,
    data: str,
    one: str,
    many: str,
    named: bool = False,
) -> list[Path]:
    """Every file of these endings below the folders, sorted; InputError when there is none. Folders that may not be
    entered are reported.

    ``data``, ``one``, ``many``: what errors call them; ``named``: a file may be given itself, whatever its ending.
    """
    found: set[Path] = set()
    locked: list[Path] = []
    for folder in folders:
        if named and os.path.isfile(folder):
            found.add(folder)
        elif not os.path.isdir(folder):  # Path.is_dir raises where it may not look
            raise InputError(f"{data}: expected a folder of {many}, found no folder {printable(folder)}")
        else:
            found.update(_files_below(folder, suffixes, locked))
    closed = _locked_out(locked)
    if not found:
        kinds = " ".join(sorted(suffixes))
        names = ", ".join(map(printable, folders))
        raise InputError(f"{data}: no {one} in {names} (looked for {kinds}){closed and '; ' + closed}")
    if closed:
        report(closed)
    return sorted(found)


def _files_below(folder: Path, suffixes: Collection[str], locked: list[Path]) -> Iterator[Path]:
    """Files of these endings in the folder and all below it; folders that may not be entered come into ``locked``."""
    for where, _, names in os.walk(folder, onerror=lambda error: locked.append(Path(error.filename))):
        if not os.access(where, os.X_OK):  # one that may be read tells its names, and no more
            locked.append(Path(where))
            continue
        paths = (Path(where, name) for name in names)
        yield from (path for path in paths if path.suffix.lower() in suffixes and os.path.isfile(path))


def _locked_out(folders: Sequence[Path]) -> str:
    """A line that says which folders may not be entered; '' for none."""
    return f"left out {some(folders)}: no permission to look inside" if folders else ""

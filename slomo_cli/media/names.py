"""Names, looked at before anything heavy is loaded: what pictures they stand for, and a source that would be lost.

Numbered pictures go by ``im_%04d.png``, ``im_*.png``, or the name of their folder. A name that exists as a file is
always that file, whatever it looks like.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from slomo_cli.errors import InputError, UsageError, printable
from slomo_cli.media import containers
from slomo_cli.text import counted

NUMBERED = re.compile(r"%(0\d{1,2})?d")
"""What stands for the number in the name of a sequence of pictures."""

_GAPS_SHOWN = 4
_EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".tga", ".dpx", ".exr", ".jp2", ".ppm", ".pgm", ".pam"}
    | {".qoi", ".sgi", ".gif", ".pbm", ".pfm", ".phm", ".hdr", ".pcx", ".j2k", ".jxl", ".avif"}
)
_FILMS = frozenset("mp4 m4v mov qt mkv webm avi ts m2ts mts mpg mpeg vob wmv flv 3gp ogv mxf nut".split())
"""Endings that no picture has."""


def address_hint(name: str) -> str:
    """What to do about an address in place of a file's name, to end a message; empty for a name."""
    if name.lower().startswith("file:"):
        return "; a file is named by its path alone, without 'file:'"
    return "; only local files are read: download it first" if re.match(r"[A-Za-z][\w+.-]+:", name) else ""


def numbered(path: Path, number: int) -> Path:
    """The file of picture ``number``, counted from 1, of a sequence named like ``out_%03d.png``."""
    return path.with_name(NUMBERED.sub(lambda match: match[0] % number, path.name, count=1))


def by_number(path: Path) -> list[tuple[int, int, str]]:
    """Sorts names with the numbers in them as numbers: ``2.png`` before ``10.png``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def first_file(path: Path) -> Path:
    """The file that is there when the output is: of numbered pictures the first there is, else number 1."""
    kind = containers.BY_EXTENSION.get(path.suffix.lower().removeprefix("."))
    if kind is None or not kind.still:
        return path
    first = numbered(path, 1)
    if os.path.lexists(first) or not NUMBERED.search(path.name):
        return first
    before, *_, after = NUMBERED.split(path.name, maxsplit=1)
    digits = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    with contextlib.suppress(OSError):
        numbers = sorted(int(found[1]) for name in os.listdir(path.parent) if (found := digits.fullmatch(name)))
        return next((there for n in numbers if n and os.path.lexists(there := numbered(path, n))), first)
    return first


def sequence_files(path: str | os.PathLike[str]) -> tuple[Path, ...] | None:
    """The pictures a name stands for, in their numbers' order; None when it names one file (or nothing).

    Raises InputError for a folder without pictures, or with pictures of several kinds, and for a pattern of films.
    """
    place = Path(path)
    if not os.fspath(path):
        return None
    try:
        if place.is_dir():
            return _folder(place)
        if place.exists() or not place.parent.is_dir():
            return None
    except (OSError, ValueError):
        return None
    files = _matching(place)
    if films := [file for file in files if file.suffix.lower().removeprefix(".") in _FILMS]:
        raise InputError(
            f"expected pictures of one film by the name '{printable(place)}', found {counted(len(films), 'film')}: "
            "name each, as the shell does with a pattern that is not quoted"
        )
    return files or None


def _matching(place: Path) -> tuple[Path, ...]:
    """The files that a pattern means, in their numbers' order."""
    if match := re.fullmatch(r"(.*?)%(?:0?(\d+))?d(.*)", place.name, re.DOTALL):
        digits = rf"(\d{{{match[2]},}})" if match[2] else r"(\d+)"
        pattern = re.compile(re.escape(match[1]) + digits + re.escape(match[3]), re.DOTALL)
        found = [(int(hit[1]), file) for file in place.parent.iterdir() if (hit := pattern.fullmatch(file.name))]
        return tuple(file for _, file in sorted(found))
    if re.search(r"[*?]", place.name):
        # Square brackets are names' own. What systems hide beside pictures is meant only where it is asked for.
        there = place.parent.glob(place.name.replace("[", "[[]"))
        files = [file for file in there if place.name.startswith(".") or not file.name.startswith(".")]
        return tuple(sorted(files, key=by_number))
    return ()


def _folder(folder: Path) -> tuple[Path, ...]:
    shown = f"'{printable(folder)}'"
    files = [file for file in folder.iterdir() if file.suffix.lower() in _EXTENSIONS and not file.name.startswith(".")]
    if not files:
        raise InputError(f"{shown} is a directory without pictures; expected a video file or a folder of pictures")
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        listed = ", ".join(kinds)
        raise InputError(f"{shown} holds pictures of several kinds ({listed}); name those meant, e.g. '*{kinds[0]}'")
    return tuple(sorted(files, key=by_number))


def missing(files: tuple[Path, ...]) -> str:
    """Numbers left out between the first and the last, as words such as ``3 (7, 9 to 10)``; '' when there are none.

    Names without one number, or whose numbers leap so far that they count something else (time stamps), miss nothing.
    """
    numbers = sorted(numbers_of(files))
    gaps = [(low + 1, high - 1) for low, high in itertools.pairwise(numbers) if high > low + 1]
    count = sum(high - low + 1 for low, high in gaps)
    if not gaps or count > len(files):
        return ""
    shown = [f"{low}" if low == high else f"{low} to {high}" for low, high in gaps[:_GAPS_SHOWN]]
    return f"{count} ({', '.join(shown)}{', ...' * (len(gaps) > _GAPS_SHOWN)})"


def numbers_of(files: tuple[Path, ...]) -> tuple[int, ...]:
    """The number of every file that is the only part of the names that changes; () where there is none."""
    names = [re.split(r"(\d+)", file.name) for file in files]
    if len({len(parts) for parts in names}) != 1:
        return ()
    changing = [place for place, column in enumerate(zip(*names, strict=True)) if len(set(column)) > 1]
    if len(changing) != 1 or changing[0] % 2 == 0:
        return ()
    return tuple(int(parts[changing[0]]) for parts in names)


def refuse_overwriting_inputs(
    targets: Iterable[Path | None], sources: Iterable[Path | None], *, removed: Path | None = None
) -> None:
    """UsageError when a target and a source lead to one file, whatever links are between. Looks at each name once, as
    there may be thousands.

    None is standard output or input, which may be redirected to a file. ``removed``: what a killed run left and this
    one removes, of pictures a folder; no source may be it or be in it.
    """
    inputs: set[object] = set()
    sequences: dict[str, list[Path]] = {}
    """By the folders their pictures are in."""
    for source in sources:
        inputs.add(_identity(0 if source is None else source))
        if source is not None:
            if removed is not None and _identity(removed) in (_identity(source), _identity(source.parent)):
                raise UsageError(f"the output '{printable(removed)}' is the input itself: name another")
            whole = os.path.isdir(source)  # False also where that may not be known
            if whole or re.search(r"[%*?]", source.name):
                sequences.setdefault(os.path.abspath(source if whole else source.parent), []).append(source)
    for target in targets:
        if target is None:
            if _identity(1) in inputs:
                raise UsageError("standard output is the input itself: redirect it to another file")
        else:
            beside = sequences.get(os.path.abspath(target.parent), ())
            if _identity(target) in inputs or any(_among_pictures(target, source) for source in beside):
                raise UsageError(f"the output '{printable(target)}' is the input itself: name another")


def _identity(path: Path | int) -> object:
    """Equal for names, and numbers of standard streams, that lead to one file."""
    try:
        about = os.stat(path)
    except OSError:  # it does not exist
        return path if isinstance(path, int) else os.path.abspath(path)
    if isinstance(path, int) and not stat.S_ISREG(about.st_mode):  # one terminal may be both
        return path
    return about.st_dev, about.st_ino


def _among_pictures(target: Path, source: Path) -> bool:
    """Would images of that name replace pictures of the sequence in the same folder that they are made from?"""
    parts = re.split(r"%(?:0?\d+)?d", target.name)
    pattern = re.compile(r"\d+".join(map(re.escape, parts)))
    return any(pattern.fullmatch(file.name) for file in sequence_files(source) or ())

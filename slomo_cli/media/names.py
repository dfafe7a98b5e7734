"""Names, looked at before anything heavy is loaded: numbered pictures, and a source that would be lost."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from slomo_cli.errors import UsageError, printable
from slomo_cli.media import containers

NUMBERED = re.compile(r"%(0\d{1,2})?d")
"""What stands for the number in the name of a sequence of pictures."""


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


def refuse_overwriting_input(target: Path | None, source: Path | None) -> None:
    """UsageError when both names lead to one file, whatever links are between."""
    refuse_overwriting_inputs([target], [source])


def refuse_overwriting_inputs(
    targets: Iterable[Path | None], sources: Iterable[Path | None], *, removed: Path | None = None
) -> None:
    """The same for every target and every source; looks at each name once, as there may be thousands.

    ``removed``: what a killed run left and this one removes, of pictures a folder; no source may be it or be in it.
    """
    inputs: set[object] = set()
    sequences: dict[str, list[Path]] = {}
    """By the folders their pictures are in."""
    for source in sources:
        if source is not None:
            inputs.add(_identity(source))
            if removed is not None and _identity(removed) in (_identity(source), _identity(source.parent)):
                raise UsageError(f"the output '{printable(removed)}' is the input itself: name another")
            whole = os.path.isdir(source)  # False also where that may not be known
            if whole or re.search(r"[%*?]", source.name):
                sequences.setdefault(os.path.abspath(source if whole else source.parent), []).append(source)
    for target in targets:
        if target is not None:
            beside = sequences.get(os.path.abspath(target.parent), ())
            if _identity(target) in inputs or any(_among_pictures(target, source) for source in beside):
                raise UsageError(f"the output '{printable(target)}' is the input itself: name another")


def _identity(path: Path) -> object:
    """Equal for names that lead to one file."""
    try:
        about = os.stat(path)
    except OSError:  # it does not exist
        return os.path.abspath(path)
    return about.st_dev, about.st_ino


def _among_pictures(target: Path, source: Path) -> bool:
    """Would images of that name replace pictures of the sequence in the same folder that they are made from?"""
    from slomo_cli.media.sequence import sequence_files  # loads av

    parts = re.split(r"%(?:0?\d+)?d", target.name)
    pattern = re.compile(r"\d+".join(map(re.escape, parts)))
    return any(pattern.fullmatch(file.name) for file in sequence_files(source) or ())

"""The jobs of one command line: which result each input gets, and what it is called."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from slomo_cli.cli.files import STREAM
from slomo_cli.errors import UsageError, printable
from slomo_cli.media import containers
from slomo_cli.media.names import NUMBERED, refuse_overwriting_inputs
from slomo_cli.media.plan import codecs
from slomo_cli.text import decimal

_HOLD_MUCH = {"vob", "mpg", "mpeg", "ogv", "ogm", "mxf", "rm", "rmvb", "wtv"}
"""Sources that often carry what only Matroska takes."""


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes; ``None`` is stdin or stdout."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """What the user calls the input."""
        return "stdin" if self.source is None else str(self.source)


def tag_of_factor(factor: Fraction) -> str:
    """``x8``, ``x2.5``; a ratio without a short decimal is rounded to three."""
    return f"x{decimal(factor)}"


def tag_of_rate(rate: Fraction) -> str:
    """``240fps``, ``59.94fps``, ``23.976fps``."""
    return f"{decimal(rate)}fps"


def default_name(source: Path, tag: str, codec: str | None) -> str:
    """``in.x8.mp4`` for ``in.mp4``: the source's kind of file where slomo writes it and it holds the codec."""
    ending = _ending(source.suffix.lower().removeprefix("."), codec)
    kept = source.suffix if source.suffix.lower() == f".{ending}" else f".{ending}"
    name = plain_name(source)
    if containers.BY_EXTENSION[ending].still:
        name = source.stem if NUMBERED.search(source.stem) else f"{name}.%06d"
    return f"{name}.{tag}{kept}"


def plain_name(source: Path) -> str:
    """What a result is called after: the source's name without the ending, and without what stands for any number in a
    pattern of pictures; where nothing is left, the name of their folder."""
    stem = source.stem or source.resolve().name  # "." is a folder of pictures with a name
    if os.path.exists(source):  # a file may be called like a pattern
        return stem
    return re.sub(rf"{NUMBERED.pattern}|[*?]+", "", stem).strip("_-. ") or source.parent.resolve().name


def _ending(own: str, codec: str | None) -> str:
    """The ending a result gets, without its dot; ``own`` is the source's."""
    word = None if codec is None else codecs.codec_word(codec)
    if word in containers.BY_EXTENSION:  # gif, png and the like: codec and kind of file in one
        return word
    if word is None:
        return own if own in containers.BY_EXTENSION else ("mkv" if own in _HOLD_MUCH else "mp4")
    encoder = codecs.CODECS[word][0] if word in codecs.CODECS else word
    holds = codecs.encoder_of(encoder).codec
    fit = [kind for kind in containers.CONTAINERS if kind.video is None or holds in kind.video]
    for kind in fit:
        if own in kind.extensions:
            return own
    return fit[0].extensions[0]


def plan_jobs(
    inputs: Sequence[str], *, output: str | None, out_dir: str | None, tag: str, codec: str | None
) -> list[Job]:
    """Where each input's result goes; UsageError where the request contradicts itself, before any of it is done."""
    if output is not None and out_dir is not None:
        raise UsageError("-o names one file and --out-dir a folder for all: give one of them")
    if STREAM in inputs and len(inputs) > 1:
        raise UsageError(f"stdin (-) is converted by itself, with -o: found {len(inputs)} inputs, leave out the others")
    if output is not None and len(inputs) > 1:
        found = f"-o names one file and there are {len(inputs)} inputs"
        for name in inputs:
            if not os.path.lexists(name) and not re.search(r"[%*?]", name):  # half a name, or of an option's value
                missing = f"of which '{printable(name)}' does not exist"
                raise UsageError(f"{found}, {missing}: quote what holds spaces, or use --out-dir DIR")
        raise UsageError(f"{found}: use --out-dir DIR{_as_film(inputs)}")
    # Names are compared as they were typed: "./-" is a file, and a Path of it would be "-".
    sources = [None if name == STREAM else Path(name) for name in inputs]
    jobs = [Job(source, _target(source, output, out_dir, tag, codec)) for source in sources]
    targets: dict[str, Job] = {}
    for job in jobs:
        if job.target is None:
            continue
        other = targets.setdefault(os.path.abspath(job.target), job)
        if other is not job:
            if os.path.abspath(other.name) == os.path.abspath(job.name):
                raise UsageError(f"'{printable(job.name)}' is given twice: name it once")
            names = f"'{printable(other.name)}' and '{printable(job.name)}'"
            raise UsageError(f"{names} would both be written to '{printable(job.target)}': give each an -o of its own")
    refuse_overwriting_inputs((job.target for job in jobs), (job.source for job in jobs))
    return jobs


def _as_film(inputs: Sequence[str]) -> str:
    """A hint for whoever let the shell take a pattern of pictures apart."""
    endings = {Path(name).suffix.lower().removeprefix(".") for name in inputs}
    still = all(ending in containers.BY_EXTENSION and containers.BY_EXTENSION[ending].still for ending in endings)
    return f", or quote the pattern ('*.{min(endings)}') to take the pictures as one film" if still else ""


def _target(source: Path | None, output: str | None, out_dir: str | None, tag: str, codec: str | None) -> Path | None:
    if output == STREAM:
        return None
    if output is not None:
        if not output or output.endswith(("/", os.sep)):
            raise UsageError(f"-o expects a file name, found '{printable(output)}': use --out-dir for a folder")
        return Path(output)
    if source is None:
        raise UsageError("reading stdin needs a name for the result: -o FILE, or -o - for stdout")
    name = default_name(source, tag, codec)
    if out_dir is not None:
        return Path(out_dir) / name
    folder = source.parent if re.search(r"[*?]", source.name) and not os.path.exists(source) else source
    if NUMBERED.search(name) and os.path.isdir(folder):
        # Beside the folder: within, they would be among the sources of the next run.
        return (folder.parent if folder.name not in ("", "..") else folder / "..") / name
    return source.parent / name

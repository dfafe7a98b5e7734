"""Names of outputs, and all that can be refused about files before anything heavy is loaded."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import click

from slomo_cli.cli.streams import stdout_is_closed
from slomo_cli.errors import InputError, SlomoError, UsageError, printable
from slomo_cli.media import codecs, containers
from slomo_cli.media.names import NUMBERED, first_file, refuse_overwriting_inputs
from slomo_cli.text import decimal

STREAM = "-"
"""stdin as an input, stdout as the output."""

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
        raise UsageError(f"-o names one file and there are {len(inputs)} inputs: use --out-dir DIR{_as_film(inputs)}")
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


def check_source(source: Path | None, *, piped: bool = False) -> None:
    """InputError unless the source is there and may be read; whether it is a video shows when it is opened."""
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
        hint = "; only local files are read: download it first" if re.match(r"[A-Za-z][\w+.-]+:", str(source)) else ""
        raise InputError(f"{name} does not exist{hint}") from None
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
    if _is_anothers(target):
        raise SlomoError(f"'{name}' belongs to another user, who alone may replace it there: choose another name")


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

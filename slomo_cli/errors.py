"""The one error family of slomo, and the exit code each member stands for.

    SlomoError            1   the work failed
    |- UsageError         2   the request itself cannot be granted
    |- InputError         3   the source cannot be read as video
    |- EncoderError       4   ffmpeg or an encoder is missing, refused or died
    |  |- OutputBusy      4   another slomo is writing the output
    |  '- OutputClosed  141   who read standard output went away; nobody need be told
    |- DeviceError        5   device, memory or number format not available
    '- WeightsError       1   a weights file is unknown, damaged or of the wrong shape

Raised where the fact is known, caught once, in ``slomo_cli.cli``. A message says what was expected, what was found
and what to do, in one line. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno


class SlomoError(Exception):
    """The work failed; the message is one line written for the person at the prompt."""

    exit_code = 1


class UsageError(SlomoError):
    """The request contradicts itself or asks for what cannot be had."""

    exit_code = 2


class InputError(SlomoError):
    """The source is missing, unreadable, or holds no usable video."""

    exit_code = 3


class EncoderError(SlomoError):
    """ffmpeg is missing, lacks the encoder, refused the arguments, or died."""

    exit_code = 4


class OutputBusy(EncoderError):
    """Another slomo is writing this output."""


class OutputClosed(EncoderError):
    """Standard output was a pipe, and its reader has gone, as ``head`` does: the program ends without a word."""

    exit_code = 141
    """What a shell makes of a program that the closed pipe ended: 128 + SIGPIPE."""


class DeviceError(SlomoError):
    """The device, its memory, or the number format asked for is not available."""

    exit_code = 5


class WeightsError(SlomoError):
    """A weights file is unknown, damaged, or does not fit the network it names."""

    exit_code = 1


def printable(name: object) -> str:
    """A file name as one printable line: control characters and undecodable bytes are shown escaped."""
    text = str(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def lack(error: BaseException) -> DeviceError | None:
    """What the machine lacks by an error of Python's own, or torch's: memory, or threads. None where it says anything
    else."""
    said = str(error)
    unmapped = isinstance(error, ImportError) and "failed to map segment" in said
    unallocated = isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in said
    if isinstance(error, MemoryError) or unmapped or unallocated:
        return DeviceError("out of memory")
    if isinstance(error, RuntimeError) and said == "can't start new thread":
        return no_threads()
    return None


def no_threads(what: str = "threads") -> DeviceError:
    """Where limits, as containers and shared machines have them, leave too few."""
    limits = "raise the limits on processes and memory (ulimit -u, ulimit -v)"
    return DeviceError(f"no more {what} can be begun: {limits}, or use fewer --threads")


def unstarted(error: OSError) -> DeviceError | None:
    """Why the system begins no other program: as threads, too many processes. None where the program is at fault."""
    return no_threads("processes") if error.errno in (errno.EAGAIN, errno.ENOMEM) else None

"""Finds the ffmpeg program and asks what it can do.

The order is: the path given by ``--ffmpeg``, the variable SLOMO_FFMPEG, the binary that imageio-ffmpeg brings, and
``ffmpeg`` on the PATH. A path that was named but does not work is an error, never a reason to try the next one: whoever
names a build wants that build. Every question runs one short process and is asked once per binary.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cached_property, lru_cache
from pathlib import Path

from slomo_cli.errors import EncoderError, printable, unstarted

ENVIRONMENT_NAME = "SLOMO_FFMPEG"
ANSWER_SECONDS = 30.0
"""How long a question to ffmpeg may take: usually 0.2 s, but many where it is first read over a network."""

_WHAT_TO_DO = "install it with 'pip install imageio-ffmpeg', or name one with --ffmpeg or SLOMO_FFMPEG"


class Tools:
    """One ffmpeg binary and what it can do; lists are asked for on first use and kept.

    path: absolute path of the program.
    version: as it calls itself, e.g. ``7.1.1`` or ``n8.0-17-g2a571b6068``.
    source: where it was found: ``--ffmpeg``, ``SLOMO_FFMPEG``, ``bundled`` or ``PATH``.
    """

    def __init__(self, path: str, version: str, source: str) -> None:
        self.path = path
        self.version = version
        self.source = source

    def __repr__(self) -> str:
        return f"Tools({self.path!r}, {self.version!r}, {self.source!r})"

    @property
    def release(self) -> tuple[int, int]:
        """(major, minor); a build from a snapshot counts as newer than every release."""
        match = re.match(r"n?(\d+)\.(\d+)", self.version)
        return (int(match[1]), int(match[2])) if match else (99, 0)

    @cached_property
    def encoders(self) -> frozenset[str]:
        """Names of the encoders compiled in; a name here may still lack its device (see ``try_encoder``)."""
        return self._names("-encoders", r"^ [VAS][F.][S.][X.][B.][D.] (\S+)")

    @cached_property
    def filters(self) -> frozenset[str]:
        """Names of the filters compiled in."""
        return self._names("-filters", r"^ [T.][S.][C.]?\s+(\S+)\s+\S+->\S+")

    def _names(self, question: str, pattern: str) -> frozenset[str]:
        answer = _ask(self.path, "-hide_banner", question)
        found = re.findall(pattern, answer, re.MULTILINE)
        names = frozenset(name for entry in found for name in entry.split(",") if name != "=")
        if not names:
            raise EncoderError(f"{printable(self.path)} gave no list for '{question}'; {_WHAT_TO_DO}")
        return names


def literal(path: str | os.PathLike[str]) -> str:
    """The name to give libav or ffmpeg so that it is a local file whatever it looks like.

    With the ``file:`` prefix and an absolute path, a leading dash is no option, ``concat:`` or ``http:`` no protocol.
    A file that is named by a number under which it is open (``/dev/stdin``) has another number in ffmpeg, or none:
    there it is called by its own name.
    """
    given = os.fspath(path)
    name = os.path.abspath(given)
    if not os.path.isabs(given) and not os.path.isdir(os.getcwd()):
        name = given  # what lies here can be reached from here alone, as after `sudo -u` in a folder of one's own
    if name.startswith(("/dev/", "/proc/")) and os.path.isfile(own := os.path.realpath(name)):
        name = own
    return f"file:{name}"


def tools(explicit: str | None = None) -> Tools:
    """The ffmpeg to use, with its abilities; asks each binary once per process. ``explicit``: the user's ``--ffmpeg``.

    Raises EncoderError when a named one does not work, or when none is found.
    """
    return _find(explicit or None, os.environ.get(ENVIRONMENT_NAME) or None, os.environ.get("PATH", ""))


@lru_cache(maxsize=16)
def _find(explicit: str | None, variable: str | None, search_path: str) -> Tools:
    """The search itself; everything it depends on is an argument, so the cache is never stale."""
    for name, source in ((explicit, "--ffmpeg"), (variable, ENVIRONMENT_NAME)):
        if name is not None:
            path = shutil.which(os.path.expanduser(name), path=search_path)
            if path is None:
                raise EncoderError(
                    f"expected an ffmpeg program at {source} '{printable(name)}', found none that can be run"
                )
            return _tools(os.path.abspath(path), source)
    complaints = []
    for candidate, source in ((_bundled(), "bundled"), (shutil.which("ffmpeg", path=search_path), "PATH")):
        if candidate is not None:
            try:
                return _tools(os.path.abspath(candidate), source)
            except EncoderError as error:
                complaints.append(str(error))
    raise EncoderError("; ".join([*complaints, f"no working ffmpeg found: {_WHAT_TO_DO}"]))


def _bundled() -> str | None:
    """The binary inside the imageio-ffmpeg package, if that is installed and holds one for this platform."""
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    # Its own search heeds a variable of others (IMAGEIO_FFMPEG_EXE) first, and does not say why the binary fails.
    found = sorted((Path(imageio_ffmpeg.__file__).parent / "binaries").glob("ffmpeg-*"))
    return str(found[-1]) if found else None


@lru_cache(maxsize=16)
def _tools(path: str, source: str) -> Tools:
    answer = _ask(path, "-version")
    match = re.match(r"ffmpeg version (\S+)", answer)
    if match is None:
        raise EncoderError(f"{printable(path)} does not answer as ffmpeg does; {_WHAT_TO_DO}")
    return Tools(path, match[1], source)


def _ask(path: str, *arguments: str) -> str:
    """What the program prints for these arguments."""
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_SECONDS,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EncoderError(f"{printable(path)} did not answer within {ANSWER_SECONDS:.0f} s; {_WHAT_TO_DO}") from None
    except OSError as error:
        failed = EncoderError(f"{printable(path)} cannot be run ({error.strerror}); {_WHAT_TO_DO}")
        raise unstarted(error) or failed from None
    if done.returncode != 0:
        words = last_words(done.stderr) or f"exit code {done.returncode}"
        raise EncoderError(f"{printable(path)} does not work ({words}); {_WHAT_TO_DO}")
    return done.stdout


@lru_cache(maxsize=256)
def encoder_formats(tools: Tools, encoder: str) -> tuple[str, ...]:
    """Pixel formats an encoder says it takes; asked once for each ffmpeg. ``yuv420p`` where it says nothing."""
    try:
        said = _ask(tools.path, "-hide_banner", "-h", f"encoder={encoder}")
    except EncoderError:
        said = ""
    match = re.search(r"Supported pixel formats: (.+)", said)
    return tuple(match[1].split()) if match else ("yuv420p",)


_ECHOES = (
    "Conversion failed",
    "Could not open encoder before EOF",
    "Error opening output file",
    "Error selecting an encoder",
    "Error sending frames to consumers",
    "Error while opening encoder",
    "Exiting",
    "Last message repeated",
    "Nothing was written",
    "Task finished with error",
    "Terminating thread",
    "frame=",
)
"""How ffmpeg's lines begin that only say that something failed, not what."""


def last_words(stderr: str) -> str:
    """The last two meaningful lines of ffmpeg's complaint as one printable line, without memory addresses."""
    said = [re.sub(r" @ 0x[0-9a-f]+", "", line.strip()) for line in stderr.splitlines() if line.strip()]
    meant = [line for line in said if not re.sub(r"^(\[[^]]*\] )+", "", line).startswith(_ECHOES)]
    return "; ".join(printable(line) for line in (meant or said)[-2:])


@lru_cache(maxsize=256)
def try_encoder(tools: Tools, encoder: str, pix_fmt: str) -> str | None:
    """Encodes one small frame to nowhere: None if that works, else the reason in ffmpeg's own words.

    The only honest test of a hardware encoder, which is listed whether or not its device is there. ffmpeg's exit code
    alone proves nothing, so the frame count it reports must be 1.
    """
    # 256 pixels: hardware encoders refuse much smaller pictures.
    width, height = 256, 256
    command = [tools.path, "-hide_banner", "-nostdin", "-nostats", "-v", "warning"]
    command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", f"{width}x{height}", "-framerate", "25"]
    command += ["-i", "pipe:0", "-frames:v", "1", "-c:v", encoder, "-pix_fmt", pix_fmt, "-strict", "experimental"]
    command += ["-progress", "pipe:1", "-f", "null", "-"]
    picture = bytes([128]) * (width * height * 3 // 2)
    try:
        done = subprocess.run(command, input=picture, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    except OSError as error:
        return f"{printable(tools.path)} cannot be run ({error.strerror})"
    stderr = done.stderr.decode("utf-8", "replace")
    words = last_words(stderr)
    if done.returncode != 0:
        return words or f"exit code {done.returncode}"
    counts = re.findall(rb"^frame=\s*(\d+)", done.stdout, re.MULTILINE)
    if not counts or int(counts[-1]) != 1:
        return words or "no frame came out"
    # FFmpeg replaces a format the encoder cannot take and only warns: that is not what was asked for.
    if "Incompatible pixel format" in stderr:
        return f"the encoder does not take {printable(pix_fmt)}"
    return None

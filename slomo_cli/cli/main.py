"""The ``slomo`` command: the group of commands, signals, and the one place where errors become words and exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from itertools import pairwise
from types import FrameType
from typing import Any, NoReturn

import click

from slomo_cli.cli.help import PREFIX, Lazy, LazyGroup
from slomo_cli.cli.streams import escape_foreign_letters, hold_standard_streams
from slomo_cli.errors import OutputClosed, SlomoError, lack
from slomo_cli.threads import wait_quietly

COMMANDS = {
    "convert": Lazy("slomo_cli.cli.convert", "Convert", "Make a video slower."),
    "fps": Lazy("slomo_cli.cli.fps", "Convert", "Change the frame rate, keep the duration."),
    "between": Lazy("slomo_cli.cli.between", "Convert", "Make the pictures between two still pictures."),
    "info": Lazy("slomo_cli.cli.info", "Look", "Show what a video file holds."),
    "preview": Lazy("slomo_cli.cli.preview", "Look", "Draw a pair, the pictures between, flows and visibility."),
    "compare": Lazy("slomo_cli.cli.compare", "Look", "Show a source and what slomo made of it side by side."),
    "doctor": Lazy("slomo_cli.cli.doctor", "Look", "Check this machine: torch, device, ffmpeg, weights."),
    "bench": Lazy("slomo_cli.cli.bench", "Look", "Measure the speed of every stage and of the whole."),
    "eval": Lazy("slomo_cli.cli.evaluate", "Networks", "Measure against the truth: PSNR, SSIM, interpolation error."),
    "train": Lazy("slomo_cli.cli.train", "Networks", "Train a network on your own video."),
    "weights": Lazy("slomo_cli.cli.weights", "Networks", "List, verify and import network weights."),
    "completion": Lazy("slomo_cli.cli.completion", "Shell", "Print the completion script of a shell."),
}
"""Every command: name -> module with an attribute ``command``, section and line of ``slomo --help``."""


def _print_versions(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from slomo_cli.cli.versions import version_lines

    click.echo("\n".join(version_lines()))
    ctx.exit()


class _Group(LazyGroup):
    """The commands; a signal leaves them as click's Abort, before click itself writes an empty line about it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error


@click.group(
    cls=_Group,
    table=COMMANDS,
    context_settings={"auto_envvar_prefix": PREFIX},
    examples="""
    slomo convert in.mp4 --factor 8 -o out.mp4    eight times slower
    slomo fps in.mp4 --target 240                 240 fps, same duration
    slomo info in.mp4                             what the file holds
    """,
    epilog="'slomo COMMAND --help' explains a command. Every option can be set in the environment: --device by "
    "SLOMO_DEVICE for all commands, by SLOMO_CONVERT_DEVICE for one.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_print_versions,
    help="Show the versions of slomo, torch, PyAV and ffmpeg.",
)
def cli() -> None:
    """Slow motion and frame rate conversion: makes the frames between a video's frames."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE, errno.EIO)
"""Errors of standard output that is full (also by a quota, or by ``ulimit -f``), closed or broken."""

GRACE_SECONDS = 0.5
"""Signals that follow the first one sooner are the same request."""


class Signals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into an exception in the main thread, so that every ``with`` cleans up.

    The exception is KeyboardInterrupt for all three: code that cleans up after Ctrl-C does so after a ``kill`` too. A
    second signal ends the process at once, but not within ``GRACE_SECONDS``: `timeout` and job systems send the program
    and its group one each.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """Number of the signal that came, None while there was none."""
        self._at = 0.0
        self._held = False

    def install(self) -> None:
        """Take the three signals, except those the caller has told us to ignore (nohup, background jobs)."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    def after(self, work: Callable[[], None]) -> None:
        """Do the work to its end before the first signal is heeded."""
        before = self.received
        self._held = True
        try:
            work()
        finally:
            self._held = False
        if self.received != before:
            raise KeyboardInterrupt

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and time.monotonic() < self._at + GRACE_SECONDS:
            return
        first, self.received, self._at = self.received is None, number, time.monotonic()
        if first:
            if self._held:
                return
            raise KeyboardInterrupt
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            taken = getattr(signal, name, None)
            if taken is not None and signal.getsignal(taken) == self._stop:
                signal.signal(taken, signal.SIG_DFL)
        signal.raise_signal(number)


class _WholeTorch:
    """Finds torch for ``import`` so that it is imported to its end before a signal is heeded.

    In the midst of that its C++ takes the exception for one of its own, and aborts.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._asking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As ``importlib.abc.MetaPathFinder`` has it."""
        if name != "torch" or self._asking:
            return None
        self._asking = True
        try:
            spec = find_spec(name)  # as the others find it
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self._signals.after(lambda: load(module))  # type: ignore[method-assign]
        return spec


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``slomo`` and leave with its exit code: 0 ok, 1 failed, 2 usage, 3 input, 4 encoder, 5 device, 128 + signal.

    A bug keeps its traceback.
    """
    hold_standard_streams()
    escape_foreign_letters()
    signals = Signals()
    signals.install()
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _WholeTorch(signals))
    wait_quietly()
    if not sys.warnoptions:
        # Libraries warn in Python's own way about things no user can change; -W brings the warnings back.
        warnings.simplefilter("ignore")
    events = _wants_events(sys.argv[1:] if arguments is None else arguments)
    message = ""
    code: object
    try:
        if _here_is_gone():  # then torch would end the program, in its own words
            raise SlomoError("the current folder is gone: go to one that is there")
        code = cli.main(arguments, prog_name="slomo", standalone_mode=False)
    except OutputClosed as error:
        code = error.exit_code
    except SystemExit as error:  # click's own: after completion, else because stdout's reader is gone
        code = error.code if "_SLOMO_COMPLETE" in os.environ else OutputClosed.exit_code
    except SlomoError as error:
        message, code = str(error), error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "slomo"
        message, code = f"{error.format_message()}\nTry '{command} --help'.", error.exit_code
    except click.ClickException as error:
        message, code = error.format_message(), error.exit_code
    except (click.Abort, KeyboardInterrupt):  # Ctrl-C, another signal, or the end of stdin at a question
        message, code = "stopped", 128 + signals.received if signals.received else 1
        if not events and sys.stderr.isatty():
            with suppress(OSError):  # the terminal may be closed
                click.echo(err=True)  # its ^C, or the question, keeps its line
        # Where the signal came amid an `exec`, by which dataclasses are made, `python -m` would end by SIGINT.
        exec("")
    except OSError as error:
        if error.errno not in _FULL:
            raise
        message, code = f"cannot write: {error.strerror}", SlomoError.exit_code
    except (MemoryError, RuntimeError, ImportError) as error:
        lacking = lack(error)
        if lacking is None:
            raise
        message, code = str(lacking), lacking.exit_code
    code = code if isinstance(code, int) else 0
    if message:
        with suppress(OSError):
            _say(message, code if events else None)
    sys.exit(code)


def _here_is_gone() -> bool:
    """Whether the current folder has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _wants_events(words: list[str]) -> bool:
    """Whether JSON lines are asked for: also where the options were never read to their end."""
    asked = [after for word, after in pairwise([*words, ""]) if word == "--progress"]
    asked += [word.partition("=")[2] for word in words if word.startswith("--progress=")]
    return (asked or [os.environ.get(f"{PREFIX}_PROGRESS", "")])[-1] == "json"


def _say(text: str, exit_code: int | None = None) -> None:
    """One message on stderr, led by the program's name; with ``exit_code`` as an event."""
    if exit_code is not None:
        from slomo_cli.progress import make_progress

        failure = SlomoError(text)
        failure.exit_code = exit_code
        make_progress("json").error(failure)
        return
    from slomo_cli.text import fitted

    click.echo(fitted(f"slomo: {text}", sys.stderr), err=True)

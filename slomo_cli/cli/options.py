"""The options that commands share, as decorators, and the settings made from their values."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from slomo_cli.cli.help import option
from slomo_cli.cli.types import COUNT, CRF, RATE, TIME, Device, Name, Number, Proxy, Words
from slomo_cli.errors import OutputClosed, SlomoError

if TYPE_CHECKING:
    from slomo_cli.progress import Reporter
    from slomo_cli.values import ComputeSettings, EncodeSettings, TimeSettings

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]
Group = TypeVar("Group", "TimeSettings", "EncodeSettings", "ComputeSettings")
Values = Mapping[str, Any]
"""What the shared options hand to a command, by their names."""

DTYPES = ("auto", "float32", "bfloat16", "float16")
AUDIO = ("auto", "copy", "stretch", "pitch", "drop")


def _all(*decorators: Decorator[Any]) -> Decorator[Any]:
    """One decorator of many, in the order they are written."""

    def apply(function: F) -> F:
        for decorate in reversed(decorators):
            function = decorate(function)
        return function

    return apply


FILE = Name()
FOLDER = Name(folder=True)

inputs = click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=FILE)

output = _all(
    option("-o", "--output", type=FILE, metavar="FILE", group="Output", help="Where to write; - is stdout."),
    option(
        "--out-dir",
        type=FOLDER,
        metavar="DIR",
        rivals=("output",),
        group="Output",
        help="Write every result here, under its usual name.",
    ),
    option(
        "-y",
        "--overwrite",
        is_flag=True,
        rivals=("skip_existing",),
        group="Output",
        help="Replace what is there without asking.",
    ),
    option(
        "-n",
        "--skip-existing",
        is_flag=True,
        rivals=("overwrite",),
        group="Output",
        help="Leave what is there, or is being written, and go on.",
    ),
    option(
        "--resume",
        is_flag=True,
        group="Output",
        help="Keep finished parts until the output is whole; the same command goes on from them.",
    ),
    option("--dry-run", is_flag=True, group="Output", help="Print the plan and the ffmpeg arguments; write nothing."),
)

input_rate = option(
    "--input-rate",
    type=RATE,
    metavar="FPS",
    group="Time",
    help="Pictures per second where the source names none: a folder or pattern of pictures (else 30), a raw stream "
    "(else 25).",
)

span = _all(
    option("--start", type=TIME, metavar="TIME", group="Time", help="Begin here: 12.5, 1:30 or 00:01:30.250."),
    option("--end", type=TIME, metavar="TIME", group="Time", help="Stop here."),
)

picture = _all(
    option(
        "--cuts",
        type=click.Choice(["hold", "blend", "off"]),
        default="hold",
        group="Picture",
        help="At a scene cut: hold the nearer frame, blend, or do not look for cuts.",
    ),
    option(
        "--cut-threshold",
        type=Number(float, 1e-6, 1),
        metavar="NUMBER",
        group="Picture",
        help="How great a change is a cut, up to 1; higher finds fewer. 0.27 unless told.",
    ),
    option(
        "--duplicates",
        type=click.Choice(["replace", "keep"]),
        default="replace",
        group="Picture",
        help="Repeated frames: replace them by motion, or keep them.",
    ),
    option(
        "--deinterlace",
        type=click.Choice(["auto", "fields", "off"]),
        default="auto",
        group="Picture",
        help="Where the source says it is interlaced: make its pictures whole, or a picture of every field, for "
        "twice the motion.",
    ),
)

coding = _all(
    option(
        "--codec",
        metavar="NAME",
        group="Encoding",
        help="h264, hevc, av1, vp9, prores, ffv1, gif, ... or an ffmpeg encoder; else chosen by file type and source.",
    ),
    option(
        "--crf",
        type=CRF,
        metavar="NUMBER",
        group="Encoding",
        help="Quality, lower is better: 0 to 51 (h264, hevc; 18 unless told) or 63 (av1, vp9; 24, 22).",
    ),
    option(
        "--preset", metavar="NAME", group="Encoding", help="The encoder's preset, such as fast or slow; else its own."
    ),
    option(
        "--encoder-args",
        type=Words(),
        metavar="'ARGS'",
        group="Encoding",
        help="More ffmpeg output arguments, quoted as one.",
    ),
)

program = option(
    "--ffmpeg",
    type=FILE,
    metavar="PATH",
    # SLOMO_FFMPEG is read where ffmpeg is searched, so that it can say what named the program.
    shared=False,
    group="Encoding",
    help="The ffmpeg to use; else SLOMO_FFMPEG, the one installed with slomo, PATH.",
)

encoding = _all(
    coding,
    option(
        "--audio",
        type=click.Choice(AUDIO),
        default="auto",
        group="Encoding",
        help="Sound: copy, stretch (pitch kept), pitch (as a slowed tape), drop; auto copies or stretches.",
    ),
    option(
        "--faststart/--no-faststart",
        default=True,
        group="Encoding",
        help="Put the index of mp4 and mov first, for streaming.",
    ),
    program,
)

compute = _all(
    option(
        "--weights",
        type=FILE,
        metavar="NAME|FILE",
        default="fast",
        group="Network",
        help="A released network or a file.",
    ),
    option(
        "--device",
        type=Device(),
        metavar="DEVICE",
        default="auto",
        group="Network",
        help="auto, cpu, cuda, cuda:N or mps.",
    ),
    option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="auto",
        group="Network",
        help="Number format of the network; auto takes what the device computes natively.",
    ),
    option(
        "--proxy",
        type=Proxy(),
        metavar="PIXELS",
        default="auto",
        group="Network",
        help="Longest short side of what the network sees: auto (1088), full or pixels.",
    ),
    option(
        "--batch",
        type=COUNT,
        metavar="FRAMES",
        default=0,
        group="Network",
        help="Frames computed together; 0 chooses.",
    ),
    option(
        "--compile", is_flag=True, group="Network", help="Compile the network (needs a compiler; pays on long runs)."
    ),
    option(
        "--threads",
        type=COUNT,
        metavar="COUNT",
        default=0,
        group="Network",
        help="Threads of the network on a CPU; 0 chooses.",
    ),
)

motion = option(
    "--motion",
    type=click.Choice(["curved", "straight"]),
    default="curved",
    group="Network",
    help="How things move from frame to frame: along a curve through the frames around, or straight.",
)

messages = _all(
    option(
        "--progress",
        type=click.Choice(["auto", "bar", "plain", "json", "none"]),
        default="auto",
        group="Messages",
        help="On stderr; auto is a bar on a terminal, else plain lines.",
    ),
    option("-q", "--quiet", is_flag=True, group="Messages", help="Errors only."),
    option("-v", "--verbose", count=True, show_default=False, group="Messages", help="Say more; -vv everything."),
)


conversion = _all(input_rate, output, picture, encoding, compute, motion, messages)
"""All that ``convert`` and ``fps`` share after their options of time."""


def settings(kind: type[Group], values: Values, **more: Any) -> Group:
    """One kind of settings out of a command's options, which are called as its fields are, and of ``more`` fields.

    What was not given (None) is left to the field's own default.
    """
    given = {field.name: values[field.name] for field in fields(kind) if values.get(field.name) is not None}
    return kind(**{**given, **more})


class _Notes(logging.Handler):
    """Sends the package's log to a reporter, so that a line never breaks the bar."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self.reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self.reporter.note(self.format(record))


@contextlib.contextmanager
def reporting(values: Values) -> Iterator[Reporter]:
    """The reporter of a command with one thing to do, which tells its failure too; leaves with the failure's code."""
    with make_reporter(values) as reporter:
        try:
            yield reporter
        except OutputClosed:
            raise
        except SlomoError as error:
            reporter.error(error)
            raise click.exceptions.Exit(error.exit_code) from None


def make_reporter(values: Values) -> Reporter:
    """The reporter the message options ask for; ``-v`` adds the package's log to it, ``-vv`` its details."""
    from slomo_cli.progress import make_progress

    reporter = make_progress(values["progress"], quiet=values["quiet"])
    if values["verbose"]:
        log = logging.getLogger("slomo_cli")
        log.setLevel(logging.INFO if values["verbose"] == 1 else logging.DEBUG)
        log.handlers = [_Notes(reporter)]
    return reporter

"""The options that commands share, as decorators, and the settings made from their values."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, TypeVar

import click

from slomo_cli.cli.help import option
from slomo_cli.cli.types import COUNT, CRF, RATE, TIME, Device, Name, Number, Proxy, Words
from slomo_cli.errors import OutputClosed, SlomoError

if TYPE_CHECKING:
    from slomo_cli.progress import Kind, Reporter
    from slomo_cli.values import ComputeSettings, EncodeSettings, TimeSettings

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

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
    help="Pictures per second of a folder or pattern of pictures, or a raw stream; else 30.",
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
        type=click.Choice(["auto", "off"]),
        default="auto",
        group="Picture",
        help="Deinterlace where the source says it is interlaced.",
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


class Computing(TypedDict):
    """What the options of the network hand to a command."""

    weights: str
    device: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    proxy: str
    batch: int
    compile: bool
    threads: int
    motion: NotRequired[Literal["curved", "straight"]]


class Telling(TypedDict):
    """What the options about messages hand to a command."""

    progress: Kind
    quiet: bool
    verbose: int


class Coding(TypedDict):
    """What the options about codecs and ffmpeg hand to a command."""

    codec: str | None
    crf: float | None
    preset: str | None
    encoder_args: tuple[str, ...] | None
    ffmpeg: str | None


class Making(Computing, Coding, Telling):
    """What the options of a command that makes pictures with the network hand to it."""

    output: str | None
    overwrite: bool


class Values(Making):
    """What the shared options of a conversion hand to its command."""

    input_rate: Fraction | None
    out_dir: str | None
    skip_existing: bool
    resume: bool
    dry_run: bool
    start: Fraction | None
    end: Fraction | None
    cuts: Literal["hold", "blend", "off"]
    cut_threshold: float | None
    duplicates: Literal["replace", "keep"]
    deinterlace: Literal["auto", "off"]
    audio: Literal["auto", "copy", "stretch", "pitch", "drop"]
    faststart: bool


conversion = _all(input_rate, output, picture, encoding, compute, motion, messages)
"""All that ``convert`` and ``fps`` share after their options of time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One conversion's request, as the pipeline takes it."""

    time: TimeSettings
    encode: EncodeSettings
    compute: ComputeSettings


def settings(values: Values, **time: Any) -> Settings:
    """Settings of a conversion; ``time`` holds the fields of TimeSettings that are the command's own."""
    from slomo_cli.values import TimeSettings

    return Settings(
        time=TimeSettings(
            start=values["start"],
            end=values["end"],
            cuts=values["cuts"],
            cut_threshold=values["cut_threshold"],
            duplicates=values["duplicates"],
            deinterlace=values["deinterlace"],
            input_rate=values["input_rate"],
            **time,
        ),
        encode=encode_settings(
            values,
            overwrite=values["overwrite"],
            audio=values["audio"],
            faststart=values["faststart"],
            resume=values["resume"],
        ),
        compute=compute_settings(values),
    )


def encode_settings(values: Coding, *, overwrite: bool, **more: Any) -> EncodeSettings:
    """How pictures are encoded, and by which ffmpeg; ``more`` holds the fields that some commands alone have."""
    from slomo_cli.values import EncodeSettings

    return EncodeSettings(
        codec=values["codec"],
        crf=values["crf"],
        preset=values["preset"],
        encoder_args=values["encoder_args"] or (),
        overwrite=overwrite,
        ffmpeg=values["ffmpeg"],
        **more,
    )


def compute_settings(values: Computing) -> ComputeSettings:
    """Where and how the network runs."""
    from slomo_cli.values import ComputeSettings

    return ComputeSettings(
        weights=values["weights"],
        device=values["device"],
        dtype=values["dtype"],
        proxy=values["proxy"],
        batch=values["batch"],
        compile=values["compile"],
        threads=values["threads"],
        motion=values.get("motion", "curved"),
    )


class _Notes(logging.Handler):
    """Sends the package's log to a reporter, so that a line never breaks the bar."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self.reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self.reporter.note(self.format(record))


@contextlib.contextmanager
def reporting(values: Telling) -> Iterator[Reporter]:
    """The reporter of a command with one thing to do, which tells its failure too; leaves with the failure's code."""
    with make_reporter(values) as reporter:
        try:
            yield reporter
        except OutputClosed:
            raise
        except SlomoError as error:
            reporter.error(error)
            raise click.exceptions.Exit(error.exit_code) from None


def make_reporter(values: Telling) -> Reporter:
    """The reporter the message options ask for; ``-v`` adds the package's log to it, ``-vv`` its details."""
    from slomo_cli.progress import make_progress

    reporter = make_progress(values["progress"], quiet=values["quiet"])
    if values["verbose"]:
        log = logging.getLogger("slomo_cli")
        log.setLevel(logging.INFO if values["verbose"] == 1 else logging.DEBUG)
        log.handlers = [_Notes(reporter)]
    return reporter

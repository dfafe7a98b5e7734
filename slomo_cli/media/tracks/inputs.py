"""Further inputs of the ffmpeg process, and by how much each is shifted on the output's clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from slomo_cli.media.clocks import seconds_text
from slomo_cli.media.ffmpeg import literal
from slomo_cli.values import SourceTiming, StreamInfo, VideoInfo


@dataclass
class _Input:
    name: str
    demuxer: str
    more: tuple[str, ...]
    later: Fraction | None
    """For the source: seconds after the first picture's time at which its clock shall stand at the picture's start."""
    shift: Fraction = Fraction(0)
    """For all but the source: seconds to add to its clock."""
    used: list[StreamInfo] = field(default_factory=list)


class Inputs:
    """Numbers inputs from 1 (0 is the picture) and turns them into arguments at the end."""

    def __init__(self, info: VideoInfo, timing: SourceTiming, ffmpeg_version: tuple[int, int]) -> None:
        self._info = info
        self._timing = timing
        self._version = ffmpeg_version
        # Before 6.1 ffmpeg counts -itsoffset twice where it mends clocks that jump.
        self._old = ffmpeg_version < (6, 1)
        self._jumps = not self._old and _is_discontinuous(info.container.partition(",")[0])
        self._inputs: list[_Input] = []

    def source(self, later: Fraction | None) -> int:
        """The source once more. later: its tracks are placed this much after their place beside the picture; None
        leaves them where ffmpeg puts them.

        It is opened as the very format it was probed as, and as no other.
        """
        self._inputs.append(_Input(literal(self._info.path), self._info.container.partition(",")[0], (), later))
        return len(self._inputs)

    def file(self, path: Path, demuxer: str, shift: Fraction = Fraction(0)) -> int:
        """A temporary file, as many seconds before the output's clock."""
        self._inputs.append(_Input(literal(path), demuxer, (), None, shift))
        return len(self._inputs)

    def samples(self, word: str, rate: int, channels: int, layout: str) -> int:
        """A pipe, called ``word``, of interleaved float samples on the output's clock; layout: '' where unknown."""
        # Told their number only, ffmpeg guesses which loudspeakers they are. Before 5.1 it can be told nothing else.
        said = ("-ch_layout", layout) if layout and self._version >= (5, 1) else ("-ac", str(channels))
        self._inputs.append(_Input(word, "f32le", ("-ar", str(rate), *said), None))
        return len(self._inputs)

    def packets(self, word: str, source: int) -> int:
        """A pipe, called ``word``, of the packets of some tracks, on the clock and with the shift of that source."""
        self._inputs.append(_Input(word, "nut", (), self._inputs[source - 1].later))
        return len(self._inputs)

    def use(self, number: int, stream: StreamInfo) -> str:
        """The map specifier of a source stream, which counts as used from then on."""
        self._inputs[number - 1].used.append(stream)
        return f"{number}:{stream.index}"

    def args(self) -> tuple[str, ...]:
        """``-itsoffset .. -f .. -i ..`` for each, and how their clocks are to be read."""
        # Only what comes from the source itself jumps.
        jumps = self._jumps and any(item.used for item in self._inputs if item.name == literal(self._info.path))
        words: list[str] = [] if jumps else ["-copyts"]
        for item in self._inputs:
            shift = self._shift(item, jumps)
            words += ["-itsoffset", seconds_text(shift)] if shift else []
            words += ["-f", item.demuxer, *item.more, *_named(item), "-i", item.name]
        return tuple(words)

    def _shift(self, item: _Input, jumps: bool) -> Fraction:
        """What to add to ffmpeg's clock of this input so that 0 is the first picture's time, or ``later`` than it."""
        if item.later is None:
            return item.shift
        # Clocks are taken as they are (-copyts): versions of ffmpeg differ in where they think a file begins. Clocks
        # that may jump are better mended by ffmpeg, which then lets the first of the streams in use begin at 0.
        starts = [stream.start_seconds for stream in item.used if stream.start_seconds is not None]
        origin = Fraction(0)
        if jumps:
            origin = min(starts, default=self._info.container_start_seconds)
        shift = origin - self._timing.first_seconds + item.later
        if self._old and shift == -self._info.container_start_seconds:
            # This very offset is taken for ffmpeg's own and "corrected"; a microsecond tells them apart.
            shift -= Fraction(1, 1_000_000)
        return shift


def _named(item: _Input) -> list[str]:
    """Options that tell E-AC-3 in NUT, which has one name for it and AC-3."""
    if item.demuxer != "nut":
        return []
    tracks = [number for number, stream in enumerate(item.used) if stream.codec == "eac3"]
    return [word for number in tracks for word in (f"-c:a:{number}", "eac3")]


def _is_discontinuous(demuxer: str) -> bool:
    """Whether libav calls the format one whose clock may jump (AVFMT_TS_DISCONT)."""
    try:
        return bool(int(av.format.ContainerFormat(demuxer, "r").flags) & 0x0200)
    except ValueError:
        return False

"""What is being decided about the tracks beside the picture."""

from __future__ import annotations

import os
import secrets
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path

from slomo_cli.errors import printable
from slomo_cli.media.containers import BY_MUXER, Container
from slomo_cli.media.ffmpeg import Tools
from slomo_cli.media.plan.target import Target
from slomo_cli.media.tracks.carried import Carry, Writer
from slomo_cli.media.tracks.inputs import Inputs
from slomo_cli.media.tracks.soundfeed import Feed
from slomo_cli.timeline import Plan
from slomo_cli.values import EncodeSettings, SourceTiming, StreamInfo, VideoInfo

PRIMING = Fraction(1, 10)
"""Sound this much ahead of the picture is a decoder's priming or a rounding, not an offset someone made."""


_LONGEST_WORD = 100_000
"""Bytes: Linux takes 131,072 in one argument of a program."""


def is_time_changed(plan: Plan, timing: SourceTiming) -> bool:
    """Whether anything but the rate of the pictures changes: speed, or the range."""
    whole = plan.start == 0 and plan.end >= timing.duration
    return not whole or plan.time_map.changes_speed


@dataclass
class Draft:
    """What is decided so far about the tracks beside the picture, and what it is decided by."""

    info: VideoInfo
    timing: SourceTiming
    plan: Plan
    target: Target
    settings: EncodeSettings
    tools: Tools
    maps: list[str] = field(default_factory=list)
    codecs: list[str] = field(default_factory=list)
    graphs: list[str] = field(default_factory=list)
    """Parts of the filter graph."""
    tags: list[str] = field(default_factory=list)
    final: list[str] = field(default_factory=list)
    """What the user's own options must not change."""
    notes: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    writers: list[Writer] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.container: Container = BY_MUXER[self.target.container]
        self.folder = _temporary_folder() / f"slomo-{os.getpid()}-{secrets.token_hex(6)}"
        self.changed = is_time_changed(self.plan, self.timing)
        self.ahead = self._sound_ahead()
        """How long copied time begins before the first picture, in seconds."""
        self.delay = Fraction(0) if self.ahead <= PRIMING else ceil(self.ahead * self.plan.rate) / self.plan.rate
        """How long other tracks run before the first picture, in whole frames so that every frame keeps its place."""
        self.inputs = Inputs(self.info, self.timing, self.target.ffmpeg_version)
        self.source = self.inputs.source(None if self.changed else self.delay)
        """The number of the input that the tracks come from."""

    def _sound_ahead(self) -> Fraction:
        if self.changed or self.settings.audio == "drop":
            return Fraction(0)
        starts = [s.start_seconds for s in self.of("audio") if s.start_seconds is not None]
        return self.timing.first_seconds - min(starts, default=self.timing.first_seconds)

    def of(self, kind: str) -> list[StreamInfo]:
        """The source's streams of that kind, in order, which belong to the picture."""
        return [stream for stream in self.info.streams if stream.kind == kind and not stream.is_elsewhere]

    def _that_fit(self, words: list[str]) -> tuple[str, ...]:
        """Options and their values in turn, without tags that no command line takes; a note on those."""
        options = list(zip(words[::2], words[1::2], strict=True))
        kept = [option for option in options if len(os.fsencode(option[1])) <= _LONGEST_WORD]
        lost = sorted({value[:40].partition("=")[0] for _, value in set(options) - set(kept)})
        if lost:
            names = ", ".join(map(printable, lost))
            self.notes.append(f"tags too long to be written anew, over {_LONGEST_WORD} bytes: {names}")
        return tuple(word for option in kept for word in option)

    def finished(self) -> Carry:
        """The decisions as arguments."""
        graphs = ["-filter_complex", ";".join(self.graphs)] if self.graphs else []
        words = self._that_fit([*self.tags, *self.final])
        return Carry(
            picture_delay=self.delay,
            input_args=self.inputs.args(),
            map_args=(*graphs, *self.maps, *self.codecs),
            output_args=words,
            notes=tuple(self.notes),
            met=self.met,
            folder=self.folder if self.writers else None,
            writers=tuple(self.writers),
            feeds=tuple(self.feeds),
        )


def _temporary_folder() -> Path:
    """Where temporary files go. Where no folder for them can be written to, as in containers that are for reading only,
    one that says so to whoever tries."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path(os.environ.get("TMPDIR") or "/tmp")

"""What is being decided about the tracks beside the picture."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from fractions import Fraction

from slomo_cli.media.containers import BY_MUXER, Container
from slomo_cli.media.ffmpeg import Tools
from slomo_cli.media.plan.target import Target
from slomo_cli.media.tracks.carried import Carry
from slomo_cli.media.tracks.inputs import Inputs
from slomo_cli.media.tracks.jobs import Job, temporary_folder
from slomo_cli.media.tracks.soundfeed import Feed
from slomo_cli.timeline import Plan
from slomo_cli.values import EncodeSettings, SourceTiming, StreamInfo, VideoInfo


@dataclass
class Draft:
    """What is decided so far about the tracks beside the picture, and what it is decided by."""

    info: VideoInfo
    timing: SourceTiming
    plan: Plan
    target: Target
    settings: EncodeSettings
    tools: Tools
    changed: bool
    """Does anything but the rate of the pictures change?"""
    maps: list[str] = field(default_factory=list)
    codecs: list[str] = field(default_factory=list)
    graphs: list[str] = field(default_factory=list)
    """Parts of the filter graph."""
    tags: list[str] = field(default_factory=list)
    final: list[str] = field(default_factory=list)
    """What the user's own options must not change."""
    notes: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.container: Container = BY_MUXER[self.target.container]
        self.inputs = Inputs(self.info, self.timing, self.target.ffmpeg_version)
        self.folder = temporary_folder() / f"slomo-{os.getpid()}-{secrets.token_hex(6)}"

    def of(self, kind: str) -> list[StreamInfo]:
        """The source's streams of that kind, in order, which belong to the picture."""
        return [stream for stream in self.info.streams if stream.kind == kind and not stream.is_elsewhere]

    def finished(self, picture_delay: Fraction) -> Carry:
        """The decisions as arguments."""
        graphs = ["-filter_complex", ";".join(self.graphs)] if self.graphs else []
        return Carry(
            picture_delay=picture_delay,
            input_args=self.inputs.args(),
            map_args=(*graphs, *self.maps, *self.codecs),
            output_args=(*self.tags, *self.final),
            notes=tuple(self.notes),
            met=self.met,
            folder=self.folder if self.jobs else None,
            jobs=tuple(self.jobs),
            feeds=tuple(self.feeds),
        )

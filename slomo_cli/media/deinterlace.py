"""Makes whole pictures out of interlaced ones: libavfilter's bwdif, one picture out for each picture in."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av.error
from av.filter import Graph

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from slomo_cli.values import VideoInfo

_FLAGGING_CODECS = frozenset(
    {"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "cavs", "prores", "dnxhd"}
)
"""Codecs that say of every picture whether it is interlaced; of others the container's word counts for all."""


class Deinterlacer:
    """Feeds pictures through bwdif; each comes out once, one picture later, in its own format."""

    def __init__(self, info: VideoInfo) -> None:
        self._codec = info.codec
        self._graph: Any = None
        self._shape: tuple[Any, ...] = ()
        self._count = 0

    def push(self, picture: VideoFrame) -> Iterator[VideoFrame]:
        """Takes a picture, yields those that are ready."""
        shape = (picture.width, picture.height, picture.format.name)
        if shape != self._shape:
            yield from self.finish()
            self._shape = shape
            self._graph = self._build(picture)
        # Times travel beside the filter: bwdif wants evenly growing stamps, and a picture's number is one.
        picture.pts = self._count
        picture.time_base = Fraction(1, 1000)
        self._count += 1
        self._graph.push(picture)
        yield from self._ready()

    def finish(self) -> Iterator[VideoFrame]:
        """Yields the pictures still inside."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None

    def close(self) -> None:
        """Frees the filter."""
        self._graph = None

    def _build(self, picture: VideoFrame) -> Any:
        graph: Any = Graph()
        if hasattr(graph, "threads"):  # PyAV 17 on; one picture at a time is too little for many
            graph.threads = 1
        name = picture.format.name
        always = self._codec not in _FLAGGING_CODECS and not picture.interlaced_frame
        steps = [
            graph.add_buffer(width=picture.width, height=picture.height, format=name, time_base=Fraction(1, 1000)),
            graph.add("bwdif", f"mode=send_frame:parity=auto:deint={'all' if always else 'interlaced'}"),
            graph.add("format", f"pix_fmts={name}"),
            graph.add("buffersink"),
        ]
        for left, right in pairwise(steps):
            left.link_to(right)
        graph.configure()
        return graph

    def _ready(self) -> Iterator[VideoFrame]:
        while True:
            try:
                yield self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return

"""Makes whole pictures out of interlaced ones by libavfilter's bwdif: one of each, or one of each of its two fields."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING, Any

import av.error
from av.filter import Graph

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from slomo_cli.values import Deinterlace, VideoInfo

HOW: dict[Deinterlace, str] = {
    "auto": "made whole (bwdif)",
    "fields": "made two each, one of every field (bwdif)",
    "off": "taken as they are: expect combed motion",
}
"""What becomes of interlaced pictures, in words."""
_FLAGGING_CODECS = frozenset(
    {"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "cavs", "prores", "dnxhd"}
)
"""Codecs that say of every picture whether it is interlaced; of others the container's word counts for all."""
_BOTTOM_FIRST = (3, 5)
"""AVFieldOrder BB and BT. The second letter is no matter of time: FFmpeg writes BT, and Matroska stores (RFC 9559,
5.1.4.1.28.2), for interleaved fields of which the bottom one is shown first; TB where the top one is."""


class Deinterlacer:
    """Feeds pictures through bwdif; they come out in their own format.

    For each picture one comes; with ``fields``, for an interlaced one two, of its earlier and of its later field.
    Pictures pass as they are until the first interlaced one; from there on each comes one picture later.
    """

    def __init__(self, info: VideoInfo, *, fields: bool = False) -> None:
        self._mode = "send_field" if fields else "send_frame"
        self._interlaced_unsaid = info.interlaced and info.codec not in _FLAGGING_CODECS
        self._parity = "bff" if info.field_order in _BOTTOM_FIRST else "tff"
        self._graph: Any = None
        self._shape: tuple[Any, ...] = ()
        self._count = 0
        self._before: VideoFrame | None = None
        """The latest picture that passed as it is."""
        self._unwanted = 0
        """Pictures inside that have passed already."""

    def push(self, picture: VideoFrame) -> Iterator[list[VideoFrame]]:
        """Takes a picture, yields what has become of those that are ready."""
        shape = (picture.width, picture.height, picture.format.name)
        if shape != self._shape:
            yield from self.finish()
            self._shape = shape
            self._before = None
        if self._graph is None:
            if not self._interlaced_unsaid and not picture.interlaced_frame:
                self._before = picture
                yield [picture]
                return
            self._graph = self._build(picture)
            if self._before is not None:  # bwdif looks at the picture before
                self._feed(self._before)
                self._unwanted = 1
        self._feed(picture)
        yield from self._ready()

    def finish(self) -> Iterator[list[VideoFrame]]:
        """Yields the pictures still inside, as ``push``."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None

    def close(self) -> None:
        """Frees the filter."""
        self._graph = None

    def _feed(self, picture: VideoFrame) -> None:
        # Times travel beside the filter: bwdif wants evenly growing stamps, and a picture's number is one.
        picture.pts = self._count
        picture.time_base = Fraction(1, 1000)
        self._count += 1
        self._graph.push(picture)

    def _build(self, picture: VideoFrame) -> Any:
        graph: Any = Graph()
        graph.threads = 1  # one picture at a time is too little for many
        name = picture.format.name
        always = self._interlaced_unsaid and not picture.interlaced_frame
        how = f"parity={self._parity}:deint=all" if always else "parity=auto:deint=interlaced"
        graph.link_nodes(
            graph.add_buffer(width=picture.width, height=picture.height, format=name, time_base=Fraction(1, 1000)),
            graph.add("bwdif", f"mode={self._mode}:{how}"),
            graph.add("format", f"pix_fmts={name}"),
            graph.add("buffersink"),
        ).configure()
        return graph

    def _ready(self) -> Iterator[list[VideoFrame]]:
        # Two ticks are one picture's, whose fields come together; of a lone picture both have the first.
        for _, fields in groupby(self._pulled(), lambda picture: picture.pts // 2):
            if self._unwanted:
                self._unwanted -= 1
            else:
                yield list(fields)

    def _pulled(self) -> Iterator[Any]:
        while True:
            try:
                yield self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return

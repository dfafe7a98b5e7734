"""Where recordings were joined, as in broadcasts: the clock jumps from one to the next."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from slomo_cli.media.clocks import exact
from slomo_cli.values import SourceTiming, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer

JUMPING_FORMATS = frozenset({"mpegts", "mpeg"})
"""Containers of broadcasts, whose clock may jump."""
BACKWARD_JUMP = Fraction(1, 4)
"""Seconds a stamp must go back to be a join of two recordings, not a badly stamped picture."""
STEP_BACK = Fraction(1, 10)
"""Seconds: where sound of a broadcast goes back by more from one packet to the next, ffmpeg shifts all that follows, in
every track."""
FORWARD_JUMP = Fraction(10)
"""Seconds ahead that are a join too, in formats whose clock may jump; FFmpeg's own limit."""


class Joins:
    """Tells by the step from one stamp to the next, in ticks, where another recording begins."""

    def __init__(self, container: str, second: Fraction) -> None:
        """``container``: libav's name of it; ``second``: its ticks."""
        self._back = BACKWARD_JUMP * second
        self._ahead = FORWARD_JUMP * second if container in JUMPING_FORMATS else None
        self._previous: int | None = None

    def at(self, step: int | Fraction) -> bool:
        """Whether this step leads into another recording."""
        return step < -self._back or (self._ahead is not None and step > self._ahead)

    def jump(self, stamp: int) -> int:
        """The step to this stamp from the one asked for before it, where it leads into another recording; 0
        elsewhere."""
        step = 0 if self._previous is None else stamp - self._previous
        self._previous = stamp
        return step if self.at(step) else 0


class JoinedClock:
    """By how much the clock goes on where recordings were joined: the packets of the picture tell, each in its turn."""

    def __init__(self, container: InputContainer, info: VideoInfo, timing: SourceTiming) -> None:
        self.picture = container.streams[info.stream_index]
        self.seconds = Fraction(0)
        self.met = 0
        """Joins passed by now."""
        self._time_base = exact(self.picture.time_base) or Fraction(1)
        self._interval = 1 / timing.nominal_rate
        self._joins = Joins(info.container, 1 / self._time_base)
        self._jolts = frozenset(timing.jolts)

    def follow(self, packet: Any) -> None:
        """The picture's next packet, by its time of decoding."""
        if packet.dts is None or packet.pos in self._jolts:
            return
        if jump := self._joins.jump(packet.dts):
            self.seconds += self._interval - jump * self._time_base
            self.met += 1

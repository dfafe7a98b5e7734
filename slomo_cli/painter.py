"""What each output frame shows: a source frame, one between two, or a side of a cut.

A row of generators, each fed by the one above it (``Painter.pictures``):

    _ahead      the source's frames, decoded on a thread of its own
    _round      of a loop, the first ones once more after the last
    thin        without those that repeat the one before (``repeats``)
    _held       what stands still for long, once more where it begins to move
    schedule    in pairs, each with the output frames made from it (``timeline``)
    _judged     is the pair a cut, still or moving, and what is beside it?
    _painted    the finished pictures, those after them asked of the network already

So decoder, network and encoder all have work, a few frames apart.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from slomo_cli.cuts import CutDetector, PairKinds
from slomo_cli.repeats import LONGEST_RUN, DuplicateFilter
from slomo_cli.timeline import Output, Plan, Step, moves_from, schedule
from slomo_cli.values import Frame, SourceTiming, TimeSettings, VideoInfo

if TYPE_CHECKING:
    from slomo_cli.cuts import Kind
    from slomo_cli.interpolate import Beside, Interpolator, Pending
    from slomo_cli.values import Plane

    _Judged = tuple[Step[Frame], Kind, Sequence[Beside | None]]
    """A step, what its pair is, and what is beside it."""

T = TypeVar("T")

_log = logging.getLogger(__name__)

_DECODED_AHEAD = 4
"""Frames waiting between the decoder and the schedule."""
_WAITING_BYTES = 192 << 20
"""Output frames asked for and not yet written take about this much at most..."""
_WAITING_FRAMES = (4, 48)
"""...but are never fewer or more than this; nor from more pairs than ``Interpolator.pairs_ahead``."""


class Painter:
    """Decides what each output frame shows: a source frame, an in-between one, or a side of a cut."""

    def __init__(
        self,
        plan: Plan,
        info: VideoInfo,
        timing: SourceTiming,
        network: Interpolator,
        time: TimeSettings,
        *,
        done: int = 0,
    ) -> None:
        """``done``: so many output frames are there already; those after them are made. The source is looked at from
        its beginning all the same: what is a cut or a repeat depends on what came before."""
        self._plan = plan
        self._timing = timing
        self._done = done
        self._network = network
        self._at_cuts = time.cuts
        self._kinds = PairKinds(None if time.cuts == "off" else CutDetector(time.cut_threshold))
        self._repeats = DuplicateFilter(
            enabled=time.duplicates == "replace", cut_threshold=time.cut_threshold, counted=(plan.start, plan.end)
        )
        low, high = _WAITING_FRAMES
        frame_bytes = info.layout.frame_bytes(info.width, info.height)
        self._most = max(low, min(high, _WAITING_BYTES // max(1, frame_bytes)))
        self.cuts = 0
        self.interpolated = 0

    @property
    def duplicates(self) -> int:
        """Repeated source frames left out."""
        return self._repeats.count

    def pictures(self, frames: Iterable[Frame]) -> Iterator[tuple[tuple[Plane, ...], Output]]:
        """Finished pictures in order, a few frames behind what has been asked of the network.

        ``frames``: of the source, in presentation order; they are fetched on a thread of their own.
        """
        with closing(_ahead(frames, _DECODED_AHEAD)) as fetched:  # else its thread stays while an error is remembered
            source = self._repeats.thin(self._round(fetched) if self._plan.loop else fetched)
            steps = schedule(self._plan, ((frame.pts_seconds, frame) for frame in self._held(source)))
            yield from self._painted(self._judged(steps))
            # Damage behind the last output is told as that before it, and all of it only at the source's end.
            deque(source, maxlen=0)

    def _round(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames of a loop, and the first of them once more, by which it is seen whether the last are repeats."""
        start, end = self._plan.start, self._plan.end
        first: list[Frame] = []
        for frame in frames:
            if first and frame.pts_seconds >= end:
                continue
            if frame.pts_seconds <= start:
                first.clear()
            if len(first) <= LONGEST_RUN:
                first.append(frame)
            yield frame
        for frame in first:
            yield replace(frame, pts_seconds=max(frame.pts_seconds, start) + end - start)

    def _held(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, and those that stand still for long once more where they begin to move."""
        left: Frame | None = None
        for right in chain(frames, (None,)):
            if left is not None:
                until = self._plan.end if right is None else right.pts_seconds
                until = min(until, self._plan.end) if self._plan.loop else until
                if (moment := moves_from(left.pts_seconds, until, self._timing)) > left.pts_seconds:
                    yield replace(left, pts_seconds=moment, moved_seconds=Fraction(0))
            if right is not None:
                yield right
            left = right

    def _judged(self, steps: Iterable[Step[Frame]]) -> Iterator[_Judged]:
        """Each step with what its pair is; without a right frame the left one stands still."""
        pair: tuple[Frame, Frame | None] | None = None
        kind: Kind = "still"
        beside: Sequence[Beside | None] = []
        for step in steps:
            left, right = step.left, step.right
            if right is None:
                kind = "still"
            elif pair is None or pair[0] is not left or pair[1] is not right:
                kind, beside = self._kinds.around(step.before, left, right, step.after)
                self.cuts += kind == "cut"
                if kind == "cut":
                    _log.debug("cut at %.3f s", right.pts_seconds)
                elif kind == "still":
                    _log.debug("nothing moves at %.3f s", left.pts_seconds)
            pair = (left, right)
            yield step, kind, beside

    def _painted(self, steps: Iterable[_Judged]) -> Iterator[tuple[tuple[Plane, ...], Output]]:
        """Every picture as it is finished; those of the steps ahead are asked for before that."""
        waiting: deque[tuple[tuple[Plane, ...] | Pending, Output, int]] = deque()
        for number, (step, kind, beside) in enumerate(steps):
            if kind == "moving":
                self.interpolated += sum(bool(output.t) for output in step.outputs)
            done = min(self._done, len(step.outputs))
            self._done -= done
            for start in range(done, len(step.outputs), self._most):
                outputs = step.outputs[start : start + self._most]
                for picture, output in zip(self._pictures(step, outputs, kind, beside), outputs, strict=True):
                    waiting.append((picture, output, number))
                while len(waiting) > self._most or waiting[0][2] + self._network.pairs_ahead <= number:
                    yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())

    def _pictures(
        self, step: Step[Frame], outputs: tuple[Output, ...], kind: Kind, beside: Sequence[Beside | None]
    ) -> Iterator[tuple[Plane, ...] | Pending]:
        left, right = step.left, step.right
        if right is None or kind != "moving":
            for output in outputs:
                if right is None or kind == "still" or not output.t:
                    yield left.planes
                elif self._at_cuts == "blend":
                    yield _mixed(left, right, output.t)
                else:
                    yield (left if output.t < _turn(left, right) else right).planes
            return
        between = [output.t for output in outputs if output.t]
        asked = iter(self._network.request(left, right, between, *beside) if between else ())
        for output in outputs:
            yield next(asked) if output.t else left.planes


def _finished(picture: tuple[Plane, ...] | Pending, output: Output, _: int) -> tuple[tuple[Plane, ...], Output]:
    return (picture if isinstance(picture, tuple) else picture.planes()), output


def _turn(left: Frame, right: Frame) -> Fraction:
    """Where between the two sides of a cut the second becomes the nearer one, by when the source shows them: an even
    pace leaves a cut in its place."""
    interval = right.pts_seconds - left.pts_seconds
    moved = (left.moved_seconds + right.moved_seconds) / interval if interval > 0 else 0  # a loop turns back
    return (1 - moved) / Fraction(2)


def _mixed(left: Frame, right: Frame, t: Fraction) -> tuple[Plane, ...]:
    """A plain cross-fade, rounded to nearest."""
    share = np.float32(t)

    def mix(a: Plane, b: Plane) -> Plane:
        mixed = np.rint((1 - share) * a + share * b)
        return mixed.astype(np.uint8) if a.dtype == np.uint8 else mixed.astype(np.uint16)

    return tuple(mix(a, b) for a, b in zip(left.planes, right.planes, strict=True))


def _ahead(items: Iterable[T], depth: int) -> Generator[T]:
    """The same items, fetched on a thread that runs at most ``depth`` of them ahead; its errors are raised here."""
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item,))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="slomo-decode", daemon=True)
    try:
        thread.start()
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stopped.set()
        if thread.is_alive():  # Ctrl-C may come while it begins
            thread.join(timeout=5)

"""Two pictures and any timesteps in, the pictures between them out.

``Interpolator`` owns the device, the number format, the size of the proxy, padding and batching. Work is asked for and
fetched later, so that a pipeline can keep every core busy:

* On a CPU a pair's flow and each of its timesteps are separate tasks for a few threads, each of which runs torch on
  itself alone. That uses the cores better than torch's own threads do on such small arrays, and leaves no OpenMP team
  spinning beside a busy encoder. A task's arithmetic never depends on which others run, so the result does not either.
* On a GPU one thread queues whole pairs, as many timesteps together as fit; results are copied back asynchronously.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if "torch" not in sys.modules:
    # OpenMP threads that wait by spinning made torch ten times slower beside a busy encoder.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slomo_cli.arrays import enlarged, image_frame, on_device, to_numpy, to_tensor
from slomo_cli.devices import choose_device, choose_dtype, keep_freed_memory, ran_out_of_memory
from slomo_cli.errors import DeviceError, UsageError
from slomo_cli.net.bend import EVEN, Bend, bend, bent, steady
from slomo_cli.net.fuse import SourcePlanes, fuse
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.proxy import PROXY_SIDE, ProxyScale, proxy_scale, to_proxy
from slomo_cli.net.runner import Automatic, runner
from slomo_cli.net.weights import load
from slomo_cli.tasks import Recent, Tasks
from slomo_cli.text import counted
from slomo_cli.threads import usable_cores
from slomo_cli.values import Frame

if TYPE_CHECKING:
    from slomo_cli.net.presets import Network
    from slomo_cli.net.runner import Runner
    from slomo_cli.values import Plane

T = TypeVar("T")
Planes = tuple["Plane", ...]
Beside = tuple[Frame, Fraction | float]
"""A frame before or after a pair, and the interval between them in intervals of the pair."""

_FRAMES, _PAIRS, _STEADY = 3, 2, 3
"""Remembered of a walk through a film: a pair and the one after it, with their frames, and what is steady in these two
and in the one before."""

_DROPPED = "the interpolator was closed before the picture was made"


@dataclass(frozen=True, slots=True)
class MotionMaps:
    """What moves where between two pictures, at the pictures' own size; float32."""

    flow_01: npt.NDArray[np.float32]
    """(H, W, 2): displacement (x, y) in pixels of every pixel of the first picture on its way to the second."""
    flow_10: npt.NDArray[np.float32]
    """(H, W, 2): the same from the second to the first."""
    flow_t0: npt.NDArray[np.float32]
    """(T, H, W, 2): from each in-between picture to the first."""
    flow_t1: npt.NDArray[np.float32]
    """(T, H, W, 2): from each in-between picture to the second."""
    visibility: npt.NDArray[np.float32]
    """(T, H, W) in [0, 1]: how surely a pixel is seen in the first picture rather than the second."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One source frame on the device: its samples ready for fusion, and what the network sees in it alone."""

    samples: SourcePlanes
    seen: Any


@dataclass(frozen=True, slots=True)
class _Way:
    """How everything moves between two frames."""

    state: PairState
    bend: Bend | None
    """None: straight and evenly."""


class Pending:
    """An in-between picture on its way; ``planes`` waits for it."""

    def __init__(self, future: Future[Any], pick: int) -> None:
        self._future, self._pick = future, pick

    def planes(self) -> Planes:
        """The finished picture's planes, in the layout's storage order. Raises what its making raised."""
        pictures, arrived = self._future.result()
        if arrived is not None:
            arrived.synchronize()
        return tuple(to_numpy(plane) for plane in pictures[self._pick])


class Interpolator:
    """A loaded network that makes the pictures between two pictures.

    ``weights``: a released name or a path. ``device``: auto, cpu, cuda, cuda:N or mps. ``dtype``: auto (bfloat16 or
    float16 where a CPU, NVIDIA or AMD GPU computes it natively, else float32), float32, bfloat16 or float16. ``proxy``:
    auto, full, or the longest short side, in pixels, of what the network sees. ``batch``: timesteps computed together,
    0 chooses. ``threads``: of the network on a CPU, 0 uses every core. ``compile``: torch.compile the network, if it
    can be. ``motion``: curved, through the frames beside a pair where they are given, or straight, with which they are
    not looked at.

    On a CPU it changes two things for the whole process: the C library keeps freed memory for the next arrays (Linux),
    and torch computes with one thread in threads started later. As with all of torch, processes that are forked after
    it has computed hang when they compute: spawn them instead.

    Raises DeviceError for a device or format that is not there, WeightsError for unusable weights, UsageError for
    values out of range. Close it, or use it as a context manager, to end its threads.
    """

    def __init__(
        self,
        weights: str = "fast",
        *,
        device: str = "auto",
        dtype: str = "auto",
        proxy: str = "auto",
        batch: int = 0,
        threads: int = 0,
        compile: bool = False,
        motion: str = "curved",
    ) -> None:
        for what, count in (("batch", batch), ("threads", threads)):
            if not isinstance(count, int) or count < 0:
                raise UsageError(f"expected {what} to be 0 (chosen) or a whole number above, found {count!r}")
        if motion not in ("curved", "straight"):
            raise UsageError(f"expected a motion that is curved or straight, found {motion!r}")
        self._straight = motion == "straight"
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.notes: list[str] = []
        """What could not be had as asked, one line each."""
        try:
            loaded = load(weights, self.device)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            instead = "" if self.device.type == "cpu" else ", or use --device cpu"
            raise DeviceError(
                f"{self.device} has too little free memory for the network: end what else uses it{instead}"
            ) from error
        self.weights_name, self.preset, self.sha256 = loaded.name, loaded.preset, loaded.sha256
        self._net = self._compiled(loaded.model) if compile else runner(loaded.model, self.device, self.dtype)
        self._proxy_side = _proxy_side(proxy)
        self._on_cpu = self.device.type == "cpu"
        self.threads = (threads or usable_cores()) if self._on_cpu else 1
        self._batch = batch or (1 if self._on_cpu else 16)
        self.pairs_ahead = max(3, self.threads + 1) - (not self._straight)
        """How many pairs should be asked for before the first is fetched: one more than can be worked on at a time.
        Along curves the one after the last is begun as well."""
        if self._on_cpu:
            keep_freed_memory()
        self._sparing = False
        """Fuse with as little memory as can be: set once the device's ran out at a single picture."""
        self._tasks = Tasks(self.threads, "slomo-net", partial(torch.set_num_threads, 1), _DROPPED)
        self._prepared: Recent[Future[_Prepared]] = Recent(_FRAMES)
        self._states: Recent[Future[PairState]] = Recent(1 if self._straight else _PAIRS)
        self._steady: Recent[Future[Tensor]] = Recent(_STEADY)
        self._ways: Recent[Future[_Way]] = Recent(1)

    # ------------------------------------------------------------------------------------------------- life

    def __enter__(self) -> Interpolator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop work not begun and end the threads."""
        self._tasks.close()
        for held in (self._prepared, self._states, self._steady, self._ways):
            held.clear()

    def describe(self) -> str:
        """Device, number format and threads in a few words."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device)
        threads = f", {counted(self.threads, 'thread')}" if self._on_cpu else ""
        return f"{name}, {str(self.dtype).removeprefix('torch.')}{threads}"

    def proxy_scale(self, width: int, height: int) -> ProxyScale:
        """Size of what the network sees of such frames."""
        side = min(width, height)
        return proxy_scale(side, self._net.cell, self._proxy_side or max(side, PROXY_SIDE))

    def step(self, width: int, height: int) -> int:
        """Luma samples per step of the Motion grid."""
        return self.proxy_scale(width, height).step(self._net.cell)

    # ------------------------------------------------------------------------------------------------- work

    def request(
        self,
        left: Frame,
        right: Frame,
        timesteps: Iterable[Fraction | float],
        before: Beside | None = None,
        after: Beside | None = None,
    ) -> list[Pending]:
        """Ask for the pictures at each time in (0, 1) between two frames of equal size and layout; returns at once.

        ``before``, ``after``: of the same shot, by which it is known how the motion bends; without both it is straight.
        Frames and pairs are told apart by identity: asking for the same pair again, or for one that shares a frame with
        the last, uses what is already on the device.
        """
        way = self._way(left, right, before, after)
        ready = [self._prepare(frame) for frame in (left, right)]
        step = self.step(left.width, left.height)
        times = _times(timesteps)
        pending: list[Pending] = []
        batch = self._batch  # read once: a thread whose memory runs out halves it
        for start in range(0, len(times), batch):
            some = times[start : start + batch]
            done = self._after([way, *ready], partial(self._make, step, some))
            pending += [Pending(done, k) for k in range(len(some))]
        return pending

    def frames(
        self,
        left: Frame,
        right: Frame,
        timesteps: Iterable[Fraction | float],
        before: Beside | None = None,
        after: Beside | None = None,
    ) -> list[Planes]:
        """The planes of the pictures at each time in (0, 1) between two frames; see ``request``."""
        return [pending.planes() for pending in self.request(left, right, timesteps, before, after)]

    def between(
        self, first: npt.NDArray[Any], second: npt.NDArray[Any], timesteps: Iterable[Fraction | float]
    ) -> list[npt.NDArray[Any]]:
        """The images at each time in [0, 1] between two images.

        ``first``, ``second``: (H, W, 3) RGB, uint8 or uint16 using the full range, equal in size and type. Returns
        arrays like them; at 0 and 1 they are copies of the images themselves.
        """
        left, right = image_frame(first, second), image_frame(second, first)
        times = _times(timesteps)
        inner = iter(self.request(left, right, [t for t in times if 0 < t < 1]))
        images = []
        for t in times:
            if 0 < t < 1:
                green, blue, red = next(inner).planes()
                images.append(np.stack((red, green, blue), axis=-1))
            else:
                images.append((first if t == 0 else second).copy())
        return images

    def motion(
        self,
        first: npt.NDArray[Any] | Frame,
        second: npt.NDArray[Any] | Frame,
        timesteps: Iterable[Fraction | float],
        before: Beside | None = None,
        after: Beside | None = None,
    ) -> MotionMaps:
        """Flows and visibility behind ``between`` (or ``frames``) at each time in [0, 1], for looking at."""
        left = first if isinstance(first, Frame) else image_frame(first, second)  # type: ignore[arg-type]
        right = second if isinstance(second, Frame) else image_frame(second, first)  # type: ignore[arg-type]
        step = self.step(left.width, left.height)
        way = self._way(left, right, before, after)
        times = _times(timesteps)
        motion = self._after([way], lambda way: self._at(way, self._on_device(times))).result()
        state = way.result().state

        def flow(field: Tensor) -> npt.NDArray[np.float32]:
            return enlarged(field.float() * step, step, left).transpose(0, 2, 3, 1)

        return self._guarded(
            lambda: MotionMaps(
                flow(state.flow_01)[0],
                flow(state.flow_10)[0],
                flow(motion.flow_t0),
                flow(motion.flow_t1),
                enlarged(motion.visibility.float(), step, left)[:, 0],
            )
        )

    # ------------------------------------------------------------------------------------------------ tasks

    def _prepare(self, frame: Frame) -> Future[_Prepared]:
        """The frame on the device; each belongs to two pairs."""
        return self._prepared.of(frame, make=lambda: self._tasks.submit(self._guarded, self._upload, frame))

    def _way(self, left: Frame, right: Frame, before: Beside | None, after: Beside | None) -> Future[_Way]:
        """How everything moves between two frames."""

        def make() -> Future[_Way]:
            state = self._state(left, right)
            gaps = [float(beside[1]) if beside and self._tells(beside[1]) else None for beside in (before, after)]
            pairs = [before and (before[0], left), after and (right, after[0])]
            beside = [pair for pair, gap in zip(pairs, gaps, strict=True) if pair and gap is not None]
            if not beside:
                return self._after([state], lambda state: _Way(state, None))
            # The pair itself first, while its flows are remembered: those beside it may take their place.
            found = [self._steady_in(*pair) for pair in ((left, right), *beside)]
            return self._after([state, *found], lambda *found: _bent_way(gaps, *found))

        return self._ways.of(left, right, before, after, make=make)

    def _tells(self, gap: Fraction | float) -> bool:
        """Whether an interval beside a pair, in intervals of the pair, is looked at."""
        return not self._straight and 1 / EVEN <= gap <= EVEN

    def _state(self, left: Frame, right: Frame) -> Future[PairState]:
        """Both flows of a pair; each pair is beside two others."""
        if self._tasks.closed:
            raise UsageError("expected an open interpolator, found it closed")
        if (left.width, left.height, left.layout) != (right.width, right.height, right.layout):
            raise UsageError(
                f"expected two pictures of one size and format, found {left.width}x{left.height} {left.layout.name} "
                f"and {right.width}x{right.height} {right.layout.name}"
            )

        def make() -> Future[PairState]:
            ready = [self._prepare(frame) for frame in (left, right)]
            return self._after(ready, lambda first, second: self._net.pair(first.seen, second.seen))

        return self._states.of(left, right, make=make)

    def _steady_in(self, left: Frame, right: Frame) -> Future[Tensor]:
        """What is steady in a pair, for itself and for the pairs beside it."""
        return self._steady.of(left, right, make=lambda: self._after([self._state(left, right)], steady))

    def _after(self, awaited: Sequence[Future[Any]], work: Callable[..., T]) -> Future[T]:
        """``Tasks.after`` for work on the device."""
        return self._tasks.after(awaited, lambda *found: self._guarded(work, *found))

    def _upload(self, frame: Frame) -> _Prepared:
        scale = self.proxy_scale(frame.width, frame.height)
        planes = [to_tensor(plane, self.device) for plane in frame.planes]
        proxy = to_proxy(planes, frame.layout, frame.color, scale.divisor, self._net.stride, scale.magnify)
        return _Prepared(SourcePlanes.of(planes, frame.layout), self._net.look(proxy))

    def _on_device(self, times: Sequence[float]) -> Tensor:
        return on_device(torch.tensor(times, dtype=torch.float32, device="cpu"), self.device)

    def _at(self, way: _Way, t: Tensor) -> Motion:
        motion = self._net.at(way.state, t)
        return motion if way.bend is None else bent(motion, way.bend, t)

    def _make(
        self, step: int, times: Sequence[float], way: _Way, first: _Prepared, second: _Prepared
    ) -> tuple[list[tuple[Tensor, ...]], Any]:
        """The pictures at ``times``: the planes (h, w) of each on the host, and the event of their arrival."""

        def make(times: Sequence[float]) -> list[Tensor]:
            t = self._on_device(times)
            motion = self._at(way, t)
            planes = fuse(first.samples, second.samples, motion, t, step=step, sparing=self._sparing)
            return [self._fetched(plane) for plane in planes]

        pictures = self._halving(make, times)
        if self.device.type != "cuda":
            return pictures, None
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # waits without keeping a core busy
        arrived.record(torch.cuda.current_stream(self.device))
        return pictures, arrived

    def _fetched(self, plane: Tensor) -> Tensor:
        """On the host, or from CUDA on its way there."""
        if self.device.type != "cuda":
            return plane.cpu()
        return torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True).copy_(plane, non_blocking=True)

    def _halving(
        self, make: Callable[[Sequence[float]], list[Tensor]], times: Sequence[float]
    ) -> list[tuple[Tensor, ...]]:
        """The planes of the picture at each time: all made at once; where the device's memory is too small, in halves,
        and in the end picture by picture in bands."""
        try:
            return list(zip(*(plane.unbind() for plane in self._guarded(make, times)), strict=True))
        except DeviceError:
            if len(times) == 1 and self._sparing:
                raise
        if len(times) == 1:
            self._sparing = True
            return self._halving(make, times)
        half = len(times) // 2
        self._batch = max(1, half)
        return self._halving(make, times[:half]) + self._halving(make, times[half:])

    @torch.inference_mode()
    def _guarded(self, work: Callable[..., T], *given: Any) -> T:
        """``work`` on the device, without gradients, and with its out-of-memory told as what it is."""
        try:
            return work(*given)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            instead = "fewer --threads" if self._on_cpu else "--device cpu"
            raise DeviceError(
                f"{self.describe()} has too little free memory for this picture size: "
                f"use a smaller --proxy (such as 540), or {instead}"
            ) from error

    def _compiled(self, model: Network) -> Runner:
        """The network compiled, if this machine can; a note says if not."""
        compiled = Automatic(model, self.device, self.dtype)
        try:
            with torch.inference_mode():
                compiled.compile()
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.notes.append(f"the network could not be compiled and runs as it is: {reason[:160]}")
            return runner(model, self.device, self.dtype)
        return compiled


def _proxy_side(text: str | int) -> int:
    """Longest short side; 0 is any."""
    text = str(text)
    if text == "auto":
        return PROXY_SIDE
    if text == "full":
        return 0
    if text.isdecimal() and int(text) >= 32:
        return int(text)
    raise UsageError(f"expected a proxy of auto, full, or a short side of 32 pixels or more, found '{text}'")


def _bent_way(gaps: Sequence[float | None], state: PairState, here: Tensor, *found: Tensor) -> _Way:
    """The way of a pair from what is steady in it, and ``found`` steady in those before and after it; there is one for
    each of the ``gaps`` that is not None."""
    beside = iter(found)
    before, after = (None if gap is None else (next(beside), gap) for gap in gaps)
    return _Way(state, bend(here, before, after))


def _times(timesteps: Iterable[Fraction | float]) -> list[float]:
    """Every timestep as a float; UsageError for one that is no time between two pictures, and for no row of them."""
    try:
        row = iter(timesteps)
    except TypeError:  # an array of no dimensions too
        raise UsageError(f"expected timesteps such as [0.25, 0.5], found {timesteps!r}") from None
    times = []
    for t in row:
        try:
            times.append(float(t))
        except (TypeError, ValueError):
            raise UsageError(f"expected a timestep from 0 to 1, found {t!r}") from None
        if not 0 <= times[-1] <= 1:
            raise UsageError(f"expected a timestep from 0 to 1, found {times[-1]:g}")
    return times

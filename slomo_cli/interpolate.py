"""Two pictures and any timesteps in, the pictures between them out.

``Interpolator`` owns the device, the number format, the size of the proxy, padding and batching. Work is asked for and
fetched later, so that a pipeline can keep every core busy:

* On a CPU a pair's flow and each of its timesteps are separate tasks for a few threads, each of which runs torch on
  itself alone. That uses the cores better than torch's own threads do on such small arrays, and leaves no OpenMP team
  spinning beside a busy encoder. A task's arithmetic never depends on which others run, so the result does not either.
* On a GPU one thread queues whole pairs, as many timesteps together as fit; results are copied back asynchronously.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

if "torch" not in sys.modules:
    # OpenMP threads that wait by spinning made torch ten times slower beside a busy encoder.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.errors import DeviceError, UsageError
from slomo_cli.net.fuse import SourcePlanes, fuse
from slomo_cli.net.motion import Motion, PairState
from slomo_cli.net.proxy import PROXY_SIDE, ProxyScale, proxy_scale, to_proxy
from slomo_cli.net.runner import Automatic, runner
from slomo_cli.net.weights import load
from slomo_cli.values import ColorInfo, Frame, PixelLayout

if TYPE_CHECKING:
    from slomo_cli.net.presets import Network
    from slomo_cli.net.runner import Runner
    from slomo_cli.values import Plane

T = TypeVar("T")
Planes = tuple["Plane", ...]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


class Pending:
    """In-between pictures on their way; ``planes`` waits for them."""

    def __init__(self, future: Future[Any], pick: int | None = None) -> None:
        self._future, self._pick = future, pick

    def planes(self) -> Planes:
        """The finished picture's planes, in the layout's storage order. Raises what its making raised."""
        result = self._future.result()
        if self._pick is not None:
            tensors, arrived = result
            if arrived is not None:
                arrived.synchronize()
            result = [plane[self._pick] for plane in tensors]
        return tuple(_to_numpy(plane) for plane in result)


class Interpolator:
    """A loaded network that makes the pictures between two pictures.

    ``weights``: a released name or a path. ``device``: auto, cpu, cuda, cuda:N or mps. ``dtype``: auto (bfloat16 or
    float16 where the device computes it natively, else float32), float32, bfloat16 or float16. ``proxy``: auto, full,
    or the longest short side, in pixels, of what the network sees. ``batch``: timesteps computed together, 0 chooses.
    ``threads``: of the network on a CPU, 0 uses every core. ``compile``: torch.compile the network, if it can be.

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
    ) -> None:
        for what, count in (("batch", batch), ("threads", threads)):
            if count < 0:
                raise UsageError(f"expected {what} to be 0 (chosen) or more, found {count}")
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.notes: list[str] = []
        """What could not be had as asked, one line each."""
        loaded = load(weights, self.device)
        self.weights_name, self.preset, self.sha256 = loaded.name, loaded.preset, loaded.sha256
        self._net = self._compiled(loaded.model) if compile else runner(loaded.model, self.device, self.dtype)
        self._proxy_side = _proxy_side(proxy)
        self._on_cpu = self.device.type == "cpu"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = (threads or cores) if self._on_cpu else 1
        self._batch = batch or (1 if self._on_cpu else 16)
        self.pairs_ahead = max(3, self.threads + 1)
        """How many pairs should be asked for before the first is fetched: one more than can be worked on at a time."""
        if self._on_cpu:
            _keep_freed_memory()
        self._sparing = False
        """Fuse with as little memory as can be: set once the device's ran out at a single picture."""
        self._closing = False
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="slomo-net", initializer=_single_thread)
        self._prepared: OrderedDict[int, tuple[Frame, Future[_Prepared]]] = OrderedDict()
        self._pair: tuple[Frame, Frame, Future[PairState]] | None = None
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------- life

    def __enter__(self) -> Interpolator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop work not begun and end the threads."""
        # Cancelling a flow calls back to queue the pictures made of it, while the pool holds the lock that takes.
        self._closing = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._prepared.clear()
        self._pair = None

    def describe(self) -> str:
        """Device, number format and threads in a few words."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device)
        threads = f", {self.threads} threads" if self._on_cpu else ""
        return f"{name}, {str(self.dtype).removeprefix('torch.')}{threads}"

    def proxy_scale(self, width: int, height: int) -> ProxyScale:
        """Size of what the network sees of such frames."""
        side = min(width, height)
        return proxy_scale(side, self._net.cell, self._proxy_side or max(side, PROXY_SIDE))

    def step(self, width: int, height: int) -> int:
        """Luma samples per step of the Motion grid."""
        return self.proxy_scale(width, height).step(self._net.cell)

    # ------------------------------------------------------------------------------------------------- work

    def request(self, left: Frame, right: Frame, timesteps: Iterable[Fraction | float]) -> list[Pending]:
        """Ask for the pictures at each time in (0, 1) between two frames of equal size and layout; returns at once.

        Frames and pairs are told apart by identity: asking for the same pair again, or for one that shares a frame with
        the last, uses what is already on the device.
        """
        state = self._state(left, right)
        ready = [self._prepare(frame) for frame in (left, right)]
        step = self.step(left.width, left.height)
        times = _times(timesteps)
        pending: list[Pending] = []
        for start in range(0, len(times), self._batch):
            some = times[start : start + self._batch]
            done: Future[Any] = Future()

            # The flow is handed over, not remembered: it would hold this function, which would hold it, and both would
            # stay, with all their arrays, until Python next looks for such rings.
            def begin(flow: Future[PairState], some: list[float] = some, done: Future[Any] = done) -> None:
                self._submit_into(done, lambda: self._make(flow.result(), ready, step, some))

            # Only queued once the flow is there: a waiting task would hold a thread that the next pair's flow can use.
            state.add_done_callback(begin)
            pending += [Pending(done, k) for k in range(len(some))]
        return pending

    def frames(self, left: Frame, right: Frame, timesteps: Iterable[Fraction | float]) -> list[Planes]:
        """The planes of the pictures at each time in (0, 1) between two frames."""
        return [pending.planes() for pending in self.request(left, right, timesteps)]

    def between(
        self, first: npt.NDArray[Any], second: npt.NDArray[Any], timesteps: Iterable[Fraction | float]
    ) -> list[npt.NDArray[Any]]:
        """The images at each time in [0, 1] between two images.

        ``first``, ``second``: (H, W, 3) RGB, uint8 or uint16 using the full range, equal in size and type. Returns
        arrays like them; at 0 and 1 they are copies of the images themselves.
        """
        left, right = _image_frame(first, second), _image_frame(second, first)
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
        self, first: npt.NDArray[Any] | Frame, second: npt.NDArray[Any] | Frame, timesteps: Iterable[Fraction | float]
    ) -> MotionMaps:
        """Flows and visibility behind ``between`` (or ``frames``) at each time in [0, 1], for looking at."""
        left = first if isinstance(first, Frame) else _image_frame(first, second)  # type: ignore[arg-type]
        right = second if isinstance(second, Frame) else _image_frame(second, first)  # type: ignore[arg-type]
        step = self.step(left.width, left.height)
        state = self._state(left, right).result()
        times = _times(timesteps)
        motion: Motion = self._pool.submit(self._at, state, times).result()[0]

        def flow(field: Tensor) -> npt.NDArray[np.float32]:
            return _enlarged(field.float() * step, step, left).transpose(0, 2, 3, 1)

        return MotionMaps(
            flow(state.flow_01)[0],
            flow(state.flow_10)[0],
            flow(motion.flow_t0),
            flow(motion.flow_t1),
            _enlarged(motion.visibility.float(), step, left)[:, 0],
        )

    # ------------------------------------------------------------------------------------------------ tasks

    def _prepare(self, frame: Frame) -> Future[_Prepared]:
        """The frame on the device; the last few are remembered, as each belongs to two pairs."""
        with self._lock:
            known = self._prepared.get(id(frame))
            if known is not None and known[0] is frame:
                return known[1]
            future = self._pool.submit(self._upload, frame)
            self._prepared[id(frame)] = (frame, future)
            while len(self._prepared) > 3:
                self._prepared.popitem(last=False)
            return future

    def _state(self, left: Frame, right: Frame) -> Future[PairState]:
        if self._closing:
            raise UsageError("expected an open interpolator, found it closed")
        held = self._pair  # read once: another thread may put its own there
        if held is not None and held[0] is left and held[1] is right:
            return held[2]
        if (left.width, left.height, left.layout) != (right.width, right.height, right.layout):
            raise UsageError(
                f"expected two pictures of one size and format, found {left.width}x{left.height} {left.layout.name} "
                f"and {right.width}x{right.height} {right.layout.name}"
            )
        ready = [self._prepare(frame) for frame in (left, right)]
        future = self._pool.submit(self._flow, ready)
        self._pair = (left, right, future)
        return future

    def _submit_into(self, done: Future[Any], work: Callable[[], Any]) -> None:
        """Run ``work`` on the pool and hand its outcome to ``done``."""

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        try:
            if self._closing:
                raise RuntimeError("the interpolator is closed")
            self._pool.submit(run)
        except RuntimeError as error:  # the conversion was given up
            done.set_exception(error)

    @torch.inference_mode()
    def _upload(self, frame: Frame) -> _Prepared:
        planes = [_to_tensor(plane, self.device) for plane in frame.planes]
        scale = self.proxy_scale(frame.width, frame.height)
        proxy = to_proxy(
            [p[None] for p in planes], frame.layout, frame.color, scale.divisor, self._net.stride, scale.magnify
        )
        size = scale.of(frame.height), scale.of(frame.width)
        return _Prepared(SourcePlanes.of(planes, frame.layout), self._guarded(lambda: self._net.look(proxy, size)))

    @torch.inference_mode()
    def _flow(self, ready: Sequence[Future[_Prepared]]) -> PairState:
        first, second = (future.result().seen for future in ready)
        return self._guarded(lambda: self._net.pair(first, second))

    @torch.inference_mode()
    def _at(self, state: PairState, times: Sequence[float]) -> tuple[Motion, Tensor]:
        """The Motion at ``times``, and these as a tensor beside it."""
        t = _on_device(torch.tensor(times, dtype=torch.float32), self.device)
        index = torch.zeros(len(times), dtype=torch.int64, device=self.device)
        return self._net.at(state, index, t), t

    @torch.inference_mode()
    def _make(
        self, state: PairState, ready: Sequence[Future[_Prepared]], step: int, times: Sequence[float]
    ) -> tuple[list[Tensor], Any]:
        """The pictures at ``times``: planes (len(times), h, w) on the host, and the event of their arrival."""
        samples = [future.result().samples for future in ready]

        def make(times: Sequence[float]) -> list[Tensor]:
            motion, t = self._at(state, times)
            return fuse(samples[0], samples[1], motion, t, step=step, index=[0] * len(times), sparing=self._sparing)

        planes = self._halving(make, times)
        if self._on_cpu:
            return planes, None
        if self.device.type != "cuda":
            return [plane.cpu() for plane in planes], None
        host = [torch.empty(p.shape, dtype=p.dtype, pin_memory=True).copy_(p, non_blocking=True) for p in planes]
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # waits without keeping a core busy
        arrived.record(torch.cuda.current_stream(self.device))
        return host, arrived

    def _halving(self, make: Callable[[Sequence[float]], list[Tensor]], times: Sequence[float]) -> list[Tensor]:
        """All timesteps at once; where the device's memory is too small, in halves, and in the end picture by picture
        in bands."""
        try:
            return self._guarded(lambda: make(times))
        except DeviceError:
            if len(times) == 1 and self._sparing:
                raise
        if len(times) == 1:
            self._sparing = True
            return self._halving(make, times)
        half = len(times) // 2
        self._batch = max(1, half)
        parts = [self._halving(make, some) for some in (times[:half], times[half:])]
        return [torch.cat(planes) for planes in zip(*parts, strict=True)]

    def _guarded(self, work: Callable[[], T]) -> T:
        """``work`` with the device's out-of-memory told as what it is."""
        try:
            return work()
        except torch.OutOfMemoryError as error:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            raise DeviceError(
                f"{self.describe()} has too little free memory for this picture size: "
                "use a smaller --proxy (such as 540), or --device cpu"
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


# ----------------------------------------------------------------------------------------------------- choices


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is the first GPU, else Apple's, else the CPU. DeviceError if not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"expected a device such as auto, cpu, cuda, cuda:1 or mps, found '{name}'") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"{count} CUDA device{'s' * (count != 1)}" if count else "no CUDA device this torch can use"
            raise DeviceError(f"expected {name}, found {found}: `slomo doctor` says more, --device cpu always works")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("expected Apple's mps device, found none: --device cpu always works")
    elif device.type != "cpu":
        raise UsageError(f"expected a device such as auto, cpu, cuda, cuda:1 or mps, found '{name}'")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of the network; ``auto`` is the shortest the device computes natively."""
    if name != "auto":
        if name not in _DTYPES:
            raise UsageError(f"expected a number format of auto, {', '.join(_DTYPES)}, found '{name}'")
        return _DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ):
        return torch.bfloat16
    return torch.float32


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


def _single_thread() -> None:
    torch.set_num_threads(1)


def _keep_freed_memory() -> None:
    """Have the C library keep the memory of arrays that are gone, for the next ones.

    By default it returns blocks of some megabytes to the system at once; being given them back, cleared and page by
    page, at every step of the network took a tenth of all time. And what one thread has left, another may use: memory
    would else grow with every pool of threads there has ever been. Only glibc can be told so.
    """
    if sys.platform != "linux":
        return
    # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD and M_ARENA_MAX of malloc.h.
    threshold_of_own_maps, threshold_of_trimming, padding, arenas = -3, -1, -2, -8
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(threshold_of_own_maps, 32 << 20)
    mallopt(threshold_of_trimming, 2**31 - 1)
    mallopt(padding, 64 << 20)
    mallopt(arenas, 1)


# ----------------------------------------------------------------------------------------------- numpy <-> torch


def _to_tensor(plane: Plane, device: torch.device) -> Tensor:
    """One plane on the device: uint8 as it is; uint16 as int32, which every device computes with."""
    if plane.dtype == np.uint8:
        tensor = torch.from_numpy(np.require(plane, requirements=["C", "W"]))
    else:
        tensor = torch.from_numpy(plane.astype(np.int32))
    return _on_device(tensor, device)


def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy there; to a GPU from pinned memory, so that nothing waits for it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _to_numpy(plane: Tensor) -> Plane:
    array = plane.numpy()
    return array if array.dtype == np.uint8 else array.astype(np.uint16)


def _times(timesteps: Iterable[Fraction | float]) -> list[float]:
    """Every timestep as a float; UsageError for one that is no time between two pictures."""
    times = [float(t) for t in timesteps]
    for t in times:
        if not 0 <= t <= 1:
            raise UsageError(f"expected a timestep from 0 to 1, found {t:g}")
    return times


def _image_frame(image: npt.NDArray[Any], other: npt.NDArray[Any]) -> Frame:
    """An RGB image as a frame of planes G, B, R."""
    for given in (image, other):
        if not isinstance(given, np.ndarray):
            raise UsageError(f"expected an image as a numpy array, found a {type(given).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or image.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"expected an image of shape (H, W, 3), uint8 or uint16, found shape {image.shape}, {image.dtype}"
        )
    if image.shape != other.shape or image.dtype != other.dtype:
        raise UsageError(
            f"expected two images of one shape and type, found {image.shape} {image.dtype} "
            f"and {other.shape} {other.dtype}"
        )
    bits = 8 if image.dtype == np.uint8 else 16
    layout = PixelLayout("gbrp" if bits == 8 else "gbrp16le", "rgb", bits)
    planes = tuple(np.ascontiguousarray(image[..., channel]) for channel in (1, 2, 0))
    return Frame(planes, layout, ColorInfo(range=2, matrix=0), Fraction(0))


def _enlarged(field: Tensor, step: int, like: Frame) -> npt.NDArray[np.float32]:
    """(N, C, h, w) on the Motion grid -> (N, C, H, W) at the frame's size, values unchanged."""
    if step > 1:
        field = F.interpolate(field, scale_factor=float(step), mode="bilinear", align_corners=False)
    return field[..., : like.height, : like.width].cpu().numpy()

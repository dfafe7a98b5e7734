"""Where the network runs: devices, the number formats they compute in, and what torch on a CPU needs of the process.

Everything that asks torch for a device asks here: the interpolator, training, measurements and ``slomo doctor``.
"""

from __future__ import annotations

import ctypes
import sys

import torch
import torch.nn.functional as F

from slomo_cli.errors import DeviceError, UsageError
from slomo_cli.text import counted

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Number formats by the names users give them."""


_FULL = (
    "DefaultCPUAllocator: ",
    "MPS backend out of memory",
    "Invalid buffer size: ",
    "error: out of memory",
    "_STATUS_ALLOC_FAILED",
)
"""How torch tells that memory ran out where it has no error of its own for that: the host's, an Apple GPU's, and what
CUDA or HIP and their libraries take for themselves."""


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says by this error that the device's memory, or the host's, is too small."""
    said = str(error)
    # Of oneDNN; of what it cannot do at all it says more.
    unmade = said == "could not create a primitive"
    return unmade or isinstance(error, torch.OutOfMemoryError) or any(words in said for words in _FULL)


def choose_device(name: str, *, training: bool = False) -> torch.device:
    """The device of that name; ``auto``: the first GPU, else Apple's, whichever can, else the CPU. DeviceError if not
    there, UsageError if there is no such kind. ``training``: gradients are computed there too."""
    if name == "auto":
        if torch.cuda.is_available() and not _refusal(torch.device("cuda"), training):
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu" if mps_lacks(training=training) else "mps")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"expected a device such as auto, cpu, cuda, cuda:1 or mps, found '{name}'") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = counted(count, "CUDA device") if count else "no CUDA device this torch can use"
            raise DeviceError(f"expected {name}, found {found}: `slomo doctor` says more, --device cpu always works")
        if reason := _refusal(device, training):
            raise DeviceError(
                f"expected {name}, found one that torch {torch.__version__} cannot compute on ({reason}): "
                "`slomo doctor` says more, --device cpu always works"
            )
        if device.index is None:  # some of torch's own functions want to know which
            return torch.device("cuda", torch.cuda.current_device())
    elif device.type == "mps":
        lacks = mps_lacks(training=training)
        if lacks:
            raise DeviceError(f"expected Apple's mps device, found {lacks}: --device cpu always works")
    elif device.type != "cpu":
        raise UsageError(f"expected a device such as auto, cpu, cuda, cuda:1 or mps, found '{name}'")
    return device


def mps_lacks(*, training: bool = False) -> str:
    """What keeps the network from Apple's GPU, in a few words; empty where nothing does.

    ``training``: what keeps it from being trained there, which fewer versions of torch can.
    """
    if not torch.backends.mps.is_available():
        return "none"
    reason = _refusal(torch.device("mps"), training)
    able = "train" if training else "warp pictures"
    return f"one that torch {torch.__version__} cannot {able} on ({reason})" if reason else ""


def _refusal(device: torch.device, training: bool) -> str:
    """What torch says to the first work it is given on a device; empty where it does it.

    A device that is there need not be one that this torch was built for: it may be too old, or too new. And looking
    pictures up with their borders repeated is what torch could not do on Apple's for years.
    """
    try:
        picture, place = torch.zeros(1, 1, 2, 2, device=device), torch.zeros(1, 1, 1, 2, device=device)
        found = F.grid_sample(picture, place.requires_grad_(training), padding_mode="border", align_corners=False).sum()
        if training:
            found.backward()  # type: ignore[no-untyped-call]
        found.item()
    except RuntimeError as error:  # NotImplementedError is one
        if ran_out_of_memory(error):
            return ""  # said where memory is asked for in earnest
        return (str(error).splitlines() or ["unknown"])[0]
    return ""


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of the network. ``auto``: bfloat16 or float16 where an NVIDIA or AMD GPU or the CPU computes it
    natively and fast, else float32. UsageError for a name that is none."""
    if name != "auto":
        if name not in DTYPES:
            raise UsageError(f"expected a number format of auto, {', '.join(DTYPES)}, found '{name}'")
        return DTYPES[name]
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        # Before 7.0 float16 is there, but slower than float32.
        formats = ((8, torch.bfloat16), (7, torch.float16), (0, torch.float32))
        return next(dtype for least, dtype in formats if capability >= (least, 0))
    if device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ):
        return torch.bfloat16
    return torch.float32


def keep_freed_memory() -> None:
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

"""What works on this machine, what does not, and what to do: the checks behind ``slomo doctor``.

Each check answers for itself and never raises for what it is there to find.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from slomo_cli.errors import SlomoError, printable
from slomo_cli.text import counted, first_line
from slomo_cli.threads import usable_cores
from slomo_cli.values import ComputeSettings

if TYPE_CHECKING:
    from slomo_cli.media.ffmpeg import Tools
    from slomo_cli.media.plan.codecs import EncoderInfo

Status = Literal["ok", "warn", "fail"]

CODECS_SHOWN = ("h264", "hevc", "av1", "vp9", "prores", "ffv1", "gif", "apng", "webp", "png", "jpg", "tiff")
"""Codecs asked after; without h264 nothing is written by default."""


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one question."""

    name: str
    status: Status
    text: str
    """What was found."""
    advice: str = ""
    """What to do; '' when nothing is."""
    details: dict[str, Any] = field(default_factory=dict)
    """The same for programs, JSON types only."""


def examine(ffmpeg: str | None = None) -> Iterator[Check]:
    """Every check, one after another; ``ffmpeg`` is the user's ``--ffmpeg``."""
    yield check_python()
    yield from check_torch()
    yield check_av()
    yield from check_ffmpeg(ffmpeg)
    yield from check_weights()


def check_python() -> Check:
    """The interpreter and the system."""
    system = f"{platform.system()} {platform.machine()}"
    details = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    return Check("python", "ok", f"{platform.python_version()} on {system} ({sys.executable})", details=details)


def check_torch() -> Iterator[Check]:
    """torch, its devices, and what each computes natively."""
    try:
        import torch
    except Exception as error:  # a torch that is there but broken fails in many ways
        yield Check(
            "torch",
            "fail",
            f"cannot be imported: {first_line(error)}",
            "reinstall it: pip install --force-reinstall torch",
        )
        return
    yield Check("torch", "ok", str(torch.__version__), details={"version": str(torch.__version__)})
    yield _cpu(torch)
    yield from _cuda(torch)
    if torch.backends.mps.is_available():
        yield _mps()
    yield _chosen()


def _cpu(torch: Any) -> Check:
    from slomo_cli.devices import choose_dtype

    short = _name(choose_dtype("auto", torch.device("cpu")))
    native = ["float32", *[short] * (short != "float32")]
    usable = usable_cores()
    capability = torch.backends.cpu.get_cpu_capability()
    text = f"{counted(usable, 'core')}, {capability}: {', '.join(native)}"
    return Check("cpu", "ok", text, details={"cores": usable, "capability": capability, "native": native})


def _mps() -> Check:
    from slomo_cli.devices import mps_lacks

    lacks = mps_lacks()
    if lacks:
        return Check("mps", "warn", f"Apple GPU: found {lacks}", "the CPU is used; a newer torch may do better")
    return Check("mps", "ok", "Apple GPU: float32, float16", details={"native": ["float32", "float16"]})


def _chosen() -> Check:
    from slomo_cli.devices import choose_device, choose_dtype

    device = choose_device("auto")
    dtype = _name(choose_dtype("auto", device))
    return Check("auto", "ok", f"--device {device} --dtype {dtype}", details={"device": str(device), "dtype": dtype})


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _cuda(torch: Any) -> Iterator[Check]:
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        driver = os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None
        if driver and built:
            text = f"torch is built for {built}, but finds no GPU it can use"
            yield Check("cuda", "warn", text, "update the driver, or install the torch built for yours")
        elif driver:
            text = "NVIDIA's driver is there, but this torch is built for the CPU alone"
            yield Check(
                "cuda", "warn", text, "install the torch built for CUDA: https://pytorch.org/get-started/locally/"
            )
        else:
            yield Check("cuda", "ok", "no CUDA device; the CPU is used", details={"devices": 0})
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        bf16 = (properties.major, properties.minor) >= (8, 0) or bool(torch.version.hip)
        native = ["float32", "float16", *["bfloat16"] * bf16]
        memory = properties.total_memory / 2**30
        details = {"name": properties.name, "memory_bytes": properties.total_memory, "native": native}
        name = f"cuda:{index}"
        try:
            torch.ones(8, device=name).sum().item()
        except Exception as error:  # the first kernel is where a wrong build shows
            advice = "install the torch built for this GPU and driver, or use --device cpu"
            yield Check(name, "warn", f"{properties.name} does not compute: {first_line(error)}", advice, details)
        else:
            yield Check(name, "ok", f"{properties.name}, {memory:.1f} GiB: {', '.join(native)}", details=details)


def check_av() -> Check:
    """PyAV, which reads the files."""
    try:
        import av

        libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    except Exception as error:
        return Check(
            "pyav", "fail", f"cannot be imported: {first_line(error)}", "reinstall it: pip install --force-reinstall av"
        )
    version = metadata.version("av")
    return Check("pyav", "ok", f"{version} (libavcodec {libraries.get('libavcodec', '?')})", details=libraries)


def check_ffmpeg(explicit: str | None) -> Iterator[Check]:
    """ffmpeg, which writes the files: where it is, what it encodes, how it stretches sound."""
    from slomo_cli.media.ffmpeg import ENVIRONMENT_NAME, tools

    try:
        found = tools(explicit)
        _ = found.encoders, found.filters  # asks it for both
    except SlomoError as error:
        named = "--ffmpeg" if explicit else ENVIRONMENT_NAME if os.environ.get(ENVIRONMENT_NAME) else ""
        advice = f"name another with {named}, or leave it out: then slomo looks for one"
        if not named:
            advice = f"pip install imageio-ffmpeg, or name one with {ENVIRONMENT_NAME}"
        yield Check("ffmpeg", "fail", str(error), advice)
        return
    details: dict[str, Any] = {"version": found.version, "source": found.source, "path": printable(found.path)}
    yield Check("ffmpeg", "ok", f"{found.version} ({found.source}: {printable(found.path)})", details=details)

    yield _encoders(found)
    yield _hardware(found)
    if "rubberband" in found.filters:
        yield Check("sound", "ok", "stretched by rubberband", details={"filter": "rubberband"})
    else:
        advice = "an ffmpeg with rubberband stretches it better"
        yield Check("sound", "warn", "stretched by atempo", advice, {"filter": "atempo"})


def _encoders(tools: Tools) -> Check:
    """Which codecs the CPU encodes, and why not the others."""
    from slomo_cli.media.plan.codecs import CODECS, ENCODERS

    broken = {}
    for codec in CODECS_SHOWN:
        encoders = [ENCODERS[name] for name in CODECS[codec] if name in tools.encoders and not ENCODERS[name].hardware]
        why = _why_none_works(tools, encoders)
        if why is not None:
            broken[codec] = why
    works = [codec for codec in CODECS_SHOWN if codec not in broken]
    state = {"working": works, "missing": broken}
    if not broken:
        return Check("encoders", "ok", ", ".join(works), details=state)
    text = "; ".join([f"{', '.join(works) or 'none'} work", *(f"{codec}: {why}" for codec, why in broken.items())])
    advice = "use another build of ffmpeg (--ffmpeg) for the missing ones"
    return Check("encoders", "fail" if "h264" in broken else "warn", text, advice, state)


def _why_none_works(tools: Tools, encoders: Sequence[EncoderInfo]) -> str | None:
    """None if one of these encoders works, else why the first does not."""
    from slomo_cli.media.ffmpeg import try_encoder

    reasons = []
    for encoder in encoders:
        # GIF is fed through a palette, so the format slomo makes is not the one the encoder takes.
        why = try_encoder(tools, encoder.name, "pal8" if encoder.name == "gif" else encoder.formats[0])
        if why is None:
            return None
        reasons.append(why)
    return reasons[0] if reasons else "not in this ffmpeg"


def _hardware(tools: Tools) -> Check:
    from slomo_cli.media.ffmpeg import try_encoder
    from slomo_cli.media.plan.codecs import ENCODERS

    listed = [encoder for encoder in ENCODERS.values() if encoder.hardware and encoder.name in tools.encoders]
    working = [encoder.name for encoder in listed if try_encoder(tools, encoder.name, encoder.formats[0]) is None]
    text = ", ".join(working) if working else f"none works here ({len(listed)} tried); the CPU encodes"
    details = {"tried": [encoder.name for encoder in listed], "working": working}
    return Check("hardware encoders", "ok", text, details=details)


def check_weights() -> Iterator[Check]:
    """The released networks: each file there and as it was released."""
    from slomo_cli.net import weights

    reinstall = "reinstall slomo-cli, or give --weights a file"
    try:
        released = weights.known()
    except SlomoError as error:
        yield Check("weights", "fail", str(error), reinstall)
        return
    default = ComputeSettings().weights
    if default not in released:
        yield Check(
            "weights", "fail", f"'{default}', the default, is not in this installation", "give --weights a file"
        )
    for name, entry in released.items():
        details = {"file": str(entry.path), "sha256": entry.sha256, "preset": entry.preset, "licence": entry.licence}
        try:
            weights.verify(entry)
        except SlomoError as error:
            yield Check(f"weights {name}", "fail" if name == default else "warn", str(error), reinstall, details)
        else:
            text = f"{printable(entry.summary)} (sha256 {entry.sha256[:12]}...)"
            yield Check(f"weights {name}", "ok", text, details=details)

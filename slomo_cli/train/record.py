"""What a run leaves behind: weights that ``--weights`` reads, and the record of how they were made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slomo_cli import __version__
from slomo_cli.devices import DTYPES
from slomo_cli.errors import UsageError, WeightsError, printable
from slomo_cli.net import weights
from slomo_cli.net.presets import build
from slomo_cli.text import first_line
from slomo_cli.train.checkpoint import join_parts, read_checkpoint, split_file, under
from slomo_cli.train.loop import CHECKPOINT
from slomo_cli.whole import write_whole

RECORD = "record.json"
WEIGHTS = "weights.safetensors"


def machine(device: torch.device, processes: int) -> dict[str, Any]:
    """Where the run ran: processor, GPU, versions, and the commit of the code where it lies in a git checkout."""
    about: dict[str, Any] = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "processes": processes,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "slomo": __version__,
        "commit": _commit(),
    }
    if device.type == "cuda":
        about["gpu"] = torch.cuda.get_device_name(device)
    return about


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Of the checkout this package lies in, with ``+`` where files have changed since; None elsewhere."""
    package = Path(__file__).resolve().parents[2]
    if not (package / ".git").exists():
        return None
    try:
        words = ["git", "-C", str(package), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def describe_files(frames: Mapping[Path, int | None]) -> list[dict[str, Any]]:
    """Name and size of each file that was used, and how many frames it has where it is a video."""
    found = []
    for path, count in frames.items():
        about: dict[str, Any] = {"name": path.name, "bytes": path.stat().st_size}
        found.append(about if count is None else about | {"frames": count})
    return found


def export(
    out: Path,
    target: Path,
    *,
    dtype: str = "float32",
    split_bytes: int | None = None,
) -> dict[str, Any]:
    """Write the averaged weights of the run in ``out`` to ``target``, in the number format of that name; returns the
    record kept inside.

    Raises UsageError where ``out`` holds no run, or one whose network cannot stand alone.
    """
    checkpoint = out / CHECKPOINT
    if not os.path.isdir(out) or not (join_parts(checkpoint) or checkpoint.exists()):
        raise UsageError(f"expected a training run in {printable(out)}, found no {CHECKPOINT}; train one with --data")
    tensors, record = read_checkpoint(checkpoint)
    settings = record.get("settings", {})
    if not settings.get("flow_interpolation", True) or not settings.get("visibility", True):
        raise UsageError(
            "a network trained without flow interpolation or visibility is for comparison only: its weights would "
            "do other things in conversion than in training"
        )
    preset, config = settings.get("preset", "fast"), record.get("config", {})
    try:
        net: nn.Module = build(preset, config, stored=tensors)
        net.load_state_dict(under(tensors, "average."))
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"{printable(checkpoint)} does not fit the network {preset}: {first_line(error)}") from error
    weights.save(target, net, preset, config, record, DTYPES[dtype])
    write_record(out, record)
    if split_bytes:
        split_file(target, split_bytes)
    return record


def write_record(out: Path, record: Mapping[str, Any]) -> None:
    """The record as JSON beside the checkpoint; what of a file's name is no text is escaped, as JSON can."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_whole(out / RECORD, text.encode("utf-8", "backslashreplace"))

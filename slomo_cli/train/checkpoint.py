"""Checkpoints: everything a run needs to go on exactly where it stopped, on any machine or device.

One safetensors file (no pickle): the network, its moving average, Adam's moments and, in the header, the counters and
settings as JSON. Random numbers need no state: every step draws from a generator seeded by (seed, step).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from slomo_cli.errors import SlomoError, WeightsError, printable


def save_checkpoint(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, record: dict[str, Any]
) -> None:
    """Write atomically: the old checkpoint stays until the new one is complete on disk."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    names = [name for name, _ in model.named_parameters()]
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{names[number]}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    part = path.with_name(path.name + ".part")
    try:
        save_file(tensors, part, metadata={"record": json.dumps(record)})
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise SlomoError(
            f"cannot write the checkpoint {printable(path)}: {error}; the one before it is untouched. "
            "Free some space and run the same command again to resume"
        ) from error


def load_checkpoint(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Fill model, average and optimizer in place; returns the record. WeightsError when the file does not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            record: dict[str, Any] = json.loads((file.metadata() or {})["record"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{printable(path)} is not a whole training checkpoint ({error}); remove it to start anew, or restore it"
        ) from error
    try:
        model.load_state_dict(_under(tensors, "model."))
        for name, value in _under(tensors, "average.").items():
            average[name].copy_(value)
        state: dict[int, dict[str, Tensor]] = {}
        for number, (name, parameter) in enumerate(model.named_parameters()):
            moments = _under(tensors, f"adam.{name}.")
            if moments:
                state[number] = {
                    key: value if key == "step" else value.to(parameter.device) for key, value in moments.items()
                }
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (RuntimeError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise WeightsError(
            f"{printable(path)} was written by a network of another shape ({first}); use the preset and sizes it was "
            "started with, or another --out folder"
        ) from error
    return record


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def split_file(path: Path, part_bytes: int) -> list[Path]:
    """Cut a file into ``NAME.part-00``, ``NAME.part-01`` ... of at most ``part_bytes`` beside it."""
    parts = []
    with open(path, "rb") as source:
        while piece := source.read(part_bytes):
            part = path.with_name(f"{path.name}.part-{len(parts):02d}")
            part.write_bytes(piece)
            parts.append(part)
    return parts


def join_parts(path: Path) -> bool:
    """Put ``NAME.part-NN`` files beside ``path`` together again where ``path`` itself is missing; True if done."""
    if path.exists():
        return False
    parts = sorted(path.parent.glob(f"{path.name}.part-[0-9][0-9]"))
    if not parts:
        return False
    whole = path.with_name(path.name + ".part")
    with open(whole, "wb") as out:
        for part in parts:
            out.write(part.read_bytes())
    os.replace(whole, path)
    return True

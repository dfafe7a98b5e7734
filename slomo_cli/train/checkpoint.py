"""Checkpoints: everything a run needs to go on exactly where it stopped, on any machine or device.

One safetensors file (no pickle): the network (``model.*``), its moving average (``average.*``), Adam's moments
(``adam.*``) and, in the header, counters and settings as JSON with a sum over all tensors. Random numbers need no
state: every step draws from a generator seeded by (seed, step).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from slomo_cli.errors import SlomoError, WeightsError, printable
from slomo_cli.net.weights import tensors_of
from slomo_cli.text import first_line
from slomo_cli.whole import whole

_PART = re.compile(r"\.part-(\d+)-of-(\d+)")
_UNREADABLE = (OSError, SafetensorError, KeyError, ValueError, RecursionError)


def save_checkpoint(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, record: dict[str, Any]
) -> None:
    """Write atomically: the old checkpoint stays until the new one is complete on disk."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    names = [name for name, _ in model.named_parameters()]
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{names[number]}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    # A copy of its own for each: safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        with whole(path, f"{path.name}.part") as part:
            save_file(tensors, part, metadata={"record": json.dumps(record), "sum": _sum(tensors)})
    except (OSError, SafetensorError) as error:
        before, then = ("the one before it is untouched", "resume") if path.exists() else ("it is the first", "begin")
        raise SlomoError(
            f"cannot write the checkpoint {printable(path)}: {error}; {before}. "
            f"Free some space and run the same command again to {then}"
        ) from error


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors by name, and the record. WeightsError when the file is no checkpoint, cut short or damaged."""
    try:
        return _read(path)
    except _UNREADABLE as error:
        raise _not_whole(path, error) from error


def read_record(path: Path) -> dict[str, Any]:
    """The record alone, without looking at the tensors. WeightsError when the file is no checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            record = _record(file.metadata() or {})
    except _UNREADABLE as error:
        raise _not_whole(path, error) from error
    return record


def _not_whole(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{printable(path)} is not a whole training checkpoint ({error}); remove it to start anew, or restore it"
    )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    tensors = tensors_of(path)
    record = _record(metadata)
    if "sum" in metadata and metadata["sum"] != _sum(tensors):
        raise ValueError("its sum does not match: parts of two checkpoints, or a damaged disk")
    return tensors, record


def _record(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The record in a header; ValueError where a run cannot go on from what it says."""
    record = json.loads(metadata["record"])
    if not isinstance(record, dict):
        raise ValueError(f"expected a table as its record, found {type(record).__name__}")
    for name in ("settings", "config"):
        if not isinstance(record.get(name, {}), dict):
            raise ValueError(f"expected a table as {name} in its record, found {type(record[name]).__name__}")
    for name in ("step", "seconds", "windows", "skipped"):
        count = record.get(name, 0)
        if not isinstance(count, int | float) or not 0 <= count < math.inf:
            raise ValueError(f"expected a number of 0 or more as {name} in its record, found {count!r}")
    resumed = record.get("resumed", [])
    if not isinstance(resumed, list) or not all(isinstance(call, dict) for call in resumed):
        raise ValueError("expected a list of tables as resumed in its record")
    return record


def load_checkpoint(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Fill model, average and optimizer in place; returns the record. WeightsError when the file does not fit."""
    tensors, record = read_checkpoint(path)
    try:
        model.load_state_dict(under(tensors, "model."))
        for name, value in under(tensors, "average.").items():
            average[name].copy_(value)
        state: dict[int, dict[str, Tensor]] = {}
        for number, (name, parameter) in enumerate(model.named_parameters()):
            moments = under(tensors, f"adam.{name}.")
            if moments:
                # Laid out as the parameter is: the fused optimizer walks both in the order of memory.
                state[number] = {
                    key: value if key == "step" else torch.empty_like(parameter).copy_(value)
                    for key, value in moments.items()
                }
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (RuntimeError, KeyError) as error:
        raise WeightsError(
            f"{printable(path)} was written by a network of another shape ({first_line(error)}); use the preset and "
            "sizes it was started with, or another --out folder"
        ) from error
    return record


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _sum(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def split_file(path: Path, part_bytes: int) -> list[Path]:
    """Cut a file into ``NAME.part-00-of-05`` ... of at most ``part_bytes`` beside it, replacing parts from before.

    The parts put together in the order of their names are the file: all numbers have as many digits.
    """
    count = max(1, -(-path.stat().st_size // part_bytes))
    digits = max(2, len(str(count)))
    parts = [path.with_name(f"{path.name}.part-{k:0{digits}d}-of-{count:0{digits}d}") for k in range(count)]
    try:
        with open(path, "rb") as source:
            for part in parts:
                with whole(part) as temporary:
                    temporary.write_bytes(source.read(part_bytes))
        for old in set(_parts(path)) - set(parts):
            old.unlink()
    except OSError as error:
        raise SlomoError(
            f"cannot write the parts of {printable(path)}: {error.strerror or error}; free some space, run again"
        ) from error
    return parts


def join_parts(path: Path) -> bool:
    """Put the parts of a checkpoint beside ``path`` together again where ``path`` itself is missing; True if done.

    Raises WeightsError when parts are missing, or are not those of one checkpoint: then there is no joined file.
    """
    try:
        if path.exists():
            return False
        parts = _parts(path)
    except OSError as error:
        raise SlomoError(f"cannot look for {printable(path)}: {error.strerror or error}") from error
    if not parts:
        return False
    most = max(count for _, count in parts.values())
    if sorted(parts.values()) != [(number, most) for number in range(most)]:
        raise WeightsError(
            f"expected all of {most} parts of {printable(path)}, found {len(parts)}; "
            "bring the others, or remove these to start anew"
        )
    try:
        with whole(path, f"{path.name}.part") as joined:
            with open(joined, "wb") as out:
                for part in sorted(parts, key=parts.__getitem__):
                    out.write(part.read_bytes())
            _read(joined)
    except OSError as error:
        raise SlomoError(f"cannot join the parts of {printable(path)}: {error.strerror or error}") from error
    except _UNREADABLE as error:
        raise WeightsError(
            f"the parts of {printable(path)} make no whole training checkpoint ({error}); bring those of one "
            "checkpoint, or remove them to start anew"
        ) from error
    return True


def _parts(path: Path) -> dict[Path, tuple[int, int]]:
    """Every part beside ``path``: which, of how many."""
    found = {p: _PART.fullmatch(p.name.removeprefix(path.name)) for p in path.parent.iterdir()}
    return {p: (int(match[1]), int(match[2])) for p, match in found.items() if match}

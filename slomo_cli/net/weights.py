"""Weights files: found by name or path, verified, read into their network; and written.

A weights file is safetensors, whose header also says, as JSON, which network it belongs to (``preset``, ``config``) and
how it was made (``record``), so that a path needs nothing beside it. Nothing is ever unpickled here. Released files lie
beside ``registry.json``, which names the sha256 of each; it is checked at every load.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save_file
from torch import Tensor, nn

from slomo_cli.errors import WeightsError, printable
from slomo_cli.net.presets import Network, build
from slomo_cli.text import first_line, some
from slomo_cli.whole import whole

_KEY = "slomo"  # of the header's metadata: JSON with preset, config, record
_LONGEST_HEADER = 16 << 20  # bytes; ours are a few thousand
_LONGEST_CONFIG = 1 << 12  # characters; ours are a few hundred
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True)
class Released:
    """One entry of the registry."""

    name: str
    path: Path
    sha256: str
    preset: str
    config: Mapping[str, Any]
    licence: str
    summary: str
    """What it was trained on and how well it does, in a line."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained: data, steps, seeds, figures."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """A network with its weights in, ready to run."""

    model: Network
    """In evaluation mode, needing no gradients."""
    name: str
    """The released name, or the file's name without its suffix."""
    preset: str
    config: Mapping[str, Any]
    sha256: str
    record: Mapping[str, Any]
    """How the file says it was made; empty if it does not."""
    path: Path


# ---------------------------------------------------------------------------------------------------- released


def folder() -> Path:
    """Where the released files lie: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_weights"
    return installed if (installed / "registry.json").is_file() else package.parent / "weights"


def known() -> dict[str, Released]:
    """The released weights by name. Raises WeightsError when the registry is missing or damaged."""
    path = folder() / "registry.json"
    try:
        entries = json.loads(path.read_text("utf-8"))["weights"]
        return {
            name: Released(
                name=name,
                path=path.parent / entry["file"],
                sha256=entry["sha256"],
                preset=entry["preset"],
                config=entry.get("config", {}),
                licence=entry["licence"],
                summary=entry["summary"],
                record=entry.get("record", {}),
            )
            for name, entry in entries.items()
        }
    except OSError as error:
        raise WeightsError(
            f"expected the list of released weights at {printable(path)}, found none ({error.strerror}): "
            "reinstall slomo-cli, or give --weights a file"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"the list of released weights at {printable(path)} is damaged ({error!r}): reinstall slomo-cli"
        ) from error


def verify(released: Released) -> None:
    """Check a released file against its sha256; WeightsError if it is missing or another."""
    _check_sum(released, sum_of(released.path))


# ------------------------------------------------------------------------------------------------------- load


def load(name_or_path: str | os.PathLike[str], device: torch.device | str = "cpu") -> LoadedWeights:
    """A network ready to run, in float32, from a released name or the path of a weights file.

    A released name wins over a file of that name in the current folder; write ``./name`` for the file. Everything is
    checked before use: the sum of a released file, the network's layout, and that every number is finite. Raises
    WeightsError.
    """
    released = _released(name_or_path)
    path = released.path if released else Path(name_or_path)
    header = _read_header(path)
    sha256 = sum_of(path)
    if released:
        _check_sum(released, sha256)
    preset, config, record = _network_of(path, header)
    tensors = _read_tensors(path)
    try:
        model = build(preset, config, stored=tensors)
    except ValueError as error:
        raise WeightsError(
            f"{printable(path)} asks for a network this slomo cannot build: {first_line(error)}"
        ) from error
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    model = model.to(device=device, dtype=torch.float32).eval().requires_grad_(False)
    name = released.name if released else path.stem
    return LoadedWeights(model, name, preset, config, sha256, record, path)


def _released(name_or_path: str | os.PathLike[str]) -> Released | None:
    """The registry's entry of that name; None for a path."""
    text = os.fspath(name_or_path)
    looks_like_a_path = text.endswith(".safetensors") or os.path.dirname(text) or os.path.lexists(text)
    try:
        released = known()
    except WeightsError:
        if looks_like_a_path:
            return None  # a file needs no registry
        raise
    if text in released:
        return released[text]
    if looks_like_a_path:
        return None
    names = ", ".join(sorted(released)) or "none in this installation"
    raise WeightsError(f"there are no weights named {printable(text)!r}; known: {names}; a file is given by its path")


def _read_header(path: Path) -> dict[str, Any]:
    """The JSON at the head of a safetensors file: a length of 8 bytes, then names, types and places of tensors."""
    shown = printable(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = os.fstat(file.fileno()).st_size
            if start.startswith(_PICKLES):
                raise WeightsError(
                    f"{shown} is a PyTorch checkpoint, which can hold programs, not a safetensors file: "
                    f"convert it with 'slomo weights import {shown}'"
                )
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
                raise WeightsError(f"expected a safetensors file, found {size} bytes of something else in {shown}")
            header = json.loads(file.read(length))
    except OSError as error:
        raise WeightsError(f"cannot read the weights {shown}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, braces beyond all sense
        raise WeightsError(f"expected a safetensors file, found a broken header in {shown}: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"expected a safetensors file, found a broken header in {shown}")
    return header


def _network_of(path: Path, header: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Preset, config and record as the header says."""
    metadata = header.get("__metadata__")
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if isinstance(metadata, dict) and "record" in metadata:
        run = printable(path.parent)
        raise WeightsError(
            f"{printable(path)} is a checkpoint of training: 'slomo train --out {run} --export FILE.safetensors' makes "
            "weights of it"
        )
    if not isinstance(text, str):
        raise WeightsError(f"{printable(path)} does not say which network it belongs to: it was not written by slomo")
    try:
        said = json.loads(text)
        preset, config, record = said["preset"], said["config"], said["record"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"the header of {printable(path)} is damaged ({error!r}): get it again") from error
    if not (isinstance(preset, str) and isinstance(config, dict) and isinstance(record, dict)):
        raise WeightsError(f"the header of {printable(path)} is damaged: preset, config or record is of another kind")
    if len(json.dumps(config)) > _LONGEST_CONFIG:
        raise WeightsError(f"{printable(path)} asks for a network this slomo cannot build: its sizes fill pages")
    return preset, config, record


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises what the system or ``safetensors`` does.

    Read as bytes: of a Ctrl-C that comes meanwhile, its own ways of reading make a ValueError, as of a damaged file.
    """
    try:
        return dict(parse(path.read_bytes()))
    except BaseException as error:
        if str(error) != "PyObject pointer is null":
            raise
        raise MemoryError from error  # what safetensors, written in Rust, panics with then: no Exception at all


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return tensors_of(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{printable(path)} is truncated or damaged ({error}): get it again") from error


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Names, shapes, types, and no NaN or infinity."""
    shown = printable(path)
    for what, names in (("lacks", expected.keys() - tensors.keys()), ("has besides", tensors.keys() - expected.keys())):
        if names:
            raise WeightsError(f"{shown} does not fit its network: it {what} {some(sorted(names))}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{shown} does not fit its network: expected {name} of shape {list(expected[name].shape)}, "
                f"found {list(tensor.shape)}"
            )
        if not tensor.is_floating_point():
            raise WeightsError(f"{shown}: expected floating-point numbers in {name}, found {tensor.dtype}")
        if not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{shown} is unusable: {name} holds NaN or infinity")


def _check_sum(released: Released, sha256: str) -> None:
    if sha256 != released.sha256:
        raise WeightsError(
            f"the released weights {released.name!r} are damaged: expected sha256 {released.sha256[:12]}..., "
            f"found {sha256[:12]}... in {printable(released.path)}: reinstall slomo-cli"
        )


def sum_of(path: Path) -> str:
    """The sha256 of a file. WeightsError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read the weights {printable(path)}: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------------------- save


def save(
    path: str | os.PathLike[str],
    model: nn.Module,
    preset: str,
    config: Mapping[str, Any],
    record: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> str:
    """Write a network's weights so that :func:`load` reads them; returns the file's sha256.

    ``config``: the keywords that ``build(preset, config)`` needs to make the same network; ``record``: how it was made;
    both JSON. ``dtype``: store in this type instead of the model's own. The file appears complete or not at all.
    Raises WeightsError when it cannot be written, or when the model is not the network that preset and config make.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    _check_tensors(path, tensors, build(preset, config).state_dict())
    # One entry only: safetensors writes several in an order that changes, and with it the file's sum.
    metadata = {_KEY: json.dumps({"preset": preset, "config": dict(config), "record": dict(record)})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            save_file(tensors, temporary, metadata)
            return sum_of(temporary)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {printable(path)}: {getattr(error, 'strerror', None) or error}") from error

"""Published checkpoints made usable: read without running anything in them, written as safetensors.

Understood: the format of github.com/avinashpaliwal/Super-SloMo (``SuperSloMo.ckpt``): a dictionary with
``state_dictFC`` (flow net, 6 -> 4) and ``state_dictAT`` (interpolation net, 20 -> 5), both U-Nets of layers
``conv1 conv2 down1..down5 up1..up5 conv3``. Differences from the paper's network live in the preset ``avinash20``.
"""

from __future__ import annotations

import datetime
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slomo_cli.errors import WeightsError, printable
from slomo_cli.net import weights
from slomo_cli.net.presets import build
from slomo_cli.text import first_line, some

PRESET = "avinash20"

_LARGEST = 512 * 1024 * 3 * 3  # numbers of the largest layer that was published

# Their inputs: I0, I1, F_01, F_10, F_t1, F_t0, g(I1), g(I0); ours: I0, I1, F_t0, F_t1, g(I0), g(I1), F_01, F_10.
_INPUT_ORDER = [0, 1, 2, 3, 4, 5, 12, 13, 10, 11, 17, 18, 19, 14, 15, 16, 6, 7, 8, 9]

# Layer names, theirs to ours. Each U-Net level of theirs has conv1 and conv2, ours first and second.
_LAYERS = {"conv1": "encoder.0.first", "conv2": "encoder.0.second", "conv3": "head"}
for _k in range(1, 6):
    _LAYERS |= {f"down{_k}.conv1": f"encoder.{_k}.first", f"down{_k}.conv2": f"encoder.{_k}.second"}
    _LAYERS |= {f"up{_k}.conv1": f"decoder.{_k - 1}.first", f"up{_k}.conv2": f"decoder.{_k - 1}.second"}


def import_checkpoint(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str:
    """Read a published checkpoint and write it as a weights file for this package; returns the new file's sha256.

    Nothing in the checkpoint is executed: only tensors, plain values and the date it carries are read. Raises
    WeightsError when it is not such a checkpoint, is damaged, or the target cannot be written.
    """
    source = Path(source)
    checkpoint = _read(source)
    tensors = {
        **_translated(checkpoint, "state_dictFC", "flow", source),
        **_translated(checkpoint, "state_dictAT", "interpolation", source),
    }
    config = _config(tensors)
    try:
        model = build(PRESET, config, stored=tensors)
    except ValueError as error:
        raise WeightsError(f"{printable(source)} is of another layout: {first_line(error)}") from error
    expected = model.state_dict()
    tensors["mean"] = expected["mean"]
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            raise WeightsError(
                f"{printable(source)} is of another layout: expected {list(tensor.shape)} for {name}, "
                f"found {list(tensors[name].shape)}"
            )
    first = "interpolation.encoder.0.first.weight"
    tensors[first] = tensors[first][:, _INPUT_ORDER]
    model.load_state_dict(tensors)
    record: dict[str, Any] = {
        "imported_from": printable(source.name),
        "source_sha256": weights.sum_of(source),
        "note": "published checkpoint, trained by others; its licence is its publisher's",
    }
    if isinstance(checkpoint.get("epoch"), int):
        record["epoch"] = checkpoint["epoch"]
    return weights.save(target, model, PRESET, config, record)


def _config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Widths and kernels where they are not the published ones: networks retrained in other sizes keep the layout."""
    convs = [tensors[f"flow.encoder.{k}.first.weight"] for k in range(6)]
    if any(conv.dim() != 4 for conv in convs):
        return {}
    widths, kernels = [conv.shape[0] for conv in convs], [conv.shape[-1] for conv in convs]
    usual = (widths, kernels) == ([32, 64, 128, 256, 512, 512], [7, 5, 3, 3, 3, 3])
    return {} if usual else {"widths": widths, "kernels": kernels}


def _read(path: Path) -> Mapping[str, Any]:
    shown = printable(path)
    try:
        # The files carry the date of training; a date can do no harm. Anything else that is no tensor is refused.
        with torch.serialization.safe_globals([datetime.datetime]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"cannot read {shown}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{shown} was not opened: it holds more than tensors and plain values, or is damaged "
            "(expected a Super-SloMo checkpoint)"
        ) from error
    except Exception as error:  # torch reports damage in many ways: RuntimeError, EOFError, KeyError, struct.error ...
        raise WeightsError(f"{shown} is truncated or is no PyTorch checkpoint: get it again") from error
    if not isinstance(found, Mapping) or not {"state_dictFC", "state_dictAT"} <= found.keys():
        keys = list(found) if isinstance(found, Mapping) else [type(found).__name__]
        raise WeightsError(
            "expected a Super-SloMo checkpoint with state_dictFC and state_dictAT, "
            f"found {some(keys) or 'nothing'} in {shown}"
        )
    return found


def _translated(checkpoint: Mapping[str, Any], key: str, net: str, source: Path) -> dict[str, Tensor]:
    """One state dictionary with our names."""
    theirs = checkpoint[key]
    if not isinstance(theirs, Mapping):
        raise WeightsError(
            f"expected a table of tensors in {key} of {printable(source)}, found {type(theirs).__name__}"
        )
    # Training on several GPUs leaves a prefix.
    theirs = {str(name).removeprefix("module."): value for name, value in theirs.items()}
    ours = {}
    for layer, name in _LAYERS.items():
        for part in ("weight", "bias"):
            value = theirs.pop(f"{layer}.{part}", None)
            if not isinstance(value, Tensor):
                raise WeightsError(f"{printable(source)} lacks {layer}.{part} in {key}")
            wrong = _why_not(value)
            if wrong:
                raise WeightsError(
                    f"expected floating-point numbers for {layer}.{part} in {key} of {printable(source)}, found {wrong}"
                )
            ours[f"{net}.{name}.{part}"] = value.float()
    if theirs:
        raise WeightsError(f"{printable(source)} is of another layout: {key} also holds {some(list(theirs))}")
    return ours


def _why_not(value: Tensor) -> str:
    """What keeps a tensor from being weights; '' for nothing."""
    if value.is_meta:
        return "a shape without numbers"
    if not value.is_floating_point() or value.layout is not torch.strided:
        return f"{value.dtype}, {value.layout}".replace("torch.", "")
    # A shape may let one number stand for any many.
    if value.numel() > max(_LARGEST, value.untyped_storage().nbytes() // value.element_size()):
        return "a shape of more numbers than are stored"
    return "" if torch.isfinite(value).all() else "NaN or infinity"

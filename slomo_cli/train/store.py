"""All pictures of a kind in one place, and squares cut out of them by the hundred.

Planes of any size lie one after another as bytes: in the memory of the training device where they fit, so that a batch
is a few gathers, else where they are (mapped files), copied through pinned memory. Both ways give the same squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.arrays import on_device
from slomo_cli.errors import DeviceError

Place = Literal["auto", "device", "host"]
Ints = npt.NDArray[np.int64]

DEVICE_SHARE = 0.5
"""Of the device's free memory, what pictures may take when the place is chosen automatically."""
_GATHER = 1 << 26
"""Samples gathered at once at most: their positions take eight bytes each."""
_CHUNK = 1 << 28


def put(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A small array on the device, without waiting for what a GPU of NVIDIA or AMD is doing."""
    return on_device(torch.from_numpy(np.ascontiguousarray(array)), device)


class Squares(NamedTuple):
    """Which squares to cut: K of them."""

    file: Ints
    """(K,) which array of the store."""
    offset: Ints
    """(K,) byte of the square's top left sample in it."""
    stride: Ints
    """(K,) bytes from row to row."""
    side: Ints
    """(K,) samples along each side."""


class Store:
    """Arrays of bytes, and squares read from them."""

    def __init__(self, arrays: Sequence[npt.NDArray[np.uint8]], device: torch.device, place: Place = "auto") -> None:
        """``arrays``: one-dimensional, possibly mapped files. Raises DeviceError when ``place`` is ``device`` and they
        do not fit there."""
        self.device = device
        self.bytes = sum(array.size for array in arrays)
        self._arrays = list(arrays)
        # On a CPU a call per size is quickest; elsewhere few calls are, whatever the sizes.
        self._together = device.type != "cpu"
        self._starts: Ints = np.cumsum([0, *(array.size for array in arrays)])[:-1].astype(np.int64)
        self._pool = self._load() if _fits(self.bytes, device, place) else None

    @property
    def on_device(self) -> bool:
        """The pictures lie in the device's own memory."""
        return self._pool is not None

    def _load(self) -> Tensor:
        try:
            pool = torch.empty(self.bytes, dtype=torch.uint8, device=self.device)
            for start, array in zip(self._starts, self._arrays, strict=True):
                for begin in range(0, array.size, _CHUNK):
                    piece = np.array(array[begin : begin + _CHUNK])
                    pool[start + begin : start + begin + piece.size] = torch.from_numpy(piece).to(self.device)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self.bytes / 2**30:.1f} GiB of decoded frames do not fit on {self.device}; use --frames host"
            ) from error
        return pool

    def squares(self, wanted: Squares, out: int) -> Tensor:
        """(K, out, out) float32 in 0..255: the squares, resized to ``out`` where their side is another.

        Resizing is bilinear, with a wider kernel where it shrinks (triangle filter), so that nothing aliases.
        """
        result = torch.empty(len(wanted.side), out, out, device=self.device)
        for group in self._groups(wanted.side, out):
            part = Squares(*(values[group] for values in wanted))
            extent = int(part.side.max())
            patches = self._patches(part, extent).float()
            if extent != out or int(part.side.min()) != out:
                patches = self._resized(patches, part.side, out)
            if len(group) == len(wanted.side):
                return patches
            result[put(group, self.device)] = patches
        return result

    def _groups(self, side: Ints, out: int) -> list[Ints]:
        """Indices of squares to be read together."""
        if not self._together:
            return [np.flatnonzero(side == one) for one in np.unique(side)]
        return [group for group in (np.flatnonzero(side == out), np.flatnonzero(side != out)) if len(group)]

    def _patches(self, wanted: Squares, extent: int) -> Tensor:
        """(K, extent, extent) uint8 on the device; beyond a square's own side its last row and column are repeated
        or nothing is written: those samples count for nothing."""
        if self._pool is not None:
            step = max(1, _GATHER // extent**2)
            pieces = [
                self._gathered(Squares(*(values[k : k + step] for values in wanted)), extent)
                for k in range(0, len(wanted.side), step)
            ]
            return torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        pinned = self.device.type == "cuda"
        patches = torch.empty(len(wanted.side), extent, extent, dtype=torch.uint8, pin_memory=pinned)
        view = patches.numpy()
        for k, (file, offset, stride, side) in enumerate(zip(*wanted, strict=True)):
            end = offset + stride * (side - 1) + side
            rows = np.lib.stride_tricks.as_strided(self._arrays[file][offset:end], (side, side), (stride, 1))
            view[k, :side, :side] = rows
        return patches.to(self.device, non_blocking=pinned)

    def _gathered(self, wanted: Squares, extent: int) -> Tensor:
        assert self._pool is not None
        numbers = np.stack((self._starts[wanted.file] + wanted.offset, wanted.stride, wanted.side - 1))
        start, stride, last = put(numbers, self.device)[:, :, None]
        along = torch.arange(extent, device=self.device)[None].minimum(last)
        return self._pool[(start + along * stride)[:, :, None] + along[:, None]]

    def _resized(self, patches: Tensor, side: Ints, out: int) -> Tensor:
        if not self._together:
            return F.interpolate(
                patches[:, None], size=(out, out), mode="bilinear", antialias=True, align_corners=False
            )[:, 0]
        weights = resize_weights(put(side, self.device), patches.shape[-1], out)
        return weights @ patches @ weights.transpose(1, 2)


def resize_weights(side: Tensor, extent: int, out: int) -> Tensor:
    """(K, out, extent) float32: what each of the first ``side[k]`` samples gives to each of ``out`` new ones.

    A triangle one sample wide to each side, or one new sample where those are wider; sums are 1. Equal to torch's
    antialiased bilinear interpolation.
    """
    scale = (side.float() / out)[:, None, None]
    support = scale.clamp_min(1.0)
    place = torch.arange(extent, device=side.device)
    centre = (torch.arange(out, device=side.device)[:, None] + 0.5) * scale
    weights = (1 - (place + 0.5 - centre).abs() / support).clamp_min(0.0) * (place < side[:, None, None])
    return weights / weights.sum(-1, keepdim=True)


def _fits(size: int, device: torch.device, place: Place) -> bool:
    if place != "auto":
        # On a CPU the mapped files are read in place; a copy on the "device" is for tests.
        return place == "device"
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size < free * DEVICE_SHARE

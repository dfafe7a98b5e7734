"""Pictures as numpy knows them, as torch computes with them, and back."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.errors import UsageError
from slomo_cli.values import ColorInfo, Frame, PixelLayout

if TYPE_CHECKING:
    from slomo_cli.values import Plane


def to_tensor(plane: Plane, device: torch.device) -> Tensor:
    """One plane on the device: uint8 as it is; uint16 as int32, which every device computes with."""
    if plane.dtype == np.uint8:
        tensor = torch.from_numpy(np.require(plane, requirements=["C", "W"]))
    else:
        tensor = torch.from_numpy(plane.astype(np.int32))
    return on_device(tensor, device)


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """It there; to CUDA by way of pinned memory, so that nothing waits for the copy.

    Elsewhere the copy is waited for: MPS reads the host's memory whether or not it is somebody else's by then.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_numpy(plane: Tensor) -> Plane:
    array = plane.numpy()
    return array if array.dtype == np.uint8 else array.astype(np.uint16)


def image_frame(image: npt.NDArray[Any], other: npt.NDArray[Any]) -> Frame:
    """An RGB image as a frame of planes G, B, R. UsageError for what is no image, and for two that differ in kind."""
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


def enlarged(field: Tensor, step: int, like: Frame) -> npt.NDArray[np.float32]:
    """(N, C, h, w) on the Motion grid -> (N, C, H, W) at the frame's size, values unchanged."""
    if step > 1:
        field = F.interpolate(field, scale_factor=float(step), mode="bilinear", align_corners=False)
    return field[..., : like.height, : like.width].cpu().numpy()

"""Features for the perceptual loss: VGG16 (Simonyan & Zisserman 2015) up to conv4_3, before its activation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from slomo_cli.errors import SlomoError, UsageError, WeightsError, printable
from slomo_cli.net.weights import tensors_of
from slomo_cli.text import first_line

Input = Literal["auto", "caffe", "torchvision"]

_PLAN = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCALE = 255 * 0.226
"""By how much inputs of 0..255 are larger than normalised ones, and with them every feature, but for the biases."""


class PerceptualFeatures(nn.Module):
    """VGG16 up to conv4_3; frozen.

    ``tensors`` hold torchvision's names (``features.0.weight`` ...). Caffe-trained weights want BGR 0..255 less the
    mean, torchvision's want RGB normalised: ``caffe`` says which. Features come out on the scale of 0..255 inputs for
    both, as the paper's weights are meant.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, tensors: dict[str, Tensor], caffe: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for item in _PLAN:
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(inputs, item, 3, 1, 1), nn.ReLU(inplace=True)]
                inputs = item
        self.features = nn.Sequential(*layers[:-1])
        self.load_state_dict({name: tensors[name].float() for name in self.state_dict()})
        self.caffe = caffe
        self.register_buffer("mean", torch.tensor(_CAFFE_MEAN if caffe else _MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.autocast = False
        """Compute in bfloat16."""

    def forward(self, rgb: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, 512, H / 8, W / 8)."""
        x = rgb.flip(1) * 255.0 - self.mean if self.caffe else (rgb - self.mean) / self.std
        with torch.autocast(rgb.device.type, torch.bfloat16, enabled=self.autocast):
            features: Tensor = self.features(x.contiguous(memory_format=torch.channels_last)).float()
        return features if self.caffe else features * _SCALE

    def distance(self, result: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of the features of two pictures."""
        with torch.no_grad():
            wanted = self(target)
        return F.mse_loss(self(result), wanted)


def load_features(file: Path | None, convention: Input = "auto") -> PerceptualFeatures:
    """Features from a safetensors file with torchvision's names, or from torchvision's own VGG16.

    ``convention``: what inputs the weights were trained with; ``auto`` reads the file's ``input`` note (``BGR ...``
    means Caffe's) and takes torchvision's where it says nothing. Raises UsageError when there are no weights to be had
    and WeightsError when the file does not hold them.
    """
    if file is None:
        return PerceptualFeatures(_from_torchvision(), caffe=False)
    try:
        with safe_open(file, framework="pt") as opened:
            note = (opened.metadata() or {}).get("input", "")
        tensors = tensors_of(file)
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsError(f"--vgg: cannot read {printable(file)} as safetensors: {error}") from error
    caffe = note.upper().startswith("BGR") if convention == "auto" else convention == "caffe"
    try:
        return PerceptualFeatures(tensors, caffe)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(
            f"--vgg: expected VGG16 up to conv4_3 with torchvision's names (features.0.weight ... features.21.bias) in "
            f"{printable(file)}, found otherwise: {first_line(error)}"
        ) from error


def _from_torchvision() -> dict[str, Tensor]:
    switch_off = "or switch the perceptual loss off with --loss perceptual=0"
    if importlib.util.find_spec("torchvision") is None:
        raise UsageError(
            "the perceptual loss needs VGG16: install torchvision, give its weights with --vgg FILE.safetensors, "
            f"{switch_off}"
        )
    models: Any = importlib.import_module("torchvision.models")
    try:
        tensors: dict[str, Tensor] = models.vgg16(weights=models.VGG16_Weights.IMAGENET1K_V1).state_dict()
    except (OSError, RuntimeError) as error:  # no network, a broken download
        raise SlomoError(
            f"torchvision cannot get the weights of VGG16 ({error}); give them with --vgg FILE.safetensors, "
            f"{switch_off}"
        ) from error
    return tensors

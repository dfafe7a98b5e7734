"""A network small enough for tests, with weights that move pixels: an untrained one of zero heads would only blend."""

from __future__ import annotations

from pathlib import Path

import torch

from slomo_cli.net.presets import build
from slomo_cli.net.weights import save

CONFIG = {"encoder": (4, 6, 8, 8), "hidden": 8, "context": 6, "refine": (8, 8), "match": 4, "radius": 1}


def save_tiny(path: Path, seed: int = 7) -> Path:
    """Write a `fast` network of a few thousand random weights, whose flows are some pixels long."""
    torch.manual_seed(seed)
    net = build("fast", CONFIG)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "head" in name:
                parameter.normal_(0.0, 0.15)
    save(path, net, "fast", CONFIG, {"note": "random weights of a test"})
    return path

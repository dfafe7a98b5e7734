"""A network small enough for tests whose answer is known: one flow everywhere, and equal shares of both pictures."""

from __future__ import annotations

from pathlib import Path

import torch

from slomo_cli.net.presets import build
from slomo_cli.net.weights import save

CONFIG = {"encoder": (4, 6, 8, 8), "hidden": 8, "context": 6, "refine": (8, 8), "match": 4, "radius": 1}


def save_plain(path: Path, motion: tuple[float, float] = (0.0, 0.0)) -> str:
    """Write it and give its name. ``motion``: both flows, (x, y) in pixels; without motion it only mixes.

    All heads of an untrained network answer zero; the finest level works at half the size of a small picture.
    """
    torch.manual_seed(3)
    net = build("fast", CONFIG)
    with torch.no_grad():
        finest = net.get_submodule("ladder.0.head")
        finest.get_parameter("bias")[:2] = torch.tensor(motion) / 2
    save(path, net, "fast", CONFIG, {"note": "no training, for tests"})
    return str(path)

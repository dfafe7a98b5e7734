"""The networks by name: which class, and how it is sized."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from slomo_cli.net.fast import Fast
from slomo_cli.net.superslomo import SuperSloMo
from slomo_cli.text import first_line

Network = SuperSloMo | Fast
"""Every network: an ``nn.Module`` that follows :class:`~slomo_cli.net.motion.InterpolationNet`."""

_AVINASH20: dict[str, Any] = {
    "skip": "between",
    "head_kernel": 3,
    "head_slope": 0.1,
    "cross_link": False,
    "show_flows": True,
    "shrunken_grid": True,
    "mean": (0.429, 0.431, 0.397),
    "detail": 0.0,
}

PRESETS: dict[str, tuple[Callable[..., Network], dict[str, Any]]] = {
    # Small enough for a CPU.
    "fast": (Fast, {}),
    # The paper's network, 38.85 million parameters.
    "superslomo": (SuperSloMo, {}),
    # The layout of the checkpoints published with github.com/avinashpaliwal/Super-SloMo.
    "avinash20": (SuperSloMo, _AVINASH20),
}


def build(preset: str, config: Mapping[str, Any] | None = None) -> Network:
    """A new, untrained network: the preset's, with any keyword of its class changed by ``config``.

    Raises ``ValueError`` for a preset or a keyword that does not exist, or a value that makes no network.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no network {preset!r}; there are {', '.join(PRESETS)}")
    kind, defaults = PRESETS[preset]
    settings = {**defaults, **(config or {})}
    unknown = settings.keys() - inspect.signature(kind).parameters.keys()
    if unknown:
        raise ValueError(f"network {preset!r} has no setting {', '.join(sorted(unknown))}")
    try:
        return kind(**settings)
    except (TypeError, IndexError, RuntimeError) as error:
        raise ValueError(f"network {preset!r} cannot be built: {first_line(error)} (with {settings})") from error


def layout(preset: str, config: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Names and shapes of that network's tensors, without numbers: a file may name a network beyond all memory.

    Raises what ``build`` does.
    """
    with torch.device("meta"):
        return build(preset, config).state_dict()

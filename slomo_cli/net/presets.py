"""The networks by name: which class, and how it is sized."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from slomo_cli.devices import ran_out_of_memory
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


_SPARE = 10_000_000
"""Numbers that a network may have beyond those of its file: which ones it lacks is told in better words."""


def build(
    preset: str, config: Mapping[str, Any] | None = None, *, stored: Mapping[str, Tensor] | None = None
) -> Network:
    """A new, untrained network in float32, on the CPU: the preset's, with any keyword of its class as in ``config``.

    ``stored``: what lies in the file that ``config`` comes from, which may name a network beyond all memory.
    Raises ``ValueError`` for a preset or a keyword that does not exist, or a value that makes no network, or one of
    far more numbers; ``RuntimeError`` where memory runs out for one that fits ``stored``.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no network {preset!r}; there are {', '.join(PRESETS)}")
    kind, defaults = PRESETS[preset]
    settings = {**defaults, **(config or {})}
    unknown = settings.keys() - inspect.signature(kind).parameters.keys()
    if unknown:
        raise ValueError(f"network {preset!r} has no setting {', '.join(sorted(unknown))}")
    most = inf if stored is None else sum(tensor.numel() for tensor in stored.values()) + _SPARE
    try:
        with torch.device("cpu"), _Counting(most):  # whatever the defaults of a program around slomo are
            return kind(**settings).float()
    except (TypeError, IndexError, RuntimeError) as error:
        if stored is not None and isinstance(error, RuntimeError) and ran_out_of_memory(error):
            raise  # the network is no larger than its file
        raise ValueError(f"network {preset!r} cannot be built: {first_line(error)} (with {settings})") from error


class _Counting(TorchFunctionMode):
    """Raises ValueError where a network's layers ask for more numbers than ``most`` in all, before these are filled."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self._left = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.empty:
            self._left -= made.numel()
            if self._left < 0:
                raise ValueError("it has far more numbers than the file")
        return made

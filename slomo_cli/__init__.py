"""slomo: slow motion and frame rate conversion by Super SloMo (Jiang et al., CVPR 2018).

The public Python API, loaded lazily so that ``import slomo_cli`` costs nothing:

    convert(source, output, *, factor=..., rate=..., ...) -> Summary
    probe(path) -> VideoInfo
    Interpolator(...)   two pictures and any timesteps -> the pictures between
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slomo_cli.interpolate import Interpolator
    from slomo_cli.media.probe import probe
    from slomo_cli.pipeline import convert

__version__ = "0.1.0"
__all__ = ["Interpolator", "__version__", "convert", "probe"]

_HOME = {
    "Interpolator": "slomo_cli.interpolate",
    "convert": "slomo_cli.pipeline",
    "probe": "slomo_cli.media.probe",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'slomo_cli' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)

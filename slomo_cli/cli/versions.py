"""The lines of ``slomo --version``, read without importing torch."""

from __future__ import annotations

import platform
from importlib import metadata

from slomo_cli import __version__
from slomo_cli.errors import SlomoError


def version_lines() -> list[str]:
    """One line each: slomo and Python, torch, PyAV, ffmpeg with the place it was found."""
    return [
        f"slomo {__version__} (Python {platform.python_version()})",
        f"torch {_installed('torch')}",
        f"av {_installed('av')}",
        f"ffmpeg {_ffmpeg()}",
    ]


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _ffmpeg() -> str:
    from slomo_cli.media.ffmpeg import tools

    try:
        found = tools()
    except SlomoError as error:
        return f"not found: {error}"
    return f"{found.version} ({found.source}: {found.path})"

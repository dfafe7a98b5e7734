"""What must be written to temporary files before ffmpeg can take tracks along; ``Carry.prepare`` runs each once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from slomo_cli.media.read.opening import open_container

Job = Callable[[], None]

COVER_FILES = {
    "png": ("png", "image/png"),
    "mjpeg": ("jpg", "image/jpeg"),
    "gif": ("gif", "image/gif"),
    "bmp": ("bmp", "image/bmp"),
    "webp": ("webp", "image/webp"),
    "tiff": ("tiff", "image/tiff"),
}
"""Codec of a cover -> (ending of its file, its MIME type)."""


def temporary_folder() -> Path:
    """Where temporary files go. Where no folder for them can be written to, as in containers that are for reading only,
    one that says so to whoever tries."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path(os.environ.get("TMPDIR") or "/tmp")


def cover_job(source: Path, index: int, result: Path) -> Job:
    """Writes a cover's one packet, which is an image file as it stands."""

    def job() -> None:
        data = b""
        with open_container(source) as container:
            for packet in container.demux(container.streams[index]):
                data = data or bytes(packet)
        result.write_bytes(data)

    return job


def text_job(path: Path, text: str) -> Job:
    """Writes a text."""

    def job() -> None:
        path.write_text(text, encoding="utf-8", errors="replace", newline="\n")

    return job

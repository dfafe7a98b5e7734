"""Films as tests look at them."""

from __future__ import annotations

from pathlib import Path

from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.values import Frame


def read(path: Path) -> list[Frame]:
    """All frames of a file, with their times."""
    info = probe(path)
    with Decoder(info, scan(info).timing) as decoder:
        return list(decoder)

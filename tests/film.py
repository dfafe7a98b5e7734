"""Films as tests look at them."""

from __future__ import annotations

from pathlib import Path

from slomo_cli.media.decode import Decoder
from slomo_cli.media.probe import probe
from slomo_cli.media.scan import scan
from slomo_cli.values import Frame


def read(path: Path) -> list[Frame]:
    """All frames of a file, with their times."""
    info = probe(path)
    with Decoder(info, scan(info).timing) as decoder:
        return list(decoder)

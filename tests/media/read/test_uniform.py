"""Films whose pictures change on the way: all become alike, in what they show and not in their numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.values import Frame

Make = Callable[..., Path]

RED = "-f lavfi -i color=0xC04020:size=64x48:rate=25:duration=0.2"
PLAIN = "-c:v libx264 -qp 0 -preset ultrafast -threads 1"


def joined(make: Make, folder: Path, *chains: str) -> Path:
    """Raw streams one after another, each of the same red by filters of its own."""
    whole = folder / "joined.h264"
    parts = [make(f"part{n}.h264", *RED.split(), "-vf", chain, *PLAIN.split()) for n, chain in enumerate(chains)]
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    return whole


def decoded(path: Path) -> tuple[list[Frame], list[str]]:
    info = probe(path)
    with Decoder(info, scan(info).timing) as decoder:
        return list(decoder), decoder.warnings


def tagged(matrix: str, scale: str, reach: str = "tv", more: str = "") -> str:
    tags = f"colorspace={matrix}:range={reach}{more}"
    return f"scale=out_color_matrix={scale}:out_range={reach},format=yuv420p,setparams={tags}"


@pytest.mark.parametrize(
    ("second", "change"),
    [
        (tagged("smpte170m", "bt601"), "matrix smpte170m"),
        (tagged("bt709", "bt709", "pc"), "range pc"),
        (tagged("smpte170m", "bt601", "pc"), "range pc, matrix smpte170m"),
    ],
)
def test_another_matrix_or_range_shows_the_same_colour(make: Make, tmp_path: Path, second: str, change: str) -> None:
    frames, warnings = decoded(joined(make, tmp_path, tagged("bt709", "bt709"), second))

    assert len(frames) == 10
    assert warnings == [f"the colours change at 0.20 s ({change}); every picture is brought to the first one's"]
    for first, last in zip(frames[0].planes, frames[-1].planes, strict=True):
        assert np.abs(first[8:16, 8:16].astype(int) - last[8:16, 8:16].astype(int)).max() <= 2


def test_two_names_of_one_matrix_are_no_change(make: Make, tmp_path: Path) -> None:
    frames, warnings = decoded(joined(make, tmp_path, tagged("smpte170m", "bt601"), tagged("bt470bg", "bt601")))

    assert warnings == []
    assert all(np.array_equal(*planes) for planes in zip(frames[0].planes, frames[-1].planes, strict=True))


def test_another_shape_of_samples_is_told(make: Make, tmp_path: Path) -> None:
    """As where broadcasts turn from 4:3 to 16:9."""
    frames, warnings = decoded(joined(make, tmp_path, "setsar=1", "setsar=4/3"))

    assert len(frames) == 10
    assert [line.partition(";")[0] for line in warnings] == [
        "the picture's shape changes at 0.20 s from 1.33:1 to 1.78:1"
    ]


def test_another_size_of_the_same_shape_is_no_change_of_it(make: Make, tmp_path: Path) -> None:
    _, warnings = decoded(joined(make, tmp_path, "setsar=1", "scale=48:48,setsar=4/3"))

    assert [line.partition(" on the way")[0] for line in warnings] == [
        "the picture changes from 64x48 yuv420p to 48x48 yuv420p"
    ]


def test_another_transfer_is_told(make: Make, tmp_path: Path) -> None:
    first = tagged("bt709", "bt709", more=":color_trc=bt709")
    frames, warnings = decoded(joined(make, tmp_path, first, first.replace("trc=bt709", "trc=arib-std-b67")))

    assert warnings == [
        "the colours change at 0.20 s (transfer arib-std-b67), which one file cannot say: "
        "from there on they are shown as the first ones"
    ]
    assert all(np.array_equal(*planes) for planes in zip(frames[0].planes, frames[-1].planes, strict=True))

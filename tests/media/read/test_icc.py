"""Colour profiles in pictures: noticed where colours look otherwise without them."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from slomo_cli.media.read.icc import is_other_than_srgb, stored_profile
from slomo_cli.media.read.probe import probe

SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def profile(colorants: tuple[tuple[float, float, float], ...], space: bytes = b"RGB ") -> bytes:
    """A profile of these colorants, the lightnesses of which nobody asks for."""
    start = 132 + 12 * len(colorants)
    names = (b"rXYZ", b"gXYZ", b"bXYZ")[: len(colorants)]
    table = b"".join(struct.pack(">4sII", name, start + 20 * k, 20) for k, name in enumerate(names))
    data = b"".join(b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * x) for x in one)) for one in colorants)
    head = (b"\0" * 12 + b"mntr" + space + b"XYZ ").ljust(36, b"\0") + b"acsp"
    body = head.ljust(128, b"\0") + struct.pack(">I", len(colorants)) + table + data
    return struct.pack(">I", len(body)) + body[4:]


@pytest.mark.parametrize(
    ("found", "other"),
    [
        (profile(SRGB), False),
        (profile(DISPLAY_P3), True),
        (profile((), b"CMYK"), True),
        (profile((), b"GRAY"), False),
        (profile(DISPLAY_P3)[:150], False),
        (b"", False),
        (b"nonsense" * 20, False),
    ],
)
def test_other_colours_are_noticed(found: bytes, other: bool) -> None:
    assert is_other_than_srgb(found) == other


@pytest.mark.parametrize("exif", [False, True])
@pytest.mark.parametrize(("colorants", "extras"), [(SRGB, ()), (DISPLAY_P3, ("colour profile",))])
def test_in_a_jpeg(colorants, extras, exif: bool, make: Callable[..., Path], tmp_path: Path) -> None:
    """With EXIF, PyAV 18 lists no side data at all."""
    plain = make("plain.jpg", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1").read_bytes()

    def marked(marker: bytes, content: bytes) -> bytes:
        return b"\xff" + marker + struct.pack(">H", len(content) + 2) + content

    camera = marked(b"\xe1", b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 0) + bytes(4)) if exif else b""
    coloured = marked(b"\xe2", b"ICC_PROFILE\0\x01\x01" + profile(colorants))
    path = tmp_path / "1.jpg"
    path.write_bytes(plain[:2] + camera + coloured + plain[2:])
    assert stored_profile(path) == profile(colorants)
    assert probe(path).picture_extras == extras
    assert probe(tmp_path).picture_extras == extras


def test_in_a_png(make: Callable[..., Path], tmp_path: Path) -> None:
    plain = make("plain.png", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1").read_bytes()
    content = b"iCCP" + b"P3\0\0" + zlib.compress(profile(DISPLAY_P3))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    path = tmp_path / "1.png"
    path.write_bytes(plain[:33] + chunk + plain[33:])
    # In a process of its own: PyAV 18 frees the profile's name twice.
    run = [sys.executable, "-m", "slomo_cli", "convert", str(path), "-o", str(tmp_path / "out.mkv"), "--dry-run"]
    told = subprocess.run(run, capture_output=True, text=True)
    assert (told.returncode, (told.stdout + told.stderr).count("colour profile is lost")) == (0, 1), told.stderr
    assert probe(path).picture_extras == ("colour profile",)


def test_no_profile_and_no_file(clip: Callable[[str], Path], tmp_path: Path) -> None:
    assert stored_profile(tmp_path / "none.jpg") == b""
    assert stored_profile(clip("cfr.mp4")) == b""

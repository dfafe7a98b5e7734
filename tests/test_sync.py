"""Sound and picture stay together: a flash and a beep of one moment, both measured in the output."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from slomo_cli.pipeline import convert

RATE = 48_000
FLASH = Fraction(1)  # seconds into the picture at which it turns white, and the beep begins


def flash_time(path: Path) -> float:
    """When the picture is first all white, on the file's clock."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.to_ndarray(format="gray").mean() > 240:
                return float(frame.time)
    raise AssertionError("no flash in the output")


def beep_time(path: Path) -> float:
    """When the loudness first passes half of its height, on the file's clock."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", RATE)
        start, parts = None, []
        for frame in container.decode(stream):
            start = float(frame.time) if start is None else start
            parts += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    samples = np.concatenate(parts)
    loudness = np.sqrt(np.convolve(samples**2, np.ones(480) / 480, "same"))
    assert start is not None
    return start + float(np.argmax(loudness > 0.5 * np.percentile(loudness[loudness > 0.1], 60))) / RATE


@pytest.fixture(scope="session")
def flashing(make: Callable[..., Path]) -> Callable[..., Path]:
    """``flashing(name, delay, *picture filters)``: two seconds, white and loud from FLASH for a fifth of a second."""

    def flashing(name: str, delay: float = 0, *filters: str) -> Path:
        white = f"drawbox=c=white:t=fill:enable='gte(t,{FLASH}-0.001)*lt(t,{FLASH}+0.2)'"
        at = float(FLASH) - delay
        beep = f"aevalsrc=0.5*sin(2*PI*1000*t)*between(t\\,{at}\\,{at + 0.2}):s={RATE}:d=2"
        return make(
            name,
            *("-f", "lavfi", "-i", f"color=c=black:size=64x48:rate=30:duration=2,{white}"),
            *("-itsoffset", str(delay), "-f", "lavfi", "-i", beep),
            *("-vf", ",".join(("format=yuv420p", *filters)), "-fps_mode", "passthrough", "-enc_time_base", "1/90000"),
            *("-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-c:a", "flac"),
        )

    return flashing


UNEVEN = "settb=1/90000,setpts=N*3000+400*mod(N*(30-N)+700\\,7)"  # the flash stays at its second
CASES = {
    "x2": ({"factor": 2}, 0, ()),
    "x8": ({"factor": 8}, 0, ()),
    "fps": ({"rate": 120}, 0, ()),
    "ramp": ({"speed": "0-0.6:1, 0.6-1.4:1~0.25, 1.4-:0.25"}, 0, ()),
    "steps": ({"speed": "0-0.5:1, 0.5-1.5:0.125, 1.5-:2"}, 0, ()),
    "vfr": ({"factor": 4}, 0, (UNEVEN,)),
    "vfr-kept": ({"factor": 4, "vfr": "keep"}, 0, (UNEVEN,)),
    "offset-x4": ({"factor": 4}, 0.3, ()),
    "offset-fps": ({"rate": 60}, 0.3, ()),
}


def is_in_sync(source: Path, out: Path, weights: str, **wishes: Any) -> bool:
    """Whether flash and beep of the converted film are within one frame of each other."""
    settings: dict[str, Any] = {"weights": weights, "device": "cpu", "threads": 1, "preset": "ultrafast"}
    summary = convert(source, out, cuts="off", duplicates="keep", **settings, **wishes)
    return abs(flash_time(out) - beep_time(out)) <= 1 / summary.rate_out


@pytest.mark.parametrize("case", CASES)
def test_flash_and_beep_stay_together(case: str, flashing: Callable[..., Path], weights: str, tmp_path: Path) -> None:
    """Within one output frame, whatever is done to time."""
    wishes, delay, filters = CASES[case]
    source = flashing(f"flash-{delay}-{len(filters)}.mkv", delay, *filters)
    assert is_in_sync(source, tmp_path / "out.mkv", weights, **wishes)


def test_sound_stays_where_a_cut_without_encoding_begins_amid_a_picture(
    flashing: Callable[..., Path], make: Callable[..., Path], weights: str, tmp_path: Path
) -> None:
    """libav lets the first whole picture begin with the edit list, up to a picture's length too early."""
    source = make("cut.mp4", "-ss", "0.51", "-i", str(flashing("flash-0-0.mkv")), "-c", "copy")
    assert is_in_sync(source, tmp_path / "out.mkv", weights, factor=8)


@pytest.mark.parametrize("codec", [("libx264", "-bf", "2"), ("libx264", "-bf", "0"), ("mpeg4", "-bf", "2")])
def test_sound_of_avi_stays_with_the_picture_of_its_number(
    codec: tuple[str, ...], flashing: Callable[..., Path], make: Callable[..., Path], weights: str, tmp_path: Path
) -> None:
    """libav lets the first picture wait for those that may be stored before it; AVI does not."""
    film = flashing("flash-0-0.mkv")
    source = make(f"flash-{codec[0]}{codec[2]}.avi", "-i", str(film), "-r", "30", "-c:v", *codec, "-c:a", "pcm_s16le")
    assert is_in_sync(source, tmp_path / "out.mkv", weights, factor=8)

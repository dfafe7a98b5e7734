"""ffmpeg's minterpolate on the same clip and cores, its pictures thrown away."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from slomo_cli.bench.machine import Clock, Spent, median
from slomo_cli.errors import EncoderError
from slomo_cli.media.ffmpeg import Tools, last_words, literal


@dataclass(frozen=True, slots=True)
class Rival:
    """What it took."""

    name: str
    version: str
    """Of ffmpeg."""
    frames: int
    """That came out."""
    spent: Spent
    """Per frame that came out, start and end of the program included; the median of all runs."""

    @property
    def fps(self) -> float:
        return 1 / max(self.spent.wall, 1e-9)


def minterpolate(
    source: Path, rate: Fraction, factor: Fraction, seconds: Fraction | None, tools: Tools, repeats: int
) -> Rival:
    """Its defaults (motion-compensated) at ``factor`` times the source's rate; EncoderError in ffmpeg's words."""
    command = [tools.path, "-hide_banner", "-nostdin", "-nostats", "-v", "error"]
    if seconds is not None:
        command += ["-t", f"{float(seconds):.6f}"]
    command += ["-i", literal(source), "-an", "-sn", "-dn", "-vf", f"minterpolate=fps={rate * factor}"]
    command += ["-progress", "pipe:1", "-f", "null", "-"]
    found = []
    for _ in range(repeats):
        clock = Clock()
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        except OSError as error:
            raise EncoderError(f"ffmpeg cannot be run: {error.strerror or error}") from None
        found.append(clock.spent())
        counts = re.findall(r"^frame=\s*(\d+)", done.stdout, re.MULTILINE)
        frames = int(counts[-1]) if counts else 0
        if done.returncode != 0 or frames == 0:
            raise EncoderError(f"ffmpeg's minterpolate failed: {last_words(done.stderr) or 'no frame came out'}")
    return Rival("minterpolate", tools.version, frames, median(found).per(frames))

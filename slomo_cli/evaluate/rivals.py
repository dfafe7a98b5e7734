"""What the network is measured against: repeated frames, blended frames, and ffmpeg's own interpolation."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from slomo_cli.errors import EncoderError, UsageError, printable
from slomo_cli.evaluate.methods import Method
from slomo_cli.picture import RGB

RIVALS = ("nearest", "blend", "minterpolate")

FINEST = 64
"""Steps between two pictures minterpolate is asked for at most; finer timesteps are rounded to them."""


def nearest(first: RGB, second: RGB, timesteps: Sequence[Fraction]) -> list[RGB]:
    """Repeats the picture nearer in time, as playing slowly does; the first at the middle."""
    return [first if 2 * t <= 1 else second for t in timesteps]


def blend(first: RGB, second: RGB, timesteps: Sequence[Fraction]) -> list[RGB]:
    """Mixes the two pictures by time, rounded to nearest."""
    mixed = []
    for t in timesteps:
        weight = np.float32(t)
        mixed.append(np.rint(first * (1 - weight) + second * weight).astype(np.uint8))
    return mixed


class Minterpolate:
    """ffmpeg's motion-compensated interpolation, its defaults unless options say otherwise.

    The filter makes pictures only between the second and third of four it holds, so it is given each of the two
    pictures twice, without loss but for its own format: it computes in YUV, here 4:4:4 of full range, the nearest to
    RGB it takes. One process per pair: its scene detection remembers what came before.
    """

    SECONDS_PER_MEGAPIXEL = 60.0
    """A pair that takes longer, per frame asked for, is given up."""

    def __init__(self, options: str = "", ffmpeg: str | None = None) -> None:
        """``options``: as in a filter graph, ``mc_mode=aobmc:scd=none``; ``ffmpeg``: the user's own program."""
        from slomo_cli.media.ffmpeg import tools

        if options and not re.fullmatch(r"[a-z_]+=[a-z0-9.]+(:[a-z_]+=[a-z0-9.]+)*", options):
            raise UsageError(f"expected options such as scd=none:mc_mode=aobmc, found '{printable(options)}'")
        if re.search(r"(^|:)fps=", options):
            raise UsageError("minterpolate's fps follows from the frames asked for: leave it out")
        self.options = options
        self._tools = tools(ffmpeg)

    def describe(self) -> dict[str, str]:
        """What was measured: the version of ffmpeg."""
        return {"ffmpeg": self._tools.version}

    def __call__(self, first: RGB, second: RGB, timesteps: Sequence[Fraction], /) -> list[RGB]:
        """Raises EncoderError where ffmpeg fails, with its own words."""
        if not timesteps:
            return []
        height, width, _ = first.shape
        # Stamps of uneven video can ask for thousandths, and the filter computes every step of its rate.
        parts = min(FINEST, math.lcm(*(t.denominator for t in timesteps)))
        command = minterpolate_command(self._tools.path, width, height, parts, self.options)
        fed = b"".join(picture.tobytes() for picture in (first, first, second, second))
        patience = 30 + self.SECONDS_PER_MEGAPIXEL * parts * width * height / 1e6
        try:
            done = subprocess.run(command, input=fed, capture_output=True, timeout=patience, check=False)
        except subprocess.TimeoutExpired as error:
            raise EncoderError(f"ffmpeg's minterpolate gave no answer within {patience:.0f} s") from error
        except OSError as error:
            raise EncoderError(f"{printable(self._tools.path)} cannot be run: {error.strerror or error}") from error
        size = height * width * 3
        if done.returncode != 0 or len(done.stdout) != parts * size:
            from slomo_cli.media.ffmpeg import last_words

            words = last_words(done.stderr.decode("utf-8", "replace")) or f"{len(done.stdout) // size} frames came back"
            raise EncoderError(f"ffmpeg's minterpolate failed on a pair of {width}x{height}: {words}")
        frames = np.frombuffer(done.stdout, np.uint8).reshape(parts, height, width, 3)
        return [frames[min(round(t * parts), parts - 1)].copy() for t in timesteps]


def minterpolate_command(ffmpeg: str, width: int, height: int, parts: int, options: str = "") -> list[str]:
    """Arguments that read four RGB pictures one second apart from stdin and write what lies between the middle two.

    To stdout come ``parts`` pictures of times 0, 1/parts, 2/parts ... from the second picture to the third.
    """
    graph = (
        "scale=out_range=full:flags=accurate_rnd+full_chroma_int,format=yuv444p,"
        f"minterpolate=fps={parts}{':' * bool(options)}{options},"
        f"trim=start_frame={parts}:end_frame={2 * parts},"
        "scale=in_range=full:out_range=full:flags=accurate_rnd+full_chroma_int,format=rgb24"
    )
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    command = [ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-v", "error"]
    command += [*raw, "-video_size", f"{width}x{height}", "-framerate", "1", "-i", "pipe:0"]
    return [*command, "-vf", graph, *raw, "-fps_mode", "passthrough", "pipe:1"]


def rival(name: str, ffmpeg: str | None = None) -> Method:
    """The rival of this name; ``minterpolate:OPTIONS`` passes options to the filter. UsageError for an unknown one,
    EncoderError for one that ffmpeg does not have or whose options it does not take."""
    kind, _, options = name.partition(":")
    if kind == "minterpolate":
        found = Minterpolate(options, ffmpeg)
        blank = np.zeros((64, 64, 3), np.uint8)
        found(blank, blank, (Fraction(1, 2),))  # what is wrong with every pair is told before the work
        return found
    if options or kind not in RIVALS:
        raise UsageError(f"expected one of {', '.join(RIVALS)} (or minterpolate:OPTIONS), found '{printable(name)}'")
    return nearest if kind == "nearest" else blend

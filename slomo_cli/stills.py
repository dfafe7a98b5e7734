"""Two still pictures in, the pictures between them out: as images, or as a clip from the first to the last."""

from __future__ import annotations

import os
import time as clock
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from slomo_cli.errors import UsageError, printable
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.names import refuse_overwriting_inputs
from slomo_cli.media.plan.target import choose_target
from slomo_cli.media.read.still import alike, read_still
from slomo_cli.media.write.args import build_encode_args
from slomo_cli.media.write.encode import Encoder
from slomo_cli.media.write.place import left_over, refuse_existing
from slomo_cli.progress import Progress, make_progress
from slomo_cli.values import ComputeSettings, EncodeSettings, Frame, Summary

if TYPE_CHECKING:
    from slomo_cli.interpolate import Interpolator, Pending
    from slomo_cli.values import Plane

DEFAULT_RATE = Fraction(30)
"""Frames per second of a clip when nobody says otherwise."""
_WAITING_BYTES = 192 << 20
"""In-between pictures asked for together take about this much at most."""
_TOGETHER = 16
"""...and are never more than this."""


def between(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    *,
    frames: int = 1,
    rate: Fraction = DEFAULT_RATE,
    encode: EncodeSettings | None = None,
    compute: ComputeSettings | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write ``frames`` pictures evenly spread between two still pictures.

    As images (a name such as ``out_%03d.png``; a plain name if ``frames`` is 1) only the new ones are written, numbered
    from 1. As a clip (any video or animation; None or ``-`` is Matroska on standard output) the first picture, the new
    ones and the second are shown at ``rate``. Depth and alpha are kept where the format can; pictures that differ are
    made alike (``media.read.still.alike``). Nothing appears before all is written. Raises the family of
    :mod:`slomo_cli.errors`.
    """
    begun = clock.monotonic()
    encode, compute = encode or EncodeSettings(), compute or ComputeSettings()
    progress = progress or make_progress("none", quiet=True)
    if frames < 1:
        raise UsageError(f"expected one picture or more to make, found {frames}")
    left, right, notes = alike(read_still(first), read_still(second))
    ffmpeg = tools(encode.ffmpeg)
    target = choose_target(output, left.info, encode, ffmpeg, rate, frames=frames)
    written = (target.image_path(k) for k in range(1, frames + 1)) if target.still else [target.path]
    refuse_overwriting_inputs(written, (Path(first), Path(second)), removed=target.temporary)
    refuse_existing(target, frames)
    total = frames if target.still else frames + 2
    args = build_encode_args(target, None, ffmpeg.path, frames=total)
    progress.start(total, f"{printable(Path(first).name)} to {printable(Path(second).name)}")
    notes = (*notes, *target.warnings, *left_over(target, frames))
    for note in notes:
        progress.note(note)
    from slomo_cli.interpolate import Interpolator  # loads torch: not before the request has proved sound

    with (
        Interpolator(**asdict(compute)) as network,
        Encoder(args, target, total) as encoder,
    ):
        for note in network.notes:
            progress.note(note)
        pair = left.frame, replace(right.frame, pts_seconds=Fraction(1))
        for planes in _pictures(network, *pair, frames, ends=not target.still):
            encoder.write(planes)
            progress.advance(1)
        encoder.finish()
        summary = Summary(
            source=Path(first),
            output=target.path or Path("-"),
            frames_in=2,
            frames_out=total,
            frames_interpolated=frames,
            duration_in=Fraction(0),
            duration_out=Fraction(0) if target.still else total / rate,
            rate_out=rate,
            seconds=clock.monotonic() - begun,
            encoder=target.encoder,
            device=network.describe(),
            warnings=(*notes, *network.notes),
        )
    progress.finish(summary)
    return summary


def _pictures(
    network: Interpolator, left: Frame, right: Frame, count: int, *, ends: bool
) -> Iterator[tuple[Plane, ...]]:
    """The pictures at 1/(count + 1), 2/(count + 1) ..., with the two given ones around them if ``ends``."""
    if ends:
        yield left.planes
    waiting: deque[Pending] = deque()
    size = left.layout.frame_bytes(left.width, left.height)
    together = max(1, min(_TOGETHER, _WAITING_BYTES // size))
    for start in range(1, count + 1, together):
        numbers = range(start, min(start + together, count + 1))
        waiting += network.request(left, right, [Fraction(k, count + 1) for k in numbers])
        while len(waiting) > together:
            yield waiting.popleft().planes()
    while waiting:
        yield waiting.popleft().planes()
    if ends:
        yield right.planes

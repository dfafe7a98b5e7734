"""The display matrix: as ffmpeg input options where the output can carry it, as filters where it cannot.

A matrix (a b u; c d v; x y w) in 16.16 fixed point turns the stored picture into the shown one. FFmpeg builds one from
a counter-clockwise angle r and then flips: a = cos r, b = -sin r, c = sin r, d = cos r; a horizontal flip negates the
first column (a, c), a vertical one the second (b, d). Any rotation with any flips is a rotation with or without one
horizontal flip, so those two describe every matrix a camera writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Shown picture for (counter-clockwise quarter turns, horizontal flip after turning), as ffmpeg filters. 'vflip' alone
# has the rows read upwards, which some encoders do not survive (x265, SVT-AV1): a copy follows it.
_TURNS: dict[tuple[int, bool], tuple[str, ...]] = {
    (0, False): (),
    (1, False): ("transpose=cclock",),
    (2, False): ("hflip", "vflip"),
    (3, False): ("transpose=clock",),
    (0, True): ("hflip",),
    (1, True): ("transpose=cclock", "hflip"),
    (2, True): ("vflip", "copy"),
    (3, True): ("transpose=clock", "hflip"),
}


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the stored picture is to be shown."""

    degrees: float
    """Counter-clockwise rotation, 0 <= degrees < 360."""
    flipped: bool
    """Mirrored left to right after the rotation."""

    @property
    def is_upright(self) -> bool:
        return self.degrees == 0 and not self.flipped

    @property
    def is_right_angled(self) -> bool:
        return self.degrees % 90 == 0

    @property
    def swaps_sides(self) -> bool:
        """Shown width is stored height."""
        return self.degrees in (90, 270)

    @property
    def filters(self) -> tuple[str, ...]:
        """ffmpeg filters that turn the picture itself; none for odd angles, which no camera writes."""
        return _TURNS[(int(self.degrees) // 90, self.flipped)] if self.is_right_angled else ()

    @property
    def input_args(self) -> tuple[str, ...]:
        """ffmpeg arguments before the input that hand the matrix on (FFmpeg 6 and later)."""
        if self.is_upright:
            return ()
        args = ["-noautorotate", "-display_rotation:v:0", f"{self.degrees:g}"]
        return (*args, "-display_hflip:v:0") if self.flipped else tuple(args)


UPRIGHT = Orientation(0, False)


def orientation_of(matrix: tuple[int, ...] | None) -> Orientation:
    """The rotation and flip of a display matrix; upright when there is none or it is degenerate."""
    if matrix is None:
        return UPRIGHT
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    determinant = a * d - b * c
    if determinant == 0:
        return UPRIGHT
    flipped = determinant < 0
    # Undo the flip of the first column, then read the angle from what is a plain rotation.
    cosine = -a if flipped else a
    degrees = math.degrees(math.atan2(-b, cosine)) % 360
    nearest = round(degrees / 90) * 90
    if abs(degrees - nearest) < 0.01:
        degrees = nearest % 360
    return Orientation(round(degrees, 4), flipped)

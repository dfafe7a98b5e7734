"""What comes along from the source beside the new picture (first the shape of it; see plan_carry)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Carry:
    """Arguments for the tracks beside the picture."""

    picture_delay: Fraction = Fraction(0)
    input_args: tuple[str, ...] = ()
    map_args: tuple[str, ...] = ()
    output_args: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

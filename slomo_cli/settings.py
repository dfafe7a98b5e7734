"""Settings out of what people give in Python: whole groups, single wishes by name, text where a number is meant.

Every value is brought to the type its field states, or refused by its name: deep inside nobody knows who asked for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypedDict, TypeVar, get_args, get_origin, get_type_hints

from slomo_cli.errors import UsageError, printable
from slomo_cli.times import parse_number, parse_rate, parse_time
from slomo_cli.values import ComputeSettings, Deinterlace, EncodeSettings, TimeSettings

Number = SupportsFloat | str
"""A number, or the text that writes one."""
Count = SupportsIndex | str
"""A whole number, or the text that writes one."""
Text = str | int | os.PathLike[str]


class Wishes(TypedDict, total=False):
    """Single settings by name, as Python gives them; the fields of the same names say what they mean."""

    factor: Number
    rate: Number | None
    start: Number | None
    end: Number | None
    speed: str | None
    loop: bool
    vfr: Literal["constant", "keep"]
    cuts: Literal["hold", "blend", "off"]
    cut_threshold: Number | None
    duplicates: Literal["replace", "keep"]
    deinterlace: Deinterlace
    auto_factor: Number | None
    input_rate: Number | None

    codec: str | None
    crf: Number | None
    preset: Text | None
    encoder_args: Sequence[str]
    audio: Literal["auto", "copy", "stretch", "pitch", "drop"]
    overwrite: bool
    faststart: bool
    resume: bool
    ffmpeg: Text | None

    weights: Text
    device: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    proxy: Text
    batch: Count
    compile: bool
    threads: Count
    motion: Literal["curved", "straight"]


Group = TypeVar("Group", TimeSettings, EncodeSettings, ComputeSettings)

_READ: dict[str, Callable[[str], Fraction]] = {
    "factor": parse_number,
    "rate": parse_rate,
    "input_rate": parse_rate,
    "start": parse_time,
    "end": parse_time,
}
"""Exact numbers, by the words they are written in at the prompt."""


def settled(
    time: TimeSettings | None,
    encode: EncodeSettings | None,
    compute: ComputeSettings | None,
    wishes: Wishes,
) -> tuple[TimeSettings, EncodeSettings, ComputeSettings]:
    """The three settings with single wishes put in by the names of their fields. UsageError names what does not fit."""
    groups = TimeSettings, EncodeSettings, ComputeSettings
    known = sorted(field.name for group in groups for field in fields(group))
    for name in wishes:
        if name not in known:
            raise UsageError(f"expected a setting among {', '.join(known)}; found '{printable(name)}'")
    time = _filled("time", TimeSettings, time, wishes)
    if time.factor < 1:
        raise UsageError(f"factor: expected a number of 1 or more, found {time.factor}")
    if time.factor != 1 and time.speed is not None:
        raise UsageError("a speed curve says how slow each part is: leave out the factor")
    if time.factor != 1 and time.auto_factor is not None:
        raise UsageError("the automatic factor is chosen by measuring: leave out the factor")
    if time.speed is not None and time.auto_factor is not None:
        raise UsageError("a speed curve says how slow each part is: leave out the automatic factor")
    return (
        time,
        _filled("encode", EncodeSettings, encode, wishes),
        _filled("compute", ComputeSettings, compute, wishes),
    )


def _filled(name: str, kind: type[Group], group: Group | None, wishes: Mapping[str, Any]) -> Group:
    group = kind() if group is None else group
    if not isinstance(group, kind):
        raise UsageError(f"expected {name} to be {kind.__name__}, found {_shown(group)}")
    hints = get_type_hints(kind)
    values = {name: _fitting(name, hint, wishes.get(name, getattr(group, name))) for name, hint in hints.items()}
    return replace(group, **values)


def _fitting(name: str, hint: Any, value: Any) -> Any:
    """The value as the field's type has it."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise UsageError(f"expected {name} to be one of {', '.join(get_args(hint))}; found {_shown(value)}")
    kinds = {hint, *get_args(hint)}
    if value is None and type(None) in kinds:
        return None
    if name in _READ:
        try:
            return _READ[name](str(value))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    found: Any
    if get_origin(hint) is tuple:
        expected, found = "a list of words", _words(value)
    elif bool in kinds:
        expected, found = "True or False", value if isinstance(value, bool) else None
    elif str in kinds:
        expected, found = "text", _text(value)
    else:
        whole = int in kinds
        expected, found = "a whole number" if whole else "a number", _number(value, whole=whole)
    if found is None:
        raise UsageError(f"expected {name} to be {expected}, found {_shown(value)}")
    return found


def _words(value: Any) -> tuple[str, ...] | None:
    """None for what are no words."""
    fits = isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)
    return tuple(value) if fits else None


def _text(value: Any) -> str | None:
    """None for what is no text and no name of a file; a number stands for itself."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _number(value: Any, *, whole: bool) -> Any:
    """A number, or that which a text writes; None for anything else."""
    if isinstance(value, str):
        try:
            return int(value) if whole else float(value)
        except ValueError:
            return None
    return value if isinstance(value, Integral if whole else Real) and not isinstance(value, bool) else None


def _shown(value: Any) -> str:
    """A value as people know it, on one line."""
    return f"'{printable(value)}'" if isinstance(value, str) else printable(repr(value))

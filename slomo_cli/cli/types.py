"""The kinds of value options take: exact numbers, rates, times, names, devices, shell words."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slomo_cli import errors
from slomo_cli.times import parse_number, parse_rate, parse_time

if TYPE_CHECKING:
    ExactType = click.ParamType[Fraction]
    TextType = click.ParamType[str]
    NumberType = click.ParamType[float]
    WordsType = click.ParamType[tuple[str, ...]]
else:
    # The class takes a parameter only in newer releases of click.
    ExactType = NumberType = TextType = WordsType = click.ParamType


class Exact(ExactType):
    """An exact rational, read by one of the parsers of ``slomo_cli.times``."""

    def __init__(self, name: str, parse: Callable[[str], Fraction], *, minimum: Fraction | None = None) -> None:
        self.name = name
        self.parse = parse
        self.minimum = minimum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        if isinstance(value, Fraction):
            return value
        try:
            number = self.parse(str(value))
        except errors.UsageError as error:
            self.fail(str(error), param, ctx)
        if self.minimum is not None and number < self.minimum:
            self.fail(f"expected a number of {self.minimum} or more, found '{errors.printable(value)}'", param, ctx)
        return number


class Name(click.Path):
    """The name of a file or folder. Nothing is checked here, only completed in shells: what a name may be is decided in
    ``files``. But it is never empty, as an unset variable of a script is: a Path of that is the current folder."""

    def __init__(self, *, folder: bool = False, path_type: type[Path] | None = None) -> None:
        super().__init__(file_okay=not folder, readable=False, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("expected a name, found ''", param, ctx)
        return super().convert(value, param, ctx)


class Device(TextType):
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; whether the machine has it is found out later."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip().lower()
        if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", text, re.ASCII):
            self.fail(f"expected auto, cpu, cuda, cuda:N or mps, found '{errors.printable(value)}'", param, ctx)
        return text


class Proxy(TextType):
    """``auto``, ``full`` or a number of pixels."""

    name = "proxy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip().lower()
        if text not in ("auto", "full") and not (re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) and int(text) >= 32):
            self.fail(f"expected auto, full or 32 and more pixels, found '{errors.printable(value)}'", param, ctx)
        return text


class Words(WordsType):
    """Arguments in one string, split as a shell would; nothing is expanded or run."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(shlex.split(str(value)))
        except ValueError as error:
            self.fail(f"expected arguments quoted as for a shell, found {str(error).lower()}", param, ctx)


class Number(NumberType):
    """A number between limits; unlike click's ranges it leaves telling the limits to the help text."""

    def __init__(self, kind: type[int] | type[float], low: float, high: float) -> None:
        self.name = "number"
        self.kind = kind
        self.low = low
        self.high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = self.kind(value)
        except (ValueError, OverflowError):
            number = math.nan
        if not self.low <= number <= self.high:
            expected = (
                f"a whole number from {self.low} to {self.high}"
                if self.kind is int
                else f"a number from {self.low:g} to {self.high:g}"
            )
            self.fail(f"expected {expected}, found '{errors.printable(value)}'", param, ctx)
        return number


COUNT = Number(int, 0, 4096)
CRF = Number(float, 0, 255)
FACTOR = Exact("factor", parse_number, minimum=Fraction(1))
RATE = Exact("rate", parse_rate)
TIME = Exact("time", parse_time)


def whole_numbers(flag: str, text: str, low: int, high: int) -> tuple[int, ...]:
    """``2,4,8`` as numbers, each once; UsageError names the flag."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(re.fullmatch("[0-9]{1,9}", word) and low <= int(word) <= high for word in words):
        raise errors.UsageError(
            f"{flag}: expected whole numbers from {low} to {high} such as 2,4,8, found '{errors.printable(text)}'"
        )
    return tuple(dict.fromkeys(int(word) for word in words))

"""Numbers, times and results as words for people, and values as JSON knows them. Light: imports nothing of weight."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TextIO

from slomo_cli.errors import SlomoError, printable

if TYPE_CHECKING:
    from slomo_cli.values import Summary


def clock_text(seconds: float | None) -> str:
    """``1:02:03`` or ``2:03``; ``-:--`` for None."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def decimal(value: Fraction) -> str:
    """At most three decimals, none where none are needed: 30, 29.97, 23.976."""
    return f"{float(value):.3f}".rstrip("0").rstrip(".")


def counted(count: int, one: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count} {one}{'s' * (count != 1)}"


def some(names: Sequence[object]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(map(printable, names[:3])) + f" and {len(names) - 3} more" * (len(names) > 3)


def columns(rows: Sequence[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Name and value in two columns."""
    width = max((len(name) for name, _ in rows), default=0) + 2
    return [f"{indent}{name:<{width}}{value}".rstrip() for name, value in rows]


def first_line(error: BaseException) -> str:
    """The first line of an error that tells something, fit for a terminal: torch writes a heading above its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return printable(lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0])[:200]


def summary_text(summary: Summary) -> str:
    """The line that ends a conversion."""
    made = f", {summary.frames_interpolated} of them new" if summary.frames_interpolated else ""
    facts = [f"{counted(summary.frames_out, 'frame')}{made}"]
    if summary.duration_out:  # none where pictures are no film
        facts.append(f"{float(summary.duration_out):.2f} s at {decimal(summary.rate_out)} fps")
    for count, one, many in (
        (summary.frames_kept, "kept from before", "kept from before"),
        (summary.cuts, "cut", "cuts"),
        (summary.duplicates, "repeated frame replaced", "repeated frames replaced"),
        (summary.packets_skipped, "damaged packet skipped", "damaged packets skipped"),
    ):
        if count:
            facts.append(f"{count} {one if count == 1 else many}")
    done = summary.frames_out - summary.frames_kept
    speed = f" ({done / summary.seconds:.1f} frames/s)" if summary.seconds > 0 else ""
    where = f" on {summary.device}" if summary.device else ""
    name = "stdout" if str(summary.output) == "-" else printable(summary.output)
    return f"{name}: {', '.join(facts)}; took {clock_text(summary.seconds)}{speed}{where}"


def error_text(error: SlomoError, name: str = "") -> str:
    """The error's line, with the file's name in front where the message does not hold it."""
    text, shown = str(error), printable(name)
    held = re.search(rf"(?<!\w){re.escape(shown)}(?!\w)", text)  # a clip may be called 1, which many a number holds
    return text if held or not name else f"{shown}: {text}"


def fitted(text: str, stream: TextIO) -> str:
    """The text for this stream: on a terminal its lines are broken between words at the edge, elsewhere never."""
    if not stream.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns - 1)
    lines = (textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines())
    return "\n".join("\n  ".join(parts) for parts in lines)


def plain(value: Any) -> Any:
    """A field as JSON knows it: rationals and paths as strings, tuples as lists."""
    if isinstance(value, Fraction | os.PathLike):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def shortened(name: str, width: int, encoding: str = "utf-8") -> str:
    """The name as a terminal of this encoding shows it; beyond so many columns its middle is left out, as the end tells
    takes apart."""
    from rich.cells import cell_len  # Chinese, Japanese and Korean letters are two columns wide

    name = name.encode(encoding, "backslashreplace").decode(encoding)
    gap = "…".encode(encoding, "replace").decode(encoding).replace("?", "...")
    kept, text = len(name), name
    while cell_len(text) > width:
        kept -= 1
        tail = (kept + 1) // 2
        text = f"{name[: kept - tail]}{gap}{name[len(name) - tail :]}"
    return text

"""What was decided about the tracks beside the picture: arguments for ffmpeg, and what has to exist while it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Self

from slomo_cli.errors import SlomoError, printable
from slomo_cli.media.tracks.soundfeed import Feed

Writer = Callable[[], object]
"""Writes a temporary file that ffmpeg needs to take a track along."""


@dataclass(frozen=True)
class Carry:
    """Arguments for the tracks beside the picture, and the files they need.

    Nothing is written before ``prepare``; ``close`` removes what it wrote. A context manager does both.
    """

    picture_delay: Fraction = Fraction(0)
    """Seconds by which the picture starts after the other tracks, as in the source."""
    input_args: tuple[str, ...] = ()
    """Further inputs, numbered from 1."""
    map_args: tuple[str, ...] = ()
    """Maps, filters and codecs; the user's own options come after these and win."""
    output_args: tuple[str, ...] = ()
    """Tags and dispositions, and what must stay as it is."""
    notes: tuple[str, ...] = ()
    """One line for each thing that is converted or dropped."""
    met: list[str] = field(default_factory=list)
    """What shows only once the temporary files are written; complete after ``prepare``."""
    folder: Path | None = None
    """Where temporary files will be."""
    writers: tuple[Writer, ...] = field(default=(), repr=False)
    feeds: tuple[Feed, ...] = field(default=(), repr=False)
    """Sound made during the run; the encoder hands it over."""

    def prepare(self) -> None:
        """Writes the temporary files the arguments name; to be called once, before ffmpeg starts."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(mode=0o700)
            for write in self.writers:
                write()
        except OSError as error:
            self.close()
            where = printable(self.folder.parent)
            raise SlomoError(
                f"cannot write to '{where}': {error.strerror}; make room there, or name another folder by TMPDIR"
            ) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes the temporary files; harmless when repeated."""
        for feed in self.feeds:
            feed.stop()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.prepare()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Sound made while ffmpeg runs, and handed over through a pipe.

ffmpeg inherits the pipe's other end. One thread for each track fills it; ffmpeg reads it as one more input of raw
samples, so nothing is stored and memory stays bounded whatever the length.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from slomo_cli.errors import EncoderError, InputError
from slomo_cli.media.tracks.samples import Damage, silence
from slomo_cli.media.tracks.vocoder import Samples
from slomo_cli.text import counted

IS_POSSIBLE = os.name == "posix"
"""A program inherits pipes by their number on every system but Windows."""


class Feed(ABC):
    """A pipe and the thread that fills it with sound.

    A pipe without a name: when slomo is killed, it ends. At a named one an ffmpeg that came too late waits for ever.

    word: stands for the pipe in ffmpeg's arguments until it has a number. name: of the track, for messages.
    """

    def __init__(self, word: str, name: str) -> None:
        self.word = word
        self.damage = Damage()
        self.problem: Exception | None = None
        """What went wrong, if anything did; the caller decides what to do about a bug."""
        self._name = name
        self._number = -1
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"slomo-sound-{word}", daemon=True)

    def open(self) -> int:
        """Makes the pipe: the end to be read, which is the caller's to close. Raises OSError."""
        reader, self._number = os.pipe()
        if reader > 2:
            return reader
        # Where a standard stream was closed: ffmpeg gets its own under that number.
        import fcntl

        above = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(reader)
        return above

    def start(self) -> None:
        """Begins to fill the pipe."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; called when ffmpeg has ended, one way or the other."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        elif self._thread.ident is None and self._number >= 0:
            os.close(self._number)  # ffmpeg never started
            self._number = -1

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the track is silence because it could not be read; complete when ffmpeg has ended."""
        count, end = self.damage.packets, self.damage.end
        found = []
        if count:
            found.append(f"{self._name}: {counted(count, 'packet')} could not be decoded and became silence")
        if end:
            found.append(f"{self._name} ends early, in silence: {end}")
        return tuple(found)

    def _run(self) -> None:
        try:
            self._fill(self._number)
        except OSError:
            pass  # ffmpeg has gone; it says why itself
        except (InputError, EncoderError) as error:
            self.damage.end = str(error)
        except Exception as problem:
            self.problem = problem
        finally:
            os.close(self._number)

    @abstractmethod
    def _fill(self, number: int) -> None:
        """Writes all into the pipe of that number, or as much as is asked for until ``_stopped``."""


class SoundFeed(Feed):
    """Interleaved little-endian float samples.

    make: gives the blocks, (channels, n), and says what was damaged. total: how many samples have to arrive whatever
    happens; where the source fails, the rest is silence, since a damaged sound is no reason to lose the picture.
    """

    def __init__(
        self, word: str, name: str, make: Callable[[Damage], Iterator[Samples]], channels: int, total: int
    ) -> None:
        super().__init__(word, name)
        self._make = make
        self._channels = channels
        self._total = total

    def _fill(self, number: int) -> None:
        given = 0
        try:
            for block in self._make(self.damage):
                _write(number, np.ascontiguousarray(block.T, "<f4"))
                given += block.shape[1]
                if self._stopped.is_set():
                    return
        except BrokenPipeError:
            pass
        except InputError as error:
            self.damage.end = str(error)
        except Exception as problem:
            self.problem = problem
        for block in silence(self._channels, self._total - given):
            _write(number, np.ascontiguousarray(block.T, "<f4"))


def _write(number: int, samples: Any) -> None:
    view = memoryview(samples).cast("B")
    while view:
        view = view[os.write(number, view) :]

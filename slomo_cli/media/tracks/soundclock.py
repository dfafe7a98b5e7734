"""When sound is heard in joined recordings: each with its own picture, whose packets tell where one begins."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from slomo_cli.media.read.joins import JoinedClock, Joins
from slomo_cli.media.read.opening import READ_ERRORS

_OVERHANG = 1
"""Seconds by which sound and picture of a recording may differ in length where another is joined to it."""
MOST_ASTRAY_IN_JOINED = 16
"""Pieces, as many as share a stamp, that are waited for one whose time fits those before: other recordings follow."""


class Unstrayed:
    """The pieces of one track, in order, told where they begin; but those whose stamps fly off, while what follows goes
    on as if they had not, are told where they belong."""

    def __init__(self, near: Fraction, most: int) -> None:
        """``near``: seconds within which a stamp is where it belongs; ``most``: pieces that are waited for such a
        one."""
        self._near, self._most = near, most
        self._due: Fraction | None = None
        self._away: list[tuple[Any, Fraction | None, Fraction]] = []

    def push(self, piece: Any, begin: Fraction | None, lasts: Fraction) -> list[tuple[Any, Fraction | None]]:
        """The next piece, when it begins by its stamp and how long it lasts, in seconds; gives those that are settled,
        each with when it begins, None where nothing tells."""
        due = self._due
        is_due = due is None or begin is None or abs(begin - due) <= self._near
        if due is not None:
            self._due = due + lasts
            if not is_due and len(self._away) < self._most:
                self._away.append((piece, begin, due))
                return []
        settled = [(stray, belongs if is_due else stamp) for stray, stamp, belongs in self._away]
        self._away = []
        if begin is not None:
            self._due = begin + lasts
        return [*settled, (piece, begin)]

    def rest(self) -> list[tuple[Any, Fraction | None]]:
        """Those that are left at the end."""
        return [(piece, stamp) for piece, stamp, _ in self._away]


class SoundClock:
    """Where the pieces of a track lie on a clock that goes on where recordings were joined, as the picture's does."""

    def __init__(self, container: str, film: JoinedClock | None) -> None:
        """``container``: libav's name of it; ``film``: told of the picture's packets by whoever reads them, None where
        its clock goes on by itself: then sound that leaps ahead was silent meanwhile."""
        self._joins = Joins(container if film is not None else "", Fraction(1))
        self._film = film
        self._due: Fraction | None = None  # where the next piece belongs if nothing happens
        self.ahead = Fraction(0)
        """Seconds by which it runs ahead of the stamps by now."""

    def place(self, stamp: Fraction, lasts: Fraction) -> Fraction:
        """When a piece begins whose stamp says this, in seconds, and which lasts so long."""
        begin = stamp + self.ahead
        if self._due is not None and self._joins.at(begin - self._due):
            self.ahead += self._due - begin
            begin = self._due
        if self._film is not None and abs(apart := self._film.seconds - self.ahead) < _OVERHANG:
            begin, self.ahead = begin + apart, self._film.seconds
        self._due = begin + lasts
        return begin


class Interleaved:
    """Packets of sound, each recording's after the first of its pictures: until that is met, nothing tells where they
    belong. A second of them waits at most."""

    def __init__(self, container: str, film: JoinedClock) -> None:
        """``container``: libav's name of it; ``film``: is told of the picture's packets."""
        self._joins = Joins(container, Fraction(1))
        self._film = film
        self._due: dict[int, Fraction] = {}
        self._met: dict[int, int] = {}
        """Joins passed by now in each track."""
        self._held: list[Any] = []
        self._since: Fraction | None = None

    def sound(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Those of ``packets``, sound and picture, that are sound. What fails in reading fails here."""
        try:
            for packet in packets:
                if packet.stream_index == self._film.picture.index:
                    met = self._film.met
                    self._film.follow(packet)
                    if self._film.met > met:
                        yield from self._released()
                elif self._waits(packet):
                    self._held.append(packet)
                else:
                    if self._since is None:
                        yield from self._released()
                    yield packet
        except READ_ERRORS:
            yield from self._released()
            raise
        yield from self._released()

    def _released(self) -> list[Any]:
        held, self._held, self._since = self._held, [], None
        return held

    def _waits(self, packet: Any) -> bool:
        """Whether the packet belongs to a recording of which no picture was met yet."""
        track = packet.stream_index
        if packet.pts is None:
            return bool(self._held)
        base = Fraction(packet.time_base)
        begin = packet.pts * base
        if self._joins.at(begin - self._due.get(track, begin)):
            self._met[track] = self._met.get(track, 0) + 1
        self._due[track] = begin + (packet.duration or 0) * base
        if self._met.get(track, 0) <= self._film.met:
            return False
        self._since = begin if self._since is None else self._since
        if abs(begin - self._since) < _OVERHANG:
            return True
        self._met[track], self._since = self._film.met, None  # no join, then
        return False

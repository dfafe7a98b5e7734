"""Sound made longer or shorter with its pitch kept, along any map of time: a phase vocoder locked to attacks.

A sound is taken apart into short overlapping windows; each window of the output is the window of the source that
belongs to its time, its spectrum turned so that it continues the window before. The turning is found from the source's
own advance over the same distance, so no frequency is estimated, and is the same for all bins around a spectral peak
and for all channels (identity phase locking: Laroche and Dolson, "Improved phase vocoder time-scale modification of
audio", 1999), which keeps the sound and its place between the loudspeakers together.

A window spreads a sudden sound over its whole length times the factor: at eight times slower a clap would begin a tenth
of a second early. So the sound is cut at its attacks: no window reaches across one, each piece starts with the phases
of the source, and an attack sounds exactly when its picture is shown, as sharp as it was.

Everything is streamed; memory is a few windows whatever the length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
"""Sound, (channels, samples)."""

_WINDOW_SECONDS = 2048 / 48_000
"""Long enough for a voice's lowest tones, short enough for its syllables; rounded to a power of two of samples."""
_OVERLAP = 4
"""Windows over each sample."""
_FADE_SECONDS = 0.002
"""Pieces are faded into each other over this much, just before the attack."""

# When a sound counts as an attack.
_HOP_SECONDS = 0.0025
_PAST_HOPS = 16
"""What it is compared with: the 40 ms before."""
_RISE = 6.0
"""Times louder, in energy, than what was before."""
_FLOOR = 1e-7
"""Mean square below which nothing counts (-70 dB of full scale)."""
_APART_SECONDS = 0.05
"""Attacks nearer than this count as one."""


class Source:
    """A window onto a stream of samples that only moves forward.

    blocks: the samples, (channels, n) each, in order and without gaps. first: the index of the very first one; what
    lies before it and after the end is silence.
    """

    def __init__(self, blocks: Iterator[Samples], channels: int, first: int = 0) -> None:
        self._blocks = blocks
        self._parts: deque[Samples] = deque()
        self._start = first
        self._end = first
        self.channels = channels

    def read(self, start: int, stop: int) -> Samples:
        """Samples ``start`` to ``stop``; starts must not go back behind what was forgotten."""
        while self._end < stop and self._more():
            pass
        out = np.zeros((self.channels, stop - start), np.float32)
        at = self._start
        for part in self._parts:
            low, high = max(start, at), min(stop, at + part.shape[1])
            if low < high:
                out[:, low - start : high - start] = part[:, low - at : high - at]
            at += part.shape[1]
        return out

    def forget(self, before: int) -> None:
        """Lets go of samples before this index."""
        while self._parts and self._start + self._parts[0].shape[1] <= before:
            self._start += self._parts.popleft().shape[1]

    def _more(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        self._parts.append(block)
        self._end += block.shape[1]
        return True


class Attacks:
    """Finds the samples at which something begins to sound, in order, as far ahead as asked."""

    def __init__(self, source: Source, rate: int, start: int) -> None:
        self._source = source
        self._hop = max(1, round(_HOP_SECONDS * rate))
        self._apart = round(_APART_SECONDS * rate)
        self._at = start
        self._past: deque[float] = deque([0.0] * _PAST_HOPS, _PAST_HOPS)
        self._found: deque[int] = deque()
        self._last = start - self._apart

    def next_before(self, limit: int) -> int | None:
        """The next attack before sample ``limit``, which it removes; None when there is none."""
        while self._at < limit and not self._found:
            self._look()
        if self._found and self._found[0] < limit:
            return self._found.popleft()
        return None

    def _look(self) -> None:
        block = self._source.read(self._at, self._at + self._hop)
        energy = float(np.mean(np.square(block, dtype=np.float64)))
        before = max(self._past)
        # Against the loudest of the recent past: a beating or rumbling sound is no row of attacks.
        if energy > _FLOOR and energy > _RISE * before and self._at - self._last >= self._apart:
            self._last = self._at
            self._found.append(self._exactly(block))
        self._past.append(energy)
        self._at += self._hop

    def _exactly(self, block: Samples) -> int:
        """The first sample of the block that is a tenth as loud as what follows."""
        loud = np.abs(block).max(0)
        ahead = self._source.read(self._at, self._at + 3 * self._hop)
        return self._at + int(np.argmax(loud >= 0.1 * max(float(loud.max()), 0.5 * float(np.abs(ahead).max()))))


@dataclass(slots=True)
class _Piece:
    """From one attack to the next, in samples; where it ends is found out on the way."""

    source_start: int
    output_start: int
    source_end: int
    output_end: int
    is_last: bool = True
    """No attack has been found yet: it reaches to the end of everything."""


class Vocoder:
    """Makes the output's samples from a source's.

    source_at: output sample -> source sample (any real), never falling. output_at: its inverse. total: samples to make.
    """

    def __init__(
        self,
        source: Source,
        rate: int,
        total: int,
        source_at: Callable[[float], float],
        output_at: Callable[[float], float],
    ) -> None:
        self._source = source
        self._total = total
        self._source_at = source_at
        self._output_at = output_at
        self.size = 1 << max(6, round(np.log2(_WINDOW_SECONDS * rate)))
        self._hop = self.size // _OVERLAP
        self._fade = max(8, round(_FADE_SECONDS * rate))
        # Periodic Hann, its root for analysis and synthesis each, so that equal spectra give back the samples.
        window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.size) / self.size))
        self._window = window.astype(np.float32)
        self._ramp = (np.arange(self._fade, dtype=np.float32) + 0.5) / self._fade
        self._first = int(np.floor(source_at(0)))
        self._attacks = Attacks(source, rate, self._first)

    def run(self) -> Iterator[Samples]:
        """The output, in blocks of (channels, n); exactly ``total`` samples altogether."""
        done = 0
        tail = np.zeros((self._source.channels, 0), np.float32)
        end = max(int(np.ceil(self._source_at(self._total))), self._first + 1)
        piece = _Piece(self._first, 0, end, self._total)
        while done < self._total:
            for block in self._piece(piece):
                if tail.shape[1]:
                    # The end of the piece before fades out while this one fades in.
                    overlap = min(tail.shape[1], block.shape[1])
                    block[:, :overlap] = block[:, :overlap] * self._ramp[-tail.shape[1] :][:overlap] + (
                        tail[:, :overlap] * (1 - self._ramp[-tail.shape[1] :][:overlap])
                    )
                    tail = tail[:, overlap:]
                room = piece.output_end - done
                if block.shape[1] > room:
                    tail = np.concatenate([tail, block[:, room:]], 1)
                    block = block[:, :room]
                if block.shape[1]:
                    done += block.shape[1]
                    yield block
            piece = _Piece(piece.source_end, piece.output_end, end, self._total)

    def _look_ahead(self, piece: _Piece, center: int, middle: int) -> None:
        """Ends the piece at the next attack, if one is near enough to matter to the window at ``center``."""
        limit = max(middle, int(self._source_at(center + self.size))) + 2 * self.size
        while piece.is_last:
            attack = self._attacks.next_before(min(limit, piece.source_end))
            if attack is None:
                return
            # The fade lies before the attack on both clocks, so that the attack itself is neither early nor late.
            cut, output = attack - self._fade, round(self._output_at(attack)) - self._fade
            if output - piece.output_start >= 2 * self._fade and output + self._fade < self._total:
                piece.source_end, piece.output_end, piece.is_last = cut, output, False

    def _piece(self, piece: _Piece) -> Iterator[Samples]:
        """One piece and a fade's length after it (the last piece has none), in blocks as they are finished."""
        size, half = self.size, self.size // 2
        sums = np.zeros((self._source.channels, size + self._hop), np.float32)
        weights = np.zeros(size + self._hop, np.float32)
        base = piece.output_start - half  # the output sample that sums[0] belongs to
        center, step = piece.output_start, 0
        middle = piece.source_start if piece.output_start else round(self._source_at(0))
        previous: Any = None
        turn: Any = 1.0
        moved = 0
        while True:
            self._look_ahead(piece, center, middle)
            more = 0 if piece.is_last else self._fade
            bounds, end = (piece.source_start, piece.source_end + more), piece.output_end + more
            spectrum, mask = self._spectrum(middle, bounds)
            if previous is not None and moved != step:
                turn = self._turn(spectrum, previous, middle, step, bounds)
            # Where the source has moved on as far as the output, it continues itself.
            spectrum = spectrum * turn
            previous = spectrum
            window = self._window * mask
            at = center - half - base
            sums[:, at : at + size] += np.fft.irfft(spectrum, size).astype(np.float32) * window
            weights[at : at + size] += window * self._window
            following = min(center + self._hop, end)
            # No later window touches what lies before following - half.
            ready = (end if center == end else min(following - half, end)) - base
            low = max(0, piece.output_start - base)
            if ready > low:
                yield (sums[:, low:ready] / np.maximum(weights[low:ready], 1e-3)).astype(np.float32, copy=False)
            if center == end:
                return
            if ready > 0:
                sums, weights = _shifted(sums, ready), _shifted(weights, ready)
                base += ready
            center, step = following, following - center
            before, middle = middle, min(round(self._source_at(center)), bounds[1])
            moved = middle - before
            self._source.forget(middle - 2 * size - self._hop)

    def _spectrum(self, middle: int, bounds: tuple[int, int]) -> tuple[Any, npt.NDArray[np.float32]]:
        """(spectrum (channels, bins) of the window around source sample ``middle``, which of its samples count)."""
        low = middle - self.size // 2
        index = np.arange(low, low + self.size)
        mask = ((index >= bounds[0]) & (index < bounds[1])).astype(np.float32)
        return np.fft.rfft(self._source.read(low, low + self.size) * (self._window * mask), axis=-1), mask

    def _turn(self, spectrum: Any, previous: Any, middle: int, step: int, bounds: tuple[int, int]) -> Any:
        """The unit numbers, (bins,), that turn this window's spectrum so that it continues the one before.

        At a peak: phase of the previous output window plus the source's own advance over ``step`` samples, less the
        phase the window has by itself. The advance is measured as near as can be where the piece fills both windows.
        """
        half = self.size // 2
        low, high = bounds[0] + half + step, bounds[1] - half
        at = min(max(middle, low), high) if low <= high else middle
        here = spectrum if at == middle else self._spectrum(at, bounds)[0]
        there = self._spectrum(at - step, bounds)[0]
        peaks = _peaks(np.square(np.abs(spectrum)).sum(0))
        loudest = np.abs(spectrum[:, peaks]).argmax(0)
        places = (loudest, peaks)
        # In double precision: of quiet sound, a product of four is too small for single.
        first = previous[places].astype(np.complex128)
        turned = first * here[places] * np.conj(there[places]) * np.conj(spectrum[places])
        size = np.abs(turned)
        unit = np.where(size > 0, turned / np.where(size > 0, size, 1), 1).astype(spectrum.dtype)
        return np.repeat(unit, _regions(peaks, spectrum.shape[-1]))


def _shifted(data: Any, count: int) -> Any:
    """The same array with its first ``count`` entries gone and zeros at the end."""
    out = np.zeros_like(data)
    if count < data.shape[-1]:
        out[..., : data.shape[-1] - count] = data[..., count:]
    return out


def _peaks(loudness: Any) -> Any:
    """Bins louder than their two neighbours on either side; at least one."""
    padded = np.pad(loudness, 2, constant_values=-1.0)
    middle = padded[2:-2]
    higher = (middle > padded[:-4]) & (middle > padded[1:-3]) & (middle >= padded[3:-1]) & (middle >= padded[4:])
    found = np.flatnonzero(higher)
    return found if found.size else np.array([int(loudness.argmax())])


def _regions(peaks: Any, bins: int) -> Any:
    """How many bins belong to each peak: those nearer to it than to the next."""
    borders = (peaks[1:] + peaks[:-1] + 1) // 2
    return np.diff(np.concatenate([[0], borders, [bins]]))

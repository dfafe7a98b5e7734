"""Anything that makes the pictures between two.

A method is called as ``method(first, second, timesteps)`` and returns one picture per timestep; pictures are 8-bit RGB,
(height, width, 3) ``uint8``, timesteps lie in (0, 1). If it can use the pictures given before and after the two, it has
``within(window)``, which is called instead. It may also have ``motion(window, timesteps)``, which the sheet of worst
cases draws, and ``describe()``, which goes into the JSON report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from slomo_cli.cuts import CutDetector, PairKinds
from slomo_cli.evaluate.clips import Window
from slomo_cli.picture import RGB
from slomo_cli.values import ComputeSettings, Frame


class PictureMotion(Protocol):
    """Where the pixels of T pictures come from, as arrays of the pictures' size."""

    @property
    def flow_t0(self) -> npt.NDArray[np.floating]:
        """(T, height, width, 2): displacement (x, y) in pixels to the first picture."""

    @property
    def flow_t1(self) -> npt.NDArray[np.floating]:
        """(T, height, width, 2): the same to the second."""

    @property
    def visibility(self) -> npt.NDArray[np.floating]:
        """(T, height, width) in [0, 1]: how surely the pixel is seen in the first picture."""


class Method(Protocol):
    """Makes the pictures between two."""

    def __call__(self, first: RGB, second: RGB, timesteps: Sequence[Fraction], /) -> Sequence[RGB]:
        """One picture per timestep, of the size of the two."""


class Network:
    """A network of slomo as a method: its pictures, and the motion behind them for the sheet."""

    def __init__(self, settings: ComputeSettings) -> None:
        """Loads the weights; errors as ``Interpolator`` raises them."""
        from slomo_cli.interpolate import Interpolator

        self._interpolator = Interpolator(**asdict(settings))
        self._frames: deque[tuple[RGB, Frame]] = deque(maxlen=4)
        self._kinds = PairKinds(CutDetector())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._interpolator.close()

    def describe(self) -> dict[str, str]:
        """What was measured: weights, their checksum, device."""
        network = self._interpolator
        return {"weights": network.weights_name, "sha256": network.sha256, "device": network.describe()}

    def __call__(self, first: RGB, second: RGB, timesteps: Sequence[Fraction], /) -> Sequence[RGB]:
        return self._interpolator.between(first, second, timesteps)

    def within(self, window: Window) -> Sequence[RGB]:
        """The pictures at all times of a window, by the pictures beside it as well, as a conversion makes them."""
        if window.before is None:  # another clip: what is usual in one says nothing of the next
            self._kinds = PairKinds(CutDetector())
        beside = self._beside(window, self._kinds)
        pictures = self._interpolator.frames(*self._pair(window), window.timesteps, *beside)
        return [np.stack((red, green, blue), axis=-1) for green, blue, red in pictures]

    def motion(self, window: Window, timesteps: Sequence[Fraction]) -> PictureMotion:
        """Flows and visibility at the pictures' size."""
        beside = self._beside(window, PairKinds(CutDetector()))
        return self._interpolator.motion(*self._pair(window), timesteps, *beside)

    def _pair(self, window: Window) -> tuple[Frame, Frame]:
        return self._frame(window.first, window.second), self._frame(window.second, window.first)

    def _beside(self, window: Window, kinds: PairKinds) -> list[tuple[Frame, Fraction] | None]:
        """The pictures before and after, those of other shots left out as the cuts of a conversion are."""
        if window.before is None and window.after is None:
            return [None, None]
        left, right = self._pair(window)
        before = window.before and (self._frame(window.before[0], window.first), window.before[1])
        after = window.after and (self._frame(window.after[0], window.second), window.after[1])
        return kinds.around(before, left, right, after)[1]

    def _frame(self, picture: RGB, other: RGB) -> Frame:
        """The picture as a frame: the same one for the same picture, whose flow need not be found again."""
        for known, frame in self._frames:
            if known is picture:
                return frame
        from slomo_cli.arrays import image_frame

        made = image_frame(picture, other)
        self._frames.append((picture, made))
        return made

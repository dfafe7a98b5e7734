"""Anything that makes the pictures between two.

A method is called as ``method(first, second, timesteps)`` and returns one picture per timestep; pictures are 8-bit RGB,
(height, width, 3) ``uint8``, timesteps lie in (0, 1). It may also have ``motion(first, second, timesteps)``, which the
sheet of worst cases draws, and ``describe()``, which goes into the JSON report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from slomo_cli.values import ComputeSettings

RGB = npt.NDArray[np.uint8]


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

    def motion(self, first: RGB, second: RGB, timesteps: Sequence[Fraction]) -> PictureMotion:
        """Flows and visibility at the pictures' size."""
        return self._interpolator.motion(first, second, timesteps)

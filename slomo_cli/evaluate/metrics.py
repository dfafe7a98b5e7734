"""PSNR, SSIM and interpolation error of one 8-bit RGB picture against the truth.

All three take ``uint8`` arrays of shape (height, width, 3) and raise InputError where the two do not fit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slomo_cli.errors import InputError
from slomo_cli.picture import RGB

PEAK = 255.0
PSNR_CEILING = 100.0
"""dB a picture equal to its truth counts in a mean, where its own PSNR, infinite, would hide all others."""

_RADIUS = 5
_WINDOW = 2 * _RADIUS + 1
_SIGMA = 1.5
_STRIP = 64  # rows of SSIM computed together: what lies in the cache is quick, and 4K needs no gigabyte


class Metrics(NamedTuple):
    """How near one picture comes to the truth."""

    psnr: float
    """dB, higher is nearer; at most PSNR_CEILING."""
    ssim: float
    """-1..1, 1 for equal pictures."""
    ie: float
    """Interpolation error, 0..441.7 levels, lower is nearer."""


def measure(picture: RGB, truth: RGB) -> Metrics:
    """All three metrics of one picture; PSNR is cut at PSNR_CEILING."""
    return Metrics(min(psnr(picture, truth), PSNR_CEILING), ssim(picture, truth), interpolation_error(picture, truth))


def psnr(picture: RGB, truth: RGB) -> float:
    """Peak signal-to-noise ratio over all samples in dB; infinite for equal pictures."""
    error = _squared_error(picture, truth) / picture.size
    return 10 * math.log10(PEAK * PEAK / error) if error else math.inf


def interpolation_error(picture: RGB, truth: RGB) -> float:
    """Root mean square over pixels of the length of the RGB difference, as the Middlebury benchmark defines it."""
    return math.sqrt(_squared_error(picture, truth) / (picture.size / 3))


def ssim(picture: RGB, truth: RGB) -> float:
    """Mean structural similarity: Gaussian window of sigma 1.5 (11 x 11), data range 255, mean of the channels.

    Wang et al., "Image Quality Assessment" (2004), equation 13, with population covariances, over the positions where
    the window lies wholly inside the picture.
    """
    _check(picture, truth)
    height, width, channels = (int(side) for side in picture.shape)
    if min(height, width) < _WINDOW:
        raise InputError(f"SSIM needs pictures of at least {_WINDOW}x{_WINDOW} pixels, found {width}x{height}")
    total = 0.0
    for top in range(0, height - _WINDOW + 1, _STRIP):
        rows = slice(top, top + _STRIP + _WINDOW - 1)
        for channel in range(channels):
            total += _similarity(picture[rows, :, channel], truth[rows, :, channel])
    return total / (channels * (height - _WINDOW + 1) * (width - _WINDOW + 1))


def _similarity(a: RGB, b: RGB) -> float:
    """Sum of the SSIM map of one channel.

    Filtering sum and difference of the two needs four Gaussian means instead of five: with s = a + b and d = a - b,
    2 a b = (s s - d d) / 2 and a a + b b = (s s + d d) / 2, for the means as for the (co)variances.
    """
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    s = a.astype(np.float64) + b
    d = a.astype(np.float64) - b
    mean_s, mean_d = _gaussian(s), _gaussian(d)
    var_s = _gaussian(s * s) - mean_s * mean_s
    var_d = _gaussian(d * d) - mean_d * mean_d
    mean_s *= mean_s
    mean_d *= mean_d
    above = ((mean_s - mean_d) / 2 + c1) * ((var_s - var_d) / 2 + c2)
    below = ((mean_s + mean_d) / 2 + c1) * ((var_s + var_d) / 2 + c2)
    return float((above / below).sum())


def _gaussian(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gaussian mean at every position the window fits: (h, w) -> (h - 10, w - 10)."""
    weights = np.exp(-0.5 * (np.arange(_RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    height, width = values.shape[0] - 2 * _RADIUS, values.shape[1] - 2 * _RADIUS
    rows = weights[0] * values[_RADIUS : _RADIUS + height]
    for by in range(1, _RADIUS + 1):
        rows += weights[by] * (values[_RADIUS - by :][:height] + values[_RADIUS + by :][:height])
    mean = weights[0] * rows[:, _RADIUS : _RADIUS + width]
    for by in range(1, _RADIUS + 1):
        mean += weights[by] * (rows[:, _RADIUS - by :][:, :width] + rows[:, _RADIUS + by :][:, :width])
    return np.asarray(mean)


def _squared_error(picture: RGB, truth: RGB) -> int:
    """Sum of squared differences, exact."""
    _check(picture, truth)
    # A dot product of whole numbers in float64 is exact up to 2**53, far beyond an 8K picture.
    difference = (picture.astype(np.float64) - truth).ravel()
    return int(np.dot(difference, difference))


def _check(picture: RGB, truth: RGB) -> None:
    for name, array in (("picture", picture), ("truth", truth)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise InputError(f"expected a {name} of 8-bit RGB, (height, width, 3), found {array.dtype} {array.shape}")
    if picture.shape != truth.shape:
        raise InputError(
            f"expected a picture of the truth's size {truth.shape[1]}x{truth.shape[0]}, "
            f"found {picture.shape[1]}x{picture.shape[0]}"
        )

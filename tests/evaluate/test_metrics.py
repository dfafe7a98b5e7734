"""PSNR, SSIM and IE against scikit-image and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from slomo_cli.errors import InputError
from slomo_cli.evaluate.metrics import PSNR_CEILING, interpolation_error, measure, psnr, ssim

SIZES = [(11, 11), (12, 90), (64, 48), (75, 131), (256, 256)]


def pictures(height: int, width: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its truth: noise, or smooth shades with a step, off by a few levels."""
    rng = np.random.default_rng(height * 1000 + width)
    if kind == "noise":
        return tuple(rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(2))
    y, x = np.mgrid[:height, :width]
    truth = np.stack([x * 255 / width, y * 255 / height, 40 + 180 * (x > width // 2)], axis=2)
    off = np.roll(truth, 1, axis=1) + rng.normal(0, 3 if kind == "near" else 25, truth.shape)
    return np.clip(np.rint(off), 0, 255).astype(np.uint8), np.rint(truth).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["noise", "near", "far"])
def test_as_scikit_image(size: tuple[int, int], kind: str) -> None:
    """PSNR and SSIM are scikit-image's to better than 1e-4."""
    picture, truth = pictures(*size, kind)
    expected = structural_similarity(
        truth, picture, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=255
    )
    assert ssim(picture, truth) == pytest.approx(expected, abs=1e-9)
    assert psnr(picture, truth) == pytest.approx(peak_signal_noise_ratio(truth, picture, data_range=255), abs=1e-9)


@pytest.mark.parametrize("kind", ["noise", "near"])
def test_interpolation_error_by_its_definition(kind: str) -> None:
    """IE is the root mean square over pixels of the length of the RGB difference."""
    picture, truth = pictures(33, 47, kind)
    lengths = np.linalg.norm(picture.astype(float) - truth, axis=2)
    assert interpolation_error(picture, truth) == pytest.approx(math.sqrt((lengths**2).mean()), rel=1e-12)


def test_known_values() -> None:
    """One level everywhere: 48.13 dB and sqrt(3); the opposite of everything: 0 dB and 255 sqrt(3)."""
    zero, one = np.zeros((20, 20, 3), np.uint8), np.ones((20, 20, 3), np.uint8)
    assert psnr(one, zero) == pytest.approx(48.1308, abs=1e-4)
    assert interpolation_error(one, zero) == pytest.approx(math.sqrt(3))
    assert psnr(255 * one, zero) == pytest.approx(0)
    assert interpolation_error(255 * one, zero) == pytest.approx(255 * math.sqrt(3))
    assert ssim(255 * one, zero) == pytest.approx(0, abs=1e-3)


def test_equal_pictures_stay_finite_in_a_mean() -> None:
    """An equal picture has infinite PSNR, and counts as the ceiling."""
    picture, _ = pictures(20, 30, "noise")
    assert psnr(picture, picture) == math.inf
    assert measure(picture, picture) == (PSNR_CEILING, pytest.approx(1), 0)


def test_all_is_symmetric() -> None:
    """Neither order nor memory layout matters."""
    a, b = pictures(40, 50, "far")
    assert measure(a, b) == pytest.approx(measure(np.asfortranarray(b), a[::-1][::-1]), rel=1e-12)


@pytest.mark.parametrize(
    ("picture", "truth", "words"),
    [
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8), "truth's size 21x20, found 20x20"),
        (np.zeros((20, 20, 3), np.uint16), np.zeros((20, 20, 3), np.uint16), "8-bit RGB"),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), "8-bit RGB"),
        (np.zeros((10, 20, 3), np.uint8), np.zeros((10, 20, 3), np.uint8), "at least 11x11 pixels, found 20x10"),
    ],
)
def test_what_cannot_be_measured(picture: np.ndarray, truth: np.ndarray, words: str) -> None:
    """Other sizes, depths and shapes are refused in words."""
    with pytest.raises(InputError, match=words):
        measure(picture, truth)

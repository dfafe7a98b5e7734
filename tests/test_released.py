"""What the released network can do, on pictures made here: motion, light, captions, rest. Scores on real ones are for
`slomo eval`; these show that the weights belong to the code, and the abilities they were trained for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch

from slomo_cli.interpolate import Interpolator

Picture = npt.NDArray[np.uint8]
HEIGHT, WIDTH = 192, 320


@pytest.fixture(scope="module")
def fast() -> Iterator[Interpolator]:
    with Interpolator("fast", device="cpu", dtype="float32") as net:
        yield net


def texture(seed: int = 0) -> npt.NDArray[np.float32]:
    """(384, 768, 3) in 30..225: coloured noise with as much in every octave, as natural pictures have."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, 384, 768)
    for cells in (3, 6, 12, 24, 48, 96):
        knots = torch.randn(1, 3, cells, 2 * cells, generator=generator)
        total += torch.nn.functional.interpolate(knots, (384, 768), mode="bicubic") / cells**0.7
    low, high = total.amin(), total.amax()
    return ((total - low) / (high - low) * 195 + 30)[0].permute(1, 2, 0).numpy()


def view(world: npt.NDArray[np.float32], x: int, y: int = 0, light: float = 1.0) -> Picture:
    """What a camera sees of the world ``x`` and ``y`` pixels right and below of its place."""
    part = world[96 + y : 96 + y + HEIGHT, 160 + x : 160 + x + WIDTH] * light
    return part.round().clip(0, 255).astype(np.uint8)


def psnr(result: npt.NDArray[np.integer], truth: Picture) -> float:
    return float(-10 * np.log10(np.mean((result.astype(float) - truth) ** 2) / 255**2 + 1e-10))


def blended(first: Picture, last: Picture) -> Picture:
    return ((first.astype(int) + last + 1) // 2).astype(np.uint8)


@pytest.mark.parametrize(("x", "y", "gain"), [(2, 0, 15), (16, -6, 18), (48, 12, 14), (-90, 20, 8), (120, 0, 6)])
def test_a_pan_is_followed(fast: Interpolator, x: int, y: int, gain: float) -> None:
    world = texture()
    first, last, truth = view(world, -x // 2, -y // 2), view(world, x // 2, y // 2), view(world, 0)

    (made,) = fast.between(first, last, [0.5])

    assert psnr(made, truth) > psnr(blended(first, last), truth) + gain


@pytest.mark.parametrize(("light", "least"), [(0.92, 43), (0.6, 41)])
def test_motion_is_followed_through_a_fade(fast: Interpolator, light: float, least: float) -> None:
    """A network that takes a change of light for motion stays below 40 and 37."""
    world = texture(1)
    first, last = view(world, 0), view(world, 8, 4, light)
    truth = view(world, 4, 2, (1 + light) / 2)

    (made,) = fast.between(first, last, [0.5])

    assert psnr(made, truth) > least


def test_a_fade_moves_nothing(fast: Interpolator) -> None:
    world = texture(2)
    first, last, truth = view(world, 0), view(world, 0, light=0.7), view(world, 0, light=0.85)

    (made,) = fast.between(first, last, [0.5])

    assert psnr(made, truth) > 40


def test_a_caption_stands_still_over_a_pan(fast: Interpolator) -> None:
    world = texture(3)
    first, last, truth = view(world, -6), view(world, 6), view(world, 0)
    strokes = np.zeros((HEIGHT, WIDTH), bool)
    for k in range(8):
        strokes[150:170, 80 + 20 * k : 84 + 20 * k] = True
        strokes[158:161, 80 + 20 * k : 92 + 20 * k] = True
    for picture in (first, last, truth):
        picture[strokes] = 255

    (made,) = fast.between(first, last, [0.5])

    assert psnr(made[strokes], truth[strokes]) > 25
    assert psnr(made[~strokes], truth[~strokes]) > psnr(blended(first, last)[~strokes], truth[~strokes]) + 6


@pytest.mark.parametrize(("radius", "half_way", "least"), [(20, 18, 29), (20, 22, 35), (10, 30, 35), (5, 30, 35)])
def test_a_thing_about_as_small_as_its_motion_is_not_lost(
    fast: Interpolator, radius: int, half_way: int, least: float
) -> None:
    """By the flow alone it is left behind, half transparent, at both ends of its way: 14 to 22 dB. One that overlaps
    itself is followed by it."""
    world, thing = texture(7), texture(8)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]

    def seen(at: int) -> tuple[Picture, npt.NDArray[np.bool_]]:
        inside = np.hypot(rows - HEIGHT // 2, columns - WIDTH // 2 - at) < radius
        return np.where(inside[..., None], view(thing, -at), view(world, 0)), inside

    (first, _), (last, _), (truth, inside) = seen(-half_way), seen(half_way), seen(0)

    (made,) = fast.between(first, last, [0.5])

    assert psnr(made[inside], truth[inside]) > least
    assert psnr(made[~inside], truth[~inside]) > 40  # nothing is left where it was, and where it will be


def test_a_bar_that_moves_further_than_it_is_wide_does_not_fade(fast: Interpolator) -> None:
    """Its flow is found; by equation 4 alone it fades half way, to 35.4 dB."""
    world, thing = texture(3), texture(4)
    columns = np.arange(WIDTH)

    def seen(at: int) -> tuple[Picture, npt.NDArray[np.bool_]]:
        inside = np.broadcast_to(np.abs(columns - WIDTH // 2 - at) < 12, (HEIGHT, WIDTH))
        return np.where(inside[..., None], view(thing, -at), view(world, 0)), inside

    (first, _), (last, _), (truth, inside) = seen(-18), seen(18), seen(0)

    (made,) = fast.between(first, last, [0.5])

    assert psnr(made[inside], truth[inside]) > 36.3
    assert psnr(made[~inside], truth[~inside]) > 38


def test_what_stands_still_stays(fast: Interpolator) -> None:
    still = view(texture(4), 0)

    made = fast.between(still, still.copy(), [0.25, 0.5])

    assert all(np.abs(picture.astype(int) - still).max() <= 1 for picture in made)

"""Scenes: flow and visibility are exact, the elastic inverse converges, draws repeat."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from train_helpers import CPU, photo

from slomo_cli.errors import InputError
from slomo_cli.net.warp import pixel_grid, warp
from slomo_cli.train.find import find_photos
from slomo_cli.train.scene import Scene
from slomo_cli.train.spoil import quantise, spoil
from slomo_cli.train.synthetic import STRONGEST_BEND, SyntheticSampler, load_photos

SIZE = 64


def sampler(targets: int = 2, crop: int = SIZE, layers: int = 3, repeated: float = 0.0) -> SyntheticSampler:
    photos = [photo(seed=1), photo(130, 90, seed=2), photo(100, 300, seed=3)]
    return SyntheticSampler(photos, crop, targets, CPU, layers=layers, repeated=repeated)


def solid(scene_owner: torch.Tensor) -> torch.Tensor:
    """(N, P, 1, h, w) bool: no other layer within two pixels: away from the edges, where layers mix."""
    owner = scene_owner[:, :, 0].float()
    far = torch.nn.functional.max_pool2d(owner, 5, 1, 2) == -torch.nn.functional.max_pool2d(-owner, 5, 1, 2)
    return far[:, :, None]


@pytest.fixture(scope="module")
def scene() -> Scene:
    scene = sampler()._scene(6, np.random.default_rng(5))
    # Layers hide wholly or not at all, but for the pixels along their edges, which the tests leave out.
    opacity = scene.layers[:, :, 3]
    opacity[:] = torch.nn.functional.max_pool2d((opacity > 0.5).float(), 5, 1, 2)
    return scene


TIMES = np.tile([0.0, 1.0, 0.25, 0.5, 0.9], (6, 1))


@pytest.mark.parametrize("end", [0, 1])
def test_warping_an_end_by_the_exact_flow_gives_the_picture_between(scene: Scene, end: int) -> None:
    at = scene.render(TIMES)
    seen = scene.seen(at)[end]
    flow = (at.flow_0, at.flow_1)[end]
    steps = TIMES.shape[1]
    source = at.picture[:, end]
    owners = at.owner[:, end].float()

    warped = warp(source.repeat_interleave(steps, 0), flow.flatten(0, 1)).unflatten(0, (6, steps))
    # Where the four pixels looked up all belong to the pixel's own layer, away from edges at both times.
    other = warp(owners.repeat_interleave(steps, 0), flow.flatten(0, 1)).unflatten(0, (6, steps))
    clean = solid(at.owner[:, [end]]).float().squeeze(1)
    near = warp(clean.repeat_interleave(steps, 0), flow.flatten(0, 1)).unflatten(0, (6, steps)) > 0.999
    good = seen & solid(at.owner) & near & ((other - at.owner).abs() < 1e-4)

    error = (warped - at.picture).abs().amax(2, keepdim=True)[good]
    assert good.float().mean() > 0.5
    # Frame 0 lies on the pixels of the textures, so nothing is sampled twice; frame 1 does not.
    assert error.max() < (1e-4 if end == 0 else 0.12)
    assert error.mean() < (1e-5 if end == 0 else 0.006)


def test_visible_pixels_show_their_own_layer_and_hidden_ones_another(scene: Scene) -> None:
    at = scene.render(TIMES)
    seen, _ = scene.seen(at)
    place = pixel_grid(SIZE, SIZE, CPU)[:, None] + at.flow_0
    inside = ((place >= 0) & (place <= SIZE - 1)).all(2, keepdim=True)
    nearest = place.round().long()
    x, y = nearest.clamp(0, SIZE - 1).unbind(2)
    found = at.owner[:, 0, 0][torch.arange(6)[:, None, None, None], y, x][:, :, None]
    clear = solid(at.owner)[:, 0, 0][torch.arange(6)[:, None, None, None], y, x][:, :, None]
    certain = inside & solid(at.owner) & clear

    assert (found == at.owner)[certain & seen].all()
    hidden = (found > at.owner)[certain & ~seen]
    assert hidden.all() and len(hidden) > 100
    assert 0.5 < seen.float().mean() < 1


def test_frame_zero_is_at_rest_and_flows_agree_with_each_other(scene: Scene) -> None:
    at = scene.render(TIMES)

    assert at.flow_0[:, 0].abs().max() < 1e-4
    assert at.flow_1[:, 1].abs().max() < 0.02
    # From time t over frame 0 to frame 1 is as far as from t to frame 1, where frame 0 shows the pixel.
    steps = TIMES.shape[1]
    on = warp(at.flow_1[:, 0].repeat_interleave(steps, 0), at.flow_0.flatten(0, 1)).unflatten(0, (6, steps))
    seen, _ = scene.seen(at)
    error = (at.flow_0 + on - at.flow_1).abs().amax(2, keepdim=True)[seen & solid(at.owner)]
    assert error.median() < 0.05


def test_elastic_inverse_converges_for_the_strongest_bend() -> None:
    one = sampler(crop=128)
    rng = np.random.default_rng(0)
    layers = torch.zeros(4, 2, 4, 192, 192)
    layers[:, 1, 3] = torch.rand(192, 192, generator=torch.Generator().manual_seed(0)).round()
    generators = one._generators(8, rng).reshape(4, 2, 3, 3)
    scale = np.full(8, STRONGEST_BEND)
    elastic = one._noise(8, 2, 3, 128, scale, rng).unflatten(0, (4, 2))
    scene = Scene(layers, generators, elastic)

    at = scene.render(np.tile([0.0, 0.6], (4, 1)))

    grid = pixel_grid(128, 128, CPU)[:, :, None]
    place, start = (grid + flow.transpose(1, 2) for flow in (at.flow_1, at.flow_0))
    assert (elastic.abs().amax()) > 2 * STRONGEST_BEND
    assert 0.2 < at.owner.mean() < 0.8, "pixels of both layers beside one another"
    for layer in range(2):
        error = (scene.to_start(layer, place) - start).abs().amax(1)[at.owner[:, :, 0] == layer]
        assert error.max() < 0.05


def test_shapes_times_and_truth_of_a_batch() -> None:
    batch = sampler(targets=3).draw(4, np.random.default_rng(1))

    assert batch.i0.shape == batch.i1.shape == (4, 3, SIZE, SIZE)
    assert batch.targets.shape == (12, 3, SIZE, SIZE)
    assert batch.index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert ((batch.t > 0) & (batch.t < 1)).all()
    assert float(batch.targets.min()) >= 0 and float(batch.targets.max()) <= 1
    truth = batch.truth
    assert truth is not None
    assert truth.flow_01.shape == (4, 2, SIZE, SIZE) and truth.flow_t0.shape == (12, 2, SIZE, SIZE)
    assert truth.seen_0.dtype == torch.bool and truth.seen_0.shape == (12, 1, SIZE, SIZE)


def test_truth_follows_when_the_ends_are_swapped() -> None:
    one = sampler(targets=1)
    scene = one._scene(3, np.random.default_rng(2))
    t = np.full((3, 1), 0.25)
    plain = one._batch(scene, t, False, np.random.default_rng(3))
    swapped = one._batch(scene, t, True, np.random.default_rng(3))
    assert plain.truth is not None and swapped.truth is not None

    assert torch.equal(swapped.t, 1 - plain.t)
    assert torch.equal(swapped.truth.flow_01, plain.truth.flow_10)
    assert torch.equal(swapped.truth.flow_t0, plain.truth.flow_t1)
    assert torch.equal(swapped.truth.seen_0, plain.truth.seen_1)
    assert torch.equal(swapped.targets, plain.targets) or (swapped.targets - plain.targets).abs().max() < 0.05


def test_a_draw_depends_on_the_generator_alone() -> None:
    first, again = (sampler().draw(3, np.random.default_rng([7, 5])) for _ in range(2))
    other = sampler().draw(3, np.random.default_rng([7, 6]))

    assert torch.equal(first.i0, again.i0) and torch.equal(first.targets, again.targets)
    assert not torch.equal(first.i0, other.i0)


def test_spoiling_leaves_targets_free_of_noise_and_blocks() -> None:
    pictures = torch.full((64, 4, 3, 16, 16), 0.5)

    spoiled = spoil(pictures, np.random.default_rng(0))

    flat = spoiled.flatten(3).std(-1)
    assert (flat[:, 2:] < 1e-6).all(), "targets of flat pictures stay flat"
    assert (flat[:, :2].amax((1, 2)) > 1e-3).float().mean() > 0.1, "some inputs are noisy"


def test_quantised_blocks_keep_flat_pictures_and_lose_detail() -> None:
    flat = torch.full((1, 3, 16, 16), 0.4)
    step = torch.tensor(0.05).view(1, 1, 1, 1)

    assert (quantise(flat, step) - flat).abs().max() < 0.05 / 8
    assert torch.allclose(quantise(flat, step * 1e-6), flat, atol=1e-5)
    noise = flat + 0.01 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    assert quantise(noise, step * 4).std() < noise.std() / 4


def test_colours_of_photos_run_on_between_their_samples(tmp_path: Path) -> None:
    """JPEG of 4:2:0, as cameras write it: no row repeats the colours of another."""
    ramp = np.arange(64, 192, 4, dtype=np.uint8)[:, None].repeat(32, 1).reshape(16, 64)
    frame = av.VideoFrame.from_ndarray(np.concatenate((np.full((64, 64), 120, np.uint8), ramp, ramp)), "yuvj420p")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuvj420p", Fraction(1)
    encoder.qmin = encoder.qmax = 1
    (tmp_path / "a.jpg").write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))

    (only,) = load_photos([tmp_path / "a.jpg"]).values()

    steps = np.diff(only[:, 2:62, 32].astype(int), axis=1) * [[1], [-1], [1]]
    assert steps.min() >= 1 and steps.max() <= 5


def test_photos_are_found_read_and_scaled(tmp_path: Path) -> None:
    from slomo_cli.picture import write_png

    (tmp_path / "deep").mkdir()
    write_png(tmp_path / "a.png", photo(300, 200).transpose(1, 2, 0))
    write_png(tmp_path / "deep" / "small.png", photo(30, 200).transpose(1, 2, 0))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")

    paths = find_photos([tmp_path])
    ((path, only),) = load_photos(paths, short_side=100).items()

    assert [p.name for p in paths] == ["a.png", "broken.jpg", "small.png"]
    assert path.name == "a.png" and only.shape == (3, 150, 100) and only.dtype == np.uint8
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="none can be read"):
        load_photos([tmp_path / "broken.jpg"])
    with pytest.raises(InputError, match="no picture in"):
        find_photos([empty])


def test_a_folder_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no folder"):
        find_photos([tmp_path / ("long" * 100)])


def test_a_repeating_field_looks_the_same_a_period_further_on() -> None:
    textures = [sampler(repeated=share)._textures(12, np.random.default_rng(4)) for share in (0.0, 1.0)]

    changed = (textures[1] - textures[0]).abs().amax(1) > 0.02
    assert 0.2 < changed.float().mean() < 0.8, "a part, and the photo around it"

    def likeness(picture: torch.Tensor) -> float:
        """Highest correlation of the picture with itself at distances between 6 and 24 pixels."""
        flat = picture.mean(0) - picture.mean()
        spectrum = torch.fft.rfft2(flat).abs().square()
        correlation = torch.fft.irfft2(spectrum, flat.shape)
        place = torch.fft.fftfreq(flat.shape[0]) * flat.shape[0]
        distance = torch.hypot(place[:, None], place[None])
        ring = (distance > 6) & (distance < 24)
        # As compared with the best in between: a smooth picture only falls off.
        near = (distance > 3) & (distance <= 6)
        return float((correlation[ring].max() - correlation[near].min()) / correlation[0, 0])

    more = [likeness(b) - likeness(a) for a, b in zip(*textures, strict=True)]
    assert sum(gain > 0 for gain in more) >= 8


def test_a_caption_stands_still_in_front_and_hides_what_passes_beneath(monkeypatch) -> None:
    monkeypatch.setattr("slomo_cli.train.captions.ROLLING", 0.0)
    one = sampler()
    scene = one._scene(4, np.random.default_rng(2))
    t = np.full((4, 2), 0.4)
    plain = one._batch(scene, t, False, np.random.default_rng(3))
    one.captioned = 1.0
    laid = one._batch(scene, t, False, np.random.default_rng(3))
    truth, before = laid.truth, plain.truth
    assert truth is not None and before is not None

    still = (truth.flow_01 == 0).all(1, keepdim=True) & ~(before.flow_01 == 0).all(1, keepdim=True)
    assert 0.005 < still.float().mean() < 0.9
    over = still[laid.index]
    for flow, was, seen, saw in (
        (truth.flow_t0, before.flow_t0, truth.seen_0, before.seen_0),
        (truth.flow_t1, before.flow_t1, truth.seen_1, before.seen_1),
    ):
        assert (flow[over.expand_as(flow)] == 0).all() and seen[over].all()
        assert torch.equal(flow[~over.expand_as(flow)], was[~over.expand_as(flow)])
        hidden = saw & ~seen
        assert hidden.any() and not (seen & ~saw & ~over).any()
        assert not (seen & (warp(over.float(), flow) > 0.5) & ~over).any()
        any_still = (truth.flow_01 == 0).all(1, keepdim=True)[laid.index]  # what stood still before, too
        assert (warp(any_still.float(), flow) > 0.5)[hidden].all()


@pytest.mark.parametrize("swap", [False, True])
def test_the_truth_leads_to_where_a_rolling_caption_is(monkeypatch, swap: bool) -> None:
    """Told apart by colour: magenta captions over scenes without any."""
    monkeypatch.setattr("slomo_cli.train.captions.ROLLING", 1.0)
    monkeypatch.setattr("slomo_cli.train.captions._colour", lambda *_, **__: torch.tensor([1.0, 0, 1.0]).view(3, 1, 1))
    monkeypatch.setattr("slomo_cli.train.synthetic.spoil", lambda pictures, rng: pictures)
    one = sampler()
    one.captioned = 1.0
    scene = one._scene(8, np.random.default_rng(2))
    scene.layers[:, :, 1].clamp_(min=0.5)
    scene.layers[:, :, 0].clamp_(max=0.5)

    batch = one._batch(scene, np.tile([0.3, 0.6], (8, 1)), swap, np.random.default_rng(4))

    def text(pictures: torch.Tensor) -> torch.Tensor:
        return ((pictures[:, 0] - pictures[:, 1]).clamp(0, 1))[:, None]

    assert batch.truth is not None
    plain = text(batch.targets)
    inside = -torch.nn.functional.max_pool2d(-plain, 3, 1, 1) > 0.9
    without = torch.nn.functional.max_pool2d(plain, 3, 1, 1) < 0.05
    assert inside.float().mean() > 0.02 and without.float().mean() > 0.2
    for end, flow, seen in (
        (batch.i0, batch.truth.flow_t0, batch.truth.seen_0),
        (batch.i1, batch.truth.flow_t1, batch.truth.seen_1),
    ):
        found = warp(text(end)[batch.index], flow)
        assert found[inside & seen].mean() > 0.97, "text comes from text"
        assert found[without & seen].mean() < 0.1, "and what is beside it from beside it"
    assert not torch.equal(batch.truth.seen_0, batch.truth.seen_1)
    for begin, end, flow in (
        (batch.i0, batch.i1, batch.truth.flow_01),
        (batch.i1, batch.i0, batch.truth.flow_10),
    ):
        inside = -torch.nn.functional.max_pool2d(-text(begin), 3, 1, 1) > 0.9
        place = pixel_grid(SIZE, SIZE, CPU) + flow
        inside &= ((place >= 0) & (place <= SIZE - 1)).all(1, keepdim=True)
        inside &= (text(begin).mean((1, 2, 3)) < 0.9).view(-1, 1, 1, 1)  # a ground of its own is everywhere
        assert inside.sum() > 100 and warp(text(end), flow)[inside].mean() > 0.97

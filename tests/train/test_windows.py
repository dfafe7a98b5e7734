"""Windows of real video: cut free, in time, exactly where they say; squares of the store; the cache."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from train_helpers import CPU, moving_clip, no_room, photo, wave, write_video

from slomo_cli.errors import InputError, SlomoError
from slomo_cli.train.cache import GRID, Clip, load_clips
from slomo_cli.train.find import find_photos, find_videos
from slomo_cli.train.settings import WindowSettings
from slomo_cli.train.store import Place, Squares, Store, _fits, resize_weights
from slomo_cli.train.windows import Batch, Truth, WindowSampler, _share_targets

SETTINGS = WindowSettings(crop=64, lengths=(2, 4), length_weights=(0.5, 0.5), targets=2)


def joined(*clips: Clip) -> Clip:
    """One clip of several, each starting with a cut."""
    motion = np.concatenate([c.motion for c in clips])
    cuts = np.zeros(len(motion), bool)
    starts = np.cumsum([len(c.times) for c in clips[:-1]])
    motion[starts], cuts[starts] = 60.0, True
    frames = np.concatenate([c.frames for c in clips])
    return Clip(Path("joined.mp4"), frames, np.arange(len(frames)) / 30, motion, cuts)


def used(sampler: WindowSampler, draws: int = 40) -> list[tuple[int, int]]:
    """(first, last) frame of many windows."""
    found = []
    for k in range(draws):
        plan = sampler._plan(8, np.random.default_rng(k))
        pairs = zip(plan.frame[:8], plan.frame[8:16], strict=True)
        found += [tuple(sorted((int(a), int(b)))) for a, b in pairs]
    return found  # type: ignore[return-value]


def test_no_window_reaches_over_a_cut() -> None:
    clip = joined(moving_clip(9), moving_clip(7, speed=-2), moving_clip(6, speed=3))
    assert np.flatnonzero(clip.cuts).tolist() == [9, 16]

    windows = used(WindowSampler([clip], SETTINGS, CPU))

    scenes = [(0, 9), (9, 16), (16, 22)]
    assert all(any(a <= first and last < b for a, b in scenes) for first, last in windows)
    assert {last - first for first, last in windows} == {2, 4}
    assert len({first for first, _ in windows}) > 12


def test_repeated_frames_are_passed_over_and_lost_ones_avoided() -> None:
    clip = moving_clip(12)
    frames, motion = clip.frames.copy(), clip.motion.copy()
    frames[5], motion[5] = frames[4], 0.0  # shown twice
    sampler = WindowSampler([replace(clip, frames=frames, motion=motion)], SETTINGS, CPU)

    assert len(sampler._frames.clip) == 11 and 5 not in sampler._frames.number
    numbers = [(int(sampler._frames.number[a]), int(sampler._frames.number[b])) for a, b in used(sampler)]
    assert not any(first <= 4 and last >= 6 for first, last in numbers), "4 to 6 is twice as long as other steps"


def test_times_of_targets_are_the_files_own() -> None:
    clip = moving_clip(12)
    times = np.cumsum(np.tile([1.0, 1.3], 6)) / 30
    sampler = WindowSampler([replace(clip, times=times)], replace(SETTINGS, rescaled=0.0), CPU)
    plan = sampler._plan(16, np.random.default_rng(0))
    owner, target = plan.window[32:], plan.frame[32:]
    first, last = plan.frame[:16][owner], plan.frame[16:32][owner]

    assert np.allclose(plan.t, (times[target] - times[first]) / (times[last] - times[first]))
    assert (plan.t > 0).all() and (plan.t < 1).all() and not np.allclose(plan.t * 4, np.round(plan.t * 4))


def test_what_was_shown_for_two_and_three_frames_in_turn_came_at_an_even_pace(tmp_path: Path) -> None:
    """24 pictures a second carried at 60: by the frames those between would lie at 0.4 and 0.6."""
    each = np.repeat(np.arange(24), [3, 2] * 12)
    video = write_video(tmp_path / "a.mp4", shown(moving_clip(24), *each.tolist()))
    (clip,) = load_clips([video], tmp_path / "cache")
    assert np.allclose(np.diff(clip.times[2:23]), 2.5 / 30, atol=1e-6)


def test_a_plain_window_shows_the_pictures_it_names() -> None:
    sampler = WindowSampler([moving_clip(10)], replace(SETTINGS, hold_out=0), CPU)
    batch = sampler.draw_plain(6, np.random.default_rng(3))
    plan = sampler._plan(6, np.random.default_rng(3), plain=True)

    for k in range(6):
        y, x, frame = int(plan.y[k]), int(plan.x[k]), int(plan.frame[k])
        luma = wave(96, 128, 2.0 * frame)[y : y + 64, x : x + 64]
        shown = batch.i0[k] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        inside = (batch.i0[k] > 0.001).all(0) & (batch.i0[k] < 0.999).all(0)  # elsewhere colours are clipped
        assert inside.float().mean() > 0.3
        assert (shown.sum(0) - torch.from_numpy(luma))[inside].abs().max() < 0.01
    assert torch.equal(batch.index, torch.from_numpy(plan.window[12:]))


def slopes(frames: int, colour: float = 1.0) -> Clip:
    """Muted pictures of 96 lines and 128 columns: U grows to the right, V downwards, both with time, and luma with
    both; with ``colour`` 0 luma alone."""
    pictures = np.empty((frames, 144, 128), np.uint8)
    for k in range(frames):
        y, x = np.mgrid[0:96, 0:128] + 0.5
        u, v = x / 4 + k, y / 4 + k
        pictures[k, :96] = np.round(90 + u + v / 2)
        chroma = [112 + u[::2, ::2] + 1 / 8, 116 + v[::2, ::2] + 1 / 8]
        pictures[k, 96:] = np.round(128 + colour * (np.stack(chroma) - 128)).reshape(48, 128)
    motion = np.ones((frames, GRID, GRID), np.float32)
    return Clip(Path("slopes.mp4"), pictures, np.arange(frames) / 30, motion, np.zeros(frames, bool))


def test_colour_and_light_are_of_one_place_and_time() -> None:
    rows = 255 * torch.linalg.inv(torch.tensor([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]]))
    for settings in (SETTINGS, replace(SETTINGS, crop=96)):
        batch = WindowSampler([slopes(10)], settings, CPU).draw_plain(8, np.random.default_rng(0))
        for pictures in (batch.i0, batch.i1, batch.targets):
            light, u, v = torch.einsum("ij,kjhw->ikhw", rows, pictures)
            light, u, v = 16 + light * 219 / 255, 128 + u * 224 / 255, 128 + v * 224 / 255
            assert (light - 90 - (u - 112) - (v - 116) / 2).abs().max() < 2
            assert min(u.max() - u.min(), v.max() - v.min()) > 10


def test_windows_are_turned_and_mirrored_in_every_way() -> None:
    batch = WindowSampler([slopes(10, colour=0.0)], SETTINGS, CPU).draw(64, np.random.default_rng(0))
    light = batch.i0.mean(1)
    right, down = light.diff(dim=2).mean((1, 2)), light.diff(dim=1).mean((1, 2))
    ways = torch.stack((right > 0, down > 0, right.abs() > down.abs()), 1)

    assert len(ways.unique(dim=0)) == 8


@pytest.mark.parametrize(
    ("device", "place", "size", "fits"),
    [
        ("cuda", "auto", 499, True),
        ("cuda", "auto", 501, False),
        ("cuda", "host", 499, False),
        ("cuda", "device", 9999, True),
        ("cpu", "auto", 1, False),
        ("mps", "auto", 1, False),
    ],
)
def test_pictures_lie_on_a_gpu_where_half_its_free_memory_holds_them(
    device: str, place: Place, size: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert _fits(size, torch.device(device), place) == fits


def test_all_pictures_of_a_window_are_augmented_alike() -> None:
    """A still clip shown by windows that differ in every way: within a window all pictures are equal."""
    clip = moving_clip(10, speed=0.0)
    moving = replace(clip, motion=np.full_like(clip.motion, 3.0))
    batch = WindowSampler([moving], SETTINGS, CPU).draw(24, np.random.default_rng(0))

    assert torch.equal(batch.i0, batch.i1)
    assert torch.equal(batch.targets, batch.i0[batch.index])
    assert len({float(picture.mean()) for picture in batch.i0}) == 24
    assert batch.i0.shape == (24, 3, 64, 64) and batch.i0.min() >= 0 and batch.i0.max() <= 1


def test_a_draw_repeats_from_its_generator() -> None:
    one, two = (WindowSampler([moving_clip()], SETTINGS, CPU).draw(5, np.random.default_rng([1, 2])) for _ in range(2))

    assert torch.equal(one.i0, two.i0) and torch.equal(one.targets, two.targets) and torch.equal(one.t, two.t)


@pytest.mark.parametrize("most", [1, 2, 7])
def test_targets_are_shared_out_evenly_and_differ(most: int) -> None:
    rng = np.random.default_rng(0)
    length = np.array([2, 2, 3, 4, 8, 8, 6])
    total = int(np.minimum(most, length - 1).sum())

    window, between = _share_targets(length, total, most, rng)

    assert len(window) == total and (np.diff(window) >= 0).all()
    assert np.bincount(window, minlength=7).tolist() == np.minimum(most, length - 1).tolist()
    assert len(set(zip(window.tolist(), between.tolist(), strict=True))) == total
    assert ((between > 0) & (between < length[window])).all()


def test_the_number_of_targets_never_changes() -> None:
    sampler = WindowSampler([moving_clip(20)], replace(SETTINGS, targets=3), CPU)

    assert {len(sampler._plan(8, np.random.default_rng(k)).t) for k in range(30)} == {16}


def test_held_out_windows_are_never_trained_on() -> None:
    clip = moving_clip(260, speed=1.0)
    train = WindowSampler([clip], SETTINGS, CPU)
    held = WindowSampler([clip], SETTINGS, CPU, part="held-out", store=train.store)

    assert not any(last >= 182 and first < 195 for first, last in used(train))
    assert all(first >= 182 and last < 195 for first, last in used(held))
    with pytest.raises(InputError):
        WindowSampler([moving_clip(20)], SETTINGS, CPU, part="held-out")


def test_livelier_windows_come_more_often() -> None:
    still, lively = moving_clip(30, speed=0.02), moving_clip(30, speed=3.0)
    sampler = WindowSampler([still, lively], replace(SETTINGS, hold_out=0), CPU)
    clips = sampler._frames.clip[[first for first, _ in used(sampler)]]

    assert 0.02 < np.mean(clips == 0) < 0.25


def test_lengths_come_as_often_as_their_weights_say() -> None:
    sampler = WindowSampler([moving_clip(20)], replace(SETTINGS, length_weights=(6.0, 2.0), hold_out=0), CPU)

    assert np.mean([last - first == 2 for first, last in used(sampler)]) == pytest.approx(0.75, abs=0.06)


def test_squares_lie_rather_where_more_moves() -> None:
    """Of two places drawn at random the livelier one is taken in 7 of 10 cases."""
    clip = moving_clip(12, 64, 256)
    motion = np.zeros_like(clip.motion)
    motion[1:] = np.arange(1, 1 + GRID)  # more and more to the right, a column being 16 pixels wide
    sampler = WindowSampler([replace(clip, motion=motion)], replace(SETTINGS, rescaled=0.0, hold_out=0), CPU)

    one, side = np.zeros(1, np.int64), np.full(1, 64)
    assert sampler._motion(one, one + 2, (one, one + 64), side) == [2 * np.mean([5, 6, 7, 8])]
    assert sampler._motion(one, one + 2, (one, one + 191), side) == [2 * np.mean([12, 13, 14, 15, 16])]
    assert sampler._plan(600, np.random.default_rng(0)).x.mean() == pytest.approx(192 * 0.617, abs=8)
    tall = replace(moving_clip(12, 256, 64), motion=motion.transpose(0, 2, 1))  # more and more downwards
    down = WindowSampler([tall], replace(SETTINGS, rescaled=0.0, hold_out=0), CPU)
    assert down._motion(one, one + 2, (one + 64, one), side) == [2 * np.mean([5, 6, 7, 8])]


def test_a_share_of_the_squares_is_of_another_size() -> None:
    settings = replace(SETTINGS, crop=96, rescaled=0.2, scales=(0.75, 1.25))
    sampler = WindowSampler([moving_clip(12, 128, 160)], settings, CPU)
    plan, plain = (sampler._plan(500, np.random.default_rng(0), plain) for plain in (False, True))

    other = plan.side[plan.side != 96]
    assert 0.1 < len(other) / 500 < 0.3 and 72 <= other.min() < 80 and 112 < other.max() <= 120
    assert (plan.side % 2 == 0).all() and (plan.y + plan.side <= 128).all() and (plan.x + plan.side <= 160).all()
    assert (plain.side == 96).all()


def test_a_smaller_square_is_cut_from_everything() -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = [torch.rand(2, channels, 40, 40, generator=draw) for channels in (3, 3, 3, 2, 2, 2, 2)]
    seen = torch.ones(2, 1, 40, 40, dtype=torch.bool)
    whole = Batch(*pictures[:3], torch.tensor([0, 1]), torch.tensor([0.2, 0.7]), Truth(*pictures[3:], seen, seen))
    part = whole.cropped(3, 5, 16)

    assert part.truth is not None and part.index is whole.index and part.t is whole.t
    for cut, full in zip((part.i0, part.i1, part.targets, *part.truth[:4]), pictures, strict=True):
        assert torch.equal(cut, full[..., 3:19, 5:21])
    assert whole._replace(truth=None).cropped(3, 5, 16).truth is None


def test_what_lies_beyond_a_smaller_square_is_not_seen_there() -> None:
    """A flow of 4 pixels to the left leads out of its first 4 columns, one of 2 down out of its last 2 rows."""
    left, down = (torch.tensor(flow).view(1, 2, 1, 1).expand(1, 2, 40, 40) for flow in ((-4.0, 0.0), (0.0, 2.0)))
    seen_0 = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    seen_1 = seen_0.clone()
    seen_1[..., 10, 15] = False  # behind something
    pictures = torch.zeros(1, 3, 40, 40)
    truth = Truth(down, left, left, down, seen_0, seen_1)
    part = Batch(pictures, pictures, pictures, torch.tensor([0]), torch.tensor([0.5]), truth).cropped(3, 5, 16).truth

    assert part is not None
    first, last = (torch.ones(16, 16, dtype=torch.bool) for _ in range(2))
    first[:, :4] = last[14:] = last[7, 10] = False
    assert torch.equal(part.seen_0[0, 0], first) and torch.equal(part.seen_1[0, 0], last)


def test_pictures_have_the_colours_of_their_samples() -> None:
    """Red, green, blue, white and black as BT.601 of limited range has them."""
    samples = np.array([(81, 90, 240), (145, 54, 34), (41, 240, 110), (235, 128, 128), (16, 128, 128)], np.uint8)
    colours = torch.tensor([(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.0, 1.0, 1.0), (0, 0, 0)])
    for (luma, *chroma), colour in zip(samples, colours, strict=True):
        clip = moving_clip(6, 64, 64)
        frames = np.full_like(clip.frames, luma)
        frames[:, 64:80], frames[:, 80:] = chroma
        batch = WindowSampler([replace(clip, frames=frames)], SETTINGS, CPU).draw_plain(1, np.random.default_rng(0))
        assert (batch.i0[0] - colour.view(3, 1, 1)).abs().max() < 0.006


def test_data_without_a_window_is_refused() -> None:
    with pytest.raises(InputError, match="shorter than 3 frames"):
        WindowSampler([moving_clip(2)], SETTINGS, CPU)
    with pytest.raises(InputError, match="no window without a cut"):
        WindowSampler([moving_clip(10, speed=0.0)], SETTINGS, CPU)


# --------------------------------------------------------------------------------------------------------- store


def test_store_on_device_and_on_host_give_the_same_squares() -> None:
    rng = np.random.default_rng(0)
    sizes = [(80, 100), (90, 70)]
    arrays = [rng.integers(0, 256, h * w, dtype=np.uint8) for h, w in sizes]
    file = np.array([0, 1, 0, 1, 1])
    side = np.array([32, 32, 50, 17, 70])
    y, x = np.array([0, 58, 30, 73, 20]), np.array([68, 3, 50, 53, 0])
    stride = np.array([sizes[k][1] for k in file])
    wanted = Squares(file, y * stride + x, stride, side)

    host, device = (Store(arrays, CPU, place) for place in ("host", "device"))  # type: ignore[arg-type]
    assert device.on_device and not host.on_device
    expected = []
    for k in range(5):
        square = arrays[file[k]].reshape(sizes[file[k]])[y[k] : y[k] + side[k], x[k] : x[k] + side[k]]
        image = torch.from_numpy(square.copy())[None, None].float()
        expected.append(F.interpolate(image, (32, 32), mode="bilinear", antialias=True, align_corners=False)[0, 0])

    assert torch.allclose(host.squares(wanted, 32), torch.stack(expected), atol=1e-3)
    assert torch.equal(host.squares(wanted, 32), device.squares(wanted, 32))
    for store in (host, device):
        store._together = True  # as on a GPU
        assert torch.allclose(store.squares(wanted, 32), torch.stack(expected), atol=1e-3)


@pytest.mark.parametrize("side", [17, 31, 32, 33, 64, 75])
def test_resizing_by_weights_is_torchs_antialiased_resizing(side: int) -> None:
    picture = torch.rand(2, side, side, generator=torch.Generator().manual_seed(side))
    padded = F.pad(picture, (0, 80 - side, 0, 80 - side), value=7.0)
    weights = resize_weights(torch.tensor([side, side]), 80, 32)

    ours = weights @ padded @ weights.transpose(1, 2)

    theirs = F.interpolate(picture[:, None], (32, 32), mode="bilinear", antialias=True, align_corners=False)[:, 0]
    assert torch.allclose(ours, theirs, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- cache


def test_a_video_is_decoded_once_and_read_again(tmp_path: Path) -> None:
    clip = moving_clip(8, height=72, width=160)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_video(tmp_path / "in" / "deep" / "a.mp4", clip)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video" * 100)
    videos = find_videos([tmp_path / "in"])
    said: list[str] = []

    (first,) = load_clips(videos, tmp_path / "cache", short_side=36, report=said.append)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    (again,) = load_clips(videos, tmp_path / "cache", short_side=36)

    assert [v.name for v in videos] == ["broken.mp4", "a.mp4"]
    assert first.frames.shape == (8, 54, 80) and (first.height, first.width) == (36, 80)
    assert np.allclose(first.times, np.arange(8) / 30)
    assert any("left out broken.mp4" in line for line in said)
    small = clip.frames[:, :72].reshape(8, 36, 2, 80, 2).mean((2, 4))
    assert np.abs(first.frames[:, :36] - small).mean() < 1.5
    assert (
        first.motion[0].max() == 0
        and 0.5 * clip.motion[1:].mean() < first.motion[1:].mean() < 2 * clip.motion[1:].mean()
    )
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.motion, again.motion)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == stamps
    assert {p.suffix for p in stamps} == {".yuv", ".npz"}


def shown(clip: Clip, *numbers: int) -> Clip:
    """Frames of a clip one after another, 30 a second; nothing is known of their motion."""
    frames = clip.frames[list(numbers)]
    motion = np.ones((len(frames), GRID, GRID), np.float32)
    return Clip(Path("shown.mp4"), frames, np.arange(len(frames)) / 30, motion, np.zeros(len(frames), bool))


def test_repeats_are_left_out_as_encoders_leave_them(tmp_path: Path) -> None:
    """24 frames a second carried at 30: what H.264 makes of a repeat differs from it by more than rounding."""
    repeated = sorted([*range(24), *range(3, 23, 4)])
    video = write_video(tmp_path / "a.mp4", shown(moving_clip(24), *repeated), qp="28", preset="medium")
    (clip,) = load_clips([video], tmp_path / "cache")

    # They come at an even pace in the end, each less than a frame from its own time.
    assert np.abs(clip.times * 30 - [repeated.index(k) for k in range(24)]).max() < 1 - 1e-6
    assert np.diff(clip.times * 30)[8:] == pytest.approx(5 / 4)
    assert not clip.cuts.any()


def test_cuts_are_found_amid_fast_motion(tmp_path: Path) -> None:
    """There a cut changes the picture hardly more than the motion on both sides of it."""
    scenes = [photo(180, 700, seed)[0] for seed in (1, 2)]
    light = [scene[:, 24 * k : 24 * k + 320] for scene in scenes for k in range(12)]
    frames = np.stack([np.concatenate((16 + picture // 2, np.full((90, 320), 128, np.uint8))) for picture in light])
    clip = Clip(
        Path("shots.mp4"), frames, np.arange(24) / 30, np.ones((24, GRID, GRID), np.float32), np.zeros(24, bool)
    )
    (found,) = load_clips([write_video(tmp_path / "a.mp4", clip)], tmp_path / "cache")

    change = found.motion.mean((1, 2))
    assert change[12] < 3 * np.median(change[8:17])
    assert np.flatnonzero(found.cuts).tolist() == [12]


@pytest.mark.parametrize("letter", ["x", "\N{CAMERA}"])
def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path, letter: str) -> None:
    video = tmp_path / "in" / f"{letter * (250 // len(letter.encode()))}.mp4"
    video.parent.mkdir()
    write_video(tmp_path / "a.mp4", moving_clip(4, height=64, width=64))
    os.replace(tmp_path / "a.mp4", video)

    (clip,) = load_clips([video], tmp_path / "cache")
    assert clip.path == video and len(list((tmp_path / "cache").iterdir())) == 2


def test_videos_of_one_name_and_size_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    videos = [tmp_path / folder / "a.mp4" for folder in ("one", "other")]
    for video, speed in zip(videos, (1.0, -3.0), strict=True):
        video.parent.mkdir()
        write_video(video, moving_clip(4, height=64, width=64, speed=speed))
    _fill_up(videos)
    one, other = load_clips(videos, tmp_path / "cache")
    again = load_clips(videos, tmp_path / "cache")

    assert not np.array_equal(one.frames, other.frames)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(again, (one, other), strict=True))
    assert [clip.path for clip in again] == videos
    videos[0].write_bytes(videos[1].read_bytes())  # rewritten in place
    (changed,) = load_clips(videos, tmp_path / "cache")
    assert np.array_equal(changed.frames, other.frames)


def test_a_copy_of_a_video_counts_once_and_is_told(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", moving_clip(4, height=64, width=64))
    (tmp_path / "b.mp4").write_bytes(video.read_bytes())
    (tmp_path / "c.mp4").symlink_to(video)
    said: list[str] = []
    (clip,) = load_clips(find_videos([tmp_path]), tmp_path / "cache", report=said.append)

    assert clip.path == video
    assert said[:2] == [f"left out {name}: a copy of {video}" for name in ("b.mp4", "c.mp4")]
    assert said[2].startswith("decoding 1 video into")


def _fill_up(videos: list[Path]) -> None:
    """Make files equally long, by an empty box at the end as mp4 allows."""
    size = max(video.stat().st_size for video in videos) + 8
    for video in videos:
        missing = size - video.stat().st_size
        video.write_bytes(video.read_bytes() + missing.to_bytes(4, "big") + b"free" + bytes(missing - 8))


def test_a_video_decoded_twice_at_once_is_written_under_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by two runs that share a cache."""
    from slomo_cli.train import cache

    video = tmp_path / "a.mp4"
    video.write_bytes(b"the same")
    both_write = threading.Barrier(2, timeout=20)

    def together(video: Path, short_side: int) -> Iterator[tuple[float, bool, np.ndarray]]:
        for k in range(3):
            both_write.wait()
            yield k / 30, False, np.full((48, 32), k, np.uint8)

    monkeypatch.setattr(cache, "_pictures", together)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(load_clips, [video], tmp_path / "cache") for _ in range(2)]
    clips = [clip for run in runs for clip in run.result()]

    assert [clip.frames[:, 0, 0].tolist() for clip in clips] == [[0, 1, 2]] * 2
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".npz", ".yuv"]


def test_what_a_killed_process_left_in_the_cache_is_removed_in_time(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", moving_clip(4, height=64, width=64))
    cache = tmp_path / "cache"
    cache.mkdir()
    for name, age in (("old.yuv-part", 2 * 86400), ("new.yuv-part", 60)):
        (cache / name).write_bytes(b"half")
        os.utime(cache / name, (time.time() - age,) * 2)

    load_clips([video], cache)

    assert [p.name for p in cache.glob("*-part")] == ["new.yuv-part"]


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", moving_clip(4, height=64, width=64))
    load_clips([video], tmp_path / "cache")
    (pictures,), (record,) = ((tmp_path / "cache").glob(f"*.{ending}") for ending in ("yuv", "npz"))
    whole = record.read_bytes()
    entry = whole.index(b"PK\x01\x02")  # the first of the directory of a ZIP file
    for flags in (0x01, 0x20, 0x40):  # encrypted, patched, encrypted strongly
        record.write_bytes(whole[: entry + 8] + bytes([flags]) + whole[entry + 9 :])
        with pytest.raises(SlomoError, match=r"cache .* is damaged .*remove it"):
            load_clips([video], tmp_path / "cache")
    record.write_bytes(whole)
    pictures.write_bytes(pictures.read_bytes()[:-1])

    with pytest.raises(SlomoError, match=r"cache .* is damaged .*remove it"):
        load_clips([video], tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", moving_clip(8, height=64, width=64))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SlomoError, match=r"cannot write the training cache .*--cache"):
        load_clips([video], tmp_path / "file" / "cache")

    with no_room(10000), pytest.raises(SlomoError, match="cannot write the training cache"):
        load_clips([video], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_folders_without_video_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video in"):
        find_videos([tmp_path])
    with pytest.raises(InputError, match="found no folder"):
        find_videos([tmp_path / "missing"])


@pytest.mark.parametrize("lacks", ["reading", "entering"])
@pytest.mark.parametrize("find, ending", [(find_videos, "mp4"), (find_photos, "png")])
def test_folders_that_may_not_be_entered_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find: Callable[..., list[Path]], ending: str, lacks: str
) -> None:
    locked, told = tmp_path / "locked", []
    locked.mkdir()
    (locked / f"a.{ending}").touch()
    scandir, access = os.scandir, os.access

    def scanned(path: Any) -> Any:
        if lacks == "reading" and Path(path) == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scanned)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and access(path, mode))
    with pytest.raises(InputError, match=r"looked for .*; left out .*locked: no permission to look inside"):
        find([tmp_path], told.append)
    (tmp_path / f"b.{ending}").touch()
    assert find([tmp_path], told.append) == [tmp_path / f"b.{ending}"]
    assert told == [f"left out {locked}: no permission to look inside"]


def test_an_interrupt_stops_decoding_and_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slomo_cli.train import cache

    videos = [write_video(tmp_path / f"{k}.mp4", moving_clip(4, height=64, width=64)) for k in range(3)]
    decoded = []

    def slow(video: Path, short_side: int) -> Iterator[tuple[float, bool, np.ndarray]]:
        for k in range(10**6):
            decoded.append(video.name)
            time.sleep(0.001)
            if video.name == "0.mp4" and k == 20:
                raise KeyboardInterrupt
            yield k / 30, False, np.zeros((48, 32), np.uint8)

    monkeypatch.setattr(cache, "_pictures", slow)
    with pytest.raises(KeyboardInterrupt):
        load_clips(videos, tmp_path / "cache")

    assert "0.mp4" in decoded and list((tmp_path / "cache").iterdir()) == []


def test_no_copy_to_a_device_is_left_running_but_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS reads the host's memory later, when it may hold something else (pytorch/pytorch#189690)."""
    asked: list[bool] = []
    to = torch.Tensor.to

    def noted(tensor: torch.Tensor, *words: Any, non_blocking: bool = False, **more: Any) -> torch.Tensor:
        asked.append(non_blocking and not tensor.is_pinned())
        return to(tensor, *words, non_blocking=non_blocking, **more)

    nowhere = torch.device("meta")
    sampler = WindowSampler([moving_clip()], WindowSettings(crop=64), nowhere, place="host")
    monkeypatch.setattr(torch.Tensor, "to", noted)
    sampler.draw(2, np.random.default_rng(0))

    assert asked and not any(asked)

"""Layouts are recognised by looking, windows hold the right pictures at the right times, and reading streams."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from evaluate_helpers import SIZE, moving, write_pictures, write_video

from slomo_cli.errors import InputError, UsageError
from slomo_cli.evaluate import open_dataset
from slomo_cli.evaluate.clips import cut_windows
from slomo_cli.evaluate.reading import VideoPictures, read_picture
from slomo_cli.media.read.probe import probe

HALF = Fraction(1, 2)


def middlebury(root: Path) -> None:
    for i, name in enumerate(("Alpha", "beta2", "beta10")):
        write_pictures(root / "input" / name, moving(0, i), moving(2, i), names=["frame10.png", "frame11.png"])
        write_pictures(root / "gt" / name, moving(1, i), names=["frame10i11.png"])
    # A scene whose truth was never published has no place in the mean.
    write_pictures(root / "input" / "Secret", moving(0), moving(2), names=["frame10.png", "frame11.png"])


def ucf101(root: Path) -> None:
    for i, name in enumerate(("1", "11", "2")):
        names = ["frame_00.png", "frame_01_gt.png", "frame_02.png", "frame_01_ours.png"]
        write_pictures(root / name, moving(0, i), moving(1, i), moving(2, i), moving(9, i), names=names)


def vimeo(root: Path, names: tuple[str, ...] = ("00001/0001", "00001/0002", "00002/0001")) -> None:
    for i, name in enumerate(names):
        pictures = (moving(0, i), moving(1, i), moving(2, i))
        write_pictures(root / name, *pictures, names=["im1.png", "im2.png", "im3.png"])


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (middlebury, ["Alpha", "beta2", "beta10"]),
        (ucf101, ["1", "2", "11"]),
        (vimeo, ["00001/0001", "00001/0002", "00002/0001"]),
    ],
)
def test_triplets(tmp_path: Path, make, names: list[str]) -> None:
    """Every layout of triplets: names in natural order, inputs and truth in their places, always halves."""
    make(tmp_path)
    dataset = open_dataset(tmp_path, factor=8)
    windows = list(dataset.windows())
    assert (dataset.layout, dataset.factor, dataset.name) == ("triplets", 2, tmp_path.name)
    assert [window.clip for window in windows] == names
    assert dataset.count() == len(windows) == 3
    for window in windows:
        seed = next(i for i in range(3) if np.array_equal(window.first, moving(0, i)))
        np.testing.assert_array_equal(window.second, moving(2, seed))
        np.testing.assert_array_equal(window.truths[0], moving(1, seed))
        assert window.timesteps == (HALF,) and window.start == 0


def test_pairs_without_a_truth_are_told(tmp_path: Path) -> None:
    middlebury(tmp_path)
    assert open_dataset(tmp_path).notes == (f"{tmp_path.name}: left out Secret: no truth between the two",)
    names = ["im1.png", "im2.png", "im3.png"]
    write_pictures(tmp_path / "flat" / "told", moving(0), moving(1), moving(2), names=names)
    write_pictures(tmp_path / "flat" / "secret", moving(0), moving(2), names=["frame10.png", "frame11.png"])
    assert open_dataset(tmp_path / "flat").notes == ("flat: left out secret: no truth between the two",)


def test_one_triplet_folder(tmp_path: Path) -> None:
    """A folder that is itself a triplet, as one directory holds Middlebury's three pictures."""
    names = ["frame10.png", "frame10i11.png", "frame11.png"]
    write_pictures(tmp_path / "scene", moving(0), moving(1), moving(2), names=names)
    dataset = open_dataset(tmp_path / "scene")
    assert (dataset.layout, [clip.name for clip in dataset.clips]) == ("triplets", ["scene"])


def test_vimeo_test_list_is_obeyed(tmp_path: Path) -> None:
    """Only the clips named in tri_testlist.txt are measured."""
    vimeo(tmp_path / "sequences")
    (tmp_path / "tri_testlist.txt").write_text("00001/0002\n\n")
    assert [clip.name for clip in open_dataset(tmp_path).clips] == ["sequences/00001/0002"]


def test_seven_pictures_are_frames_not_a_triplet(tmp_path: Path) -> None:
    """im1..im7 are consecutive frames."""
    write_pictures(tmp_path, *[moving(i) for i in range(7)], names=[f"im{i + 1}.png" for i in range(7)])
    dataset = open_dataset(tmp_path, factor=3)
    assert (dataset.layout, dataset.factor, dataset.count()) == ("frames", 3, 2)


def test_frames_in_natural_order(tmp_path: Path) -> None:
    """frame2 comes before frame10; a rest too short for a window is left out."""
    order = [1, 2, 3, 9, 10, 11, 100]
    write_pictures(tmp_path, *[moving(i) for i in range(7)], names=[f"frame{n}.png" for n in order])
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not a picture")
    windows = list(open_dataset(tmp_path, factor=4).windows())
    assert len(windows) == 1
    assert windows[0].timesteps == (Fraction(1, 4), HALF, Fraction(3, 4))
    for index, picture in enumerate((windows[0].first, *windows[0].truths, windows[0].second)):
        np.testing.assert_array_equal(picture, moving(index))


def test_missing_numbers_are_missing_frames(tmp_path: Path) -> None:
    """A truth beside a gap is measured at its own time, not half way, and the gap is told."""
    numbers = [1, 2, 4, 5, 6]
    write_pictures(tmp_path, *map(moving, numbers), names=[f"f{number}.png" for number in numbers])

    dataset = open_dataset(tmp_path)

    first, second = dataset.windows()
    assert (first.timesteps, second.timesteps) == ((Fraction(1, 3),), (HALF,))
    assert first.after is not None and first.after[1] == Fraction(2, 3)
    assert len(dataset.notes) == 1 and "leave out 1 (3); times go by the numbers" in dataset.notes[0]


def test_a_window_knows_the_pictures_given_beside_it(tmp_path: Path) -> None:
    """Those of the windows before and after; what is left over at the end is given to nobody."""
    write_pictures(tmp_path, *[moving(i) for i in range(9)], names=[f"{i}.png" for i in range(9)])
    first, second = open_dataset(tmp_path, factor=3).windows()
    assert first.before is None and first.after is not None and second.before is not None and second.after is None
    np.testing.assert_array_equal(first.after[0], moving(6))
    np.testing.assert_array_equal(second.before[0], moving(0))
    assert first.after[0] is second.second and second.before[0] is first.first
    assert first.after[1] == second.before[1] == 1


def test_pictures_beside_a_window_have_their_own_times() -> None:
    """As a video of uneven times has them."""
    times = [0, 1, 2, 4, 8, 9, 10]
    windows = list(cut_windows("clip", ((Fraction(t), moving(t)) for t in times), 2))
    assert [w.before and w.before[1] for w in windows] == [None, Fraction(2, 6), Fraction(6, 2)]
    assert [w.after and w.after[1] for w in windows] == [Fraction(6, 2), Fraction(2, 6), None]


def test_windows_before_a_damaged_one_are_given() -> None:
    """Also the last of them, which is read one window ahead."""

    def frames() -> Iterator[tuple[Fraction, np.ndarray]]:
        for k in range(4):
            yield Fraction(k), moving(k)
        raise InputError("torn")

    windows = cut_windows("clip", frames(), 2)
    assert next(windows).after is None
    with pytest.raises(InputError, match="torn"):
        next(windows)


def test_folder_of_clips(tmp_path: Path) -> None:
    """Each folder of frames is a clip; clips too short for one window are left out."""
    for name, count in (("b", 5), ("a", 3), ("short", 2), ("empty", 0)):
        folder = tmp_path / name
        folder.mkdir()
        write_pictures(folder, *[moving(i) for i in range(count)], names=[f"{i:03}.png" for i in range(count)])
    dataset = open_dataset(tmp_path)
    assert [(window.clip, window.start) for window in dataset.windows()] == [("a", 0), ("b", 0), ("b", 2)]


def test_clips_lie_up_to_three_folders_below(tmp_path: Path) -> None:
    """As published: GoPro has test/SCENE/sharp, X4K1000FPS has TYPE/SCENE. Names say where; a cover is no clip."""
    write_pictures(tmp_path / "test", moving(0), names=["cover.png"])
    for scene in ("test/b/sharp", "test/a/sharp", "test/too/deep/to/see"):
        write_pictures(tmp_path / scene, *[moving(i) for i in range(3)], names=[f"{i}.png" for i in range(3)])
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, [clip.name for clip in dataset.clips]) == ("frames", ["test/a/sharp", "test/b/sharp"])


def test_vimeo_list_of_septuplets_is_obeyed(tmp_path: Path) -> None:
    for scene in ("00001/0001", "00001/0002"):
        folder = tmp_path / "sequences" / scene
        write_pictures(folder, *[moving(i) for i in range(7)], names=[f"im{i + 1}.png" for i in range(7)])
    (tmp_path / "sep_testlist.txt").write_text("00001/0002\n")
    dataset = open_dataset(tmp_path)
    assert ([clip.name for clip in dataset.clips], dataset.count()) == (["sequences/00001/0002"], 3)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, ["a0"]),
        (2, ["a0", "b0"]),
        (5, ["a0", "a2", "b0", "b2", "c0"]),
        (7, ["a0", "a2", "a4", "a6", "b0", "b2", "c0"]),
        (99, ["a0", "a2", "a4", "a6", "b0", "b2", "c0", "d0"]),
    ],
)
def test_limit_is_spread_over_the_clips(tmp_path: Path, limit: int, expected: list[str]) -> None:
    """A small limit still looks at the whole set."""
    for name, count in (("a", 9), ("b", 5), ("c", 3), ("d", 3)):
        if name == "d" and limit != 99:
            continue
        write_pictures(tmp_path / name, *[moving(i) for i in range(count)], names=[f"{i}.png" for i in range(count)])
    dataset = open_dataset(tmp_path)
    assert [f"{window.clip}{window.start}" for window in dataset.windows(limit)] == expected
    assert dataset.count(limit) == len(expected)


def test_video(tmp_path: Path) -> None:
    """Every fourth frame of a video is given, those between are the truth, all exact for RGB."""
    write_video(tmp_path / "clip.mkv", [moving(i) for i in range(11)])
    dataset = open_dataset(tmp_path / "clip.mkv", factor=4)
    windows = list(dataset.windows())
    assert (dataset.layout, dataset.name, dataset.count(), len(windows)) == ("video", "clip.mkv x4", 2, 2)
    for window in windows:
        assert window.timesteps == (Fraction(1, 4), HALF, Fraction(3, 4))
        for offset, picture in enumerate((window.first, *window.truths, window.second)):
            np.testing.assert_array_equal(picture, moving(window.start + offset))
    # A set can be gone through again.
    assert len(list(dataset.windows())) == 2


def test_a_cover_beside_videos_is_no_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", [moving(i) for i in range(3)])
    write_pictures(tmp_path, moving(0), names=["cover.png"])
    assert [window.clip for window in open_dataset(tmp_path).windows()] == ["clip.mkv"]


def test_a_cover_beside_folders_of_frames_is_no_clip(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a" / "b", *[moving(i) for i in range(3)], names=["1.png", "2.png", "3.png"])
    write_pictures(tmp_path, moving(0), moving(1), names=["cover.png", "back.png"])
    assert [window.clip for window in open_dataset(tmp_path).windows()] == ["a/b"]


def test_links_count_no_clip_twice(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a" / "b", *[moving(i) for i in range(3)], names=["im1.png", "im2.png", "im3.png"])
    for link, target in (("a/up", ".."), ("same", "a"), ("a/b/self", ".")):
        (tmp_path / link).symlink_to(target, target_is_directory=True)
    assert [clip.name for clip in open_dataset(tmp_path).clips] == ["a/b"]
    (tmp_path / "a" / "b" / "im2.png").rename(tmp_path / "a" / "b" / "im1b.png")
    assert [clip.name for clip in open_dataset(tmp_path).clips] == ["a/b"]


def test_folder_of_videos(tmp_path: Path) -> None:
    """Videos in a folder are clips, in natural order."""
    for name in ("clip10.mkv", "clip9.mkv"):
        write_video(tmp_path / name, [moving(i) for i in range(3)])
    assert [window.clip for window in open_dataset(tmp_path).windows()] == ["clip9.mkv", "clip10.mkv"]


def test_videos_in_folders_below(tmp_path: Path) -> None:
    """UCF101 has a folder for every kind of action; a picture beside them is no clip."""
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        write_video(tmp_path / name / "clip.mkv", [moving(i) for i in range(3)])
    write_pictures(tmp_path / "a", moving(0), names=["cover.png"])
    assert [window.clip for window in open_dataset(tmp_path).windows()] == ["a/clip.mkv", "b/clip.mkv"]


def test_videos_beside_frames_are_told(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", [moving(i) for i in range(3)])
    write_pictures(tmp_path / "scene", *[moving(i) for i in range(3)], names=[f"{i}.png" for i in range(3)])
    dataset = open_dataset(tmp_path)
    assert [clip.name for clip in dataset.clips] == ["scene"]
    assert len(dataset.notes) == 1 and "left out clip.mkv: videos beside clips of frames" in dataset.notes[0]


def test_uneven_stamps_give_uneven_timesteps(tmp_path: Path) -> None:
    """The truth lies where its own stamp says, not at even steps."""
    write_video(tmp_path / "vfr.mkv", [moving(i) for i in range(5)], stamps=[0, 40, 120, 160, 400])
    windows = list(open_dataset(tmp_path / "vfr.mkv", factor=2).windows())
    assert [window.timesteps for window in windows] == [(Fraction(1, 3),), (Fraction(1, 7),)]


def test_repeats_in_a_video_are_told_and_measured_all_the_same(tmp_path: Path) -> None:
    """24 pictures a second carried at 30: what only repeats a given picture is best made of that."""
    numbers = [number for number in range(20) for _ in range(1 + (number % 4 == 3))]
    pictures = [moving(3.0 * number, size=(96, 128)) for number in numbers]
    write_video(tmp_path / "clip.mkv", pictures, rate=30)
    (clip,) = open_dataset(tmp_path / "clip.mkv", factor=2).clips
    assert clip.notes == ()
    read = [picture for window in clip.windows() for picture in (window.first, *window.truths)]
    assert all(np.array_equal(ours, made) for ours, made in zip(read, pictures, strict=False)) and len(read) == 24
    (told,) = clip.notes
    assert told.startswith("4 of 25 pictures repeat the one before")  # how long the last stands, nobody can tell


def test_frames_without_a_time_of_their_own_are_passed_over() -> None:
    """A stamp that repeats or runs backwards makes no window of no length."""
    times = [0, 1, 1, 2, Fraction(1, 2), 3, 4]
    frames = [(Fraction(time), moving(i)) for i, time in enumerate(times)]
    windows = list(cut_windows("clip", frames, 2))
    assert [window.timesteps for window in windows] == [(HALF,), (HALF,)]


def test_reading_holds_two_windows() -> None:
    """Frames are drawn as windows are asked for, one window ahead, never the whole clip."""
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            yield Fraction(drawn), moving(drawn)
            drawn += 1

    windows = cut_windows("clip", endless(), 3)
    next(windows)
    assert drawn == 6
    next(windows)
    assert drawn == 9


def test_yuv_video_is_read_by_its_matrix_and_range(tmp_path: Path) -> None:
    """A BT.709 full-range file gives back the colours that were put in, not those of BT.601."""
    path = tmp_path / "c.mkv"
    color = np.empty((*SIZE, 3), np.uint8)
    color[...] = (200, 40, 90)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv444p"
        stream.codec_context.color_range = 2
        stream.codec_context.colorspace = 1
        frame = av.VideoFrame.from_ndarray(color, format="rgb24").reformat(
            format="yuv444p", dst_colorspace=1, dst_color_range=2
        )
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    ((_, picture),) = list(VideoPictures(path))
    assert np.abs(picture.astype(int) - color).max() <= 2


@pytest.mark.parametrize(("lines", "matrix"), [(64, 5), (720, 1)])
def test_yuv_video_that_states_no_matrix_is_read_as_a_conversion_reads_it(
    tmp_path: Path, lines: int, matrix: int
) -> None:
    """BT.601 up to 576 lines, BT.709 above."""
    path = tmp_path / "c.mkv"
    color = np.empty((lines, 32, 3), np.uint8)
    color[...] = (200, 40, 90)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = lines, 32, "yuv444p"
        frame = av.VideoFrame.from_ndarray(color, format="rgb24").reformat(format="yuv444p", dst_colorspace=matrix)
        frame.colorspace, frame.color_range = 2, 0
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    assert probe(path).color.matrix == 2
    ((_, picture),) = list(VideoPictures(path))
    assert np.abs(picture.astype(int) - color).max() <= 2


@pytest.mark.parametrize("read", ["still", "video"])
def test_colours_of_coarser_chroma_run_on_between_its_samples(tmp_path: Path, read: str) -> None:
    """In 4:2:0 no row repeats another, and no channel is darker than the formula of BT.601 has it."""
    luma, ramp = np.full((48, 32), 120, np.uint8), np.arange(80, 176, 4, dtype=np.uint8)[:, None]
    chroma = ramp.repeat(16, 1).reshape(12, 32)
    frame = av.VideoFrame.from_ndarray(np.concatenate((luma, chroma, chroma)), "yuv420p")
    frame.colorspace, frame.color_range, frame.pts = 5, 2, 0
    path = tmp_path / ("c.jpg" if read == "still" else "c.mkv")
    with av.open(str(path), "w", format="image2" if read == "still" else "matroska") as container:
        stream = container.add_stream("mjpeg" if read == "still" else "ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = 2, 5
        stream.codec_context.qmin = stream.codec_context.qmax = 1
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)

    picture = read_picture(path) if read == "still" else next(iter(VideoPictures(path)))[1]

    rows = (np.arange(2, 46) - 0.5) / 2  # whose places among those of the chroma lie between two of them
    colour = np.interp(rows, np.arange(24), ramp[:, 0]) - 128
    expected = 120 + np.stack((1.402 * colour, -(0.344136 + 0.714136) * colour, 1.772 * colour), axis=-1)
    off = picture[2:46, 16] - expected
    assert np.abs(off).max() <= 1.5 and np.abs(off.mean(0)).max() <= 0.3


def test_still_pictures_of_other_kinds(tmp_path: Path) -> None:
    """A name with a pattern in it is one file; gray pictures become RGB."""
    path = tmp_path / "a%03d.png"
    frame = av.VideoFrame.from_ndarray(np.full((12, 13), 77, np.uint8), format="gray")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 13, 12, "gray", Fraction(1)
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
    picture = read_picture(path)
    assert picture.shape == (12, 13, 3) and (picture == 77).all()


def test_pictures_of_sixteen_bits_are_rounded_to_the_nearest_of_eight(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (12, 13, 3)).astype(np.uint16)
    for name, codec, layout, samples in (
        ("a.png", "png", "rgb48be", deep),
        ("a.tif", "tiff", "gray16le", deep[..., 0]),
        ("a.mkv", "ffv1", "gbrp16le", deep),
    ):
        with av.open(str(tmp_path / name), "w", format="image2" if name != "a.mkv" else None) as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = 12, 13, layout
            frame = av.VideoFrame.from_ndarray(samples, format="rgb48le" if layout == "rgb48be" else layout)
            for packet in [*stream.encode(frame), *stream.encode()]:
                container.mux(packet)
        picture = read_picture(tmp_path / name) if name != "a.mkv" else next(iter(VideoPictures(tmp_path / name)))[1]
        assert np.array_equal(picture, np.rint(samples.reshape(12, 13, -1) / 257) + np.zeros(3)), name


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    """Empty, foreign and cut-off files are named in one line."""
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=r"expected a picture .*bad\.png"):
        read_picture(tmp_path / "bad.png")
    with pytest.raises(InputError, match=r"gone\.png' does not exist"):
        read_picture(tmp_path / "gone.png")


def test_frames_of_two_sizes(tmp_path: Path) -> None:
    """The frame that does not fit is named."""
    write_pictures(tmp_path, moving(0), moving(1), moving(2, size=(32, 40)), names=["0.png", "1.png", "2.png"])
    with pytest.raises(InputError, match="one size, found 40x32 at frame 2 after 48x32"):
        list(open_dataset(tmp_path).windows())


def test_what_is_no_set(tmp_path: Path) -> None:
    """Nothing there, nothing inside, one picture, too few frames, a senseless factor or limit."""
    with pytest.raises(InputError, match="found nothing at"):
        open_dataset(tmp_path / "gone")
    with pytest.raises(InputError, match=r"expected triplets .* found none"):
        open_dataset(tmp_path)
    write_pictures(tmp_path, moving(0), moving(1), moving(2), names=["a.png", "b.png", "c.png"])
    with pytest.raises(InputError, match="found one picture"):
        open_dataset(tmp_path / "a.png")
    with pytest.raises(InputError, match="expected 5 frames or more for a factor of 4"):
        open_dataset(tmp_path, factor=4)
    with pytest.raises(UsageError, match="factor of 2 or more"):
        open_dataset(tmp_path, factor=1)
    with pytest.raises(UsageError, match="limit of 1 or more"):
        list(open_dataset(tmp_path).windows(0))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"text\.mp4"):
        open_dataset(tmp_path / "text.mp4")

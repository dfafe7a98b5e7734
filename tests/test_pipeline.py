"""The straight line, end to end on tiny clips: every claim is checked by reading the written file back."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from film import read

import slomo_cli
from slomo_cli.errors import EncoderError, InputError, SlomoError, UsageError
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.webp import read_animation
from slomo_cli.media.write.encode import Encoder
from slomo_cli.picture import write_png
from slomo_cli.pipeline import convert, plan_conversion
from slomo_cli.values import Frame, Summary, TimeSettings

Clip = Callable[[str], Path]
Convert = Callable[..., Summary]


@pytest.fixture
def run(weights: str) -> Convert:
    """``convert`` with the tiny network, one thread, float32."""

    def run(source: Path, output: Path, **wishes: Any) -> Summary:
        settings = {"weights": weights, "device": "cpu", "dtype": "float32", "threads": 1, **wishes}
        return convert(source, output, **settings)

    return run


def same(a: Frame, b: Frame) -> bool:
    """Equal samples, byte for byte."""
    return all(np.array_equal(p, q) for p, q in zip(a.planes, b.planes, strict=True))


def leftovers(folder: Path, *expected: str) -> list[str]:
    """What lies in a folder beside the files expected."""
    return sorted(p.name for p in folder.iterdir() if p.name not in expected)


@pytest.mark.parametrize("name", ["cfr.mp4", "ntsc.mkv", "yuv422p10.mkv", "yuv444p.mp4", "gray16.mkv", "gbrp.mkv"])
@pytest.mark.parametrize("factor", [3, 1])
def test_source_frames_pass_untouched(name: str, factor: int, clip: Clip, run: Convert, tmp_path: Path) -> None:
    """Idea 2: at t == 0 the decoded planes are found again in a lossless output, at their exact time."""
    source = clip(name)
    out = tmp_path / "out.mkv"

    summary = run(source, out, factor=factor, codec="ffv1", duplicates="keep", cuts="off", end="0.3")

    everything, written = read(source), read(out)
    frames = [f for f in everything if f.pts_seconds < Fraction(3, 10)]
    moving = sum(not same(a, b) for a, b in zip(frames, everything[1:], strict=False))
    assert moving
    assert len(written) == summary.frames_out == factor * len(frames)
    assert summary.frames_interpolated == (factor - 1) * moving
    for k, frame in enumerate(frames):
        assert same(written[k * factor], frame), f"source frame {k} was changed"
        assert abs(written[k * factor].pts_seconds - frame.pts_seconds * factor) < Fraction(1, 900)
    made = sum(not any(same(w, f) for f in everything) for w in written)
    assert made == summary.frames_interpolated, "an in-between frame is only a copy of one of the source's"


def test_fragments_whose_first_picture_is_early_and_others_are_missing(
    make: Callable[..., Path], run: Convert, tmp_path: Path
) -> None:
    film = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.8", "-f", "lavfi", "-i", "sine=d=0.8:r=48000")
    less = ("-vf", "select=not(between(n\\,9\\,10))", "-fps_mode", "passthrough")
    source = make("early.mp4", *film, *less, "-c:a", "aac", "-bf", "0", "-movflags", "+frag_keyframe+empty_moov")
    out = tmp_path / "out.mkv"

    summary = run(source, out, factor=2, codec="ffv1", duplicates="keep", cuts="off")

    frames, written = read(source), read(out)
    assert [frame.pts_seconds for frame in frames] == [Fraction(k, 25) for k in range(20) if k not in (9, 10)]
    assert all(same(frame, written[int(frame.pts_seconds * 50)]) for frame in frames)
    assert any("first picture's time" in line and "with gaps" in line for line in summary.warnings)


@pytest.mark.parametrize("start", [None, "0.2"])
def test_fragments_whose_first_picture_lies_where_the_sound_begins(
    start: str | None, make: Callable[..., Path], run: Convert, tmp_path: Path
) -> None:
    """As ffmpeg writes them: AAC begins 21 ms early, and the first picture with it; the others are even."""
    film = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.8", "-f", "lavfi", "-i", "sine=d=0.8:r=48000")
    source = make("opening.mp4", *film, "-c:a", "aac", "-bf", "0", "-movflags", "+frag_keyframe+empty_moov")
    with av.open(str(source)) as stored:
        stamps = [packet.pts * packet.time_base for packet in stored.demux(video=0) if packet.size]
    assert stamps[0] == 0 and stamps[1] != Fraction(1, 25)
    out = tmp_path / "out.mkv"

    summary = run(source, out, factor=2, codec="ffv1", duplicates="keep", cuts="off", start=start)

    frames, written = read(source), read(out)
    assert [frame.pts_seconds for frame in frames] == [Fraction(k, 25) for k in range(20)]
    begin = 0 if start is None else 5
    assert summary.duration_out == Fraction(2 * (20 - begin), 25)
    assert all(same(a, b) for a, b in zip(frames[begin:], written[::2], strict=True))
    assert any("first picture's time" in line for line in summary.warnings)


@pytest.mark.parametrize(
    "wishes",
    [
        {"factor": "2.5"},
        {"factor": "30000/1001", "end": "0.1"},
        {"rate": 240, "end": "0.2"},
        {"rate": "60000/1001"},
        {"rate": "23.976"},
        {"rate": 7},
        {"factor": 2, "rate": 50, "start": "0.25", "end": "0.7"},
        {"factor": 1, "start": "0.99"},
        {"speed": "0-0.3:1, 0.3-0.6:0.25, 0.6-:2"},
        {"speed": "0.2-0.5:1~0.2, 0.5-0.8:0.2~1"},
        {"factor": 3, "loop": True},
    ],
    ids=lambda w: ",".join(f"{k}={v}" for k, v in w.items()),
)
@pytest.mark.parametrize("name", ["cfr.mp4", "free.mp4"])
def test_count_promised_is_count_written_and_read_back(
    name: str, wishes: dict[str, Any], clip: Clip, run: Convert, tmp_path: Path
) -> None:
    """Whatever is asked of time, the plan's frame count and duration are the file's."""
    source, out = clip(name), tmp_path / "out.mp4"
    plan = plan_conversion(source, out, **wishes)
    assert not out.exists()

    summary = run(source, out, **wishes, preset="ultrafast")

    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        read_back = sum(1 for _ in container.decode(stream))
        assert stream.duration is not None and stream.time_base is not None
        duration = stream.duration * Fraction(stream.time_base)
    assert read_back == summary.frames_out == plan.plan.frames
    assert abs(duration - plan.plan.duration) <= Fraction(1, 1000)
    assert leftovers(tmp_path, "out.mp4") == []


def test_uneven_times_are_kept(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """--vfr keep: every source frame at its own time times the factor, two frames between each pair."""
    source, out = clip("free.mp4"), tmp_path / "out.mp4"

    run(source, out, factor=3, vfr="keep", codec="h264", crf=0, duplicates="keep")

    times = [f.pts_seconds for f in read(source)]
    written = [f.pts_seconds for f in read(out)]
    assert len(written) == 3 * len(times)
    assert [float(t) for t in written[::3]] == pytest.approx([3 * float(t) for t in times], abs=1e-4)


@pytest.mark.parametrize("name", ["out.mkv", "out.webm", "out.mp4"])
def test_uneven_times_end_when_they_should(clip: Clip, run: Convert, tmp_path: Path, name: str) -> None:
    """Matroska keeps what is said of every picture's length: only the last one's is told."""
    source = clip("free.mp4")
    done = run(source, tmp_path / name, factor=2, vfr="keep")
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        lasts = [packet.duration * stream.time_base for packet in container.demux(stream) if packet.size]
    assert max(lasts) < done.duration_out / 4
    found = scan(probe(tmp_path / name)).timing
    assert found.rate is None and abs(found.duration - done.duration_out) <= Fraction(1, 1000)


def test_a_pause_of_uneven_times_is_held(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    """A screen recorder stores a still picture once: it stands as long as it did, and then moves at the usual pace."""
    paused = "testsrc2=s=96x64:r=10:d=0.6,settb=1/1000,setpts=100*N+900*gte(N\\,3)"
    source = make("paused.mkv", "-f", "lavfi", "-i", paused, *"-fps_mode passthrough -c:v ffv1".split())

    run(source, tmp_path / "out.mkv", factor=2, codec="ffv1")
    assert run(source, tmp_path / "kept.mkv", factor=2, codec="ffv1", vfr="keep").frames_out == 2 * (6 + 1)
    run(source, tmp_path / "loop.mkv", factor=2, codec="ffv1", end=Fraction(1), loop=True)
    run(source, tmp_path / "kept-loop.mkv", factor=2, codec="ffv1", end=Fraction(1), loop=True, vfr="keep")

    def still(name: str) -> list[Fraction]:
        """Times of frames that differ from the one before by nothing."""
        shown = list(read(tmp_path / name))
        return [b.pts_seconds for a, b in pairwise(shown) if np.array_equal(a.planes[0], b.planes[0])]

    # From the third picture, at 0.2 s, to 0.1 s before the fourth, at 1.2 s; times two.
    assert still("out.mkv") == [Fraction(k, 10) for k in range(5, 23)] + [Fraction(29, 10)]
    assert still("kept.mkv") == [Fraction(13, 10), Fraction(22, 10), Fraction(29, 10)]
    assert still("loop.mkv") == [Fraction(k, 10) for k in range(5, 19)]
    assert still("kept-loop.mkv") == [Fraction(11, 10), Fraction(18, 10)]
    assert read(tmp_path / "kept-loop.mkv")[-1].pts_seconds == Fraction(19, 10)  # and that one leads to the first


def test_uneven_times_as_webp_and_not_as_avi(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    uneven = "mandelbrot=s=96x64:r=25,trim=0:0.6,select=not(eq(mod(n\\,7)\\,3))*not(eq(mod(n\\,5)\\,2))"
    source = make("uneven.mkv", "-f", "lavfi", "-i", uneven, *"-fps_mode vfr -pix_fmt yuv420p -c:v ffv1".split())

    assert run(source, tmp_path / "out.webp", factor=2, vfr="keep").frames_out == 20
    for name in ("out.avi", "p_%02d.png"):
        with pytest.raises(UsageError, match="leave out --vfr keep"):
            run(source, tmp_path / name, factor=2, vfr="keep")
    assert leftovers(tmp_path, "out.webp") == []


def test_pauses_as_webp(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    """Whose encoder joins pictures that are equal, and lets the last one stand as long as others do on the average."""
    paused = r"testsrc2=s=64x48:r=25,trim=end_frame=20,setpts=if(gte(N\,9)\,PTS+3/TB\,PTS)"
    lasts = r"setts=duration=if(gte(PTS*TB\,3.7)\,2/TB\,DURATION)"
    made = "-fps_mode passthrough -pix_fmt yuv420p -c:v ffv1".split()
    source = make("paused.mkv", "-f", "lavfi", "-i", paused, *made, "-bsf:v", lasts)

    assert run(source, tmp_path / "out.webp", factor=2, vfr="keep").duration_out == Fraction("11.52")
    shown = read_animation(tmp_path / "out.webp")
    assert shown is not None and sum(shown.lengths) == 11520 and shown.lengths[-1] > 3900


def test_times_that_the_target_would_change(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    near = "testsrc2=s=64x48:r=30,settb=1/90000,setpts=70*N+20*mod(N\\,2)"
    arguments = "-fps_mode passthrough -enc_time_base 1/90000 -video_track_timescale 90000 -frames:v 6 -c:v mjpeg"
    source = make("near.mp4", "-f", "lavfi", "-i", near, *arguments.split())

    for name in ("out.mkv", "out.webm", "out.webp"):
        with pytest.raises(UsageError, match=r"lie a millisecond apart.*or write \.mp4"):
            run(source, tmp_path / name, vfr="keep", factor=1)
    with pytest.raises(UsageError, match="mpeg2video all last equally long"):
        run(source, tmp_path / "out.mp4", vfr="keep", factor=1, codec="mpeg2video", encoder_args=("-strict", "-1"))
    assert run(source, tmp_path / "out.mp4", vfr="keep", factor=1).frames_out == 6


def test_pauses_in_a_transport_stream(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    """Long ones are shown as joins of recordings."""
    near, far = (
        make(
            f"{pause}.mkv",
            *("-f", "lavfi", "-i", rf"testsrc2=s=64x48:r=25,trim=end_frame=12,setpts=PTS+gte(N\,6)*{pause}/TB"),
            *("-fps_mode", "passthrough", "-c:v", "ffv1"),
        )
        for pause in (4, 9)  # which the picture between halves, and so the pause is two in a row
    )

    made = run(near, tmp_path / "out.ts", vfr="keep", factor=2)
    timing = scan(probe(tmp_path / "out.ts")).timing
    assert timing.frames_from_packets == made.frames_out and timing.duration == made.duration_out
    with pytest.raises(UsageError, match=r"more than 10 seconds in \.ts.*or write \.mp4"):
        run(far, tmp_path / "out.ts", vfr="keep", factor=2)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_few_pictures_a_second_in_a_transport_stream(
    make: Callable[..., Path], run: Convert, tmp_path: Path, codec: str
) -> None:
    """Encoders let some wait for others: where that takes more than 10 seconds, readers take it for a wrong stamp."""
    source = make(
        "slow.mkv",
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25,trim=end_frame=12,setpts=N*1.2/TB"),
        *("-fps_mode", "passthrough", "-c:v", "ffv1"),
    )
    for vfr in ("keep", "constant"):
        made = run(source, tmp_path / "out.ts", vfr=vfr, factor=1, codec=codec, overwrite=True)
        timing = scan(probe(tmp_path / "out.ts")).timing
        assert (timing.frames_from_packets, timing.duration) == (made.frames_out, made.duration_out)
    with pytest.raises(UsageError, match=r"holds a rate of at least 1 per second, found 0\.83"):
        run(source, tmp_path / "out.ts", vfr="keep", factor=1, codec=codec, overwrite=True, preset="veryslow")
    with pytest.raises(UsageError, match=rf"{codec} in \.ts holds a rate of at least 0\.\d per second, found"):
        run(source, tmp_path / "out.ts", factor=2, rate="0.4", codec=codec, overwrite=True)


def test_uneven_times_in_mpeg_4(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """It counts at most 65535 ticks of a second."""
    source, out = clip("free.mp4"), tmp_path / "out.mp4"

    run(source, out, factor=1, vfr="keep", codec="mpeg4")

    times = [float(frame.pts_seconds) for frame in read(source)]
    assert [float(frame.pts_seconds) for frame in read(out)] == pytest.approx(times, abs=2e-5)


def test_a_cut_is_held_not_morphed(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    """Between two scenes every output frame is one of the source's, and the cut is counted."""
    source = make(
        "two-scenes.mkv",
        *"-f lavfi -i testsrc2=size=96x64:rate=12:duration=1 -f lavfi -i mandelbrot=size=96x64:rate=12".split(),
        *"-filter_complex [1:v]trim=duration=1,format=yuv420p[b];[0:v]format=yuv420p[a];[a][b]concat".split(),
        *"-c:v ffv1".split(),
    )
    out = tmp_path / "out.mkv"

    summary = run(source, out, factor=4, codec="ffv1", duplicates="keep")

    originals, written = read(source), read(out)
    assert summary.cuts == 1
    for k in (44, 45):
        assert same(written[k], originals[11])
    for k in (46, 47, 48):  # half way, the later side
        assert same(written[k], originals[12])


def test_a_part_shows_what_the_whole_shows(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    """Repeats at both ends of a range are known by the pictures outside it, which are not counted."""
    threes = make("eights.mkv", *"-f lavfi -i testsrc2=size=64x48:rate=8:duration=2 -r 24 -c:v ffv1".split())
    part, whole = tmp_path / "part.mkv", tmp_path / "whole.mkv"

    run(threes, whole, factor=2, codec="ffv1")
    summary = run(threes, part, factor=2, codec="ffv1", start="20/24", end="29/24")

    expected, written = read(whole)[40:58], read(part)
    assert len(written) == 18
    assert [k for k in range(18) if not same(written[k], expected[k])] == []
    assert summary.duplicates == 6


@pytest.mark.parametrize("duplicates", ["keep", "replace"])
def test_a_part_moves_as_the_whole_does(duplicates: str, make: Callable[..., Path], tmp_path: Path) -> None:
    """Motion bends by the pictures beside a pair, also by those outside a range; if it is to be straight, by none."""
    shaking = "crop=96:64:'40+6*sin(2*n)':'40+4*cos(3*n)'"
    filters = f"testsrc2=size=192x144:rate=10:duration=2,loop=-1:1,trim=duration=2,{shaking}"
    source = make("shaking.mkv", "-f", "lavfi", "-i", filters, "-c:v", "ffv1")
    part, whole, straight = (tmp_path / f"{name}.mkv" for name in ("part", "whole", "straight"))
    wishes: dict[str, Any] = {
        "factor": 2,
        "codec": "ffv1",
        "cuts": "off",
        "device": "cpu",
        "dtype": "float32",
        "duplicates": duplicates,
    }

    convert(source, whole, **wishes)
    convert(source, part, start="0.5", end="1", **wishes)
    convert(source, straight, motion="straight", **wishes)

    expected, written = read(whole), read(part)
    assert len(written) == 10
    assert [k for k in range(10) if not same(written[k], expected[10 + k])] == []
    assert [k for k in range(10, 20) if not same(read(straight)[k], expected[k])] == [11, 13, 15, 17, 19]


def test_a_loop_of_repeats_never_stands_still(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    """Whether its last frames are repeats is seen by the first ones, which follow them."""
    threes = make("eights.mkv", *"-f lavfi -i testsrc2=size=64x48:rate=8:duration=2 -r 24 -c:v ffv1".split())
    out = tmp_path / "out.mkv"

    summary = run(threes, out, factor=2, codec="ffv1", loop=True, cut_threshold=1)

    written = read(out)
    assert len(written) == 96 and summary.duplicates == 32
    assert [k for k, (a, b) in enumerate(pairwise([*written, written[0]])) if same(a, b)] == []


def test_still_pictures_need_no_network(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    """Equal neighbours are repeated, not computed."""
    source = make("still.mkv", *"-f lavfi -i color=c=teal:size=64x48:rate=10:duration=1 -c:v ffv1".split())

    summary = run(source, tmp_path / "out.mkv", factor=4, codec="ffv1")

    assert summary.frames_interpolated == 0 and summary.frames_out == 40


def test_same_output_whatever_the_queues(clip: Clip, run: Convert, tmp_path: Path, monkeypatch: Any) -> None:
    """Frame for frame, byte for byte: threads, batch and queue depth change nothing."""
    source = clip("cfr.mp4")
    run(source, tmp_path / "a.mkv", factor=4, codec="ffv1", end="0.4")
    monkeypatch.setattr("slomo_cli.painter._WAITING_FRAMES", (1, 2))
    monkeypatch.setattr("slomo_cli.painter._DECODED_AHEAD", 1)
    run(source, tmp_path / "b.mkv", factor=4, codec="ffv1", end="0.4", threads=3, batch=2)

    a, b = read(tmp_path / "a.mkv"), read(tmp_path / "b.mkv")
    assert len(a) == len(b) == 48
    assert all(same(x, y) for x, y in zip(a, b, strict=True))


def test_one_frame_is_held(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """A clip of one picture has nothing to move towards: it is shown for its time."""
    summary = run(clip("one.mp4"), tmp_path / "out.mp4", factor=8)

    assert summary.frames_out == 8 and summary.frames_interpolated == 0


def test_smallest_picture(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """2x2 goes through the network and a lossless encoder."""
    summary = run(clip("tiny.mkv"), tmp_path / "out.mkv", factor=2, codec="ffv1", end="0.2")

    assert summary.frames_out == 12
    assert read(tmp_path / "out.mkv")[0].planes[0].shape == (2, 2)


def test_settings_by_name_and_typos_refused(clip: Clip, tmp_path: Path) -> None:
    """The API takes numbers as people write them, and says which settings exist."""
    plan = plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", factor=2.5, rate="59.94", start="0:00.5")
    assert plan.plan.rate == Fraction(60000, 1001)
    assert plan.plan.start == Fraction(1, 2)
    with pytest.raises(UsageError, match="factor"):
        plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", factr=2)
    same = TimeSettings(2.5, "59.94", "0:00.5")  # type: ignore[arg-type]
    assert plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", time=same).plan == plan.plan
    assert "-crf:v:0 16" in shlex.join(plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", crf="16").encoder_args)
    with pytest.raises(UsageError, match="expected crf to be a number, found 'fine'"):
        plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", crf="fine")
    with pytest.raises(UsageError, match=r"expected threads to be a whole number, found '1\.5'"):
        plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", threads="1.5")
    with pytest.raises(UsageError, match="audio to be one of auto, copy, stretch, pitch, drop; found 'none'"):
        plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", audio="none")
    with pytest.raises(UsageError, match="vfr to be one of"):
        plan_conversion(clip("cfr.mp4"), tmp_path / "o.mp4", time=TimeSettings(vfr="kep"))  # type: ignore[arg-type]
    assert {"convert", "probe", "Interpolator"} <= set(dir(slomo_cli))
    assert slomo_cli.convert is convert


def test_an_empty_name_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Path of it is the current folder, whose pictures would be the film."""
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="'' does not exist"):
        convert("", tmp_path / "out.mp4")


def test_existing_target_stays_unless_told(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """Nothing is replaced by default; with overwrite the new file is whole."""
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")

    with pytest.raises(SlomoError, match="exists"):
        run(clip("two.mp4"), out)
    assert out.read_bytes() == b"precious"

    run(clip("two.mp4"), out, overwrite=True)
    assert len(read(out)) == 2


@pytest.mark.parametrize("link", ["itself", "hard link", "symbolic link"])
def test_the_source_is_never_the_target(clip: Clip, run: Convert, tmp_path: Path, link: str) -> None:
    source = tmp_path / "in.mp4"
    shutil.copy(clip("two.mp4"), source)
    before = source.read_bytes()
    target = source if link == "itself" else tmp_path / "other.mp4"
    if link == "hard link":
        os.link(source, target)
    elif link == "symbolic link":
        target.symlink_to(source)

    with pytest.raises(UsageError, match="is the input itself"):
        run(source, target, factor=2, overwrite=True)

    assert source.read_bytes() == before


def test_a_source_that_grows_meanwhile_is_told(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "recording.ts"
    whole = clip("cfr.ts").read_bytes()
    source.write_bytes(whole)
    assert not [text for text in run(source, tmp_path / "whole.mp4", factor=2).warnings if "changed" in text]
    write = Encoder.write

    def meanwhile(self: Encoder, *args: Any) -> None:
        write(self, *args)
        if source.stat().st_size == len(whole):
            with source.open("ab") as file:
                file.write(whole)

    monkeypatch.setattr(Encoder, "write", meanwhile)
    notes = run(source, tmp_path / "part.mp4", factor=2).warnings
    assert [text for text in notes if "recording.ts' has changed while it was converted" in text]
    assert len(read(tmp_path / "part.mp4")) == len(read(tmp_path / "whole.mp4"))


def test_a_name_that_is_none(run: Convert, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^'a\\x00b' cannot be read: .*null"):
        run("a\0b", tmp_path / "out.mp4")


def test_what_a_killed_run_left_may_be_a_source(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """It lies where another run of that output writes, and would be removed as left over."""
    source = tmp_path / ".out.mkv.slomo-part.mkv"
    source.write_bytes(clip("cfr.mp4").read_bytes())
    with pytest.raises(UsageError, match=r"part\.mkv' is the input itself"):
        run(source, tmp_path / "out.mkv")
    assert source.read_bytes() == clip("cfr.mp4").read_bytes()
    assert run(source, tmp_path / "other.mkv").frames_out


@pytest.mark.parametrize("name", ["%d.png", "*.png", "1.png"])
def test_pictures_a_killed_run_left_may_be_a_source(run: Convert, tmp_path: Path, name: str) -> None:
    left = tmp_path / ".out_%d.png.slomo-part"
    left.mkdir()
    for number in (1, 2):
        write_png(left / f"{number}.png", np.full((32, 32, 3), number, np.uint8))
    with pytest.raises(UsageError, match=r"slomo-part' is the input itself"):
        run(left / name, tmp_path / "out_%d.png", factor=2)
    assert len(list(left.iterdir())) == 2
    assert run(left / name, tmp_path / "other_%d.png", factor=2).frames_out


def test_a_target_behind_a_link_is_written_and_keeps_its_mode(clip: Clip, run: Convert, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "film.mp4", tmp_path / "link.mp4"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)

    run(clip("two.mp4"), link, factor=2, overwrite=True)

    assert link.is_symlink() and not real.is_symlink()
    assert real.stat().st_size > 100 and real.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["film.mp4", "link.mp4", "real"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_name_that_is_not_utf_8(clip: Clip, run: Convert, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xff"))
    folder.mkdir()
    target = folder / os.fsdecode(b"\xfe out.mp4")

    run(clip("two.mp4"), target, factor=2)

    assert os.listdir(os.fsencode(folder)) == [b"\xfe out.mp4"]


def running() -> list[str]:
    """The command line of every process."""
    there = list(Path("/proc").glob("[0-9]*/cmdline"))
    if not there:  # no Linux; which has no ps where only Python was installed
        listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True)
        return listed.stdout.splitlines()
    commands = []
    for process in there:
        with contextlib.suppress(OSError):  # ended meanwhile
            commands.append(process.read_text(errors="replace").replace("\0", " "))
    return commands


@pytest.mark.parametrize("moment", ["decode", "network", "encoder"])
def test_failure_half_way_leaves_nothing(
    moment: str, clip: Clip, run: Convert, tmp_path: Path, monkeypatch: Any
) -> None:
    """An error in any room: it is raised, the old target stays, no partial file, no child process."""
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    calls = {"n": 0}

    def failing(original: Any, error: Exception) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            calls["n"] += 1
            if calls["n"] > 3:
                raise error
            return original(*args, **kwargs)

        return wrapper

    if moment == "decode":
        monkeypatch.setattr(Decoder, "_delivered", failing(Decoder._delivered, InputError("the disc was pulled")))
    elif moment == "network":
        from slomo_cli.interpolate import Interpolator

        monkeypatch.setattr(Interpolator, "_make", failing(Interpolator._make, SlomoError("the network broke")))
    else:
        from slomo_cli.media.write.encode import Encoder

        monkeypatch.setattr(Encoder, "write", failing(Encoder.write, EncoderError("the encoder broke")))

    with pytest.raises(SlomoError, match=r"pulled|broke"):
        run(clip("cfr.mp4"), out, factor=4, overwrite=True)

    assert out.read_bytes() == b"old"
    assert leftovers(tmp_path, "out.mp4") == []
    assert not any(str(tmp_path) in command for command in running())


@pytest.fixture
def sounding(make: Callable[..., Path]) -> Path:
    """Two seconds of picture and of FLAC."""
    return make(
        "sounding.mkv",
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"),
        *("-f", "lavfi", "-i", "sine=frequency=300:sample_rate=48000:duration=2"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "flac"),
    )


def test_sound_that_is_damaged_is_told(sounding: Path, run: Convert, tmp_path: Path) -> None:
    """What cannot be decoded becomes silence, and never without a word."""
    damaged = tmp_path / "damaged.mkv"
    with av.open(str(sounding)) as source, av.open(str(damaged), "w") as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and 0.5 <= float(packet.pts * packet.time_base) < 1:
                broken = av.Packet(bytes(packet.size))
                broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
                broken.stream = packet.stream
                packet = broken
            packet.stream = streams[packet.stream.index]
            target.mux(packet)

    whole = run(sounding, tmp_path / "whole.mkv", factor=2)
    summary = run(damaged, tmp_path / "out.mkv", factor=2)

    assert whole.warnings == ()
    (told,) = summary.warnings
    assert re.fullmatch(r"audio track 1 \(flac\): 2\d packets could not be decoded and became silence", told)


def test_a_sound_that_fails_by_a_bug_is_no_result(
    sounding: Path, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing appears, and what was there stays."""
    out = tmp_path / "out.mkv"
    out.write_bytes(b"before")

    def failing(*args: Any) -> Any:
        yield np.zeros((1, 1000), np.float32)
        raise ZeroDivisionError

    monkeypatch.setattr("slomo_cli.media.tracks.soundtracks.stretched", failing)
    with pytest.raises(ZeroDivisionError):
        run(sounding, out, factor=2, overwrite=True)
    assert out.read_bytes() == b"before" and not leftovers(tmp_path, "out.mkv")


def test_the_log_tells_network_and_encoder(
    clip: Clip, run: Convert, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What -v shows."""
    caplog.set_level("INFO", "slomo_cli")
    run(clip("cfr.mp4"), tmp_path / "out.mkv", factor=2)

    network, encoder = caplog.messages
    assert network == "network: tiny, cpu, float32, 1 thread; it sees 128x96"
    assert encoder.startswith("encoder: ") and "-f rawvideo" in encoder


def test_a_picture_lost_is_told_also_where_outputs_end_before_the_source(run: Convert, tmp_path: Path) -> None:
    """As the last output shows a moment far before the source's end, the decoder is not asked for what follows."""
    source = tmp_path / "damaged.mkv"
    with av.open(str(source), "w") as target:
        stream = target.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for k in range(60):
            picture = np.full((48, 64, 3), 4 * k, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                if packet.pts == 10:
                    broken = av.Packet(bytes(packet.size))
                    broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
                    broken.stream = packet.stream
                    packet = broken
                target.mux(packet)

    summary = run(source, tmp_path / "out.mkv", factor=1, rate=2)

    assert (summary.frames_in, summary.frames_out) == (59, 4)
    assert [line for line in summary.warnings if line.startswith("1 of 60 pictures could not be decoded")]

    for name, where, told in (("before", {"end": 1}, ["1 of 55"]), ("after", {"start": 1.8}, [])):
        part = run(source, tmp_path / f"{name}.mkv", factor=2, **where)
        assert [line[:7] for line in part.warnings if "could not be decoded" in line] == told


def test_captions_that_are_not_shown_are_told(clip: Clip, run: Convert, tmp_path: Path) -> None:
    summary = run(clip("rich.mkv"), tmp_path / "out.mkv", start="0.55", factor=2)
    assert [line for line in summary.warnings if "1 caption left out" in line]


def test_fields_are_real_pictures_in_between(make: Callable[..., Path], run: Convert, tmp_path: Path) -> None:
    fast = "testsrc2=size=64x48:rate=50:duration=0.8,tinterlace=interleave_top,setfield=tff"
    source = make("woven.mkv", "-f", "lavfi", "-i", fast, "-pix_fmt", "yuv420p", "-c:v", "ffv1")

    made = run(source, tmp_path / "fields.mkv", rate=50, duplicates="keep", deinterlace="fields")
    assert (made.frames_in, made.frames_out, made.frames_interpolated) == (20, 40, 0)
    assert "the source is interlaced; its pictures are made two each, one of every field (bwdif)" in made.warnings

    made = run(source, tmp_path / "whole.mkv", rate=50, duplicates="keep")
    assert (made.frames_in, made.frames_out, made.frames_interpolated) == (20, 40, 19)
    told = "the source is interlaced; its pictures are made whole (bwdif); --deinterlace fields makes two of each"
    assert told in made.warnings

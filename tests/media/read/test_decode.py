"""Decoded pictures: the file's own samples, at exact times, whatever the file does."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import threading
import time
from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from slomo_cli.errors import InputError
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.pixels import copy_planes
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.pairs import count_between
from slomo_cli.values import Frame

Clip = Callable[[str], Path]

EVERY_KIND = [
    "cfr.mp4", "cfr.mkv", "cfr.ts", "cfr.flv", "cfr.nut", "cfr.avi", "cfr.webm", "cfr.h264", "gaps.mp4", "free.mp4",
    "odd.mkv", "tiny.mkv", "hdr10.mp4", "yuv422p.mkv", "yuv422p10.mkv", "yuv444p.mp4", "yuv444p12.mkv", "gray.mkv",
    "gray16.mkv", "gbrp.mkv", "rgb16.mkv", "alpha.mkv", "alpha.mov", "alpha.webm", "packed.avi", "packed.mov",
    "rotated.mp4", "flipped.mp4", "cut.mp4", "late.mp4", "one.mp4", "interlaced.mp4", "interlaced.mpg", "ntsc.mkv",
]  # fmt: skip


def decoded(path: Path, **options: Any) -> tuple[list[Frame], Decoder]:
    info = probe(path)
    with Decoder(info, scan(info).timing, **options) as decoder:
        return list(decoder), decoder


def woven_and_whole(make: Callable[..., Path]) -> tuple[Path, Path]:
    """Two seconds, 25 pictures each: interlaced, and not."""
    fast = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=50:duration=2"]
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-flags", "+ildct+ilme", "-g", "10"]
    woven = make("woven.ts", *fast, "-vf", "tinterlace=interleave_top,setfield=tff", *codec)
    return woven, make("whole.ts", *fast, "-vf", "fps=25,setfield=prog", *codec[:4])


def by_ffmpeg(path: Path, layout: str, *filters: str) -> list[bytes]:
    """The same film decoded by the ffmpeg program, as raw frames."""
    info = probe(path)
    command = [tools().path, "-v", "error", "-nostdin", "-noautorotate"]
    command += ["-c:v", "libvpx-vp9"] if info.layout.alpha and info.codec == "vp9" else []
    chain = ["-vf", ",".join(filters)] if filters else []
    command += ["-i", f"file:{path}", "-map", f"0:{info.stream_index}", *chain, "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", layout, "-"]
    data = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    size = info.layout.frame_bytes(info.width, info.height)
    assert len(data) % size == 0
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("name", EVERY_KIND)
def test_samples_are_those_ffmpeg_decodes(name: str, clip: Clip) -> None:
    frames, decoder = decoded(clip(name))

    expected = by_ffmpeg(clip(name), decoder.info.layout.name)
    assert [frame.tobytes() for frame in frames] == expected
    assert all(frame.layout == decoder.info.layout and frame.color == decoder.info.color for frame in frames)
    assert decoder.frames_decoded == len(frames)
    assert decoder.packets_skipped == 0
    assert decoder.warnings == []


@pytest.mark.parametrize("name", EVERY_KIND)
def test_times_are_those_scan_promised(name: str, clip: Clip) -> None:
    info = probe(clip(name))
    timing = scan(info)

    with Decoder(info, timing.timing) as decoder:
        assert [frame.pts_seconds for frame in decoder] == list(timing.stamps)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(threads: int, clip: Clip) -> None:
    one, _ = decoded(clip("long.mp4"), threads=threads)
    many, _ = decoded(clip("long.mp4"))

    assert [(f.pts_seconds, f.tobytes()) for f in one] == [(f.pts_seconds, f.tobytes()) for f in many]


WINDOWS = [
    (F(5), F(6)), (F(31, 10), F(32, 10)), (F(61, 30) + F(1, 100), F(3)), (F(239, 30), None), (F(100), None),
    (F(0), F(1, 30)), (F(7), F(7)), (F(1, 100), F(1, 90)), (None, F(1)), (F(24, 10), F(24, 10) + F(1, 1000)),
]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *("long.mp4", "long.mkv", "long.ts", "long.webm", "long.hevc.mp4"),
        *("long.opengop.ts", "long.refresh.ts", "long.mpeg2.ts", "long.frag.mp4"),
    ],
)
def test_a_window_is_a_slice_of_the_whole(name: str, clip: Clip) -> None:
    whole, _ = decoded(clip(name))

    for start, end in WINDOWS:
        part, _ = decoded(clip(name), start=start, end=end)
        first = max((k for k, f in enumerate(whole) if start is not None and f.pts_seconds <= start), default=0)
        last = next((k for k, f in enumerate(whole) if end is not None and f.pts_seconds >= end), len(whole) - 1)
        expected = whole[first : max(first, last) + 1]
        assert [(f.pts_seconds, f.tobytes()) for f in part] == [(f.pts_seconds, f.tobytes()) for f in expected]


@pytest.mark.parametrize("name", ["cfr.avi", "cfr.h264", "cfr.ts", "gaps.mp4", "free.mp4"])
def test_a_window_of_a_short_or_unseekable_film_is_a_slice_too(name: str, clip: Clip) -> None:
    whole, _ = decoded(clip(name))

    part, _ = decoded(clip(name), start=whole[7].pts_seconds + F(1, 1000), end=whole[11].pts_seconds)

    assert [f.tobytes() for f in part] == [f.tobytes() for f in whole[7:12]]


@pytest.mark.parametrize("name", ["long.mp4", "long.ts", "long.opengop.ts"])
def test_a_late_window_does_not_decode_what_lies_before(name: str, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a transport stream, which has no index, the first jump leads too far."""
    from slomo_cli.media.read.source import PictureTrack

    fed = []
    plain = PictureTrack.decode
    monkeypatch.setattr(PictureTrack, "decode", lambda self, packet: fed.append(packet) or plain(self, packet))
    info = probe(clip(name))
    timing = scan(info).timing
    fed.clear()

    with Decoder(info, timing, start=F(7)) as decoder:
        list(decoder)

    assert len(fed) < 80


def damaged(path: Path, copy: Path, *numbers: int) -> Path:
    """A copy in which the packets of these numbers are noise."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(1).integers(0, 256, 1 << 16, np.uint8).tobytes()
    for number in numbers:
        position, size = places[number]
        data[position + 5 : position + size] = noise[: size - 5]
    copy.write_bytes(data)
    return copy


@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.hevc.mp4", "long.webm"])
def test_damage_never_ends_the_film(name: str, clip: Clip, tmp_path: Path) -> None:
    path = damaged(clip(name), tmp_path / name, 11, 12, 40, 101, 102, 103, 170)

    frames, decoder = decoded(path)

    times = [frame.pts_seconds for frame in frames]
    assert times == sorted(set(times))
    assert times[-1] == F(239, 30)
    assert 100 < len(frames) <= 240
    assert set(times) <= {F(k, 30) for k in range(240)}
    if len(frames) < 240:
        assert f"{240 - len(frames)} of 240 pictures" in decoder.warnings[-1]


def test_a_damaged_packet_costs_only_its_own_picture(clip: Clip, make: Callable[..., Path], tmp_path: Path) -> None:
    intra = make("intra.mp4", "-i", str(clip("cfr.mp4")), "-c:v", "libx264", "-g", "1", "-preset", "ultrafast")
    path = damaged(intra, tmp_path / "in.mp4", 3, 20)

    frames, decoder = decoded(path)

    lost = {F(k, 30) for k in range(30)} - {frame.pts_seconds for frame in frames}
    assert lost <= {F(3, 30), F(20, 30)}
    assert decoder.packets_skipped == len(lost)


@pytest.mark.parametrize("threads", [1, 4])
def test_damage_near_the_end_does_not_cost_the_end(threads: int, clip: Clip, tmp_path: Path) -> None:
    # With frame threads the last pictures come out of one call; the error of one must not take the others along.
    path = damaged(clip("long.mp4"), tmp_path / "in.mp4", 236)

    frames, decoder = decoded(path, threads=threads)

    assert len(frames) >= 238
    assert decoder.packets_skipped == 240 - len(frames)


def test_what_is_lost_is_counted_once_and_told(clip: Clip, tmp_path: Path) -> None:
    """Also where the whole film is asked for by its times, as a conversion does."""
    lost = range(12, 30)
    path = damaged(clip("cfr.mp4"), tmp_path / "in.mp4", *lost)
    timing = scan(probe(path)).timing

    frames, decoder = decoded(path, start=F(0), end=timing.duration)

    assert len(frames) < 30 and decoder.packets_skipped <= len(lost)
    assert any(f"{30 - len(frames)} of 30 pictures could not be decoded" in line for line in decoder.warnings)


@pytest.mark.parametrize("name", ["cfr.mp4", "hdr10.mp4"])
def test_margins_that_the_codec_hides_are_not_shown(name: str, clip: Clip, make: Callable[..., Path]) -> None:
    whole = clip(name)
    hide = f"{'hevc' if name == 'hdr10.mp4' else 'h264'}_metadata=crop_left=10:crop_top=4:crop_right=6:crop_bottom=2"
    path = make(f"cropped.{name}", "-i", str(whole), "-c", "copy", "-bsf:v", hide)

    info = probe(path)
    frames, _ = decoded(path)
    expected, _ = decoded(whole)

    assert (info.width, info.height) == (48, 42)
    for frame, other in zip(frames, expected, strict=True):
        assert (frame.planes[0] == other.planes[0][4:-2, 10:-6]).all()
        assert (frame.planes[1] == other.planes[1][2:-1, 5:-3]).all()


@pytest.mark.parametrize("name", ["cfr.mp4", "cfr.ts", "cfr.h264", "gaps.mp4", "free.mp4", "screen.gif", "long.webm"])
def test_as_many_pictures_as_are_promised_of_a_part(name: str, clip: Clip) -> None:
    found = scan(probe(clip(name)))
    length = found.timing.duration
    for start, end in ((F(0), length), (length / 3, length / 2), (found.stamps[2],) * 2, (2 * length / 3, length)):
        frames, _ = decoded(clip(name), start=start, end=end)
        assert len(frames) == count_between(found.stamps, start, end)


@pytest.mark.parametrize("ending", ["avi", "asf", "mxf"])
@pytest.mark.parametrize("start", [None, F(1, 2)])
def test_b_frames_where_stamps_are_of_decoding_alone(
    ending: str, start: F | None, clip: Clip, make: Callable[..., Path]
) -> None:
    """AVI and ASF have no others, nor has MXF by ffmpeg; libav's guess would put the pictures out of order."""
    path = make(f"reordered.{ending}", "-i", str(clip("cfr.mp4")), "-c", "copy")

    frames, decoder = decoded(path, start=start)

    assert scan(probe(path)).timing.rate == 30
    reference, _ = decoded(clip("cfr.mp4"))
    begin = 0 if start is None else 15
    assert [frame.pts_seconds for frame in frames] == [F(k, 30) for k in range(begin, 30)]
    assert [frame.planes[0].tobytes() for frame in frames] == [f.planes[0].tobytes() for f in reference[begin:]]
    assert decoder.warnings == []


@pytest.mark.parametrize("codec", ["mpeg2video", "mjpeg"])
def test_gxf_counts_fields_as_they_are_stored(codec: str, make: Callable[..., Path]) -> None:
    """Its stamps are of decoding alone, and every packet says that it lasts a field."""
    film = "testsrc2=size=720x576:rate=25:duration=0.48"
    path = make(f"{codec}.gxf", "-f", "lavfi", "-i", film, "-c:v", codec, *(("-bf", "2") if codec != "mjpeg" else ()))

    found = scan(probe(path))
    frames, decoder = decoded(path)

    assert (found.timing.rate, found.timing.first_seconds, found.timing.duration) == (25, 0, F(12, 25))
    assert [frame.pts_seconds for frame in frames] == [F(k, 25) for k in range(12)]
    assert (*decoder.warnings, *found.warnings) == ()
    shown = []
    with av.open(str(path)) as source, contextlib.suppress(PermissionError, av.error.InvalidDataError):  # so it ends
        for picture in source.decode(video=0):
            shown.append(copy_planes(picture, frames[0].layout)[0])
    assert all((frame.planes[0] == plane).all() for frame, plane in zip(frames, shown, strict=True))


@pytest.mark.parametrize(("codec", "hidden"), [("libx264", 0), ("libx264", 2), ("mpeg4", 0)])
def test_b_frames_whose_order_is_not_told(codec: str, hidden: int, make: Callable[..., Path], tmp_path: Path) -> None:
    """MP4 without composition offsets; its edit list may hide the first two pictures that are stored."""
    wishes = ("-bf", "2", "-g", "12", "-c:v", codec, "-sc_threshold", "0")
    whole = make(f"told_{codec}.mp4", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1", *wishes)
    data = whole.read_bytes().replace(b"ctts", b"free")
    path = tmp_path / "untold.mp4"
    path.write_bytes(data if hidden else data.replace(b"edts", b"free"))

    frames, decoder = decoded(path)

    shown = decoded(whole)[0]
    expected = shown[len(shown) - len(frames) :]
    assert [frame.pts_seconds for frame in frames] == [F(k, 30) for k in range(len(frames))]
    assert decoder.warnings == [] and len(shown) - len(frames) <= hidden
    assert [frame.planes[0].tobytes() for frame in frames][2:] == [f.planes[0].tobytes() for f in expected][2:]


@pytest.mark.parametrize(
    ("film", "run", "empty"),
    [("testsrc2", 1, None), ("testsrc2", 1, 9), ("testsrc2", 2, None), ("color=gray", 2, None)],
)
def test_b_frames_that_share_a_packet(
    film: str, run: int, empty: int | None, make: Callable[..., Path], tmp_path: Path
) -> None:
    """As DivX and XviD write them; ``run``: so many in a row, of which the first shares a packet; ``empty``: before
    which packet one comes that stands for no picture. Those of a film that stands still are hardly longer than that."""
    wishes = ["-c:v", "mpeg4", "-bf", str(run), "-b_strategy", "0", "-g", "10", "-sc_threshold", "1000000000"]
    film = f"{film}{':' if '=' in film else '='}size=64x48:rate=30:duration=1"
    plain = make(f"one_by_one_{film[0]}{run}.avi", "-f", "lavfi", "-i", film, *wishes, "-q:v", "3")
    path = tmp_path / "packed.avi"
    nothing, mark = b"\0\0\1\xb6\x9a\xc0\x7f", b"\0\0\1\xb2DivX503b1393p"
    with av.open(str(plain)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        stored = [bytes(packet) for packet in reader.demux(stream) if packet.size]
        packed: list[bytes] = []
        for data in stored:
            kind = data[data.index(b"\0\0\1\xb6") + 4] >> 6
            if kind == 2 and packed[-1] == nothing:  # shown before the one stored ahead of it, as the one before
                packed[-1:] = [data, nothing]
            elif kind == 2:
                packed[-1:] = [packed[-1] + data, nothing]
            else:
                at = data.index(b"\0\0\1\xb6")
                packed.append(data[:at] + mark + data[at:])
        assert len(packed) == len(stored) and packed.count(nothing) >= 10
        if empty is not None:
            packed.insert(empty, nothing)
        for number, data in enumerate(packed):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = copy, F(1, 30), number == 0
            packet.pts = packet.dts = number
            writer.mux(packet)

    frames, decoder = decoded(path)

    reference, _ = decoded(plain)
    assert [frame.planes[0].tobytes() for frame in frames] == [frame.planes[0].tobytes() for frame in reference]
    assert [frame.pts_seconds for frame in frames] == [F(k, 30) for k in range(31) if k != (empty or 30)]
    assert scan(probe(path)).timing.frames_from_packets == 30
    assert decoder.warnings == []


@pytest.mark.parametrize("name", ["pauses.avi", "pauses.mp4"])
def test_pictures_that_are_not_coded_let_the_one_before_stand(
    name: str, make: Callable[..., Path], tmp_path: Path
) -> None:
    """As encoders leave out what repeats; they are none that is lost. Coded ones may be as short."""
    wishes = ["-c:v", "mpeg4", "-g", "1000", "-sc_threshold", "1000000000", "-frames:v", "30"]
    plain = make(f"still.{name}", "-f", "lavfi", "-i", "color=gray:size=64x48:rate=30", *wishes)
    with av.open(str(plain)) as reader, av.open(str(tmp_path / name), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in reader.demux(stream) if packet.size):
            data = bytes(packet)
            assert number == 0 or len(data) <= 19
            if number in (10, 11, 20):
                # Kind 01, no whole second, a mark, the time in 5 bits, a mark, not coded, filled up with 01111.
                data = b"\0\0\1\xb6" + int(f"0101{number:05b}10" + "01111", 2).to_bytes(2, "big")
            fresh = av.Packet(data)
            fresh.stream, fresh.time_base, fresh.is_keyframe = copy, packet.time_base, packet.is_keyframe
            fresh.pts, fresh.dts, fresh.duration = packet.pts, packet.dts, packet.duration
            writer.mux(fresh)

    frames, decoder = decoded(tmp_path / name)

    assert [frame.pts_seconds for frame in frames] == [F(k, 30) for k in range(30) if k not in (10, 11, 20)]
    assert scan(probe(tmp_path / name)).timing.frames_from_packets == 27
    assert decoder.warnings == []


def test_a_film_cut_short_gives_all_there_is(clip: Clip, make: Callable[..., Path], tmp_path: Path) -> None:
    whole = make("fast.mp4", "-i", str(clip("long.mp4")), "-c", "copy", "-movflags", "+faststart").read_bytes()
    path = tmp_path / "half.mp4"
    path.write_bytes(whole[: len(whole) // 2])

    frames, _ = decoded(path)

    promised = scan(probe(path)).timing.frames_from_packets
    assert promised - 1 <= len(frames) <= promised
    reference, _ = decoded(clip("long.mp4"))
    assert [f.tobytes() for f in frames[:40]] == [f.tobytes() for f in reference[:40]]


def test_a_film_in_which_nothing_decodes_any_more_is_an_input_error(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    path.write_bytes(clip("yuv422p.mkv").read_bytes())
    info = probe(path)
    timing = scan(info).timing
    damaged(clip("yuv422p.mkv"), path, 0, 1, 2, 3)

    with Decoder(info, timing) as decoder, pytest.raises(InputError, match="no picture in it can be decoded"):
        list(decoder)


def test_a_size_that_changes_is_brought_to_the_first_with_one_warning(
    clip: Clip, make: Callable[..., Path], tmp_path: Path
) -> None:
    big = make("big.ts", "-i", str(clip("cfr.ts")), "-vf", "scale=128:96", "-c:v", "libx264")
    path = tmp_path / "grows.ts"
    path.write_bytes(clip("cfr.ts").read_bytes() + big.read_bytes() + clip("cfr.ts").read_bytes())

    frames, decoder = decoded(path)

    assert len(frames) == 90
    assert {(frame.width, frame.height, frame.layout.name) for frame in frames} == {(64, 48, "yuv420p")}
    assert [frame.pts_seconds for frame in frames] == [F(k, 30) for k in range(90)]
    assert len([line for line in decoder.warnings if "changes from 64x48 yuv420p to 128x96" in line]) == 1
    # The picture is the same test picture at half the size, not a crop or noise.
    luma, scaled = frames[5].planes[0].astype(float), frames[35].planes[0].astype(float)
    assert np.corrcoef(luma.ravel(), scaled.ravel())[0, 1] > 0.98


def test_a_format_that_changes_is_brought_to_the_first(clip: Clip, make: Callable[..., Path], tmp_path: Path) -> None:
    other = make("f444.ts", "-i", str(clip("cfr.ts")), "-pix_fmt", "yuv444p", "-c:v", "libx264", "-qp", "0")
    path = tmp_path / "changes.ts"
    path.write_bytes(clip("cfr.ts").read_bytes() + other.read_bytes())

    frames, decoder = decoded(path)

    assert len(frames) == 60
    assert all(frame.layout.name == "yuv420p" for frame in frames)
    assert len(decoder.warnings) == 1
    # Luma is untouched by the change of chroma sampling.
    np.testing.assert_allclose(frames[3].planes[0].astype(int), frames[33].planes[0].astype(int), atol=1)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.mpg"])
def test_deinterlacing_keeps_count_and_times_and_is_bwdif(name: str, clip: Clip) -> None:
    woven, _ = decoded(clip(name))

    whole, decoder = decoded(clip(name), deinterlace="auto")

    assert [f.pts_seconds for f in whole] == [f.pts_seconds for f in woven]
    # FFmpeg versions differ in how they treat the first picture, which has none before it.
    assert [f.tobytes() for f in whole][1:] == by_ffmpeg(clip(name), "yuv420p", "bwdif=mode=send_frame")[1:]
    assert decoder.warnings == []


@pytest.mark.parametrize(("weave", "field"), [("interleave_top", "tff"), ("interleave_bottom", "bff")])
def test_deinterlacing_unravels_a_moving_edge(weave: str, field: str, make: Callable[..., Path]) -> None:
    bar = "nullsrc=size=64x48:rate=50:duration=0.5,geq=lum=235*lt(mod(X+6*N\\,64)\\,20):cb=128:cr=128"
    fields = ["-f", "lavfi", "-i", f"{bar},tinterlace={weave},setfield={field}"]
    path = make(f"bar.{field}.mp4", *fields, "-c:v", "libx264", "-qp", "0", "-flags", "+ildct+ilme")

    def combed(frames: list[Frame]) -> float:
        """How much lines differ from their neighbours; an upright bar has equal lines unless two times are woven."""
        return float(np.mean([np.abs(np.diff(frame.planes[0].astype(float), axis=0)).mean() for frame in frames[2:-2]]))

    woven, _ = decoded(path)
    whole, _ = decoded(path, deinterlace="auto")

    assert len(whole) == len(woven)
    assert combed(whole) < 0.2 * combed(woven)


def test_progressive_pictures_pass_the_deinterlacer_untouched(clip: Clip) -> None:
    plain, _ = decoded(clip("cfr.mp4"))

    passed, _ = decoded(clip("cfr.mp4"), deinterlace="auto")

    assert [f.tobytes() for f in passed] == [f.tobytes() for f in plain]


def test_a_deinterlaced_window_is_a_slice_of_the_whole(make: Callable[..., Path]) -> None:
    picture = "testsrc2=size=64x48:rate=50:duration=8,tinterlace=interleave_top,setfield=tff"
    path = make("fields.mp4", "-f", "lavfi", "-i", picture, "-c:v", "libx264", "-flags", "+ildct+ilme", "-g", "20",
                "-preset", "veryfast")  # fmt: skip
    whole, _ = decoded(path, deinterlace="auto")

    part, _ = decoded(path, deinterlace="auto", start=F(4), end=F(5))

    assert [f.tobytes() for f in part] == [f.tobytes() for f in whole[100:126]]


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
@pytest.mark.parametrize("side", ["top", "bottom"])
def test_every_field_becomes_a_picture_at_its_own_time(side: str, codec: str, make: Callable[..., Path]) -> None:
    fast = "testsrc2=size=64x48:rate=50:duration=0.8"
    weave = f"tinterlace=interleave_{side},setfield={side[0]}ff"
    woven = make(f"{side}.{codec}.mkv", "-f", "lavfi", "-i", f"{fast},{weave}", "-pix_fmt", "yuv444p", "-c:v", codec,
                 *(("-qp", "0", "-flags", "+ildct+ilme") if codec == "libx264" else ()))  # fmt: skip
    truth, _ = decoded(make("fast.mkv", "-f", "lavfi", "-i", fast, "-pix_fmt", "yuv444p", "-c:v", "ffv1"))

    whole, decoder = decoded(woven, deinterlace="fields")

    assert [frame.pts_seconds for frame in whole] == [F(k, 50) for k in range(40)]
    assert decoder.frames_decoded == 20 and decoder.warnings == []
    for k, (frame, exact) in enumerate(zip(whole, truth, strict=True)):
        lines = slice((k + (side == "bottom")) % 2, None, 2)
        assert np.array_equal(frame.planes[0][lines], exact.planes[0][lines])
    kept, _ = decoded(woven, deinterlace="auto")
    assert [frame.tobytes() for frame in kept] == [frame.tobytes() for frame in whole[::2]]


@pytest.mark.parametrize("start", [F(4), F(401, 100), F(403, 100)])
@pytest.mark.parametrize("end", [F(5), F(501, 100), F(503, 100)])
def test_a_window_of_fields_is_a_slice_of_the_whole(start: F, end: F, make: Callable[..., Path]) -> None:
    """It begins and ends with both fields of a picture."""
    picture = "testsrc2=size=64x48:rate=50:duration=8,tinterlace=interleave_top,setfield=tff"
    path = make("fields.mp4", "-f", "lavfi", "-i", picture, "-c:v", "libx264", "-flags", "+ildct+ilme", "-g", "20",
                "-preset", "veryfast")  # fmt: skip
    whole, _ = decoded(path, deinterlace="fields")
    last = -(-end * 25 // 1)
    promised = int(last - start * 25 // 1) + 1

    part, decoder = decoded(path, deinterlace="fields", start=start, end=end, promised=promised)

    shown = [frame for frame in whole if start * 25 // 1 <= frame.pts_seconds * 25 < last + 1]
    assert [f.tobytes() for f in part] == [f.tobytes() for f in shown]
    assert decoder.frames_decoded == promised and decoder.warnings == []


@pytest.mark.parametrize("codec", ["ffv1", "utvideo"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_film_of_few_pictures_has_all_its_fields(count: int, codec: str, make: Callable[..., Path]) -> None:
    fast = "testsrc2=size=64x48:rate=50:duration=0.1,tinterlace=interleave_top,setfield=tff"
    path = make("few.mkv", "-f", "lavfi", "-i", fast, "-frames:v", str(count), "-pix_fmt", "yuv422p", "-c:v", codec)

    frames, decoder = decoded(path, deinterlace="fields")

    assert [frame.pts_seconds for frame in frames] == [F(k, 50) for k in range(2 * count)]
    assert decoder.frames_decoded == count and decoder.warnings == []


def test_later_fields_are_half_a_picture_after_whatever_the_rate(make: Callable[..., Path]) -> None:
    """25 pictures a second, then 50, as of two cameras; two of them are lost."""
    times = "settb=1/50,setpts='if(lt(N,40),2*N,40+N)',select='not(between(n,20,21))'"
    path = make("rates.mp4", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=50:duration=4",
                "-vf", f"tinterlace=interleave_top,setfield=tff,{times}", "-fps_mode", "vfr", "-enc_time_base", "1:50",
                "-c:v", "libx264", "-flags", "+ildct+ilme", "-preset", "veryfast", "-g", "12")  # fmt: skip

    frames, decoder = decoded(path, deinterlace="fields")

    shown = [*range(20), *range(22, 40), *(20 + F(k, 2) for k in range(40, 100))]
    assert decoder.timing.nominal_rate == 50
    assert [f.pts_seconds * 25 for f in frames[::2]] == shown
    after = [
        25 * (later.pts_seconds - frame.pts_seconds) for frame, later in zip(frames[::2], frames[1::2], strict=True)
    ]
    assert after[1:] == [*[F(1, 2)] * 37, *[F(1, 4)] * 60]
    part, _ = decoded(path, deinterlace="fields", start=F(5, 2), end=F(3))
    assert {f.pts_seconds: f.tobytes() for f in part}.items() <= {f.pts_seconds: f.tobytes() for f in frames}.items()


def test_whole_pictures_amid_fields_stay_one(make: Callable[..., Path], tmp_path: Path) -> None:
    woven, whole = woven_and_whole(make)
    path = tmp_path / "amid.ts"
    path.write_bytes(whole.read_bytes() + woven.read_bytes() + whole.read_bytes())

    frames, decoder = decoded(path, deinterlace="fields")

    # The last picture before whole ones has no field after its own to be made of, but is two as well.
    assert [f.pts_seconds * 25 for f in frames] == [*range(50), *(F(k, 2) for k in range(100, 200)), *range(100, 150)]
    assert decoder.warnings == [
        "interlaced pictures begin at 2.00 s; they are made two each, one of every field (bwdif)"
    ]


@pytest.mark.parametrize("side", ["top", "bottom"])
def test_where_pictures_are_silent_the_container_tells_which_field_is_first(
    side: str, make: Callable[..., Path]
) -> None:
    fields = f"testsrc2=size=64x48:rate=50:duration=0.5,tinterlace=interleave_{side},setfield={side[0]}ff"
    picture = ["-f", "lavfi", "-i", fields, "-pix_fmt", "yuv422p", "-c:v"]
    telling, _ = decoded(make(f"{side}.ffv1.mkv", *picture, "ffv1"), deinterlace="auto")

    silent, _ = decoded(make(f"{side}.utvideo.mkv", *picture, "utvideo"), deinterlace="auto")

    assert [f.tobytes() for f in silent] == [f.tobytes() for f in telling]
    motion = make(f"{side}.mjpeg.mov", *picture, "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj422p")
    for frame, exact in zip(decoded(motion, deinterlace="auto")[0], telling, strict=True):
        np.testing.assert_allclose(frame.planes[0].astype(int), exact.planes[0].astype(int), atol=40)


def test_fields_that_come_after_whole_pictures_are_made_whole(make: Callable[..., Path], tmp_path: Path) -> None:
    woven, whole = woven_and_whole(make)
    path = tmp_path / "later.ts"
    path.write_bytes(whole.read_bytes() + woven.read_bytes())

    plain, untouched = decoded(path)
    mended, decoder = decoded(path, deinterlace="auto")

    assert not decoder.info.interlaced
    assert decoder.warnings == ["interlaced pictures begin at 2.00 s; they are made whole (bwdif)"]
    assert untouched.warnings == [
        "interlaced pictures begin at 2.00 s; they are taken as they are: expect combed motion"
    ]
    assert [f.pts_seconds for f in mended] == [f.pts_seconds for f in plain] == [F(k, 25) for k in range(100)]
    assert [f.tobytes() for f in mended[:50]] == [f.tobytes() for f in plain[:50]]
    # bwdif looks one picture back: after the first, all are those of the interlaced film alone.
    assert [f.tobytes() for f in mended[51:]] == [f.tobytes() for f in decoded(woven, deinterlace="auto")[0][1:]]
    assert mended[50].tobytes() != plain[50].tobytes()
    part, _ = decoded(path, deinterlace="auto", start=F(3), end=F(4))
    assert [f.tobytes() for f in part] == [f.tobytes() for f in mended[75:]]


def test_theora_films_one_after_another_in_a_file(make: Callable[..., Path], tmp_path: Path) -> None:
    """As Icecast records: the headers of the second, which may have another size, are no pictures and no damage."""
    parts = [
        make(f"{size}.ogv", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=1", "-c:v", "libtheora")
        for size in ("96x64", "128x96")
    ]
    path = tmp_path / "chained.ogv"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, decoder = decoded(path)

    assert (decoder.timing.frames_from_packets, decoder.timing.duration) == (50, 2)
    assert [frame.pts_seconds for frame in frames] == [F(k, 25) for k in range(50)]
    assert decoder.packets_skipped == 0
    told = ("the picture changes from 96x64", "the picture's shape changes at 1.00 s from 1.5:1 to 1.33:1")
    assert [line for line in decoder.warnings if not line.startswith(told)] == []


def test_fields_that_come_one_by_one_are_not_deinterlaced(make: Callable[..., Path]) -> None:
    """Interlaced HEVC: in half a picture there are no two fields to be told apart."""
    fields = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x64:rate=50:duration=0.4",
        "-vf",
        "tinterlace=interleave_top,separatefields",
    ]
    parameters = "interlace=tff:log-level=none:bframes=0:lossless=1"
    path = make("fields.mkv", *fields, "-r", "50", "-c:v", "libx265", "-x265-params", parameters)
    frames, decoder = decoded(path, deinterlace="auto")

    assert (decoder.info.interlaced, decoder.info.single_fields, decoder.info.height) == (False, True, 32)
    assert decoder.warnings == []
    assert [b"".join(p.tobytes() for p in f.planes) for f in frames] == by_ffmpeg(path, "yuv420p")


def test_a_tiny_picture_is_not_deinterlaced(clip: Clip) -> None:
    frames, _ = decoded(clip("tiny.mkv"), deinterlace="auto")

    assert len(frames) == 30


def tasks() -> int:
    """Threads of this process as the system counts them, libav's included."""
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads through /proc")
def test_stopping_early_leaves_no_threads_and_no_files(clip: Clip) -> None:
    info = probe(clip("long.mp4"))
    timing = scan(info).timing
    gc.collect()
    before, files = tasks(), len(os.listdir("/proc/self/fd"))

    for count in (0, 1, 5):
        decoder = Decoder(info, timing, threads=3)
        frames = iter(decoder)
        for _ in range(count):
            next(frames)
        decoder.close()
        decoder.close()
        assert next(frames, None) is None
    gc.collect()

    deadline = time.monotonic() + 5
    while tasks() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tasks() <= before
    assert len(os.listdir("/proc/self/fd")) <= files


def test_decoding_in_another_thread_gives_the_same(clip: Clip) -> None:
    info = probe(clip("cfr.mp4"))
    decoder = Decoder(info, scan(info).timing)
    seen: list[bytes] = []

    worker = threading.Thread(target=lambda: seen.extend(frame.tobytes() for frame in decoder))
    worker.start()
    worker.join(20)
    decoder.close()

    assert not worker.is_alive()
    assert seen == [frame.tobytes() for frame in decoded(clip("cfr.mp4"))[0]]


def test_closing_from_another_thread_ends_the_iteration(clip: Clip) -> None:
    info = probe(clip("long.mp4"))
    decoder = Decoder(info, scan(info).timing)
    begun, count = threading.Event(), [0]

    def work() -> None:
        for _ in decoder:
            count[0] += 1
            begun.set()
            time.sleep(0.005)

    worker = threading.Thread(target=work)
    worker.start()
    assert begun.wait(20)
    decoder.close()
    worker.join(20)

    assert not worker.is_alive()
    assert count[0] < 240


def test_a_decoder_is_iterated_once(clip: Clip) -> None:
    info = probe(clip("cfr.mp4"))
    decoder = Decoder(info, scan(info).timing)
    list(decoder)

    with pytest.raises(RuntimeError, match="once"):
        iter(decoder)


def test_a_file_that_is_gone_is_an_input_error(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    path.write_bytes(clip("cfr.mp4").read_bytes())
    info = probe(path)
    timing = scan(info).timing
    path.unlink()

    with Decoder(info, timing) as decoder, pytest.raises(InputError, match="does not exist"):
        list(decoder)


def test_pictures_out_of_order_are_left_out_with_one_warning(make: Callable[..., Path], tmp_path: Path) -> None:
    plain = make("intra.mkv", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1", "-c:v", "ffv1")
    path = tmp_path / "in.mkv"
    with av.open(str(plain)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in reader.demux(stream) if packet.size):
            packet.dts, packet.pts = packet.pts, packet.pts + {10: 160, 15: 100}.get(number, 200)
            packet.stream = copy
            writer.mux(packet)

    frames, decoder = decoded(path)

    times = [frame.pts_seconds for frame in frames]
    assert times == sorted(set(times))
    assert len(frames) == 23
    assert sum("out of order" in line for line in decoder.warnings) == 1


def test_planes_are_contiguous_and_the_callers_own(clip: Clip) -> None:
    frames, _ = decoded(clip("odd.mkv"))

    for plane, shape in zip(frames[0].planes, [(47, 63), (24, 32), (24, 32)], strict=True):
        assert plane.shape == shape
        assert plane.flags.c_contiguous
        assert plane.flags.writeable
    frames[0].planes[0][:] = 0
    assert frames[1].planes[0].any()


def test_memory_does_not_grow_with_length(clip: Clip) -> None:
    import tracemalloc

    info = probe(clip("long.mp4"))
    timing = scan(info).timing
    size = info.layout.frame_bytes(info.width, info.height)
    tracemalloc.start()
    try:
        with Decoder(info, timing) as decoder:
            for _ in decoder:
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 40 * size


@pytest.mark.parametrize("lost", [0, 4, 11])
def test_a_damaged_picture_in_a_row_of_jpegs_leaves_the_others_their_times(
    lost: int, make: Callable[..., Path], tmp_path: Path
) -> None:
    film = make("row.mjpeg", *"-f lavfi -i testsrc2=size=64x48:rate=30 -frames:v 12 -c:v mjpeg".split())
    first, *others = film.read_bytes().split(b"\xff\xd8")
    row = [first, *map(bytearray, others)]
    table = row[1 + lost].index(b"\xff\xc4") + 4  # of Huffman codes, behind its length
    row[1 + lost][table : table + 36] = b"\x7f" * 36
    damaged = tmp_path / "damaged.mjpeg"
    damaged.write_bytes(b"\xff\xd8".join(row))
    info = probe(damaged)
    with Decoder(info, scan(info, F(10)).timing) as decoder:
        assert [frame.pts_seconds for frame in decoder] == [F(at, 10) for at in range(12) if at != lost]
    assert decoder.warnings[0].startswith("1 of 12 pictures could not be decoded")

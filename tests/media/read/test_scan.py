"""The picture's true times, from packets alone."""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from film import read

from slomo_cli.errors import InputError
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.edits import OddEdits, odd_edits
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import Scanned, _shortfall, scan
from slomo_cli.media.read.source import PictureTrack
from slomo_cli.media.read.strays import mended
from slomo_cli.media.read.walk import Walk
from slomo_cli.values import SoundTiming, SourceTiming

Clip = Callable[[str], Path]
NTSC, FILM = F(30000, 1001), F(24000, 1001)


def timed(path: Path) -> Scanned:
    return scan(probe(path))


@pytest.mark.parametrize(
    ("rate", "length", "missing", "told"),
    [
        (F(30), F(10), F(1, 5), False),  # less than a quarter of a second
        (F(30), F(10), F(3, 10), True),
        (F(2), F(10), F(7, 5), False),  # less than three pictures
        (F(2), F(10), F(8, 5), True),
        (F(30), F(1000), F(9), False),  # less than a hundredth of it all
        (F(30), F(1000), F(11), True),
    ],
)
def test_how_much_may_be_missing_of_what_a_header_names(rate: F, length: F, missing: F, told: bool) -> None:
    """Headers round, and count what sound comes after the picture."""
    walk: Any = SimpleNamespace(failure="", hidden=0, furthest=F(0), decoded=0, time_base=F(1, 1000))
    info: Any = SimpleNamespace(container="mov,mp4", duration_from_header=length)
    there = SourceTiming(1, F(0), length - missing, rate, rate)
    lines = _shortfall(walk, info, there, F(0))
    assert [line for line in lines if "an incomplete file?" in line] == lines and len(lines) == told


@pytest.mark.parametrize(
    ("name", "rate", "frames", "duration"),
    [
        ("cfr.mp4", F(30), 30, F(1)),
        ("cfr.mov", F(30), 30, F(1)),
        ("cfr.mkv", F(30), 30, F(1)),
        ("cfr.ts", F(30), 30, F(1)),
        ("cfr.flv", F(30), 30, F(1)),
        ("cfr.nut", F(30), 30, F(1)),
        ("cfr.avi", F(30), 30, F(1)),
        ("cfr.webm", F(30), 30, F(1)),
        ("cfr.h264", F(30), 30, F(1)),
        ("ntsc.mkv", NTSC, 60, 60 / NTSC),
        ("film.mkv", FILM, 48, 48 / FILM),
        ("film.ts", FILM, 48, 48 / FILM),
        ("sixty.mkv", F(60), 60, F(1)),
        ("two.mp4", F(30), 2, F(1, 15)),
        ("one.mp4", F(30), 1, F(1, 30)),
        ("screen.gif", F(10), 4, F(2, 5)),
        ("interlaced.mpg", F(25), 12, F(12, 25)),
        ("rich.mkv", F(30), 30, F(1)),
    ],
)
def test_a_constant_rate_is_exact_in_every_container(name: str, rate: F, frames: int, duration: F, clip: Clip) -> None:
    found = timed(clip(name))

    assert found.timing.rate == found.timing.nominal_rate == found.timing.grid == rate
    assert found.timing.frames_from_packets == len(found.stamps) == frames
    assert found.timing.duration == duration
    assert list(found.stamps) == [k / rate for k in range(frames)]
    assert found.timing.continuous
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("name", "first"),
    [("cfr.mp4", F(0)), ("cfr.ts", F(132000, 90000)), ("cfr.avi", F(0)), ("late.mp4", F(1, 2)), ("cut.mp4", F(0))],
)
def test_the_first_picture_has_its_place_on_the_containers_clock(name: str, first: F, clip: Clip) -> None:
    assert timed(clip(name)).timing.first_seconds == first


def test_pictures_of_asf_without_b_frames_wait_for_none(make: Callable[..., Path]) -> None:
    """libav guesses that the first H.264 picture of a file without other stamps is shown one later."""
    film = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1", "-c:v", "libx264", "-bf", "0")

    assert timed(make("plain.asf", *film)).timing.first_seconds == 0


def test_pictures_of_asf_wait_as_long_as_they_are_reordered(make: Callable[..., Path]) -> None:
    """In a pyramid of B-frames the first waits for two, of which libav knows one."""
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1", "-c:v", "libx264", "-bf")
    path = make("pyramid.asf", *picture, "3", "-x264-params", "b-adapt=0:b-pyramid=normal")

    timing = timed(path).timing

    assert abs(timing.first_seconds - F(2, 30)) < F(1, 500)
    assert timed(make("flat.asf", *picture, "1")).timing.first_seconds == F(33, 1000)
    with Decoder(probe(path), timing) as decoder:
        assert [frame.pts_seconds for frame in decoder] == [F(k, 30) for k in range(30)]


def test_missing_pictures_make_a_variable_rate_on_the_grid(clip: Clip) -> None:
    found = timed(clip("gaps.mp4"))

    assert (found.timing.rate, found.timing.nominal_rate, found.timing.grid) == (None, 30, 30)
    assert list(found.stamps) == [F(k, 30) for k in range(30) if k % 3 != 1]
    assert found.timing.duration == 1


def test_matroska_does_not_turn_gaps_into_noise(clip: Clip, make: Callable[..., Path]) -> None:
    found = timed(make("gaps.mkv", "-i", str(clip("gaps.mp4")), "-c", "copy"))

    assert list(found.stamps) == [F(k, 30) for k in range(30) if k % 3 != 1]


@pytest.mark.parametrize("name", ["sixty.mkv", "ntsc.mkv", "film.mkv"])
def test_what_was_copied_from_matroska_is_as_long(name: str, clip: Clip, make: Callable[..., Path]) -> None:
    source, copied = timed(clip(name)), timed(make(f"{name[:-4]}_copied.mp4", "-i", str(clip(name)), "-c", "copy"))

    assert (copied.timing.rate, copied.timing.duration) == (source.timing.rate, source.timing.duration)


def test_free_stamps_are_kept_to_the_tick(clip: Clip) -> None:
    found = timed(clip("free.mp4"))

    stored = [N * 3000 + 400 * (N * N % 7) for N in range(30)]
    assert (found.timing.rate, found.timing.grid) == (None, None)
    assert list(found.stamps) == [F(tick, 90000) for tick in stored]
    assert abs(found.timing.nominal_rate - 30) < 3


def test_pictures_hidden_by_an_edit_list_do_not_count(clip: Clip) -> None:
    found = timed(clip("cut.mp4"))

    assert found.timing.frames_from_packets == 15
    assert found.timing.duration == F(1, 2)
    assert found.warnings == ()


@pytest.mark.parametrize("rate", [F(60), F(30), FILM])
def test_an_animated_png_has_the_rate_it_was_written_at(make: Callable[..., Path], rate: F) -> None:
    """libav rounds how long each picture is shown to 1/100000 s."""
    path = make("even.apng", "-f", "lavfi", "-i", f"testsrc2=size=16x16:rate={rate}", "-frames:v", "120")
    found = timed(path)
    assert found.timing.rate == rate and found.timing.duration == 120 / rate and not found.warnings
    assert [frame.pts_seconds for frame in read(path)] == list(found.stamps) == [N / rate for N in range(120)]


def test_film_in_a_telecine_is_even_and_told(make: Callable[..., Path]) -> None:
    stamps = "settb=1/90000,setpts=trunc(N*2.5+0.5)*1001/60000/TB"  # a picture stands for two fields or three
    film = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=1", "-vf", stamps, "-c:v", "libx264")
    found = timed(make("telecine.mkv", *film, "-fps_mode", "passthrough", "-enc_time_base", "1/90000"))

    assert (found.timing.rate, found.timing.duration) == (FILM, 24 / FILM)
    assert list(found.stamps) == [k / FILM for k in range(24)]
    assert any("3:2 pulldown" in line for line in found.warnings)


def test_a_raw_stream_runs_at_its_headers_rate_or_the_users(clip: Clip, make: Callable[..., Path]) -> None:
    info = probe(clip("cfr.h264"))

    assert not scan(info).timing.stamped
    assert scan(info).timing.rate == 30
    assert scan(info, F(24)).timing.duration == F(30, 24)
    silent = probe(make("norate.hevc", "-i", str(clip("hdr10.mp4")), "-c", "copy"))
    if not silent.rate_is_nominal:
        assert "25 per second" in scan(silent).warnings[0]


@pytest.mark.parametrize(
    ("ending", "codec", "told"),
    [
        ("mjpeg", ("mjpeg",), False),
        ("dnxhd", ("dnxhd", "-profile:v", "dnxhr_sq", "-pix_fmt", "yuv422p", "-s", "256x128"), False),
        ("m1v", ("mpeg1video",), True),
        ("h263", ("h263", "-s", "176x144"), True),
    ],
)
def test_stamps_that_libav_makes_up_for_raw_streams_do_not_count(
    ending: str, codec: tuple[str, ...], told: bool, make: Callable[..., Path]
) -> None:
    """It lets the first picture of some stand longer, and takes 25 a second where nothing is told."""
    info = probe(
        make(f"made_up.{ending}", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1", "-c:v", *codec)
    )
    own = scan(info)
    rate = {"m1v": F(30), "h263": NTSC}.get(ending, F(25))
    assert (own.timing.rate, own.timing.frames_from_packets, own.timing.duration) == (rate, 30, 30 / rate)
    assert any("does not say how fast" in line for line in own.warnings) != told
    asked = scan(info, F(60))
    assert (asked.timing.rate, asked.timing.duration, asked.warnings) == (60, F(1, 2), ())


@pytest.mark.parametrize("name", ["long.mkv", "long.webm", "fast.mp4", "long.avi"])
def test_a_file_cut_short_is_told(name: str, clip: Clip, make: Callable[..., Path], tmp_path: Path) -> None:
    made = {"fast.mp4": ("-c", "copy", "-movflags", "+faststart"), "long.avi": ("-c:v", "mjpeg")}
    whole = make(name, "-i", str(clip("long.mp4")), *made[name]) if name in made else clip(name)
    data = whole.read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])

    found = timed(path)

    assert any("of the 8.00 s its header names" in line for line in found.warnings)
    assert 1 < found.timing.duration < 7


@pytest.mark.parametrize(
    "name", ["short_sound.mkv", "long_sound.mkv", "long_sound.ts", "long_sound.flv", "long_sound.wmv"]
)
def test_sound_of_another_length_is_no_missing_picture(name: str, clip: Clip, make: Callable[..., Path]) -> None:
    seconds = "0.3" if name.startswith("short") else "3"
    sound = ["-f", "lavfi", "-i", f"sine=duration={seconds}:sample_rate=44100"]
    path = make(name, "-i", str(clip("cfr.mp4")), *sound, "-c:v", "copy", "-c:a", "aac", "-map_metadata", "-1")

    found = timed(path)

    assert found.warnings == ()
    assert found.timing.duration == 1


def test_fragments_of_a_long_stream_are_no_incomplete_file(
    clip: Clip, make: Callable[..., Path], tmp_path: Path
) -> None:
    wishes = ["-c", "copy", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"]
    data = bytearray(make("fragments.mp4", "-i", str(clip("sound.mp4")), *wishes).read_bytes())
    # Each fragment says when in the stream it is shown: in tfdt, for the track named in tfhd (ISO/IEC 14496-12, 8.8).
    for found in re.finditer(rb"tfhd.{7}(.).*?tfdt\x01...(.{8})", data, re.DOTALL):
        hour = 3600 * {1: 15360, 2: 44100}[found[1][0]]
        data[found.start(2) : found.end(2)] = (int.from_bytes(found[2], "big") + hour).to_bytes(8, "big")
    path = tmp_path / "live.mp4"
    path.write_bytes(data)
    info = probe(path)
    (sound,) = info.streams

    assert info.container_start_seconds == 3600
    assert float(sound.duration_seconds or 0) == pytest.approx(1, abs=0.1)
    assert scan(info).warnings == ()


@pytest.mark.parametrize("frames", ["1", "3"])
def test_captions_that_outlast_a_few_pictures_are_no_missing_picture(
    frames: str, make: Callable[..., Path], tmp_path: Path
) -> None:
    """libav reads so short a Matroska file to its end, and gives the picture the file's length."""
    captions = tmp_path / "captions.srt"
    captions.write_text("1\n00:00:00,010 --> 00:00:05,000\nStays\n")
    few = make(f"few{frames}.mkv", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=30", "-frames:v", frames, "-c:v", "libx264")
    path = make(f"outlasted{frames}.mkv", "-i", str(few), "-i", str(captions), "-c:v", "copy", "-c:s", "srt")

    assert timed(path).warnings == ()


def test_a_stamp_damaged_on_the_air_moves_no_picture(clip: Clip, tmp_path: Path) -> None:
    """Its highest bit flipped says that a picture is to be shown in thirteen hours."""
    data = bytearray(clip("cfr.ts").read_bytes())
    # The start code of a PES packet of pictures; nine bytes on lies its stamp, where it also has one of decoding.
    places = [at for at in range(len(data) - 20) if data[at : at + 4] == b"\0\0\1\xe0" and data[at + 7] >> 6 == 3]
    data[places[5] + 9] ^= 0x08
    path = tmp_path / "damaged.ts"
    path.write_bytes(data)

    found = timed(path)

    assert (found.timing.duration, found.timing.nominal_rate, found.timing.continuous) == (1, 30, True)
    with Decoder(probe(path), found.timing) as decoder:
        assert [frame.pts_seconds for frame in decoder] == [F(k, 30) for k in range(30)]


@pytest.mark.parametrize("flipped", [0x02, 0x04, 0x20, 0x80])  # 0.4, 0.7, 5.8 and 23 seconds
@pytest.mark.parametrize("name", ["cfr.ts", "plain.ts"])
@pytest.mark.parametrize("number", [1, 5, 12])
def test_a_time_of_decoding_damaged_on_the_air_ends_no_recording(
    name: str, number: int, flipped: int, clip: Clip, make: Callable[..., Path], tmp_path: Path
) -> None:
    """Where pictures are stored in the order they are shown, it is the only stamp."""
    plain = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=30:d=1", "-c:v", "libx264", "-preset", "ultrafast")
    whole = clip(name) if name == "cfr.ts" else make(name, *plain)
    data = bytearray(whole.read_bytes())
    kind = 3 if name == "cfr.ts" else 2
    places = [at for at in range(len(data) - 20) if data[at : at + 4] == b"\0\0\1\xe0" and data[at + 7] >> 6 == kind]
    data[places[number] + (16 if kind == 3 else 11)] ^= flipped
    path = tmp_path / "damaged.ts"
    path.write_bytes(data)

    found = timed(path)

    assert (found.timing.duration, found.timing.rate, found.timing.continuous) == (1, 30, True)
    with Decoder(probe(path), found.timing) as decoder:
        assert [frame.pts_seconds for frame in decoder] == [F(k, 30) for k in range(30)]


def strayed(source: Path, target: Path, number: int, ahead: int) -> Path:
    """A copy of an IVF file of which the stamp of one picture is so many ticks further."""
    data = bytearray(source.read_bytes())
    at = 32
    for _ in range(number):
        at += 12 + int.from_bytes(data[at : at + 4], "little")
    stamp = int.from_bytes(data[at + 4 : at + 12], "little") + ahead
    data[at + 4 : at + 12] = stamp.to_bytes(8, "little")
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(("number", "ahead"), [(0, 10**6), (1, 10**9), (12, 16), (12, -12), (12, 10**12), (28, 10**6)])
def test_a_stamp_that_flies_off_alone_is_damaged(
    number: int, ahead: int, make: Callable[..., Path], tmp_path: Path
) -> None:
    """It made a plan of a film of years; +16 is also the true stamp of another picture."""
    picture = "testsrc2=size=64x48:rate=30:duration=1"
    whole = make("plain.ivf", "-f", "lavfi", "-i", picture, "-c:v", "libvpx", "-deadline", "realtime")

    path = strayed(whole, tmp_path / "stray.ivf", number, ahead)
    found = timed(path)

    assert (found.timing.duration, found.timing.rate, found.timing.continuous) == (1, 30, True)
    assert list(found.stamps) == [F(k, 30) for k in range(30)]
    assert [line for line in found.warnings if "1 time stamp left out" in line] == list(found.warnings)
    with Decoder(probe(path), found.timing) as decoder:
        shown = list(decoder)
        assert decoder.warnings == []
    assert [frame.pts_seconds for frame in shown] == list(found.stamps)
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(shown, read(whole), strict=True))


class TestStrays:
    """Forty pictures at ten ticks each, in groups of P and three B."""

    reordered = np.array([0, *(base + at for base in range(0, 400, 40) for at in (40, 20, 10, 30))])

    @pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 9, 17, 22])
    def test_amid_reordered_pictures_too(self, number: int) -> None:
        ticks = self.reordered.copy()
        ticks[number] += 10**6
        right = -10 if number == 0 else int(self.reordered[number])
        # Of the first picture, nothing tells more than that it comes before the others.
        assert mended(ticks, F(25), True) == {number: 0 if number == 0 else right}

    def test_all_that_a_damaged_clock_moved_goes_back(self) -> None:
        ticks = np.arange(0, 400, 10)
        ticks[12:20] += 5000
        assert mended(ticks, F(25), False) == {k: 10 * k for k in range(12, 20)}

    @pytest.mark.parametrize("reordered", [False, True])
    def test_a_pause_is_none(self, reordered: bool) -> None:
        ticks = np.where(self.reordered > 200, self.reordered + 5000, self.reordered)
        assert mended(ticks if reordered else np.sort(ticks), F(25), reordered) == {}

    def test_a_pause_before_the_last_picture_is_none(self) -> None:
        ticks = self.reordered.copy()
        ticks[ticks == 400] += 5000
        assert mended(ticks, F(25), True) == {}

    def test_pictures_of_which_nothing_says_that_they_are_reordered_are_none(self) -> None:
        assert mended(self.reordered, F(5), False) == {}
        ticks = self.reordered.copy()
        ticks[17] += 10**6
        assert mended(ticks, F(5), False) == {17: int(self.reordered[17])}

    def test_a_pause_before_a_clock_that_begins_anew_is_none(self) -> None:
        one = np.where(self.reordered > 360, self.reordered + 1100, self.reordered + 500)
        other = np.where(self.reordered > 100, self.reordered + 250, self.reordered)
        assert mended(np.concatenate([one, other]), F(25), True) == {}

    def test_clocks_that_begin_anew_are_none(self) -> None:
        one = np.arange(0, 400, 10)
        assert mended(np.concatenate([one, one]), F(25), False) == {}
        assert mended(np.concatenate([one, one + 5000, one + 410]), F(25), False) == {}
        assert mended(np.concatenate([one, one[:3] + 5000, one]), F(25), False) == {}


def test_stamps_that_are_all_the_same_tell_no_time(clip: Clip) -> None:
    info = probe(clip("cfr.mp4"))
    with PictureTrack(info.path) as picture:
        walk = Walk(picture, info)
        walk.ticks = array("q", [7, 7, 7])
        walk._lasts = 512
        assert not walk.stamps_are_counters()


def test_pictures_one_after_another_in_a_file_have_no_times_of_their_own(make: Callable[..., Path]) -> None:
    """As small cameras write JPEGs."""
    film = make("jpegs.mjpeg", *"-f lavfi -i testsrc2=size=64x48:rate=30 -frames:v 12 -c:v mjpeg".split())
    assumed, asked = scan(probe(film)), scan(probe(film), F(10))
    assert assumed.timing.rate == 25 and "25 per second: --input-rate" in assumed.warnings[0]
    assert asked.timing.rate == 10 and asked.timing.duration == F(12, 10) and not asked.warnings


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_first_picture_that_stands_for_long_leaves_the_others_their_times(
    make: Callable[..., Path], ending: str
) -> None:
    """As of a screen recording that begins before anything moves; 5 s, and then 60 pictures at 30 per second."""
    stands = r"-f lavfi -i testsrc2=size=64x48:rate=30:duration=2 -vf setpts=if(eq(N\,0)\,0\,PTS+5/TB)"
    coded = "-fps_mode vfr -enc_time_base 1/15360 -c:v libx264 -pix_fmt yuv420p"
    found = scan(probe(make(f"stands.{ending}", *f"{stands} {coded}".split())))
    assert found.timing.rate is None and found.timing.nominal_rate == 30 and found.timing.duration == 7
    assert not found.warnings
    assert abs(found.stamps[1] - F(151, 30)) < F(1, 1000)


def test_joined_broadcasts_play_one_after_another(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "joined.ts"
    path.write_bytes(clip("cfr.ts").read_bytes() * 3)

    found = timed(path)

    assert not found.timing.continuous
    assert found.timing.rate == 30
    assert list(found.stamps) == [F(k, 30) for k in range(90)]
    assert len(found.warnings) == 1


@pytest.mark.parametrize("rate", [5, 15])
def test_reordered_pictures_at_a_low_rate_are_no_joined_recordings(make: Callable[..., Path], rate: int) -> None:
    """Matroska's first packets come without stamps of decoding, and those of presentation go forth and back by up to
    four pictures."""
    picture = f"testsrc2=size=64x48:rate={rate}:duration=3"
    found = timed(make(f"reordered{rate}.mkv", "-f", "lavfi", "-i", picture, "-c:v", "libx264", "-bf", "3"))

    assert (found.timing.continuous, found.timing.rate, found.warnings) == (True, rate, ())
    assert list(found.stamps) == [F(k, rate) for k in range(3 * rate)]


def test_pictures_that_vp8_never_shows_do_not_count(make: Callable[..., Path], clip_folder: Path) -> None:
    words = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=30:duration=2", "-c:v", "libvpx", "-b:v", "300k"]
    words += ["-auto-alt-ref", "1", "-lag-in-frames", "16", "-arnr-maxframes", "5", "-enc_time_base", "1:1000"]
    words += ["-passlogfile", str(clip_folder / "vp8"), "-pass"]
    make("first_pass.webm", *words, "1")

    found = timed(make("hidden.webm", *words, "2"))

    assert (found.timing.frames_from_packets, found.timing.rate, found.warnings) == (60, 30, ())


def test_a_broadcast_clock_that_leaps_ahead_leaves_no_hole(
    clip: Clip, make: Callable[..., Path], tmp_path: Path
) -> None:
    later = make("later.ts", "-i", str(clip("cfr.ts")), "-c", "copy", "-output_ts_offset", "3600")
    path = tmp_path / "leap.ts"
    path.write_bytes(clip("cfr.ts").read_bytes() + later.read_bytes())

    assert list(timed(path).stamps) == [F(k, 30) for k in range(60)]


def test_a_long_pause_in_a_file_is_kept(make: Callable[..., Path]) -> None:
    # Screen recorders and slide shows: only broadcast clocks leap, other files mean what they say.
    picture = "testsrc2=size=64x48:rate=1:duration=3,setpts=N*20/TB"
    path = make("pause.mkv", "-f", "lavfi", "-i", picture, "-fps_mode", "passthrough", "-c:v", "ffv1")

    assert list(timed(path).stamps) == [F(0), F(20), F(40)]


@pytest.mark.parametrize("name", ["vorbis.nut", "mp3.asf", "mp2.ts", "ac3.mkv"])
def test_sound_that_does_not_pause(name: str, make: Callable[..., Path]) -> None:
    film = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1", "-f", "lavfi", "-i", "sine=duration=1")
    codec = {"vorbis": "libvorbis", "mp3": "libmp3lame"}.get(name.partition(".")[0], name.partition(".")[0])

    timing = timed(make(f"even_{name}", *film, "-c:v", "mpeg2video", "-c:a", codec)).timing
    assert timing.sounds == {1: SoundTiming()}


def test_sound_that_seems_to_last_longer_than_it_does_is_not_damaged(make: Callable[..., Path], tmp_path: Path) -> None:
    """How long packets of WMA last, libav estimates from their bytes and the bit rate that the file names."""
    film = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2", "-f", "lavfi", "-i", "sine=duration=2")
    data = bytearray(make("sound.wmv", *film, "-c:v", "wmv2", "-c:a", "wmav2", "-b:a", "128k").read_bytes())
    at = data.index(bytes.fromhex("61010100 44AC0000")) + 8  # one channel, 44100 samples a second, then bytes a second
    assert struct.unpack_from("<I", data, at) == (16_000,)
    struct.pack_into("<I", data, at, 1000)
    (tmp_path / "longer.wmv").write_bytes(data)

    assert not timed(tmp_path / "longer.wmv").timing.sounds[1].goes_back


@pytest.mark.parametrize("ordered", [0, 1])
def test_chapters_that_order_parts_are_told(ordered: int, make: Callable[..., Path], tmp_path: Path) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=One\n")
    film = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1", "-i", str(chapters), "-c:v", "ffv1")
    data = make(f"chapters{ordered}.mkv", *film).read_bytes()
    # That the edition is the default one is said in as many bytes.
    data = data.replace(bytes.fromhex("45DB8101"), bytes.fromhex("45DD81") + bytes([ordered]))
    (tmp_path / "ordered.mkv").write_bytes(data)

    lines = timed(tmp_path / "ordered.mkv").warnings

    assert [line for line in lines if "in which order" in line] == list(lines) and len(lines) == ordered


def test_a_recording_that_begins_amid_a_group_starts_at_its_first_whole_picture(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "tail.ts"
    path.write_bytes(clip("long.ts").read_bytes()[188 * 30 :])

    found = timed(path)

    assert 150 < found.timing.frames_from_packets < 235
    assert found.timing.first_seconds > F(132000, 90000)
    assert list(found.stamps)[:2] == [F(0), F(1, 30)]
    assert "lean on others" in found.warnings[0]
    assert len(found.warnings) == 1


def remuxed(source: Path, target: Path, pts: Callable[[int, int], int]) -> Path:
    """The packets of a film with other stamps: ``pts(number, stored)`` for each."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in reader.demux(stream) if packet.size):
            packet.pts = packet.dts = pts(number, packet.pts)
            packet.stream = copy
            writer.mux(packet)
    return target


def test_pictures_that_share_a_stamp_are_one(make: Callable[..., Path], tmp_path: Path) -> None:
    plain = make("intra.mkv", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1", "-c:v", "ffv1")
    path = remuxed(plain, tmp_path / "twice.mkv", lambda number, stored: stored - (40 if number == 10 else 0))

    found = timed(path)

    assert found.timing.frames_from_packets == 24
    assert F(10, 25) not in list(found.stamps)
    assert found.warnings == ("1 picture left out: the time stamp is that of another",)
    with Decoder(probe(path), found.timing) as decoder:
        assert len(list(decoder)) == 24
        assert decoder.warnings == [], "it has been told"


def test_empty_packets_let_the_picture_before_stand(make: Callable[..., Path], tmp_path: Path) -> None:
    # Theora stores "no change" as a packet without bytes.
    path = make("still.ogv", "-f", "lavfi", "-i", "color=s=64x48:r=30:d=1", "-c:v", "libtheora")

    found = timed(path)

    assert found.timing.duration == 1
    assert found.timing.frames_from_packets < 30


def test_a_file_that_disappears_is_an_input_error(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "gone.mp4"
    path.write_bytes(clip("cfr.mp4").read_bytes())
    info = probe(path)
    path.unlink()

    with pytest.raises(InputError):
        scan(info)


def test_a_film_in_which_nothing_decodes_is_an_input_error(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "noise.mkv"
    path.write_bytes(clip("yuv422p.mkv").read_bytes())
    info = probe(path)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in places:
        data[position + 4 : position + size] = b"\xff" * (size - 4)
    path.write_bytes(data)

    with pytest.raises(InputError, match="no picture can be decoded"):
        probe(path)
    with pytest.raises(InputError, match="no picture can be decoded"):
        scan(info)


def test_a_picture_costs_eight_bytes(clip: Clip) -> None:
    ticks = timed(clip("long.mp4")).stamps._ticks  # type: ignore[attr-defined]

    assert isinstance(ticks, np.ndarray)
    assert ticks.nbytes == 8 * 240
    assert array("q").itemsize == 8


@pytest.mark.parametrize("known", [False, True])
def test_broadcasts_that_go_on_on_other_tracks_are_told(
    known: bool, clip: Clip, make: Callable[..., Path], tmp_path: Path
) -> None:
    """libav knows tracks that begin late in long files only when it meets them."""
    packets = clip("cfr.ts").read_bytes()
    if known:  # another recording, joined on
        copied = make("other.ts", "-i", str(clip("cfr.ts")), "-c", "copy", "-mpegts_start_pid", "512")
        packets += copied.read_bytes()
    stuffing = b"\x47\x1f\xff\x10" + bytes(184)
    path = tmp_path / "long.ts"
    path.write_bytes(packets + stuffing * (2**21 // len(stuffing)))
    info = probe(path)
    assert known == any(stream.kind == "video" for stream in info.streams)
    (told,) = scan(info).warnings
    assert re.fullmatch(r"the last picture lies at \d % of the file: what follows .* is not read", told)


@pytest.mark.parametrize(
    ("speed", "words"), [(F(1), ""), (F(1, 2), "parts at 0.5 times their speed;"), (F(0), "parts as a still;")]
)
def test_edits_that_change_the_speed_are_told(speed: F, words: str, clip: Clip, tmp_path: Path) -> None:
    """libav plays them at normal speed."""
    data = bytearray(clip("cfr.mov").read_bytes())
    entry = data.index(b"elst") + 12  # after the version and the number of entries: length, begin, speed
    assert struct.unpack_from(">I", data, entry + 8) == (1 << 16,)
    struct.pack_into(">I", data, entry + 8, int(speed * (1 << 16)))
    (tmp_path / "edited.mov").write_bytes(data)
    told = f"the source's edit list plays {words} they are taken at normal speed: their times may be wrong"
    assert timed(tmp_path / "edited.mov").warnings == ((told,) if words else ())


def with_edits(clip: Path, path: Path, *edits: tuple[int, int]) -> Path:
    """A clip of one track whose list is replaced by these edits: (length, first in the media), in ticks."""
    data = bytearray(clip.read_bytes())
    at = data.index(b"edts") - 4
    rows = b"".join(struct.pack(">IiI", *edit, 1 << 16) for edit in edits)
    inner = b"elst" + struct.pack(">II", 0, len(edits)) + rows
    box = struct.pack(">I", len(inner) + 12) + b"edts" + struct.pack(">I", len(inner) + 4) + inner
    grown = len(box) - struct.unpack_from(">I", data, at)[0]
    for outer in (b"moov", b"trak"):
        start = data.index(outer) - 4
        struct.pack_into(">I", data, start, struct.unpack_from(">I", data, start)[0] + grown)
    data[at : len(box) - grown + at] = box
    path.write_bytes(data)
    return path


def test_pauses_that_an_edit_list_holds_are_told(clip: Clip, tmp_path: Path) -> None:
    """libav fills them with the beginning of the track; before it, they only delay it."""
    told = "the source's edit list holds pauses in which nothing is shown or heard; they are filled with its beginning"
    late = with_edits(clip("cfr.mov"), tmp_path / "late.mov", (500, -1), (1000, 1024))
    assert told not in timed(late).warnings
    paused = with_edits(clip("cfr.mov"), tmp_path / "paused.mov", (500, 1024), (500, -1), (500, 1024))
    assert told in timed(paused).warnings


def test_the_edit_list_tells_how_long_a_last_picture_stands(make: Callable[..., Path]) -> None:
    """Where it is stored before others, what packets say is the time until the next one is decoded."""
    film = "-f lavfi -i testsrc2=size=64x48:rate=30:duration=1 -c:v libx264 -bf 2 -pix_fmt yuv420p".split()
    lasts = r"setts=pts=PTS:dts=DTS:duration=if(gte(PTS*TB\,0.96)\,5/TB\,DURATION)"
    path = make("stands.mp4", *film, "-bsf:v", lasts, "-movflags", "+faststart")
    assert timed(path).timing.duration == F(29, 30) + 5 and not timed(path).warnings
    whole, part = path.read_bytes(), path.with_name("part.mp4")
    for end in range(len(whole) - 600, len(whole), 20):  # cut off, its list of edits whole
        part.write_bytes(whole[:end])
        assert timed(part).timing.duration <= 1


def test_vp9_in_mp4_whose_last_picture_stands_is_no_incomplete_file(make: Callable[..., Path]) -> None:
    film = "-f lavfi -i testsrc2=size=64x48:rate=30:duration=1 -c:v libvpx-vp9 -pix_fmt yuv420p".split()
    lasts = r"setts=pts=PTS:dts=DTS:duration=if(gte(PTS*TB\,0.96)\,5/TB\,DURATION)"
    found = timed(make("vp9.mp4", *film, "-bsf:v", lasts))
    assert found.timing.duration == F(29, 30) + 5 and not found.warnings


def test_the_edit_list_tells_how_short_a_last_picture_stands(make: Callable[..., Path]) -> None:
    """Else it seems to stand through the pause before the picture that is stored behind it."""
    film = "-f lavfi -i testsrc2=size=64x48:rate=30:duration=1 -c:v libx264 -bf 2 -pix_fmt yuv420p".split()
    pause = r"-vf setpts=if(gte(N\,27)\,PTS+3/TB\,PTS) -fps_mode passthrough".split()
    lasts = r"setts=pts=PTS:dts=DTS:duration=if(gte(PTS*TB\,3)\,1/30/TB\,DURATION)"
    found = timed(make("short.mp4", *film, *pause, "-bsf:v", lasts))
    assert found.timing.duration == 4 and found.timing.frames_from_packets == 30


def test_a_copy_across_a_pause_is_as_long_as_its_pictures(make: Callable[..., Path]) -> None:
    """ffmpeg copies how long pictures last until the next is decoded, and ends the edit list by it."""
    film = "-f lavfi -i testsrc2=size=64x48:rate=30:duration=1 -c:v libx264 -bf 2 -pix_fmt yuv420p".split()
    pause = r"-vf setpts=if(gte(N\,26)\,PTS+3/TB\,PTS) -fps_mode passthrough".split()
    copy = make("copy.mp4", "-i", str(make("paused.mp4", *film, *pause)), "-c", "copy")
    assert timed(copy).timing.duration == 4 and not timed(copy).warnings


def test_a_pause_right_after_a_key_frame_is_no_missing_picture(make: Callable[..., Path]) -> None:
    """It is met sooner in the order of decoding, by which MP4 counts its length."""
    film = "-f lavfi -i testsrc2=size=64x48:rate=30:duration=1 -c:v libx264 -bf 2 -g 12 -pix_fmt yuv420p".split()
    pause = r"-vf setpts=if(gte(N\,11)\,PTS+3/TB\,PTS) -fps_mode passthrough".split()
    copy = make("copy.mp4", "-ss", "0.5", "-i", str(make("paused.mp4", *film, *pause)), "-c", "copy")
    assert timed(copy).timing.frames_from_packets == 18 and not timed(copy).warnings


@pytest.mark.parametrize("length", [1000, 1067])
def test_an_edit_list_that_counts_otherwise_makes_no_picture_longer(length: int, clip: Clip, tmp_path: Path) -> None:
    """Some writers count what the edit leaves out."""
    edited = with_edits(clip("cfr.mov"), tmp_path / "edited.mov", (length, 1024))
    assert timed(edited).timing.duration == 1


def test_an_edit_list_that_hides_every_picture_is_told(clip: Clip, tmp_path: Path) -> None:
    hidden = with_edits(clip("cfr.mov"), tmp_path / "hidden.mov", (1000, 1 << 24))
    with pytest.raises(InputError, match="edit list that hides every picture"):
        probe(hidden)


def test_a_list_of_64_bit_edits_is_read(tmp_path: Path) -> None:
    def box(kind: bytes, *content: bytes) -> bytes:
        return struct.pack(">I", 8 + sum(map(len, content))) + kind + b"".join(content)

    rows = ((1000, -1, 5), (1000, 0, 1 << 16), (1000, 0, 1 << 17))  # the first shows nothing
    edits = struct.pack(">II", 1 << 24, len(rows)) + b"".join(struct.pack(">QqI", *row) for row in rows)
    media = struct.pack(">I4sQ", 1, b"mdat", 20) + bytes(4)
    index = box(b"moov", box(b"mvhd"), box(b"trak", box(b"tkhd"), box(b"edts", box(b"elst", edits))))
    (tmp_path / "a.mp4").write_bytes(media + index)
    assert odd_edits(tmp_path / "a.mp4").speeds == (2,)
    for length in range(len(media), len(media + index)):  # cut off anywhere
        (tmp_path / "a.mp4").write_bytes((media + index)[:length])
        assert odd_edits(tmp_path / "a.mp4").speeds == ()


def test_a_file_that_cannot_be_read_any_more_has_no_edits(tmp_path: Path) -> None:
    """Whoever reads its pictures says why."""
    assert odd_edits(tmp_path / "gone.mp4") == OddEdits()

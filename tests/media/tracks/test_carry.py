"""What comes along beside the picture: sound in step, subtitles, chapters, covers, tags; nothing lost in silence."""

from __future__ import annotations

import errno
import math
import re
import struct
import tempfile
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from out_helpers import FakeTools, only_files, target_for, video_info

from slomo_cli.errors import SlomoError, UsageError
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.plan.target import choose_target
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.read.source import disposition_of
from slomo_cli.media.tracks import innerclock, soundcopy, soundfeed, soundtracks, stretch, subtitles
from slomo_cli.media.tracks import sound as sound_room
from slomo_cli.media.tracks.carried import Carry
from slomo_cli.media.tracks.carry import plan_carry
from slomo_cli.media.tracks.draft import is_time_changed
from slomo_cli.media.write.args import build_encode_args
from slomo_cli.media.write.encode import Encoder
from slomo_cli.timeline import Plan, make_plan
from slomo_cli.values import EncodeSettings, SourceTiming, StreamInfo, TimeSettings

RATE = 48_000
BEEPS = (0.25, 0.75, 1.25, 1.75)
DVD_CAPTION = bytes.fromhex("0016000400ff0004000002ff01000000000000000000")
"""A unit of subpicture that begins at once and does not say when it ends."""
TWO_SECONDS = SourceTiming(60, Fraction(0), Fraction(2), Fraction(30), Fraction(30))


@dataclass(frozen=True)
class Result:
    path: Path
    plan: Plan
    carry: Carry


def convert(source: Path, output: Path, time: TimeSettings | None = None, **wishes: Any) -> Result:
    """The whole way of a conversion but for the pictures, which are gray."""
    info = probe(source)
    scanned = scan(info)
    plan = make_plan(scanned.timing, time or TimeSettings(), scanned.stamps)
    chosen = EncodeSettings(**{"overwrite": True, "preset": "ultrafast", **wishes})
    target = choose_target(output, info, chosen, tools(), plan.rate, frames=plan.frames)
    carry = plan_carry(info, scanned.timing, plan, target, chosen, tools())
    args = build_encode_args(target, carry, tools().path, frames=plan.frames)
    kind = np.uint8 if info.layout.bits == 8 else np.uint16
    picture = [np.full(shape, 128, kind) for shape in info.layout.plane_shapes(info.width, info.height)]
    with carry, Encoder(args, target, plan.frames, feeds=carry.feeds) as encoder:
        for _ in range(plan.frames):
            encoder.write(picture)
        encoder.finish()
    if carry.folder is not None:
        assert not carry.folder.exists()
    return Result(output, plan, carry)


def target_version() -> tuple[int, int]:
    return tools().release


def tracks(path: Path, kind: str) -> list[Any]:
    with av.open(str(path)) as source:
        return [
            {
                "codec": stream.codec_context.name if stream.codec_context else "",
                "language": stream.metadata.get("language", ""),
                "title": stream.metadata.get("title", "") or stream.metadata.get("name", ""),
                "disposition": disposition_of(stream),
                "metadata": dict(stream.metadata),
            }
            for stream in source.streams
            if stream.type == kind
        ]


def packets(path: Path, kind: str, number: int = 0) -> list[tuple[Fraction, Fraction, bytes]]:
    """(start, duration, data) of the packets of one track."""
    with av.open(str(path)) as source:
        stream = [stream for stream in source.streams if stream.type == kind][number]
        return [
            (packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base, bytes(packet))
            for packet in source.demux(stream)
            if packet.size and packet.pts is not None
        ]


def captions(path: Path, number: int = 0) -> list[tuple[Fraction, Fraction]]:
    """(start after the first picture, duration) of the subtitles that say something."""
    first = first_picture(path)
    return [(start - first, lasts) for start, lasts, data in packets(path, "subtitle", number) if data[:2] != b"\0\0"]


def chapters(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    with av.open(str(path)) as source:
        # To the millisecond, which is how finely most containers keep them.
        return [
            (
                Fraction(round(c["start"] * c["time_base"] * 1000), 1000),
                Fraction(round(c["end"] * c["time_base"] * 1000), 1000),
                c["metadata"].get("title", ""),
            )
            for c in source.chapters()
        ]


def first_picture(path: Path) -> Fraction:
    return min(start for start, _, _ in packets(path, "video"))


def sound(path: Path, number: int = 0) -> tuple[Fraction, Any]:
    """(time of the first sample, mono samples at 48 kHz) of one sound track."""
    with av.open(str(path)) as source:
        stream = source.streams.audio[number]
        resampler = av.AudioResampler("flt", "mono", RATE)
        start: Fraction | None = None
        parts = []
        for frame in source.decode(stream):
            if start is None:
                start = frame.pts * frame.time_base
            parts += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        parts += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    assert start is not None
    return start, np.concatenate(parts)


def beeps(path: Path, number: int = 0) -> list[float]:
    """Seconds after the first picture at which the bursts begin: where they reach a tenth of their height."""
    start, samples = sound(path, number)
    envelope = np.sqrt(np.convolve(samples**2, np.ones(96) / 96, "same"))
    height = np.percentile(envelope[envelope > envelope.max() * 0.3], 60)
    # Bursts are apart where it is quiet for a while; a stretched burst may waver.
    audible = np.flatnonzero(envelope > 0.1 * height)
    firsts = [audible[0], *audible[1:][np.diff(audible) > RATE * 0.06]]
    return [float(begin / RATE + start - first_picture(path)) for begin in firsts]


def edited(path: Path, edits: Sequence[tuple[int, int]]) -> bytes:
    """A .mov whose last track, by a list of its own, plays only these (length in ms, begin in samples)."""
    data = path.read_bytes()
    box = b"elst" + struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">IiI", *edit, 1 << 16) for edit in edits)
    at = data.rindex(b"elst") - 4
    (size,) = struct.unpack(">I", data[at : at + 4])
    grown = bytearray(data[:at] + struct.pack(">I", 4 + len(box)) + box + data[at + size :])
    # The index lies at the end of the file, so that nothing it points to moves.
    for holder in (b"moov", b"trak", b"edts"):
        place = data.rindex(holder, 0, at) - 4
        struct.pack_into(">I", grown, place, struct.unpack_from(">I", data, place)[0] + 4 + len(box) - size)
    return bytes(grown)


@pytest.fixture(scope="session")
def beeping(make: Callable[..., Path]) -> Callable[..., Path]:
    """``beeping(ending, sound_delay, picture_delay, codec)``: two seconds with short bursts of a tone at BEEPS."""

    def beeping(ending: str, sound_delay: float = 0, picture_delay: float = 0, codec: str = "flac") -> Path:
        name = f"beeps-{sound_delay}-{picture_delay}-{codec}.{ending}"
        burst = "+".join(f"between(t\\,{at}\\,{at + 0.1})" for at in BEEPS)
        tone = f"aevalsrc=0.5*sin(2*PI*1000*t)*({burst}):s={RATE}:d=2"
        return make(
            name,
            *("-itsoffset", str(picture_delay), "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=2"),
            *("-itsoffset", str(sound_delay), "-f", "lavfi", "-i", tone),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", codec),
        )

    return beeping


class TestSync:
    """A burst of sound begins where its picture is shown: nearer than one output frame at 50 per second."""

    @pytest.mark.parametrize(
        "time",
        [
            pytest.param(TimeSettings(rate=Fraction(60)), id="fps"),
            pytest.param(TimeSettings(factor=Fraction(2)), id="x2"),
            pytest.param(TimeSettings(factor=Fraction(8)), id="x8"),
            pytest.param(TimeSettings(factor=Fraction(5, 2)), id="x2.5"),
            pytest.param(TimeSettings(factor=Fraction(1, 2)), id="x0.5"),
            pytest.param(TimeSettings(start=Fraction(1, 2), end=Fraction(3, 2)), id="range"),
            pytest.param(TimeSettings(factor=Fraction(2), start=Fraction(1, 2)), id="range-x2"),
            pytest.param(TimeSettings(speed="0-0.5:1, 0.5-1.1:0.25, 1.1-:1"), id="steps"),
            pytest.param(TimeSettings(speed="0-0.4:1, 0.4-1.2:1~0.25, 1.2-:0.25"), id="ramp"),
        ],
    )
    @pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
    @pytest.mark.parametrize(
        ("ending", "sound_delay", "picture_delay"), [("mkv", 0, 0), ("mkv", 0.2, 0), ("mp4", 0, 0.5)]
    )
    def test_beeps(self, tmp_path, beeping, time, name, ending, sound_delay, picture_delay):
        source = beeping(ending, sound_delay, picture_delay, "flac" if ending == "mkv" else "aac")
        done = convert(source, tmp_path / name, time)
        offset = Fraction(str(sound_delay)) - Fraction(str(picture_delay))
        moments = [Fraction(str(at)) + offset for at in BEEPS]
        if not is_time_changed(done.plan, scan(probe(source)).timing):
            wanted = [float(moment) for moment in moments]
        else:
            inside = [moment for moment in moments if done.plan.start <= moment < done.plan.end]
            wanted = [float(done.plan.time_map.output_at(moment)) for moment in inside]
            # What begins before the range and sounds into it is heard at its first moment.
            if any(done.plan.start - Fraction(1, 10) < moment < done.plan.start for moment in moments):
                wanted.insert(0, 0.0)
        found = beeps(done.path)
        assert len(found) == len(wanted)
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 1 / 50

    @pytest.mark.parametrize("factor", [Fraction(2), Fraction(8), Fraction(30000, 1001), Fraction(7, 3)])
    @pytest.mark.parametrize("mode", ["stretch", "pitch"])
    @pytest.mark.parametrize(("name", "slack"), [("out.mkv", 0.001), ("out.mp4", 0.03)])
    def test_sound_is_as_long_as_the_picture(self, tmp_path, beeping, factor, mode, name, slack):
        done = convert(beeping("mkv"), tmp_path / name, TimeSettings(factor=factor), audio=mode)
        start, samples = sound(done.path)
        assert abs(start) < 0.001
        assert abs(len(samples) / RATE - float(done.plan.duration)) <= slack

    def test_pitch_falls_or_stays(self, tmp_path, beeping):
        """The tone is 1000 Hz."""

        def loudest(path: Path) -> float:
            _, samples = sound(path)
            spectrum = np.abs(np.fft.rfft(samples))
            return float(np.fft.rfftfreq(len(samples), 1 / RATE)[spectrum.argmax()])

        kept = convert(beeping("mkv"), tmp_path / "kept.mkv", TimeSettings(factor=Fraction(4)))
        fallen = convert(beeping("mkv"), tmp_path / "fallen.mkv", TimeSettings(factor=Fraction(4)), audio="pitch")
        assert abs(loudest(kept.path) - 1000) < 20
        assert abs(loudest(fallen.path) - 250) < 5

    @pytest.mark.parametrize("length", [0.8, 3.2])
    def test_sound_shorter_or_longer_than_the_picture(self, tmp_path, make, length):
        source = make(
            f"length-{length}.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=2"),
            *("-f", "lavfi", "-i", f"sine=frequency=500:sample_rate={RATE}:duration={length}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "flac"),
        )
        slow = convert(source, tmp_path / "slow.mkv", TimeSettings(factor=Fraction(2)))
        _, samples = sound(slow.path)
        assert len(samples) == round(float(slow.plan.duration) * RATE)
        assert (np.abs(samples[-RATE // 2 :]).max() < 0.001) == (length < 2)
        copied = convert(source, tmp_path / "copied.mkv", TimeSettings(rate=Fraction(60)))
        assert abs(len(sound(copied.path)[1]) / RATE - length) < 0.03

    @pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
    @pytest.mark.parametrize(
        ("time", "said"),
        [
            (TimeSettings(factor=Fraction(2)), ["1.0 s before the first picture", "1.0 s after the last picture"]),
            (TimeSettings(factor=Fraction(2), start=Fraction(1, 2)), ["1.0 s after the last picture"]),
            (TimeSettings(end=Fraction(1, 2)), ["1.0 s before the first picture"]),
            (TimeSettings(rate=Fraction(20)), []),
        ],
        ids=["slow", "start", "end", "fps"],
    )
    def test_sound_outside_of_the_picture_is_left_out_aloud(self, tmp_path, make, ending, time, said):
        source = make(
            f"outside.{ending}",
            *("-itsoffset", "1", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1"),
            *("-f", "lavfi", "-i", f"sine=sample_rate={RATE}:duration=3"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-c:a", "mp2"),
        )
        info = probe(source)
        scanned = scan(info)
        plan = make_plan(scanned.timing, time)
        target = target_for(tmp_path / "out.mkv", info, rate=plan.rate)
        notes = plan_carry(info, scanned.timing, plan, target, EncodeSettings(), FakeTools()).notes
        found = [note.partition("nothing is shown: ")[2].split(" and ") for note in notes if "left out" in note]
        assert found == ([said] if said else [])

    def test_a_hole_in_the_sound_stays_a_hole(self, tmp_path, make):
        """Stretching by sample count alone would close it, and all that follows would come too early."""
        tone = f"sine=frequency=1000:sample_rate={RATE}:duration=2,aselect=not(between(t\\,0.6\\,1.2))"
        source = make(
            "hole.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=2"),
            *("-f", "lavfi", "-i", tone, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "flac"),
        )
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        _, samples = sound(done.path)
        assert np.abs(samples[int(1.4 * RATE) : int(2.2 * RATE)]).max() < 0.02
        assert np.abs(samples[int(2.6 * RATE) : int(3.6 * RATE)]).max() > 0.05

    def test_a_long_pause_stays_as_long(self, tmp_path, make):
        """Only the clocks of broadcasts leap: elsewhere twelve seconds without sound are twelve seconds."""
        tone = f"sine=frequency=1000:sample_rate={RATE}:duration=16,aselect=lt(t\\,1)+gt(t\\,14)"
        source = make(
            "pause_in_sound.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=2:duration=16", "-f", "lavfi", "-i", tone),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le"),
        )
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        _, samples = sound(done.path)
        heard = np.abs(samples[: 32 * RATE]).reshape(32, RATE).max(1) > 0.05
        assert heard[:2].all() and not heard[3:27].any() and heard[29:].all()

    def test_sound_of_joined_recordings_goes_on_with_the_picture(self, tmp_path, make):
        part = make(
            "part.ts",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=4"),
            *("-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2*PI*880*t)*between(t,1,1.3)':s={RATE}:d=4"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-c:a", "mp2"),
        )
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part.read_bytes() * 2)

        whole = convert(joined, tmp_path / "whole.mkv", TimeSettings(factor=Fraction(2)))
        second = convert(
            joined, tmp_path / "second.mkv", TimeSettings(factor=Fraction(2), start=Fraction(9, 2), end=Fraction(6))
        )

        assert beeps(whole.path) == pytest.approx([2, 10], abs=0.1)
        assert beeps(second.path) == pytest.approx([1], abs=0.1)

    def test_sound_of_joined_recordings_does_not_drift(self, tmp_path, make):
        """Each may have a little more sound than picture."""
        part = make(
            "overhang.ts",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"),
            *("-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2*PI*880*t)*between(t,1,1.3)':s={RATE}:d=2.1"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "mp2"),
        )
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part.read_bytes() * 4)

        done = convert(joined, tmp_path / "slow.mkv", TimeSettings(factor=Fraction(2)))

        assert beeps(done.path) == pytest.approx([2, 6, 10, 14], abs=1 / 30)

    @pytest.mark.parametrize(
        ("codec", "ending", "name"),
        [
            *(("eac3", "ts", "out.mkv"), ("eac3", "ts", "out.mp4"), ("dca", "ts", "out.mkv")),
            *(("s302m", "ts", "out.mkv"), ("pcm_dvd", "mpg", "out.mp4")),
        ],
    )
    def test_sound_of_joined_recordings_in_codecs_of_broadcasts(self, tmp_path, make, codec, ending, name):
        part = make(
            f"broadcast.{codec}.{ending}",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1"),
            *("-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2*PI*880*t)*between(t,0.5,0.7)':s={RATE}:d=1.2"),
            *("-c:v", "mpeg2video", "-ac", "2", "-c:a", codec, "-strict", "-2"),
        )
        joined = tmp_path / f"joined.{ending}"
        joined.write_bytes(part.read_bytes() * 4)

        done = convert(joined, tmp_path / name, TimeSettings(rate=Fraction(10)))

        assert beeps(done.path) == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.06)
        kept = {"eac3": {"eac3"}, "dca": {"dca", "dts"}}
        assert codec not in kept or {track["codec"] for track in tracks(done.path, "audio")} <= kept[codec]
        assert not [note for note in done.carry.notes if "with every join" in note]

    @pytest.mark.parametrize("factor", [1, 2])
    @pytest.mark.parametrize("codec", ["mp2", "aac", "s302m"])
    def test_sound_that_begins_before_its_picture_in_joined_recordings(self, tmp_path, make, codec, factor):
        """What sounds before the picture lies beneath the end of the recording before, and is not set behind it."""
        part = make(
            f"ahead.{codec}.ts",
            *("-itsoffset", "0.3", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1"),
            *("-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2*PI*880*t)*between(t,0.55,0.65)':s={RATE}:d=1.3"),
            *("-c:v", "mpeg2video", "-bf", "0", "-ac", "2", "-c:a", codec, "-strict", "-2"),
        )
        alone = float(scan(probe(part)).timing.first_seconds - probe(part).streams[0].start_seconds)
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part.read_bytes() * 4)

        done = convert(joined, tmp_path / "out.mkv", TimeSettings(rate=Fraction(10), factor=Fraction(factor)))

        heard = [factor * (0.55 - alone + number) for number in range(4)]
        assert beeps(done.path) == pytest.approx(heard, abs=0.05 * factor)

    def test_a_packet_of_joined_recordings_that_cannot_be_handed_over_is_told(self, tmp_path, make, monkeypatch):
        """What was lost with it passed for an ffmpeg that had ended, and was lost without a word."""
        part = make(
            "handed.ts",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1", "-f", "lavfi", "-i", "sine=duration=1"),
            *("-c:v", "mpeg2video", "-bf", "0", "-c:a", "mp2"),
        )
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part.read_bytes() * 2)
        write, count = soundcopy._SoundNut.write, iter(range(1000))

        def back(nut: soundcopy._SoundNut, packet: Any, seconds: Fraction) -> None:
            write(nut, packet, seconds if next(count) < 50 else Fraction(0))

        monkeypatch.setattr(soundcopy._SoundNut, "write", back)
        done = convert(joined, tmp_path / "out.mkv", TimeSettings(rate=Fraction(50)))

        (told,) = [line for feed in done.carry.feeds for line in feed.warnings]
        assert "ends early, in silence: a packet cannot be handed to ffmpeg: " in told

    def test_sound_of_joined_recordings_that_drifts_is_told(self, tmp_path):
        streams = (replace(TestPlanning.AUDIO, codec="truehd"),)
        carry = TestPlanning().plan("a.mkv", streams=streams, timing=replace(TWO_SECONDS, continuous=False))
        assert "may come later with every join" in " ".join(carry.notes)

    @pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.ts", "out.webm"])
    @pytest.mark.parametrize(("codec", "end"), [("aac", None), ("mp2", None), ("aac", 8)])
    def test_sound_of_joined_recordings_that_keeps_its_speed_does_not_drift(self, tmp_path, make, codec, end, name):
        """AAC of a second is a second and a 40th: at the eighth join it came a sixth of a second late."""
        part = make(
            f"beep.{codec}.ts",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1"),
            *("-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2*PI*880*t)*between(t,0.5,0.7)':s={RATE}:d=1"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", codec),
        )
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part.read_bytes() * 9)

        done = convert(joined, tmp_path / name, TimeSettings(rate=Fraction(10), end=end and Fraction(end)))

        assert beeps(done.path) == pytest.approx([number + 0.5 for number in range(end or 9)], abs=0.02)
        if (codec, end, name) in (("aac", None, "out.mp4"), ("mp2", None, "out.mkv")):
            old, new = ({data for _, _, data in packets(path, "audio")} for path in (part, done.path))
            assert done.carry.notes == () and (codec == "aac" or new <= old)
            times = [start for start, _, _ in packets(done.path, "audio")]
            assert all(a < b for a, b in pairwise(times))

    @pytest.mark.parametrize(
        ("rates", "layouts"), [((RATE, RATE), ("stereo", "5.1")), ((RATE, 32000), ("stereo", "stereo"))], ids=str
    )
    def test_layout_and_rate_may_change_on_the_way(self, tmp_path, make, rates, layouts):
        """As where a broadcast changes from film to advertisement."""
        codec, ending = ("ac3", "ac3") if layouts[0] != layouts[1] else ("aac", "adts")
        pieces = []
        for number, (rate, layout) in enumerate(zip(rates, layouts, strict=True)):
            tone = f"sine=frequency=600:sample_rate={rate}:duration=1,aformat=channel_layouts={layout}"
            pieces.append(make(f"{number}{layout}{rate}.{ending}", "-f", "lavfi", "-i", tone, "-c:a", codec))
        both = tmp_path / f"both.{ending}"
        both.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
        source = make(
            f"changing_{codec}.ts",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2", "-i", str(both)),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy"),
        )
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        _, samples = sound(done.path)
        for first, last in ((0.4, 1.6), (2.4, 3.6)):
            piece = samples[int(first * RATE) : int(last * RATE)]
            spectrum = np.abs(np.fft.rfft(piece))
            assert abs(np.fft.rfftfreq(len(piece), 1 / RATE)[spectrum.argmax()] - 600) < 20
            assert np.abs(piece).max() > 0.03

    def test_eight_channels_are_slowed_too(self, tmp_path, make):
        source = make(
            "eight.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1"),
            *("-f", "lavfi", "-i", "sine=frequency=600:sample_rate=8000:duration=1,aformat=channel_layouts=7.1"),
            *("-c:v", "ffv1", "-c:a", "pcm_s16le"),
        )
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        with av.open(str(done.path)) as container:
            stream = container.streams.audio[0]
            assert stream.layout.name == "7.1"
            assert sum(frame.samples for frame in container.decode(stream)) == 2 * 8000

    def test_the_other_stretcher(self, tmp_path, beeping, monkeypatch):
        """A system without named pipes and an ffmpeg without rubberband: atempo, with a note, and looser in time."""
        monkeypatch.setattr(soundfeed, "IS_POSSIBLE", False)
        monkeypatch.setattr(sound_room, "stretch_method", lambda *_: "atempo")
        done = convert(beeping("mkv"), tmp_path / "out.mkv", TimeSettings(factor=Fraction(4)))
        assert any("no rubberband" in note for note in done.carry.notes)
        assert len(sound(done.path)[1]) == round(float(done.plan.duration) * RATE)
        found = beeps(done.path)
        assert max(abs(a - b * 4) for a, b in zip(found, BEEPS, strict=True)) < 0.15

    @pytest.mark.parametrize(
        "speed", ["0-:0.25", "0-0.4:1, 0.4-1.2:1~0.25, 1.2-:0.25", "0-0.5:1, 0.5-1.1:0.25, 1.1-:2"]
    )
    def test_filters_where_there_are_no_named_pipes(self, tmp_path, beeping, monkeypatch, speed):
        if "rubberband" not in tools().filters:
            pytest.skip("this ffmpeg has no rubberband filter")
        monkeypatch.setattr(soundfeed, "IS_POSSIBLE", False)
        done = convert(beeping("mkv"), tmp_path / "out.mkv", TimeSettings(speed=speed))
        assert len(sound(done.path)[1]) == round(float(done.plan.duration) * RATE)
        wanted = [float(done.plan.time_map.output_at(Fraction(str(at)))) for at in BEEPS]
        # rubberband smears an attack over its window, to both sides alike.
        assert max(abs(a - b) for a, b in zip(beeps(done.path), wanted, strict=True)) < 0.08


class TestTracks:
    @pytest.mark.parametrize("rate", [8000, 11025, 22050, 96000])
    def test_vorbis_at_any_rate_of_samples(self, tmp_path, make, rate):
        source = make(
            f"vorbis{rate}.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={rate}:duration=1"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "libvorbis", "-q:a", "3"),
        )
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        assert tracks(done.path, "audio")[0]["codec"] == "vorbis"
        assert len(sound(done.path)[1]) == pytest.approx(2 * RATE, abs=0.03 * RATE)

    def test_truehd_is_copied_into_mp4(self, tmp_path, make):
        source = make(
            "truehd.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={RATE}:duration=1"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-strict", "-2", "-c:a", "truehd"),
        )
        done = convert(source, tmp_path / "out.mp4", TimeSettings(rate=Fraction(20)))
        assert tracks(done.path, "audio")[0]["codec"] == "truehd"

    @pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
    @pytest.mark.parametrize("name", ["out.mov", "out.avi"])
    def test_pauses_between_samples_are_kept(self, tmp_path, make, codec, name):
        """Samples of PCM know no times there: what follows a pause would come too early."""
        source = make(
            f"pausing.{codec}.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={RATE}:duration=2"),
            *("-af", "aselect=not(between(t\\,0.5\\,1))", "-c:v", "mpeg4", "-c:a", codec),
        )
        done = convert(source, tmp_path / name, preset=None)
        _, samples = sound(done.path)
        assert len(samples) == pytest.approx(2 * RATE, abs=0.03 * RATE)
        assert np.abs(samples[round(0.6 * RATE) : round(0.9 * RATE)]).max() < 0.001
        assert np.abs(samples[round(1.1 * RATE) : round(1.9 * RATE)]).max() > 0.05

    @pytest.mark.parametrize("codec", ["libmp3lame", "ac3", "mp2"])
    @pytest.mark.parametrize("pauses", [False, True])
    def test_pauses_between_packets_are_kept(self, tmp_path, make, codec, pauses):
        """AVI has no times for them; what does not pause is copied."""
        whole = make(
            f"whole.{codec}.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={RATE}:duration=2"),
            *("-c:v", "mpeg4", "-c:a", codec),
        )
        lost = ("-bsf:a", r"noise=drop=between(pts*tb\,0.5\,1)") if pauses else ()
        source = make(f"pausing.{codec}.{pauses}.mkv", "-i", str(whole), "-c", "copy", *lost)
        done = convert(source, tmp_path / "out.avi", preset=None)
        _, samples = sound(done.path)
        assert any("it pauses" in line for line in done.carry.notes) == pauses
        assert len(samples) == pytest.approx(2 * RATE, abs=0.06 * RATE)
        between = np.abs(samples[round(0.6 * RATE) : round(0.9 * RATE)]).max()
        assert between < 0.001 if pauses else between > 0.05
        assert np.abs(samples[round(1.1 * RATE) : round(1.9 * RATE)]).max() > 0.05

    @pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.avi"])
    def test_damaged_stamps_are_not_copied(self, tmp_path, make, name):
        """One that flies off made a file of hours."""
        source = make(
            "sounding.flv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={RATE}:duration=2", "-c:v", "flv"),
            *("-c:a", "libmp3lame", "-ar", "44100"),
        )
        data, at, sounds = bytearray(source.read_bytes()), 13, 0
        while sounds < 40:  # tags: the kind, a size in three bytes, a time in four
            sounds += data[at] == 8
            at += 0 if sounds == 40 else 15 + int.from_bytes(data[at + 1 : at + 4], "big")
        data[at + 4] ^= 0x40
        damaged = tmp_path / "damaged.flv"
        damaged.write_bytes(data)
        done = convert(damaged, tmp_path / name, preset=None)
        assert any("some of its time stamps are damaged" in line for line in done.carry.notes)
        with av.open(str(done.path)) as film:
            assert film.duration < 2.2e6
        _, samples = sound(done.path)
        assert len(samples) == pytest.approx(2 * RATE, abs=0.1 * RATE)
        assert all(np.abs(part).max() > 0.05 for part in np.array_split(samples[: round(1.9 * RATE)], 19))

    @pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov", "out.ts"])
    def test_damaged_packets_do_not_end_a_copy(self, tmp_path, beeping, name):
        """A receiver loses some, and muxers that look for AAC's headers fail where one is missing."""
        data = beeping("ts", codec="aac").read_bytes()
        packets = [data[at : at + 188] for at in range(0, len(data), 188)]
        sounds = [at for at, packet in enumerate(packets) if int.from_bytes(packet[1:3], "big") & 0x5FFF == 0x101]
        del packets[sounds[len(sounds) // 2]]
        damaged = tmp_path / "damaged.ts"
        damaged.write_bytes(b"".join(packets))
        done = convert(damaged, tmp_path / name)
        anew = any("some of its packets are damaged" in line for line in done.carry.notes)
        assert anew == (name != "out.ts")
        if anew:
            assert beeps(done.path) == pytest.approx(BEEPS, abs=0.05)  # two frames may be lost

    def test_a_first_packet_that_holds_damaged_ones_does_not_end_a_copy(self, tmp_path, beeping):
        """mp4 looks through the first packet of E-AC-3, in which what follows without a header comes to lie."""
        data = beeping("ts", codec="eac3").read_bytes()
        _, second = (found.start() for found in islice(re.finditer(rb"\x0b\x77[\0-\7].[0-?]", data, re.DOTALL), 2))
        damaged = tmp_path / "damaged.ts"
        damaged.write_bytes(data[:second] + bytes(2) + data[second + 2 :])
        done = convert(damaged, tmp_path / "out.mp4")
        assert any("some of its packets are damaged" in line for line in done.carry.notes)
        assert beeps(done.path) == pytest.approx(BEEPS, abs=0.05)

    @pytest.mark.parametrize("byte, bit", [(12, 0x80), (11, 0x04), (11, 0x20), (9, 0x02)])  # 0.2 s to seven hours
    @pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.ts"])
    def test_a_stamp_of_sound_damaged_on_the_air_moves_no_sound(self, tmp_path, make, byte, bit, name):
        """ffmpeg took it for another recording, and moved what followed, in every track."""
        tones = [f"sine={pitch}:duration=2,volume='lt(mod(t-0.25,0.5),0.1)':eval=frame" for pitch in (800, 1200)]
        whole = make(
            "two_tracks.ts",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"),
            *("-f", "lavfi", "-i", tones[0], "-f", "lavfi", "-i", tones[1], "-map", "0", "-map", "1", "-map", "2"),
            *("-c:v", "mpeg2video", "-bf", "0", "-c:a", "mp2", "-pes_payload_size", "500"),
        )
        data = bytearray(whole.read_bytes())
        places = [at for at in range(len(data) - 20) if data[at : at + 4] == b"\0\0\1\xc0" and data[at + 7] >> 6 == 2]
        data[places[9] + byte] ^= bit
        source = tmp_path / "damaged.ts"
        source.write_bytes(data)
        done = convert(source, tmp_path / name)
        (told,) = done.carry.notes
        assert "is encoded anew: some of its time stamps are damaged" in told
        for track in (0, 1):
            assert beeps(done.path, track) == pytest.approx(BEEPS, abs=0.04)

    @pytest.mark.parametrize("overlap", [0.09, 0.11])
    @pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
    def test_sound_that_steps_back_by_less_than_is_taken_for_a_join_is_copied(self, tmp_path, beeping, overlap, name):
        """As where recordings that follow each other were joined: only a 10th of a second from one packet's beginning
        to the next one's, where one lasts 35 ms, moves what follows."""
        data = bytearray(beeping("ts", codec="ac3").read_bytes())
        places = [at for at in range(len(data) - 20) if data[at : at + 4] == b"\0\0\1\xbd" and data[at + 7] >> 6 == 2]
        at = places[len(places) // 2] + 10  # 8, 7 and 1 bits, 8, 7 and 1
        stamp = data[at] << 22 | data[at + 1] >> 1 << 15 | data[at + 2] << 7 | data[at + 3] >> 1
        stamp -= round(overlap * 90000)
        data[at : at + 4] = stamp >> 22, stamp >> 14 & 254 | 1, stamp >> 7 & 255, stamp << 1 & 254 | 1
        source = tmp_path / "overlapping.ts"
        source.write_bytes(data)
        done = convert(source, tmp_path / name)
        assert not done.carry.notes
        assert beeps(done.path) == pytest.approx(BEEPS, abs=0.03)

    def test_sound_that_begins_amid_a_packet_is_copied(self, tmp_path, make):
        """As in a DVD's file cut anywhere: mp4 leaves out what comes before the first header."""
        whole = make(
            "whole.vob",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2", "-f", "lavfi", "-i", "sine=duration=2"),
            *("-c:v", "mpeg2video", "-g", "5", "-c:a", "ac3"),
        )
        source = tmp_path / "cut.vob"
        source.write_bytes(whole.read_bytes()[9000:])
        with av.open(str(source)) as film:
            assert bytes(next(film.demux(audio=0)))[:2] != b"\x0b\x77"
        done = convert(source, tmp_path / "out.mp4")
        assert not any("damaged" in line for line in done.carry.notes)
        with av.open(str(done.path)) as film:
            assert film.streams.audio[0].duration * film.streams.audio[0].time_base > 1

    @pytest.mark.parametrize("bit", [0x04, 0x20], ids=["0.7 s", "5.8 s"])
    @pytest.mark.parametrize(("name", "factor"), [("out.mkv", 1), ("out.ts", 1), ("out.mp4", 2)])
    def test_a_damaged_stamp_of_sound_in_joined_recordings(self, tmp_path, beeping, name, factor, bit):
        """All sound ended there, without a word."""
        whole = beeping("ts", codec="ac3").read_bytes()
        data = bytearray(whole)
        places = [at for at in range(len(data) - 20) if data[at : at + 4] == b"\0\0\1\xbd" and data[at + 7] >> 6 == 2]
        data[places[2 * len(places) // 3] + 11] ^= bit
        joined = tmp_path / "joined.ts"
        joined.write_bytes(whole + data)
        done = convert(joined, tmp_path / name, TimeSettings(factor=Fraction(factor)))
        wanted = [factor * at for at in (*BEEPS, *(2 + at for at in BEEPS))]
        assert beeps(done.path) == pytest.approx(wanted, abs=0.03 * factor)

    @pytest.mark.parametrize(("name", "factor", "audio"), [("out.mkv", 1, "stretch"), ("out.mp4", 2, "pitch")])
    def test_a_track_of_a_broadcast_may_be_silent_for_long(self, tmp_path, make, name, factor, audio):
        """As that with descriptions for the blind: what followed came at once."""
        every = "volume='lt(mod(t-0.25,0.5),0.1)':eval=frame"
        source = make(
            "silent_for_long.ts",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=14"),
            *("-f", "lavfi", "-i", f"sine=800:duration=14,{every}"),
            *("-f", "lavfi", "-i", f"sine=1200:duration=14,{every},aselect='lt(t,1)+gt(t,13)'"),
            *("-map", "0", "-map", "1", "-map", "2", "-c:v", "mpeg2video", "-c:a", "mp2"),
        )
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(factor)), audio=audio)
        assert any("it pauses for more than ten seconds" in line for line in done.carry.notes)
        assert beeps(done.path, 1) == pytest.approx([factor * at for at in (0.25, 0.75, 13.25, 13.75)], abs=0.06)
        assert len(beeps(done.path, 0)) == 28

    @pytest.mark.parametrize(("name", "factor"), [("out.mkv", 1), ("out.mp4", 2)])
    def test_a_track_of_a_broadcast_may_begin_late(self, tmp_path, make, name, factor):
        """After more than ffmpeg looks at to know what is in a file: it was left out."""
        every = "volume='lt(mod(t-0.25,0.5),0.1)':eval=frame"
        source = make(
            "begins_late.ts",
            *(
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=64x48:rate=5:duration=14",
                "-f",
                "lavfi",
                "-i",
                f"sine=800:d=14,{every}",
            ),
            *("-itsoffset", "13", "-f", "lavfi", "-i", f"sine=1200:duration=1,{every}"),
            *("-map", "0", "-map", "1", "-map", "2", "-c:v", "mpeg2video", "-c:a", "ac3"),
        )
        assert [stream.sample_rate for stream in probe(source).streams] == [44100, 0]
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(factor)))
        assert len(tracks(done.path, "audio")) == 2
        assert beeps(done.path, 1) == pytest.approx([factor * at for at in (13.25, 13.75)], abs=0.06)

    @pytest.mark.parametrize(
        ("kinds", "name", "time", "told"),
        [
            # AAC's channels and rate are told once for all in these; a copy is silent or false after a change.
            ("aac stereo 48000, aac 5.1 48000", "out.mp4", {}, "all of it becomes stereo at 48000 Hz"),
            ("aac 5.1 48000, aac stereo 48000", "out.mkv", {}, "all of it becomes 5.1"),
            ("aac stereo 48000, aac stereo 44100", "out.mov", {}, "at 48000 Hz"),
            ("aac stereo 48000, aac 5.1 48000", "out.ts", {}, ""),
            ("ac3 stereo 48000, ac3 5.1 48000", "out.mp4", {}, ""),
            # Of a change of codec, ffmpeg's copy fails, or brings along what nothing plays.
            ("ac3 stereo 48000, aac 5.1 48000", "out.mkv", {}, "its codec changes"),
            ("mp2 stereo 48000, ac3 5.1 48000", "out.ts", {}, "its codec changes"),
            # ffmpeg begins its filters anew where sound changes, and the clock with them.
            ("ac3 5.1 48000, ac3 stereo 48000", "out.mkv", {"end": Fraction(7, 2)}, ""),
            ("latm stereo 48000, latm 5.1 48000", "out.mkv", {"end": Fraction(7, 2)}, "cut to the range"),
            ("mp2 stereo 48000, mp2 mono 48000", "out.ts", {"factor": 2, "pitch": True}, "keeps its pitch"),
        ],
    )
    def test_sound_that_changes_on_its_way(self, tmp_path, make, kinds, name, time, told):
        """Broadcasts go from stereo to surround and back with every programme."""
        parts = []
        for place, (codec, layout, rate) in enumerate(kind.split() for kind in kinds.split(", ")):
            kind = ("aac", "-mpegts_flags", "latm") if codec == "latm" else (codec,)
            parts.append(
                make(
                    f"changing.{place}.{codec}.{layout}.{rate}.ts",
                    *("-f", "lavfi", "-i", "color=gray:size=64x48:rate=10:duration=2"),
                    *("-f", "lavfi", "-i", f"sine=1000:sample_rate={rate}:duration=2"),
                    *("-af", rf"volume='lt(mod(t-0.25\,0.5)\,0.05)':eval=frame,aformat=channel_layouts={layout}"),
                    *("-c:v", "mpeg2video", "-bf", "0", "-c:a", *kind, "-output_ts_offset", str(10 + 2 * place)),
                    *("-muxdelay", "0", "-muxpreload", "0"),
                )
            )
        source = tmp_path / "changing.ts"
        source.write_bytes(b"".join(part.read_bytes() for part in parts))
        more = {"audio": "pitch"} if time.get("pitch") else {}
        factor = time.get("factor", 1)
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(factor), end=time.get("end")), **more)
        said = [line for line in done.carry.notes if line.startswith("audio track")]
        assert [told in line for line in said] == [True] * bool(told)
        if told or "end" in time:  # what is copied changes still, which the helper does not read
            wanted = [factor * (0.25 + 0.5 * beep) for beep in range(7 if "end" in time else 8)]
            assert beeps(done.path) == pytest.approx(wanted, abs=0.045 * factor)
            starts = [start for start, _, _ in packets(done.path, "audio")]
            assert all(before < after for before, after in pairwise(starts))

    @pytest.mark.parametrize(
        ("codec", "rate", "layout", "name", "factor", "becomes", "mixed"),
        [
            ("libmp3lame", 11025, "mono", "out.mp4", 1, "aac", ""),
            ("libmp3lame", 16000, "mono", "out.mp4", 1, "mp3float", ""),
            ("libmp3lame", 11025, "mono", "out.mkv", 1, "mp3float", ""),
            ("aac", 48000, "7.1", "out.ts", 1, "aac", "7.0"),
            ("aac", 48000, "7.1", "out.ts", 2, "aac", "7.0"),
            ("aac", 48000, "7.1(wide)", "out.ts", 1, "aac", ""),
            ("aac", 48000, "7.1", "out.mp4", 1, "aac", ""),
            ("pcm_s16le", 48000, "7.1", "out.ts", 1, "aac", "7.0"),
            ("mp2", 22050, "stereo", "out.ts", 2, "mp2", ""),
        ],
    )
    def test_what_some_rates_and_layouts_are_refused(
        self, tmp_path, make, codec, rate, layout, name, factor, becomes, mixed
    ):
        """By ffmpeg, when the work has begun."""
        source = make(
            f"{codec}{rate}{layout}.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1"),
            *("-f", "lavfi", "-i", f"sine=sample_rate={rate}:duration=1", "-af", f"aformat=channel_layouts={layout}"),
            *("-c:v", "mpeg4", "-c:a", codec),
        )
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(factor)))
        (track,) = tracks(done.path, "audio")
        assert track["codec"] == becomes
        assert any(f"is mixed to {mixed}:" in line for line in done.carry.notes) == bool(mixed)
        assert len(sound(done.path)[1]) == pytest.approx(factor * RATE, abs=0.25 * RATE)

    def test_the_user_may_leave_tags_and_chapters_behind(self, tmp_path, clip):
        words = ("-map_metadata", "-1", "-map_chapters", "-1")
        done = convert(clip("rich.mkv"), tmp_path / "out.mkv", TimeSettings(rate=Fraction(60)), encoder_args=words)
        with av.open(str(done.path)) as output:
            assert "title" not in {name.lower() for name in output.metadata}
            assert not output.chapters()

    @pytest.mark.parametrize(
        "time", [TimeSettings(rate=Fraction(60)), TimeSettings(factor=Fraction(4))], ids=["fps", "slow"]
    )
    def test_matroska_keeps_everything(self, tmp_path, clip, time):
        done = convert(clip("rich.mkv"), tmp_path / "out.mkv", time)
        factor = time.factor
        assert [track["language"] for track in tracks(done.path, "audio")] == ["deu", "fra"]
        assert [track["codec"] for track in tracks(done.path, "audio")] == ["aac", "aac"]
        assert [track["language"] for track in tracks(done.path, "subtitle")] == ["eng"]
        assert captions(done.path) == [
            (Fraction(1, 5) * factor, Fraction(3, 10) * factor),
            (Fraction(3, 5) * factor, Fraction(3, 10) * factor),
        ]
        assert chapters(done.path) == [
            (0, Fraction(2, 5) * factor, "First"),
            (Fraction(2, 5) * factor, factor, "Second"),
        ]
        assert [track["metadata"].get("filename") for track in tracks(done.path, "attachment")] == ["note.txt"]
        with av.open(str(done.path)) as output, av.open(str(clip("rich.mkv"))) as source:
            assert output.metadata["title"] == "Rich"
            covers = [s for s in output.streams.video if s.disposition & av.stream.Disposition.attached_pic]
            assert len(covers) == 1
            old = next(s for s in source.streams.video if s.disposition & av.stream.Disposition.attached_pic)
            assert bytes(next(output.demux(covers[0]))) == bytes(next(source.demux(old)))
        assert done.carry.notes == ()
        assert done.carry.picture_delay == 0
        # Older versions of ffmpeg move everything by the priming of the first sound.
        assert first_picture(done.path) <= (0 if target_version() >= (7, 0) else Fraction(3, 100))

    @pytest.mark.parametrize(
        "time", [TimeSettings(rate=Fraction(60)), TimeSettings(factor=Fraction(4))], ids=["fps", "slow"]
    )
    @pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
    def test_mp4_and_mov(self, tmp_path, clip, time, name):
        done = convert(clip("rich.mkv"), tmp_path / name, time)
        assert [track["codec"] for track in tracks(done.path, "audio")] == ["aac", "aac"]
        languages = [track["language"] for track in tracks(done.path, "audio")]
        assert languages == (["deu", "fra"] if name == "out.mp4" else ["ger", "fra"])
        assert [track["codec"] for track in tracks(done.path, "subtitle")] == ["mov_text"]
        starts = [start for start, _ in captions(done.path)]
        assert starts == [Fraction(1, 5) * time.factor, Fraction(3, 5) * time.factor]
        assert [lasts for _, lasts in captions(done.path)] == [Fraction(3, 10) * time.factor] * 2
        assert [start for start, _, _ in chapters(done.path)] == [0, Fraction(2, 5) * time.factor]
        said = " | ".join(done.carry.notes)
        assert "becomes mov_text" in said
        assert "1 attachment dropped" in said
        assert ("cover picture dropped" in said) == (name == "out.mov")
        if name == "out.mp4":
            with av.open(str(done.path)) as output:
                assert any(s.disposition & av.stream.Disposition.attached_pic for s in output.streams.video)

    def test_there_and_back_again(self, tmp_path, clip):
        """Captions and chapters of an mp4, slowed in mp4 and then fast again, are where they were."""
        convert(clip("rich.mkv"), tmp_path / "a.mp4")
        convert(tmp_path / "a.mp4", tmp_path / "b.mp4", TimeSettings(factor=Fraction(3)))
        done = convert(tmp_path / "b.mp4", tmp_path / "c.mp4", TimeSettings(factor=Fraction(1, 3)))
        assert captions(done.path) == [(Fraction(1, 5), Fraction(3, 10)), (Fraction(3, 5), Fraction(3, 10))]
        assert [start for start, _, _ in chapters(done.path)] == [0, Fraction(2, 5)]
        assert done.carry.notes == ()

    def test_webm(self, tmp_path, clip):
        done = convert(clip("rich.mkv"), tmp_path / "out.webm", TimeSettings(factor=Fraction(2)))
        assert [track["codec"] for track in tracks(done.path, "audio")] == ["opus", "opus"]
        assert [track["codec"] for track in tracks(done.path, "subtitle")] == ["webvtt"]
        assert captions(done.path) == [(Fraction(2, 5), Fraction(3, 5)), (Fraction(6, 5), Fraction(3, 5))]
        assert len(done.carry.notes) == 5

    @pytest.mark.parametrize("name", ["out.ts", "out.avi", "out.nut"])
    def test_containers_that_hold_little(self, tmp_path, clip, name):
        done = convert(clip("rich.mkv"), tmp_path / name, preset=None)
        assert len(tracks(done.path, "audio")) == 2
        assert tracks(done.path, "subtitle") == []
        assert "subtitle track" in " ".join(done.carry.notes)

    def test_mp3_beside_the_picture_of_an_avi_moves_nothing(self, tmp_path, clip):
        done = convert(clip("rich.mkv"), tmp_path / "out.avi", TimeSettings(factor=Fraction(2)), preset=None)
        assert {track["codec"] for track in tracks(done.path, "audio")} <= {"mp3", "mp3float"}
        times = [time for time, _, _ in packets(done.path, "video")]
        assert times == [number * times[1] for number in range(len(times))]

    @pytest.mark.parametrize("name", ["out.gif", "out.apng", "out.webp", "out%03d.png"])
    def test_pictures_only(self, tmp_path, clip, name):
        done = convert(clip("rich.mkv"), tmp_path / name, TimeSettings(rate=Fraction(10)), preset=None)
        assert len(done.carry.notes) == 1
        assert "2 audio tracks, 1 subtitle track, 1 attachment, chapters dropped" in done.carry.notes[0]

    def test_a_range_cuts_captions_and_chapters(self, tmp_path, clip):
        time = TimeSettings(start=Fraction(3, 10), end=Fraction(7, 10), factor=Fraction(2))
        done = convert(clip("rich.mkv"), tmp_path / "out.mkv", time)
        assert captions(done.path) == [(0, Fraction(2, 5)), (Fraction(3, 5), Fraction(1, 5))]
        assert chapters(done.path) == [(0, Fraction(1, 5), "First"), (Fraction(1, 5), Fraction(4, 5), "Second")]

    @pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
    def test_captions_and_chapters_that_are_not_shown_are_counted(self, tmp_path, clip, name):
        convert(clip("rich.mkv"), tmp_path / name)
        done = convert(tmp_path / name, tmp_path / "out.mkv", TimeSettings(start=Fraction(55, 100)))
        (track,) = (stream for stream in probe(tmp_path / name).streams if stream.kind == "subtitle")
        outside = "outside the pictures that are shown"
        assert f"1 chapter left out: it lies {outside}" in done.carry.notes
        label = f"subtitle track {track.index} ({track.codec}, eng)"
        assert done.carry.met == [f"{label}: 1 caption left out: it lies {outside}"]

    @pytest.mark.parametrize("objects, counted", [(0, 0), (1, 1)])
    def test_what_ends_a_caption_in_pictures_is_none(self, objects, counted):
        """The presentation composition segment of PGS, whose 14th byte counts the objects it shows."""
        data = b"\x16\0\x0b" + bytes(10) + bytes([objects])
        assert subtitles._clears(data, "hdmv_pgs_subtitle") == (not counted)

    @pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
    def test_a_range_without_captions_keeps_their_track(self, tmp_path, clip, name):
        convert(clip("rich.mkv"), tmp_path / name)
        done = convert(tmp_path / name, tmp_path / f"out-{name}", TimeSettings(end=Fraction(1, 10)))
        assert len(tracks(done.path, "subtitle")) == 1
        assert not any(data.strip(b"\0 ") for _, _, data in packets(done.path, "subtitle"))

    def test_captions_follow_a_curve(self, tmp_path, clip):
        time = TimeSettings(speed="0-0.5:1, 0.5-:0.25")
        done = convert(clip("rich.mkv"), tmp_path / "out.mkv", time)
        assert captions(done.path) == [(Fraction(1, 5), Fraction(3, 10)), (Fraction(9, 10), Fraction(6, 5))]

    def test_drop(self, tmp_path, clip):
        done = convert(clip("rich.mkv"), tmp_path / "out.mkv", audio="drop")
        assert tracks(done.path, "audio") == []
        assert len(tracks(done.path, "subtitle")) == 1

    def test_no_sound(self, tmp_path, clip):
        done = convert(clip("cfr.mp4"), tmp_path / "out.mp4", TimeSettings(factor=Fraction(2)))
        assert tracks(done.path, "audio") == []
        assert done.carry.notes == ()

    @pytest.mark.parametrize("limit", ["_MOST_BENT", "_MOST_OPENED"])
    def test_more_tracks_than_memory_holds_are_left_out_aloud(self, tmp_path, clip, monkeypatch, limit):
        monkeypatch.setattr(soundtracks, limit, 1)
        assert len(tracks(convert(clip("rich.mkv"), tmp_path / "a.mkv").path, "audio")) == 2
        done = convert(clip("rich.mkv"), tmp_path / "b.mkv", TimeSettings(factor=Fraction(2)))
        assert len(tracks(done.path, "audio")) == 1
        assert any(note.startswith("1 more audio track dropped") for note in done.carry.notes)

    @pytest.mark.parametrize("at, named", [(2, (255).to_bytes(2, "little")), (4, (10**9).to_bytes(4, "little"))])
    def test_sound_that_no_machine_holds_is_left_out_aloud(self, tmp_path, clip, make, at, named):
        data = bytearray(make("pcm.avi", "-i", str(clip("sound.mp4")), "-c:a", "pcm_s16le").read_bytes())
        begin = data.index(b"strf", data.index(b"auds")) + 8 + at  # WAVEFORMATEX: channels, then samples a second
        data[begin : begin + len(named)] = named
        (tmp_path / "in.avi").write_bytes(data)
        done = convert(tmp_path / "in.avi", tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        assert tracks(done.path, "audio") == []
        assert any("dropped: no sound has" in note for note in done.carry.notes)

    def test_a_tag_longer_than_a_command_line_takes(self, tmp_path, clip, make):
        text = tmp_path / "tags.txt"
        text.write_text(f";FFMETADATA1\ntitle={'é' * 90_000}\n", encoding="utf-8")
        maps = ("-map", "0", "-map_metadata:s:a:0", "1:g", "-c", "copy")
        source = make("long.mkv", "-i", str(clip("sound.mp4")), "-i", str(text), *maps)
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        assert len(tracks(done.path, "audio")) == 1
        assert any(note.endswith("over 100000 bytes: title") for note in done.carry.notes)

    def test_dispositions_and_titles(self, tmp_path, make, clip):
        source = make(
            "marked.mkv",
            *("-i", str(clip("rich.mkv")), "-map", "0:v:0", "-map", "0:a", "-map", "0:s", "-c", "copy"),
            *("-disposition:a:0", "0", "-disposition:a:1", "default+comment", "-disposition:s:0", "forced"),
            *("-metadata:s:a:1", "title=Director", "-metadata:s:v:0", "title=Main", "-metadata:s:v:0", "language=jpn"),
        )
        for name in ("out.mkv", "out.mp4"):
            for time in (TimeSettings(), TimeSettings(factor=Fraction(2))):
                done = convert(source, tmp_path / name, time)
                first, second = tracks(done.path, "audio")
                assert (first["disposition"] & 9, second["disposition"] & 9) == (0, 9)
                assert second["title"] == "Director"
                assert tracks(done.path, "subtitle")[0]["disposition"] & 64
                assert tracks(done.path, "video")[0]["language"] == "jpn"
                assert tracks(done.path, "video")[0]["disposition"] == 1

    @pytest.mark.parametrize(
        ("name", "told"),
        [(f"out.{ending}", ending == "ts") for ending in ("mkv", "webm", "mp4", "mov", "avi", "nut", "ts")],
    )
    def test_titles_are_kept_or_told(self, tmp_path, make, clip, name, told):
        """As OBS gives them to its tracks."""
        words = ("-metadata:s:a:0", "title=Desktop", "-metadata:s:a:1", "title=Mic")
        source = make("titles.mkv", "-i", str(clip("sound.mp4")), *"-map 0:v -map 0:a -map 0:a -c copy".split(), *words)
        done = convert(source, tmp_path / name, preset=None)
        found = [dict(track.metadata) for track in probe(done.path).streams if track.kind == "audio"]
        assert [track.get("title") or track.get("name") for track in found] == (
            [None] * 2 if told else ["Desktop", "Mic"]
        )
        assert [line for line in done.carry.notes if "titles of tracks" in line] == [
            f"audio track {at} (aac, deu) is no longer called '{title}': .ts holds no titles of tracks"
            for at, title in ((1, "Desktop"), (2, "Mic"))
            if told
        ]

    @pytest.mark.parametrize(
        ("name", "kept", "lost"),
        [
            ("out.mkv", ["fre", "zho", "hrv"], []),
            ("out.mp4", ["fre", "zho", "hrv"], []),
            ("out.mov", ["fra", "chi", ""], [(3, "hrv")]),
            ("out.avi", ["", "", ""], [(1, "fre"), (2, "zho"), (3, "hrv")]),
        ],
    )
    def test_languages_are_kept_or_told(self, tmp_path, make, clip, name, kept, lost):
        """QuickTime has numbers for some hundred, which ffmpeg knows by one name each."""
        words = [
            word for at, to in enumerate(("fre", "zho", "hrv")) for word in (f"-metadata:s:a:{at}", f"language={to}")
        ]
        maps = ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "0:a", "-c", "copy")
        source = make("languages.mkv", "-i", str(clip("sound.mp4")), *maps, *words)
        done = convert(source, tmp_path / name, preset=None)
        assert [track["language"] for track in tracks(done.path, "audio")] == kept
        told = [line for line in done.carry.notes if "does not say its language" in line]
        assert [line.partition(" does")[0] for line in told] == [f"audio track {at} (aac, {to})" for at, to in lost]

    @pytest.mark.parametrize("radio", [False, True])
    @pytest.mark.parametrize("comes_first", [False, True])
    def test_sound_of_another_programme_stays_behind(self, tmp_path, make, clip, comes_first, radio):
        """A broadcast may hold several; whose sound comes first is played."""
        film = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=1", "-f", "lavfi", "-i", "sine=duration=1")
        other = make("other.ts", *film, "-c:v", "mpeg2video", "-c:a", "mp2")
        inputs, programmes = ["-i", str(other), "-i", str(clip("sound.mp4"))], ["st=0:st=1", "st=2:st=3"]
        maps = ["-map", "0", "-map", "1", "-map", "0:a"] if comes_first else ["-map", "1", "-map", "0", "-map", "0:a"]
        if radio:
            programmes.append("st=4")
        else:
            programmes[0 if comes_first else 1] += ":st=4"
        words = [word for programme in programmes for word in ("-program", programme)]
        source = make(f"programmes{comes_first}{radio}.ts", *inputs, *maps, "-c", "copy", *words)
        done = convert(source, tmp_path / "out.mkv", TimeSettings())
        assert [track["codec"] for track in tracks(done.path, "audio")] == ["aac"]
        told = [line for line in done.carry.notes if "they belong to another programme than the picture" in line]
        assert len(told) == 1 and told[0].count("(mp2)") == 2

    @pytest.mark.parametrize(
        ("programmes", "kept"),
        [
            (("st=0:st=1", "st=2"), 1),
            (("st=2", "st=0:st=1"), 1),
            (("st=0:st=1", "st=0:st=2"), 2),  # one picture, two languages
            (("st=1", "st=2"), 2),  # the picture belongs to none
        ],
    )
    def test_radio_beside_the_only_picture_stays_behind(self, tmp_path, make, programmes, kept):
        film = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=1", "-f", "lavfi", "-i", "sine=duration=1")
        words = [word for programme in programmes for word in ("-program", programme)]
        maps = ("-map", "0", "-map", "1", "-map", "1", "-c:v", "mpeg2video", "-c:a", "mp2")
        source = make("radio.ts", *film, *maps, *words)
        done = convert(source, tmp_path / "out.mkv", TimeSettings())
        assert len(tracks(done.path, "audio")) == kept
        assert len([line for line in done.carry.notes if "another programme" in line]) == 2 - kept

    @pytest.mark.parametrize("time", [TimeSettings(), TimeSettings(factor=Fraction(2))])
    @pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov", "out.ts", "out.nut", "out.webm"])
    def test_marks_of_tracks_are_kept_or_told(self, tmp_path, make, clip, name, time):
        source = make(
            "hard_of_hearing.mkv",
            *("-i", str(clip("rich.mkv")), "-map", "0:v:0", "-map", "0:a:0", "-map", "0:s", "-c", "copy"),
            *("-disposition:a:0", "hearing_impaired+original", "-disposition:s:0", "forced"),
        )
        done = convert(source, tmp_path / name, time)
        for kind, bits in (("audio", {"original": 4, "hearing impaired": 128}), ("subtitle", {"forced": 64})):
            for track in tracks(done.path, kind):
                lost = " and ".join(word for word, bit in bits.items() if not track["disposition"] & bit)
                expected = f"is no longer marked as {lost}: .{name[4:]} has no such mark"
                assert any(line.startswith(kind) and expected in line for line in done.carry.notes) == bool(lost)
        assert any("no longer marked" in line for line in done.carry.notes) == (name != "out.mkv")

    @pytest.mark.parametrize(
        ("name", "kept", "lost"),
        [("out.mov", {"make": "Apple", "model": "iPhone 15"}, "software"), ("out.mp4", {}, "make, model, software")],
    )
    def test_where_and_when_a_phone_filmed(self, tmp_path, make, clip, name, kept, lost):
        said = {"make": "Apple", "model": "iPhone 15", "software": "17.4"}
        said |= {"creationdate": "2024-05-01T12:00:00+0200", "location.ISO6709": "+48.1234+011.5678+520.000/"}
        words = [word for key, value in said.items() for word in ("-metadata", f"com.apple.quicktime.{key}={value}")]
        source = make(
            "phone.mov",
            *("-i", str(clip("cfr.mp4")), "-c", "copy", "-movflags", "use_metadata_tags", "-metadata", "title=Walk"),
            *words,
        )
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(2)))
        with av.open(str(done.path)) as output:
            found = dict(output.metadata)
        wanted = {"title": "Walk", "date": said["creationdate"], "location": said["location.ISO6709"], **kept}
        assert {key: found.get(key, "").replace("520.000000", "520.000") for key in wanted} == wanted
        assert done.carry.notes == (f"tags dropped that .{name[-3:]} has no place for: {lost}",)
        assert convert(source, tmp_path / "out.mkv").carry.notes == ()
        bare = convert(source, tmp_path / name, encoder_args=("-map_metadata", "-1"))
        with av.open(str(bare.path)) as output:
            assert "location" not in output.metadata

    @pytest.mark.parametrize(
        ("name", "kept", "lost"),
        [
            ("out.mkv", {"title", "lyrics", "director", "keywords"}, ""),
            ("out.mp4", {"title", "lyrics", "keywords"}, "director"),
            ("out.mov", {"title"}, "director, keywords, lyrics"),
            ("out.avi", {"title"}, "director, keywords, lyrics"),
            ("out.ts", set(), "director, keywords, lyrics"),
        ],
    )
    def test_tags_without_a_place_are_named(self, tmp_path, make, clip, name, kept, lost):
        words = [
            word
            for key in ("title", "title-eng", "lyrics", "director", "keywords", "encoder")
            for word in ("-metadata", f"{key}=of {key[:4]}")
        ]
        source = make("told.mkv", "-i", str(clip("cfr.mp4")), "-c", "copy", *words)
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(2)), preset=None)
        with av.open(str(done.path)) as output:
            found = {key.lower(): value for key, value in output.metadata.items()}
        assert {key for key in ("title", "lyrics", "director", "keywords") if found.get(key) == f"of {key[:4]}"} == kept
        expected = f"tags dropped that .{name[4:]} has no place for: {lost}"
        assert done.carry.notes == ((expected,) if lost else ())

    @pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.avi"])
    def test_tags_that_are_no_utf8_become_it(self, tmp_path, make, clip, name):
        """As old programs on Windows write them into AVI."""
        tagged = make("tagged.avi", "-i", str(clip("cfr.avi")), "-c", "copy", "-metadata", "title=XXcafeXX")
        source = tmp_path / "source.avi"
        source.write_bytes(tagged.read_bytes().replace(b"XXcafeXX", b"XXcaf\xe9XX"))
        done = convert(source, tmp_path / name, preset=None)
        with av.open(str(done.path)) as output:
            assert output.metadata["title"] == "XXcaf\u00e9XX"
        told = "tags in no UTF-8, read as Windows-1252: title; letters may be wrong"
        assert [note for note in done.carry.notes if "tags" in note] == [told]
        bare = convert(source, tmp_path / name, preset=None, encoder_args=("-map_metadata", "-1"))
        with av.open(str(bare.path)) as output:
            assert "title" not in output.metadata

    def test_titles_of_tracks_that_are_no_utf8_become_it(self, tmp_path, make, clip):
        words = ("-metadata:s:v:0", "title=XXcafeXX", "-metadata:s:a:0", "title=XXcafeXX")
        tagged = make("titled.mkv", "-i", str(clip("rich.mkv")), "-c", "copy", *words)
        source = tmp_path / "source.mkv"
        source.write_bytes(tagged.read_bytes().replace(b"XXcafeXX", b"XXcaf\xe9XX"))
        done = convert(source, tmp_path / "out.mkv")
        assert tracks(done.path, "video")[0]["title"] == tracks(done.path, "audio")[0]["title"] == "XXcaf\u00e9XX"

    @pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
    def test_a_name_of_the_picture_is_its_title(self, tmp_path, make, clip, name):
        """QuickTime calls it a name; ffmpeg writes titles."""
        source = make("named.mp4", "-i", str(clip("cfr.mp4")), "-c", "copy", "-metadata:s:v:0", "title=Main camera")
        assert tracks(source, "video")[0]["metadata"].get("name") == "Main camera"
        (picture,) = tracks(convert(source, tmp_path / name).path, "video")
        assert picture["title"] == "Main camera"
        assert "NAME" not in picture["metadata"]

    @pytest.mark.parametrize(
        ("name", "layout", "told"),
        [
            ("out.mkv", "7.1(wide)", True),
            ("out.nut", "7.1(wide)", True),
            ("out.mov", "7.1(wide)", False),
            ("out.mkv", "5.1(side)", False),
            ("out.mkv", "stereo", False),
        ],
    )
    def test_loudspeakers_that_a_copy_of_pcm_does_not_name(self, tmp_path, make, clip, name, layout, told):
        tone = f"sine=duration=1,aformat=channel_layouts={layout}"
        source = make(f"pcm{name}.mov", "-i", str(clip("cfr.mp4")), "-f", "lavfi", "-i", tone, "-c:a", "pcm_s24le")
        done = convert(source, tmp_path / name)
        with av.open(str(done.path)) as output:
            named = output.streams.audio[0].layout.name == layout
        expected = f"audio track 1 (pcm_s24le) is copied, but .{name[-3:]} does not say that its channels are {layout}"
        assert done.carry.notes == ((expected,) if told else ())
        assert not (named and told)

    @pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
    def test_a_date_that_is_stored_in_two_places(self, tmp_path, make, clip, name):
        words = ["-movflags", "use_metadata_tags", "-metadata", "creation_time=2020-01-02T03:04:05Z"]
        source = make("twice.mp4", "-i", str(clip("cfr.mp4")), "-c", "copy", *words)
        with av.open(str(convert(source, tmp_path / name).path)) as output:
            assert output.metadata.get("creation_time") == "2020-01-02T03:04:05.000000Z"
        bare = convert(source, tmp_path / name, encoder_args=("-map_metadata", "-1"))
        with av.open(str(bare.path)) as output:
            assert "creation_time" not in output.metadata

    @pytest.mark.parametrize("name", ["out.mov", "out.mp4", "out.mkv"])
    @pytest.mark.parametrize(
        ("time", "kept"),
        [
            (TimeSettings(), True),
            (TimeSettings(end=Fraction(1, 2)), True),
            (TimeSettings(start=Fraction(1, 2)), False),
            (TimeSettings(rate=Fraction(60)), False),
            (TimeSettings(factor=Fraction(2)), False),
        ],
        ids=["same", "end", "start", "rate", "factor"],
    )
    def test_a_timecode_stays_where_it_is_true(self, tmp_path, make, clip, name, time, kept):
        source = make("timecode.mov", "-i", str(clip("cfr.mp4")), "-c", "copy", "-timecode", "01:00:00:24")
        done = convert(source, tmp_path / name, time)
        with av.open(str(done.path)) as output:
            tags = [key.lower() for place in (output, *output.streams) for key in place.metadata]
        assert ("timecode" in tags) == kept
        assert done.carry.notes == (() if kept else ("timecode 01:00:00:24 dropped: it counts the old frames",))

    def test_tags_of_the_old_encoding_do_not_stay(self, tmp_path, make, clip):
        source = make(
            "stale.mkv",
            *("-i", str(clip("sound.mp4")), "-c", "copy", "-metadata:s:v", "BPS-eng=12345", "-metadata:s:a", "BPS=999"),
        )
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        for kind in ("video", "audio"):
            assert not any(key.upper().startswith("BPS") for key in tracks(done.path, kind)[0]["metadata"])
        with av.open(str(done.path)) as output:
            assert "major_brand" not in {key.lower() for key in output.metadata}

    @pytest.mark.parametrize(
        ("name", "mode", "kept"),
        [("out.mkv", "left_right", True), ("out.webm", "left_right", True), ("out.webm", "block_lr", False)],
    )
    def test_marks_of_the_picture_are_true_of_the_new_one(self, tmp_path, make, clip, name, mode, kept):
        """ffmpeg copies both marks as if they were tags; WebM has no word for some of the first."""
        marks = ("-metadata:s:v", f"stereo_mode={mode}", "-metadata:s:v", "alpha_mode=1")
        source = make(f"{mode}.mkv", "-i", str(clip("cfr.mp4")), "-c", "copy", *marks)
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(2)), preset=None)
        found = {key.lower(): value for key, value in tracks(done.path, "video")[0]["metadata"].items()}
        assert found.get("stereo_mode") == (mode if kept else None)
        assert "alpha_mode" not in found

    @pytest.mark.parametrize("date", ["", "2020-05-05T01:01:01.000000Z"])
    def test_asf_without_a_date_is_not_of_1970(self, tmp_path, make, date):
        tags = ["-metadata", f"creation_time={date}"]
        source = make("date.wmv", "-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.2", "-c:v", "wmv2", *tags)
        done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
        for file in (source, done.path):
            assert dict(probe(file).metadata).get("creation_time", "") == date

    @pytest.mark.parametrize("channels", [1, 2, 6])
    def test_every_number_of_channels(self, tmp_path, make, channels):
        layout = {1: "mono", 2: "stereo", 6: "5.1(side)"}[channels]
        source = make(
            f"channels{channels}.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=0.5"),
            *("-f", "lavfi", "-i", f"anoisesrc=duration=0.5:amplitude=0.1,aformat=channel_layouts={layout}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "flac"),
        )
        for name in ("out.mp4", "out.webm", "out.mkv"):
            done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(2)))
            with av.open(str(done.path)) as output:
                assert output.streams.audio[0].channels == channels

    @pytest.mark.parametrize(
        ("layout", "name", "codec", "held"),
        [
            ("3.0", "out.mp4", "alac", "3.0"),
            ("3.0", "out.mkv", "flac", "3.0"),
            ("3.0", "out.mov", "pcm_s16le", "3.0"),
            ("3.0", "out.webm", "opus", "3.0"),
            ("quad", "out.mkv", "flac", "quad"),
            ("quad", "out.mp4", "alac", "5.0"),
            ("4.0", "out.webm", "opus", "6.1"),
            ("2.1", "out.webm", "opus", "5.1"),
            ("5.1(side)", "out.mkv", "flac", "5.1(side)"),
            ("7.1", "out.mp4", "flac", "7.1"),
        ],
    )
    def test_slowed_sound_stays_in_its_loudspeakers(self, tmp_path, make, layout, name, codec, held):
        """The tone is in the last one alone. Where a codec lacks the layout, a larger one holds all of it."""
        speakers = [channel.name for channel in av.AudioLayout(layout).channels]
        tone = "|".join(["0"] * (len(speakers) - 1) + ["0.5*sin(880*t)"])
        source = make(
            f"speakers_{len(speakers)}_{layout.replace('(', '_').rstrip(')')}.mov",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=0.4"),
            *("-f", "lavfi", "-i", f"aevalsrc={tone}:s={RATE}:d=0.4:c={layout}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le"),
        )
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(2)))
        assert not any("mixed" in note for note in done.carry.notes)
        with av.open(str(done.path)) as output:
            assert tracks(done.path, "audio")[0]["codec"] == codec
            frames = list(output.decode(audio=0))
        assert frames[0].layout.name == held
        heard: dict[str, float] = {}
        resampler = av.AudioResampler("flt", held, RATE)
        for frame in frames:
            for piece in resampler.resample(frame):
                loudest = np.abs(piece.to_ndarray().reshape(-1, len(frame.layout.channels))).max(0)
                for channel, level in zip(frame.layout.channels, loudest, strict=True):
                    heard[channel.name] = max(heard.get(channel.name, 0), float(level))
        assert [name for name, level in heard.items() if level > 0.05] == [speakers[-1]]

    @pytest.mark.parametrize(
        ("codec", "name", "written"),
        [
            ("pcm_s16le", "out.mkv", "pcm_s16le"),
            ("pcm_s16le", "out.mp4", "alac"),
            ("pcm_s24le", "out.mov", "pcm_s24le"),
            ("libopus", "out.mp4", "opus"),
            ("libopus", "out.mov", "aac"),
            ("libmp3lame", "out.mp4", "mp3"),
            ("libvorbis", "out.webm", "vorbis"),
            ("ac3", "out.mkv", "ac3"),
        ],
    )
    def test_copied_where_held_else_converted(self, tmp_path, make, codec, name, written):
        source = make(
            f"sound-{codec}.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=0.5"),
            *("-f", "lavfi", "-i", "sine=duration=0.5:sample_rate=48000"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", codec),
        )
        done = convert(source, tmp_path / name)
        found = tracks(done.path, "audio")[0]["codec"].replace("mp3float", "mp3")
        assert found == written
        same = written in codec
        assert any("becomes" in note for note in done.carry.notes) == (not same)
        if same:
            old, new = packets(source, "audio"), packets(done.path, "audio")
            assert [data for _, _, data in new] == [data for _, _, data in old]

    @pytest.mark.parametrize("factor", [1, 2])
    def test_subtitles_of_joined_recordings_go_on_with_the_picture(self, tmp_path, factor):
        """As in broadcasts, whose clock begins anew."""
        part, joined = tmp_path / "part.ts", tmp_path / "joined.ts"
        with av.open(str(part), "w") as output:
            video = output.add_stream("mpeg2video", rate=30)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            subtitle: Any = output.add_stream("dvbsub")
            subtitle.codec_context.extradata = b"\0\1\0\1\0"
            for number in range(60):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8))
                frame.pts = number
                output.mux(video.encode(frame))
                if number in (15, 45):
                    packet: Any = av.Packet(bytes([0x0F, 0x10, 0, 1, 0, 2, 3, 0, 0x0F, 0x80, 0, 1, 0, 0]))
                    packet.stream, packet.time_base, packet.is_keyframe = subtitle, Fraction(1, 30), True
                    packet.pts = packet.dts = number
                    output.mux(packet)
            output.mux(video.encode(None))
        joined.write_bytes(part.read_bytes() * 2)
        done = convert(joined, tmp_path / "slow.mkv", TimeSettings(factor=Fraction(factor)))
        starts = [float(start) for start, _ in captions(done.path)]
        assert starts == pytest.approx([factor * start for start in (0.5, 1.5, 2.5, 3.5)], abs=1 / 30)

    def test_a_name_like_an_option_or_a_protocol(self, tmp_path, clip):
        for name in ("-i.mp4", "concat:a|b.mp4", "new\nline.mp4", "100%.mp4"):
            source = tmp_path / name
            source.write_bytes(clip("sound.mp4").read_bytes())
            done = convert(source, tmp_path / f"out {name}", TimeSettings(factor=Fraction(2)))
            assert len(tracks(done.path, "audio")) == 1

    @pytest.mark.parametrize(
        "time", [TimeSettings(factor=Fraction(2)), TimeSettings(rate=Fraction(60))], ids=["x2", "60"]
    )
    @pytest.mark.parametrize(("ending", "codec"), [("mkv", "srt"), ("mkv", "ass"), ("mp4", "mov_text")])
    @pytest.mark.parametrize("name", ["made.mp4", "made.mkv"])
    def test_captions_that_are_no_utf8_become_it(self, tmp_path, clip, make, name, ending, codec, time):
        (tmp_path / "a.srt").write_text(
            "1\n00:00:00,100 --> 00:00:00,400\nCaf#\n\n2\n00:00:00,500 --> 00:00:00,800\nCrème\n", encoding="utf-8"
        )
        files = "-i", str(clip("cfr.mp4")), "-i", str(tmp_path / "a.srt")
        plain = make(f"plain.{ending}", *files, "-c", "copy", "-c:s", codec)
        source = tmp_path / f"western.{ending}"
        source.write_bytes(plain.read_bytes().replace(b"Caf#", "Café".encode("cp1252")))
        done = convert(source, tmp_path / name, time)
        if time.rate is not None and name.endswith(ending):  # copied as it is
            assert not done.carry.met
            return
        texts = [data[2:] if name.endswith("mp4") else data for _, _, data in packets(done.path, "subtitle")]
        assert [text.rpartition(b",")[2] for text in texts if text] == ["Café".encode(), "Crème".encode()]
        starts = [start / time.factor for start, _ in captions(done.path)]
        assert [float(start) for start in starts] == pytest.approx([0.1, 0.5], abs=0.001)
        assert "1 caption in no UTF-8" in " ".join(done.carry.met)

    def test_subtitles_that_are_pictures(self, tmp_path):
        source = tmp_path / "bitmaps.mkv"
        with av.open(str(source), "w") as output:
            video = output.add_stream("mpeg4", rate=30)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            subtitle: Any = output.add_stream("dvbsub")
            subtitle.codec_context.extradata = b"\0\1\0\1\0"
            for number in range(30):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8))
                frame.pts = number
                output.mux(video.encode(frame))
                if number in (6, 18):
                    # A page that times out after 3 seconds, and the end of the display set.
                    packet: Any = av.Packet(bytes([0x0F, 0x10, 0, 1, 0, 2, 3, 0, 0x0F, 0x80, 0, 1, 0, 0]))
                    packet.stream, packet.time_base, packet.is_keyframe = subtitle, Fraction(1, 1000), True
                    packet.pts = packet.dts = number * 1000 // 30
                    packet.duration = 300
                    output.mux(packet)
            output.mux(video.encode(None))
        slow = convert(source, tmp_path / "slow.mkv", TimeSettings(factor=Fraction(4)))
        assert tracks(slow.path, "subtitle")[0]["codec"] == "dvbsub"
        assert captions(slow.path) == [(Fraction(4, 5), Fraction(6, 5)), (Fraction(12, 5), Fraction(6, 5))]
        assert [data[6] for _, _, data in packets(slow.path, "subtitle")] == [12, 12]
        assert captions(convert(source, tmp_path / "fps.mkv").path) == captions(source)
        dropped = convert(source, tmp_path / "out.mp4")
        assert "dropped: .mp4 does not hold it" in " ".join(dropped.carry.notes)

    @pytest.mark.parametrize("codec", ["ass", "dvdsub"])
    @pytest.mark.parametrize("lasts", [0, 2**32 - 1], ids=["unsaid", "endless"])
    @pytest.mark.parametrize("factor", [1, 2])
    @pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
    def test_captions_without_an_end(self, tmp_path, codec, lasts, factor, name):
        """As rips of DVDs have them: MP4 shows nothing that lasts no time, and ffmpeg fails where it is endless."""
        if codec == "dvdsub" and name == "out.mov":
            return
        source = tmp_path / "endless.mkv"
        said = {"ass": b"0,0,Default,,0,0,0,,a caption", "dvdsub": DVD_CAPTION}[codec]
        with av.open(str(source), "w") as output:
            video = output.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            subtitle: Any = output.add_stream(codec)
            subtitle.codec_context.extradata = b"[Script Info]\n" if codec == "ass" else b""
            for number in range(20):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8))
                frame.pts = number
                output.mux(video.encode(frame))
                if number in (5, 15):
                    packet: Any = av.Packet(said)
                    packet.stream, packet.time_base, packet.is_keyframe = subtitle, Fraction(1, 1000), True
                    packet.pts = packet.dts = number * 100
                    packet.duration = lasts
                    output.mux(packet)
            output.mux(video.encode(None))
        done = convert(source, tmp_path / name, TimeSettings(factor=Fraction(factor)))
        shown = [caption for caption in captions(done.path) if caption[0] > 0]
        wanted = [(0.5 * factor, 1.0 * factor), (1.5 * factor, 0.5 * factor)]
        assert [(float(start), float(length)) for start, length in shown] == [pytest.approx(each) for each in wanted]

    def test_captions_of_sound_that_goes_on_after_the_picture(self, tmp_path, make):
        """They were cut where the picture ends, to nothing where they begin after it."""
        text = tmp_path / "long_sound.srt"
        text.write_text("1\n00:00:00,500 --> 00:00:01,500\none\n\n2\n00:00:02,000 --> 00:00:02,750\ntwo\n\n")
        inputs = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1", "-f", "lavfi", "-i", "sine=duration=3")
        source = make("long_sound.mkv", *inputs, "-i", str(text), "-c:v", "mpeg4", "-c:a", "aac", "-c:s", "subrip")
        done = convert(source, tmp_path / "out.mp4")
        shown = [(float(start), float(length)) for start, length in captions(done.path)]
        assert shown == [pytest.approx((0.5, 1)), pytest.approx((2, 0.75))]

    def test_captions_longer_than_mp4_holds(self, tmp_path, make):
        """Such as the mark of who made them, throughout a film."""
        text = tmp_path / "long.srt"
        text.write_text("1\n00:00:01,000 --> 00:50:00,000\nmade by somebody\n\n")
        picture = ("-f", "lavfi", "-i", "color=size=64x48:rate=1/20:duration=2400")
        source = make("long_caption.mkv", *picture, "-i", str(text), "-c:v", "mpeg4", "-c:s", "subrip")
        done = convert(source, tmp_path / "out.mp4")
        assert [float(lasts) for _, lasts in captions(done.path)] == [2000]
        assert any("1 caption cut to 2000 s: .mp4 holds no longer ones" in line for line in done.carry.met)
        assert [float(lasts) for _, lasts in captions(convert(source, tmp_path / "out.mkv").path)] == [2999]


class TestOffsets:
    """Where a track began, seen from the picture, is where it begins."""

    @pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
    @pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.ts"])
    @pytest.mark.parametrize(("sound_delay", "picture_delay"), [(0, 0), (0.3, 0), (0, 0.5)])
    def test_copied(self, tmp_path, beeping, ending, name, sound_delay, picture_delay):
        source = beeping(ending, sound_delay, picture_delay, "aac")
        done = convert(source, tmp_path / name, TimeSettings(rate=Fraction(60)))
        assert max(abs(a - b) for a, b in zip(beeps(done.path), beeps(source), strict=True)) < 0.003
        assert len(packets(done.path, "audio")) == len(packets(source, "audio"))

    @pytest.mark.parametrize("name", ["out.ts", "out.mp4", "out.mkv"])
    def test_sound_an_edit_list_hides_stays_hidden(self, tmp_path, beeping, make, name):
        """Cut without encoding, an mp4 keeps what lies before the cut and hides it: here the first two bursts."""
        whole = beeping("mp4", 0, 0, "aac")
        source = make("hiding.mp4", "-ss", "1", "-i", str(whole), "-c", "copy")
        assert probe(source).streams[0].hidden_seconds > Fraction(1, 2)
        done = convert(source, tmp_path / name, TimeSettings(rate=Fraction(60)))
        assert beeps(done.path) == pytest.approx([0.25, 0.75], abs=0.03)
        assert any("cannot hide" in note for note in done.carry.notes) == (name == "out.ts")

    @pytest.mark.parametrize("name", ["out.mov", "out.mkv"])
    def test_sound_that_an_edit_list_cuts_out_stays_out(self, tmp_path, beeping, make, name):
        """Of two seconds the sound's edit list plays the first half second and the last."""
        words = ["-c", "copy", "-movie_timescale", "1000"]
        source = tmp_path / "cut.mov"
        edits = [(500, 0), (500, RATE * 3 // 2)]
        source.write_bytes(edited(make("uncut.mov", "-i", str(beeping("mov", codec="pcm_s16le")), *words), edits))
        assert [track.is_cut for track in probe(source).streams] == [True]
        done = convert(source, tmp_path / name, TimeSettings(rate=Fraction(60)))
        assert beeps(done.path) == pytest.approx([0.25, 0.75], abs=0.03)
        assert [note for note in done.carry.notes if "edit list leaves out" in note]

    @pytest.mark.parametrize("name", ["out.mkv", "out.webm", "out.mp4"])
    def test_chapters_stay_where_sound_begins_a_little_earlier(self, tmp_path, make, name):
        marks = tmp_path / "marks.txt"
        mark = "[CHAPTER]\nTIMEBASE=1/10\nSTART={}\nEND={}\n".format
        marks.write_text(f";FFMETADATA1\n{mark(0, 4)}{mark(4, 8)}")
        source = make(
            "chapters-late.mkv",
            *("-itsoffset", "0.08", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1"),
            *("-f", "lavfi", "-i", "sine=duration=1", "-i", str(marks), "-map_chapters", "2"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "flac"),
        )
        marked = chapters(source)[1][0] - first_picture(source)
        done = convert(source, tmp_path / name, preset=None)
        assert float(chapters(done.path)[1][0] - first_picture(done.path)) == pytest.approx(float(marked), abs=0.003)

    def test_a_picture_that_begins_late_still_does(self, tmp_path, beeping):
        done = convert(beeping("mp4", 0, 0.5, "aac"), tmp_path / "out.mp4")
        assert done.carry.picture_delay == Fraction(1, 2)
        assert first_picture(done.path) == Fraction(1, 2)

    @pytest.mark.parametrize("codec", ["mp3", "flac"])
    def test_sound_that_begins_late_does_so_in_avi_too(self, tmp_path, beeping, codec):
        """AVI knows no beginnings: what is not there at first would be heard with the first picture."""
        done = convert(
            beeping("mkv", 0.2, 0, codec), tmp_path / "out.avi", TimeSettings(rate=Fraction(60)), preset=None
        )
        assert beeps(done.path) == pytest.approx([at + 0.2 for at in BEEPS], abs=0.04)
        assert [note for note in done.carry.notes if "begins 0.20 s later" in note] or codec == "flac"

    @pytest.mark.parametrize("factor", [1, 2])
    def test_mp3_made_for_avi_is_not_late_by_its_encoders_delay(self, tmp_path, beeping, factor):
        time = TimeSettings(factor=Fraction(factor))
        done = convert(beeping("mkv", 0, 0, "libvorbis"), tmp_path / "out.avi", time, preset=None, audio="pitch")
        assert beeps(done.path) == pytest.approx([at * factor for at in BEEPS], abs=0.012)

    def test_a_picture_that_begins_late_stands_from_the_beginning_in_avi(self, tmp_path, beeping):
        done = convert(beeping("mkv", 0, 0.5, "mp3"), tmp_path / "out.avi", preset=None)
        assert beeps(done.path) == pytest.approx(BEEPS, abs=0.04)
        assert first_picture(done.path) == 0
        assert [note for note in done.carry.notes if "first picture stands 0.50 s longer" in note]


class TestPlanning:
    """Decided before the run, without a file."""

    AUDIO = StreamInfo(1, "audio", "aac", "deu", Fraction(0), Fraction(2), 44_100, 2)

    def plan(self, name: str = "a.mkv", time: TimeSettings | None = None, tools_: Any = None, **more: Any) -> Carry:
        streams = more.pop("streams", (self.AUDIO,))
        wishes = more.pop("wishes", {})
        timing = more.pop("timing", TWO_SECONDS)
        info = video_info(streams=streams, **more)
        plan = make_plan(timing, time or TimeSettings())
        found = tools_ or FakeTools()
        target = target_for(name, info, found, plan.rate, plan.frames, **wishes)
        return plan_carry(info, timing, plan, target, EncodeSettings(**wishes), found)

    def test_copying(self):
        carry = self.plan()
        assert carry.input_args[-4:-1] == ("-f", "mov", "-i")
        assert carry.input_args[-1].startswith("file:")
        assert carry.map_args == ("-map", "1:1", "-c:a:0", "copy")
        assert carry.folder is None

    def test_nothing_is_written_or_read(self, monkeypatch):
        def touched(*_: Any, **__: Any) -> None:
            raise AssertionError("planning touched a file")

        monkeypatch.setattr(av, "open", touched)
        monkeypatch.setattr(Path, "mkdir", touched)
        subtitle = StreamInfo(2, "subtitle", "subrip")
        carry = self.plan(time=TimeSettings(factor=Fraction(2)), streams=(self.AUDIO, subtitle))
        assert carry.folder is not None
        assert not carry.folder.exists()
        assert len(carry.writers) == 1

    def test_offsets_are_told_to_ffmpeg(self):
        late = replace(TWO_SECONDS, first_seconds=Fraction(1, 2))
        carry = self.plan(timing=late)
        assert carry.picture_delay == Fraction(1, 2)
        assert "-itsoffset" not in carry.input_args
        assert "-copyts" in carry.input_args
        early = self.plan(
            container_start_seconds=Fraction(0), streams=(replace(self.AUDIO, start_seconds=Fraction(1)),)
        )
        assert early.picture_delay == 0
        uneven = self.plan(timing=replace(TWO_SECONDS, first_seconds=Fraction(51, 100)))
        assert uneven.picture_delay == Fraction(16, 30)
        assert uneven.input_args[:3] == ("-copyts", "-itsoffset", "0.023333")

    @pytest.mark.parametrize("time", [TimeSettings(rate=Fraction(60)), TimeSettings(factor=Fraction(2))])
    @pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.webm"])
    def test_a_track_that_was_announced_and_not_sent_is_dropped_aloud(self, name, time):
        """ffmpeg would refuse the whole conversion for it."""
        empty = replace(self.AUDIO, index=2, sample_rate=0, channels=0)
        carry = self.plan(name, time, streams=(self.AUDIO, empty))
        assert "audio track 2 (aac, deu) dropped: nothing in it can be decoded" in carry.notes
        assert not any(word.endswith(":2") for word in carry.map_args)

    def test_copy_cannot_follow_bent_time(self):
        with pytest.raises(UsageError, match="use --audio stretch, pitch or drop"):
            self.plan(time=TimeSettings(factor=Fraction(2)), wishes={"audio": "copy"})
        cut = self.plan(time=TimeSettings(end=Fraction(1)), wishes={"audio": "copy"})
        assert "-filter_complex" in cut.map_args
        assert "cut to the range, and so encoded anew" in cut.notes[0]

    def test_streams_that_describe_the_old_frames(self):
        data = StreamInfo(3, "data", "tmcd")
        carry = self.plan(streams=(self.AUDIO, data))
        assert carry.notes == ("data track 3 (tmcd) dropped: it describes the old frames",)

    def test_a_second_camera(self):
        streams = (StreamInfo(1, "video", "h264"), StreamInfo(2, "data", "gpmd"))
        assert self.plan(streams=streams).notes == (
            "video track 1 (h264) dropped: only one picture track is converted",
            "data track 2 (gpmd) dropped: it describes the old frames",
        )

    def test_an_unknown_codec_is_dropped_aloud(self):
        carry = self.plan(streams=(replace(self.AUDIO, codec=""),))
        assert carry.notes == ("audio track 1 (unknown, deu) dropped: its codec is unknown",)

    @pytest.mark.parametrize(
        ("channels", "layout", "source", "name", "codec", "filters", "mixed"),
        [
            (8, "octagonal", "pcm_s24le", "a.webm", "libopus", "aformat=channel_layouts=7.1", "octagonal"),
            (6, "5.1", "adpcm_ms", "a.avi", "libmp3lame", "aformat=channel_layouts=stereo", "5.1"),
            (4, "", "pcm_s24le", "a.webm", "libopus", "channelmap=channel_layout=quad", ""),
            (16, "", "pcm_s24le", "a.webm", "libopus", "", ""),
            (16, "", "pcm_s24le", "a.mkv", "pcm_s24le", "", ""),
            (16, "", "pcm_s24le", "a.mp4", "alac", "aformat=channel_layouts=7.1(wide)", "16 channels"),
        ],
    )
    def test_loudspeakers_a_codec_does_not_hold(self, channels, layout, source, name, codec, filters, mixed):
        track = replace(self.AUDIO, codec=source, channels=channels, layout=layout)
        carry = self.plan(name, TimeSettings(factor=Fraction(2)), streams=(track,))
        words = dict(pairwise(carry.map_args))
        assert words["-c:a:0"] == codec
        assert words.get("-filter:a:0", "") == filters
        said = [note.partition("does not hold ")[2] for note in carry.notes if "is mixed to" in note]
        assert said == ([mixed] if mixed else [])

    @pytest.mark.parametrize("factor", [1, 2])
    def test_unrelated_channels_that_nobody_can_mix(self, tmp_path, make, factor):
        tones = "|".join(f"0.1*sin({1000 + 100 * channel}*t)" for channel in range(9))
        source = make(
            "nine.mov",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=0.4"),
            *("-f", "lavfi", "-i", f"aevalsrc={tones}:duration=0.4:sample_rate=48000"),
            *("-c:v", "mpeg4", "-c:a", "pcm_s16le"),
        )
        done = convert(source, tmp_path / "out.ts", TimeSettings(factor=Fraction(factor)))
        assert "keeps its first channels only, as octagonal: aac does not hold 9 channels" in " ".join(done.carry.notes)
        assert [stream.channels for stream in probe(done.path).streams] == [8]

    @pytest.mark.parametrize("source", ["s302m", "pcm_mulaw"])
    @pytest.mark.parametrize(("name", "codec"), [("a.mkv", "flac"), ("a.mov", "pcm_s24le"), ("a.mp4", "alac")])
    def test_what_pcm_is_called_elsewhere_stays_lossless(self, name, codec, source):
        carry = self.plan(name, streams=(replace(self.AUDIO, codec=source),))
        assert dict(pairwise(carry.map_args))["-c:a:0"] == codec

    @pytest.mark.parametrize(("version", "told"), [("6.1", True), ("8.0", False)])
    def test_flac_in_mp4_by_an_old_ffmpeg(self, version, told):
        track = replace(self.AUDIO, codec="pcm_s24le", channels=8, layout="7.1")
        carry = self.plan("a.mp4", TimeSettings(factor=Fraction(2)), FakeTools(version=version), streams=(track,))
        assert "flac" in carry.map_args
        assert ("experimental" in carry.output_args) == told

    def test_no_encoder(self):
        poor = FakeTools(encoders=frozenset({"libvpx-vp9"}))
        carry = self.plan("a.webm", tools_=poor)
        assert "no encoder for opus" in carry.notes[0]
        assert "-map" not in carry.map_args

    def test_every_note_is_one_line(self):
        streams = (replace(self.AUDIO, language="a\nb"), StreamInfo(2, "subtitle", "hdmv_pgs_subtitle", "x\ny"))
        for name in ("a.mp4", "a.webm", "a.gif", "a.avi"):
            rate = TimeSettings(rate=Fraction(20))
            assert all("\n" not in note for note in self.plan(name, rate, streams=streams).notes)

    def test_is_time_changed(self):
        for time, changed in (
            (TimeSettings(), False),
            (TimeSettings(rate=Fraction(240)), False),
            (TimeSettings(factor=Fraction(2)), True),
            (TimeSettings(end=Fraction(1)), True),
            (TimeSettings(start=Fraction(1)), True),
            (TimeSettings(end=Fraction(9)), False),
            (TimeSettings(speed="0-1:1"), False),
            (TimeSettings(speed="0-1:0.5"), True),
        ):
            assert is_time_changed(make_plan(TWO_SECONDS, time), TWO_SECONDS) == changed


class TestSegments:
    @given(
        st.lists(st.sampled_from(["1", "0.5", "0.125", "2", "1~0.25", "0.25~1", "3~0.1"]), min_size=1, max_size=4),
        st.sampled_from([8000, 44_100, 48_000, 96_000]),
    )
    @settings(max_examples=60)
    def test_they_cover_every_sample_once_and_follow_the_map(self, speeds, rate):
        step = Fraction(2, len(speeds))
        text = ",".join(f"{float(i * step)!r}-{float((i + 1) * step)!r}:{s}" for i, s in enumerate(speeds))
        plan = make_plan(TWO_SECONDS, TimeSettings(speed=text))
        parts = stretch.segments(plan, rate)
        assert parts[0].first == 0
        assert parts[-1].end == round(plan.duration * rate)
        for part, following in pairwise(parts):
            assert part.end == following.first
            assert part.source_end == following.source_start
        for part in parts[:-1]:
            middle = (part.source_start + part.source_end) / 2
            straight = (part.first + part.end) / 2 / rate
            assert abs(plan.time_map.output_at(middle) - straight) < 0.006

    def test_a_long_ramp_stays_within_what_a_program_may_be_told(self):
        timing = SourceTiming(360_000, Fraction(0), Fraction(12_000), Fraction(30), Fraction(30))
        plan = make_plan(timing, TimeSettings(speed=",".join(f"{k * 1000}-{k * 1000 + 900}:1~0.1" for k in range(12))))
        text = stretch.track_filters("1:1", "a", stretch.segments(plan, 48_000), 48_000, "rubberband", "t0")
        assert len(text) < 120_000

    @given(st.fractions(Fraction(1, 50), 200, max_denominator=10_000), st.sampled_from([44_100, 48_000]))
    def test_falling_pitch_is_exact(self, factor, rate):
        words = stretch._resampled(factor, rate)
        high = int(words[0].partition("=")[2])
        low = int(words[1].partition("=")[2])
        assert Fraction(high, low) == factor

    @given(st.floats(0.01, 500))
    def test_stages_multiply_to_the_factor(self, value):
        factor = Fraction(value).limit_denominator(100_000)
        for low, high in ((Fraction(1, 100), Fraction(2)), (Fraction(1, 100), Fraction(100))):
            stages = stretch._stages(factor, low, high)
            assert math.prod(stages) == factor
            assert all(float(low) * 0.999 <= stage <= float(high) * 1.001 for stage in stages)


class TestInnerClocks:
    """Bitmap subtitles carry times inside; they are scaled with the rest."""

    def test_braces_without_end_take_no_time(self):
        text = rb"0,0,Default,,0,0,0,,{\k20}" + b"{" * 400_000
        begun = clock.perf_counter()
        assert innerclock.scale_ass(text, Fraction(2)) == text.replace(b"20", b"40")
        assert clock.perf_counter() - begun < 5

    def test_dvd_control_dates(self):
        # size, control area at 8; there: date 0, next 14, start; at 14: date 100, next 14 (itself), stop.
        packet = (
            struct.pack(">HH4x", 22, 8) + struct.pack(">HHBB", 0, 14, 1, 0xFF) + struct.pack(">HHBB", 100, 14, 2, 0xFF)
        )
        scaled = innerclock.scale_dvd(packet, Fraction(4))
        assert struct.unpack(">H", scaled[14:16]) == (400,)
        assert scaled[:14] == packet[:14]
        assert struct.unpack(">H", innerclock.scale_dvd(packet, Fraction(10_000))[14:16]) == (0xFFFF,)

    @given(st.binary(max_size=60))
    def test_nonsense_is_survived(self, data):
        assert len(innerclock.scale_dvd(data, Fraction(4))) == len(data)
        assert len(innerclock.scale_dvb(data, Fraction(4))) == len(data)

    @pytest.mark.parametrize(
        ("text", "slow"),
        [
            (r"{\fad(100,200)\t(0,400,\fs40)\k20}La", r"{\fad(300,600)\t(0,1200,\fs40)\k60}La"),
            (r"{\k5\b1}a{\K6}b{\kf7}c{\ko8}d", r"{\k15\b1}a{\K18}b{\kf21}c{\ko24}d"),
            (r"{\fade(255,0,9,1,2,3,4)\move(1,2,3,4,50,60)}", r"{\fade(255,0,9,3,6,9,12)\move(1,2,3,4,150,180)}"),
            (r"{\t(10, 20,1.5,\fscx9\clip(1,2,3,4))}", r"{\t(30,60,1.5,\fscx9\clip(1,2,3,4))}"),
            (r"{\t(1.5,\fs40)\t(\fs9)\move(1,2,3,4)\pos(5,6)\fs20}", None),
            (r"\k20 {kept} \fad(1,2)", None),
            (r"{\t(1-2,3,\fs1)\fad(,)\k}", r"{\t(1-2,9,\fs1)\fad(,)\k}"),
        ],
    )
    def test_effects_of_ass(self, text, slow):
        event = b"0,0,Default,,0,0,0,,%b"
        assert innerclock.scale_ass(event % text.encode(), Fraction(3)) == event % (slow or text).encode()
        assert innerclock.scale_ass(event % text.encode(), Fraction(1)) == event % text.encode()

    def test_effects_of_ass_follow_the_event(self, tmp_path, clip, make):
        script = tmp_path / "karaoke.ass"
        style = "[Script Info]\n[V4+ Styles]\nFormat: Name\nStyle: Default\n[Events]\n"
        columns = "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        lines = [f"Dialogue: 0,0:00:00.{at},0:00:00.{at + 20},Default,,0,0,0,,{{\\k20}}La\n" for at in (10, 60)]
        script.write_text(style + columns + "".join(lines))
        source = make("karaoke.mkv", "-i", str(clip("cfr.mp4")), "-i", str(script), "-c", "copy", "-c:s", "ass")
        done = convert(source, tmp_path / "slow.mkv", TimeSettings(speed="0-0.5:1, 0.5-:0.25"))
        texts = [data.rpartition(b",")[2] for _, _, data in packets(done.path, "subtitle")]
        assert texts == [b"{\\k20}La", b"{\\k80}La"]

    @pytest.mark.parametrize("ending", ["webm", "mkv"])
    def test_webvtt_keeps_places_names_and_the_times_of_words(self, ending, tmp_path, make):
        script = tmp_path / "karaoke.vtt"
        cue = "one\n00:00:00.300 --> 00:00:00.700 line:10% align:start\n<v Bob>a <00:00:00.500>b\n"
        script.write_text(f"WEBVTT\n\n{cue}")
        picture = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.8", "-i", str(script), "-map", "0", "-map", "1")
        source = make(f"karaoke.{ending}", *picture, "-c:v", "libvpx", "-c:s", "copy")
        done = convert(source, tmp_path / f"slow.{ending}", TimeSettings(speed="0-0.4:1, 0.4-:0.25"))
        with av.open(str(done.path)) as slow:
            (caption,) = [packet for packet in slow.demux(subtitles=0) if packet.size]
            assert (caption.pts * caption.time_base, caption.duration * caption.time_base) == (
                Fraction(3, 10),
                Fraction(13, 10),
            )
            assert bytes(caption) == b"<v Bob>a <00:00:00.800>b"
            beside = {data.data_type: bytes(data) for data in caption.iter_sidedata()}
        assert beside == {"webvtt_identifier": b"one", "webvtt_settings": b"line:10% align:start"}

    @pytest.mark.parametrize(
        "stored, text, slow",
        [
            (Fraction(10), b"a <00:10.500>b", b"a <00:00:31.500>b"),  # on the file's clock
            (Fraction(10), b"a <00:00:00.500>b", b"a <00:00:01.500>b"),  # from the caption's beginning
            (Fraction(3700), b"<01:01:41.000>", b"<03:05:03.000>"),
            (Fraction(10), b"<" + b"9" * 5000 + b":00:00.000>", b"<" + b"9" * 5000 + b":00:00.000>"),
            (Fraction(10), b"<c.yellow>a</c> <00:61.000>", b"<c.yellow>a</c> <00:61.000>"),
        ],
    )
    def test_times_of_words_by_either_clock(self, stored, text, slow):
        plan = make_plan(replace(TWO_SECONDS, duration=Fraction(4000)), TimeSettings(factor=Fraction(3)))
        assert innerclock.move_words(text, plan, stored, Fraction(2), stored) == slow

    def test_dvb_page_time_out(self):
        page = bytes([0x0F, 0x10, 0, 1, 0, 2, 30, 0])
        other = bytes([0x0F, 0x11, 0, 1, 0, 1, 30])
        for head in (b"", b"\x20\x00"):
            scaled = innerclock.scale_dvb(head + page + other, Fraction(4))
            assert scaled == head + bytes([0x0F, 0x10, 0, 1, 0, 2, 120, 0]) + other


def test_chapter_titles_may_hold_anything(tmp_path, clip, make):
    title = "a=b; #1 \\ two\r\nEND=1\r[CHAPTER]\rtitle=b"
    text = tmp_path / "chapters.txt"
    escaped = re.sub(r"[=;#\\\r\n]", r"\\\g<0>", title)
    text.write_text(f";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle={escaped}\n", newline="\n")
    source = make("titles.mkv", "-i", str(clip("cfr.mp4")), "-i", str(text), "-map_chapters", "1", "-c", "copy")
    done = convert(source, tmp_path / "out.mkv", TimeSettings(factor=Fraction(2)))
    assert chapters(done.path) == [(0, Fraction(9, 5), title)]
    assert "out.mkv" in only_files(tmp_path)


def test_without_a_temporary_folder_only_what_needs_one_fails(tmp_path, clip, make, monkeypatch):
    """As in a container that is for reading only."""

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    time = TimeSettings(factor=Fraction(2))
    assert convert(clip("sound.mp4"), tmp_path / "out.mkv", time).plan.frames

    (tmp_path / "a.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nwords\n")
    source = make("words.mkv", "-i", str(clip("cfr.mp4")), "-i", str(tmp_path / "a.srt"), "-c:v", "copy")
    with pytest.raises(SlomoError, match=r"cannot write to '.*gone': .*another folder by TMPDIR"):
        convert(source, tmp_path / "out.mkv", time)


def test_a_failing_job_leaves_no_folder(tmp_path):
    def fail() -> None:
        raise OSError(28, "No space left on device")

    carry = Carry(folder=tmp_path / "work", writers=(fail,))
    with pytest.raises(Exception, match="No space left"), carry:
        pass
    assert not (tmp_path / "work").exists()

"""Sound made longer with its pitch kept: attacks on time, tones unharmed, as long as asked, in bounded memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from out_helpers import video_info

from slomo_cli.errors import InputError
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.tracks.samples import Damage, clock, decoded, silence, stretched
from slomo_cli.media.tracks.soundfeed import IS_POSSIBLE, SoundFeed
from slomo_cli.media.tracks.vocoder import Source, Vocoder
from slomo_cli.timeline import make_plan
from slomo_cli.values import SourceTiming, StreamInfo, TimeSettings

RATE = 16_000


def stretch(samples: Any, factor: float, rate: int = RATE, block: int = 3000) -> Any:
    """The samples (channels, n) or (n,) made ``factor`` times longer."""
    sound = np.atleast_2d(samples).astype(np.float32)
    blocks = (sound[:, at : at + block] for at in range(0, sound.shape[1], block))
    total = round(sound.shape[1] * factor)
    vocoder = Vocoder(Source(blocks, sound.shape[0]), rate, total, lambda o: o / factor, lambda s: s * factor)
    made = np.concatenate([*vocoder.run(), np.zeros((sound.shape[0], 0), np.float32)], 1)
    assert made.dtype == np.float32
    return made if np.ndim(samples) == 2 else made[0]


def tone(seconds: float, hertz: float = 440, rate: int = RATE) -> Any:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def envelope(samples: Any, seconds: float = 0.002) -> Any:
    width = round(seconds * RATE)
    return np.sqrt(np.convolve(np.square(samples), np.ones(width) / width, "same"))


class TestVocoder:
    @pytest.mark.parametrize("level", [1e-8, 1e-10, 1e-12, 1e-25, 1e-40])
    def test_sound_too_quiet_to_hear_stays_so(self, level):
        fading = tone(1.0) * np.geomspace(1, level, RATE)
        made = stretch(np.concatenate([fading, level * np.random.default_rng(0).standard_normal(RATE)]), 2)
        assert np.isfinite(made).all()
        assert np.abs(made).max() < 1
        assert np.abs(made[-RATE:]).max() <= 20 * level

    @pytest.mark.parametrize("factor", [0.5, 1, 1.5, 2, 3, 4, 8, 16])
    @pytest.mark.parametrize("lasting", [0.05, 0.2])
    def test_attacks_are_on_time(self, factor, lasting):
        """A burst begins where its picture is shown, within 3 ms, however long a window would smear it."""
        samples = np.zeros(2 * RATE)
        moments = (0.3, 0.9, 1.413)
        for moment in moments:
            at = round(moment * RATE)
            samples[at : at + round(lasting * RATE)] = tone(lasting, 1000)
        loud = envelope(stretch(samples, factor))
        for moment in moments:
            near = slice(max(0, round((moment * factor - 0.1 * factor - 0.02) * RATE)), None)
            begins = near.start + int(np.argmax(loud[near] > 0.035))
            assert abs(begins / RATE - moment * factor) < 0.003

    @pytest.mark.parametrize("factor", [0.5, 1.5, 2, 4, 8])
    @pytest.mark.parametrize("hertz", [110, 440, 443.7, 3001])
    def test_a_tone_keeps_pitch_and_strength(self, factor, hertz):
        made = stretch(tone(2, hertz), factor)
        edge = round(0.06 * max(factor, 1) * RATE)
        middle = made[edge:-edge]
        loud = envelope(middle, 0.05)[400:-400]
        assert loud.min() > 0.8 * loud.max()
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        found = np.fft.rfftfreq(len(middle), 1 / RATE)[spectrum.argmax()]
        assert abs(found - hertz) < 2
        peak = spectrum.argmax()
        inside = np.square(spectrum[max(0, peak - 40) : peak + 40]).sum()
        assert inside / np.square(spectrum).sum() > 0.99

    def test_unit_speed_gives_the_samples_back(self):
        rng = np.random.default_rng(1)
        samples = rng.normal(0, 0.1, (2, RATE))
        samples[:, RATE // 2 :] *= 5
        assert np.abs(stretch(samples, 1) - samples).max() < 1e-5

    def test_channels_keep_their_places(self):
        left = tone(1, 440)
        both = np.stack([left, -0.5 * left])
        made = stretch(both, 4)
        assert np.abs(made[1] + 0.5 * made[0]).max() < 1e-5
        silent = stretch(np.stack([left, np.zeros_like(left)]), 4)
        assert np.abs(silent[1]).max() == 0

    def test_noise_keeps_its_strength(self):
        samples = np.random.default_rng(2).normal(0, 0.1, 2 * RATE)
        made = stretch(samples, 4)
        assert 0.07 < np.sqrt(np.mean(np.square(made[RATE:-RATE]))) < 0.13

    @given(
        st.integers(0, 5000),
        st.sampled_from([0.3, 1.0, 2.0, 7.3]),
        st.sampled_from([8000, 16_000, 44_100]),
        st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=40)
    def test_exactly_as_long_as_asked_and_never_out_of_hand(self, length, factor, rate, seed):
        rng = np.random.default_rng(seed)
        samples = rng.normal(0, 0.2, length + 1) * (rng.random(length + 1) > 0.7)
        made = stretch(samples, factor, rate, block=700)
        assert len(made) == round((length + 1) * factor)
        assert np.isfinite(made).all()
        assert np.abs(made).max(initial=0) < 10

    def test_silence_stays_silent(self):
        assert np.abs(stretch(np.zeros(RATE), 8)).max() == 0

    def test_memory_does_not_grow(self):
        """Blocks are asked for when needed, and given back."""
        asked = 0

        def blocks() -> Iterator[Any]:
            nonlocal asked
            for number in range(200):
                asked += 1
                yield np.random.default_rng(number).normal(0, 0.1, (1, 4000)).astype(np.float32)

        source = Source(blocks(), 1)
        vocoder = Vocoder(source, RATE, 200 * 4000, lambda o: o, lambda s: s)
        given = 0
        for block in vocoder.run():
            given += block.shape[1]
            assert asked * 4000 - given < 12 * 4000
            assert sum(part.shape[1] for part in source._parts) < 10 * 4000


class TestClock:
    @given(
        st.sampled_from(["0-:0.25", "0-0.5:1,0.5-1:0.125,1-:2", "0-1:1~0.1,1-:0.1", "0.3-1.7:3~0.2"]),
        st.integers(0, 10**6),
    )
    def test_it_is_the_plans_own_map(self, text, sample):
        timing = SourceTiming(60, Fraction(0), Fraction(2), Fraction(30), Fraction(30))
        plan = make_plan(timing, TimeSettings(speed=text))
        sample = min(sample, round(plan.duration * 48_000))
        exact = float(plan.time_map.source_at(Fraction(sample, 48_000)) * 48_000)
        assert abs(clock(plan, 48_000)(sample) - exact) < 1e-3


class TestDecoded:
    def all(self, path: Path, start: int = 0, rate: int = 48_000) -> Any:
        info = probe(path)
        track = next(stream for stream in info.streams if stream.kind == "audio")
        timing = scan(info).timing
        return np.concatenate([*decoded(info, track, timing, start, rate, Damage()), np.zeros((1, 1), np.float32)], 1)[
            0
        ]

    @pytest.fixture
    def counting(self, make: Callable[..., Path]) -> Callable[..., Path]:
        """Twelve seconds of sound that tells its own time: sample n is n / 1e6."""

        def counting(name: str, *more: str) -> Path:
            return make(
                name,
                *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=12"),
                *(*more, "-f", "lavfi", "-i", "aevalsrc=n/1000000:s=48000:d=12"),
                *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_f32le"),
            )

        return counting

    @pytest.mark.parametrize("start", [-4800, 0, 12_345, 9 * 48_000])
    def test_every_sample_in_its_place(self, counting, start):
        samples = self.all(counting("counting.mkv"), start)
        wanted = (np.arange(1000) + start) / 1e6
        # After a jump into the file the place is as exact as Matroska's milliseconds.
        slack = 1e-6 if start < 5 * 48_000 else 48 / 1e6
        assert np.abs(samples[:1000] - np.where(wanted < 0, 0, wanted)).max() < slack
        assert abs(len(samples) - (12 * 48_000 - start + 1)) <= 24
        counted = np.diff(samples[max(0, -start) : -1]) * 1e6
        assert np.abs(counted - 1).max() < 0.5, "nothing is put in or left out where stamps are rounded"

    def test_a_range_begins_as_it_sounds_in_the_whole(self, make):
        """Codecs need what was before."""
        path = make(
            "sings.mp4",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=12"),
            *("-f", "lavfi", "-i", "aevalsrc=0.5*sin(t*t*1000):s=48000:d=12"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "128k"),
        )
        start = 9 * 48_000
        whole, part = self.all(path)[start:-1], self.all(path, start)[:-1]
        assert np.abs(whole[:5000]).max() > 0.4
        assert np.abs(part[:5000] - whole[:5000]).max() < 1e-3

    def test_sound_that_begins_later_or_earlier_than_the_picture(self, counting):
        late = self.all(counting("later.mkv", "-itsoffset", "0.25"))
        assert np.abs(late[: 12_000 - 48]).max() == 0
        assert abs(late[24_000] - 0.012) < 1e-4

    def test_a_pause_is_silence(self, make):
        path = make(
            "pause.mkv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2"),
            *("-f", "lavfi", "-i", "aevalsrc=0.5:s=48000:d=2,aselect=not(between(t\\,0.5\\,1.2))"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_f32le"),
        )
        samples = self.all(path)
        assert np.abs(samples[27_000:57_000]).max() == 0
        assert samples[60_000] == 0.5

    @pytest.mark.parametrize(("ahead", "count"), [(-1500, 1), (5000, 1), (900_000_000, 1), (5000, 25)])
    def test_stamps_that_fly_off_alone_move_nothing(self, ahead, count, make, tmp_path):
        path = make(
            "stray.flv",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=5"),
            *("-f", "lavfi", "-i", "aevalsrc=n/300000:s=44100:d=5", "-c:v", "flv", "-c:a", "pcm_s16le"),
        )
        data = bytearray(path.read_bytes())
        at, sounds = 13, 0
        while sounds < 80 + count:  # tags: the kind, a size in three bytes, a time in four
            sounds += data[at] == 8
            if data[at] == 8 and sounds > 80:
                stamp = (int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24) + ahead
                data[at + 4 : at + 8] = *(stamp & 0xFFFFFF).to_bytes(3, "big"), stamp >> 24
            at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
        damaged = tmp_path / "stray.flv"
        damaged.write_bytes(data)
        assert np.array_equal(self.all(damaged, rate=44_100), self.all(path, rate=44_100))

    def test_an_empty_packet_is_no_damage(self, make):
        """FLAC in NUT ends with one."""
        path = make(
            "flac.nut",
            *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1"),
            *("-f", "lavfi", "-i", "sine=r=48000:d=1", "-c:v", "ffv1", "-c:a", "flac"),
        )
        track = next(stream for stream in probe(path).streams if stream.kind == "audio")
        damage = Damage()
        blocks = list(decoded(probe(path), track, scan(probe(path)).timing, 0, 48_000, damage))
        assert damage == Damage()
        assert sum(block.shape[1] for block in blocks) == 48_000

    def test_a_file_that_is_no_file(self, tmp_path):
        (tmp_path / "a.mp4").write_text("text")
        track = StreamInfo(0, "audio", "aac", sample_rate=48_000, channels=1)
        with pytest.raises(InputError):
            next(
                decoded(
                    video_info(path=tmp_path / "a.mp4"),
                    track,
                    SourceTiming(60, Fraction(0), Fraction(2), None, Fraction(30)),
                    0,
                    48_000,
                    Damage(),
                )
            )

    def test_a_whole_track_on_the_plans_time(self, counting):
        path = counting("counting.mkv")
        info = probe(path)
        timing = scan(info).timing
        plan = make_plan(timing, TimeSettings(factor=Fraction(2), start=Fraction(1), end=Fraction(2)))
        track = replace_channels(next(stream for stream in info.streams if stream.kind == "audio"))
        made = np.concatenate(list(stretched(info, track, timing, plan, 48_000, Damage())), 1)
        assert made.shape == (1, round(plan.duration * 48_000))


def replace_channels(track: StreamInfo) -> StreamInfo:
    assert (track.sample_rate, track.channels) == (48_000, 1)
    return track


@pytest.mark.skipif(not IS_POSSIBLE, reason="this system cannot hand pipes over")
class TestSoundFeed:
    def started(self, make: Callable[[Damage], Iterator[Any]], total: int = 1000) -> tuple[SoundFeed, int]:
        feed = SoundFeed("pipe", "audio track 1", make, 2, total)
        reader = feed.open()
        feed.start()
        return feed, reader

    def read(self, reader: int) -> Any:
        with open(reader, "rb") as pipe:
            return np.frombuffer(pipe.read(), "<f4").reshape(-1, 2)

    def test_samples_arrive_interleaved(self):
        sent = np.random.default_rng(0).normal(0, 1, (2, 1000)).astype(np.float32)
        feed, reader = self.started(lambda damage: iter([sent[:, :10], sent[:, 10:]]))
        assert np.array_equal(self.read(reader), sent.T)
        feed.stop()
        assert feed.problem is None

    def test_what_fails_ends_in_silence_and_is_remembered(self):
        def make(damage: Damage) -> Iterator[Any]:
            yield np.ones((2, 10), np.float32)
            raise ZeroDivisionError

        feed, reader = self.started(make)
        found = self.read(reader)
        feed.stop()
        assert found.shape == (1000, 2)
        assert found[:10].min() == 1
        assert np.abs(found[10:]).max() == 0
        assert isinstance(feed.problem, ZeroDivisionError)

    def test_a_source_that_cannot_be_read_is_silence_and_no_bug_and_told(self):
        def make(damage: Damage) -> Iterator[Any]:
            raise InputError("gone")
            yield

        feed, reader = self.started(make)
        assert np.abs(self.read(reader)).max() == 0
        feed.stop()
        assert feed.problem is None
        assert feed.warnings == ("audio track 1 ends early, in silence: gone",)

    def test_stopping_before_anyone_reads(self):
        feed, reader = self.started(lambda damage: silence(2, 1000))
        begun = time.monotonic()
        feed.stop()
        assert time.monotonic() - begun < 1
        assert not feed._thread.is_alive()
        os.close(reader)

    def test_the_number_is_no_standard_stream(self):
        kept = os.dup(0)
        os.close(0)
        try:
            feed = SoundFeed("pipe", "", lambda damage: silence(2, 1000), 2, 1000)
            reader = feed.open()
        finally:
            os.dup2(kept, 0)
            os.close(kept)
        assert reader > 2
        os.close(reader)

    def test_a_pipe_whose_reader_never_came_is_closed(self):
        feed = SoundFeed("pipe", "", lambda damage: silence(2, 1000), 2, 1000)
        reader = feed.open()
        feed.stop()
        feed.stop()
        assert self.read(reader).size == 0

    def test_a_reader_that_goes_away(self):
        feed, reader = self.started(lambda damage: silence(2, 10**9), 10**9)
        os.read(reader, 100)
        os.close(reader)
        feed.stop()
        assert not feed._thread.is_alive()
        assert feed.problem is None
        assert all(thread.name != "slomo-sound-pipe" for thread in threading.enumerate())

"""Headers of sound: what is taken for whole is what libav's own readers take."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import av.error
import pytest
from av.bitstream import BitStreamFilterContext

from slomo_cli.media.read.framing import LONGEST, Forms, form_of, header_of

Make = Callable[..., Path]
SOUND = ("-f", "lavfi", "-i", "anoisesrc=duration=0.5:sample_rate=48000:seed=1")


def packets_of(source: Any) -> list[bytes]:
    return [bytes(packet) for packet in source.demux(audio=0) if packet.size]


def spoiled(packet: bytes, count: int) -> list[bytes]:
    """The packet with one or two bytes of its header changed."""
    chance = random.Random(1)
    found = []
    for _ in range(count):
        data = bytearray(packet)
        for _ in range(chance.choice([1, 1, 2])):
            data[chance.randrange(LONGEST)] = chance.randrange(256)
        found.append(bytes(data))
    return found


def is_taken_as_adts(stream: Any, before: bytes, packet: bytes) -> bool:
    reader = BitStreamFilterContext("aac_adtstoasc", stream)
    reader.filter(av.Packet(before))
    try:
        return bool(reader.filter(av.Packet(packet)))
    except av.error.FFmpegError:
        return False


def is_taken_by_mp4(stream: Any, before: bytes, packet: bytes) -> bool:
    try:
        with av.open(io.BytesIO(), "w", "mp4") as target:
            track = target.add_stream_from_template(stream)
            for number, data in enumerate((before, packet)):
                piece = av.Packet(data)
                piece.stream, piece.pts, piece.dts = track, number * 32, number * 32
                piece.time_base, piece.duration = stream.time_base, 32
                target.mux(piece)
    except av.error.FFmpegError:
        return False
    return True


def test_aac_in_transport_streams(make: Make) -> None:
    is_header = header_of("aac", "mpegts")
    assert is_header is not None
    with av.open(str(make("framed.ts", *SOUND, "-c:a", "aac"))) as source:
        packets = packets_of(source)
        assert all(is_header(packet[:LONGEST]) for packet in packets)
        trials = spoiled(packets[5], 600)
        taken = [is_taken_as_adts(source.streams.audio[0], packets[4], data) for data in trials]
    assert [is_header(data[:LONGEST]) for data in trials] == taken
    assert set(taken) == {True, False}
    assert not any(is_header(packets[5][:length]) for length in range(LONGEST))


@pytest.mark.parametrize("codec, unseen", [("ac3", 0), ("eac3", 1 / 5)])
def test_dolby(codec: str, unseen: float, make: Make) -> None:
    """Of E-AC-3 mp4 also refuses packets of another length than the first, which no header tells."""
    is_header = header_of(codec, "matroska,webm")
    assert is_header is not None
    with av.open(str(make(f"framed.{codec}.mkv", *SOUND, "-c:a", codec))) as source:
        packets = packets_of(source)
        assert all(is_header(packet[:LONGEST]) for packet in packets)
        trials = spoiled(packets[5], 600)
        taken = [is_taken_by_mp4(source.streams.audio[0], packets[4], data) for data in trials]
    ours = [is_header(data[:LONGEST]) for data in trials]
    assert not [data for data, whole, theirs in zip(trials, ours, taken, strict=True) if theirs and not whole]
    refused = [whole for whole, theirs in zip(ours, taken, strict=True) if not theirs]
    assert len(refused) > 100 and sum(refused) <= unseen * len(refused)
    assert not any(is_header(packets[5][:length]) for length in range(LONGEST))


def test_the_first_packet_of_eac3_holds_one_time_only(make: Make) -> None:
    """mp4 reads all of it, to tell what is in the track; after damage the next ones may lie in it, without headers."""
    holds_one = header_of("eac3", "mpegts")
    assert holds_one is not None
    with av.open(str(make("framed.ts", *SOUND, "-c:a", "eac3"))) as source:
        track = source.streams.audio[0]
        one, following = packets_of(source)[5:7]
        more_channels = bytes((*one[:2], one[2] | 0x40, *one[3:]))  # a frame of the kind that adds some
        trials = [one, one + bytes(100), one + one, one + more_channels, one + more_channels + one[:5], one + one[2:]]
        taken = [is_taken_by_mp4(track, data, following) for data in trials]
    assert [holds_one(data) for data in trials] == taken == [True, False, False, True, False, False]


@pytest.mark.parametrize("codec, container", [("aac", "matroska,webm"), ("mp3", "mpegts"), ("opus", "mpegts")])
def test_others_have_none(codec: str, container: str) -> None:
    assert header_of(codec, container) is None


@pytest.mark.parametrize(
    ("codec", "encoder"),
    [("aac", "aac"), ("aac_latm", "aac"), ("mp2", "mp2"), ("mp3", "libmp3lame"), ("ac3", "ac3"), ("eac3", "eac3")],
)
def test_forms(codec: str, encoder: str, make: Make) -> None:
    """Each packet tells its codec, and another number where the rate or the channels are others."""
    found = set()
    for channels, rate in ((1, 48000), (2, 48000), (2, 32000)):
        name = f"form.{codec}.{channels}.{rate}.ts"
        more = ("-mpegts_flags", "latm") if codec == "aac_latm" else ()
        with av.open(str(make(name, *SOUND, "-ac", str(channels), "-ar", str(rate), "-c:a", encoder, *more))) as source:
            forms = {form_of(packet[:LONGEST]) for packet in packets_of(source)} - {None}
        assert len(forms) == 1
        found |= forms
    assert len(found) == 3
    assert {name for name, _ in found if name} == {codec}


def test_a_packet_or_two_are_no_change() -> None:
    """They may be damaged."""
    stereo, surround = b"\xff\xf1\x4c\x80\x24\x9f\xfc", b"\xff\xf1\x4d\x80\x64\x9f\xfc"
    forms = Forms()
    for packet in [surround, *[stereo] * 4, *[surround] * 2, stereo, *[surround] * 2, b"", stereo]:
        forms.take(packet)
        assert not forms.changes
    for packet in [surround] * 3:
        forms.take(packet)
    assert forms.changes and not forms.changes_codec

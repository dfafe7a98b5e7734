"""Interlaced pictures whose fields are stored apart, as camcorders and broadcasts do; no free encoder makes them."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path

import av
import numpy as np
import pytest
from film import read
from tiny_network import save_tiny

from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.fields import SecondFields
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.read.walk import Walk
from slomo_cli.pipeline import convert

Make = Callable[..., Path]

# Of 64x64 pixels: main profile with fields, 25 frames a second, no reordering (H.264, 7.3.2.1, 7.3.2.2 and E.1.1).
PARAMETERS = (
    "01001101 00000000 00011110 1 00101 011 011 0 00100 010 0 0 1 0"  # ... frame_mbs_only 0, adaptive 0
    f"1 0 0 0 0 1 {1:032b} {50:032b} 1 0 0 0 1 0 1 1 0001011 0001011 1 011 1"
)
PICTURE_PARAMETERS = "1 1 0 0 1 1 1 0 00 1 1 1 1 0 0 1"


def unit(header: int, bits: str) -> bytes:
    """A NAL unit with its start code; emulation is prevented as 7.4.1 says."""
    bits = bits.replace(" ", "")
    body = bytearray()
    for byte in int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big"):
        if body[-2:] == b"\0\0" and byte <= 3:
            body.append(3)
        body.append(byte)
    return b"\0\0\0\1" + bytes([header]) + bytes(body)


def picture(rows: np.ndarray, number: int, parity: str) -> bytes:
    """One I slice of uncompressed macroblocks (I_PCM): a frame (parity '') or a field ('0' top, '1' bottom)."""
    key = number == 0 and parity != "1"
    bits = f"1 0001000 1 {number % 256:08b} {'1' + parity if parity else '0'}" + ("1 0 0" if key else "0") + "1 010"
    bits = bits.replace(" ", "")
    for top in range(0, len(rows), 16):
        for left in range(0, 64, 16):
            bits += "000011010"
            bits += "0" * (-len(bits) % 8) + "".join(f"{v:08b}" for v in rows[top : top + 16, left : left + 16].ravel())
            bits += f"{128:08b}" * 128
    return unit(0x65 if key else 0x61, bits + "1")


def stream(kinds: str) -> bytes:
    """A raw H.264 film: for each letter a picture stored as two fields (F) or as one frame (p)."""
    delimiter = unit(9, "1111")
    film = b""
    for number, kind in enumerate(kinds):
        rows = np.full((64, 64), 40, np.uint8)
        rows[0::2, 4 * number % 56 :][:, :8] = rows[1::2, (4 * number + 2) % 56 :][:, :8] = 200
        film += delimiter + (unit(0x67, PARAMETERS) + unit(0x68, PICTURE_PARAMETERS) if number == 0 else b"")
        if kind == "F":
            film += picture(rows[0::2], number, "0") + delimiter + picture(rows[1::2], number, "1")
        else:
            film += picture(rows, number, "")
    return film


@pytest.mark.parametrize("kinds", [8 * "F", 3 * "FppF", "pF" + 3 * "p" + 3 * "F", 26 * "p" + "FF"])
@pytest.mark.parametrize("container", ["h264", "ts", "mkv", "mp4", "asf"])
def test_two_fields_are_one_picture(kinds: str, container: str, make: Make, tmp_path: Path) -> None:
    raw = tmp_path / "fields.h264"
    raw.write_bytes(stream(kinds))
    path = raw if container == "h264" else make(f"{kinds}.{container}", "-i", str(raw), "-c", "copy")

    info = probe(path)
    found = scan(info)
    with Decoder(info, found.timing) as decoder:
        times = [frame.pts_seconds for frame in decoder]

    assert (found.timing.rate, found.timing.nominal_rate, found.timing.duration) == (25, 25, F(len(kinds), 25))
    assert list(found.stamps) == times == [F(k, 25) for k in range(len(kinds))]
    assert found.warnings == ()
    assert [line for line in decoder.warnings if "interlaced pictures begin" not in line] == []


def test_a_last_picture_of_two_fields_is_not_missed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second field has a later stamp than the picture; that is no reason to decode the end again."""
    raw = tmp_path / "fields.h264"
    raw.write_bytes(stream(8 * "F"))
    path = make("end.ts", "-i", str(raw), "-c", "copy")
    info = probe(path)
    monkeypatch.setattr(Decoder, "_rescued", lambda *_: pytest.fail("the end was decoded again"))
    with Decoder(info, scan(info).timing) as decoder:
        assert len(list(decoder)) == 8


def test_a_conversion_makes_fields_whole_that_come_after_frames(tmp_path: Path) -> None:
    path, out = tmp_path / "late.h264", tmp_path / "out.mkv"
    path.write_bytes(stream(28 * "p" + 20 * "F"))
    info = probe(path)
    with Decoder(info, scan(info).timing, deinterlace="auto") as decoder:
        whole = [frame.tobytes() for frame in decoder]

    network = {"weights": str(save_tiny(tmp_path / "tiny.safetensors")), "device": "cpu", "threads": 1}
    summary = convert(path, out, factor=1, codec="ffv1", duplicates="keep", **network)

    assert "interlaced pictures begin at 1.12 s; they are made whole (bwdif)" in summary.warnings
    assert [frame.tobytes() for frame in read(out)] == whole


def second_fields(path: Path) -> tuple[list[bool], bool]:
    """Which packets are second fields, and whether the stream may hold fields at all."""
    with av.open(str(path)) as container:
        film = container.streams.video[0]
        fields = SecondFields(film.codec_context.extradata)
        return [fields.met_in(packet) for packet in container.demux(film) if packet.size], fields._has_fields


@pytest.mark.parametrize("container", ["h264", "mp4"])
@pytest.mark.parametrize("options", ["-flags +ildct+ilme -bf 2 -x264-params cqm=jvt", "-bf 0"])
def test_frames_are_no_fields_whatever_parameters_come_before(container: str, options: str, make: Make) -> None:
    fields = "-f lavfi -i testsrc2=size=64x64:rate=50:duration=0.5 -vf tinterlace=interleave_top,setfield=tff"
    path = make(f"frames.{container}", *fields.split(), "-c:v", "libx264", *options.split())

    assert second_fields(path) == (12 * [False], "ildct" in options)


def test_a_field_whose_other_one_is_lost_stays_a_picture(tmp_path: Path) -> None:
    units = stream("FFF").split(unit(9, "1111"))
    path = tmp_path / "lost.h264"
    path.write_bytes(unit(9, "1111").join([*units[:4], *units[5:]]))

    assert second_fields(path) == ([False, True, False, False, True], True)


def test_damaged_headers_are_read_to_their_end(tmp_path: Path) -> None:
    whole = stream("FpF")
    random = np.random.default_rng(1)
    for _ in range(40):
        data = bytearray(whole)
        for place in random.integers(0, 60, 6):
            data[place] = random.choice([0, 0xFF, int(random.integers(256))])
        SecondFields(bytes(data)).met_in(FakePacket(bytes(data)))
    for extradata in (None, b"", b"\1", b"\1" * 9, b"\0\0\1", b"\1" + bytes(80)):
        SecondFields(extradata)


class FakePacket(bytes):
    """Bytes that a key picture's packet might hold."""

    is_keyframe = True


def test_stamps_that_merely_count_are_no_times() -> None:
    def walk(stored: list[int], duration: int, *, even: bool = True) -> Walk:
        made = Walk.__new__(Walk)
        made.ticks, made._lasts, made.is_even, made.joins = array("q", stored), duration, even, []
        return made

    assert walk(list(range(30)), 40000).stamps_are_counters()
    assert not walk(list(range(30)), 40000, even=False).stamps_are_counters(), "some stand longer than others"
    assert not walk([1800 * k for k in range(30)], 1800).stamps_are_counters()


@pytest.mark.parametrize(("polarity", "first"), [(0, 0), (1, 1), (2, 1)])
@pytest.mark.parametrize("ending", ["avi", "mov"])
def test_jpegs_of_old_capture_cards_are_made_whole(ending: str, polarity: int, first: int, tmp_path: Path) -> None:
    """A packet holds two of them, each half as high; libav puts the first at the bottom where its polarity is not 0."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 32, "yuvj420p", F(1, 50)
    encoder.color_range = 2
    fields = []
    for number in range(20):
        image = np.full((32, 64), 40, np.uint8)
        image[:, 2 * number : 2 * number + 16] = 220
        frame = av.VideoFrame.from_ndarray(image, format="gray").reformat(format="yuvj420p")
        frame.pts = number
        jpeg = bytes(encoder.encode(frame)[0])
        fields.append(jpeg[:2] + b"\xff\xe0\0\x10AVI1" + bytes([polarity]) + bytes(9) + jpeg[2:])
    path = tmp_path / f"captured.{ending}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=25, options={})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 64, "yuvj420p", F(1, 25)
        for number in range(10):
            packet = av.Packet(fields[2 * number] + fields[2 * number + 1])
            packet.stream, packet.time_base, packet.is_keyframe = stream, F(1, 25), True
            packet.pts = packet.dts = number
            file.mux(packet)

    info = probe(path)
    timing = scan(info).timing
    with Decoder(info, timing) as woven, Decoder(info, timing, deinterlace="auto") as whole:
        pairs = [(a.planes[0].astype(int), b.planes[0].astype(int)) for a, b in zip(woven, whole, strict=True)]

    assert info.interlaced and info.height == 64
    for before, after in pairs:
        assert np.abs(before[1:] - before[:-1]).max() > 100
        assert (after[first::2] == before[first::2]).all(), "the field that comes first is kept"
        assert np.abs(after[9:55] - after[8:54]).mean() < np.abs(before[9:55] - before[8:54]).mean() / 3


def test_whole_jpegs_are_not_taken_for_fields(clip: Callable[[str], Path], make: Make) -> None:
    assert not probe(make("whole.avi", "-i", str(clip("cfr.mp4")), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")).interlaced

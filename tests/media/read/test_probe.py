"""What headers and the first picture say of a source."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path

import pytest

from slomo_cli.errors import InputError
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.orientation import Orientation, orientation_of
from slomo_cli.media.read.decode import Decoder
from slomo_cli.media.read.header import chroma_location, track_header
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.read.sequence import open_picture
from slomo_cli.values import ColorInfo, VideoInfo

Clip = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [
        ("cfr.mp4", "mov,mp4,m4a,3gp,3g2,mj2", "h264"),
        ("cfr.mkv", "matroska,webm", "h264"),
        ("cfr.ts", "mpegts", "h264"),
        ("cfr.flv", "flv", "h264"),
        ("cfr.nut", "nut", "h264"),
        ("cfr.h264", "h264", "h264"),
        ("cfr.avi", "avi", "mpeg4"),
        ("cfr.webm", "matroska,webm", "vp9"),
        ("screen.gif", "gif", "gif"),
    ],
)
def test_every_container_is_known_by_its_name(name: str, container: str, codec: str, clip: Clip) -> None:
    info = probe(clip(name))

    assert (info.container, info.codec, info.width, info.height) == (container, codec, 64, 48)
    assert info.path == clip(name)
    assert info.rate_from_header == (10 if name == "screen.gif" else 30)
    assert info.rate_is_nominal


@pytest.mark.parametrize(
    ("name", "pix_fmt", "layout", "bits", "shifts", "alpha"),
    [
        ("cfr.mp4", "yuv420p", "yuv420p", 8, (1, 1), False),
        ("odd.mkv", "yuv420p", "yuv420p", 8, (1, 1), False),
        ("hdr10.mp4", "yuv420p10le", "yuv420p10le", 10, (1, 1), False),
        ("yuv422p.mkv", "yuv422p", "yuv422p", 8, (1, 0), False),
        ("yuv422p10.mkv", "yuv422p10le", "yuv422p10le", 10, (1, 0), False),
        ("yuv444p.mp4", "yuv444p", "yuv444p", 8, (0, 0), False),
        ("yuv444p12.mkv", "yuv444p12le", "yuv444p12le", 12, (0, 0), False),
        ("gray.mkv", "gray", "gray", 8, (0, 0), False),
        ("gray16.mkv", "gray16le", "gray16le", 16, (0, 0), False),
        ("gbrp.mkv", "bgr0", "gbrp", 8, (0, 0), False),
        ("rgb16.mkv", "gbrp16le", "gbrp16le", 16, (0, 0), False),
        ("full.mp4", "yuvj420p", "yuv420p", 8, (1, 1), False),
        ("alpha.mkv", "yuva420p", "yuva420p", 8, (1, 1), True),
        ("alpha.mov", "yuva444p12le", "yuva444p12le", 12, (0, 0), True),
        ("alpha.webm", "yuva420p", "yuva420p", 8, (1, 1), True),
        ("packed.avi", "yuyv422", "yuv422p", 8, (1, 0), False),
        ("packed.mov", "rgb24", "gbrp", 8, (0, 0), False),
        ("screen.gif", "bgra", "gbrp", 8, (0, 0), False),
    ],
)
def test_the_layout_is_the_planar_twin_of_the_format(
    name: str, pix_fmt: str, layout: str, bits: int, shifts: tuple[int, int], alpha: bool, clip: Clip
) -> None:
    info = probe(clip(name))

    assert info.pix_fmt == pix_fmt
    assert info.layout.name == layout
    assert info.layout.bits == bits
    assert (info.layout.chroma_shift_x, info.layout.chroma_shift_y) == shifts
    assert info.layout.alpha is alpha


def test_a_transparent_gif_keeps_its_alpha(make: Callable[..., Path]) -> None:
    graph = "color=c=red:s=64x48:d=0.2:r=10,format=rgba,geq=r=255:g=0:b=0:a=255*gt(X\\,31),split[a][b];"
    graph += "[a]palettegen[p];[b][p]paletteuse"
    path = make("transparent.gif", "-f", "lavfi", "-i", "color=s=64x48:d=0.2:r=10", "-filter_complex", graph)

    assert probe(path).layout.name == "gbrap"


def test_a_gif_that_turns_transparent_keeps_its_alpha(make: Callable[..., Path]) -> None:
    graph = "color=c=red:s=64x48:d=0.5:r=10,format=rgba,geq=r=255:g=0:b=0:a=255*gt(X\\,31*gt(N\\,1)-1),split[a][b];"
    graph += "[a]palettegen[p];[b][p]paletteuse"
    path = make("turns.gif", "-filter_complex", graph, "-gifflags", "-offsetting-transdiff")

    info = probe(path)
    with Decoder(info, scan(info).timing) as decoder:
        opaque = [bool((frame.planes[-1] == 255).all()) for frame in decoder]

    assert info.layout.name == "gbrap"
    assert (opaque[0], opaque[-1]) == (True, False)


@pytest.mark.parametrize(("opacity", "layout"), [("1", "gbrp"), ("0.5", "gbrap")])
def test_webp_without_loss_has_alpha_where_it_uses_it(opacity: str, layout: str, make: Callable[..., Path]) -> None:
    """libav's decoder gives it alpha in any case."""
    picture = f"testsrc2=size=64x48,format=rgba,colorchannelmixer=aa={opacity}"
    wishes = ("-frames:v", "1", "-c:v", "libwebp", "-lossless", "1", "-pix_fmt", "bgra")
    info = probe(make(f"{layout}.webp", "-f", "lavfi", "-i", picture, *wishes))
    assert (info.pix_fmt, info.layout.name) == ("argb", layout)


def test_palette_pictures_that_turn_transparent_are_told(make: Callable[..., Path], tmp_path: Path) -> None:
    """All of a long sequence would be too many to look at before the first is shown."""
    still = make("pal8.png", *"-f lavfi -i testsrc2=size=63x47 -frames:v 1 -pix_fmt pal8".split()).read_bytes()
    body = b"tRNS" + bytes(256)
    alpha = struct.pack(">I", 256) + body + struct.pack(">I", zlib.crc32(body))
    at = still.index(b"IDAT") - 4
    for number, data in enumerate((still, still[:at] + alpha + still[at:], still[:at] + alpha + still[at:])):
        (tmp_path / f"im_{number}.png").write_bytes(data)

    info = probe(tmp_path)
    with Decoder(info, scan(info).timing) as decoder:
        assert len(list(decoder)) == 3

    assert info.layout.name == "gbrp"
    told = "pictures are transparent from 0.03 s on, which the first one is not; they are taken as opaque"
    assert decoder.warnings == [told]


def test_colour_tags_are_the_sources_own(clip: Clip, make: Callable[..., Path]) -> None:
    assert probe(clip("hdr10.mp4")).color == ColorInfo(1, 9, 9, 16, 3)
    assert probe(clip("full.mp4")).color.range == 2
    untagged = probe(clip("cfr.mp4")).color
    assert (untagged.range, untagged.matrix, untagged.primaries, untagged.transfer) == (0, 2, 2, 2)
    tagged = make(
        "tagged.mp4", "-i", str(clip("cfr.mp4")), "-frames:v", "2", "-c:v", "libx264", "-x264-params", "chromaloc=1",
        "-vf", "setparams=range=tv:colorspace=bt709:color_primaries=smpte432:color_trc=iec61966-2-1",
    )  # fmt: skip
    # x264's chromaloc 1 is the centre, libav's 2.
    assert probe(tagged).color == ColorInfo(1, 1, 12, 13, 2)


def test_hdr10_data_is_read_as_numbers(clip: Clip) -> None:
    hdr = probe(clip("hdr10.mp4")).hdr

    assert hdr.mastering == (
        F(34000, 50000), F(16000, 50000), F(13250, 50000), F(34500, 50000), F(7500, 50000), F(3000, 50000),
        F(15635, 50000), F(16450, 50000), F(1, 10000), F(1000),
    )  # fmt: skip
    assert (hdr.max_cll, hdr.max_fall) == (1000, 400)
    assert hdr.dynamic == ()
    assert probe(clip("cfr.mp4")).hdr.mastering is None


def test_dolby_vision_is_noticed_by_its_sample_entry(clip: Clip, tmp_path: Path) -> None:
    # dvh1 instead of hvc1 is how MP4 marks a film that is Dolby Vision only.
    data = clip("hdr10.mp4").read_bytes()
    assert data.count(b"hvc1") >= 1
    path = tmp_path / "dolby.mp4"
    path.write_bytes(data.replace(b"hvc1", b"dvh1"))

    assert probe(path).hdr.dynamic == ("Dolby Vision",)


def test_a_codec_may_be_called_by_other_bytes_than_letters(make: Callable[..., Path], clip: Clip) -> None:
    # As raw Bayer pictures are in NUT, and in MPEG-TS what has a number from 128 on, such as VC-1 of Blu-ray discs.
    raw = ("-f", "rawvideo", "-pix_fmt", "bayer_rggb8", "-video_size", "64x48", "-i", str(clip("cfr.mp4")))
    info = probe(make("bayer.nut", *raw, "-frames:v", "1", "-c", "copy"))

    assert (info.codec, info.pix_fmt, info.hdr.dynamic) == ("rawvideo", "bayer_rggb8", ())


def test_hdr10_plus_is_noticed(clip: Clip, make: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "plus.hevc"
    path.write_bytes(with_hdr10_plus(make("raw.hevc", "-i", str(clip("hdr10.mp4")), "-c", "copy")))

    assert probe(path).hdr.dynamic == ("HDR10+",)


def test_closed_captions_are_noticed(clip: Clip, tmp_path: Path) -> None:
    # One SEI message (ITU-T T.35, ATSC A/53 part 4) with one pair of EIA-608 bytes, before the first slice.
    payload = bytes.fromhex("b50031474139340341fffc9425ff")
    unit = b"\0\0\0\1" + bytes([6, 4, len(payload)]) + payload + b"\x80"
    data = clip("cfr.h264").read_bytes()
    at = data.index(b"\0\0\1\x65")
    at -= data[at - 1] == 0
    path = tmp_path / "captions.h264"
    path.write_bytes(data[:at] + unit + data[at:])

    assert probe(path).picture_extras == ("closed captions",)
    assert probe(clip("cfr.h264")).picture_extras == ()


@pytest.mark.parametrize(("mode", "found"), [(2, ("360-degree", "stereoscopic")), (0, ("360-degree",))])
def test_marks_of_360_degrees_and_of_two_views(mode: int, found: tuple[str, ...], clip: Clip, tmp_path: Path) -> None:
    # Google's Spatial Media: st3d with its mode (2 side by side, 0 one view), sv3d with an equirectangular projection.
    equi = box("equi", bytes(20))
    projection = box("sv3d", box("svhd", bytes(5)) + box("proj", box("prhd", bytes(16)) + equi))
    path = tmp_path / "round.mp4"
    path.write_bytes(with_boxes(clip("cfr.mp4"), box("st3d", bytes([0, 0, 0, 0, mode])) + projection))

    assert probe(path).picture_extras == found


@pytest.mark.parametrize(("packing", "found"), [("", "second view"), ("side", "stereoscopic")])
def test_two_views_lie_in_one_picture_or_in_layers(packing: str, found: str, clip: Clip, tmp_path: Path) -> None:
    # Apple's Video Extended Usage: both eyes are there, and beside it how they are packed where one picture has both.
    eyes = box("eyes", box("stri", bytes([0, 0, 0, 0, 3])))
    packed = box("pack", box("pkin", bytes(4) + packing.encode())) if packing else b""
    path = tmp_path / "spatial.mp4"
    path.write_bytes(with_boxes(clip("hdr10.mp4"), box("vexu", eyes + packed), b"hvc1"))

    assert probe(path).picture_extras == (found,)


def test_transparency_in_a_layer_of_its_own(clip: Clip, tmp_path: Path) -> None:
    # Alpha channel information, as one more array of messages (39) at the end of the decoder's configuration.
    message = bytes.fromhex("27 0001 0009 4e01a50400007f9080")
    data = bytearray(with_boxes(clip("hdr10.mp4"), message, b"hvc1", b"hvcC"))
    data[data.index(b"hvcC") + 4 + 22] += 1
    path = tmp_path / "layers.mp4"
    path.write_bytes(data)

    assert probe(path).picture_extras == ("alpha layer",)
    assert probe(clip("hdr10.mp4")).picture_extras == ()


@pytest.mark.parametrize(
    ("width", "height", "right", "down", "margins"),
    [(44, 40, 2, 0, (12, 4, 8, 4)), (64, 40, 0, -4, (0, 0, 0, 8)), (48, 48, 0, 0, (8, 0, 8, 0))],
)
def test_margins_the_container_hides(
    width: int, height: int, right: int, down: int, margins: tuple[int, ...], clip: Clip, tmp_path: Path
) -> None:
    # A clean aperture about a centre so far off the picture's (ISO/IEC 14496-12, 12.1.4).
    numbers = (width, 1, height, 1, right, 1, down, 1)
    aperture = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    path = tmp_path / "clap.mp4"
    path.write_bytes(with_boxes(clip("cfr.mp4"), box("clap", aperture)))

    assert probe(path).crop == margins
    assert not any(probe(clip("cfr.mp4")).crop)


def test_the_profile_of_dolby_vision(clip: Clip, tmp_path: Path) -> None:
    # Version 1.0, profile 5, level 1, with metadata beside the base layer.
    path = tmp_path / "profile5.mp4"
    path.write_bytes(with_boxes(clip("hdr10.mp4"), box("dvcC", bytes([1, 0, 5 << 1, 1 << 3 | 5]) + bytes(20)), b"hvc1"))

    hdr = probe(path).hdr

    assert (hdr.dynamic, hdr.dolby_profile) == (("Dolby Vision",), 5)
    assert probe(clip("hdr10.mp4")).hdr.dolby_profile is None


def box(name: str, content: bytes) -> bytes:
    """An MP4 box."""
    return (8 + len(content)).to_bytes(4, "big") + name.encode() + content


def with_boxes(path: Path, boxes: bytes, *inside: bytes) -> bytes:
    """An MP4 of one track, its index at the end, with further boxes in its sample description, or at another path."""
    data, at = path.read_bytes(), 4
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", *(inside or (b"avc1",))):
        at = data.index(name, at) - 4
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + size
        data = data[:at] + (size + len(boxes)).to_bytes(4, "big") + data[at + 4 :]
    return data[:end] + boxes + data[end:]


def with_hdr10_plus(raw: Path) -> bytes:
    """Raw HEVC with one HDR10+ message (ITU-T T.35, SMPTE ST 2094-40) before its first picture."""
    bits = ""
    for value, width in (
        (0xB5, 8), (0x003C, 16), (0x0001, 16), (4, 8), (1, 8), (1, 2), (1000, 27), (0, 1),
        (1000, 17), (1000, 17), (1000, 17), (500, 17), (1, 4), (50, 7), (800, 17), (0, 10), (0, 1), (0, 1), (0, 1),
    ):  # fmt: skip
        bits += f"{value:0{width}b}"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    message = bytes([4, len(payload)]) + payload + b"\x80"
    # Emulation prevention: 00 00 0x must not occur inside a unit.
    safe = bytearray()
    for byte in message:
        if byte <= 3 and safe[-2:] == b"\0\0":
            safe.append(3)
        safe.append(byte)
    unit = b"\0\0\0\1" + bytes([39 << 1, 1]) + bytes(safe)
    data = raw.read_bytes()
    # Before the first slice: after parameter sets and the messages there are (types 32-40), so find type 19 or 20.
    at = next(
        i
        for i in range(len(data) - 4)
        if data[i : i + 3] == b"\0\0\1" and (data[i + 3] >> 1) & 63 in (16, 17, 18, 19, 20, 21)
    )
    at -= data[at - 1] == 0
    return data[:at] + unit + data[at:]


@pytest.mark.parametrize(
    ("name", "matrix", "orientation"),
    [
        ("cfr.mp4", None, Orientation(0, False)),
        ("rotated.mp4", (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30), Orientation(90, False)),
        ("flipped.mp4", (0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30), Orientation(90, True)),
    ],
)
def test_rotation_and_flips_are_the_matrix(
    name: str, matrix: tuple[int, ...] | None, orientation: Orientation, clip: Clip
) -> None:
    info = probe(clip(name))

    assert info.display_matrix == matrix
    assert orientation_of(info.display_matrix) == orientation
    assert (info.width, info.height) == (64, 48)


@pytest.mark.parametrize(
    ("first", "orientation"),
    [
        ((65536, 1, -1, 65536), Orientation(0, False)),
        ((65536, -1, 1, 65536), Orientation(0, False)),
        ((1, -65535, 65536, -1), Orientation(90, False)),
        ((-65536, 2, -2, -65536), Orientation(180, False)),
        ((56756, -32768, 32768, 56756), Orientation(29.9999, False)),
        ((0, 0, 0, 0), Orientation(0, False)),
    ],
)
def test_a_right_angle_is_one_though_its_matrix_was_rounded(
    first: tuple[int, int, int, int], orientation: Orientation
) -> None:
    a, b, c, d = first
    assert orientation_of((a, b, 0, c, d, 0, 0, 0, 1 << 30)) == orientation


def test_sample_aspect_and_fields(clip: Clip) -> None:
    assert probe(clip("anamorphic.mp4")).sample_aspect == F(4, 3)
    assert probe(clip("cfr.mp4")).sample_aspect == 1
    assert probe(clip("interlaced.mp4")).interlaced
    assert probe(clip("interlaced.mpg")).interlaced
    assert not probe(clip("cfr.mp4")).interlaced


def test_a_shape_rounded_to_whole_pixels_is_the_codecs(clip: Clip, tmp_path: Path) -> None:
    # Without pasp, MP4 tells how wide to show the picture: 85 pixels, for 64 of the shape 4:3.
    without = tmp_path / "without.mp4"
    without.write_bytes(clip("anamorphic.mp4").read_bytes().replace(b"pasp", b"free"))
    other = tmp_path / "other.mp4"
    data = clip("anamorphic.mp4").read_bytes()
    at = data.index(b"pasp") + 4
    other.write_bytes(data[:at] + bytes([0, 0, 0, 2, 0, 0, 0, 1]) + data[at + 8 :])

    assert probe(without).sample_aspect == F(4, 3)
    assert probe(other).sample_aspect == 2


def test_lengths_are_what_the_header_says(clip: Clip) -> None:
    def said(name: str) -> tuple[F | None, F]:
        info = probe(clip(name))
        return info.duration_from_header, info.container_start_seconds

    assert said("cfr.mp4") == (F(1), F(0))
    assert said("cfr.mkv") == (F(1), F(0))
    assert said("cfr.ts")[1] == F(132000, 90000)
    assert said("cfr.h264") == (None, F(0))
    assert said("sound.mp4")[0] == F(1)
    assert (probe(clip("cfr.mp4")).bit_rate or 0) > 1000


def test_everything_beside_the_picture_is_listed(clip: Clip) -> None:
    info = probe(clip("rich.mkv"))

    assert [(s.index, s.kind, s.codec, s.language) for s in info.streams] == [
        (1, "audio", "aac", "deu"),
        (2, "audio", "aac", "fra"),
        (3, "subtitle", "subrip", "eng"),
        (4, "attachment", "", ""),
        (5, "cover", "png", ""),
    ]
    assert (info.streams[0].sample_rate, info.streams[0].channels) == (44100, 1)
    assert ("filename", "note.txt") in info.streams[3].metadata
    assert [(c.start_seconds, c.end_seconds, dict(c.metadata)["title"]) for c in info.chapters] == [
        (F(0), F(2, 5), "First"),
        (F(2, 5), F(1), "Second"),
    ]
    assert dict(info.metadata)["title"] == "Rich"


def test_a_late_picture_shows_in_the_starts(clip: Clip) -> None:
    info = probe(clip("late.mp4"))

    assert info.container_start_seconds == 0
    assert info.streams[0].start_seconds == 0


@pytest.mark.parametrize("length", [f"{'9' * 5000}:00:00.1", f"00:00:00.{'9' * 5000}"])
def test_a_length_of_thousands_of_digits_is_none(length: str, clip: Clip, tmp_path: Path) -> None:
    text = tmp_path / "tags.txt"
    text.write_text(f";FFMETADATA1\nDURATIOX={length}\n")
    made = tmp_path / "made.mkv"
    tags = ("-map_metadata:s:v:0", "1:g", "-c", "copy", str(made))
    command = [tools().path, "-v", "error", "-i", str(clip("cfr.mp4")), "-i", str(text), *tags]
    subprocess.run(command, check=True)
    made.write_bytes(made.read_bytes().replace(b"DURATION", b"DURATIOY").replace(b"DURATIOX", b"DURATION"))
    assert 0.5 < float(probe(made).duration_from_header or 0) < 5


def test_tags_that_are_no_utf8_do_not_stop_anything(clip: Clip, make: Callable[..., Path], tmp_path: Path) -> None:
    tagged = make("title.mkv", "-i", str(clip("cfr.mp4")), "-c", "copy", "-metadata", "title=XXcafeXX")
    path = tmp_path / "title.mkv"
    path.write_bytes(tagged.read_bytes().replace(b"XXcafeXX", b"XXcaf\xe9XX"))

    assert dict(probe(path).metadata)["title"].startswith("XXcaf")


def test_a_still_picture_is_a_film_of_one_picture(make: Callable[..., Path]) -> None:
    still = make("still16.png", "-f", "lavfi", "-i", "testsrc=size=63x47", "-frames:v", "1", "-pix_fmt", "rgb48be")

    info = probe(still)

    assert (info.width, info.height, info.layout.name, info.pix_fmt) == (63, 47, "gbrp16le", "rgb48be")
    assert not info.rate_is_nominal


@pytest.mark.parametrize(
    ("pix_fmt", "layout"),
    [
        ("ya8", "gbrap"),
        ("ya16be", "gbrap16le"),
        ("rgba64be", "gbrap16le"),
        ("gray", "gray"),
        ("gray16be", "gray16le"),
        ("pal8", "gbrp"),
        ("monob", "gray"),
    ],
)
def test_every_kind_of_png(pix_fmt: str, layout: str, make: Callable[..., Path]) -> None:
    still = make(f"{pix_fmt}.png", "-f", "lavfi", "-i", "testsrc2=size=63x47", "-frames:v", "1", "-pix_fmt", pix_fmt)

    assert probe(still).layout.name == layout


def test_a_raw_stream_without_a_rate_says_so(make: Callable[..., Path], clip: Clip) -> None:
    raw = make("norate.mjpeg", "-i", str(clip("cfr.mp4")), "-frames:v", "3", "-c:v", "mjpeg")

    info: VideoInfo = probe(raw)

    assert info.rate_from_header == 25
    assert not info.rate_is_nominal


def test_where_chroma_lies_is_found_by_no_chance(clip: Clip) -> None:
    """The headers hold nothing random, and bytes that begin as the element does hide nothing."""
    with open_picture(clip("cfr.mkv"), threads=1) as picture:
        assert track_header(picture.stream) == track_header(picture.stream) != b""

    def element(name: str, content: bytes) -> bytes:
        return bytes.fromhex(name) + bytes([0x80 + len(content)]) + content

    def header(codec: bytes, colour: bytes) -> bytes:
        """Segment, tracks, one track: its codec's own data, then its picture's colours."""
        track = element("63a2", codec) + element("e0", element("55b0", colour))
        return element("18538067", element("1654ae6b", element("ae", track)))

    siting = element("55b7", b"\1") + element("55b8", b"\2")
    assert chroma_location(header(b"", siting)) == 1
    assert chroma_location(header(element("55b0", element("55b7", b"\2") + element("55b8", b"\2")), siting)) == 1
    assert chroma_location(header(siting, b"")) == 0


@pytest.mark.parametrize("apart", [False, True])
def test_transparency_that_is_a_picture_of_its_own(apart: bool, make: Callable[..., Path]) -> None:
    """As AVIF stores it; libav decodes the colours alone."""
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x48,format=yuva420p", "-frames:v", "1", "-map", "0:v")
    alpha = ("-map", "0:v", "-filter:v:1", "alphaextract")
    path = make(f"apart{apart}.avif", *picture, *(alpha if apart else ()), "-c:v", "libaom-av1", "-cpu-used", "8")

    assert probe(path).picture_extras == (("alpha",) if apart else ())


def in_tiles(tile: bytes) -> bytes:
    """An AVIF of two by two times the same picture, as phones store HEIC (ISO/IEC 23008-12, 6.6.2.3)."""

    def box(name: bytes, *body: bytes, version: int | None = None) -> bytes:
        content = b"".join((b"" if version is None else bytes([version, 0, 0, 0]), *body))
        return struct.pack(">I4s", 8 + len(content), name) + content

    def found(name: bytes) -> bytes:
        at = tile.index(name)
        return tile[at + 4 : at - 4 + int.from_bytes(tile[at - 4 : at], "big")]

    data, width, height = found(b"mdat"), *struct.unpack(">II", found(b"ispe")[4:])
    grid = struct.pack(">4BHH", 0, 0, 1, 1, 2 * width, 2 * height)
    kinds = enumerate((b"av01", b"av01", b"av01", b"av01", b"grid"), 1)
    items = [box(b"infe", struct.pack(">HH4s", at, 0, kind), b"\0", version=2) for at, kind in kinds]
    shown = box(b"ispe", struct.pack(">II", 2 * width, 2 * height), version=0)
    properties = box(b"ipco", box(b"av1C", found(b"av1C")), box(b"ispe", found(b"ispe")), shown)
    uses = [struct.pack(">HBBB", at, 2, 0x81, 2) for at in range(1, 5)] + [struct.pack(">HBB", 5, 1, 3)]

    def head(start: int) -> bytes:
        places = [(at, 0, 1, start, len(data)) for at in range(1, 5)] + [(5, 0, 1, start + len(data), len(grid))]
        return box(b"ftyp", b"avif\0\0\0\0mif1avif") + box(
            b"meta",
            box(b"hdlr", struct.pack(">I4s13x", 0, b"pict"), version=0),
            box(b"pitm", struct.pack(">H", 5), version=0),
            box(b"iloc", struct.pack(">BBH", 0x44, 0, 5), *(struct.pack(">HHHII", *at) for at in places), version=0),
            box(b"iinf", struct.pack(">H", 5), *items, version=0),
            box(b"iref", box(b"dimg", struct.pack(">6H", 5, 4, 1, 2, 3, 4)), version=0),
            box(b"iprp", properties, box(b"ipma", struct.pack(">I", 5), *uses, version=0)),
            version=0,
        )

    return head(len(head(0)) + 8) + box(b"mdat", data, grid)


def test_a_picture_in_tiles_is_told(make: Callable[..., Path], tmp_path: Path) -> None:
    """One tile was taken for the whole picture."""
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1", "-c:v", "libaom-av1", "-cpu-used", "8")
    path = tmp_path / "tiles.avif"
    path.write_bytes(in_tiles(make("tile.avif", *picture).read_bytes()))

    with pytest.raises(InputError, match="is a picture in tiles"):
        probe(path)

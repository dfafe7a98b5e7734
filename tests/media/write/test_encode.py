"""Writing with the real ffmpeg, and reading back what was written."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from out_helpers import BT709, NTSC, only_files, pictures, read_back, samples, stamps, target_for, video_info, write

from slomo_cli.errors import DeviceError, EncoderError, SlomoError, UsageError
from slomo_cli.media.containers import BY_EXTENSION, Container
from slomo_cli.media.ffmpeg import tools
from slomo_cli.media.pixels import layout_of
from slomo_cli.media.tracks.soundfeed import Feed
from slomo_cli.media.write import place
from slomo_cli.media.write.args import OwnTimes, build_encode_args
from slomo_cli.media.write.encode import Encoder
from slomo_cli.values import ColorInfo, EncodeSettings, HdrInfo

posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell or signals")


def frames_of(pix_fmt: str, width: int = 64, height: int = 48, count: int = 5):
    return list(pictures(layout_of(pix_fmt), width, height, count))


def equal(decoded, frames, layout) -> bool:
    return len(decoded) == len(frames) and all(
        np.array_equal(found, wanted)
        for frame, planes in zip(decoded, frames, strict=True)
        for found, wanted in zip(samples(frame, layout), planes, strict=True)
    )


class TestLossless:
    """What a lossless codec gives back is what went in, byte for byte."""

    @pytest.mark.parametrize(
        "pix_fmt",
        [
            *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "yuv444p16le"),
            *("gray", "gray10le", "gray16le", "gbrp10le", "gbrp16le", "yuva420p", "yuva444p10le", "gbrap16le"),
        ],
    )
    @pytest.mark.parametrize("color", [BT709, ColorInfo(2, 1, 1, 1)], ids=["limited", "full"])
    def test_ffv1(self, tmp_path, pix_fmt, color):
        frames = frames_of(pix_fmt)
        target = write(tmp_path / "a.mkv", video_info(pix_fmt, color=color), frames, codec="ffv1")
        decoded, _ = read_back(tmp_path / "a.mkv")
        assert target.warnings == ()
        assert decoded[0].format.name == pix_fmt
        assert equal(decoded, frames, layout_of(pix_fmt))
        if not pix_fmt.startswith("gbr"):
            assert decoded[0].color_range == color.range

    @pytest.mark.parametrize(
        ("name", "codec"),
        [("a.mkv", "ffvhuff"), ("a.mkv", "rawvideo"), ("a.avi", "rawvideo"), ("a.nut", "rawvideo"), ("a.mov", "v210")],
    )
    def test_full_range_is_marked_or_told(self, tmp_path, name, codec):
        pix_fmt = "yuv422p10le" if codec == "v210" else "yuv420p"
        # In v210 there is no 0 and no 1023.
        frames = [tuple(plane.clip(16, 960).astype(plane.dtype) for plane in frame) for frame in frames_of(pix_fmt)]
        target = write(tmp_path / name, video_info(pix_fmt, color=ColorInfo(2, 1, 1, 1)), frames, codec=codec)
        decoded, _ = read_back(tmp_path / name)
        assert equal(decoded, frames, layout_of(pix_fmt))
        assert decoded[0].color_range == (2 if name == "a.mkv" else 0)
        assert any("full-range" in line for line in target.warnings) == (name != "a.mkv")

    def test_rgb_of_eight_bits(self, tmp_path):
        frames = frames_of("gbrp")
        write(tmp_path / "a.mkv", video_info("gbrp"), frames, codec="ffv1")
        decoded, _ = read_back(tmp_path / "a.mkv")
        for frame, (green, blue, red) in zip(decoded, frames, strict=True):
            assert np.array_equal(frame.to_ndarray(format="rgb24"), np.stack([red, green, blue], -1))

    @pytest.mark.parametrize("size", [(65, 49), (1, 1), (2, 2), (63, 48)])
    def test_odd_sizes_are_exact_where_the_codec_takes_them(self, tmp_path, size):
        if size[1] == 1 and tools().release < (7, 0):
            pytest.skip("FFV1 of this ffmpeg breaks pictures of one row")
        frames = frames_of("yuv420p", *size)
        write(tmp_path / "a.mkv", video_info("yuv420p", *size), frames, codec="ffv1")
        decoded, _ = read_back(tmp_path / "a.mkv")
        assert equal(decoded, frames, layout_of("yuv420p"))

    @pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts"])
    def test_h264_without_loss(self, tmp_path, name):
        frames = frames_of("yuv420p", count=12)
        write(tmp_path / name, video_info(), frames, encoder_args=("-qp", "0"))
        decoded, _ = read_back(tmp_path / name)
        assert equal(decoded, frames, layout_of("yuv420p"))


class TestContainers:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            *(("a.mp4", codec) for codec in ("h264", "hevc", "av1", "vp9")),
            *(("a.mov", codec) for codec in ("h264", "hevc", "prores")),
            *(("a.mkv", codec) for codec in ("h264", "hevc", "av1", "vp9", "ffv1", "prores")),
            *(("a.webm", codec) for codec in ("vp9", "av1")),
            *(("a.ts", codec) for codec in ("h264", "hevc")),
            *(("a.avi", codec) for codec in ("mpeg4", "ffv1")),
            ("a.nut", "ffv1"),
        ],
    )
    def test_counts_stamps_and_pictures(self, tmp_path, name, codec):
        frames = frames_of("yuv420p", 64, 64, 8)
        write(tmp_path / name, video_info("yuv420p", 64, 64), frames, codec=codec, crf=None)
        assert only_files(tmp_path) == [name]
        times = stamps(tmp_path / name)
        assert len(times) == 8
        tick = Fraction(1, 1000) if name.endswith(("mkv", "webm")) else Fraction(1, 80_000)
        start = times[0] if name.endswith("ts") else 0
        for number, moment in enumerate(times):
            assert abs(moment - start - number / NTSC) <= tick
        decoded, stream = read_back(tmp_path / name)
        assert len(decoded) == 8
        assert (stream.width, stream.height) == (64, 64)
        assert abs(stream.average_rate - NTSC) < Fraction(1, 100)

    @pytest.mark.parametrize("rate", [Fraction(24), NTSC, Fraction(240), Fraction(60000, 1001), Fraction(25, 7)])
    def test_mp4_keeps_any_rate_exactly(self, tmp_path, rate):
        write(tmp_path / "a.mp4", video_info(), frames_of("yuv420p", count=9), rate=rate)
        assert stamps(tmp_path / "a.mp4") == [number / rate for number in range(9)]
        with av.open(str(tmp_path / "a.mp4")) as source:
            stream = source.streams.video[0]
            assert stream.average_rate == rate
            assert abs(stream.duration * stream.time_base - 9 / rate) < Fraction(1, 1000)

    @pytest.mark.parametrize(
        "rate", [Fraction(120000, 1001), Fraction(240000, 1001), Fraction(119), Fraction(121000, 1001)]
    )
    @pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
    def test_a_rate_near_a_rounder_one_is_not_taken_for_it(self, tmp_path, rate, name):
        write(tmp_path / name, video_info(), frames_of("yuv420p", count=40), rate=rate)
        off = [abs(moment - number / rate) for number, moment in enumerate(stamps(tmp_path / name))]
        assert len(off) == 40
        assert max(off) <= (Fraction(1, 1000) if name == "a.mkv" else Fraction(1, 1_000_000))

    def test_mp4_begins_with_its_index(self, tmp_path):
        for faststart in (True, False):
            write(tmp_path / "a.mp4", video_info(), frames_of("yuv420p"), faststart=faststart, overwrite=True)
            data = (tmp_path / "a.mp4").read_bytes()
            assert (data.index(b"moov") < data.index(b"mdat")) == faststart

    def test_hevc_in_mp4_is_called_what_apple_calls_it(self, tmp_path):
        write(tmp_path / "a.mp4", video_info("yuv420p10le"), frames_of("yuv420p10le"))
        assert b"hvc1" in (tmp_path / "a.mp4").read_bytes()

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuva420p", "gbrp", "gbrap", "gray"])
    def test_gif(self, tmp_path, pix_fmt):
        write(tmp_path / "a.gif", video_info(pix_fmt), frames_of(pix_fmt), rate=Fraction(25))
        assert stamps(tmp_path / "a.gif") == [Fraction(number, 25) for number in range(5)]

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuva420p", "gbrap16le", "gray16le"])
    def test_apng(self, tmp_path, pix_fmt):
        write(tmp_path / "a.apng", video_info(pix_fmt), frames_of(pix_fmt))
        decoded, _ = read_back(tmp_path / "a.apng")
        assert len(decoded) == 5
        assert ("a" in decoded[0].format.name) == layout_of(pix_fmt).alpha or pix_fmt == "gray16le"

    def test_webp(self, tmp_path):
        write(tmp_path / "a.webp", video_info(), frames_of("yuv420p"), rate=Fraction(25))
        data = (tmp_path / "a.webp").read_bytes()
        assert data[:4] == b"RIFF"
        assert data.count(b"ANMF") == 5
        # ANIM: background colour, then how often to play, 0 for ever.
        assert struct.unpack("<H", data[data.index(b"ANIM") + 12 : data.index(b"ANIM") + 14]) == (0,)

    def test_equal_frames_are_not_missed_in_formats_that_join_them(self, tmp_path):
        same = frames_of("yuv420p", count=1) * 6
        for name in ("a.webp", "a.gif", "a.apng", "a.mp4"):
            write(tmp_path / name, video_info(), same, rate=Fraction(25))
            assert (tmp_path / name).exists()

    def test_what_no_decoder_takes_is_not_kept(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Container, "holds", lambda *_: True)  # as with a codec that nobody has tried there
        with pytest.raises(EncoderError, match="cannot be read back"):
            write(tmp_path / "a.mkv", video_info("rgb24"), frames_of("rgb24"), codec="qtrle")
        assert only_files(tmp_path) == []
        write(tmp_path / "a.mov", video_info("rgb24"), frames_of("rgb24"), codec="qtrle")

    def test_a_reader_that_goes_away(self, tmp_path):
        program = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from out_helpers import *\n"
            "from slomo_cli.errors import OutputClosed\n"
            "try: write('-', video_info(), list(pictures(layout_of('yuv420p'), 64, 48, 200)), codec='ffv1')\n"
            "except OutputClosed as error: sys.exit(error.exit_code)\n"
        )
        run = subprocess.Popen([sys.executable, "-c", program, str(Path(__file__).parents[2])], stdout=subprocess.PIPE)
        assert run.stdout is not None
        run.stdout.read(10)
        run.stdout.close()
        assert run.wait(timeout=60) == 141

    @pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
    def test_vp8_with_alpha(self, tmp_path, name):
        write(tmp_path / name, video_info("yuva420p"), frames_of("yuva420p"), codec="libvpx")
        assert len(stamps(tmp_path / name)) == 5

    def test_standard_output(self, tmp_path):
        program = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from out_helpers import *\n"
            "write('-', video_info(), list(pictures(layout_of('yuv420p'), 64, 48, 5)), codec='ffv1')\n"
        )
        here = str(Path(__file__).parents[2])
        with open(tmp_path / "out.mkv", "wb") as out:
            subprocess.run([sys.executable, "-c", program, here], stdout=out, check=True, timeout=60)
        decoded, _ = read_back(tmp_path / "out.mkv")
        assert equal(decoded, frames_of("yuv420p"), layout_of("yuv420p"))


class TestImages:
    @pytest.mark.parametrize(
        ("ending", "pix_fmt", "decoded"),
        [
            ("png", "gbrp", "rgb24"),
            ("png", "gbrp16le", "rgb48be"),
            ("png", "gbrap", "rgba"),
            ("png", "gray", "gray"),
            ("png", "gray16le", "gray16be"),
            ("png", "yuv420p10le", "rgb48be"),
            ("tiff", "gbrp16le", "rgb48le"),
            ("tiff", "gbrap", "rgba"),
            ("jpg", "yuv422p", "yuvj422p"),
        ],
    )
    def test_sequences(self, tmp_path, ending, pix_fmt, decoded):
        color = ColorInfo(2) if pix_fmt.startswith("gray") else BT709
        write(tmp_path / f"im%03d.{ending}", video_info(pix_fmt, color=color), frames_of(pix_fmt))
        assert only_files(tmp_path) == [f"im{number:03}.{ending}" for number in range(1, 6)]
        back, _ = read_back(tmp_path / f"im005.{ending}")
        assert back[0].format.name == decoded

    @pytest.mark.parametrize("pix_fmt", ["gbrp", "gbrp16le", "gbrp10le"])
    def test_png_keeps_every_sample(self, tmp_path, pix_fmt):
        frames = frames_of(pix_fmt, count=2)
        layout = layout_of(pix_fmt)
        write(tmp_path / "%d.png", video_info(pix_fmt), frames)
        back, _ = read_back(tmp_path / "2.png")
        kind = "rgb24" if layout.bits == 8 else "rgb48le"
        green, blue, red = (plane.astype(np.int64) for plane in frames[1])
        wanted = np.stack([red, green, blue], -1) * (255 if layout.bits == 8 else 65535) / layout.peak
        assert np.abs(back[0].to_ndarray(format=kind).astype(np.int64) - wanted).max() <= (
            1 if layout.bits == 10 else 0
        )

    @pytest.mark.parametrize(
        ("pix_fmt", "planes", "color", "shown"),
        [
            ("yuv444p", (63, 102, 240), BT709, (255, 0, 0)),
            ("yuv444p", (81, 90, 240), ColorInfo(1, 6, 6, 6), (255, 0, 0)),
            ("yuv444p", (235, 128, 128), BT709, (255, 255, 255)),
            ("yuv444p", (235, 128, 128), ColorInfo(2, 1, 1, 1), (235, 235, 235)),
            ("yuv444p10le", (940, 512, 512), BT709, (255, 255, 255)),
            ("gray", (16,), ColorInfo(1), (0, 0, 0)),
            ("gray", (16,), ColorInfo(2), (16, 16, 16)),
            ("gbrp", (30, 200, 100), ColorInfo(2, 0), (100, 30, 200)),
        ],
    )
    @pytest.mark.parametrize("name", ["%d.png", "%d.tiff", "%d.jpg", "a.gif", "a.apng"])
    def test_colours_are_right_in_every_image_format(self, tmp_path, name, pix_fmt, planes, color, shown):
        layout = layout_of(pix_fmt)
        dtype = np.uint8 if layout.bits == 8 else np.uint16
        frame = tuple(np.full(s, v, dtype) for s, v in zip(layout.plane_shapes(64, 48), planes, strict=True))
        write(tmp_path / name, video_info(pix_fmt, color=color), [frame] * 2, rate=Fraction(25))
        back, _ = read_back(tmp_path / name.replace("%d", "1"))
        # JPEG is BT.601 at full range by definition; its reader here has to be told, as untagged it guesses the same.
        found = back[0].to_ndarray(format="rgb24")[24, 32]
        assert np.abs(found.astype(int) - shown).max() <= 3

    @pytest.mark.parametrize("color", [ColorInfo(0, 2), ColorInfo(2, 0), ColorInfo(1, 2)], ids=["nothing", "rgb", "tv"])
    @pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv"])
    def test_gray_stays_as_light_as_it_is_in_films(self, tmp_path, name, color):
        """TIFF says nothing of its range, which is the full one; PNG names RGB's matrix, which no film of YUV has."""
        frame = (np.tile(np.linspace(16, 235, 64).round().astype(np.uint8), (48, 1)),)
        write(tmp_path / name, video_info("gray", color=color), [frame] * 3, rate=Fraction(25))
        back, _ = read_back(tmp_path / name)
        found = back[0].to_ndarray(format="gray")[24].astype(int)  # computed to the full range
        shown = (frame[0][24] - 16.0) * 255 / 219 if color.range == 1 else frame[0][24]
        assert np.abs(found - shown).max() <= 3
        with av.open(str(tmp_path / name)) as made:
            assert made.streams.video[0].codec_context.colorspace != 0

    @pytest.mark.parametrize("name", ["%d.png", "%d.jpg", "a.gif", "a.mov", "a.webp"])
    def test_constant_luminance(self, tmp_path, name):
        info = video_info("yuv420p10le", color=ColorInfo(1, 10, 9, 14))
        codec = {"codec": "prores"} if name == "a.mov" else {}
        write(tmp_path / name, info, frames_of("yuv420p10le"), rate=Fraction(25), **codec)
        told = any(
            "as if their matrix were bt2020's" in line for line in target_for(name, info, tools(), **codec).warnings
        )
        assert told == (name not in ("a.mov", "%d.png")), "no colours are converted, or it is done exactly"
        if name == "a.mov":
            with av.open(str(tmp_path / name)) as made:
                assert next(made.decode(video=0)).colorspace == 10

    @pytest.mark.parametrize("matrix", [8, 12])
    @pytest.mark.parametrize("name", ["%d.png", "%d.jpg", "a.gif", "a.mov"])
    def test_a_matrix_that_filters_do_not_know(self, tmp_path, name, matrix):
        info = video_info("yuv420p", color=ColorInfo(1, matrix, 1, 1))
        codec = {"codec": "prores"} if name == "a.mov" else {}
        write(tmp_path / name, info, frames_of("yuv420p"), rate=Fraction(25), **codec)
        assert any("as if their matrix were smpte170m's" in line for line in target_for(name, info, **codec).warnings)

    def test_a_gif_made_smaller_has_a_palette_of_its_own(self, tmp_path):
        gradient = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
        frame = (gradient + 60, np.full((24, 32), 100, np.uint8), np.full((24, 32), 150, np.uint8))
        write(tmp_path / "a.gif", video_info(), [frame] * 2, rate=Fraction(25), encoder_args=("-vf", "scale=32:24"))
        back, _ = read_back(tmp_path / "a.gif")
        pixels = back[0].to_ndarray(format="rgb24").reshape(-1, 3)
        assert back[0].width == 32 and len(np.unique(pixels, axis=0)) > 40

    def test_the_last_frame_of_a_gif_has_its_own_colours(self, tmp_path):
        gradient = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8) // 2
        chroma = np.full((24, 32), 128, np.uint8)
        frames = [(gradient + base, chroma, chroma) for base in (40, 100, 160)]
        write(tmp_path / "a.gif", video_info(), frames, rate=Fraction(25))
        back, _ = read_back(tmp_path / "a.gif")
        for frame, found in zip(frames, back, strict=True):
            shown = (frame[0] - 16.0) * 255 / 219
            assert np.abs(found.to_ndarray(format="rgb24")[..., 1] - shown).mean() < 3

    def test_ten_bit_white_is_white(self, tmp_path):
        """swscale alone would give 65283."""
        frame = tuple(
            np.full(s, v, np.uint16) for s, v in zip(((48, 64), (24, 32), (24, 32)), (940, 512, 512), strict=True)
        )
        write(tmp_path / "%d.png", video_info("yuv420p10le"), [frame])
        back, _ = read_back(tmp_path / "1.png")
        assert back[0].to_ndarray(format="rgb48le").min() == 65535

    def test_a_single_image(self, tmp_path):
        write(tmp_path / "only.png", video_info(), frames_of("yuv420p", count=1))
        assert only_files(tmp_path) == ["only.png"]

    def test_an_existing_image_of_a_sequence_is_not_overwritten(self, tmp_path):
        (tmp_path / "im004.png").write_text("mine")
        with pytest.raises(SlomoError, match="exists"):
            write(tmp_path / "im%03d.png", video_info(), frames_of("yuv420p"))
        assert only_files(tmp_path) == ["im004.png"]
        write(tmp_path / "im%03d.png", video_info(), frames_of("yuv420p"), overwrite=True)
        assert len(only_files(tmp_path)) == 5


class TestPicture:
    COLORS = (
        ColorInfo(1, 1, 1, 1, 1),
        ColorInfo(1, 9, 9, 16, 3),
        ColorInfo(1, 9, 9, 18, 1),
        ColorInfo(2, 1, 1, 1, 2),
        ColorInfo(1, 6, 6, 6, 1),
        ColorInfo(1, 5, 5, 6, 1),
    )

    @pytest.mark.parametrize("color", COLORS, ids=str)
    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            ("a.mp4", "h264"),
            ("a.mp4", "hevc"),
            ("a.mkv", "av1"),
            ("a.webm", "vp9"),
            ("a.mkv", "ffv1"),
            ("a.mov", "prores"),
        ],
    )
    def test_colour_tags(self, tmp_path, name, codec, color):
        pix_fmt = "yuv420p" if codec != "prores" else "yuv422p10le"
        write(tmp_path / name, video_info(pix_fmt, 64, 64, color), frames_of(pix_fmt, 64, 64, 2), codec=codec)
        decoded, _ = read_back(tmp_path / name)
        frame = decoded[0]
        wanted_range = 1 if codec == "prores" else color.range
        found = (frame.color_range, int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc))
        assert found == (wanted_range, color.matrix, color.primaries, color.transfer)

    def test_what_was_not_said_stays_unsaid(self, tmp_path):
        write(tmp_path / "a.mp4", video_info(color=ColorInfo()), frames_of("yuv420p"))
        decoded, _ = read_back(tmp_path / "a.mp4")
        assert (decoded[0].color_range, int(decoded[0].colorspace), int(decoded[0].color_trc)) == (0, 2, 2)

    @pytest.mark.parametrize("location", [1, 2, 3])
    @pytest.mark.parametrize("codec", ["h264", "hevc"])
    def test_chroma_siting(self, tmp_path, codec, location):
        from slomo_cli.media.read.probe import probe

        color = replace(BT709, chroma_location=location)
        write(tmp_path / "a.mkv", video_info(color=color), frames_of("yuv420p"), codec=codec)
        assert probe(tmp_path / "a.mkv").color.chroma_location == location

    def test_rgb_as_yuv_says_which_matrix_was_used(self, tmp_path):
        frame = tuple(np.full((48, 64), value, np.uint8) for value in (30, 200, 100))
        write(tmp_path / "a.mp4", video_info("gbrp", color=ColorInfo(2, 0, 1, 13)), [frame] * 3)
        decoded, _ = read_back(tmp_path / "a.mp4")
        assert (decoded[0].color_range, int(decoded[0].colorspace), int(decoded[0].color_trc)) == (1, 1, 13)
        assert np.abs(decoded[0].to_ndarray(format="rgb24")[24, 32].astype(int) - (100, 30, 200)).max() <= 2

    @pytest.mark.parametrize(("pix_fmt", "bits"), [("yuv420p", 8), ("yuv422p10le", 10), ("gbrp", 10)])
    def test_dnxhd_of_any_size(self, tmp_path, pix_fmt, bits):
        write(tmp_path / "a.mov", video_info(pix_fmt, 258, 130), frames_of(pix_fmt, 258, 130), codec="dnxhd")
        decoded, _ = read_back(tmp_path / "a.mov")
        assert (decoded[0].width, decoded[0].format.components[0].bits, len(decoded)) == (
            258,
            bits,
            len(frames_of(pix_fmt)),
        )

    def test_rgb_of_wide_colours_has_their_own_matrix(self, tmp_path):
        frame = tuple(np.full((48, 64), value, np.uint16) for value in (9000, 50000, 20000))
        write(tmp_path / "a.mp4", video_info("gbrp16le", color=ColorInfo(2, 0, 9, 16)), [frame] * 3)
        decoded, _ = read_back(tmp_path / "a.mp4")
        assert [int(tag) for tag in (decoded[0].colorspace, decoded[0].color_primaries)] == [9, 9]
        assert np.abs(decoded[0].to_ndarray(format="rgb48le")[24, 32].astype(int) - (20000, 9000, 50000)).max() < 500

    @pytest.mark.parametrize(("name", "codec"), [("a.avi", None), ("a.nut", "mpeg4"), ("a.mp4", "mpeg4")])
    def test_rgb_as_yuv_that_cannot_say_its_matrix_has_the_one_that_is_guessed(self, tmp_path, name, codec):
        frame = tuple(np.full((48, 64), value, np.uint8) for value in (30, 60, 200))
        write(tmp_path / name, video_info("gbrp", color=ColorInfo(2, 0, 1, 13)), [frame] * 3, codec=codec)
        decoded, _ = read_back(tmp_path / name)
        assert np.abs(decoded[0].to_ndarray(format="rgb24")[24, 32].astype(int) - (200, 30, 60)).max() <= 4

    @pytest.mark.parametrize(
        ("name", "codec"), [("a.mp4", "hevc"), ("a.mkv", "hevc"), ("a.mkv", "av1"), ("a.mp4", "h264")]
    )
    def test_hdr10(self, tmp_path, name, codec):
        from slomo_cli.media.read.probe import probe

        steps = (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)
        mastering = (*(Fraction(step, 50000) for step in steps), Fraction(1, 200), Fraction(1000))
        hdr = HdrInfo(mastering, 1000, 400)
        info = video_info("yuv420p10le", 64, 64, ColorInfo(1, 9, 9, 16, 3), hdr=hdr)
        write(tmp_path / name, info, frames_of("yuv420p10le", 64, 64), codec=codec)
        found = probe(tmp_path / name).hdr
        assert (found.max_cll, found.max_fall) == (1000, 400)
        assert found.mastering is not None
        assert all(abs(a - b) <= Fraction(1, 10_000) for a, b in zip(found.mastering, mastering, strict=True))

    @pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
    @pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(40, 33), Fraction(8, 9), Fraction(1)])
    def test_pixel_shape(self, tmp_path, name, aspect):
        write(tmp_path / name, video_info(sample_aspect=aspect), frames_of("yuv420p"))
        _, stream = read_back(tmp_path / name)
        assert (stream.sample_aspect_ratio or 1) == aspect

    @pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
    @pytest.mark.parametrize(("degrees", "flip"), list(product((0, 90, 180, 270), (False, True))))
    def test_orientation_is_handed_on(self, tmp_path, name, degrees, flip):
        needed = BY_EXTENSION[name.partition(".")[2]].display_matrix
        if needed is None or tools().release < needed:
            pytest.skip("this ffmpeg writes no mark into this container")
        matrix = display_matrix(degrees, flip)
        write(tmp_path / name, video_info(display_matrix=matrix), frames_of("yuv420p", count=2))
        decoded, _ = read_back(tmp_path / name)
        found = decoded[0].side_data.get("DISPLAYMATRIX")
        upright = np.array([65536, 0, 0, 65536])
        kept = upright if found is None else np.frombuffer(found, np.int32)[[0, 1, 3, 4]]
        assert np.abs(kept - np.array(matrix)[[0, 1, 3, 4]]).max() <= 1

    @pytest.mark.parametrize(("degrees", "flip"), list(product((0, 90, 180, 270), (False, True))))
    def test_turning_the_picture_is_what_a_player_would_do_with_the_mark(self, tmp_path, degrees, flip):
        frames = frames_of("gbrp", 32, 16, 1)
        info = video_info("gbrp", 32, 16, display_matrix=display_matrix(degrees, flip))
        write(tmp_path / "marked.mkv", info, frames, codec="ffv1")
        shown = subprocess.run(
            [
                tools().path,
                "-v",
                "error",
                "-i",
                str(tmp_path / "marked.mkv"),
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-",
            ],
            capture_output=True,
            check=True,
        ).stdout
        write(tmp_path / "turned.png", info, frames)
        turned, _ = read_back(tmp_path / "turned.png")
        assert turned[0].to_ndarray(format="rgb24").tobytes() == shown

    @pytest.mark.parametrize(("pix_fmt", "codec"), [("yuv420p10le", "hevc"), ("yuv420p", "av1")])
    @pytest.mark.parametrize("flip", [False, True])
    def test_encoders_survive_a_picture_that_is_turned_over(self, tmp_path, pix_fmt, codec, flip):
        """Rows that are read upwards end x265 in a signal, and SVT-AV1 refuses them."""
        info = video_info(pix_fmt, 64, 64, display_matrix=display_matrix(180, flip))
        layout = layout_of(pix_fmt)
        frames = [
            tuple(np.sort(plane, axis=0) for plane in planes) for planes in frames_of(pix_fmt, 64, 64, 9)
        ]  # darker at the top
        write(tmp_path / "a.nut", info, frames, codec=codec)
        decoded, _ = read_back(tmp_path / "a.nut")
        luma = samples(decoded[4], layout)[0]
        assert len(decoded) == 9
        assert luma[:8].mean() > luma[-8:].mean() + layout.peak / 8

    @pytest.mark.parametrize("codec", ["h264", "hevc"])
    def test_padding_repeats_the_last_column_and_row(self, tmp_path, codec):
        frames = frames_of("yuv420p", 65, 49)
        lossless = ("-qp", "0") if codec == "h264" else ("-x265-params", "lossless=1")
        write(tmp_path / "a.mkv", video_info("yuv420p", 65, 49), frames, codec=codec, encoder_args=lossless)
        decoded, _ = read_back(tmp_path / "a.mkv")
        luma, blue, red = samples(decoded[2], layout_of("yuv420p"))
        assert np.array_equal(luma, np.pad(frames[2][0], ((0, 1), (0, 1)), "edge"))
        assert np.array_equal(blue, frames[2][1])
        assert np.array_equal(red, frames[2][2])

    @pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
    def test_gray_keeps_every_sample_beside_neutral_chroma(self, tmp_path, codec):
        frames = frames_of("gray", 65, 49)
        options = {"h264": ("-qp", "0"), "hevc": ("-x265-params", "lossless=1"), "vp9": ("-lossless", "1")}[codec]
        write(tmp_path / "a.mkv", video_info("gray", 65, 49), frames, codec=codec, encoder_args=options)
        decoded, _ = read_back(tmp_path / "a.mkv")
        luma, blue, red = samples(decoded[1], layout_of("yuv420p"))
        assert np.array_equal(luma[:49, :65], frames[1][0])
        assert set(np.unique(blue)) | set(np.unique(red)) == {128}


def display_matrix(degrees: int, flip: bool) -> tuple[int, ...]:
    """The matrix for a counter-clockwise rotation, mirrored left to right after it."""
    cosine, sine = round(math.cos(math.radians(degrees))) * 65536, round(math.sin(math.radians(degrees))) * 65536
    sign = -1 if flip else 1
    return (sign * cosine, -sine, 0, sign * sine, cosine, 0, 0, 0, 1 << 30)


class TestOwnStamps:
    TIMES = tuple(Fraction(*pair) for pair in ((0, 1), (1, 30), (1, 10), (1, 3), (1, 2), (3, 4), (761, 1000), (2, 1)))

    @pytest.mark.parametrize(
        ("name", "codec"), [("a.mp4", "h264"), ("a.mov", "hevc"), ("a.mkv", "ffv1"), ("a.webm", "vp9")]
    )
    def test_every_stamp_is_kept(self, tmp_path, name, codec):
        frames = frames_of("yuv420p", count=len(self.TIMES))
        write(
            tmp_path / name,
            video_info(),
            frames,
            seconds=self.TIMES,
            time_base=Fraction(1, 3000),
            duration=Fraction(9, 4),
            codec=codec,
            rate=Fraction(4),
        )
        found = stamps(tmp_path / name)
        tick = 0 if name.endswith(("mp4", "mov")) else Fraction(1, 1000)
        assert all(abs(a - b) <= tick for a, b in zip(found, self.TIMES, strict=True))
        # All of them are shown, the last one too, and it lasts to the end.
        decoded, _ = read_back(tmp_path / name)
        assert len(decoded) == len(self.TIMES)
        if name.endswith(("mp4", "mov")):
            with av.open(str(tmp_path / name)) as source:
                assert abs(source.duration / av.time_base - Fraction(9, 4)) < Fraction(1, 100)

    @pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p", "gbrp", "yuva444p10le", "gray", "gray16le"])
    def test_samples_survive_the_other_way_in(self, tmp_path, pix_fmt):
        frames = frames_of(pix_fmt, 33, 17, count=4)
        info = video_info(pix_fmt, 33, 17)
        when = {"seconds": self.TIMES[:4], "time_base": Fraction(1, 30), "duration": Fraction(1, 2)}
        write(tmp_path / "a.mkv", info, frames, codec="ffv1", **when)
        decoded, _ = read_back(tmp_path / "a.mkv")
        if pix_fmt == "gbrp":
            assert np.array_equal(decoded[3].to_ndarray(format="rgb24")[..., 1], frames[3][0])
        else:
            assert equal(decoded, frames, layout_of(pix_fmt))

    def test_stamps_that_stand_still_are_refused(self, tmp_path):
        frames = frames_of("yuv420p", count=2)
        with pytest.raises(ValueError, match="growing stamps"):
            when = {"seconds": [Fraction(1)] * 2, "time_base": Fraction(1, 30), "duration": Fraction(2)}
            write(tmp_path / "a.mp4", video_info(), frames, **when)
        assert only_files(tmp_path) == []


class TestWaysIn:
    def test_planes_that_are_views_are_written_as_they_look(self, tmp_path):
        wide = frames_of("gray", 128, 48, 3)
        narrow = [(planes[0][:, ::2],) for planes in wide]
        write(tmp_path / "a.mkv", video_info("gray", 64, 48), narrow, codec="ffv1")
        decoded, _ = read_back(tmp_path / "a.mkv")
        assert equal(decoded, [(plane.copy(),) for (plane,) in narrow], layout_of("gray"))

    def test_a_wrong_shape_is_a_bug_and_leaves_nothing(self, tmp_path):
        with pytest.raises(ValueError, match="expected planes"):
            write(tmp_path / "a.mp4", video_info(), frames_of("yuv420p", 32, 32))
        assert only_files(tmp_path) == []


def write_all(encoder: Encoder, frames: list[tuple]) -> None:
    for frame in frames:
        encoder.write(frame)
    encoder.finish()


def fake_ffmpeg(folder: Path, script: str) -> str:
    """A program that stands in for ffmpeg; its arguments end with the output, as ffmpeg's do."""
    path = folder / "fake-ffmpeg"
    path.write_text(f'#!/bin/sh\nfor last; do :; done\nout="${{last#file:}}"\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


class TestTruth:
    """Nothing appears until it is whole; when something fails, nothing does."""

    def start(self, folder: Path, program: str | None = None, expected: int = 5, name="a.mp4", **settings):
        target = target_for(folder / name, video_info(), tools(), **settings)
        return Encoder(build_encode_args(target, None, program or tools().path, frames=expected), target, expected)

    @pytest.fixture
    def folder(self, tmp_path):
        inner = tmp_path / "out"
        inner.mkdir()
        return inner

    def test_nothing_is_there_before_the_end(self, folder):
        with self.start(folder) as encoder:
            for frame in frames_of("yuv420p"):
                encoder.write(frame)
                assert only_files(folder) == [".a.mp4.slomo-part.mp4"]
            encoder.finish()
        assert only_files(folder) == ["a.mp4"]
        assert encoder.frames_written == 5

    @pytest.mark.parametrize("count", [0, 4, 6])
    def test_a_wrong_number_of_frames(self, folder, count):
        with pytest.raises(EncoderError, match=f"expected 5 frames, got {count}"), self.start(folder) as encoder:
            write_all(encoder, frames_of("yuv420p", count=count))
        assert only_files(folder) == []

    def test_an_exception_leaves_nothing(self, folder):
        with pytest.raises(RuntimeError), self.start(folder) as encoder:
            encoder.write(frames_of("yuv420p")[0])
            raise RuntimeError
        assert only_files(folder) == []
        assert encoder._process.returncode is not None

    def test_leaving_without_finish_leaves_nothing(self, folder):
        with self.start(folder) as encoder:
            encoder.write(frames_of("yuv420p")[0])
        assert only_files(folder) == []

    def test_ffmpegs_own_words(self, folder):
        with (
            pytest.raises(EncoderError, match="Unrecognized option 'nonsense'"),
            self.start(folder, encoder_args=("-nonsense", "1")) as encoder,
        ):
            write_all(encoder, frames_of("yuv420p") * 50)
        assert only_files(folder) == []

    def test_an_option_of_the_encoder_that_is_wrong(self, folder):
        with pytest.raises(EncoderError) as caught, self.start(folder, encoder_args=("-profile:v", "never")) as encoder:
            write_all(encoder, frames_of("yuv420p"))
        assert "never" in str(caught.value)
        assert "\n" not in str(caught.value)

    @posix
    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("cat >/dev/null; exit 0", "the file holds 0|cannot be read back"),
            ("cat >/dev/null; echo text >$out", "cannot be read back"),
            ("echo 'Unknown encoder' >&2; exit 8", "failed with code 8 after [0-9]+ frames: Unknown encoder"),
            (
                "cat >/dev/null; echo 'Error: No space left on device' >&2; exit 228",
                "the disk is full: [0-9]+ MiB are free",
            ),
            ("cat >/dev/null; kill -9 $$", r"killed by signal 9 \(Killed\) .*: the system does so where memory"),
            ("exec 0<&-; exit 0", "ffmpeg ended too early after [0-9]+ frames: it gave no reason"),
            ('cat >/dev/null; rm "$out"; exit 0', r"part.mp4' was removed or renamed while it was written"),
            ('cat >/dev/null; rm "$out"; exit 254', r"part.mp4' was removed or renamed while it was written"),
            ("kill -XFSZ $$", r"killed by signal [0-9]+ \(File ?size limit exceeded.*\) after [0-9]+ frames"),
            ("exec 0<&-; sleep 0.2; exit 3", "code 3"),
        ],
    )
    def test_a_program_that_lies_or_dies(self, folder, tmp_path, script, words):
        program = fake_ffmpeg(tmp_path, script)
        with pytest.raises(EncoderError, match=words), self.start(folder, program, 20) as encoder:
            write_all(encoder, frames_of("yuv420p", count=20))
        assert only_files(folder) == []

    @posix
    def test_a_file_one_frame_short_is_not_kept(self, folder, tmp_path):
        real = tools().path
        command = (
            f'"{real}" -v error -f rawvideo -video_size 64x48 -pixel_format yuv420p -i pipe:0 -frames:v 4 -y "$out"'
        )
        program = fake_ffmpeg(tmp_path, f"{command}; cat >/dev/null; exit 0")
        with (
            pytest.raises(EncoderError, match="wrote 5 frames but the file holds 4"),
            self.start(folder, program) as encoder,
        ):
            write_all(encoder, frames_of("yuv420p"))
        assert only_files(folder) == []

    @posix
    def test_floods_of_messages_do_not_block(self, folder, tmp_path):
        line = "echo 'warning: a line of words that fills the pipe up' >&2"
        flood = f"i=0; while [ $i -lt 3000 ]; do {line}; i=$((i+1)); done"
        program = fake_ffmpeg(tmp_path, f"{flood}; echo 'the last word' >&2; cat >/dev/null; exit 1")
        with pytest.raises(EncoderError, match="the last word"), self.start(folder, program) as encoder:
            write_all(encoder, frames_of("yuv420p"))
        assert len(encoder._tail) <= 64 * 1024

    def test_no_such_program(self, folder):
        with pytest.raises(EncoderError, match="cannot be started"):
            self.start(folder, "/nowhere/ffmpeg")
        assert only_files(folder) == []

    def test_too_many_processes_are_no_fault_of_ffmpeg(self, folder, monkeypatch):
        def refuse(*_, **__):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        monkeypatch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(DeviceError, match="no more processes can be begun"):
            self.start(folder, "/nowhere/ffmpeg")
        assert only_files(folder) == []

    def test_an_existing_target_is_refused_at_once(self, folder):
        (folder / "a.mp4").write_text("mine")
        with pytest.raises(UsageError, match="exists: overwrite it with -y"):
            self.start(folder)
        assert (folder / "a.mp4").read_text() == "mine"
        assert only_files(folder) == ["a.mp4"]

    def test_a_target_that_appears_meanwhile_is_not_replaced(self, folder):
        with pytest.raises(SlomoError), self.start(folder) as encoder:
            for frame in frames_of("yuv420p"):
                encoder.write(frame)
            (folder / "a.mp4").write_text("someone else's")
            encoder.finish()
        assert (folder / "a.mp4").read_text() == "someone else's"
        assert only_files(folder) == ["a.mp4"]

    def test_the_old_target_stays_until_the_new_one_is_whole(self, folder):
        (folder / "a.mp4").write_text("old")
        with pytest.raises(EncoderError), self.start(folder, overwrite=True) as encoder:
            encoder.write(frames_of("yuv420p")[0])
            encoder.finish()
        assert (folder / "a.mp4").read_text() == "old"
        with self.start(folder, overwrite=True) as encoder:
            for frame in frames_of("yuv420p"):
                encoder.write(frame)
            assert (folder / "a.mp4").read_text() == "old"
            encoder.finish()
        assert len(stamps(folder / "a.mp4")) == 5

    def test_no_hard_links(self, folder, monkeypatch):
        """As on FAT and some network file systems."""

        def link(*_):
            raise OSError(errno.EPERM, "not here")

        monkeypatch.setattr(place.os, "link", link)
        write(folder / "a.mp4", video_info(), frames_of("yuv420p"))
        assert only_files(folder) == ["a.mp4"]
        with pytest.raises(UsageError):
            write(folder / "a.mp4", video_info(), frames_of("yuv420p"))

    @posix
    def test_what_another_user_has_left_is_named(self, folder, monkeypatch):
        left = folder / ".a.mp4.slomo-part.mp4"
        left.touch()

        def refuse(name: Path, *how: int) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

        with monkeypatch.context() as patched:
            patched.setattr(place.os, "open", refuse)
            with pytest.raises(EncoderError, match=r"part\.mp4' belongs to a run of another user"):
                self.start(folder)
        assert left.exists()

    @posix
    def test_two_runs_on_one_output(self, folder):
        with self.start(folder) as first:
            with pytest.raises(EncoderError, match="another slomo is writing"):
                self.start(folder)
            write_all(first, frames_of("yuv420p"))
        assert only_files(folder) == ["a.mp4"]

    @posix
    def test_two_runs_that_begin_in_the_same_moment(self, folder, monkeypatch):
        """The other one took the file for left over between its making and its lock."""

        def other(number: int) -> bool:
            (folder / ".a.mp4.slomo-part.mp4").unlink()
            return True

        monkeypatch.setattr(place, "locked", other)
        with pytest.raises(EncoderError, match="another slomo is writing"):
            self.start(folder)

    @posix
    def test_a_signal_while_ffmpeg_begins_leaves_nothing(self, folder, monkeypatch):
        made = []

        def begin(*words, **settings):
            made.append(popen(*words, **settings))
            os.kill(os.getpid(), signal.SIGINT)
            return made[0]

        popen = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", begin)
        with pytest.raises(KeyboardInterrupt):
            self.start(folder)
        try:
            assert made[0].wait(timeout=10) == -signal.SIGKILL
        finally:
            made[0].kill()
        assert only_files(folder) == []

    @pytest.mark.parametrize("name", ["a.mp4", "a_%d.png"])
    def test_a_signal_while_the_place_is_made_leaves_nothing(self, folder, monkeypatch, name):
        def opened(path, *words):
            number = real(path, *words)
            if ".slomo-part" in str(path):
                monkeypatch.setattr(place.os, "open", real)
                raise KeyboardInterrupt
            return number

        real = os.open
        monkeypatch.setattr(place.os, "open", opened)
        with pytest.raises(KeyboardInterrupt):
            place.Place(target_for(folder / name, video_info(), tools()))
        assert only_files(folder) == []

    @posix
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_signal_while_pictures_get_their_names_waits_until_all_have_them(self, folder, monkeypatch, overwrite):
        def signalled(*words):
            real(*words)
            if words[1].name == "1.png":
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

        if overwrite:
            (folder / "2.png").write_text("old")
        real = place._appear
        monkeypatch.setattr(place, "_appear", signalled)
        with pytest.raises(KeyboardInterrupt):
            write(folder / "%d.png", video_info(), frames_of("yuv420p"), overwrite=overwrite)
        assert only_files(folder) == [f"{number}.png" for number in range(1, 6)]

    def test_a_picture_that_cannot_get_its_name_takes_those_before_it_along(self, folder, monkeypatch):
        def fail(temporary, path, overwrite):
            if path.name == "4.png":
                raise PermissionError(errno.EPERM, "Operation not permitted")
            real(temporary, path, overwrite)

        (folder / "2.png").write_text("old")
        real = place._appear
        monkeypatch.setattr(place, "_appear", fail)
        with pytest.raises(EncoderError, match="Operation not permitted"):
            write(folder / "%d.png", video_info(), frames_of("yuv420p"), overwrite=True)
        assert only_files(folder) == ["2.png"]

    def test_a_folder_in_the_way_of_a_picture_leaves_nothing(self, folder):
        with self.start(folder, overwrite=True, name="%d.png") as encoder:
            (folder / "3.png").mkdir()
            for frame in frames_of("yuv420p"):
                encoder.write(frame)
            with pytest.raises(EncoderError, match=r"3\.png' is a folder"):
                encoder.finish()
        assert only_files(folder) == ["3.png"]

    @posix
    def test_threads_that_cannot_be_had_leave_no_process(self, folder, monkeypatch):
        class Sound(Feed):
            def start(self):
                raise RuntimeError("can't start new thread")

            def _fill(self, number):
                pass

        made = []
        popen = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", lambda *words, **how: made.append(popen(*words, **how)) or made[0])
        target = target_for(folder / "a.mp4", video_info(), tools())
        feed = Sound("pipe:sound0", "audio track 1")
        with pytest.raises(RuntimeError, match="thread"):
            Encoder(build_encode_args(target, None, tools().path, frames=5), target, 5, feeds=[feed])
        feed.stop()
        assert made[0].poll() == -signal.SIGKILL
        assert only_files(folder) == []

    def test_a_leftover_of_a_crash_is_replaced(self, folder):
        (folder / ".a.mp4.slomo-part.mp4").write_bytes(b"x" * 100_000)
        write(folder / "a.mp4", video_info(), frames_of("yuv420p"))
        assert only_files(folder) == ["a.mp4"]

    @posix
    def test_a_pipe_or_a_link_in_its_place_is_replaced(self, folder):
        (folder / "other").write_text("of somebody")
        hidden = folder / ".a.mp4.slomo-part.mp4"
        for plant in (lambda: os.mkfifo(hidden), lambda: hidden.symlink_to("other"), lambda: hidden.symlink_to("none")):
            plant()
            write(folder / "a.mp4", video_info(), frames_of("yuv420p"), overwrite=True)
            assert only_files(folder) == ["a.mp4", "other"]
        assert (folder / "other").read_text() == "of somebody"

    def test_an_ffmpeg_that_outlived_its_slomo_does_not_write_into_the_next_result(self, folder):
        with (folder / ".a.mp4.slomo-part.mp4").open("wb") as orphan:
            write(folder / "a.mp4", video_info(), frames_of("yuv420p"))
            orphan.write(b"late" * 1000)
        assert len(stamps(folder / "a.mp4")) == 5

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_cannot_be_written(self, folder):
        folder.chmod(0o500)
        try:
            with pytest.raises(EncoderError, match="cannot write to the folder"):
                self.start(folder)
        finally:
            folder.chmod(0o700)

    def test_a_folder_that_is_not_there(self, folder):
        with pytest.raises(EncoderError, match="does not exist"):
            self.start(folder / "deeper")

    @pytest.mark.parametrize("call", ["replace", "fsync", "link"])
    def test_every_failing_call_at_the_end_leaves_the_old_target(self, folder, monkeypatch, call):
        def fail(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        (folder / "a.mp4").write_text("old")
        with self.start(folder, overwrite=True) as encoder:
            for frame in frames_of("yuv420p"):
                encoder.write(frame)
            monkeypatch.setattr(place.os, call, fail)
            if call == "link":  # not needed where the old one is replaced
                encoder.finish()
            else:
                with pytest.raises(EncoderError, match="No space left"):
                    encoder.finish()
                assert (folder / "a.mp4").read_text() == "old"
        assert only_files(folder) == ["a.mp4"]

    def test_a_disk_that_takes_no_picture_is_heard(self, folder, monkeypatch):
        """Of a sequence none appears, not even those before it."""

        def fail(_):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(place.os, "fsync", fail)
        with pytest.raises(EncoderError, match="Input/output error"):
            write(folder / "%03d.png", video_info(), frames_of("yuv420p"))
        assert only_files(folder) == []

    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of what is open")
    @pytest.mark.parametrize("name", ["a.mp4", "%03d.png"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_nothing_that_is_renamed_or_removed_is_open_where_that_cannot_be(
        self, folder, monkeypatch, name, overwrite
    ):
        """As on Windows, where no folder can be opened either."""
        opened = os.open

        def only_files_are_opened(path, *rest, **words):
            if os.path.isdir(path):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return opened(path, *rest, **words)

        def of_closed_files(call):
            def checked(path, *rest, **words):
                held = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
                if os.path.realpath(path) in map(os.path.realpath, held):
                    raise PermissionError(errno.EACCES, "in use by another process", path)
                return call(path, *rest, **words)

            return checked

        monkeypatch.setattr(place, "_HOLDS", False)
        monkeypatch.setattr(os, "open", only_files_are_opened)
        # shutil's way with folders where they cannot be opened, as it is chosen before and since Python 3.14.
        monkeypatch.setattr(shutil, "_use_fd_functions", False)
        monkeypatch.setattr(shutil, "_rmtree_impl", shutil._rmtree_unsafe, raising=False)
        for call in ("replace", "unlink"):
            monkeypatch.setattr(os, call, of_closed_files(getattr(os, call)))
        target = target_for(folder / name, video_info(), tools(), overwrite=overwrite)
        args = build_encode_args(target, None, tools().path, frames=2)
        for finished in (False, True):
            with Encoder(args, target, 2) as encoder:
                for frame in frames_of("yuv420p", count=2):
                    encoder.write(frame)
                if finished:
                    encoder.finish()
            there = ["a.mp4"] if name == "a.mp4" else ["001.png", "002.png"]
            assert only_files(folder) == (there if finished else [])


class TestStopping:
    def test_abort_while_a_write_is_blocked(self, tmp_path):
        """A write waits for ffmpeg to read; abort from another thread frees it."""
        program = fake_ffmpeg(tmp_path, "sleep 60") if os.name != "nt" else tools().path
        (tmp_path / "out").mkdir()
        target = target_for(tmp_path / "out" / "a.mkv", video_info("yuv420p", 640, 480), tools())
        encoder = Encoder(build_encode_args(target, None, program, frames=1), target, 1)
        failed: list[BaseException] = []
        (planes,) = frames_of("yuv420p", 640, 480, 1)

        def feed():
            try:
                while True:
                    encoder.write(planes)
            except SlomoError as error:
                failed.append(error)

        thread = threading.Thread(target=feed)
        thread.start()
        time.sleep(0.3)
        begun = time.monotonic()
        encoder.abort()
        thread.join(timeout=5)
        assert not thread.is_alive()
        assert time.monotonic() - begun < 2
        assert isinstance(failed[0], EncoderError)
        assert only_files(tmp_path / "out") == []
        encoder.abort()

    def test_abort_while_finish_waits(self, tmp_path):
        program = fake_ffmpeg(tmp_path, "cat >/dev/null; exec sleep 60") if os.name != "nt" else tools().path
        (tmp_path / "out").mkdir()
        target = target_for(tmp_path / "out" / "a.mkv", video_info(), tools())
        encoder = Encoder(build_encode_args(target, None, program, frames=1), target, 1)
        encoder.write(frames_of("yuv420p")[0])
        timer = threading.Timer(0.3, encoder.abort)
        timer.start()
        begun = time.monotonic()
        with pytest.raises(EncoderError, match="stopped"):
            encoder.finish()
        assert time.monotonic() - begun < 3
        assert only_files(tmp_path / "out") == []

    def test_abort_after_finish_keeps_the_file(self, tmp_path):
        target = target_for(tmp_path / "a.mp4", video_info(), tools())
        encoder = Encoder(build_encode_args(target, None, tools().path, frames=1), target, 1)
        encoder.write(frames_of("yuv420p")[0])
        encoder.finish()
        encoder.abort()
        assert only_files(tmp_path) == ["a.mp4"]

    def test_an_interrupt_while_it_begins_leaves_nothing(self, tmp_path, monkeypatch):
        """Ctrl-C comes when it likes, also before whoever asked for the encoder has got it."""

        def interrupted(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr("slomo_cli.media.write.encode.RawNut", interrupted)
        target = target_for(tmp_path / "o.mkv", video_info(), tools())
        base = Fraction(1, 25)
        times = OwnTimes(base, last=Fraction(0), end=Fraction(1))
        args = build_encode_args(target, None, tools().path, frames=1, times=times)
        with pytest.raises(KeyboardInterrupt):
            Encoder(args, target, 1, time_base=base)
        assert only_files(tmp_path) == []
        assert "slomo-encoder-messages" not in [thread.name for thread in threading.enumerate()]

    @posix
    def test_interrupts_of_the_terminal_do_not_reach_ffmpeg(self, tmp_path):
        """Ctrl-C goes to the whole foreground group; slomo alone decides what becomes of the encoder."""
        target = target_for(tmp_path / "a.mp4", video_info(), tools())
        with Encoder(build_encode_args(target, None, tools().path, frames=5), target, 5) as encoder:
            assert os.getpgid(encoder._process.pid) != os.getpgid(0)
            write_all(encoder, frames_of("yuv420p"))

    @posix
    def test_ffmpeg_killed_from_outside(self, tmp_path):
        target = target_for(tmp_path / "a.mp4", video_info(), tools())
        with (
            pytest.raises(EncoderError, match="killed by signal 9"),
            Encoder(build_encode_args(target, None, tools().path, frames=51), target, 51) as encoder,
        ):
            encoder.write(frames_of("yuv420p")[0])
            os.kill(encoder._process.pid, signal.SIGKILL)
            write_all(encoder, frames_of("yuv420p", count=50))
        assert only_files(tmp_path) == []


class TestHardware:
    def test_an_encoder_without_its_device_is_found_out_before_the_run(self, tmp_path):
        found = tools()
        named = [name for name in ("h264_nvenc", "h264_qsv", "h264_amf") if name in found.encoders]
        if not named:
            pytest.skip("this ffmpeg has no hardware encoders")
        for name in named:
            try:
                target_for(tmp_path / "a.mp4", video_info(width=256, height=256), found, codec=name)
            except EncoderError as error:
                assert f"{name} does not work here" in str(error)
                assert "use --codec libx264" in str(error)


def test_settings_reach_the_file(tmp_path):
    """A better quality is a bigger file."""
    frames = frames_of("yuv420p", 128, 96, 12)
    sizes = []
    for crf in (10, 40):
        write(tmp_path / "a.mp4", video_info("yuv420p", 128, 96), frames, crf=crf, preset="veryfast", overwrite=True)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]
    assert EncodeSettings().overwrite is False

"""What will be written: choices and command lines, decided without running anything."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from out_helpers import NTSC, FakeTools, target_for, video_info

from slomo_cli.errors import EncoderError, SlomoError, UsageError
from slomo_cli.media import formats
from slomo_cli.media.clocks import common_time_base, track_timescale
from slomo_cli.media.containers import BY_MUXER, CONTAINERS
from slomo_cli.media.orientation import orientation_of
from slomo_cli.media.pixels import layout_of
from slomo_cli.media.plan.codecs import ENCODERS, encoder_of, quality_options
from slomo_cli.media.plan.wishes import merge_options, parse_encoder_args
from slomo_cli.media.write.args import OwnTimes, build_encode_args
from slomo_cli.values import ColorInfo, HdrInfo

HDR = HdrInfo(
    mastering=tuple(
        Fraction(*pair)
        for pair in (
            (34000, 50000),
            (16000, 50000),
            (13250, 50000),
            (34500, 50000),
            (7500, 50000),
            (3000, 50000),
            (15635, 50000),
            (16450, 50000),
            (1, 10000),
            (1000, 1),
        )
    ),
    max_cll=1000,
    max_fall=400,
)
HEAD = "-hide_banner -nostdin -nostats -v warning -y"
RAW = "-f rawvideo -video_size 64x48 -framerate 30000/1001"


def command(name: str | None, info=None, **settings) -> str:
    """The whole command for an output in the folder /out, as one line."""
    rate = settings.pop("rate", NTSC)
    frames = settings.pop("frames", 5)
    time_base = settings.pop("time_base", None)
    times = None if time_base is None else OwnTimes(time_base, last=Fraction(3), end=Fraction(7, 2))
    tools = settings.pop("tools", None)
    path = None if name is None else Path("/out") / name
    target = target_for(path, info, tools, rate, frames, **settings)
    return " ".join(build_encode_args(target, None, "ffmpeg", frames=frames, times=times))


class TestCommand:
    """Golden command lines: what ffmpeg is told, word for word."""

    @pytest.mark.skipif(os.name == "nt", reason="the expected paths are POSIX ones")
    def test_mp4(self):
        assert command("a.mp4") == (
            f"ffmpeg {HEAD} -chroma_sample_location:v:0 left {RAW} -pixel_format yuv420p -i pipe:0 "
            "-map 0:v:0 -f mp4 -c:v:0 libx264 "
            "-filter:v:0 setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709 "
            "-pix_fmt:v:0 yuv420p -crf:v:0 18 -movflags +faststart -fps_mode:v:0 passthrough -enc_time_base:v:0 demux "
            "-video_track_timescale 30000 -movie_timescale 30000 file:/out/.a.mp4.slomo-part.mp4"
        )

    @pytest.mark.skipif(os.name == "nt", reason="the expected paths are POSIX ones")
    def test_hdr10_in_mov(self):
        info = video_info("yuv420p10le", color=ColorInfo(1, 9, 9, 16, 3), hdr=HDR)
        assert command("a.mov", info, crf=20, preset="slow", rate=Fraction(24)) == (
            f"ffmpeg {HEAD} -chroma_sample_location:v:0 topleft -f rawvideo -video_size 64x48 -framerate 24/1 "
            "-pixel_format yuv420p10le -i pipe:0 -map 0:v:0 -f mov -c:v:0 libx265 "
            "-filter:v:0 setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc "
            "-pix_fmt:v:0 yuv420p10le -x265-params:v:0 log-level=error:hdr10=1:repeat-headers=1:"
            "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400 "
            "-crf:v:0 20 -preset:v:0 slow -tag:v:0 hvc1 -movflags +faststart "
            "-fps_mode:v:0 passthrough -enc_time_base:v:0 demux "
            "-video_track_timescale 24000 -movie_timescale 24000 file:/out/.a.mov.slomo-part.mov"
        )

    @pytest.mark.skipif(os.name == "nt", reason="the expected paths are POSIX ones")
    def test_gif_with_one_palette(self):
        info = video_info("gbrp", color=ColorInfo())
        assert command("a.gif", info, rate=Fraction(25), frames=10) == (
            f"ffmpeg {HEAD} -f rawvideo -video_size 64x48 -framerate 25/1 -pixel_format gbrp -i pipe:0 "
            "-map 0:v:0 -f gif -c:v:0 gif -filter:v:0 setparams=colorspace=gbr,"
            "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=bgra,"
            "split[a][b];[a]tpad=stop=1:color=magenta,palettegen=stats_mode=diff:reserve_transparent=0[p];"
            "[b][p]paletteuse=dither=sierra2_4a:diff_mode=rectangle "
            "-loop 0 -fps_mode:v:0 passthrough -enc_time_base:v:0 demux file:/out/.a.gif.slomo-part.gif"
        )

    def test_a_long_gif_makes_a_palette_for_each_frame(self):
        """One palette for all would hold every frame in memory."""
        info = video_info(width=1920, height=1080)
        assert "stats_mode=single" in command("a.gif", info, rate=Fraction(25), frames=1000)

    @pytest.mark.skipif(os.name == "nt", reason="the expected paths are POSIX ones")
    def test_images(self):
        info = video_info(color=ColorInfo(1, 6, 6, 6))
        assert command("im_%03d.jpg", info) == (
            f"ffmpeg {HEAD} {RAW} -pixel_format yuv420p -i pipe:0 -map 0:v:0 -f image2 "
            "-c:v:0 mjpeg -filter:v:0 setparams=range=tv:color_primaries=smpte170m:color_trc=smpte170m:"
            "colorspace=smpte170m,scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp:"
            "in_color_matrix=smpte170m:out_color_matrix=smpte170m:in_range=tv:out_range=pc,format=yuvj420p,"
            "setparams=range=pc:color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m "
            "-pix_fmt:v:0 yuvj420p -q:v:0 2 -fps_mode:v:0 passthrough -enc_time_base:v:0 demux "
            "file:/out/.im_%%03d.jpg.slomo-part/%d.jpg"
        )

    def test_standard_output_is_matroska(self):
        words = command(None)
        assert words.endswith(" pipe:1")
        assert " -f matroska " in words
        assert "movflags" not in words

    def test_own_stamps_come_as_nut_in_their_clock(self):
        words = command("a.mp4", time_base=Fraction(1, 90000))
        assert " -f nut -i pipe:0 " in words
        assert "rawvideo" not in words
        assert "-fps_mode:v:0 passthrough -enc_time_base:v:0 demux -bf:v:0 0 -video_track_timescale 90000" in words
        assert r"-bsf:v:0 setts=pts=PTS:dts=DTS:duration=max(1\,round(3.5/TB-PTS))" in words

    def test_the_oldest_ffmpeg_does_not_learn_how_long_the_last_picture_lasts(self):
        old, clock = FakeTools(version="4.4.2-0ubuntu0.22.04.1"), Fraction(1, 90000)
        with pytest.raises(EncoderError, match=r"this ffmpeg \(4.4\) cannot say in .mp4 .* write .mkv"):
            command("a.mp4", time_base=clock, tools=old)
        assert "setts" not in command("a.mkv", time_base=clock, tools=old)

    def test_older_ffmpeg_is_spoken_to_in_its_own_words(self):
        old = FakeTools(version="5.1.9-0+deb12u1")
        words = command("a.mp4", time_base=Fraction(1, 90000), tools=old)
        assert "-enc_time_base:v:0 -1" in words
        turned = video_info(display_matrix=matrix(90, False))
        words = command("a.mp4", turned, tools=old)
        assert "display_rotation" not in words
        assert "transpose=cclock" in words
        assert "-vsync passthrough" in (before := command("a.mp4", tools=FakeTools(version="4.4")))
        assert "-movie_timescale" not in before

    def test_orientation_travels_as_a_mark_where_the_container_has_one(self):
        words = command("a.mp4", video_info(display_matrix=matrix(90, True)))
        assert "-noautorotate -display_rotation:v:0 90 -display_hflip:v:0 -chroma" not in words
        assert "-display_rotation:v:0 90 -display_hflip:v:0" in words
        assert "transpose" not in words

    def test_the_command_is_the_same_every_time(self):
        assert command("a.mkv", crf=20, encoder_args=("-g", "30")) == command(
            "a.mkv", crf=20, encoder_args=("-g", "30")
        )

    @given(st.integers(1, 5000), st.integers(1, 5000), st.fractions(Fraction(1, 1000), 1000, max_denominator=1_000_000))
    def test_size_and_rate_are_told_exactly(self, width, height, rate):
        info = video_info("yuv420p", width * 2, height * 2)
        words = command("a.mkv", info, rate=rate).split()
        assert words[words.index("-video_size") + 1] == f"{width * 2}x{height * 2}"
        assert Fraction(words[words.index("-framerate") + 1]) == rate


class TestCodecChoice:
    @pytest.mark.parametrize(
        ("name", "pix_fmt", "encoder", "chosen"),
        [
            ("a.mp4", "yuv420p", "libx264", "yuv420p"),
            ("a.mp4", "yuv422p", "libx264", "yuv422p"),
            ("a.mp4", "yuv444p", "libx264", "yuv444p"),
            ("a.mp4", "yuv420p10le", "libx265", "yuv420p10le"),
            ("a.mkv", "yuv444p12le", "libx265", "yuv444p12le"),
            ("a.mov", "yuv420p", "libx264", "yuv420p"),
            ("a.mov", "yuva420p", "prores_ks", "yuva444p10le"),
            ("a.mkv", "yuva420p", "ffv1", "yuva420p"),
            ("a.mkv", "gbrap", "ffv1", "bgra"),
            ("a.webm", "yuv420p", "libvpx-vp9", "yuv420p"),
            ("a.webm", "yuva420p", "libvpx-vp9", "yuva420p"),
            ("a.webm", "yuv422p10le", "libvpx-vp9", "yuv422p10le"),
            ("a.avi", "yuv420p", "mpeg4", "yuv420p"),
            ("a.avi", "yuv420p10le", "ffv1", "yuv420p10le"),
            ("a.gif", "yuv420p", "gif", "bgra"),
            ("a.apng", "gbrap16le", "apng", "rgba64be"),
            ("a.webp", "yuva420p", "libwebp_anim", "yuva420p"),
            ("%d.png", "yuv420p", "png", "rgb24"),
            ("%d.png", "yuv420p10le", "png", "rgb48be"),
            ("%d.tiff", "gbrp16le", "tiff", "rgb48le"),
            ("%d.jpg", "yuv422p", "mjpeg", "yuvj422p"),
            (None, "yuv420p", "libx264", "yuv420p"),
        ],
    )
    def test_without_a_word_from_the_user(self, name, pix_fmt, encoder, chosen):
        target = target_for(name, video_info(pix_fmt))
        assert (target.encoder, target.pix_fmt) == (encoder, chosen)

    def test_gray_images_stay_gray_unless_their_range_is_limited(self):
        for pix_fmt, chosen, limited in (("gray", "gray", "rgb24"), ("gray16le", "gray16be", "rgb48be")):
            assert target_for("%d.png", video_info(pix_fmt, color=ColorInfo(2))).pix_fmt == chosen
            assert target_for("%d.png", video_info(pix_fmt, color=ColorInfo(1))).pix_fmt == limited

    def test_gray_is_fed_with_neutral_chroma_to_encoders_of_colour(self):
        target = target_for("a.mp4", video_info("gray"))
        assert (target.feed.name, target.pix_fmt, target.warnings) == ("yuv420p", "yuv420p", ())
        assert target_for("a.mkv", video_info("gray"), codec="ffv1").feed.name == "gray"

    def test_rgb_goes_into_what_every_player_shows_unless_the_codec_is_named(self):
        assert target_for("a.mp4", video_info("gbrp")).pix_fmt == "yuv420p"
        assert target_for("a.mp4", video_info("gbrp"), codec="h264").pix_fmt == "yuv444p"

    @pytest.mark.parametrize(
        ("name", "pix_fmt", "codec", "words"),
        [
            ("a.mp4", "yuva420p", None, "alpha lost"),
            ("a.mkv", "yuv444p", "av1", "chroma resolution (4:4:4 to 4:2:0) lost"),
            ("a.avi", "yuv444p12le", "mpeg4", "bit depth (12 to 8), chroma resolution (4:4:4 to 4:2:0) lost"),
            ("a.gif", "gbrap", None, "partial transparency is lost"),
            ("%d.jpg", "gbrap", None, "alpha lost"),
        ],
    )
    def test_every_loss_is_said_before_the_run(self, name, pix_fmt, codec, words):
        assert words in " ".join(target_for(name, video_info(pix_fmt), codec=codec).warnings)

    @pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.apng", "%d.png", "%d.tiff", "a.gif"])
    def test_nothing_is_said_where_nothing_is_lost(self, name):
        assert target_for(name, video_info("yuv420p", color=ColorInfo(1, 1, 1, 1, 1))).warnings == ()

    def test_hardware_outside_the_table_is_known_as_such(self):
        unknown = encoder_of("h264_vaapi")
        assert (unknown.codec, unknown.hardware, unknown.limited, unknown.whole_chroma) == ("h264", True, False, True)

    @pytest.mark.parametrize(("codec", "bits"), [("h264", 8), ("hevc", 10), ("av1", 10)])
    def test_nvenc_is_given_what_every_card_takes(self, monkeypatch, codec, bits):
        """H.264 of 10 bits only the newest ones."""
        monkeypatch.setattr("slomo_cli.media.plan.target.try_encoder", lambda *_: None)
        tools = FakeTools(encoders=frozenset({f"{codec}_nvenc"}))
        target = target_for("a.mp4", video_info("yuv420p10le", 640, 480), tools, codec=f"{codec}_nvenc")
        assert dict(target.options)["pix_fmt:v:0"] == {8: "yuv420p", 10: "p010le"}[bits]
        assert ("bit depth (10 to 8) lost" in " ".join(target.warnings)) == (bits == 8)

    def test_the_next_encoder_of_a_codec_stands_in(self):
        few = FakeTools(encoders=frozenset({"libaom-av1", "libopenh264"}))
        assert target_for("a.mkv", tools=few, codec="av1").encoder == "libaom-av1"
        assert target_for("a.mp4", tools=few).encoder == "libopenh264"

    @pytest.mark.parametrize(
        ("word", "encoder"), [("x264", "libx264"), ("H265", "libx265"), ("libaom-av1", "libaom-av1")]
    )
    def test_other_words_for_a_codec(self, word, encoder):
        assert target_for("a.mkv", codec=word).encoder == encoder

    def test_every_default_fits_its_container(self):
        for container, pix_fmt in product(CONTAINERS, ("yuv420p", "yuv420p10le", "yuva444p10le", "gray", "gbrp16le")):
            for ending in container.extensions:
                name = f"%d.{ending}" if container.still else f"a.{ending}"
                target = target_for(name, video_info(pix_fmt))
                held = BY_MUXER[target.container].video
                assert held is None or target.codec in held


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "settings", "kind", "words"),
        [
            ("a.xyz", {}, UsageError, "expected an output ending in"),
            ("a", {}, UsageError, "found none in 'a'"),
            ("a.mp4", {"codec": "nonsense"}, UsageError, "expected --codec h264"),
            ("a.mp4", {"codec": "ffv1"}, UsageError, ".mp4 cannot hold ffv1: use .mkv"),
            ("a.webm", {"codec": "h264"}, UsageError, ".webm cannot hold h264"),
            ("a.avi", {"codec": "h264"}, UsageError, ".avi cannot hold h264"),
            ("a.mov", {"codec": "av1"}, UsageError, ".mov cannot hold av1: use .mp4"),
            ("a.mkv", {"codec": "qtrle"}, UsageError, ".mkv cannot hold qtrle: use .mov"),
            (None, {"codec": "qtrle"}, UsageError, ".mkv cannot hold qtrle: use .mov"),
            ("a.mov", {"codec": "rawvideo"}, UsageError, ".mov cannot hold rawvideo: use .mkv, .avi, .nut"),
            ("a.mkv", {"codec": "apng"}, UsageError, ".mkv cannot hold apng: use .apng or"),
            ("a.nut", {"codec": "tiff"}, UsageError, ".nut cannot hold tiff: use .mov, .mkv, .tiff or"),
            ("a.webm", {"codec": "mjpeg"}, UsageError, "use .mp4, .mov, .mkv, .jpg, .avi, .nut or"),
            ("a_%d.jpg", {"codec": "png"}, UsageError, ".jpg cannot hold png: use .mov, .mkv, .png"),
            ("a_%d.png", {"codec": "mjpeg"}, UsageError, ".png cannot hold mjpeg"),
            ("a.mov", {"codec": "vp9"}, UsageError, ".mov cannot hold vp9: use .mp4"),
            ("a.mp4", {"crf": 52}, UsageError, "expected --crf 0 to 51 for libx264, found 52"),
            ("a.mov", {"codec": "prores", "crf": 18}, UsageError, "choose with --preset proxy"),
            ("a.mov", {"codec": "prores", "preset": "slow"}, UsageError, "expected --preset proxy"),
            ("%d.png", {"crf": 3}, UsageError, "no quality scale"),
            ("%d.png", {"preset": "slow"}, UsageError, "no presets"),
            ("a.png", {}, UsageError, "expected a pattern such as a_%05d.png"),
            ("a.mp4", {"codec": "h264_nvenc"}, EncoderError, "has no encoder h264_nvenc; use --codec libx264"),
            ("a.mp4", {"encoder_args": ("-pix_fmt", "nonsense")}, EncoderError, "'nonsense' is unknown"),
        ],
    )
    def test_one_line_and_the_right_exit(self, name, settings, kind, words):
        with pytest.raises(kind) as caught:
            target_for(name, **settings)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("codec", ["mpeg2video", "mpeg1video"])
    def test_a_rate_that_mpeg_has_no_word_for(self, codec):
        with pytest.raises(UsageError, match=f"{codec} knows 23.976.*found 37: ask for one of these"):
            target_for("a.mkv", rate=Fraction(37), codec=codec)
        assert target_for("a.mkv", rate=NTSC, codec=codec).codec == codec
        assert target_for("a.mkv", rate=Fraction(37), codec=codec, encoder_args=("-strict", "-1")).codec == codec

    @pytest.mark.parametrize("rate", ["15", "12", "12000/1001", "120", "240", "96", "25/32", "120000/1001", "80"])
    def test_mpeg_2_knows_simple_fractions_of_its_rates(self, rate):
        assert target_for("a.mkv", rate=Fraction(rate), codec="mpeg2video").codec == "mpeg2video"
        with pytest.raises(UsageError):
            target_for("a.mkv", rate=Fraction(rate), codec="mpeg1video")

    @pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi", "a.webp", None])
    def test_more_frames_than_milliseconds(self, name):
        with pytest.raises(UsageError, match=r"holds at most 1000 frames per second, found 1200: write \.mp4"):
            target_for(name, rate=Fraction(1200))
        assert target_for(name, rate=Fraction(1000)).rate == 1000
        assert target_for("a.mp4", rate=Fraction(1200)).rate == 1200

    def test_the_fewest_frames_a_second_of_a_transport_stream(self):
        assert target_for("a.ts", rate=Fraction(1, 2)).rate == Fraction(1, 2)
        assert target_for("a.ts", rate=Fraction(1, 5), codec="mpeg4").rate == Fraction(1, 5)
        for name, preset in (("a.ts", "placebo"), ("a.m2ts", "veryslow")):
            with pytest.raises(
                UsageError, match=r"h264 in \.\w+ holds a rate of at least .* found 0\.5: write \.mp4, or ask for"
            ):
                target_for(name, rate=Fraction(1, 2), preset=preset)
        assert target_for("a.mp4", rate=Fraction(1, 50)).rate == Fraction(1, 50)

    def test_a_folder(self, tmp_path):
        folder = tmp_path / "out.mp4"
        folder.mkdir()
        with pytest.raises(UsageError, match="found the folder"):
            target_for(folder)

    def test_a_missing_encoder_names_what_there_is(self):
        with pytest.raises(EncoderError, match="no encoder for h264; use --codec vp9"):
            target_for("a.mp4", tools=FakeTools(encoders=frozenset({"libvpx-vp9"})))

    def test_pictures_too_small_for_the_encoder(self):
        with pytest.raises(EncoderError, match="takes pictures of 16x16 to"):
            target_for("a.mp4", video_info("yuv420p10le", 2, 2))
        with pytest.raises(EncoderError, match=r"takes pictures of 256x120 to .*, found 160x120"):
            target_for("a.mov", video_info(width=160, height=120), codec="dnxhd")
        assert target_for("a.mov", video_info(width=256, height=120), codec="dnxhd").encoder == "dnxhd"

    def test_more_frames_a_second_than_the_encoder_takes(self):
        assert target_for("a.mkv", rate=Fraction(240), codec="libsvtav1").encoder == "libsvtav1"
        with pytest.raises(EncoderError, match="libsvtav1 takes at most 240 frames a second, found 480"):
            target_for("a.mkv", rate=Fraction(480), codec="libsvtav1")

    def test_one_image_needs_no_pattern(self):
        assert target_for("a.png", frames=1).image_path(1) == Path("a.png")

    def test_gif_rates(self):
        with pytest.raises(UsageError, match="at most 100 frames per second"):
            target_for("a.gif", rate=Fraction(240))
        assert "run slow" in target_for("a.gif", rate=Fraction(60)).warnings[0]


class TestEncoderArguments:
    @pytest.mark.parametrize(
        "words",
        [
            ("-i", "other.mp4"),
            ("out.mp4",),
            ("-y",),
            ("-f", "avi"),
            ("-map", "0"),
            ("-filter_complex", "null"),
            ("-r", "10"),
            ("-t", "1"),
            ("-frames:v", "3"),
            ("-vn",),
            ("-crf",),
            ("-vf", "scale=2:2,fps=10"),
            ("-filter:v", "[in]select=1[out]"),
            ("-vf", "bwdif"),
            ("-vf", "tblend=all_mode=average"),
            ("-vf", "yadif=1"),
            ("-vf", "hflip, yadif@a=parity=tff:mode=send_field,vflip"),
            ("-vf", "nnedi=weights=nnedi3_weights.bin:field=af"),
            ("-vf", "tmedian"),
            ("-passlogfile", "x"),
            ("-/filter", "file.txt"),
            ("-dump_attachment:t", "x"),
            ("--", "x"),
            ("-g", "30", "stray"),
        ],
    )
    def test_refused(self, words):
        with pytest.raises(UsageError) as caught:
            parse_encoder_args(words)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("filters", ["yadif", "yadif=0:1", "yadif=mode=send_frame:parity=1,boxblur=1", "nnedi"])
    def test_one_frame_of_each(self, filters):
        assert parse_encoder_args(("-vf", filters)) == (("vf", filters),)

    def test_pairs_and_flags(self):
        assert parse_encoder_args(("-g", "30", "-an", "-b:v", "-1")) == (("g", "30"), ("an", None), ("b:v", "-1"))

    def test_the_users_win(self):
        words = command("a.mp4", crf=20, encoder_args=("-crf", "30", "-c:v", "libx264", "-movflags", "frag_keyframe"))
        assert "-crf:v:0" not in words
        assert "-crf 30 -c:v:0 libx264 -movflags frag_keyframe" in words
        assert "+faststart" not in words

    @pytest.mark.parametrize("option", ["-c:v", "-codec:v:0", "-vcodec", "-c"])
    def test_another_encoder_is_chosen_by_codec(self, option):
        """The plan is another: pixel formats, quality, the mark that players look for."""
        with pytest.raises(UsageError, match=f"{option} libx265 cannot .* use --codec"):
            target_for("a.mp4", encoder_args=(option, "libx265"))
        assert target_for("a.mp4", codec="hevc", encoder_args=(option, "libx265")).encoder == "libx265"

    def test_filters_and_parameter_lists_add_up(self):
        info = video_info("yuv420p10le", hdr=HDR)
        words = command("a.mp4", info, encoder_args=("-vf", "hflip", "-x265-params", "aq-mode=3"))
        assert "colorspace=bt709,hflip" in words
        assert "max-cll=1000,400:aq-mode=3" in words

    def test_options_of_other_tracks_stay_apart(self):
        merged = merge_options([("c:v:0", "libx264"), ("b:v:0", "0")], [("c:a", "aac"), ("b:a:0", "64k")])
        assert merged == [("c:v:0", "libx264"), ("b:v:0", "0"), ("c:a", "aac"), ("b:a:0", "64k")]

    def test_a_named_pixel_format_decides_size_and_losses(self):
        target = target_for("a.mp4", video_info("yuv444p", 65, 49), encoder_args=("-pix_fmt", "yuv420p"))
        assert (target.pix_fmt, target.pad) == ("yuv420p", (1, 1))
        assert any("chroma resolution" in warning for warning in target.warnings)


class TestOwnScales:
    @pytest.mark.parametrize(
        ("name", "settings", "said"),
        [
            ("a.mp4", {}, "-crf:v:0 18"),
            ("a.mp4", {"crf": 23.5, "preset": "slow"}, "-crf:v:0 23.5 -preset:v:0 slow"),
            ("a.mkv", {"codec": "av1", "crf": 30, "preset": "slow"}, "-crf:v:0 30 -preset:v:0 4"),
            ("a.mkv", {"codec": "av1", "preset": "7"}, "-preset:v:0 7"),
            ("a.webm", {"crf": 30, "preset": "fast"}, "-crf:v:0 30 -cpu-used:v:0 4"),
            ("a.mov", {"codec": "prores", "preset": "lt"}, "-profile:v:0 1"),
            ("a.mov", {"codec": "prores"}, "-profile:v:0 3"),
            ("%d.jpg", {"crf": 5}, "-q:v:0 5"),
            ("a.webp", {"crf": 30}, "-quality:v:0 70"),
            ("a.webp", {}, "-quality:v:0 90"),
            ("a.mkv", {"codec": "librav1e", "preset": "medium"}, "-qp:v:0 80 -speed:v:0 6"),
        ],
    )
    def test_crf_and_preset(self, name, settings, said):
        assert said in command(name, **settings)

    def test_every_named_preset_has_a_place_on_every_scale(self):
        names = set(ENCODERS["libx264"].presets[1])
        for encoder in ENCODERS.values():
            if encoder.presets and encoder.codec != "prores":
                assert set(encoder.presets[1]) == names, encoder.name


class TestNearest:
    LAYOUTS = tuple(
        layout_of(name)
        for name in (
            *("yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv420p10le", "yuv422p12le", "yuv444p16le"),
            *("gray", "gray10le", "gray16le", "gbrp", "gbrp10le", "gbrp16le"),
            *("gbrap", "gbrap16le", "yuva420p", "yuva444p10le", "yuva444p16le"),
        )
    )

    @pytest.mark.parametrize("encoder", [e for e in ENCODERS.values() if e.formats], ids=lambda e: e.name)
    def test_loses_nothing_that_another_format_keeps(self, encoder):
        for feed in self.LAYOUTS:
            choice = formats.nearest(feed, encoder.formats)
            assert choice is not None
            others = [layout_of(name) for name in encoder.formats]
            if feed.alpha and any(o.alpha for o in others):
                assert choice.layout.alpha
            same_alpha = [o for o in others if o.alpha >= (feed.alpha and choice.layout.alpha)]
            if feed.family != "gray":
                same_alpha = [o for o in same_alpha if o.family != "gray"]
            assert min(choice.layout.bits, feed.bits) == max(min(o.bits, feed.bits) for o in same_alpha)
            assert bool(choice.losses) == (
                (feed.alpha and not choice.layout.alpha)
                or choice.layout.bits < feed.bits
                or (feed.family != "gray" and choice.layout.chroma_shift_x > feed.chroma_shift_x)
                or (feed.family != "gray" and choice.layout.chroma_shift_y > feed.chroma_shift_y)
            )

    def test_the_very_same_format_is_taken(self):
        for feed in self.LAYOUTS:
            choice = formats.nearest(feed, ["yuv420p", "gbrap16le", "yuva444p16le", feed.name, "gray"])
            assert choice is not None
            assert (choice.pix_fmt, choice.losses) == (feed.name, ())

    def test_nothing_usable(self):
        assert formats.nearest(layout_of("yuv420p"), ["vaapi", "cuda", "nonsense"]) is None


def matrix(degrees: int, flip: bool) -> tuple[int, ...]:
    """FFmpeg's display matrix for a counter-clockwise angle and then a horizontal flip."""
    radians = math.radians(degrees)
    cosine, sine = round(math.cos(radians) * 65536), round(math.sin(radians) * 65536)
    sign = -1 if flip else 1
    return (sign * cosine, -sine, 0, sign * sine, cosine, 0, 0, 0, 1 << 30)


class TestOrientation:
    @pytest.mark.parametrize(("degrees", "flip"), list(product((0, 90, 180, 270), (False, True))))
    def test_every_right_angle(self, degrees, flip):
        found = orientation_of(matrix(degrees, flip))
        assert (found.degrees, found.flipped) == (degrees, flip)
        assert found.is_upright == (degrees == 0 and not flip)

    def test_odd_angles_and_nonsense(self):
        assert abs(orientation_of(matrix(30, False)).degrees - 30) < 0.01
        assert orientation_of(None).is_upright
        assert orientation_of((0,) * 9).is_upright

    def test_where_there_is_no_mark_the_picture_is_turned_and_that_is_said(self):
        info = video_info(width=65, height=48, display_matrix=matrix(90, False), sample_aspect=Fraction(4, 3))
        target = target_for("a.gif", info, rate=Fraction(25))
        assert "transpose=cclock" in target.filters
        assert "setsar=3/4:max=4" in target.filters
        assert any("turned upright" in warning for warning in target.warnings)

    def test_the_size_that_counts_is_that_of_the_turned_picture(self):
        turned = matrix(90, False)
        assert target_for("a.nut", video_info(width=130, height=256, display_matrix=turned), codec="dnxhd")
        with pytest.raises(EncoderError, match="found 130x256"):
            target_for("a.nut", video_info(width=256, height=130, display_matrix=turned), codec="dnxhd")

    def test_an_odd_angle_that_cannot_be_kept_is_said(self):
        info = video_info(display_matrix=matrix(30, False))
        assert "rotation of 30 degrees is lost" in target_for("a.gif", info, rate=Fraction(25)).warnings[0]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        *((extra, extra) for extra in ("closed captions", "360-degree", "stereoscopic", "colour profile")),
        ("second view", "of the two views"),
        ("alpha layer", "transparency is lost"),
    ],
)
def test_what_lies_in_the_old_pictures_is_dropped_aloud(extra, said):
    (warning,) = target_for("a.mp4", video_info(picture_extras=(extra,))).warnings
    assert said in warning


@pytest.mark.parametrize(
    ("name", "mode", "kept"),
    [
        ("a.mkv", "left_right", True),
        ("a.webm", "top_bottom", True),
        ("a.webm", "block_lr", False),
        ("a.mp4", "left_right", False),
        ("a.mkv", None, False),
    ],
)
def test_two_views_stay_marked_in_matroska(name, mode, kept):
    tags = () if mode is None else (("stereo_mode", mode),)
    target = target_for(name, video_info(picture_extras=("stereoscopic",), picture_metadata=tags))
    assert any("stereoscopic" in warning for warning in target.warnings) != kept


@pytest.mark.parametrize(
    ("name", "codec", "colours", "shape"),
    [
        ("a.mp4", None, False, False),
        ("a.mkv", "ffv1", False, False),
        ("a.ts", None, False, False),
        ("a.ts", "mpeg4", True, False),
        ("a.avi", None, True, False),
        ("a.apng", None, False, False),
        ("%d.png", None, False, False),
        ("%d.jpg", None, True, False),
        ("%d.tiff", None, True, False),
        ("%d.bmp", None, True, True),
        ("a.gif", None, True, False),
        ("a.webp", None, True, True),
    ],
)
def test_marks_a_file_cannot_hold_are_lost_aloud(name, codec, colours, shape):
    info = video_info("yuv420p10le", color=ColorInfo(1, 9, 9, 18), sample_aspect=Fraction(4, 3))
    warnings = target_for(name, info, rate=Fraction(25), codec=codec).warnings
    assert any("marks of BT.2020 HLG colours are lost" in warning for warning in warnings) == colours
    assert any("pixels, 4:3, is lost" in warning for warning in warnings) == shape
    usual = target_for(name, video_info(), rate=Fraction(25), codec=codec).warnings
    assert not any("lost" in warning and "mark" in warning for warning in usual)


@pytest.mark.parametrize(
    ("name", "codec", "matrix", "taken"),
    [
        ("a.webm", None, 1, ""),
        ("a.webm", None, 9, ""),
        ("a.webm", None, 8, "smpte170m"),
        ("a.mp4", "vp9", 10, "smpte170m"),
        ("a.mp4", None, 8, ""),
        ("a.mkv", "utvideo", 6, ""),
        ("a.mkv", "utvideo", 9, "smpte170m"),
        ("a.avi", "ffv1", 1, ""),
        ("a.avi", "ffv1", 8, "smpte170m"),
        ("a.mkv", "ffv1", 8, ""),
        ("%d.jpg", None, 7, ""),
        ("a.mov", "dnxhd", 1, ""),
        ("a.mov", "dnxhd", 6, "bt709"),
        ("a.mkv", "dnxhd", 2, "bt709"),
    ],
)
def test_a_matrix_that_a_codec_does_not_know_is_lost_aloud(name, codec, matrix, taken):
    info = video_info(width=256, height=120, color=ColorInfo(1, matrix, 1, 1))
    said = [line for line in target_for(name, info, rate=Fraction(25), codec=codec).warnings if "matrix, " in line]
    assert len(said) == bool(taken) and all(f"players take {taken}" in line for line in said)


def test_ut_video_takes_untagged_colours_for_what_players_do():
    """Untold, it says BT.601."""
    untagged = ColorInfo(1, 2, 2, 2)
    large = target_for("a.mkv", video_info(width=1280, height=720, color=untagged), codec="utvideo")
    assert "colorspace=bt709" in large.filters[0]
    assert "colorspace=smpte170m" in target_for("a.mkv", video_info(color=untagged), codec="utvideo").filters[0]
    rgb = target_for("a.mkv", video_info("gbrp", color=ColorInfo(2, 0, 2, 2)), codec="utvideo")
    assert "colorspace=gbr" in rgb.filters[0]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "matrix"),
    [
        ("a.mkv", "vc2", "yuv444p12le", "bt709"),
        ("a.mov", "dnxhd", "yuv422p10le", "bt709"),
        ("a.avi", "utvideo", "yuv422p", "bt709"),
        ("a.webm", None, "yuv420p10le", "bt2020nc"),
        ("a.mkv", "ffv1", "yuv444p10le", "bt2020nc"),
        ("a.avi", "ffv1", "yuv444p10le", "smpte170m"),
    ],
)
def test_rgb_of_wide_colours_takes_a_matrix_that_the_file_can_say(name, codec, pix_fmt, matrix):
    info = video_info("gbrp16le", 256, 120, color=ColorInfo(2, 0, 9, 16))
    filters = target_for(name, info, codec=codec, encoder_args=("-pix_fmt", pix_fmt)).filters
    *_, said = [text for text in filters if "colorspace=" in text]
    assert f"colorspace={matrix}" in said


@pytest.mark.parametrize(("encoder", "codec"), [("libx264rgb", "h264"), ("prores_aw", "prores")])
def test_an_encoder_writes_what_it_is_not_called_as(encoder, codec):
    assert encoder_of(encoder).codec == codec


@pytest.mark.parametrize("name", ["prores_ks", "prores_aw", "prores_videotoolbox"])
def test_every_encoder_of_prores_knows_its_presets(name):
    assert quality_options(encoder_of(name), None, "hq") == (("profile:v", "3"),)
    with pytest.raises(UsageError, match="expected --preset proxy, lt, "):
        quality_options(encoder_of(name), None, "slow")
    with pytest.raises(UsageError, match="no quality scale: leave --crf out, choose with --preset"):
        quality_options(encoder_of(name), 5, None)


def test_floating_point_is_cut_off_aloud():
    said = [target_for("%d.png", video_info(name)).warnings for name in ("gbrpf32le", "rgbaf16be", "gbrp16le")]
    assert ["floating point" in " ".join(warnings) for warnings in said] == [True, True, False]


def test_margins_that_become_visible_are_told():
    (warning,) = target_for("a.mp4", video_info(width=160, height=96, crop=(10, 8, 10, 8))).warnings
    assert "players show 140x80 of the source's 160x96" in warning


class TestSizes:
    @pytest.mark.parametrize(
        ("codec", "pix_fmt", "pad"),
        [
            ("h264", "yuv420p", (1, 1)),
            ("hevc", "yuv420p", (1, 1)),
            ("h264", "yuv422p", (1, 0)),
            ("h264", "yuv444p", (0, 0)),
            ("av1", "yuv420p", (0, 0)),
            ("vp9", "yuv420p", (0, 0)),
            ("ffv1", "yuv420p", (0, 0)),
            ("prores", "yuv420p", (0, 0)),
        ],
    )
    def test_odd_sizes_are_padded_only_where_they_must(self, codec, pix_fmt, pad):
        target = target_for("a.mkv", video_info(pix_fmt, 65, 49), codec=codec)
        assert target.pad == pad
        assert (target.width, target.height) == (65 + pad[0], 49 + pad[1])
        assert any("padded" in warning for warning in target.warnings) == (pad != (0, 0))


class TestHdr:
    def test_dynamic_metadata_is_dropped_aloud(self):
        info = video_info("yuv420p10le", hdr=replace(HDR, dynamic=("Dolby Vision",)))
        assert "Dolby Vision metadata" in target_for("a.mp4", info).warnings[0]

    @pytest.mark.parametrize(("profile", "wrong"), [(5, True), (8, False)])
    def test_dolby_vision_without_a_base_layer_for_others(self, profile, wrong):
        hdr = HdrInfo(dynamic=("Dolby Vision",), dolby_profile=profile)
        warnings = target_for("a.mp4", video_info("yuv420p10le", hdr=hdr)).warnings
        assert any("colours will be wrong" in warning for warning in warnings) == wrong

    def test_encoders_that_cannot_be_told_say_so(self):
        info = video_info("yuv420p10le", hdr=HDR)
        assert "mastering and light levels: dropped" in target_for("a.webm", info).warnings[0]
        assert target_for("a.mkv", info, codec="av1").warnings == ()

    def test_light_levels_alone(self):
        info = video_info("yuv420p10le", hdr=HdrInfo(max_cll=600))
        assert "max-cll=600,0" in dict(target_for("a.mp4", info).options)["x265-params:v:0"]


class TestFullRange:
    FULL = ColorInfo(2, 1, 1, 1)

    def test_lossless_keeps_the_samples_and_marks_the_file(self):
        target = target_for("a.mkv", video_info(color=self.FULL), codec="ffv1")
        assert target.mark_full_range
        assert "scale" not in " ".join(target.filters)

    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            *(("a.mov", "prores"), ("a.avi", "ffv1"), (None, "ffv1")),
            *(("a.mp4", "mpeg2video"), ("a.avi", "huffyuv"), ("a.webm", "libvpx")),
        ],
    )
    def test_elsewhere_the_conversion_is_said(self, name, codec):
        target = target_for(name, video_info(color=self.FULL), codec=codec, encoder_args=("-pix_fmt", "yuv422p"))
        assert not target.mark_full_range
        assert any("limited range only" in warning for warning in target.warnings)
        assert "range=limited" in " ".join(target.filters)

    @pytest.mark.parametrize(("name", "codec"), [("a.avi", "rawvideo"), ("a.nut", "rawvideo"), ("a.mov", "v210")])
    def test_samples_stay_where_only_the_mark_is_lost(self, name, codec):
        settings = {"codec": codec, "encoder_args": ("-pix_fmt", "yuv422p10le")}
        target = target_for(name, video_info("yuv422p10le", color=self.FULL), **settings)
        assert "scale" not in " ".join(target.filters)
        assert "mark of full-range samples is lost" in " ".join(target.warnings)
        assert target_for("a.mkv", video_info("yuv422p10le", color=self.FULL), **settings).warnings == ()
        assert target_for(name, video_info("yuv422p10le"), **settings).warnings == ()

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "gbrp", "gray"])
    def test_webp_is_of_limited_range_and_needs_no_mark(self, pix_fmt):
        target = target_for("a.webp", video_info(pix_fmt, color=self.FULL))
        assert "out_range=tv" in " ".join(target.filters)
        assert "range" not in " ".join(target.warnings)

    def test_codecs_with_a_mark_of_their_own_are_left_alone(self):
        target = target_for("a.mp4", video_info(color=self.FULL))
        assert (target.warnings, target.mark_full_range) == ((), False)
        assert target.filters == ("setparams=range=pc:color_primaries=bt709:color_trc=bt709:colorspace=bt709",)


class TestNames:
    @pytest.mark.parametrize("name", ["-dash.mp4", "a b.mp4", "new\nline.mp4", "100%d.mp4", "http:x.mp4", "ü.mp4"])
    def test_any_name_is_only_a_name(self, tmp_path, name):
        target = target_for(tmp_path / name)
        assert target.ffmpeg_output == f"file:{tmp_path / ('.' + name + '.slomo-part.mp4')}"

    @given(st.text(st.characters(codec="utf-8", exclude_characters="/\0%", exclude_categories=["Cs"]), min_size=1))
    def test_the_temporary_name_fits_the_file_system(self, stem):
        target = target_for(Path("/out") / f"{stem[:120]}{'x' * 90}.mp4")
        assert target.temporary is not None
        assert len(os.fsencode(target.temporary.name)) <= 255
        assert target.temporary.name.startswith(".")
        assert target.temporary.suffix == ".mp4"

    def test_two_long_names_have_two_temporary_files(self):
        first, second = (target_for(Path("/out") / f"{'x' * 240}{end}.mp4").temporary for end in "ab")
        assert first != second

    def test_numbers_in_patterns(self):
        target = target_for("100%_%03d.png")
        assert target.image_path(7).name == "100%_007.png"


class TestClocks:
    @given(st.fractions(Fraction(1, 10), 1000))
    def test_every_frame_is_a_whole_number_of_ticks(self, rate):
        scale = track_timescale(rate)
        assert 0 < scale < 2**31
        assert (Fraction(scale) / rate).denominator == 1 or scale == 90_000

    @given(st.lists(st.fractions(0, 100, max_denominator=1000), min_size=1, max_size=20))
    def test_a_common_clock_holds_every_stamp(self, moments):
        base = common_time_base(moments)
        assert base.numerator == 1
        assert base <= Fraction(1, 1000)
        assert base == Fraction(1, 1_000_000) or all((moment / base).denominator == 1 for moment in moments)

    def test_a_clock_too_fine_falls_back_to_microseconds(self):
        assert common_time_base([Fraction(1, 2**30), Fraction(1, 3**20)]) == Fraction(1, 1_000_000)


def test_no_message_has_two_lines():
    """A file name may hold anything."""
    with pytest.raises(SlomoError) as caught:
        target_for("a\nb.xy\nz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9, 10])
def test_matrices_have_names_that_old_ffmpegs_know(matrix: int) -> None:
    """The scale filter of ffmpeg 7.0 and before refuses bt470bg."""
    jpeg = formats.Choice("yuvj420p", layout_of("yuv420p"), ())
    (scale, _), _ = formats.conversion(layout_of("yuv420p"), jpeg, ColorInfo(range=1, matrix=matrix), (64, 64), "jpeg")
    named = re.findall(r"_color_matrix=(\w+)", scale)
    assert len(named) == 2
    assert set(named) <= {"bt601", "bt470", "smpte170m", "bt709", "fcc", "smpte240m", "bt2020"}

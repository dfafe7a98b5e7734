"""Shared fixtures: tiny clips, made when a test asks for them, with the ffmpeg that slomo itself finds.

``clip("cfr.mp4")`` gives the path of a clip from ``RECIPES``; ``make(name, *arguments)`` makes any other. Both are made
once per session. Clips must not be changed: copy them first. Fixtures that need torch load it only when they are asked.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from slomo_cli.media.ffmpeg import tools

# How long an example takes says nothing on a machine that does other things too.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SOURCE = "-f lavfi -i testsrc2=size={size}:rate={rate}:duration={seconds}"
"""A moving test picture; every frame differs from its neighbours."""


def moving(size: str = "64x48", rate: str = "30", seconds: str = "1") -> str:
    """ffmpeg input arguments for a moving test picture."""
    return SOURCE.format(size=size, rate=rate, seconds=seconds)


X264 = "-c:v libx264 -preset veryfast -threads 1"
LOSSLESS = "-c:v libx264 -qp 0 -preset ultrafast -threads 1"
HDR10_PARAMS = (
    "log-level=none:hdr10=1:repeat-headers=1:chromaloc=2:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
)
TONE = "-f lavfi -i sine=frequency=440:sample_rate=44100:duration=1"

# name -> ffmpeg arguments before the output name. {other.ext} is replaced by the path of that clip.
RECIPES: dict[str, str] = {
    # constant rate, with B-frames, in every common container
    "cfr.mp4": f"{moving()} {X264} -bf 2 -g 10",
    "cfr.mov": f"{moving()} {X264} -bf 2 -g 10",
    "cfr.mkv": "-i {cfr.mp4} -c copy",
    "cfr.ts": "-i {cfr.mp4} -c copy",
    "cfr.flv": "-i {cfr.mp4} -c copy",
    "cfr.nut": "-i {cfr.mp4} -c copy",
    "cfr.h264": "-i {cfr.mp4} -c copy",
    "cfr.avi": f"{moving()} -c:v mpeg4 -bf 2 -q:v 3",
    "cfr.webm": f"{moving()} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k",
    "ntsc.mkv": f"{moving(rate='30000/1001', seconds='2')} {X264}",
    "film.mkv": f"{moving(rate='24000/1001', seconds='2')} {X264}",
    "film.ts": f"{moving(rate='24000/1001', seconds='2')} {X264}",
    "sixty.mkv": f"{moving(rate='60')} {X264}",
    "one.mp4": f"{moving()} {X264} -frames:v 1",
    "two.mp4": f"{moving()} {X264} -frames:v 2",
    "tiny.mkv": f"{moving(size='2x2')} -c:v ffv1",
    "odd.mkv": f"{moving()} -vf scale=63:47 -pix_fmt yuv420p -c:v ffv1",
    "long.mp4": f"{moving(seconds='8')} {X264} -bf 2 -g 24",
    "long.mkv": "-i {long.mp4} -c copy",
    "long.ts": "-i {long.mp4} -c copy",
    "long.webm": f"{moving(seconds='8')} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k -g 40",
    "long.hevc.mp4": f"{moving(seconds='8')} -c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=24",
    "long.opengop.ts": f"{moving(seconds='8')} {X264} -x264-params open-gop=1:keyint=20:bframes=3",
    "long.refresh.ts": f"{moving(seconds='8')} {X264} -x264-params intra-refresh=1:keyint=20",
    "long.mpeg2.ts": f"{moving(seconds='8')} -c:v mpeg2video -bf 2 -g 15",
    "long.frag.mp4": "-i {long.mp4} -c copy -movflags +frag_keyframe+empty_moov",
    # variable rate: pictures 1, 4, 7 ... are missing; and stamps on no grid at all
    "gaps.mp4": f"{moving()} -vf select=not(eq(mod(n\\,3)\\,1)) -fps_mode vfr {X264}",
    "free.mp4": (
        f"{moving()} -vf settb=1/90000,setpts=N*3000+400*mod(N*N\\,7) -fps_mode passthrough"
        f" -enc_time_base 1/90000 -video_track_timescale 90000 {X264}"
    ),
    # bit depth, sampling, alpha, range
    "hdr10.mp4": (
        f"{moving()} -frames:v 6 -pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params {HDR10_PARAMS}"
        " -vf setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084 -tag:v hvc1"
    ),
    "yuv422p.mkv": f"{moving()} -frames:v 4 -pix_fmt yuv422p -c:v ffv1",
    "yuv422p10.mkv": f"{moving()} -frames:v 4 -pix_fmt yuv422p10le -c:v ffv1",
    "yuv444p.mp4": f"{moving()} -frames:v 4 -pix_fmt yuv444p {LOSSLESS}",
    "yuv444p12.mkv": f"{moving()} -frames:v 4 -pix_fmt yuv444p12le -c:v ffv1 -strict experimental",
    "gray.mkv": f"{moving()} -frames:v 4 -pix_fmt gray -c:v ffv1",
    "gray16.mkv": f"{moving()} -frames:v 4 -pix_fmt gray16le -c:v ffv1",
    "gbrp.mkv": f"{moving()} -frames:v 4 -pix_fmt gbrp -c:v ffv1",
    "rgb16.mkv": f"{moving()} -frames:v 4 -pix_fmt gbrp16le -c:v ffv1",
    "full.mp4": f"{moving()} -frames:v 4 -vf scale=out_range=pc,setparams=range=pc -pix_fmt yuvj420p {X264}",
    "alpha.mkv": f"{moving()} -frames:v 4 -vf format=yuva420p,geq=lum=lum(X\\,Y):a=4*X -c:v ffv1",
    "alpha.mov": (
        f"{moving()} -frames:v 4 -vf format=yuva444p10le,geq=lum=lum(X\\,Y):a=16*X -c:v prores_ks -profile:v 4"
    ),
    "alpha.webm": (
        f"{moving()} -frames:v 4 -vf format=yuva420p,geq=lum=lum(X\\,Y):a=4*X -c:v libvpx-vp9 -deadline realtime"
    ),
    "packed.avi": f"{moving()} -frames:v 4 -pix_fmt yuyv422 -c:v rawvideo",
    "packed.mov": f"{moving()} -frames:v 4 -pix_fmt rgb24 -c:v rawvideo",
    "screen.gif": f"{moving(rate='10')} -frames:v 4",
    # geometry
    "rotated.mp4": "-display_rotation:v:0 90 -i {cfr.mp4} -c copy",
    "flipped.mp4": "-display_rotation:v:0 90 -display_hflip:v:0 -i {cfr.mp4} -c copy",
    "anamorphic.mp4": f"{moving()} -vf setsar=4/3 {X264}",
    "interlaced.mp4": (
        f"{moving(rate='50')} -vf tinterlace=interleave_top,setfield=tff -frames:v 12 {X264} -flags +ildct+ilme -bf 2"
    ),
    "interlaced.mpg": (
        f"{moving(rate='50')} -vf tinterlace=interleave_bottom,setfield=bff -frames:v 12"
        " -c:v mpeg2video -flags +ildct+ilme -q:v 2"
    ),
    # everything beside the picture
    "sound.mp4": f"{moving()} {TONE} {X264} -c:a aac -metadata title=Sound -metadata:s:a:0 language=deu",
    "late.mp4": f"-itsoffset 0.5 {moving()} {TONE} {X264} -c:a aac",
    "sound.m4a": f"{TONE} -c:a aac",
    "cut.mp4": "-ss 0.5 -i {cfr.mp4} -c copy",
}

CHAPTERS = """;FFMETADATA1
title=Rich
[CHAPTER]
TIMEBASE=1/1000
START=0
END=400
title=First
[CHAPTER]
TIMEBASE=1/1000
START=400
END=1000
title=Second
"""
SUBTITLES = "1\n00:00:00,200 --> 00:00:00,500\nOne\n\n2\n00:00:00,600 --> 00:00:00,900\nTwo\n"


def run_ffmpeg(*arguments: str) -> None:
    """Runs the found ffmpeg; the test fails with its words when it fails."""
    command = [tools().path, "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's clips lie."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def make(clip_folder: Path) -> Callable[..., Path]:
    """``make(name, *arguments)``: a clip made by ffmpeg with these arguments before its name; once per session.

    Clips of one name and different arguments lie in folders of their own.
    """
    first: dict[str, tuple[str, ...]] = {}

    def make(name: str, *arguments: str) -> Path:
        path = clip_folder / name
        if first.setdefault(name, arguments) != arguments:
            digest = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:12]
            path = clip_folder / digest / name
            path.parent.mkdir(exist_ok=True)
        if not path.exists():
            rough = path.with_name(f"part.{name}")
            run_ffmpeg(*arguments, f"file:{rough}")
            os.replace(rough, path)
        return path

    return make


@pytest.fixture(scope="session")
def clip(make: Callable[..., Path], clip_folder: Path) -> Callable[[str], Path]:
    """``clip(name)``: a clip of ``RECIPES``, or ``rich.mkv``, which holds everything a file can carry."""

    def clip(name: str) -> Path:
        if name == "rich.mkv":
            return _rich(clip, make, clip_folder)
        arguments = []
        for word in RECIPES[name].split():
            arguments.append(str(clip(word[1:-1])) if word.startswith("{") else word)
        return make(name, *arguments)

    return clip


def _rich(clip: Callable[[str], Path], make: Callable[..., Path], folder: Path) -> Path:
    """A Matroska file with sound twice, subtitles, chapters, an attachment and a cover."""
    chapters, subtitles, note = folder / "chapters.txt", folder / "subtitles.srt", folder / "note.txt"
    chapters.write_text(CHAPTERS)
    subtitles.write_text(SUBTITLES)
    note.write_text("an attachment")
    cover = make("cover.png", *moving().split(), "-frames:v", "1")
    inputs = ["-i", str(clip("sound.mp4")), "-i", str(subtitles), "-i", str(chapters), "-i", str(clip("sound.m4a"))]
    maps = ["-map", "0:v", "-map", "0:a", "-map", "3:a", "-map", "1:s", "-map_metadata", "2", "-map_chapters", "2"]
    codecs = ["-c", "copy", "-c:s", "srt", "-metadata:s:a:1", "language=fra", "-metadata:s:s:0", "language=eng"]
    attached = ["-attach", str(note), "-metadata:s:t:0", "mimetype=text/plain", "-attach", str(cover)]
    attached += ["-metadata:s:t:1", "mimetype=image/png", "-metadata:s:t:1", "filename=cover.png"]
    return make("rich.mkv", *inputs, *maps, *codecs, *attached)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a tiny network."""
    from tiny_network import save_tiny

    return str(save_tiny(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors on one thread: handing them to several costs more than the work, most of all on a busy machine."""
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture
def cuda() -> Any:
    """The GPU; without one the test is skipped, or fails where SLOMO_REQUIRE_GPU is set."""
    import torch

    if not torch.cuda.is_available():
        assert not os.environ.get("SLOMO_REQUIRE_GPU"), "SLOMO_REQUIRE_GPU is set, but there is no CUDA device"
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", 0)

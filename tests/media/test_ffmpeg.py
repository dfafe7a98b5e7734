"""The ffmpeg program: found in the promised order, asked once, its words passed on."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from slomo_cli.errors import DeviceError, EncoderError
from slomo_cli.media import ffmpeg
from slomo_cli.media.ffmpeg import ENVIRONMENT_NAME, last_words, literal, tools, try_encoder

posix = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_NAME, raising=False)


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


def stand_in(path: Path, version: str) -> str:
    """A program that answers ``-version`` as ffmpeg does and counts how often it is asked."""
    return script(
        path, f"echo x >> {path}.calls", f"echo 'ffmpeg version {version} Copyright (c) the FFmpeg developers'"
    )


def test_a_name_becomes_an_absolute_local_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    for name in ("in.mp4", "-i.mp4", "http:a.mp4", "concat:a|b", "im_%03d.png", "new\nline.mp4"):
        assert literal(name) == f"file:{tmp_path / name}"
        assert literal(Path(name)) == f"file:{tmp_path / name}"


def test_what_cannot_be_reached_from_the_root_is_named_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another user, in a folder of one's own: the folders above may not be entered, what lies here can be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getcwd", lambda: f"{tmp_path}/closed/here")

    assert literal("in.mp4") == "file:in.mp4"
    assert literal(tmp_path / "in.mp4") == f"file:{tmp_path / 'in.mp4'}"


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="open files have no names here")
def test_a_file_named_by_its_number_is_called_by_its_own_name(tmp_path: Path) -> None:
    """ffmpeg has other files, or none, open under these numbers."""
    (tmp_path / "in.mp4").touch()
    with open(tmp_path / "in.mp4") as file:
        assert literal(f"/dev/fd/{file.fileno()}") == f"file:{tmp_path / 'in.mp4'}"
    assert literal("/dev/null") == "file:/dev/null"


def test_the_bundled_binary_is_found_and_works() -> None:
    found = tools()

    assert os.path.isabs(found.path)
    assert found.source in ("bundled", "PATH")
    assert found.version
    assert {"libx264", "ffv1", "png"} <= found.encoders
    assert {"bwdif", "scale", "setparams"} <= found.filters
    assert "=" not in found.encoders | found.filters


def test_one_binary_is_asked_once() -> None:
    assert tools() is tools(None)
    assert tools("") is tools()


@posix
def test_the_order_is_argument_then_variable_then_bundled_then_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argued, named = stand_in(tmp_path / "a", "1"), stand_in(tmp_path / "b", "2")
    bundled = stand_in(tmp_path / "c", "3")
    folder = tmp_path / "bin"
    folder.mkdir()
    on_path = stand_in(folder / "ffmpeg", "4")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(ffmpeg, "_bundled", lambda: bundled)
    monkeypatch.setenv(ENVIRONMENT_NAME, named)
    seen = []

    seen.append((tools(argued).path, tools(argued).source, tools(argued).version))
    seen.append((tools().path, tools().source, tools().version))
    monkeypatch.delenv(ENVIRONMENT_NAME)
    ffmpeg._find.cache_clear()
    seen.append((tools().path, tools().source, tools().version))
    monkeypatch.setattr(ffmpeg, "_bundled", lambda: None)
    ffmpeg._find.cache_clear()
    seen.append((tools().path, tools().source, tools().version))
    ffmpeg._find.cache_clear()

    assert seen == [
        (argued, "--ffmpeg", "1"),
        (named, ENVIRONMENT_NAME, "2"),
        (bundled, "bundled", "3"),
        (on_path, "PATH", "4"),
    ]
    assert (tmp_path / "a.calls").read_text().count("x") == 1


@posix
def test_a_bundled_binary_that_does_not_run_gives_way_to_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    on_path = stand_in(folder / "ffmpeg", "4")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(ffmpeg, "_bundled", lambda: script(tmp_path / "bad", "exit 1"))
    ffmpeg._find.cache_clear()

    found = tools()

    ffmpeg._find.cache_clear()
    assert (found.path, found.source) == (on_path, "PATH")


def test_the_bundled_binary_is_found_whatever_others_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """imageio-ffmpeg's own variable, which programs beside slomo need, names no ffmpeg for slomo."""
    bundled = ffmpeg._bundled()
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))

    assert ffmpeg._bundled() == bundled


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM])
def test_too_many_processes_are_no_fault_of_ffmpeg(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where ``ulimit -u`` or a container allows few."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(ffmpeg.subprocess, "run", refuse)
    ffmpeg._find.cache_clear()
    ffmpeg._tools.cache_clear()

    with pytest.raises(DeviceError, match="no more processes can be begun: raise the limits"):
        tools()


@posix
@pytest.mark.parametrize("broken", ["missing", "silent", "failing", "not a program"])
def test_a_named_binary_that_does_not_work_is_an_error(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "ffmpeg")
    if broken == "silent":
        script(Path(path), "exit 0")
    elif broken == "failing":
        script(Path(path), "echo 'library missing' >&2", "exit 127")
    elif broken == "not a program":
        Path(path).write_text("hello")

    for explicit, variable in ((path, None), (None, path)):
        if variable:
            monkeypatch.setenv(ENVIRONMENT_NAME, variable)
        with pytest.raises(EncoderError) as caught:
            tools(explicit)
        message = str(caught.value)
        assert path in message
        assert "\n" not in message
        if broken == "failing":
            assert "library missing" in message


@posix
def test_a_binary_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "ANSWER_SECONDS", 0.2)

    with pytest.raises(EncoderError, match="did not answer"):
        tools(script(tmp_path / "slow", "exec sleep 5"))


def test_without_any_ffmpeg_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "_bundled", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    ffmpeg._find.cache_clear()

    with pytest.raises(EncoderError, match="pip install imageio-ffmpeg"):
        tools()


@pytest.mark.parametrize(("encoder", "pix_fmt"), [("libx264", "yuv420p"), ("ffv1", "gray16le"), ("gif", "pal8")])
def test_an_encoder_that_works_is_tried_and_accepted(encoder: str, pix_fmt: str) -> None:
    assert try_encoder(tools(), encoder, pix_fmt) is None


@pytest.mark.parametrize(
    ("encoder", "pix_fmt", "said"),
    [
        ("no_such_encoder", "yuv420p", "no_such_encoder"),
        ("libx264", "no_such_format", "no_such_format"),
        ("mpeg2video", "yuv444p", "yuv444p"),
    ],
)
def test_an_encoder_that_does_not_work_answers_in_one_line(encoder: str, pix_fmt: str, said: str) -> None:
    words = try_encoder(tools(), encoder, pix_fmt)

    assert words is not None
    assert said in words
    assert "\n" not in words
    assert "0x" not in words


@posix
def test_an_exit_code_of_zero_alone_is_not_believed(tmp_path: Path) -> None:
    pretender = stand_in(tmp_path / "ffmpeg", "1")

    assert try_encoder(tools(pretender), "libx264", "yuv420p") is not None


def test_the_last_words_are_those_that_say_why() -> None:
    stderr = (
        "[h264_nvenc @ 0x5581c0] Cannot load libcuda.so.1\n"
        "[vost#0:0/h264_nvenc @ 0x5581d0] [enc:h264_nvenc @ 0x5581e0] Could not open encoder before EOF\n"
        "[vost#0:0/h264_nvenc @ 0x5581d0] Task finished with error code: -22 (Invalid argument)\n"
        "Conversion failed!\n"
    )

    assert last_words(stderr) == "[h264_nvenc] Cannot load libcuda.so.1"
    repeated = "[out#0/image2 @ 0x55] Error muxing a packet\n    Last message repeated 1 times\n"
    assert last_words(repeated) == "[out#0/image2] Error muxing a packet"
    assert last_words("Conversion failed!\n") == "Conversion failed!"
    assert last_words("") == ""


def test_looking_for_ffmpeg_does_not_load_av() -> None:
    import subprocess

    code = "import slomo_cli.media.ffmpeg, sys; sys.exit('av' in sys.modules or 'torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

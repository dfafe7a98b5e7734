"""Opening a source: what is no video is refused in one clear line, and a name is only ever a local file."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import av.error
import pytest

from slomo_cli.errors import DeviceError, InputError
from slomo_cli.media.read.opening import open_container, why_ended
from slomo_cli.media.read.probe import probe
from slomo_cli.media.read.scan import scan
from slomo_cli.media.read.source import PictureTrack

Clip = Callable[[str], Path]


def refusal(path: Path | str) -> str:
    """What probe says of a file it refuses."""
    with pytest.raises(InputError) as caught:
        probe(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"just some words\nand more of them\n" * 40, "is a text file"),
        ("Grüße aus dem Süden\n".encode() * 300, "is a text file"),
        (b"\0" * 5000, "holds only zero bytes"),
        (bytes(range(256)) * 40, "is not a video"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0\0\x10\0mdat" + b"x" * 4000, "without a readable index"),
        (b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix\0\0\0\x68moof" + b"x" * 96, "is one segment of a stream"),
    ],
)
def test_what_is_no_video_is_called_what_it_is(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    path.write_bytes(content)

    message = refusal(path)

    assert said in message
    assert str(path) in message


def test_a_format_that_is_not_read_is_no_playlist(make: Callable[..., Path]) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc2=size=32x32", "-frames:v", "1", "-pix_fmt", "rgba")
    icon = make("icon.ico", *picture, "-c:v", "png", "-f", "ico")
    assert "is in a format that slomo does not read" in refusal(icon)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ffconcat version 1.0\nfile {}\n", "an ffconcat list"),
        ("#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n", "an M3U/HLS playlist"),
        ("\ufeff#EXTM3U\n#EXTINF:1.0,\n{}\n", "an M3U/HLS playlist"),
        ('<?xml version="1.0"?>\n<MPD type="static"><!-- {} --></MPD>\n', "a DASH manifest"),
        ("v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\n", "an SDP session description"),
    ],
)
@pytest.mark.parametrize("name", ["in.mp4", "in.m3u8", "in.ffconcat"])
def test_a_playlist_never_opens_what_it_names(content: str, said: str, name: str, clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content.format(clip("cfr.mp4")), encoding="utf-8")

    assert said in refusal(path)


def test_a_playlist_that_hides_behind_other_text_is_refused_too(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    path.write_text(f"# a comment first\nffconcat version 1.0\nfile {clip('cfr.mp4')}\n")

    refusal(path)


def test_text_full_of_comments_is_told_from_a_manifest_at_once(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    path.write_text('<?xml version="1.0"?>' + "<!---->" * 500)

    assert "is a text file" in refusal(path)


@pytest.mark.parametrize(
    "name", ["concat:{0}|{0}", "http://127.0.0.1:9/in.mp4", "pipe:0", "data:video/mp4;base64,AAAA"]
)
def test_a_protocol_is_only_a_strange_file_name(name: str, clip: Clip) -> None:
    assert "does not exist" in refusal(name.format(clip("cfr.ts")))


def test_a_file_of_several_sources_does_not_leak_through_the_name(clip: Clip, tmp_path: Path, monkeypatch) -> None:
    # The prefix "co:" is no protocol libav knows; as a name it must simply be a file.
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip("cfr.mp4"), tmp_path / "co:lon.mp4")

    assert probe("co:lon.mp4").width == 64


@pytest.mark.parametrize(
    "name",
    [
        "a b.mp4",
        "-y.mp4",
        "new\nline.mp4",
        "100%.mp4",
        "im_%03d.mp4",
        "im_%d.png",
        "öäü.mp4",
        "[x].mp4",
        "*.png",
        "http:x.mp4",
    ],
)
def test_every_name_is_literal(name: str, clip: Clip, make: Callable[..., Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    still = make("still.png", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1")
    try:
        shutil.copy(still if name.endswith("png") else clip("cfr.mp4"), tmp_path / name)
    except OSError:
        pytest.skip("this file system does not take the name")

    assert probe(name).width == 64
    assert probe(tmp_path / name).path == tmp_path / name


@pytest.mark.skipif(os.name != "posix", reason="names are bytes only there")
def test_a_name_that_is_not_utf8_is_literal_too(clip: Clip, tmp_path: Path) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.mp4")
    try:
        shutil.copy(clip("cfr.mp4"), name)
    except OSError:
        pytest.skip("this file system does not take the name")

    assert probe(os.fsdecode(name)).width == 64
    os.truncate(name, 0)
    assert "caf\\udce9.mp4" in refusal(os.fsdecode(name))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no.mp4")
    assert "download it first" in refusal("https://example.invalid/film.mp4")
    assert "is a directory" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / ("x" * 5000))
    assert "cannot be read" in refusal("nul\0byte.mp4")


@pytest.mark.skipif(os.name != "posix", reason="named pipes are made otherwise elsewhere")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)

    assert "pipe or device" in refusal(pipe)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_says_so(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    shutil.copy(clip("cfr.mp4"), path)
    path.chmod(0)

    assert "permission denied" in refusal(path)


def test_sound_alone_is_no_video(clip: Clip) -> None:
    assert "has no video stream; it holds only audio" in refusal(clip("sound.m4a"))


def test_cover_art_is_no_video(clip: Clip, make: Callable[..., Path]) -> None:
    cover = make("cover.png", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1")
    inputs = ["-i", str(clip("sound.m4a")), "-i", str(cover), "-map", "0", "-map", "1"]
    song = make("song.m4a", *inputs, "-c", "copy", "-disposition:v:0", "attached_pic")

    assert "only cover art" in refusal(song)


@pytest.mark.parametrize("fragments", [(), ("-movflags", "+frag_keyframe+empty_moov+default_base_moof")])
def test_what_is_encrypted_is_called_so(fragments: tuple[str, ...], clip: Clip, make: Callable[..., Path]) -> None:
    # Decoders make pictures even of this, and of fragments without complaint.
    key = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0123456789abcdef" * 2]
    locked = make("locked.mp4", "-i", str(clip("cfr.mp4")), "-c", "copy", *key, "-encryption_kid", "f" * 32, *fragments)

    assert "is encrypted (DRM)" in refusal(locked)


def test_encrypted_matroska_is_called_so(clip: Clip, make: Callable[..., Path], tmp_path: Path) -> None:
    def element(name: str, content: bytes) -> bytes:
        return bytes.fromhex(name) + bytes([0x80 | len(content)]) + content

    # ContentEncodings of one ContentEncoding of type 1, with AES and the key's name (RFC 9559, 5.1.4.1.31); beside the
    # picture's number, where a title of the same length stands for it first.
    how = element("5035", element("47E1", b"\5") + element("47E2", b"0123456789abcdef"))
    encodings = element("6D80", element("6240", element("5033", b"\1") + how))
    size = len(encodings) - 3
    plain = make("named.mkv", "-i", str(clip("gray.mkv")), "-c", "copy", "-metadata:s:v", "title=" + "x" * size)
    data = plain.read_bytes()
    title = element("536E", b"x" * size)
    assert data.count(title) == 1
    locked = tmp_path / "locked.mkv"
    locked.write_bytes(data.replace(title, encodings))

    assert "is encrypted (DRM)" in refusal(locked)


def test_an_animated_webp_is_read_or_called_what_it_is(make: Callable[..., Path]) -> None:
    """PyAV 19 reads them, of whose lengths each may be another."""
    moving = "testsrc2=size=64x48:rate=10:duration=0.4,setpts='N+gte(N,2)'"
    animated = make("animated.webp", "-f", "lavfi", "-i", moving, "-loop", "3", "-fps_mode", "vfr")

    if "webp_anim" in av.formats_available:
        info = probe(animated)
        assert (info.codec, info.plays, info.layout.alpha) == ("webp_anim", 3, False)
        assert list(scan(info).stamps) == [Fraction(k, 10) for k in (0, 1, 3, 4)]
    else:
        assert "is an animated WebP" in refusal(animated) and ".apng" in refusal(animated)


def test_a_broken_webp_is_called_damaged(make: Callable[..., Path], tmp_path: Path) -> None:
    still = make("still.webp", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1")
    cut = tmp_path / "cut.webp"
    cut.write_bytes(still.read_bytes()[:20])

    assert "the file is damaged, or in a form of " in refusal(cut)


def test_the_film_is_chosen_not_the_cover_before_it(clip: Clip, make: Callable[..., Path]) -> None:
    cover = make("big.png", "-f", "lavfi", "-i", "testsrc2=size=640x480", "-frames:v", "1")
    inputs = ["-i", str(cover), "-i", str(clip("cfr.mp4")), "-map", "0", "-map", "1"]
    film = make("covered.mp4", *inputs, "-c", "copy", "-disposition:v:0", "attached_pic")

    info = probe(film)

    assert info.width == 64
    assert [(stream.kind, stream.codec) for stream in info.streams] == [("cover", "png")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_film_is_chosen_not_the_larger_still_beside_it(
    order: tuple[int, int], clip: Clip, make: Callable[..., Path]
) -> None:
    still = make(
        "large.mp4", "-f", "lavfi", "-i", "testsrc2=size=128x96", "-frames:v", "1", "-c:v", "libx264", "-qp", "1"
    )
    maps = [word for index in order for word in ("-map", str(index))]
    both = make(
        "photo.mp4", "-i", str(clip("cfr.mp4")), "-i", str(still), *maps, "-c", "copy", "-disposition:v", "default"
    )

    assert (probe(both).width, probe(both).duration_from_header) == (64, 1)


def test_a_second_film_is_listed_beside_the_first(clip: Clip, make: Callable[..., Path]) -> None:
    inputs = ["-i", str(clip("cfr.mp4")), "-i", str(clip("odd.mkv"))]
    info = probe(make("double.mkv", *inputs, "-map", "0", "-map", "1", "-c", "copy"))

    assert info.width == 64
    assert [(stream.index, stream.kind, stream.codec) for stream in info.streams] == [(1, "video", "ffv1")]


def test_a_closed_picture_lets_go_of_the_file(clip: Clip) -> None:
    picture = PictureTrack(clip("cfr.mp4"))

    picture.close()
    picture.close()

    assert not hasattr(picture, "context")


def test_open_container_gives_what_av_gives(clip: Clip) -> None:
    with open_container(clip("rich.mkv")) as container:
        assert container.format.name == "matroska,webm"
        assert len(container.streams.audio) == 2


def test_a_stream_that_is_gone_is_reported(clip: Clip) -> None:
    with pytest.raises(InputError, match="has changed"):
        PictureTrack(clip("cfr.mp4"), stream_index=5)


def test_reading_ends_where_pyav_stumbles_over_a_later_stream(clip: Clip) -> None:
    with PictureTrack(clip("cfr.flv")) as picture:
        real, packets = picture.container, picture.container.demux(picture.stream)

        def stumbling(*_: object) -> Iterator[object]:
            yield from itertools.islice(packets, 5)
            raise IndexError("list index out of range")

        picture.container = SimpleNamespace(demux=stumbling, format=real.format, close=real.close)
        assert len(list(picture.packets())) == 5


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (av.error.MemoryError(errno.ENOMEM, "as libav says it"), MemoryError),
        (av.error.BlockingIOError(errno.EAGAIN, "as libav says it"), DeviceError),
    ],
)
def test_want_of_memory_or_threads_is_no_damage(clip: Clip, error: Exception, told: type[Exception]) -> None:
    """libav's decoders tell of both as they tell of damage."""

    def decode(_: object) -> None:
        raise error

    with PictureTrack(clip("cfr.mp4")) as track:
        packet = next(track.packets())
        track.context = SimpleNamespace(decode=decode)
        with pytest.raises(told) as caught:
            track.decode(packet)
    assert not isinstance(caught.value, av.error.FFmpegError)


def test_a_demuxer_that_should_be_asked_again_lacks_no_threads() -> None:
    assert why_ended(av.error.BlockingIOError(errno.EAGAIN, "ask again"), "avi") == "ask again"


def test_a_size_beyond_all_memory_is_told_of_the_file(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bit that has flipped in a header makes one."""

    def opened(*_: object, **__: object) -> None:
        raise av.error.MemoryError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(av, "open", opened)
    with pytest.raises(InputError, match=r"cfr\.mp4' names a size beyond all memory: it is damaged"):
        open_container(clip("cfr.mp4"))


def test_a_limit_of_open_files_is_no_damage(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise av.error.OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(av, "open", opened)
    with pytest.raises(InputError, match="cannot be read: Too many open files"):
        open_container(clip("cfr.mp4"))

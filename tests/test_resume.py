"""Films in parts: stopped at any moment, gone on with by the same command, and the same film as in one piece."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from film import read

from slomo_cli.errors import EncoderError, InputError, SlomoError, UsageError
from slomo_cli.media.read.probe import probe
from slomo_cli.media.write import parts
from slomo_cli.media.write.args import build_encode_args
from slomo_cli.media.write.encode import Encoder
from slomo_cli.pipeline import convert, plan_conversion
from slomo_cli.values import Summary

Clip = Callable[[str], Path]
Convert = Callable[..., Summary]
PART = 7


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_FRAMES", PART)


@pytest.fixture
def run(weights: str) -> Convert:
    """``convert`` with the tiny network, one thread, float32, factor 3; lossless, so that pictures can be compared."""

    def run(source: Path, output: Path, **wishes: Any) -> Summary:
        settings = {"weights": weights, "device": "cpu", "dtype": "float32", "threads": 1, "factor": 3, "crf": 0}
        return convert(source, output, **{**settings, **wishes})

    return run


def packets(path: Path) -> dict[tuple[int, str], list[tuple[int, int, int]]]:
    """Stamps, lengths and sizes of all packets but the picture's sizes, in the order they are shown, by track."""
    found: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.size:
                kind = packet.stream.type
                size = 0 if kind == "video" else packet.size
                found.setdefault((packet.stream_index, kind), []).append((packet.pts, packet.duration, size))
    return {track: sorted(of) for track, of in found.items()}


def same_pictures(one: Path, two: Path) -> bool:
    pairs = zip(read(one), read(two), strict=True)
    return all(a.pts_seconds == b.pts_seconds and all(map(np.array_equal, a.planes, b.planes)) for a, b in pairs)


@pytest.mark.parametrize("source, ending", [("rich.mkv", "mkv"), ("rich.mkv", "mp4"), ("ntsc.mkv", "mov")])
def test_a_film_in_parts_is_the_film_in_one_piece(
    clip: Clip, run: Convert, tmp_path: Path, source: str, ending: str
) -> None:
    whole, joined = tmp_path / f"whole.{ending}", tmp_path / f"joined.{ending}"

    first = run(clip(source), whole)
    second = run(clip(source), joined, resume=True)

    assert first.frames_out == second.frames_out > 2 * PART
    assert (first.frames_interpolated, first.cuts, first.warnings) == (
        second.frames_interpolated,
        second.cuts,
        second.warnings,
    )
    assert same_pictures(whole, joined)
    assert packets(whole) == packets(joined)
    one, two = probe(whole), probe(joined)
    for name in ("width", "height", "pix_fmt", "sample_aspect", "display_matrix", "chapters"):
        assert getattr(one, name) == getattr(two, name), name
    assert [(s.kind, s.codec, s.language) for s in one.streams] == [(s.kind, s.codec, s.language) for s in two.streams]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted((whole.name, joined.name))


@pytest.mark.parametrize("rate", [None, 1000], ids=["usual", "beyond what ffmpeg knows"])
def test_reordered_pictures_stay_in_order(clip: Clip, run: Convert, tmp_path: Path, rate: int | None) -> None:
    """Every encoder numbers its pictures anew in every part; pictures far apart tell whether any has changed places."""
    whole, joined = tmp_path / "whole.mkv", tmp_path / "joined.mkv"
    wishes = {
        **({} if rate is None else {"rate": rate, "factor": 1, "end": "0.04"}),
        "codec": "hevc",
        "crf": None,
        "encoder_args": ("-x265-params", "lossless=1:bframes=3:open-gop=1:keyint=4"),
    }

    run(clip("cfr.mp4"), whole, **wishes)
    run(clip("cfr.mp4"), joined, resume=True, **wishes)

    assert same_pictures(whole, joined) and packets(whole) == packets(joined)


def test_frames_at_an_odd_rate_last_equally_long(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """Near 120 frames a second, of which ffmpeg knows a rate, and which its guess of a decoding stamp would be at."""
    whole, joined = tmp_path / "whole.mp4", tmp_path / "joined.mp4"
    wishes = {"factor": 2, "rate": "120000/1001"}

    run(clip("cfr.mp4"), whole, **wishes)
    run(clip("cfr.mp4"), joined, resume=True, **wishes)

    assert packets(whole) == packets(joined)


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_the_shape_of_pixels_stays_where_the_codec_does_not_say_it(
    clip: Clip, run: Convert, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out.{ending}"
    run(clip("anamorphic.mp4"), out, resume=True, codec="av1", crf=40, preset="ultrafast")
    shape = probe(out).sample_aspect
    assert shape is not None and abs(float(shape) - 4 / 3) < 0.01  # WebM holds it as a size in whole pixels


def test_parts_of_one_encoder_on_two_machines_are_one_film(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x265 puts down in its headers how many threads it has; that makes no other film."""
    out = tmp_path / "out.mkv"
    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", failing(PART))
        with pytest.raises(EncoderError):
            run(clip("cfr.mp4"), out, resume=True, codec="hevc")

    def elsewhere(args: Sequence[str], *more: Any, **named: Any) -> Encoder:
        return Encoder([word.replace("log-level=", "frame-threads=3:log-level=") for word in args], *more, **named)

    monkeypatch.setattr(parts, "Encoder", elsewhere)
    again = run(clip("cfr.mp4"), out, resume=True, codec="hevc")
    assert again.frames_kept == PART and again.frames_out == len(read(out))


def followed_by(act: Callable[[], None]) -> Callable[..., None]:
    """``Parts.write``, after each call of which something else happens."""
    write = parts.Parts.write

    def written(self: parts.Parts, *args: Any) -> None:
        write(self, *args)
        act()

    return written


def failing(after: int) -> Callable[..., None]:
    """``Parts.write`` that fails at its ``after``-th call."""
    write, calls = parts.Parts.write, []

    def failing(self: parts.Parts, *args: Any) -> None:
        calls.append(1)
        if len(calls) > after:
            raise EncoderError("the plug was pulled")
        write(self, *args)

    return failing


@pytest.mark.parametrize("stopped_after", [3, 7, 16])
def test_the_same_command_goes_on(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_after: int
) -> None:
    whole, joined = tmp_path / "whole.mp4", tmp_path / "joined.mp4"
    run(clip("cfr.mp4"), whole)
    made: list[int] = []
    monkeypatch.setattr(parts.Parts, "write", failing(stopped_after))
    with pytest.raises(EncoderError, match="plug"):
        run(clip("cfr.mp4"), joined, resume=True)
    monkeypatch.undo()
    monkeypatch.setattr(parts, "PART_FRAMES", PART)
    kept = stopped_after // PART
    folder = tmp_path / ".joined.mp4.slomo-parts"
    assert not joined.exists()
    assert sorted(p.name for p in folder.glob("*.nut")) == [f"{k + 1:06d}.nut" for k in range(kept)]
    assert folder.exists() == bool(kept)
    write = parts.Parts.write
    monkeypatch.setattr(parts.Parts, "write", lambda self, *args: (made.append(1), write(self, *args))[1])

    again = run(clip("cfr.mp4"), joined, resume=True)

    assert len(made) == again.frames_out - kept * PART and again.frames_kept == kept * PART
    assert same_pictures(whole, joined) and packets(whole) == packets(joined)
    assert not folder.exists()


def test_parts_outlive_a_failed_end(clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts are there and the join fails: nothing is made twice."""
    out = tmp_path / "out.mp4"
    monkeypatch.setattr(Encoder, "append", lambda *_: (_ for _ in ()).throw(EncoderError("no room")))
    with pytest.raises(EncoderError, match="no room"):
        run(clip("cfr.mp4"), out, resume=True)
    monkeypatch.undo()
    monkeypatch.setattr(parts, "PART_FRAMES", PART)
    monkeypatch.setattr(parts.Parts, "write", None)

    assert run(clip("cfr.mp4"), out, resume=True).frames_out == len(read(out))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_parts_that_a_run_without_resume_does_not_use_are_pointed_out(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, folder = tmp_path / "out.mp4", tmp_path / ".out.mp4.slomo-parts"
    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", failing(PART))
        with pytest.raises(EncoderError):
            run(clip("cfr.mp4"), out, resume=True)

    assert any(f"kept in '{folder}': --resume goes on" in line for line in run(clip("cfr.mp4"), out).warnings)
    again = run(clip("cfr.mp4"), out, resume=True, overwrite=True)
    assert again.frames_kept == PART and not any("--resume" in line for line in again.warnings)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
@pytest.mark.parametrize("resume", [False, True])
def test_links_and_pipes_among_the_parts_lead_nowhere(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    out, folder, other = tmp_path / "out.mp4", tmp_path / ".out.mp4.slomo-parts", tmp_path / "other"
    other.write_text("of somebody")
    folder.mkdir()
    (folder / "conversion").symlink_to(other)
    os.mkfifo(folder / "film")
    if resume:
        with pytest.raises(EncoderError, match="cannot write to the folder"):
            run(clip("cfr.mp4"), out, resume=True)
        (folder / "conversion").unlink()
    run(clip("cfr.mp4"), out, resume=resume)
    (folder / "film").unlink(missing_ok=True)
    if not resume:
        (folder / "film").write_bytes(b"\x81")  # no text
        run(clip("cfr.mp4"), out, overwrite=True)
    assert other.read_text() == "of somebody"


@pytest.mark.skipif(os.name != "posix", reason="links and owners")
@pytest.mark.parametrize("planted", ["link", "another's"])
def test_parts_are_not_written_where_another_user_leads(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    out, folder, other = tmp_path / "out.mp4", tmp_path / ".out.mp4.slomo-parts", tmp_path / "other"
    other.mkdir()
    if planted == "link":
        folder.symlink_to(other)
    else:
        folder.mkdir()
        tmp_path.chmod(0o1777)
        monkeypatch.setattr(parts.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EncoderError, match="is a link or another user's"):
        run(clip("cfr.mp4"), out, resume=True)
    assert not list(other.iterdir()) and not out.exists()


def killed_while_parts_are_removed(
    run: Convert, source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """A run with ``--resume`` that is killed when it comes to remove the first file whose name matches ``at``."""
    unlink = Path.unlink

    def killed(path: Path, **wishes: Any) -> None:
        if path.match(at):
            raise KeyboardInterrupt
        unlink(path, **wishes)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", killed)
        run(source, output, resume=True)


def test_a_kill_while_parts_are_removed_leaves_parts_of_the_same_conversion(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_parts_are_removed(run, clip("cfr.mp4"), tmp_path / "out.mp4", monkeypatch, at="000002.nut")
    (tmp_path / "out.mp4").unlink()  # whole by then

    assert run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True).frames_kept >= PART
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("others", [False, True], ids=["its own film", "another film"])
@pytest.mark.parametrize("again", [{}, {"resume": True, "crf": 10}], ids=["in one piece", "another conversion"])
def test_parts_are_removed_where_the_film_that_lies_there_was_made_of_them(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: dict[str, Any], others: bool
) -> None:
    """A kill between the film's appearance and the removal of its parts; they are another's once it was replaced."""
    out, folder = tmp_path / "out.mp4", tmp_path / ".out.mp4.slomo-parts"
    killed_while_parts_are_removed(run, clip("cfr.mp4"), out, monkeypatch, at="*.nut")
    assert out.exists() and any(folder.glob("*.nut"))
    if others:
        data = out.read_bytes()
        out.unlink()
        out.write_bytes(data)

    if others and again:
        with pytest.raises(UsageError, match="another conversion"):
            run(clip("cfr.mp4"), out, overwrite=True, **again)
    else:
        assert run(clip("cfr.mp4"), out, overwrite=True, **again).frames_kept == 0
    assert folder.exists() == others


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize("source", ["cfr.mp4", "full.mp4", "hdr10.mp4", "yuv444p.mp4"])
def test_colours_are_marked_as_in_one_piece(clip: Clip, run: Convert, tmp_path: Path, source: str, ending: str) -> None:
    """Matroska says of H.264 without a mark that its range is limited."""
    whole, joined = tmp_path / f"whole.{ending}", tmp_path / f"joined.{ending}"
    run(clip(source), whole, codec="h264")
    run(clip(source), joined, codec="h264", resume=True)
    assert probe(whole).color == probe(joined).color


@pytest.mark.parametrize("other", [{"crf": 10}, {"factor": 4}, {"proxy": "64"}, {"cuts": "off"}, {"preset": "fast"}])
def test_parts_of_another_conversion_are_refused_and_stay(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    out = tmp_path / "out.mp4"
    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", failing(PART))
        with pytest.raises(EncoderError):
            run(clip("cfr.mp4"), out, resume=True)
    before = sorted((p.name, p.stat().st_size) for p in (tmp_path / ".out.mp4.slomo-parts").iterdir())

    with pytest.raises(UsageError, match="another conversion"):
        run(clip("cfr.mp4"), out, resume=True, **other)

    assert sorted((p.name, p.stat().st_size) for p in (tmp_path / ".out.mp4.slomo-parts").iterdir()) == before
    assert run(clip("cfr.mp4"), out, resume=True, audio="drop").frames_out  # sound is made at the end


def test_a_changed_source_is_another_conversion(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(clip("cfr.mp4").read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", failing(PART))
        with pytest.raises(EncoderError):
            run(source, tmp_path / "out.mp4", resume=True)
    os.utime(source, ns=(1, 1))
    with pytest.raises(UsageError, match="another source"):
        run(source, tmp_path / "out.mp4", resume=True)


@pytest.mark.parametrize("becomes", ["another", "nothing"])
def test_sound_of_another_film_is_not_taken(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    """Sound is read when the parts are joined, hours after the first picture perhaps."""
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    shutil.copy2(clip("cfr.mp4"), source)

    def replace() -> None:
        source.unlink(missing_ok=True)
        if becomes == "another":
            shutil.copy(clip("ntsc.mkv"), source)

    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", followed_by(replace))
        with pytest.raises(InputError, match=r"in\.mp4' was changed, replaced or removed meanwhile"):
            run(source, out, resume=True)
    assert not out.exists()

    shutil.copy2(clip("cfr.mp4"), source)
    monkeypatch.setattr(parts.Parts, "write", None)  # every frame is there
    assert run(source, out, resume=True).frames_out == len(read(out))


def test_a_source_that_was_touched_is_told(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts could not be used again: they are another source's, by their time."""
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    shutil.copy2(clip("cfr.mp4"), source)
    monkeypatch.setattr(parts.Parts, "write", followed_by(lambda: os.utime(source)))
    made = run(source, out, resume=True)
    assert made.frames_out == len(read(out)) and [text for text in made.warnings if "has changed while" in text]


def test_a_part_that_was_tampered_with_is_told(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", failing(3 * PART))
        with pytest.raises(EncoderError):
            run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True)
    part = tmp_path / ".out.mp4.slomo-parts" / "000002.nut"
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with monkeypatch.context() as patched, pytest.raises(SlomoError, match=r"000002\.nut.*does not hold"):
        patched.setattr(parts.Parts, "write", None)  # before anything is made
        run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True)
    assert not (tmp_path / "out.mp4").exists()

    part.unlink()  # as the message says, though one more lies behind it
    assert run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True).frames_kept == PART


def test_a_part_of_another_encoder_is_told_when_it_is_made(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The film has the headers of its first part only: one with others cannot be joined."""
    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", failing(PART))
        with pytest.raises(EncoderError):
            run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True, encoder_args=("-tune", "film"))
    write, made = parts.Parts.write, []
    monkeypatch.setattr(parts.Parts, "write", lambda self, *args: (made.append(1), write(self, *args)))

    def elsewhere(args: Sequence[str], *more: Any, **named: Any) -> Encoder:
        return Encoder(["fastdecode" if word == "film" else word for word in args], *more, **named)

    monkeypatch.setattr(parts, "Encoder", elsewhere)
    for frames in (PART, 0):  # once more, and before anything is made
        made.clear()
        with pytest.raises(EncoderError, match=r"000002\.nut.*encoded otherwise than the first part"):
            run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True, encoder_args=("-tune", "film"))
        assert len(made) == frames


def test_a_second_run_on_the_same_output_harms_nothing(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, tried = parts.Parts.write, []

    def meanwhile(self: parts.Parts, *args: Any) -> None:
        write(self, *args)
        if not tried:
            tried.append(1)
            for resume in (True, False):
                with pytest.raises(EncoderError, match="another slomo"):
                    run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=resume)

    monkeypatch.setattr(parts.Parts, "write", meanwhile)
    assert run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True).frames_out == len(read(tmp_path / "out.mp4"))
    assert tried


@pytest.mark.parametrize(
    "name, wishes, words",
    [
        ("out.gif", {"crf": None}, "gif"),
        ("out.mkv", {"codec": "ffv1", "crf": None}, "ffv1"),
        ("%03d.png", {"crf": None}, "png"),
        ("out.mkv", {"vfr": "keep"}, "--vfr"),
        (None, {}, "-o"),
    ],
)
def test_what_cannot_be_made_in_parts_is_refused(
    clip: Clip, run: Convert, tmp_path: Path, name: str | None, wishes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        run(clip("gaps.mp4" if "vfr" in wishes else "cfr.mp4"), name and tmp_path / name, resume=True, **wishes)
    assert "--resume" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_options_go_where_they_belong(clip: Clip, run: Convert, tmp_path: Path) -> None:
    """The user's own arguments: those of the picture to the parts, those of the file and the sound to the whole."""
    out = tmp_path / "out.mp4"
    words = ("-b:a", "64k", "-g", "3", "-metadata", "title=In parts", "-movflags", "+faststart+use_metadata_tags")
    run(clip("rich.mkv"), out, resume=True, encoder_args=words, audio="stretch")
    with av.open(str(out)) as file:
        keys = [packet.is_keyframe for packet in file.demux(video=0) if packet.size]
        assert file.metadata["title"] == "In parts"
    assert all(keys[start] for start in range(0, len(keys), PART))
    assert sum(keys) > len(keys) / PART + 3
    assert out.read_bytes().find(b"moov") < out.read_bytes().find(b"mdat")


@pytest.mark.parametrize(
    "words, part, join",
    [
        ("-bitexact", True, True),
        ("-flags +bitexact", True, True),
        ("-strict experimental", True, True),
        ("-vbr off", False, True),
        ("-compression_level 12", False, True),
        ("-frag_duration 300000", False, True),
        ("-g 12345", True, False),
        ("-vf hue=s=0", True, False),
        ("-bsf:v h264_metadata=level=5", True, False),
    ],
)
def test_an_option_goes_to_each_command_it_is_for(
    clip: Clip, tmp_path: Path, words: str, part: bool, join: bool
) -> None:
    said = tuple(words.split())
    plan = plan_conversion(clip("sound.mp4"), tmp_path / "out.mp4", factor=3, resume=True, encoder_args=said)
    # Names of files may hold anything.
    commands = [[word for word in args if str(tmp_path) not in word] for args in (plan.encoder_args, plan.join_args)]
    assert [said[-1] in " ".join(command) for command in commands] == [part, join]


@pytest.mark.parametrize(
    "filters", ["fade=in:0:30", "hue=H=t", "hqdn3d", "scale=64:48,eq=brightness=0.1:enable=gt(n\\,9)"]
)
def test_filters_that_know_the_time_are_refused(clip: Clip, run: Convert, tmp_path: Path, filters: str) -> None:
    """Every part would begin with a fade of its own."""
    with pytest.raises(UsageError, match="may depend on the time"):
        run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True, encoder_args=("-vf", filters))


def test_an_ffmpeg_that_knows_no_setts_joins_without_it(clip: Clip, tmp_path: Path) -> None:
    plan = plan_conversion(clip("cfr.mp4"), tmp_path / "out.mp4", factor=3, resume=True)
    assert "-bsf:v:0" in plan.join_args
    old = replace(parts.in_one_piece(plan.target), ffmpeg_version=(4, 2))
    assert "-bsf:v:0" not in build_encode_args(old, plan.carry, "ffmpeg", frames=plan.plan.frames)


def test_an_argument_that_is_not_utf8_is_known_again(clip: Clip, run: Convert, tmp_path: Path) -> None:
    words = ("-x264-params", "stats=\udcff.log")
    assert run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True, encoder_args=words).frames_out


def test_no_folder_stays_where_there_is_no_room_for_one(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EncoderError, match="No space left"):
        run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_stays_where_a_signal_comes_before_the_first_part(
    clip: Clip, run: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(clip("cfr.mp4"), tmp_path / "out.mp4", resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_at_the_prompt_and_gone_on_with(clip: Clip, weights: str, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    words = ["convert", str(clip("cfr.mp4")), "--factor", "3", "--weights", weights, "--device", "cpu", "-o", str(out)]
    begin = f"from slomo_cli.media.write import parts; parts.PART_FRAMES = {PART}"
    code = f"{begin}; from slomo_cli.cli.main import main; main()"
    command = [sys.executable, "-c", code, *words, "--resume", "--progress", "plain"]
    first = tmp_path / ".out.mp4.slomo-parts" / "000001.nut"
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if not out.exists():  # else it was quicker than the signal
        assert first.exists()

        done = subprocess.run(command, capture_output=True, text=True, timeout=120)

        assert done.returncode == 0, done.stderr
        assert "are there from before" in done.stderr
    assert len(read(out)) == 3 * len(read(clip("cfr.mp4")))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]

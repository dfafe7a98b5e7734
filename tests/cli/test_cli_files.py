"""Names of outputs, and refusals before anything is loaded."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from slomo_cli.cli import files, jobs
from slomo_cli.cli.main import cli
from slomo_cli.errors import InputError, SlomoError, UsageError
from slomo_cli.media import containers


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("factor", "tag"),
    [("8", "x8"), ("2.5", "x2.5"), ("5/2", "x2.5"), ("10/3", "x3.333"), ("30000/1001", "x29.97"), ("1.25", "x1.25")],
)
def test_tag_of_factor(factor: str, tag: str) -> None:
    assert jobs.tag_of_factor(Fraction(factor)) == tag


@pytest.mark.parametrize(
    ("rate", "tag"),
    [
        ("240", "240fps"),
        ("60000/1001", "59.94fps"),
        ("24000/1001", "23.976fps"),
        ("30000/1001", "29.97fps"),
        ("120000/1001", "119.88fps"),
        ("12.5", "12.5fps"),
        ("23.98", "23.98fps"),
        ("1/10", "0.1fps"),
    ],
)
def test_tag_of_rate(rate: str, tag: str) -> None:
    assert jobs.tag_of_rate(Fraction(rate)) == tag


@pytest.mark.parametrize(
    ("source", "codec", "name"),
    [
        ("in.mp4", None, "in.x8.mp4"),
        ("IN.MOV", None, "IN.x8.MOV"),
        ("a.b.mkv", None, "a.b.x8.mkv"),
        ("in.webm", None, "in.x8.webm"),
        ("in.webm", "vp9", "in.x8.webm"),
        ("in.webm", "h264", "in.x8.mp4"),
        ("in.flv", None, "in.x8.mp4"),
        ("in.wmv", None, "in.x8.mp4"),
        ("in.mpg", None, "in.x8.mkv"),
        ("in.ogv", None, "in.x8.mkv"),
        ("in", None, "in.x8.mp4"),
        ("in.mp4", "prores", "in.x8.mov"),
        ("in.mov", "prores", "in.x8.mov"),
        ("in.mp4", "ffv1", "in.x8.mkv"),
        ("in.mp4", "libx265", "in.x8.mp4"),
        ("in.mov", "av1", "in.x8.mp4"),
        ("in.mp4", "gif", "in.x8.gif"),
        ("in.mp4", "png", "in.%06d.x8.png"),
        ("100%.mp4", "png", "100%.%06d.x8.png"),
        ("in.gif", None, "in.x8.gif"),
        ("shot_%04d.png", None, "shot_%04d.x8.png"),
        ("shot_*.png", None, "shot.%06d.x8.png"),
        ("shot_??.png", None, "shot.%06d.x8.png"),
        ("some/where/*.png", None, "where.%06d.x8.png"),
        ("shot_??_*.png", None, "shot.%06d.x8.png"),
        ("shot_%04d.png", "h264", "shot.x8.mp4"),
        ("shot_*.png", "h264", "shot.x8.mp4"),
        ("some/where/*.jpg", "h264", "where.x8.mp4"),
        ("frames/", None, "frames.x8.mp4"),
    ],
)
def test_default_name(source: str, codec: str | None, name: str) -> None:
    assert jobs.default_name(Path(source), "x8", codec) == name


@pytest.mark.parametrize(
    ("source", "name"), [("out_%05d.png", "out"), ("some/where/*.jpg", "where"), ("a.b.mp4", "a.b"), ("of/", "of")]
)
def test_plain_name(source: str, name: str) -> None:
    assert jobs.plain_name(Path(source)) == name


def test_default_name_of_a_file_called_like_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "what?.mp4").touch()
    assert jobs.default_name(tmp_path / "what?.mp4", "x8", None) == "what?.x8.mp4"


def test_default_names_are_in_containers_slomo_writes() -> None:
    for ending in (*containers.BY_EXTENSION, "flv", "3gp", "vob", "nonsense", ""):
        name = jobs.default_name(Path(f"in.{ending}" if ending else "in"), "x8", None)
        assert name.rpartition(".")[2] in containers.BY_EXTENSION


def plan(
    *inputs: str, output: str | None = None, out_dir: str | None = None, codec: str | None = None
) -> list[jobs.Job]:
    return jobs.plan_jobs(inputs, output=output, out_dir=out_dir, tag="x8", codec=codec)


def test_results_go_beside_their_sources_or_into_the_folder() -> None:
    assert [job.target for job in plan("a/in.mp4", "in.mp4")] == [Path("a/in.x8.mp4"), Path("in.x8.mp4")]
    assert [job.target for job in plan("a/in.mp4", out_dir="slow")] == [Path("slow/in.x8.mp4")]
    assert plan("-", output="-") == [jobs.Job(None, None)]


@pytest.mark.parametrize(
    ("inputs", "output", "out_dir", "text"),
    [
        (["a.mp4", "b.mp4"], "out.mp4", None, "-o names one file and there are 2 inputs: use --out-dir DIR"),
        (["a.mp4"], "out.mp4", "slow", "-o names one file and --out-dir a folder for all: give one of them"),
        (["a.mp4"], "slow/", None, "-o expects a file name, found 'slow/': use --out-dir for a folder"),
        (["a.mp4"], "", None, "-o expects a file name, found '': use --out-dir for a folder"),
        (["-"], None, None, "reading stdin needs a name for the result: -o FILE, or -o - for stdout"),
        (
            ["-", "in.mp4"],
            None,
            "slow",
            "stdin (-) is converted by itself, with -o: found 2 inputs, leave out the others",
        ),
        (["-", "-"], "-", None, "stdin (-) is converted by itself, with -o: found 2 inputs, leave out the others"),
        (["-"], None, "slow", "reading stdin needs a name for the result: -o FILE, or -o - for stdout"),
        (
            ["a/in.mp4", "b/in.mp4"],
            None,
            "slow",
            "'a/in.mp4' and 'b/in.mp4' would both be written to 'slow/in.x8.mp4': give each an -o of its own",
        ),
        (["in.mp4", "./in.mp4"], None, None, "'in.mp4' is given twice: name it once"),
    ],
)
def test_contradictions_are_usage_errors(inputs: list[str], output: str | None, out_dir: str | None, text: str) -> None:
    for name in ("a.mp4", "b.mp4"):
        Path(name).write_bytes(b"video")
    with pytest.raises(UsageError) as refused:
        plan(*inputs, output=output, out_dir=out_dir)

    assert str(refused.value) == text


@pytest.mark.parametrize("link", ["same", "dots", "symlink", "hardlink", "folder"])
def test_output_is_never_the_input(folder: Path, link: str) -> None:
    (folder / "sub").mkdir()
    Path("in.mp4").write_bytes(b"video")
    Path("sym.mp4").symlink_to("in.mp4")
    os.link("in.mp4", "hard.mp4")
    (folder / "again").symlink_to(folder)
    names = {
        "same": "in.mp4",
        "dots": "sub/../in.mp4",
        "symlink": "sym.mp4",
        "hardlink": "hard.mp4",
        "folder": "again/in.mp4",
    }
    with pytest.raises(UsageError, match="is the input itself"):
        plan("in.mp4", output=names[link])

    assert Path("in.mp4").read_bytes() == b"video"


@pytest.mark.skipif(os.name != "posix", reason="redirects with the shell's own words")
@pytest.mark.parametrize(
    "words",
    [
        '"$0" -m slomo_cli convert in.mkv -o - >> in.mkv',
        '"$0" -m slomo_cli convert - -o in.mkv -y < in.mkv',
        '"$0" -m slomo_cli convert - -o - < in.mkv >> in.mkv',
        '"$0" -m slomo_cli preview in.mkv --at 0.2 -o - >> in.mkv',
    ],
)
def test_redirected_output_is_never_the_input(clip: Callable[[str], Path], words: str) -> None:
    """A film grew by its own slow motion, and by what was made of that."""
    before = clip("rich.mkv").read_bytes()
    Path("in.mkv").write_bytes(before)
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[2])}
    done = subprocess.run(["sh", "-c", words, sys.executable], capture_output=True, text=True, env=environment)

    assert done.returncode == 2 and "is the input itself: " in done.stderr
    assert Path("in.mkv").read_bytes() == before


def test_output_is_never_another_input_of_the_batch() -> None:
    for name in ("in.mp4", "in.x8.mp4"):
        Path(name).write_bytes(b"video")
    with pytest.raises(UsageError, match=r"'in\.x8\.mp4' is the input itself"):
        plan("in.mp4", "in.x8.mp4")


def test_thousands_of_inputs_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: looked.append(path) or stat(path, **how))
    plan(*[f"{number}.mp4" for number in range(1000)])

    assert len(looked) < 10_000


def test_missing_output_named_as_the_missing_input_is_refused() -> None:
    with pytest.raises(UsageError, match="is the input itself"):
        plan("in.mp4", output="./in.mp4")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gone.mp4", "'gone.mp4' does not exist"),
        (
            "http://example.com/a.mp4",
            "'http:/example.com/a.mp4' does not exist; only local files are read: download it first",
        ),
        (
            "file:///in.mp4",
            "'file:/in.mp4' does not exist; a file is named by its path alone, without 'file:'",
        ),
        ("in.mp4/deep.mp4", "'in.mp4/deep.mp4' cannot be read: Not a directory"),
        ("x" * 300, f"'{'x' * 300}' cannot be read: File name too long"),
        ("fifo", "'fifo' is a pipe or device; expected a regular file: save it to one first"),
    ],
)
def test_unreadable_sources_are_input_errors(name: str, text: str) -> None:
    Path("sub").mkdir()
    Path("in.mp4").write_bytes(b"video")
    os.mkfifo("fifo")
    with pytest.raises(InputError) as refused:
        files.check_source(Path(name))

    assert str(refused.value) == text


def test_only_who_reads_stdin_is_told_to_use_it() -> None:
    os.mkfifo("fifo")
    with pytest.raises(InputError, match=r"expected a regular file: pipe it in as -$"):
        files.check_source(Path("fifo"), piped=True)


def test_numbered_pictures_and_folders_are_left_to_the_reader() -> None:
    Path("sub").mkdir()
    for name in ("sub", "shot_%04d.png", "sub/*.png"):
        files.check_source(Path(name))
    with pytest.raises(InputError, match="does not exist"):
        files.check_source(Path("gone/*.png"))


def test_source_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.mp4").write_bytes(b"video")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(InputError, match="cannot be read: permission denied"):
        files.check_source(Path("in.mp4"))


def test_terminals_are_neither_source_nor_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(UsageError, match=r"stdin \(-\) is a terminal"):
        files.check_source(None)
    with pytest.raises(UsageError, match=r"stdout \(-\) is a terminal"):
        files.check_target(None)
    files.check_target(None, dry=True)
    files.check_target(None, text=True)


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        ("sub", UsageError, "the output 'sub' is a folder: name a file in it"),
        (
            "/dev/null",
            UsageError,
            "the output '/dev/null' is not a regular file: use -o - to write to a pipe or device",
        ),
        ("gone/out.mp4", SlomoError, "the folder 'gone' does not exist: make it, or choose another"),
        ("in.mp4/out.mp4", SlomoError, "cannot write 'in.mp4/out.mp4': 'in.mp4' is not a folder"),
    ],
)
def test_impossible_targets(target: str, kind: type[SlomoError], text: str) -> None:
    Path("sub").mkdir()
    Path("in.mp4").write_bytes(b"video")
    with pytest.raises(kind) as refused:
        files.check_target(Path(target))

    assert str(refused.value) == text
    assert refused.value.exit_code == kind.exit_code


def test_folder_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SlomoError, match="no permission to write in the folder 'sub'"):
        Path("sub").mkdir()
        files.check_target(Path("sub/out.mp4"))


@pytest.mark.skipif(os.name != "posix", reason="owners of files")
def test_a_file_that_only_another_may_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("shared").mkdir()
    Path("shared").chmod(0o1777)
    Path("shared/out.mp4").write_bytes(b"another's")
    Path("link.mp4").symlink_to("shared/out.mp4")
    monkeypatch.setattr(os, "geteuid", lambda: os.stat("shared").st_uid + 1)

    for name in ("shared/out.mp4", "link.mp4"):
        with pytest.raises(SlomoError, match=f"'{name}' belongs to another user, who alone may replace it there"):
            files.check_target(Path(name))
    files.check_target(Path("shared/new.mp4"))
    Path("shared").chmod(0o777)
    files.check_target(Path("shared/out.mp4"))


def test_a_file_that_is_mounted_by_itself_cannot_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docker run -v out.mp4:/out.mp4` has it: to rename another file there fails, when all is made."""
    for name in ("out.mp4", "my out.mp4", "other.mp4"):
        Path(name).write_bytes(b"")
    here = os.path.realpath(".").replace(" ", r"\040")
    lines = [f"30 1 254:0 /x {here}/{name} rw - ext4 /dev/vda rw\n" for name in ("out.mp4", r"my\040out.mp4")]
    Path("mounts").write_text("".join(lines))
    monkeypatch.setattr(files, "_MOUNTS", "mounts")
    for name in ("out.mp4", "my out.mp4"):
        with pytest.raises(SlomoError, match=rf"'{name}' is mounted by itself .*: mount its folder"):
            files.check_target(Path(name))
    # In an overlay, files may be on other devices than their folder.
    monkeypatch.setattr(os.path, "ismount", lambda name: True)
    files.check_target(Path("other.mp4"))
    monkeypatch.setattr(files, "_MOUNTS", "none")
    files.check_target(Path("out.mp4"))


def test_out_dir_is_made_only_for_real_runs() -> None:
    files.check_target(Path("new/er/out.mp4"), create=True, dry=True)
    assert not Path("new").exists()
    files.check_target(Path("new/er/out.mp4"), create=True)
    assert Path("new/er").is_dir()
    Path("file").write_bytes(b"")
    with pytest.raises(SlomoError, match="'file' is not a folder"):
        files.check_target(Path("file/out.mp4"), create=True)


def test_dangling_link_counts_as_existing() -> None:
    Path("out.mp4").symlink_to("nowhere")
    with pytest.raises(SlomoError, match="exists"):
        files.may_write(Path("out.mp4"), overwrite=False, skip=False)


def test_empty_stdin_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "rb") as nothing:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=nothing, isatty=lambda: False))
        with pytest.raises(InputError, match="stdin is empty: pipe a video into it"), files.readable(None):
            pass


def test_stdin_that_does_not_wait_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is what Python reads where there is nothing yet."""
    blocks = [b"one", None, None, b"two", b""]
    pipe = SimpleNamespace(read=lambda _: blocks.pop(0))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe, isatty=lambda: False))
    with files.readable(None) as path:
        assert path.read_bytes() == b"onetwo"


def test_no_folder_to_keep_stdin_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: Any, **__: Any) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", nowhere)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"video"), isatty=lambda: False))
    with pytest.raises(SlomoError, match=r"^cannot keep stdin in a temporary folder: .* TMPDIR$"), files.readable(None):
        pass


def test_what_is_wrong_with_stdin_is_told_without_the_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"text"), isatty=lambda: False))
    with pytest.raises(InputError, match=r"^stdin has no video$"), files.readable(None) as path:
        raise InputError(f"'{path}' has no video")


def test_a_folder_that_another_run_makes_at_the_same_time_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def late(folder: Path, *words: Any, **settings: Any) -> None:
        make(folder)  # the other one's
        make(folder, *words, **settings)

    monkeypatch.setattr(Path, "mkdir", late)
    files.check_target(tmp_path / "slow" / "out.mp4", create=True)

    assert (tmp_path / "slow").is_dir()


@pytest.mark.parametrize(
    "words",
    [
        ["convert", ""],
        ["convert", "in.mp4", "--out-dir", ""],
        ["fps", "", "--target", "60"],
        ["between", "a.png", "", "-o", "x.png"],
        ["info", ""],
        ["preview", "", "--at", "0"],
        ["compare", "", "in.mp4"],
        ["bench", ""],
        ["eval", ""],
        ["train", "--data", "in.mp4", "--steps", "1", "--out", ""],
        ["weights", "import", ""],
    ],
    ids=" ".join,
)
def test_an_empty_name_is_no_name_of_the_current_folder(words: list[str], folder: Path) -> None:
    """As of ``"$FILE"`` in a script that never set it: the folder's own pictures were taken."""
    (folder / "in.mp4").touch()
    result = CliRunner().invoke(cli, words)

    assert result.exit_code == 2 and "expected a name, found ''" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "x" * 300],
        ["eval", "x" * 300],
        ["train", "--data", "x" * 300, "--steps", "1", "--out", "run"],
        ["train", "--out", "x" * 300, "--export", "x.safetensors"],
    ],
    ids=lambda words: words[0],
)
def test_names_the_system_will_not_look_at_are_refused_in_a_line(words: list[str]) -> None:
    """As folders that one may not enter are: whether such a name is there cannot be asked."""
    result = CliRunner().invoke(cli, words)

    assert isinstance(result.exception, SlomoError | SystemExit) and not isinstance(result.exception, OSError)


@pytest.mark.parametrize("words", [["weights", "import", "."], ["preview", "/", "--at", "0"], ["compare", ".", "/"]])
def test_a_folder_without_a_name_is_refused_in_a_line(words: list[str]) -> None:
    result = CliRunner().invoke(cli, words)

    assert isinstance(result.exception, SlomoError | SystemExit) and not isinstance(result.exception, ValueError)

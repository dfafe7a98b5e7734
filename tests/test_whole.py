"""Files appear complete or not at all."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from slomo_cli.errors import SlomoError
from slomo_cli.whole import whole, write_whole


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path) -> None:
    """The old one is there until then, and nothing else afterwards."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    with whole(path) as new:
        new.write_text("new")
        assert path.read_text() == "old" and new.parent == tmp_path

    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_goes_wrong_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(KeyboardInterrupt), whole(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt

    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="files have other rights there")
def test_a_writer_that_makes_a_file_of_its_own_does_not_keep_it_for_its_owner(tmp_path: Path) -> None:
    """As safetensors does."""
    with whole(tmp_path / "a.bin") as new:
        new.unlink()
        os.close(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600))
    (tmp_path / "b.bin").touch()

    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "b.bin").stat().st_mode


def test_what_a_killed_process_left_under_the_name_of_its_own_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_text("a long rest")
    (tmp_path / "a.part").chmod(0o400)

    with whole(tmp_path / "a", "a.part") as new:
        new.write_text("new")

    assert (tmp_path / "a").read_text() == "new" and list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_what_a_killed_process_left_goes_with_the_files_of_its_writer(tmp_path: Path) -> None:
    """safetensors writes to a file of its own, beside the one it is told, by a name that nobody knows."""
    (tmp_path / "a.part").mkdir()
    (tmp_path / "a.part" / ".tmpX9q").write_text("half of it")

    with whole(tmp_path / "a", "a.part") as new:
        (new.parent / ".tmpB2k").write_text("new")
        os.replace(new.parent / ".tmpB2k", new)

    assert (tmp_path / "a").read_text() == "new" and list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize(("number", "matters"), [(errno.EIO, True), (errno.ENOSPC, True), (errno.EINVAL, False)])
def test_a_disk_that_does_not_take_it_is_heard(
    tmp_path: Path, number: int, matters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot say whether it has is trusted."""

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    if matters:
        with pytest.raises(OSError, match=os.strerror(number)), whole(path) as new:
            new.write_text("new")
    else:
        with whole(path) as new:
            new.write_text("new")
    assert path.read_text() == ("old" if matters else "new") and list(tmp_path.iterdir()) == [path]


def test_write_where_there_is_no_folder(tmp_path: Path) -> None:
    """A missing folder is one line, not a traceback."""
    with pytest.raises(SlomoError, match=r"cannot write .*no/out\.png: No such file"):
        write_whole(tmp_path / "no" / "out.png", b"")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    """Where the name is a folder, nothing is lost and no temporary file stays."""
    (tmp_path / "out.png").mkdir()
    with pytest.raises(SlomoError, match="cannot write"):
        write_whole(tmp_path / "out.png", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_what_is_replaced_keeps_its_permissions_and_the_link_to_it(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_whole(link, b"new")

    assert link.is_symlink() and real.read_bytes() == b"new" and real.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "real.json"]

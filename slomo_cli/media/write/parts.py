"""A film written in parts that stay until it is whole, so that a run that was stopped can go on where it was.

Each part is a file of its own: so many frames, encoded by an ffmpeg of its own, read back and only then given its name,
as any output is. When all are there, their packets are copied, one part after another, into the target, together with
the sound; what is shown when is counted anew, so that the film has the very stamps it would have had in one piece. The
parts lie in a hidden folder beside the target, with a fingerprint of all that decides what is in them.

That works for codecs which say all about themselves in their own headers: NUT, which holds the parts, says less than
other containers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from slomo_cli.errors import EncoderError, UsageError, printable
from slomo_cli.media.clocks import ratio_text
from slomo_cli.media.plan.target import Target
from slomo_cli.media.plan.wishes import filters_alike, is_filter, is_for_encoder, is_for_file
from slomo_cli.media.read.sequence import PICTURES
from slomo_cli.media.tracks.soundfeed import Feed
from slomo_cli.media.write.args import COPY
from slomo_cli.media.write.encode import Encoder
from slomo_cli.media.write.feed import opened
from slomo_cli.media.write.place import busy, locked, unwritable
from slomo_cli.timeline import Plan
from slomo_cli.values import VideoInfo

if TYPE_CHECKING:
    from fractions import Fraction

    from slomo_cli.values import Plane

PART_FRAMES = 500
"""Frames of a part: two of x264's longest groups of pictures; at 15 a second, half a minute may be lost."""
CODECS = ("h264", "hevc", "av1")
"""Codecs that parts may be in."""
CONTAINERS = ("mp4", "mov", "matroska", "webm")

Command = Callable[[Target, int], Sequence[str]]
"""The ffmpeg command that encodes so many frames into such a target."""


def refuse_unfit(target: Target, info: VideoInfo, plan: Plan) -> None:
    """UsageError where the target cannot be made in parts."""
    if target.path is None:
        raise UsageError("--resume needs an output that stays: name a file with -o")
    if info.container == PICTURES:
        raise UsageError("--resume needs a video file as its source: leave it out for a sequence of pictures")
    if plan.vfr_keep:
        raise UsageError("--resume makes pictures that all last equally long: leave out --vfr keep")
    if target.codec not in CODECS or target.container not in CONTAINERS:
        raise UsageError(
            f"--resume makes {', '.join(CODECS)} in .mp4, .mov, .mkv or .webm, found {target.codec} in "
            f".{target.extension}: leave it out, or choose another --codec"
        )
    for name, value in target.user_options:
        if is_filter(name) and value is not None and not filters_alike(value):
            raise UsageError(
                f"--resume begins anew with every part, but the filters '{printable(value)}' may depend on the time or "
                "on earlier pictures: leave one of them out"
            )


def part_target(target: Target, number: int) -> Target:
    """Part ``number`` of the target, counted from 0: its picture alone, encoded as the whole would be."""
    assert target.parts_folder is not None
    return replace(
        target,
        path=target.parts_folder / f"{number + 1:06d}.nut",
        container="nut",
        extension="nut",
        options=tuple(option for option in target.options if is_for_encoder(option[0])),
        user_options=tuple(option for option in target.user_options if is_for_encoder(option[0])),
        mark_full_range=False,
        overwrite=True,  # parts behind one that was lost are made anew
    )


def in_one_piece(target: Target) -> Target:
    """The target for frames that are encoded already."""
    return replace(
        target,
        encoder=COPY,
        filters=(),
        options=tuple(option for option in target.options if is_for_file(option[0])),
        user_options=tuple(option for option in target.user_options if is_for_file(option[0])),
    )


def _unsaid(stream: Any, target: Target) -> tuple[str, ...]:
    """Options that say of the whole film what the parts do not hand on, and one that is encoded in one piece has."""
    options: tuple[str, ...] = ()
    if aspect := stream.sample_aspect_ratio:  # AV1 does not say it, and PyAV does not hand it on
        options += "-aspect:v:0", ratio_text(aspect * stream.width / stream.height)
    if target.codec == "h264" and target.container == "matroska" and not stream.codec_context.color_range:
        options += "-color_range:v:0", "tv"  # H.264 is silent about the range that is taken for granted
    return options


_CONVERSION = "conversion"
"""The file in the folder that holds the fingerprint, and is locked by the run that works there."""
_FILM = "film"
"""The file in the folder by which the film is known again that was made of the parts."""


def _plain(path: str | Path, flags: int) -> int:
    """Opens a file, or waits for none: where others may write too, a link could lead to any file, and a pipe stop all.

    Raises OSError.
    """
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _is_planted(folder: Path) -> bool:
    """Whether the folder is a link, or another user has put it where everybody may write (``/tmp``)."""
    about, above = os.lstat(folder), os.stat(folder.parent)
    is_anothers = os.name == "posix" and about.st_uid != os.geteuid() and bool(above.st_mode & stat.S_ISVTX)
    return stat.S_ISLNK(about.st_mode) or is_anothers


def _seal(folder: Path, film: Path) -> None:
    """Puts down that these parts have become this film, whatever its name will be."""
    with (
        contextlib.suppress(OSError),  # the film is worth more than its mark
        open(folder / _FILM, "w", encoding="ascii", opener=_plain) as mark,
    ):
        mark.write(_identity(film))


def _identity(film: Path) -> str:
    about = os.stat(film)
    return f"file {about.st_ino}, {about.st_size} bytes of {about.st_mtime_ns}"


def are_left_over(target: Target) -> bool:
    """Whether the very film that lies there was made of the parts beside it: a run was killed while it removed them."""
    if target.path is None or target.parts_folder is None:
        return False
    with contextlib.suppress(OSError):
        known = _identity(target.path).encode()
        with open(target.parts_folder / _FILM, "rb", opener=_plain) as mark:
            return mark.read(len(known) + 1) == known
    return False


def unused(target: Target) -> list[str]:
    """A note where parts lie beside the target that a run without ``resume`` makes nothing of."""
    folder = target.parts_folder
    if folder is None or are_left_over(target) or not any(folder.glob("*.nut")):
        return []
    return [f"finished parts are kept in '{printable(folder)}': --resume goes on from them, else remove the folder"]


def make_way(target: Target) -> None:
    """For a film made in one piece: removes parts of which the one that lies there was made. OutputBusy where another
    run is at work on parts of this output."""
    if target.parts_folder is None:
        return
    with contextlib.suppress(OSError):
        lock = _plain(target.parts_folder / _CONVERSION, os.O_RDWR)
        if not locked(lock):
            os.close(lock)
            raise busy()
        if are_left_over(target):
            _remove(target.parts_folder, lock)
        else:
            os.close(lock)


def _remove(folder: Path, lock: int) -> None:
    """Removes the folder and closes its lock: until it is gone, no other run may begin in it."""
    if os.name == "nt":  # where an open file cannot be removed
        os.close(lock)
    shutil.rmtree(folder, ignore_errors=True)
    if os.name != "nt":
        os.close(lock)


class Parts:
    """Takes frames as an :class:`Encoder` does, from the first that is not there yet: number ``frames_written``.

    target: of the whole film. expected_frames: of it. fingerprint: of all that decides what its frames look like.
    encode, join: the commands for a part, and for the whole from NUT. feeds: sound of the whole.

    Leaves the finished parts where they are unless ``finish`` comes to its end. Raises UsageError where the parts that
    are there belong to another conversion, and what Encoder raises.
    """

    def __init__(
        self,
        target: Target,
        expected_frames: int,
        fingerprint: str,
        *,
        encode: Command,
        join: Sequence[str],
        feeds: Sequence[Feed] = (),
    ) -> None:
        assert target.path is not None and target.parts_folder is not None
        self.folder: Path = target.parts_folder
        self.warnings: list[str] = []
        self._target, self._total = target, expected_frames
        self._encode, self._join, self._feeds = encode, join, feeds
        self._part: Encoder | None = None
        self._done = 0
        self._headers: bytes | None = None
        self._unsaid: tuple[str, ...] = ()
        command = encode(part_target(target, 0), PART_FRAMES)
        self._open_folder("\n".join((fingerprint, *command[1:-1])))  # but for the program and its output
        self.frames_written = self.frames_kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._part is not None:
            self._part.abort()
        if self._done:
            os.close(self._lock)
        else:
            _remove(self.folder, self._lock)

    @property
    def frames_kept(self) -> int:
        """Frames in finished parts."""
        return min(self._total, self._done * PART_FRAMES)

    def write(self, planes: Sequence[Plane], seconds: Fraction | None = None) -> None:
        """The next frame, as for an Encoder."""
        if self._part is None:
            count = self._frames_of(self._done)
            target = part_target(self._target, self._done)
            self._part = Encoder(self._encode(target, count), target, count)
        self._part.write(planes)
        self.frames_written += 1
        if self._part.frames_written == self._part.expected_frames:
            self._part.finish()
            self._part = None
            self._take()

    def finish(self) -> None:
        """Joins the parts, lets the whole appear under its name and removes them."""
        join = [*self._join[:-1], *self._unsaid, self._join[-1]]
        with Encoder(join, self._target, self._total, feeds=self._feeds, encoded=True) as whole:
            for number in range(self._done):
                whole.append(self._path(number), self._frames_of(number))
            whole.finish(lambda film: _seal(self.folder, film))
            self.warnings += whole.warnings
        while self._done:  # the last one first: what a kill leaves is then the beginning of this conversion
            self._done -= 1
            with contextlib.suppress(OSError):
                self._path(self._done).unlink()

    def _take(self) -> None:
        """Takes the next part for finished, once it fits those before it: joining them all would tell too late."""
        with opened(self._path(self._done), self._frames_of(self._done), like=self._headers) as coded:
            if not self._done:
                self._headers = coded.headers
                self._unsaid = _unsaid(coded.stream, self._target)
        self._done += 1

    def _frames_of(self, number: int) -> int:
        return min(PART_FRAMES, self._total - number * PART_FRAMES)

    def _path(self, number: int) -> Path:
        path = part_target(self._target, number).path
        assert path is not None
        return path

    def _open_folder(self, fingerprint: str) -> None:
        """Makes the folder, or finds it and sees that it and its parts are this conversion's; locked until the end."""
        try:
            self.folder.mkdir(exist_ok=True)
            if _is_planted(self.folder):
                raise EncoderError(
                    f"'{printable(self.folder)}' is a link or another user's, and may lead anywhere: have it removed, "
                    "or choose another -o"
                )
            self._lock = _plain(self.folder / _CONVERSION, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise unwritable(self.folder.parent, error) from None
        if not locked(self._lock):
            os.close(self._lock)
            raise busy()
        try:
            known = os.fsencode(fingerprint)  # the user's own arguments may name a file, which need not be UTF-8
            same = os.read(self._lock, len(known) + 1) == known
            os.lseek(self._lock, 0, os.SEEK_SET)
            if not same and are_left_over(self._target):
                for part in self.folder.glob("*.nut"):
                    part.unlink()
            if not any(self.folder.glob("*.nut")):
                (self.folder / _FILM).unlink(missing_ok=True)
                with open(self._lock, "r+b", closefd=False) as file:
                    file.truncate(0)
                    file.write(known)
                os.fsync(self._lock)  # as durable as the parts: without it they are another conversion's
            elif not same:
                raise UsageError(
                    f"'{printable(self.folder)}' holds parts of another conversion to this output (another source, "
                    "other options, weights or program): give the same again, or remove the folder to begin anew"
                )
            while self._done * PART_FRAMES < self._total and self._path(self._done).exists():
                self._take()
        except BaseException as error:
            if any(self.folder.glob("*.nut")):
                os.close(self._lock)
            else:
                _remove(self.folder, self._lock)
            if isinstance(error, OSError):
                raise unwritable(self.folder.parent, error) from None
            raise

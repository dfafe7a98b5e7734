"""Sets to measure on: triplet folders, folders of frames, and videos whose frames are dropped and asked for again.

What is in a folder is found out by looking: see ``open_dataset``.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from slomo_cli.errors import InputError, UsageError, printable
from slomo_cli.evaluate.clips import Clip, FramesClip, TripletClip, VideoClip, Window
from slomo_cli.media.containers import VIDEO_SUFFIXES
from slomo_cli.media.names import by_number
from slomo_cli.text import some

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})

TRIPLETS = (
    ("frame_00", "frame_01_gt", "frame_02"),
    ("frame10", "frame10i11", "frame11"),
    ("im1", "im2", "im3"),
)
"""Names (without ending) of first, truth and second in one folder: UCF101 as DVF cut it, Middlebury, Vimeo-90K."""

SPLIT_FOLDERS = (("input", "gt"), ("other-data", "other-gt-interp"))
"""Middlebury keeps inputs and truths in two folders of equal names."""

DEPTH = 3
"""Folders below the named one in which triplets and clips are looked for (Vimeo-90K has sequences/00001/0001)."""

TEST_LISTS = ("tri_testlist.txt", "sep_testlist.txt")
"""Vimeo-90K's lists of what is for testing: folders below ``sequences``."""


@dataclass(frozen=True)
class Dataset:
    """A set of clips."""

    name: str
    layout: str
    """``triplets``, ``frames`` or ``video``."""
    factor: int
    """Every how many-th picture is given; 2 for triplets."""
    clips: tuple[Clip, ...]
    short: tuple[str, ...] = ()
    """Names of clips that are too short for one window, and left out."""
    untold: tuple[str, ...] = ()
    """Names of pairs without the picture between them, left out too."""
    beside: tuple[str, ...] = ()
    """Names of videos that lie beside clips of frames, left out as well."""
    closed: tuple[tuple[str, InputError], ...] = ()
    """Names of videos of a folder that cannot be opened, and why."""

    def count(self, limit: int | None = None) -> int:
        """Windows promised under ``limit``."""
        return sum(share for _, share in self.shares(limit))

    def windows(self, limit: int | None = None) -> Iterator[Window]:
        """Every window, or at most ``limit`` of them, spread evenly over the clips (the first ones of each clip)."""
        for clip, share in self.shares(limit):
            yield from islice(clip.windows(), share)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, and what is odd or damaged about its videos, one line each; complete once they were read
        to their ends."""
        left_out = (
            (self.short, f"fewer than {self.factor + 1} frames"),
            (self.untold, "no truth between the two"),
            (self.beside, "videos beside clips of frames; name them to measure them too"),
        )
        lines = [f"{self.name}: left out {some(names)}: {why}" for names, why in left_out if names]
        return *lines, *(f"{clip.name}: {line}" for clip in self.clips for line in clip.notes)

    def shares(self, limit: int | None) -> list[tuple[Clip, int]]:
        """How many windows of which clip those of ``windows`` are."""
        clips = self.clips
        if limit is None:
            return [(clip, len(clip)) for clip in clips]
        if limit < 1:
            raise UsageError(f"expected a limit of 1 or more pairs, found {limit}")
        if limit < len(clips):
            return [(clips[i * len(clips) // limit], 1) for i in range(limit)]
        # What a short clip cannot give, the longer ones do.
        shares = [0] * len(clips)
        for place, i in enumerate(sorted(range(len(clips)), key=lambda i: len(clips[i]))):
            shares[i] = min(len(clips[i]), (limit - sum(shares)) // (len(clips) - place))
        return list(zip(clips, shares, strict=True))


def open_dataset(path: str | Path, factor: int = 2) -> Dataset:
    """The set at ``path``, its layout found out by looking.

    A file is a video. A folder holds, tried in this order: the two folders of Middlebury; triplets; the consecutive
    frames of one clip; folders of such frames; videos. Triplets, folders of frames and videos may lie up to three
    folders below. ``factor``: every how many-th frame of a clip is given to the method (triplets are always halves).
    Raises InputError where nothing of that kind is found, UsageError for a factor below 2.
    """
    root = Path(path)
    if factor < 2:
        raise UsageError(
            f"expected a factor of 2 or more, found {factor}: every n-th frame is given, the rest is the truth"
        )
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"expected a folder or a video, found nothing at {printable(root)}") from None
    except OSError as error:
        raise InputError(f"cannot look at {printable(root)}: {error.strerror or error}") from error
    if stat.S_ISDIR(mode):
        return _open_folder(root, factor)
    if root.suffix.lower() in PICTURES:
        raise InputError(f"expected a folder of pictures or a video, found one picture: {printable(root)}")
    return _dataset(root, "video", factor, [VideoClip(root, factor)])


def open_datasets(paths: Sequence[Path], factors: Sequence[int]) -> list[Dataset]:
    """The sets at all paths at every factor (triplets know only halves), as ``open_dataset``.

    Where several paths give one name, each set goes by its path as given.
    """
    found: list[tuple[Path, Dataset]] = []
    for path in paths:
        for factor in factors:
            found.append((path, open_dataset(path, factor)))
            if found[-1][1].layout == "triplets":
                break
    names = Counter(name for _, name in {(path, one.name) for path, one in found})
    return [
        one if names[one.name] == 1 else replace(one, name=f"{path}{one.name.removeprefix(_name(path))}")
        for path, one in found
    ]


def _open_folder(root: Path, factor: int) -> Dataset:
    triplets, untold = _split_triplets(root)
    if not triplets:
        triplets, untold = _triplets_below(root)
    if triplets:
        return Dataset(_name(root), "triplets", 2, tuple(triplets), untold=tuple(untold))
    clips, videos = _clips_of_frames(root, factor)
    if any(map(len, clips)) or (clips and not videos):
        return _frames_set(root, factor, clips, videos)
    return _video_set(root, factor, videos)


def _clips_of_frames(root: Path, factor: int) -> tuple[list[Clip], list[Path]]:
    """The frames in ``root``, if they are a clip, else those in each folder below; and the videos met on the way."""
    folders = _folders(root, closed=lambda pictures: len(pictures) > factor)
    here = next(folders)
    whole = FramesClip(_name(root), tuple(here.pictures), factor)
    if len(whole):
        return [whole], here.videos
    clips: list[Clip] = []
    videos = here.videos
    listed = _test_list(root)
    for folder in folders:
        name = _name_within(root, folder.path)
        if folder.pictures and listed(name):
            clips.append(FramesClip(name, tuple(folder.pictures), factor))
        videos += folder.videos
    if here.pictures and not clips:  # else a cover or two is no clip
        clips = [whole]
    return clips, videos


def _frames_set(root: Path, factor: int, clips: list[Clip], videos: list[Path]) -> Dataset:
    """A set of clips of frames, and the videos that are passed over for it."""
    beside = tuple(_name_within(root, video) for video in videos)
    return replace(_dataset(root, "frames", factor, clips), beside=beside)


def _video_set(root: Path, factor: int, videos: list[Path]) -> Dataset:
    clips: list[Clip] = []
    closed: list[tuple[str, InputError]] = []
    for video in videos:
        name = _name_within(root, video)
        try:
            clips.append(VideoClip(video, factor, name))
        except InputError as error:
            closed.append((name, error))
    if clips:
        return replace(_dataset(root, "video", factor, clips), closed=tuple(closed))
    if closed:
        raise closed[0][1]
    raise InputError(
        f"{printable(root)}: expected triplets (such as {', '.join('/'.join(t) for t in TRIPLETS)}), numbered frames, "
        "folders of frames or videos, found none"
    )


def _dataset(root: Path, layout: str, factor: int, clips: list[Clip]) -> Dataset:
    """A set of the clips long enough to give one window."""
    usable = tuple(clip for clip in clips if len(clip) > 0)
    if not usable:
        raise InputError(
            f"{printable(root)}: expected {factor + 1} frames or more for a factor of {factor}, found fewer"
        )
    short = tuple(clip.name for clip in clips if not len(clip))
    return Dataset(f"{_name(root)} x{factor}", layout, factor, usable, short)


def _split_triplets(root: Path) -> tuple[list[Clip], list[str]]:
    """Middlebury's own layout, and the scenes of it whose truth is not published."""
    first, truth, second = TRIPLETS[1]
    for inputs, truths in SPLIT_FOLDERS:
        if not (os.path.isdir(root / inputs) and os.path.isdir(root / truths)):
            continue
        found: list[Clip] = []
        untold = []
        for scene in _entries(root / inputs):
            places = scene, root / truths / scene.name
            given, held = (_by_stem(_files(_entries(place), PICTURES)) for place in places)
            if first in given and second in given:
                if truth in held:
                    found.append(TripletClip(scene.name, given[first], held[truth], given[second]))
                else:
                    untold.append(scene.name)
        if found:
            return found, untold
    return [], []


def _triplets_below(root: Path) -> tuple[list[Clip], list[str]]:
    """Every folder that holds one triplet, the named one included, and those that hold the two pictures without the
    truth; Vimeo's list of test clips is obeyed."""
    listed = _test_list(root)
    found: list[Clip] = []
    untold: list[str] = []
    for folder in _folders(root, closed=_is_triplet):
        stems = _by_stem(folder.pictures)
        names = _names_among(stems)
        name = _name_within(root, folder.path)
        if names is None or not listed(name):
            continue
        first, truth, second = names
        if truth in stems:
            found.append(TripletClip(name, stems[first], stems[truth], stems[second]))
        else:
            untold.append(name)
    return found, untold


class _Folder(NamedTuple):
    """A folder, and what lies in it that may be measured."""

    path: Path
    pictures: list[Path]
    videos: list[Path]


def _folders(root: Path, closed: Callable[[list[Path]], bool]) -> Iterator[_Folder]:
    """``root`` and the folders up to ``DEPTH`` below it, nearest first and none twice, whatever links there are; those
    within a folder whose pictures are ``closed`` are passed over."""
    level = [root]
    seen: set[str] = set()
    for _ in range(DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            place = os.path.realpath(folder)
            if place in seen:
                continue
            seen.add(place)
            entries = _entries(folder)
            pictures, videos = (_files(entries, suffixes) for suffixes in (PICTURES, VIDEO_SUFFIXES))
            if not closed(pictures):
                below += filter(os.path.isdir, entries)
            yield _Folder(folder, pictures, videos)
        level = below


def _name_within(root: Path, entry: Path) -> str:
    return entry.relative_to(root).as_posix() if entry != root else _name(root)


def _test_list(root: Path) -> Callable[[str], bool]:
    """Whether a clip of that name is on Vimeo-90K's list; all are where there is no such list."""
    for listing in TEST_LISTS:
        if os.path.isfile(root / listing):
            try:
                listed = (root / listing).read_text("utf-8", "replace").split()
            except OSError as error:
                raise InputError(f"cannot read {printable(root / listing)}: {error.strerror or error}") from error
            names = {*listed, *(f"sequences/{name}" for name in listed)}
            return names.__contains__
    return lambda _: True


def _is_triplet(pictures: list[Path]) -> bool:
    stems = _by_stem(pictures)
    names = _names_among(stems)
    return names is not None and names[1] in stems


def _names_among(stems: Collection[str]) -> tuple[str, str, str] | None:
    """The names of first, truth and second by which a folder of these pictures goes; the truth may be missing."""
    for names in TRIPLETS:
        # im1..im7 are seven consecutive frames, not a triplet with something beside it.
        if names[0] in stems and names[2] in stems and not (names[0] == "im1" and "im4" in stems):
            return names
    return None


def _files(entries: Iterable[Path], suffixes: Collection[str]) -> list[Path]:
    return [entry for entry in entries if entry.suffix.lower() in suffixes and os.path.isfile(entry)]


def _by_stem(pictures: list[Path]) -> dict[str, Path]:
    return {path.stem: path for path in pictures}


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, numbers counted as numbers (frame2 before frame10); nothing for what is no folder."""
    if not os.path.isdir(folder):
        return []
    try:
        return sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=by_number)
    except OSError as error:
        raise InputError(f"cannot look into {printable(folder)}: {error.strerror or error}") from error


def _name(root: Path) -> str:
    return root.resolve().name or str(root)

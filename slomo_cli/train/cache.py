"""Training video, decoded once: every clip becomes one file of small YUV 4:2:0 pictures and a record of its motion."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slomo_cli.errors import InputError, SlomoError, printable
from slomo_cli.text import counted
from slomo_cli.values import Frame

GRID = 16
"""Cells along each side of the motion record of a frame."""
_NEWS_SECONDS = 15.0
_ABANDONED_SECONDS = 24 * 3600.0
"""After so long without a new byte, an unfinished file is what a killed process left behind."""
_FORMAT = 4
"""Raised when the cache's files change their meaning; others are made anew."""


@dataclass(frozen=True)
class Clip:
    """One decoded video."""

    path: Path
    """The file it came from."""
    frames: npt.NDArray[np.uint8]
    """(frames, height * 3 / 2, width): luma, then the quarter-size U and V planes row after row (BT.601, limited)."""
    times: npt.NDArray[np.float64]
    """(frames,) seconds from the first."""
    motion: npt.NDArray[np.float32]
    """(frames, GRID, GRID): mean absolute luma difference to the frame before per cell, 0..255; 0 for the first."""
    cuts: npt.NDArray[np.bool_]
    """(frames,): the frame before belongs to another shot; False for the first."""

    @property
    def height(self) -> int:
        return int(self.frames.shape[1]) * 2 // 3

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])


def load_clips(
    videos: Sequence[Path],
    cache: Path,
    short_side: int = 360,
    report: Callable[[str], None] = lambda line: None,
) -> list[Clip]:
    """Clips of all videos, decoding those the cache does not hold yet; several at a time where there are cores.

    Pictures are scaled down to ``short_side`` lines or columns at most. A video that cannot be read, or is a copy of
    another, is reported and left out. Raises SlomoError when the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
    except OSError as error:
        raise _no_cache(cache, error) from error
    digests = _distinct(videos, report)
    places = {video: _paths(video, digest, cache, short_side) for video, digest in digests.items()}
    new = [record_file for _, record_file in places.values() if not record_file.exists()]
    if new:
        report(f"decoding {counted(len(new), 'video')} into {printable(cache)}")
    workers = max(1, min(8, (os.cpu_count() or 1) // 2))
    clips: list[Clip] = []
    stop = threading.Event()
    told = time.monotonic()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        futures = [pool.submit(_load, video, *place, short_side, stop) for video, place in places.items()]
        try:
            for number, (video, future) in enumerate(zip(places, futures, strict=True)):
                try:
                    clips.append(future.result())
                except InputError as error:
                    report(f"left out {printable(video.name)}: {error}")
                if time.monotonic() > told + _NEWS_SECONDS:
                    report(f"{number + 1} of {len(places)} videos decoded")
                    told = time.monotonic()
        finally:
            stop.set()  # after an error or Ctrl-C nobody wants the rest
            for future in futures:
                future.cancel()
    return clips


def _sweep(cache: Path) -> None:
    """Remove what killed processes have left unfinished."""
    for part in cache.glob("*-part"):
        with contextlib.suppress(OSError):  # it may be in place by now, or somebody else's
            if part.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                part.unlink()


def _paths(video: Path, digest: str, cache: Path, short_side: int) -> tuple[Path, Path]:
    # By content, without the file's place and date: a cache may travel to another machine beside the videos.
    about = f"{_FORMAT}|{video.name}|{digest}|{short_side}"
    key = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    # With a key and an ending a name must stay within 255 bytes; a letter has at most 4.
    name = video.stem if len(os.fsencode(video.stem)) <= 200 else video.stem[:50]
    return cache / f"{name}-{key}.yuv", cache / f"{name}-{key}.npz"


def _distinct(videos: Sequence[Path], report: Callable[[str], None]) -> dict[Path, str]:
    """The digests of those that can be read; of copies only the first counts. The others are reported."""
    known: dict[str, Path] = {}
    for video in videos:
        try:
            first = known.setdefault(_digest(video), video)
        except OSError as error:
            report(f"left out {printable(video.name)}: {error.strerror or error}")
        else:
            if first is not video:
                report(f"left out {printable(video.name)}: a copy of {printable(first)}")
    return {video: digest for digest, video in known.items()}


def _digest(video: Path) -> str:
    """Of the size and the first, middle and last MiB: cheap for any film; hardly any two differ elsewhere only."""
    size, piece = video.stat().st_size, 1 << 20
    digest = hashlib.sha256(str(size).encode())
    with open(video, "rb") as file:
        for start in (0, (size - piece) // 2, size - piece):
            file.seek(max(0, start))
            digest.update(file.read(piece))
    return digest.hexdigest()


def _load(video: Path, picture_file: Path, record_file: Path, short_side: int, stop: threading.Event) -> Clip:
    if not record_file.exists():
        _decode_to(video, picture_file, record_file, short_side, stop)
    try:
        with np.load(record_file, allow_pickle=False) as record:
            shape = tuple(int(side) for side in record["shape"])
            times, motion, cuts = record["times"], record["motion"].astype(np.float32), record["cuts"]
        if shape[0] and picture_file.stat().st_size != shape[0] * shape[1] * shape[2]:
            raise ValueError("the pictures are cut short")
        frames = np.memmap(picture_file, np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)
    # RuntimeError: damage that looks to `zipfile` like what it knows and cannot read, such as encryption.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise SlomoError(
            f"the training cache {printable(record_file)} is damaged ({error}); remove it to decode the video again"
        ) from error
    return Clip(video, frames, times, motion, cuts)


def _decode_to(video: Path, picture_file: Path, record_file: Path, short_side: int, stop: threading.Event) -> None:
    """Write both cache files under temporary names, the record last: a record stands for a complete pair.

    The names are nobody else's: other threads and processes may decode a video of this name and content as well.
    """
    token = secrets.token_hex(6)
    part, record_part = picture_file.with_name(f"{token}.yuv-part"), record_file.with_name(f"{token}.npz-part")
    times: list[float] = []
    motion: list[npt.NDArray[np.float32]] = []
    cuts: list[bool] = []
    shape = (3, 2)
    before: npt.NDArray[np.int16] | None = None
    try:
        with open(part, "xb") as out:
            for seconds, cut, picture in _pictures(video, short_side):
                if stop.is_set():
                    raise CancelledError
                shape = (picture.shape[0], picture.shape[1])
                luma = picture[: shape[0] * 2 // 3 : 2, ::2].astype(np.int16)
                motion.append(np.zeros((GRID, GRID), np.float32) if before is None else _cells(np.abs(luma - before)))
                before = luma
                times.append(seconds)
                cuts.append(cut)
                out.write(picture.tobytes())
        os.replace(part, picture_file)
        with open(record_part, "xb") as out:
            np.savez(
                out,
                shape=np.array([len(times), *shape]),
                times=np.array(times, np.float64),
                motion=np.array(motion, np.float16).reshape(-1, GRID, GRID),
                cuts=np.array(cuts, np.bool_),
            )
        os.replace(record_part, record_file)
    except OSError as error:
        raise _no_cache(picture_file, error) from error
    finally:
        part.unlink(missing_ok=True)
        record_part.unlink(missing_ok=True)


def _no_cache(path: Path, error: OSError) -> SlomoError:
    advice = "free some space or name a roomier place" if error.errno == errno.ENOSPC else "name another place"
    reason = error.strerror or str(error)
    return SlomoError(f"cannot write the training cache {printable(path)}: {reason}; {advice} with --cache")


def _cells(difference: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Mean of each cell of a GRID x GRID raster over (h, w)."""
    h, w = difference.shape
    rows, columns = (np.arange(GRID) * side // GRID for side in (h, w))
    sums = np.add.reduceat(np.add.reduceat(difference, rows, 0, dtype=np.int64), columns, 1)
    counts = np.diff(np.append(rows, h))[:, None] * np.diff(np.append(columns, w))
    return np.asarray(sums / np.maximum(counts, 1), np.float32)


def _pictures(video: Path, short_side: int) -> Iterator[tuple[float, bool, npt.NDArray[np.uint8]]]:
    """(seconds, whether the frame before is of another shot, packed YUV 4:2:0) of all frames that repeat none, scaled
    down so that the short side is at most ``short_side``."""
    from av.video.reformatter import Interpolation, VideoReformatter

    from slomo_cli.cuts import CutDetector
    from slomo_cli.media.read.decode import Decoder
    from slomo_cli.media.read.probe import probe
    from slomo_cli.media.read.scan import scan
    from slomo_cli.media.read.view import to_libav
    from slomo_cli.repeats import DuplicateFilter

    info = probe(video)
    scale = min(1.0, short_side / min(info.width, info.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (info.width, info.height))
    if min(width, height) < 2 * GRID:
        raise InputError(f"expected pictures of {2 * GRID} pixels a side or more, found {info.width}x{info.height}")
    reformatter = VideoReformatter()
    detector = CutDetector()
    before: Frame | None = None
    with Decoder(info, scan(info).timing, deinterlace="auto") as decoder:
        for frame in DuplicateFilter().thin(decoder):
            cut = before is not None and detector.is_cut(before, frame)
            before = frame
            small = reformatter.reformat(
                to_libav(frame),
                width,
                height,
                "yuv420p",
                dst_colorspace=5,  # SWS_CS_ITU601
                dst_color_range=1,  # limited
                interpolation=Interpolation.AREA,
            )
            yield float(frame.pts_seconds), cut, np.asarray(small.to_ndarray(), np.uint8)

"""Training video, decoded once: every clip becomes one file of small YUV 4:2:0 pictures and a record of its motion."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slomo_cli.errors import InputError, SlomoError, printable

VIDEO_SUFFIXES = frozenset(".mp4 .mov .mkv .webm .avi .m4v .ts .mpg .mpeg .flv .wmv .ogv .3gp".split())


@dataclass(frozen=True)
class Clip:
    """One decoded video."""

    name: str
    frames: npt.NDArray[np.uint8]
    """(frames, height * 3 / 2, width): luma, then the quarter-size U and V planes packed row after row (BT.601, limited)."""
    change: npt.NDArray[np.float32]
    """(frames,) mean absolute luma difference to the frame before, 0..255; 0 for the first."""

    @property
    def height(self) -> int:
        return int(self.frames.shape[1]) * 2 // 3

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])


def find_videos(folder: Path) -> list[Path]:
    """Every video file below ``folder``, sorted; InputError when there is none."""
    if not folder.is_dir():
        raise InputError(f"training data: expected a folder of video files, found no folder {printable(folder)}")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    if not found:
        kinds = ", ".join(sorted(VIDEO_SUFFIXES))
        raise InputError(f"training data: no video in {printable(folder)} (looked for {kinds})")
    return found


def load_clips(videos: Sequence[Path], cache: Path, short_side: int = 360) -> Iterator[Clip]:
    """Clips of all videos, decoding those the cache does not hold yet. Unreadable or too short ones are passed over
    with a warning by the caller: they are yielded as clips of fewer than three frames."""
    cache.mkdir(parents=True, exist_ok=True)
    for video in videos:
        yield _load(video, cache, short_side)


def _load(video: Path, cache: Path, short_side: int) -> Clip:
    stat = video.stat()
    key = hashlib.sha256(f"{video.name}|{stat.st_size}|{short_side}".encode()).hexdigest()[:12]
    picture_file, record_file = cache / f"{video.stem}-{key}.yuv", cache / f"{video.stem}-{key}.json"
    if not record_file.exists():
        _decode_to(video, picture_file, record_file, short_side)
    record = json.loads(record_file.read_text())
    shape = tuple(record["shape"])
    change = np.asarray(record["change"], dtype=np.float32)
    if not shape[0]:
        return Clip(video.name, np.zeros((0, 3, 2), np.uint8), change)
    return Clip(video.name, np.memmap(picture_file, np.uint8, "r", shape=shape), change)


def _decode_to(video: Path, picture_file: Path, record_file: Path, short_side: int) -> None:
    """Write both cache files under temporary names, the record last: a record stands for a complete pair."""
    part, record_part = picture_file.with_suffix(".part"), record_file.with_suffix(".json-part")
    change: list[float] = []
    shape = (3, 2)
    before: npt.NDArray[np.int16] | None = None
    try:
        with open(part, "wb") as out:
            for picture in _pictures(video, short_side):
                if before is None:
                    shape = (picture.shape[0], picture.shape[1])
                luma = picture[: shape[0] * 2 // 3 : 2, ::2].astype(np.int16)
                change.append(0.0 if before is None else float(np.abs(luma - before).mean()))
                before = luma
                out.write(picture.tobytes())
        os.replace(part, picture_file)
        record = {"video": video.name, "shape": (len(change), *shape), "change": [round(c, 4) for c in change]}
        record_part.write_text(json.dumps(record))
        os.replace(record_part, record_file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SlomoError(f"cannot write the training cache {printable(picture_file)}: {error.strerror}") from error


def _pictures(video: Path, short_side: int) -> Iterator[npt.NDArray[np.uint8]]:
    """All frames of a video as packed YUV 4:2:0, scaled down so that the short side is at most ``short_side``."""
    import av
    from av.video.reformatter import Interpolation, VideoReformatter

    try:
        with av.open(f"file:{video.absolute()}") as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            scale = min(1.0, short_side / min(stream.width, stream.height))
            width, height = (max(2, round(side * scale / 2) * 2) for side in (stream.width, stream.height))
            reformatter = VideoReformatter()
            for frame in container.decode(stream):
                small = reformatter.reformat(
                    frame,
                    width,
                    height,
                    "yuv420p",
                    dst_colorspace=5,
                    dst_color_range=1,
                    interpolation=Interpolation.AREA,
                )
                yield small.to_ndarray()
    except (av.error.FFmpegError, IndexError):
        return

"""What crosses the walls between rooms: frozen values, documented per field.

Nothing heavy is imported here (no torch, no av; numpy for the type checker only), so every room may use them.
Colour numbers are the code points of ISO/IEC 23091-2 (H.273), as FFmpeg's ``AVCOL_*`` enums use them; 2 = unspecified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    """One plane of samples, shape (height, width), C-contiguous rows; uint8 for 8-bit layouts, uint16 above."""


Deinterlace = Literal["auto", "fields", "off"]


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How a planar picture lies in memory: everything the arithmetic must know of a pixel format."""

    name: str
    """FFmpeg's name of the planar format, e.g. ``yuv420p10le``."""
    family: Literal["yuv", "rgb", "gray"]
    """``rgb`` layouts are FFmpeg's ``gbrp*``: planes in the order G, B, R[, A]."""
    bits: int
    """Significant bits of a sample, 8..16, in the low bits of the storage type."""
    chroma_shift_x: int = 0
    """Chroma is 2**shift times narrower than luma (1 for 4:2:0 and 4:2:2)."""
    chroma_shift_y: int = 0
    """Chroma is 2**shift times lower than luma (1 for 4:2:0)."""
    alpha: bool = False
    """The last plane is alpha, at full size."""

    @property
    def peak(self) -> int:
        """The largest sample value, 2**bits - 1."""
        return (1 << self.bits) - 1

    @property
    def bytes_per_sample(self) -> int:
        """1 for 8-bit layouts, 2 above."""
        return 1 if self.bits == 8 else 2

    @property
    def plane_count(self) -> int:
        """Planes in storage order: luma (or gray), chroma or colour, then alpha."""
        return (1 if self.family == "gray" else 3) + self.alpha

    def plane_shapes(self, width: int, height: int) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane, in storage order; chroma sizes are rounded up as FFmpeg does."""
        full = (height, width)
        if self.family == "gray":
            colour = [full]
        elif self.family == "rgb":
            colour = [full] * 3
        else:
            chroma = (-(-height >> self.chroma_shift_y), -(-width >> self.chroma_shift_x))
            colour = [full, chroma, chroma]
        return tuple(colour + [full] * self.alpha)

    def frame_bytes(self, width: int, height: int) -> int:
        """Bytes of one frame, planes packed without padding."""
        return self.bytes_per_sample * sum(h * w for h, w in self.plane_shapes(width, height))


@dataclass(frozen=True, slots=True)
class ColorInfo:
    """Colour tags exactly as the source carries them; unspecified stays unspecified."""

    range: int = 0
    """0 unspecified, 1 limited ("tv"), 2 full ("pc") (AVCOL_RANGE_*)."""
    matrix: int = 2
    """Matrix coefficients, e.g. 1 BT.709, 5/6 BT.601, 9 BT.2020 NCL."""
    primaries: int = 2
    transfer: int = 2
    """Transfer characteristics, e.g. 1 BT.709, 16 PQ, 18 HLG."""
    chroma_location: int = 0
    """AVCHROMA_LOC_*: 0 unspecified, 1 left, 2 centre, 3 top-left ..."""

    @property
    def is_hdr(self) -> bool:
        """Whether light is told by PQ or HLG."""
        return self.transfer in (16, 18)

    def is_limited(self, layout: PixelLayout) -> bool:
        """Unspecified is limited for YUV and full for RGB and gray, as FFmpeg reads them."""
        return self.range == 1 or (self.range == 0 and layout.family == "yuv")


def holds_stills(container: str) -> bool:
    """Whether FFmpeg's name of a container is that of pictures of which each is a file in itself."""
    return container == "image2" or container.endswith("_pipe")


def usual_matrix(height: int) -> int:
    """The matrix of a picture that names none: BT.709 above 576 lines, else BT.601, as players guess."""
    return 1 if height > 576 else 6


@dataclass(frozen=True, slots=True)
class HdrInfo:
    """HDR10 static metadata (SMPTE ST 2086 and CTA-861.3); None where absent."""

    mastering: tuple[Fraction, ...] | None = None
    """Rx, Ry, Gx, Gy, Bx, By, WPx, WPy (CIE 1931), min and max luminance in cd/m2."""
    max_cll: int | None = None
    """Maximum content light level, cd/m2."""
    max_fall: int | None = None
    """Maximum frame-average light level, cd/m2."""
    dynamic: tuple[str, ...] = ()
    """Dynamic metadata found, which cannot be interpolated: 'Dolby Vision', 'HDR10+'."""
    dolby_profile: int | None = None
    """Dolby Vision's profile; in 5 the pictures alone have colours of no other standard (IPTPQc2)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture: the file's own samples."""

    planes: tuple[Plane, ...]
    """Planes in the layout's storage order."""
    layout: PixelLayout
    color: ColorInfo
    pts_seconds: Fraction
    """Presentation time on the source's clock, rebased as ``SourceTiming`` says."""
    moved_seconds: Fraction = Fraction(0)
    """How much of that is added, for an even pace, to when the source shows it."""

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])

    def tobytes(self) -> bytes:
        """Planes one after another without padding: FFmpeg's ``rawvideo`` of this layout."""
        return b"".join(plane.tobytes() for plane in self.planes)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream beside the picture: audio, subtitle, attachment, data or cover art."""

    index: int
    """Index in the container, as ``-map 0:index`` counts."""
    kind: Literal["audio", "subtitle", "attachment", "data", "cover", "video"]
    """``video`` is a further picture stream, which is not converted."""
    codec: str
    """FFmpeg codec name, '' when unknown."""
    language: str = ""
    start_seconds: Fraction | None = None
    duration_seconds: Fraction | None = None
    sample_rate: int = 0
    """Audio only, Hz."""
    channels: int = 0
    """Audio only."""
    metadata: tuple[tuple[str, str], ...] = ()
    disposition: int = 0
    """AV_DISPOSITION_* bits."""
    layout: str = ""
    """Audio only: FFmpeg's name of the loudspeakers (``stereo``, ``5.1(side)``); '' when the file does not say."""
    hidden_seconds: Fraction = Fraction(0)
    """Audio only: what an edit list hides before the beginning, the codec's priming included."""
    is_cut: bool = False
    """Audio only: whether an edit list hides something in the middle."""
    is_elsewhere: bool = False
    """Audio and subtitles: whether it belongs to another programme of a broadcast than the picture."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter mark of the source."""

    start_seconds: Fraction
    end_seconds: Fraction
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the headers of a source say; nothing is decoded to learn it except the first frame's side data."""

    path: Path
    container: str
    """FFmpeg demuxer name, e.g. ``mov,mp4,m4a,3gp,3g2,mj2``."""
    stream_index: int
    """Index of the picture stream in the container."""
    codec: str
    width: int
    """Coded picture width in pixels, before rotation and sample aspect."""
    height: int
    layout: PixelLayout
    """Planar layout the decoder delivers (packed formats are unpacked without loss)."""
    pix_fmt: str
    """The source's own pixel format name."""
    color: ColorInfo
    hdr: HdrInfo
    rate_from_header: Fraction | None
    """Frames per second the container claims or FFmpeg guesses; a hint only."""
    duration_from_header: Fraction | None
    """Seconds; a hint only."""
    container_start_seconds: Fraction
    """The earliest stream's start on the container's clock."""
    bit_rate: int | None = None
    sample_aspect: Fraction = Fraction(1)
    coded_aspect: Fraction = Fraction(1)
    """The same by the codec's word alone, of the first picture; the container may say another, which counts."""
    display_matrix: tuple[int, ...] | None = None
    """The 9 fixed-point numbers of the display matrix (rotation, flips), None when absent."""
    interlaced: bool = False
    """Whether a picture holds two fields of different times."""
    single_fields: bool = False
    """Whether each picture is one field alone, half as high, as libav gives out interlaced HEVC."""
    streams: tuple[StreamInfo, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    rate_is_nominal: bool = True
    """False where nothing but a demuxer default gave the rate."""
    picture_metadata: tuple[tuple[str, str], ...] = ()
    """Tags of the picture stream itself (language, title, handler)."""
    picture_disposition: int = 0
    """AV_DISPOSITION_* bits of the picture stream."""
    field_order: int = 0
    """The header's AVFieldOrder: 0 unknown, 1 progressive; top field shown first in 2 and 4, bottom in 3 and 5."""
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Columns and rows that the container hides: left, top, right, bottom."""
    foreign_tags: tuple[str, ...] = ()
    """Keys of ``metadata`` whose values are stored in no UTF-8; they were read as Windows-1252."""
    plays: int | None = None
    """How many times a GIF, animated PNG or animated WebP is shown, 0 for ever; None of other films."""
    picture_extras: tuple[str, ...] = ()
    """What the pictures carry that is not written again: 'closed captions', '360-degree', 'stereoscopic',
    'second view' (not in the same picture), 'colour profile' (one that says other colours than sRGB), 'alpha' (stored
    apart), 'alpha layer'."""

    @property
    def is_of_stills(self) -> bool:
        """Whether the pictures are stills: one alone, several in a row in a file, or each in a file of its own."""
        return holds_stills(self.container)


@dataclass(frozen=True, slots=True)
class SoundTiming:
    """What a walk over the packets meets of a track of sound, beside the picture's."""

    pauses: bool = False
    """Packets do not follow each other without gaps."""
    leaps: bool = False
    """It pauses for so long that this would pass for the join of two recordings."""
    goes_back: bool = False
    """Stamps are damaged: they go back while the picture's do not."""
    damaged: bool = False
    """Packets are damaged: some do not begin with their codec's header."""
    changes: bool = False
    """Channels, rate of samples or codec change on the way."""
    changes_codec: bool = False
    begins_as: tuple[int, int, str] | None = None
    """Samples per second, channels and layout, where it begins too late for ``probe`` to meet it."""


@dataclass(frozen=True, slots=True)
class SourceTiming:
    """The picture's true times, from a walk over the packets (no decoding)."""

    frames_from_packets: int
    """Pictures the packets promise; damaged ones are counted."""
    first_seconds: Fraction
    """Presentation time of the first picture on the container's clock; ``Frame.pts_seconds`` is relative to it."""
    duration: Fraction
    """Seconds from the first picture to the end of the last one's display."""
    rate: Fraction | None
    """The constant rate, exact; None for a source of variable rate."""
    nominal_rate: Fraction
    """The rate to write when the user names none: ``rate``, or the guess nearest to the source's pace."""
    grid: Fraction | None = None
    """Every picture lies at ``k / grid`` for a whole k (``rate``, or a rate with gaps); None where stamps are free."""
    continuous: bool = True
    """False where the stored stamps jump (joined broadcasts): they are mended in playing order, nothing is sought."""
    stamped: bool = True
    """False for raw streams without stamps, and where stamps only add up rounded lengths: pictures are taken to follow
    each other at ``nominal_rate``."""
    by_number: bool = False
    """The stored stamps tell when pictures are decoded, not in which order they are shown: the n-th has the n-th."""
    first_moved: Fraction = Fraction(0)
    """Seconds from the stored stamp of the first picture to ``first_seconds``: where it alone is not even."""
    stamps_late: Fraction = Fraction(0)
    """Seconds that every picture is shown after its stored stamp: where that, too, tells of decoding, or an edit list
    begins amid a picture."""
    sounds: Mapping[int, SoundTiming] = field(default_factory=dict)
    """What was met of the tracks of sound, by their index; of containers whose sound has times of its own."""
    strays: tuple[tuple[tuple[int, int], int], ...] = ()
    """Damaged stamps, each with its packet's place in the file, and what they should be."""
    jolts: tuple[int, ...] = ()
    """Places in the file of pictures whose time of decoding is damaged: no recording ends there."""

    def of_sound(self, track: StreamInfo) -> SoundTiming:
        """What was met of a track of sound; nothing odd where nobody looked."""
        return self.sounds.get(track.index, SoundTiming())


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """How the result is written."""

    codec: str | None = None
    """h264, hevc, av1, vp9, prores, ffv1, gif, apng, webp, png, jpg, tiff, or an FFmpeg encoder name; None chooses."""
    crf: float | None = None
    preset: str | None = None
    encoder_args: tuple[str, ...] = ()
    """Extra ffmpeg output arguments, already split."""
    audio: Literal["auto", "copy", "stretch", "pitch", "drop"] = "auto"
    overwrite: bool = False
    faststart: bool = True
    resume: bool = False
    """Keep finished parts beside the output until it is whole, and go on from those that are there."""
    ffmpeg: str | None = None
    """Path given by the user; None searches."""


@dataclass(frozen=True, slots=True)
class ComputeSettings:
    """Where and how the network runs."""

    weights: str = "fast"
    """A released name or a path."""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    proxy: str = "auto"
    """'auto', 'full', or the longest length of the proxy's short side in pixels."""
    batch: int = 0
    """In-between frames computed together; 0 chooses."""
    compile: bool = False
    threads: int = 0
    """Threads of the network on a CPU; 0 chooses."""
    motion: Literal["curved", "straight"] = "curved"
    """Along what everything moves between two frames: a curve through those beside them too, or a straight line."""


@dataclass(frozen=True, slots=True)
class TimeSettings:
    """What the user asks of time."""

    factor: Fraction = Fraction(1)
    """Times slower, 1 or more for a conversion; 1 keeps the duration."""
    rate: Fraction | None = None
    """Output frames per second; None keeps the source's."""
    start: Fraction | None = None
    """Seconds from the first picture; None is the beginning."""
    end: Fraction | None = None
    """Seconds from the first picture; None is the end."""
    speed: str | None = None
    """Speed curve text such as ``0-2:1, 2-3.5:0.125, 3.5-:1``; replaces ``factor``."""
    loop: bool = False
    vfr: Literal["constant", "keep"] = "constant"
    cuts: Literal["hold", "blend", "off"] = "hold"
    cut_threshold: float | None = None
    duplicates: Literal["replace", "keep"] = "replace"
    deinterlace: Deinterlace = "auto"
    """What becomes of an interlaced picture: one whole one, two (one of each field), or what it is."""
    auto_factor: float | None = None
    """Pixels that things may move from one output frame to the next; the factor is then chosen by measuring."""
    input_rate: Fraction | None = None
    """Pictures per second of a source that does not say (numbered pictures, raw streams); None takes its default."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a conversion did; printed at the end and returned by the Python API."""

    source: Path
    output: Path
    frames_in: int
    """Pictures decoded."""
    frames_out: int
    """Frames written; equals the number predicted before the run."""
    frames_interpolated: int
    """Of those, frames made by the network."""
    duration_in: Fraction
    duration_out: Fraction
    rate_out: Fraction
    cuts: int = 0
    duplicates: int = 0
    packets_skipped: int = 0
    """Damaged packets the decoder refused."""
    seconds: float = 0.0
    """Wall time."""
    encoder: str = ""
    device: str = ""
    warnings: tuple[str, ...] = ()
    frames_kept: int = 0
    """Of the frames written, those that were there from a run before (``resume``)."""

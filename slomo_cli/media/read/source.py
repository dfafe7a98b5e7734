"""The picture's track of a source: which one it is, its packets in stored order with mended stamps, and the decoder."""

from __future__ import annotations

import os
from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
from av.codec.context import CodecContext, Flags

from slomo_cli.errors import InputError, printable
from slomo_cli.media.clocks import exact
from slomo_cli.media.read.fields import SecondFields
from slomo_cli.media.read.mpeg4 import Mpeg4Packets
from slomo_cli.media.read.opening import READ_ERRORS, open_container, tell_lack
from slomo_cli.media.read.stamps import StampMender, stamps_are_of_decoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_SINGLE_JPEG = ("jpeg_pipe", "image2")
"""What libav calls the container of a JPEG that is no film."""

RAW_STREAMS = frozenset(
    "h264 hevc vvc evc m4v mpegvideo h261 h263 cavsvideo avs2 avs3 vc1 mjpeg mjpeg_2000 mpjpeg obu dnxhd dirac".split()
)
"""Demuxers of pictures alone. What stamps they give are libav's own, from a rate that it finds in them or assumes."""
PAUSING_FORMATS = frozenset({"matroska,webm", "mpegts", "mpeg", "nut", "flv", "asf"})
"""Containers whose packets of sound have times of their own, and may pause."""
LENGTHLESS = frozenset({"asf", "matroska,webm"})
"""Containers that declare a length of the whole only; to streams of theirs libav may give it."""
_ENOUGH_BYTES = 64 << 20
"""Of pictures that are looked at until one decodes."""
THEORA_HEADER, THEORA_COMMENTS = 0x80, 0x81
"""Theora's first byte: this bit is set in headers, of which comments are no matter of decoding (Theora, 6.1)."""
_ATTACHED_PIC, _TIMED_THUMBNAILS = 0x400, 0x800
_DEPENDENT = 0x80000
"""Of streams that are nothing by themselves: libav shows each tile of a picture as one."""
_WEBP_ANIMATION = 0x02
"""The bit in the flags of a WebP's VP8X chunk (RFC 9649, 2.7)."""


def picture_stream(container: InputContainer, shown: str) -> VideoStream:
    """The stream to convert: the best video stream that is no cover art, nor the still beside a film in motion photos.

    Raises InputError when there is none.
    """
    moving = [stream for stream in container.streams.video if not is_cover(stream)]
    if any(disposition_of(stream) & _DEPENDENT and stream.frames == 1 for stream in moving):
        raise InputError(
            f"{shown} is a picture in tiles, as phones take them (HEIC, AVIF), which are not joined here: "
            "convert it to .png or .jpg first"
        )
    if not moving:
        if container.streams.video:
            raise InputError(f"{shown} holds only cover art beside its sound, no video")
        kinds = sorted({stream.type for stream in container.streams})
        found = f"only {' and '.join(kinds)}" if kinds else "no streams"
        raise InputError(f"{shown} has no video stream; it holds {found}")
    best = container.streams.best("video")
    chosen = next((stream for stream in moving if best is not None and stream.index == best.index), moving[0])
    if chosen.frames == 1:
        chosen = next((stream for stream in moving if stream.frames > 1), chosen)
    if chosen.codec_context is None:
        raise InputError(f"{shown} holds video in a codec that this build of libav cannot decode")
    return chosen


def header_rates(stream: VideoStream) -> list[Fraction]:
    """Pictures per second that the headers claim or libav guesses, the best guess first."""
    told = (stream.guessed_rate, stream.average_rate, stream.base_rate)
    return [rate for rate in map(exact, told) if rate > 0]


def is_cover(stream: Stream) -> bool:
    """Whether a video stream is a picture about the file (cover art, thumbnails), not the film."""
    return bool(disposition_of(stream) & (_ATTACHED_PIC | _TIMED_THUMBNAILS))


def disposition_of(stream: Stream) -> int:
    """The stream's AV_DISPOSITION_* bits; PyAV gives them as one kind of enum or another."""
    flags: Any = stream.disposition
    return int(getattr(flags, "value", flags))


def seconds(ticks: int | None, time_base: Any) -> Fraction | None:
    """Ticks of a time base in seconds; None when either is unknown."""
    if ticks is None or not time_base:
        return None
    return ticks * exact(time_base)


class PictureTrack:
    """A container opened for its picture stream, with the decoder chosen; decodes packet by packet.

    Owns the container: ``close`` (or ``with``) releases it and the decoder's threads. Not thread-safe: one thread at a
    time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        stream_index: int | None = None,
        threads: int = 0,
        frame_threads: bool = True,
        by_number: bool = False,
        strays: Mapping[tuple[int, int], int] | None = None,
    ) -> None:
        """``by_number``, ``strays``: as in ``SourceTiming``; the first is known without it of containers that are
        always so."""
        self._shown = f"'{printable(os.fspath(path))}'"
        self.container = open_container(path)
        try:
            self.stream = self._found(stream_index)
            self.context = _decoder(self.stream)
            self.is_theora = self.context.name == "theora"
            """A file may hold several films, each with headers among the packets, which frame threads do not take."""
            if not self.context.is_open:
                self._set_up(threads, frame_threads and not self.is_theora)
        except BaseException:
            self.container.close()
            raise
        self._codec = self.context.codec.canonical_name
        by_number |= stamps_are_of_decoding(self.container.format.name, self._codec)
        self._stamps: deque[int | None] | None = deque() if by_number else None
        """Of the packets whose pictures are still to come."""
        self._mpeg4: Mpeg4Packets | None = None
        self._fields = self._new_fields()
        self.stands = False
        """Whether no picture of its own belongs to the packet received last: it is empty, or a second field."""
        self.time_base = exact(self.stream.time_base) or Fraction(1, 1_000_000)
        self._mender = StampMender(self.container.format.name, self.time_base, strays or {})

    def _found(self, index: int | None) -> VideoStream:
        """The stream of that index; None chooses. Raises InputError where it cannot be read."""
        if index is None:
            stream = picture_stream(self.container, self._shown)
        elif index in (known := {stream.index: stream for stream in self.container.streams.video}):
            stream = known[index]
        else:
            raise InputError(f"{self._shown} has changed: its picture stream {index} is gone")
        if "enc_key_id" in stream.metadata:  # libav's word for what Matroska and WebM say of the key
            raise self._encrypted()
        return stream

    def _set_up(self, threads: int, frame_threads: bool) -> None:
        """Tells the decoder how to work."""
        # Margins that the codec hides at the left are else left there, where samples lie better in memory.
        self.context.flags |= Flags.unaligned
        if self.context.name == "mjpeg" and self.container.format.name in _SINGLE_JPEG:
            # libav's decoder else fills in grey what is missing of a file cut off, and says nothing.
            self.context.options = {"err_detect": "explode"}
        self.context.thread_type = "AUTO" if frame_threads else "SLICE"
        self.context.thread_count = threads

    @property
    def sample_aspect(self) -> Fraction:
        """The shape of samples by the codec's word, 1 if unsaid: of the picture decoded last; before, of the first."""
        return exact(self.context.sample_aspect_ratio) or Fraction(1)

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """The picture's packets in stored order, without the empty one at the end; a read error ends them."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    self.receive(packet)
                    yield packet
        except READ_ERRORS as error:
            tell_lack(error, reading=True)
            return

    def receive(self, packet: Packet[VideoStream]) -> None:
        """What every packet of the picture must pass, by whomever it is read: mends its stamp.

        Raises InputError when it is encrypted: some decoders make pictures of that too.
        """
        if packet.has_sidedata("encryption_info"):
            raise self._encrypted()
        if self._fields is not None:
            self.stands = self._fields.met_in(packet)
        if self._codec == "mpeg4":
            if self._mpeg4 is None:
                self._mpeg4 = Mpeg4Packets((self.stream.codec_context.extradata or b"") + bytes(packet))
                if self._mpeg4.packed and self.container.format.name == "avi":
                    self._stamps = deque()
            self.stands = self._mpeg4.none_in(packet)
        self._mender.mend(packet, of_decoding=self._stamps is not None)

    def _encrypted(self) -> InputError:
        return InputError(f"{self._shown} is encrypted (DRM) and cannot be read; expected a video that is not")

    def seek(self, ticks: int) -> None:
        """Goes to a keyframe stored at or before this stamp. Raises av.error.FFmpegError where that cannot be done."""
        self.container.seek(ticks, stream=self.stream, backward=True)
        self._fields = self._new_fields()

    def _new_fields(self) -> SecondFields | None:
        return SecondFields(self.stream.codec_context.extradata) if self._codec == "h264" else None

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Pictures that come out when this packet goes in; None drains. Raises av.error.FFmpegError on damage."""
        try:
            return self._decoded(packet)
        except av.error.FFmpegError as error:
            tell_lack(error)
            raise

    def _decoded(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        if self.is_theora and packet is not None and packet.size and memoryview(packet)[0] == THEORA_COMMENTS:
            return []
        if self._stamps is None:
            frames: list[VideoFrame] = self.context.decode(packet)
            return frames
        owes_one = packet is not None and not self.stands and not packet.is_discard
        if packet is not None and owes_one:
            self._stamps.append(packet.pts)
        try:
            frames = self.context.decode(packet)
        except av.error.FFmpegError:
            if owes_one:
                self._stamps.pop()
            raise
        for frame in frames:
            frame.pts = self._stamps.popleft() if self._stamps else None
        return frames

    def close(self) -> None:
        """Releases file, decoder and its threads; may be called twice."""
        if hasattr(self, "context"):
            del self.context
        if hasattr(self, "stream"):
            del self.stream
        self.container.close()

    def __enter__(self) -> PictureTrack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _decoder(stream: VideoStream) -> Any:
    """The stream's own decoder, or libvpx for VP8 and VP9 with alpha, which libav's own decoders drop."""
    own = stream.codec_context
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(own.codec.canonical_name if own else "")
    if library and stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1":
        try:
            context = CodecContext.create(library, "r")
            context.extradata = own.extradata
            return context
        except (av.error.FFmpegError, ValueError):
            return own
    return own


def first_picture(picture: PictureTrack, shown: str) -> VideoFrame:
    """The first picture that decodes, with damaged packets passed over.

    Raises InputError when nothing decodes near the beginning of the stream.
    """
    read = 0
    head = b""
    hidden = True
    for packet in picture.packets():
        head = head or bytes(memoryview(packet)[:21])
        read += packet.size
        hidden = hidden and packet.is_discard
        try:
            frames = picture.decode(packet)
        except av.error.FFmpegError:
            frames = []
        if frames:
            return frames[0]
        if read > _ENOUGH_BYTES:
            break
    try:
        frames = picture.decode(None)
    except av.error.FFmpegError:
        frames = []
    if frames:
        return frames[0]
    if read == 0:
        raise InputError(f"{shown} has a video stream without a single picture in it")
    if hidden:
        raise InputError(f"{shown} has an edit list that hides every picture: expected a file that shows some")
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20:] and head[20] & _WEBP_ANIMATION:
        raise InputError(
            f"{shown} is an animated WebP, which this libav cannot decode: convert it to .apng or .mp4 first"
        )
    raise InputError(
        f"{shown} has a video stream in which no picture can be decoded: the file is damaged, or in a form of "
        f"{picture.context.codec.canonical_name} that this libav does not know"
    )

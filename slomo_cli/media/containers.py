"""The containers slomo writes, and what each of them can hold.

Tables only. The codec names are FFmpeg's; ``None`` as a set of codecs means "whatever the muxer takes".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Container:
    """One container format and what it can hold."""

    muxer: str
    """FFmpeg's muxer name."""
    extensions: tuple[str, ...]
    """File name endings, without the dot; the first is the usual one."""
    video: frozenset[str] | None
    """Picture codecs it holds; None: all but those of ``unread``."""
    unread: frozenset[str] = frozenset()
    """Picture codecs that its readers do not get out again, though its muxer may take them."""
    audio: frozenset[str] = frozenset()
    """Audio codecs that may be copied into it."""
    audio_encoders: tuple[tuple[str, str], ...] = ()
    """(source codec, codec to encode to): what keeps the source's family; 'lossless' is every lossless codec."""
    audio_default: str = ""
    """Codec for audio that has to be encoded and has no family here; '' holds no audio."""
    subtitles: frozenset[str] = frozenset()
    """Subtitle codecs that may be copied into it."""
    text_subtitles: str = ""
    """Codec other text subtitles are converted to; '' holds none."""
    covers: bool = False
    """Holds cover pictures."""
    attachments: bool = False
    """Holds attached files such as fonts."""
    chapters: bool = False
    metadata: bool = False
    """Holds titles, languages and the like."""
    display_matrix: tuple[int, int] | None = None
    """The first version of ffmpeg that writes rotation and flips into it; before, the picture itself is turned."""
    marks: bool = False
    """Says of any picture which colours are meant; elsewhere only codecs that say it themselves do."""
    tracks: bool = False
    """Holds more than the picture."""
    still: bool = False
    """One file for each frame."""

    def holds(self, codec: str) -> bool:
        """Whether pictures of this codec can be written into it and read again."""
        return codec not in self.unread if self.video is None else codec in self.video


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PCM_LE = "pcm_u8 pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le"
_PCM_BE = "pcm_s8 pcm_s16be pcm_s24be pcm_s32be pcm_f32be pcm_f64be"

_MP4 = Container(
    muxer="mp4",
    extensions=("mp4", "m4v"),
    video=_set("h264 hevc av1 vp9 mpeg4 mpeg2video vvc mjpeg"),
    audio=_set("aac mp3 mp2 ac3 eac3 alac flac opus dts truehd"),
    audio_encoders=(("lossless", "alac"), ("ac3", "ac3"), ("eac3", "eac3"), ("opus", "opus")),
    audio_default="aac",
    subtitles=_set("mov_text dvd_subtitle"),
    text_subtitles="mov_text",
    covers=True,
    chapters=True,
    metadata=True,
    display_matrix=(6, 0),
    marks=True,
    tracks=True,
)
_MOV = Container(
    muxer="mov",
    extensions=("mov", "qt"),
    video=_set("h264 hevc prores mpeg4 mpeg2video mjpeg png tiff qtrle dnxhd cfhd utvideo v210"),
    audio=_set(f"aac mp3 mp2 ac3 eac3 alac {_PCM_LE} {_PCM_BE}"),
    audio_encoders=(("lossless", "pcm"), ("ac3", "ac3"), ("eac3", "eac3")),
    audio_default="aac",
    subtitles=_set("mov_text"),
    text_subtitles="mov_text",
    chapters=True,
    metadata=True,
    display_matrix=(6, 0),
    marks=True,
    tracks=True,
)
_MKV = Container(
    muxer="matroska",
    extensions=("mkv",),
    video=None,
    # QuickTime's lie there as in .mov, and ffmpeg leaves out what their readers need; the others it does not write.
    unread=_set("qtrle svq1 apng webp bmp"),
    audio=_set(
        f"aac mp3 mp2 ac3 eac3 alac flac opus vorbis dts truehd mlp tta wavpack {_PCM_LE} pcm_s16be pcm_s24be pcm_s32be"
        " cook wmav1 wmav2 wmapro atrac3"
    ),
    audio_encoders=(
        ("lossless", "flac"),
        ("opus", "opus"),
        ("vorbis", "vorbis"),
        ("ac3", "ac3"),
        ("eac3", "eac3"),
        ("mp3", "mp3"),
    ),
    audio_default="aac",
    subtitles=_set("subrip ass ssa webvtt hdmv_pgs_subtitle hdmv_text_subtitle dvd_subtitle dvb_subtitle"),
    text_subtitles="subrip",
    covers=True,
    attachments=True,
    chapters=True,
    metadata=True,
    display_matrix=(7, 1),
    marks=True,
    tracks=True,
)
_WEBM = Container(
    muxer="webm",
    extensions=("webm",),
    video=_set("vp8 vp9 av1"),
    audio=_set("opus vorbis"),
    audio_encoders=(("vorbis", "vorbis"),),
    audio_default="opus",
    subtitles=_set("webvtt"),
    text_subtitles="webvtt",
    chapters=True,
    metadata=True,
    display_matrix=(7, 1),
    marks=True,
    tracks=True,
)
_TS = Container(
    muxer="mpegts",
    extensions=("ts", "m2ts", "mts"),
    video=_set("h264 hevc mpeg2video mpeg1video mpeg4 vvc"),
    audio=_set("aac mp2 mp3 ac3 eac3 dts opus truehd"),
    audio_encoders=(("ac3", "ac3"), ("eac3", "eac3"), ("mp2", "mp2"), ("mp3", "mp3"), ("opus", "opus")),
    audio_default="aac",
    subtitles=_set("dvb_subtitle dvb_teletext"),
    metadata=True,
    tracks=True,
)
# AVI has no presentation times: H.264 and HEVC read back from it come frames late, so they are left out.
_AVI = Container(
    muxer="avi",
    extensions=("avi",),
    video=_set("mpeg4 mpeg2video mjpeg ffv1 png utvideo huffyuv ffvhuff rawvideo magicyuv dvvideo"),
    audio=_set("mp3 mp2 ac3 pcm_u8 pcm_s16le pcm_s24le"),
    audio_encoders=(("lossless", "pcm"), ("ac3", "ac3")),
    audio_default="mp3",
    metadata=True,
    tracks=True,
)
_NUT = Container(
    muxer="nut",
    extensions=("nut",),
    video=None,
    unread=_set("qtrle msrle apng webp bmp tiff"),
    audio=_set(f"aac mp3 mp2 ac3 flac opus vorbis {_PCM_LE}"),
    audio_encoders=(("lossless", "flac"),),
    audio_default="flac",
    metadata=True,
    tracks=True,
)
_GIF = Container("gif", ("gif",), _set("gif"))
_APNG = Container("apng", ("apng",), _set("apng"))
_WEBP = Container("webp", ("webp",), _set("webp"))
_IMAGES = Container("image2", ("png", "jpg", "jpeg", "tiff", "tif", "bmp"), _set("png mjpeg tiff bmp"), still=True)

CONTAINERS: tuple[Container, ...] = (_MP4, _MOV, _MKV, _WEBM, _GIF, _APNG, _WEBP, _IMAGES, _TS, _AVI, _NUT)

STREAMED = _MKV
"""What goes to standard output: Matroska needs no seeking back."""

BY_EXTENSION: dict[str, Container] = {ending: container for container in CONTAINERS for ending in container.extensions}

BY_MUXER: dict[str, Container] = {container.muxer: container for container in CONTAINERS}

COLOURED = _set("h264 hevc vvc av1 mpeg2video png apng")
"""Picture codecs that say by themselves which colours are meant."""

RANGED = _set("h264 hevc av1 vp9 mjpeg")
"""Picture codecs that say by themselves that their range is the full one."""

SHAPELESS = _set("webp bmp")
"""Picture codecs whose files do not say which shape the pixels have."""

LOSSLESS_AUDIO = _set(
    f"flac alac tta wavpack truehd mlp ape shorten tak {_PCM_LE} {_PCM_BE} pcm_bluray pcm_dvd pcm_alaw pcm_mulaw s302m"
)

TEXT_SUBTITLES = _set("subrip srt ass ssa mov_text webvtt text ttml microdvd subviewer sami realtext jacosub mpl2 stl")

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".flv", ".wmv", ".ogv"}
    | {".3gp", ".y4m", ".mxf", ".gif"}
)
"""By which videos are told from what else lies in a folder; a file that is named is read whatever it is called."""

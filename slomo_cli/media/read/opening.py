"""Opens a file safely, and says in one line why one cannot be opened, or read any further.

A name is always a local file (never a protocol), a format is one of a list (never a playlist that opens other files),
and every way in which opening can fail becomes one InputError that says what was found.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Any

import av
import av.error

from slomo_cli.errors import InputError, no_threads, printable
from slomo_cli.media.ffmpeg import literal
from slomo_cli.media.names import address_hint

if TYPE_CHECKING:
    from av.container import InputContainer

# Demuxers that read one file of media and nothing else. Left out on purpose: concat, hls, dash, sdp, rtsp, imf and
# other playlists (they open further files), lavfi and devices (not files), tty (takes any text for a film).
_FORMATS = (
    # containers with video
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,live_flv,kux,ogg,nut,asf,mxf,gxf,rm,wtv,swf,nuv,dv,r3d,"
    "ivf,yuv4mpegpipe,gif,apng,flic,amv,bink,smk,roq,film_cpk,vmd,idcin,wc3movie,4xm,thp,pmp,mtv,mlv,ea,mpjpeg,avr,"
    # raw video
    "h264,hevc,vvc,evc,av1,obu,m4v,mpegvideo,h261,h263,mjpeg,mjpeg_2000,dirac,dnxhd,cavsvideo,avs2,avs3,vc1,vc1test,ingenient,"
    # still pictures
    "image2,png_pipe,jpeg_pipe,jpegls_pipe,jpegxl_pipe,jpegxl_anim,jpegxs_pipe,j2k_pipe,tiff_pipe,webp_pipe,webp_anim,bmp_pipe,dpx_pipe,"
    "exr_pipe,gif_pipe,pam_pipe,pbm_pipe,pgm_pipe,pgmyuv_pipe,ppm_pipe,pfm_pipe,phm_pipe,pcx_pipe,psd_pipe,qoi_pipe,hdr_pipe,"
    "sgi_pipe,sunrast_pipe,xbm_pipe,xpm_pipe,xwd_pipe,dds_pipe,cri_pipe,gem_pipe,photocd_pipe,pictor_pipe,qdraw_pipe,svg_pipe,"
    "vbn_pipe,"
    # sound and captions: recognised so that the message can say there is no picture
    "mp3,aac,flac,wav,w64,aiff,caf,ac3,eac3,dts,ape,tta,wv,amr,au,opus,mp2,ass,srt,webvtt"
)

_PLAYLISTS = (
    (rb"ffconcat version", "an ffconcat list"),
    (rb"#EXTM3U", "an M3U/HLS playlist"),
    (rb"<\?xml[^>]*>\s*(?><!--.*?-->\s*)*+<MPD|<MPD[\s>]", "a DASH manifest"),
    (rb"v=0\r?\n(o|s)=", "an SDP session description"),
    (rb"\[playlist\]", "a PLS playlist"),
    (rb"#!/", "a script"),
)

ANY_TAGS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
"""For ``av.open``: tags that are no UTF-8 are no reason to fail. ``as_text`` makes text of them."""
READ_ERRORS = (av.error.FFmpegError, IndexError)
"""What ends reading; PyAV 18 stumbles at the end over streams that begin in the middle of a file."""
_OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG)
"""What of libav's errors says nothing about the file."""
_LEADING_BYTES = 4096


def open_container(path: str | os.PathLike[str], **options: str) -> InputContainer:
    """Opens a file for reading; the caller closes it. ``options``: for libav's demuxer.

    Raises InputError with one line when the file is missing, unreadable, empty, a directory, text, a playlist, or in a
    format that is not read.
    """
    shown = f"'{printable(os.fspath(path))}'"
    head = _first_bytes(path, shown)
    # pattern_type none: to the picture demuxer a name with %d is else a pattern for many files.
    options |= {"format_whitelist": _FORMATS, "protocol_whitelist": "file", "pattern_type": "none"}
    try:
        container: InputContainer = av.open(literal(path), "r", container_options=options, **ANY_TAGS)
        return container
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if getattr(error, "errno", None) != errno.ENOMEM:
            tell_lack(error)
        raise InputError(f"{shown} {_why_not(head, error)}") from None


def _first_bytes(path: str | os.PathLike[str], shown: str) -> bytes:
    """The file's first bytes, after checking that it is a readable, regular, non-empty file of no playlist kind."""
    try:
        about = os.stat(path)
        if stat.S_ISDIR(about.st_mode):
            raise InputError(f"{shown} is a directory; expected a video file")
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{shown} is a pipe or device; expected a regular file: save it to one first")
        if about.st_size == 0:
            raise InputError(f"{shown} is empty (0 bytes); expected a video file")
        with open(path, "rb") as file:
            head = file.read(_LEADING_BYTES)
    except FileNotFoundError:
        raise InputError(f"{shown} does not exist{address_hint(os.fspath(path))}") from None
    except PermissionError:
        raise InputError(f"{shown} cannot be read: permission denied") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    body = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, kind in _PLAYLISTS:
        if re.match(pattern, body, re.IGNORECASE | re.DOTALL):
            raise InputError(f"{shown} is {kind}, not a video; expected one video file: name the video itself")
    return head


def _why_not(head: bytes, error: Exception) -> str:
    """What to say of a file that libav could not open."""
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        return f"cannot be read: {error.strerror}"
    if getattr(error, "errno", None) == errno.ENOMEM:  # headers are small, and memory seldom so short
        return "names a size beyond all memory: it is damaged, or this machine's memory is used up"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return "is an MP4 or MOV without a readable index (moov): an unfinished recording or an incomplete download"
    if head[4:8] in (b"styp", b"sidx", b"moof"):
        return "is one segment of a stream, without the initialization segment that says what it holds: join them first"
    if not head.strip(b"\0"):
        return "holds only zero bytes where a video should begin: an incomplete download?"
    text = sum(byte in b"\t\n\r\f" or 32 <= byte < 127 or byte >= 128 for byte in head)
    if text == len(head) and _decodes(head):
        return "is a text file; expected a video"
    if getattr(error, "errno", None) == errno.EINVAL:  # how libav says: not on the list of formats
        return "is in a format that slomo does not read: convert it to .mp4 or .png first"
    return "is not a video in any format that can be read, or is damaged at its beginning"


def _decodes(head: bytes) -> bool:
    """Whether the bytes are UTF-8 text, not minding a character cut at the end."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True


def why_ended(error: Exception, container: str) -> str:
    """Why reading ended early, by one of READ_ERRORS, for messages; '' where that was the end of the file.

    Old demuxers end with -1, which stands for a permission that nobody asked for; GXF's, since FFmpeg 9, with what else
    says that data are wrong. Raises what ``tell_lack`` does.
    """
    tell_lack(error, reading=True)
    if isinstance(error, IndexError) or getattr(error, "errno", None) == errno.EPERM:
        return ""
    if container == "gxf" and isinstance(error, av.error.InvalidDataError):
        return ""
    return printable(getattr(error, "strerror", None) or error)


def tell_lack(error: Exception, *, reading: bool = False) -> None:
    """Raises MemoryError or DeviceError where libav failed for want of memory or threads: that is no damage.

    ``reading``: packets were read only, for which no threads are begun; EAGAIN has another meaning there.
    """
    number = getattr(error, "errno", None)
    if number == errno.ENOMEM:
        raise MemoryError from None
    if number == errno.EAGAIN and not reading:  # of decoders that begin threads of their own
        raise no_threads() from None


def is_foreign(text: str) -> bool:
    """Whether a tag's bytes were no UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def as_text(tag: str) -> str:
    """A tag as text: what is no UTF-8 is read as Windows' Western European, as captions are."""
    return tag.encode("utf-8", "surrogateescape").decode("cp1252", "replace") if is_foreign(tag) else tag

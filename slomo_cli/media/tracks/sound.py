"""Into which codec a sound track goes where it cannot be copied, and by which of ffmpeg's encoders."""

from __future__ import annotations

import av

from slomo_cli.media.containers import LOSSLESS_AUDIO, Container
from slomo_cli.media.ffmpeg import Tools
from slomo_cli.media.tracks import soundfeed, stretch
from slomo_cli.media.tracks.samples import usual_layout
from slomo_cli.values import EncodeSettings, StreamInfo

_ENCODERS = {
    "aac": ("aac", "libfdk_aac"),
    "opus": ("libopus",),
    "vorbis": ("libvorbis",),
    "mp3": ("libmp3lame", "mp3_mf", "libshine"),
    "mp2": ("mp2", "libtwolame"),
}
"""Codec -> encoders in the order they are tried; codecs not listed have an encoder of their own name."""

_KBITS_PER_CHANNEL = {"aac": 96, "mp3": 96, "opus": 80, "ac3": 112, "eac3": 112, "mp2": 128}
_MOST_KBITS = {"mp3": 320, "ac3": 640, "mp2": 384}

_XIPH = "mono stereo 3.0 quad 5.0 5.1 6.1 7.1"
_DOLBY = "mono stereo 2.1 3.0 quad 3.1 4.0 4.1 5.0 5.1"
_LAYOUTS = {
    "alac": "mono stereo 3.0 4.0 5.0 5.1 6.1(back) 7.1(wide)",
    "aac": "mono stereo 2.1 3.0 quad 4.0 5.0 5.1 hexagonal 6.1(back) 7.0 7.1 7.1(wide) octagonal",
    "flac": _XIPH,
    "opus": _XIPH,
    "vorbis": _XIPH,
    "ac3": _DOLBY,
    "eac3": _DOLBY,
    "mp3": "mono stereo",
    "mp2": "mono stereo",
}
"""Codec -> loudspeakers it has a word for, tried; codecs not listed take any. Beside these, encoders refuse or mix."""
_NOT_IN_TS = ("6.1(back)", "7.1")
"""Of AAC's, those for which its header in MPEG-TS (ADTS) has no number."""
_SLOWEST_MP3 = 16_000
"""Samples per second of MP3 in MP4: MPEG-1's and MPEG-2's, not those that its makers added (11025 and the like)."""
_SLOW_MP2, _MOST_OF_SLOW = 32_000, 160
"""Below so many samples per second (MPEG-2), MP2 knows no more kbit/s than these."""
_MOST_CHANNELS = 8
"""Of every codec above but Opus, which takes any number of unrelated channels."""
_GUESSED = (16, 24)
"""Numbers of unrelated channels that ffmpeg takes for loudspeakers where it has to mix them; others it refuses."""
_SAME_PLACE = {"DL": "FL", "DR": "FR", "BIL": "FL", "BIR": "FR"}


def is_held(track: StreamInfo, container: Container) -> bool:
    """Whether a copy of the track can lie in this container."""
    if container.muxer == "mp4" and track.codec == "mp3" and track.sample_rate < _SLOWEST_MP3:
        return False
    if container.muxer == "mpegts" and track.codec == "aac" and track.layout in _NOT_IN_TS:
        return False
    return track.codec in container.audio


def audio_encoder(track: StreamInfo, container: Container, tools: Tools) -> tuple[str, str | None]:
    """(codec, encoder) for a track in this container: its own family where that is held, else the container's usual.

    A codec that holds the track's loudspeakers goes before one that would mix them. The encoder is None when this
    ffmpeg has none that fits.
    """
    families = dict(container.audio_encoders)
    family = "lossless" if track.codec in LOSSLESS_AUDIO else track.codec
    wanted = [track.codec] if track.codec == container.audio_default else []
    wanted += [families[family]] if family in families else []
    if family == "lossless":
        wanted += [codec for codec, kind in (("flac", "flac"), ("pcm", "pcm_s24le")) if kind in container.audio]
    wanted.append(container.audio_default)
    for codec in sorted(wanted, key=lambda codec: mixed_to(codec, track, container) != ""):
        if codec == "pcm":
            codec = track.codec if track.codec in container.audio else "pcm_s24le"
        for name in _ENCODERS.get(codec, (codec,)):
            if name in tools.encoders:
                return codec, name
    return wanted[-1], None


def audio_quality(codec: str, track: StreamInfo, number: int) -> list[str]:
    """Bit rates at which another generation is not heard; nothing for lossless codecs."""
    channels = track.channels or 2
    words: list[str] = []
    if codec in _KBITS_PER_CHANNEL:
        most = _MOST_OF_SLOW if codec == "mp2" and track.sample_rate < _SLOW_MP2 else _MOST_KBITS.get(codec, 768)
        rate = min(most, _KBITS_PER_CHANNEL[codec] * channels)
        words += [f"-b:a:{number}", f"{rate}k"]
    if codec == "vorbis":
        # 96 kbit/s a channel at 44.1 kHz; of bit rates, each rate of samples takes few.
        words += [f"-q:a:{number}", "6"]
    if codec == "opus" and channels > 2:
        # Family 1 knows surround layouts up to 7.1; 255 takes any number of unrelated channels.
        words += [f"-mapping_family:a:{number}", "1" if channels <= _MOST_CHANNELS else "255"]
    return words


def layout_filter(codec: str, track: StreamInfo, container: Container) -> str:
    """The filters that name a track's loudspeakers as the codec knows them; '' where nothing is to be done."""
    own, held = layout_name(track), _held(codec, track, container)
    if held and is_shortened(track):
        return f"channelmap={'|'.join(map(str, range(_MOST_CHANNELS)))}:{held}"
    steps = [f"channelmap=channel_layout={own}"] if own and not track.layout and track.channels > 2 else []
    steps += [f"aformat=channel_layouts={held}"] if held != own else []
    return ",".join(steps)


def mixed_to(codec: str, track: StreamInfo, container: Container) -> str:
    """The layout a track is mixed to because the codec has no place for some of its loudspeakers; '' where it has."""
    own, held = layout_name(track), _held(codec, track, container)
    return held if (held and not own) or _speakers(own) - _speakers(held) else ""


def is_shortened(track: StreamInfo) -> bool:
    """Whether a codec of loudspeakers takes the track's first channels only, as nothing tells how to mix the others."""
    return not layout_name(track) and track.channels > _MOST_CHANNELS and track.channels not in _GUESSED


def layout_name(track: StreamInfo) -> str:
    """FFmpeg's name of the track's loudspeakers; '' for more channels than have a usual meaning."""
    return track.layout or usual_layout(track.channels)


def _held(codec: str, track: StreamInfo, container: Container) -> str:
    """The layout in which the codec keeps most of the track's loudspeakers, and of those the smallest.

    What is added is silent; nothing but a loudspeaker without a place is mixed into others.
    """
    own, layouts = layout_name(track), _LAYOUTS.get(codec, "").split()
    if track.channels > _MOST_CHANNELS:
        return own if codec == "opus" or not layouts else layouts[-1]
    # Matroska says beside the FLAC which channels it has; elsewhere their number alone tells.
    takes_any = not layouts or (codec == "flac" and container.muxer == "matroska")
    wanted = _speakers(own)
    if codec == "aac" and container.muxer == "mpegts":
        layouts = [name for name in layouts if name not in _NOT_IN_TS]
    if takes_any or not wanted or own in layouts:
        return own
    return min(layouts, key=lambda name: (-len(wanted & _speakers(name)), len(_speakers(name))))


def _speakers(layout: str) -> frozenset[str]:
    """FFmpeg's names of the loudspeakers; of one pair of them, sides and backs are the same."""
    channels = av.AudioLayout(layout).channels if layout else ()
    names = {_SAME_PLACE.get(channel.name, channel.name) for channel in channels}
    backs = {} if "BL" in names else {"SL": "BL", "SR": "BR"}
    return frozenset(backs.get(name, name) for name in names)


def is_unnamed(track: StreamInfo, container: Container) -> bool:
    """Whether a copied track's loudspeakers are taken for the usual ones of their number: of PCM these keep no more."""
    nameless = container.muxer in ("matroska", "nut") and track.codec.startswith("pcm_")
    return nameless and track.layout != "" and _speakers(track.layout) != _speakers(usual_layout(track.channels))


def sample_rate(codec: str, track: StreamInfo) -> int:
    """Samples per second of a stretched track; Opus knows 48 kHz best."""
    return 48_000 if codec == "opus" or not track.sample_rate else track.sample_rate


def can_be_fed(track: StreamInfo) -> bool:
    """Whether slomo can stretch the track itself: what it decodes to is known, and ffmpeg inherits pipes here."""
    return soundfeed.IS_POSSIBLE and track.sample_rate > 0 and track.channels > 0


def stretch_method(settings: EncodeSettings, tools: Tools) -> stretch.Method:
    """How sound is bent: as the user says, and with the better of the two filters that keep its pitch."""
    if settings.audio == "pitch":
        return "pitch"
    return "rubberband" if "rubberband" in tools.filters else "atempo"

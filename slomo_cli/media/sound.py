"""Into which codec a sound track goes where it cannot be copied, and by which of ffmpeg's encoders."""

from __future__ import annotations

from slomo_cli.media import soundfeed, stretch
from slomo_cli.media.containers import LOSSLESS_AUDIO, Container
from slomo_cli.media.ffmpeg import Tools
from slomo_cli.timeline import Plan
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


def is_bent(plan: Plan) -> bool:
    """Whether any of the source is shown at another speed than its own."""
    return any(piece.speed_start != 1 or piece.speed_end != 1 for piece in plan.time_map.pieces)


def audio_encoder(track: StreamInfo, container: Container, tools: Tools) -> tuple[str, str | None]:
    """(codec, encoder) for a track in this container: its own family where that is held, else the container's usual.

    The encoder is None when this ffmpeg has none that fits.
    """
    families = dict(container.audio_encoders)
    family = "lossless" if track.codec in LOSSLESS_AUDIO else track.codec
    wanted = [track.codec] if track.codec == container.audio_default else []
    wanted += [families[family]] if family in families else []
    wanted.append(container.audio_default)
    for codec in wanted:
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
        rate = min(_MOST_KBITS.get(codec, 768), _KBITS_PER_CHANNEL[codec] * channels)
        words += [f"-b:a:{number}", f"{rate}k"]
    if codec == "vorbis":
        words += [
            f"-q:a:{number}",
            "6",
        ]  # 96 kbit/s a channel at 44.1 kHz; of bit rates, each rate of samples takes few
    if codec == "opus" and channels > 2:
        # Family 1 knows surround layouts up to 7.1; 255 takes any number of unrelated channels.
        words += [f"-mapping_family:a:{number}", "1" if channels <= 8 else "255"]
    if codec in ("mp3", "mp2") and channels > 2:
        words += [f"-ac:a:{number}", "2"]
    return words


def layout_filter(codec: str, track: StreamInfo) -> str:
    """The filter that names surround channels as Opus knows them (it has no 5.1 with side speakers); '' elsewhere."""
    layouts = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    return f"aformat=channel_layouts={layouts[track.channels]}" if codec == "opus" and track.channels in layouts else ""


def is_mixed_down(codec: str, track: StreamInfo) -> bool:
    """Whether the codec holds fewer channels than the track has."""
    return codec in ("mp3", "mp2") and track.channels > 2


def sample_rate(codec: str, track: StreamInfo) -> int:
    """Samples per second of a stretched track; Opus knows 48 kHz best."""
    return 48_000 if codec == "opus" or not track.sample_rate else track.sample_rate


def can_be_fed(track: StreamInfo) -> bool:
    """Whether slomo can stretch the track itself: what it decodes to is known, and the system has named pipes."""
    return soundfeed.IS_POSSIBLE and track.sample_rate > 0 and track.channels > 0


def stretch_method(settings: EncodeSettings, tools: Tools) -> stretch.Method:
    """How sound is bent: as the user says, and with the better of the two filters that keep its pitch."""
    if settings.audio == "pitch":
        return "pitch"
    return "rubberband" if "rubberband" in tools.filters else "atempo"

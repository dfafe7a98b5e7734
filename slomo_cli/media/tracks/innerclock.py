"""The clocks that captions carry inside, on the new time: of DVD and DVB, effects of ASS, words of WebVTT."""

from __future__ import annotations

import re
from fractions import Fraction

from slomo_cli.timeline import Plan


def with_inner_clock(
    data: bytes,
    codec: str,
    plan: Plan,
    begin: Fraction,
    lasts: Fraction | None,
    length: Fraction | None,
    stored: Fraction,
) -> bytes:
    """The packet with the times inside it on the new time: DVD's control dates, DVB's page time-out, the effects of
    ASS, the words of WebVTT.

    begin, lasts: of the source; length: of the part that is shown, on the output's clock; stored: see ``move_words``.
    """
    if codec == "webvtt":
        return move_words(data, plan, begin, lasts, stored)
    start = max(begin, plan.start)
    if codec in ("ass", "ssa") and lasts is not None and length is not None:
        return scale_ass(data, length / (min(begin + lasts, plan.end) - start))
    if codec not in ("dvd_subtitle", "dvb_subtitle"):
        return data
    ahead = plan.time_map.output_at(min(plan.end, start + 1)) - plan.time_map.output_at(start)
    reach = min(plan.end, start + 1) - start
    factor = ahead / reach if reach > 0 and ahead > 0 else Fraction(1)
    return scale_dvd(data, factor) if codec == "dvd_subtitle" else scale_dvb(data, factor)


_ASS_TAGS = re.compile(rb"\{[^}]*\}")
_ASS_SYLLABLE = re.compile(rb"(\\(?:kf|ko|k|K)\s*)(\d+)")
_ASS_EFFECT = re.compile(rb"(\\(fade?|move|t)\s*\()([\d\s,.+-]+)")
_ASS_TIMES = {
    **{(b"t", count): (0, 2) for count in (3, 4)},
    **{(name, 2): (0, 2) for name in (b"fad", b"fade")},
    **{(name, 7): (3, 7) for name in (b"fad", b"fade")},
    (b"move", 6): (4, 6),
}
"""Which arguments are times, from and to, by the name and the number of them; the tags in a ``t`` count as one."""


def scale_ass(data: bytes, factor: Fraction) -> bytes:
    """ASS event: the times in its override tags, centiseconds of karaoke and milliseconds of fades, moves and changes.

    Tags: k20, fad(100,200), fade(a1,a2,a3,t1,t2,t3,t4), move(x1,y1,x2,y2,t1,t2), t(t1,t2,[accel,]tags).
    """

    def scaled(number: bytes) -> bytes:
        try:
            return str(round(Fraction(number.decode()) * factor)).encode()
        except ValueError:
            return number

    def effect(match: re.Match[bytes]) -> bytes:
        values = match[3].split(b",")
        first, last = _ASS_TIMES.get((match[2], len(values)), (0, 0))
        return match[1] + b",".join([*values[:first], *map(scaled, values[first:last]), *values[last:]])

    def tags(match: re.Match[bytes]) -> bytes:
        syllables = _ASS_SYLLABLE.sub(lambda syllable: syllable[1] + scaled(syllable[2]), match[0])
        return _ASS_EFFECT.sub(effect, syllables)

    end = data.rfind(b"}") + 1  # behind it, every brace would be followed to the end of the text
    return data if factor == 1 else _ASS_TAGS.sub(tags, data[:end]) + data[end:]


_WORD_TIME = re.compile(rb"<(?:(\d{2,9}):)?([0-5]\d):([0-5]\d\.\d{3})>")


def move_words(data: bytes, plan: Plan, begin: Fraction, lasts: Fraction | None, stored: Fraction) -> bytes:
    """WebVTT caption: when each word of it is sung or said, <00:01.500> (W3C WebVTT, 4.2.2).

    begin, lasts: of the caption, in the source; stored: its beginning on the file's own clock. Words are timed on that
    clock, as files of WebVTT have it, or from the caption's beginning, as Matroska's specification asks.
    """
    first = plan.time_map.output_at(min(max(begin, plan.start), plan.end))

    def moved(match: re.Match[bytes]) -> bytes:
        told = int(match[1] or 0) * 3600 + int(match[2]) * 60 + Fraction(match[3].decode())
        absolute = lasts is None or stored <= told <= stored + lasts
        at = begin + (told - stored if absolute else told)
        new = plan.time_map.output_at(min(max(at, plan.start), plan.end)) - (0 if absolute else first)
        minutes, milliseconds = divmod(round(new * 1000), 60_000)
        hours, minutes = divmod(minutes, 60)
        return f"<{hours:02}:{minutes:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}>".encode()

    return _WORD_TIME.sub(moved, data)


def scale_dvd(data: bytes, factor: Fraction) -> bytes:
    """DVD sub-picture: the control sequences' dates, in units of 1024/90000 s, 16 bits each (DVD-Video, SPU).

    Layout: size(2) offset of the control area(2), then at that offset a chain of date(2) next(2) commands; the last
    points to itself.
    """
    if len(data) < 4:
        return data
    changed = bytearray(data)
    at = int.from_bytes(data[2:4], "big")
    seen: set[int] = set()
    while 0 < at <= len(data) - 4 and at not in seen:
        seen.add(at)
        date = min(0xFFFF, round(int.from_bytes(data[at : at + 2], "big") * factor))
        changed[at : at + 2] = date.to_bytes(2, "big")
        at = int.from_bytes(data[at + 2 : at + 4], "big")
    return bytes(changed)


def scale_dvb(data: bytes, factor: Fraction) -> bytes:
    """DVB subtitle: the page time-out of every page composition segment, whole seconds (ETSI EN 300 743, 7.2.2)."""
    changed = bytearray(data)
    # Matroska and libav leave out the two bytes (data identifier, stream id) that open a PES payload.
    at = 2 if data[:1] == b"\x20" else 0
    while at + 7 <= len(data) and data[at] == 0x0F:
        kind, size = data[at + 1], int.from_bytes(data[at + 4 : at + 6], "big")
        if kind == 0x10:
            changed[at + 6] = min(255, max(1, round(data[at + 6] * factor)))
        at += 6 + size
    return bytes(changed)

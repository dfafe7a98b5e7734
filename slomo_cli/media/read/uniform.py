"""Brings every picture of a film to the size, layout and colours of its first one, and says where it had to.

Broadcasts and joined recordings change on the way: an advertisement in another size, a matrix of standard definition
after one of high, full range after limited. What follows this room knows one kind of picture only.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av.error
from av.video.reformatter import VideoReformatter

from slomo_cli.errors import InputError
from slomo_cli.media.formats import LIMITED, MATRICES, PRIMARIES, RANGES, TRANSFERS
from slomo_cli.media.pixels import can_be_copied, copy_planes, is_full_range_name, is_opaque, layout_of
from slomo_cli.values import Frame, VideoInfo

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BICUBIC_EXACT = 4 | 0x40000
"""SWS_BICUBIC | SWS_ACCURATE_RND."""
_SAME_SHAPE = Fraction(1, 50)
"""By so much shapes may differ that mean the same: some leave out columns at the borders."""
_SWS_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Matrices libswscale computes with: code point of H.273 -> SWS_CS_*, of which BT.601 has one."""


class Uniform:
    """Turns decoded pictures into frames that are alike; one for each pass over a film, used by one thread.

    warnings: where lines for the user are added, each once.
    """

    def __init__(self, info: VideoInfo, shown: str, warnings: list[str]) -> None:
        self._info = info
        self._shown = shown
        self._warnings = warnings
        self._told: set[str] = set()
        # One for all: each holds buffers and threads of its own.
        self._reformatter = VideoReformatter()

    def frame(self, time: Fraction, picture: VideoFrame) -> Frame:
        """The picture's samples, copied once. Raises InputError where libav has no way to the first one's layout."""
        info = self._info
        same_size = picture.width == info.width and picture.height == info.height
        # What the names with a j say is the range, which is of the colours.
        same_format = picture.format.name.replace("yuvj", "yuv") == info.pix_fmt.replace("yuvj", "yuv")
        if not same_size or not same_format:
            self._warn_of_change(picture)
        elif not info.layout.alpha and layout_of(picture.format.name).alpha and not is_opaque(picture):
            # A palette picture, after a first one that was not and so decided for all.
            begun = f"pictures are transparent from {float(time):.2f} s on"
            self._tell("alpha", f"{begun}, which the first one is not; they are taken as opaque")
        colours = self._colours(time, picture)
        if colours or not same_size or not can_be_copied(picture.format.name, info.layout):
            try:
                picture = self._reformatter.reformat(
                    picture, info.width, info.height, info.layout.name, interpolation=_BICUBIC_EXACT, **colours
                )
            except av.error.FFmpegError:
                raise InputError(
                    f"{self._shown}: libav cannot turn its {picture.format.name} pictures into {info.layout.name}"
                ) from None
        return Frame(copy_planes(picture, info.layout), info.layout, info.color, time)

    def watch_shape(self, time: Fraction, picture: VideoFrame, wider: Fraction) -> None:
        """Tells where pictures are to be shown in another shape, as where broadcasts turn from 4:3 to 16:9.

        wider: how much wider the picture's samples are than those of the film's first one.
        """
        first = Fraction(self._info.width, self._info.height)
        shape = Fraction(picture.width, picture.height) * wider / first
        if abs(shape - 1) > _SAME_SHAPE:
            shown, told = (f"{float(ratio * self._info.sample_aspect):.3g}:1" for ratio in (first, first * shape))
            self._tell(
                "shape",
                f"the picture's shape changes at {float(time):.2f} s from {shown} to {told}; all is shown in the first "
                "one: convert the parts one by one (--start, --end), with --encoder-args '-aspect 16:9' where needed",
            )

    def _colours(self, time: Fraction, picture: VideoFrame) -> dict[str, int]:
        """What libav is told where the samples mean other colours than the first one's; a silent picture means them.

        Only matrix and range are arithmetic; other primaries and transfers are told.
        """
        first = self._info.color
        words: dict[str, int] = {}
        if self._info.layout.family != "yuv" or layout_of(picture.format.name).family != "yuv":
            return {}
        changes = []
        own_range = 2 if is_full_range_name(picture.format.name) else int(picture.color_range)
        if own_range in RANGES and own_range != (first.range or LIMITED):
            words |= {"src_color_range": own_range, "dst_color_range": first.range or LIMITED}
            changes.append(f"range {RANGES[own_range]}")
        matrix = int(picture.colorspace)
        source, result = (_SWS_MATRICES.get(number) for number in (matrix, first.matrix))
        if source and result and source != result:
            words |= {"src_colorspace": source, "dst_colorspace": result}
            changes.append(f"matrix {MATRICES[matrix]}")
        if changes:
            begun = f"the colours change at {float(time):.2f} s ({', '.join(changes)})"
            self._tell("colours", f"{begun}; every picture is brought to the first one's")
        else:
            self._warn_of_light(time, picture)
        return words

    def _warn_of_light(self, time: Fraction, picture: VideoFrame) -> None:
        """Of primaries and transfers, as where HDR begins."""
        first = self._info.color
        pairs = (
            ("primaries", PRIMARIES, first.primaries, int(picture.color_primaries or 2)),
            ("transfer", TRANSFERS, first.transfer, int(picture.color_trc or 2)),
        )
        changes = [
            f"{what} {names[own]}" for what, names, old, own in pairs if old in names and own in names and own != old
        ]
        if changes:
            begun = f"the colours change at {float(time):.2f} s ({', '.join(changes)})"
            self._tell("light", f"{begun}, which one file cannot say: from there on they are shown as the first ones")

    def _warn_of_change(self, picture: VideoFrame) -> None:
        self._tell(
            "picture",
            f"the picture changes from {self._info.width}x{self._info.height} {self._info.pix_fmt} to "
            f"{picture.width}x{picture.height} {picture.format.name} on the way; "
            "every picture is brought to the first one's size and format",
        )

    def _tell(self, what: str, line: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._warnings.append(line)

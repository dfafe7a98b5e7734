"""An animation is shown as many times as its source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slomo_cli.media.plays import play_options, plays_of
from slomo_cli.media.read.probe import probe
from slomo_cli.pipeline import plan_conversion

Make = Callable[..., Path]

MOVING = "-f lavfi -i testsrc2=size=32x32:rate=10:duration=0.5"


@pytest.mark.parametrize(
    ("name", "options", "plays"),
    [
        ("once.gif", "-loop -1", 1),
        ("thrice.gif", "-loop 2", 3),
        ("ever.gif", "-loop 0", 0),
        ("once.apng", "-plays 1", 1),
        ("thrice.apng", "-plays 3", 3),
        ("ever.apng", "-plays 0", 0),
    ],
)
def test_an_animation_is_shown_as_often_as_before(
    make: Make, tmp_path: Path, name: str, options: str, plays: int
) -> None:
    """Also in another of these formats; a loop without a seam goes on for ever."""
    source = make(name, *MOVING.split(), *options.split())
    assert probe(source).plays == plays
    for ending, option, value in (
        ("gif", "-loop", {1: -1}.get(plays, plays and plays - 1)),
        ("apng", "-plays", plays),
        ("webp", "-loop", plays),
    ):
        for loop, expected in ((False, value), (True, 0)):
            args = plan_conversion(source, tmp_path / f"out.{ending}", factor=2, loop=loop).encoder_args
            assert args[args.index(option) + 1] == str(expected)


def test_what_is_written_is_read_as_that(make: Make) -> None:
    """By ffmpeg's muxers, as these options have it."""
    for ending, codec in (("gif", "gif"), ("apng", "apng"), ("webp", "webp_anim")):
        for plays in (0, 1, 2, 7):
            words = [word for option, value in play_options(ending, plays) for word in (f"-{option}", value)]
            assert plays_of(make(f"{plays}.{ending}", *MOVING.split(), *words), codec) == plays


def test_films_are_shown_for_ever_as_animations(make: Make, tmp_path: Path) -> None:
    film = make("film.mkv", *MOVING.split(), "-c:v", "ffv1")
    assert probe(film).plays is None
    args = plan_conversion(film, tmp_path / "out.gif", factor=2).encoder_args
    assert args[args.index("-loop") + 1] == "0"
    assert play_options("mp4", 3) == []

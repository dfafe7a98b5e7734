"""The drawing module: PNG files read back by PyAV, the colour of known flows, sheets and plots."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slomo_cli.picture import (
    Tile,
    encode_png,
    error_to_rgb,
    flow_to_rgb,
    gray_to_rgb,
    line_plot,
    sheet,
    shrink,
    text,
    text_width,
    write_png,
)


def decode(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


@settings(max_examples=20)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_png_reads_back_exactly(picture: np.ndarray) -> None:
    """What libav decodes is what was encoded, at any size."""
    np.testing.assert_array_equal(decode(encode_png(picture)), picture)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_png_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    """Only RGB pictures with at least one pixel are PNG here."""
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(np.zeros(shape, np.uint8))


def test_write_png_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    """An old file is replaced; no temporary file stays."""
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    picture = np.full((5, 6, 3), 77, np.uint8)
    write_png(target, picture)
    np.testing.assert_array_equal(decode(target.read_bytes()), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_flow_colours_of_the_published_circle() -> None:
    """Right is red, left is cyan, down is yellow-green's side, up is violet-blue; still is white, unknown black."""
    flow = np.array([[[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0], [np.nan, 0]]], float)
    right, left, down, up, still, unknown = flow_to_rgb(flow, largest=1.0)[0].tolist()
    assert right == [255, 0, 0]
    assert left[0] == 0 and left[1] > 150 and left[2] == 255
    assert down[0] > 200 and down[1] > 200 and down[2] == 0
    assert up[2] == 255 and up[1] < 60
    assert still == [255, 255, 255]
    assert unknown == [0, 0, 0]


def test_longer_flow_is_deeper_and_too_long_is_dark() -> None:
    """Saturation grows with length up to ``largest``; beyond it the colour is darkened."""
    flow = np.array([[[0.25, 0], [0.5, 0], [1, 0], [2, 0]]], float)
    pale, half, full, beyond = flow_to_rgb(flow, largest=1.0)[0].astype(int)
    assert pale[1] > half[1] > full[1] == 0
    assert (pale[0], half[0], full[0]) == (255, 255, 255) and beyond[0] == 191


def test_flow_scales_itself() -> None:
    """Without a scale the greatest lengths get full colour; a still picture stays white."""
    assert flow_to_rgb(np.full((4, 4, 2), (7.0, 0.0)))[0, 0].tolist() == [255, 0, 0]
    assert (flow_to_rgb(np.zeros((4, 4, 2))) == 255).all()
    with pytest.raises(ValueError, match="expected shape"):
        flow_to_rgb(np.zeros((4, 4, 3)))


def test_gray_and_error() -> None:
    """Maps are clipped to 0..1; errors are absolute and brightened."""
    np.testing.assert_array_equal(
        gray_to_rgb(np.array([[-1, 0, 0.5, 1, 2, np.nan]]))[0, :, 0], [0, 0, 128, 255, 255, 0]
    )
    a, b = np.full((1, 1, 3), 10, np.uint8), np.full((1, 1, 3), (13, 7, 200), np.uint8)
    assert error_to_rgb(a, b, gain=4)[0, 0].tolist() == [12, 12, 255]


def test_every_glyph_is_its_own() -> None:
    """No two characters of the font look alike, and an unknown one is a box, not a blank."""
    characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:-+=/\\()[]%_<>*#'\"!?|@&^~;"
    shapes = {character: text(character).tobytes() for character in characters}
    # O and Q, 0 and O, S and 5: all must differ.
    assert len(set(shapes.values())) == len(characters)
    assert text("a").tobytes() == shapes["A"]
    assert text("é").tobytes() not in shapes.values()
    assert text("ab", scale=3).shape == (21, text_width("ab", 3), 3) == (21, 36, 3)


def test_the_letter_f() -> None:
    """One glyph dot by dot, so that rows and columns are not mirrored."""
    dots = (text("F")[..., 0] > 128).astype(int)
    assert ["".join(map(str, row)) for row in dots] == [
        "111110",
        "100000",
        "100000",
        "111100",
        "100000",
        "100000",
        "100000",
    ]


def test_shrink_is_the_mean_of_whole_blocks() -> None:
    """The smallest divisor that fits; small pictures stay as they are."""
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    small = shrink(picture, 4)
    assert small.shape == (2, 3, 3)
    np.testing.assert_array_equal(small[0, 0], np.rint(picture[:2, :2].reshape(-1, 3).mean(0)))
    assert shrink(picture, 7) is picture
    assert shrink(np.zeros((3, 400, 3), np.uint8), 10).shape[0] == 1


def test_sheet_places_pictures() -> None:
    """Every picture appears unchanged, columns aligned, also with empty places and rows of unequal length."""
    rng = np.random.default_rng(1)
    a, b, c = (rng.integers(0, 256, (h, w, 3)).astype(np.uint8) for h, w in ((10, 20), (14, 8), (6, 30)))
    page = sheet([[Tile(a, "a"), Tile(b, "b")], [None, Tile(c, "c")]], title="first\nsecond line")
    found = {}
    for name, picture in (("a", a), ("b", b), ("c", c)):
        h, w = picture.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(page, (h, w, 3))[:, :, 0]
        hits = np.argwhere((windows == picture).all(axis=(2, 3, 4)))
        assert len(hits) == 1, name
        found[name] = tuple(hits[0])
    assert found["a"][0] == found["b"][0] < found["c"][0]
    assert found["a"][1] < found["b"][1] == found["c"][1]


def test_sheet_of_nothing() -> None:
    """No rows still make a picture that can be written."""
    assert decode(encode_png(sheet([], "nothing to show"))).shape[1] >= text_width("nothing to show")


def test_line_plot_draws_where_the_numbers_are() -> None:
    """A rising line rises on the picture and each series has its own colour."""
    plot = line_plot({"up": ([0, 1, 2, 3], [0, 1, 2, 3]), "down": ([0, 1, 2, 3], [3, 2, 1, 0])}, width=300, height=200)
    assert plot.shape == (200, 300, 3)
    rows, columns = np.nonzero((plot[40:] == (90, 170, 255)).all(2))
    left, right = rows[columns < 110].mean(), rows[columns > 250].mean()
    assert left > right + 60
    rows, columns = np.nonzero((plot[40:] == (255, 160, 60)).all(2))
    assert rows[columns < 110].mean() < rows[columns > 250].mean() - 60


@pytest.mark.parametrize(
    ("series", "log_y"),
    [
        ({}, False),
        ({"none": ([], [])}, True),
        ({"one": ([5], [0.25])}, True),
        ({"flat": ([0, 1], [2, 2])}, False),
        ({"broken": ([0, 1, 2, 3], [1, float("nan"), float("inf"), 2])}, False),
        ({"zeros": ([0, 1, 2], [0, -1, 0])}, True),
        ({"huge": ([0, 1e9], [1e-30, 1e30])}, True),
        ({f"line {i}": ([0, 1], [i, i]) for i in range(40)}, False),
    ],
)
def test_line_plot_survives_any_numbers(series: dict, log_y: bool) -> None:
    """Empty, single, flat, broken and extreme series are drawn without complaint."""
    assert line_plot(series, log_y=log_y, title="t", x_label="x").shape == (480, 800, 3)


def test_line_plot_refuses_unequal_lists() -> None:
    """Lists that do not fit are the caller's mistake."""
    with pytest.raises(ValueError, match="equally long"):
        line_plot({"a": ([1, 2], [1])})

"""Words for people."""

from __future__ import annotations

import pytest
import torch

from slomo_cli.errors import InputError
from slomo_cli.text import error_text, first_line, shortened, some


def test_of_many_names_three_are_told_and_the_rest_counted() -> None:
    assert some(["a"]) == "a"
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(["a", "b\n", "c", "d", "e"]) == "a, b\\n, c and 2 more"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("damaged\nat line 2", "damaged"),
        ("\n  damaged\n", "damaged"),
        ("not read:", "not read:"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("", "RuntimeError"),
        ("x" * 500, "x" * 200),
    ],
)
def test_an_error_is_told_in_one_line(message: str, told: str) -> None:
    assert first_line(RuntimeError(message)) == told


def test_torchs_heading_is_not_what_is_told() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(2, 3).load_state_dict({"bias": torch.zeros(3)})

    assert first_line(caught.value) == 'Missing key(s) in state_dict: "weight".'


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "'a/b.mp4' has 11 pixels"),
        ("b.mp4", "'a/b.mp4' has 11 pixels"),
        ("1", "1: 'a/b.mp4' has 11 pixels"),
        ("x", "x: 'a/b.mp4' has 11 pixels"),
    ],
)
def test_an_error_names_the_file_once(name: str, told: str) -> None:
    assert error_text(InputError("'a/b.mp4' has 11 pixels"), name) == told


def test_of_a_long_name_both_ends_are_told() -> None:
    assert shortened("take-1.mp4", 10) == "take-1.mp4"
    assert shortened("holiday-at-the-sea-take-12.mp4", 16) == "holiday…e-12.mp4"
    assert shortened("abcdefgh", 5) == "ab…gh"
    assert shortened("abcdefgh", 5, "latin-1") == "a...h", "there is no such letter"
    assert shortened("für-日本.mp4", 24, "latin-1") == "für-\\u65e5\\u672c.mp4"
    assert shortened("とても長い日本語の名前.mp4", 15) == "とても長…前.mp4", "letters two columns wide"

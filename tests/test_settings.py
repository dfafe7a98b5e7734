"""Settings given in Python: each value becomes what its field states, or is refused by its name."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slomo_cli.errors import UsageError
from slomo_cli.settings import Wishes, settled
from slomo_cli.values import ComputeSettings, EncodeSettings, TimeSettings


def test_a_type_checker_knows_every_setting() -> None:
    groups = TimeSettings, EncodeSettings, ComputeSettings
    assert list(Wishes.__annotations__) == [field.name for group in groups for field in fields(group)]


@pytest.mark.parametrize(
    "name, given, expected",
    [
        ("factor", 2.5, Fraction(5, 2)),
        ("factor", np.float32(1.5), Fraction(3, 2)),
        ("factor", "4/3", Fraction(4, 3)),
        ("rate", 29.97, Fraction(30000, 1001)),
        ("rate", None, None),
        ("start", "1:30", Fraction(90)),
        ("start", Fraction(1, 3), Fraction(1, 3)),
        ("crf", "16", 16.0),
        ("crf", 18, 18),
        ("batch", "3", 3),
        ("batch", np.int64(3), 3),
        ("proxy", 256, "256"),
        ("preset", 8, "8"),
        ("weights", Path("a") / "b", str(Path("a") / "b")),
        ("encoder_args", ["-g", "3"], ("-g", "3")),
    ],
)
def test_values_become_what_their_fields_state(name: str, given: Any, expected: Any) -> None:
    groups = settled(None, None, None, {name: given})
    (found,) = (getattr(group, name) for group in groups if hasattr(group, name))
    assert found == expected and type(found) in (type(expected), type(given))


@pytest.mark.parametrize(
    "name, given",
    [
        ("factor", None),
        ("factor", "x"),
        ("factor", Fraction(1, 2)),  # as at the prompt: slower, never faster
        ("factor", 0),
        ("factor", [2]),
        ("start", -1),
        ("rate", Fraction(10**9)),
        ("crf", [1]),
        ("batch", 2.5),
        ("batch", None),
        ("threads", True),
        ("overwrite", "no"),
        ("loop", 2),
        ("speed", 3.5),
        ("codec", b"h264"),
        ("weights", None),
        ("encoder_args", "-g 3"),
        ("encoder_args", ("-g", 3)),
        ("cuts", True),
        ("dtype", None),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(name: str, given: Any) -> None:
    kinds = {field: kind for kind in (TimeSettings, EncodeSettings, ComputeSettings) for field in kind.__annotations__}
    group: Any = kinds[name](**{name: given})
    place = (TimeSettings, EncodeSettings, ComputeSettings).index(kinds[name])
    for words, wishes in (([None] * 3, {name: given}), ([None] * place + [group] + [None] * (2 - place), {})):
        with pytest.raises(UsageError, match=rf"\b{name}\b"):
            settled(*words, wishes)


def test_groups_in_the_wrong_places_are_refused() -> None:
    with pytest.raises(UsageError, match="expected time to be TimeSettings, found 3"):
        settled(3, None, None, {})  # type: ignore[arg-type]


def test_a_factor_beside_a_speed_curve_is_refused() -> None:
    with pytest.raises(UsageError, match="chosen by measuring: leave out the factor"):
        settled(TimeSettings(auto_factor=4), None, None, {"factor": 2})
    with pytest.raises(UsageError, match="leave out the factor"):
        settled(None, None, None, {"factor": 2, "speed": "0-:0.5"})

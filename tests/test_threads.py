"""How many cores there are to run on: no more than control groups grant time of."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from slomo_cli import threads


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "cpu.max": "300000 100000"}, 0.5),
        ("0::/not/seen/here", {"cpu.max": "200000 100000"}, 2),
        ("0::/../b", {"cpu.max": "200000 100000"}, 2),
        (
            "5:memory:/m\n4:cpu,cpuacct:/docker/1\n0::/",
            {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000", "m/cpu.max": "1 1"},
            4,
        ),
        ("4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, math.inf),
        ("0::/", {"cpu.max": "nonsense"}, math.inf),
        ("nonsense", {}, math.inf),
    ],
)
def test_cores_that_control_groups_grant(groups: str, files: dict[str, str], cores: float, tmp_path: Path) -> None:
    for name, text in {"../../../proc/self/cgroup": groups, **files}.items():
        file = Path(os.path.normpath(tmp_path / "sys/fs/cgroup" / name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    assert threads.granted_cores(tmp_path) == cores


@pytest.mark.parametrize(("granted", "usable"), [(math.inf, 8), (64, 8), (2.5, 3), (0.1, 1)])
def test_cores_of_a_container(granted: float, usable: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "granted_cores", lambda: granted)

    assert threads.usable_cores() == usable


def test_no_control_groups_grant_all(tmp_path: Path) -> None:
    assert threads.granted_cores(tmp_path) == math.inf

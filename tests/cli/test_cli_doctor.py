"""``slomo doctor``: what it finds here, and what it says when something is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from slomo_cli import doctor
from slomo_cli.cli.doctor import check_lines
from slomo_cli.cli.main import cli
from slomo_cli.doctor import Check


def test_this_machine_in_json() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    answer = json.loads(result.output)
    checks = {check["name"]: check for check in answer["checks"]}

    assert result.exit_code == (1 if answer["status"] == "fail" else 0)
    assert set(answer["checks"][0]) == {"name", "status", "text", "advice", "details"}
    assert {"python", "torch", "cpu", "pyav", "ffmpeg", "encoders", "hardware encoders", "sound"} <= set(checks)
    assert "float32" in checks["cpu"]["details"]["native"]
    assert "h264" in checks["encoders"]["details"]["working"]
    assert checks["ffmpeg"]["details"]["source"] in ("bundled", "PATH", "SLOMO_FFMPEG")


@pytest.mark.parametrize("named", ["--ffmpeg", "SLOMO_FFMPEG"])
def test_missing_ffmpeg_fails_and_says_what_to_do(tmp_path: Path, named: str) -> None:
    none = str(tmp_path / "none")
    option, variables = (["--ffmpeg", none], {}) if named == "--ffmpeg" else ([], {named: none})
    result = CliRunner().invoke(cli, ["doctor", *option], env=variables)

    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith("fail ffmpeg")]
    assert len(lines) == 1
    assert f"-> name another with {named}, or leave it out" in " ".join(result.output.split())
    assert all(len(line) <= 80 or "/" in line for line in result.output.splitlines())


def test_broken_torch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = list(doctor.check_torch())

    assert [(check.name, check.status) for check in checks] == [("torch", "fail")]
    assert "pip install" in checks[0].advice


def test_broken_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slomo_cli.media.ffmpeg.try_encoder", lambda tools, encoder, layout: "no such device")
    checks = {check.name: check for check in doctor.check_ffmpeg(None)}

    assert checks["encoders"].status == "fail"
    assert checks["encoders"].text.startswith("none work; h264: no such device")
    assert checks["hardware encoders"].status == "ok"


def test_lines_stand_in_columns_with_the_advice_below() -> None:
    lines = check_lines(Check("cuda:0", "warn", "a driver " + "that is old " * 8, "update it"))

    assert lines[0].startswith("\x1b[33mwarn \x1b[0mcuda:0            a driver that is old")
    assert lines[1].startswith(" " * 23 + "that is old")
    assert lines[-1] == " " * 23 + "-> update it"


@pytest.mark.parametrize(("built", "text"), [("13.0", "finds no GPU"), (None, "built for the CPU alone")])
def test_a_driver_without_a_torch_that_uses_it_is_told(
    monkeypatch: pytest.MonkeyPatch, built: str | None, text: str
) -> None:
    torch = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: False), version=SimpleNamespace(cuda=built, hip=None)
    )
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    (check,) = doctor._cuda(torch)

    assert (check.status, text in check.text, "install the torch" in check.advice) == ("warn", True, True)


def test_a_narrow_terminal_breaks_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = check_lines(Check("hardware encoders", "warn", "a driver " + "that is old " * 8, "update it " * 8))

    assert [click.unstyle(line) for line in lines[:2]] == [
        "warn hardware encoders",
        "     a driver that is old that is old",
    ]
    assert all(len(click.unstyle(line)) <= 40 for line in lines)

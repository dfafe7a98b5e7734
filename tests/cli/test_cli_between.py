"""``slomo between``: what reaches the work, and what is refused before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from click.testing import CliRunner, Result
from plain_network import save_plain

from slomo_cli.cli.main import cli
from slomo_cli.errors import SlomoError

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``slomo between`` in a folder with a.png and b.png, with a network that only mixes."""
    for name, second in (("a.png", "0"), ("b.png", "0.5")):
        still = make(f"between-{name}", *f"-f lavfi -i testsrc2=size=64x48 -ss {second} -frames:v 1".split())
        (tmp_path / name).write_bytes(still.read_bytes())
    weights = save_plain(tmp_path / "plain.safetensors")
    monkeypatch.chdir(tmp_path)
    for name, value in (("WEIGHTS", weights), ("DEVICE", "cpu"), ("THREADS", "1")):
        monkeypatch.setenv(f"SLOMO_{name}", value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["between", *arguments])

    return run


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"a.png", "b.png", "plain.safetensors"}


def test_numbered_images(run: Run, tmp_path: Path) -> None:
    result = run("a.png", "b.png", "--frames", "3", "-o", "out_%02d.png", "--progress", "plain")
    assert result.exit_code == 0, result.output
    assert files(tmp_path) == {"out_01.png", "out_02.png", "out_03.png"}
    assert "3 frames, 3 of them new" in result.stderr and "0.00 s" not in result.stderr


def test_a_clip_at_its_rate(run: Run, tmp_path: Path) -> None:
    result = run("a.png", "b.png", "--frames", "8", "-o", "clip.mp4", "--rate", "23.976")
    assert result.exit_code == 0, result.output
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].frames == 10
        assert str(container.streams.video[0].average_rate) == "24000/1001"


def test_an_image_that_exists_is_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"mine")
    result = run("a.png", "b.png", "-o", "m.png")
    assert result.exit_code == 1 and "-y" in result.stderr
    assert (tmp_path / "m.png").read_bytes() == b"mine"
    assert run("a.png", "b.png", "-o", "m.png", "-y").exit_code == 0
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("a.png", "missing.png", "-o", "m.png"), "'missing.png' does not exist", 3),
        (("-", "b.png", "-o", "m.png"), "two files", 2),
        (("a.png", "b.png", "-o", "a.png", "-y"), "is the input itself", 2),
        (("a.png", "b.png", "-o", "nowhere/m.png"), "does not exist", 1),
        (("a.png", "b.png", "-o", "m.txt"), "found '.txt'", 2),
        (("a.png", "b.png", "--frames", "2", "-o", "m.png"), "pattern such as", 2),
    ],
)
def test_refusals(run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str, code: int) -> None:
    result = run(*arguments)
    error = result.exception
    assert (error.exit_code if isinstance(error, SlomoError) else result.exit_code) == code
    assert words in f"{error} {result.stderr}"
    assert files(tmp_path) == set()


def test_a_failure_is_an_event_where_events_are_asked_for(run: Run) -> None:
    result = run("a.png", "missing.png", "-o", "m.png", "--progress", "json")
    (event,) = map(json.loads, result.output.splitlines())
    assert result.exit_code == 3 and event == {
        "event": "error",
        "text": "'missing.png' does not exist",
        "exit_code": 3,
    }


def test_frames_must_be_counted(run: Run) -> None:
    result = run("a.png", "b.png", "--frames", "0", "-o", "m.png")
    assert result.exit_code == 2 and "from 1 to 100000" in result.output

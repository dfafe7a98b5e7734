"""The README tells the truth: its commands parse, and it names them all."""

from __future__ import annotations

import io
import json
import re
import shlex
from fractions import Fraction
from pathlib import Path

import click
import pytest

from slomo_cli.cli.main import COMMANDS, cli
from slomo_cli.errors import EncoderError
from slomo_cli.progress import make_progress
from slomo_cli.values import Summary

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    """Every use of ``slomo`` in the README's shell blocks."""
    parts = [part.strip() for block in BLOCKS for line in block.splitlines() for part in line.split("&&")]
    return [part.removeprefix(".venv/bin/") for part in parts if re.match(r"(\.venv/bin/)?slomo ", part)]


@pytest.mark.parametrize("line", command_lines())
def test_commands_of_the_readme_parse(line: str) -> None:
    name, *words = shlex.split(line, comments=True)[1:]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None

    command.make_context(name, words)


def test_every_command_is_in_the_readme() -> None:
    assert sorted(re.findall(r"^\| `slomo (\w+)` \|", README, re.MULTILINE)) == sorted(COMMANDS)


def test_first_two_commands_install_convert_and_test() -> None:
    assert len(command_lines()) > 5
    install, test = BLOCKS[0], BLOCKS[1]

    assert "pip install ." in install
    assert "slomo convert in.mp4 --factor 8 -o out.mp4" in install
    assert "pip install '.[test]'" in test
    assert "-m pytest" in test


def test_json_events_of_the_readme_are_those_of_the_program() -> None:
    """Each with the keys that the program writes; of the last but one only some are shown."""
    shown = [json.loads(line) for line in re.findall(r'^\{"event": .*$', README, re.MULTILINE)]
    stream = io.StringIO()
    reporter = make_progress("json", stream=stream)
    reporter.start(2, "in.mp4")
    reporter.advance(2)
    reporter.note("...")
    rate = Fraction(30)
    reporter.finish(Summary(Path("in.mp4"), Path("out.mp4"), 1, 2, 1, Fraction(1), Fraction(2), rate))
    reporter.error(EncoderError("..."))
    written = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [event["event"] for event in shown] == [event["event"] for event in written]
    for ours, theirs in zip(shown, written, strict=True):
        assert [key for key in theirs if key in ours] == [key for key in ours if key != "..."]
        assert "..." in ours or set(ours) == set(theirs)
    assert shown[-1]["exit_code"] == written[-1]["exit_code"]

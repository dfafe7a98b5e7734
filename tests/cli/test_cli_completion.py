"""Completion scripts, and what they complete."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from slomo_cli.cli.completion import SHELLS
from slomo_cli.cli.main import COMMANDS, cli


@pytest.mark.parametrize("shell", SHELLS)
def test_script_of_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])

    assert result.exit_code == 0
    assert "_SLOMO_COMPLETE" in result.output
    assert "slomo" in result.output


def test_shell_is_taken_from_the_environment() -> None:
    chosen = CliRunner(env={"SHELL": "/usr/bin/fish"}).invoke(cli, ["completion"])

    assert chosen.output == CliRunner().invoke(cli, ["completion", "fish"]).output


def test_unknown_shell_in_the_environment_is_told() -> None:
    from slomo_cli.errors import UsageError

    result = CliRunner(env={"SHELL": "/bin/tcsh"}).invoke(cli, ["completion"])

    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "expected bash, zsh or fish, found $SHELL 'tcsh': name the shell"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash to read its script")
def test_bash_reads_its_script() -> None:
    script = CliRunner().invoke(cli, ["completion", "bash"]).output
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, capture_output=True)


def completed(line: str) -> list[str]:
    """What bash would be offered for the last word of the line."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_SLOMO_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "slomo_cli"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_commands_options_choices_and_files_complete() -> None:
    assert completed("slomo ") == [f"plain,{name}" for name in COMMANDS]
    assert "plain,--factor" in completed("slomo convert --f")
    assert completed("slomo convert --cuts ") == ["plain,hold", "plain,blend", "plain,off"]
    assert completed("slomo convert in") == ["file,in"]
    assert completed("slomo convert in.mp4 --out-dir s") == ["dir,s"]
    assert completed("slomo eval clips --json sc") == ["file,sc"]


@pytest.mark.parametrize("line", ["slomo foo --f", "slomo weights foo --j", "slomo convert \u2013factor 2 --nonsense"])
def test_mistakes_complete_in_silence(line: str) -> None:
    completed(line)  # fails on a code other than 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_name_of_a_file_completes(name: str) -> None:
    command = import_module(COMMANDS[name].module).command
    for parameter in command.params:
        if re.search("FILE|PATH|DIR|SET", parameter.metavar or ""):
            assert isinstance(parameter.type, click.Path), parameter.opts

"""Every command explains itself, within 80 columns, and fast."""

from __future__ import annotations

import resource
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from slomo_cli.cli.main import COMMANDS, cli


def paths(group: click.Group, name: str = "") -> list[list[str]]:
    """Every command of a group and its groups, as words of a command line."""
    found = []
    for child in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), child)
        found.append([*name.split(), child])
        if isinstance(command, click.Group):
            found += paths(command, f"{name} {child}")
    return found


ALL = [[], *paths(cli)]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_text_and_examples_and_fits_80_columns(words: list[str], flag: str) -> None:
    result = CliRunner().invoke(cli, [*words, flag], terminal_width=80, prog_name="slomo")

    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith(f"Usage: {' '.join(['slomo', *words])}")
    assert len(lines[2].strip()) > 20, "the first paragraph says what the command does"
    example = lines[lines.index("Examples:") + 1]
    assert example.strip().startswith(("slomo", "source")), example
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_fits_narrow_terminals_but_for_examples_and_names(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    result = CliRunner().invoke(cli, [*words, "--help"], prog_name="slomo")

    texts = [line for line in result.output.splitlines() if not line.strip().startswith(("-", "slomo", "source"))]
    assert [line for line in texts if len(line) > 40] == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_examples_come_before_options(words: list[str]) -> None:
    text = CliRunner().invoke(cli, [*words, "--help"], prog_name="slomo").output

    assert text.index("Examples:") < text.index("-h, --help")


@pytest.mark.parametrize("name", COMMANDS)
def test_table_says_what_the_command_says(name: str) -> None:
    command = import_module(COMMANDS[name].module).command

    assert command.name == name
    assert command.short_help == COMMANDS[name].summary


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_option_has_help(words: list[str]) -> None:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found

    without = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]

    assert without == []


def test_examples_of_convert_and_fps_parse() -> None:
    import shlex

    for name in ("convert", "fps"):
        command = import_module(COMMANDS[name].module).command
        for example in command.examples:
            words = shlex.split(example.split("|")[0].split("<")[0])
            assert words[:2] == ["slomo", name]
            command.make_context(name, words[2:])


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(cli, [], prog_name="slomo")

    assert result.exit_code == 0
    assert result.output == CliRunner().invoke(cli, ["--help"], prog_name="slomo").output


@pytest.mark.parametrize("words", [["--help"], ["convert", "--help"], ["--nonsense"], ["convert", "missing.mp4"]])
def test_nothing_heavy_is_loaded_for_help_and_early_refusals(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from slomo_cli.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'av', 'numpy', 'rich', 'ffmpeg', 'safetensors'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


def test_help_takes_less_than_a_third_of_a_second() -> None:
    """Measured in processor time, which a busy machine does not stretch as it does the wall clock's."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = "from slomo_cli.cli.main import main\nmain(['--help'])"
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(seconds) < 0.3


def test_defaults_that_are_decided_elsewhere_are_told_as_they_are() -> None:
    from slomo_cli.cuts import CUT_THRESHOLD
    from slomo_cli.media.plan.codecs import CODECS, encoder_of

    text = " ".join(CliRunner().invoke(cli, ["convert", "--help"], terminal_width=80).output.split())
    h264, hevc, av1, vp9 = (encoder_of(CODECS[name][0]).crf for name in ("h264", "hevc", "av1", "vp9"))
    assert h264 and hevc and av1 and vp9 and h264[1:] == hevc[1:]
    assert (
        f"{h264[1]} to {h264[2]} (h264, hevc; {h264[3]} unless told) or {av1[2]} (av1, vp9; {av1[3]}, {vp9[3]})" in text
    )
    assert f"{CUT_THRESHOLD} unless told" in text

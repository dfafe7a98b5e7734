"""How a run ends: exit codes, one line for an error, a traceback for a bug, signals, closed pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slomo_cli import errors
from slomo_cli.cli.main import GRACE_SECONDS, main

RUN = "from slomo_cli.cli.main import main\nmain()\n"

FAKE = """
import os, sys, time, types
fake = types.ModuleType("slomo_cli.pipeline")
sys.modules["slomo_cli.pipeline"] = fake
import slomo_cli
slomo_cli.pipeline = fake
"""

SLOW = (
    FAKE
    + """
def convert(source, output, *, progress, **settings):
    progress.start(100, "in.mp4")
    try:
        open("started", "w").close()
        while True:
            time.sleep(0.02)
    finally:
        open("cleaning", "w").close()
        time.sleep(60 if "STUBBORN" in os.environ else 0.2)
        open("cleaned", "w").close()
fake.convert = convert
"""
)


def start(script: str, *words: str, **settings: Any) -> subprocess.Popen[str]:
    """A run in a process of its own, in the current folder; it minds hang-ups even where these tests do not."""
    script = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n{script}"
    environment = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1]), **settings.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **{"stdout": subprocess.PIPE, **settings},
    )


def wait_for(name: str) -> None:
    for _ in range(500):
        if Path(name).exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} never came")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.mp4").write_bytes(b"video")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_clean_up_and_end_with_128_and_their_number(name: str, code: int) -> None:
    run = start(SLOW + RUN, "convert", "in.mp4")
    wait_for("started")
    run.send_signal(getattr(signal, name))
    _, err = run.communicate(timeout=20)

    assert run.returncode == code
    assert Path("cleaned").exists()
    assert err.splitlines() == ["slomo: stopped"]  # but on a terminal, where ^C keeps its line


@pytest.mark.skipif(os.name != "posix", reason="no signals between processes")
def test_a_signal_amid_imports_ends_python_m_with_its_own_code(tmp_path: Path) -> None:
    """Dataclasses are made by ``exec``, of which Python keeps in mind that it was interrupted."""
    lines = ["from slomo_cli import text", "from slomo_cli.cli import main", "main._here_is_gone = lambda: exec(STOP)"]
    stop = "STOP = 'import signal; signal.raise_signal(signal.SIGTERM)'"
    (tmp_path / "stopped.py").write_text("\n".join([*lines, stop, "main.main()"]))
    here = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-m", "stopped"], env=here, capture_output=True, text=True, timeout=20)

    assert (done.returncode, done.stderr) == (143, "slomo: stopped\n")


@pytest.mark.skipif(os.name != "posix", reason="no signals between processes")
def test_torch_is_imported_to_its_end_before_a_signal_is_heeded(tmp_path: Path) -> None:
    """In the midst of it, torch's C++ aborts of the exception."""
    package = tmp_path / "torch"
    package.mkdir()
    lines = [
        "import signal, time",
        "signal.raise_signal(signal.SIGTERM)",
        "time.sleep(0.2)",
        "open('whole', 'w').close()",
    ]
    (package / "__init__.py").write_text("\n".join(lines))
    torch_first = "import sys\nsys.path.insert(0, '.')\n"
    run = start(torch_first + RUN, "weights", "verify", "fast")
    _, err = run.communicate(timeout=20)

    assert (run.returncode, err) == (143, "slomo: stopped\n")
    assert Path("whole").exists()


def test_a_signal_is_an_event_where_events_are_asked_for() -> None:
    run = start(SLOW + RUN, "convert", "in.mp4", "--progress", "json")
    wait_for("started")
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=20)

    assert json.loads(err.splitlines()[-1]) == {"event": "error", "text": "stopped", "exit_code": 143}
    assert all(json.loads(line) for line in err.splitlines())


@pytest.mark.parametrize("words", [["--progress", "json"], ["--progress=json"]])
def test_usage_errors_are_events_too(words: list[str]) -> None:
    run = start(RUN, "convert", *words, "in.mp4", "-y", "-n")
    _, err = run.communicate(timeout=20)

    event = json.loads(err)
    assert (event["event"], event["exit_code"], run.returncode) == ("error", 2, 2)


def test_second_signal_ends_at_once() -> None:
    run = start(SLOW + RUN, "convert", "in.mp4", env={"STUBBORN": "1"})
    wait_for("started")
    run.send_signal(signal.SIGTERM)
    wait_for("cleaning")
    time.sleep(GRACE_SECONDS)
    begin = time.monotonic()
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)

    assert time.monotonic() - begin < 5
    assert run.returncode == -signal.SIGINT
    assert not Path("cleaned").exists()


def test_a_signal_sent_twice_is_one_request() -> None:
    """As `timeout` does, which signals the program and then its group."""
    run = start(SLOW + RUN, "convert", "in.mp4")
    wait_for("started")
    run.send_signal(signal.SIGTERM)
    wait_for("cleaning")
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=20)

    assert run.returncode == 143
    assert Path("cleaned").exists()


def test_ignored_hangup_stays_ignored() -> None:
    ignore = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    run = start(ignore + SLOW + RUN, "convert", "in.mp4")
    wait_for("started")
    run.send_signal(signal.SIGHUP)
    time.sleep(0.3)

    assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=20)
    assert run.returncode == 143


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("SlomoError", 1),
        ("UsageError", 2),
        ("InputError", 3),
        ("EncoderError", 4),
        ("DeviceError", 5),
        ("WeightsError", 1),
    ],
)
def test_errors_are_one_line_and_a_code(kind: str, code: int) -> None:
    raiser = f"""
def convert(*_, **__):
    from slomo_cli.errors import {kind}
    raise {kind}("expected this, found that")
"""
    run = start(FAKE + raiser + "fake.convert = convert\n" + RUN, "convert", "in.mp4")
    out, err = run.communicate(timeout=20)

    assert (run.returncode, out, err) == (code, "", "slomo: expected this, found that\n")


def test_a_bug_keeps_its_traceback() -> None:
    run = start(FAKE + "fake.convert = lambda *_, **__: 1 / 0\n" + RUN, "convert", "in.mp4")
    _, err = run.communicate(timeout=20)

    assert run.returncode == 1
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["convrt"], "slomo: there is no command 'convrt' (did you mean 'convert'?)\nTry 'slomo --help'.\n"),
        (["in.mp4"], "; to convert a file: slomo convert in.mp4\nTry 'slomo --help'.\n"),
        (["weights", "lst"], "slomo: there is no command 'lst' (did you mean 'list'?)\nTry 'slomo weights --help'.\n"),
        (["weights", "./x"], "slomo: there is no command './x' (known: import, list, verify)\n"),
        (["--nonsense"], "No such option"),
        (["convert", "in.mp4", "-o"], "requires an argument.\nTry 'slomo convert --help'.\n"),
    ],
)
def test_unknown_commands_and_options(capsys: pytest.CaptureFixture[str], words: list[str], text: str) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    try:
        with pytest.raises(SystemExit) as stop:
            main(words)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handlers, strict=True):
            signal.signal(number, handler)

    assert stop.value.code == 2
    assert text in capsys.readouterr().err


def test_closed_stdout_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        run = start(RUN, "--help", stdout=closed)
        _, err = run.communicate(timeout=20)

    assert (run.returncode, err) == (141, "")


@pytest.mark.skipif(os.name != "posix", reason="pipes wait, and files have no limits")
def test_a_pipe_that_does_not_wait_loses_nothing() -> None:
    script = "import click\nclick.echo = lambda *a, echo=click.echo, **k: echo('x' * 1_000_000, **k)\n"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "w") as hasty:
        run = start(script + RUN, "completion", "bash", stdout=hasty)
    time.sleep(2)  # until the pipe is full
    with os.fdopen(reader, "rb") as slow:
        assert len(slow.read()) == 1_000_001
    assert run.wait(timeout=20) == 0


@pytest.mark.skipif(os.name != "posix", reason="sets limits by the shell")
def test_a_limit_on_the_size_of_files_is_told_in_a_line(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; "$0" -m slomo_cli --help > help.txt', sys.executable],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stderr) == (1, "slomo: cannot write: File too large\n")


@pytest.mark.skipif(os.name != "posix", reason="a folder in use cannot be removed")
def test_a_current_folder_that_is_gone_is_told(clip: Callable[[str], Path], tmp_path: Path) -> None:
    source, gone = clip("cfr.mp4"), tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'rmdir "$PWD" && "$0" -m slomo_cli fps {source} --target 30 -o out.mkv', sys.executable],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (1, "slomo: the current folder is gone: go to one that is there\n")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_names_beyond_the_encoding_of_stdout_are_escaped(
    clip: Callable[[str], Path], tmp_path: Path, encoding: str
) -> None:
    name = tmp_path / "\N{CAMERA}.mp4"
    name.write_bytes(clip("cfr.mp4").read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "slomo_cli", "info", str(name)],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(errors.__file__).parents[1])},
    )
    shown = name.name if encoding == "utf-8" else r"\U0001f4f7.mp4"

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).splitlines()[0] == str(name.with_name(shown))


@pytest.mark.skipif(os.name != "posix", reason="closes streams by the shell")
def test_a_closed_stderr_changes_no_exit_code() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m slomo_cli info nonesuch.mp4 2>&-', sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])},
    )

    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.skipif(os.name != "posix", reason="closes a stream with the shell's own words")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["weights", "list"], ["completion", "bash"]])
def test_a_result_for_a_stdout_that_was_closed_from_the_start_is_not_lost_unsaid(words: list[str]) -> None:
    closed = subprocess.run(
        ["sh", "-c", '"$0" -m slomo_cli "$@" >&-', sys.executable, *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])},
    )

    assert closed.returncode == 1
    assert closed.stderr.startswith("slomo: standard output is closed: ") and closed.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="closes streams with the shell's own words")
def test_no_file_gets_the_number_of_a_closed_standard_stream() -> None:
    script = FAKE + "fake.convert = lambda *a, **k: open('number', 'w').write(str(os.open('in.mp4', os.O_RDONLY)))\n"
    subprocess.run(
        ["sh", "-c", '"$0" -c "$1" convert in.mp4 -o out.mp4 <&- >&- 2>&-', sys.executable, script + RUN],
        env={**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])},
        check=True,
    )

    assert int(Path("number").read_text()) > 2


def test_version_names_what_matters_without_torch() -> None:
    check = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules))
"""
    run = start(check + RUN, "--version")
    out, err = run.communicate(timeout=60)
    lines = out.splitlines()

    assert (run.returncode, err) == (0, "")
    assert [line.split()[0] for line in lines] == ["slomo", "torch", "av", "ffmpeg", "False"]
    assert all(line.split()[1].lstrip("nN")[0].isdigit() for line in lines[:4]), out

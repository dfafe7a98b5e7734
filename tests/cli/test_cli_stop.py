"""Stopping a real conversion: at once, with nothing left of it, neither a file nor a process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import slomo_cli
from slomo_cli.interpolate import Interpolator
from slomo_cli.media.ffmpeg import tools
from slomo_cli.net import weights
from slomo_cli.net.presets import build
from slomo_cli.values import ColorInfo, Frame, PixelLayout

GRAY = PixelLayout("gray", "gray", 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.mp4 (60 frames of 160x96) and raw.safetensors (an untrained network)."""
    path = tmp_path_factory.mktemp("stop")
    torch.manual_seed(0)
    weights.save(path / "raw.safetensors", build("fast"), "fast", {}, {"steps": 0})
    source = ["-f", "lavfi", "-i", "testsrc2=size=160x96:rate=30", "-frames:v", "60", "-pix_fmt", "yuv420p"]
    subprocess.run([tools().path, "-v", "error", *source, str(path / "clip.mp4")], check=True)
    return path


def processes_with(mark: str) -> list[int]:
    """Processes that carry the mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds child processes in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_conversion_leaves_nothing(folder: Path, number: signal.Signals, code: int) -> None:
    mark = f"slomo-test-{uuid.uuid4()}"
    (folder / "out.mp4").write_bytes(b"old")
    words = ["convert", "clip.mp4", "--factor", "2000", "-y", "-o", "out.mp4", "--weights", "./raw.safetensors"]
    run = subprocess.Popen(
        [sys.executable, "-m", "slomo_cli", *words, "--progress", "json"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(slomo_cli.__file__).parents[1]), "SLOMO_TEST_MARK": mark},
    )
    assert run.stderr is not None
    for line in run.stderr:
        if '"progress"' in line:
            break
    assert len(processes_with(mark)) == 2, "slomo and its encoder"
    begin = time.monotonic()
    run.send_signal(number)
    rest = run.stderr.read()
    run.wait(timeout=60)

    assert run.returncode == code, rest
    assert time.monotonic() - begin < 20
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == f'{{"event": "error", "text": "stopped", "exit_code": {code}}}'
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "out.mp4", "raw.safetensors"]
    assert (folder / "out.mp4").read_bytes() == b"old"
    assert processes_with(mark) == []


@pytest.mark.skipif(os.name != "posix", reason="terminals and signals")
@pytest.mark.parametrize("progress", ["bar", "plain"])
def test_a_closed_terminal_is_129(folder: Path, progress: str) -> None:
    """Whatever is written to it from then on fails."""
    terminal, end = os.openpty()
    words = ["convert", "clip.mp4", "--factor", "2000", "-o", "closed.mp4", "--weights", "./raw.safetensors"]
    run = subprocess.Popen(
        [sys.executable, "-m", "slomo_cli", *words, "--progress", progress],
        cwd=folder,
        stdin=end,
        stderr=end,
        env={**os.environ, "PYTHONPATH": str(Path(slomo_cli.__file__).parents[1]), "TERM": "xterm"},
    )
    os.close(end)
    said = b""
    while b"/120000" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    run.send_signal(signal.SIGHUP)

    assert run.wait(timeout=60) == 129
    assert not list(folder.glob("*closed*")) + list(folder.glob(".*closed*"))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds child processes in /proc")
def test_a_conversion_killed_while_ffmpeg_starts_leaves_no_process(folder: Path) -> None:
    """With sound to be stretched: ffmpeg must not wait for it once nobody is left to make it."""
    mark = f"slomo-test-{uuid.uuid4()}"
    home = folder / "killed"
    home.mkdir()
    sound = ["-i", str(folder / "clip.mp4"), "-f", "lavfi", "-i", "sine=duration=2", "-c:v", "copy"]
    subprocess.run([tools().path, "-v", "error", *sound, str(home / "clip.mp4")], check=True)
    slow = home / "ffmpeg"
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *pipe:0*) touch "{home}/begun"; sleep 1;; esac\nexec "{tools().path}" "$@"\n'
    )
    slow.chmod(0o755)
    words = ["convert", "clip.mp4", "--factor", "2", "-o", "out.mp4", "--weights", "../raw.safetensors"]
    run = subprocess.Popen(
        [sys.executable, "-m", "slomo_cli", *words, "--ffmpeg", str(slow)],
        cwd=home,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(slomo_cli.__file__).parents[1]), "SLOMO_TEST_MARK": mark},
    )
    deadline = time.monotonic() + 60
    while not (home / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    run.kill()
    run.wait()
    deadline = time.monotonic() + 15
    while (left := processes_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for number in left:
        os.kill(number, signal.SIGKILL)

    assert left == []
    assert not (home / "out.mp4").exists()


def test_an_interpolator_closes_while_work_is_waiting(folder: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 255, (6, 64, 64), dtype=np.uint8)
    frames = [Frame((plane,), GRAY, ColorInfo(), Fraction(k)) for k, plane in enumerate(samples)]
    network = Interpolator(str(folder / "raw.safetensors"), device="cpu")
    for left, right in itertools.pairwise(frames):
        network.request(left, right, [k / 8 for k in range(1, 8)])
    closing = threading.Thread(target=network.close, daemon=True)
    closing.start()
    closing.join(60)

    assert not closing.is_alive()


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between processes")
def test_a_command_stopped_while_python_imports_it_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import signal, time; signal.raise_signal(signal.SIGINT); time.sleep(20)")
    words = [sys.executable, "-m", "slomo_cli", "info", "in.mp4"]
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")

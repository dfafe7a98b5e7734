"""The rooms keep to their contracts (setup.cfg)."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports_command\nlint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", "setup.cfg", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_programs_that_use_slomo_see_its_types() -> None:
    assert (ROOT / "slomo_cli" / "py.typed").is_file(), "PEP 561: without it type checkers take the package as untyped"


PACKAGES = "cli train evaluate bench net media media.read media.plan media.tracks media.write"


@pytest.mark.parametrize("package", ["slomo_cli", *(f"slomo_cli.{name}" for name in PACKAGES.split())])
def test_every_room_is_on_its_package_s_map(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__ is not None
    rooms = {entry.name for entry in pkgutil.iter_modules(module.__path__)} - {"__main__"}
    lines = [line for line in module.__doc__.splitlines() if line.startswith("    ")]

    assert rooms - set(re.findall(r"\w+", " ".join(lines))) == set()

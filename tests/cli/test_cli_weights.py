"""``slomo weights``, and what doctor says of the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from slomo_cli import doctor
from slomo_cli.cli.main import cli
from slomo_cli.errors import SlomoError, UsageError, WeightsError
from slomo_cli.net import weights
from slomo_cli.net.presets import build

Registry = Callable[..., Path]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Releases untrained networks under the given names, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)

    def release(*names: str) -> Path:
        entries = {}
        for name in names:
            torch.manual_seed(0)
            sha256 = weights.save(tmp_path / f"{name}.safetensors", build("fast"), "fast", {}, {"steps": 0})
            entries[name] = {
                "file": f"{name}.safetensors",
                "sha256": sha256,
                "preset": "fast",
                "licence": "MIT",
                "summary": "untrained, for this test",
                "record": {"steps": 0},
            }
        (tmp_path / "registry.json").write_text(json.dumps({"format": 1, "weights": entries}))
        return tmp_path

    return release


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["weights", *words])


def test_list_shows_name_file_licence_and_sum(registry: Registry) -> None:
    folder = registry("fast", "other")
    sha256 = weights.known()["fast"].sha256
    size = (folder / "fast.safetensors").stat().st_size
    lines = run("list").output.splitlines()

    assert lines[:6] == [
        "fast",
        "  network  fast",
        "  about    untrained, for this test",
        "  licence  MIT",
        f"  file     {folder}/fast.safetensors ({size / 1e6:.1f} MB)",
        f"  sha256   {sha256}",
    ]
    assert lines[6] == "other"


def test_list_as_json(registry: Registry) -> None:
    folder = registry("fast")
    (entry,) = json.loads(run("list", "--json").output)

    assert entry["name"] == "fast"
    assert entry["bytes"] == (folder / "fast.safetensors").stat().st_size
    assert entry["record"] == {"steps": 0}
    assert set(entry) == {"name", "preset", "file", "bytes", "sha256", "licence", "summary", "record"}


def test_list_without_weights(registry: Registry) -> None:
    registry()

    assert run("list").output == "No weights are released in this installation; --weights takes a file.\n"
    assert isinstance(run("verify").exception, WeightsError)


def test_verify_reads_all_released_and_says_which_is_bad(registry: Registry) -> None:
    folder = registry("fast", "other")
    sha256 = weights.known()["fast"].sha256
    assert run("verify").exit_code == 0
    damaged = bytearray((folder / "other.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "other.safetensors").write_bytes(damaged)
    result = run("verify")
    first, second = result.output.splitlines()

    assert result.exit_code == 1
    assert first == f"ok    fast: fast, sha256 {sha256}"
    assert second.startswith("fail  other: the released weights 'other' are damaged: expected sha256 ")


def test_verify_takes_names_and_files(registry: Registry) -> None:
    folder = registry("fast")
    (folder / "broken.safetensors").write_bytes(b"nonsense")
    result = run("verify", "fast", "./fast.safetensors", "broken.safetensors", "unknown")

    assert [line[:4] for line in result.output.splitlines()] == ["ok  ", "ok  ", "fail", "fail"]
    assert "known: fast" in result.output
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        (["old.ckpt", "-o", "new.bin"], UsageError, "expected a name ending in .safetensors, found 'new.bin'"),
        (["fast.safetensors"], UsageError, "the output 'fast.safetensors' is the input itself: name another"),
        (["old.ckpt", "-o", "fast.safetensors"], SlomoError, "'fast.safetensors' exists: -y replaces it"),
        (["old.ckpt", "-o", "no/new.safetensors"], SlomoError, "the folder 'no' does not exist"),
        ([".", "-o", "new.safetensors"], WeightsError, "expected a checkpoint's file, found a folder: ."),
    ],
)
def test_import_refuses_before_it_reads(
    registry: Registry, words: list[str], kind: type[SlomoError], text: str
) -> None:
    registry("fast")
    Path("old.ckpt").write_bytes(b"PK\x03\x04")
    before = Path("fast.safetensors").read_bytes()
    error = run("import", *words).exception

    assert isinstance(error, kind)
    assert str(error).startswith(text)
    assert Path("fast.safetensors").read_bytes() == before


def test_import_writes_beside_the_checkpoint(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry()
    Path("Old.ckpt").write_bytes(b"PK\x03\x04")
    calls = []
    monkeypatch.setattr("slomo_cli.net.checkpoints.import_checkpoint", lambda *names: calls.append(names) or "ab" * 32)
    result = run("import", "Old.ckpt")

    assert calls == [(Path("Old.ckpt"), Path("Old.safetensors"))]
    assert result.output == f"Old.safetensors: sha256 {'ab' * 32}\n"


def test_doctor_checks_the_sums(registry: Registry) -> None:
    folder = registry("fast", "other")
    assert [(check.name, check.status) for check in doctor.check_weights()] == [
        ("weights fast", "ok"),
        ("weights other", "ok"),
    ]
    (folder / "fast.safetensors").write_bytes(b"short")
    (folder / "other.safetensors").unlink()
    checks = list(doctor.check_weights())

    assert [(check.name, check.status) for check in checks] == [("weights fast", "fail"), ("weights other", "warn")]
    assert "expected sha256" in checks[0].text
    assert checks[0].advice == "reinstall slomo-cli, or give --weights a file"


def test_doctor_without_the_default_or_the_registry(registry: Registry) -> None:
    folder = registry("other")
    assert [check.status for check in doctor.check_weights()] == ["fail", "ok"]
    (folder / "registry.json").write_text("{")
    assert [(check.name, check.status) for check in doctor.check_weights()] == [("weights", "fail")]

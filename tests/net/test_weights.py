"""Weights files: what is written is read, and what is wrong is told in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from slomo_cli.errors import DeviceError, WeightsError, lack
from slomo_cli.net import weights
from slomo_cli.net.presets import Network, build

CONFIG: dict[str, Any] = {"widths": [4, 6, 8], "kernels": [3, 3, 3]}
RECORD = {"data": "noise", "steps": 3}


def tiny() -> Network:
    torch.manual_seed(7)
    return build("superslomo", CONFIG)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    weights.save(path, tiny(), "superslomo", CONFIG, RECORD)
    return path


@pytest.fixture
def registry(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of released weights holding ``tiny``; returns its registry file."""
    entry = {
        "file": saved.name,
        "sha256": hashlib.sha256(saved.read_bytes()).hexdigest(),
        "preset": "superslomo",
        "config": CONFIG,
        "licence": "MIT",
        "summary": "noise",
    }
    path = saved.parent / "registry.json"
    path.write_text(json.dumps({"format": 1, "weights": {"tiny": entry}}))
    monkeypatch.setattr(weights, "folder", lambda: saved.parent)
    return path


def test_an_interrupt_while_weights_are_read_is_no_damage(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch looks at a byte of a mapped file, it makes a ValueError of whatever comes."""
    look = torch.UntypedStorage.__getitem__

    def interrupted(storage: torch.UntypedStorage, place: Any) -> Any:
        if isinstance(place, slice):
            return look(storage, place)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.UntypedStorage, "__getitem__", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        assert weights.load(saved).name == "tiny"


@pytest.mark.parametrize(
    ("full", "where"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory:"), "build"),
        (type("PanicException", (BaseException,), {})("PyObject pointer is null"), "parse"),
    ],
)
def test_memory_that_runs_out_is_no_fault_of_the_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch, full: BaseException, where: str
) -> None:
    """As torch and safetensors tell it."""

    def fail(*_: Any, **__: Any) -> None:
        raise full

    monkeypatch.setattr(*((torch.nn.Conv2d, "__init__") if where == "build" else (weights, "parse")), fail)
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        weights.load(saved)
    assert isinstance(lack(raised.value), DeviceError)


def test_what_is_saved_is_loaded(saved: Path) -> None:
    loaded = weights.load(saved)
    assert (loaded.name, loaded.preset, loaded.config, loaded.record) == ("tiny", "superslomo", CONFIG, RECORD)
    assert loaded.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    for name, tensor in tiny().state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_path_needs_nothing_beside_it(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No registry anywhere, another folder, a name with odd characters, given as text."""
    elsewhere = tmp_path / "a folder"
    elsewhere.mkdir()
    moved = elsewhere / "-my weights\n.safetensors"
    saved.rename(moved)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(weights, "folder", lambda: tmp_path / "nowhere")
    assert weights.load(moved.name).preset == "superslomo"


def test_the_file_is_the_same_for_the_same_network(saved: Path, tmp_path: Path) -> None:
    again = weights.save(tmp_path / "again.safetensors", tiny(), "superslomo", CONFIG, RECORD)
    assert again == weights.load(saved).sha256


def test_stored_in_half_size(saved: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    weights.save(half, tiny().to(memory_format=torch.channels_last), "superslomo", CONFIG, RECORD, torch.float16)
    assert half.stat().st_size < 0.7 * saved.stat().st_size
    exact, rough = weights.load(saved).model.state_dict(), weights.load(half).model.state_dict()
    for name, tensor in exact.items():
        assert rough[name].dtype == torch.float32
        assert torch.allclose(rough[name], tensor, atol=2e-3)


def test_every_preset_survives_the_journey(tmp_path: Path) -> None:
    for preset, config in (("fast", {}), ("superslomo", CONFIG), ("avinash20", CONFIG)):
        net = build(preset, config)
        weights.save(tmp_path / "net.safetensors", net, preset, config, {})
        loaded = weights.load(tmp_path / "net.safetensors").model
        assert type(loaded) is type(net)
        assert all(
            torch.equal(a, b) for a, b in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True)
        )


def test_a_released_name_is_found_verified_and_listed(registry: Path) -> None:
    assert list(weights.known()) == ["tiny"]
    weights.verify(weights.known()["tiny"])
    loaded = weights.load("tiny")
    assert loaded.name == "tiny"
    assert loaded.path == registry.parent / "tiny.safetensors"


def test_a_released_name_wins_over_a_file_of_that_name(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "tiny").write_text("something else")
    monkeypatch.chdir(folder)
    assert weights.load("tiny").preset == "superslomo"
    with pytest.raises(WeightsError, match="something else"):
        weights.load("./tiny")


def test_an_unknown_name_lists_the_known(registry: Path) -> None:
    with pytest.raises(WeightsError, match="no weights named 'tinny'; known: tiny"):
        weights.load("tinny")


def test_a_changed_release_is_refused(registry: Path) -> None:
    path = registry.parent / "tiny.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"'tiny' are damaged: expected sha256 .* reinstall"):
        weights.load("tiny")
    with pytest.raises(WeightsError, match="damaged"):
        weights.verify(weights.known()["tiny"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"weights": {"a": {}}}', '{"weights": 3}'])
def test_a_damaged_registry_is_told(registry: Path, text: str) -> None:
    registry.write_text(text)
    with pytest.raises(WeightsError, match=r"list of released weights at .* is damaged"):
        weights.load("tiny")
    assert weights.load(registry.parent / "tiny.safetensors").name == "tiny"  # a file needs no registry


def test_a_missing_registry_is_told(registry: Path) -> None:
    registry.unlink()
    with pytest.raises(WeightsError, match=r"list of released weights .* found none"):
        weights.load("fast")


def test_the_projects_own_registry_is_sound() -> None:
    """Whatever is released: each file is there, is the one listed, and loads."""
    for name, released in weights.known().items():
        loaded = weights.load(name)
        assert (loaded.preset, loaded.sha256) == (released.preset, released.sha256)
        assert dict(loaded.config) == dict(released.config)
        assert released.licence
        assert released.summary
        assert released.record, "a release says how it was trained"
    on_disk = {path.name for path in weights.folder().glob("*.safetensors")}
    assert on_disk == {released.path.name for released in weights.known().values()}


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def _cut_in_header(path: Path) -> None:
    os.truncate(path, 60)


def _rewrite_tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        tensors = tiny().state_dict()
        change(tensors)
        save_file(tensors, path, {"slomo": json.dumps({"preset": "superslomo", "config": CONFIG, "record": {}})})

    return rewrite


def _set(name: str, value: torch.Tensor) -> Callable[[Path], None]:
    return _rewrite_tensors(lambda tensors: tensors.update({name: value}))


def _spoil(value: float) -> Callable[[Path], None]:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["flow.head.weight"].view(-1)[3] = value

    return _rewrite_tensors(spoil)


def _header(text: str) -> Callable[[Path], None]:
    return lambda path: save_file(tiny().state_dict(), path, {"slomo": text})


def _bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


BIAS = "flow.head.bias"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "cannot read the weights .*No such file"),
    "empty": (_bytes(b""), "expected a safetensors file, found 0 bytes"),
    "text": (_bytes(b"weights are heavy\n" * 9), "expected a safetensors file, found 162 bytes of something else"),
    "not json": (_bytes(struct.pack("<Q", 4) + b"abcd" * 9), "broken header"),
    "braces without end": (_bytes(struct.pack("<Q", 99999) + b"[" * 99999), "broken header"),
    "not a table": (_bytes(struct.pack("<Q", 4) + b"1234" * 9), "broken header"),
    "truncated": (_truncate, "truncated or damaged .* get it again"),
    "cut in header": (_cut_in_header, "expected a safetensors file"),
    "checkpoint": (lambda path: torch.save({"a": 1}, path), "PyTorch checkpoint.*'slomo weights import"),
    "old checkpoint": (
        lambda path: torch.save({"a": 1}, path, _use_new_zipfile_serialization=False),
        "PyTorch checkpoint.*'slomo weights import",
    ),
    "nan": (_spoil(float("nan")), "flow.head.weight holds NaN or infinity"),
    "infinity": (_spoil(float("-inf")), "flow.head.weight holds NaN or infinity"),
    "shape": (_set(BIAS, torch.zeros(5)), r"expected flow.head.bias of shape \[4\], found \[5\]"),
    "integers": (_set(BIAS, torch.zeros(4, dtype=torch.int32)), "expected floating-point numbers in flow.head.bias"),
    "one too many": (_set("extra", torch.zeros(1)), "it has besides extra"),
    "one too few": (
        _rewrite_tensors(lambda tensors: tensors.__delitem__(BIAS)),
        "it lacks flow.head.bias",
    ),
    "depths": (_header("[" * 99999), "the header of .* is damaged"),
    "foreign": (lambda path: save_file(tiny().state_dict(), path, {"format": "pt"}), "does not say which network"),
    "training": (lambda path: save_file(tiny().state_dict(), path, {"record": "{}"}), "is a checkpoint of training"),
    "no header": (lambda path: save_file(tiny().state_dict(), path), "does not say which network"),
    "unknown preset": (
        _header('{"preset": "slow", "config": {}, "record": {}}'),
        "cannot build: there is no network 'slow'",
    ),
    "unknown setting": (
        _header('{"preset": "fast", "config": {"colour": 1}, "record": {}}'),
        "cannot build: .* no setting colour",
    ),
    "beyond all memory": (
        _header(f'{{"preset": "superslomo", "config": {{"widths": {[10**6] * 6}}}, "record": {{}}}}'),
        "cannot build: it has far more numbers than the file",
    ),
    "beyond all numbers": (
        _header(f'{{"preset": "superslomo", "config": {{"widths": {[10**30] * 6}}}, "record": {{}}}}'),
        "cannot build: network 'superslomo' cannot be built",
    ),
    "levels beyond number": (
        _header(
            f'{{"preset": "superslomo", "config": {{"widths": {[8] * 9999}, "kernels": {[1] * 9999}}}, "record": {{}}}}'
        ),
        "cannot build: its sizes fill pages",
    ),
    "bad header": (_header("{"), "header of .* is damaged"),
    "no config": (_header('{"preset": "fast", "record": {}}'), "header of .* is damaged"),
    "config is a list": (_header('{"preset": "fast", "config": [], "record": {}}'), "header of .* is damaged"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_told_in_one_line(saved: Path, name: str) -> None:
    damage, words = BROKEN[name]
    damage(saved)
    with pytest.raises(WeightsError, match=words) as caught:
        weights.load(saved)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot read the weights"):
        weights.load(tmp_path)


def test_saving_is_all_or_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(weights, "save_file", fail)
    with pytest.raises(WeightsError, match=r"cannot write .*no space left"):
        weights.save(saved, tiny(), "superslomo", CONFIG, {})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.skipif(sys.platform == "win32", reason="links are for administrators there")
def test_what_a_link_leads_to_is_written(saved: Path) -> None:
    link = saved.with_name("link.safetensors")
    link.symlink_to(saved.name)

    sha256 = weights.save(link, tiny(), "superslomo", CONFIG, {"epoch": 9})

    assert link.is_symlink() and weights.sum_of(saved) == sha256


def test_saving_refuses_what_could_not_be_loaded(tmp_path: Path) -> None:
    net = tiny()
    with pytest.raises(WeightsError, match="does not fit its network"):
        weights.save(tmp_path / "a.safetensors", net, "superslomo", {"widths": [4, 6], "kernels": [3, 3]}, {})
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="NaN"):
        weights.save(tmp_path / "a.safetensors", net, "superslomo", CONFIG, {})
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot write"):
        weights.save(tmp_path / "file" / "a.safetensors", tiny(), "superslomo", CONFIG, {})

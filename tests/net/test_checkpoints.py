"""The importer of published checkpoints, against the published network written out plainly."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slomo_cli.errors import WeightsError
from slomo_cli.net import weights
from slomo_cli.net.checkpoints import import_checkpoint
from slomo_cli.net.warp import render

WIDTHS = (4, 6, 8, 8, 10, 10)
KERNELS = (7, 5, 3, 3, 3, 3)
# In the order of the published code: mean of R, G, B on 0..1.
MEAN = torch.tensor([0.429, 0.431, 0.397]).view(1, 3, 1, 1)

State = dict[str, Tensor]


def published_state(inputs: int, outputs: int, seed: int) -> State:
    """Random weights of the published layout, sized so that activations neither die nor grow."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def layer(name: str, into: int, out: int, kernel: int) -> None:
        scale = (2 / (into * kernel * kernel)) ** 0.5
        state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel, generator=generator) * scale
        state[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1

    layer("conv1", inputs, WIDTHS[0], KERNELS[0])
    layer("conv2", WIDTHS[0], WIDTHS[0], KERNELS[0])
    for k in range(1, 6):
        layer(f"down{k}.conv1", WIDTHS[k - 1], WIDTHS[k], KERNELS[k])
        layer(f"down{k}.conv2", WIDTHS[k], WIDTHS[k], KERNELS[k])
    below = WIDTHS[5]
    for k in range(1, 6):
        width = WIDTHS[5 - k]
        layer(f"up{k}.conv1", below, width, 3)
        layer(f"up{k}.conv2", 2 * width, width, 3)
        below = width
    layer("conv3", WIDTHS[0], outputs, 3)
    return state


def checkpoint(**changes: Any) -> dict[str, Any]:
    """A file's content as the published training program writes it."""
    return {
        "Detail": "End to end Super SloMo.",
        "epoch": 199,
        "timestamp": datetime.datetime(2018, 12, 3, 4, 5, 6),
        "trainBatchSz": 6,
        "validationBatchSz": 10,
        "learningRate": 1e-6,
        "loss": [[1.0], [0.5]],
        "valLoss": [[1.5]],
        "valPSNR": [[25.0]],
        "state_dictFC": published_state(6, 4, 1),
        "state_dictAT": published_state(20, 5, 2),
        **changes,
    }


def published_unet(state: State, x: Tensor) -> Tensor:
    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.leaky_relu(F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2), 0.1)

    kept = [conv("conv2", conv("conv1", x))]
    for k in range(1, 6):
        kept.append(conv(f"down{k}.conv2", conv(f"down{k}.conv1", F.avg_pool2d(kept[-1], 2))))
    x = kept.pop()
    for k in range(1, 6):
        x = conv(f"up{k}.conv1", F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        x = conv(f"up{k}.conv2", torch.cat((x, kept.pop()), 1))
    return conv("conv3", x)


def published_lookup(image: Tensor, flow: Tensor) -> Tensor:
    """Its own grid: positions over W and H (not W-1, H-1), read with align_corners=True."""
    height, width = image.shape[-2:]
    x = torch.arange(width) + flow[:, 0]
    y = torch.arange(height)[:, None] + flow[:, 1]
    grid = torch.stack((2 * (x / width - 0.5), 2 * (y / height - 0.5)), -1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


def published_frame(content: dict[str, Any], i0: Tensor, i1: Tensor, t: float) -> Tensor:
    """The frame at t as the published program makes it, RGB in [0, 1]."""
    i0, i1 = i0 - MEAN, i1 - MEAN
    flow_01, flow_10 = published_unet(content["state_dictFC"], torch.cat((i0, i1), 1)).split(2, 1)
    to_0 = -t * (1 - t) * flow_01 + t * t * flow_10
    to_1 = (1 - t) ** 2 * flow_01 - t * (1 - t) * flow_10
    seen = (i0, i1, flow_01, flow_10, to_1, to_0, published_lookup(i1, to_1), published_lookup(i0, to_0))
    answer = published_unet(content["state_dictAT"], torch.cat(seen, 1))
    to_0, to_1 = to_0 + answer[:, 0:2], to_1 + answer[:, 2:4]
    seen_0 = torch.sigmoid(answer[:, 4:5])
    share_0, share_1 = (1 - t) * seen_0, t * (1 - seen_0)
    mixed = share_0 * published_lookup(i0, to_0) + share_1 * published_lookup(i1, to_1)
    return mixed / (share_0 + share_1) + MEAN


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "SuperSloMo.ckpt"
    torch.save(checkpoint(), path)
    return path


@pytest.mark.parametrize("t", [0.125, 0.5, 0.875])
@pytest.mark.parametrize("zipped", [True, False])
def test_an_imported_network_makes_the_published_frames(tmp_path: Path, t: float, zipped: bool) -> None:
    source, target = tmp_path / "a.ckpt", tmp_path / "a.safetensors"
    content = checkpoint()
    torch.save(content, source, _use_new_zipfile_serialization=zipped)
    sha256 = import_checkpoint(source, target)

    loaded = weights.load(target)
    assert loaded.sha256 == sha256
    assert loaded.preset == "avinash20"
    generator = torch.Generator().manual_seed(3)
    i0, i1 = F.interpolate(torch.rand(2, 3, 8, 12, generator=generator), size=(64, 96), mode="bilinear").split(1)
    with torch.inference_mode():
        motion = loaded.model(i0, i1, torch.tensor([t]))
        made = render(i0, i1, motion, torch.tensor([t]))
        wanted = published_frame(content, i0, i1, t)
    assert motion.flow_t0.abs().max() > 0.3  # the test moves something
    assert (made - wanted).abs().max() < 1e-4


def test_the_published_size_is_the_presets_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """39.6 million numbers, all of them one zero in the file; nothing of that size is written."""
    monkeypatch.setitem(globals(), "WIDTHS", (32, 64, 128, 256, 512, 512))
    content = checkpoint()
    for key in ("state_dictFC", "state_dictAT"):
        content[key] = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in content[key].items()}
    torch.save(content, tmp_path / "a.ckpt")
    saved: list[Any] = []
    monkeypatch.setattr(weights, "save", lambda *arguments: saved.extend(arguments) or "sum")
    assert import_checkpoint(tmp_path / "a.ckpt", tmp_path / "a.safetensors") == "sum"
    _, model, preset, config, _ = saved
    assert (preset, config) == ("avinash20", {})
    assert sum(parameter.numel() for parameter in model.parameters()) == 39_610_473


def test_where_it_came_from_is_recorded(source: Path, tmp_path: Path) -> None:
    import_checkpoint(source, tmp_path / "a.safetensors")
    record = weights.load(tmp_path / "a.safetensors").record
    assert record["imported_from"] == "SuperSloMo.ckpt"
    assert record["epoch"] == 199
    assert len(record["source_sha256"]) == 64


def test_names_left_by_training_on_several_gpus_are_understood(tmp_path: Path) -> None:
    plain, prefixed = checkpoint(), checkpoint()
    for key in ("state_dictFC", "state_dictAT"):
        prefixed[key] = {f"module.{name}": tensor for name, tensor in prefixed[key].items()}
    torch.save(plain, tmp_path / "a.ckpt")
    torch.save(prefixed, tmp_path / "b.ckpt")
    import_checkpoint(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    import_checkpoint(tmp_path / "b.ckpt", tmp_path / "b.safetensors")
    one, other = (weights.load(tmp_path / name).model.state_dict() for name in ("a.safetensors", "b.safetensors"))
    assert all(torch.equal(one[name], other[name]) for name in one)


class Program:
    """What a hostile file would hold: unpickled carelessly, it runs."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (_run, ())


def _run() -> int:
    Program.ran = True
    return 1


@pytest.mark.parametrize("zipped", [True, False])
def test_programs_in_a_checkpoint_never_run(tmp_path: Path, zipped: bool) -> None:
    torch.save(checkpoint(loss=Program()), tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="was not opened"):
        import_checkpoint(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert not Program.ran
    assert not (tmp_path / "a.safetensors").exists()


def test_reading_leaves_no_trust_behind(source: Path, tmp_path: Path) -> None:
    import_checkpoint(source, tmp_path / "a.safetensors")
    assert datetime.datetime not in torch.serialization.get_safe_globals()


def _without(key: str, name: str) -> dict[str, Any]:
    content = checkpoint()
    del content[key][name]
    return content


def _with(key: str, name: str, value: Any) -> dict[str, Any]:
    content = checkpoint()
    content[key][name] = value
    return content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}, "epoch": 3}, "expected a Super-SloMo checkpoint .* found state_dict, epoch in"),
        ([1, 2], "expected a Super-SloMo checkpoint .* found list in"),
        ({}, "expected a Super-SloMo checkpoint .* found nothing in"),
        (checkpoint(state_dictFC=[1]), "expected a table of tensors in state_dictFC .* found list"),
        (_without("state_dictAT", "up3.conv2.bias"), "lacks up3.conv2.bias in state_dictAT"),
        (_with("state_dictFC", "conv3.bias", 5), "lacks conv3.bias in state_dictFC"),
        (_with("state_dictFC", "norm.weight", torch.ones(1)), "another layout: state_dictFC also holds norm.weight"),
        (
            checkpoint(state_dictAT=published_state(16, 5, 1)),
            r"another layout: .*\[4, 20, 7, 7\].*found \[4, 16, 7, 7\]",
        ),
        (checkpoint(state_dictFC=published_state(2, 4, 1)), r"another layout: expected \[4, 6, 7, 7\]"),
        (_with("state_dictAT", "conv1.weight", torch.ones(3)), r"another layout: expected .* found \[3\]"),
        (_with("state_dictFC", "down2.conv1.weight", torch.ones(3)), "another layout"),
        (_with("state_dictFC", "down2.conv1.bias", torch.full((8,), float("nan"))), "a.ckpt, found NaN"),
        (_with("state_dictFC", "down2.conv1.bias", torch.ones(8, dtype=torch.int64)), "found int64, strided"),
        (_with("state_dictFC", "down2.conv1.bias", torch.ones(8, dtype=torch.complex64)), "found complex64"),
        (_with("state_dictFC", "down2.conv1.bias", torch.ones(8).to_sparse()), "found float32, sparse_coo"),
        (_with("state_dictFC", "down2.conv1.bias", torch.ones(8, device="meta")), "found a shape without numbers"),
        (
            _with("state_dictFC", "down2.conv1.weight", torch.ones(1).expand(10**7, 10**7)),
            "found a shape of more numbers than are stored",
        ),
        (
            _with("state_dictFC", "down2.conv1.weight", torch.ones(10**6, 0, 3, 3)),
            "another layout: it has far more numbers than the file",
        ),
    ],
)
def test_other_checkpoints_are_refused_in_one_line(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match=words) as caught:
        import_checkpoint(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "truncated", "safetensors"])
def test_what_is_no_checkpoint_is_told_in_one_line(source: Path, tmp_path: Path, kind: str) -> None:
    if kind == "missing":
        source.unlink()
    elif kind == "folder":
        source.unlink()
        source.mkdir()
    elif kind == "empty":
        source.write_bytes(b"")
    elif kind == "text":
        source.write_text("not a checkpoint\n" * 20)
    elif kind == "truncated":
        source.write_bytes(source.read_bytes()[:-2000])
    else:
        import_checkpoint(source, source.with_suffix(".safetensors"))
        source = source.with_suffix(".safetensors")
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(source, tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()

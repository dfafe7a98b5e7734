"""The loop: it learns, resumes bit for bit, survives bad numbers, signals and full disks."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from train_helpers import CPU, TinyNet, moving_clip, no_room, photo, tiny_settings

from slomo_cli.errors import SlomoError, WeightsError
from slomo_cli.net.presets import build
from slomo_cli.picture import line_plot
from slomo_cli.train.checkpoint import join_parts, read_checkpoint, read_record, split_file
from slomo_cli.train.feed import Prefetcher
from slomo_cli.train.log import plot_losses
from slomo_cli.train.loop import Run, rate_at
from slomo_cli.train.settings import TrainSettings
from slomo_cli.train.synthetic import SyntheticSampler
from slomo_cli.train.windows import Batch, WindowSampler


def sources(settings: TrainSettings) -> list[tuple[Any, int]]:
    real = WindowSampler([moving_clip(), moving_clip(speed=-3.0)], settings.windows, CPU)
    synthetic = SyntheticSampler([photo()], settings.windows.crop, 1, CPU, layers=1, largest_motion=0.25)
    share = round(settings.batch * settings.synthetic)
    return [(real, settings.batch - share), (synthetic, share)]


SMALL = {"encoder": (4, 4, 8, 8, 8), "hidden": 8, "context": 4, "refine": (4, 4, 4)}


def make(out: Path, settings: TrainSettings, fast: bool = False, **words: Any) -> Run:
    torch.manual_seed(0)
    lines: list[str] = []
    net = build("fast", SMALL) if fast else TinyNet()
    run = Run(net, sources(settings), settings, out, CPU, report=lines.append, **words)
    run.lines = lines  # type: ignore[attr-defined]
    return run


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint.safetensors")


class Stopper:
    """Raises at a step, as a kill would end the run there."""

    def __init__(self, sampler: Any, at: int) -> None:
        self.sampler, self.at, self.drawn = sampler, at, 0

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        if self.drawn == self.at:
            raise RuntimeError("killed")
        self.drawn += 1
        return self.sampler.draw(count, rng)


@pytest.mark.parametrize("fast", [False, True])
def test_six_steps_are_three_a_kill_and_three_bit_for_bit(tmp_path: Path, fast: bool) -> None:
    settings = tiny_settings(steps=6)
    make(tmp_path / "whole", settings, fast).train()

    # A checkpoint is written before each step; the fourth step never comes.
    killed = make(tmp_path / "parts", replace(settings, checkpoint_minutes=0.0), fast)
    (real, count), synthetic = killed._sources
    killed._sources = [(Stopper(real, 3), count), synthetic]
    with pytest.raises(RuntimeError, match="killed"):
        killed.train()
    resumed = make(tmp_path / "parts", settings, fast)
    assert resumed.step == 3
    resumed.train()

    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys() and any(name.startswith("adam.") for name in whole)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    changed = [name for name in whole if name.startswith("model.")]
    assert not all(torch.equal(whole[name], whole[name.replace("model.", "average.", 1)]) for name in changed)


def test_resuming_tells_what_changed_since_the_checkpoint(tmp_path: Path) -> None:
    settings = tiny_settings(steps=4)
    make(tmp_path, replace(settings, stop_minutes=0.0)).train()
    path = tmp_path / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["record"])
    del record["settings"]["losses"]["census"]  # from before there was such a loss
    del record["settings"]["windows"]["captions"]
    save_file(weights(tmp_path), path, {"record": json.dumps(record)})

    same = make(tmp_path, settings)
    other = make(tmp_path, replace(settings, batch=4, losses=replace(settings.losses, census=0.5)))

    assert not any("changed since" in line for line in same.lines)  # type: ignore[attr-defined]
    told = "changed since the checkpoint: batch 3 -> 4, losses.census 0.0 -> 0.5"
    assert told in other.lines  # type: ignore[attr-defined]


def test_the_record_keeps_what_was_said_first_and_lists_what_later_calls_changed(tmp_path: Path) -> None:
    settings = tiny_settings(steps=4, stop_minutes=0.0)
    about = {"data": ["a"], "init": None}
    make(tmp_path, settings, about=about).save()
    make(tmp_path, settings, about=about).save()
    make(tmp_path, replace(settings, batch=4), about={"data": ["b"], "init": None}).save()
    record = make(tmp_path, replace(settings, batch=4), about=about).record

    assert record["data"] == ["a"] and record["settings"]["batch"] == 4
    assert record["resumed"] == [
        {"step": 0, "settings": ["batch 3 -> 4"], "data": ["b"]},
        {"step": 0, "data": ["a"]},
    ]


def test_training_lowers_the_loss_and_logs_it(tmp_path: Path) -> None:
    settings = tiny_settings(steps=60, log_every=10, learning_rate=5e-3, warmup_steps=5)
    record = make(tmp_path, settings).train()

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["psnr"] > lines[0]["psnr"] + 1
    assert lines[-1]["flow"] > 0 and lines[-1]["skipped"] == 0 and lines[-1]["windows"] == 180
    assert record["step"] == 60 and record["finished"] and record["windows"] == 180


def test_the_last_line_says_that_all_is_done(tmp_path: Path) -> None:
    settings = tiny_settings(steps=2, log_every=1)
    run = make(tmp_path, settings)
    run.train()

    told = [line.split("  ")[:2] for line in run.lines if line.startswith("step")]  # type: ignore[attr-defined]
    assert told == [["step 1", "50.0 %"], ["step 2", "100.0 %"]]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["rate"] for line in lines] == [rate_at(settings, 0, 0.0), rate_at(settings, 1, 0.5)], "as was taken"


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    make(tmp_path, tiny_settings(steps=4)).train()
    with open(tmp_path / "log.jsonl", "ab") as log:  # as a power cut may leave it
        log.write(b'{"step": 6, "total": 1}\n\xff\0\n{"step": 8, "to')
    make(tmp_path, tiny_settings(steps=8)).train()

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8] and "flow" in lines[2]


class Poison(TinyNet):
    """Answers NaN in the steps named; ``now`` counts them."""

    def __init__(self, bad: range) -> None:
        super().__init__()
        self.bad, self.now = bad, -1

    def at(self, state: Any, index: torch.Tensor, t: torch.Tensor) -> Any:
        self.now += 1
        motion = super().at(state, index, t)
        return motion._replace(visibility=motion.visibility * float("nan")) if self.now in self.bad else motion


def test_tensorboard_is_told_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float, int]] = []
    hidden_from: list[int] = []

    def opened(folder: str, purge_step: int) -> Any:
        hidden_from.append(purge_step)
        return SimpleNamespace(add_scalar=lambda *words: told.append(words))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=opened))
    usual = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name == "tensorboard" or usual(name, *more))

    make(tmp_path, tiny_settings(steps=4), tensorboard=True).train()

    assert {(name, step) for name, _, step in told} >= {("total", 2), ("psnr", 4), ("rate", 4)}
    make(tmp_path, tiny_settings(steps=6), tensorboard=True)
    assert hidden_from == [1, 5], "what a killed call had told after the checkpoint would stand there twice"


def test_a_step_without_a_finite_loss_changes_nothing(tmp_path: Path) -> None:
    settings = tiny_settings(steps=6)
    run = Run(Poison(range(2, 4)), sources(settings), settings, tmp_path, CPU, report=lambda line: None)
    states = []
    step = run.stepper.step

    def watched(*words: Any) -> Any:
        parts = step(*words)
        states.append({name: value.clone() for name, value in run.stepper.net.state_dict().items()})
        return parts

    run.stepper.step = watched  # type: ignore[method-assign]
    record = run.train()

    same = [all(torch.equal(a[n], b[n]) for n in a) for a, b in itertools.pairwise(states)]
    assert same == [False, True, True, False, False]
    assert record["skipped"] == 2
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [0, 2, 0] and np.isfinite(lines[2]["total"])


def test_a_loss_without_a_number_from_the_first_step_on_ends_the_run_soon(tmp_path: Path) -> None:
    settings = tiny_settings(steps=40)
    run = Run(Poison(range(99)), sources(settings), settings, tmp_path, CPU, report=lambda line: None)

    with pytest.raises(SlomoError, match="not a number since step 0"):
        run.train()

    assert run.step == settings.log_every


def test_a_loss_that_stays_without_a_number_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    settings = tiny_settings(steps=40)
    make(tmp_path, tiny_settings(steps=4)).train()
    before = weights(tmp_path)
    run = Run(Poison(range(3, 99)), sources(settings), settings, tmp_path, CPU, report=lambda line: None)

    with pytest.raises(SlomoError, match=r"not a number since step 7; the checkpoint .* holds the last sound state"):
        run.train()

    after = weights(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_was_learned_is_saved_before_it_is_judged(tmp_path: Path) -> None:
    class Hopeless:
        def __call__(self, step: int) -> dict[str, float]:
            raise RuntimeError(f"at step {step}")

    run = make(tmp_path, tiny_settings(steps=4, validate_minutes=0.0))
    run.record["step"] = 3
    with pytest.raises(RuntimeError, match="at step 3"):
        run.train(Hopeless())  # type: ignore[arg-type]

    assert make(tmp_path, tiny_settings()).step == 3


def test_averaged_weights_are_judged_and_the_others_trained_on(tmp_path: Path) -> None:
    run = make(tmp_path, tiny_settings(steps=2))
    net, seen = run.stepper.net, []

    class Looking:
        def __call__(self, step: int) -> dict[str, float]:
            seen.append((net.training, {name: value.clone() for name, value in net.state_dict().items()}))
            return {"set": 30.0}

        def plot(self) -> None:
            pass

    with torch.no_grad():
        for value in run.stepper.average.values():
            value.add_(1.0)
    own = {name: value.clone() for name, value in net.state_dict().items()}

    assert run.judge(Looking()) == {"set": 30.0}  # type: ignore[arg-type]

    ((training, judged),) = seen
    assert not training and net.training
    for name, value in net.state_dict().items():
        assert torch.equal(judged[name], run.stepper.average[name]) and torch.equal(value, own[name])


def test_a_score_that_is_no_number_leaves_the_log_and_the_record_json(tmp_path: Path) -> None:
    class Broken:
        def __call__(self, step: int) -> dict[str, float]:
            return {"held-out": float("nan"), "set": 30.0}

        def plot(self) -> None:
            plot_losses(tmp_path)

    record = make(tmp_path, tiny_settings(steps=4)).train(Broken())  # type: ignore[arg-type]

    assert record["scores"] == {"held-out": None, "set": 30.0}
    text = (tmp_path / "log.jsonl").read_text()
    assert "NaN" not in text and json.loads(text.splitlines()[-1])["validation"] == record["scores"]
    assert (tmp_path / "loss.png").exists()


def test_what_the_plot_of_the_losses_names_can_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minus so many dB is below 0: on a logarithmic scale there is no place for it, nor for a total of it."""
    drawn: list[tuple[list[str], bool]] = []

    def noted(series: dict[str, Any], *, log_y: bool = False, **words: Any) -> np.ndarray:
        drawn.append((sorted(series), log_y))
        return line_plot(series, log_y=log_y, **words)

    monkeypatch.setattr("slomo_cli.train.log.line_plot", noted)
    for total, logarithmic in ((3.0, True), (-9.5, False)):
        lines = [{"step": k, "decibel": -25.0, "reconstruction": 3.0, "psnr": 25.0, "total": total} for k in (1, 2)]
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        plot_losses(tmp_path)
        assert drawn == [(["reconstruction", "total"], logarithmic), (["training"], False)]
        drawn.clear()


def test_unsound_weights_are_never_written(tmp_path: Path) -> None:
    make(tmp_path, tiny_settings(steps=2)).train()
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    run = make(tmp_path, tiny_settings(steps=4))
    with torch.no_grad():
        run.stepper.net.refine.bias[0] = float("inf")  # type: ignore[union-attr, index, operator]

    with pytest.raises(SlomoError, match="not finite"):
        run.save()

    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_full_disk_at_the_first_checkpoint_promises_none_before(tmp_path: Path) -> None:
    run = make(tmp_path, tiny_settings(steps=2))
    with (
        no_room(2000),
        pytest.raises(SlomoError, match=r"cannot write the checkpoint .*; it is the first\. .* to begin"),
    ):
        run.save()


@pytest.mark.timeout(20)
def test_a_thread_that_cannot_use_the_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step does not wait for it for ever."""

    def refuse(device: torch.device) -> None:
        raise ValueError(f"no {device}")

    monkeypatch.setattr(torch.cuda, "set_device", refuse)
    feed = Prefetcher(lambda rng: pytest.fail("drawn"), (0, 0), 0, 2, torch.device("cuda", 3))
    with pytest.raises(ValueError, match="no cuda:3"):
        next(iter(feed))
    feed.close()


def test_a_full_disk_at_a_resume_keeps_the_log(tmp_path: Path) -> None:
    make(tmp_path, tiny_settings(steps=2, log_every=1)).train()
    before = (tmp_path / "log.jsonl").read_text()

    with no_room(10), pytest.raises(SlomoError, match="cannot write the log"):
        make(tmp_path, tiny_settings(steps=4))

    assert (tmp_path / "log.jsonl").read_text() == before


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    run = make(tmp_path, tiny_settings(steps=2))
    run.train()
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with (
        no_room(2000),
        pytest.raises(SlomoError, match=r"cannot write the checkpoint .*the one before it is untouched"),
    ):
        run.save()

    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.glob("*.part")] == []


def test_a_checkpoint_comes_back_from_its_parts(tmp_path: Path) -> None:
    run = make(tmp_path / "a", tiny_settings(steps=4), split_bytes=5000)
    run.train()
    whole = (tmp_path / "a" / "checkpoint.safetensors").read_bytes()
    parts = sorted((tmp_path / "a").glob("*.part-*"))
    assert len(parts) == -(-len(whole) // 5000) > 2
    assert b"".join(p.read_bytes() for p in parts) == whole

    (tmp_path / "b").mkdir()
    for part in parts:
        (tmp_path / "b" / part.name).write_bytes(part.read_bytes())
    assert make(tmp_path / "b", tiny_settings(steps=4)).step == 4

    (tmp_path / "c").mkdir()
    for part in parts[1:]:
        (tmp_path / "c" / part.name).write_bytes(part.read_bytes())
    with pytest.raises(WeightsError, match=f"expected all of {len(parts)} parts"):
        make(tmp_path / "c", tiny_settings())

    (tmp_path / "d").mkdir()
    for part in parts:  # the last part of another checkpoint
        data = part.read_bytes()
        (tmp_path / "d" / part.name).write_bytes(data if part != parts[-1] else bytes(len(data)))
    with pytest.raises(WeightsError, match="sum does not match"):
        make(tmp_path / "d", tiny_settings())
    assert sorted((tmp_path / "d").iterdir()) == [tmp_path / "d" / part.name for part in parts], "nothing was joined"


def test_more_than_ninety_nine_parts_come_back_in_their_order(tmp_path: Path) -> None:
    make(tmp_path, tiny_settings(steps=2)).save()
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()

    parts = split_file(path, -(-len(whole) // 105))
    assert parts == sorted(tmp_path.glob("*.part-*")) and len(parts) > 100, "cat joins them as well"
    path.unlink()
    for number, part in enumerate(parts):  # as they were named before
        part.rename(part.with_name(f"{path.name}.part-{number:02d}-of-{len(parts)}"))

    assert join_parts(path) and path.read_bytes() == whole


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    make(tmp_path, tiny_settings(steps=2)).train()
    file = tmp_path / "checkpoint.safetensors"
    whole = file.read_bytes()
    settings = tiny_settings()

    with pytest.raises(WeightsError, match=r"network of another shape \((size mismatch for|Missing key)"):
        Run(TinyNet(7), sources(settings), settings, tmp_path, CPU, report=lambda line: None)
    file.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match="not a whole training checkpoint"):
        make(tmp_path, tiny_settings())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([1], "expected a table as its record, found list"),
        ({"settings": [1]}, "expected a table as settings in its record, found list"),
        ({"config": None}, "expected a table as config in its record, found NoneType"),
        ({"step": "many"}, "expected a number of 0 or more as step in its record, found 'many'"),
        ({"seconds": float("nan")}, "expected a number of 0 or more as seconds in its record, found nan"),
        ({"resumed": [5]}, "expected a list of tables as resumed in its record"),
    ],
)
def test_a_checkpoint_whose_record_makes_no_sense_is_refused(tmp_path: Path, wrong: Any, told: str) -> None:
    make(tmp_path, tiny_settings(steps=2)).train()
    file = tmp_path / "checkpoint.safetensors"
    with safe_open(file, framework="pt") as opened:
        notes = opened.metadata()
    record = {**json.loads(notes["record"]), **wrong} if isinstance(wrong, dict) else wrong
    save_file(load_file(file), file, metadata={**notes, "record": json.dumps(record)})

    for read in (read_record, read_checkpoint):
        with pytest.raises(WeightsError, match="not a whole training checkpoint") as raised:
            read(file)
        assert told in str(raised.value)


def test_a_signal_ends_the_run_after_a_whole_step(tmp_path: Path) -> None:
    run = make(tmp_path, tiny_settings(steps=500, log_every=1000))
    caught = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        run.train()
        timer.join()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert caught == [signal.SIGTERM], "the caller's own handler acts in the end"
    assert 0 < run.step < 500
    assert make(tmp_path, tiny_settings(steps=500)).step == run.step
    assert any("run again to go on" in line for line in run.lines)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("grace", "steps"), [(60.0, 2), (0.0, 0)])
def test_two_signals_at_once_are_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: float, steps: int
) -> None:
    """As `timeout` sends them; a later one ends the step at hand."""
    monkeypatch.setattr("slomo_cli.train.interrupts.GRACE_SECONDS", grace)
    run = make(tmp_path, tiny_settings(steps=500))
    step = run.stepper.step

    def interrupted(*words: Any) -> Any:
        if run.step == 1:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
        return step(*words)

    run.stepper.step = interrupted  # type: ignore[method-assign]
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.train()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert make(tmp_path, tiny_settings(steps=500)).step == steps, "of the last checkpoint"


def test_a_call_may_pause_before_the_schedule_ends(tmp_path: Path) -> None:
    settings = tiny_settings(steps=None, minutes=60.0, stop_minutes=0.01)
    record = make(tmp_path, settings).train()
    again = make(tmp_path, settings)

    assert not record["finished"] and 0.5 < record["seconds"] < 30
    assert again.record["seconds"] == record["seconds"] and again.step == record["step"]


def test_the_time_of_earlier_calls_counts(tmp_path: Path) -> None:
    settings = tiny_settings(steps=None, minutes=0.01)
    earlier = make(tmp_path, settings)
    earlier.record["seconds"] = 0.7
    earlier.save()

    record = make(tmp_path, settings).train()

    assert record["finished"] and record["step"] == 0 and 0.7 <= record["seconds"] < 60


def test_schedule_warms_up_and_falls_along_a_cosine() -> None:
    settings = tiny_settings(warmup_steps=10, learning_rate=1.0)

    assert rate_at(settings, 0, 0.0) == pytest.approx(0.1)
    assert rate_at(settings, 100, 0.0) == pytest.approx(1.0)
    assert rate_at(settings, 100, 0.5) == pytest.approx(0.505)
    assert rate_at(settings, 100, 1.0) == rate_at(settings, 100, 7.0) == pytest.approx(0.01)


def test_compiling_falls_back_where_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any, **options: Any) -> Any:
        def call(*words: Any) -> Any:
            raise RuntimeError("\nno compiler found")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    run = make(tmp_path, tiny_settings(compile=True, steps=2))
    run.train()

    assert "cannot compile here, going on without: no compiler found" in run.lines  # type: ignore[attr-defined]


def test_a_compiled_step_goes_back_under_the_rules_it_was_compiled_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch refuses it otherwise; a backend that needs no compiler checks this too."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    run = make(tmp_path, tiny_settings(compile=True, steps=2))

    assert run.train()["step"] == 2
    assert not any("cannot compile" in line for line in run.lines)  # type: ignore[attr-defined]


def test_fast_is_not_compiled_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch compiles its gradients into what writes beyond its arrays."""

    def crashing(function: Any, **options: Any) -> Any:
        raise AssertionError("compiled")

    monkeypatch.setattr(torch, "compile", crashing)
    run = make(tmp_path, tiny_settings(compile=True, steps=1), fast=True)

    assert any("going on without: on a CPU" in line for line in run.lines)  # type: ignore[attr-defined]
    assert run.train()["step"] == 1


@pytest.mark.parametrize("change", [{"flow_interpolation": False}, {"visibility": False}, {"synthetic": 0.0}])
def test_ablations_train(tmp_path: Path, change: dict[str, Any]) -> None:
    record = make(tmp_path, tiny_settings(steps=2, **change)).train()

    assert record["step"] == 2 and record["settings"][next(iter(change))] == next(iter(change.values()))

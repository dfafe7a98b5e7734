"""``slomo train`` from files to weights."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from train_helpers import moving_clip, photo, write_video

from slomo_cli.cli.main import cli
from slomo_cli.errors import DeviceError, InputError, SlomoError, UsageError, WeightsError
from slomo_cli.net import weights
from slomo_cli.net.presets import build
from slomo_cli.picture import write_png
from slomo_cli.train.lock import hold
from slomo_cli.train.settings import LossWeights, check

SMALL = ["--net", "encoder=[4,4,8,8,8]", "--net", "hidden=8", "--net", "context=4", "--net", "refine=[4,4,4]"]
QUICK = ["--batch", "4", "--crop", "64", "--lengths", "2,3", "--log-every", "1", "--threads", "1", "--device", "cpu"]


def slomo(*words: object) -> Result:
    result = CliRunner().invoke(cli, ["train", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(error: type[SlomoError], *words: object) -> str:
    """The one line in which the command ends with this error."""
    result = slomo(*words)
    assert result.exit_code == error.exit_code, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    return line


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos, one of photos, and a validation triplet."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("videos", "photos", "triplets/a"):
        (folder / name).mkdir(parents=True)
    write_video(folder / "videos" / "a.mp4", moving_clip(250, 80, 96, speed=1.0))
    write_video(folder / "videos" / "b.mp4", moving_clip(10, 64, 128, speed=-2.0))
    write_png(folder / "photos" / "a.png", photo().transpose(1, 2, 0))
    for name, shift in (("frame_00", 0), ("frame_01_gt", 2), ("frame_02", 4)):
        write_png(folder / "triplets" / "a" / f"{name}.png", photo(70, 100).transpose(1, 2, 0)[:, shift : shift + 90])
    return folder


def test_from_video_to_weights_with_everything_on_the_way(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["--data", files / "videos", "--photos", files / "photos", "--out", out, *SMALL, *QUICK]
    command += ["--validate", files / "triplets", "--split-parts", "8K", "--cache", tmp_path / "cache"]
    first = slomo(*command, "--steps", 2)
    assert first.exit_code == 0, first.output
    assert "2 videos, 260 frames" in first.stderr and "1 photo for synthetic motion, 1 of 4 windows" in first.stderr

    second = slomo(*command, "--steps", 4, "--export", tmp_path / "mine.safetensors", "--export-dtype", "float16")
    assert "at step 2" in second.stderr and "changed since the checkpoint: steps 2 -> 4" in second.stderr

    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "total" in line] == [1, 2, 3, 4]
    (scores,) = [line["validation"] for line in lines if "validation" in line and line["step"] == 4]
    assert set(scores) == {"held-out", "triplets", "triplets ssim"} and 10 < scores["held-out"] < 60
    for picture in (out / "loss.png", out / "samples" / "step-0000004.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(out.glob("checkpoint.safetensors.part-*-of-*"))

    record = json.loads((out / "record.json").read_text())
    assert record["step"] == 4 and record["windows"] == 16 and record["scores"] == scores
    assert [(v["name"], v["frames"]) for v in record["data"]["videos"]] == [("a.mp4", 250), ("b.mp4", 10)]
    assert record["machine"]["torch"] == torch.__version__ and record["settings"]["losses"]["flow"] == 1.0

    assert (out / "weights.safetensors").exists(), "written at the end of the first call"
    loaded = weights.load(tmp_path / "mine.safetensors")
    assert loaded.preset == "fast" and loaded.config["hidden"] == 8 and loaded.record["step"] == 4
    again = ["--out", out, "--export", tmp_path / "again.safetensors"]
    (tmp_path / "again.safetensors").write_bytes(b"precious")
    for words in (again, [*command, "--steps", 4, *again]):
        assert "exists: -y replaces it" in refused(SlomoError, *words)
    assert (tmp_path / "again.safetensors").read_bytes() == b"precious"
    assert slomo(*again, "-y").exit_code == 0
    assert slomo("--out", out, "--export", out / "weights.safetensors").exit_code == 0, "the run's own"
    one, other = (weights.load(tmp_path / f"{n}.safetensors").model.state_dict() for n in ("mine", "again"))
    assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)


def test_a_network_begins_with_given_weights(files: Path, tmp_path: Path) -> None:
    common = ["--data", files / "videos", "--cache", tmp_path / "cache", *QUICK, "--steps", 1]
    slomo(*common, *SMALL, "--out", tmp_path / "a")
    made = weights.load(tmp_path / "a" / "weights.safetensors")
    slomo(*common, "--init", tmp_path / "a" / "weights.safetensors", "--out", tmp_path / "b", "--lr", "1e-9")
    begun = weights.load(tmp_path / "b" / "weights.safetensors")

    assert begun.config == made.config
    states = made.model.state_dict(), begun.model.state_dict()
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-6) for name in states[0])
    init = ["--init", tmp_path / "a" / "weights.safetensors"]
    assert "has its own sizes" in refused(UsageError, *common, *SMALL[:2], *init, "--out", tmp_path / "c")
    large = ["--preset", "superslomo", "--loss", "perceptual=0"]
    assert "use --preset fast" in refused(UsageError, *common, *large, *init, "--out", tmp_path / "d")
    published = {"widths": [4, 6, 8, 8, 8, 8], "kernels": [3] * 6}
    weights.save(tmp_path / "p.safetensors", build("avinash20", published), "avinash20", published, {})
    init = ["--init", tmp_path / "p.safetensors"]
    assert "slomo trains fast and superslomo only" in refused(UsageError, *common, *init, "--out", tmp_path / "e")

    # Going on, with --init and --net or without: the run knows what it began with.
    init = ["--init", tmp_path / "a" / "weights.safetensors"]
    common += ["--steps", 2, "--out", tmp_path / "b"]
    assert "was begun with {'encoder'" in refused(UsageError, *common, "--net", "hidden=9")
    assert "--preset: " in refused(UsageError, *common, *large)
    assert slomo(*common, "--net", "hidden=8").exit_code == 0
    record = json.loads((tmp_path / "b" / "record.json").read_text())
    assert record["step"] == 2 and record["config"] == made.config and record["init"] == str(init[1])
    assert "--init" not in slomo(*common, *init).stderr
    assert f"--init is not used: {tmp_path / 'b'} was begun with {init[1]}" in slomo(*common, "--init", "fast").stderr


def test_a_run_of_sizes_that_are_no_more_is_refused_without_talk_of_options(files: Path, tmp_path: Path) -> None:
    common = ["--photos", files / "photos", "--out", tmp_path, *SMALL, *QUICK, "--no-samples"]
    assert slomo(*common, "--steps", 1).exit_code == 0
    file = tmp_path / "checkpoint.safetensors"
    with safe_open(file, framework="pt") as opened:
        notes = opened.metadata()
    record = json.loads(notes["record"])
    record["config"]["depth"] = 3
    save_file(load_file(file), file, metadata={**notes, "record": json.dumps(record)})

    line = refused(WeightsError, *common, "--steps", 2)

    assert "begun with sizes that this version has no network for (" in line and "no setting depth" in line
    assert "--net" not in line and "another --out" in line


def test_every_command_in_help_and_documentation_parses() -> None:
    import slomo_cli.train
    from slomo_cli.cli.train import _config, _settings, command

    text = (slomo_cli.train.__doc__ or "").replace("\\\n", " ")
    lines = [line.partition(" train ")[2] for line in text.splitlines() if "slomo" in line and " train --" in line]
    assert len(lines) > 10
    for words in [line.split() for line in lines] + [shlex.split(line)[2:] for line in command.examples]:
        context = command.make_context("train", words)
        assert context.params["out"] is not None
        settings = _settings(context.params)
        assert _config(context.params["net"]) == {}
        if context.params["data"]:
            check(settings)


def test_a_validation_that_fails_is_told_and_training_goes_on(files: Path, tmp_path: Path) -> None:
    out, broken = tmp_path / "run", tmp_path / "broken"
    shutil.copytree(files / "triplets", broken)
    (broken / "a" / "frame_01_gt.png").write_bytes(b"no picture")
    out.mkdir()
    (out / "samples").write_text("in the way")
    words = ["--data", files / "videos", "--cache", files / "cache", "--out", out, *SMALL, *QUICK, "--steps", 1]
    result = slomo(*words, "--validate", broken, "--validate", files / "videos" / "b.mp4")

    assert result.exit_code == 0 and (out / "weights.safetensors").exists()
    assert "validation on broken failed: " in result.stderr and "drawing samples failed: " in result.stderr
    scores = json.loads((out / "record.json").read_text())["scores"]
    assert set(scores) == {"held-out", "b.mp4 x2", "b.mp4 x2 ssim"}


def test_sets_of_one_name_are_scored_under_their_paths(files: Path, tmp_path: Path) -> None:
    from slomo_cli.train.run import Request, _sets
    from slomo_cli.train.settings import TrainSettings

    pair = [tmp_path / name / "triplets" for name in ("A", "B")]
    for folder in pair:
        shutil.copytree(files / "triplets", folder)
    video = files / "videos" / "b.mp4"

    found = _sets(Request(tmp_path, TrainSettings(), validate=(*pair, pair[0], video), factors=(2, 4)), print)

    assert list(found) == [*map(str, pair), "b.mp4 x2", "b.mp4 x4"]
    assert [one.factor for one in found.values()] == [2, 2, 2, 4]


def test_what_validation_leaves_out_is_told(files: Path, tmp_path: Path) -> None:
    from slomo_cli.train.run import Request, _sets
    from slomo_cli.train.settings import TrainSettings

    shutil.copy(files / "videos" / "b.mp4", tmp_path)
    write_video(tmp_path / "short.mp4", moving_clip(2, 64, 64))
    (tmp_path / "text.mp4").write_text("no video")
    told: list[str] = []

    _sets(Request(tmp_path, TrainSettings(), validate=(tmp_path,)), told.append)

    assert told == [
        f"validation: left out text.mp4: '{tmp_path / 'text.mp4'}' is a text file; expected a video",
        f"validation: {tmp_path.name} x2: left out short.mp4: fewer than 3 frames",
    ]


def test_every_loss_is_listed_and_may_not_be_switched_off_with_all_others() -> None:
    from slomo_cli.cli.train import _settings, command

    names = [field.name for field in fields(LossWeights)]
    text = next(parameter.help for parameter in command.params if parameter.name == "loss")  # type: ignore[attr-defined]
    assert set(re.findall(r"[a-z_]+", text.partition(":")[2])) == set(names)

    words = ["--out", "run", "--data", "videos", "--steps", "1"]
    nothing = command.make_context("train", [*words, *(f"--loss={name}=0" for name in names)])
    with pytest.raises(UsageError, match="every weight is 0"):
        check(_settings(nothing.params))


def test_limits_of_whole_numbers_are_told_in_whole_numbers() -> None:
    result = slomo("--out", "run", "--data", "videos", "--steps", 0)

    assert result.exit_code == 2 and "a whole number from 1 to 1000000000, found '0'" in result.stderr


def test_seeds_and_warm_ups_are_no_counts_of_threads() -> None:
    from slomo_cli.cli.train import _settings, command

    words = "--out run --data videos --steps 9000 --seed 20240101 --warmup 5000".split()
    settings = check(_settings(command.make_context("train", words).params))

    assert (settings.seed, settings.warmup_steps) == (20240101, 5000)


def test_photos_alone_are_enough(files: Path, tmp_path: Path) -> None:
    result = slomo("--photos", files / "photos", "--steps", 1, "--out", tmp_path, *SMALL, *QUICK)

    assert result.exit_code == 0
    assert weights.load(tmp_path / "weights.safetensors").record["windows"] == 4


@pytest.mark.parametrize(("share", "unused"), [(0.1, "--photos"), (1, "--data")])
def test_what_was_given_and_is_not_used_is_told(files: Path, tmp_path: Path, share: float, unused: str) -> None:
    words = ["--data", files / "videos", "--photos", files / "photos", "--synthetic", share, "--steps", 1]
    result = slomo(*words, "--out", tmp_path, *SMALL, *QUICK)

    assert result.exit_code == 0
    assert [line.split()[1] for line in result.stderr.splitlines() if "is not used: " in line] == [unused]


def test_an_ablation_scores_but_writes_no_weights(files: Path, tmp_path: Path) -> None:
    words = ["--data", files / "videos", "--cache", tmp_path / "cache", "--out", tmp_path / "run", *SMALL, *QUICK]
    result = slomo(*words, "--steps", 1, "--no-visibility", "--loss", "flow=0", "--no-samples")

    assert "an ablation: no weights written" in result.stderr
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert "held-out" in json.loads((tmp_path / "run" / "record.json").read_text())["scores"]
    assert "comparison only" in refused(UsageError, "--out", tmp_path / "run", "--export", tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ("--data {videos} --steps 1", UsageError, "--out is missing"),
        ("--out {new}", UsageError, "expected --data DIR or --photos DIR"),
        ("--out {new} --export w.safetensors", UsageError, "expected a training run in"),
        ("--out {new} --export w.safetensors --steps 5 --init fast", UsageError, "--init, --steps: without --data"),
        ("--out {new} --export {new}.mp4", UsageError, "name ending in .safetensors"),
        ("--out {new} --export {new}/deep/w.safetensors", SlomoError, "does not exist: make it"),
        ("--out {new} --data {videos} --steps 1 --export {videos}/a.mp4", UsageError, "name ending in .safetensors"),
        ("--out {new} --data {videos} --steps 1 --export {new}/checkpoint.safetensors", UsageError, "run's checkpoint"),
        ("--out {new} --data {videos}", UsageError, "one of --steps and --minutes"),
        ("--out {new} --data {videos} --steps 1 --minutes 1", UsageError, "one of --steps and --minutes"),
        ("--out {new} --data {photos} --steps 1", InputError, "no video in"),
        ("--out {new} --photos {videos} --steps 1", InputError, "no picture in"),
        ("--out {new} --data {none} --steps 1", InputError, "found no folder"),
        ("--out {new} --data {videos} --steps 1 --crop 100", UsageError, "multiple of 32"),
        ("--out {new} --data {videos} --steps 1 --lengths 1,2", UsageError, "--lengths"),
        ("--out {new} --data {videos} --steps 1 --loss flow", UsageError, "NAME=VALUE"),
        ("--out {new} --data {videos} --steps 1 --loss flow=-1", UsageError, "0 or more"),
        ("--out {new} --data {videos} --steps 1 --loss flow=inf", UsageError, "0 or more, found inf"),
        ("--out {new} --data {videos} --steps 1 --loss flow=nan", UsageError, "0 or more, found nan"),
        ("--out {new} --data {videos} --steps 1 --net depth=3", UsageError, "no setting depth"),
        ("--out {new} --data {videos} --steps 1 --net hidden=x", UsageError, "as JSON"),
        ("--out {new} --data {videos} --steps 1 --net hidden=0", UsageError, "--net: hidden: expected whole numbers"),
        ("--out {new} --data {videos} --steps 1 --split-parts 9", UsageError, "such as 15M"),
        ("--out {new} --data {videos} --steps 1 --loss perceptual=1 --vgg {none}", WeightsError, "--vgg"),
        ("--out {new} --data {videos} --steps 1 --init {none}/a.safetensors", WeightsError, "cannot read"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    files: Path, tmp_path: Path, words: str, error: type[SlomoError], says: str
) -> None:
    places = {
        "videos": files / "videos",
        "photos": files / "photos",
        "none": tmp_path / "none",
        "new": tmp_path / "new",
    }
    given = [word.format(**places) for word in words.split()]

    if "--data" in words or "--photos" in words:
        given += map(str, ["--device", "cpu", "--threads", 1, "--cache", files / "cache"])

    assert says in refused(error, *given)


@pytest.mark.parametrize("wrong", ["--net depth=3", "--init nobodys", "--validate nowhere", "--crop 96 --net fine=9"])
def test_what_cannot_be_is_refused_before_videos_are_decoded(files: Path, tmp_path: Path, wrong: str) -> None:
    words = ["--data", files / "videos", "--out", tmp_path / "run", "--steps", 1, "--device", "cpu", *wrong.split()]
    assert slomo(*words).exit_code and not (tmp_path / "run" / "cache").exists()


def test_a_short_or_broken_video_is_refused_only_when_there_is_no_other(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "short.mp4", moving_clip(2, 64, 64))
    (folder / "broken.mp4").write_bytes(bytes(100))
    common = ["--data", folder, "--steps", 1, *SMALL, *QUICK]

    assert "shorter than 3 frames" in refused(InputError, *common, "--out", tmp_path / "a")
    write_video(folder / "good.mp4", moving_clip(12, 64, 96))
    result = slomo(*common, "--out", tmp_path / "b")

    assert result.exit_code == 0 and "left out broken.mp4: " in result.stderr
    assert "left out short.mp4: too short" in result.stderr and "1 video, 12 frames" in result.stderr


def test_the_record_names_what_was_used_first_and_what_changed_later(files: Path, tmp_path: Path) -> None:
    first, later = tmp_path / os.fsdecode(b"caf\xe9.mp4"), tmp_path / "later.mp4"
    shutil.copy(files / "videos" / "b.mp4", first)
    write_video(later, moving_clip(10, 64, 96))
    photos, out = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(files / "photos", photos)
    (photos / "broken.jpg").write_bytes(b"no picture")
    common = ["--photos", photos, "--out", out, *SMALL, *QUICK, "--no-samples"]
    begun = slomo(*common, "--data", first, "--steps", 1)
    assert begun.exit_code == 0 and "left out broken.jpg: no picture that can be read" in begun.stderr
    gone_on = slomo(*common, "--data", later, "--steps", 2)

    assert "changed since the checkpoint: steps 1 -> 2, data" in gone_on.stderr
    record = json.loads((out / "record.json").read_text())
    (call,) = record["resumed"]
    assert [one["name"] for one in record["data"]["videos"]] == [first.name]
    assert [one["name"] for one in record["data"]["photos"]] == ["a.png"]
    assert call["step"] == 1 and call["settings"] == ["steps 1 -> 2"]
    assert [one["name"] for one in call["data"]["videos"]] == ["later.mp4"]
    assert weights.load(out / "weights.safetensors").record["resumed"] == [call]


@pytest.mark.parametrize("out", [".", "run"])
def test_a_run_does_not_learn_from_what_it_draws(out: str, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_clip(250, 80, 96, speed=1.0))
    write_png(tmp_path / "a.png", photo().transpose(1, 2, 0))
    words = ["--data", tmp_path, "--photos", tmp_path, "--out", tmp_path / out, *SMALL, *QUICK]
    for steps in (2, 3):
        assert "1 photo for synthetic motion" in slomo(*words, "--steps", steps).stderr
    assert (tmp_path / out / "loss.png").exists() and list((tmp_path / out / "samples").iterdir())


def test_one_process_trains_in_a_folder(files: Path, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from slomo_cli.train.lock import hold\n"
    script += "with hold(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    words = ["--data", files / "videos", "--cache", files / "cache", "--out", tmp_path, *SMALL, *QUICK, "--steps", 1]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == "held\n"
        assert "is being trained by another process" in refused(SlomoError, *words)
        other.kill()

    with hold(tmp_path):
        pass  # nothing that the killed one left stands in the way
    assert not list(tmp_path.iterdir())


def test_a_run_that_never_begins_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    words = ["--data", tmp_path / "videos", *QUICK, "--steps", 1, "--out"]
    (tmp_path / "mine").mkdir()
    for out in (tmp_path / "runs" / "new", tmp_path / "mine"):
        assert "no video in" in refused(InputError, *words, out)
        (tmp_path / "videos" / "broken.mp4").write_bytes(b"broken")
        assert "none of the videos can be read" in slomo(*words, out).stderr
        (tmp_path / "videos" / "broken.mp4").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "videos"]
    assert not (tmp_path / "mine" / ".lock").exists()


@pytest.mark.parametrize(
    "full", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory")]
)
def test_memory_that_runs_out_is_told_in_a_line(
    files: Path, tmp_path: Path, full: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*args: object) -> None:
        raise full

    monkeypatch.setattr("slomo_cli.train.stepper.Stepper.step", none)
    said = refused(DeviceError, "--data", files / "videos", *SMALL, *QUICK, "--steps", 2, "--out", tmp_path / "run")
    assert "out of memory on cpu" in said and "--batch" in said


def test_failures_are_events_where_json_is_asked_for(tmp_path: Path) -> None:
    result = slomo("--data", tmp_path / "none", "--out", tmp_path / "run", "--steps", 1, "--progress", "json")

    event = json.loads(result.stderr)
    assert result.exit_code == event["exit_code"] == InputError.exit_code
    assert event["event"] == "error" and "found no folder" in event["text"]


def test_a_checkpoint_of_shapes_beyond_all_memory_is_refused(tmp_path: Path) -> None:
    record = {"settings": {"preset": "superslomo"}, "config": {"widths": [10**6] * 6}}
    save_file({"average.mean": torch.zeros(3)}, tmp_path / "checkpoint.safetensors", {"record": json.dumps(record)})
    assert "far more numbers than the file" in refused(
        WeightsError, "--out", tmp_path, "--export", tmp_path / "w.safetensors"
    )

"""``slomo train`` from files to weights."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from train_helpers import moving_clip, photo, write_video

from slomo_cli.cli.main import cli
from slomo_cli.errors import InputError, SlomoError, UsageError, WeightsError
from slomo_cli.net import weights
from slomo_cli.picture import write_png
from slomo_cli.train.settings import LossWeights, check

SMALL = ["--net", "encoder=[4,4,8,8,8]", "--net", "hidden=8", "--net", "context=4", "--net", "refine=[4,4,4]"]
QUICK = ["--batch", "4", "--crop", "64", "--lengths", "2,3", "--log-every", "1", "--threads", "1", "--device", "cpu"]


def slomo(*words: object) -> Result:
    result = CliRunner().invoke(cli, ["train", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


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
    assert "2 videos, 260 frames" in first.stderr and "1 photos for synthetic motion, 1 of 4 windows" in first.stderr

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
    again = slomo("--out", out, "--export", tmp_path / "again.safetensors")
    assert again.exit_code == 0
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
    with pytest.raises(UsageError, match="has its own sizes"):
        slomo(*common, *SMALL[:2], "--init", tmp_path / "a" / "weights.safetensors", "--out", tmp_path / "c")
    with pytest.raises(UsageError, match="use --preset fast"):
        words = ["--preset", "superslomo", "--loss", "perceptual=0"]
        slomo(*common, *words, "--init", tmp_path / "a" / "weights.safetensors", "--out", tmp_path / "d")


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

    found = _sets(Request(tmp_path, TrainSettings(), validate=(*pair, pair[0], video), factors=(2, 4)))

    assert list(found) == [*map(str, pair), "b.mp4 x2", "b.mp4 x4"]
    assert [one.factor for one in found.values()] == [2, 2, 2, 4]


def test_every_loss_is_listed_and_may_not_be_switched_off_with_all_others() -> None:
    from slomo_cli.cli.train import _settings, command

    names = [field.name for field in fields(LossWeights)]
    text = next(parameter.help for parameter in command.params if parameter.name == "loss")  # type: ignore[attr-defined]
    assert set(re.findall(r"[a-z_]+", text.partition(":")[2])) == set(names)

    words = ["--out", "run", "--data", "videos", "--steps", "1"]
    nothing = command.make_context("train", [*words, *(f"--loss={name}=0" for name in names)])
    with pytest.raises(UsageError, match="every weight is 0"):
        check(_settings(nothing.params))


def test_seeds_and_warm_ups_are_no_counts_of_threads() -> None:
    from slomo_cli.cli.train import _settings, command

    words = "--out run --data videos --steps 9000 --seed 20240101 --warmup 5000".split()
    settings = check(_settings(command.make_context("train", words).params))

    assert (settings.seed, settings.warmup_steps) == (20240101, 5000)


def test_photos_alone_are_enough(files: Path, tmp_path: Path) -> None:
    result = slomo("--photos", files / "photos", "--steps", 1, "--out", tmp_path, *SMALL, *QUICK)

    assert result.exit_code == 0
    assert weights.load(tmp_path / "weights.safetensors").record["windows"] == 4


def test_an_ablation_scores_but_writes_no_weights(files: Path, tmp_path: Path) -> None:
    words = ["--data", files / "videos", "--cache", tmp_path / "cache", "--out", tmp_path / "run", *SMALL, *QUICK]
    result = slomo(*words, "--steps", 1, "--no-visibility", "--loss", "flow=0", "--no-samples")

    assert "an ablation: no weights written" in result.stderr
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert "held-out" in json.loads((tmp_path / "run" / "record.json").read_text())["scores"]
    with pytest.raises(UsageError, match="for comparison only"):
        slomo("--out", tmp_path / "run", "--export", tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ("--data {videos} --steps 1", UsageError, "--out is missing"),
        ("--out {new}", UsageError, "expected --data DIR or --photos DIR"),
        ("--out {new} --export w.safetensors", UsageError, "expected a training run in"),
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

    with pytest.raises(error, match=says) as caught:
        slomo(*given, "--device", "cpu", "--threads", 1, "--cache", files / "cache")

    assert "\n" not in str(caught.value)


def test_a_short_or_broken_video_is_refused_only_when_there_is_no_other(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "short.mp4", moving_clip(2, 64, 64))
    (folder / "broken.mp4").write_bytes(bytes(100))
    common = ["--data", folder, "--steps", 1, *SMALL, *QUICK]

    with pytest.raises(InputError, match="shorter than 3 frames"):
        slomo(*common, "--out", tmp_path / "a")
    write_video(folder / "good.mp4", moving_clip(12, 64, 96))
    result = slomo(*common, "--out", tmp_path / "b")

    assert result.exit_code == 0 and "left out broken.mp4: " in result.stderr

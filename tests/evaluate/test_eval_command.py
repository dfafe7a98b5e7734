"""``slomo eval`` from the prompt: tables, files, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from evaluate_helpers import moving, write_pictures, write_video

from slomo_cli.cli.evaluate import _may_write, command
from slomo_cli.errors import SlomoError
from slomo_cli.evaluate.rivals import blend


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=True)


@pytest.fixture
def triplets(tmp_path: Path) -> Path:
    """Two triplets in UCF101's layout."""
    names = ["frame_00.png", "frame_01_gt.png", "frame_02.png"]
    for seed in (1, 2):
        write_pictures(tmp_path / "set" / str(seed), *[moving(k, seed) for k in range(3)], names=names)
    return tmp_path / "set"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """An Interpolator that blends and says where it was told to run; the list holds what it was given."""
    made: list[dict[str, Any]] = []

    class Interpolator:
        def __init__(self, weights: str, **settings: Any) -> None:
            made.append({"weights": weights, **settings, "closed": False})
            self.weights_name, self.sha256, self.record = weights, "00ff", made[-1]

        def describe(self) -> str:
            return "a slide rule"

        def between(self, first: np.ndarray, second: np.ndarray, timesteps: Any) -> list[np.ndarray]:
            return blend(first, second, timesteps)

        def frames(self, left: Any, right: Any, timesteps: Any, *beside: Any) -> list[Any]:
            first, second = (np.stack([frame.planes[k] for k in (2, 0, 1)], -1) for frame in (left, right))
            return [tuple(image[..., k] for k in (1, 2, 0)) for image in blend(first, second, timesteps)]

        def motion(self, left: Any, right: Any, timesteps: Any, *beside: Any) -> SimpleNamespace:
            shape = (len(timesteps), *left.planes[0].shape)
            return SimpleNamespace(
                flow_t0=np.zeros((*shape, 2)), flow_t1=np.zeros((*shape, 2)), visibility=np.ones(shape)
            )

        def close(self) -> None:
            self.record["closed"] = True

    module = ModuleType("slomo_cli.interpolate")
    module.Interpolator = Interpolator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slomo_cli.interpolate", module)
    return made


def test_everything_in_one_run(triplets: Path, tmp_path: Path, network: list[dict[str, Any]]) -> None:
    """The network, its rivals, table, JSON, CSV and sheet."""
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "png")}
    options = ["--against", "blend, minterpolate", "--device", "cpu", "--proxy", "64", "--worst", 1]
    written = ["--json", files["json"], "--csv", files["csv"], "--sheet", files["png"]]
    result = run(triplets, *options, *written)
    assert result.exception is None, result.output
    assert "set: 2 triplets" in result.stdout and "minterpolate" in result.stdout
    (given,) = network
    assert (given["weights"], given["device"], given["proxy"], given["closed"]) == ("fast", "cpu", "64", True)
    methods = json.loads(files["json"].read_text())["sets"][0]["methods"]
    assert [method["method"] for method in methods] == ["fast", "blend", "minterpolate"]
    assert methods[0]["psnr"] == methods[1]["psnr"] != methods[2]["psnr"]
    assert (methods[0]["sha256"], methods[0]["device"]) == ("00ff", "a slide rule") and methods[2]["ffmpeg"]
    assert len(files["csv"].read_text().splitlines()) == 1 + 3 * 2
    with av.open(str(files["png"])) as container:
        assert next(container.decode(video=0)).width > 8 * 48


def test_files_hold_the_scores_also_where_nobody_reads_the_table(
    triplets: Path, tmp_path: Path, network: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("slomo_cli.evaluate.report.print_tables", gone)
    result = run(triplets, "--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv")
    assert isinstance(result.exception, BrokenPipeError | SystemExit)
    assert json.loads((tmp_path / "out.json").read_text())["sets"]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 2


def test_a_terminal_takes_the_scores_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    assert _may_write(["-"], (), False)


def test_several_sets_and_factors(triplets: Path, tmp_path: Path) -> None:
    """A video at two factors, triplets once; JSON alone on stdout, the table on stderr."""
    write_video(tmp_path / "clip.mkv", [moving(k) for k in range(9)])
    options = ["--weights", "none", "--against", "blend,nearest", "--factor", "2,8", "--limit", 3]
    result = run(tmp_path / "clip.mkv", triplets, *options, "--json", "-")
    assert result.exception is None, result.output
    sets = json.loads(result.stdout)["sets"]
    assert [(entry["set"], entry["pairs"]) for entry in sets] == [("clip.mkv x2", 3), ("clip.mkv x8", 1), ("set", 2)]
    assert len(sets[1]["methods"][0]["timesteps"]) == 7
    assert "clip.mkv x8: 1 clip, 1 pair" in result.stderr


@pytest.mark.parametrize("words", [["-q"], ["--progress", "json"]])
def test_no_table_stands_among_events_and_errors(triplets: Path, words: list[str]) -> None:
    result = run(triplets, "--weights", "none", "--against", "blend", "--json", "-", *words)
    assert json.loads(result.stdout)["sets"]
    events = [json.loads(line)["event"] for line in result.stderr.splitlines()]
    assert not events if words == ["-q"] else events[0] == "start"
    table = run(triplets, "--weights", "none", "--against", "blend", "--csv", triplets.parent / "out.csv", *words)
    assert "set: 2 triplets" in table.stdout, "there it is the result"


def test_other_weights_can_be_named_against(triplets: Path, network: list[dict[str, Any]]) -> None:
    """What is no rival is taken for weights, each loaded once."""
    result = run(triplets, "--weights", "fast", "--against", "blend,other.safetensors,fast")
    assert result.exception is None, result.output
    assert [entry["weights"] for entry in network] == ["fast", "other.safetensors"]


def test_a_real_network(triplets: Path, tmp_path: Path) -> None:
    """An untrained network from a file, through slomo's own Interpolator: pictures, flows, visibility."""
    import torch

    from slomo_cli.net.presets import build
    from slomo_cli.net.weights import save

    torch.manual_seed(0)
    sums = [save(tmp_path / folder / "net.safetensors", build("fast"), "fast", {}, {}) for folder in ("a", "b")]
    files = [tmp_path / folder / "net.safetensors" for folder in ("a", "b")]
    options = ["--device", "cpu", "--threads", 1, "--json", tmp_path / "out.json", "--sheet", tmp_path / "out.png"]
    result = run(triplets, "--weights", files[0], "--against", f"{files[1]},blend", *options)
    assert result.exception is None, result.output
    first, second, blended = json.loads((tmp_path / "out.json").read_text())["sets"][0]["methods"]
    assert [first["sha256"], second["sha256"]] == sums
    assert (first["method"], second["method"]) == ("net.safetensors", str(files[1]))
    assert first["frames"] == blended["frames"] == 2
    # Untrained, its flows are still and it can only mix the two pictures.
    assert first["psnr"] == pytest.approx(blended["psnr"], abs=3)
    with av.open(str(tmp_path / "out.png")) as container:
        assert next(container.decode(video=0)).width > 8 * 48


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weights", "none"], "leaves nothing to measure"),
        (["--factor", "1"], "whole numbers from 2 to 64"),
        (["--factor", "2,x"], "whole numbers from 2 to 64"),
        (["--factor", ","], "whole numbers from 2 to 64"),
        (["--sheet", "x.jpg"], "ending in .png"),
        (["--json", "-", "--csv", "-"], "need a name each"),
        (["--json", "no/such/folder/x.json"], "the folder 'no/such/folder' does not exist"),
        (["--json", "."], "is a folder"),
        (["--json", "same.out", "--csv", "./same.out"], "need a name each"),
        (["--weights", "none", "--against", "minterpolate:a=b;c"], "expected options such as"),
    ],
)
def test_refused_before_any_work(triplets: Path, options: list[str], words: str) -> None:
    """A request that cannot be granted ends at once with its reason."""
    result = run(triplets, *options)
    assert result.exit_code == (1 if "no/such" in words else 2)
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize("option", ["--json", "--csv", "--sheet"])
def test_what_is_there_stays_unless_told(triplets: Path, tmp_path: Path, network: Any, option: str) -> None:
    there = tmp_path / "old.png"
    there.write_bytes(b"old")

    refused = run(triplets, option, there)
    assert refused.exit_code == 1 and "exists: -y replaces it" in " ".join(refused.stderr.split())
    assert there.read_bytes() == b"old" and network == []
    assert run(triplets, option, there, "-y").exception is None
    assert there.stat().st_size > 10


def test_nothing_to_measure(tmp_path: Path) -> None:
    """An empty folder is an input error."""
    result = run(tmp_path, "--weights", "none", "--against", "blend")
    assert result.exit_code == 3


def test_the_measured_video_is_not_replaced_by_its_scores(tmp_path: Path) -> None:
    film = tmp_path / "clip.mkv"
    write_video(film, [moving(k) for k in range(3)])
    before = film.read_bytes()
    result = run(film, "--weights", "none", "--against", "blend", "--json", film, "-y")
    assert result.exit_code == 2 and "is the input itself" in " ".join(result.stderr.split())
    assert film.read_bytes() == before


def test_scores_are_told_before_a_sheet_that_cannot_be_drawn(
    triplets: Path, tmp_path: Path, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, picture: Any) -> None:
        raise SlomoError("cannot write the sheet: no space")

    monkeypatch.setattr("slomo_cli.picture.write_png", full)
    result = run(triplets, "--json", tmp_path / "out.json", "--sheet", tmp_path / "out.png")
    assert result.exit_code == 1 and "no space" in result.stderr
    assert "set: 2 triplets" in result.stdout and json.loads((tmp_path / "out.json").read_text())["sets"]


@pytest.mark.parametrize("damage", ["another size", "no picture"])
def test_one_bad_triplet_is_told_and_left_out(triplets: Path, tmp_path: Path, damage: str) -> None:
    bad = triplets / "1" / "frame_02.png"
    if damage == "another size":
        write_pictures(bad.parent, moving(0, size=(30, 48)), names=[bad.name])
    else:
        bad.write_bytes(b"nothing")
    options = ["--weights", "none", "--against", "blend", "--json", tmp_path / "out.json", "--progress", "json"]
    result = run(triplets, *options)
    assert result.exit_code == 3 and "set: 1 triplet" in result.stdout
    (scored,) = json.loads((tmp_path / "out.json").read_text())["sets"]
    assert scored["pairs"] == 1 and [clip["clip"] for clip in scored["methods"][0]["clips"]] == ["2"]
    assert [failure["clip"] for failure in scored["failures"]] == ["1"]
    errors = [json.loads(line) for line in result.stderr.splitlines() if '"error"' in line]
    assert errors[0]["text"].startswith(scored["failures"][0]["text"][:20]) and "1 of 2 clips" in errors[1]["text"]


def test_a_pair_too_small_for_ssim_is_not_counted(triplets: Path) -> None:
    names = ["frame_00.png", "frame_01_gt.png", "frame_02.png"]
    write_pictures(triplets / "1", *[moving(k, size=(8, 48)) for k in range(3)], names=names)
    result = run(triplets, "--weights", "none", "--against", "blend")
    assert result.exit_code == 3 and "set: 1 triplet" in result.stdout and "1: SSIM needs pictures" in result.stderr


def test_a_sequence_that_changes_its_size_is_measured_until_there(tmp_path: Path) -> None:
    sizes = [(32, 48)] * 5 + [(30, 48)]
    pictures = [moving(k, size=size) for k, size in enumerate(sizes)]
    write_pictures(tmp_path, *pictures, pictures[-1], names=[f"{k}.png" for k in range(7)])
    result = run(tmp_path, "--weights", "none", "--against", "blend")
    assert result.exit_code == 3 and "1 clip, 2 pairs" in result.stdout and "48x30 at frame 5" in result.stderr
    none = run(tmp_path, "--weights", "none", "--against", "blend", "--factor", 6, "--json", "-")
    assert none.exit_code == 3 and none.stdout == "" and "no pair could be measured" in none.stderr


def test_pictures_that_a_rival_cannot_take_cost_its_scores_alone(tmp_path: Path) -> None:
    """ffmpeg's minterpolate fails on the smallest pictures."""
    for name, size in (("large", (32, 48)), ("small", (12, 12))):
        pictures = [moving(k, size=size) for k in range(5)]
        write_pictures(tmp_path / "set" / name, *pictures, names=[f"{k}.png" for k in range(5)])
    options = ["--weights", "none", "--against", "minterpolate,blend", "--progress", "json"]
    result = run(tmp_path / "set", *options, "--json", tmp_path / "out.json")
    assert result.exit_code == 4 and "set x2: 2 clips, 4 pairs" in result.stdout
    (scored,) = json.loads((tmp_path / "out.json").read_text())["sets"]
    counts = [{clip["clip"]: clip["frames"] for clip in method["clips"]} for method in scored["methods"]]
    assert counts == [{"large": 2}, {"large": 2, "small": 2}]
    (failure,) = scored["failures"]
    assert failure["clip"] == "small" and "minterpolate failed on a pair of 12x12" in failure["text"]
    errors = [json.loads(line) for line in result.stderr.splitlines() if '"error"' in line]
    assert "12x12" in errors[0]["text"] and "1 of 2 clips could not be measured" in errors[1]["text"]


def test_a_video_that_cannot_be_opened_costs_its_own_scores_alone(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "text.mp4").write_text("no video")
    options = ["--weights", "none", "--against", "blend", "--json", tmp_path / "out.json"]
    alone = run(folder, *options)
    assert alone.exit_code == 3 and "is a text file" in alone.stderr
    write_video(folder / "clip.avi", [moving(k) for k in range(3)])
    result = run(folder, *options)
    assert result.exit_code == 3 and "set x2: 1 clip, 1 pair" in result.stdout
    assert "is a text file" in result.stderr and "1 of 2 clips could not be measured" in result.stderr
    (scored,) = json.loads((tmp_path / "out.json").read_text())["sets"]
    assert [failure["clip"] for failure in scored["failures"]] == ["text.mp4"]


def test_clips_too_short_for_the_factor_are_told(tmp_path: Path) -> None:
    for name, count in (("long", 5), ("short", 4), ("still", 1)):
        pictures = [moving(k) for k in range(count)]
        write_pictures(tmp_path / "set" / name, *pictures, names=[f"{k}.png" for k in range(count)])
    result = run(tmp_path / "set", "--weights", "none", "--against", "blend", "--factor", "4")
    assert result.exit_code == 0 and "set x4: 1 clip, 1 pair" in result.stdout
    assert "note: set x4: left out short, still: fewer than 5 frames" in result.stderr


def test_failures_and_notes_are_events_where_asked(tmp_path: Path) -> None:
    film = tmp_path / "clip.avi"
    write_video(film, [moving(k) for k in range(9)])
    options = ["--weights", "none", "--against", "blend", "--progress", "json"]
    failed = run(tmp_path / "gone", *options)
    assert failed.exit_code == 3
    assert json.loads(failed.stderr) == {"event": "error", "text": failed_text(failed), "exit_code": 3}
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 2 // 3])
    events = [json.loads(line) for line in run(film, *options).stderr.splitlines()]
    assert any(event["event"] == "note" and event["text"].startswith("clip.avi: ") for event in events)


def failed_text(result: Result) -> str:
    return str(json.loads(result.stderr)["text"])


def test_sets_of_one_name_are_told_apart(triplets: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "set"
    names = ["frame_00.png", "frame_01_gt.png", "frame_02.png"]
    write_pictures(other / "1", *[moving(k, 3) for k in range(3)], names=names)
    result = run(triplets, other, "--weights", "none", "--against", "blend", "--json", "-")
    assert [entry["set"] for entry in json.loads(result.stdout)["sets"]] == [str(triplets), str(other)]


def test_help_loads_neither_torch_nor_av() -> None:
    """The command's own module is light, as every command's is."""
    import subprocess

    code = (
        "import sys; from slomo_cli.cli.evaluate import command\n"
        "command.main(['--help'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'av', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SET" in done.stdout and done.stdout.strip().endswith("[]")


def test_files_may_lie_in_the_set_but_never_replace_a_part_of_it(triplets: Path, tmp_path: Path) -> None:
    """A folder of triplets or videos is no film, and what is in folders below is read as well."""
    words = ["--weights", "none", "--against", "blend", "-y"]
    for _ in "again":
        done = run(triplets, *words, "--csv", triplets / "scores.csv", "--sheet", triplets / "worst.png")
        assert done.exit_code == 0, done.stderr
    picture = triplets / "1" / "frame_01_gt.png"
    before = picture.read_bytes()
    refused = run(triplets, *words, "--sheet", picture)
    assert refused.exit_code == 2 and "is the input itself" in refused.stderr and picture.read_bytes() == before

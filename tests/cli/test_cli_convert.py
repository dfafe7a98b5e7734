"""``slomo convert`` and ``slomo fps``: what reaches the pipeline, what is refused before it, and how batches end.

The pipeline is a fake here; its own tests use real files.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from slomo_cli.cli import convert
from slomo_cli.cli.main import main
from slomo_cli.errors import EncoderError, InputError, OutputBusy, OutputClosed, UsageError
from slomo_cli.values import ComputeSettings, EncodeSettings, Summary, TimeSettings


@dataclass
class Call:
    """One call of the fake pipeline."""

    source: Path
    output: Path | None
    time: TimeSettings
    encode: EncodeSettings
    compute: ComputeSettings
    content: bytes


@dataclass
class FakePipeline:
    """Stands in for slomo_cli.pipeline: writes a small file and remembers how it was called."""

    calls: list[Call] = field(default_factory=list)
    failures: dict[str, BaseException] = field(default_factory=dict)
    """Name of a source -> what its conversion raises."""

    def convert(self, source: Path, output: Path | None, *, progress: Any, **settings: Any) -> Summary:
        self.calls.append(Call(source, output, content=source.read_bytes(), **settings))
        if source.name in self.failures:
            raise self.failures[source.name]
        progress.start(80, source.name)
        progress.note("subtitles dropped")
        progress.advance(80)
        if output is not None:
            output.write_bytes(b"done")
        summary = Summary(source, output or Path("-"), 10, 80, 70, Fraction(1), Fraction(8), Fraction(30), seconds=4.0)
        progress.finish(summary)
        return summary

    def plan_conversion(self, source: Path, output: Path | None, **settings: Any) -> Any:
        self.calls.append(Call(source, output, content=source.read_bytes(), **settings))
        return SimpleNamespace(
            timing=SimpleNamespace(frames_from_packets=10, duration=Fraction(1, 3)),
            plan=SimpleNamespace(frames=80, duration=Fraction(8, 3), rate=Fraction(30000, 1001)),
            encoder_args=["ffmpeg", "-i", "pipe:0", "a b.mp4"],
            join_args=["ffmpeg", "-c", "copy"] if settings["encode"].resume else [],
            notes=["subtitles dropped"],
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    """The fake in place of the pipeline, in an empty folder with in.mp4."""
    pipeline = FakePipeline()
    module = ModuleType("slomo_cli.pipeline")
    module.convert = pipeline.convert  # type: ignore[attr-defined]
    module.plan_conversion = pipeline.plan_conversion  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slomo_cli.pipeline", module)
    monkeypatch.setattr("slomo_cli.pipeline", module, raising=False)
    for name in list(os.environ):
        if name.startswith("SLOMO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("in.mp4").write_bytes(b"video")
    return pipeline


class Done:
    """How a run of ``slomo`` ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def last(self) -> str:
        return self.err.splitlines()[-1] if self.err else ""


@pytest.fixture
def slomo(fake: FakePipeline, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command line in this process; signals stay the test runner's."""
    monkeypatch.setattr("slomo_cli.cli.main.Signals.install", lambda self: None)

    def run(*words: str) -> Done:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        out, err = capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return Done(stop.value.code, out, err)

    return run


def test_convert_by_default_is_eight_times_slower_beside_the_source(fake: FakePipeline, slomo: Any) -> None:
    done = slomo("convert", "in.mp4")

    assert done.code == 0
    assert (call := fake.calls[0]).source == Path("in.mp4")
    assert call.output == Path("in.x8.mp4")
    assert call.time == TimeSettings(factor=Fraction(8))
    assert call.encode == EncodeSettings()
    assert call.compute == ComputeSettings()
    assert done.out == ""
    assert done.err.splitlines() == [
        "note: subtitles dropped",
        "in.x8.mp4: 80 frames, 70 of them new, 8.00 s at 30 fps; took 0:04 (20.0 frames/s)",
    ]


def test_every_option_reaches_the_pipeline(fake: FakePipeline, slomo: Any) -> None:
    line = """
    convert in.mp4 -o out.mov -y --resume
    --factor 30000/1001 --rate 59.94 --start 1:30 --end 00:02:00.5 --loop --vfr constant
    --cuts blend --cut-threshold 0.35 --duplicates keep --deinterlace off --input-rate 24
    --codec hevc --crf 20 --preset slow --audio pitch --no-faststart --ffmpeg /opt/ffmpeg
    --encoder-args "-tune film -metadata 'title=a b'"
    --weights my.safetensors --device cuda:1 --dtype bfloat16 --proxy 540 --batch 4 --compile --threads 3
    --motion straight
    """
    done = slomo(*shlex.split(line))

    assert done.code == 0, done.err
    assert fake.calls[0].time == TimeSettings(
        factor=Fraction(30000, 1001),
        rate=Fraction(60000, 1001),
        start=Fraction(90),
        end=Fraction(241, 2),
        loop=True,
        cuts="blend",
        cut_threshold=0.35,
        duplicates="keep",
        deinterlace="off",
        input_rate=Fraction(24),
    )
    assert fake.calls[0].encode == EncodeSettings(
        codec="hevc",
        crf=20,
        preset="slow",
        encoder_args=("-tune", "film", "-metadata", "title=a b"),
        audio="pitch",
        overwrite=True,
        faststart=False,
        resume=True,
        ffmpeg="/opt/ffmpeg",
    )
    assert fake.calls[0].compute == ComputeSettings(
        "my.safetensors", "cuda:1", "bfloat16", "540", 4, True, 3, "straight"
    )


def test_options_are_called_as_the_settings_they_become() -> None:
    """In every command that shares them: ``options.settings`` passes over other names."""
    kinds = (TimeSettings, EncodeSettings, ComputeSettings)
    settings = {one.name for kind in kinds for one in fields(kind)}
    others = {"inputs", "output", "out_dir", "skip_existing", "dry_run", "progress", "quiet", "verbose"}

    assert {param.name for param in convert.command.params} == settings | others


def test_speed_replaces_the_factor(fake: FakePipeline, slomo: Any) -> None:
    assert slomo("convert", "in.mp4", "--speed", "0-2:1, 2-:0.125").code == 0
    assert fake.calls[0].time == TimeSettings(factor=Fraction(1), speed="0-2:1, 2-:0.125")
    assert fake.calls[0].output == Path("in.speed.mp4")

    done = slomo("convert", "in.mp4", "--speed", "0-:0.5", "--factor", "8")

    assert (done.code, done.err) == (2, "slomo: --speed says how slow each part is: leave out --factor\n")


def test_vfr_keep_and_rate_contradict(slomo: Any) -> None:
    assert slomo("convert", "in.mp4", "--vfr", "keep").code == 0
    done = slomo("convert", "in.mp4", "--vfr", "keep", "--rate", "60")

    assert (done.code, done.err) == (2, "slomo: --vfr keep writes the source's own times: leave out --rate\n")


@pytest.mark.parametrize(
    ("target", "rate", "name"),
    [
        ("240", "240", "in.240fps.mp4"),
        ("60000/1001", "60000/1001", "in.59.94fps.mp4"),
        ("23.976", "24000/1001", "in.23.976fps.mp4"),
        ("12.5", "25/2", "in.12.5fps.mp4"),
    ],
)
def test_fps_keeps_the_duration(fake: FakePipeline, slomo: Any, target: str, rate: str, name: str) -> None:
    assert slomo("fps", "in.mp4", "--target", target).code == 0
    assert fake.calls[0].time == TimeSettings(factor=Fraction(1), rate=Fraction(rate))
    assert fake.calls[0].output == Path(name)


@pytest.mark.parametrize(
    ("variable", "value", "words", "name"),
    [
        ("SLOMO_AUTO_FACTOR", "4", ["--factor", "2"], "in.x2.mp4"),
        ("SLOMO_CONVERT_SPEED", "0-1:0.5", ["--factor", "2"], "in.x2.mp4"),
        ("SLOMO_SPEED", "0-1:0.5", ["--auto-factor", "2"], "in.auto.mp4"),
        ("SLOMO_OUT_DIR", "there", ["-o", "out.mp4"], "out.mp4"),
        ("SLOMO_SKIP_EXISTING", "1", ["-y"], "in.x8.mp4"),
        ("SLOMO_OVERWRITE", "1", ["-n"], "in.x8.mp4"),
    ],
)
def test_what_is_typed_wins_over_an_environment_that_contradicts_it(
    fake: FakePipeline,
    slomo: Any,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    words: list[str],
    name: str,
) -> None:
    monkeypatch.setenv(variable, value)

    assert slomo("convert", "in.mp4", *words).code == 0
    assert fake.calls[0].output == Path(name)


def test_environment_sets_options_and_the_command_s_own_name_wins(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOMO_DEVICE", "mps")
    monkeypatch.setenv("SLOMO_CONVERT_DEVICE", "cpu")
    monkeypatch.setenv("SLOMO_WEIGHTS", "superslomo")
    monkeypatch.setenv("SLOMO_FPS_TARGET", "120")
    monkeypatch.setenv("SLOMO_CONVERT_COMPILE", "1")
    monkeypatch.setenv("SLOMO_FFMPEG", "/found/later")
    monkeypatch.setenv("SLOMO_CRF", "")

    assert slomo("convert", "in.mp4").code == 0
    assert slomo("fps", "in.mp4").code == 0
    assert slomo("convert", "in.mp4", "--device", "cuda", "-y").code == 0
    assert [call.compute.device for call in fake.calls] == ["cpu", "mps", "cuda"]
    assert [call.compute.weights for call in fake.calls] == ["superslomo"] * 3
    assert [call.compute.compile for call in fake.calls] == [True, False, True]
    assert fake.calls[1].time.rate == 120
    assert fake.calls[0].encode.ffmpeg is None, "SLOMO_FFMPEG is read where ffmpeg is searched"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--factor", "0.5"], "Invalid value for '--factor': expected a number of 1 or more, found '0.5'"),
        (["--factor", "x"], "Invalid value for '--factor': expected a number such as 2, 2.5 or 30000/1001, found 'x'"),
        (["--rate", "0"], "Invalid value for '--rate': expected a frame rate above 0, found '0'"),
        (["--device", "gpu"], "Invalid value for '--device': expected auto, cpu, cuda, cuda:N or mps, found 'gpu'"),
        (["--proxy", "8"], "Invalid value for '--proxy': expected auto, full or 32 and more pixels, found '8'"),
        (
            ["--cut-threshold", "1.5"],
            "Invalid value for '--cut-threshold': expected a number from 1e-06 to 1, found '1.5'",
        ),
        (["--batch", "-1"], "Invalid value for '--batch': expected a whole number from 0 to 4096, found '-1'"),
        (["--crf", "nan"], "Invalid value for '--crf': expected a number from 0 to 255, found 'nan'"),
        (["--encoder-args", "'"], "Invalid value for '--encoder-args': expected arguments quoted as for a shell,"),
        (["--nonsense"], "No such option"),
        (["-y", "-n"], "-y replaces what is there and -n leaves it: give one of them"),
    ],
)
def test_bad_options_are_told_and_end_with_2(fake: FakePipeline, slomo: Any, words: list[str], text: str) -> None:
    done = slomo("convert", "in.mp4", *words)

    assert done.code == 2
    assert done.err.startswith(f"slomo: {text}")
    assert "Traceback" not in done.err
    assert fake.calls == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("convert in.mp4 --fps 60", "No such option '--fps' (did you mean '--rate'?)"),
        ("convert in.mp4 --target 60", "No such option '--target' (did you mean '--rate'?)"),
        ("fps in.mp4 --rate 60", "No such option '--rate' (did you mean '--target'?)"),
        ("fps in.mp4 --fps 60", "No such option '--fps' (did you mean '--target'?)"),
        ("between a.png b.png --fps 60", "No such option '--fps' (did you mean '--rate'?)"),
        ("convert in.mp4 --fator 2", "No such option '--fator' (did you mean '--factor'?)"),
        ("convert in.mp4 --out new.mp4", "No such option '--out' (did you mean '--output' or '--out-dir'?)"),
        ("convert in.mp4 --quality 9", "No such option '--quality'\nTry"),  # not --quiet
        ("convert in.mp4 --no-fastart", "No such option '--no-fastart' (did you mean '--no-faststart' or"),
        ("convert in.mp4 --slow 2", "No such option '--slow'\nTry"),
        ("convert in.mp4 -f 2", "No such option '-f'\nTry"),
        ("--verison", "No such option '--verison' (did you mean '--version'?)"),
    ],
)
def test_unknown_options_lead_to_those_meant(fake: FakePipeline, slomo: Any, words: str, told: str) -> None:
    done = slomo(*words.split())

    assert done.code == 2
    assert done.err.startswith(f"slomo: {told}")


@pytest.mark.parametrize(
    ("words", "dashed", "meant"),
    [
        ("convert in.mp4 \u2013factor 8 -o out.mp4", "\u2013factor", "--factor"),
        ("convert in.mp4 \u2014factor=8", "\u2014factor=8", "--factor"),
        ("convert in.mp4 \u2013o out.mp4", "\u2013o", "-o"),
        ("fps in.mp4 \u2014target 60", "\u2014target", "--target"),
        ("\u2013version", "\u2013version", "--version"),
    ],
)
def test_dashes_pasted_for_hyphens_are_told(
    fake: FakePipeline, slomo: Any, words: str, dashed: str, meant: str
) -> None:
    done = slomo(*words.split())

    assert done.code == 2
    assert done.err.startswith(f"slomo: expected '{meant}' with hyphens, found the dash of '{dashed}': type it anew\n")
    assert fake.calls == []


def test_files_may_be_called_like_options_with_dashes(fake: FakePipeline, slomo: Any) -> None:
    Path("\u2013start").write_bytes(b"video")
    assert slomo("convert", "\u2013start").code == 0
    assert "does not exist" in slomo("convert", "--", "\u2013end").err


@pytest.mark.parametrize(
    ("words", "hinted"),
    [
        ("in.mp4 new.mp4", True),  # as other programs have it
        ("my holiday.mp4", False),  # a space without quotes
        ("new.mp4 in.mp4", False),
        ("in.mp4 new.mp4 --out-dir slow", False),
        ("new.mp4", False),
    ],
)
def test_result_named_without_its_option_is_told(fake: FakePipeline, slomo: Any, words: str, hinted: bool) -> None:
    done = slomo("convert", *words.split())

    assert " does not exist" in done.err
    assert ("' does not exist; a result is named by -o\n" in done.err) == hinted


@pytest.mark.parametrize("words", [["my", "holiday.mp4"], ["in.mp4", "--encoder-args", "-b:v", "my"]])
def test_words_that_were_to_be_quoted_are_told(fake: FakePipeline, slomo: Any, words: list[str]) -> None:
    done = slomo("convert", *words, "-o", "out.mp4")

    assert (done.code, done.err) == (
        2,
        "slomo: -o names one file and there are 2 inputs, of which 'my' does not exist: quote what holds spaces, or "
        "use --out-dir DIR\n",
    )


def test_missing_input_and_missing_target(slomo: Any) -> None:
    done = slomo("convert")
    assert (done.code, done.err) == (2, "slomo: Missing argument 'INPUT...'.\nTry 'slomo convert --help'.\n")
    done = slomo("fps", "in.mp4")
    assert (done.code, done.err) == (2, "slomo: Missing option '--target'.\nTry 'slomo fps --help'.\n")


def test_existing_output_is_refused_off_a_terminal(fake: FakePipeline, slomo: Any) -> None:
    Path("out.mp4").write_bytes(b"old")
    done = slomo("convert", "in.mp4", "-o", "out.mp4")

    assert (done.code, done.err) == (1, "slomo: 'out.mp4' exists: -y replaces it, -n leaves it\n")
    assert Path("out.mp4").read_bytes() == b"old"
    assert fake.calls == []


def test_what_comes_while_others_are_made_is_left_with_n_and_replaced_with_y(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where two run over the same folder."""
    Path("two.mp4").write_bytes(b"video")
    convert = fake.convert

    def meanwhile(*args: Any, **words: Any) -> Summary:
        Path("two.x8.mp4").write_bytes(b"another's")
        return convert(*args, **words)

    monkeypatch.setattr("slomo_cli.pipeline.convert", meanwhile)
    done = slomo("convert", "in.mp4", "two.mp4", "-n")
    assert done.code == 0 and "note: 'two.x8.mp4' exists and stays as it is" in done.err
    assert [call.source.name for call in fake.calls] == ["in.mp4"]

    Path("two.x8.mp4").unlink()
    assert slomo("convert", "in.mp4", "two.mp4", "-y").code == 0
    assert [call.encode.overwrite for call in fake.calls[1:]] == [True, True]


def test_what_comes_while_this_one_begins_is_left_with_n(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where two that begin together come to the same file: one is told so by the pipeline."""

    def beaten(*_: Any, **__: Any) -> Summary:
        Path("in.x8.mp4").write_bytes(b"another's")
        raise UsageError("'in.x8.mp4' exists: overwrite it with -y or choose another -o")

    monkeypatch.setattr("slomo_cli.pipeline.convert", beaten)
    done = slomo("convert", "in.mp4", "-n")

    assert (done.code, done.err) == (0, "note: 'in.x8.mp4' exists and stays as it is\n")
    assert slomo("convert", "in.mp4", "-o", "other.mp4", "-n").code == 2


def test_what_another_slomo_is_writing_is_left_to_it_with_n(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where several work on one list of files."""

    def beaten(*_: Any, **__: Any) -> Summary:
        raise OutputBusy("another slomo is writing this output")

    monkeypatch.setattr("slomo_cli.pipeline.convert", beaten)
    done = slomo("convert", "in.mp4", "-n")

    assert (done.code, done.err) == (0, "note: 'in.x8.mp4' is being written by another slomo and left to it\n")
    assert slomo("convert", "in.mp4").code == 4


def test_y_replaces_and_n_leaves_existing_output(fake: FakePipeline, slomo: Any) -> None:
    Path("out.mp4").write_bytes(b"old")
    done = slomo("convert", "in.mp4", "-o", "out.mp4", "-n")

    assert (done.code, done.err) == (0, "note: 'out.mp4' exists and stays as it is\n")
    assert fake.calls == []
    assert slomo("convert", "in.mp4", "-o", "out.mp4", "-y").code == 0
    assert fake.calls[0].encode.overwrite is True
    assert Path("out.mp4").read_bytes() == b"done"


@pytest.mark.parametrize("there", ["f_001.png", "f_002.png", "f_1000.png"])
def test_numbered_pictures_are_there_when_any_is(there: str, fake: FakePipeline, slomo: Any) -> None:
    words = ("convert", "in.mp4", "-o", "f_%03d.png")
    for name in (there, "f_.png", "f_7.png", "f_000.png"):  # the others are none of them
        Path(name).write_bytes(b"old")
    refused, left, replaced = slomo(*words), slomo(*words, "-n"), slomo(*words, "-y")

    assert (refused.code, refused.err) == (1, f"slomo: '{there}' exists: -y replaces it, -n leaves it\n")
    assert (left.code, left.err) == (0, "note: 'f_%03d.png' exists and stays as it is\n")
    assert replaced.code == 0
    assert [call.encode.overwrite for call in fake.calls] == [True]


@pytest.mark.parametrize(("answer", "calls", "code"), [("y\n", 1, 0), ("n\n", 0, 0)])
def test_existing_output_is_asked_about_on_a_terminal(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch, answer: str, calls: int, code: int
) -> None:
    import click

    Path("out.mp4").write_bytes(b"old")
    asked = []
    monkeypatch.setattr("slomo_cli.cli.files.interactive", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda text, **_: asked.append(text) or answer == "y\n")

    assert slomo("convert", "in.mp4", "-o", "out.mp4").code == code
    assert asked == ["'out.mp4' exists. Replace it?"]
    assert len(fake.calls) == calls


def test_batch_goes_on_after_failures_and_ends_non_zero(fake: FakePipeline, slomo: Any) -> None:
    for name in ("a.mp4", "b.mp4", "c.mkv"):
        Path(name).write_bytes(b"video")
    fake.failures = {
        "a.mp4": InputError("'a.mp4' is a text file; expected a video"),
        "c.mkv": EncoderError("ffmpeg died"),
    }
    done = slomo(
        "convert", "a.mp4", "missing.mp4", "b.mp4", "c.mkv", "--out-dir", "slow/er", "--progress", "none", "-q"
    )

    assert done.code == 1
    assert done.err.splitlines() == [
        "slomo: 'missing.mp4' does not exist",
        "slomo: 'a.mp4' is a text file; expected a video",
        "slomo: c.mkv: ffmpeg died",
        "slomo: 3 of 4 inputs failed",
    ]
    assert sorted(path.name for path in Path("slow/er").iterdir()) == ["b.x8.mp4"]


def test_batch_whose_failures_share_a_code_ends_with_it(fake: FakePipeline, slomo: Any) -> None:
    done = slomo("convert", "missing.mp4", "in.mp4", "gone.mp4", "--out-dir", ".")

    assert done.code == 3
    assert done.last == "slomo: 2 of 3 inputs failed"
    assert Path("in.x8.mp4").exists()


def test_a_bug_keeps_its_traceback_and_the_batch_its_way(fake: FakePipeline, slomo: Any) -> None:
    Path("b.mp4").write_bytes(b"video")
    fake.failures = {"in.mp4": ZeroDivisionError("a bug")}
    done = slomo("convert", "in.mp4", "b.mp4", "--out-dir", ".")

    assert done.code == 1
    assert "ZeroDivisionError: a bug" in done.err
    assert Path("b.x8.mp4").exists()
    with pytest.raises(ZeroDivisionError):
        main(["convert", "in.mp4"])


def test_out_of_memory_is_5(fake: FakePipeline, slomo: Any) -> None:
    fake.failures = {"in.mp4": MemoryError()}
    done = slomo("convert", "in.mp4")

    assert (done.code, done.err) == (5, "slomo: out of memory: a smaller --proxy or --batch needs less\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("can't start new thread"), "no more threads can be begun: raise the limits"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory"),
    ],
)
def test_what_the_machine_lacks_is_5(fake: FakePipeline, slomo: Any, error: Exception, said: str) -> None:
    """As where ``ulimit`` keeps a process short."""
    fake.failures = {"in.mp4": error}
    done = slomo("convert", "in.mp4")

    assert (done.code, len(done.err.splitlines())) == (5, 1)
    assert done.err.startswith(f"slomo: {said}")


def test_the_last_error_of_a_batch_in_json_has_the_code_the_run_ends_with(fake: FakePipeline, slomo: Any) -> None:
    done = slomo("convert", "missing.mp4", "gone.mp4", "--out-dir", ".", "--progress", "json")

    events = [json.loads(line) for line in done.err.splitlines()]
    assert done.code == 3
    assert [event["exit_code"] for event in events] == [3, 3, 3]


def test_a_reader_that_has_gone_is_no_news(fake: FakePipeline, slomo: Any) -> None:
    fake.failures = {"in.mp4": OutputClosed("standard output was closed after 3 frames")}
    done = slomo("convert", "in.mp4", "-o", "-", "--progress", "none")

    assert (done.code, done.err) == (141, "")


@pytest.mark.parametrize(("stream", "words"), [("stdin", ["-", "-o", "x.mp4"]), ("stdout", ["in.mp4", "-o", "-"])])
def test_closed_streams_are_told(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch, stream: str, words: list[str]
) -> None:
    monkeypatch.setattr(sys, stream, None)
    done = slomo("convert", *words)

    assert done.code == 2
    assert f"{stream} (" in done.err and "is closed: " in done.err


def test_a_wrong_value_in_the_environment_is_told_of_its_variable(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOMO_FACTOR", "abc")
    assert "Invalid value for 'SLOMO_FACTOR': expected a number" in slomo("convert", "in.mp4").err
    monkeypatch.setenv("SLOMO_CONVERT_FACTOR", "def")
    assert "Invalid value for 'SLOMO_CONVERT_FACTOR': expected a number" in slomo("convert", "in.mp4").err
    assert "Invalid value for '--factor': expected a number" in slomo("convert", "in.mp4", "--factor", "x").err


def test_a_factor_in_the_environment_is_no_contradiction(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOMO_CONVERT_FACTOR", "3")

    assert slomo("convert", "in.mp4", "--speed", "0-:4").code == 0
    assert slomo("convert", "in.mp4", "--speed", "0-:4", "--factor", "3", "-y").code == 2


def test_json_progress_tells_errors_in_json_too(fake: FakePipeline, slomo: Any) -> None:
    fake.failures = {"in.mp4": EncoderError("ffmpeg died")}
    done = slomo("convert", "in.mp4", "--progress", "json")

    assert done.code == 4
    assert [json.loads(line) for line in done.err.splitlines()] == [
        {"event": "error", "text": "ffmpeg died", "exit_code": 4}
    ]


def test_stdin_is_kept_in_a_file_and_stdout_is_the_pipeline_s(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open("in.mp4", "rb") as file:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=file, isatty=lambda: False))
        done = slomo("convert", "-", "-o", "-")

    assert done.code == 0, done.err
    assert fake.calls[0].output is None
    assert fake.calls[0].content == b"video"
    assert not fake.calls[0].source.exists(), "the copy is gone after the work"
    assert done.out == "", "nothing but the video goes to stdout"


def test_the_end_of_stdin_s_conversion_is_told_of_stdin(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("in.mp4", "rb") as file:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=file, isatty=lambda: False))
        done = slomo("convert", "-", "-o", "x.mp4", "--progress", "json")

    assert [json.loads(line).get("source") for line in done.err.splitlines()][-1] == "-"


def test_what_came_by_stdin_cannot_be_gone_on_with(fake: FakePipeline, slomo: Any) -> None:
    done = slomo("convert", "-", "-o", "x.mp4", "--resume")

    assert done.code == 2 and "--resume needs a file" in done.err
    assert not fake.calls


def test_a_file_named_dash_is_a_file(fake: FakePipeline, slomo: Any) -> None:
    Path("-").write_bytes(b"dash")

    assert slomo("convert", "./-", "-o", "./out.mp4").code == 0
    assert fake.calls[0].content == b"dash"


@pytest.mark.parametrize("name", ["-lead.mp4", "a b.mp4", "100%d.mp4", "new\nline.mp4", "concat:a.mp4"])
def test_odd_names_are_files(fake: FakePipeline, slomo: Any, name: str) -> None:
    Path(name).write_bytes(b"odd")

    assert slomo("convert", "--", name).code == 0
    assert fake.calls[0].content == b"odd"
    assert fake.calls[0].output == Path(name.replace(".mp4", ".x8.mp4"))


def test_names_are_printed_escaped(slomo: Any) -> None:
    done = slomo("convert", "--", "no\nsuch\x1b[2J\udcff.mp4")

    assert (done.code, done.err) == (3, "slomo: 'no\\nsuch\\x1b[2J\\udcff.mp4' does not exist\n")


def test_dry_run_prints_the_plan_and_writes_nothing(fake: FakePipeline, slomo: Any) -> None:
    Path("out.mp4").write_bytes(b"old")
    done = slomo("convert", "in.mp4", "-o", "out.mp4", "--dry-run", "--crf", "20", "-y")

    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "in.mp4\n"
        "  output   out.mp4\n"
        "  in       10 frames, 0.333 s\n"
        "  out      80 frames, 2.667 s at 29.97 (30000/1001) fps\n"
        "  note     subtitles dropped\n"
        "  encoder  ffmpeg -i pipe:0 'a b.mp4'\n"
    )
    assert Path("out.mp4").read_bytes() == b"old"
    assert fake.calls[0].encode.crf == 20

    in_parts = slomo("convert", "in.mp4", "-o", "out.mp4", "--dry-run", "--crf", "20", "--resume")
    assert in_parts.out == done.out + "  join     ffmpeg -c copy\n"
    assert in_parts.err == "note: 'out.mp4' exists: -y replaces it, -n leaves it\n"

    left = slomo("convert", "in.mp4", "-o", "out.mp4", "--dry-run", "-n")
    assert (left.code, left.out, left.err) == (0, "", "note: 'out.mp4' exists and stays as it is\n")


def test_plans_that_nobody_reads_any_more_are_no_fault(
    fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(text: str) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    Path("two.mp4").write_bytes(b"video")
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # click replaces it
    monkeypatch.setattr("slomo_cli.cli.batch.click.echo", gone)
    done = slomo("convert", "in.mp4", "two.mp4", "--dry-run")

    assert (done.code, done.err, len(fake.calls)) == (141, "", 1)


def test_dry_run_makes_no_folder(slomo: Any) -> None:
    assert slomo("convert", "in.mp4", "--out-dir", "new", "--dry-run").code == 0
    assert not Path("new").exists()


def test_verbose_shows_the_package_s_log(fake: FakePipeline, slomo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    log = logging.getLogger("slomo_cli")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "level", logging.NOTSET)
    plain = fake.convert

    def talkative(*words: Any, **settings: Any) -> Summary:
        logging.getLogger("slomo_cli.somewhere").info("the ffmpeg line")
        logging.getLogger("slomo_cli.somewhere").debug("a detail")
        return plain(*words, **settings)

    sys.modules["slomo_cli.pipeline"].convert = talkative  # type: ignore[attr-defined]

    assert "the ffmpeg line" not in slomo("convert", "in.mp4", "-y").err
    once = slomo("convert", "in.mp4", "-y", "-v").err
    assert "the ffmpeg line" in once
    assert "a detail" not in once
    assert "a detail" in slomo("convert", "in.mp4", "-y", "-vv").err

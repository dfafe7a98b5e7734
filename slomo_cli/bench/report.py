"""The result as tables for people and as JSON for programs.

JSON, seconds and bytes unless a name says otherwise; null where the machine does not tell:

    slomo, torch, ffmpeg: versions; runs: one per clip:
    clip {name ("" for a generated one), width, height, rate, source_frames}, factor, device, cores,
    load [before, after: processes that wanted to run, averaged over a minute]
    stages [{name, unit, wall_ms, cpu_ms (per unit), units_per_output_frame, output_fps (if it were alone), note}]
    parts [the same and gflop (per unit), gflops (per second; on a CPU of processor time), share_of_matrix_peak]
    matrix_peak_gflops (of one core on a CPU)
    end_to_end {frames, new_frames, wall_ms, cpu_ms (per output frame, after the first), output_fps, seconds,
        start_seconds (process start to first frame), slowest_stage, of_slowest_stage, of_cores (share of the speed at
        which the cores are all busy or the slowest stage is), peak_bytes, encoder_peak_bytes, device_peak_bytes}
    against {name, ffmpeg, frames, wall_ms, cpu_ms, output_fps, ours {as end_to_end, encoder left out},
        times_faster_wall, times_faster_cpu} or null
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slomo_cli import __version__
from slomo_cli.bench.child import Whole
from slomo_cli.bench.run import Measured
from slomo_cli.bench.stages import Stage
from slomo_cli.errors import printable
from slomo_cli.text import decimal

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 72
"""Columns that a table takes on any terminal; a narrower one breaks the lines."""


def to_json(results: Sequence[Measured], versions: dict[str, str]) -> str:
    """One indented object; see the module's text."""
    document = {"slomo": __version__, **versions, "runs": [_run(result) for result in results]}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _run(result: Measured) -> dict[str, Any]:
    other, ratio = result.rival, result.ratio
    against = None
    if other is not None and ratio is not None and result.without_encoder is not None:
        against = {
            "name": other.name,
            "ffmpeg": other.version,
            "frames": other.frames,
            **_times(other.spent.wall, other.spent.cpu),
            "output_fps": round(other.fps, 3),
            "ours": _whole(result.without_encoder),
            "times_faster_wall": round(ratio.wall, 3),
            "times_faster_cpu": round(ratio.cpu, 3),
        }
    return {
        "clip": {
            "name": printable(result.name),
            "width": result.width,
            "height": result.height,
            "rate": str(result.rate),
            "source_frames": result.source_frames,
        },
        "factor": str(result.factor),
        "device": result.device,
        "cores": result.cores,
        "load": [result.load_before, result.load_after],
        "stages": [_stage(stage) for stage in result.stages],
        "parts": [{**_stage(part), **_arithmetic(part, result.matrix_peak)} for part in result.parts],
        "matrix_peak_gflops": round(result.matrix_peak / 1e9, 1),
        "end_to_end": {
            **_whole(result.whole),
            "slowest_stage": result.slowest.name,
            "of_slowest_stage": round(result.of_slowest, 3),
            "of_cores": round(result.of_cores, 3),
        },
        "against": against,
    }


def _times(wall: float, cpu: float) -> dict[str, float]:
    return {"wall_ms": round(1e3 * wall, 3), "cpu_ms": round(1e3 * cpu, 3)}


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "unit": stage.unit,
        **_times(stage.spent.wall, stage.spent.cpu),
        "units_per_output_frame": round(stage.share, 6),
        "output_fps": round(stage.fps, 3),
        "note": stage.note,
    }


def _arithmetic(part: Stage, peak: float) -> dict[str, float]:
    return {
        "gflop": round(part.flop / 1e9, 3),
        "gflops": round(part.flops / 1e9, 1),
        "share_of_matrix_peak": round(part.flops / peak, 3),
    }


def _whole(whole: Whole) -> dict[str, Any]:
    return {
        "frames": whole.frames,
        "new_frames": whole.new_frames,
        **_times(whole.spent.wall, whole.spent.cpu),
        "output_fps": round(whole.fps, 3),
        "seconds": round(whole.spent_all.wall, 3),
        "start_seconds": round(whole.start_seconds, 3),
        "peak_bytes": whole.peak_bytes,
        "encoder_peak_bytes": whole.encoder_peak_bytes,
        "device_peak_bytes": whole.device_peak_bytes,
    }


def print_tables(results: Sequence[Measured], console: Console) -> None:
    """Per clip: the stages, the parts of the network, and lines of conclusions."""
    from rich.table import Table
    from rich.text import Text

    for result in results:
        clip = printable(result.name) or "generated clip"
        title = f"{clip}, {result.width}x{result.height}, x{decimal(result.factor)}, on {result.device}"
        width = NARROWEST if console.width < NARROWEST else None
        table = Table(title=Text(title), title_justify="left", title_style="bold", width=width)
        table.add_column("alone", overflow="fold")  # on narrow terminals words are broken, never numbers
        table.add_column("per", overflow="fold")
        for heading in ("ms", "CPU ms", "GFLOP", "of peak", "output fps"):
            table.add_column(heading, justify="right", no_wrap=True)
        for stage in result.stages:
            name = f"{stage.name} ({stage.note})" if stage.name == "encode" else stage.name
            table.add_row(name, *_cells(stage), "", "", f"{stage.fps:.1f}")
            for part in result.parts if stage.name.startswith("network") else ():
                gflop = f"{part.flop / 1e9:.2f}" if part.flop else ""
                share = f"{100 * part.flops / result.matrix_peak:.0f} %" if part.flop else ""
                table.add_row(f"  {part.name}", *_cells(part), gflop, share, "", style="dim")
        whole = result.whole
        table.add_section()
        row = ("end to end", "output frame", f"{1e3 * whole.spent.wall:.2f}", f"{1e3 * whole.spent.cpu:.2f}", "", "")
        table.add_row(*row, f"{whole.fps:.1f}", style="bold")
        console.print(table, crop=False)
        for line in conclusions(result):
            console.print(line, markup=False, highlight=False)


def _cells(stage: Stage) -> tuple[str, str, str]:
    return stage.unit, f"{1e3 * stage.spent.wall:.2f}", f"{1e3 * stage.spent.cpu:.2f}"


def conclusions(result: Measured) -> list[str]:
    """What the numbers say, in lines."""
    whole, slowest = result.whole, result.slowest
    lines = [
        f"end to end: {100 * result.of_slowest:.0f} % of its slowest stage alone ({slowest.name}), "
        f"{100 * result.of_cores:.0f} % of what {result.cores} cores allow all stages together",
        f"first frame after {whole.start_seconds:.1f} s; "
        + ", ".join(
            f"{what} {size / 2**20:.0f} MiB"
            for what, size in (
                ("peak memory", whole.peak_bytes),
                ("encoder", whole.encoder_peak_bytes),
                ("device", whole.device_peak_bytes),
            )
            if size
        ),
    ]
    loads = [x for x in (result.load_before, result.load_after) if x is not None]
    if loads and max(loads) > 1.5 * result.cores:
        lines.append(
            f"the machine was busy with other work (load {max(loads):.1f} on {result.cores} cores): "
            "trust the CPU times and the ratios, not the frames per second"
        )
    other, ours, ratio = result.rival, result.without_encoder, result.ratio
    if other is not None and ours is not None and ratio is not None:
        lines.append(
            f"against ffmpeg {other.version} {other.name}, no encoder on either side: "
            f"{ours.fps:.1f} and {other.fps:.1f} fps, {1e3 * ours.spent.cpu:.0f} and {1e3 * other.spent.cpu:.0f} "
            f"CPU ms a frame: {_times_as(ratio.wall, 'faster', 'slower')}, "
            f"{_times_as(ratio.cpu, 'less work', 'more work')}"
        )
    return lines


def _times_as(ratio: float, better: str, worse: str) -> str:
    return f"{ratio:.1f} times {better}" if ratio >= 1 else f"{1 / max(ratio, 1e-9):.1f} times {worse}"

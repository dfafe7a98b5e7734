"""One conversion after another: every check first, then the work, going on after a file that failed."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slomo_cli.cli import files, options
from slomo_cli.errors import DeviceError, SlomoError, printable

if TYPE_CHECKING:
    from slomo_cli.progress import Reporter


def run(inputs: Sequence[str], wish: options.Settings, values: options.Values, *, tag: str) -> int:
    """Convert every input and return the exit code: 0, the code all failures share, or 1.

    All names are checked, and all questions asked, before torch and the first file are loaded.
    """
    jobs = files.plan_jobs(inputs, output=values["output"], out_dir=values["out_dir"], tag=tag, codec=values["codec"])
    with options.make_reporter(values) as reporter:
        failures: list[int] = []
        ready = [(job, replace) for job in jobs if (replace := _admit(job, values, reporter, failures)) is not None]
        for job, replace in ready:
            _attempt(job, wish, values, reporter, failures, replace=replace, alone=len(jobs) == 1)
        if failures and len(jobs) > 1:
            reporter.error(SlomoError(f"{len(failures)} of {len(jobs)} inputs failed"))
    if not failures:
        return 0
    return failures[0] if len(set(failures)) == 1 else 1


def _admit(job: files.Job, values: options.Values, reporter: Reporter, failures: list[int]) -> bool | None:
    """May the job run, and replace what is there? None where it may not or need not."""
    dry = values["dry_run"]
    try:
        files.check_source(job.source)
        files.check_target(job.target, create=values["out_dir"] is not None, dry=dry)
        if dry:
            return True
        replace = files.may_write(job.target, overwrite=values["overwrite"], skip=values["skip_existing"])
    except SlomoError as error:
        reporter.error(error, job.name)
        failures.append(error.exit_code)
        return None
    if replace is None:
        reporter.note(f"'{printable(job.target)}' exists and stays as it is")
    return replace


def _attempt(
    job: files.Job,
    wish: options.Settings,
    values: options.Values,
    reporter: Reporter,
    failures: list[int],
    *,
    replace: bool,
    alone: bool,
) -> None:
    try:
        with files.readable(job.source) as source:
            if values["dry_run"]:
                _show_plan(job, source, wish)
            else:
                _convert(job, source, wish, reporter, replace=replace)
    except SlomoError as error:
        reporter.error(error, job.name)
        failures.append(error.exit_code)
    except MemoryError:
        reporter.error(DeviceError("out of memory: a smaller --proxy or --batch needs less"), job.name)
        failures.append(DeviceError.exit_code)
    except Exception:
        if alone:
            raise
        reporter.close()
        traceback.print_exc()
        reporter.error(SlomoError("failed by a fault of slomo's own (traceback above)"), job.name)
        failures.append(1)


def _convert(job: files.Job, source: Path, wish: options.Settings, reporter: Reporter, *, replace: bool) -> None:
    from dataclasses import replace as changed

    from slomo_cli import pipeline

    pipeline.convert(
        source,
        job.target,
        time=wish.time,
        encode=changed(wish.encode, overwrite=replace),
        compute=wish.compute,
        progress=reporter,
    )


def _show_plan(job: files.Job, source: Path, wish: options.Settings) -> None:
    from slomo_cli import pipeline
    from slomo_cli.cli.plan import plan_text

    plan = pipeline.plan_conversion(source, job.target, time=wish.time, encode=wish.encode, compute=wish.compute)
    click.echo(plan_text(job.name, job.target, plan))

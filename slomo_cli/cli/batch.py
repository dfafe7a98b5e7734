"""One conversion after another: every check first, then the work, going on after a file that failed."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slomo_cli.cli import files, options
from slomo_cli.cli.jobs import Job, plan_jobs
from slomo_cli.errors import DeviceError, OutputBusy, OutputClosed, SlomoError, UsageError, lack, printable
from slomo_cli.media.names import first_file

if TYPE_CHECKING:
    from slomo_cli.progress import Reporter
    from slomo_cli.values import Summary, TimeSettings

OUT_OF_MEMORY = "out of memory: a smaller --proxy or --batch needs less"


def run(inputs: Sequence[str], time: TimeSettings, values: options.Values, *, tag: str) -> int:
    """Convert every input and return the exit code: 0, the code all failures share, or 1.

    All names are checked, and all questions asked, before torch and the first file are loaded.
    """
    if values["overwrite"] and values["skip_existing"]:
        raise UsageError("-y replaces what is there and -n leaves it: give one of them")
    jobs = plan_jobs(inputs, output=values["output"], out_dir=values["out_dir"], tag=tag, codec=values["codec"])
    with options.make_reporter(values) as reporter:
        batch = Batch(jobs, time, values, reporter)
        for job, replace in [(job, batch.admit(job)) for job in jobs]:
            if replace is not None:
                batch.attempt(job, replace=replace)
        code = batch.exit_code
        if code and len(jobs) > 1:
            failed = SlomoError(f"{len(batch.failures)} of {len(jobs)} inputs failed")
            failed.exit_code = code
            reporter.error(failed)
    return code


class _OfStdin:
    """Tells a reporter all it is told; in the end, that the source was stdin, whose temporary file nobody knows."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.start, self.advance, self.note = reporter.start, reporter.advance, reporter.note

    def finish(self, summary: Summary) -> None:
        self._reporter.finish(dataclasses.replace(summary, source=Path(files.STREAM)))


class Batch:
    """The jobs of one command line, what they share, and the exit codes of those that failed."""

    def __init__(self, jobs: Sequence[Job], time: TimeSettings, values: options.Values, reporter: Reporter) -> None:
        from slomo_cli.values import ComputeSettings, EncodeSettings

        self.jobs = jobs
        self.alone = len(jobs) == 1
        self.time = time
        self.encode = options.settings(EncodeSettings, values)
        self.compute = options.settings(ComputeSettings, values)
        self.values = values
        self.reporter = reporter
        self.failures: list[int] = []

    @property
    def exit_code(self) -> int:
        """0, the code all failures share, or 1."""
        return 0 if not self.failures else self.failures[0] if len(set(self.failures)) == 1 else 1

    def admit(self, job: Job) -> bool | None:
        """May the job run, and replace what is there? None where it may not or need not."""
        values, dry = self.values, self.values["dry_run"]
        try:
            if values["resume"] and job.source is None:
                raise UsageError("--resume needs a file: stdin cannot be read a second time")
            files.check_source(job.source, piped=True, hint=self._hint_of_output(job))
            files.check_target(job.target, create=values["out_dir"] is not None, dry=dry)
            if dry and not values["skip_existing"]:
                self._note_there(job)
                return True
            replace = files.may_write(job.target, overwrite=values["overwrite"], skip=values["skip_existing"])
        except SlomoError as error:
            self._fail(job, error)
            return None
        if replace is None:
            self._note_stays(job)
        return replace

    def _hint_of_output(self, job: Job) -> str:
        """For who names the result last, as other programs have it: slomo takes it for one more input."""
        if self.alone or job is not self.jobs[-1] or self.values["out_dir"] is not None:
            return ""
        return "; a result is named by -o" if all(os.path.exists(other.name) for other in self.jobs[:-1]) else ""

    def _is_left(self, job: Job, error: SlomoError | None = None) -> bool:
        """Whether -n leaves this output to another slomo, at work on it or done by now; that is told."""
        if self.values["dry_run"] or not self.values["skip_existing"]:
            return False
        if isinstance(error, OutputBusy):
            self.reporter.note(f"'{printable(job.target)}' is being written by another slomo and left to it")
            return True
        there = files.may_write(job.target, overwrite=False, skip=True) is None
        if there:
            self._note_stays(job)
        return there

    def _note_there(self, job: Job) -> None:
        """Tell where a run that is no dry one will ask, or be refused."""
        if job.target is None or self.values["overwrite"]:
            return
        if os.path.lexists(there := first_file(job.target)):
            self.reporter.note(f"'{printable(there)}' exists: -y replaces it, -n leaves it")

    def _note_stays(self, job: Job) -> None:
        self.reporter.note(f"'{printable(job.target)}' exists and stays as it is")

    def attempt(self, job: Job, *, replace: bool) -> None:
        """Do the job; a failure is told and remembered. A bug keeps its traceback, and the other inputs their turn."""
        dry = self.values["dry_run"]
        if self._is_left(job):
            return
        try:
            with files.readable(job.source) as source:
                if dry:
                    self._show_plan(job, source)
                else:
                    self._convert(job, source, replace=replace)
        except SlomoError as error:
            if not self._is_left(job, error):
                self._fail(job, error)
        except MemoryError:
            self._fail(job, DeviceError(OUT_OF_MEMORY))
        except Exception as error:
            lacking = lack(error)
            if lacking is None:
                if self.alone or (dry and isinstance(error, OSError)):  # standard output takes no more plans
                    raise
                self.reporter.close()
                traceback.print_exc()
            self._fail(job, lacking or SlomoError("a fault of slomo itself (see above)"))

    def _fail(self, job: Job, error: SlomoError) -> None:
        if not isinstance(error, OutputClosed):
            self.reporter.error(error, "" if self.alone else job.name)
        self.failures.append(error.exit_code)

    def _convert(self, job: Job, source: Path, *, replace: bool) -> None:
        from slomo_cli import pipeline

        pipeline.convert(
            source,
            job.target,
            time=self.time,
            encode=dataclasses.replace(self.encode, overwrite=replace),
            compute=self.compute,
            progress=self.reporter if job.source is not None else _OfStdin(self.reporter),
        )

    def _show_plan(self, job: Job, source: Path) -> None:
        from slomo_cli import pipeline
        from slomo_cli.cli.plan import plan_text

        plan = pipeline.plan_conversion(source, job.target, time=self.time, encode=self.encode, compute=self.compute)
        click.echo(plan_text(job.name, job.target, plan))

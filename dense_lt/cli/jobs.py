"""Training runs side by side, each in its own process, with one progress bar each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

POLL_SECONDS = 0.5
LINES_SHOWN = 15
"""Lines of a failed run's output that are repeated."""

NO_RESULTS = 2
"""Status of a run that says all is well, but has left no results."""


class Failure(NamedTuple):
    """How a run ended that has no results."""

    folder: Path
    status: int  # as a shell has it: 128 + the number of a signal
    printed: str  # its last lines
    ground: Path | None = None  # the run that failed, so that this one was not started

    def __str__(self) -> str:
        """In a line, and what it printed in others."""
        if self.ground is not None:
            return f"{self.folder}: not started, because {self.ground} failed"
        return f"{self.folder}: the run ended with status {self.status}; it printed\n{self.printed}"


@dataclass
class TrainingJob:
    """One run: `dense-lt train CONFIG overrides`."""

    config: Path
    overrides: tuple[str, ...]
    folder: Path
    after: Path | None = None  # folder of the run that has to be finished before
    process: subprocess.Popen[bytes] | None = None
    step: int = 0
    total_steps: int = 0
    _read: int = field(default=0, repr=False)

    @property
    def finished(self) -> bool:
        """Whether the run has been trained to its end, and evaluated there."""
        results = self.folder / "evaluation" / "results.json"
        if not results.is_file():
            return False
        self.look()
        try:
            step = json.loads(results.read_text(encoding="utf-8")).get("step")
        except (ValueError, AttributeError):
            return True  # the comparison tells what is wrong with it
        return step is None or step >= self.total_steps

    @property
    def output(self) -> Path:
        """What the process prints."""
        return self.folder.parent / f"{self.folder.name}.console.txt"

    def start(self) -> None:
        """Start, or continue an interrupted run, with one thread of its own."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dense_lt.cli.main", "train", str(self.config)]
        command += list(self.overrides)
        if (self.folder / "config.yaml").is_file():
            command.append("--resume")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl+C is for us, who ask it once to save and end
            )

    def look(self) -> None:
        """Read how far the run is from what it has written since the last look."""
        metrics = self.folder / "metrics.jsonl"
        if not metrics.is_file():
            return
        with metrics.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._read += len(complete)
        for line in complete.splitlines():
            try:
                record = json.loads(line)
                self.step = record["step"]
                self.total_steps = int(record.get("total_steps", self.total_steps))
            except (ValueError, KeyError, TypeError):
                continue  # the run itself tells of it


def run_jobs(jobs: Sequence[TrainingJob], *, at_once: int) -> list[Failure]:
    """Run all jobs that are not finished, `at_once` at a time; stop them all on an interrupt.

    Returns:
        Those that failed, which does not stop the others but those that go on from them.
    """
    failures: list[Failure] = []
    waiting = [job for job in jobs if not job.finished]
    running: list[TrainingJob] = []
    with tqdm(
        total=len(jobs), initial=len(jobs) - len(waiting), desc="runs", unit="run"
    ) as all_runs:
        bars: dict[str, tqdm] = {}
        try:
            while waiting or running:
                for job, ground in _without_ground(waiting, failures):
                    waiting.remove(job)
                    all_runs.update()
                    failures.append(Failure(job.folder, ground.status, "", ground.folder))
                while len(running) < at_once and (job := _next(waiting, running)):
                    waiting.remove(job)
                    job.start()
                    running.append(job)
                    bars[job.folder.name] = tqdm(
                        desc=job.folder.name, unit="step", leave=False, mininterval=1.0
                    )
                time.sleep(POLL_SECONDS)
                for job in list(running):
                    _update(job, bars[job.folder.name])
                    status = _status(job)
                    if status is None:
                        continue
                    running.remove(job)
                    bars.pop(job.folder.name).close()
                    all_runs.update()
                    if status:
                        failures.append(Failure(job.folder, status, _last_lines(job.output)))
                        all_runs.write(f"{job.folder}: failed, status {status}", file=sys.stderr)
        finally:
            for bar in bars.values():
                bar.close()
            _stop(running)
    return failures


def _next(waiting: Sequence[TrainingJob], running: Sequence[TrainingJob]) -> TrainingJob | None:
    """The first job that waits for no other, None if all do."""
    open_folders = {job.folder for job in (*waiting, *running)}
    return next((job for job in waiting if job.after not in open_folders), None)


def _without_ground(
    waiting: Sequence[TrainingJob], failures: Sequence[Failure]
) -> list[tuple[TrainingJob, Failure]]:
    """The jobs that wait for one that has failed, and how that ended."""
    failed = {failure.folder: failure for failure in failures}
    return [(job, failed[job.after]) for job in waiting if job.after in failed]


def _update(job: TrainingJob, bar: tqdm) -> None:
    job.look()
    if job.total_steps and bar.total != job.total_steps:
        bar.reset(total=job.total_steps)
    bar.update(job.step - bar.n)
    if job.total_steps and job.step == job.total_steps:
        bar.set_postfix_str("evaluating")


def _status(job: TrainingJob) -> int | None:
    """How the process ended, None while it goes on; 0 only if there are results."""
    assert job.process is not None
    status = job.process.poll()
    if status == 0 and not job.finished:
        return NO_RESULTS
    return 128 - status if status is not None and status < 0 else status


def _last_lines(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LINES_SHOWN:])


def _stop(jobs: Sequence[TrainingJob]) -> None:
    """Let the processes write a checkpoint and end."""
    for job in jobs:
        if job.process is not None and job.process.poll() is None:
            job.process.send_signal(signal.SIGTERM)
    for job in jobs:
        if job.process is not None:
            job.process.wait()

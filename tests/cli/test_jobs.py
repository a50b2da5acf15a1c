import json
from types import SimpleNamespace

import pytest

from dense_lt.cli.jobs import TrainingJob, run_jobs


def job(tmp_path, config="absent.yaml"):
    return TrainingJob(tmp_path / config, (), tmp_path / "runs" / "one")


def test_progress_is_read_line_by_line_as_it_is_written(tmp_path):
    watched = job(tmp_path)
    watched.look()
    assert watched.step == 0
    watched.folder.mkdir(parents=True)
    with (watched.folder / "metrics.jsonl").open("w") as file:
        file.write(json.dumps({"step": 20, "total_steps": 60}) + '\n{"step": 4')
        file.flush()
        watched.look()
        assert (watched.step, watched.total_steps) == (20, 60)
        file.write(
            '0, "total_steps": 60}\n' + json.dumps({"step": 60, "kind": "evaluation"}) + "\n"
        )
        file.flush()
        watched.look()
    assert (watched.step, watched.total_steps) == (60, 60)


def test_a_finished_run_is_not_run_again(tmp_path):
    done = job(tmp_path)
    (done.folder / "evaluation").mkdir(parents=True)
    (done.folder / "evaluation" / "results.json").write_text("{}")
    run_jobs([done], at_once=2)
    assert done.process is None


def test_a_run_that_was_evaluated_before_its_end_goes_on(tmp_path):
    half = job(tmp_path)
    (half.folder / "evaluation").mkdir(parents=True)
    (half.folder / "metrics.jsonl").write_text('{"step": 40, "total_steps": 300}\n')
    results = half.folder / "evaluation" / "results.json"
    results.write_text('{"step": 40}')
    assert not half.finished
    results.write_text('{"step": 300}')
    assert half.finished


def test_a_failed_run_says_what_it_printed_and_stops_no_other(tmp_path):
    other = TrainingJob(tmp_path / "missing.yaml", (), tmp_path / "runs" / "two")
    first, second = run_jobs([job(tmp_path), other], at_once=1)
    assert (first.folder, first.status) == (tmp_path / "runs" / "one", 2)
    assert "runs/one: the run ended with status 2; it printed\n  error: " in str(first)
    assert "absent.yaml" in first.printed
    assert "missing.yaml" in second.printed


@pytest.mark.parametrize(("status", "shown"), [(3, 3), (-9, 137), (0, 2)])
def test_a_signal_and_a_lack_of_results_are_failures_too(tmp_path, monkeypatch, status, shown):
    def start(self):
        self.output.parent.mkdir(exist_ok=True)
        self.output.write_text("a\nb\n")
        self.process = SimpleNamespace(poll=lambda: status)

    monkeypatch.setattr(TrainingJob, "start", start)
    (failure,) = run_jobs([job(tmp_path)], at_once=1)
    assert (failure.status, failure.printed) == (shown, "  a\n  b")


def test_progress_goes_over_a_line_that_cannot_be_read(tmp_path):
    watched = job(tmp_path)
    watched.folder.mkdir(parents=True)
    (watched.folder / "metrics.jsonl").write_text('{"step": 1}\n{"st\n[]\n{"step": 20}\n')
    watched.look()
    assert watched.step == 20


@pytest.mark.parametrize(
    ("ground_ends", "started", "statuses"),
    [(0, ["ground", "apart", "decoupled"], []), (2, ["ground", "apart"], [2, 2])],
)
def test_a_run_waits_for_the_one_it_goes_on_from(
    tmp_path, monkeypatch, ground_ends, started, statuses
):
    ground, decoupled, apart = (
        TrainingJob(tmp_path / "x.yaml", (), tmp_path / name)
        for name in ("ground", "decoupled", "apart")
    )
    decoupled.after = ground.folder
    begun = []

    def start(self):
        begun.append(self.folder.name)
        status = ground_ends if self is ground else 0
        self.output.write_text("")
        if status == 0:
            (self.folder / "evaluation").mkdir(parents=True)
            (self.folder / "evaluation" / "results.json").write_text("{}")
        polls = iter([None, status])  # goes on for a while
        self.process = SimpleNamespace(poll=lambda: next(polls))

    monkeypatch.setattr(TrainingJob, "start", start)
    monkeypatch.setattr("dense_lt.cli.jobs.POLL_SECONDS", 0)
    failures = run_jobs([ground, decoupled, apart], at_once=2)
    assert begun == started
    assert [failure.status for failure in failures] == statuses
    if failures:
        assert failures[1].folder == decoupled.folder
        assert (
            str(failures[1]) == f"{decoupled.folder}: not started, because {ground.folder} failed"
        )

import json

import pytest

from dense_lt.cli.jobs import TrainingJob, run_jobs
from dense_lt.utils.errors import DataError


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


def test_a_failed_run_says_what_it_printed(tmp_path):
    with pytest.raises(DataError, match=r"runs/one: the run ended with status 2; (?s:.*)absent"):
        run_jobs([job(tmp_path)], at_once=1)

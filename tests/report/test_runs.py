import json
import shutil

import pytest
from helpers.fake_runs import draw_categories, write_run

from dense_lt.report.runs import read_run
from dense_lt.utils.errors import DataError


def test_a_run_folder_is_read_whole(make_run):
    run = make_run("focal", seed=3)
    assert run.name == "focal"
    assert run.config is not None
    assert run.config["seed"] == 3
    assert run.scored_caps == [300, 30]
    assert len(run.classes) == 45
    assert len(run.train_lines) == 46
    assert len(run.evaluation_lines) == 5
    assert {snapshot.step for snapshot in run.snapshots} == {187, 374, 561, 748, 935}


def test_ratios_are_clamped_and_infinite_counts_as_balance(make_run):
    last = make_run("focal").snapshots[-1]
    assert last.ratio[0] == 1.0  # stored as null
    assert all(0 <= ratio <= 1 for ratio in last.ratio)


def test_only_the_results_are_needed(tmp_path):
    whole = write_run(tmp_path / "whole")
    (tmp_path / "scored").mkdir()
    shutil.copy(whole / "evaluation" / "results.json", tmp_path / "scored")
    for path in (tmp_path / "scored", tmp_path / "scored" / "results.json"):
        run = read_run(path)
        assert run.metric("AP", 300) is not None
        assert run.snapshots == ()
        assert run.train_lines == ()


def test_classes_come_in_the_order_of_the_labels(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "evaluation" / "results.json"
    stored = json.loads(path.read_text())
    stored["per_class"].reverse()
    path.write_text(json.dumps(stored))
    assert [c.name for c in read_run(folder).classes] == list(draw_categories().names)


def test_statistics_of_another_number_of_classes_are_left_out(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "statistics.json"
    stored = json.loads(path.read_text())
    stored["snapshots"][0]["statistics"]["region_proposals"] = {"ratio": [0.5]}
    path.write_text(json.dumps(stored))
    assert {s.module for s in read_run(folder).snapshots} == {"head.loss.statistics"}


def test_a_line_cut_off_by_a_killed_run_is_dropped(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"kind": "train", "st')
    assert len(read_run(folder).train_lines) == 46


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "metrics.jsonl"
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 1 is not JSON"):
        read_run(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such run folder"):
        read_run(tmp_path / "nowhere")


def test_a_run_without_results_says_how_to_get_them(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match=r"no folder of a run .* no config\.yaml"):
        read_run(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(
        DataError, match=r"no evaluation/results\.json; train it to its end with --resume, or"
    ):
        read_run(tmp_path / "run")


def test_runs_on_open_images_are_told_how_they_are_compared(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "evaluation" / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": "openimages"}))
    with pytest.raises(DataError, match="eval score --protocol openimages"):
        read_run(folder)


def test_norms_of_other_classes_or_not_finite_are_left_out(tmp_path):
    folder = write_run(tmp_path / "a", explained=True)
    stored = json.loads((folder / "statistics.json").read_text())
    stored["snapshots"][0]["classifier_norms"].pop()
    stored["snapshots"][1]["classifier_norms"][3] = None
    (folder / "statistics.json").write_text(json.dumps(stored))
    assert [own.step for own in read_run(folder).norm_snapshots] == [561, 748, 935]

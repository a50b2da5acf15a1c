import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from helpers.fake_runs import write_run
from helpers.oracle_detector import CATEGORIES, IMAGES, document

from dense_lt.cli.diagnosing import diagnosed
from dense_lt.evaluation.classifier import ClassifierWeights
from dense_lt.report.runs import read_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that found the cup in one of three images, and saved no diagnosis."""
    folder = write_run(tmp_path / "run", categories=CATEGORIES)
    truth = tmp_path / "val.json"
    truth.write_text(json.dumps(document()), encoding="utf-8")
    found = [{"image_id": IMAGES[0], "category_id": 70, "bbox": [5, 5, 10, 5], "score": 0.5}]
    (folder / "evaluation" / "predictions.json").write_text(json.dumps(found), encoding="utf-8")
    settings = SimpleNamespace(
        data=SimpleNamespace(drop_invalid_boxes=False), evaluation=SimpleNamespace(images=None)
    )
    monkeypatch.setattr("dense_lt.config.load.load_config", lambda path: settings)
    monkeypatch.setattr("dense_lt.data.build.annotation_files", lambda data: {"val": truth})
    own = read_run(folder)
    counts = {**own.results.counts, "images": len(IMAGES)}
    return replace(own, results=replace(own.results, counts=counts))


def test_an_older_run_is_diagnosed_from_its_predictions_and_left_as_it_is(run):
    before = sorted(run.folder.rglob("*"))
    diagnosis = diagnosed(run).diagnosis
    assert diagnosis.objects["all"] == [0, 3]
    assert diagnosis.objects["named"] == [0, 1]
    assert diagnosis.classifier_norms is None
    assert sorted(run.folder.rglob("*")) == before


def test_norms_come_from_the_classifier_file_where_there_is_one(run):
    weights = ClassifierWeights({30: (0.5, -2.0), 70: (1.5, -1.0)}, has_quality=False)
    weights.save(run.folder / "evaluation" / "classifier.json")
    assert diagnosed(run).diagnosis.classifier_norms == [0.5, 1.5]


def test_what_was_scored_on_a_part_of_the_images_is_not_guessed_at(run):
    counts = {**run.results.counts, "images": 2}
    again = diagnosed(replace(run, results=replace(run.results, counts=counts)))
    assert again.diagnosis is None
    assert "only some of the images were scored" in again.no_diagnosis


@pytest.mark.parametrize("name", ["config.yaml", "categories.json"])
def test_a_missing_file_is_named(run, name):
    (run.folder / name).unlink()
    assert f"{name} is missing" in diagnosed(run).no_diagnosis


def test_a_diagnosis_that_was_saved_is_taken(run):
    once = diagnosed(run)
    assert diagnosed(once) is once

import json

import pytest
from helpers.oracle_detector import (
    CATEGORIES,
    BlindDetector,
    CappedDetector,
    OracleDetector,
    document,
    evaluate,
    evaluator,
    loader,
)
from helpers.processes import run_in_processes

from dense_lt.evaluation.diagnosis import Diagnosis
from dense_lt.evaluation.evaluator import RunFacts
from dense_lt.evaluation.results import EvaluationResult
from dense_lt.evaluation.score import ScoreSettings
from dense_lt.evaluation.score_files import score_files
from dense_lt.utils.errors import ConfigError

FACTS = RunFacts("oracle", 7, {"model": {"kind": "oracle"}, "data": {"workers": 2}})


def test_a_detector_is_evaluated_and_the_files_say_the_same(tmp_path):
    (result,) = evaluator()(OracleDetector(), list(loader()), FACTS, tmp_path)
    assert result.metrics["AP"] == pytest.approx(1)
    assert result.metrics["APr"] is None
    assert result.metrics["APf"] == pytest.approx(1)
    assert (result.run, result.step, result.config) == ("oracle", 7, FACTS.config)
    assert json.loads((tmp_path / "results.json").read_text())["metrics"] == result.metrics
    truth = tmp_path / "gt.json"
    truth.write_text(json.dumps(document()), encoding="utf-8")
    for name in ("predictions.json", "predictions"):
        again = score_files(truth, tmp_path / name, ScoreSettings(), training=CATEGORIES)
        assert again.metrics == result.metrics
        assert again.per_class == result.per_class


def test_what_the_report_wants_to_know_is_written_beside_the_results(tmp_path):
    evaluator()(OracleDetector(), list(loader())[:2], FACTS, tmp_path)
    assert json.loads((tmp_path / "cost.json").read_text())["parameters"] == 0
    diagnosis = Diagnosis.load(tmp_path / "diagnosis.json")
    assert diagnosis.objects["all"] == [0, 2]  # of the two images that were read
    assert diagnosis.objects["named"] == [0, 2]
    assert diagnosis.classifier_norms is None


def test_numbers_on_the_way_write_nothing_and_have_no_intervals(tmp_path):
    (result,) = evaluator()(OracleDetector(), list(loader()), FACTS)
    assert result.intervals is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("on_disk", [False, True])
def test_images_that_could_not_be_read_leave_the_evaluation(tmp_path, on_disk):
    """The third image's cup counts as missed only where the image was looked at: 2 of 2 found."""
    batches = list(loader())[:2]
    folder = tmp_path if on_disk else None
    (result,) = evaluator()(OracleDetector(), batches, FACTS, folder)
    assert (result.counts["images"], result.counts["annotations"]) == (2, 2)
    assert result.metrics["AR@300"] == pytest.approx(1)
    assert any("1 of 3 images could not be read (8; the log" in note for note in result.notes)


def test_a_detector_that_finds_nothing_gets_zeros_and_a_note():
    (result,) = evaluator()(BlindDetector(), list(loader()))
    assert result.metrics["AP"] == 0
    assert any("there are no detections at all" in note for note in result.notes)


def test_a_new_evaluation_replaces_the_predictions_of_the_last(tmp_path):
    for _ in range(2):
        evaluator()(OracleDetector(), list(loader()), FACTS, tmp_path)
    assert len(list((tmp_path / "predictions").glob("*.npz"))) == 1


def test_only_the_same_weights_and_settings_are_continued(tmp_path):
    ours = evaluator()
    assert ours.predicted_before(tmp_path, FACTS) == []
    ours(OracleDetector(), list(loader()), FACTS, tmp_path)
    assert ours.predicted_before(tmp_path, FACTS) == [5, 6, 8]
    assert ours.predicted_before(tmp_path, RunFacts("oracle", 7, FACTS.config)) == [5, 6, 8]
    for other in (RunFacts("oracle", 8, FACTS.config), RunFacts("oracle", 7, FACTS.config, "x")):
        with pytest.raises(ConfigError, match="other weights, settings or images"):
            ours.predicted_before(tmp_path, other)


def test_ap_fixed_is_evaluated_without_a_cap_per_image(tmp_path):
    fixed, lvis = evaluator("fixed", "lvis", image_cap=False)(
        CappedDetector(), list(loader()), FACTS, tmp_path
    )
    assert fixed.max_detections == 10_000
    assert fixed.counts["detections"] == lvis.counts["detections"] == 6
    stored = EvaluationResult.load(tmp_path / "results.json")
    assert stored.protocol == "fixed"
    assert stored.rules["predicted"] == "without a cap of detections per image"
    assert not any("capped per image" in note for note in stored.notes)
    (capped,) = evaluator("fixed")(CappedDetector(), list(loader()), FACTS, tmp_path)
    assert any("capped per image" in note for note in capped.notes)


def test_two_processes_share_the_images_and_get_the_same_numbers(tmp_path):
    expected = evaluate(str(tmp_path / "alone"))
    first, second = run_in_processes(evaluate, 2, str(tmp_path / "together"))
    assert first == second == expected
    assert len(list((tmp_path / "together" / "predictions").glob("*.npz"))) == 2

import json

import numpy as np
import pytest
import torch

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.annotations import ground_truth_from
from dense_lt.evaluation.evaluator import DetectorEvaluator, RunFacts
from dense_lt.evaluation.predict import original_boxes, predict, to_predictions
from dense_lt.evaluation.results import EvaluationResult
from dense_lt.evaluation.score import ScoreSettings
from dense_lt.evaluation.score_files import score_files
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch, Detections, ImageBatch, ImageInfo

CATEGORIES = CategoryTable(("owl", "cup"), (30, 70), (2, 500), (3, 900), ("rare", "frequent"))
CPU = torch.device("cpu")


class OracleDetector(Detector):
    """Finds in every image the box that its first pixels spell, and a wrong one."""

    def forward(self, images, targets=None, *, normalizer=None):
        found = []
        for pixels in images.pixels:
            box = pixels[0, 0, :4].float()
            boxes = torch.stack([box, torch.tensor([0.0, 0.0, 1.0, 1.0])])
            found.append(Detections(boxes, torch.tensor([0.9, 0.4]), torch.tensor([1, 0])))
        return found

    def count_positives(self, images, targets):
        raise NotImplementedError

    def summary(self):
        return {}


class BlindDetector(OracleDetector):
    """Finds nothing."""

    def forward(self, images, targets=None, *, normalizer=None):
        nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        return [nothing] * len(images.pixels)


def _loader():
    """Two batches of one image, 20 x 40 on disk, twice as large for the network."""
    for image_id in (5, 6):
        pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
        pixels[0, 0, 0, :4] = torch.tensor([10, 10, 30, 20])
        info = ImageInfo(image_id, original_size=(20, 40), input_size=(40, 80))
        yield Batch(ImageBatch(pixels, ((40, 80),)), [], [info])


def _document():
    return {
        "images": [{"id": i, "height": 20, "width": 40, "neg_category_ids": [30]} for i in (5, 6)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 70, "bbox": [5, 5, 10, 5], "area": 50}
            for i in (5, 6)
        ],
        "categories": [{"id": 30, "name": "owl"}, {"id": 70, "name": "cup"}],
    }


def test_boxes_return_to_the_image_on_disk_axis_by_axis():
    """Height 101 -> 50 is a factor of 2.02, width 200 -> 100 a factor of 2; corners, then xywh."""
    info = ImageInfo(1, original_size=(101, 200), input_size=(50, 100))
    boxes = original_boxes(np.array([[10.0, 10, 20, 30], [-5, 0, 500, 500]]), info)
    np.testing.assert_allclose(boxes[0], [20, 20.2, 20, 40.4], atol=1 / 128)
    np.testing.assert_allclose(boxes[1], [0, 0, 200, 101])


def test_boxes_are_exact_in_float32_and_in_short_decimals():
    info = ImageInfo(1, original_size=(640, 480), input_size=(1066, 800))
    boxes = original_boxes(np.random.default_rng(0).random((100, 4)).cumsum(1) * 100, info)
    np.testing.assert_array_equal(boxes.astype(np.float32), boxes)
    assert max(len(repr(float(value))) for value in boxes.ravel()) <= len("123.0078125")


def test_labels_become_ids_of_the_data_set():
    detections = Detections(torch.zeros(2, 4), torch.ones(2), torch.tensor([1, 0]))
    info = ImageInfo(9, original_size=(10, 10), input_size=(10, 10))
    found = to_predictions([detections], [info], CATEGORIES)
    assert found.category_ids.tolist() == [70, 30]
    assert found.image_ids.tolist() == [9, 9]


def test_every_image_is_predicted_once():
    run = predict(OracleDetector(), _loader(), categories=CATEGORIES, device=CPU)
    assert run.images == 2
    assert run.predictions.image_ids.tolist() == [5, 5, 6, 6]
    assert run.predictions.boxes is not None
    assert run.predictions.boxes[0].tolist() == [5, 5, 10, 5]
    assert run.seconds_per_image > 0


def _evaluator():
    truth = ground_truth_from(_document(), source="gt.json").with_training_counts(CATEGORIES)
    return DetectorEvaluator(truth, [ScoreSettings()], categories=CATEGORIES, device=CPU)


def test_a_detector_is_evaluated_and_the_files_say_the_same(tmp_path):
    facts = RunFacts("oracle", 7, {"seed": 1})
    (result,) = _evaluator()(OracleDetector(), list(_loader()), facts, tmp_path)
    assert result.metrics["AP"] == pytest.approx(1)
    assert result.metrics["APr"] is None
    assert result.metrics["APf"] == pytest.approx(1)
    assert (result.run, result.step, result.config) == ("oracle", 7, {"seed": 1})
    assert EvaluationResult.load(tmp_path / "results.json") == result
    from_file = tmp_path / "gt.json"
    from_file.write_text(json.dumps(_document()), encoding="utf-8")
    again = score_files(
        from_file, tmp_path / "predictions.json", ScoreSettings(), training=CATEGORIES
    )
    assert again.metrics == result.metrics
    assert again.per_class == result.per_class


def test_a_detector_that_finds_nothing_gets_zeros_and_a_note():
    (result,) = _evaluator()(BlindDetector(), list(_loader()))
    assert result.metrics["AP"] == 0
    assert any("there are no detections at all" in note for note in result.notes)

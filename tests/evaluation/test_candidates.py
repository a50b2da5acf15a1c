"""Which objects have a candidate, and from which place on."""

import numpy as np
import pytest
import torch
from helpers.oracle_detector import OracleDetector, evaluator, loader
from helpers.tiny_two_stage import build, squares
from pydantic import TypeAdapter

from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.evaluation.annotations import ground_truth_from
from dense_lt.evaluation.candidates import CandidateWatch
from dense_lt.evaluation.diagnosis import Diagnosis
from dense_lt.evaluation.evaluator import RunFacts
from dense_lt.evaluation.who_is_found import NEVER, UNSEEN, covered_by_best
from dense_lt.losses.build import build_classification_loss
from dense_lt.models.dense_inference import DenseInference, SelectionLimits
from dense_lt.ops.box_coding import DeltaBoxCoder
from dense_lt.structures import DensePredictions, Priors

CUP = [10.0, 10, 30, 20]  # xyxy in the network's input, twice as large as on disk


class ProposingDetector(OracleDetector):
    """Its second candidate is right where the image is not the last one."""

    def forward(self, images, targets=None, *, normalizer=None):
        if self.on_candidates is not None:
            self.on_candidates(lambda: [torch.tensor([[0.0, 0, 5, 5], CUP]) for _ in images.pixels])
        return super().forward(images, targets)


def truth_of(boxes):
    document = {
        "images": [{"id": i, "height": 50, "width": 50} for i in (4, 2)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 1, "bbox": box, "area": box[2] * box[3]}
            for n, (i, box) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    return ground_truth_from(document, source="gt.json")


def test_the_place_is_that_of_the_best_candidate_that_covers_the_object():
    """IoU of [0, 0, 10, 10] with [0, 0, 10, 5] is 0.5 and covers, with [0, 0, 10, 4] not."""
    watch = CandidateWatch(truth_of([(4, [0, 0, 10, 10]), (2, [0, 0, 9, 9]), (4, [30, 30, 9, 9])]))
    assert watch.place.tolist() == [UNSEEN] * 3
    watch.note(4, np.array([[0.0, 0, 10, 4], [0, 0, 10, 5], [0, 0, 10, 10]]))
    assert watch.place.tolist() == [1, UNSEEN, NEVER]
    watch.note(2, np.zeros((0, 4)))
    assert watch.gathered(np.array([2, 4])).tolist() == [1, NEVER, NEVER]
    assert watch.gathered(np.array([2])).tolist() == [NEVER]


def test_nothing_is_known_while_an_image_is_missing():
    place = np.array([0, 12, NEVER])
    assert covered_by_best(place, 12).tolist() == [True, False, False]
    assert covered_by_best(np.array([0, UNSEEN]), 12) is None
    assert covered_by_best(None, 12) is None


def test_an_evaluation_saves_the_recall_of_candidates_and_leaves_the_detector_alone(tmp_path):
    detector = ProposingDetector()
    evaluator()(detector, list(loader()), RunFacts("a"), tmp_path)
    found = Diagnosis.load(tmp_path / "diagnosis.json")
    assert found.candidates == {"10": [0, 3], "100": [0, 3], "1000": [0, 3]}
    assert found.objects["proposed"] == [0, 3]
    assert detector.on_candidates is None


def test_a_detector_without_candidates_has_a_diagnosis_without_them(tmp_path):
    evaluator()(OracleDetector(), list(loader()), RunFacts("a"), tmp_path)
    found = Diagnosis.load(tmp_path / "diagnosis.json")
    assert found.candidates is None
    assert "proposed" not in found.objects


def test_images_that_were_predicted_before_leave_it_unknown(tmp_path):
    evaluator()(ProposingDetector(), list(loader())[:1], RunFacts("a"), tmp_path)
    rest = list(loader())[1:]
    evaluator()(ProposingDetector(), rest, RunFacts("a"), tmp_path, resume=True)
    assert Diagnosis.load(tmp_path / "diagnosis.json").candidates is None


def test_processes_put_together_what_each_has_seen(monkeypatch):
    watch = CandidateWatch(truth_of([(4, [0, 0, 10, 10]), (2, [0, 0, 9, 9])]))
    watch.note(4, np.array([[0.0, 0, 10, 10]]))
    theirs = np.array([UNSEEN, 7])
    monkeypatch.setattr(
        "dense_lt.evaluation.candidates.distributed.gather_objects", lambda own: [own, theirs]
    )
    assert watch.gathered(np.array([2, 4])).tolist() == [0, 7]


def test_dense_candidates_are_the_best_priors_whatever_their_class():
    """Best scores of three priors on two levels are 0.2, 0.9 and 0.6; boxes are clipped."""
    section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": "focal"})
    inference = DenseInference(
        classification=build_classification_loss(section, 2),
        coder=DeltaBoxCoder(),
        limits=SelectionLimits(),
    )
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 99, 40], [5, 5, 8, 8]])
    predictions = DensePredictions(
        logits=(
            torch.tensor([[[0.1, 0.2], [0.9, 0.3]]]).logit(),
            torch.tensor([[[0.6, 0.1]]]).logit(),
        ),
        codes=(torch.zeros(1, 2, 4), torch.zeros(1, 1, 4)),
    )
    (found,) = inference.candidates(predictions, Priors(boxes, (2, 1), (8, 16)), [(50, 50)])
    assert found.tolist() == [[20, 20, 50, 40], [5, 5, 8, 8], [0, 0, 9, 9]]


@pytest.mark.parametrize("cascade", [None, {}])
def test_detectors_of_two_stages_show_their_proposals(cascade):
    detector = build(**({} if cascade is None else {"cascade": cascade})).eval()
    images, _ = squares()
    seen = []
    detector.on_candidates = lambda make: seen.append(make())
    with torch.no_grad():
        detector(images)
    (proposals,) = seen
    assert [own.shape[1] for own in proposals] == [4, 4]
    assert all(1 < len(own) <= 30 for own in proposals)

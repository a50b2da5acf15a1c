import math

import pytest
import torch
from pydantic import TypeAdapter

from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.models.dense_inference import DenseInference, SelectionLimits
from dense_lt.ops.box_coding import DeltaBoxCoder
from dense_lt.structures import DensePredictions, Priors

CLASSES, COUNTS = 6, (40, 9)


def draw(num_logits, *, quality):
    """Predictions for one image on two levels, and priors of 10 pixels."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    corner = torch.rand(sum(COUNTS), 2, generator=generator) * 50
    priors = Priors(torch.cat([corner, corner + 10], dim=1), COUNTS, (8, 16))
    return priors, DensePredictions(
        logits=tuple(normal(1, count, num_logits) * 2 for count in COUNTS),
        codes=tuple(normal(1, count, 4) * 0.1 for count in COUNTS),
        quality=tuple(normal(1, count) for count in COUNTS) if quality else None,
    )


@pytest.mark.parametrize("kind", ["focal", "eql_v2"])
@pytest.mark.parametrize("quality", [True, False])
@pytest.mark.parametrize("top_k", [5, 39, 40, 1000])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("at_most_priors", [False, True])
def test_candidates_are_the_best_of_all_scores(kind, quality, top_k, threshold, at_most_priors):
    """Each level apart; without suppression every candidate is a detection."""
    section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": kind})
    loss = build_classification_loss(section, CLASSES)
    priors, predictions = draw(loss.num_logits, quality=quality)
    limits = SelectionLimits(
        threshold,
        top_k,
        nms_iou=1.0,
        max_detections=10_000,
        pre_nms_at_most_priors=at_most_priors,
    )
    inference = DenseInference(classification=loss, coder=DeltaBoxCoder(), limits=limits)
    (found,) = inference(predictions, priors, [(100, 100)])
    expected = []
    for level, logits in enumerate(predictions.logits):
        scores = loss.scores(logits[0])
        if predictions.quality is not None:
            scores = scores * predictions.quality[level][0].sigmoid()[:, None]
        entries = [(s, j) for row in scores.tolist() for j, s in enumerate(row) if s > threshold]
        most = min(top_k, COUNTS[level]) if at_most_priors else top_k
        expected += sorted(entries, reverse=True)[:most]
    got = sorted(zip(found.scores.tolist(), found.labels.tolist(), strict=True), reverse=True)
    wanted = sorted(expected, reverse=True)
    assert [label for _, label in got] == [label for _, label in wanted]
    assert [score for score, _ in got] == pytest.approx([score for score, _ in wanted], rel=1e-6)


@pytest.mark.parametrize("quality", [True, False])
def test_boxes_vote_by_the_root_of_class_times_quality(quality):
    """Two boxes of 10 x 10 pixels, one pixel apart: IoU 9 / 11. The better one stays and moves."""
    section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": "focal"})
    loss = build_classification_loss(section, 1)
    boxes = torch.tensor([[10.0, 10, 20, 20], [11, 10, 21, 20]])
    predictions = DensePredictions(
        logits=(torch.tensor([[[2.0], [-1.0]]]),),
        codes=(torch.zeros(1, 2, 4),),
        quality=(torch.tensor([[1.0, 0.0]]),) if quality else None,
    )
    limits = SelectionLimits(nms_iou=0.5, score_voting=0.25)
    inference = DenseInference(classification=loss, coder=DeltaBoxCoder(), limits=limits)
    (found,) = inference(predictions, Priors(boxes, (2,), (8,)), [(100, 100)])
    first, second = torch.tensor([2.0, -1.0]).sigmoid().tolist()
    if quality:
        best, half = torch.tensor([1.0, 0.0]).sigmoid().tolist()
        first, second = (first * best) ** 0.5, (second * half) ** 0.5
    second *= math.exp(-((1 - 9 / 11) ** 2) / 0.25)
    expected = 10 + second / (first + second)
    assert float(found.boxes[0, 0]) == pytest.approx(expected, abs=1e-5)
    assert float(found.scores[0]) == pytest.approx(first**2 if quality else first, rel=1e-6)
    assert len(found.boxes) == 1

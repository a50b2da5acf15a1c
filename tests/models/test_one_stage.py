import math
from pathlib import Path

import pytest
import torch

from dense_lt.balance.statistics import commit_all, named_statistics
from dense_lt.config.model import OneStageConfig
from dense_lt.models.build import build_detector
from dense_lt.ops.boxes import paired_iou
from dense_lt.structures import ImageBatch
from dense_lt.utils.errors import ConfigError

CLASSES = 7
ROOT = Path(__file__).parents[2]


def config(**changes):
    settings = {
        "backbone": {
            "name": "resnet18",
            "norm": "group",
            "options": {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1]},
        },
        "pyramid": {"levels": (3, 5), "channels": 16},
        "priors": {"scales": (3.0, 4.0)},
        "head": {"channels": 16, "num_convs": 1, "norm_groups": 4, "fused_loss": False},
        "loss": {"kind": "equalized_focal"},
    }
    for section, values in changes.items():
        old = settings.get(section)
        settings[section] = {**old, **values} if isinstance(old, dict) else values
    return OneStageConfig.model_validate(settings)


def build(seed=0, classes=CLASSES, **changes):
    torch.manual_seed(seed)
    return build_detector(config(**changes), classes)


def images_of(sizes, seed=0, canvas=(64, 96)):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.zeros(len(sizes), 3, *canvas, dtype=torch.uint8)
    for image, (height, width) in zip(pixels, sizes, strict=True):
        image[:, :height, :width] = torch.randint(
            0, 256, (3, height, width), dtype=torch.uint8, generator=generator
        )
    return ImageBatch(pixels, tuple(sizes))


def target(*boxes):
    return {
        "boxes": torch.tensor([box[:4] for box in boxes]).reshape(-1, 4).float(),
        "labels": torch.tensor([box[4] for box in boxes], dtype=torch.int64),
    }


SIZES = [(64, 96), (48, 64)]
TARGETS = [target((5, 5, 40, 40, 2), (30, 20, 90, 60, 6)), target()]


def test_losses_come_with_targets_and_detections_without():
    detector = build()
    losses = detector(images_of(SIZES), TARGETS)
    assert set(losses) == {"classification", "box", "quality"}
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    detections = detector(images_of(SIZES))
    assert len(detections) == 2


def test_what_comes_back_does_not_depend_on_the_training_mode():
    detector = build().eval()
    assert isinstance(detector(images_of(SIZES), TARGETS), dict)
    assert isinstance(detector.train()(images_of(SIZES)), list)


def test_a_validation_loss_leaves_the_statistics_alone():
    detector = build().eval()
    with torch.no_grad():
        detector(images_of(SIZES), TARGETS)
    commit_all(detector)
    (statistics,) = named_statistics(detector).values()
    assert statistics.negative.sum() == 0


def test_training_notes_positive_and_negative_gradient():
    detector = build()
    detector(images_of(SIZES), TARGETS)
    commit_all(detector)
    (statistics,) = named_statistics(detector).values()
    assert statistics.positive.nonzero().flatten().tolist() == [2, 6]
    assert (statistics.negative > 0).all()


def test_the_ious_of_positives_are_kept_until_they_are_taken():
    detector = build()
    for _ in range(2):
        detector(images_of(SIZES), TARGETS)
    iou, positives = detector.loss.take_ious().tolist()
    assert positives == 2 * detector.count_positives(images_of(SIZES), TARGETS).item()
    assert 0.1 * positives < iou < positives
    assert detector.loss.take_ious() is None


def test_every_parameter_gets_a_gradient_even_without_objects():
    detector = build(head={"level_scales": True})
    for targets in (TARGETS, [target(), target()]):
        detector.zero_grad()
        sum(detector(images_of(SIZES), targets).values()).backward()
        missing = [n for n, p in detector.named_parameters() if p.grad is None]
        assert missing == []


def test_padding_does_not_change_an_image():
    """The same image alone, and beside a larger one in the same batch."""
    detector = build().eval()
    together = images_of([(64, 96), (64, 64)])
    alone = ImageBatch(together.pixels[1:, :, :64, :64], ((64, 64),))
    with torch.no_grad():
        wide = detector.normalizer(together)[1:, :, :, :64]
        assert torch.equal(wide, detector.normalizer(alone))


def test_detections_lie_inside_their_image_best_first_and_capped():
    detector = build(inference={"max_detections": 20}).eval()
    for found, (height, width) in zip(detector(images_of(SIZES)), SIZES, strict=True):
        assert len(found.boxes) == 20
        assert found.scores.diff().le(0).all()
        assert found.boxes.min() >= 0
        assert found.boxes[:, 2].max() <= width
        assert found.boxes[:, 3].max() <= height
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
        assert found.labels.min() >= 0
        assert found.labels.max() < CLASSES


@pytest.mark.parametrize("classes", [1, 45, 1203])
def test_scores_start_at_the_prior_probability(classes):
    detector = build(classes=classes, head={"prior_probability": 0.003, "quality": False})
    levels = detector.pyramid(detector.normalizer(images_of(SIZES)))
    logits = torch.cat(detector.head(levels).logits, dim=1)
    assert logits.sigmoid().mean().item() == pytest.approx(0.003, rel=0.1)


def test_the_first_loss_of_many_classes_is_moderate():
    """Prior 0.001 at 1203 classes, alpha 0.75 on negatives: N C 0.75 p^3 is far below one."""
    detector = build(classes=1203, head={"prior_probability": 0.001})
    loss = detector(images_of(SIZES), TARGETS)["classification"].item()
    assert 0 < loss < 3 * 0.25 * -math.log(0.001)


def test_fused_and_unfused_losses_train_the_same():
    results = []
    for fused in (False, True):
        detector = build(head={"fused_loss": fused})
        losses = detector(images_of(SIZES), TARGETS)
        sum(losses.values()).backward()
        commit_all(detector)
        (statistics,) = named_statistics(detector).values()
        gradients = torch.cat([p.grad.flatten() for p in detector.parameters()])
        results.append((losses["classification"], gradients, statistics.negative))
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-6)


def test_micro_batches_equal_the_whole_batch_with_the_window_normaliser():
    """Unweighted boxes, GroupNorm: losses and gradients add up to those of the batch."""
    images = images_of([(64, 96)] * 4)
    targets = [TARGETS[0], target(), target((10, 10, 50, 50, 1)), TARGETS[0]]
    detector = build(box_loss={"kind": "giou", "weighting": "none"})

    def gradient():
        return torch.cat([p.grad.flatten() for p in detector.parameters()])

    sum(detector(images, targets).values()).backward()
    whole = gradient()
    detector.zero_grad()
    normalizer = detector.count_positives(images, targets).clamp(min=1)
    for i in range(4):
        piece = ImageBatch(images.pixels[i : i + 1], images.sizes[i : i + 1])
        sum(detector(piece, targets[i : i + 1], normalizer=normalizer).values()).backward()
    torch.testing.assert_close(gradient(), whole, rtol=1e-4, atol=1e-6)


def test_positives_are_counted_without_running_the_network():
    detector = build()
    assigned = detector.loss.assign(
        detector.priors(detector.pyramid(detector.normalizer(images_of(SIZES)))), TARGETS
    )
    counted = detector.count_positives(images_of(SIZES), TARGETS)
    assert counted.item() == (assigned.labels >= 0).sum() > 0


def test_positives_that_depend_on_predictions_cannot_be_counted_before():
    detector = build(assigner={"kind": "simota"})
    with pytest.raises(ValueError, match=r"Set train.micro_batches: 1"):
        detector.count_positives(images_of(SIZES), TARGETS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"assigner": {"kind": "paa"}, "head": {"fused_loss": True}}, "`head.fused_loss: true`"),
        ({"assigner": {"kind": "paa"}, "box_coder": "distance"}, "set it to delta"),
        (
            {
                "assigner": {"kind": "max_iou"},
                "box_loss": {"kind": "giou", "weighting": "centerness"},
            },
            "set `box_loss.weighting` to none or iou",
        ),
        (
            {
                "assigner": {"kind": "simota"},
                "box_coder": "distance",
                "box_loss": {"kind": "giou", "l1_weight": 1},
            },
            "set that to delta",
        ),
        (
            {"loss": {"kind": "seesaw"}, "head": {"fused_loss": True}},
            "set the latter to auto or false",
        ),
        ({"box_coder": "distance", "box_deviations": (0.1, 0.1, 0.2, 0.2)}, "remove it"),
        ({"head": {"shared": False, "level_scales": True}}, "set it to false"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_alignment_is_what_quality_losses_learn_with_the_task_aligned_assigner(monkeypatch):
    """The loss of the rows is that with the assigner's quality, not with the IoU."""
    detector = build(assigner={"kind": "task_aligned"}, loss={"kind": "quality_focal"})
    seen = {}

    def spy(logits, labels, normalizer, *, quality=None, **_):
        seen["labels"], seen["quality"] = torch.cat(list(labels)), torch.cat(list(quality))
        return sum(level.sum() for level in logits) * 0

    monkeypatch.setattr(detector.loss.classification, "forward", spy)
    images = images_of(SIZES)
    levels = detector.pyramid(detector.normalizer(images))
    priors, predictions = detector.priors(levels), detector.head(levels)
    detector.loss(predictions, priors, TARGETS)
    assignment = detector.loss.assign(priors, TARGETS, predictions)
    positive = seen["labels"] >= 0
    assert positive.sum() == (assignment.labels >= 0).sum() > 0
    expected = sorted(assignment.quality[assignment.weights > 0].tolist())
    assert sorted(seen["quality"][positive].tolist()) == pytest.approx(expected)
    assert (seen["quality"][~positive] == 0).all()


def test_a_contradicting_number_of_classes_is_refused():
    settings = config().model_copy(update={"num_classes": 80})
    with pytest.raises(ConfigError, match=r"num_classes is 80 but the annotations have 7"):
        build_detector(settings, CLASSES)


def test_autocast_leaves_the_losses_in_float32():
    detector = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = detector(images_of(SIZES), TARGETS)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in detector.parameters())


@pytest.mark.parametrize("assigner", ["atss", "paa", "simota", "task_aligned"])
def test_a_tiny_detector_learns_two_objects_by_heart(assigner):
    detector = build(head={"prior_probability": 0.01}, assigner={"kind": assigner})
    images, targets = images_of(SIZES), TARGETS
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for _ in range(60):
        loss = sum(detector(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        commit_all(detector)
    found = detector.eval()(images)[0]
    for box, label in zip(targets[0]["boxes"], targets[0]["labels"], strict=True):
        overlap = paired_iou(found.boxes, box.expand_as(found.boxes))
        hit = (overlap > 0.6) & (found.labels == label)
        assert found.scores[hit].max() == found.scores[found.labels == label].max()
        assert found.scores[hit].max() > 0.3


@pytest.mark.parametrize("layer", ["box_regressor", "quality_predictor"])
@pytest.mark.parametrize("assigner", ["atss", "paa", "simota", "task_aligned"])
def test_boxes_that_are_none_are_seen_in_the_loss(assigner, layer):
    """Without them an assigner that looks at predictions finds no positives, and all looks well."""
    detector = build(assigner={"kind": assigner})
    with torch.no_grad():
        detector.head.get_submodule(layer).bias.fill_(math.nan)
    losses = detector(images_of(SIZES), TARGETS)
    assert not sum(losses.values()).isfinite()


def test_every_score_starts_at_the_prior_whatever_logits_the_loss_adds():
    """EQL v2 adds a logit for "no object": (1 - p_none) * p_class starts at prior * prior."""
    prior = 0.1
    for kind, expected in (("focal", prior), ("bce", prior), ("eql_v2", prior**2)):
        detector = build(loss={"kind": kind}, head={"prior_probability": prior})
        bias = detector.head.classifier.bias.view(2, -1)  # two priors a location
        scores = detector.loss.classification.scores(bias)
        assert scores.shape == (2, CLASSES)
        torch.testing.assert_close(scores, torch.full_like(scores, expected))


@pytest.mark.parametrize("quality_loss", [{"target": "iou"}, {"target": "centerness"}])
@pytest.mark.parametrize("kind", ["equalized_focal", "equalized_quality_focal"])
@pytest.mark.parametrize(
    "box_loss",
    [
        {"kind": "giou", "weighting": "iou"},
        {"kind": "giou", "weighting": "centerness", "l1_weight": 1.0},
        {"kind": "smooth_l1"},
    ],
    ids=["iou", "centerness", "smooth_l1"],
)
def test_without_waiting_for_the_device_losses_and_gradients_are_the_same(
    monkeypatch, kind, box_loss, quality_loss
):
    """As on CUDA: all priors take part with weights 0 and 1; one batch has no object at all."""
    results = []
    for knows in (True, False):
        monkeypatch.setattr("dense_lt.models.dense_loss._knows_counts", lambda _, k=knows: k)
        detector = build(
            loss={"kind": kind},
            box_loss=box_loss,
            quality_loss=quality_loss,
        )
        for targets in (TARGETS, [target(), target()]):
            losses = detector(images_of(SIZES), targets)
            sum(losses.values()).backward()
            results.append(torch.stack(list(losses.values())).detach())
        results.append(torch.cat([p.grad.flatten() for p in detector.parameters()]))
    for waited, not_waited in zip(results[:3], results[3:], strict=True):
        torch.testing.assert_close(not_waited, waited, rtol=1e-4, atol=1e-6)


def test_who_watches_is_shown_as_many_boxes_of_every_image_as_there_are_priors():
    detector = build().eval()
    seen = []
    detector.on_candidates = lambda make: seen.append(make())
    with torch.no_grad():
        detector(images_of(SIZES))
    (candidates,) = seen
    assert [own.shape for own in candidates] == [(2 * (8 * 12 + 4 * 6 + 2 * 3), 4)] * 2
    assert candidates[1][:, 2].max() <= 64

"""Heads and assigners as the drawn configurations choose them."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from dense_lt.balance.statistics import commit_all, named_statistics
from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.ops.boxes import paired_iou
from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.structures import ImageBatch

CONFIGURATIONS = Path(__file__).parents[2] / "configs"
DRAWN = CONFIGURATIONS / "drawn"
HEADS = ["retinanet", "fcos"]
CONFIGS = [f"{head}_{loss}" for head in HEADS for loss in ("focal", "equalized_focal")]
CLASSES = 5
OBJECTS = [
    [(8, 10, 30, 32, 1), (40, 36, 74, 70, 4)],
    [(30, 4, 50, 20, 0), (28, 40, 58, 68, 1), (4, 50, 22, 66, 3)],
    [],
]


def build(name, *overrides):
    torch.manual_seed(0)
    config = load_config(DRAWN / f"{name}.yaml", overrides)
    return build_detector(config.model, CLASSES)


def scene():
    """Noise with an even, bright rectangle for every object; a colour for every class."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 60, (len(OBJECTS), 3, 80, 80), dtype=torch.uint8, generator=generator)
    colors = torch.randint(100, 256, (CLASSES, 3), dtype=torch.uint8, generator=generator)
    targets = []
    for image, objects in zip(pixels, OBJECTS, strict=True):
        for left, top, right, bottom, label in objects:
            image[:, top:bottom, left:right] = colors[label][:, None, None]
        rows = torch.tensor(objects, dtype=torch.float32).reshape(-1, 5)
        targets.append({"boxes": rows[:, :4], "labels": rows[:, 4].long()})
    return ImageBatch(pixels, ((80, 80),) * len(OBJECTS)), targets


def gradient(detector):
    return torch.cat([p.grad.flatten() for p in detector.parameters()])


@pytest.mark.parametrize("model", ["own_data", "drawn/focal_prior_0.1", "drawn/fcos_focal"])
@pytest.mark.parametrize("head", ["retinanet", "fcos", "atss"])
def test_one_line_of_a_configuration_puts_any_head_on_any_model(head, model, tmp_path):
    path = tmp_path / "run.yaml"
    files = [CONFIGURATIONS / f"{model}.yaml", CONFIGURATIONS / "_base" / f"head_{head}.yaml"]
    path.write_text(f"base: [{files[0]}, {files[1]}]\n")
    overrides = ["data.dataset.root=somewhere"] if model == "own_data" else []
    config = load_config(path, overrides).model
    with torch.device("meta"):
        detector = build_detector(config, CLASSES)
    assert config.assigner.kind == {"retinanet": "max_iou", "fcos": "center"}.get(head, "atss")
    assert detector.summary()["priors per location"] == (9 if head == "retinanet" else 1)


@pytest.mark.parametrize("name", CONFIGS)
def test_fused_and_unfused_losses_train_the_same(name):
    """With priors that are ignored, images without objects, and one or nine priors a location."""
    results = []
    for fused in ("false", "true"):
        detector = build(name, f"model.head.fused_loss={fused}")
        losses = detector(*scene())
        sum(losses.values()).backward()
        commit_all(detector)
        (statistics,) = named_statistics(detector).values()
        results.append((losses["classification"], gradient(detector), statistics.negative))
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-6)


def test_an_ignored_prior_costs_nothing_and_does_not_count():
    """The loss is that of the other priors alone, over the number of positives."""
    detector = build("retinanet_focal", "model.head.fused_loss=false")
    images, targets = scene()
    with torch.no_grad():
        levels = detector.pyramid(detector.normalizer(images))
        predictions, priors = detector.head(levels), detector.priors(levels)
        labels = detector.loss.assign(priors, targets).labels
        losses = detector.loss(predictions, priors, targets)
    logits = torch.cat(predictions.logits, dim=1)
    assert {int(x) for x in labels.unique()} == {IGNORE, BACKGROUND, 0, 1, 3, 4}
    kept = labels != IGNORE
    truth = functional.one_hot(labels[kept].clamp(min=0), CLASSES) * (labels[kept] >= 0)[:, None]
    scores = logits[kept].sigmoid()
    share = torch.where(truth == 1, 0.25 * (1 - scores) ** 2, 0.75 * scores**2)
    entropy = functional.binary_cross_entropy(scores, truth.float(), reduction="none")
    expected = (share * entropy).sum() / (labels >= 0).sum()
    torch.testing.assert_close(losses["classification"], expected, rtol=1e-4, atol=0)
    assert detector.count_positives(images, targets) == (labels >= 0).sum()


def test_centerness_is_learnt_from_the_truth_and_iou_from_the_prediction():
    """At quality logits of 0 the slope of the loss is (1/2 - target) / number of positives."""
    images, targets = scene()
    slopes = {}
    for target in ("centerness", "iou"):
        detector = build("fcos_focal", f"model.quality_loss.target={target}")
        levels = detector.pyramid(detector.normalizer(images))
        predictions, priors = detector.head(levels), detector.priors(levels)
        quality = [torch.zeros_like(x).requires_grad_() for x in predictions.quality or ()]
        predictions = type(predictions)(predictions.logits, predictions.codes, tuple(quality))
        loss = detector.loss(predictions, priors, targets)["quality"]
        loss.backward()
        assignment = detector.loss.assign(priors, targets)
        slope = torch.cat([x.grad for x in quality], dim=1)[assignment.images, assignment.rows]
        slopes[target] = 0.5 - slope * len(assignment.rows)
    points = (priors.boxes[:, :2] + priors.boxes[:, 2:])[assignment.rows] / 2
    (left, top), (right, bottom) = (
        (points - assignment.boxes[:, :2]).T,
        (assignment.boxes[:, 2:] - points).T,
    )
    shares = [torch.minimum(a, b) / torch.maximum(a, b) for a, b in ((left, right), (top, bottom))]
    torch.testing.assert_close(slopes["centerness"], (shares[0] * shares[1]).sqrt())
    assert (slopes["iou"] - slopes["centerness"]).abs().max() > 0.1


@pytest.mark.parametrize("name", CONFIGS)
def test_a_few_images_are_learnt_by_heart(name):
    detector = build(name)
    images, targets = scene()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        sum(detector(images, targets).values()).backward()
        optimizer.step()
        commit_all(detector)
    for found, target in zip(detector.eval()(images), targets, strict=True):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            of_class = found.labels == label
            hit = of_class & (paired_iou(found.boxes, box.expand_as(found.boxes)) > 0.5)
            assert found.scores[hit].max() == found.scores[of_class].max()
            assert found.scores[hit].max() > 0.3


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_gets_a_gradient_even_without_objects(head):
    detector = build(f"{head}_focal")
    images, targets = scene()
    for some in (targets, [targets[2]] * len(targets)):
        detector.zero_grad()
        sum(detector(images, some).values()).backward()
        assert [n for n, p in detector.named_parameters() if p.grad is None] == []

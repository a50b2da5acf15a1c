import pytest
import torch
from helpers.tiny_two_stage import CLASSES, build, squares

from dense_lt.balance.statistics import commit_all, named_statistics
from dense_lt.ops.boxes import box_iou
from dense_lt.structures import ImageBatch
from dense_lt.utils.errors import ConfigError

NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}

LOSSES = [
    {"kind": "softmax"},
    {"kind": "class_balanced_softmax"},
    {"kind": "logit_adjusted_softmax"},
    {"kind": "softmax_eql"},
    {"kind": "sigmoid", "objectness": True},
    {"kind": "eql_v1"},
    {"kind": "eql_v2", "classifier": "2c_softmax", "federated": True},
    {"kind": "focal"},
    {"kind": "equalized_focal"},
    {"kind": "seesaw"},
    {"kind": "bags"},
    {"kind": "federated_loss"},
    {"kind": "ecm"},
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["kind"])
def test_every_loss_trains_every_parameter_and_moves_its_statistics(loss):
    detector = build(loss=loss)
    images, targets = squares()
    targets[0]["checked"] = torch.tensor([True, True, True, False])
    losses = detector(images, targets)
    assert set(losses) == {"classification", "box", "objectness", "proposal_box"}
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None for p in detector.parameters())
    commit_all(detector)
    (statistics,) = named_statistics(detector).values()
    assert float(statistics.positive.sum()) > 0


def test_regions_need_no_level_that_the_pyramid_lacks():
    """Its backbone goes one level further up."""
    assert build(pool={"levels": None}).head.pooling.strides == (4, 8, 16)


def test_images_without_objects_train_background():
    detector = build()
    images, _ = squares()
    losses = detector(images, [NOTHING, NOTHING])
    torch.stack(list(losses.values())).sum().backward()
    assert float(losses["box"].detach()) == 0
    assert float(losses["classification"].detach()) > 0
    assert all(p.grad is not None for p in detector.parameters())


def test_a_few_steps_learn_two_images_by_heart():
    detector = build(head={"class_agnostic": True}, loss={"kind": "sigmoid", "objectness": True})
    images, targets = squares(size=(64, 64))
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    first = last = 0.0
    for step in range(100):
        losses = detector(images, targets)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        first, last = (float(total.detach()), last) if step == 0 else (first, float(total.detach()))
    assert last < first / 2
    with torch.no_grad():
        found = detector.eval()(images)
    for own, target in zip(found, targets, strict=True):
        iou = box_iou(own.boxes[:6], target["boxes"])
        right = own.labels[:6, None] == target["labels"][None]
        assert ((iou > 0.6) & right).any(dim=0).all()


def test_detections_lie_in_their_image_best_first_and_not_too_many():
    detector = build(inference={"score_threshold": 0.0, "max_detections": 7}).eval()
    images, _ = squares(3)
    images = ImageBatch(images.pixels, ((64, 96), (40, 96), (64, 50)))
    with torch.no_grad():
        found = detector(images)
    for own, (height, width) in zip(found, images.sizes, strict=True):
        assert 0 < len(own.scores) <= 7
        assert (own.scores.diff() <= 0).all()
        assert (own.boxes >= 0).all()
        assert (own.boxes <= torch.tensor([width, height, width, height])).all()
        assert ((own.labels >= 0) & (own.labels < CLASSES)).all()


def test_a_micro_batch_counts_by_its_share_of_the_images():
    detector = build()
    images, targets = squares()
    half = detector.count_positives(images, targets) * 2
    torch.manual_seed(5)
    whole = detector(images, targets)
    torch.manual_seed(5)
    share = detector(images, targets, normalizer=half)
    for name, loss in whole.items():
        assert share[name].item() == pytest.approx(loss.item() / 2, rel=1e-6), name


def test_the_random_state_of_torch_decides_what_is_sampled():
    detector = build()
    images, targets = squares()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(float(detector(images, targets)["objectness"].detach()))
    assert runs[0] == runs[1] != runs[2]


def test_under_autocast_losses_stay_in_float32():
    detector = build(loss={"kind": "eql_v2"}, cascade={})
    images, targets = squares()
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector(images, targets)
        found = detector.eval()(images)
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert all(own.scores.dtype == own.boxes.dtype == torch.float32 for own in found)


def test_losses_without_gradient_note_nothing():
    detector = build(loss={"kind": "seesaw"})
    images, targets = squares()
    with torch.no_grad():
        detector(images, targets)
    (statistics,) = named_statistics(detector).values()
    assert not statistics.pending().any()
    assert not detector.loss.classification.counts.any()


def test_a_prior_that_the_loss_cannot_use_is_refused():
    with pytest.raises(ConfigError, match=r"model.loss.kind=softmax.*prior_probability"):
        build(head={"prior_probability": 0.01})


def test_the_summary_names_what_was_built():
    summary = build().summary()
    assert summary["classes"] == CLASSES
    assert summary["logits per region"] == CLASSES + 1
    assert summary["proposal strides"] == [4, 8, 16]

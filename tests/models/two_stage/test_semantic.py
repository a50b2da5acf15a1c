import pytest
import torch
from helpers.tiny_two_stage import CLASSES, build, squares
from torch.nn import functional

from dense_lt.models.two_stage.semantic import SemanticBranch, semantic_labels
from dense_lt.ops.matching import IGNORE
from dense_lt.structures import Masks
from dense_lt.utils.errors import DataError

HTC = {"interleaved": True, "mask_flow": True}
MASK = {"channels": 16, "num_convs": 1}
B, X = CLASSES, IGNORE


def outlines(boxes):
    """One square ring for each box."""
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, 2)
    count = len(boxes)
    return Masks(corners, torch.arange(count + 1) * 4, torch.arange(count + 1))


def target_of(boxes, labels, **more):
    boxes = torch.tensor(boxes).float().reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels), "masks": outlines(boxes), **more}


def squares_with_masks():
    images, targets = squares()
    for target in targets:
        target["masks"] = outlines(target["boxes"])
    return images, targets


def test_a_cell_shows_the_smallest_object_at_its_centre():
    """Cells of 4 pixels, centres at 2, 6, 10, ...; an image of 12 x 20 padded to 16 x 24.

    The first object, of class 1, covers the centres 2, 6, 10 x 2, 6; the second, smaller, of class
    0, (6, 6) and (10, 6); a crowd reaches over (6, 6) to (18, 10).
    """
    boxes = [[0, 0, 11, 7], [5, 4, 11, 8]]
    crowd = torch.tensor([[5.0, 5.0, 20.0, 12.0]])
    for order in ([0, 1], [1, 0]):
        target = target_of([boxes[i] for i in order], [1 - i for i in order], ignored=crowd)
        found = semantic_labels(target, (12, 20), (4, 6), stride=4, background=B)
        assert found.tolist() == [
            [1, 1, 1, B, B, X],
            [1, 0, 0, X, X, X],
            [B, X, X, X, X, X],
            [X] * 6,
        ]


def test_many_objects_are_drawn_in_parts_and_none_is_nothing(monkeypatch):
    boxes = [[x, x, x + 9, x + 9 - x / 4] for x in range(0, 24, 2)]
    target = target_of(boxes, [x % 3 for x in range(12)])
    whole = semantic_labels(target, (32, 40), (8, 10), stride=4, background=B)
    monkeypatch.setattr("dense_lt.models.two_stage.semantic.OBJECTS_AT_ONCE", 5)
    parts = semantic_labels(target, (32, 40), (8, 10), stride=4, background=B)
    assert torch.equal(whole, parts)
    assert set(whole.unique().tolist()) == {0, 1, 2, B}
    nothing = semantic_labels(target_of([], []), (32, 32), (8, 8), stride=4, background=B)
    assert (nothing == B).all()


def make(**settings):
    torch.manual_seed(0)
    given = {"channels": 4, "strides": (4, 8, 16), "level": 1, "num_convs": 1, "num_classes": B}
    return SemanticBranch(**{**given, **settings})


LEVELS = [torch.randn(2, 4, 16 // 2**i, 24 // 2**i) for i in range(3)]
SIZES = [(64, 96), (40, 60)]


def test_all_levels_are_added_up_at_one_of_them():
    branch = make()
    found, losses = branch(LEVELS, SIZES, None)
    total = torch.zeros_like(LEVELS[1])
    for layer, level in zip(branch.laterals, LEVELS, strict=True):
        same = functional.interpolate(level, (8, 12), mode="bilinear", align_corners=True)
        total += layer(same).relu()
    shared = branch.convolutions[0](total).relu()
    assert losses == {}
    assert all(own is level for own, level in zip(found[:3], LEVELS, strict=True))
    torch.testing.assert_close(found[3], branch.embedding(shared).relu())


def test_the_loss_is_a_mean_over_the_cells_that_are_known():
    branch = make(weight=0.2)
    targets = [target_of([[8, 8, 40, 40]], [2]), target_of([], [])]
    _, losses = branch(LEVELS, SIZES, targets)
    _, half = branch(LEVELS, SIZES, targets, share=0.5)
    logits = branch.predictor(branch._shared(LEVELS))
    labels = [
        semantic_labels(target, size, (8, 12), stride=8, background=B)
        for target, size in zip(targets, SIZES, strict=True)
    ]
    assert [int((own != IGNORE).sum()) for own in labels] == [96, 5 * 8]
    cost = functional.cross_entropy(logits, torch.stack(labels), ignore_index=IGNORE)
    assert losses["semantic"].item() == pytest.approx(0.2 * cost.item(), rel=1e-5)
    assert half["semantic"].item() == pytest.approx(0.1 * cost.item(), rel=1e-5)


def test_htc_trains_and_detects_with_it():
    detector = build(semantic={"pool_size": 4}, mask=MASK, cascade=HTC)
    images, targets = squares_with_masks()
    losses = detector(images, targets)
    assert losses["semantic"] > 0
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in detector.parameters())
    with torch.no_grad():
        before = detector.eval()(images)
        detector.semantic.embedding.bias.fill_(5)  # features of boxes and masks depend on it
        after = detector(images)
    assert len(before[0].scores)
    assert before[0].scores.tolist() != after[0].scores.tolist()


def test_targets_without_masks_are_refused():
    detector = build(semantic={}, mask=MASK, cascade=HTC)
    with pytest.raises(DataError, match="have no segmentations"):
        detector(*squares())

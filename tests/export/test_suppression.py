"""Suppression of a batch is that of its images, one by one."""

import torch

from dense_lt.export.suppression import suppress, suppress_in_onnx
from dense_lt.ops.selection import class_wise_nms

IMAGES, BOXES, CLASSES = 3, 80, 6


def scene():
    """Boxes that overlap often; half of the scores are none."""
    generator = torch.Generator().manual_seed(0)
    corners = 40 * torch.rand(IMAGES, BOXES, 2, generator=generator)
    sizes = 5 + 30 * torch.rand(IMAGES, BOXES, 2, generator=generator)
    scores = torch.rand(IMAGES, CLASSES, BOXES, generator=generator)
    return torch.cat([corners, corners + sizes], dim=2), scores * (scores > 0.5)


def test_every_class_of_every_image_is_suppressed_alone():
    boxes, scores = scene()
    kept = {tuple(row) for row in suppress(boxes, scores, 0.5, 0.1, 300).tolist()}
    expected = set()
    for image in range(IMAGES):
        labels, rows = (scores[image] > 0.1).nonzero().unbind(1)
        own = class_wise_nms(
            boxes[image, rows],
            scores[image, labels, rows],
            labels,
            iou_threshold=0.5,
            max_kept=len(rows),
        )
        expected |= {(image, int(labels[i]), int(rows[i])) for i in own}
        assert 0 < len(own) < len(rows)
    assert kept == expected


def test_thousands_of_classes_do_not_touch_each_other():
    """Moved apart in float32, boxes of the last classes would lie on a grid of half a pixel."""
    generator = torch.Generator().manual_seed(1)
    corners = 1000 * torch.rand(1, 40, 2, generator=generator)
    boxes = torch.cat([corners, corners + 3], dim=2)
    boxes = torch.cat([boxes, boxes + torch.tensor([1.0, 0, 1.0, 0])], dim=1)  # IoU exactly 1/2
    scores = torch.zeros(1, 2000, 80)
    scores[0, -1] = torch.rand(80, generator=generator)
    for limit, left in ((0.49, 40), (0.51, 80)):
        assert len(suppress(boxes, scores, limit, 0.0, 300)) == left


def test_nothing_above_the_threshold_leaves_nothing():
    boxes, scores = scene()
    assert suppress(boxes, scores, 0.5, 1.0, 300).shape == (0, 3)


def test_the_traced_operator_is_the_same():
    arguments = (*scene(), 0.5, 0.1, 300)
    torch.testing.assert_close(suppress_in_onnx(*arguments), suppress(*arguments))
    torch.library.opcheck(
        suppress_in_onnx, arguments, test_utils=("test_schema", "test_faketensor")
    )

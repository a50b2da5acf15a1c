"""Small parts that work on a batch give what those of single images give."""

import torch

from dense_lt.export.batched import best_kept, clipped, normalized
from dense_lt.export.tracing import trial_images
from dense_lt.models.pyramid import PixelNormalizer
from dense_lt.structures import ImageBatch


def test_pixels_are_normalised_as_images_are():
    normalizer = PixelNormalizer((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    pixels, sizes = trial_images(3, (32, 48))
    expected = normalizer(ImageBatch(pixels, tuple(map(tuple, sizes.tolist()))))
    torch.testing.assert_close(normalized(normalizer, pixels, sizes), expected)


def test_boxes_are_clipped_to_their_own_image_whatever_lies_between():
    boxes = torch.tensor([-5.0, 2.0, 50.0, 60.0]).expand(2, 7, 3, 4)
    sizes = torch.tensor([[30, 40], [70, 20]])
    inside = clipped(boxes, sizes)
    assert inside.shape == boxes.shape
    assert inside[0].unique(dim=1).flatten(0, 1).unique(dim=0).tolist() == [[0, 2, 40, 30]]
    assert inside[1].unique(dim=1).flatten(0, 1).unique(dim=0).tolist() == [[0, 2, 20, 60]]
    torch.testing.assert_close(clipped(boxes[:, :, 0], sizes), inside[:, :, 0])


def test_the_best_of_each_image_are_kept_in_order():
    scores = torch.tensor([[[0.2, 0.9, 0.4], [0.7, 0.1, 0.8]], [[0.3, 0.05, 0.6], [0.5, 0.0, 0.0]]])
    everything = torch.ones_like(scores).nonzero()
    some = everything[(everything != torch.tensor([0, 0, 1])).any(1)]  # 0.9 is suppressed
    kept = best_kept(scores, some, threshold=0.1, most=2)
    assert kept.images.tolist() == [0, 0, 1, 1]
    assert kept.labels.tolist() == [1, 1, 0, 1]
    assert kept.rows.tolist() == [2, 0, 2, 0]
    torch.testing.assert_close(kept.scores, torch.tensor([0.8, 0.7, 0.6, 0.5]))
    every = best_kept(scores, some, threshold=0.1, most=100)
    assert every.images.tolist() == [0] * 4 + [1] * 3, "0.1 is not above the threshold"

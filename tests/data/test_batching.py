import numpy as np
import pytest
import torch

from dense_lt.data.batching import Prepared, collate
from dense_lt.data.transforms import Annotated
from dense_lt.structures import ImageInfo


def _sample(height: int, width: int, objects: int = 0, **options) -> Prepared:
    boxes, labels = np.zeros((objects, 4), np.float32), np.zeros(objects, np.int64)
    sample = Annotated(np.full((height, width, 3), 7, np.uint8), boxes, labels, **options)
    target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}
    return Prepared(sample, target, ImageInfo(height, (height, width), sample.size))


def test_images_lie_in_the_top_left_corner_with_zeros_around():
    batch = collate([_sample(10, 30), _sample(20, 5)], multiple_of=16)
    assert batch.images.pixels.shape == (2, 3, 32, 32)
    assert batch.images.pixels.dtype == torch.uint8
    assert batch.images.sizes == ((10, 30), (20, 5))
    assert (batch.images.pixels[0, :, :10, :30] == 7).all()
    assert int(batch.images.pixels.sum()) == 7 * 3 * (10 * 30 + 20 * 5)


@pytest.mark.parametrize(("side", "padded"), [(32, 32), (33, 64), (1, 32)])
def test_a_side_is_rounded_up_to_the_next_multiple(side, padded):
    assert collate([_sample(side, 8)], multiple_of=32).images.pixels.shape[2] == padded


def test_images_without_objects_keep_their_place():
    batch = collate([_sample(8, 8), _sample(8, 8, objects=2), _sample(8, 8)], multiple_of=1)
    assert [len(target["labels"]) for target in batch.targets] == [0, 2, 0]
    assert len(batch.infos) == 3


@pytest.mark.parametrize("size", [(1, 1), (9, 1), (1, 13), (33, 20), (20, 33)])
def test_images_are_enlarged_in_their_place_and_leave_their_neighbours_alone(size):
    first, last = _sample(40, 50), _sample(40, 50)
    batch = collate([first, _sample(1, 1, enlarge_to=size), last], multiple_of=1)
    assert batch.images.sizes[1] == batch.infos[1].input_size == size
    height, width = size
    assert (batch.images.pixels[1, :, :height, :width] == 7).all()
    assert int(batch.images.pixels[1].sum()) == 7 * 3 * height * width
    assert (batch.images.pixels[[0, 2]] == 7).all()

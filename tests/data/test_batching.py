import pytest
import torch

from dense_lt.data.batching import collate
from dense_lt.structures import ImageInfo, Sample


def _sample(height: int, width: int, objects: int = 0) -> Sample:
    return {
        "image": torch.full((3, height, width), 7, dtype=torch.uint8),
        "target": {
            "boxes": torch.zeros(objects, 4),
            "labels": torch.zeros(objects, dtype=torch.int64),
        },
        "info": ImageInfo(height, (height, width), (height, width)),
    }


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

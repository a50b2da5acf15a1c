import pickle

import numpy as np
import pytest
import torch
from helpers.annotation_files import coco_content, lvis_content, write_set
from PIL import Image

from dense_lt.data.batching import to_outlines
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.images import BadImageError
from dense_lt.data.lvis import read_annotations
from dense_lt.data.sampling import Draw
from dense_lt.data.transforms import ShortSide, Transform
from dense_lt.ops.matching import IGNORE


def _dataset(folder, content=None, transform=None, **options) -> DetectionDataset:
    table, categories = read_annotations(write_set(folder, content or lvis_content()))
    options = {"seed": 0, **options}
    return DetectionDataset(table, categories, [folder], transform or Transform(), **options)


def test_a_sample_is_the_image_and_its_objects(tmp_path):
    dataset = _dataset(tmp_path)
    sample = dataset[0]
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert sample["image"].dtype == torch.uint8
    assert (sample["image"].permute(1, 2, 0).numpy() == pixels).all()
    assert sample["target"]["boxes"].dtype == torch.float32
    assert sample["target"]["boxes"].tolist() == [
        [2, 3, 12, 15],
        [20, 5, 28.5, 14],
        [30, 20, 40, 30],
    ]
    assert sample["target"]["labels"].tolist() == [2, 1, 2]
    assert sample["target"]["labels"].dtype == torch.int64
    assert "masks" not in sample["target"]


def test_the_metric_learns_sizes_and_checked_classes(tmp_path):
    dataset = _dataset(tmp_path, transform=Transform(resizer=ShortSide((60,), 200)))
    info = dataset[1]["info"]
    assert info.image_id == 5
    assert (info.original_size, info.input_size) == ((50, 20), (150, 60))
    assert info.negative_labels == {0}
    assert info.not_exhaustive_labels == {1}


def test_an_image_without_objects_has_empty_targets(tmp_path):
    target = _dataset(tmp_path, masks=True)[2]["target"]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert len(target["masks"]) == 0


def test_flips_leave_empty_and_one_pixel_high_images_whole(tmp_path):
    content = coco_content()
    content["images"][2]["height"] = 1
    transform = Transform(horizontal_flip=1, vertical_flip=1, transpose=1)
    sample = _dataset(tmp_path, content, transform, masks=True)[2]
    assert sample["image"].shape == (3, 33, 1)
    assert len(sample["target"]["masks"]) == 0


def test_outlines_come_with_their_objects(tmp_path):
    target = _dataset(tmp_path, masks=True)[0]["target"]
    bitmaps = to_outlines(target["masks"]).to_bitmaps((30, 40))
    for box, bitmap in zip(target["boxes"].int().tolist(), bitmaps, strict=True):
        x1, y1, x2, y2 = box
        assert bitmap[y1:y2, x1:x2].all()
        assert bitmap.sum() == (x2 - x1) * (y2 - y1)


def test_crowds_are_not_learnt(tmp_path):
    content = coco_content()
    content["annotations"][0]["iscrowd"] = 1
    dataset = _dataset(tmp_path, content)
    assert dataset[0]["target"]["labels"].tolist() == [1, 2]
    assert dataset.labels_of(0) == {1, 2}


def test_augmentation_depends_on_seed_and_position_alone(tmp_path):
    transform = Transform(resizer=ShortSide(tuple(range(30, 90)), 200), horizontal_flip=0.5)
    dataset = _dataset(tmp_path, transform=transform)
    sizes = [dataset[Draw(0, position)]["info"].input_size for position in range(20)]
    assert sizes == [dataset[Draw(0, position)]["info"].input_size for position in range(20)]
    assert len(set(sizes)) > 10
    assert sizes[0] == dataset[Draw(0, 0)]["info"].input_size == dataset[0]["info"].input_size


def test_a_random_subset_of_many_objects_is_used(tmp_path):
    dataset = _dataset(tmp_path, max_objects=2)
    seen = [dataset[Draw(0, position)]["target"]["boxes"][:, 0].tolist() for position in range(20)]
    assert all(len(boxes) == 2 for boxes in seen)
    assert {x for boxes in seen for x in boxes} == {2, 20, 30}
    assert len(dataset[1]["target"]["labels"]) == 1


def test_a_class_of_which_objects_are_left_out_is_not_checked(tmp_path):
    dataset = _dataset(tmp_path, max_objects=2)  # of one object of class 1 and two of class 2
    for position in range(20):
        target = dataset[Draw(0, position)]["target"]
        expected = [True, 1 in target["labels"], target["labels"].tolist() == [2, 2]]
        assert target["checked"].tolist() == expected


def test_a_mixer_draws_further_images_before_the_transforms(tmp_path):
    def add_objects(dataset, sample, draw, rng):
        other = dataset.raw(int(rng.integers(len(dataset))))
        return sample._replace(
            boxes=np.concatenate([sample.boxes, other.boxes]),
            labels=np.concatenate([sample.labels, other.labels + 10 * draw.position]),
        )

    dataset = _dataset(
        tmp_path, mixer=add_objects, transform=Transform(resizer=ShortSide((60,), 1333))
    )
    seen = [dataset[Draw(2, position)]["target"] for position in range(1, 20)]
    assert {len(target["labels"]) for target in seen} == {0, 1, 2}  # one of three lies outside
    first = next(target for target in seen if len(target["labels"]) == 1)
    again = [dataset[Draw(2, position)]["target"]["labels"].tolist() for position in range(1, 20)]
    assert again == [target["labels"].tolist() for target in seen]
    assert first["boxes"][:, 3].max() == 60  # 17 pixels high, 60 after resizing


def test_the_raw_image_has_all_objects_that_can_be_learnt_then_crowds(tmp_path):
    content = coco_content()
    content["annotations"][0]["iscrowd"] = 1
    raw = _dataset(tmp_path, content, Transform(resizer=ShortSide((60,), 1333)), max_objects=1).raw(
        0
    )
    assert raw.image.shape == (30, 40, 3)
    assert raw.labels.tolist() == [1, 2, IGNORE]


@pytest.mark.parametrize("masks", [False, True])
def test_objects_are_those_of_an_image_that_is_decoded_smaller(tmp_path, masks):
    """40 x 30 becomes 20 x 15; the object at (2, 3) to (12, 15) shrinks with it."""
    content = coco_content()
    content["images"][0]["file_name"] = "a.jpg"
    dataset = _dataset(tmp_path, content, decode_short_side=15, masks=masks)
    sample = dataset[0]
    assert sample["image"].shape == (3, 15, 20)
    assert sample["target"]["boxes"][0].tolist() == [1, 1.5, 6, 7.5]
    assert sample["info"].original_size == (30, 40)
    if masks:
        assert to_outlines(sample["target"]["masks"]).boxes()[0].tolist() == [1, 1.5, 6, 7.5]


def test_cached_images_are_read_once(tmp_path):
    dataset = _dataset(tmp_path, cache_bytes=10_000)
    before = dataset[0]["image"].clone()
    (tmp_path / "a.png").unlink()
    assert (dataset[0]["image"] == before).all()


def test_a_cache_that_is_too_small_for_all_images_is_not_used(tmp_path):
    dataset = _dataset(tmp_path, cache_bytes=8_282)  # 3 * (30 * 40 + 50 * 20 + 17 * 33) = 8283
    _ = dataset[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadImageError):
        _ = dataset[0]


def test_changing_a_sample_does_not_change_the_data_set(tmp_path):
    dataset = _dataset(tmp_path, cache_bytes=10_000)
    first = dataset[0]
    first["image"].zero_()
    first["target"]["boxes"].zero_()
    assert dataset[0]["image"].any()
    assert dataset[0]["target"]["boxes"].any()


def test_missing_images_are_told_at_once_and_named_when_asked_for(tmp_path):
    folder = tmp_path / "set"
    write_set(folder, lvis_content())
    (folder / "b.png").unlink()
    table, categories = read_annotations(folder / "train.json")
    dataset = DetectionDataset(table, categories, [folder], Transform(), seed=0)
    assert dataset.missing is not None
    assert "1 of 3 images are missing (b.png)" in dataset.missing
    with pytest.raises(BadImageError, match=r"train.json: image 5 \(b.png\) is missing"):
        _ = dataset[1]
    assert dataset[0]["info"].image_id == 11


def test_a_data_set_travels_to_another_process(tmp_path):
    transform = Transform(horizontal_flip=0.5, extra=[("ColorJitter", {"p": 1.0})])
    dataset = _dataset(tmp_path, transform=transform)
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy[Draw(0, 5)]["image"] == dataset[Draw(0, 5)]["image"]).all()

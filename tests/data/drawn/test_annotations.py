import numpy as np
from helpers.annotation_files import faults_of

from dense_lt.data.drawn.annotations import SplitWriter, describe_categories
from dense_lt.data.drawn.randomness import RandomStream
from dense_lt.data.drawn.render import DrawnClass, DrawnObject
from dense_lt.data.segmentations import to_mask


def _ring() -> np.ndarray:
    mask = np.zeros((48, 48), dtype=bool)
    mask[10:20, 5:25] = True
    mask[13:17, 10:20] = False
    return mask


def _writer() -> SplitWriter:
    writer = SplitWriter("train", first_image_id=10, side=48)
    objects = [DrawnObject(2, _ring()), DrawnObject(0, ~_ring()), DrawnObject(2, _ring())]
    assert writer.add(objects, 1, 4, RandomStream(0)) == "train/000001.png"
    assert writer.add([], 9, 4, RandomStream(1)) == "train/000002.png"
    return writer


def test_an_annotation_is_the_visible_mask_exactly_holes_included():
    first, *_ = _writer().annotations
    assert first["bbox"] == [5, 10, 20, 10]
    assert first["area"] == 200 - 40
    assert (to_mask(first["segmentation"], 48, 48).astype(bool) == _ring()).all()


def test_ids_start_at_one_and_images_where_asked():
    writer = _writer()
    assert [record["id"] for record in writer.annotations] == [1, 2, 3]
    assert [record["id"] for record in writer.images] == [10, 11]
    assert {record["category_id"] for record in writer.annotations} == {1, 3}


def test_negatives_are_absent_classes_as_many_as_asked_or_all():
    first, second = _writer().images
    assert len(first["neg_category_ids"]) == 1
    assert first["neg_category_ids"][0] in (2, 4)
    assert second["neg_category_ids"] == [1, 2, 3, 4]
    assert first["not_exhaustive_category_ids"] == []


def test_images_and_objects_are_counted_by_class():
    assert _writer().counts(4) == ([1, 0, 1, 0], [1, 0, 2, 0])


def test_the_file_keeps_every_rule():
    writer = _writer()
    kinds = [DrawnClass("star", color, "solid") for color in ("red", "blue", "green", "white")]
    categories = describe_categories(kinds, *writer.counts(4))
    assert faults_of(writer.content(categories), masks=True) == []


def test_frequencies_follow_the_training_images():
    kinds = [DrawnClass("star", color, "solid") for color in ("red", "blue", "green", "white")]
    records = describe_categories(kinds, [10, 11, 100, 101], [1, 2, 3, 4])
    assert [record["frequency"] for record in records] == ["r", "c", "c", "f"]
    assert records[3]["instance_count"] == 4

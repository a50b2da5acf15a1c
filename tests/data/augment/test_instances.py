import logging

import numpy as np
import pytest
from helpers.annotation_files import coco_content, write_json

from dense_lt.data.augment.instances import InstanceSampler
from dense_lt.data.lvis import read_annotations
from dense_lt.utils.errors import DataError


def _table(tmp_path, counts=(100, 4), change=None):
    """Images with one object each: so many of each class; and one crowd of the first class."""
    content = coco_content()
    template, image = content["annotations"][0], content["images"][0]
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    content["images"] = [{**image, "id": number} for number in range(len(labels))]
    ids = sorted(category["id"] for category in content["categories"])
    content["annotations"] = [
        {**template, "id": number, "image_id": number, "category_id": ids[label]}
        for number, label in enumerate(labels)
    ]
    content["annotations"].append(
        {**template, "id": 999, "image_id": 0, "category_id": ids[0], "iscrowd": 1}
    )
    content["annotations"].sort(key=lambda one: (one["image_id"], -one["id"]))  # the crowd first
    if change is not None:
        change(content["annotations"])
    return read_annotations(write_json(tmp_path / "train.json", content), masks=True)[0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("uniform", 4 / 104),
        ("inverse_square_root", 2 / 12),  # sqrt(4) against sqrt(100)
        ("class_balanced", 1 / 2),
        ("repeat_factor", 4 * 2 / (100 + 4 * 2)),  # f = 4 / 104, threshold 16 / 104: sqrt(4) = 2
    ],
)
def test_rare_classes_are_drawn_as_often_as_the_rule_says(tmp_path, rule, expected):
    sampler = InstanceSampler(_table(tmp_path), 3, rule=rule, threshold=16 / 104, outlined=True)
    assert sampler.class_chances[1] == pytest.approx(expected)
    assert sampler.class_chances.sum() == pytest.approx(1)
    assert sampler.class_chances[2] == 0  # it has no instance
    rng = np.random.default_rng(0)
    drawn = np.array([sampler.draw(rng)[0] >= 100 for _ in range(4000)])
    spread = np.sqrt(expected * (1 - expected) / 4000)
    assert abs(drawn.mean() - expected) < 4 * spread


def test_instances_of_a_class_are_equally_likely_and_crowds_are_never_drawn(tmp_path):
    sampler = InstanceSampler(_table(tmp_path, counts=(5, 0)), 3, outlined=True)
    rng = np.random.default_rng(0)
    draws = [sampler.draw(rng) for _ in range(2000)]
    assert {number for _, number in draws} == {0}  # also in image 0, whose first region is a crowd
    counts = np.bincount([image for image, _ in draws])
    assert len(counts) == 5
    assert (np.abs(counts - 400) < 80).all()


def test_instances_without_outline_are_left_out_and_counted(tmp_path, caplog):
    def drop(annotations):
        for annotation in annotations[3:10]:
            del annotation["segmentation"]

    table = _table(tmp_path, counts=(20, 4), change=drop)
    with caplog.at_level(logging.WARNING):
        sampler = InstanceSampler(table, 3, rule="uniform", outlined=True)
    assert "7 of 24 objects have no outline and are never pasted" in caplog.text
    assert sampler.class_chances.tolist() == pytest.approx([13 / 17, 4 / 17, 0])
    boxes = InstanceSampler(table, 3, rule="uniform", outlined=False)
    assert boxes.class_chances.tolist() == pytest.approx([20 / 24, 4 / 24, 0])


def test_a_file_without_outlines_is_refused_with_the_mend(tmp_path):
    def drop(annotations):
        for annotation in annotations:
            del annotation["segmentation"]

    table = _table(tmp_path, change=drop)
    with pytest.raises(DataError, match=r"none of its 104 .*copy_paste\.shape=box to paste boxes"):
        InstanceSampler(table, 3, outlined=True)

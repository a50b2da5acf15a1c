"""Real photographs and annotations, where DENSE_LT_REAL_DATA names their folder."""

import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from dense_lt.config.data import DataConfig, JsonDatasetConfig
from dense_lt.config.sampling import ClassAwareSamplerConfig, RepeatFactorSamplerConfig
from dense_lt.config.transforms import AlbumentationConfig, ResizeConfig, TransformsConfig
from dense_lt.data.batching import to_outlines
from dense_lt.data.build import build_datasets, build_train_loader, build_val_loader
from dense_lt.data.check import check_annotations, check_images
from dense_lt.data.locating import describe_missing, locate_images
from dense_lt.data.lvis import read_annotations
from dense_lt.data.preview import contact_sheet

ROOT = Path(os.environ.get("DENSE_LT_REAL_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif(
    "DENSE_LT_REAL_DATA" not in os.environ, reason="DENSE_LT_REAL_DATA names no folder"
)

SETS = {  # training and validation images, instances, classes: from the README of each set
    "groceries_lt": (1510, 500, 25),
    "car_parts_lt": (217, 100, 18),
    "staple_pantry": (136, 63, 110),
    "muscima_tiles": (480, 80, 103),
    "braille_angelina": (565, 287, 62),
}
WITH_MASKS = {"car_parts_lt", "staple_pantry", "muscima_tiles"}
COCO_FILES = {
    "lvis_v0.5_val_2images.json": (2, 55),
    "instances_coco2017_6images.json": (6, 36),
    "panoptic_as_detection_val2017_2images.json": (2, 50),
    "person_keypoints_val2017_4images.json": (4, 14),
}


def _config(name: str) -> DataConfig:
    split = {"images": ["."]}
    dataset = JsonDatasetConfig.model_validate(
        {
            "kind": "lvis",
            "root": ROOT / name,
            "train": {"annotations": "train.json", **split},
            "val": {"annotations": "val.json", **split},
        }
    )
    resize = ResizeConfig(short=(192, 256), long=400)
    crop = AlbumentationConfig(
        name="RandomSizedBBoxSafeCrop", arguments={"height": 192, "width": 256, "p": 0.5}
    )
    return DataConfig(
        dataset=dataset,
        train_transforms=TransformsConfig(
            resize=resize, horizontal_flip=0.5, color=0.5, extra=(crop,)
        ),
        val_transforms=TransformsConfig(resize=resize),
        sampler=RepeatFactorSamplerConfig(kind="repeat_factor", threshold=0.05),
        workers=0,
    )


@pytest.mark.parametrize("name", SETS)
def test_a_photograph_set_is_read_trained_on_validated_and_drawn(name):
    config = _config(name)
    for split in ("train", "val"):
        faults = check_annotations(ROOT / name / f"{split}.json", drop_invalid_boxes=False)
        assert [fault for fault in faults if fault.fatal] == []
    train, val, categories = build_datasets(config, seed=0, masks=True)
    assert train is not None
    assert val is not None
    assert (len(train), len(val), len(categories)) == SETS[name]
    loader = build_train_loader(train, config, batch_size=8, seed=0)
    for batch in islice(loader, 4):
        for target, size in zip(batch.targets, batch.images.sizes, strict=True):
            boxes = target["boxes"]
            assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
            assert (boxes >= 0).all()
            assert (boxes[:, 2:] <= boxes.new_tensor(size[::-1])).all()
            outlines = to_outlines(target["masks"])
            assert len(outlines) == len(boxes)
            around = torch.from_numpy(outlines.boxes())
            has_outline = (around[:, 2:] > around[:, :2]).all(dim=1)
            assert has_outline.any() == (len(boxes) > 0 and name in WITH_MASKS)
            # the crop is resized: outlines are traced again and may be off by a pixel or two
            assert ((around - boxes).abs() <= 2)[has_outline].all()
    contact_sheet(batch, categories.names)
    assert len(next(iter(build_val_loader(val, config, batch_size=4))).infos) == 4


@pytest.mark.parametrize("name", SETS)
def test_counts_are_those_that_the_set_states(name):
    _, categories = read_annotations(ROOT / name / "train.json")
    content = json.loads((ROOT / name / "train.json").read_text(encoding="utf-8"))
    records = sorted(content["categories"], key=lambda record: record["id"])
    assert categories.image_counts == tuple(record["image_count"] for record in records)
    assert categories.instance_counts == tuple(record["instance_count"] for record in records)


@pytest.mark.parametrize("name", ["car_parts_lt", "staple_pantry"])
def test_every_validation_photograph_can_be_decoded(name):
    _, val, _ = build_datasets(_config(name), seed=0, splits=("val",))
    assert val is not None
    assert list(check_images(val)) == []


@pytest.mark.parametrize("name", COCO_FILES)
def test_genuine_coco_files_are_read_and_their_images_found(name):
    folder = ROOT / "coco_lvis_mini"
    table, _ = read_annotations(folder / name)
    assert (len(table), table.num_instances) == COCO_FILES[name]
    paths = locate_images(table, [folder])
    assert describe_missing(table, [folder], paths) is None


@pytest.mark.parametrize("name", COCO_FILES)
def test_genuine_photographs_go_through_training_with_their_outlines(name):
    folder = ROOT / "coco_lvis_mini"
    split = {"annotations": folder / name, "images": [folder]}
    config = DataConfig(
        dataset=JsonDatasetConfig.model_validate({"kind": "coco", "train": split, "val": split}),
        train_transforms=TransformsConfig(horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5),
        sampler=ClassAwareSamplerConfig(kind="class_aware"),
        workers=0,
    )
    train, _, _ = build_datasets(config, seed=0, splits=("train",), masks=True)
    assert train is not None
    for batch in islice(build_train_loader(train, config, batch_size=2, seed=0), 3):
        for target in batch.targets:
            outlines = to_outlines(target["masks"])
            assert len(target["boxes"]) > 0
            # boxes were rounded to two digits before the image was enlarged
            assert np.abs(outlines.boxes() - target["boxes"].numpy()).max() < 1.5


def test_the_official_lvis_file_of_a_hundred_images_is_read():
    table, categories = read_annotations(ROOT / "lvis_v0.5_val_100.json")
    assert (len(table), table.num_instances, len(categories)) == (100, 977, 1230)
    assert categories.group_sizes() == {"rare": 454, "common": 461, "frequent": 315}
    assert sum(len(table.labels_of(index)) == 0 for index in range(len(table))) == 7
    assert table.negatives is not None
    assert len(table.negatives.values) / len(table) == pytest.approx(9.4, abs=0.1)


def test_every_annotation_file_is_sound_and_its_outlines_are_those_of_the_file():
    files = 0
    for path in sorted(ROOT.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(content, dict) and "annotations" in content):
            continue
        files += 1
        assert check_annotations(path, drop_invalid_boxes=False) == []
        table, _ = read_annotations(path)
        assert len(table) == len(content["images"])
        records = {record["id"]: record for record in content["annotations"]}
        assert set(table.annotation_ids.tolist()) == set(records)
        for instance, own in enumerate(table.annotation_ids.tolist()):
            assert table.segmentation(instance) == (records[own].get("segmentation") or None)
    assert files >= 17

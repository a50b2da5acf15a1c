"""Genuine files and photographs, where DENSE_LT_REAL_DATA names their folder."""

import csv
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from dense_lt.config.data import DataConfig
from dense_lt.config.openimages import OpenImagesConfig
from dense_lt.config.transforms import ResizeConfig, TransformsConfig
from dense_lt.data.build import build_datasets, build_train_loader
from dense_lt.data.openimages.cells import Relations
from dense_lt.data.openimages.check import check_open_images
from dense_lt.data.openimages.classes import read_classes
from dense_lt.data.openimages.groups import rank_groups
from dense_lt.data.openimages.hierarchy import read_hierarchy
from dense_lt.data.openimages.published import find_files
from dense_lt.data.openimages.read import OpenImagesFiles, read_open_images
from dense_lt.data.preview import contact_sheet

FOLDER = Path(os.environ.get("DENSE_LT_REAL_DATA", "/nowhere")) / "openimages_mini"
CLASSES = "challenge-2019-classes-description-500.csv"
pytestmark = pytest.mark.skipif(
    "DENSE_LT_REAL_DATA" not in os.environ, reason="DENSE_LT_REAL_DATA names no folder"
)


def test_a_genuine_validation_file_is_read_whole():
    files = OpenImagesFiles(FOLDER / "real_validation_expanded_boxes.csv", FOLDER / CLASSES)
    table, categories = read_open_images(files)
    assert (len(table), table.num_instances, len(categories)) == (3519, 36191, 500)
    assert sum(count > 0 for count in categories.instance_counts) == 497


def test_boxes_that_google_expanded_are_expanded_by_our_rule_as_well():
    """The file is expanded: every class that stands above a box's has a box in the image too."""
    files = OpenImagesFiles(FOLDER / "real_validation_expanded_boxes.csv", FOLDER / CLASSES)
    table, _ = read_open_images(files)
    ids, _ = read_classes(files.classes)
    relations = Relations(*read_hierarchy(FOLDER / "hierarchy_500_derived.json", ids))
    owner = np.repeat(np.arange(len(table)), np.diff(table.offsets))
    cells = relations.cells(owner, table.labels)
    assert len(relations.above(cells)) == len(cells)
    assert any(len(own) > 1 for own in relations.ancestors)


def test_the_hierarchy_of_600_classes_and_its_classes_belong_together():
    ids, names = read_classes(FOLDER / "class-descriptions-boxable.csv")
    ancestors, descendants = read_hierarchy(FOLDER / "bbox_labels_600_hierarchy.json", ids)
    assert len(ids) == 601
    above = {names[own[0]]: {names[other] for other in own[1:]} for own in ancestors}
    assert above["Apple"] == {"Food", "Fruit"}
    assert sum(len(own) for own in ancestors) == sum(len(own) for own in descendants)


def test_fifths_of_the_published_counts_are_the_published_ones():
    with (FOLDER / "challenge-2019-train-instance-counts.csv").open() as file:
        counts = np.array([int(row["InstanceCount"]) for row in csv.DictReader(file)])
    groups = rank_groups(counts)
    ranges = [(int(counts[groups == k].min()), int(counts[groups == k].max())) for k in range(5)]
    assert ranges == [(14, 478), (481, 1069), (1087, 2384), (2388, 7852), (7944, 1418594)]
    assert counts.sum() == 12_195_144


def test_photographs_are_trained_on_and_drawn():
    split = {
        "boxes": "validation-annotations-bbox.csv",
        "labels": "validation-annotations-human-imagelabels-boxable.csv",
        "images": ["validation"],
    }
    dataset = OpenImagesConfig.model_validate(
        {
            "kind": "openimages",
            "root": FOLDER,
            "classes": CLASSES,
            "hierarchy": "hierarchy_500_derived.json",
            "train": split,
            "val": split,
        }
    )
    resize = TransformsConfig(resize=ResizeConfig(short=(192,), long=320), horizontal_flip=0.5)
    config = DataConfig(
        dataset=dataset, train_transforms=resize, workers=0, cache_annotations=False
    )
    train, val, categories = build_datasets(config, seed=0)
    assert train is not None
    assert val is not None
    assert (len(train), len(val), train.table.num_instances) == (107, 107, 277)
    assert int(np.maximum(train.table.heights, train.table.widths).max()) == 512
    fruit = categories.names.index("Fruit")
    assert all(fruit in train.table.not_exhaustive[index] for index in range(len(train)))
    for batch in islice(build_train_loader(train, config, batch_size=8, seed=0), 3):
        for target, size in zip(batch.targets, batch.images.sizes, strict=True):
            boxes = target["boxes"]
            assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
            assert (boxes[:, 2:] <= boxes.new_tensor(size[::-1])).all()
            assert {categories.names[k] for k in target["labels"].tolist()} <= {"Apple", "Orange"}
    contact_sheet(batch, categories.names)


def test_the_published_files_have_no_fault_and_are_found_by_their_names():
    files, lines = find_files(FOLDER, "validation", {})
    assert files.boxes.name == "validation-annotations-bbox.csv"
    assert files.classes.name == "class-descriptions-boxable.csv"
    assert files.hierarchy is not None
    assert len(lines) == 7  # sizes are not there, and where they are looked for takes a line
    assert list(check_open_images(files).values()) == [[], []]

"""Crowd regions from the file to the target, through everything that moves them."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers.annotation_files import coco_content, lvis_content, write_json, write_set

from dense_lt.config.data import DataConfig
from dense_lt.data.augment.affine import RandomAffine
from dense_lt.data.augment.copy_paste import CopyPaste
from dense_lt.data.augment.instances import InstanceSampler
from dense_lt.data.augment.mixing import Mixing
from dense_lt.data.augment.mixup import Mixup
from dense_lt.data.augment.resizing import LargeScaleJitter, LongSide
from dense_lt.data.batching import to_outlines
from dense_lt.data.build import build_datasets, build_train_loader
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.lvis import read_annotations
from dense_lt.data.sampling import Draw
from dense_lt.data.transforms import ShortSide, Transform

FLIPS = {"horizontal_flip": 0.5, "vertical_flip": 0.5, "transpose": 0.5}
UPRIGHT = RandomAffine(degrees=0, translate=0.2, scale=(0.5, 3.0), shear=0)
TURNED = RandomAffine(degrees=40, translate=0.2, scale=(0.5, 2.0), shear=5)
WAYS = {
    "flips": (Transform(**FLIPS), None),
    "short side": (Transform(resizer=ShortSide((60, 200), 300), **FLIPS), None),
    "long side": (Transform(resizer=LongSide((70, 210)), **FLIPS), None),
    "jitter": (Transform(resizer=LargeScaleJitter((90, 120), (0.3, 4.0)), **FLIPS), None),
    "pixels": (Transform(extra=[("Affine", {"scale": (0.7, 1.5), "p": 1.0})], **FLIPS), None),
    "affine": (Transform(**FLIPS), Mixing(affine=UPRIGHT)),
    "mosaic": (Transform(**FLIPS), Mixing(mosaic_size=(96, 128), affine=UPRIGHT)),
    "mixup": (Transform(), Mixing(mixup=Mixup((0.8, 1.6)))),
    "turned": (Transform(**FLIPS), Mixing(affine=TURNED)),
}


def crowded(folder, content=None, crowds=(0,), **options) -> DetectionDataset:
    """The small set, of which these annotations are crowds."""
    content = content or coco_content()
    for number in crowds:
        content["annotations"][number]["iscrowd"] = 1
    table, categories = read_annotations(write_set(folder, content))
    transform = options.pop("transform", Transform())
    return DetectionDataset(table, categories, [folder], transform, **{"seed": 0, **options})


def core(marked):
    """What is four pixels from the edge; `marked` is (H, W) uint8."""
    framed = np.pad(marked, 4)
    return cv2.erode(framed, np.ones((9, 9)))[4:-4, 4:-4]


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Four black images with a white crowd each, and an object that is not to be seen."""
    folder = tmp_path_factory.mktemp("bright")
    content = coco_content()
    content["images"], content["annotations"] = [], []
    rng = np.random.default_rng(0)
    for number in range(4):
        image = np.zeros((80, 100, 3), np.uint8)
        x, y = rng.integers(2, 50, 2).tolist()
        width, height = rng.integers(25, 45, 2).tolist()
        image[y : y + height, x : x + width] = 255
        cv2.imwrite(str(folder / f"{number}.png"), image)
        size = {"width": 100, "height": 80}
        content["images"].append({"id": number, "file_name": f"{number}.png", **size})
        for crowd, box in enumerate(([5, 5, 80, 70], [x, y, width, min(height, 80 - y)])):
            numbers = {"id": 2 * number + crowd, "image_id": number, "category_id": 7}
            content["annotations"].append({**numbers, "bbox": box, "iscrowd": crowd})
    return folder, write_json(folder / "train.json", content)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_ignored_stays_over_the_pixels_of_the_crowd(bright, way, masks):
    """Only the crowds are bright: in the middle of white and of black the boxes must agree."""
    folder, path = bright
    transform, mixer = WAYS[way]
    table, categories = read_annotations(path)
    dataset = DetectionDataset(
        table, categories, [folder], transform, seed=1, mixer=mixer, masks=masks
    )
    checked = 0
    for position in range(25):
        sample = dataset[Draw(position % 4, position)]
        pixels = sample["image"].amax(dim=0).numpy()
        boxes = sample["target"].get("ignored", torch.zeros(0, 4)).numpy()
        inside = np.zeros(pixels.shape, np.uint8)
        for x1, y1, x2, y2 in np.round(boxes).astype(int).tolist():
            inside[y1:y2, x1:x2] = 1
        white = (pixels > 60).astype(np.uint8)
        assert inside[core(white) != 0].all(), (way, position)
        if way != "turned":  # the box of a turned region is larger than what it bounds
            assert white[core(inside) != 0].all(), (way, position)
        assert (sample["target"]["labels"] >= 0).all()
        checked += len(boxes)
    assert checked >= 15


def test_a_crowd_is_ignored_however_little_of_it_a_crop_holds(tmp_path):
    content = coco_content()
    content["annotations"][0]["bbox"] = [0, 0, 40, 30]
    jitter = Transform(resizer=LargeScaleJitter((30, 40), (6.0, 6.0)))  # holds a thirty-sixth
    target = crowded(tmp_path, content, transform=jitter)[0]["target"]
    assert target["ignored"].tolist() == [[0, 0, 40, 30]]


def test_a_target_without_crowds_has_no_regions(tmp_path):
    dataset = crowded(tmp_path)
    assert dataset[0]["target"]["ignored"].tolist() == [[2, 3, 12, 15]]
    assert dataset[0]["target"]["ignored"].dtype == torch.float32
    assert "ignored" not in dataset[1]["target"]


def test_objects_and_outlines_are_those_that_are_learnt(tmp_path):
    target = crowded(tmp_path, masks=True)[0]["target"]
    assert target["labels"].tolist() == [1, 2]
    assert to_outlines(target["masks"]).boxes().tolist() == target["boxes"].tolist()


def test_crowds_are_not_among_the_objects_of_which_a_subset_is_used(tmp_path):
    dataset = crowded(tmp_path, max_objects=1)
    for position in range(10):
        target = dataset[Draw(0, position)]["target"]
        assert len(target["labels"]) == len(target["ignored"]) == 1


def test_whether_a_class_is_checked_does_not_depend_on_the_setting(tmp_path):
    for ignore in (False, True):
        target = crowded(tmp_path, lvis_content(), ignore_crowds=ignore)[0]["target"]
        assert target["checked"].tolist() == [True, True, False]
        assert ("ignored" in target) == ignore


@pytest.mark.parametrize("shape", ["mask", "box"])
def test_a_crowd_is_never_pasted_and_says_nothing_of_classes(tmp_path, shape):
    content = lvis_content()
    content["annotations"][0]["bbox"] = [0, 0, 40, 30]  # around the others
    dataset = crowded(tmp_path, content, masks=shape == "mask")
    instances = InstanceSampler(dataset.table, 3, rule="uniform", outlined=shape == "mask")
    paste = CopyPaste(instances, companions=1.0, outlined=shape == "mask", min_visible=0.0)
    base = dataset.raw(2)
    for seed in range(20):
        sample = paste(base, dataset, np.random.default_rng(seed))
        assert len(sample.labels)
        assert (sample.labels >= 0).all()
    sources = {index for index, _ in (instances.draw(np.random.default_rng(s)) for s in range(20))}
    assert sources == {0, 1}


def test_a_ghost_that_is_nothing_but_a_crowd_is_not_mixed_in(tmp_path):
    dataset = crowded(tmp_path, crowds=[1])
    sample, ghost = dataset.raw(0), dataset.raw(1)
    assert ghost.labels.tolist() == [-2]
    assert Mixup()(sample, ghost, np.random.default_rng(0), fill=0) is sample


@pytest.mark.parametrize("ignore", [False, True])
def test_the_setting_reaches_batches(tmp_path, ignore):
    content = coco_content()
    content["annotations"][1]["iscrowd"] = 1
    write_set(tmp_path, content)
    (tmp_path / "val.json").write_text(json.dumps(coco_content()))
    splits = {
        split: {"annotations": f"{split}.json", "images": ["."]} for split in ("train", "val")
    }
    config = DataConfig.model_validate(
        {
            "dataset": {"kind": "coco", "root": tmp_path, **splits},
            "train_transforms": {"resize": None},
            "val_transforms": {"resize": None},
            "workers": 0,
            "ignore_crowds": ignore,
        }
    )
    train, _, _ = build_datasets(config, seed=0)
    batch = next(iter(build_train_loader(train, config, batch_size=3, seed=0)))
    batch = batch.to(torch.device("cpu"))
    found = {
        info.image_id: target["ignored"].tolist()
        for info, target in zip(batch.infos, batch.targets, strict=True)
        if "ignored" in target
    }
    assert found == ({5: [[0, 0, 20, 50]]} if ignore else {})

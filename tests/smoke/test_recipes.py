"""What a dry run says of every published recipe, given data with the published number of classes.

The detectors are built on the meta device: full size, without memory or time.
"""

import re
from pathlib import Path

import pytest
import torch
from helpers.annotation_files import write_images, write_json
from helpers.open_images_files import CHALLENGE, LABELS, write_csv

from dense_lt.cli.describe import describe
from dense_lt.cli.main import main
from dense_lt.cli.training_parts import build_parts
from dense_lt.config.cards import card_of, is_card, load_card
from dense_lt.config.load import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = [
    path
    for name in ("lvis", "openimages")
    for path in sorted((CONFIGS / name).iterdir())
    if not is_card(path)
]
MILESTONES = {  # of the published lengths, in their epochs or steps; 300 epochs have a cosine
    12: (8, 11),
    24: (16, 22),
    36: (28, 34),
    300: (None, None),
    75_000: (50_000, 70_000),
    180_000: (120_000, 160_000),
}
IMAGES = 256
SIDE = 16
OUTLINE = [[1, 1, 9, 1, 9, 9, 1, 9]]


def lvis_content(classes):
    """So many classes; class 1 in a single image, class 2 in the others."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE}
            | {"neg_category_ids": [], "not_exhaustive_category_ids": []}
            for i in range(1, IMAGES + 1)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1 + (i > 1), "bbox": [1, 1, 8, 8]}
            | {"area": 64, "iscrowd": 0, "segmentation": OUTLINE}
            for i in range(1, IMAGES + 1)
        ],
        "categories": [
            {"id": i, "name": f"class {i}", "frequency": "rcf"[i % 3]}
            for i in range(1, classes + 1)
        ],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All data sets in one folder, under their published names."""
    folder = tmp_path_factory.mktemp("data")
    content, older = lvis_content(1203), lvis_content(1230)
    for where in (folder, folder / "train2017", folder / "val2017"):
        write_images(where, content)
    lines = "".join(f"/m/{i:04},Class {i}\n" for i in range(500))
    (folder / "challenge-2019-classes-description-500.csv").write_text(lines)
    tree = '{"LabelName": "/m/all", "Subcategory": []}'
    (folder / "challenge-2019-label500-hierarchy.json").write_text(tree)
    for split, name in (("train", "train"), ("validation", "val")):
        write_json(folder / f"lvis_v1_{name}.json", content)
        write_json(folder / f"lvis_v0.5_{name}.json", older)
        named = [{**x, "file_name": f"{split}/{x['id']}.jpg"} for x in content["images"]]
        write_images(folder, {"images": named})
        boxes = [(i, f"/m/{i % 500:04}", 0.1, 0.6, 0.1, 0.6, 0) for i in range(1, IMAGES + 1)]
        start = f"challenge-2019-{split}-detection"
        write_csv(folder / f"{start}-bbox.csv", CHALLENGE, boxes)
        verified = [(i, "verification", f"/m/{i % 500:04}", 1) for i in range(1, IMAGES + 1)]
        write_csv(folder / f"{start}-human-imagelabels.csv", LABELS, verified)
    return folder


def settings(data):
    """Instead of files that a test does not have."""
    without = ["model.backbone.pretrained=false", "model.init_from=null", "model.init_except=[]"]
    return [f"data.dataset.root={data}", "data.workers=0", *without]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_classes_learning_rate_batch_and_length_are_those_of_the_card(recipe, data):
    card = load_card(card_of(recipe))
    config = load_config(recipe, settings(data))
    meta = torch.device("meta")
    with meta:
        shown = " ".join(describe(config, build_parts(config, meta)).split())
    expected, batch = card.training, card.training.batch_size
    assert f"classes {card.protocol.classes}: " in shown
    assert f" classes {card.protocol.classes:,} " in shown, "of the detector"
    rate = f"{expected.learning_rate:g}"
    assert f"lr {rate} for {batch} images, so {rate} for {batch}" in shown
    # ceil((1 / 1000 / (1 / 256))^0.5) = 1: no image is repeated, an epoch has 256 of them
    steps = expected.steps or expected.epochs * IMAGES // batch
    assert f"length {steps:,} steps of {batch} images" in shown
    first, second = MILESTONES[expected.epochs or expected.steps]
    per_epoch = IMAGES // batch if expected.epochs else 1
    if first:
        assert f"times 0.1 at steps {first * per_epoch}, {second * per_epoch}" in shown
    else:  # 5 epochs of warm-up; the last 15 of 300 keep a twentieth
        assert "power 2 warm-up from 0 over 10 steps" in shown
        assert "then a cosine down to 0.05 at step 570" in shown


@pytest.mark.parametrize(
    ("recipe", "classes"),
    [
        ("lvis/efl_improved_baseline_r50_2x", 1203),
        ("openimages/efl_improved_baseline_r50_180k", 500),
    ],
)
def test_the_command_itself_with_a_small_backbone_and_small_images(recipe, classes, data, capsys):
    small = [
        "model.backbone={name: resnet18, options: {channels: [8, 16, 24, 32], "
        "layers: [1, 1, 1, 1]}}",
        "model.head.num_convs=0",
        "train.batch_size=2",
        "data.train_transforms.resize={short: [64], long: 64}",
    ]
    path = CONFIGS / f"{recipe}.yaml"
    assert main(["train", str(path), "--dry-run", *settings(data), *small]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^classes +{classes}: ", shown, flags=re.MULTILINE)
    assert "lr         0.02 for 16 images, so 0.0025 for 2" in shown
    assert "forward and backward: classification" in shown

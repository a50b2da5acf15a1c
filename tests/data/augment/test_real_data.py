"""Real photographs through every kind of mixing; they stay outside the repository."""

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from dense_lt.config.data import DataConfig, JsonDatasetConfig
from dense_lt.config.transforms import TransformsConfig
from dense_lt.data.batching import to_outlines
from dense_lt.data.build import build_datasets, build_train_loader
from dense_lt.data.preview import contact_sheet

ROOT = Path(os.environ.get("DENSE_LT_REAL_DATA", "."))

pytestmark = pytest.mark.skipif(
    "DENSE_LT_REAL_DATA" not in os.environ, reason="DENSE_LT_REAL_DATA names no folder"
)

YOLOX = {
    "mosaic": {"size": (256, 256)},
    "affine": {},
    "mixup": {},
    "resize": {"kind": "long_side", "sizes": (192, 256, 320)},
    "hsv": {},
}
PASTE = {"probability": 1.0, "images": (1, 3), "companions": 0.3}
JITTER = {"kind": "large_scale_jitter", "size": (256, 320)}
KINDS = {
    "yolox": YOLOX,
    "copy_paste": {"copy_paste": PASTE, "resize": JITTER, "horizontal_flip": 0.5},
    "boxes": {"copy_paste": {**PASTE, "shape": "box"}, "resize": JITTER},
    "everything": {**YOLOX, "copy_paste": {**PASTE, "shape": "box"}},
}


def _config(name: str, transforms) -> DataConfig:
    split = {"images": ["."]}
    dataset = JsonDatasetConfig.model_validate(
        {
            "kind": "lvis",
            "root": ROOT / name,
            "train": {"annotations": "train.json", **split},
            "val": {"annotations": "val.json", **split},
        }
    )
    return DataConfig(
        dataset=dataset,
        train_transforms=TransformsConfig.model_validate(transforms),
        val_transforms=TransformsConfig(),
        workers=0,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["staple_pantry", "car_parts_lt", "muscima_tiles", "groceries_lt", "braille_angelina"]
)
def test_photographs_are_mixed_with_objects_inside_and_boxes_around_outlines(name, kind):
    has_outlines = name not in ("groceries_lt", "braille_angelina")
    if kind == "copy_paste" and not has_outlines:
        pytest.skip("it has boxes only")
    config = _config(name, KINDS[kind])
    train, _, categories = build_datasets(config, seed=0, splits=("train",), masks=True)
    assert train is not None
    objects = 0
    for batch in islice(build_train_loader(train, config, batch_size=4, seed=0), 3):
        for target, (height, width) in zip(batch.targets, batch.images.sizes, strict=True):
            boxes, outlines = target["boxes"].numpy(), to_outlines(target["masks"])
            objects += len(boxes)
            assert len(boxes) == len(target["labels"]) == len(outlines)
            assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
            assert (boxes >= 0).all()
            assert (boxes <= (width, height, width, height)).all()
            around, drawn = outlines.boxes(), np.diff(outlines.rings[outlines.objects]) > 0
            assert (around[drawn, :2] >= boxes[drawn, :2] - 2).all()
            assert (around[drawn, 2:] <= boxes[drawn, 2:] + 2).all()
        contact_sheet(batch, categories.names)
    assert objects > 12

"""A two-stage detector that fits into a second, and images it can learn."""

import torch

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.two_stage import TwoStageConfig
from dense_lt.models.build import build_detector
from dense_lt.structures import ImageBatch

CLASSES = 4
SETTINGS = {
    "kind": "two_stage",
    "backbone": {
        "name": "resnet18",
        "norm": "group",
        "options": {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1]},
    },
    "pyramid": {"levels": (2, 4), "backbone_levels": (2, 5), "channels": 16},
    "proposals": {
        "anchors": {"scales": (4.0,)},
        "samples": 32,
        "train": {"pre_nms_top_k": 100, "proposals": 30},
        "test": {"pre_nms_top_k": 100, "proposals": 30},
    },
    "regions": {"samples": 16},
    "pool": {"box_size": 3, "mask_size": 4, "levels": (2, 4), "canonical_size": 48.0},
    "head": {"channels": 32},
    "inference": {"max_detections": 20},
}


def config_of(**changes):
    """The settings with sections changed key by key, and validated."""
    settings = {key: dict(own) if isinstance(own, dict) else own for key, own in SETTINGS.items()}
    for section, values in changes.items():
        old = settings.get(section)
        merges = isinstance(old, dict) and "kind" not in values
        settings[section] = {**old, **values} if merges else values
    return TwoStageConfig.model_validate(settings)


def build(seed=0, **changes):
    """The detector, of 4 classes with 1, 2, 20 and 200 training images."""
    torch.manual_seed(seed)
    counts = ClassCounts((1, 2, 20, 200), (1, 3, 50, 900))
    return build_detector(config_of(**changes), CLASSES, counts)


def squares(count=2, seed=0, size=(64, 96)):
    """Images with two bright squares each, whose colour is their class; images and targets."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    pixels = torch.randint(0, 40, (count, 3, height, width), generator=generator)
    targets = []
    for image in pixels:
        boxes, labels = [], []
        for half in range(2):
            side = int(torch.randint(18, 30, (1,), generator=generator))
            y = int(torch.randint(2, height - side, (1,), generator=generator))
            x = half * (width // 2) + int(
                torch.randint(1, width // 2 - side, (1,), generator=generator)
            )
            label = int(torch.randint(0, 3, (1,), generator=generator))
            image[label, y : y + side, x : x + side] = 250
            boxes.append([x, y, x + side, y + side])
            labels.append(label)
        targets.append({"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels)})
    return ImageBatch(pixels.to(torch.uint8), (size,) * count), targets

"""A drawn data set that takes a tenth of a second."""

from pathlib import Path

from dense_lt.config.data import DrawnConfig

SMALL = {
    "image_size": 48,
    "train_images": 24,
    "val_images": 12,
    "frequent": 2,
    "common": 2,
    "rare": 3,
    "frequent_images": (20, 12),
    "common_images": (8, 4),
    "rare_images": (2, 1),
    "val_images_per_class": 3,
    "negatives_per_image": 2,
}


def small_drawn(folder: Path | None, **changes: object) -> DrawnConfig:
    """24 training and 12 validation images of 48 pixels, 7 classes."""
    return DrawnConfig.model_validate({**SMALL, "folder": folder, **changes})

"""The constants of LVIS and COCO average precision, and what their protocols do differently.

Letters in the metric, beside the project's: I images, C categories, G objects (ground truth), N
detections that count, K of them that overlap an object enough to match it, P such pairs, A size
ranges, T IoU thresholds, R recall points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""(T,) 0.50, 0.55, ..., 0.95, to the last bit as the official packages make them."""

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
"""(R,) where precision is read off."""

SIZE_NAMES = ("all", "small", "medium", "large")
SIZE_RANGES = np.array([[0.0, 1e10], [0.0, 32.0**2], [32.0**2, 96.0**2], [96.0**2, 1e10]])
"""(A, 2) smallest and largest area in square pixels, both inclusive."""

ALL_SIZES = 0
"""Index of "all" in SIZE_NAMES."""

IouType = Literal["bbox", "segm", "boundary"]
"""Boxes, masks, or masks and their outlines."""

MaskArea = Literal["mask", "box"]
"""What decides the size range of a detected mask: its own area, or its box's where one is given."""


@dataclass(frozen=True)
class Rules:
    """In what two protocols differ; everything else is common to LVIS and COCO."""

    name: str
    cap_unit: Literal["image", "image and category", "category"]
    """Detections beyond `max_detections` of one such unit do not count, the best scores first."""
    federated: bool
    """Only some categories are looked for in an image; else all of them are, whatever it says."""
    drops_empty: bool
    """Objects and detections without area do not exist (`lvis` filters ids by area > 0)."""
    knows_crowds: bool
    """`iscrowd` objects may be matched often and count neither way; else `ignore` decides."""


LVIS = Rules("lvis", "image", federated=True, drops_empty=True, knows_crowds=False)
"""Gupta et al. 2019, as `lvis` 0.5.3 computes it: 300 detections an image over all categories."""

FIXED = Rules("fixed", "category", federated=True, drops_empty=True, knows_crowds=False)
"""Dave et al. 2021: 10,000 detections of a category over all images, however many in an image."""

COCO = Rules("coco", "image and category", federated=False, drops_empty=False, knows_crowds=True)
"""Lin et al. 2014, as pycocotools computes it: 1, 10 and 100 detections an image and category."""

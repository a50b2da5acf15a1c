"""Are predictions what they should be? Mistakes that give numbers, only wrong ones."""

from __future__ import annotations

import numpy as np

from dense_lt.evaluation.ground_truth import GroundTruth, look_up
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.rules import Rules

SAMPLE = 10_000
"""Detections that are looked at, spread over the file."""

FEWEST = 10
"""Boxes that may be unusual without a word."""

MANY = 0.2
"""Part of the boxes from which on a mistake is more likely than an unusual detector."""

ALMOST_ALL = 0.95
"""Part of the coordinates; a few boxes may reach far out of their image."""

UNIT = 1.5
"""No coordinate of a box in fractions of its image is larger."""

SMALLEST_IMAGE = 16
"""Pixels; in smaller images, boxes may be as small as fractions are."""

_MIXER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no two keys become one; the golden ratio, as in Knuth's multiplicative hashing."""


def doubts_about_boxes(predictions: Predictions, ground_truth: GroundTruth) -> list[str]:
    """Warnings that name the first entry with a doubtful box: corners, or fractions of the image.

    An image without a known size, and detections without boxes, raise no doubts.
    """
    if predictions.boxes is None or not len(predictions):
        return []
    entries = np.unique(np.linspace(0, len(predictions) - 1, SAMPLE).astype(np.int64))
    image, known = look_up(ground_truth.image_ids, predictions.image_ids[entries])
    known &= ground_truth.image_sizes[image].min(axis=1) >= SMALLEST_IMAGE
    entries, sizes = entries[known], ground_truth.image_sizes[image[known]][:, ::-1]
    boxes = predictions.boxes[entries].astype(np.float64)
    if len(entries) < FEWEST:
        return []
    small = boxes <= UNIT
    if small.mean() >= ALMOST_ALL:
        first = int(np.argmax(small.all(axis=1)))
        return [
            f"{predictions.source}: {100 * small.mean():.0f}% of the coordinates are at most "
            f"{UNIT}, as in entry {entries[first]}: {boxes[first].tolist()}. Are these fractions "
            "of the image? Pixels are needed"
        ]
    beyond = boxes[:, :2] + boxes[:, 2:] - sizes
    outside = (beyond > 0.05 * sizes).any(axis=1)
    if outside.mean() <= MANY:
        return []
    first = int(np.argmax(outside))
    return [
        f"{predictions.source}: {100 * outside.mean():.0f}% of the boxes reach out of their image, "
        f"first entry {entries[first]}: {boxes[first].tolist()} in an image of {sizes[first][0]} x "
        f"{sizes[first][1]} pixels. Are these corners [x1, y1, x2, y2], or of an image of another "
        "size? [x, y, width, height] is needed"
    ]


def doubts_about_calibration(
    predictions: Predictions, rules: Rules, cap: int, *, pooled: bool = False
) -> list[str]:
    """Why calibrated scores change less than they could: what was cut cannot come back.

    Calibration moves only the order of classes, so it acts through a cap that they share, or
    through a ranking over all of them (`pooled`).
    """
    if not len(predictions):
        return []
    if rules.cap_unit != "image" and not pooled:
        return [
            f"calibration: the {rules.name} protocol ranks each class alone, so nothing changes"
        ]
    counts = np.unique(predictions.image_ids, return_counts=True)[1]
    most, full = int(counts.max()), int(np.count_nonzero(counts == counts.max()))
    if rules.cap_unit == "image" and most <= cap:
        return [
            f"{predictions.source}: no image has more than {most} detections, so a cap of {cap} "
            "cuts none and calibration changes nothing; predict with more detections per image"
        ]
    if full > MANY * len(counts) and most > 1:
        return [
            f"{predictions.source}: {full} of {len(counts)} images have exactly {most} detections. "
            "Were they cut there? Calibration cannot bring back what is gone; predict with more "
            "detections per image"
        ]
    return []


def doubts_about_copies(predictions: Predictions) -> list[str]:
    """That detections are there twice: same image, category, score and box, to the last bit."""
    if predictions.boxes is None or not len(predictions):
        return []
    columns = [predictions.image_ids, predictions.category_ids, predictions.scores]
    keys = np.zeros(len(predictions), np.uint64)
    for column in (*columns, *predictions.boxes.T):
        bits = np.ascontiguousarray(column, np.int64 if column.dtype.kind in "iu" else np.float64)
        keys = (keys ^ bits.view(np.uint64)) * _MIXER
        keys ^= keys >> np.uint64(32)
    order = np.argsort(keys, kind="stable")
    copies = order[1:][keys[order[1:]] == keys[order[:-1]]]
    if not len(copies):
        return []
    entry = int(copies.min())
    first = int(np.flatnonzero(keys == keys[entry])[0])
    return [
        f"{predictions.source}: {len(copies)} detections are exact copies of others, first entry "
        f"{entry} of entry {first}; each copy counts as a false positive"
    ]


def doubts_about_categories(predictions: Predictions, ground_truth: GroundTruth) -> str:
    """A hint for ids that are not listed: labels from 0 in place of ids from 1; or nothing."""
    ids, found = ground_truth.category_ids, predictions.category_ids
    if len(ids) and ids[0] == 1 and found.min(initial=1) == 0:
        return ". Are these labels from 0? The ids of the ground truth begin at 1"
    return ""

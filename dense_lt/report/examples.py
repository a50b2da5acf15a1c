"""Which validation images are shown, and what did each run find there? By rule, not by hand.

"Shown" are the detections of an image at or above a score, at most so many, best first. An object
is found if a shown detection of its own class overlaps it with an IoU of at least 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import GROUPS, CategoryTable
from dense_lt.data.table import AnnotationTable
from dense_lt.evaluation.masks import Rle
from dense_lt.evaluation.predictions import Predictions

MATCH_IOU = 0.5

Boxes = NDArray[np.floating]
Judgement = Literal["right", "wrong", "not judged"]


@dataclass(frozen=True)
class Shown:
    """Detections of one image that are shown, best first; D of them."""

    boxes: Boxes  # (D, 4) xyxy, pixels of the image on disk
    labels: NDArray[np.int64]  # (D,) in [0, C)
    scores: NDArray[np.floating]  # (D,)
    masks: tuple[Rle, ...] | None = None  # D, of the image on disk; None where there are none


NOTHING = Shown(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros(0))


@dataclass(frozen=True)
class Choice:
    """Images chosen by one rule, as indices into the table."""

    rule: str
    images: tuple[int, ...]


def shown_detections(
    predictions: Predictions, categories: CategoryTable, *, threshold: float, most: int
) -> dict[int, Shown]:
    """Image id -> what is shown of it; images without anything to show are left out."""
    assert predictions.boxes is not None, "examples need boxes"
    label_of = categories.label_of()
    labels = np.array([label_of.get(int(c), -1) for c in predictions.category_ids], dtype=np.int64)
    kept = np.flatnonzero((predictions.scores >= threshold) & (labels >= 0))
    order = kept[np.lexsort((-predictions.scores[kept], predictions.image_ids[kept]))]
    ids = predictions.image_ids[order]
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
    shown: dict[int, Shown] = {}
    for piece in np.split(order, starts[1:]) if len(order) else []:
        best = piece[:most]
        corner, size = predictions.boxes[best, :2], predictions.boxes[best, 2:]
        boxes = np.concatenate([corner, corner + size], axis=1)
        masks = None if predictions.masks is None else tuple(predictions.masks.take(best))
        image = int(predictions.image_ids[best[0]])
        shown[image] = Shown(boxes, labels[best], predictions.scores[best], masks)
    return shown


def box_iou(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """IoU of every xyxy box (D, 4) with every other (M, 4): (D, M), 0 where both are empty."""
    lower = np.maximum(boxes[:, None, :2], others[None, :, :2])
    upper = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.clip(upper - lower, 0, None), axis=2)
    area, other = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others))
    union = area[:, None] + other[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def found_objects(boxes: Boxes, labels: NDArray[np.integer], shown: Shown) -> NDArray[np.bool_]:
    """Which of an image's objects (M,) a shown detection of their class covers."""
    hits = box_iou(shown.boxes, boxes) >= MATCH_IOU  # (D, M)
    return (hits & (shown.labels[:, None] == labels[None, :])).any(axis=0)


def judge(table: AnnotationTable, index: int, num_classes: int, shown: Shown) -> list[Judgement]:
    """Right, wrong, or not judged: nobody looked for all of that class in this image (LVIS)."""
    image = table.image(index)
    hits = box_iou(shown.boxes, image.boxes.astype(np.float64)) >= MATCH_IOU
    right = (hits & (shown.labels[:, None] == image.labels[None, :])).any(axis=1)
    present = {*image.labels.tolist()} - {*table.not_exhaustive[index].tolist()}
    judged = present | table.negatives_of(index, num_classes)
    return [
        "right" if is_right else "wrong" if int(label) in judged else "not judged"
        for label, is_right in zip(shown.labels, right, strict=True)
    ]


def choose(
    table: AnnotationTable,
    categories: CategoryTable,
    shown: Sequence[Mapping[int, Shown]],
    names: Sequence[str],
    *,
    count: int,
    seed: int,
) -> list[Choice]:
    """Images for the report, each in one choice only.

    Args:
        table: the validation annotations.
        categories: their classes.
        shown: per run, image id -> detections; the reference first. With two or more, the reference
            is compared with `shown[1]`.
        names: of the runs.
        count: images per rule.
        seed: of the random choice.
    """
    choices: list[Choice] = []
    if len(shown) > 1:
        gains = _gains(table, categories, shown[0], shown[1])
        taken: list[int] = []
        for kind, verb in (("gain", "more"), ("loss", "fewer")):
            for group, own in gains.items():
                change = own if kind == "gain" else -own
                images = _largest(change, count, taken)
                taken += images
                where = f"where {names[1]} finds {verb} objects of {group} classes than {names[0]}"
                choices.append(_choice(f"Largest {kind} for {group} classes", where, images))
    chosen = {index for choice in choices for index in choice.images}
    free = [i for i in range(len(table)) if i not in chosen and len(table.labels_of(i))]
    drawn = np.random.default_rng(seed).permutation(len(free))[:count]
    images = tuple(sorted(free[i] for i in drawn))
    text = f"Random images with ground truth (seed {seed})."
    return [*choices, Choice(text if images else "There are no images with ground truth.", images)]


def _gains(
    table: AnnotationTable,
    categories: CategoryTable,
    reference: Mapping[int, Shown],
    other: Mapping[int, Shown],
) -> dict[str, NDArray[np.int64]]:
    """Group -> (I,): objects of it that `other` finds minus those that `reference` finds."""
    groups = np.array(categories.groups)
    present = [group for group in GROUPS if group in categories.groups]
    gains = {group: np.zeros(len(table), dtype=np.int64) for group in present}
    for index in range(len(table)):
        image = table.image(index)
        boxes, labels = image.boxes[~image.crowd].astype(np.float64), image.labels[~image.crowd]
        found, before = (
            found_objects(boxes, labels, shown.get(image.image_id, NOTHING)).astype(np.int64)
            for shown in (other, reference)
        )
        for group, own in gains.items():
            own[index] = (found - before)[groups[labels] == group].sum()
    return gains


def _largest(values: NDArray[np.int64], count: int, taken: Sequence[int]) -> tuple[int, ...]:
    """Indices of the largest values above 0, the first in the file where they are equal."""
    order = np.argsort(-values, kind="stable")
    return tuple([int(i) for i in order if values[i] > 0 and int(i) not in taken][:count])


def _choice(name: str, where: str, images: tuple[int, ...]) -> Choice:
    if not images:
        return Choice(f"{name}: there is no image {where}.", ())
    return Choice(f"{name}: images {where}, the largest difference first.", images)

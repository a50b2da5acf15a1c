"""Which objects and detections count, and in which order are detections looked at?"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.run_lengths import problem_of_runs
from dense_lt.evaluation.ground_truth import GroundTruth, look_up
from dense_lt.evaluation.masks import PackedMasks, mask_areas, mask_boxes
from dense_lt.evaluation.pairing import within_runs
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.rules import IouType, MaskArea, Rules
from dense_lt.utils.errors import DataError

CHECKED, HOLDS_OBJECTS, NOT_EXHAUSTIVE = 1, 2, 4
"""Bits of the table of cells: one byte for each image and category."""


@dataclass(frozen=True)
class Objects:
    """Ground truth that takes part, as columns; boxes are the masks' own when masks are scored."""

    index: NDArray[np.int64]  # (G,) into the ground truth
    image: NDArray[np.int32]  # (G,)
    category: NDArray[np.int32]  # (G,)
    boxes: NDArray[np.float64]  # (G, 4) xywh
    areas: NDArray[np.float64]  # (G,) decides the size range
    mask_areas: NDArray[np.float64]  # (G,) of the masks, if they are scored
    ignore: NDArray[np.bool_]  # (G,)
    crowd: NDArray[np.bool_]  # (G,)
    masks: PackedMasks | None


@dataclass(frozen=True)
class Ranking:
    """N detections that count: by category, then falling score, then image, then input order.

    This is the order of the official packages' stable sorts, so ties are broken as they do.
    """

    index: NDArray[np.int64]  # (N,) into the predictions
    image: NDArray[np.int32]  # (N,)
    category: NDArray[np.int32]  # (N,)
    scores: NDArray[np.float64]  # (N,)
    place: NDArray[np.int32]  # (N,) from 0, among all detections under the same cap
    boxes: NDArray[np.float64]  # (N, 4) xywh
    areas: NDArray[np.float64]  # (N,) decides the size range
    mask_areas: NDArray[np.float64]  # (N,) of the masks, if they are scored
    masks: PackedMasks | None
    cells: NDArray[np.uint8]  # (N,) CHECKED, HOLDS_OBJECTS, NOT_EXHAUSTIVE of image and category

    def __len__(self) -> int:
        return len(self.index)


def select_objects(ground_truth: GroundTruth, rules: Rules, iou_type: IouType) -> Objects:
    """The objects that take part under `rules`."""
    areas = ground_truth.areas
    kept = np.arange(len(areas))
    if rules.drops_empty:
        kept = np.flatnonzero((areas > 0) & (areas < np.inf))
    crowd = ground_truth.crowd[kept] & rules.knows_crowds
    boxes, masks, own_areas = ground_truth.boxes[kept], None, areas[kept]
    if iou_type != "bbox":
        assert ground_truth.masks is not None, "ground truth was read without its masks"
        masks = ground_truth.masks.select(kept)
        own_areas, boxes = mask_areas(masks), mask_boxes(masks)
    return Objects(
        index=kept,
        image=ground_truth.image[kept],
        category=ground_truth.category[kept],
        boxes=boxes,
        areas=areas[kept],
        mask_areas=own_areas,
        ignore=crowd if rules.knows_crowds else ground_truth.ignore[kept],
        crowd=crowd,
        masks=masks,
    )


def cell_table(ground_truth: GroundTruth, objects: Objects, rules: Rules) -> NDArray[np.uint8]:
    """(I, C) what is known of each image and category.

    A federated data set looks only for some categories in an image: those with objects, and those
    verified to be absent.
    """
    shape = (len(ground_truth.image_ids), len(ground_truth.category_ids))
    table = np.zeros(shape, np.uint8)
    if ground_truth.negatives is None or not rules.federated:
        table |= CHECKED
    else:
        table[ground_truth.negatives] |= CHECKED
    table[objects.image, objects.category] |= CHECKED | HOLDS_OBJECTS
    if rules.federated:
        table[ground_truth.not_exhaustive] |= NOT_EXHAUSTIVE
    return table


def rank_detections(
    ground_truth: GroundTruth,
    table: NDArray[np.uint8],
    predictions: Predictions,
    rules: Rules,
    *,
    caps: tuple[int, ...],
    iou_type: IouType,
    mask_area: MaskArea = "mask",
) -> Ranking:
    """Cap, filter and sort detections.

    Args:
        ground_truth: names the images and categories.
        table: (I, C) of `cell_table`.
        predictions: all of them.
        rules: the protocol.
        caps: every cap that will be asked for; what is beyond the largest is left out here.
        iou_type: whether masks are needed.
        mask_area: what the size of a detected mask is.

    Raises:
        DataError: a detection names an image that the ground truth does not hold.
    """
    image, category, known, place = _locate(ground_truth, predictions, rules, min(caps))
    kept = np.flatnonzero(known & (place < max(caps)))
    cells = table[image[kept], category[kept]]
    checked = (cells & CHECKED) > 0
    kept, cells = kept[checked], cells[checked]
    order = _ranking_order(category[kept], predictions.scores[kept], image[kept])
    kept, cells = kept[order], cells[order]
    if iou_type != "bbox":
        _check_sizes(ground_truth, predictions, kept, image[kept])
        check_runs(predictions, kept)
    geometry = _geometry(predictions, kept, cells, iou_type=iou_type, mask_area=mask_area)
    ranking = Ranking(
        index=kept,
        image=image[kept],
        category=category[kept],
        scores=predictions.scores[kept].astype(np.float64),
        place=place[kept],
        cells=cells,
        **geometry,
    )
    return _without_empty(ranking) if rules.drops_empty else ranking


def check_runs(predictions: Predictions, kept: NDArray[np.int64]) -> None:
    """Refuse masks that pycocotools would read beyond their end, or never come to an end of.

    Of detections that count: in a federated data set that is a small part of them.
    """
    assert predictions.masks is not None, "masks are scored"
    masks = predictions.masks.select(kept).compact()
    wrong = np.flatnonzero(masks.filled_pixels() != masks.sizes.astype(np.int64).prod(axis=1))
    if len(wrong):
        entry = int(kept[wrong].min())
        mask = predictions.masks[entry]
        problem = problem_of_runs(mask["counts"], *mask["size"])
        raise DataError(
            f"{predictions.source}: entry {entry}: `segmentation` cannot be used: {problem}"
        )


def _locate(
    ground_truth: GroundTruth, predictions: Predictions, rules: Rules, smallest_cap: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_], NDArray[np.int32]]:
    """Image and category index of every detection, whether its category is listed, its place."""
    image, image_known = look_up(ground_truth.image_ids, predictions.image_ids)
    if not image_known.all():
        index = int(np.argmin(image_known))
        raise DataError(
            f"{predictions.source}: entry {index} is for image {predictions.image_ids[index]}, "
            f"which {ground_truth.source} does not hold. Are these predictions for another data "
            "set or split?"
        )
    category, known = look_up(ground_truth.category_ids, predictions.category_ids)
    if rules.cap_unit == "image":  # detections of categories that are not listed take places too
        unit = image
    else:
        unit = (
            category if rules.cap_unit == "category" else image * len(ground_truth.names) + category
        )
        unit = np.where(known, unit, -1)
    place = places(unit, predictions.scores, smallest_cap)
    return image.astype(np.int32), category.astype(np.int32), known, place


def places(
    unit: NDArray[np.integer], scores: NDArray[np.floating], smallest_cap: int
) -> NDArray[np.int32]:
    """Place (from 0) of each detection in its unit by falling score, then input order; both (D,).

    Units with no more members than `smallest_cap` are not sorted: every place in them is 0.
    """
    place = np.zeros(len(unit), np.int32)
    if not len(unit):
        return place
    unit = unit - unit.min()
    if unit.max() > 4 * len(unit):
        unit = np.unique(unit, return_inverse=True)[1]
    large = np.flatnonzero(np.bincount(unit)[unit] > smallest_cap)
    order = large[np.lexsort((-scores[large], unit[large]))]
    place[order] = within_runs(unit[order])
    return place


def _ranking_order(
    category: NDArray[np.int32], scores: NDArray[np.floating], image: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Stable sort by category, falling score, image: as one lexsort, at a third of its time.

    Images usually come in order, and NumPy sorts 16-bit numbers by radix.
    """
    order = np.arange(len(category))
    if (image[1:] < image[:-1]).any():
        order = np.argsort(image, kind="stable")
    order = order[np.argsort(-scores[order], kind="stable")]
    keys: NDArray[np.integer] = category[order]
    if len(keys) and keys.max() < 1 << 16:
        keys = keys.astype(np.uint16)
    return order[np.argsort(keys, kind="stable")]


class _Geometry(TypedDict):
    """Those columns of a ranking."""

    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    mask_areas: NDArray[np.float64]
    masks: PackedMasks | None


def _geometry(
    predictions: Predictions,
    kept: NDArray[np.int64],
    cells: NDArray[np.uint8],
    *,
    iou_type: IouType,
    mask_area: MaskArea,
) -> _Geometry:
    boxes = None if predictions.boxes is None else predictions.boxes[kept].astype(np.float64)
    box_areas = None if boxes is None else boxes[:, 2] * boxes[:, 3]
    if iou_type == "bbox" and boxes is not None and box_areas is not None:
        return {"boxes": boxes, "areas": box_areas, "mask_areas": box_areas, "masks": None}
    assert predictions.masks is not None, "predictions were read without their masks"
    masks = predictions.masks.select(kept)
    own_areas, own_boxes = mask_areas(masks), np.zeros((len(kept), 4))
    facing = np.flatnonzero(cells & HOLDS_OBJECTS)  # only their boxes are ever looked at
    own_boxes[facing] = mask_boxes(masks.select(facing))
    return {
        "boxes": own_boxes,
        "areas": box_areas if mask_area == "box" and box_areas is not None else own_areas,
        "mask_areas": own_areas,
        "masks": None if iou_type == "bbox" else masks,
    }


def _check_sizes(
    ground_truth: GroundTruth,
    predictions: Predictions,
    kept: NDArray[np.int64],
    image: NDArray[np.integer],
) -> None:
    assert predictions.masks is not None, "masks are scored"
    wanted, given = ground_truth.image_sizes[image], predictions.masks.sizes[kept]
    wrong = (given != wanted).any(axis=1)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{predictions.source}: entry {kept[first]} has a mask of size "
            f"{given[first].tolist()}, its image "
            f"{ground_truth.image_ids[image[first]]} is {wanted[first].tolist()} (height, width)"
        )


def _without_empty(ranking: Ranking) -> Ranking:
    kept = np.flatnonzero((ranking.areas > 0) & (ranking.areas < np.inf))
    if len(kept) == len(ranking):
        return ranking
    columns = {
        column.name: getattr(ranking, column.name)[kept]
        for column in fields(Ranking)
        if column.name != "masks"
    }
    masks = None if ranking.masks is None else ranking.masks.select(kept)
    return Ranking(masks=masks, **columns)

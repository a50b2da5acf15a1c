"""LVIS v0.5, LVIS v1 and plain COCO files -> columns.

The three are one format with more or fewer fields; nothing asks which of them a file is.
No torch import: scoring needs this module.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dense_lt.data.categories import DEFAULT_THRESHOLDS, CategoryTable, frequency_group
from dense_lt.data.faults import Fault, raise_faults
from dense_lt.data.table import AnnotationTable, Names, Ragged, offsets_of, pack_segmentations
from dense_lt.data.validate import FREQUENCIES, find_faults, is_box, is_polygon
from dense_lt.utils.errors import DataError

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]


def read_annotations(
    path: Path,
    *,
    categories: CategoryTable | None = None,
    thresholds: tuple[int, int] = DEFAULT_THRESHOLDS,
    masks: bool = True,
    drop_invalid_boxes: bool = False,
) -> tuple[AnnotationTable, CategoryTable]:
    """Read and check an annotation file.

    Category ids may be any integers: labels 0 .. C-1 follow their rising order. Boxes are clipped
    to their image. What a file leaves out is assumed, and said once in the log: without
    `neg_category_ids` every class counts as checked in every image (COCO's rule), without `area`
    it is the box's, without `iscrowd` nothing is a crowd.

    Args:
        path: LVIS v0.5, LVIS v1 or plain COCO JSON.
        categories: those of the training data, which this file must have as well; None makes the
            table from this file: counts from its annotations, groups from `frequency` where every
            category has it, otherwise from the image counts.
        thresholds: most images of a rare, and of a common class.
        masks: whether segmentations are checked and kept.
        drop_invalid_boxes: leave boxes without area or outside their image out, and clip those that
            reach out of it, instead of raising.

    Returns:
        The annotations, and `categories` or the table made.

    Raises:
        DataError: the file is missing, is not JSON, has faults, or has other categories.
    """
    content = load_json(path)
    faults = [fault for fault in find_faults(content, masks=masks) if fault.fatal]
    to_mend = [fault for fault in faults if not (fault.droppable and drop_invalid_boxes)]
    raise_faults(str(path), to_mend)
    if faults:
        logger.warning("%s: %d invalid boxes are left out or clipped", path, len(faults))
    if categories is not None:
        raise_faults(str(path), compare_categories(content["categories"], categories))
        label_of = categories.label_of()
    else:
        label_of = {i: k for k, i in enumerate(sorted(one["id"] for one in content["categories"]))}
    table = _to_table(content, str(path), label_of, masks=masks)
    if categories is None:
        categories = _to_categories(content["categories"], table, thresholds)
    _log_assumptions(path, content)
    return table, categories


def load_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is missing or not JSON.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of new objects and no garbage: looking takes a quarter of the time
    try:
        with path.open("rb") as file:
            return json.load(file)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such annotation file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: is not JSON (or is cut off): {error}") from error
    finally:
        if collecting:
            gc.enable()


def compare_categories(records: Sequence[Record], expected: CategoryTable) -> list[Fault]:
    """How the categories of a file differ, by id and name, from those of the training data."""
    given = {record["id"]: record["name"] for record in records}
    wanted = dict(zip(expected.dataset_ids, expected.names, strict=True))
    if given == wanted:
        return []
    missing = [f"{i} {name}" for i, name in wanted.items() if i not in given]
    unknown = [f"{i} {name}" for i, name in given.items() if i not in wanted]
    renamed = [
        f"{i} {wanted[i]} -> {given[i]}" for i in given if given[i] != wanted.get(i, given[i])
    ]
    differences = [
        f"{len(names)} {what} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
        for what, names in (("missing", missing), ("unknown", unknown), ("renamed", renamed))
        if names
    ]
    return [
        Fault(
            "the file",
            "categories",
            "; ".join(differences),
            f"the model is trained on {len(expected)} categories of its training file",
            "use files with the same categories, the same ids and names",
        )
    ]


def _to_categories(
    records: Sequence[Record], table: AnnotationTable, thresholds: tuple[int, int]
) -> CategoryTable:
    records = sorted(records, key=lambda record: record["id"])
    objects = ~table.crowd
    images = np.repeat(np.arange(len(table)), np.diff(table.offsets))
    pairs = np.unique(np.stack([images[objects], table.labels[objects]]), axis=1)
    image_counts = np.bincount(pairs[1], minlength=len(records)).tolist()
    instance_counts = np.bincount(table.labels[objects], minlength=len(records)).tolist()
    if "frequency" in records[0]:
        groups = [FREQUENCIES[record["frequency"]] for record in records]
    else:
        groups = [frequency_group(count, thresholds) for count in image_counts]
    return CategoryTable(
        names=tuple(record["name"] for record in records),
        dataset_ids=tuple(record["id"] for record in records),
        image_counts=tuple(image_counts),
        instance_counts=tuple(instance_counts),
        groups=tuple(groups),
    )


def _to_table(
    content: Record, source: str, label_of: Mapping[int | str, int], *, masks: bool
) -> AnnotationTable:
    images, annotations = content["images"], content["annotations"]
    heights = np.array([image["height"] for image in images], dtype=np.int32)
    widths = np.array([image["width"] for image in images], dtype=np.int32)
    place = {image["id"]: index for index, image in enumerate(images)}
    owner = np.array([place[one["image_id"]] for one in annotations], dtype=np.int64)
    boxes = _clip(_boxes(annotations), heights[owner], widths[owner])
    valid = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    order = valid[np.argsort(owner[valid], kind="stable")]
    chosen = [annotations[i] for i in order.tolist()]
    raw_areas = [one.get("area") for one in chosen]
    sides = boxes[order, 2:] - boxes[order, :2]
    areas = [box if raw is None else raw for raw, box in zip(raw_areas, sides.prod(1), strict=True)]
    negatives = None
    if any("neg_category_ids" in image for image in images):
        negatives = _label_lists(images, "neg_category_ids", label_of)
    return AnnotationTable(
        source=source,
        image_ids=np.array([image["id"] for image in images], dtype=np.int64),
        heights=heights,
        widths=widths,
        file_names=Names(image.get("file_name") or _url_name(image) for image in images),
        offsets=offsets_of(np.bincount(owner[order], minlength=len(images)).tolist()),
        annotation_ids=np.array([one["id"] for one in chosen], dtype=np.int64),
        boxes=boxes[order].astype(np.float32),
        labels=np.array([label_of[one["category_id"]] for one in chosen], dtype=np.int32),
        areas=np.array(areas, dtype=np.float64),
        crowd=np.array([bool(one.get("iscrowd", 0)) for one in chosen], dtype=bool),
        negatives=negatives,
        not_exhaustive=_label_lists(images, "not_exhaustive_category_ids", label_of),
        segmentations=pack_segmentations(map(_usable_segmentation, chosen)) if masks else None,
        url_names=Names(map(_url_name, images)),
    )


def _boxes(annotations: Sequence[Record]) -> np.ndarray:
    """(M, 4) float64 xyxy; what is no box becomes one without area."""
    rows = [box if is_box(box := one.get("bbox")) else (0, 0, 0, 0) for one in annotations]
    boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _clip(boxes: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    boxes[:, 0::2] = np.clip(boxes[:, 0::2], 0, widths[:, None])
    boxes[:, 1::2] = np.clip(boxes[:, 1::2], 0, heights[:, None])
    return boxes


def _label_lists(images: Sequence[Record], field: str, label_of: Mapping[int | str, int]) -> Ragged:
    return Ragged.from_lists(
        sorted(label_of[category] for category in image.get(field, ())) for image in images
    )


def _url_name(image: Record) -> str:
    """Split folder and name, such as "val2017/000000000139.jpg"; LVIS v1 gives no other name."""
    return "/".join((image.get("coco_url") or "").partition("?")[0].split("/")[-2:])


def _usable_segmentation(annotation: Record) -> Any:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        return [polygon for polygon in segmentation if is_polygon(polygon)]
    return segmentation


def _log_assumptions(path: Path, content: Record) -> None:
    images, annotations = content["images"], content["annotations"]
    assumed = []
    if not any("neg_category_ids" in image for image in images):
        assumed.append("no `neg_category_ids`: every class counts as checked in every image")
    if "frequency" not in content["categories"][0]:
        assumed.append("no `frequency`: groups come from the training images")
    if annotations and not all("area" in one for one in annotations):
        assumed.append("no `area` (or not everywhere): the box's area is taken")
    if annotations and not any("iscrowd" in one for one in annotations):
        assumed.append("no `iscrowd`: nothing is a crowd")
    if assumed:
        logger.info("%s: %s", path, "; ".join(assumed))

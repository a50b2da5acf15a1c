"""LVIS v0.5, LVIS v1 and plain COCO files -> columns.

The three are one format with more or fewer fields; nothing asks which of them a file is.
No torch import: scoring needs this module.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dense_lt.data.categories import DEFAULT_THRESHOLDS, CategoryTable, frequency_group
from dense_lt.data.columns import FileBytes
from dense_lt.data.faults import Fault, raise_faults, tolerate
from dense_lt.data.records import NOT_SAID, AnnotationRows
from dense_lt.data.screening import Scan, look_up, scan
from dense_lt.data.segmentations import PackedSegmentations
from dense_lt.data.table import AnnotationTable, Names, Ragged, offsets_of
from dense_lt.data.validate import FREQUENCIES

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]


def read_annotations(
    path: Path,
    *,
    categories: CategoryTable | None = None,
    thresholds: tuple[int, int] = DEFAULT_THRESHOLDS,
    masks: bool = True,
    drop_invalid_boxes: bool = False,
    skip_bad_masks: bool = False,
    content: BinaryIO | None = None,
) -> tuple[AnnotationTable, CategoryTable]:
    """Read and check an annotation file.

    Category ids may be any integers: labels 0 .. C-1 follow their rising order. Boxes are clipped
    to their image. What a file leaves out is assumed, and said once in the log: without
    `neg_category_ids` every class counts as checked in every image (COCO's rule), without `area`
    it is the box's, without `iscrowd` nothing is a crowd.

    The file is read a few MB at a time: LVIS v1 takes a few seconds and 250 MB of memory, and as
    much again as its polygons are long unless `content` takes them.

    Args:
        path: LVIS v0.5, LVIS v1 or plain COCO JSON.
        categories: those of the training data, which this file must have as well; None makes the
            table from this file: counts from its annotations, groups from `frequency` where every
            category has it, otherwise from the image counts.
        thresholds: most images of a rare, and of a common class.
        masks: whether segmentations are checked and kept.
        drop_invalid_boxes: leave boxes without area or outside their image out, and clip those that
            reach out of it, instead of raising.
        skip_bad_masks: keep run lengths that do not fill their image, instead of raising; to ask
            the table for them raises.
        content: an empty file for the texts of segmentations, which the table then reads from
            there; None keeps them in memory.

    Returns:
        The annotations, and `categories` or the table made.

    Raises:
        DataError: the file is missing, is not JSON, has faults, or has other categories.
    """
    texts = content or io.BytesIO()
    found = scan(path, masks=masks, content=texts)
    faults = tolerate(found.faults, drop_invalid_boxes=drop_invalid_boxes, skip=skip_bad_masks)
    raise_faults(str(path), [fault for fault in faults if fault.fatal])
    _log_tolerated(path, faults)
    if categories is not None:
        raise_faults(str(path), compare_categories(found.categories, categories))
        label_of = categories.label_of()
    else:
        label_of = {i: k for k, i in enumerate(sorted(one["id"] for one in found.categories))}
    texts.flush()
    kept = texts.getvalue() if isinstance(texts, io.BytesIO) else FileBytes(Path(texts.name))
    table = _to_table(found, str(path), label_of, kept if masks else None)
    if categories is None:
        categories = _to_categories(found.categories, table, thresholds)
    _log_assumptions(path, found)
    return table, categories


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
    pairs = np.unique(images[objects] * len(records) + table.labels[objects])
    image_counts = np.bincount(pairs % len(records), minlength=len(records)).tolist()
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
    found: Scan, source: str, label_of: Mapping[int | str, int], content: bytes | FileBytes | None
) -> AnnotationTable:
    images, rows = found.images, found.annotations
    heights, widths = (images.column(side).astype(np.int32) for side in ("height", "width"))
    owner, _ = look_up(images.column("id"), rows.column("image_id"))
    boxes = _clip(rows.column("bbox", np.float64).reshape(-1, 4), heights[owner], widths[owner])
    valid = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    order = valid[np.argsort(owner[valid], kind="stable")]
    owner, boxes = owner[order], boxes[order]
    areas = rows.column("area", np.float64)[order]
    areas = np.where(np.isnan(areas), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), areas)
    ids, labels = np.array(list(label_of)), np.array(list(label_of.values()), dtype=np.int32)
    negatives = _label_lists(images.ragged("negatives"), ids, labels)
    return AnnotationTable(
        source=source,
        image_ids=images.column("id"),
        heights=heights,
        widths=widths,
        file_names=Names(images.ragged("file_names")),
        url_names=Names(images.ragged("url_names")),
        offsets=offsets_of(np.bincount(owner, minlength=images.count)),
        annotation_ids=rows.column("id")[order],
        boxes=boxes.astype(np.float32),
        labels=labels[look_up(ids, rows.column("category_id")[order])[0]],
        areas=areas,
        crowd=rows.column("crowd", np.int8)[order] == 1,
        negatives=negatives if images.say_negatives else None,
        not_exhaustive=_label_lists(images.ragged("not_exhaustive"), ids, labels),
        segmentations=None if content is None else _segmentations(rows, content, order),
    )


def _clip(boxes: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """(M, 4) xyxy inside the image, from xywh."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    corners[:, 0::2] = np.clip(corners[:, 0::2], 0, widths[:, None])
    corners[:, 1::2] = np.clip(corners[:, 1::2], 0, heights[:, None])
    return corners


def _label_lists(lists: Ragged, ids: np.ndarray, labels: np.ndarray) -> Ragged:
    """Category ids of every image as rising labels."""
    own = labels[look_up(ids, lists.values)[0]]
    owner = np.repeat(np.arange(len(lists)), np.diff(lists.offsets))
    return Ragged(own[np.lexsort((own, owner))], lists.offsets)


def _segmentations(
    rows: AnnotationRows, content: bytes | FileBytes, order: np.ndarray
) -> PackedSegmentations:
    return PackedSegmentations(
        content, rows.column("text.start")[order], rows.column("text.end")[order]
    )


def _log_tolerated(path: Path, faults: Sequence[Fault]) -> None:
    dropped = sum(fault.droppable for fault in faults)
    if dropped:
        logger.warning("%s: %d invalid boxes are left out or clipped", path, dropped)
    skipped = [fault for fault in faults if fault.skippable]
    if skipped:
        text = "%s: masks that cannot be decoded: %d; their images are skipped. The first: %s"
        logger.warning(text, path, len(skipped), skipped[0])


def _log_assumptions(path: Path, found: Scan) -> None:
    rows = found.annotations
    assumed = []
    if not found.images.say_negatives:
        assumed.append("no `neg_category_ids`: every class counts as checked in every image")
    if "frequency" not in found.categories[0]:
        assumed.append("no `frequency`: groups come from the training images")
    if np.isnan(rows.column("area", np.float64)).any():
        assumed.append("no `area` (or not everywhere): the box's area is taken")
    if rows.count and (rows.column("crowd", np.int8) == NOT_SAID).all():
        assumed.append("no `iscrowd`: nothing is a crowd")
    if assumed:
        logger.info("%s: %s", path, "; ".join(assumed))

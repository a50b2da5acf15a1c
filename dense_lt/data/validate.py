"""The rules an annotation file must keep, and every place where it breaks one.

Checked on the parsed JSON, before anything is converted. No torch import: scoring needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from dense_lt.data.faults import Fault

Record = Mapping[str, Any]
"""One image, annotation or category of the file."""

BOX_TOLERANCE = 2.0
"""Pixels by which a box may reach out of its image; it is clipped without a word."""

MIN_POLYGON = 6
"""Numbers of a triangle; pycocotools takes four numbers for a box."""

FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}


def find_faults(content: object, *, masks: bool) -> list[Fault]:
    """Every fault of a parsed annotation file in LVIS or COCO format.

    Args:
        content: what the JSON file holds.
        masks: whether segmentations are looked at; a box detector does without them.
    """
    faults = list(_check_top(content))
    if faults:
        return faults
    assert isinstance(content, Mapping)
    images, annotations, categories = (
        content[name] for name in ("images", "annotations", "categories")
    )
    for records, kind in ((categories, "category"), (images, "image"), (annotations, "annotation")):
        faults += _check_ids(records, kind)
    if faults:  # what follows needs the ids
        return faults
    category_ids = {record["id"] for record in categories}
    faults += _check_categories(categories)
    for image in images:
        faults += _check_image(image, category_ids)
    faults += _check_annotations(annotations, images, category_ids, masks=masks)
    if not any(fault.fatal and not fault.droppable for fault in faults):
        faults += _check_negatives(images, annotations)
    return faults


def is_box(value: object) -> TypeGuard[list[float]]:
    """Whether `value` is a list of four finite numbers."""
    return isinstance(value, list) and len(value) == 4 and _are_numbers(value)


def is_polygon(value: object) -> TypeGuard[list[float]]:
    """Whether `value` is a list of three or more pairs of finite numbers."""
    return (
        isinstance(value, list)
        and len(value) >= MIN_POLYGON
        and len(value) % 2 == 0
        and _are_numbers(value)
    )


def _check_top(content: object) -> Iterator[Fault]:
    if not isinstance(content, Mapping):
        yield Fault(
            "the file",
            "top level",
            type(content).__name__,
            "expected an object with `images`, `annotations` and `categories`",
            "give an annotation file, not a results file",
        )
        return
    for name in ("images", "annotations", "categories"):
        value = content.get(name)
        if not isinstance(value, list):
            shown = type(value).__name__ if name in content else "missing"
            yield Fault("the file", name, shown, "expected a list", "give an annotation file")
        elif not value and name != "annotations":
            yield Fault("the file", name, [], "is empty", "give a file that has some")


def _check_ids(records: Sequence[object], kind: str) -> Iterator[Fault]:
    seen: set[int] = set()
    for position, record in enumerate(records):
        if not isinstance(record, Mapping):
            problem, field, value = "expected an object", kind, record
        elif not _is_integer(record.get("id")):
            problem, field, value = "expected an integer", "id", record.get("id")
        elif record["id"] in seen:
            problem, field, value = "is used twice", "id", record["id"]
        else:
            seen.add(record["id"])
            continue
        where = f"{kind} number {position + 1} of the list"
        yield Fault(where, field, value, problem, "give each its own whole number")


def _check_categories(categories: Sequence[Record]) -> Iterator[Fault]:
    has_frequency = any("frequency" in record for record in categories)
    for record in categories:
        where = f"category {record['id']}"
        name = record.get("name")
        if not isinstance(name, str) or not name:
            yield Fault(where, "name", name, "expected a name", "give it one")
        frequency = record.get("frequency")
        if has_frequency and frequency not in FREQUENCIES:
            problem = "expected r, c or f, in every category or in none"
            mend = "remove `frequency` everywhere to have it computed"
            yield Fault(where, "frequency", frequency, problem, mend)


def _check_image(image: Record, category_ids: set[int]) -> Iterator[Fault]:
    where = f"image {image['id']}"
    for field in ("width", "height"):
        value = image.get(field)
        if not _is_length(value):
            yield Fault(where, field, value, "expected a whole number of pixels", "write its size")
    names = [image.get(field) for field in ("file_name", "coco_url")]
    if not any(isinstance(name, str) and name for name in names):
        yield Fault(where, "file_name", names[0], "neither it nor `coco_url` is given", "add it")
    for field in ("neg_category_ids", "not_exhaustive_category_ids"):
        values = image.get(field, [])
        if not isinstance(values, list):
            yield Fault(where, field, values, "expected a list of category ids", "write a list")
            continue
        unknown = [value for value in values if not _is_integer(value) or value not in category_ids]
        if unknown:
            yield Fault(where, field, unknown, "no category has these ids", "remove them")


def _check_annotations(
    annotations: Sequence[Record],
    images: Sequence[Record],
    category_ids: set[int],
    *,
    masks: bool,
) -> Iterator[Fault]:
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in images}
    for annotation in annotations:
        category, image = annotation.get("category_id"), annotation.get("image_id")
        if not _is_integer(category) or category not in category_ids:
            yield _unknown_reference(annotation, "category_id", "category")
        if not _is_integer(image) or image not in sizes:
            yield _unknown_reference(annotation, "image_id", "image")
            continue
        height, width = sizes[image]
        if _is_length(height) and _is_length(width):
            yield from _check_box(annotation, height, width)
            if masks:
                yield from _check_segmentation(annotation, height, width)
        yield from _check_flags(annotation)


def _unknown_reference(annotation: Record, field: str, kind: str) -> Fault:
    problem = f"no {kind} has this id"
    return Fault(_name(annotation), field, annotation.get(field), problem, "correct or remove it")


def _check_box(annotation: Record, height: int, width: int) -> Iterator[Fault]:
    box = annotation.get("bbox")
    mend = "correct it"
    if not is_box(box):
        problem = "expected [x, y, width, height], finite"
    else:
        x, y, across, down = box
        beyond = max(-x, -y, x + across - width, y + down - height)
        if across <= 0 or down <= 0:
            problem = "width and height must be above 0"
        elif x >= width or y >= height or x + across <= 0 or y + down <= 0:
            problem = f"lies outside its image of {width} x {height} pixels"
        elif beyond > BOX_TOLERANCE:
            problem = f"reaches {beyond:.1f} pixels out of its image of {width} x {height} pixels"
            mend = "check that it is [x, y, width, height] and not [x1, y1, x2, y2], or clip it"
        else:
            return
    yield Fault(_name(annotation), "bbox", box, problem, mend, droppable=True)


def _check_flags(annotation: Record) -> Iterator[Fault]:
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        yield Fault(_name(annotation), "iscrowd", crowd, "expected 0 or 1", "correct it")
    area = annotation.get("area")
    if area is not None and (not _is_number(area) or area < 0):
        problem, mend = "expected square pixels", "remove it, or correct it"
        yield Fault(_name(annotation), "area", area, problem, mend)


def _check_segmentation(annotation: Record, height: int, width: int) -> Iterator[Fault]:
    segmentation = annotation.get("segmentation")
    where = _name(annotation)
    if not segmentation:
        return
    if isinstance(segmentation, Mapping):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if size != [height, width]:
            problem, mend = (
                f"expected [height, width] = [{height}, {width}]",
                "correct or remove it",
            )
            yield Fault(where, "segmentation.size", size, problem, mend)
        if not isinstance(counts, str | list) or not counts:
            problem, mend = "expected run lengths", "correct or remove it"
            yield Fault(where, "segmentation.counts", counts, problem, mend)
    elif not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        problem = "expected a list of polygons [x1, y1, x2, y2, ...], or run lengths"
        mend = "put a single polygon into a list"
        yield Fault(where, "segmentation", segmentation, problem, mend)
    else:
        for polygon in segmentation:
            if not is_polygon(polygon):
                problem = "a polygon needs three or more pairs of finite numbers"
                mend = "correct it; it is left out of the mask"
                yield Fault(where, "segmentation", polygon, problem, mend, fatal=False)


def _check_negatives(images: Sequence[Record], annotations: Iterable[Record]) -> Iterator[Fault]:
    present: dict[int, set[int]] = {image["id"]: set() for image in images}
    for annotation in annotations:
        present[annotation["image_id"]].add(annotation["category_id"])
    for image in images:
        both = sorted(present[image["id"]].intersection(image.get("neg_category_ids", ())))
        if both:
            where, problem = f"image {image['id']}", "these are annotated in the image"
            mend = "remove them here, or their annotations"
            yield Fault(where, "neg_category_ids", both, problem, mend, fatal=False)


def _name(annotation: Record) -> str:
    return f"annotation {annotation['id']} of image {annotation.get('image_id')}"


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_length(value: object) -> TypeGuard[int]:
    return _is_integer(value) and value > 0


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(values: list[Any]) -> bool:
    """Whether all are finite numbers: one infinity or NaN makes their sum infinite or NaN."""
    try:
        return math.isfinite(sum(values))
    except (TypeError, OverflowError):
        return False

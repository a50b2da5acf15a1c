"""The rules an annotation file must keep, and every place where it breaks one.

Checked on the parsed JSON, before anything is converted: one finding names the file, the image, the
annotation, the field, its value, what is allowed and how to mend it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dense_lt.utils.errors import DataError

Record = Mapping[str, Any]
"""One image, annotation or category of the file."""

BOX_TOLERANCE = 2.0
"""Pixels by which a box may reach out of its image; it is clipped without a word."""

MAX_LISTED = 8
"""Faults that an error message spells out; `dense-lt data check` lists all."""

MAX_VALUE_LENGTH = 80
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}


@dataclass(frozen=True)
class Fault:
    """One place where a file breaks a rule.

    Attributes:
        where: such as "annotation 8812 of image 57".
        field: the key with the fault.
        value: what stands there.
        problem: what is wrong, or what is allowed.
        mend: what the user can do.
        fatal: the file cannot be used as it is; otherwise it can, but should be looked at.
        droppable: `data.drop_invalid_boxes` mends it.
    """

    where: str
    field: str
    value: object
    problem: str
    mend: str
    fatal: bool = True
    droppable: bool = False

    def __str__(self) -> str:
        value = repr(self.value)
        if len(value) > MAX_VALUE_LENGTH:
            value = value[:MAX_VALUE_LENGTH] + "..."
        return f"{self.where}: `{self.field}` is {value}: {self.problem}; {self.mend}"


def raise_faults(source: str, faults: Sequence[Fault]) -> None:
    """Raise one error for all `faults`, if there are any.

    Raises:
        DataError: lists the first few and says how many there are.
    """
    if not faults:
        return
    lines = [f"  {fault}" for fault in faults[:MAX_LISTED]]
    if len(faults) > MAX_LISTED:
        lines.append(f"  ... and {len(faults) - MAX_LISTED} more; `dense-lt data check` lists all")
    if any(fault.droppable for fault in faults):
        lines.append(
            "Set data.drop_invalid_boxes=true to leave boxes without area or outside their image "
            "out, and to clip those that reach out of it."
        )
    raise DataError(f"{source}: {len(faults)} fault(s):\n" + "\n".join(lines))


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
    faults += _check_ids(categories, "category")
    faults += _check_ids(images, "image")
    faults += _check_ids(annotations, "annotation")
    if faults:  # what follows needs the ids
        return faults
    faults += _check_categories(categories)
    category_ids = {record["id"] for record in categories}
    sizes: dict[int, tuple[int, int]] = {}
    for image in images:
        found = list(_check_image(image, category_ids))
        faults += found
        if not found:
            sizes[image["id"]] = (image["height"], image["width"])
    image_ids = {image["id"] for image in images}
    for annotation in annotations:
        faults += _check_references(annotation, image_ids, category_ids)
        size = sizes.get(annotation.get("image_id"))
        if size is not None:
            faults += _check_box(annotation, size)
            faults += _check_flags(annotation)
            if masks:
                faults += _check_segmentation(annotation, size)
    if not any(fault.fatal and not fault.droppable for fault in faults):
        faults += _check_federated(images, annotations)
    return faults


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
            shown = "missing" if name not in content else type(value).__name__
            yield Fault("the file", name, shown, "expected a list", "give an annotation file")
        elif not value and name != "annotations":
            yield Fault("the file", name, [], "is empty", "give a file that has some")


def _check_ids(records: Sequence[object], kind: str) -> Iterator[Fault]:
    seen: set[int] = set()
    for position, record in enumerate(records):
        where = f"{kind} number {position + 1} of the list"
        if not isinstance(record, Mapping):
            yield Fault(where, kind, record, "expected an object", "remove it")
        elif not _is_integer(record.get("id")):
            yield Fault(where, "id", record.get("id"), "expected an integer", "number them anew")
        elif record["id"] in seen:
            yield Fault(where, "id", record["id"], "is used twice", "give each its own id")
        else:
            seen.add(record["id"])


def _check_categories(categories: Sequence[Record]) -> Iterator[Fault]:
    has_frequency = any("frequency" in record for record in categories)
    for record in categories:
        where = f"category {record['id']}"
        name = record.get("name")
        if not isinstance(name, str) or not name:
            yield Fault(where, "name", name, "expected a name", "give it one")
        if has_frequency and record.get("frequency") not in FREQUENCIES:
            yield Fault(
                where,
                "frequency",
                record.get("frequency"),
                "expected r, c or f, in every category or in none",
                "remove `frequency` everywhere to have it computed",
            )


def _check_image(image: Record, category_ids: set[int]) -> Iterator[Fault]:
    where = f"image {image['id']}"
    for field in ("width", "height"):
        value = image.get(field)
        if not _is_integer(value) or value < 1:
            yield Fault(where, field, value, "expected a whole number of pixels", "write its size")
    if not any(
        isinstance(image.get(name), str) and image[name] for name in ("file_name", "coco_url")
    ):
        yield Fault(
            where,
            "file_name",
            image.get("file_name"),
            "neither it nor `coco_url` is given",
            "add it",
        )
    for field in ("neg_category_ids", "not_exhaustive_category_ids"):
        values = image.get(field, [])
        if not isinstance(values, list):
            yield Fault(where, field, values, "expected a list of category ids", "write a list")
            continue
        unknown = [value for value in values if not _is_integer(value) or value not in category_ids]
        if unknown:
            yield Fault(where, field, unknown, "no categories have these ids", "remove them")


def _check_references(
    annotation: Record, image_ids: set[int], category_ids: set[int]
) -> Iterator[Fault]:
    for field, known, kind in (
        ("image_id", image_ids, "image"),
        ("category_id", category_ids, "category"),
    ):
        value = annotation.get(field)
        if not _is_integer(value) or value not in known:
            yield Fault(
                _name(annotation), field, value, f"no {kind} has this id", "correct or remove it"
            )


def _check_box(annotation: Record, size: tuple[int, int]) -> Iterator[Fault]:
    where = _name(annotation)
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        yield Fault(
            where,
            "bbox",
            box,
            "expected [x, y, width, height], finite",
            "correct it",
            droppable=True,
        )
        return
    x, y, width, height = box
    if width <= 0 or height <= 0:
        yield Fault(
            where, "bbox", box, "width and height must be above 0", "correct it", droppable=True
        )
        return
    image_height, image_width = size
    if x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
        problem = f"lies outside its image of {image_width} x {image_height} pixels"
        yield Fault(where, "bbox", box, problem, "correct it", droppable=True)
        return
    beyond = max(-x, -y, x + width - image_width, y + height - image_height)
    if beyond > BOX_TOLERANCE:
        yield Fault(
            where,
            "bbox",
            box,
            f"reaches {beyond:.1f} pixels out of its image of {image_width} x {image_height} pixels",
            "check that it is [x, y, width, height] and not [x1, y1, x2, y2], or clip it",
            droppable=True,
        )


def _check_flags(annotation: Record) -> Iterator[Fault]:
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        yield Fault(_name(annotation), "iscrowd", crowd, "expected 0 or 1", "correct it")
    area = annotation.get("area", 0)
    if not _is_number(area) or area < 0:
        yield Fault(
            _name(annotation), "area", area, "expected square pixels", "remove it, or correct it"
        )


def _check_segmentation(annotation: Record, size: tuple[int, int]) -> Iterator[Fault]:
    segmentation = annotation.get("segmentation")
    where = _name(annotation)
    if not segmentation:
        return
    if isinstance(segmentation, Mapping):
        runs_size, counts = segmentation.get("size"), segmentation.get("counts")
        if list(runs_size or ()) != list(size):
            yield Fault(
                where,
                "segmentation.size",
                runs_size,
                f"expected [height, width] {list(size)}",
                "mend it",
            )
        if not isinstance(counts, str | list) or not counts:
            yield Fault(where, "segmentation.counts", counts, "expected run lengths", "remove it")
        return
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        yield Fault(
            where,
            "segmentation",
            segmentation,
            "expected a list of polygons [x1, y1, x2, y2, ...], or run lengths",
            "put a single polygon into a list",
        )
        return
    for polygon in segmentation:
        if len(polygon) < 6 or len(polygon) % 2 or not all(map(_is_number, polygon)):
            yield Fault(
                where,
                "segmentation",
                polygon,
                "a polygon needs three or more pairs of finite numbers",
                "it is left out",
                fatal=False,
            )


def _check_federated(images: Sequence[Record], annotations: Iterable[Record]) -> Iterator[Fault]:
    present: dict[int, set[int]] = {image["id"]: set() for image in images}
    for annotation in annotations:
        present[annotation["image_id"]].add(annotation["category_id"])
    for image in images:
        where = f"image {image['id']}"
        both = present[image["id"]].intersection(image.get("neg_category_ids", ()))
        if both:
            yield Fault(
                where,
                "neg_category_ids",
                sorted(both),
                "these are annotated in the image",
                "remove them from one of the two",
                fatal=False,
            )


def _name(annotation: Record) -> str:
    return f"annotation {annotation['id']} of image {annotation.get('image_id')}"


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""The rules an annotation file must keep: what each image, annotation and category is held against.

They are applied to the parsed records; `screening` finds the few that need it. No torch import:
scoring needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from dense_lt.data.faults import Fault
from dense_lt.data.run_lengths import problem_of_runs
from dense_lt.data.segmentations import are_numbers, is_polygon

Record = Mapping[str, Any]
"""One image, annotation or category of the file."""

BOX_TOLERANCE = 2.0
"""Pixels by which a box may reach out of its image; it is clipped without a word."""

FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
LISTS = ("images", "annotations", "categories")
LONGEST = 2**31 - 1
LARGEST_ID = 2**63 - 1


class Known(NamedTuple):
    """What annotations refer to; entries whose id has a fault are not there."""

    category_ids: Collection[int]
    sizes: Mapping[int, tuple[object, object]]  # image id -> (height, width) as in the file


def is_box(value: object) -> TypeGuard[list[float]]:
    """Whether `value` is a list of four finite numbers."""
    return isinstance(value, list) and len(value) == 4 and are_numbers(value)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer of 64 bits, true and false not being any."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_ID


def is_length(value: object) -> TypeGuard[int]:
    """Whether `value` is a number of pixels."""
    return is_integer(value) and 0 < value <= LONGEST


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and are_numbers([value])


def check_top(kind: str, members: Mapping[str, str], counts: Mapping[str, int]) -> Iterator[Fault]:
    """What a file holds at the top.

    Args:
        kind: Python's name for it, "dict" if all is well.
        members: the same for each of its members.
        counts: entries of each member that is a list.
    """
    if kind != "dict":
        yield Fault(
            "the file",
            "top level",
            kind,
            "expected an object with `images`, `annotations` and `categories`",
            "give an annotation file, not a results file",
        )
        return
    for name in LISTS:
        shown = members.get(name, "missing")
        if shown != "list":
            yield Fault("the file", name, shown, "expected a list", "give an annotation file")
        elif not counts.get(name) and name != "annotations":
            yield Fault("the file", name, [], "is empty", "give a file that has some")


def check_category(
    record: object, position: int, *, repeated: bool, has_frequency: bool
) -> Iterator[Fault]:
    """Faults of entry `position` of `categories`; `repeated`: an entry before has its id."""
    yield from _check_id(record, "category", position, repeated=repeated)
    if not isinstance(record, Mapping):
        return
    where = _name(record, "category", position)
    name = record.get("name")
    if not isinstance(name, str) or not name:
        yield Fault(where, "name", name, "expected a name", "give it one")
    frequency = record.get("frequency")
    if has_frequency and not (isinstance(frequency, str) and frequency in FREQUENCIES):
        problem = "expected r, c or f, in every category or in none"
        mend = "remove `frequency` everywhere to have it computed"
        yield Fault(where, "frequency", frequency, problem, mend)


def check_image(
    record: object, position: int, *, repeated: bool, category_ids: Collection[int]
) -> Iterator[Fault]:
    """Faults of entry `position` of `images`; `repeated`: an entry before has its id."""
    yield from _check_id(record, "image", position, repeated=repeated)
    if not isinstance(record, Mapping):
        return
    where = _name(record, "image", position)
    for field in ("width", "height"):
        value = record.get(field)
        if not is_length(value):
            yield Fault(where, field, value, "expected a whole number of pixels", "write its size")
    names = [record.get(field) for field in ("file_name", "coco_url")]
    if not any(isinstance(name, str) and name for name in names):
        yield Fault(where, "file_name", names[0], "neither it nor `coco_url` is given", "add it")
    for field in ("neg_category_ids", "not_exhaustive_category_ids"):
        yield from _check_list(where, field, record.get(field, []), category_ids)


def _check_list(
    where: str, field: str, values: object, category_ids: Collection[int]
) -> Iterator[Fault]:
    if not isinstance(values, list):
        yield Fault(where, field, values, "expected a list of category ids", "write a list")
        return
    unknown = [one for one in values if not is_integer(one) or one not in category_ids]
    if unknown:
        yield Fault(where, field, unknown, "no category has these ids", "remove them")


def check_annotation(
    record: object, position: int, *, repeated: bool, known: Known, masks: bool
) -> Iterator[Fault]:
    """Faults of entry `position` of `annotations`; `repeated`: an entry before has its id."""
    yield from _check_id(record, "annotation", position, repeated=repeated)
    if not isinstance(record, Mapping):
        return
    where = _name(record, "annotation", position)
    category, image = record.get("category_id"), record.get("image_id")
    if not is_integer(category) or category not in known.category_ids:
        yield _unknown_reference(where, record, "category")
    size = None
    if is_integer(image) and image in known.sizes:
        height, width = known.sizes[image]
        size = (height, width) if is_length(height) and is_length(width) else None
    else:
        yield _unknown_reference(where, record, "image")
    yield from _check_box(where, record.get("bbox"), size)
    if masks and record.get("segmentation"):
        yield from _check_segmentation(where, record["segmentation"], size)
    yield from _check_flags(where, record)


def contradiction(image_id: int, category_ids: Sequence[int]) -> Fault:
    """Categories that an image lists as absent although it has annotations of them."""
    problem, mend = "these are annotated in the image", "remove them here, or their annotations"
    where = f"image {image_id}"
    return Fault(where, "neg_category_ids", list(category_ids), problem, mend, fatal=False)


def _check_id(record: object, kind: str, position: int, *, repeated: bool) -> Iterator[Fault]:
    if not isinstance(record, Mapping):
        problem, field, value = "expected an object", kind, record
    elif not is_integer(record.get("id")):
        problem, field, value = "expected an integer", "id", record.get("id")
    elif repeated:
        problem, field, value = "is used twice", "id", record["id"]
    else:
        return
    where = f"{kind} number {position + 1} of the list"
    yield Fault(where, field, value, problem, "give each its own whole number")


def _name(record: Record, kind: str, position: int) -> str:
    own = record.get("id")
    where = f"{kind} {own}" if is_integer(own) else f"{kind} number {position + 1} of the list"
    return f"{where} of image {record.get('image_id')}" if kind == "annotation" else where


def _unknown_reference(where: str, record: Record, kind: str) -> Fault:
    field, problem, mend = f"{kind}_id", f"no {kind} has this id", "correct or remove it"
    value = record.get(field)
    if isinstance(value, str):
        problem, mend = "is text, not a number", "write it without quotes, as the id of the entry"
    return Fault(where, field, value, problem, mend)


def _check_box(where: str, box: object, size: tuple[int, int] | None) -> Iterator[Fault]:
    """`size`: (height, width) of the image; without, any number of pixels will do."""
    mend = "correct it"
    height, width = size or (LONGEST, LONGEST)
    if not is_box(box):
        problem = "expected [x, y, width, height], finite"
    else:
        x, y, across, down = box
        beyond = max(-x, -y, x + across - width, y + down - height)
        image = f"its image of {width} x {height} pixels" if size else "any image"
        if across <= 0 or down <= 0:
            problem = "width and height must be above 0"
        elif x >= width or y >= height or x + across <= 0 or y + down <= 0:
            problem = f"lies outside {image}"
        elif beyond > BOX_TOLERANCE:
            problem = f"reaches {beyond:.1f} pixels out of {image}"
            mend = "check that it is [x, y, width, height] and not [x1, y1, x2, y2], or clip it"
        else:
            return
    yield Fault(where, "bbox", box, problem, mend, droppable=True)


def _check_flags(where: str, record: Record) -> Iterator[Fault]:
    crowd = record.get("iscrowd", 0)
    if crowd not in (0, 1):
        yield Fault(where, "iscrowd", crowd, "expected 0 or 1", "correct it")
    area = record.get("area")
    if area is not None and (not is_number(area) or area < 0):
        problem, mend = "expected square pixels", "remove it, or correct it"
        yield Fault(where, "area", area, problem, mend)


def _check_segmentation(
    where: str, segmentation: object, image_size: tuple[int, int] | None
) -> Iterator[Fault]:
    if isinstance(segmentation, Mapping):
        yield from _check_runs(where, segmentation, image_size)
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


def _check_runs(where: str, runs: Record, image_size: tuple[int, int] | None) -> Iterator[Fault]:
    """Size and run lengths; those of an image whose size is not known fill the size they give."""
    size, counts = runs.get("size"), runs.get("counts")
    field, mend = "segmentation.size", "correct or remove it"
    is_size = _is_size(size)
    if image_size is not None and size != list(image_size):
        problem = f"expected [height, width] = {list(image_size)}"
        yield Fault(where, field, size, problem, mend, skippable=is_size and is_runs(counts))
    elif not is_size:
        yield Fault(where, field, size, "expected [height, width]", mend)
    field = "segmentation.counts"
    if not is_runs(counts):
        yield Fault(where, field, counts, "expected run lengths", mend)
    elif _is_size(size):
        problem = problem_of_runs(counts, *size)
        if problem:
            yield Fault(where, field, counts, problem, mend, skippable=True)


def _is_size(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) == 2 and all(map(is_length, value))


def is_runs(counts: object) -> TypeGuard[str | list[int]]:
    """Whether `counts` may be run lengths: text in COCO's compressed form, or whole numbers."""
    if isinstance(counts, list):
        return bool(counts) and all(is_integer(count) and count >= 0 for count in counts)
    return isinstance(counts, str) and bool(counts) and counts.isascii()

"""Everything that is wrong with the files of a data set, without stopping at the first fault."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from dense_lt.data.columns import FileBytes
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.faults import Fault, tolerate
from dense_lt.data.screening import Scan, look_up, scan
from dense_lt.data.segmentations import is_polygon
from dense_lt.data.table import Names
from dense_lt.utils.errors import BadImageError


def check_annotations(path: Path, *, drop_invalid_boxes: bool, skip: bool = False) -> list[Fault]:
    """Every fault of an annotation file, segmentations included.

    Args:
        path: of the file.
        drop_invalid_boxes: what that setting mends is listed, but not as fatal.
        skip: likewise what `data.on_bad_image=skip` passes over.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    with TemporaryDirectory() as folder:
        outlines = Path(folder) / "outlines"
        with outlines.open("wb") as content:
            found = scan(path, masks=True, content=content)
        faults = [*found.faults, *_repeated_names(found), *_polygons_outside(found, outlines)]
    return tolerate(faults, drop_invalid_boxes=drop_invalid_boxes, skip=skip)


def _repeated_names(found: Scan) -> Iterator[Fault]:
    """Classes that results cannot tell apart, and images that are learnt twice."""
    classes: list[tuple[Any, Any]] = [
        (one.get("id"), one.get("name")) for one in found.categories if isinstance(one, dict)
    ]
    names = Names(found.images.ragged("file_names"))
    files = [(own, names[row]) for row, own in enumerate(found.images.column("id").tolist())]
    for entry, field, pairs, mend in (
        ("category", "name", classes, "give each its own, or merge them"),
        ("image", "file_name", files, "put all annotations under one of them"),
    ):
        first: dict[str, Any] = {}
        for own, name in pairs:
            if isinstance(name, str) and name and first.setdefault(name, own) != own:
                problem = f"{entry} {first[name]} has it as well"
                yield Fault(f"{entry} {own}", field, name, problem, mend, fatal=False)


def _polygons_outside(found: Scan, outlines: Path) -> Iterator[Fault]:
    """Polygons that no pixel of their image belongs to."""
    rows, images = found.annotations, found.images
    if not rows.count or not images.count:
        return
    content = FileBytes(outlines)
    image, known = look_up(images.column("id"), rows.column("image_id"))
    sizes = np.stack([images.column(side)[image] for side in ("width", "height")], axis=1)
    known &= (sizes > 0).all(axis=1)
    starts, ends = rows.column("text.start"), rows.column("text.end")
    for row in np.flatnonzero(known & (ends > starts)).tolist():
        text = content[int(starts[row]) : int(ends[row])]
        for polygon in json.loads(text) if text[:2] == b"[[" else ():
            if is_polygon(polygon) and _is_outside(polygon, sizes[row]):
                own, of = rows.column("id")[row], rows.column("image_id")[row]
                problem = f"lies outside its image of {sizes[row, 0]} x {sizes[row, 1]} pixels"
                where, mend = f"annotation {own} of image {of}", "correct or remove it"
                yield Fault(where, "segmentation", polygon, problem, mend, fatal=False)


def _is_outside(polygon: Sequence[float], size: np.ndarray) -> bool:
    """Whether a polygon is beside an image of `size` (width, height)."""
    return any(max(polygon[axis::2]) <= 0 or min(polygon[axis::2]) >= size[axis] for axis in (0, 1))


def missing_images(dataset: DetectionDataset) -> list[str]:
    """What is said of each image that is in none of the folders."""
    return [f"{dataset.table.source}: {name} is missing" for name in dataset.missing_names]


def shared_images(dataset: DetectionDataset) -> list[str]:
    """What is said of each image for which the file of another was found."""
    mend = "one of them lacks its own file; have it found under its full name"
    return [f"{dataset.table.source}: {own}; {mend}" for own in dataset.shared]


def check_images(dataset: DetectionDataset) -> Iterator[str]:
    """Decode every image that is there; yields what is wrong with each that cannot be used."""
    missing = frozenset(dataset.missing_names)
    for index in tqdm(range(len(dataset)), desc="reading images", unit="image"):
        if dataset.table.file_names[index] in missing:
            continue
        try:
            dataset.read_image(index)
        except BadImageError as error:
            yield str(error)

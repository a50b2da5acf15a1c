"""Everything that is wrong with the files of a data set, without stopping at the first fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.faults import Fault
from dense_lt.data.screening import scan
from dense_lt.utils.errors import BadImageError


def check_annotations(path: Path, *, drop_invalid_boxes: bool) -> list[Fault]:
    """Every fault of an annotation file, segmentations included.

    Args:
        path: of the file.
        drop_invalid_boxes: what that setting mends is listed, but not as fatal.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    faults = scan(path, masks=True).faults
    if not drop_invalid_boxes:
        return faults
    return [replace(fault, fatal=False) if fault.droppable else fault for fault in faults]


def check_images(dataset: DetectionDataset) -> Iterator[str]:
    """Decode every image; yields what is wrong with each that cannot be used."""
    for index in tqdm(range(len(dataset)), desc="reading images", unit="image"):
        try:
            dataset.read_image(index)
        except BadImageError as error:
            yield str(error)

"""In which image was which category looked for? What an annotation file says of every image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.ground_truth import Cells, look_up
from dense_lt.utils.errors import DataError

Record = dict[str, Any]


def checked_cells(
    images: Sequence[Record], category_ids: NDArray[np.int64], source: str, notes: list[str]
) -> tuple[Cells | None, Cells]:
    """Negatives and not exhaustively annotated categories, image by image."""
    federated = any("neg_category_ids" in image for image in images)
    if not federated:
        notes.append(
            "no image has `neg_category_ids`: every category counts as looked for in every image"
        )
    negatives = _cells(images, "neg_category_ids", category_ids, source) if federated else None
    if federated:
        notes += _gaps(images, set(category_ids.tolist()))
    return negatives, _cells(images, "not_exhaustive_category_ids", category_ids, source)


def _gaps(images: Sequence[Record], known: set[int]) -> list[str]:
    """Notes on images whose negatives are missing or unknown."""
    missing = sum(image.get("neg_category_ids") is None for image in images)
    unknown = sum(not known.issuperset(image.get("neg_category_ids") or ()) for image in images)
    notes = []
    if missing:
        notes.append(
            f"{missing:,} of {len(images):,} images have no `neg_category_ids`: there, only "
            "categories with an annotation are scored"
        )
    if unknown:
        notes.append(
            f"{unknown:,} images name a category in `neg_category_ids` that the ground truth does "
            "not list; these names are left out"
        )
    return notes


def _cells(
    images: Sequence[Record], key: str, category_ids: NDArray[np.int64], source: str
) -> Cells:
    lists = [image.get(key) or [] for image in images]
    image = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    try:
        listed = np.array([i for own in lists for i in own], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: images: `{key}` must be lists of category ids") from error
    category, known = look_up(category_ids, listed)
    return image[known], category[known]

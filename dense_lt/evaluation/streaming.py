"""Predict without a cap per image and keep little: the best of every category over all images.

AP-fixed and AP-pool take 10,000 detections of a category, however many of them are in one image. A
low score threshold lets hundreds of millions through, of which nearly all are beaten by 10,000
better ones of their category. While predicting, each category therefore gets a threshold that rises
with what was found. Every process has its own thresholds, which can only be lower than those over
all processes; the last cut is made when the files are read. What is kept scores exactly like
everything that was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import maxsize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.ranking import places
from dense_lt.evaluation.rules import Rules
from dense_lt.evaluation.shards import column_files, read_columns, read_parts

SLACK = 1_000_000
"""Detections after which thresholds are looked at anew."""


@dataclass(frozen=True)
class Keep:
    """Caps of the protocols that will score; a detection within any of them is kept."""

    per_category: int
    per_image: int = 0
    per_image_and_category: int = 0

    @classmethod
    def for_protocols(cls, caps: Sequence[tuple[Rules, Sequence[int]]]) -> Keep | None:
        """What protocols with these caps can use; None if none of them caps categories."""
        most = dict.fromkeys(("category", "image", "image and category"), 0)
        for rules, own in caps:
            most[rules.cap_unit] = max(most[rules.cap_unit], *own)
        return cls(*most.values()) if most["category"] else None

    def in_image(self, found: Predictions) -> NDArray[np.bool_]:
        """Whether each of `found`, which are whole images, is within a cap of its image."""
        image = np.unique(found.image_ids, return_inverse=True)[1]
        kept = places(image, found.scores, self.per_image) < self.per_image
        if self.per_image_and_category and len(found):
            category = np.unique(found.category_ids, return_inverse=True)[1]
            cell = image * (1 + category.max()) + category
            most = self.per_image_and_category
            kept |= places(cell, found.scores, most) < most
        return kept


class RisingThresholds:
    """Of each category, the score that a detection must reach to be among the best so far."""

    def __init__(self, keep: Keep, *, slack: int = SLACK) -> None:
        """Know nothing yet; look at thresholds after every `slack` detections."""
        self._keep = keep
        self._slack = self._limit = slack
        self._categories = np.zeros(0, np.int64)
        self._scores = np.zeros(0)
        self._ids = np.zeros(0, np.int64)  # rising
        self._thresholds = np.zeros(0)

    def look_at(self, folder: Path) -> None:
        """Learn from what was predicted before, by any process."""
        for path in column_files(folder):
            self._learn(*read_parts(path, ("category_ids", "scores")))

    def filter(self, found: Predictions) -> Predictions:
        """`found`, which are whole images, without what no protocol can use any more."""
        kept = found.scores >= self._of(found.category_ids)
        self._learn(found.category_ids[kept], found.scores[kept])
        return found.select(np.flatnonzero(kept | self._keep.in_image(found)))

    def _of(self, category_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        if not len(self._ids):
            return np.zeros(len(category_ids))
        index = np.minimum(np.searchsorted(self._ids, category_ids), len(self._ids) - 1)
        return np.where(self._ids[index] == category_ids, self._thresholds[index], 0.0)

    def _learn(self, category_ids: NDArray[np.int64], scores: NDArray[np.floating]) -> None:
        self._categories = np.concatenate([self._categories, category_ids])
        self._scores = np.concatenate([self._scores, scores])
        if len(self._scores) > self._limit:
            self._raise()

    def _raise(self) -> None:
        ids, unit = np.unique(self._categories, return_inverse=True)
        best = places(unit, self._scores, self._keep.per_category) < self._keep.per_category
        self._categories, self._scores, unit = (
            self._categories[best],
            self._scores[best],
            unit[best],
        )
        self._limit = len(self._scores) + self._slack
        full = np.bincount(unit, minlength=len(ids)) >= self._keep.per_category
        lowest = np.ones(len(ids))
        np.minimum.at(lowest, unit, self._scores)
        self._ids, self._thresholds = ids[full], lowest[full]


def read_kept(folder: Path, keep: Keep, *, slack: int = SLACK) -> Predictions:
    """What the protocols can use of the files in `folder`, by rising image id.

    Memory holds the result, and of everything else three numbers of `slack` detections. Equal
    scores at the last place of a category: the lower image id wins, then the earlier row, whichever
    process wrote it.
    """
    files = column_files(folder)
    best = _best_rows(files, keep.per_category, slack)
    parts = []
    for number, path in enumerate(files):
        found = read_columns(path)
        kept = keep.in_image(found)
        kept[best[number]] = True
        parts.append(found.select(np.flatnonzero(kept)).compact())
    return by_image(Predictions.join(parts, str(folder)))


def by_image(found: Predictions) -> Predictions:
    """`found` by rising image id; within an image as they are."""
    return found.select(np.argsort(found.image_ids, kind="stable"))


def _best_rows(files: Sequence[Path], most: int, slack: int) -> list[NDArray[np.int64]]:
    """Rows of each file that are among the `most` best of their category over all files."""
    columns = [np.zeros(0, np.int64) for _ in range(4)]  # category, image, file, row
    scores, limit = np.zeros(0), slack
    for number, path in enumerate(files):
        own = read_parts(path, ("category_ids", "scores", "images", "counts"))
        rows = np.arange(len(own[1]))
        new = (own[0], np.repeat(own[2], own[3]), np.full(len(rows), number), rows)
        columns = [np.concatenate(pair) for pair in zip(columns, new, strict=True)]
        scores = np.concatenate([scores, own[1]])
        if len(scores) > limit or number == len(files) - 1:
            order = np.argsort(columns[1], kind="stable")
            unit = np.unique(columns[0][order], return_inverse=True)[1]
            best = np.sort(order[places(unit, scores[order], most) < most])
            columns, scores = [column[best] for column in columns], scores[best]
            limit = len(scores) + slack
    return [columns[3][columns[2] == number] for number in range(len(files))]


@contextmanager
def without_image_cap(detector: Any) -> Iterator[None]:
    """Let `detector` find as many objects in an image as it can, meanwhile.

    Its score threshold, and what it looks at before suppression, stay.
    """
    inference = detector.inference
    limits = inference.limits
    inference.limits = limits._replace(max_detections=maxsize)
    try:
        yield
    finally:
        inference.limits = limits

"""Predictions on disk as columns: a quarter of the bytes of JSON, written in pieces, read at once.

A file covers whole images. It names every image that was predicted, those without detections too,
so that an interrupted run knows where to go on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.masks import PackedMasks
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.ranking import places
from dense_lt.utils.errors import DataError

ROWS = 200_000
"""Detections after which a file is written: six megabytes without masks."""


class ShardWriter:
    """Writes what one process predicts; every file is whole or not there."""

    def __init__(self, folder: Path, *, rank: int = 0, rows: int = ROWS) -> None:
        """Write into `folder`, after what earlier runs have left there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rank = rank
        self._rows = rows
        self._number = len(list(folder.glob(f"part_{rank:03d}_*.npz")))
        self._parts: list[Predictions] = []
        self._images: list[int] = []

    def add(self, predictions: Predictions, image_ids: Sequence[int]) -> None:
        """Take all detections of the images `image_ids`, some of which may have none."""
        self._parts.append(predictions)
        self._images += image_ids
        if sum(map(len, self._parts)) >= self._rows:
            self.flush()

    def flush(self) -> None:
        """Write what was taken and not yet written."""
        if not self._images:
            return
        path = self._folder / f"part_{self._rank:03d}_{self._number:05d}.npz"
        write_columns(Predictions.join(self._parts, ""), self._images, path)
        self._number += 1
        self._parts, self._images = [], []


def write_columns(predictions: Predictions, image_ids: Sequence[int], path: Path) -> None:
    """Write one file. Detections are put in the order of `image_ids`, which name all of theirs.

    Boxes and scores keep their precision, so the file scores like what it was made from.
    """
    images = np.array(image_ids, dtype=np.int64)
    by_id = np.argsort(images, kind="stable")
    place = by_id[np.searchsorted(images[by_id], predictions.image_ids)]
    order = np.argsort(place, kind="stable")
    columns: dict[str, NDArray[Any]] = {
        "images": images,
        "counts": np.bincount(place, minlength=len(images)),
        "category_ids": predictions.category_ids[order],
        "scores": predictions.scores[order],
    }
    if predictions.boxes is not None:
        columns["boxes"] = predictions.boxes[order]
    if predictions.masks is not None:
        masks = predictions.masks.select(order).compact()
        columns["mask_text"] = np.frombuffer(masks.text, np.uint8)
        columns |= {"mask_lengths": masks.stops - masks.starts, "mask_sizes": masks.sizes}
    draft = path.with_name(path.name + ".tmp")
    with draft.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]
    draft.replace(path)


def read_columns(path: Path) -> Predictions:
    """Read one file, or all files of a folder of them.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.npz"))
    if not files:
        raise DataError(f"{path}: no npz files with predictions are there")
    parts = [_read(file) for file in files]
    masks = any(part.masks is not None for part in parts)
    return Predictions.join(parts, str(path), masks=masks)


def predicted_images(folder: Path) -> NDArray[np.int64]:
    """Ids of the images that the files of `folder` cover."""
    images = [_load(path)["images"] for path in sorted(folder.glob("*.npz"))]
    return np.concatenate([np.zeros(0, np.int64), *images])


def _read(path: Path) -> Predictions:
    stored = _load(path)
    try:
        masks = None
        if "mask_text" in stored:
            text = stored["mask_text"].tobytes()
            masks = PackedMasks.from_text(text, stored["mask_lengths"], stored["mask_sizes"])
        predictions = Predictions(
            source=str(path),
            image_ids=np.repeat(stored["images"], stored["counts"]),
            category_ids=stored["category_ids"],
            scores=stored["scores"],
            boxes=stored.get("boxes"),
            masks=masks,
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: holds no predictions: {error}") from error
    predictions.check()
    return predictions


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


class BestPerCategory:
    """Drops detections that `keep` better ones of their category already beat.

    With it a prediction run for AP-fixed, without a cap per image, holds what the protocol can use
    and not the hundreds of millions of detections that a low threshold lets through.
    """

    def __init__(self, keep: int, *, slack: int = 1_000_000) -> None:
        """Keep at least the best `keep` of each category; look anew every `slack` detections."""
        self._keep = keep
        self._slack = self._limit = slack
        self._categories = np.zeros(0, np.int64)
        self._scores = np.zeros(0)
        self._floors: dict[int, float] = {}

    def filter(self, predictions: Predictions) -> Predictions:
        """`predictions` without those that cannot be among the best any more."""
        ids, inverse = np.unique(predictions.category_ids, return_inverse=True)
        floors = np.array([self._floors.get(int(category_id), 0.0) for category_id in ids])
        if len(ids):
            predictions = predictions.select(np.flatnonzero(predictions.scores >= floors[inverse]))
        self._categories = np.concatenate([self._categories, predictions.category_ids])
        self._scores = np.concatenate([self._scores, predictions.scores])
        if len(self._scores) > self._limit:
            self._raise_floors()
        return predictions

    def _raise_floors(self) -> None:
        ids, unit = np.unique(self._categories, return_inverse=True)
        best = places(unit, self._scores, self._keep) < self._keep
        self._categories, self._scores, unit = (
            self._categories[best],
            self._scores[best],
            unit[best],
        )
        self._limit = len(self._scores) + self._slack
        floors = np.ones(len(ids))
        np.minimum.at(floors, unit, self._scores)
        full = np.bincount(unit) >= self._keep
        self._floors = dict(zip(ids[full].tolist(), floors[full].tolist(), strict=True))

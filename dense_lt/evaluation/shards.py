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
    parts = [_read(file) for file in column_files(path)]
    masks = any(part.masks is not None for part in parts)
    return Predictions.join(parts, str(path), masks=masks)


def column_files(path: Path) -> list[Path]:
    """The files of a folder by name, or the one that `path` is.

    Raises:
        DataError: there is none.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.npz"))
    if not files:
        raise DataError(f"{path}: no npz files with predictions are there")
    return files


def predicted_images(folder: Path) -> NDArray[np.int64]:
    """Ids of the images that the files of `folder` cover."""
    images = [read_parts(path, ("images",))[0] for path in sorted(folder.glob("*.npz"))]
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


def read_parts(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Some of the columns of one file; the others are not read.

    Raises:
        DataError: the file cannot be read, or lacks one of them.
    """
    stored = _load(path, names)
    return [stored[name] for name in names]


def _load(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in names or stored.files}
    except KeyError as error:
        raise DataError(f"{path}: holds no predictions: {error}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error

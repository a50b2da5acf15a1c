"""Annotations read once: columns on disk, which every process maps into its memory.

LVIS v1 takes a minute and 6 GB to read from JSON, in every process of a run; mapped columns take no
time, and share their memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from dense_lt.data.categories import CategoryTable
from dense_lt.data.lvis import read_annotations
from dense_lt.data.table import AnnotationTable, Names, Ragged

logger = logging.getLogger(__name__)

REVISION = 1
"""Goes up whenever the columns, or the rules by which they are read, change."""

MIN_BYTES = 50 << 20
"""Smaller files are read anew: that takes a few seconds."""

CATEGORIES = "categories.json"
NPY_HEADER = 128
OPTIONAL = {"negatives", "segmentations", "flags"}
RAGGED = ("negatives", "segmentations", "not_exhaustive", "file_names", "url_names")


def cache_folder() -> Path:
    """Where the user's programs keep what they can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dense_lt" / "annotations"


def read_once(
    path: Path, folder: Path | None, *, min_bytes: int = MIN_BYTES, **options: Any
) -> tuple[AnnotationTable, CategoryTable]:
    """What `read_annotations(path, **options)` gives, from `folder` if it was read before.

    A file that has changed (its size or its time), or other options, are read anew. A folder that
    cannot be written to is told and nothing more.

    Args:
        path: of the annotation file.
        folder: where columns are kept; None keeps nothing.
        min_bytes: smaller files are not kept.
        options: of `read_annotations`.

    Raises:
        DataError: as `read_annotations`.
    """
    if folder is None or not path.is_file() or path.stat().st_size < min_bytes:
        return read_annotations(path, **options)
    entry = folder / _key(path, options)
    try:
        table, categories = _load(entry, str(path))
    except (OSError, ValueError, KeyError):
        table, categories = read_annotations(path, **options)
        _try_to_save(entry, table, categories)
    else:
        logger.info("%s: taken from %s, where it was kept when first read", path, entry)
    return table, options.get("categories") or categories


def _key(path: Path, options: dict[str, Any]) -> str:
    state = path.stat()
    categories: CategoryTable | None = options.get("categories")
    parts = {
        **options,
        "categories": categories and categories.to_json(),
        "file": [REVISION, str(path.resolve()), state.st_size, state.st_mtime_ns],
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _try_to_save(entry: Path, table: AnnotationTable, categories: CategoryTable) -> None:
    unfinished: Path | None = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".", dir=entry.parent))
        for name, column in _columns(table).items():
            np.save(unfinished / f"{name}.npy", column)
        categories.save(unfinished / CATEGORIES)
        shutil.rmtree(entry, ignore_errors=True)  # an entry that could not be loaded
        unfinished.rename(entry)
    except OSError as error:
        logger.info("%s: cannot be kept for the next run: %s", table.source, error)
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _columns(table: AnnotationTable) -> dict[str, np.ndarray]:
    """Every array of a table, by field; lists have two."""
    columns: dict[str, np.ndarray] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, Names):
            value = value.encoded
        if isinstance(value, Ragged):
            columns[f"{field.name}.values"] = value.values
            columns[f"{field.name}.offsets"] = value.offsets
        elif isinstance(value, np.ndarray):
            columns[field.name] = value
    return columns


def _load(entry: Path, source: str) -> tuple[AnnotationTable, CategoryTable]:
    """The inverse of `_columns`, mapped."""
    categories = CategoryTable.load(entry / CATEGORIES)
    columns: dict[str, Any] = dict.fromkeys(field.name for field in fields(AnnotationTable))
    columns["source"] = source
    for path in entry.glob("*.npy"):
        is_empty = path.stat().st_size <= NPY_HEADER  # and cannot be mapped
        columns[path.stem] = np.asarray(np.load(path, mmap_mode=None if is_empty else "r"))
    for name in RAGGED:
        if f"{name}.values" in columns:
            ragged = Ragged(columns.pop(f"{name}.values"), columns.pop(f"{name}.offsets"))
            columns[name] = Names(ragged) if name.endswith("names") else ragged
    missing = [name for name, column in columns.items() if column is None]
    if not set(missing) <= OPTIONAL:
        raise KeyError(missing)
    return AnnotationTable(**columns), categories

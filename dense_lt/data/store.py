"""Annotations read once: columns on disk, which every process maps into its memory.

What is kept is found by the content of the files it was made from, not by their names or times: a
file changed in any way is read anew, one that was moved or copied is not. No torch import.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
import xxhash

from dense_lt.data.categories import CategoryTable
from dense_lt.data.columns import FileBytes, load_column
from dense_lt.data.lvis import read_annotations
from dense_lt.data.segmentations import PackedSegmentations
from dense_lt.data.table import AnnotationTable, Names, Ragged
from dense_lt.utils.errors import DataError
from dense_lt.utils.progress import byte_bar

logger = logging.getLogger(__name__)

REVISION = 3
"""Goes up whenever the columns, or the rules by which they are read, change."""

MIN_BYTES = 50 << 20
"""Smaller files are read anew: that takes less than a second."""

KEEP_DAYS = 30
"""Entries that nobody has opened for so long are removed when another one is made."""

UNFINISHED_HOURS = 1
"""Unfinished entries that nobody has written to for so long are of processes that have died."""

MANIFEST, CATEGORIES, CONTENT = "entry.json", "categories.json", "segmentations.bin"
_OURS = re.compile(r"annotations-[0-9a-f]{24}|\.unfinished-annotations-[0-9a-f]{24}-[0-9a-f]{8}")
_BLOCK = 1 << 20

Read = Callable[[BinaryIO | None], tuple[AnnotationTable, CategoryTable]]
"""Reads the source files; texts of segmentations go to the file given, or into memory."""


class _DamagedError(Exception):
    """An entry cannot be used; the text says why."""


def cache_folder(setting: bool | Path = True) -> Path | None:
    """The folder of `data.cache_annotations`: true is where programs keep what they can remake."""
    if isinstance(setting, Path):
        return setting
    if not setting:
        return None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dense_lt" / "annotations"


def read_once(
    path: Path, folder: Path | None, *, min_bytes: int = MIN_BYTES, **options: Any
) -> tuple[AnnotationTable, CategoryTable]:
    """What `read_annotations(path, **options)` gives, from `folder` if it was read before.

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
    table, categories = load_or_read(
        [path],
        {"format": "lvis", **options},
        folder,
        lambda content: read_annotations(path, **options, content=content),
    )
    return table, options.get("categories") or categories


def load_or_read(
    sources: Sequence[Path], options: Mapping[str, Any], folder: Path, read: Read
) -> tuple[AnnotationTable, CategoryTable]:
    """What `read` gives, from `folder` if it was made before of the same content and options.

    An entry is written beside its place and moved there when it is whole, so that an interrupted
    process leaves none and two processes may build one at once. Its files are held against their
    checksums whenever it is opened; if they differ, the sources are read again. A folder that
    cannot be written to is told and nothing more.

    Args:
        sources: the files that are read.
        options: all that changes the result beside them: plain values, or a category table.
        folder: where entries are kept.
        read: reads the files; it writes segmentations into the file it is given.

    Raises:
        DataError: a source is missing, or changed while it was read; and what `read` raises.
    """
    source = str(sources[0])
    try:
        before = _states(sources)
        entry = folder / f"annotations-{_key(sources, options)}"
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if entry.is_dir():
        try:
            found = _load(entry, source)
        except _DamagedError as damage:
            logger.warning("%s: what was kept of it in %s %s: reading anew", source, entry, damage)
            shutil.rmtree(entry, ignore_errors=True)
        else:
            logger.info("%s: taken from %s, where it was kept when first read", source, entry)
            return found
    try:
        found = _build(entry, sources, read)
    except OSError as error:
        logger.warning("%s: cannot be kept for the next run: %s", source, error)
        found = read(None)
    if _states(sources) != before:
        shutil.rmtree(entry, ignore_errors=True)
        raise DataError(f"{source}: was changed while it was read; start again")
    return found


def _states(paths: Sequence[Path]) -> list[tuple[int, ...]]:
    """What changes when the content of a file does, except by malice; cheap to ask."""
    states = [path.stat() for path in paths]
    return [(own.st_ino, own.st_size, own.st_mtime_ns, own.st_ctime_ns) for own in states]


def _key(sources: Sequence[Path], options: Mapping[str, Any]) -> str:
    """Of all content and options: 96 bits of XXH3, which no accident makes equal.

    Whoever can make two files of one hash on purpose can write the annotations as well, so a
    cryptographic hash, which takes ten times as long, would protect nothing.
    """
    plain = {
        name: value.to_json() if isinstance(value, CategoryTable) else value
        for name, value in options.items()
    }
    contents = [_checksum(path) for path in sources]
    text = json.dumps([contents, plain], sort_keys=True, default=str)
    return xxhash.xxh3_128_hexdigest(text.encode())[:24]


def _checksum(path: Path) -> str:
    """XXH3 of a file, at the speed at which it can be read; read, not mapped, to stay small."""
    state, block = xxhash.xxh3_128(), memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        total = os.fstat(file.fileno()).st_size
        with byte_bar(f"looking at {path.name}", total) as bar:
            while count := file.readinto(block):
                state.update(block[:count])
                bar.update(count)
    return state.hexdigest()


def _build(
    entry: Path, sources: Sequence[Path], read: Read
) -> tuple[AnnotationTable, CategoryTable]:
    unfinished = entry.parent / f".unfinished-{entry.name}-{uuid4().hex[:8]}"
    try:
        unfinished.mkdir(parents=True)
        logger.info("%s: is read once, and kept in %s for later runs", sources[0], entry)
        _tidy(entry.parent)
        with (unfinished / CONTENT).open("wb") as content:
            table, categories = read(content)
        _save(unfinished, table, categories, sources)
        try:
            unfinished.rename(entry)
        except OSError:
            if not entry.is_dir():  # otherwise another process was faster
                raise
        return _load(entry, table.source)
    except _DamagedError as damage:
        raise OSError(f"{entry} {damage}") from damage
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _save(
    folder: Path, table: AnnotationTable, categories: CategoryTable, sources: Sequence[Path]
) -> None:
    for name, column in _columns(table).items():
        np.save(folder / f"{name}.npy", column)
    categories.save(folder / CATEGORIES)
    checksums = {path.name: _checksum(path) for path in sorted(folder.iterdir())}
    manifest = {"revision": REVISION, "sources": list(map(str, sources)), "checksums": checksums}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _columns(table: AnnotationTable) -> dict[str, np.ndarray]:
    """Every array of a table, by field; lists and segmentations have two."""
    columns: dict[str, np.ndarray] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, Names):
            value = value.encoded
        if isinstance(value, Ragged):
            columns[f"{field.name}.values"] = value.values
            columns[f"{field.name}.offsets"] = value.offsets
        elif isinstance(value, PackedSegmentations):
            columns[f"{field.name}.starts"] = value.starts
            columns[f"{field.name}.ends"] = value.ends
        elif isinstance(value, np.ndarray):
            columns[field.name] = value
    return columns


def _load(entry: Path, source: str) -> tuple[AnnotationTable, CategoryTable]:
    """The inverse of `_save`, mapped."""
    _verify(entry)
    with suppress(OSError):  # of someone else, perhaps
        os.utime(entry / MANIFEST)  # opened today
    arrays = {path.stem: load_column(path) for path in sorted(entry.glob("*.npy"))}
    columns: dict[str, Any] = {field.name: None for field in fields(AnnotationTable)}
    for name, array in arrays.items():
        field, _, part = name.partition(".")
        if part == "":
            columns[field] = array
        elif part == "offsets":
            ragged = Ragged(arrays[f"{field}.values"], array)
            columns[field] = Names(ragged) if field.endswith("names") else ragged
        elif part == "ends":
            content = FileBytes(entry / CONTENT)
            columns[field] = PackedSegmentations(content, arrays[f"{field}.starts"], array)
    columns["source"] = source
    return AnnotationTable(**columns), CategoryTable.load(entry / CATEGORIES)


def _verify(entry: Path) -> None:
    """Hold every file of an entry against its checksum."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        revision, checksums = manifest["revision"], manifest["checksums"]
        if revision != REVISION:
            raise _DamagedError(f"is of revision {revision} and not {REVISION}")
        for name, checksum in checksums.items():
            if _checksum(entry / name) != checksum:
                raise _DamagedError(f"is damaged ({name})")
    except OSError as error:
        raise _DamagedError(f"is damaged ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"is damaged ({MANIFEST})") from error


def _tidy(folder: Path) -> None:
    """Remove what nobody needs; only what this module has made."""
    now = time.time()
    for path in folder.iterdir():
        if not _OURS.fullmatch(path.name):
            continue
        try:
            if path.name.startswith("."):
                touched = max(own.stat().st_mtime for own in [path, *path.iterdir()])
                longest = UNFINISHED_HOURS * 3600
            else:
                touched, longest = (path / MANIFEST).stat().st_mtime, KEEP_DAYS * 86400
        except OSError:  # another process is at it
            continue
        if now - touched > longest:
            shutil.rmtree(path, ignore_errors=True)

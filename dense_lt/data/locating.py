"""Where the images of a table lie, by the names that annotations and disks have for them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dense_lt.data.table import AnnotationTable

MAX_LISTED = 5
V05_PREFIX = re.compile(r"^COCO_(train|val|test)2014_")
"""LVIS v0.5 names its images as in COCO 2014, but the files are those of COCO 2017."""


class SharedFile(NamedTuple):
    """A file that was found for two images, one of which at least must have another."""

    name: str
    other: str  # the first image that it was found for
    path: Path

    def __str__(self) -> str:
        return f"{self.name} and {self.other} are both taken from {self.path}"


def locate_images(table: AnnotationTable, folders: Sequence[Path]) -> list[Path | None]:
    """Where every image of `table` lies, None for those that are in none of `folders`.

    These names are tried one after the other, each in all folders, first to last, so that no file
    is taken for its bare name where the one that is meant lies in another folder:

    1. the file name as given, then split folder and name from `coco_url` (LVIS v1);
    2. the file name as another system writes it: with slashes for backslashes, and in either
       normal form of Unicode (macOS takes letters and accents apart);
    3. the bare name in each of these spellings, then without `COCO_val2014_` (LVIS v0.5).

    Folders are listed once, not asked file by file: on a network disk that takes minutes.
    """
    listing = _Listing()
    return [
        next((path for path in _candidates(table, index, folders) if path in listing), None)
        for index in range(len(table))
    ]


def describe_missing(
    table: AnnotationTable, folders: Sequence[Path], paths: Sequence[Path | None]
) -> str | None:
    """One message for all images that were not found, with the paths tried for the first."""
    missing = [index for index, path in enumerate(paths) if path is None]
    if not missing:
        return None
    names = ", ".join(table.file_names[index] for index in missing[:MAX_LISTED])
    more = ", ..." if len(missing) > MAX_LISTED else ""
    tried = "".join(f"\n  {path}" for path in _candidates(table, missing[0], folders))
    return (
        f"{table.source}: {len(missing)} of {len(table)} images are missing ({names}{more}). Tried "
        f"for the first:{tried}\nSet the folders of this split's `images`"
    )


def shared_files(table: AnnotationTable, paths: Sequence[Path | None]) -> list[SharedFile]:
    """Images for which the same file was found as for an earlier one, though they are named apart.

    Args:
        table: of the images.
        paths: what `locate_images` has found.
    """
    first: dict[Path, int] = {}
    shared: list[SharedFile] = []
    for index, path in enumerate(paths):
        if path is None or first.setdefault(path, index) == index:
            continue
        for names in (table.file_names, table.url_names):
            name, other = names[index], names[first[path]]
            if Path(name) != Path(other):  # ./a.png is a.png
                shared.append(SharedFile(name, other, path))
                break
    return shared


def describe_shared(source: str, shared: Sequence[SharedFile]) -> str:
    """One message for all of them, with an example."""
    return (
        f"{source}: for {len(shared)} images a file was found that another image has as well: "
        f"{shared[0]}. Set the folders of this split's `images` so that each is found under its "
        "full name; `dense-lt data check` lists all"
    )


def _candidates(table: AnnotationTable, index: int, folders: Sequence[Path]) -> Iterator[Path]:
    for name in _names(table.file_names[index], table.url_names[index]):
        for folder in folders:
            yield folder / name


def _names(name: str, url_name: str) -> Iterator[str]:
    """Each once, the most telling first; most images are found by the first."""
    if name:
        yield name
    spellings = _spellings(name)
    bare = [own.rpartition("/")[2] for own in spellings]
    others = [url_name, *spellings, *bare, *(V05_PREFIX.sub("", own) for own in bare)]
    yield from (own for own in dict.fromkeys(others) if own and own != name)


def _spellings(name: str) -> list[str]:
    """A name as given and as other systems write it."""
    slashed = name.replace("\\", "/")
    if name.isascii():
        return [name, slashed]
    return [name, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))]


class _Listing:
    """Answers whether a file exists from the contents of its folder, read once."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def __contains__(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._names:
            names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
            self._names[folder] = frozenset(names)
        return path.name in self._names[folder]

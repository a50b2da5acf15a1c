"""The hierarchy of Open Images: which classes a box or a verified label also speaks of.

Rules of the challenge (2018/2019; the reference is TensorFlow's object detection API):

- a box, and a label that was verified to be present, hold for all ancestors of their class too;
- a label that was verified to be absent holds for all descendants;
- the virtual root of the hierarchy is no class, and a class may stand under several parents.

No torch import: scoring needs this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.csv_files import unreadable
from dense_lt.utils.errors import DataError

Related = tuple[NDArray[np.int64], ...]
"""For every class: itself, then its ancestors (or descendants)."""


def read_hierarchy(path: Path | None, classes: Sequence[str]) -> tuple[Related, Related]:
    """Ancestors and descendants of every class, among `classes`.

    Args:
        path: JSON of LabelName and Subcategory, from the virtual root on; None relates nothing.
        classes: machine ids, in label order.

    Raises:
        DataError: the file cannot be read or is no hierarchy.
    """
    above: dict[str, set[str]] = {own: set() for own in classes}
    below: dict[str, set[str]] = {own: set() for own in classes}

    def walk(node: Mapping[str, Any], path_here: tuple[str, ...]) -> None:
        name = node["LabelName"]
        for ancestor in path_here:
            above.setdefault(name, set()).add(ancestor)
            below.setdefault(ancestor, set()).add(name)
        for child in node.get("Subcategory", ()):
            walk(child, (*path_here, name))

    if path is not None:
        root = _read_json(path)
        try:
            for child in root["Subcategory"]:  # the root itself is virtual
                walk(child, ())
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: no hierarchy: LabelName and Subcategory are needed, {error} is missing"
            ) from error
    index = {own: number for number, own in enumerate(classes)}
    return _related(above, index), _related(below, index)


def expand_classes(
    category: NDArray[np.integer], related: Related
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows, each as often as its class has relations, and the class of each copy."""
    lengths = np.array([len(own) for own in related], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    counts = lengths[category]
    rows = np.repeat(np.arange(len(category)), counts)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.concatenate(related)[starts[category][rows] + nth]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error


def _related(names: Mapping[str, set[str]], index: Mapping[str, int]) -> Related:
    """Each class itself, then its relations in class order; each once."""
    return tuple(
        np.array([own, *sorted(index[n] for n in names[name] - {name} if n in index)])
        for name, own in index.items()
    )

"""The challenge's metric in plain loops, one class, image and detection after the other.

Written from the rules of the reference (TensorFlow's OpenImagesChallengeEvaluator), not from ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = tuple[Any, ...]
Box = tuple[float, float, float, float]  # x1, x2, y1, y2 as in the files


def expected_precision(
    classes: Sequence[str],
    ancestors: Mapping[str, set[str]],
    boxes: Sequence[Row],
    labels: Sequence[Row],
    found: Sequence[Row],
    *,
    expand: bool = False,
) -> dict[str, float]:
    """Average precision of every class that has a box.

    `boxes` are (image, class, box, is group), `labels` (image, class, confidence) and `found`
    (image, class, score, box).
    """
    return {
        own: _of_class(own, ancestors, boxes, labels, found, expand=expand)
        for own in classes
        if any(_holds_for(own, name, ancestors) for _, name, _, _ in boxes)
    }


def _holds_for(own: str, name: str, ancestors: Mapping[str, set[str]]) -> bool:
    """Whether a box of class `name` is one of class `own`, too."""
    return own == name or own in ancestors[name]


def _of_class(
    own: str,
    ancestors: Mapping[str, set[str]],
    boxes: Sequence[Row],
    labels: Sequence[Row],
    found: Sequence[Row],
    *,
    expand: bool,
) -> float:
    objects = [row for row in boxes if _holds_for(own, row[1], ancestors)]
    evaluated = {row[0] for row in objects}
    for image, name, confidence in labels:
        present = confidence == 1 and _holds_for(own, name, ancestors)
        absent = confidence != 1 and _holds_for(name, own, ancestors)
        if present or absent:
            evaluated.add(image)
    entries: list[tuple[float, str, int, bool]] = []  # score, image, row, is true
    for image in evaluated:
        rows = [
            (-score, number, box)
            for number, (where, name, score, box) in enumerate(found)
            if where == image
            and (_holds_for(own, name, ancestors) if expand else own == name)
            and box[1] > box[0]
            and box[3] > box[2]
        ]
        here = [(row[2], row[3]) for row in objects if row[0] == image]
        entries += [(s, image, n, true) for s, n, true in _of_image(sorted(rows), here)]
    return _area([true for *_, true in sorted(entries)], len(objects))


def _of_image(
    rows: Sequence[tuple[float, int, Box]], objects: Sequence[tuple[Box, bool]]
) -> list[tuple[float, int, bool]]:
    """(-score, row, is true) of what counts in one image; `rows` come best first."""
    singles = [box for box, group in objects if not group]
    groups = [box for box, group in objects if group]
    taken, entries, left = set(), [], []
    for minus_score, number, box in rows:
        overlaps = [_shared(box, one) / _union(box, one) for one in singles]
        best = overlaps.index(max(overlaps)) if overlaps else -1
        if overlaps and overlaps[best] >= 0.5 and best not in taken:
            taken.add(best)
            entries.append((minus_score, number, True))
        else:
            left.append((minus_score, number, box))
    leaders: dict[int, tuple[float, int]] = {}
    for minus_score, number, box in left:
        inside = [_shared(box, one) / _size(box) for one in groups]
        if not inside or max(inside) < 0.5:
            entries.append((minus_score, number, False))
        else:
            leaders.setdefault(inside.index(max(inside)), (minus_score, number))
    entries += [(*leader, True) for leader in leaders.values() if leader[0] < 0]
    return entries


def _shared(one: Box, other: Box) -> float:
    width = min(one[1], other[1]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[2], other[2])
    return max(width, 0.0) * max(height, 0.0)


def _size(box: Box) -> float:
    return (box[1] - box[0]) * (box[3] - box[2])


def _union(one: Box, other: Box) -> float:
    return _size(one) + _size(other) - _shared(one, other)


def _area(ranked: Sequence[bool], objects: int) -> float:
    """Area under the precision envelope, as PASCAL VOC 2010 draws it."""
    recall, precision, true = [0.0], [0.0], 0
    for number, is_true in enumerate(ranked, 1):
        true += is_true
        recall.append(true / objects)
        precision.append(true / number)
    recall.append(1.0)
    precision.append(0.0)
    for index in range(len(precision) - 2, -1, -1):
        precision[index] = max(precision[index], precision[index + 1])
    return sum(
        (recall[index] - recall[index - 1]) * precision[index] for index in range(1, len(recall))
    )

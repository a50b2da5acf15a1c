"""What is known of the classes: names, dataset ids, training counts, frequency groups.

The only place that translates between the ids of a data set and the labels 0..C-1 of the network.
No torch import: scoring needs this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dense_lt.utils.errors import DataError

RARE, COMMON, FREQUENT = "rare", "common", "frequent"
GROUPS = (RARE, COMMON, FREQUENT)
"""LVIS's frequency groups, rarest first."""

DEFAULT_THRESHOLDS = (10, 100)
"""Training images: rare at most 10, common at most 100 (LVIS, Gupta et al. 2019)."""


def frequency_group(image_count: int, thresholds: tuple[int, int] = DEFAULT_THRESHOLDS) -> str:
    """Group of a class that `image_count` training images contain; both bounds are inclusive."""
    if image_count <= thresholds[0]:
        return RARE
    return COMMON if image_count <= thresholds[1] else FREQUENT


@dataclass(frozen=True)
class CategoryTable:
    """Everything known of the C classes, in label order. Every field has C entries.

    Raises:
        DataError: on construction, if the fields differ in length or a dataset id occurs twice.
    """

    names: tuple[str, ...]
    dataset_ids: tuple[int | str, ...]
    image_counts: tuple[int, ...]  # training images that contain the class
    instance_counts: tuple[int, ...]  # training instances of the class
    groups: tuple[str, ...]  # "rare" | "common" | "frequent"

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in asdict(self).items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"category table: fields differ in length: {lengths}")
        if len(set(self.dataset_ids)) != len(self.dataset_ids):
            twice = sorted({str(i) for i in self.dataset_ids if self.dataset_ids.count(i) > 1})
            raise DataError(f"category table: dataset ids given twice: {', '.join(twice)}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def file_ids(self) -> tuple[int, ...]:
        """Whole numbers for JSON files: the dataset ids, or 1 .. C where these are names."""
        numbers = tuple(own for own in self.dataset_ids if isinstance(own, int))
        return numbers if len(numbers) == len(self) else tuple(range(1, len(self) + 1))

    def label_of(self) -> dict[int | str, int]:
        """Dataset id -> label in [0, C)."""
        return {dataset_id: label for label, dataset_id in enumerate(self.dataset_ids)}

    def labels_in_group(self, group: str) -> list[int]:
        """Labels of the classes in `group`."""
        return [label for label, own in enumerate(self.groups) if own == group]

    def group_sizes(self) -> dict[str, int]:
        """Number of classes in each of GROUPS."""
        return {group: self.groups.count(group) for group in GROUPS}

    def to_json(self) -> dict[str, list[object]]:
        """Plain lists, for checkpoints and `categories.json`."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Sequence[object]]) -> CategoryTable:
        """The inverse of `to_json`.

        Raises:
            DataError: a field is missing.
        """
        fields = ("names", "dataset_ids", "image_counts", "instance_counts", "groups")
        missing = [name for name in fields if name not in stored]
        if missing:
            raise DataError(f"category table: fields missing: {', '.join(missing)}")
        return cls(**{name: tuple(stored[name]) for name in fields})  # type: ignore[arg-type]

    def save(self, path: Path) -> None:
        """Write `to_json` to `path`."""
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> CategoryTable:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, is not JSON, or lacks a field.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8-sig")))
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: cannot read the category table: {error}") from error

"""What was found? Detections as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.masks import PackedMasks
from dense_lt.utils.errors import DataError

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Predictions:
    """D detections as columns, in the order of the file, in pixels of the images on disk."""

    source: str
    """The file, for messages."""
    image_ids: NDArray[np.int64]  # (D,)
    category_ids: NDArray[np.int64]  # (D,) ids of the data set
    scores: Floats  # (D,)
    boxes: Floats | None  # (D, 4) xywh; None if the file holds masks alone
    masks: PackedMasks | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, source: str = "", *, masks: bool = False) -> Predictions:
        """No detections."""
        ids = np.zeros(0, np.int64)
        packed = PackedMasks.pack([]) if masks else None
        return cls(source, ids, ids, np.zeros(0), np.zeros((0, 4)), packed)

    @classmethod
    def join(cls, parts: Sequence[Predictions], source: str, *, masks: bool = False) -> Predictions:
        """All detections of `parts`, in order.

        Raises:
            DataError: some parts have boxes (or masks) and others have none.
        """
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls.empty(source, masks=masks)
        boxes = [part.boxes for part in parts if part.boxes is not None]
        packed = [part.masks for part in parts if part.masks is not None]
        for what, having in (("bbox", boxes), ("segmentation", packed)):
            if having and len(having) != len(parts):
                raise DataError(f"{source}: only some of the entries have a `{what}`")
        return cls(
            source,
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.category_ids for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate(boxes) if boxes else None,
            PackedMasks.join(packed) if packed else None,
        )

    def select(self, indices: NDArray[np.integer]) -> Predictions:
        """The detections at `indices`."""
        return Predictions(
            self.source,
            self.image_ids[indices],
            self.category_ids[indices],
            self.scores[indices],
            None if self.boxes is None else self.boxes[indices],
            None if self.masks is None else self.masks.select(indices),
        )

    def compact(self) -> Predictions:
        """The same without the bytes of masks that were selected away."""
        return self if self.masks is None else replace(self, masks=self.masks.compact())

    def check(self, first: int = 0) -> None:
        """Refuse values that no detector means; messages count entries from `first`.

        Raises:
            DataError: a score is outside [0, 1] or NaN, a box is not finite or is inverted.
        """
        wrong = ~((self.scores >= 0) & (self.scores <= 1))
        if wrong.any():
            index = int(np.argmax(wrong))
            raise DataError(
                f"{self.source}: entry {first + index} has score {self.scores[index]}; scores "
                "must be in [0, 1]. Write probabilities, not logits"
            )
        if self.boxes is None:
            return
        wrong = ~np.isfinite(self.boxes).all(axis=1) | (self.boxes[:, 2:] < 0).any(axis=1)
        if wrong.any():
            index = int(np.argmax(wrong))
            raise DataError(
                f"{self.source}: entry {first + index} has bbox {self.boxes[index].tolist()}; "
                "[x, y, width, height] is needed, finite, with width and height of at least 0. "
                "Were corners written instead?"
            )

"""Is there a box on an object before classes are looked at? Proposals, or the best dense boxes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dense_lt.evaluation.error_kinds import FOREGROUND, box_iou
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.who_is_found import NEVER, UNSEEN
from dense_lt.models.detector import Detector
from dense_lt.utils import distributed


class CandidateWatch:
    """Notes, while a detector predicts, the best of its candidates that covers each object.

    Boxes are compared as they come, image by image; nothing but one number an object is kept.
    """

    def __init__(self, truth: GroundTruth) -> None:
        """Look at the objects of `truth`."""
        self._truth = truth
        self._image = {int(own): index for index, own in enumerate(truth.image_ids)}
        self._by_image = np.argsort(truth.image, kind="stable")
        self._ends = np.cumsum(np.bincount(truth.image, minlength=len(truth.image_ids)))
        self.place = np.full(len(truth.boxes), UNSEEN)
        """(G,) from 0, of the first candidate with an IoU of at least 0.5; UNSEEN; or NEVER."""
        self.seconds = 0.0
        """Spent on candidates, which is no part of a detector's own time."""

    @contextmanager
    def listen(self, detector: Detector) -> Iterator[list[list[Tensor]]]:
        """Ask `detector` for candidates; what comes back holds those of the last batch, if any."""
        batches: list[list[Tensor]] = []

        def keep(make: Callable[[], list[Tensor]]) -> None:
            with self.timed():
                batches.append(make())

        detector.on_candidates = keep
        try:
            yield batches
        finally:
            detector.on_candidates = None

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add what is done inside to `seconds`; waits for a GPU before and after."""
        _wait()
        start = time.perf_counter()
        yield
        _wait()
        self.seconds += time.perf_counter() - start

    def note(self, image_id: int, boxes: NDArray[np.floating]) -> None:
        """Look at the candidates (n, 4) xywh, best first, of an image, in its own pixels."""
        index = self._image[image_id]
        start = self._ends[index - 1] if index else 0
        objects = self._by_image[start : self._ends[index]]
        own, count = self._truth.boxes[objects], len(boxes)
        iou = box_iou(np.tile(boxes, (len(own), 1)), np.repeat(own, count, axis=0))
        covers = iou.reshape(len(own), count) >= FOREGROUND
        first = covers.argmax(axis=1) if count else np.zeros(len(own), np.int64)
        self.place[objects] = np.where(covers.any(axis=1), first, NEVER)

    def gathered(self, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """`place` of the objects of some images, over all processes: each must call this."""
        place = np.maximum.reduce(distributed.gather_objects(self.place))
        return place[np.isin(self._truth.image_ids[self._truth.image], image_ids)]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

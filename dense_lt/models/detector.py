"""What a detector is: losses when there are targets, detections when there are none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import overload

from torch import Tensor, nn

from dense_lt.structures import Detections, ImageBatch, Losses, Target


class Detector(nn.Module, ABC):
    """Losses or detections by argument, never by training mode; a validation loss is possible."""

    on_candidates: Callable[[Callable[[], list[Tensor]]], None] | None = None
    """Is given, while predicting, what makes the boxes (n, 4) of each image that are there before
    classes are looked at, best first; None, as nearly always, spends no time on them."""

    @overload
    def forward(
        self, images: ImageBatch, targets: Sequence[Target], *, normalizer: Tensor | None = None
    ) -> Losses: ...
    @overload
    def forward(self, images: ImageBatch, targets: None = None) -> list[Detections]: ...
    @abstractmethod
    def forward(
        self,
        images: ImageBatch,
        targets: Sequence[Target] | None = None,
        *,
        normalizer: Tensor | None = None,
    ) -> Losses | list[Detections]:
        """Losses when there are targets, detections when there are none.

        Args:
            images: uint8; normalised inside.
            targets: one per image.
            normalizer: () positives per process in the whole optimizer step, for micro-batches;
                None counts those of this call.
        """

    @abstractmethod
    def count_positives(self, images: ImageBatch, targets: Sequence[Target]) -> Tensor:
        """() float32: positives of this process; geometry only, the network does not run."""

    @abstractmethod
    def summary(self) -> dict[str, object]:
        """What was built, for people: parameters, backbone, levels, head."""

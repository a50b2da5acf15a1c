"""One sample of several: which of the ways to mix images come about, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dense_lt.data.augment.affine import STILL, RandomAffine
from dense_lt.data.augment.copy_paste import CopyPaste
from dense_lt.data.augment.mixup import Mixup
from dense_lt.data.augment.mosaic import PARTS, mosaic
from dense_lt.data.transforms import Annotated

if TYPE_CHECKING:
    from dense_lt.data.dataset import DetectionDataset
    from dense_lt.data.sampling import Draw


@dataclass(frozen=True)
class Mixing:
    """Mosaic, affine map, mixup, copy-paste, in this order; a `Mixer` of the data set.

    Further images of mosaic and mixup are drawn uniformly from the data set.

    Attributes:
        mosaic_size: (height, width) of a mosaic; None makes none.
        mosaic_chance: probability of one.
        affine: None leaves images as they are, and cuts the middle out of a mosaic.
        affine_chance: probability for an image that did not become a mosaic.
        mixup, copy_paste: None does without.
        mixup_chance, copy_paste_chance: their probabilities.
        fill: grey level where no image reaches.
        outlines: whether outlines are learnt; otherwise they end here, having been of use.
    """

    mosaic_size: tuple[int, int] | None = None
    mosaic_chance: float = 1.0
    affine: RandomAffine | None = None
    affine_chance: float = 1.0
    mixup: Mixup | None = None
    mixup_chance: float = 1.0
    copy_paste: CopyPaste | None = None
    copy_paste_chance: float = 1.0
    fill: int = 0
    outlines: bool = True

    def __call__(
        self, dataset: DetectionDataset, sample: Annotated, draw: Draw, rng: np.random.Generator
    ) -> Annotated:
        """`sample`, perhaps with others of `dataset`; see `dataset.Mixer`."""
        if draw.mixed:
            sample = self._mix(dataset, sample, rng)
        return sample if self.outlines else sample._replace(masks=None)

    def _mix(
        self, dataset: DetectionDataset, sample: Annotated, rng: np.random.Generator
    ) -> Annotated:
        if self.mosaic_size is not None and rng.random() < self.mosaic_chance:
            others = [_any(dataset, rng) for _ in range(PARTS - 1)]
            canvas = mosaic([sample, *others], self.mosaic_size, rng, fill=self.fill)
            sample = (self.affine or STILL)(canvas, self.mosaic_size, rng, fill=self.fill)
        elif self.affine is not None and rng.random() < self.affine_chance:
            sample = self.affine(sample, sample.image.shape[:2], rng, fill=self.fill)
        if self.mixup is not None and rng.random() < self.mixup_chance:
            sample = self.mixup(sample, _any(dataset, rng), rng, fill=self.fill)
        if self.copy_paste is not None and rng.random() < self.copy_paste_chance:
            sample = self.copy_paste(sample, dataset, rng)
        return sample


def _any(dataset: DetectionDataset, rng: np.random.Generator) -> Annotated:
    return dataset.raw(int(rng.integers(len(dataset))))

"""Objects cut out of other images and laid over an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dense_lt.data.augment.geometry import place
from dense_lt.data.augment.instances import InstanceSampler
from dense_lt.data.augment.occlusion import Layers
from dense_lt.data.transforms import Annotated, drop_small, flip_horizontally, resize
from dense_lt.ops.matching import IGNORE

if TYPE_CHECKING:
    from dense_lt.data.dataset import DetectionDataset


@dataclass(frozen=True)
class CopyPaste:
    """Pastes objects of other images at random places, where they cover what is there.

    Attributes:
        instances: says which object is pasted next.
        images: fewest and most images from which objects are taken.
        companions: probability that another object of the same image comes along, in its place.
        scale: smallest and largest factor of what is pasted, relative to images of equal area.
        flip: probability of exchanging left and right in it.
        outlined: cut along outlines; False takes whole boxes.
        min_visible: an object of which no more than this part stays uncovered is left out.

    Source: Ghiasi et al. 2021 (Simple Copy-Paste), which is `images` (1, 1) and `companions` 0.5;
    that instances of rare classes are drawn more often is ours.
    """

    instances: InstanceSampler
    images: tuple[int, int] = (1, 3)
    companions: float = 0.0
    scale: tuple[float, float] = (0.5, 1.5)
    flip: float = 0.5
    outlined: bool = True
    min_visible: float = 0.1

    def __call__(
        self, sample: Annotated, dataset: DetectionDataset, rng: np.random.Generator
    ) -> Annotated:
        """`sample` with objects of `dataset` pasted over it."""
        layers = Layers(sample, self.min_visible)
        for _ in range(int(rng.integers(self.images[0], self.images[1] + 1))):
            index, number = self.instances.draw(rng)
            source = dataset.raw(index)
            along = rng.random(len(source.boxes)) < self.companions
            along &= source.labels != IGNORE  # crowds stay behind
            along[number] = True
            piece = self._vary(cut_out(source, along, outlined=self.outlined), source, sample, rng)
            room = np.subtract(sample.image.shape[:2], piece.image.shape[:2])
            top, left = rng.integers(room + 1).tolist()
            if len(piece.boxes):
                layers.lay(piece, region_of(piece, outlined=self.outlined), (left, top))
        return layers.sample

    def _vary(
        self, piece: Annotated, source: Annotated, sample: Annotated, rng: np.random.Generator
    ) -> Annotated:
        """Scale, at most to the size of `sample`, and flip."""
        rows, columns = piece.image.shape[:2]
        height, width = sample.image.shape[:2]
        relative = np.sqrt(height * width / np.prod(source.image.shape[:2]))
        factor = min(rng.uniform(*self.scale) * relative, height / rows, width / columns)
        varied = resize(piece, (max(1, int(rows * factor)), max(1, int(columns * factor))))
        return drop_small(flip_horizontally(varied) if rng.random() < self.flip else varied)


def cut_out(source: Annotated, along: np.ndarray, *, outlined: bool) -> Annotated:
    """The part of an image that holds some of its objects, and these.

    What was checked in it: the classes of those objects along their outlines, since nothing else is
    in there, and what was checked in the whole image; but not the class of an object that reaches
    in and stays behind, because what of it is cut along will not be marked.

    Args:
        source: the image.
        along: (M,) bool, which of its objects.
        outlined: pixels are taken along outlines, not of whole boxes.
    """
    objects = source.take(np.flatnonzero(along))
    height, width = source.image.shape[:2]
    left, top = np.maximum(np.floor(objects.boxes[:, :2].min(axis=0)), 0).astype(int).tolist()
    right, bottom = np.ceil(objects.boxes[:, 2:].max(axis=0)).astype(int).tolist()
    size = max(1, min(bottom, height) - top), max(1, min(right, width) - left)
    piece = place(objects, (-left, -top), size, fill=0)
    if source.checked is None:
        return piece
    checked = source.checked.copy()
    if outlined:
        checked[objects.labels] = True
    behind = source.labels[~along & _touches_any(source.boxes, objects.boxes)]
    checked[behind[behind != IGNORE]] = False  # the classes of crowds are not checked anyway
    return piece._replace(checked=checked)


def region_of(piece: Annotated, *, outlined: bool) -> np.ndarray:
    """Pixels inside any of the objects' outlines, or boxes: (h, w) bool."""
    size = piece.image.shape[:2]
    if outlined:
        assert piece.masks is not None, "copy-paste along outlines needs a data set with outlines"
        return np.logical_or.reduce(piece.masks.to_bitmaps(size), axis=0)
    region = np.zeros(size, dtype=bool)
    for x1, y1, x2, y2 in np.round(piece.boxes).astype(int).tolist():
        region[y1:y2, x1:x2] = True
    return region


def _touches_any(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of `boxes` (M, 4) share area with any of `others` (N, 4): (M,) bool."""
    meets = (boxes[:, None, :2] < others[:, 2:]) & (boxes[:, None, 2:] > others[:, :2])
    return np.logical_or.reduce(meets.all(axis=-1), axis=1)

"""From the image on disk to the network's input; boxes, labels and masks stay in step.

Resizing, flips and transposition are done here, because albumentations' machinery costs more than
half a millisecond an image and the drawn images need a tenth of that; colour and whatever else a
configuration names are albumentations'. What makes one sample of several is in `augment`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from dense_lt.data.albumentation import MIN_SIDE, Pipeline
from dense_lt.data.colors import jitter_hsv
from dense_lt.data.outlines import Outlines


class Annotated(NamedTuple):
    """An image and its M objects."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    boxes: np.ndarray  # (M, 4) float32 xyxy
    labels: np.ndarray  # (M,) int64 in [0, C), or IGNORE for a crowd region, which has no outline
    masks: Outlines | None = None  # of the M objects
    checked: np.ndarray | None = (
        None  # (C,) bool: all objects of the class are marked; None: of all
    )
    enlarge_to: tuple[int, int] | None = None
    """(height, width) that the image is yet to be enlarged to; the objects are there already."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image, once it is enlarged."""
        return self.enlarge_to or (self.image.shape[0], self.image.shape[1])

    def take(self, indices: np.ndarray) -> Annotated:
        """The same image with some of its objects."""
        masks = None if self.masks is None else self.masks.take(indices)
        return self._replace(boxes=self.boxes[indices], labels=self.labels[indices], masks=masks)


class Moment(NamedTuple):
    """The randomness of one sample; the same in any process and after resuming."""

    rng: np.random.Generator  # of this sample
    step_key: Sequence[int] = ()  # equal for all samples of an optimizer step

    def step_rng(self) -> np.random.Generator:
        """A generator that is the same for all samples of an optimizer step, in all processes."""
        return np.random.default_rng(self.step_key)


class Resizer(Protocol):
    """Brings an image to the size of the network's input."""

    def __call__(self, sample: Annotated, moment: Moment) -> Annotated:
        """The image and its objects, scaled, cropped or padded."""
        ...


class ShortSide:
    """Shorter side to a random one of `short`, unless the longer side would pass `long`."""

    def __init__(self, short: Sequence[int], long: int) -> None:
        self._short = tuple(short)
        self._long = long

    def __call__(self, sample: Annotated, moment: Moment) -> Annotated:
        """`sample`, smaller, or to be enlarged."""
        short = self._short[moment.rng.integers(len(self._short))]
        size = fit_size(sample.size, short, self._long)
        if size[0] * size[1] <= sample.size[0] * sample.size[1]:
            return resize(sample, size)
        return scale_objects(sample._replace(enlarge_to=size), sample.size)


class Transform:
    """Flip, transpose, resize, jitter colours, and apply further albumentations transforms.

    Flips come first because images are mostly enlarged: fewer pixels move.

    What is random depends on the keys of a call alone: the same keys give the same result in any
    process.

    Args:
        resizer: brings images to the size of the input; None keeps theirs.
        horizontal_flip: probability.
        vertical_flip: probability.
        transpose: probability of exchanging the axes.
        hsv: gains of the jitter of hue, saturation and value; None leaves them.
        extra: (name, arguments) of albumentations transforms, applied last, in this order.

    Raises:
        ConfigError: albumentations has no such transform, or refuses its arguments.
    """

    def __init__(
        self,
        *,
        resizer: Resizer | None = None,
        horizontal_flip: float = 0.0,
        vertical_flip: float = 0.0,
        transpose: float = 0.0,
        hsv: tuple[float, float, float] | None = None,
        extra: Sequence[tuple[str, Mapping[str, object]]] = (),
    ) -> None:
        self._resizer = resizer
        self._probabilities = (horizontal_flip, vertical_flip, transpose)
        self._hsv = hsv
        self._extra = Pipeline(extra) if extra else None

    def __call__(
        self, sample: Annotated, key: Sequence[int], step_key: Sequence[int] = ()
    ) -> Annotated:
        """Change `sample`; boxes come back inside the image and not thinner than MIN_SIDE.

        Args:
            sample: not changed in place.
            key: of what is random in this sample.
            step_key: of what is random in the optimizer step, and equal in all of its samples.
        """
        return enlarged(self.prepare(sample, key, step_key))

    def prepare(
        self, sample: Annotated, key: Sequence[int], step_key: Sequence[int] = ()
    ) -> Annotated:
        """The same, but for the enlarging of the image if that comes last: see `write_planes`."""
        generator = np.random.default_rng(key)
        chances = generator.random(3) < self._probabilities
        for chosen, change in zip(
            chances, (flip_horizontally, flip_vertically, transpose), strict=True
        ):
            if chosen:
                sample = change(sample)
        if self._resizer is not None:
            sample = self._resizer(sample, Moment(generator, step_key))
        sample = drop_small(sample)
        if self._hsv is not None:
            sample = enlarged(sample)
            image = jitter_hsv(np.ascontiguousarray(sample.image), self._hsv, generator)
            sample = sample._replace(image=image)
        if self._extra is not None:
            sample = enlarged(sample)
            sample = drop_small(_apply(self._extra, sample, seed=int(generator.integers(2**31))))
        return sample


def fit_size(size: tuple[int, int], short: int, long: int) -> tuple[int, int]:
    """(height, width) with the shorter side `short`, or with the longer one `long` if that is less.

    Each side is rounded to the nearest pixel, and at least 1.
    """
    scale = min(short / min(size), long / max(size))
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def fit_inside(size: tuple[int, int], frame: tuple[float, float]) -> tuple[int, int]:
    """The largest (height, width) with the proportions of `size` inside `frame`; rounded as above.

    Sides that fit `frame` exactly stay exact.
    """
    scale = min(frame[0] / size[0], frame[1] / size[1])
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def resize(sample: Annotated, size: tuple[int, int]) -> Annotated:
    """Scale everything to `size` (height, width)."""
    image = sample.image
    height, width = image.shape[:2]
    if size == (height, width):
        return sample
    method = cv2.INTER_AREA if size[0] * size[1] < height * width else cv2.INTER_LINEAR
    image = cv2.resize(image, size[::-1], interpolation=method)
    return scale_objects(sample._replace(image=image), (height, width))


def enlarged(sample: Annotated) -> Annotated:
    """`sample` with the image as large as it is to be."""
    if sample.enlarge_to is None:
        return sample
    image = cv2.resize(sample.image, sample.enlarge_to[::-1], interpolation=cv2.INTER_LINEAR)
    return sample._replace(image=image, enlarge_to=None)


def write_planes(sample: Annotated, planes: np.ndarray) -> None:
    """Write the image, enlarged, into `planes` (3, H, W), which may be part of a larger array.

    Enlarging straight into a batch saves writing and reading the many pixels once more.
    """
    channels = cv2.split(np.ascontiguousarray(sample.image))
    for plane, channel in zip(planes, channels, strict=True):
        if sample.enlarge_to is None:
            plane[:] = channel
        else:
            size = sample.enlarge_to[::-1]
            written = cv2.resize(channel, size, dst=plane, interpolation=cv2.INTER_LINEAR)
            assert np.shares_memory(written, plane), "OpenCV wrote elsewhere"


def scale_objects(sample: Annotated, size: tuple[int, int]) -> Annotated:
    """Scale the objects, which are those of an image of `size` (height, width), to the image."""
    height, width = sample.size
    scale = np.array([width / size[1], height / size[0]], dtype=np.float32)
    masks = sample.masks
    if masks is not None:
        masks = replace(masks, points=masks.points * scale)
    return sample._replace(boxes=sample.boxes * np.tile(scale, 2), masks=masks)


def interleaved(image: np.ndarray) -> np.ndarray:
    """`image` (H, W, 3) with its pixels side by side in memory."""
    planes = image.transpose(2, 0, 1)
    return cv2.merge(list(planes)) if planes.flags.c_contiguous else np.ascontiguousarray(image)


def to_planes(image: np.ndarray) -> np.ndarray:
    """`image` (H, W, 3) as (3, H, W), contiguous; a view if it lies so, and may be written to."""
    planes = image.transpose(2, 0, 1)
    if planes.flags.c_contiguous and planes.flags.writeable:
        return planes
    split = np.empty(planes.shape, dtype=np.uint8)
    cv2.split(np.ascontiguousarray(image), list(split))
    return split


def flip_horizontally(sample: Annotated) -> Annotated:
    """Exchange left and right."""
    image, boxes, masks = sample.image, sample.boxes, sample.masks
    width = image.shape[1]
    flipped = boxes.copy()
    flipped[:, [0, 2]] = width - boxes[:, [2, 0]]
    if masks is not None:
        masks = masks.moved(np.array([[-1, 0, width], [0, 1, 0]]))
    return sample._replace(image=cv2.flip(image, 1), boxes=flipped, masks=masks)


def flip_vertically(sample: Annotated) -> Annotated:
    """Exchange top and bottom."""
    image, boxes, masks = sample.image, sample.boxes, sample.masks
    height = image.shape[0]
    flipped = boxes.copy()
    flipped[:, [1, 3]] = height - boxes[:, [3, 1]]
    if masks is not None:
        masks = masks.moved(np.array([[1, 0, 0], [0, -1, height]]))
    return sample._replace(image=cv2.flip(image, 0), boxes=flipped, masks=masks)


def transpose(sample: Annotated) -> Annotated:
    """Exchange the axes."""
    image, boxes, masks = sample.image, sample.boxes, sample.masks
    if masks is not None:
        masks = replace(masks, points=masks.points[:, ::-1].copy())
    return sample._replace(image=cv2.transpose(image), boxes=boxes[:, [1, 0, 3, 2]], masks=masks)


def drop_small(sample: Annotated) -> Annotated:
    """Clip objects to the image and leave out those whose box has a side below MIN_SIDE."""
    height, width = sample.size
    limit = np.array([width, height, width, height], dtype=np.float32)
    boxes = np.clip(sample.boxes, 0, limit)
    kept = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1))
    masks = None if sample.masks is None else sample.masks.clipped((height, width))
    sample = sample._replace(boxes=boxes, masks=masks)
    return sample if len(kept) == len(boxes) else sample.take(kept)


def _apply(pipeline: Pipeline, sample: Annotated, seed: int) -> Annotated:
    """Outlines go through as pictures, the one form that every transform knows, if they must."""
    outlines = sample.masks
    drawn = outlines is not None and pipeline.moves_pixels
    bitmaps = (
        outlines.to_bitmaps(sample.image.shape[:2]) if outlines is not None and drawn else None
    )
    image, boxes, kept, bitmaps = pipeline(
        interleaved(sample.image), sample.boxes, bitmaps, seed=seed
    )
    if bitmaps is None:
        return sample.take(kept)._replace(image=image, boxes=boxes)
    # some transforms cut an object into several boxes, but all have its one picture
    kept, first = np.unique(kept, return_index=True)
    changed = sample.take(kept)._replace(image=image, boxes=boxes[first])
    assert changed.masks is not None, "there were pictures of the outlines"
    had_outline = np.diff(changed.masks.objects) > 0
    return _fit_boxes(changed._replace(masks=Outlines.from_bitmaps(bitmaps[first])), had_outline)


def _fit_boxes(sample: Annotated, had_outline: np.ndarray) -> Annotated:
    """Move sides of boxes that are more than a pixel off their outline to where it ends.

    Turned or bent boxes become too large, and cut objects often end before the cut. An outline
    that vanished makes an empty box, which is then left out.
    """
    assert sample.masks is not None, "there is nothing to fit to"
    around = sample.masks.boxes()
    off = (np.abs(around - sample.boxes) > 1) & had_outline[:, None]
    return sample._replace(boxes=np.where(off, around, sample.boxes))

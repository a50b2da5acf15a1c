"""A finished run, ready to be used on any image.

detector = dense_lt.load_run("runs/NAME")
for found in detector.predict(["street.jpg"]):
print(found.names, found.scores, found.boxes)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dense_lt.data.batching import Prepared, collate
from dense_lt.data.categories import CategoryTable
from dense_lt.data.transforms import Annotated, Transform
from dense_lt.data.upright import read_upright, to_upright
from dense_lt.evaluation.predict import autocast, original_boxes
from dense_lt.models.detector import Detector
from dense_lt.structures import Detections, ImageInfo, Target
from dense_lt.utils.errors import ConfigError, DataError

Picture = str | Path | NDArray[np.uint8] | Image.Image
"""An image file, pixels (H, W, 3) uint8, RGB, or an image of Pillow, which is taken as its file."""

PICTURES = (
    "the path of a file, an array (height, width, 3) uint8 in the order red, green, blue, or an "
    "image of Pillow"
)


@dataclass(frozen=True)
class FoundObjects:
    """D detections of one image, best first."""

    size: tuple[int, int]  # height and width of the image, pixels
    boxes: NDArray[np.float64]  # (D, 4) xyxy in its pixels
    scores: NDArray[np.float32]  # (D,) in [0, 1]
    labels: NDArray[np.int64]  # (D,) in [0, C)
    category_ids: NDArray[np.int64] | NDArray[np.str_]  # (D,) of the training annotations
    names: tuple[str, ...]  # D names of the classes


class TrainedDetector:
    """A detector with its weights, its classes, and what its images need."""

    def __init__(
        self,
        detector: Detector,
        categories: CategoryTable,
        transform: Transform,
        *,
        device: torch.device,
        precision: str = "fp32",
        pad_to_multiple_of: int = 32,
        checkpoint: Path | None = None,
        step: int | None = None,
    ) -> None:
        """Put the parts together; `load_run` is the usual way to get one.

        Args:
            detector: on `device`.
            categories: its classes.
            transform: from an image to the network's input, that of validation.
            device: where to compute.
            precision: "fp32", or "bf16" for autocast.
            pad_to_multiple_of: of height and width of a batch.
            checkpoint: where the weights are from; None if from no file.
            step: optimizer steps that they have learnt for.
        """
        self.detector = detector.eval()
        self.categories = categories
        self.device = device
        self.checkpoint = checkpoint
        self.step = step
        self._transform = transform
        self._precision = precision
        self._multiple_of = pad_to_multiple_of

    def predict(
        self, images: Picture | Iterable[Picture], *, min_score: float = 0.0, batch_size: int = 1
    ) -> list[FoundObjects]:
        """Detections of every image.

        Args:
            images: files, pixels or images of Pillow; one alone is a list of one.
            min_score: leave out what scores lower.
            batch_size: images that go through the network at once.

        Raises:
            ConfigError: `min_score` is not in [0, 1], or `batch_size` no whole number from 1 on.
            DataError: a file is missing or no image, or pixels have another shape or type.
        """
        return list(self.stream(images, min_score=min_score, batch_size=batch_size))

    def stream(
        self, images: Picture | Iterable[Picture], *, min_score: float = 0.0, batch_size: int = 1
    ) -> Iterator[FoundObjects]:
        """As `predict`, one after the other: memory is that of a batch, of `images` as well."""
        if not 0 <= min_score <= 1:
            raise ConfigError(f"min_score is {min_score}: a score is a number in [0, 1]")
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}: give a whole number of at least 1")
        return self._stream(_each(images), min_score, int(batch_size))

    def _stream(
        self, pictures: Iterator[Picture], min_score: float, batch_size: int
    ) -> Iterator[FoundObjects]:
        numbers = count()
        while held := list(islice(pictures, batch_size)):
            samples = [self._sample(picture, next(numbers)) for picture in held]
            batch = collate(samples, multiple_of=self._multiple_of)
            with torch.no_grad(), autocast(self.device, self._precision):
                detections = self.detector(batch.images.to(self.device))
            for found, info in zip(detections, batch.infos, strict=True):
                yield self._found(found, info, min_score)

    def _sample(self, picture: Picture, number: int) -> Prepared:
        pixels = _pixels(picture, number)
        nothing = Annotated(pixels, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
        seen = self._transform.prepare(nothing, (0,), (0,))
        original = (pixels.shape[0], pixels.shape[1])
        target: Target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        return Prepared(seen, target, ImageInfo(number, original, seen.size))

    def _found(self, found: Detections, info: ImageInfo, min_score: float) -> FoundObjects:
        scores = found.scores.float().cpu().numpy()
        kept = scores >= min_score
        labels = found.labels.cpu().numpy()[kept]
        boxes = original_boxes(found.boxes.cpu().numpy()[kept], info)
        boxes[:, 2:] += boxes[:, :2]
        return FoundObjects(
            size=info.original_size,
            boxes=boxes,
            scores=scores[kept],
            labels=labels,
            category_ids=np.array(self.categories.dataset_ids)[labels],
            names=tuple(self.categories.names[label] for label in labels),
        )


def _each(images: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """The images, one after the other.

    Raises:
        DataError: it is neither an image nor several.
    """
    if isinstance(images, str | Path | Image.Image):
        return iter([images])
    if isinstance(images, np.ndarray) and images.ndim == 3:
        return iter([images])
    try:
        return iter(images)
    except TypeError:
        raise DataError(f"images: {_kind(images)} was given; give {PICTURES}, or several") from None


def _pixels(picture: Picture, number: int) -> NDArray[np.uint8]:
    if isinstance(picture, str | Path):
        return read_upright(Path(picture))
    where = f"image {number}"
    if isinstance(picture, Image.Image):
        return to_upright(picture, where)
    is_rgb = (
        isinstance(picture, np.ndarray)
        and picture.dtype == np.uint8
        and picture.ndim == 3
        and picture.shape[2] == 3
    )
    if not is_rgb:
        raise DataError(f"{where}: {_kind(picture)} was given; give {PICTURES}")
    if picture.size == 0:
        raise DataError(f"{where}: an array of shape {picture.shape} has no pixels; leave it out")
    return picture


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return f"an object of type {type(value).__name__}"

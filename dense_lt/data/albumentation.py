"""Albumentations transforms by name, with the two traps of the library closed."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dense_lt.utils.errors import ConfigError

KEY = "data.train_transforms.extra"
"""What a user types to change them, for messages."""

MIN_SIDE = 1.0
"""Boxes with a shorter side than this many pixels after a transform are left out."""

MIN_VISIBLE = 0.1
"""Boxes of which less than this part is left after a transform are left out."""


class Pipeline:
    """Albumentations transforms, one after the other.

    Args:
        transforms: (class name, arguments) of each.

    Attributes:
        moves_pixels: whether one of them may move pixels, not only change their colours.

    Raises:
        ConfigError: there is no such transform, or it refuses its arguments.
    """

    def __init__(self, transforms: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing it asks the network
        import albumentations  # its import takes a second, which most runs can do without

        self._names = ", ".join(name for name, _ in transforms)
        parts = [_build(albumentations, name, arguments) for name, arguments in transforms]
        colours = albumentations.ImageOnlyTransform
        self.moves_pixels = not all(isinstance(part, colours) for part in parts)
        boxes = albumentations.BboxParams(
            format="pascal_voc",
            label_fields=["index"],
            clip=True,
            min_width=MIN_SIDE,
            min_height=MIN_SIDE,
            min_visibility=MIN_VISIBLE,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it finds boxes idle beside colours
            self._compose = albumentations.Compose(parts, bbox_params=boxes)

    def __call__(
        self, image: np.ndarray, boxes: np.ndarray, masks: np.ndarray | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Transform an image with M objects.

        Albumentations drops boxes but not their masks, so the numbers of the boxes travel with them
        and masks are chosen by these afterwards; and it fails on an empty stack of masks, so an
        image without objects goes without.

        Args:
            image: (H, W, 3) uint8.
            boxes: (M, 4) float32 xyxy, inside the image and not empty.
            masks: (M, H, W) uint8, or None.
            seed: of everything random.

        Returns:
            The new image; the boxes that are left; which of the old ones they were, (N,) int64;
            and their masks, or None.

        Raises:
            ConfigError: a transform fails, or leaves something that is no uint8 RGB image.
        """
        given: dict[str, Any] = {
            "image": np.ascontiguousarray(image),
            "bboxes": boxes,
            "index": np.arange(len(boxes)),
        }
        if masks is not None and len(masks):
            given["masks"] = np.ascontiguousarray(masks)
        self._compose.set_random_seed(seed)
        changed = self._run(given)
        image = changed["image"]
        kept = np.asarray(changed["index"], dtype=np.int64).reshape(-1)
        boxes = np.asarray(changed["bboxes"], dtype=np.float32).reshape(-1, 4)
        assert len(kept) == len(boxes), f"{len(boxes)} boxes but {len(kept)} indices"
        if masks is not None:
            size = image.shape[:2]
            masks = np.asarray(changed.get("masks", ()), dtype=np.uint8).reshape(-1, *size)[kept]
        return image, boxes, kept, masks

    def _run(self, given: dict[str, Any]) -> dict[str, Any]:
        try:
            changed = self._compose(**given)
        except Exception as error:  # albumentations' errors have no base of their own
            height, width = given["image"].shape[:2]
            raise ConfigError(
                f"{KEY}: {self._names}: failed on an image of {width} x {height} pixels: {error}"
            ) from error
        image = changed["image"]
        is_array = isinstance(image, np.ndarray)
        if not is_array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} of shape {image.shape}" if is_array else type(image).__name__
            raise ConfigError(
                f"{KEY}: {self._names}: left {found}; pixels must stay uint8 RGB. Remove "
                "normalisation and conversion to tensors: the detector does both"
            )
        return changed


def _build(albumentations: Any, name: str, arguments: Mapping[str, object]) -> Any:
    kind = getattr(albumentations, name, None)
    base = albumentations.BasicTransform
    if not (isinstance(kind, type) and issubclass(kind, base)):
        known = [
            one
            for one, value in vars(albumentations).items()
            if isinstance(value, type) and issubclass(value, base)
        ]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(
            f"{KEY}: albumentations {albumentations.__version__} has no transform {name!r}{hint}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # how it tells of unknown arguments
            return kind(**arguments)
    except (ValueError, TypeError, NotImplementedError, UserWarning) as error:
        raise ConfigError(f"{KEY}: {name} refuses {dict(arguments)}: {error}") from error

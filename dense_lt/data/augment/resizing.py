"""Ways to bring images to a size: by their longer side, and large-scale jitter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dense_lt.data.augment.geometry import Keep, place
from dense_lt.data.transforms import Annotated, Moment, fit_inside, resize

KEEP = Keep(visible=0.1)
"""A sliver at the edge of a crop says little of what it belongs to."""


@dataclass(frozen=True, slots=True)
class LongSide:
    """Longer side to a random one of `sizes`; where it has room, a batch is padded anyway.

    Attributes:
        sizes: candidates, pixels.
        per_step: all images of an optimizer step, in all processes, get one size.

    Source: multi-scale training of Redmon and Farhadi 2017 (YOLO9000).
    """

    sizes: Sequence[int]
    per_step: bool = True

    def __call__(self, sample: Annotated, moment: Moment) -> Annotated:
        """`sample`, larger or smaller."""
        rng = moment.step_rng() if self.per_step else moment.rng
        side = self.sizes[int(rng.integers(len(self.sizes)))]
        return resize(sample, fit_inside(sample.image.shape[:2], (side, side)))


@dataclass(frozen=True, slots=True)
class LargeScaleJitter:
    """Fitted into `size`, scaled by a random factor, cropped at random or padded to `size`.

    Attributes:
        size: (height, width) of what comes out, pixels.
        scales: smallest and largest factor.
        fill: grey level of the padding.

    Source: Ghiasi et al. 2021 (Simple Copy-Paste): 0.1 to 2.0 is large-scale, 0.8 to 1.25 standard
    jitter; padding goes right and below.
    """

    size: tuple[int, int]
    scales: tuple[float, float] = (0.1, 2.0)
    fill: int = 0

    def __call__(self, sample: Annotated, moment: Moment) -> Annotated:
        """`sample` at `size`."""
        height, width = self.size
        factor = moment.rng.uniform(*self.scales)
        frame = (height * factor, width * factor)
        scaled = resize(sample, fit_inside(sample.image.shape[:2], frame))
        room_y = max(scaled.image.shape[0] - height, 0)
        room_x = max(scaled.image.shape[1] - width, 0)
        corner = (-int(moment.rng.integers(room_x + 1)), -int(moment.rng.integers(room_y + 1)))
        return place(scaled, corner, self.size, fill=self.fill, keep=KEEP)

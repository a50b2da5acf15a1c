"""How four numbers of a network become a box: an exact pair of encode and decode.

The law of every coder: ``decode(encode(boxes, priors), priors) == boxes`` up to rounding.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

MAX_LOG_SIZE = math.log(1000 / 16)
"""Largest log of box size over prior size that is decoded (Girshick et al., Detectron)."""


class BoxCoder(Protocol):
    """An exact pair: decode(encode(boxes, priors), priors) == boxes."""

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Codes (R, 4) that turn `priors` (R, 4) into `boxes` (R, 4)."""
        ...

    def decode(self, codes: Tensor, priors: Tensor) -> Tensor:
        """Boxes (..., R, 4) from `codes` (..., R, 4); float32 whatever the input's precision."""
        ...


class DeltaBoxCoder:
    """Shift of the centre in prior sizes, and log of the size ratio: (dx, dy, dw, dh).

    The law holds for boxes less than 62.5 times as wide and as high as their prior.

    Source: Ren et al. 2015 (Faster R-CNN), equation 2; the deviations are those of its code.
    """

    def __init__(
        self, deviations: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    ) -> None:
        """`deviations`: standard deviations of (dx, dy, dw, dh) that codes are divided by."""
        self.deviations = deviations

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """See `BoxCoder`; boxes need a positive width and height."""
        prior_sizes = priors[..., 2:] - priors[..., :2]
        sizes = boxes[..., 2:] - boxes[..., :2]
        shifts = (boxes[..., :2] + sizes / 2 - priors[..., :2] - prior_sizes / 2) / prior_sizes
        codes = torch.cat([shifts, torch.log(sizes / prior_sizes)], dim=-1)
        return codes if self._plain else codes / codes.new_tensor(self.deviations)

    def decode(self, codes: Tensor, priors: Tensor) -> Tensor:
        """See `BoxCoder`."""
        codes = at_least_float32(codes)
        if not self._plain:
            codes = codes * codes.new_tensor(self.deviations)
        prior_sizes = priors[..., 2:] - priors[..., :2]
        centers = priors[..., :2] + prior_sizes / 2 + codes[..., :2] * prior_sizes
        sizes = prior_sizes * codes[..., 2:].clamp(max=MAX_LOG_SIZE).exp()
        return torch.cat([centers - sizes / 2, centers + sizes / 2], dim=-1)

    @property
    def _plain(self) -> bool:
        return self.deviations == (1.0, 1.0, 1.0, 1.0)


class DistanceBoxCoder:
    """Log of the distances from the prior's centre to the four sides, in half prior sizes.

    A code of 0 on all sides is the prior itself. The law holds for boxes that contain the centre
    of their prior, with distances less than 62.5 half sizes.

    Source: Tian et al. 2019 (FCOS), equation 1 with exp; the unit is the prior instead of a pixel.
    """

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """See `BoxCoder`; the prior's centre must lie inside its box."""
        halves = (priors[..., 2:] - priors[..., :2]) / 2
        centers = priors[..., :2] + halves
        return torch.cat(
            [
                ((centers - boxes[..., :2]) / halves).log(),
                ((boxes[..., 2:] - centers) / halves).log(),
            ],
            dim=-1,
        )

    def decode(self, codes: Tensor, priors: Tensor) -> Tensor:
        """See `BoxCoder`."""
        distances = at_least_float32(codes).clamp(max=MAX_LOG_SIZE).exp()
        halves = (priors[..., 2:] - priors[..., :2]) / 2
        centers = priors[..., :2] + halves
        return torch.cat(
            [centers - distances[..., :2] * halves, centers + distances[..., 2:] * halves], dim=-1
        )


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32, or in float64 if they are."""
    return values if values.dtype == torch.float64 else values.float()

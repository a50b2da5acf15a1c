"""Anchors as torchvision has them, for weights that were trained with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dense_lt.models.priors import PriorGenerator


class TorchvisionPriors(PriorGenerator):
    """Sides of whole pixels around the origin, at strides of whole pixels from the corner.

    The stride of a level is the padded image's side over the map's, rounded down: where a map has a
    cell more than fits, as at 800 pixels and stride 64, its anchors lie closer than the cells.
    Images must be padded to a multiple of the first stride.
    """

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self._cells = [cell.round() for cell in self._cells]

    def boxes_of_levels(  # noqa: D102 - see PriorGenerator
        self, sizes: Sequence[tuple[int, int]], device: torch.device
    ) -> list[Tensor]:
        height, width = (cells * self.strides[0] for cells in sizes[0])
        boxes = []
        for cell, (rows, columns) in zip(self._cells, sizes, strict=True):
            y = torch.arange(rows, device=device) * (height // rows)
            x = torch.arange(columns, device=device) * (width // columns)
            y, x = torch.meshgrid(y, x, indexing="ij")
            shifts = torch.stack([x, y, x, y], dim=-1)[:, :, None]
            boxes.append((shifts + cell.to(device)).reshape(-1, 4))
        return boxes

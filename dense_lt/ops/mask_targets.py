"""Ground-truth masks as the mask head sees them: a few cells inside each region."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.structures import Masks

CROSSINGS_AT_ONCE = 2**21
"""Pairs of an edge and a row of cells that are held together; bounds the memory."""


@torch.no_grad()
def rasterise_in_boxes(masks: Masks, objects: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Objects seen through boxes: a cell is set when its centre is inside its object.

    Every edge of an outline changes the winding number of all cells to the right of where it
    crosses the middle of a row; so only edges and rows meet, never edges and cells, and an image is
    never drawn.

    Args:
        masks: outlines of the M objects of an image.
        objects: (N,) int64 in [0, M): what each box shows.
        boxes: (N, 4) xyxy, in the pixels of `masks`, cut into `size` x `size` cells.
        size: S.

    Returns:
        (N, S, S) bool.
    """
    edges, first, count = _edges(masks)
    counts = count[objects]
    found = torch.zeros(len(objects), size, size, dtype=torch.bool, device=boxes.device)
    # boxes in turn, as many at a time as their edges allow
    part = (counts.cumsum(0) * size) // CROSSINGS_AT_ONCE
    for number in range(int(part[-1]) + 1 if len(part) else 0):
        own = (part == number).nonzero().squeeze(1)
        if len(own):
            found[own] = _rasterise(edges, first[objects[own]], counts[own], boxes[own], size)
    return found


def _edges(masks: Masks) -> tuple[Tensor, Tensor, Tensor]:
    """Edges (P, 2, 2) as (end, xy) of all rings; of each object its first one and how many (M,)."""
    points, rings = masks.points, masks.rings
    following = torch.arange(1, len(points) + 1, device=points.device)
    lengths = rings.diff()
    own = rings[1:][lengths > 0] - 1  # the last corner of every ring
    following[own] = rings[:-1][lengths > 0]  # is followed by the first
    bounds = rings[masks.objects]
    return torch.stack([points, points[following]], dim=1), bounds[:-1], bounds.diff()


def _rasterise(edges: Tensor, first: Tensor, counts: Tensor, boxes: Tensor, size: int) -> Tensor:
    """(n, S, S) of boxes (n, 4) that show `counts` (n,) edges from `first` (n,) on."""
    box = torch.arange(len(boxes), device=boxes.device).repeat_interleave(counts)  # (E,)
    starts = counts.cumsum(0) - counts
    edge = torch.arange(len(box), device=boxes.device) - starts[box] + first[box]
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    cells = (edges[edge] - boxes[box, None, :2]) / sides[box, None] * size  # (E, 2, 2) in cells
    (x0, y0), (x1, y1) = cells[:, 0].unbind(1), cells[:, 1].unbind(1)
    middle = torch.arange(size, device=boxes.device) + 0.5  # of the rows
    below = (y0[:, None] <= middle).int() - (y1[:, None] <= middle).int()  # (E, S) in -1, 0, 1
    crossing, row = below.nonzero(as_tuple=True)
    slope = (x1 - x0)[crossing] / (y1 - y0)[crossing]
    x = x0[crossing] + (middle[row] - y0[crossing]) * slope
    column = (x + 0.5).floor().clamp(0, size).long()  # the first whose centre lies right of it
    change = torch.zeros(len(boxes) * size * (size + 1), dtype=torch.int32, device=boxes.device)
    place = (box[crossing] * size + row) * (size + 1) + column
    change.index_add_(0, place, below[crossing, row].int())
    winding = change.view(len(boxes), size, size + 1).cumsum(dim=2)
    return winding[..., :size] != 0

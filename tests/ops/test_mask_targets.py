import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_lt.ops import mask_targets
from dense_lt.ops.mask_targets import rasterise_in_boxes
from dense_lt.structures import Masks


def masks_of(*objects):
    """Each object is a list of rings of (x, y)."""
    rings = [
        torch.tensor(ring, dtype=torch.float32).reshape(-1, 2) for own in objects for ring in own
    ]
    return Masks(
        torch.cat([*rings, torch.zeros(0, 2)]),
        torch.tensor([0, *(len(ring) for ring in rings)]).cumsum(0),
        torch.tensor([0, *(len(own) for own in objects)]).cumsum(0),
    )


def winding_number(ring, x, y):
    """By the angles under which the edges of `ring` are seen from (x, y)."""
    corners = np.array(ring, dtype=np.float64) - [x, y]
    following = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]
    dot = (corners * following).sum(axis=1)
    return round(np.arctan2(cross, dot).sum() / (2 * np.pi))


def by_angles(objects, index, boxes, size):
    found = np.zeros((len(boxes), size, size), bool)
    for number, (own, (x0, y0, x1, y1)) in enumerate(zip(index, boxes, strict=True)):
        for row in range(size):
            for column in range(size):
                x = x0 + (column + 0.5) * (x1 - x0) / size
                y = y0 + (row + 0.5) * (y1 - y0) / size
                found[number, row, column] = sum(winding_number(r, x, y) for r in objects[own]) != 0
    return found


SQUARE = [(2, 2), (8, 2), (8, 8), (2, 8)]
HOLE = [(4, 4), (4, 6), (6, 6), (6, 4)]  # the other way round


def test_a_square_with_a_hole_seen_through_its_box():
    found = rasterise_in_boxes(
        masks_of([SQUARE, HOLE]), torch.tensor([0]), torch.tensor([[2.0, 2, 8, 8]]), 6
    )
    expected = torch.ones(6, 6, dtype=torch.bool)
    expected[2:4, 2:4] = False
    assert torch.equal(found[0], expected)


def test_a_box_that_sees_half_of_an_object_shows_half():
    masks = masks_of([SQUARE])
    boxes = torch.tensor([[5.0, 2, 11, 8], [-10, -10, 0, 0]])
    found = rasterise_in_boxes(masks, torch.tensor([0, 0]), boxes, 4)
    assert found[0, :, :2].all()
    assert not found[0, :, 2:].any()
    assert not found[1].any()


def test_objects_without_rings_and_empty_rings_are_empty():
    masks = masks_of([], [[], SQUARE], [[]])
    boxes = torch.tensor([[2.0, 2, 8, 8]]).expand(3, 4)
    found = rasterise_in_boxes(masks, torch.tensor([0, 1, 2]), boxes, 3)
    assert found.flatten(1).sum(1).tolist() == [0, 9, 0]
    assert rasterise_in_boxes(masks, torch.zeros(0).long(), torch.zeros(0, 4), 3).shape == (0, 3, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_cells_are_set_where_the_winding_number_is_not_zero(seed):
    random = np.random.default_rng(seed)
    objects = [
        [
            [tuple(corner) for corner in random.uniform(0, 20, (random.integers(3, 9), 2))]
            for _ in range(random.integers(1, 4))
        ]
        for _ in range(3)
    ]
    index = random.integers(0, 3, 4)
    corners = random.uniform(-3, 12, (4, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 14, (4, 2))], axis=1)
    found = rasterise_in_boxes(
        masks_of(*objects), torch.tensor(index), torch.tensor(boxes, dtype=torch.float32), 5
    )
    # float32 may put a centre that lies on an edge on its other side
    assert (found.numpy() != by_angles(objects, index, boxes, 5)).sum() <= 1


def test_many_boxes_at_a_time_or_few_give_the_same(monkeypatch):
    masks = masks_of([SQUARE, HOLE], [SQUARE])
    index = torch.tensor([0, 1, 1, 0, 0])
    boxes = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)) * 4
    boxes = torch.cat([boxes, boxes + 5], dim=1)
    whole = rasterise_in_boxes(masks, index, boxes, 7)
    monkeypatch.setattr(mask_targets, "CROSSINGS_AT_ONCE", 60)
    assert torch.equal(rasterise_in_boxes(masks, index, boxes, 7), whole)

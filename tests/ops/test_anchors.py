import torch

from dense_lt.ops.anchors import cell_anchors, shift_over_grid


def test_cell_anchors_keep_area_and_follow_the_ratio():
    """Size 32, ratio 4: height = 32 * 2 = 64, width = 32 / 2 = 16, area 1024 = 32^2."""
    boxes = cell_anchors([32.0], [1.0, 4.0])
    assert boxes.tolist() == [[-16.0, -16.0, 16.0, 16.0], [-8.0, -32.0, 8.0, 32.0]]


def test_a_grid_is_ordered_row_column_anchor():
    cell = cell_anchors([2.0, 4.0], [1.0])
    boxes = shift_over_grid(cell, (2, 3), 10)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert boxes.shape == (12, 4)
    assert centers[::2].tolist() == [[5, 5], [15, 5], [25, 5], [5, 15], [15, 15], [25, 15]]
    assert torch.equal(boxes[0], torch.tensor([4.0, 4.0, 6.0, 6.0]))
    assert torch.equal(boxes[1], torch.tensor([3.0, 3.0, 7.0, 7.0]))


def test_corner_anchors_sit_at_multiples_of_the_stride():
    boxes = shift_over_grid(cell_anchors([8.0], [1.0]), (1, 2), 16, center="corner")
    assert boxes.tolist() == [[-4, -4, 4, 4], [12, -4, 20, 4]]

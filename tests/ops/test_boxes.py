import torch
from torchvision.ops import box_iou

from dense_lt.ops.boxes import centerness, centers, paired_iou, rescale_boxes


def test_paired_iou_by_hand():
    """Unit-step squares of side 2: identical 4/4, shifted by 1: 2/6, touching: 0/8."""
    first = torch.tensor([[0.0, 0, 2, 2]]).expand(3, 4)
    second = torch.tensor([[0.0, 0, 2, 2], [1.0, 0, 3, 2], [2.0, 0, 4, 2]])
    torch.testing.assert_close(paired_iou(first, second), torch.tensor([1.0, 1 / 3, 0.0]))


def test_paired_iou_is_the_diagonal_of_the_full_matrix():
    torch.manual_seed(0)
    boxes = torch.rand(2, 50, 4) * 100
    boxes[..., 2:] += boxes[..., :2]
    expected = box_iou(boxes[0], boxes[1]).diagonal()
    torch.testing.assert_close(paired_iou(boxes[0], boxes[1]), expected)


def test_boxes_without_area_have_no_iou_and_no_nan():
    empty = torch.tensor([[3.0, 3, 3, 3]])
    assert paired_iou(empty, empty).item() == 0


def test_centers_and_rescaling_by_hand():
    box = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    assert centers(box).tolist() == [[10.0, 20.0]]
    assert rescale_boxes(box, (40, 40), (80, 20)).tolist() == [[0.0, 20.0, 10.0, 60.0]]


def test_centerness_by_hand():
    """Box 8x4; sides (4, 4) and (2, 2): 1; (2, 6) and (1, 3): sqrt(1/3 * 1/3); a side; outside."""
    box = torch.tensor([10.0, 20.0, 18.0, 24.0])
    points = torch.tensor([[14.0, 22.0], [12.0, 21.0], [10.0, 22.0], [9.0, 22.0], [0.0, 0.0]])
    torch.testing.assert_close(centerness(points, box), torch.tensor([1, 1 / 3, 0.0, 0.0, 0.0]))


def test_centerness_in_a_box_without_area_is_no_nan():
    assert centerness(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 3.0, 3.0, 3.0])).item() == 0

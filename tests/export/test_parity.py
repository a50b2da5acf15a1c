"""What counts as the same result, and what is refused."""

import pytest
import torch

from dense_lt.export.parity import (
    Difference,
    compare,
    compare_detections,
    compare_raw,
    compare_regions,
)
from dense_lt.utils.errors import ConfigError


def detections(count=200):
    generator = torch.Generator().manual_seed(0)
    corners = 80 * torch.rand(count, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(count, 2, generator=generator)], 1)
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return [boxes, scores, labels, torch.arange(count) // 100]


def test_the_order_of_detections_does_not_matter():
    given = detections()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    moved = [column[order].clone() for column in given]
    moved[0][7, 2] += 0.01
    moved[1][9] += 2e-5
    difference = compare_detections(moved, given)
    assert difference.boxes == pytest.approx(0.01, rel=1e-3)
    assert difference.scores == pytest.approx(2e-5, rel=1e-2)
    assert (difference.odd, difference.count) == (0, 400)
    difference.check()


@pytest.mark.parametrize(("column", "step"), [(0, 0.1), (1, 0.001), (2, 1), (3, 1)])
def test_detections_that_differ_have_no_counterpart(column, step):
    given, other = detections(), detections()
    other[column][:2] += step
    difference = compare_detections(other, given)
    assert difference.odd == 4  # two on either side
    difference.check()  # 1 % may fall either way
    other[column][:5] += 3 * step
    with pytest.raises(ConfigError, match="10 of 400 detections without counterpart; allowed"):
        compare_detections(other, given).check()


def test_missing_detections_have_no_counterpart_either():
    given = detections()
    fewer = [column[20:] for column in given]
    with pytest.raises(ConfigError, match="20 of 380 detections without counterpart"):
        compare_detections(fewer, given).check()
    nothing = [column[:0] for column in given]
    compare_detections(nothing, nothing).check()


@pytest.mark.parametrize(
    ("scores", "boxes"), [(2e-4, 0.0), (0.0, 0.06), (float("nan"), 0.0), (0.0, float("nan"))]
)
def test_raw_outputs_beyond_the_tolerance_are_refused(scores, boxes):
    given = [torch.rand(2, 30, 4), 50 * torch.rand(2, 30, 4)]
    compare_raw(given, given).check()
    other = [given[0].clone(), given[1].clone()]
    other[0][1, 3, 2] += scores
    other[1][1, 3, 2] += boxes
    with pytest.raises(ConfigError, match="differs from PyTorch"):
        compare_raw(other, given).check()


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match="scores inf"):
        compare_raw(
            [torch.zeros(1, 3, 2), torch.zeros(1, 2, 4)], [torch.zeros(1, 2, 2)] * 2
        ).check()


def test_a_program_that_fails_is_refused_in_words():
    def program(pixels, sizes):
        raise NotImplementedError("no such kernel\nand much more")

    with pytest.raises(ConfigError, match=r"fails on 1 images of 64 x 96 pixels: no such kernel\."):
        compare(program, program, [(64, 96)])


def test_batches_of_one_and_three_are_run_at_every_size():
    seen = []

    def program(pixels, sizes):
        seen.append((tuple(pixels.shape), sizes.tolist()))
        return torch.zeros(1, 1, 1), torch.zeros(1, 1, 4)

    difference = compare(program, program, [(64, 96), (32, 64)])
    assert difference == Difference(0.0, 0.0)
    shapes = [shape for shape, _ in seen[::2]]
    assert shapes == [(1, 3, 64, 96), (3, 3, 64, 96), (1, 3, 32, 64), (3, 3, 32, 64)]
    assert seen[2][1] == [[64, 96], [56, 77], [48, 58]], "later images are padded"


def regions(count=300):
    """Scores, boxes and proposals of two images; the last of them fill up."""
    generator = torch.Generator().manual_seed(0)
    proposals = 50 * torch.rand(2, count, 4, generator=generator)
    proposals[..., 2:] += 60
    proposals[:, -100:] = 0
    boxes = 90 * torch.rand(2, count, 3, 4, generator=generator)
    scores = torch.rand(2, count, 3, generator=generator)
    real = proposals[..., :1] > 0
    return [scores * real, boxes * real[..., None], proposals]


def test_the_order_of_proposals_does_not_matter():
    given = regions()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    order = torch.cat([order, torch.arange(200, 300)])
    moved = [column[:, order].clone() for column in given]
    moved[1][0, 7, 2, 1] += 0.01
    moved[0][1, 9, 1] += 2e-5
    difference = compare_regions(moved, given)
    assert difference.boxes == pytest.approx(0.01, rel=1e-3)
    assert difference.scores == pytest.approx(2e-5, rel=1e-2)
    assert (difference.odd, difference.count) == (0, 800), "what fills up does not count"
    difference.check()


@pytest.mark.parametrize(("column", "step"), [(0, 0.001), (1, 0.1), (2, 0.1)])
def test_proposals_that_differ_have_no_counterpart(column, step):
    given, other = regions(), regions()
    other[column][:, :2] += step
    assert compare_regions(other, given).odd == 8  # two on either side of both images
    other[column][:, :9] += step
    with pytest.raises(ConfigError, match=r"36 of 800 .*without counterpart"):
        compare_regions(other, given).check()
    fewer = [column[:, :-1] for column in given]
    with pytest.raises(ConfigError, match="scores inf"):
        compare_regions(fewer, given).check()


def test_masks_are_a_part_of_detections():
    masks = torch.rand(200, 5, 5, generator=torch.Generator().manual_seed(3))
    given, other = [*detections(), masks], [*detections(), masks.clone()]
    other[4][5, 2, 3] += 1e-4
    difference = compare_detections(other, given)
    assert difference.masks == pytest.approx(1e-4, rel=1e-2)
    assert difference.odd == 0
    other[4][:3, 1, 1] += 0.01
    difference |= compare_detections(other, given)
    assert difference.odd == 6
    assert difference.masks == pytest.approx(1e-4, rel=1e-2)
    assert "masks 0.0001; 6 of 800" in str(difference)

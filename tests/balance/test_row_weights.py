"""Groups of rows, and how often the federated loss draws a class."""

import pytest
import torch

from dense_lt.balance.row_weights import Groups, SampledClasses, TailDropping, images_of_rows
from dense_lt.ops.matching import BACKGROUND, IGNORE


def dense(groups):
    """(N, C) factor of every entry, over all matrices."""
    return torch.cat([groups.factor[rows] for rows in groups.rows])


def test_a_product_multiplies_the_factors_of_every_row():
    generator = torch.Generator().manual_seed(0)

    def draw(size):
        rows = torch.randint(0, size, (23,), generator=generator)
        return Groups(torch.rand(size, 4, generator=generator), rows.split([20, 3]))

    left, right = draw(5), draw(3)
    product = left.times(right)
    torch.testing.assert_close(dense(product), dense(left) * dense(right))
    pairs = torch.cat(left.rows) * 3 + torch.cat(right.rows)
    assert len(product.factor) == len(pairs.unique())


def test_rows_belong_to_images_level_by_level():
    checked = torch.tensor([[True, False], [False, True]])
    groups = images_of_rows(checked, [torch.zeros(4), torch.zeros(2)])
    assert [rows.tolist() for rows in groups.rows] == [[0, 0, 1, 1], [0, 1]]
    assert groups.factor.tolist() == [[1, 0], [0, 1]]


def test_only_objects_spare_the_tail():
    policy = TailDropping(torch.tensor([True, False]))
    groups = policy([torch.tensor([0, 1, BACKGROUND, IGNORE])])
    assert dense(groups).tolist() == [[0, 1], [0, 1], [1, 1], [1, 1]]


def test_a_class_in_the_batch_always_has_negatives():
    policy = SampledClasses(torch.ones(6), num_classes=2)
    factor = policy([torch.tensor([3, 1]), torch.tensor([4])]).factor
    assert factor.tolist() == [[0, 1, 0, 1, 1, 0]]


@pytest.mark.parametrize(("labels", "expected"), [([2], 3), ([2, BACKGROUND], 2), ([IGNORE], 3)])
def test_background_counts_as_one_class(labels, expected):
    policy = SampledClasses(torch.ones(8), num_classes=3)
    for _ in range(5):
        assert policy([torch.tensor(labels)]).factor.sum() == expected


def test_with_room_for_all_classes_all_have_negatives():
    policy = SampledClasses(torch.ones(4), num_classes=50)
    assert policy([torch.tensor([BACKGROUND])]).factor.sum() == 4


def test_classes_are_drawn_by_their_chance():
    """One of three with the chances 1, 2, 3 sixths, 3,000 times: within four standard errors."""
    torch.manual_seed(0)
    policy = SampledClasses(torch.tensor([1.0, 2.0, 3.0]), num_classes=1)
    drawn = sum(policy([torch.tensor([IGNORE])]).factor[0] for _ in range(3000)) / 3000
    torch.testing.assert_close(drawn, torch.tensor([1, 2, 3]) / 6, rtol=0, atol=0.036)


def test_the_same_seed_draws_the_same_classes():
    policy = SampledClasses(torch.ones(100), num_classes=20)
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn.append(policy([torch.tensor([BACKGROUND])]).factor)
    assert torch.equal(*drawn)
